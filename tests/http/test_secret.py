"""A string that does not show itself."""

import copy
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from typing import NoReturn
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from asana_jobs._client.http.secret import (
    Authorization,
    Secret,
    SecretBytes,
    masked,
    masked_text,
    usable,
    without_frames,
)


TOKEN = "2/1203/4567:hush"


def formatted(secret: Secret) -> str:
    """Represent a secret in an f-string."""
    return f"{secret!r}"


def interpolated(secret: Secret) -> str:
    """Represent a secret the way logging does."""
    return "%r" % (secret,)  # noqa: UP031  # that is the way


def contained(secret: Secret) -> str:
    """Represent what holds a secret."""
    return f"{[secret]} {(secret,)} { ({'token': secret}) } {KeyError(secret)!r} {KeyError(secret)}"


@pytest.mark.parametrize("show", [repr, ascii, pprint.pformat, formatted, interpolated, contained])
def test_a_secret_is_not_shown(show: Callable[[Secret], str]) -> None:
    """However a secret is represented, alone or in something that holds it, its text is not there."""
    assert "hush" not in show(Secret(TOKEN))


def test_a_secret_in_a_log_record_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    """A log line that represents a secret masks it."""
    logging.getLogger("asana_jobs").warning("got %r", Secret(TOKEN))

    assert "hush" not in caplog.text


def fail(token: Secret) -> None:
    """Fail with a token among the locals."""
    raise RuntimeError(len(token))


def test_a_secret_among_the_locals_of_a_traceback_is_not_shown() -> None:
    """A traceback with local variables, as error trackers write it, masks a secret."""
    with pytest.raises(RuntimeError) as caught:
        fail(Secret(TOKEN))

    report = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    assert "token = '***'" in "".join(report.format())
    assert "hush" not in "".join(report.format())


def test_a_secret_is_the_string_it_is() -> None:
    """For a header it is written, compared and hashed as its text."""
    assert f"Bearer {Secret(TOKEN)}" == f"Bearer {TOKEN}"
    assert Secret(TOKEN) == TOKEN
    assert hash(Secret(TOKEN)) == hash(TOKEN)
    assert Secret(TOKEN).encode() == TOKEN.encode()


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_secret_is_not_pickled(protocol: int) -> None:
    """No pickle, in no protocol, holds a token."""
    with pytest.raises(TypeError, match=r"^a token is not pickled: hand the other process its own$"):
        pickle.dumps({"token": Secret(TOKEN)}, protocol)
    with pytest.raises(TypeError, match=r"^a token is not pickled: hand the other process its own$"):
        pickle.dumps([SecretBytes(TOKEN.encode())], protocol)


def test_the_longest_word_of_a_header_is_found_in_what_echoes_it() -> None:
    """Of letters, small and large, and digits; a token without any is its own word."""
    words = {"1/12:abcDEF0-xy": b"abcDEF0", "..:..": b"..:..", "ab/cd": b"ab", "a/bc/d": b"bc"}

    assert {token: Authorization(token).word for token in words} == words
    assert str(Authorization("1/12:ab")) == "Bearer 1/12:ab"


def test_half_an_emoji_is_masked_around() -> None:
    """Text that cannot be written is still text, and keeps what it holds."""
    assert masked_text("\ud83d 1/1203:hush-hush \ude80", Secret("1/1203:hush-hush")) == "\ud83d *** \ude80"


def test_the_bytes_of_a_secret_are_shown_as_stars() -> None:
    """So that a traceback, which shows a value as it is written in Python, is still read."""
    assert repr(SecretBytes(TOKEN.encode())) == "b'***'"


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy])
@pytest.mark.parametrize("secret", [Secret(TOKEN), SecretBytes(TOKEN.encode())])
def test_a_copy_is_the_same_secret(twin: Callable[[object], object], secret: object) -> None:
    """What records or traces requests copies their headers: within the process that is the same secret."""
    assert twin(secret) is secret
    assert "hush" not in repr(twin({"authorization": [secret]}))


def test_the_headers_of_a_request_are_copied() -> None:
    """The headers as aiohttp has them, and as vcrpy and tracing libraries take them."""
    for headers in (CIMultiDict({"Authorization": Secret(TOKEN)}), {"Authorization": Secret(TOKEN)}):
        for twin in (copy.copy(headers), copy.deepcopy(headers)):
            assert type(twin["Authorization"]) is Secret
            assert dict(twin) == {"Authorization": TOKEN}


# echoes

