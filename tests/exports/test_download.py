# ruff: noqa: ASYNC240  # nobody else is on these loops

import asyncio
import gc
import gzip
import os
import subprocess
import sys
import time
import types
from collections.abc import AsyncIterator, Coroutine, Generator, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer, archive, connections, exports

from asana_jobs import AsanaClient
from asana_jobs._client.exports.download import BLOCK_SIZE, PartialFile
from asana_jobs.errors import ClientClosedError, DownloadError, JobTimeoutError, NotFoundError, ServerError
from asana_jobs.testing import AsanaSimulator, Latency, SlowDrip
from asana_jobs.testing._scripted_transport import ScriptedTransport
from asana_jobs.testing.simulator.downloads import ExportFile


DOWNLOADS = "*/download/*"
#: Several blocks.
LONG = gzip.compress(os.urandom(3 * BLOCK_SIZE), 0)


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


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """Where the file is to be written."""
    return tmp_path / "export.json.gz"


def content_of(simulator: AsanaSimulator, gid: str) -> bytes:
    """The file of a simulator's export."""
    job = simulator.jobs[gid]
    file = ExportFile(str(job.result["gid"]), job.lines)
    return b"".join(file.read(0, file.size))


def open_files(folder: Path) -> list[str]:
    """The files in a folder that this process has open."""
    found: list[str] = []
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except OSError:
            continue  # the listing's own
        if target.startswith(str(folder)):
            found.append(target)
    return found


# over the wire


async def test_a_file_comes_whole(simulator: AsanaSimulator, wired: AsanaClient, destination: Path) -> None:
    """The bytes on disk are the bytes at Asana, alone in their folder, and the path is returned."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=20_000)
    path = await wired.download_export("1203", destination)

    assert path == destination
    assert path.read_bytes() == content_of(simulator, "1203")
    assert list(destination.parent.iterdir()) == [destination]


@pytest.mark.parametrize("kind", ["export_graph", "export_resource"])
async def test_a_started_export_can_be_downloaded(wired: AsanaClient, destination: Path, kind: str) -> None:
    """Start, wait, download: the job as any of these calls returns it will do."""
    job = await (
        wired.export_graph("5")
        if kind == "export_graph"
        else wired.export_resource("5", parameters=[{"resource_type": "task"}])
    )
    with pytest.raises(DownloadError, match=f"job {job.gid} is .*, there is no file yet. Wait for it"):
        await wired.download_export(job, destination)
    await wired.wait_for_job(job)

    assert gzip.decompress((await wired.download_export(job, destination)).read_bytes()).count(b"\n") == 100


async def test_the_second_origin_never_sees_the_token(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """No Authorization and no Cookie header goes to the files' server, and no signature is re-encoded."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=20_000)
    await wired.download_export("1203", destination)
    async for _ in wired.iter_export("1203"):
        pass

    assert len(simulator.downloads) == 2
    for record in simulator.downloads:
        assert record.status == 200
        assert not {"authorization", "cookie", "proxy-authorization"} & set(record.headers)
        assert record.headers["accept-encoding"] == "identity"


