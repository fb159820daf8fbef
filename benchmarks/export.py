"""A gibibyte to disk: `download_export` beside the loop people write with aiohttp, in turns, from one server.

    python benchmarks/export.py                      # 1 GiB from the simulator, three turns
    python benchmarks/export.py --size 256 --server files --turns 5

The server is another process: the simulator, which makes the file as it goes, or plain aiohttp sending a file
from disk, which is as fast as a server gets. The bare loop writes what comes and checks nothing; it does not even
ask the disk to keep it. ``download_export`` checks length and every checksum, and syncs the file. For each turn
the ratio of their throughputs is taken, and of these the median. Memory is the peak of the process during the
download above what it held before; the longest hold is the longest time its loop stood still.
"""

# ruff: noqa: ASYNC240  # between the measurements nothing else runs on the loop

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import attrs
from aiohttp import web
from yarl import URL

from asana_jobs import AsanaClient
from asana_jobs.testing import AsanaSimulator
from asana_jobs.testing.simulator.downloads import ExportFile


MIB = 2**20
GID = "1203"
#: What the loops in aiohttp's own documentation read at a time.
CHUNK = 2**16


@attrs.frozen
class Run:
    """One download: seconds, bytes, the processor's seconds, and the longest time the loop stood still."""

    seconds: float
    size: int
    processor: float
    hold: float

    @property
    def rate(self) -> float:
        """Mebibytes a second."""
        return self.size / MIB / self.seconds


def lines_for(size: int) -> int:
    """How many lines make an export of so many bytes."""
    return size * 1000 // ExportFile("1206000000000000", 1000).size  # a gid as long as the simulator gives


# --- the server, in a process of its own


async def serve_simulator(lines: int) -> None:
    """Say where the API is, and serve until killed."""
    async with AsanaSimulator() as simulator:
        simulator.add_job(GID, ["succeeded"], kind="export_graph", lines=lines)
        print(simulator.base_url, flush=True)
        await asyncio.Event().wait()


async def serve_files(lines: int) -> None:
    """The same with a file on disk behind the link, as fast as the system sends it."""
    with tempfile.TemporaryDirectory() as folder:
        path, file = Path(folder) / "export.json.gz", ExportFile("1206000000000000", lines)
        with path.open("wb") as made:
            made.writelines(file.read(0, file.size))
        application = web.Application()
        runner = web.AppRunner(application, access_log=None)

        async def read_job(request: web.Request) -> web.Response:
            export = {"gid": "9", "download_url": f"http://{request.host}/file?X-Amz-Signature=a%2Fb"}
            job = {"gid": GID, "resource_type": "job", "status": "succeeded", "new_graph_export": export}
            return web.json_response({"data": job})

        async def send_file(_: web.Request) -> web.FileResponse:
            return web.FileResponse(path)

        application.router.add_get("/jobs/{gid}", read_job)
        application.router.add_get("/file", send_file)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
        await asyncio.Event().wait()


SERVERS: dict[str, Callable[[int], Coroutine[None, None, None]]] = {
    "simulator": serve_simulator,
    "files": serve_files,
}


