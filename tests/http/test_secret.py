"""A string that does not show itself."""

import copy
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asana_jobs._client.http.secret import Secret, usable


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
    with pytest.raises(TypeError, match="a token is not pickled"):
        pickle.dumps({"token": Secret(TOKEN)}, protocol)


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy])
def test_a_secret_is_not_copied_into_something_else(twin: Callable[[Secret], Secret]) -> None:
    """A copy of a secret, if there is one, is a secret too."""
    try:
        assert type(twin(Secret(TOKEN))) is Secret
    except TypeError as error:
        message = str(error)
    else:
        return
    assert "hush" not in message


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
