from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from file_server import LINK, FileServer, archive

from asana_jobs import AsanaClient, RetryPolicy
from asana_jobs._client.exports.stream import (
    MAX_FAILURES,
    MAX_REFUSALS,
    ExportStream,
    check_link,
    follow_link,
)
from asana_jobs._client.http.destinations import Destinations
from asana_jobs.errors import ConnectError, DownloadError, RequestTimeoutError, TransportError
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


BROKEN = TransportError("the connection broke", method="GET", path="/")
SIZE = len(archive())
ASANAS = Destinations.of("https://app.asana.com/api/1.0")

Open = Callable[..., ExportStream]


@pytest.fixture
def server() -> FileServer:
    """The second origin."""
    return FileServer()


@pytest.fixture
def links() -> list[str | None]:
    """The links the job gives, one after the other; the last one stays."""
    return [LINK]


@pytest.fixture
async def opened(client: AsanaClient, server: FileServer, links: list[str | None]) -> AsyncIterator[Open]:
    """Opens a stream; every answer it got is closed at the end."""
    streams: list[ExportStream] = []

    async def find_link() -> str | None:
        return links.pop(0) if len(links) > 1 else links[0]

    def open_stream(position: int = 0, etag: str | None = None) -> ExportStream:
        exchange = client._exchange  # pyright: ignore[reportPrivateUsage]
        stream = ExportStream(
            exchange, server, find_link, destinations=ASANAS, what="the export", position=position, etag=etag
        )
        streams.append(stream)
        return stream

    yield open_stream
    for stream in streams:
        stream.close()
    assert server.left_open == []


async def rest_of(stream: ExportStream) -> bytes:
    """Everything from where a stream stands."""
    return b"".join([piece async for piece in pieces(stream)])


async def pieces(stream: ExportStream) -> AsyncIterator[bytes]:
    """The pieces of a stream, and its end told twice."""
    while piece := await stream.read():
        yield piece
    assert await stream.read() == b""


async def fails(call: Awaitable[object], match: str) -> DownloadError:
    """The DownloadError a call ends in."""
    with pytest.raises(DownloadError, match=match) as raised:
        await call
    return raised.value


# what is asked for


async def test_a_whole_file_is_asked_for_plainly(opened: Open, server: FileServer) -> None:
    """From byte 0, one request for the link as it is reads the file, without a range or a condition."""
    stream = opened()

    assert await rest_of(stream) == server.content
    assert server.asked == [(LINK, {})]
    assert (stream.position, stream.total, stream.etag) == (SIZE, SIZE, '"v1"')


async def test_a_broken_connection_costs_nothing_twice(opened: Open, server: FileServer) -> None:
    """After a cut the rest is asked for from the next byte on, of the same version, over the same link."""
    server.cuts = [1500, 10]

    assert await rest_of(opened()) == server.content
    assert server.starts == [0, 1500, 1510]
    assert [headers.get("If-Match") for _, headers in server.asked] == [None, '"v1"', '"v1"']


async def test_a_file_that_ends_early_is_read_on(opened: Open, server: FileServer) -> None:
    """An answer that ends before the length it announced is a cut, not the end."""
    half = server.content[:2000]
    server.script = [(200, {"ETag": '"v1"', "Content-Length": str(SIZE)}, half)]

    assert await rest_of(opened()) == server.content
    assert server.starts == [0, 2000]


async def test_a_stream_begins_anywhere(opened: Open, server: FileServer) -> None:
    """A stream that is told where to begin gives the file from there on."""
    assert await rest_of(opened(700, '"v1"')) == server.content[700:]


async def test_a_whole_file_has_no_rest(opened: Open, server: FileServer) -> None:
    """Where everything has been read before, nothing more comes, and not the error's text either."""
    stream = opened(SIZE, '"v1"')

    assert await rest_of(stream) == b""
    assert (stream.position, stream.total) == (SIZE, SIZE)


