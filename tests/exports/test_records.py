import asyncio
import gc
import gzip
import json
import tracemalloc
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from file_server import FileServer, connections, exports
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs import AsanaClient
from asana_jobs._client.exports.gzip_stream import MAX_CONTENT_PIECE
from asana_jobs._client.exports.records import MAX_RECORD_LENGTH, ExportRecords, JsonRecords
from asana_jobs.errors import ClientClosedError, DownloadError
from asana_jobs.testing import AsanaSimulator, SlowDrip, Truncated
from asana_jobs.testing._scripted_transport import ScriptedTransport


def squeeze(content: bytes) -> bytes:
    """Return *content* gzipped, the same bytes at any time: they name tests."""
    return gzip.compress(content, mtime=0)


DOWNLOADS = "*/download/*"


@pytest.fixture
def server() -> FileServer:
    """The second origin."""
    return FileServer()


@pytest.fixture
async def client(transport: ScriptedTransport, server: FileServer) -> AsyncIterator[AsanaClient]:
    """A client of `transport` and `server` on the loop's clock, whose export 1203 has finished."""
    exports(transport)
    async with AsanaClient("test-token", transport=transport) as client:
        client._downloads = server  # pyright: ignore[reportPrivateUsage]
        yield client


async def records_of(records: ExportRecords) -> list[dict[str, Any]]:
    """All records."""
    return [record async for record in records]


# the text


RECORDS = st.lists(
    st.dictionaries(
        st.text(max_size=5),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=9),
            lambda inside: (
                st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=3), inside, max_size=3)
            ),
            max_leaves=6,
        ),
        max_size=4,
    ),
    max_size=8,
)

LAYOUTS: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "lines": lambda records: "".join(f"{json.dumps(record)}\n" for record in records),
    "lines, last one open": lambda records: "\n".join(map(json.dumps, records)),
    "lines of Windows": lambda records: "".join(f"{json.dumps(record)}\r\n" for record in records),
    "lines with blank ones": lambda records: "\n" + "\n\n".join(map(json.dumps, records)) + "\n\n",
    "raw text": lambda records: "".join(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records),
    "a list": json.dumps,
    "a dense list": lambda records: json.dumps(records, separators=(",", ":")),
    "a list, indented": lambda records: json.dumps(records, indent=2),
    "a list over lines": lambda records: "[" + ",\n ".join(map(json.dumps, records)) + "]\n",
    "objects, indented": lambda records: "\n".join(json.dumps(record, indent=1) for record in records),
    "a byte order mark": lambda records: "\ufeff" + json.dumps(records),
}


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(RECORDS, st.sampled_from(sorted(LAYOUTS)), st.lists(st.integers(0, 2000), max_size=8))
def test_any_layout_in_any_pieces_gives_the_records(
    records: list[dict[str, Any]], layout: str, cuts: list[int]
) -> None:
    """JSON lines, a list or objects in a row, laid out in any way and cut anywhere, give the same records."""
    text = LAYOUTS[layout](records).encode("utf-8", "surrogatepass")
    try:
        text.decode()
    except UnicodeDecodeError:
        return  # half a surrogate pair is no text
    places = sorted(cut % (len(text) + 1) for cut in cuts)
    one, found = JsonRecords(), list[dict[str, Any]]()
    for start, stop in zip([0, *places], [*places, len(text)], strict=True):
        found += one.feed(text[start:stop])

    assert found + one.end() == records


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":1}\n{"b":', "Expecting value"),
        ('{"a":1}\n{"b"\n{"c":2}', "Expecting ':' delimiter"),
        ('{"a":1}\nnope\n', "Expecting value"),
        ("<Error/>", "Expecting value"),
        ('[{"a":1}', "never closed"),
        ("[[1]]", r"unexpected '\['"),
        ("]", r"unexpected '\]'"),
        ('{"a":1},{"b":2}', "unexpected ','"),
        ("1\n2\n", "expected an object, not int"),
        ('[{"a":1}, null]', "expected an object, not NoneType"),
        ("[" * 3 + "1", r"unexpected '\['"),
        ('{"a":' * 100_000, "nested too deep"),
        ('"\xff"', "can't decode"),
        (f'{{"a":{"9" * 5000}}}', "limit"),
    ],
)
def test_what_is_no_export_is_told(text: str, reason: str) -> None:
    """Text that is neither lines nor a list of objects is a ValueError, at the latest at its end."""
    one = JsonRecords()

    with pytest.raises(ValueError, match=reason):
        one.feed(text.encode("latin-1"))
        one.end()