async def test_a_relative_path_is_made_absolute(
    simulator: AsanaSimulator, wired: AsanaClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A text is a path; what is returned is absolute."""
    monkeypatch.chdir(tmp_path)
    simulator.add_job("1203", ["succeeded"], kind="export_graph")

    assert await wired.download_export("1203", "export.gz") == tmp_path / "export.gz"


async def test_progress_is_reported(simulator: AsanaSimulator, wired: AsanaClient, destination: Path) -> None:
    """Progress begins at 0, never falls, ends with the whole length, and knows the length from the beginning."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=20_000)
    seen: list[tuple[int, int | None]] = []
    await wired.download_export("1203", destination, progress=lambda done, total: seen.append((done, total)))

    size = destination.stat().st_size
    assert seen[0] == (0, size)
    assert seen[-1] == (size, size)
    assert seen == sorted(seen)


async def test_a_slow_file_is_not_given_up(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """The timeout is for a silence, not for the file: what drips for an hour comes whole, over one connection."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=100)
    simulator.fail_next(SlowDrip(20, piece=100), path=DOWNLOADS)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await wired.download_export("1203", destination)

    assert loop.time() - began > 3000
    assert len(simulator.downloads) == 1


async def test_a_silent_server_is_asked_again(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """A server that does not answer within the timeout is asked again."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph")
    simulator.fail_next(Latency(1000), path=DOWNLOADS)
    await wired.download_export("1203", destination)

    assert destination.read_bytes() == content_of(simulator, "1203")


# what there is no file for


@pytest.mark.parametrize(
    ("job", "message"),
    [
        ({"status": "failed"}, "job 1203 failed, there is no file. Start the export again"),
        ({"status": "in_progress"}, "job 1203 is in_progress, there is no file yet. Wait for it"),
        ({"status": "paused"}, "job 1203 is paused, there is no file yet"),
        ({"status": "succeeded"}, "job 1203 is no export"),
        ({"status": "succeeded", "new_project": {"gid": "5"}}, "job 1203 is no export"),
    ],
)
async def test_a_job_without_a_file_is_told(
    client: AsanaClient, transport: ScriptedTransport, destination: Path, job: dict[str, Any], message: str
) -> None:
    """A job that has no file is a DownloadError that says what to do, and nothing is left on disk."""
    transport.play({"gid": "1203", "resource_type": "job", **job})

    with pytest.raises(DownloadError, match=message) as caught:
        await client.download_export("1203", destination)
    assert list(destination.parent.iterdir()) == []
    assert not caught.value.advice.startswith("Call download_export again")


@pytest.mark.parametrize(("status", "error"), [(404, NotFoundError), (500, ServerError)])
async def test_an_unreadable_job_is_the_apis_error(
    client: AsanaClient,
    transport: ScriptedTransport,
    destination: Path,
    status: int,
    error: type[Exception],
) -> None:
    """What reading the job ends in is raised as it is."""
    transport.play(status)

    with pytest.raises(error):
        await client.download_export("1203", destination)


@pytest.mark.parametrize("job", ["", "12 03", "{}", 7])
async def test_what_is_no_job_is_refused(client: AsanaClient, destination: Path, job: Any) -> None:
    """A wrong argument is a ValueError before anything is made."""
    with pytest.raises(ValueError):
        await client.download_export(job, destination)
    assert list(destination.parent.iterdir()) == []


async def test_a_damaged_file_is_thrown_away(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """An archive whose checksum is wrong is a DownloadError, and nothing of it stays."""
    server.content = server.content[:-6] + bytes(6)

    with pytest.raises(DownloadError, match="damaged"):
        await client.download_export("1203", destination)
    assert list(destination.parent.iterdir()) == []


async def test_a_file_that_changed_is_read_again(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """When the file changes midway, what came is removed, and the new one is read from its start."""
    new, server.content, server.cuts = server.content, LONG, [2 * BLOCK_SIZE]

    def change(number: int) -> None:
        if number == 1:
            server.content, server.etag = new, '"v2"'

    server.before = change
    await client.download_export("1203", destination)

    assert destination.read_bytes() == new
    assert list(destination.parent.iterdir()) == [destination]


async def test_a_file_that_changes_all_the_time_is_thrown_away(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """When it changes a second time, nothing of it is kept."""
    server.cuts = [1000, 1000]
    server.before = lambda number: setattr(server, "etag", f'"v{number}"')

    with pytest.raises(DownloadError, match="changed"):
        await client.download_export("1203", destination)
    assert list(destination.parent.iterdir()) == []


PAGES = {
    "a page": b"<!DOCTYPE html><html><body>Log in</body></html>",
    "a page after blanks": b"\xef\xbb\xbf\r\n\t <html>",
    "XML": b'<?xml version="1.0"?><Error><Code>SlowDown</Code></Error>',
    "text": b"upstream connect error or disconnect/reset before headers",
    "a number": b"0",
    "a JSON string": b'"ok"',
    "a list of numbers": b"[1, 2]",
    "a template": b"{{ message }}",
    "a zip": b"PK\x03\x04rest",
    "blanks only": b" \n" * 40_000,
    "half a list": b" [ ",
    "a packed page": gzip.compress(b"\n<html>"),
}


@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)
async def test_a_page_is_no_export(
    client: AsanaClient, server: FileServer, destination: Path, page: bytes, piece: int
) -> None:
    """What a proxy or a login answers instead of the file is refused; an older file stays, and nothing else."""
    destination.write_bytes(b"older")
    server.content, server.piece = page[: 70_000 if piece > 1 else 100], piece

    with pytest.raises(DownloadError, match=r"is no export: it .*neither gzip nor JSON") as raised:
        await client.download_export("1203", destination)

    assert raised.value.args[0].isprintable()
    assert destination.read_bytes() == b"older"
    assert list(destination.parent.iterdir()) == [destination]


async def test_a_page_that_was_kept_is_thrown_away(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """Where an earlier version of this library has kept the beginning of a page, the file is read from its start."""
    part = PartialFile(destination, "1203")
    part.path.write_bytes(b"<!DOCTYPE html>")
    part.path.with_name(f"{part.path.name}.json").write_text('{"v": 1, "etag": "\\"v1\\""}')

    await client.download_export("1203", destination)
    assert destination.read_bytes() == server.content
    assert server.starts == [0]


PLAIN = {
    "JSON lines": b'{"gid":"1"}\n{"gid":"2"}\n',
    "one object": b'{"data": []}',
    "an object of nothing": b"{ }",
    "a list": b'[{"gid":"1"}]',
    "a list laid out": b'\xef\xbb\xbf[\n  {\n    "gid": "1"\n  }\n]\n',
    "an empty list": b"[ ]",
    "blanks first": b" \r\n\t" * 10_000 + b'{"gid":"1"}',
}


@pytest.mark.parametrize("piece", [1, 1000])
@pytest.mark.parametrize("plain", PLAIN.values(), ids=PLAIN)
async def test_plain_json_is_an_export(
    client: AsanaClient, server: FileServer, destination: Path, plain: bytes, piece: int
) -> None:
    """A file that a proxy has unpacked is written as it came, however it is cut."""
    server.content, server.piece = plain[-200:] if piece == 1 else plain, piece
    await client.download_export("1203", destination)

    assert destination.read_bytes() == server.content


async def test_plain_parts_of_two_versions_are_not_put_together(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """Plain JSON that says nothing of its version starts over: the file is one version, and no mixture."""
    server.etag, server.cuts = None, [1500]
    server.content = b'{"gid":"1"}\n' * 500
    new = server.content.replace(b"1", b"2")
    server.before = lambda number: setattr(server, "content", new) if number else None

    await client.download_export("1203", destination)
    assert destination.read_bytes() == new
    assert server.starts[0] == server.starts[-1] == 0


async def test_an_empty_archive_is_an_export(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """An archive of nothing is a whole file."""
    server.content = gzip.compress(b"")
    await client.download_export("1203", destination)

    assert destination.read_bytes() == server.content


async def test_a_file_that_is_gone_is_thrown_away(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """When Asana does not have the file any more, what came of it is removed."""
    server.cuts = [1000]
    server.before = lambda number: server.script.append(404) if number else None

    with pytest.raises(DownloadError, match="the file is gone"):
        await client.download_export("1203", destination)
    assert list(destination.parent.iterdir()) == []


async def test_a_refused_link_keeps_what_has_come(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """When fresh links are refused, the error says so, and the bytes that came are kept for the next call."""
    server.cuts = [1000]
    server.before = lambda number: server.script.append(403) if 0 < number < 10 else None
    with pytest.raises(DownloadError, match=r"given up at byte 1000 .*refused too \(403\)"):
        await client.download_export("1203", destination)
    assert PartialFile(destination, "1203").path.stat().st_size == 1000

    server.before = lambda _: None
    server.script.clear()
    await client.download_export("1203", destination)
    assert server.starts[-1] == 1000
    assert destination.read_bytes() == server.content


async def test_a_full_disk_is_told(
    client: AsanaClient, server: FileServer, destination: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up is a DownloadError with advice; what was written before is good for the next call."""
    resource = pytest.importorskip("resource")
    server.content, server.piece = LONG, 100_000
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * BLOCK_SIZE + 1000, limits[1]))
    try:
        with pytest.raises(DownloadError, match=r"job 1203 cannot be written to .*kept in"):
            await client.download_export("1203", destination)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not destination.exists()

    await client.download_export("1203", destination)
    assert server.starts == [0, 2 * BLOCK_SIZE + 1000]
    assert destination.read_bytes() == LONG


async def test_a_progress_that_fails_ends_it(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """What the callback raises comes out as it is, not as trouble with the disk, and what has come is kept."""

    def broken(done: int, _: int | None) -> None:
        if done > 1500:
            raise BrokenPipeError("stderr is closed")

    with pytest.raises(BrokenPipeError):
        await client.download_export("1203", destination, progress=broken)
    assert server.left_open == []
    assert PartialFile(destination, "1203").path.stat().st_size == 2000


# company


async def test_a_second_download_of_the_same_is_refused(
    client: AsanaClient, server: FileServer, destination: Path
) -> None:
    """Of two calls at once for one export and one destination, one is refused; the other's file is whole."""
    if sys.platform == "win32":
        pytest.skip("there are no such locks there")
    server.content, server.piece = LONG, 100_000
    ends = await asyncio.gather(
        *(client.download_export("1203", destination) for _ in range(2)), return_exceptions=True
    )

    assert sorted(type(end).__name__ for end in ends) == ["DownloadError", type(destination).__name__]
    assert destination.read_bytes() == LONG


async def test_many_downloads_share_a_client(
    simulator: AsanaSimulator, wired: AsanaClient, tmp_path: Path
) -> None:
    """Any number of exports come at the same time, each into its own file."""
    for gid in range(1203, 1213):
        simulator.add_job(str(gid), ["succeeded"], kind="export_graph", lines=3000)
    await asyncio.gather(
        *(wired.download_export(str(gid), tmp_path / f"{gid}.gz") for gid in range(1203, 1213))
    )

    for gid in range(1203, 1213):
        assert (tmp_path / f"{gid}.gz").read_bytes() == content_of(simulator, str(gid))


# leaving


@types.coroutine
def cancelled_at(call: Coroutine[Any, Any, object], number: int) -> Generator[Any, Any, bool]:
    """Await a call and cancel it at its await of this number; whether it had that many."""
    thrown: BaseException | None = None
    for turn in range(10**9):
        try:
            waiting = call.throw(thrown) if thrown else call.send(None)
        except StopIteration:
            return False
        except asyncio.CancelledError:
            return True
        thrown = None
        try:
            if turn != number:
                yield waiting
                continue
        except BaseException as error:  # noqa: BLE001  # whatever comes from outside goes to the call
            thrown = error
            continue
        if waiting is not None:
            waiting._asyncio_future_blocking = False
        thrown = asyncio.CancelledError()
    raise AssertionError


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
async def test_cancelling_leaves_nothing_behind(
    simulator: AsanaSimulator, wired: AsanaClient, tmp_path: Path
) -> None:
    """Cancelled at any await, a download has no file open, no connection, no thread, and can be called again."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=10_000)
    simulator.fail_next(SlowDrip(0.01, piece=50_000), path=DOWNLOADS, times=None)
    whole = content_of(simulator, "1203")
    number = 0
    for number in count():
        destination = tmp_path / f"{number}.json.gz"
        was_cancelled = await cancelled_at(wired.download_export("1203", destination), number)
        assert open_files(tmp_path) == []
        assert connections(wired) == 0
        assert not destination.exists() or destination.read_bytes() == whole
        if not was_cancelled:
            break
        if number % 5 == 0:
            await wired.download_export("1203", destination)
            assert destination.read_bytes() == whole

    assert number > 20


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
async def test_closing_the_client_ends_a_download(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """A download ends at once with ClientClosedError when its client is closed, and keeps what has come."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=3000)
    simulator.fail_next(SlowDrip(1, piece=1000), path=DOWNLOADS)
    task = asyncio.create_task(wired.download_export("1203", destination))
    await asyncio.sleep(100)
    closed_at = asyncio.get_running_loop().time()
    await wired.close()
    with pytest.raises(ClientClosedError):
        await task

    assert asyncio.get_running_loop().time() - closed_at < 0.1
    assert open_files(destination.parent) == []
    assert PartialFile(destination, "1203").path.stat().st_size > 90_000


async def test_a_closed_client_refuses(wired: AsanaClient, destination: Path) -> None:
    """A closed client downloads nothing, and makes nothing."""
    await wired.close()

    with pytest.raises(ClientClosedError):
        await wired.download_export("1203", destination)
    assert list(destination.parent.iterdir()) == []


async def test_a_timeout_around_a_download_is_kept(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """`asyncio.timeout` ends it at its moment, and the next call goes on."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=3000)
    simulator.fail_next(SlowDrip(1, piece=1000), path=DOWNLOADS)
    with pytest.raises(TimeoutError) as raised:
        async with asyncio.timeout(60):
            await wired.download_export("1203", destination)
    assert not isinstance(raised.value, JobTimeoutError)
    await wired.download_export("1203", destination)

    assert "range" in simulator.downloads[1].headers
    assert destination.read_bytes() == content_of(simulator, "1203")


async def test_a_sibling_downloads_over_the_same_connections(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """A sibling that is never closed leaves no session behind when the client it came from is closed."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph")
    sibling = wired.with_token("other-token")
    await sibling.download_export("1203", destination)
    await wired.close()
    del sibling
    gc.collect()  # an unclosed session would warn, and warnings are errors

    assert destination.exists()


async def test_a_closed_sibling_leaves_the_connections(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """Closing a sibling does not break a download of the client it came from."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=3000)
    simulator.fail_next(SlowDrip(1, piece=10_000), path=DOWNLOADS)
    task = asyncio.create_task(wired.download_export("1203", destination))
    await asyncio.sleep(10)
    await wired.with_token("other-token").close()
    await task

    assert len(simulator.downloads) == 1


# the loop


async def longest_hold(work: Coroutine[Any, Any, object]) -> float:
    """The longest time the loop stood still while it did some work, not counting what other processes took."""
    task = asyncio.ensure_future(work)
    longest = 0.0
    wall, processor = time.perf_counter(), time.process_time()
    while not task.done():
        await asyncio.sleep(0)
        now, used = time.perf_counter(), time.process_time()
        longest = max(longest, min(now - wall, used - processor))
        wall, processor = now, used
    await task
    return longest


#: A simulator with a large export. In a process of its own: it makes its file on its loop.
DISTANT = """
import asyncio
from asana_jobs.testing import AsanaSimulator

async def main():
    async with AsanaSimulator() as simulator:
        simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=50_000)
        print(simulator.base_url, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def distant() -> Iterator[str]:
    """The base URL of a simulator that is not on our loop."""
    with subprocess.Popen([sys.executable, "-c", DISTANT], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.kill()


@pytest.mark.looptime(False)  # noqa: FBT003  # the mark has no name for it
@pytest.mark.parametrize("call", ["download", "iterate"])
async def test_the_loop_is_never_held(distant: str, destination: Path, call: str) -> None:
    """In real time, no turn of the loop takes 50 ms: not for decompression, nor for parsing, nor for the disk."""

    async def work(client: AsanaClient) -> None:
        if call == "download":
            await client.download_export("1203", destination)
        else:
            async for _ in client.iter_export("1203"):
                pass

    hold = 1.0
    async with AsanaClient("test-token", base_url=distant) as client:
        # What holds the loop holds it each time; a neighbour on the machine does not.
        for _ in range(3):
            hold = min(hold, await longest_hold(work(client)))
            if hold < 0.050:
                break

    assert hold < 0.050


def test_the_helper_knows_what_an_archive_is() -> None:
    """The tests' own archive is one."""
    assert gzip.decompress(archive(2)) == b'{"gid":"0"}\n{"gid":"1"}\n'