async def test_a_server_without_ranges_is_read_again(opened: Open, server: FileServer) -> None:
    """Where ranges are not heeded, what was read before is skipped, even over several cuts."""
    server.ranges = False
    server.cuts = [1500, 700, 1800]

    assert await rest_of(opened()) == server.content


async def test_a_weak_etag_is_no_condition(opened: Open, server: FileServer) -> None:
    """A weak ETag never matches, so it is only compared."""
    server.etag = 'W/"v1"'
    server.cuts = [1500]

    assert await rest_of(opened()) == server.content
    assert "If-Match" not in server.asked[1][1]


async def test_a_server_without_etags_is_believed(opened: Open, server: FileServer) -> None:
    """Without ETags, the length tells versions apart."""
    server.etag = None
    server.cuts = [1500]

    assert await rest_of(opened()) == server.content


PLAIN = b'{"gid":"1"}\n' * 300
MONDAY = "Mon, 02 Nov 2026 09:00:00 GMT"


def plain_part(start: int, **fields: str) -> tuple[int, dict[str, str], bytes]:
    """The rest of `PLAIN` as an answer without an ETag."""
    size = len(PLAIN)
    headers = (
        {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {"Content-Length": str(size)}
    )
    return 206 if start else 200, {**headers, **fields}, PLAIN[start:]


@pytest.mark.parametrize("ranges", [True, False])
async def test_plain_text_without_a_version_is_read_again_and_compared(
    opened: Open, server: FileServer, ranges: bool
) -> None:
    """What checks itself in no way is asked for from its start after a cut, and given from where it was."""
    server.content, server.etag, server.ranges, server.cuts = PLAIN, None, ranges, [1500, 9000, 2000]

    assert await rest_of(opened()) == PLAIN
    assert not ranges or server.starts == [0, 1500, 0, 0]


@pytest.mark.parametrize("weak", [True, False])
async def test_a_last_modified_is_a_version(opened: Open, server: FileServer, weak: bool) -> None:
    """Plain text goes on where both answers say when it was last changed, weak ETags or not."""
    tag = {"ETag": 'W/"v1"'} if weak else {}
    server.cuts = [1500]
    parts = [
        plain_part(0, **{"Last-Modified": MONDAY, **tag}),
        plain_part(1500, **{"Last-Modified": MONDAY, **tag}),
    ]
    server.script = list(parts)

    assert await rest_of(opened()) == PLAIN
    assert server.starts == [0, 1500]


@pytest.mark.parametrize("first", [{}, {"ETag": '"v1"'}, {"Last-Modified": MONDAY}, {"ETag": 'W/"v1"'}])
@pytest.mark.parametrize("second", [{}, {"Date": MONDAY}])
async def test_a_version_on_one_answer_only_is_none(
    opened: Open, server: FileServer, first: dict[str, str], second: dict[str, str]
) -> None:
    """A part of plain text whose answer says nothing of its version is asked for from the start."""
    server.cuts = [1500]
    server.script = [plain_part(0, **first), plain_part(1500, **second), plain_part(0, **second)]

    assert await rest_of(opened()) == PLAIN
    assert server.starts == [0, 1500, 0]


async def test_another_last_modified_is_another_version(opened: Open, server: FileServer) -> None:
    """An archive of another moment is another one, if no ETag says otherwise."""
    server.cuts = [1500]
    size = {"Content-Range": f"bytes 1500-{SIZE - 1}/{SIZE}"}
    server.script = [
        (200, {"Last-Modified": MONDAY}, server.content),
        (206, {"Last-Modified": "Tue, 03 Nov 2026 09:00:00 GMT", **size}, server.content[1500:]),
    ]

    await fails(rest_of(opened()), "the file changed at byte 1500")


@pytest.mark.parametrize("length", [700, 1499])
async def test_a_shorter_file_is_not_the_end(opened: Open, server: FileServer, length: int) -> None:
    """An answer that is over before what was read before is another version, although nobody says how long it is."""
    server.cuts = [1500]
    server.script = [(200, {}, PLAIN), (200, {}, PLAIN[:length])]

    await fails(rest_of(opened()), "the file changed at byte 1500")


async def test_other_plain_text_is_another_version(opened: Open, server: FileServer) -> None:
    """Where the beginning reads differently the second time, nothing of it is given."""
    server.cuts = [1500]
    server.script = [(200, {}, PLAIN), (200, {}, b"x" + PLAIN[1:])]
    stream = opened()

    await fails(rest_of(stream), "the file changed at byte 1500")
    assert (stream.lost, stream.changed) == (True, True)


async def test_the_rest_of_an_earlier_call_needs_its_version(opened: Open, server: FileServer) -> None:
    """A part that an earlier call has kept is not continued by an answer without an ETag."""
    server.script = [(206, {"Content-Range": f"bytes 700-{SIZE - 1}/{SIZE}"}, server.content[700:])]
    stream = opened(700, '"v1"')
    await stream.start()

    assert (stream.position, stream.lost) == (0, False)
    assert await rest_of(stream) == server.content


# other versions


@pytest.mark.parametrize("ranges", [True, False])
async def test_what_is_of_an_earlier_version_is_read_anew(
    opened: Open, server: FileServer, ranges: bool
) -> None:
    """A stream told to begin in another version begins at byte 0 instead, and says so before the first piece."""
    server.ranges = ranges
    stream = opened(700, '"v0"')
    await stream.start()

    assert (stream.position, stream.etag, stream.lost) == (0, '"v1"', False)
    assert await rest_of(stream) == server.content


async def test_more_than_the_file_has_is_read_anew(opened: Open, server: FileServer) -> None:
    """A stream told to begin behind the file's end begins at byte 0."""
    stream = opened(SIZE + 1, '"v1"')
    await stream.start()

    assert stream.position == 0


async def test_an_ignored_condition_is_noticed(opened: Open, server: FileServer) -> None:
    """Another ETag on a part that was sent all the same makes the stream begin at byte 0."""
    server.script = [(206, {"ETag": '"v1"', "Content-Range": f"bytes 700-{SIZE - 1}/{SIZE}"}, b"x")]
    stream = opened(700, '"v0"')

    assert await rest_of(stream) == server.content


OTHER = {"ETag": '"v2"'}
CHANGES = {
    "412": 412,
    "416": 416,
    "other ETag": (206, {**OTHER, "Content-Range": f"bytes 1500-{SIZE - 1}/{SIZE}"}, b"x"),
    "other length": (206, {"Content-Range": f"bytes 1500-{SIZE}/{SIZE + 1}"}, b"x"),
    "other ETag, whole": (200, {**OTHER, "Content-Length": str(SIZE)}, b"x"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_a_file_that_changes_is_an_error(
    opened: Open, server: FileServer, change: int | tuple[int, dict[str, str], bytes]
) -> None:
    """Parts of two versions are never put together: the error says to begin anew, and that what came is of no use."""
    server.cuts = [1500]
    server.before = lambda number: server.script.append(change) if number == 1 else None
    stream = opened()

    await fails(rest_of(stream), r"the export: the file changed at byte 1500.*from the start")
    assert stream.lost


async def test_a_wrong_part_is_asked_for_again(opened: Open, server: FileServer) -> None:
    """A part that does not begin where it was asked to is dropped."""
    server.script = [(206, {"Content-Range": f"bytes 0-{SIZE - 1}/{SIZE}"}, b"x")]

    assert await rest_of(opened(700, '"v1"')) == server.content[700:]


# links


@pytest.mark.parametrize("status", [400, 401, 403])
async def test_a_dead_link_is_renewed_at_the_same_byte(
    opened: Open, server: FileServer, links: list[str | None], clock: FakeClock, status: int
) -> None:
    """A refused link makes the stream ask for a fresh one, and go on where it was."""
    links[:] = [LINK, f"{LINK}1"]
    server.cuts = [1500]
    server.before = lambda number: server.script.append(status) if number == 1 else None

    assert await rest_of(opened()) == server.content
    assert [url for url, _ in server.asked] == [LINK, LINK, f"{LINK}1"]
    assert server.starts == [0, 1500, 1500]


async def test_the_first_dead_link_costs_no_wait(opened: Open, server: FileServer, clock: FakeClock) -> None:
    """Links die as a matter of course: the fresh one is used at once."""
    server.script = [403]
    await rest_of(opened())

    assert clock.sleeps == []


async def test_links_that_are_all_refused_are_an_error(
    opened: Open, server: FileServer, clock: FakeClock
) -> None:
    """A few refusals in a row end it, with the server's own code in the message."""
    body = b"<Error><Code>SignatureDoesNotMatch</Code><Message>secret</Message></Error>"
    server.script = [(403, {}, body)] * MAX_REFUSALS

    error = await fails(
        rest_of(opened()), r"given up at byte 0 .*a fresh link is refused too \(403 SignatureDoesNotMatch\)"
    )
    assert "secret" not in str(error)
    assert "Signature=" not in str(error)


async def test_a_link_may_come_late(
    opened: Open, server: FileServer, links: list[str | None], clock: FakeClock
) -> None:
    """A job that has succeeded and names no file yet is read again, after a moment."""
    links[:] = [None, None, LINK]

    assert await rest_of(opened()) == server.content
    assert len(clock.sleeps) == 1


async def test_a_link_that_never_comes_is_an_error(opened: Open, links: list[str | None]) -> None:
    """The wait for a link has an end, that says what was missing."""
    links[:] = [None]

    await fails(opened().read(), "succeeded but names no file yet")


@pytest.mark.parametrize(
    "link",
    [
        "http://files.example/a?b",
        "ftp://files.example/a",
        "file:///etc/passwd",
        "/a/b",
        "https:///a",
        "https://[/a",
        "https://files.example:x/a",
        "https://files.example/a b",
        "https://files.example/a\r\nAuthorization: b",
        "https://user:word@files.example/a",
        "",
    ],
)
async def test_an_unsafe_link_is_refused(
    opened: Open, server: FileServer, links: list[str | None], link: str
) -> None:
    """Nothing is asked of an address that is not https, names nobody, or holds a password."""
    links[:] = [link]

    error = await fails(opened().read(), r"^the export: ")
    assert server.asked == []
    assert "word" not in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost", "[::1]:1"])
def test_this_machine_may_serve_without_tls(host: str) -> None:
    """Plain http is good for loopback, and a link is never changed."""
    link = f"http://{host}/a%2Fb?c=%2B"

    assert check_link(link, "x", Destinations.of("http://127.0.0.1:8080/api/1.0")) is link


# redirects


async def test_a_redirect_is_followed(opened: Open, server: FileServer) -> None:
    """A redirect is followed as it was written, with the range."""
    server.script = [(307, {"Location": "//other.example/a?b=%2F"}, b"")]

    assert await rest_of(opened(700, '"v1"')) == server.content[700:]
    assert server.asked[1][0] == "https://other.example/a?b=%2F"
    assert server.starts == [700, 700]


@pytest.mark.parametrize(
    "location", ["http://files.example/a", "http://127.0.0.1/a", "ftp://a/b", "file:///a"]
)
async def test_a_redirect_to_another_scheme_is_refused(
    opened: Open, server: FileServer, location: str
) -> None:
    """From https nothing leads away, not even to this machine."""
    server.script = [(302, {"Location": location}, b"")]

    await fails(opened().read(), "refused")
    assert len(server.asked) == 1


def test_a_redirect_of_this_machine_stays_on_plain_http() -> None:
    """Nor does a redirect change from http to https: a test's server has no business elsewhere."""
    with pytest.raises(DownloadError, match="refused a redirect from http to https"):
        follow_link("http://127.0.0.1/a", "https://files.example/b", "x", Destinations.of("http://127.0.0.1"))


@pytest.mark.parametrize("location", ["https://[/a", "https://:80/a"])
async def test_a_redirect_to_nowhere_is_refused(opened: Open, server: FileServer, location: str) -> None:
    """A redirect whose target is no address is a DownloadError."""
    server.script = [(302, {"Location": location}, b"")]

    await fails(opened().read(), "the export: ")


async def test_redirects_have_an_end(opened: Open, server: FileServer) -> None:
    """A circle of redirects is a DownloadError."""
    server.script = [302] * 50

    await fails(opened().read(), "more than 5 redirects")


# trouble


@pytest.mark.parametrize("status", [404, 410])
async def test_a_file_that_is_gone_is_an_error(opened: Open, server: FileServer, status: int) -> None:
    """A vanished file ends it at once, and says to export again."""
    server.script = [status]
    stream = opened(700, '"v1"')

    await fails(stream.read(), rf"the file is gone \({status}\).*Start the export again")
    assert stream.lost


@pytest.mark.parametrize("status", [304, 405, 412, 416])
async def test_an_answer_that_makes_no_sense_is_an_error(
    opened: Open, server: FileServer, status: int
) -> None:
    """Anything else ends it at once: a condition that fails although there was none, too."""
    server.script = [status]

    await fails(opened().read(), f"answered {status}")


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_a_busy_server_is_asked_again(
    opened: Open, server: FileServer, clock: FakeClock, status: int
) -> None:
    """Trouble of the server's own passes; the waits between grow."""
    server.script = [status] * 4

    assert await rest_of(opened()) == server.content
    assert clock.sleeps == sorted(clock.sleeps)
    assert len(clock.sleeps) == 3


async def test_a_server_that_stays_away_is_given_up(
    opened: Open, server: FileServer, clock: FakeClock
) -> None:
    """Failures in a row end it after minutes, saying where, how often and why, and that it can go on later."""
    server.script = [ConnectError("no route", method="GET", path="/")] * MAX_FAILURES

    error = await fails(
        opened(700, '"v1"').read(), "given up at byte 700 after 12 failures.*no route.*goes on"
    )
    assert isinstance(error.__cause__, ConnectError)
    assert 120 < sum(clock.sleeps) < 600


async def test_progress_forgives_failures(opened: Open, server: FileServer, clock: FakeClock) -> None:
    """Any number of cuts is outlived as long as bytes come between them."""
    server.cuts = [10] * 3 * MAX_FAILURES

    assert await rest_of(opened()) == server.content
    assert clock.sleeps == []


async def test_cuts_without_progress_are_given_up(opened: Open, server: FileServer) -> None:
    """Connections that break before the first byte are failures in a row."""
    server.cuts = [0] * MAX_FAILURES

    await fails(opened().read(), "given up at byte 0")


async def test_reading_again_what_was_read_is_no_progress(opened: Open, server: FileServer) -> None:
    """Where ranges are not heeded, a server that never gets further than before is given up."""
    server.ranges = False
    server.cuts = [1000] * 2 * MAX_FAILURES

    await fails(rest_of(opened()), "given up at byte 1000")


async def test_a_slow_server_is_waited_for(opened: Open, server: FileServer, clock: FakeClock) -> None:
    """A server that did not answer in time is given a moment before it is asked again."""
    server.script = [RequestTimeoutError("too slow", method="GET", path="/")]
    await opened().read()

    assert len(clock.sleeps) == 1


async def test_an_unreachable_api_is_outlived(
    client: AsanaClient, server: FileServer, transport: ScriptedTransport
) -> None:
    """A link that cannot be asked for yet, since the connection to Asana fails, is asked for again."""
    failures = [BROKEN] * (RetryPolicy().attempts + 1)

    async def find_link() -> str:
        if failures:
            raise failures.pop()
        return LINK

    exchange = client._exchange  # pyright: ignore[reportPrivateUsage]
    assert (
        await rest_of(ExportStream(exchange, server, find_link, destinations=ASANAS, what="the export"))
        == server.content
    )


async def test_reading_goes_on_after_close(opened: Open, server: FileServer) -> None:
    """Closing drops the connection only; the next read comes back to the same byte."""
    stream = opened()
    first = await stream.read()
    stream.close()

    assert server.left_open == []
    assert first + await rest_of(stream) == server.content
    assert server.starts == [0, len(first)]
