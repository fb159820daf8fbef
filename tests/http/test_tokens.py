"""Where the access token comes from, and how it is renewed: in order, once, and without showing it."""

import asyncio
import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs import AsanaClient
from asana_jobs._client.http.secret import Secret
from asana_jobs._client.http.tokens import (
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLES,
    TokenSource,
    check_token,
    find_token,
)
from asana_jobs.errors import AuthenticationError, TokenError
from asana_jobs.testing import FakeClock, ScriptedTransport


#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

TOKEN = "2/1203/4567:hush"


def provider(*tokens: str) -> tuple[Callable[[], Awaitable[str]], list[str]]:
    """Return a token provider that gives these tokens in order, and the list of those it gave."""
    left, given_out = list(tokens), list[str]()

    async def provide() -> str:
        await asyncio.sleep(0)
        given_out.append(left.pop(0))
        return given_out[-1]

    return provide, given_out


# Finding one.


def test_variables_are_looked_up_in_order() -> None:
    """The first variable that is set wins, down to the last."""
    assert TOKEN_VARIABLES == ("ASANA_ACCESS_TOKEN", "ASANA_PAT", "ASANA_TOKEN")
    for first, name in enumerate(TOKEN_VARIABLES):
        environment = {later: f"token-{later}" for later in TOKEN_VARIABLES[first:]}

        assert find_token(environment) == (f"token-{name}", name)


def test_a_variable_wins_over_the_file(tmp_path: Path) -> None:
    """The file is read only if no variable holds a token."""
    path = tmp_path / "token"
    path.write_text("from-the-file")

    assert find_token({"ASANA_TOKEN": TOKEN, TOKEN_FILE_VARIABLE: str(path)}) == (TOKEN, "ASANA_TOKEN")


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n", f"\ufeff{TOKEN}\n"])
def test_a_token_file_is_read(tmp_path: Path, content: str) -> None:
    """The file's content is the token, without the line end and the byte order mark an editor leaves."""
    path = tmp_path / "token"
    path.write_text(content, "utf-8")

    assert find_token({TOKEN_FILE_VARIABLE: str(path)}) == (TOKEN, TOKEN_FILE_VARIABLE)


@pytest.mark.parametrize("blank", ["", " ", "\n", "\ufeff", "\xa0"])
def test_an_empty_variable_counts_as_unset(blank: str) -> None:
    """A variable that a script cleared does not hide the next one."""
    assert find_token({"ASANA_ACCESS_TOKEN": blank, "ASANA_PAT": TOKEN}) == (TOKEN, "ASANA_PAT")


def test_blanks_around_a_variable_are_dropped() -> None:
    """A token pasted with a line end works, and so does one with what web pages and editors put around it."""
    for pasted in (f" {TOKEN}\n", f"\ufeff{TOKEN}\r\n", f"{TOKEN}\xa0", f"\u200b{TOKEN}\t"):
        assert find_token({"ASANA_ACCESS_TOKEN": pasted})[0] == TOKEN


def test_blanks_and_quotes_around_the_name_of_a_token_file(tmp_path: Path) -> None:
    """The first are dropped, the second are said, instead of a file that is not there."""
    path = tmp_path / "token"
    path.write_text(TOKEN)

    assert find_token({TOKEN_FILE_VARIABLE: f" {path}\n"}) == (TOKEN, TOKEN_FILE_VARIABLE)
    with pytest.raises(
        TokenError, match="the value of ASANA_ACCESS_TOKEN_FILE has quotation marks around it"
    ):
        find_token({TOKEN_FILE_VARIABLE: f'"{path}"'})


def test_no_token_at_all_says_where_to_put_one() -> None:
    """Without any, the error names every place that was looked at."""
    with pytest.raises(TokenError) as caught:
        find_token({})

    assert str(caught.value) == (
        "no access token: set ASANA_ACCESS_TOKEN, ASANA_PAT, ASANA_TOKEN or ASANA_ACCESS_TOKEN_FILE. A personal access "
        "token is made in Asana's developer console; asana-jobs simulate needs none."
    )