#: Its longest word is a secret by itself.
LONG = "2/1203/4567:0123456789abcdef0123456789abcdef"
ECHOES = {
    "as it is": LONG,
    "in a header": f"Bearer {LONG}",
    "as JSON may write it": LONG.replace("/", "\\/"),
    "in JSON by numbers": "".join(f"\\u{ord(each):04X}" for each in LONG),
    "percent-encoded": quote(LONG, safe=""),
    "percent-encoded in small letters": quote(LONG, safe="").lower(),
    "percent-encoded twice": quote(quote(LONG, safe=""), safe=""),
    "percent-encoded throughout": "".join(f"%{ord(each):02x}" for each in LONG),
    "its end": LONG[10:],
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_an_echo_is_masked(echo: str) -> None:
    """However a server writes a token into what it says, it is not shown."""
    for secret in (Secret(LONG), Secret(f"Bearer {LONG}")):
        text = masked_text(f"50% of {echo}, caf\xe9", secret)

        assert "0123456789abcdef" not in text
        assert (text[:7], text[-6:]) == ("50% of ", ", caf\xe9")
        assert "%" not in text[4:]
        assert masked(f"<{echo}>".encode(), secret).endswith(b"***>")


def test_the_longest_word_of_a_token_is_masked_by_itself_in_large_and_small_letters() -> None:
    """It is a secret wherever it is cut off; a token without any word is looked for as a whole."""
    assert masked(b"(AbCdEfGh01IjKlMnOpQ)", Secret("2/1203:AbCdEfGh01IjKlMnOpQ")) == b"(***)"
    assert masked(b"(.-._.-._.)", Secret(".-._.-._.")) == b"(***)"
    assert Authorization("x-AbCdEfGh01-y").word == b"AbCdEfGh01"
    assert Authorization(".-._.-._.").word == b".-._.-._."


@pytest.mark.parametrize("said", ["", "50% done", "a \\u00e9 b", "0123456789", "2/1203/4567", "\udcff"])
def test_what_is_no_echo_is_left(said: str) -> None:
    """Text that holds no token stays as it is, byte by byte."""
    assert masked_text(said, Secret(LONG)) == said
    body = said.encode(errors="surrogatepass")
    assert masked(body, Secret(LONG)) is body or masked(body, Secret(LONG)) == body


@given(st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=60), st.binary())
def test_any_token_is_masked(token: str, around: bytes) -> None:
    """Whatever characters a token is made of."""
    assert masked(b"(" + token.encode() + b")", Secret(token)) == b"(***)" or "*" in token or "(" in token
    assert quote(token, safe="").encode() not in masked(
        around + quote(token, safe="").encode(), Secret(token)
    )


@pytest.mark.parametrize(
    ("token", "good"),
    [
        ("2/1203/4567:0123456789abcdef", True),
        ("0/abc", True),
        ("eyJhbGciOi.J9-_~+/=", True),
        ("", False),
        ("two words", False),
        ("token\n", False),
        ("to\tken", False),
        ("tok\x00en", False),
        ("tökén", False),
        ("\ufefftoken", False),
        ("token\r\nX-Evil: 1", False),
        ("tok\x7fen", False),
    ],
)
def test_a_usable_token_is_visible_ascii(token: str, good: bool) -> None:
    """A token that could not stand in a header, or would start another one, is not usable."""
    assert usable(token) is good


@given(st.text())
def test_no_usable_token_breaks_a_header(token: str) -> None:
    """Whatever text is usable is printable ASCII without blanks."""
    assert not usable(token) or (token.isascii() and token.isprintable() and " " not in token)


def throw(error: BaseException, cause: BaseException | None = None) -> NoReturn:
    """Raise *error*."""
    raise error from cause


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """Return *error*, raised from *cause*, while something else was handled that was raised while another was."""
    try:
        try:
            throw(KeyError("first"))
        except KeyError:
            try:
                throw(LookupError("second"))
            except LookupError:
                throw(error, cause)
    except BaseException as caught:  # noqa: BLE001  # it is the one
        return caught


def family(error: BaseException | None) -> list[BaseException]:
    """Return *error*, and what it was raised from and amid."""
    return [] if error is None else [error, *family(error.__cause__), *family(error.__context__)]


def test_no_error_of_a_chain_keeps_its_frames() -> None:
    """Neither what an error was raised from, nor what was handled meanwhile, nor theirs."""
    error = raised(OSError("outer"), raised(ValueError("inner"), raised(TypeError("innermost"))))
    before = family(error)
    assert len(before) == 9
    assert all(one.__traceback__ is not None for one in before)

    assert without_frames(error) is error
    assert [one for one in before if one.__traceback__ is not None] == []
    assert family(error) == before
