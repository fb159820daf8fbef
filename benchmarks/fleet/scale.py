"""Ten thousand watched jobs against a hundred: processor time per look and memory per parked wait."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Awaitable, Callable
from concurrent.futures import ProcessPoolExecutor
from math import inf
from multiprocessing import get_context
from pathlib import Path
from time import process_time
from typing import Final, TypeAlias

from in_process import FleetServer, virtually
from policies import SCORED, client_of
from workload import Start

from asana_jobs import AsanaClient, PollPolicy, RateLimits


FEW: Final = 100
MANY: Final = 10_000
#: Looks whose processor time is measured, after as many that are not.
LOOKS: Final = 10_000
#: Measurements of each, of which the best counts: the machine may have other things to do.
ROUNDS: Final = 5
#: Jobs whose memory is measured, as the process grows, and as Python allocates it, which takes long to follow.
MONITORED_JOBS, AWAITED_JOBS, TRACED_JOBS = 100_000, 50_000, 4000
#: Looks a second: the budget decides, however few the jobs are, and one look comes after the other.
A_SECOND: Final = 300
BUSY: Final = RateLimits(requests_per_minute=60 * A_SECOND, poll_share=1.0)
#: Every job is looked at once or twice, and then all of them are parked for long.
PARKED: Final = PollPolicy(lag_price=1.0, maximum=10_000)
UNLIMITED: Final = RateLimits(requests_per_minute=1e9, reads_in_flight=1000)

Wait: TypeAlias = Callable[[AsanaClient, list[str]], Awaitable[None]]


def scale() -> None:
    """Print both, each measured in a process of its own."""
    print(f"\n== {MANY} jobs watched in one process, against {FEW}")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        few = many = inf
        for _ in range(ROUNDS):
            few = min(few, processes.submit(look_cost, FEW).result())
            many = min(many, processes.submit(look_cost, MANY).result())
        print(
            f"processor time per look, benchmark's server included: {few * 1e6:.0f} us with {FEW} jobs, "
            f"{many * 1e6:.0f} us with {MANY}: {many / few:.2f}x (best of {ROUNDS}, in turns)"
        )
        for name, wait, jobs, target in (
            ("JobMonitor", _monitored, MONITORED_JOBS, 1.5),
            ("wait_for_job", _awaited, AWAITED_JOBS, 2.75),
        ):
            traced = processes.submit(traced_memory, wait, TRACED_JOBS).result()
            resident = processes.submit(resident_memory, wait, jobs).result()
            print(
                f"memory of a parked wait, {name}: {resident / 1024:.2f} KiB resident at {jobs}, its task included"
                f" (target {target}); {traced:.0f} bytes allocated at {TRACED_JOBS}"
            )


def look_cost(jobs: int) -> float:
    """Return the processor time of one look in seconds while so many jobs are watched."""

    async def main() -> float:
        server, gids = _endless(jobs)
        async with client_of(server, BUSY, SCORED) as client, client.monitor_jobs(gids):
            # Every job has had its first look before the clock starts.
            await asyncio.sleep(max(LOOKS, jobs) / A_SECOND)
            began, before = process_time(), server.requests
            await asyncio.sleep(LOOKS / A_SECOND)
            return (process_time() - began) / (server.requests - before)

    return virtually(main)


def traced_memory(wait: Wait, jobs: int) -> float:
    """Return the bytes that each of many parked waits has allocated, everything included."""
    tracemalloc.start()
    return _memory(wait, jobs, lambda: tracemalloc.get_traced_memory()[0])


def resident_memory(wait: Wait, jobs: int) -> float:
    """Return by how many bytes the process has grown for each of many parked waits."""
    return _memory(wait, jobs, lambda: 4096 * int(Path("/proc/self/statm").read_text("ascii").split()[1]))


def _memory(wait: Wait, jobs: int, measure: Callable[[], int]) -> float:
    async def main() -> float:
        server, gids = _endless(jobs)
        async with client_of(server, UNLIMITED, PARKED) as client:
            gc.collect()
            before = measure()
            waiting = asyncio.ensure_future(wait(client, gids))
            await asyncio.sleep(100)
            gc.collect()
            if server.requests < jobs:
                raise RuntimeError(f"only {server.requests} looks at {jobs} jobs")
            grown = (measure() - before) / jobs
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            return grown

    return virtually(main)


def _endless(jobs: int) -> tuple[FleetServer, list[str]]:
    starts = [Start(str(1000 + number), 0.0, 1e9, "duplicate_project") for number in range(jobs)]
    return FleetServer(starts, 0, "A"), [start.gid for start in starts]


async def _monitored(client: AsanaClient, gids: list[str]) -> None:
    async with client.monitor_jobs(gids) as monitor:
        async for _ in monitor:
            pass


async def _awaited(client: AsanaClient, gids: list[str]) -> None:
    await asyncio.gather(*(client.wait_for_job(gid) for gid in gids))