def test_the_client_takes_its_token_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client without a token is refused at construction, not at its first request."""
    with pytest.raises(
        TokenError,
        match=r"^no access token: set .*_FILE, or hand one over: AsanaClient\(token\)\. A personal",
    ):
        AsanaClient()
    monkeypatch.setenv("ASANA_PAT", TOKEN)

    assert repr(AsanaClient()).endswith(" open>")


@pytest.mark.parametrize("name", TOKEN_VARIABLES)
def test_a_broken_variable_is_named_and_not_shown(name: str) -> None:
    """A token that was copied together with something else is refused by the variable's name alone."""
    with pytest.raises(TokenError, match=f"the value of {name} holds blanks") as caught:
        find_token({name: "hush hush"})

    assert "hush" not in str(caught.value)


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    """The error says which variable names which file, and what is wrong with it."""
    path = tmp_path / "nowhere"

    with pytest.raises(
        TokenError, match=r"ASANA_ACCESS_TOKEN_FILE names '.*nowhere', which cannot be read: .*No such"
    ):
        find_token({TOKEN_FILE_VARIABLE: str(path)})


def test_a_directory_is_no_token_file(tmp_path: Path) -> None:
    """What cannot be read as a file is a TokenError."""
    with pytest.raises(TokenError) as caught:
        find_token({TOKEN_FILE_VARIABLE: str(tmp_path)})

    assert str(caught.value) == (
        f"ASANA_ACCESS_TOKEN_FILE names '{tmp_path}', which cannot be read: Is a directory"
    )


def test_what_is_no_absolute_path_may_be_a_token_and_is_not_shown() -> None:
    """It was put into the wrong variable."""
    with pytest.raises(TokenError) as caught:
        find_token({TOKEN_FILE_VARIABLE: "hush"})

    assert str(caught.value) == (
        "ASANA_ACCESS_TOKEN_FILE names a file (not an absolute path), which cannot be read: No such file or directory"
    )


def test_a_token_file_that_is_no_text_says_so(tmp_path: Path) -> None:
    """Whatever it is, it is not shown."""
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(TokenError, match=r"^ASANA_ACCESS_TOKEN_FILE names .*: it is not UTF-8 text$"):
        find_token({TOKEN_FILE_VARIABLE: str(tmp_path / "token")})


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the content of .* is empty"),
        (b"\n", "the content of .* is empty"),
        (b"hush\nhush", "the content of .* holds more than one line"),
        (b"\xef\xbb\xbf", "the content of .* is empty"),
        (b"'hush'\n", "the content of .* has quotation marks around it"),
        ("hush\n".encode("utf-16"), "which cannot be read: it is not UTF-8 text"),
        (b"\xffhush", "which cannot be read"),
        (b"\x00hush", "the content of .* holds blanks or characters"),
    ],
)
def test_a_token_file_with_something_else_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    """An empty or garbled file is named; nothing of its content is shown."""
    path = tmp_path / "token"
    path.write_bytes(content)

    with pytest.raises(TokenError, match=complaint) as caught:
        find_token({TOKEN_FILE_VARIABLE: str(path)})

    assert "hush" not in str(caught.value)


# Checking one.


@pytest.mark.parametrize("token", [5, None, b"hush", ["hush"], object()])
def test_a_token_is_text(token: object) -> None:
    """Anything but text is refused by its type."""
    with pytest.raises(
        TokenError, match=f"^the token must be a string, not {type(token).__name__}$"
    ) as caught:
        check_token(token)

    assert "hush" not in str(caught.value)


