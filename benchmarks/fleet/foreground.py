"""Others on the same token: foreground calls during a fleet watch, and two clients that share unknowingly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from in_process import ROUND_TRIP, FleetServer, virtually
from policies import SCORED, Fleet, Policy, client_of, gid, monitor, now, token
from runs import HEADER, run
from workload import SCENARIOS, Scenario, Start

from asana_jobs import PollPolicy, RateLimits
from asana_jobs.subjects import JobLike


#: Foreground calls during a fleet watch, as a share of the quota, and how many come together.
CALLS: Final = 0.05
TOGETHER: Final = 5
#: Foreground calls that are all made at once.
VOLLEY: Final = 200


def shared() -> None:
    """Print how long foreground calls wait during a fleet watch."""
    print(f"\n== Foreground calls during a fleet watch, {CALLS:.0%} of the quota, {TOGETHER} together")
    print(f"{'fleet':<34} {'calls':>6} {'mean':>6} {'p95':>6} {'max':>6} {'429s':>5}  (s)")
    for name, poll, what, describe in (
        ("free", PollPolicy(), "", token),
        ("free", SCORED, ", lag_price=0", token),
        ("paid", PollPolicy(), "", token),
        ("paid", SCORED, ", lag_price=0", token),
        ("burst300", PollPolicy(), "", token),
        ("burst300", PollPolicy(), ", bare gids", gid),
        ("burst1000", PollPolicy(), ", bare gids", gid),
    ):
        waits, rejected = _calls_during(SCENARIOS[name], poll, describe)
        waits.sort()
        mean, p95 = max(0.0, sum(waits) / len(waits)), max(0.0, waits[int(0.95 * len(waits))])
        print(
            f"{name + what:<34} {len(waits):>6} {mean:>6.2f} {p95:>6.2f} {waits[-1]:>6.2f} {rejected:>5}",
            flush=True,
        )


def _calls_during(
    scenario: Scenario, poll: PollPolicy, describe: Callable[[Start], JobLike]
) -> tuple[list[float], int]:
    # Three minutes are enough: what a call waits for is over within a second.
    starts = [start for start in scenario.draw(1) if start.at < 180]
    server = FleetServer(starts, scenario.per_minute, "ABC")
    waits: list[float] = []

    async def main() -> None:
        limits = RateLimits(requests_per_minute=scenario.per_minute)
        fleet = Fleet(scenario, starts, server)
        async with client_of(server, limits, poll) as client, asyncio.TaskGroup() as group:
            watching = group.create_task(monitor(fleet, client, describe))

            async def call() -> None:
                began = now()
                await client.request("GET", "/users/me")
                waits.append(now() - began - ROUND_TRIP)

            while now() < 180 and not watching.done():
                await asyncio.sleep(TOGETHER * 60 / (CALLS * scenario.per_minute))
                for _ in range(TOGETHER):
                    group.create_task(call())

    virtually(main)
    return waits, server.rejected


def finding_out() -> None:
    """Print how long the first calls of a client take that does not know its quota."""
    print(f"\n== Quota unknown: the first {VOLLEY} foreground calls, all at once (virtual seconds, 429s)")
    print(f"{'domain':<10} {'limiter':<8} {'known':>16} {'unknown':>16} {'ratio':>6}")
    for name, per_minute in (("paid", 1500), ("free", 150)):
        for model in "ABC":
            known, none = _volley(per_minute, model, RateLimits(requests_per_minute=per_minute))
            found, refused = _volley(per_minute, model, RateLimits())
            print(
                f"{name:<10} {model:<8} {known:>9.1f} ({none:>3}) {found:>10.1f} ({refused:>3}) {found / known:>6.2f}"
            )


def _volley(per_minute: int, model: str, limits: RateLimits) -> tuple[float, int]:
    server = FleetServer([], per_minute, model)

    async def main() -> float:
        async with client_of(server, limits) as client:
            await asyncio.gather(*(client.request("GET", "/users/me") for _ in range(VOLLEY)))
            return now()

    return virtually(main), server.rejected


def strangers() -> None:
    """Print how two clients do that share a token without knowing of each other."""
    print("\n== Two clients on one token that do not know of each other, each with half of the jobs")
    for name in ("free", "burst300", "burst200"):
        scenario = SCENARIOS[name]
        print(f"\n{name}: {scenario.what}")
        print(HEADER)
        told = RateLimits(requests_per_minute=scenario.per_minute)
        for what, limits in (("told the whole quota", told), ("quota unknown", RateLimits())):
            for model in "ABC":
                print(run(scenario, 1, _two(limits), model).row(f"ours twice, {what}", model), flush=True)


def _two(limits: RateLimits) -> Policy:
    async def watch(fleet: Fleet) -> None:
        halves: list[list[Start]] = [fleet.starts[0::2], fleet.starts[1::2]]

        async def half(starts: list[Start]) -> None:
            mine = Fleet(fleet.scenario, starts, fleet.server)
            async with client_of(fleet.server, limits, SCORED) as client:
                await monitor(mine, client)
            fleet.found.update(mine.found)

        await asyncio.gather(*(half(starts) for starts in halves))

    return watch