def test_records_come_as_soon_as_they_end() -> None:
    """A record does not wait for the next one, nor for its line's end."""
    one = JsonRecords()

    assert one.feed(b'[{"a":1}') == [{"a": 1}]
    assert one.feed(b',\n{"a":2') == []
    assert one.feed(b"},") == [{"a": 2}]


def test_a_long_record_is_read() -> None:
    """A record longer than any piece comes whole."""
    record = {"notes": "x" * 3_000_000}
    text = json.dumps([record, {"a": 1}]).encode()
    one, found = JsonRecords(), list[dict[str, Any]]()
    for start in range(0, len(text), 50_000):
        found += one.feed(text[start : start + 50_000])

    assert found + one.end() == [record, {"a": 1}]


def test_a_record_without_an_end_is_given_up() -> None:
    """Memory has an end: what is longer than any record is an error."""
    one, piece = JsonRecords(), b'{"notes":"' + b"x" * 2**22

    with pytest.raises(ValueError, match="longer than"):
        for _ in range(MAX_RECORD_LENGTH // 2**22 * 2):
            one.feed(piece)
            piece = b"x" * 2**22


# the stream


async def test_every_record_comes_once_and_in_order(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """The records are the file's lines."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=5000)
    gids = [record["gid"] for record in await records_of(wired.iter_export("1203"))]

    assert gids == [f"13{number:014d}" for number in range(5000)]


async def test_cuts_and_dead_links_are_not_seen(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """Broken connections and links that die in between change nothing."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=20_000)
    for share in (0.2, 0.3, 0.1, 0.6, 0.5):
        simulator.fail_next(Truncated(share), path=DOWNLOADS)
    seen = 0
    async for record in wired.iter_export("1203"):
        assert record["gid"] == f"13{seen:014d}"
        seen += 1
        if seen == 1000:
            simulator.expire_links()

    assert seen == 20_000
    assert len(simulator.downloads.where(status=403)) == 1


async def test_an_export_without_records_is_empty(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """An empty archive has no records, and is no error."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=0)

    assert await records_of(wired.iter_export("1203")) == []


async def test_the_iterator_can_be_left_to_itself(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """Nothing is asked before the first record is; and one that ran out stays empty."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph")
    records = wired.iter_export("1203")
    assert len(simulator.requests) == 0
    await records_of(records)

    assert await records_of(records) == []
    assert connections(wired) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (squeeze(b'{"a":1}\n' * 99)[:-4], "job 1203 is damaged: it ends in the middle"),
        (squeeze(b'{"a":1}\n')[:-8] + bytes(8), "job 1203 is damaged: .*incorrect data check"),
        (b"", "job 1203 is damaged"),
        (squeeze(b"<html/>"), "neither JSON lines nor a list .*Write it to disk with download_export"),
        (squeeze(b'{"a":1}\n{"a"'), "neither JSON lines nor a list"),
        (b"<html/>", "neither JSON lines nor a list"),
    ],
)
async def test_a_bad_file_is_told(
    client: AsanaClient, server: FileServer, content: bytes, message: str
) -> None:
    """A truncated, damaged or foreign file is a DownloadError with what to do, after which nothing comes."""
    server.content = content
    records = client.iter_export("1203")

    with pytest.raises(DownloadError, match=message):
        await records_of(records)
    assert server.left_open == []
    assert await records_of(records) == []


async def test_records_before_the_damage_come(client: AsanaClient, server: FileServer) -> None:
    """What can be read is given before the error."""
    server.content = squeeze(b'{"a":1}\n' * 99)[:-4]
    seen = 0

    with pytest.raises(DownloadError):
        async for _ in client.iter_export("1203"):
            seen += 1
    assert seen == 99


async def test_plain_text_is_read_too(client: AsanaClient, server: FileServer) -> None:
    """A file that a proxy has unpacked gives its records."""
    server.content = b'{"a":1}\n{"a":2}\n'

    assert await records_of(client.iter_export("1203")) == [{"a": 1}, {"a": 2}]


async def test_a_file_that_changes_is_told(client: AsanaClient, server: FileServer) -> None:
    """Records of two versions are never mixed."""
    server.cuts = [1000]
    server.before = lambda number: setattr(server, "etag", f'"v{number}"')

    with pytest.raises(DownloadError, match=r"the file changed at byte 1000.*Read it again from the start"):
        await records_of(client.iter_export("1203"))


async def test_a_job_that_runs_has_no_records(client: AsanaClient, transport: ScriptedTransport) -> None:
    """An export that has not finished is a DownloadError that says to wait."""
    transport.play("in_progress")

    with pytest.raises(DownloadError, match=r"no file yet\. Wait for it"):
        await anext(client.iter_export("1203"))


# leaving


