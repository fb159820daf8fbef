"""A download goes on where it stopped: after cuts, dead links, and after its process was killed.

Run as a program, this module is the process that is killed: it forks children that download, so that Python starts
once and not a hundred times.
"""

# ruff: noqa: ASYNC240  # nobody else is on these loops

import asyncio
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial, partialmethod
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from file_server import FileServer, archive, exports

from asana_jobs import AsanaClient
from asana_jobs._client.exports.download import PartialFile
from asana_jobs.testing import AsanaSimulator, Reset, SlowDrip, Truncated
from asana_jobs.testing._scripted_transport import ScriptedTransport
from asana_jobs.testing.simulator.downloads import ExportFile


DOWNLOADS = "*/download/*"
#: What may be fetched twice after a cut.
TWICE = 64 * 1024

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX processes")


@pytest.fixture
def destination(tmp_path: Path) -> Path:
    """Where the file is to be written."""
    return tmp_path / "export.json.gz"


def add_export(simulator: AsanaSimulator, lines: int) -> bytes:
    """Make export 1203 exist, and return its file."""
    job = simulator.add_job("1203", ["succeeded"], kind="export_graph", lines=lines)
    file = ExportFile(str(job.result["gid"]), lines)
    return b"".join(file.read(0, file.size))


def fetched_twice(simulator: AsanaSimulator, size: int) -> list[int]:
    """For each connection after the first, how many bytes it fetched that had been sent before."""
    sent, twice = 0, list[int]()
    for record in simulator.downloads:
        if record.status not in {200, 206}:
            continue
        start = int(record.headers.get("range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        twice.append(sent - start)
        fault = record.fault
        sent = start + int((size - start) * fault.share) if isinstance(fault, Truncated) else size
    return twice[1:]


@pytest.mark.parametrize("disk", ["fast", "slow"])
async def test_cuts_and_dead_links_cost_next_to_nothing(
    simulator: AsanaSimulator,
    wired: AsanaClient,
    destination: Path,
    monkeypatch: pytest.MonkeyPatch,
    disk: str,
) -> None:
    """Twenty cuts and three dead links: the file is the same, and no cut costs more than 64 KiB, on any disk."""
    whole = add_export(simulator, 50_000)
    dice = random.Random(disk)  # noqa: S311  # the same cuts each time
    for _ in range(20 + 3):  # a dead link uses one up
        simulator.fail_next(Truncated(dice.uniform(0.01, 0.2)), path=DOWNLOADS)
    deaths = [len(whole) * part // 10 for part in (2, 4, 6)]

    def kill_links(done: int, _: int | None) -> None:
        if deaths and done > deaths[0]:
            del deaths[0]
            simulator.expire_links()

    if disk == "slow":
        write = PartialFile.write

        def write_slowly(partial: PartialFile, *pieces: bytes) -> None:
            time.sleep(0.005)
            write(partial, *pieces)

        monkeypatch.setattr(PartialFile, "write", write_slowly)
    await wired.download_export("1203", destination, progress=kill_links)

    assert destination.read_bytes() == whole
    statuses = [record.status for record in simulator.downloads]
    assert statuses.count(403) == 3
    assert statuses.count(206) == 20
    twice = fetched_twice(simulator, len(whole))
    assert len(twice) == 20
    assert 0 <= min(twice) <= max(twice) <= TWICE


async def test_what_waits_in_the_buffer_is_bounded(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """However long the reader stays away while the connection breaks, 64 KiB are lost at most."""
    whole = add_export(simulator, 5_000)
    calls = wired._stream  # pyright: ignore[reportPrivateUsage]
    from asana_jobs._client.waiting.job_reference import read_subject

    for share in (0.3, 0.5, 0.1, 0.9, 0.05):
        simulator.fail_next(Truncated(share), path=DOWNLOADS)
    stream = calls(read_subject("1203"))
    content = b""
    while piece := await stream.read():
        content += piece
        await asyncio.sleep(1)  # what can arrive arrives

    assert content == whole
    assert max(fetched_twice(simulator, len(whole))) <= TWICE


async def test_reset_connections_are_outlived(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """Connections that are reset before they answer are made again."""
    whole = add_export(simulator, 5_000)
    simulator.fail_next(Truncated(0.5), path=DOWNLOADS)
    simulator.fail_next(Reset(), path=DOWNLOADS, times=4)
    await wired.download_export("1203", destination)

    assert destination.read_bytes() == whole


async def test_a_link_that_dies_of_age_is_renewed(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """A cut after the link's five minutes makes the client read the job once more, and go on."""
    whole = add_export(simulator, 500)
    simulator.fail_next(SlowDrip(20, piece=1000), path=DOWNLOADS)
    task = asyncio.create_task(wired.download_export("1203", destination))
    await asyncio.sleep(900)
    origins = simulator._origins  # pyright: ignore[reportPrivateUsage]
    await origins.file_server.refuse(0.01)  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
    await task

    assert destination.read_bytes() == whole
    assert [record.status for record in simulator.downloads] == [200, 403, 206]
    assert len(simulator.requests.where(path="/jobs/1203")) == 2


async def test_the_next_call_goes_on(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """A cancelled download is gone on with by the next call, at the byte its progress had come to."""
    whole = add_export(simulator, 5_000)
    simulator.fail_next(SlowDrip(1, piece=10_000), path=DOWNLOADS)
    seen: list[int] = []
    task = asyncio.create_task(
        wired.download_export("1203", destination, progress=lambda done, _: seen.append(done))
    )
    await asyncio.sleep(30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    again: list[int] = []
    await wired.download_export("1203", destination, progress=lambda done, _: again.append(done))

    assert seen[-1] > 200_000
    assert again[0] == seen[-1]
    assert simulator.downloads[1].headers["range"] == f"bytes={seen[-1]}-"
    assert "if-match" in simulator.downloads[1].headers
    assert destination.read_bytes() == whole


async def test_another_client_goes_on(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """What one client left, another one goes on with: nothing is kept in memory."""
    whole = add_export(simulator, 5_000)
    simulator.fail_next(SlowDrip(1, piece=10_000), path=DOWNLOADS)
    task = asyncio.create_task(wired.download_export("1203", destination))
    await asyncio.sleep(30)
    await wired.close()
    await asyncio.wait([task])
    assert task.exception() is not None
    async with AsanaClient("other-token", base_url=simulator.base_url) as other:
        await other.download_export("1203", destination)

    assert simulator.downloads[1].status == 206
    assert destination.read_bytes() == whole


async def test_a_file_that_only_lacks_its_name_is_not_fetched_again(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """Killed between the last byte and the rename, a download is finished by the next call without a byte."""
    whole = add_export(simulator, 5_000)
    await wired.download_export("1203", destination)
    left = PartialFile(destination, "1203")
    destination.rename(left.path)
    note = left.path.with_name(f"{left.path.name}.json")
    note.write_text(json.dumps({"v": 1, "etag": ExportFile(_export_gid(simulator), 5_000).etag}))
    await wired.download_export("1203", destination)

    assert [record.status for record in simulator.downloads] == [200, 416]
    assert destination.read_bytes() == whole
    assert list(destination.parent.iterdir()) == [destination]


def _export_gid(simulator: AsanaSimulator) -> str:
    return str(simulator.jobs["1203"].result["gid"])


async def test_what_is_left_of_another_version_is_replaced(
    simulator: AsanaSimulator, wired: AsanaClient, destination: Path
) -> None:
    """Bytes of a version that is no more are replaced, in one call."""
    whole = add_export(simulator, 5_000)
    left = PartialFile(destination, "1203")
    left.open()
    left.begin('"old"')
    left.write(archive())
    left.close()
    await wired.download_export("1203", destination)

    assert [record.status for record in simulator.downloads] == [412, 200]
    assert destination.read_bytes() == whole


# SIGKILL


@posix
@pytest.mark.timeout(110)
def test_a_killed_download_leaves_all_or_nothing() -> None:
    """Killed at any touch of the disk, it leaves the old file or the new one; the next call finishes it."""
    shared = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": shared},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    assert report["kills"] > 15
    assert report["resumed"] > 5
    assert report["found whole"] > 0


OLD, NEW = gzip.compress(b"old"), gzip.compress(os.urandom(2_500_000), 0)
#: What touches the disk, and where it is looked up.
TOUCHES: list[tuple[Any, str]] = [
    (os, "open"),
    (os, "fsync"),
    (Path, "replace"),
    (Path, "unlink"),
    (Path, "write_text"),
    (PartialFile, "write"),
    (PartialFile, "restart"),
]


def die_at(number: int) -> None:
    """Have this process killed at its touch of the disk of this number; even numbers before it, odd ones after."""
    moments = count()

    def touch(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if next(moments) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        value = original(*args, **kwargs)
        if next(moments) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return value

    for owner, name in TOUCHES:
        original = getattr(owner, name)
        if owner is os:
            setattr(owner, name, partial(touch, original))
        else:
            setattr(owner, name, partialmethod(_bound, touch, original))


def _bound(
    self: Any, touch: Callable[..., Any], original: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    return touch(original, self, *args, **kwargs)


async def fetch(destination: Path) -> list[int]:
    """Download the new file; the bytes that were asked for."""
    transport, server = ScriptedTransport(), FileServer(NEW, piece=100_000, cuts=[700_000])
    exports(transport)
    async with AsanaClient("test-token", transport=transport) as client:
        client._downloads = server  # pyright: ignore[reportPrivateUsage]
        await client.download_export("1203", destination)
    return server.starts


def fork(work: Callable[[], object]) -> bool:
    """Do some work in a child; whether it ended by itself."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFEXITED(status)


def main() -> None:
    """Kill a download at each of its touches of the disk, and look at what is left."""
    report: dict[str, Any] = {"wrong": [], "kills": 0, "resumed": 0, "found whole": 0}
    for number in count():
        with tempfile.TemporaryDirectory() as folder:
            destination = Path(folder) / "export.json.gz"
            destination.write_bytes(OLD)

            def killed(number: int = number, destination: Path = destination) -> None:
                die_at(number)
                asyncio.run(fetch(destination))

            survived = fork(killed)
            found = destination.read_bytes()
            starts = asyncio.run(fetch(destination))
            whole = destination.read_bytes() == NEW
            left = [path.name for path in Path(folder).iterdir()]
            if found not in {OLD, NEW} or not whole or left != [destination.name]:
                report["wrong"].append([number, len(found), whole, left])
            report["resumed"] += starts[0] > 0
            report["found whole"] += found == NEW
            if survived:
                break
            report["kills"] += 1
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main()
