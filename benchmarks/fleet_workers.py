"""Many machines, one budget: workers are killed, Redis is killed, and nothing may be lost or done twice.

    python benchmarks/fleet_workers.py                    # 500 waits, 100 starts, 3 workers, about two minutes
    python benchmarks/fleet_workers.py --calm             # the same without killing anybody, for the lag

Needs the extra ``worker`` and redis-server. The simulator enforces 1500 requests in any minute and 5 running jobs;
it runs in this process, the workers in processes of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from asana_jobs import AsanaClient, RateLimits
from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator, SimulatorLimits
from asana_jobs.worker import JobQueue, Result, run_worker


TOKEN = "1/1201234567890123:0123456789abcdef0123456789abcdef"  # noqa: S105  # the simulator takes any
PER_MINUTE = 1500


class Redis:
    """A redis-server with its append-only file on, to be killed."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = tempfile.mkdtemp(prefix="fleet-redis-")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, on what it had written before."""
        self.process = subprocess.Popen(  # noqa: S603  # our own server
            [
                *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder),
                *("--appendonly", "yes", "--save", ""),
            ],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def dump(self) -> str:
        """Return all that was ever written."""
        files = (path for path in Path(self.folder).rglob("*") if path.is_file())
        return self.command("KEYS *") + "".join(path.read_bytes().decode(errors="replace") for path in files)

    def command(self, *words: str) -> str:
        """Send one command over a plain socket."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall((" ".join(words) + "\r\n").encode())
            connection.settimeout(0.3)
            answer = b""
            with contextlib.suppress(TimeoutError):
                while chunk := connection.recv(1 << 20):
                    answer += chunk
        return answer.decode(errors="replace")


def start_worker(url: str, base_url: str, concurrency: int) -> subprocess.Popen[bytes]:
    """Start a worker in a process of its own."""
    return subprocess.Popen(  # noqa: S603  # ourselves
        [
            sys.executable,
            __file__,
            "--worker",
            url,
            "--base-url",
            base_url,
            "--concurrency",
            str(concurrency),
        ],
        env={**os.environ, "ASANA_ACCESS_TOKEN": TOKEN},
    )


def workload(simulator: AsanaSimulator, waits: int, seed: int) -> list[str]:
    """Make jobs that take 10 to 60 seconds."""
    draw = random.Random(seed)
    gids = [str(1_210_000_000 + number) for number in range(waits)]
    for gid in gids:
        simulator.add_job(gid, [(0.0, "in_progress"), (draw.uniform(10, 60), "succeeded")])
    return gids


def lags(simulator: AsanaSimulator, gids: list[str]) -> list[float]:
    """Return how long after its end each job was seen to have ended, by the last look at it."""
    start = asyncio.get_running_loop().time() - simulator.time.elapsed()
    seen = {
        record.path.rpartition("/")[2]: record.time - start
        for record in simulator.requests
        if record.method == "GET"
    }
    return [seen[gid] - simulator.jobs[gid].ended for gid in gids if gid in seen]


@asynccontextmanager
async def disaster(
    redis: Redis, workers: list[subprocess.Popen[bytes]], *, calm: bool
) -> AsyncGenerator[None, None]:
    """Kill one worker, stop another one, and kill Redis, one after the other."""

    async def strike() -> None:
        await asyncio.sleep(12)
        workers[0].kill()
        print("  12 s: worker 0 killed")
        await asyncio.sleep(6)
        redis.kill()
        print("  18 s: Redis killed")
        await asyncio.sleep(4)
        redis.start()
        print("  22 s: Redis restarted")
        await asyncio.sleep(6)
        began = time.monotonic()
        workers[1].send_signal(signal.SIGTERM)
        await asyncio.to_thread(workers[1].wait)
        print(
            f"  28 s: worker 1 told to stop, and ended {time.monotonic() - began:.1f} s later: {workers[1].poll()}"
        )

    task = asyncio.create_task(strike()) if not calm else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.wait([task])


async def collect(url: str, expected: int) -> Counter[str]:
    """Read results until all have come and for two seconds more; Redis may be away meanwhile."""
    came: Counter[str] = Counter()
    errors: Counter[str] = Counter()

    async def read() -> None:
        while True:
            with contextlib.suppress(Exception):
                async with JobQueue(url) as queue:
                    async for result in queue.results():
                        came[result.key] += 1
                        if result.error is not None:
                            errors[str(result.error)[:100]] += 1
            await asyncio.sleep(0.2)

    reading = asyncio.create_task(read())
    shown = time.monotonic()
    while len(came) < expected and not reading.done():
        await asyncio.sleep(0.1)
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            print(f"  {len(came)} of {expected} results")
    await asyncio.sleep(2)
    reading.cancel()
    await asyncio.wait([reading])
    for error, count in errors.items():
        print(f"  {count} x {error}")
    return came


async def single(waits: int) -> list[float]:
    """Watch the same jobs in one process, for comparison."""
    async with (
        AsanaSimulator(limits=SimulatorLimits(requests_per_minute=PER_MINUTE)) as simulator,
        AsanaClient(
            TOKEN, base_url=simulator.base_url, limits=RateLimits(requests_per_minute=PER_MINUTE)
        ) as asana,
    ):
        gids = workload(simulator, waits, 1)
        async with asana.monitor_jobs(gids) as monitor:
            async for _ in monitor:
                pass
        return lags(simulator, gids)


async def fleet(options: argparse.Namespace) -> bool:
    """Run the fleet, and say what came of it."""
    redis = Redis()
    redis.start()
    limits = SimulatorLimits(requests_per_minute=PER_MINUTE, jobs_running=5)
    workers: list[subprocess.Popen[bytes]] = []
    try:
        async with AsanaSimulator(limits=limits) as simulator:
            gids = workload(simulator, options.waits, 1)
            async with JobQueue(redis.url) as queue:
                for number in range(options.starts):
                    await queue.enqueue(DuplicateProject("1203", name=f"Copy {number}"), key=f"copy-{number}")
                before = used_memory(redis)
                for gid in gids:
                    await queue.watch(gid)
                print(
                    f"{(used_memory(redis) - before) / max(1, len(gids)):.0f} bytes of Redis per pending wait"
                )
            workers += [start_worker(redis.url, simulator.base_url, 4) for _ in range(options.workers)]
            began = time.monotonic()
            async with disaster(redis, workers, calm=options.calm):
                came = await collect(redis.url, options.waits + options.starts)
            took = time.monotonic() - began
            for worker in workers:
                if worker.poll() is None:
                    worker.terminate()
            await asyncio.to_thread(lambda: [worker.wait(20) for worker in workers])
            names = Counter(job.result["name"] for job in simulator.started if job.result)
            late = lags(simulator, gids)
            dump = redis.dump()
            print(
                f"took {took:.0f} s, {len(simulator.requests)} requests, {len(simulator.started)} jobs started"
            )
            print(
                f"results: {len(came)} waits, {sum(came.values())} delivered, {max(came.values())} at most for one"
            )
            print(f"started twice: {sum(count > 1 for count in names.values())}")
            print(f"busiest minute {simulator.busiest_minute} of {PER_MINUTE}, 429s {simulator.rejected}")
            print(f"most running {simulator.peak_jobs_running} of 5")
            print(
                f"lag of waits: mean {statistics.mean(late):.2f} s, p95 {statistics.quantiles(late, n=20)[-1]:.2f} s"
            )
            print(f"token in Redis: {TOKEN in dump or TOKEN.rpartition(':')[2] in dump}")
            return (
                len(came) == options.waits + options.starts == sum(came.values())
                and max(names.values(), default=0) <= 1
                and simulator.rejected == 0
                and simulator.busiest_minute <= PER_MINUTE
                and simulator.peak_jobs_running <= 5
                and TOKEN not in dump
            )
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()
        redis.kill()


def used_memory(redis: Redis) -> int:
    """Return the bytes that Redis uses for its data."""
    lines = redis.command("INFO memory").splitlines()
    return int(next(line for line in lines if line.startswith("used_memory:")).partition(":")[2])


async def main() -> int:
    """Do what the command line says; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--waits", type=int, default=500)
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--calm", action="store_true")
    parser.add_argument("--worker", metavar="URL")
    parser.add_argument("--base-url")
    parser.add_argument("--concurrency", type=int, default=4)
    options = parser.parse_args()
    if options.worker:
        logging.getLogger("docket").setLevel(logging.CRITICAL)  # it shows every attempt to reach Redis

        async def nothing(_: Result) -> None:
            """Stand for a user's handler."""

        limits = RateLimits(requests_per_minute=PER_MINUTE)
        await run_worker(
            options.worker,
            base_url=options.base_url,
            limits=limits,
            concurrency=options.concurrency,
            on_finished=nothing,
        )
        return 0
    good = await fleet(options)
    if options.calm:
        late = await single(options.waits)
        print(
            f"one process: mean {statistics.mean(late):.2f} s, p95 {statistics.quantiles(late, n=20)[-1]:.2f} s"
        )
    print("good" if good else "NOT GOOD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
