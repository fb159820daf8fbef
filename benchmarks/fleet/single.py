"""One job on an idle client: our lag against tenacity's exponential backoff at the same number of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from math import exp, sqrt
from statistics import NormalDist
from typing import Final, TypeAlias

from in_process import ROUND_TRIP, FleetServer, virtually
from policies import client_of, now, token
from tenacity import AsyncRetrying, retry_if_result, wait_exponential
from tenacity.wait import wait_base
from workload import Law, Start

from asana_jobs import PollPolicy, RateLimits
from asana_jobs._client.waiting.durations import Durations


#: Jobs of which each number is the mean, evenly spread over the law.
JOBS: Final = 250
#: An idle client for each of them: there is budget for all at once.
IDLE: Final = RateLimits(requests_per_minute=1e7, poll_share=1.0, reads_in_flight=JOBS)
KIND: Final = "duplicate_project"
#: The laws of polling-anchors.md 7.8: which share of the jobs follows which.
LAWS: Final = {
    "lognormal, median 8 s, sigma 1": [(1.0, Law(8.0, 1.0))],
    "80 % around 3 s, 20 % around 60 s": [(0.8, Law(3.0, 0.5)), (0.2, Law(60.0, 0.5))],
}

Watch: TypeAlias = Callable[[FleetServer, list[Start]], Awaitable[dict[str, float]]]


def laws() -> dict[str, list[float]]:
    """Return the durations of `JOBS` jobs of each law, spread evenly."""
    return {
        name: [length for share, law in parts for length in _spread(law, round(share * JOBS))]
        for name, parts in LAWS.items()
    }


def _spread(law: Law, jobs: int) -> list[float]:
    middles = (NormalDist().inv_cdf((number + 0.5) / jobs) for number in range(jobs))
    return [law.median * exp(law.spread * z) for z in middles]


def single() -> None:
    """Print lag and requests of one job, not learned and learned, with the price at which the requests match."""
    print("\n== One job on an idle client, lag_price tuned until the requests per job match tenacity's")
    print(f"{'law':<34} {'policy':<28} {'lag_price':>9} {'req/job':>8} {'mean':>6} {'p95':>6} {'ratio':>6}")
    for law, seconds in laws().items():
        cost, lag, p95 = measure(seconds, looks_by(wait_exponential(multiplier=1, min=1, max=30)))
        print(
            f"{law:<34} {'tenacity exponential 1..30':<28} {'':>9} {cost:>8.2f} {lag:>6.2f} {p95:>6.2f} {1:>6.2f}"
        )
        for name, taught in (("ours, nothing learned", 0), ("ours, after 250 such jobs", 1)):
            price, asked, ours_lag, ours_p95 = _matched(seconds, cost, taught)
            print(
                f"{'':<34} {name:<28} {price:>9.2f} {asked:>8.2f} {ours_lag:>6.2f} {ours_p95:>6.2f}"
                f" {ours_lag / lag:>6.2f}",
                flush=True,
            )


def _matched(seconds: list[float], cost: float, taught: int) -> tuple[float, float, float, float]:
    """Return the lag price at which a job costs as many requests as *cost*, with what it costs and its lags."""
    low, high = 1e-3, 50.0
    for _ in range(9):
        price = sqrt(low * high)
        asked, _, _ = measure(seconds, ours(price, taught))
        low, high = (price, high) if asked > cost else (low, price)
    return (high, *measure(seconds, ours(high, taught)))


def measure(seconds: list[float], watch: Watch) -> tuple[float, float, float]:
    """Return the requests for each job, the mean lag and its 95th percentile in seconds."""
    starts = [Start(str(1000 + number), 0.0, length, KIND) for number, length in enumerate(seconds)]
    server = FleetServer(starts, 0, "A")
    found = virtually(lambda: watch(server, starts))
    lags = sorted(found[start.gid] - start.end for start in starts)
    return server.requests / len(starts), sum(lags) / len(lags), lags[int(0.95 * len(lags))]


def looks_by(wait: wait_base) -> Watch:
    """Return how tenacity watches jobs with a strategy of its own."""

    async def watch(server: FleetServer, starts: list[Start]) -> dict[str, float]:
        found: dict[str, float] = {}

        async def one(start: Start) -> None:
            async def look() -> bool:
                return (await server.ask(start.gid))[0]

            await AsyncRetrying(retry=retry_if_result(lambda done: not done), wait=wait)(look)
            found[start.gid] = now()

        await asyncio.gather(*(one(start) for start in starts))
        return found

    return watch


def ours(price: float, taught: int) -> Watch:
    """Return how this library watches jobs at a *price* of a request, having been *taught* their law so often."""
    policy = PollPolicy(lag_price=price)

    async def watch(server: FleetServer, starts: list[Start]) -> dict[str, float]:
        found: dict[str, float] = {}
        durations = Durations() if taught else _Untaught()
        async with client_of(server, IDLE, policy, durations) as client:
            for start in starts * taught:
                durations.observe(KIND, 0.0, max(0.0, start.seconds - ROUND_TRIP), finished=False)
                durations.observe(KIND, max(0.0, start.seconds - ROUND_TRIP), start.seconds, finished=True)

            async def one(start: Start) -> None:
                await client.wait_for_job(token(start))
                found[start.gid] = now()

            await asyncio.gather(*(one(start) for start in starts))
        return found

    return watch


class _Untaught(Durations):
    """Learns nothing, so that each of many jobs meets a client that has learned nothing."""

    def observe(self, *_: object, **__: object) -> None:
        """Forget it."""
