"""Jobs a minute under the cap of five running jobs, as a share of what a clairvoyant could do.

    python benchmarks/bulk.py             every table but the last
    python benchmarks/bulk.py --memory    100,000 operations from a generator
    python benchmarks/bulk.py --official  the official client in threads, in real time (needs ``pip install asana``)

The client talks to the simulator over real HTTP in virtual time; each request takes 0.15 s, the quota is 1500 a
minute. The clairvoyant knows when each job will end, so that its look arrives at that instant and the next POST
leaves with the answer: a job holds its slot for its duration and one round trip. Absolute times mean nothing: what
jobs really take is not known. Seeds are fixed.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from statistics import fmean
from time import perf_counter
from typing import Any

import looptime
from bulk_peers import PEERS, SLOTS, copies, official, official_client

from asana_jobs import AsanaClient, Job, RateLimits, Response
from asana_jobs._client.http.protocol import Request
from asana_jobs.testing import AsanaSimulator, Duration, Lognormal, Mixture, SimulatedJob, SimulatorLimits


RTT = 0.15
#: Jobs after which the client is taken to have learned, and jobs measured.
LEARNING, MEASURED = 50, 150
SEEDS = (1, 2, 3)
LAWS: dict[str, Duration] = {
    "3 s": Lognormal(3, spread=0.5),
    "10 s": Lognormal(10, spread=0.5),
    "60 s": Lognormal(60, spread=0.5),
    "80 % 3 s, 20 % 60 s": Mixture([(0.8, Lognormal(3, spread=0.5)), (0.2, Lognormal(60, spread=0.5))]),
}


def simulate(law: Duration, seed: int) -> AsanaSimulator:
    """An Asana of a paid domain."""
    return AsanaSimulator(seed=seed, durations=law, latency=RTT, limits=SimulatorLimits.paid())


def clairvoyant(jobs: Iterable[SimulatedJob]) -> float:
    """Return the seconds in which five slots can do *jobs*, in their order."""
    free = [0.0] * SLOTS
    for job in jobs:
        heapq.heapreplace(free, free[0] + RTT + job.ended - job.created)
    return max(free)


class Measured:
    """What became of some jobs."""

    def __init__(self, simulator: AsanaSimulator, first: int, seconds: float, requests: int) -> None:
        jobs = simulator.started[first:]
        self.share = clairvoyant(jobs) / seconds
        self.per_minute = 60 * len(jobs) / seconds
        self.requests = (len(simulator.requests) - requests) / len(jobs)
        self.rejected = simulator.rejected


async def measure(simulator: AsanaSimulator, work: Awaitable[object]) -> Measured:
    """Do *work* and see how long it took."""
    first, requests, begun = len(simulator.started), len(simulator.requests), now()
    await work
    return Measured(simulator, first, now() - begun, requests)


async def run_all(client: AsanaClient, count: int) -> None:
    """Start *count* jobs with ``run_all``."""
    async for outcome in client.run_all(copies(count)):
        outcome.raise_for_error()


async def ours(law: Duration, seed: int) -> tuple[Measured, Measured]:
    """Measure ``run_all`` from a cold start, and once it has learned."""
    async with (
        simulate(law, seed) as simulator,
        AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid()) as client,
    ):
        cold = await measure(simulator, run_all(client, LEARNING))
        learned = await measure(simulator, run_all(client, MEASURED))
        return cold, learned


async def theirs(name: str, law: Duration, seed: int) -> Measured:
    """Measure another way."""
    async with simulate(law, seed) as simulator:
        return await measure(simulator, PEERS[name](simulator, MEASURED))


def now() -> float:
    """The loop's time."""
    return asyncio.get_running_loop().time()


def virtually(work: Callable[[], Awaitable[Any]]) -> Any:
    """Do *work* in virtual time."""

    async def whole() -> Any:
        return await work()

    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(whole())


