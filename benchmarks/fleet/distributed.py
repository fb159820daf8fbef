"""Many machines, one budget: what they lose when they are killed, how late they are, and what a wait costs.

The simulator enforces 1500 requests in any minute and 5 running jobs; it runs in this process, the workers in processes
of their own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import shutil
import signal
import statistics
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from machines import PER_MINUTE, TOKEN, UNLIMITED, Redis, Workers, machines

from asana_jobs import AsanaClient, RateLimits
from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator, SimulatorLimits
from asana_jobs.worker import JobQueue


LIMITS: Final = SimulatorLimits(requests_per_minute=PER_MINUTE, jobs_running=5)
#: The fleet's mean lag may be so many times that of one process.
MOST_LAG: Final = 1.5
#: Seconds in which a start among waits is to be under way.
MOST_DELAY: Final = 1.0
#: Bytes of Redis that a wait may take up.
MOST_BYTES: Final = 2000


def workload(
    simulator: AsanaSimulator, waits: int, seed: int, least: float = 10, most: float = 60
) -> list[str]:
    """Make jobs that take 10 to 60 seconds."""
    draw = random.Random(seed)
    gids = [str(1_210_000_000_000_000 + number) for number in range(waits)]
    for gid in gids:
        simulator.add_job(gid, [(0.0, "in_progress"), (draw.uniform(least, most), "succeeded")])
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


def described(values: list[float]) -> str:
    """Return the mean and the 95th percentile of some seconds."""
    return f"mean {statistics.mean(values):.2f} s, p95 {statistics.quantiles(values, n=20)[-1]:.2f} s"


@asynccontextmanager
async def redis_server() -> AsyncGenerator[Redis, None]:
    """Run a Redis of our own."""
    redis = Redis()
    redis.start()
    try:
        yield redis
    finally:
        redis.kill()
        shutil.rmtree(redis.folder, ignore_errors=True)


async def watch(redis: Redis, gids: list[str]) -> None:
    """Put waits into the queue."""
    async with JobQueue(redis.url) as queue:
        for gid in gids:
            await queue.watch(gid)


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
            print(f"  {len(came)} of {expected} results", flush=True)
    await asyncio.sleep(2)
    reading.cancel()
    await asyncio.wait([reading])
    for error, count in errors.items():
        print(f"  {count} x {error}")
    return came


@asynccontextmanager
async def disaster(redis: Redis, workers: Workers) -> AsyncGenerator[None, None]:
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
        took = time.monotonic() - began
        print(f"  28 s: worker 1 told to stop, and ended {took:.1f} s later: {workers[1].poll()}")

    task = asyncio.create_task(strike())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def survive(options: argparse.Namespace) -> bool:
    """Kill everything once, and say what was lost."""
    waits, starts = options.waits, options.starts
    async with redis_server() as redis, AsanaSimulator(limits=LIMITS) as simulator:
        gids = workload(simulator, waits, 1)
        async with JobQueue(redis.url) as queue:
            for number in range(starts):
                await queue.enqueue(DuplicateProject("1203", name=f"Copy {number}"), key=f"copy-{number}")
        await watch(redis, gids)
        began = time.monotonic()
        async with machines(redis, simulator.base_url, options.workers) as workers:
            async with disaster(redis, workers):
                came = await collect(redis.url, waits + starts)
            took = time.monotonic() - began
        names = Counter(job.result["name"] for job in simulator.started if job.result)
        dump = redis.dump()
        shown = TOKEN in dump or TOKEN.rpartition(":")[2] in dump
        print(f"took {took:.0f} s, {len(simulator.requests)} requests, {len(simulator.started)} jobs started")
        print(
            f"results: {len(came)} waits, {sum(came.values())} delivered, {max(came.values())} at most for one"
        )
        print(f"started twice: {sum(count > 1 for count in names.values())}")
        print(f"busiest minute {simulator.busiest_minute} of {PER_MINUTE}, 429s {simulator.rejected}")
        print(f"most running {simulator.peak_jobs_running} of 5")
        print(f"lag of waits: {described(lags(simulator, gids))}")
        print(f"token in Redis: {shown}")
        return (
            len(came) == waits + starts == sum(came.values())
            and max(names.values(), default=0) <= 1
            and simulator.rejected == 0
            and simulator.busiest_minute <= PER_MINUTE
            and simulator.peak_jobs_running <= 5
            and not shown
        )


async def compare(options: argparse.Namespace) -> bool:
    """Watch the same jobs with workers and in one process, with the same budget."""
    async with redis_server() as redis, AsanaSimulator(limits=LIMITS) as simulator:
        gids = workload(simulator, options.waits, 1)
        await watch(redis, gids)
        async with machines(redis, simulator.base_url, options.workers):
            await collect(redis.url, options.waits)
        fleet = lags(simulator, gids)
        print(f"{options.workers} workers:   {described(fleet)}, {len(simulator.requests)} requests")
    limits = RateLimits(requests_per_minute=PER_MINUTE)
    async with (
        AsanaSimulator(limits=LIMITS) as simulator,
        AsanaClient(TOKEN, base_url=simulator.base_url, limits=limits) as asana,
    ):
        gids = workload(simulator, options.waits, 1)
        async with asana.monitor_jobs(gids) as monitor:
            async for _ in monitor:
                pass
        single = lags(simulator, gids)
        print(f"one process: {described(single)}, {len(simulator.requests)} requests")
    ratio = statistics.mean(fleet) / statistics.mean(single)
    print(f"the fleet's lag is {ratio:.2f} of that of one process")
    return ratio <= MOST_LAG


async def overtake(options: argparse.Namespace) -> bool:
    """Put starts into a queue in which waits are pending, and see how soon they are under way."""
    async with redis_server() as redis, AsanaSimulator(limits=LIMITS) as simulator:
        gids = workload(simulator, options.waits, 1, 120, 240)
        await watch(redis, gids)
        async with machines(redis, simulator.base_url, 2), JobQueue(redis.url) as queue:
            while not simulator.requests:  # noqa: ASYNC110  # other processes do it
                await asyncio.sleep(0.005)
            took: list[float] = []
            for number in range(11):
                if number == 1:
                    await asyncio.sleep(15)
                began, started = time.monotonic(), len(simulator.started)
                await queue.enqueue(DuplicateProject("1203", name=f"Copy {number}"))
                while len(simulator.started) == started and time.monotonic() - began < 10:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                took.append(time.monotonic() - began)
                await asyncio.sleep(1.5)
    first, *later = took
    print(
        f"from enqueue to POST among {options.waits} waits: {first:.2f} s when the workers have just begun,"
    )
    print(f"later mean {statistics.mean(later):.2f} s, longest {max(later):.2f} s")
    return max(took) < MOST_DELAY


async def weigh(options: argparse.Namespace) -> bool:
    """Say what pending waits take up in Redis, when they are put in and once they were looked at."""
    count: int = options.pending
    unlimited = SimulatorLimits(requests_per_minute=UNLIMITED)
    async with redis_server() as redis, AsanaSimulator(limits=unlimited) as simulator:
        empty = redis.used_memory()
        gids = workload(simulator, count, 1, 6000, 9000)
        began = time.monotonic()
        await watch(redis, gids)
        new = (redis.used_memory() - empty) / count
        print(f"{count} waits put in within {time.monotonic() - began:.0f} s: {new:.0f} bytes of Redis each")
        async with machines(redis, simulator.base_url, 2, concurrency=20, per_minute=UNLIMITED):
            seen = 0
            while seen < count and time.monotonic() - began < 300:
                await asyncio.sleep(1)
                seen = len({record.path for record in simulator.requests})
            used = (redis.used_memory() - empty) / count
        print(f"{seen} of them looked at after {time.monotonic() - began:.0f} s: {used:.0f} bytes each")
    return seen == count and max(new, used) < MOST_BYTES


WORKER_PARTS: Final = {"disaster": survive, "lag": compare, "starts": overtake, "memory": weigh}
