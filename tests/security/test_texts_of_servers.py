"""What servers say is one line without escape sequences, in errors, logs and on terminals, and echoes no token there."""

import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from raw_server import answering, says, serving

from asana_jobs import AsanaClient, DuplicateProject, OAuthRefresh, PollPolicy, RetryPolicy
from asana_jobs.errors import AsanaJobsError, DownloadError, TokenError, one_line
from asana_jobs.testing._scripted_transport import ScriptedTransport


TOKEN = "2/1203/4567:0123456789abcdef0123456789abcdef"
PART = "0123456789abcdef"

TEXTS = {
    "a forged line": "x\nERROR asana_jobs: the token is wrong",
    "a return": "x\r2026-11-29 nothing to see here\r\n",
    "a colour": "\x1b[31mred\x1b[0m",
    "a title": "\x1b]0;owned\x07",
    "C1": "\x9b31m\x85next line",
    "line separators": "a\u2028b\u2029c\x0bd\x0ce",
    "bidi": "\u202efdp.exe\u2066\u2069\u200f",
    "unseen": "a\u200bb\ufeff\x00\x7f\x08",
    "half an emoji": "launch \ud83d",
    "beyond Unicode": "\U000e0001\uffff",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_becomes_one_line(text: str) -> None:
    """Nothing is left that moves a cursor, ends a line or turns the direction, and what it was can be read."""
    line = one_line(text)

    assert line.isprintable()
    assert one_line(line) == line
    assert line.encode().decode("unicode_escape", "surrogatepass") == text


@pytest.mark.parametrize(
    "text", ["", "Q3 launch", "C:\\new", "caf\u00e9 \U0001f680 \u65e5\u672c\u8a9e \u05d0\u05d1", "'\"<b>[b]"]
)
def test_visible_text_is_left(text: str) -> None:
    """Letters of any script, emoji and markup are not touched."""
    assert one_line(text) is text
    assert one_line(f"{text}\u00a0!") == f"{text} !"


def body(**fields: object) -> bytes:
    """A 2xx body."""
    return json.dumps({"data": fields}).encode()


def refusal(text: str) -> bytes:
    """An error body that says *text* wherever it can."""
    return json.dumps({"errors": [{"message": text, "phrase": text, "help": text}]}).encode()


PLACES: dict[str, Callable[[str], bytes]] = {
    "a message": lambda text: says(refusal(text), status=400),
    "a phrase": lambda text: says(refusal(text), status=500),
    "a conflict": lambda text: says(refusal(text), status=409),
    "a gid": lambda text: says(body(gid=text, status="succeeded")),
    "a gid that is none": lambda text: says(body(gid=[text], status="succeeded")),
    "a status": lambda text: says(body(gid="1203", status=text)),
    "a status that is none": lambda text: says(body(gid="1203", status={"a": text})),
    "a failed job": lambda text: says(body(gid="1203", status="failed", resource_subtype=text)),
    "a moment": lambda text: says(
        body(gid="1203", status="failed", new_graph_export={"gid": "5", "created_at": text})
    ),
    "a page": lambda text: says(f"<html>{text}".encode(errors="surrogatepass")),
    "a page of a gateway": lambda text: says(text.encode(errors="surrogatepass"), status=502),
    "no envelope": lambda text: says(json.dumps({text: text}).encode()),
}  # fmt: skip


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything the library logs."""
    with caplog.at_level(logging.DEBUG, "asana_jobs"):
        yield caplog


async def trouble_with(answer: bytes) -> list[Exception]:
    """What every call ends in against a server that always gives this answer."""
    errors: list[Exception] = []
    async with (
        serving(answering(answer)) as served,
        AsanaClient(
            TOKEN,
            base_url=served.base_url,
            retry=RetryPolicy(attempts=2, initial=0.001, maximum=0.001),
            poll=PollPolicy(initial=0.001, maximum=0.001, give_up_after=0.01),
        ) as client,
    ):
        for call in (
            client.get_job("1203"),
            client.wait_for_job("1203", timeout=0.05),
            client.run(DuplicateProject("77", name="Q3"), timeout=0.05),
            client.request("POST", "/tasks", json={}),
        ):
            try:
                await call
            except AsanaJobsError as error:
                errors.append(error)
        copies = client.run_all([DuplicateProject("77", name="Q3")], timeout=0.05)
        errors += [outcome.error async for outcome in copies if outcome.error is not None]
    return errors


def told(error: BaseException | None) -> str:
    """What an error and its causes say, with the locals of the library's and of aiohttp's frames."""
    if error is None:
        return ""
    shown = traceback.TracebackException.from_exception(error, capture_locals=True)
    frames = [str(frame.locals) for frame in shown.stack if "/tests/" not in frame.filename]
    return "\n".join([str(error), repr(error), *frames, told(error.__cause__), told(error.__context__)])


def fields_of(record: logging.LogRecord) -> list[object]:
    """The values of our fields of a record."""
    return [value for name, value in vars(record).items() if name.startswith("asana_")]


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("place", PLACES)
async def test_errors_and_logs_are_one_line(place: str, text: str, logged: pytest.LogCaptureFixture) -> None:
    """Wherever a server says it, what an error says and what is logged is one line without control characters."""
    errors = await trouble_with(PLACES[place](text))

    assert errors or place in {"a status", "a failed job", "a moment"}
    for error in errors:
        assert str(error).isprintable(), str(error)
    for record in logged.records:
        assert all(str(value).isprintable() for value in (record.getMessage(), *fields_of(record)))


ECHOES = {
    "as it is": TOKEN,
    "percent-encoded": quote(TOKEN, safe=""),
    "in a URL": f"https://x/?t={quote(TOKEN)}",
}


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
@pytest.mark.parametrize("place", PLACES)
async def test_an_echoed_token_is_masked(place: str, echo: str, logged: pytest.LogCaptureFixture) -> None:
    """Wherever a server echoes the token, neither errors with their locals nor logs show it."""
    errors = await trouble_with(PLACES[place](f"bad {echo}"))

    for error in errors:
        assert PART not in told(error)
    for record in logged.records:
        assert PART not in f"{record.getMessage()} {vars(record)}"


HEADERS = {
    "a content type": says(b"<html>", headers={"Content-Type": f"text/{TOKEN}"}),
    "a content type that is encoded": says(b"<html>", headers={"Content-Type": quote(TOKEN, safe="")}),
    "a colour in one": says(b"<html>", headers={"Content-Type": "text/\x1b[31m"}),
    "any header": says(body(gid="x"), headers={"X-Debug": f"Bearer {TOKEN}"}),
    "the first line": f"HTTP/1.1 \x1b[31m{TOKEN} OK\r\n\r\n".encode(),
    "a broken header": f"HTTP/1.1 200 OK\r\n{TOKEN}\x01\x1b[31m\r\n\r\n".encode(),
    "the length": says(b"{}", headers={"Content-Length": TOKEN}),
    "a redirect": says(b"", status=302, headers={"Location": f"https://evil.example/?{TOKEN}"}),
}


@pytest.mark.parametrize("answer", HEADERS.values(), ids=HEADERS)
async def test_headers_are_quoted_like_any_text(answer: bytes, logged: pytest.LogCaptureFixture) -> None:
    """What comes before a body drives no terminal and shows no token, in a traceback with locals neither."""
    errors = await trouble_with(answer)

    assert errors
    for error in errors:
        assert str(error).isprintable()
        assert PART not in told(error)
    for record in logged.records:
        assert record.getMessage().isprintable()
        assert PART not in f"{record.getMessage()} {vars(record)}"


async def test_what_a_servers_of_files_says_is_one_line(tmp_path: Path) -> None:
    """A page in the place of a file, and a link that is none."""
    page = b"\x1b]0;owned\x07\n<html>\xe2\x80\xae"
    async with serving(answering(says(page))) as served:
        for link in (f"{served.origin}/x", "https://\x1b[31m\n.example/x", "gopher://\x85/x"):
            export = {"gid": "9", "download_url": link}
            transport = ScriptedTransport({"gid": "1203", "status": "succeeded", "new_graph_export": export})
            async with AsanaClient("test-token", base_url=served.base_url, transport=transport) as client:
                with pytest.raises(DownloadError) as caught:
                    await client.download_export("1203", tmp_path / "export")
            assert str(caught.value).isprintable()


async def test_what_oauth_says_is_one_line() -> None:
    """A refused renewal quotes the server in one line, and neither of the secrets."""
    said = {"error": "bad\x1b[31m", "error_description": f"x\ny {quote(TOKEN, safe='')} app-{PART}"}
    async with serving(answering(says(json.dumps(said).encode(), status=400))) as served:
        with pytest.raises(TokenError) as caught:
            await OAuthRefresh("1", f"app-{PART}", TOKEN, origin=served.origin)()

    assert str(caught.value).isprintable()
    assert PART not in str(caught.value)


async def test_an_answer_without_the_token_is_handed_on_as_it_came() -> None:
    """Masking changes nothing else: not the body, not the headers."""
    sent = b'{"data": {"note": "100% \\u00e9 \\u202e"}}'
    async with (
        serving(answering(says(sent, headers={"X-Any": "100%"}))) as served,
        AsanaClient(TOKEN, base_url=served.base_url) as client,
    ):
        response = await client.request("GET", "/users/me")

    assert (response.body, response.headers["x-any"]) == (sent, "100%")