COPIED: list[tuple[str, str]] = [
    ("", "is empty"),
    (" \n", "is empty"),
    (f"{TOKEN}\n", "has blanks or line breaks around it: strip it"),
    (f"\ufeff{TOKEN}", "has blanks or line breaks around it: strip it"),
    (f'"{TOKEN}"', "has quotation marks around it: write it without them"),
    (f"'{TOKEN}'", "has quotation marks around it: write it without them"),
    (f"{TOKEN}'", "has quotation marks around it: write it without them"),
    (f"\u201c{TOKEN}\u201d", "has quotation marks around it: write it without them"),
    (f"Bearer {TOKEN}", "begins with the word Bearer: leave it out, it is added when the token is sent"),
    (
        f"Authorization: bearer {TOKEN}",
        "begins with the word Bearer: leave it out, it is added when the token is sent",
    ),
    ("Bearer", "begins with the word Bearer: leave it out, it is added when the token is sent"),
    (f"ASANA_TOKEN={TOKEN}", "begins with ASANA_TOKEN=: write only what is behind it"),
    (f"export ASANA_PAT = {TOKEN}", "begins with ASANA_PAT=: write only what is behind it"),
    ("$ASANA_ACCESS_TOKEN", "is a placeholder: put the token in its place"),
    ("${{ secrets.ASANA_TOKEN }}", "is a placeholder: put the token in its place"),
    ("%ASANA_PAT%", "is a placeholder: put the token in its place"),
    ("<your token>", "is a placeholder: put the token in its place"),
    ("YOUR_ACCESS_TOKEN", "is a placeholder: put the token in its place"),
    ("your-token-here", "is a placeholder: put the token in its place"),
    ("my_asana_pat", "is a placeholder: put the token in its place"),
    ("xxxxxxxx", "is a placeholder: put the token in its place"),
    ("...", "is a placeholder: put the token in its place"),
    ("ASANA_ACCESS_TOKEN", "is a placeholder: put the token in its place"),
    (f"{TOKEN}\n{TOKEN}", "holds more than one line: a token is one"),
    (
        f"{TOKEN} {TOKEN}",
        "holds blanks or characters that cannot stand in a header: was it copied whole?",
    ),
]


@pytest.mark.parametrize(("token", "complaint"), COPIED)
def test_what_was_copied_along_is_said(token: str, complaint: str) -> None:
    """What people paste instead of the token alone is told apart, before any request, and not shown."""
    with pytest.raises(TokenError) as caught:
        AsanaClient(token)

    assert str(caught.value) == f"the token {complaint}"
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("token", "complaint"), [row for row in COPIED if row[0].strip("\ufeff\n ") not in {"", TOKEN}]
)
def test_what_was_copied_along_into_a_variable_is_said(token: str, complaint: str) -> None:
    """The same of the environment, by the variable's name; what can be stripped is."""
    with pytest.raises(TokenError) as caught:
        find_token({"ASANA_PAT": token})

    assert str(caught.value) == f"the value of ASANA_PAT {complaint}"
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("token", ["1/12:a=b==", "bearer1", "eyJ.a-b_c.d", "Bearer-1", "a$b", "2/1/2:%41%"])
def test_a_token_may_look_as_it_likes(token: str) -> None:
    """What only resembles such a mistake is a token."""
    assert check_token(token) == token


@patient
@given(st.text())
def test_no_token_error_shows_the_token(token: str) -> None:
    """Whatever is handed in as a token is masked, or refused without being quoted."""
    text = f"hush{token}hush"
    try:
        checked = check_token(text)
    except TokenError as error:
        message = str(error)
    else:
        message = repr(checked)
    assert "hush" not in message


@pytest.mark.parametrize("token", ["", "two words", "tok\r\nen", "tökén"])
def test_the_client_refuses_a_token_that_cannot_be_one(token: str) -> None:
    """A broken token is an error at construction."""
    with pytest.raises(TokenError):
        AsanaClient(token)


# Using one.