async def test_a_break_drops_the_connection_at_once(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """Leaving the loop early leaves no connection, before anything else is awaited, and no warning."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=50_000)
    async for _ in wired.iter_export("1203"):
        assert connections(wired) == 1
        break
    assert connections(wired) == 0

    gc.collect()


async def test_an_error_in_the_loop_drops_the_connection_at_once(
    simulator: AsanaSimulator, wired: AsanaClient
) -> None:
    """So does an exception of the loop's body, while it is still being handled."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=50_000)
    try:
        async for _ in wired.iter_export("1203"):
            raise KeyError  # noqa: TRY301  # the loop's body is what it is about
    except KeyError:
        assert connections(wired) == 0


async def test_an_error_of_the_stream_drops_the_connection_at_once(
    simulator: AsanaSimulator, wired: AsanaClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does an error of ours, although its traceback holds on to the iterator."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=50_000)
    records = wired.iter_export("1203")
    await anext(records)

    def fail(*_: object) -> list[dict[str, Any]]:
        raise ValueError

    monkeypatch.setattr(JsonRecords, "feed", fail)
    with pytest.raises(DownloadError) as raised:
        await records_of(records)

    assert connections(wired) == 0
    assert raised.value.__traceback__ is not None


async def test_async_with_closes_it(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """An iterator one holds on to is ended by `async with`, and by `aclose`."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=50_000)
    async with wired.iter_export("1203") as records:
        await anext(records)
        assert connections(wired) == 1
    assert connections(wired) == 0
    with pytest.raises(StopAsyncIteration):
        await anext(records)

    await records.aclose()


async def test_an_iterator_outlives_its_client_in_peace(
    simulator: AsanaSimulator, wired: AsanaClient
) -> None:
    """Closing the client drops the connection of an iterator one still holds; going on is refused."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=50_000)
    records = wired.iter_export("1203")
    await anext(records)
    await wired.close()
    gc.collect()

    with pytest.raises(ClientClosedError):
        await records_of(records)


def test_an_iterator_outlives_its_loop_in_peace() -> None:
    """One that is dropped after its loop has gone, or in another thread, is no error."""
    kept: list[ExportRecords] = []

    async def main() -> None:
        async with AsanaSimulator() as simulator, AsanaClient("t", base_url=simulator.base_url) as client:
            simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=50_000)
            records = client.iter_export("1203")
            await anext(records)
            box = [records]
            del records
            await asyncio.to_thread(box.clear)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert connections(client) == 0
            kept.append(client.iter_export("1203"))
            await anext(kept[0])

    asyncio.run(main())
    kept.clear()
    gc.collect()


async def test_closing_the_client_ends_the_iteration(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """An iteration that waits for bytes ends with ClientClosedError when its client is closed."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=500)
    simulator.fail_next(SlowDrip(1, piece=100), path=DOWNLOADS)
    task = asyncio.create_task(records_of(wired.iter_export("1203")))
    await asyncio.sleep(30)
    await wired.close()

    with pytest.raises(ClientClosedError):
        await task


async def test_a_cancelled_step_loses_nothing(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """`wait_for` around a step may give up any number of times: the next step goes on."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=600)
    simulator.fail_next(SlowDrip(1, piece=5000), path=DOWNLOADS)
    records, found, timeouts = wired.iter_export("1203"), list[str](), 0
    while True:
        try:
            found.append((await asyncio.wait_for(anext(records), 0.4))["gid"])
        except TimeoutError:
            timeouts += 1
        except StopAsyncIteration:
            break

    assert timeouts > 0
    assert found == [f"13{number:014d}" for number in range(600)]


async def test_two_tasks_do_not_share_an_iterator(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """A second task that iterates at the same time is told so."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=500)
    records = wired.iter_export("1203")
    ends = await asyncio.gather(anext(records), anext(records), return_exceptions=True)

    assert [type(end) for end in ends] == [dict, RuntimeError]
    await records.aclose()


# memory


@pytest.mark.parametrize("layout", ["lines", pytest.param("a dense list", marks=pytest.mark.long)])
async def test_memory_does_not_grow_with_the_file(
    client: AsanaClient, server: FileServer, layout: str
) -> None:
    """Fifty megabytes that compress a hundredfold are read in a few megabytes."""
    server.piece = 2**16
    server.content = squeeze(
        LAYOUTS[layout]([{"gid": str(number), "notes": "x" * 5000} for number in range(10_000)]).encode()
    )
    gc.collect()
    tracemalloc.start()
    try:
        seen = 0
        async for _ in client.iter_export("1203"):
            seen += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert seen == 10_000
    assert peak < 12 * MAX_CONTENT_PIECE
