"""Many waits at a large pace: how soon the first look is, how much of the budget is used, and what a look costs.

The same jobs are watched by a fleet of workers and then by one process, each with processes of its own, at the same
pace. Seconds of processor time are those of the kernel (user and system), which a busy machine makes a little dearer,
so what a fixed piece of work costs at that moment stands beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
from distributed import described, lags, redis_server, workload
from machines import TOKEN, machines

from asana_jobs import AsanaClient, RateLimits
from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator, SimulatorLimits
from asana_jobs.worker import JobQueue


#: Seconds in which the first look is to be sent, from when the first worker was ready.
FIRST_LOOK: Final = 5.0
#: Milliseconds of a worker's processor that a look may take.
MOST_MILLISECONDS: Final = 0.7
#: The fleet's mean lag may be so many times that of one process.
MOST_LAG: Final = 1.2
#: Seconds of processor in which that many are to be put in.
MANY: Final = 100_000
MOST_SECONDS: Final = 20.0


def processor(pids: Sequence[int]) -> float:
    """Return the seconds of processor time that processes have used."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def reference() -> float:
    """Return the milliseconds of processor time of a fixed piece of Python, at its best of five."""
    best = 1e9
    for _ in range(5):
        began, count = time.process_time(), 0
        for number in range(300_000):
            count += number
        json.dumps([{"a": number} for number in range(6000)])
        best = min(best, 1000 * (time.process_time() - began))
    return best


@attrs.frozen
class Watched:
    """What came of watching the jobs once.

    Attributes:
        first: Seconds from the start of the processes until the first look; Python and its modules take most of that.
        at: When that was, in seconds since 1970.
        pace: Looks in a minute, from then on until there were as many as jobs: there was always one to be sent.
        cost: Milliseconds of the watching processes for each look, once half of the jobs were looked at.
        redis: The same of Redis.
        lag: How late the end of each job was seen, in seconds.
    """

    first: float
    at: float
    pace: float
    cost: float
    redis: float
    lag: list[float]

    def row(self, name: str) -> str:
        """Write it as a line."""
        return (
            f"{name:<12} first look {self.first:.1f} s, {self.pace:.0f} looks a minute, lag {described(self.lag)},"
            f" processor time a look {self.cost:.2f} ms and {self.redis:.2f} ms in Redis"
        )


async def observe(simulator: AsanaSimulator, gids: list[str], pids: list[int], redis: list[int]) -> Watched:
    """Watch those who watch, until each job was seen to have ended."""
    began = time.monotonic()
    while not simulator.requests:  # noqa: ASYNC110  # other processes do it
        await asyncio.sleep(0.01)
    first, at, then = time.monotonic() - began, time.time(), time.monotonic()
    used, used_redis, counted = 0.0, 0.0, 0
    offset = asyncio.get_running_loop().time() - simulator.time.elapsed()
    pace, told, ended = 0.0, 0, set[str]()
    while len(ended) < len(gids):
        await asyncio.sleep(0.2)
        records = simulator.requests[told:]
        told += len(records)
        for record in records:
            gid = record.path.rpartition("/")[2]
            if record.time - offset >= simulator.jobs[gid].ended:
                ended.add(gid)
        if not counted and told >= len(gids) / 2:
            used, used_redis, counted = processor(pids), processor(redis), told
        if not pace and told >= len(gids):
            pace = 60 * told / (time.monotonic() - then)
    return Watched(
        first=first,
        at=at,
        pace=pace,
        cost=1000 * (processor(pids) - used) / (told - counted),
        redis=1000 * (processor(redis) - used_redis) / (told - counted),
        lag=lags(simulator, gids),
    )


async def _ready(url: str, workers: int) -> tuple[float, float]:
    """Return when the first worker was ready, and the last, in seconds since 1970."""
    async with JobQueue(url) as queue:
        while len(found := (await queue.status()).workers) < workers:  # noqa: ASYNC110  # other processes do it
            await asyncio.sleep(0.05)
    since = [worker.since.timestamp() for worker in found]
    return min(since), max(since)