def test_a_source_of_tokens_shows_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where they come from; the same token is the same, however it was found."""

    async def provide() -> str:
        return "hush"

    monkeypatch.setenv("ASANA_PAT", "hush-hush")
    assert repr(TokenSource(provide)) == "<TokenSource from a provider>"
    assert repr(TokenSource(None)) == repr(TokenSource("hush-hush")) == "<TokenSource fixed>"
    assert TokenSource(None).owner == TokenSource("hush-hush").owner
    assert TokenSource(provide).owner is provide


async def test_a_fixed_token_becomes_the_header() -> None:
    """A token is sent as a bearer token, whatever it looks like."""
    assert await TokenSource(TOKEN).authorization() == f"Bearer {TOKEN}"


async def test_a_fixed_token_cannot_be_renewed() -> None:
    """There is nothing to ask for another one: the same comes back."""
    source = TokenSource(TOKEN)
    header = await source.authorization()

    assert not source.renewable
    assert await source.authorization(header) == header


async def test_a_provider_is_asked_at_first_use_and_then_no_more() -> None:
    """A token is kept until it is refused."""
    provide, given_out = provider("one", "two")
    source = TokenSource(provide)
    assert given_out == []

    assert [await source.authorization() for _ in range(3)] == ["Bearer one"] * 3
    assert given_out == ["one"]


async def test_many_first_uses_ask_once() -> None:
    """Any number of calls that start together share the first token."""
    provide, given_out = provider("one", "two")
    source = TokenSource(provide)

    headers = await asyncio.gather(*(source.authorization() for _ in range(100)))

    assert (set(headers), given_out) == ({"Bearer one"}, ["one"])


async def test_many_refusals_renew_once_every_time() -> None:
    """The third token is shared like the second."""
    provide, given_out = provider("one", "two", "three", "four", "five")
    source = TokenSource(provide)
    refused = await source.authorization()

    for expected in ("two", "three", "four"):
        headers = await asyncio.gather(*(source.authorization(refused) for _ in range(10)))
        assert set(headers) == {f"Bearer {expected}"}
        refused = headers[0]
    assert given_out == ["one", "two", "three", "four"]


async def test_many_refusals_renew_once() -> None:
    """A hundred calls whose token expired under their hands get one new token between them."""
    provide, given_out = provider("one", "two", "three")
    source = TokenSource(provide)
    refused = await source.authorization()

    headers = await asyncio.gather(*(source.authorization(refused) for _ in range(100)))

    assert (set(headers), given_out) == ({"Bearer two"}, ["one", "two"])


async def test_a_late_refusal_does_not_renew_again() -> None:
    """A call that learns late that the old token was refused takes the new one."""
    provide, given_out = provider("one", "two", "three")
    source = TokenSource(provide)
    refused = await source.authorization()
    await source.authorization(refused)

    assert await source.authorization(refused) == "Bearer two"
    assert given_out == ["one", "two"]


async def test_a_renewal_that_fails_can_be_tried_again() -> None:
    """Trouble while renewing is the caller's; the next caller asks anew."""
    answers: list[Any] = [ConnectionError("down"), "one"]

    async def provide() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    source = TokenSource(provide)
    with pytest.raises(ConnectionError, match="down"):
        await source.authorization()

    assert await source.authorization() == "Bearer one"


async def test_a_renewal_that_fails_fails_for_all_who_waited_for_it() -> None:
    """A hundred calls that need a token cost one request to a token endpoint that refuses, not a hundred."""
    asked = 0

    async def provide() -> str:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0)
        raise TokenError("invalid_grant")

    source = TokenSource(provide)
    await asyncio.gather(*(source.authorization() for _ in range(100)), return_exceptions=True)

    assert asked == 1


async def test_the_same_token_again_is_one_renewal() -> None:
    """A provider that gives the refused token again is asked once for a hundred refusals, not a hundred times."""
    provide, given_out = provider(*["one"] * 200)
    source = TokenSource(provide)
    refused = await source.authorization()

    await asyncio.gather(*(source.authorization(refused) for _ in range(100)))

    assert len(given_out) == 2


async def test_when_a_renewal_is_cancelled_the_next_in_line_renews() -> None:
    """Whoever waits for a renewal that is cancelled gets a fresh token, and not the refused one again."""
    asked: list[asyncio.Future[str]] = []

    async def provide() -> str:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    source = TokenSource(provide)
    for refusals in range(2):  # at first use there is no token at all, then there is one that was refused
        refused = source.header
        asked.clear()
        callers = [asyncio.ensure_future(source.authorization(refused)) for _ in range(4)]
        for cancelled in range(2):
            while len(asked) == cancelled:  # noqa: ASYNC110  # the provider has no event for it
                await asyncio.sleep(0)
            callers[cancelled].cancel()
        while len(asked) == 2:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0)
        asked[-1].set_result(f"fresh {refusals}".replace(" ", "-"))

        headers = await asyncio.gather(*callers, return_exceptions=True)

        assert [isinstance(header, asyncio.CancelledError) for header in headers] == [
            True,
            True,
            False,
            False,
        ]
        assert set(headers[2:]) == {f"Bearer fresh-{refusals}"}
        assert len(asked) == 3