def show(name: str, results: list[Measured]) -> float:
    """Print the mean of *results*; return the share."""
    share = fmean(result.share for result in results)
    least = min(result.share for result in results)
    print(
        f"  {name:24} {fmean(result.per_minute for result in results):7.1f} {share:9.3f} {least:8.3f}"
        f" {fmean(result.requests for result in results):9.1f} {sum(result.rejected for result in results):7}"
    )
    return share


def compare(*, peers: bool) -> bool:
    """Print a table for each law; return whether the targets were met."""
    met = True
    for law_name, law in LAWS.items():
        print(
            f"\nJobs of {law_name}, {MEASURED} measured, seeds {', '.join(map(str, SEEDS))}; others: seed {SEEDS[0]}"
        )
        print(f"  {'':24} {'jobs/min':>7} {'of bound':>9} {'least':>8} {'req./job':>9} {'429s':>7}")
        pairs = [virtually(partial(ours, law, seed)) for seed in SEEDS]
        cold = show(f"run_all, first {LEARNING}", [cold for cold, _ in pairs])
        learned = show("run_all, learned", [learned for _, learned in pairs])
        met = met and learned >= 0.95 and cold >= 0.90
        for name in PEERS if peers else ():
            share = show(name, [virtually(partial(theirs, name, law, SEEDS[0]))])
            print(f"  {'':24} run_all does {learned / share:.2f} times as much")
    print(f"\nTargets (0.95 learned, 0.90 cold): {'met' if met else 'MISSED'}")
    return met


class Instant:
    """An Asana without a socket whose jobs are finished at the first look."""

    def __init__(self) -> None:
        self.started = 0

    async def send(self, request: Request) -> Response:
        """Answer."""
        self.started += request.method == "POST"
        posted = request.method == "POST"
        job = Job(
            str(self.started) if posted else request.gid or "0",
            status="in_progress" if posted else "succeeded",
        )
        body = b'{"data": {"gid": "%s", "status": "%s"}}' % (job.gid.encode(), str(job.status).encode())
        return Response(status=201 if posted else 200, body=body)

    async def close(self) -> None:
        """Nothing to close."""


async def long_run(count: int) -> None:
    """Print what *count* operations from a generator keep in memory."""
    transport = Instant()
    async with AsanaClient("t", transport=transport, limits=RateLimits.paid()) as client:
        tracemalloc.start()
        done, begun = 0, perf_counter()
        async for outcome in client.run_all(copies(count)):
            outcome.raise_for_error()
            done += 1
            if done in {count // 10, count // 4, count // 2, count}:
                held, peak = tracemalloc.get_traced_memory()
                seconds = perf_counter() - begun
                print(
                    f"  {done:7} operations: {held / 1e6:6.2f} MB held, {peak / 1e6:6.2f} MB peak, {seconds:5.0f} s"
                )
        tracemalloc.stop()


async def beside_the_official(count: int, law: Duration) -> None:
    """Print both in real time."""
    for name in ("run_all", "official, five threads"):
        async with simulate(law, SEEDS[0]) as simulator:
            if name == "run_all":
                async with AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid()) as client:
                    result = await measure(simulator, run_all(client, count))
            else:
                result = await measure(simulator, official(simulator, count))
            show(name, [result])


def main() -> int:
    """Run what the command line asks for; the exit status says whether the targets were met."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--memory", action="store_true", help="100,000 operations from a generator")
    parser.add_argument("--official", action="store_true", help="the official client, in real time")
    parser.add_argument("--no-peers", action="store_true", help="only run_all")
    options = parser.parse_args()
    if options.memory:
        print("Memory of a run, traced by Python, without a socket")
        virtually(lambda: long_run(100_000))
        return 0
    if options.official:
        found = official_client()
        if found is None:
            print("The official package is not installed: pip install asana")
            return 1
        print(f"20 jobs of 3 s in real time, from a cold start, asana {found}")
        asyncio.run(beside_the_official(20, LAWS["3 s"]))
        return 0
    return 0 if compare(peers=not options.no_peers) else 1


if __name__ == "__main__":
    sys.exit(main())