@contextmanager
def server(kind: str, lines: int) -> Generator[str, None, None]:
    """Run a server; gives its base URL."""
    command = [sys.executable, __file__, "--serve", kind, "--lines", str(lines)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # ourselves
    try:
        assert process.stdout is not None  # noqa: S101  # it is a pipe
        yield process.stdout.readline().strip()
    finally:
        process.terminate()
        process.wait()


# --- who downloads


async def bare(client: AsanaClient, path: Path) -> None:
    """The loop people write: link, GET, chunks, write."""
    job = await client.get_job(GID)
    assert job.new_graph_export is not None  # noqa: S101  # it has finished
    link = URL(job.new_graph_export.download_url or "", encoded=True)
    async with aiohttp.ClientSession(auto_decompress=False) as session, session.get(link) as answer:
        with path.open("wb") as file:  # as people do
            async for chunk in answer.content.iter_chunked(CHUNK):
                file.write(chunk)


async def bare_synced(client: AsanaClient, path: Path) -> None:
    """The same, and the disk is asked to keep it."""
    await bare(client, path)
    descriptor = os.open(path, os.O_RDWR)
    os.fsync(descriptor)
    os.close(descriptor)


async def ours(client: AsanaClient, path: Path) -> None:
    """`download_export`."""
    await client.download_export(GID, path)


async def iterated(client: AsanaClient, path: Path) -> None:
    """`iter_export`, which inflates and parses instead of writing."""
    path.touch()
    async for _ in client.iter_export(GID):
        pass


async def timed(work: Awaitable[None], path: Path) -> Run:
    """Time a download, and feel the loop's pulse meanwhile."""
    longest = 0.0

    async def feel() -> None:
        nonlocal longest
        wall, used = time.perf_counter(), time.process_time()
        while True:
            await asyncio.sleep(0.002)
            now, spent = time.perf_counter(), time.process_time()
            # What other processes took of the processor is no hold of ours.
            longest = max(longest, min(now - wall, spent - used) - 0.002)
            wall, used = now, spent

    pulse = asyncio.create_task(feel())
    began, used = time.perf_counter(), time.process_time()
    await work
    run = Run(time.perf_counter() - began, path.stat().st_size, time.process_time() - used, longest)
    pulse.cancel()
    path.unlink()
    os.sync()  # the next one's disk starts as idle as this one's did
    return run


def memory(name: str) -> int:
    """A line of /proc/self/status, in bytes; 0 where there is none."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{name}:"))


async def growth(
    client: AsanaClient, path: Path, work: Callable[[AsanaClient, Path], Awaitable[None]]
) -> int:
    """How much memory a download takes at its peak, above what is held before."""
    gc.collect()
    with Path("/proc/self/clear_refs").open("w") as file:  # noqa: ASYNC230  # the kernel answers at once
        file.write("5")  # the peak is counted from now on
    before = memory("VmRSS")
    await work(client, path)
    path.unlink()
    return memory("VmHWM") - before


async def measure(base_url: str, folder: Path, turns: int, *, iterate: bool) -> None:
    """Download in turns, and print what came out."""
    path = folder / "export.json.gz"
    async with AsanaClient("any-token", base_url=base_url) as client:
        if Path("/proc/self/clear_refs").exists():
            # First, while nothing has grown for another reason; threads and sessions count too.
            print(f"memory growth of download_export: {await growth(client, path, ours) / MIB:.1f} MiB")
            if iterate:
                print(f"memory growth of iter_export: {await growth(client, path, iterated) / MIB:.1f} MiB")
        plain, synced = list[float](), list[float]()
        for turn in range(turns):
            # Neither is always the one that finds the disk tired.
            works = [bare, ours, bare_synced] if turn % 2 == 0 else [bare_synced, ours, bare]
            runs = {work: await timed(work(client, path), path) for work in works}
            for work, run in runs.items():
                print(
                    f"turn {turn + 1} {work.__name__:12} {run.size / MIB:7.1f} MiB {run.seconds:7.2f} s "
                    f"{run.rate:7.1f} MiB/s {run.processor:6.2f} s CPU, longest hold {run.hold * 1000:5.1f} ms"
                )
            plain.append(runs[ours].rate / runs[bare].rate)
            synced.append(runs[ours].rate / runs[bare_synced].rate)
        if iterate:
            run = await timed(iterated(client, path), path)
            print(f"iter_export {run.seconds:.2f} s, longest hold {run.hold * 1000:.1f} ms")
    print(
        f"throughput of download_export / bare loop: median {statistics.median(plain):.2f} of {_list(plain)}"
    )
    print(
        f"                       / bare loop + fsync: median {statistics.median(synced):.2f} of {_list(synced)}"
    )


def _list(ratios: list[float]) -> str:
    return " ".join(f"{ratio:.2f}" for ratio in ratios)


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=float, default=1024, metavar="MIB", help="of the export (%(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="downloads of each kind (%(default)s)")
    parser.add_argument("--server", choices=sorted(SERVERS), default="simulator", help="(%(default)s)")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one if not given")
    parser.add_argument("--iterate", action="store_true", help="measure iter_export too")
    parser.add_argument("--serve", choices=sorted(SERVERS), help=argparse.SUPPRESS)
    parser.add_argument("--lines", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        asyncio.run(SERVERS[arguments.serve](arguments.lines))
        return
    lines = lines_for(int(arguments.size * MIB))
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        server(arguments.server, lines) as base_url,
    ):
        print(f"{arguments.size:g} MiB from {arguments.server}, {lines} lines, {arguments.turns} turns")
        asyncio.run(measure(base_url, Path(folder), arguments.turns, iterate=arguments.iterate))


if __name__ == "__main__":
    main()