async def test_a_cancelled_renewal_leaves_the_way_free() -> None:
    """The task that was renewing goes away; the next one renews."""
    started = asyncio.Event()
    hang = True

    async def provide() -> str:
        started.set()
        if hang:
            await asyncio.Event().wait()
        return "one"

    source = TokenSource(provide)
    renewing = asyncio.create_task(source.authorization())
    await started.wait()
    renewing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await renewing
    hang = False

    assert await source.authorization() == "Bearer one"


@pytest.mark.parametrize("token", [None, 5, "", "hush hush", b"hush"])
async def test_what_a_provider_returns_is_checked(token: Any) -> None:
    """A provider that returns no token is an error that says so and shows nothing."""

    async def provide() -> str:
        await asyncio.sleep(0)
        return token  # type: ignore[no-any-return]

    with pytest.raises(TokenError, match=r"^what the token provider returned ") as caught:
        await TokenSource(provide).authorization()

    assert "hush" not in str(caught.value)


async def test_a_refused_token_is_renewed_and_the_call_repeated_once() -> None:
    """On 401 the provider is asked for a fresh token and the request sent again with it."""
    provide, given_out = provider("one", "two", "three")
    transport = ScriptedTransport(401, "succeeded")
    async with AsanaClient(provide, transport=transport, clock=FakeClock()) as client:
        assert (await client.get_job("1")).succeeded

    assert [request.authorization for request in transport.requests] == ["Bearer one", "Bearer two"]
    assert given_out == ["one", "two"]


async def test_a_fresh_token_that_is_refused_too_is_an_error() -> None:
    """The call is repeated once, not for ever."""
    provide, given_out = provider("one", "two", "three", "four")
    transport = ScriptedTransport(401)
    async with AsanaClient(provide, transport=transport, clock=FakeClock()) as client:
        with pytest.raises(AuthenticationError):
            await client.get_job("1")

    assert (len(transport.requests), given_out) == (2, ["one", "two"])


async def test_a_fixed_token_that_is_refused_is_an_error_at_once() -> None:
    """Without a provider a 401 is final."""
    transport = ScriptedTransport(401)
    async with AsanaClient(TOKEN, transport=transport, clock=FakeClock()) as client:
        with pytest.raises(AuthenticationError):
            await client.get_job("1")

    assert len(transport.requests) == 1


async def test_many_calls_refused_together_renew_once() -> None:
    """Fifty reads that are answered 401 at once cost one renewal, and all of them succeed."""
    provide, given_out = provider("one", "two", "three")
    transport = ScriptedTransport(
        lambda request: "succeeded" if request.authorization == "Bearer two" else 401
    )
    async with AsanaClient(provide, transport=transport, clock=FakeClock()) as client:
        jobs = await asyncio.gather(*(client.get_job(str(gid)) for gid in range(1, 51)))

    assert all(job.succeeded for job in jobs)
    assert given_out == ["one", "two"]


# Showing none.


async def test_nothing_that_holds_a_token_shows_it() -> None:
    """Sources, clients and requests can be printed."""
    provide, _ = provider(TOKEN)
    transport = ScriptedTransport(401)
    source = TokenSource(provide)
    header = await source.authorization()
    async with AsanaClient(TOKEN, transport=transport, clock=FakeClock()) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.get_job("1")

    shown = [
        source,
        TokenSource(TOKEN),
        header,
        client,
        transport,
        transport.requests,
        caught.value,
    ]
    assert "hush" not in " ".join(f"{thing!r}" for thing in shown)
    assert "hush" not in str(caught.value)
    assert b"hush" not in pickle.dumps(caught.value)


@pytest.mark.parametrize("thing", [TokenSource(TOKEN), Secret(TOKEN), check_token(TOKEN)])
def test_nothing_that_holds_a_token_is_pickled(thing: object) -> None:
    """A token does not get into a queue or a cache by accident."""
    with pytest.raises(TypeError, match="a token is not pickled"):
        pickle.dumps(thing)