def _simulator(per_minute: int) -> AsanaSimulator:
    return AsanaSimulator(limits=SimulatorLimits(requests_per_minute=per_minute))


async def pace(options: argparse.Namespace) -> bool:
    """Watch the same jobs with workers and in one process, at the same pace."""
    waits, per_minute = options.waits, options.per_minute
    print(f"{waits} waits at {per_minute} requests a minute; the piece of Python takes {reference():.0f} ms")
    async with redis_server() as redis, _simulator(per_minute) as simulator:
        gids = workload(simulator, waits, 1)
        async with JobQueue(redis.url) as queue:
            await queue.watch_many(gids)
        assert redis.process is not None  # noqa: S101  # it was started
        async with machines(
            redis, simulator.base_url, options.workers, concurrency=20, per_minute=per_minute
        ) as workers:
            pids = [worker.pid for worker in workers]
            started, ready = time.time(), asyncio.create_task(_ready(redis.url, options.workers))
            fleet = await observe(simulator, gids, pids, [redis.process.pid])
            soonest, latest = await ready
            print(
                f"the workers were ready after {soonest - started:.1f} to {latest - started:.1f} s, and the first look was"
                f" {fleet.at - soonest:.1f} s after the first of them"
            )
        print(fleet.row(f"{options.workers} workers"), flush=True)
        refused = simulator.rejected
    async with _simulator(per_minute) as simulator:
        gids = workload(simulator, waits, 1)
        words = [__file__, simulator.base_url, str(per_minute), str(waits)]
        process = subprocess.Popen([sys.executable, *words])  # noqa: S603, ASYNC220  # ourselves
        single = await observe(simulator, gids, [process.pid], [])
        await asyncio.to_thread(process.wait)
        print(single.row("one process"))
    ratio = statistics.mean(fleet.lag) / statistics.mean(single.lag)
    print(
        f"the fleet's lag is {ratio:.2f} of that of one process, its pace {fleet.pace / single.pace:.2f}; {refused} 429s;"
        f" the piece of Python takes {reference():.0f} ms"
    )
    return (
        fleet.at - soonest < FIRST_LOOK
        and fleet.cost < MOST_MILLISECONDS
        and ratio <= MOST_LAG
        and not refused
    )


async def many(options: argparse.Namespace) -> bool:
    """Put a hundred thousand starts in, and say how long that takes."""
    del options
    print(f"the piece of Python takes {reference():.0f} ms")
    async with redis_server() as redis, JobQueue(redis.url) as queue:
        assert redis.process is not None  # noqa: S101  # it was started
        before, before_redis = time.process_time(), processor([redis.process.pid])
        began = time.monotonic()
        keys = await queue.enqueue_many(
            {f"copy-{number}": DuplicateProject("1203", name=f"Copy {number}") for number in range(MANY)}
        )
        took, used = time.monotonic() - began, time.process_time() - before
        used_redis = processor([redis.process.pid]) - before_redis
    print(
        f"{len(keys)} starts put in within {took:.1f} s; processor time {used:.1f} s here and {used_redis:.1f} s in Redis;"
        f" the piece of Python takes {reference():.0f} ms"
    )
    return used + used_redis < MOST_SECONDS


async def main() -> None:
    """Be the one process."""
    base_url, per_minute, waits = sys.argv[1:]
    limits = RateLimits(requests_per_minute=float(per_minute))
    gids = [str(1_210_000_000_000_000 + number) for number in range(int(waits))]
    async with (
        AsanaClient(TOKEN, base_url=base_url, limits=limits) as asana,
        asana.monitor_jobs(gids) as monitor,
    ):
        async for _ in monitor:
            pass


if __name__ == "__main__":
    asyncio.run(main())
