"""The same run over real HTTP, sockets and the simulator's server, to show that the short cut does not flatter."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from in_process import ROUND_TRIP, FleetServer, LoopClock, virtually
from policies import SCORED, Fleet, known, monitor, ours
from runs import HEADER, Result, least_lag, result, run
from workload import SCENARIOS, Scenario

from asana_jobs import AsanaClient
from asana_jobs.testing import AsanaSimulator, SimulatorLimits


def over_http() -> None:
    """Print a burst watched in process and over HTTP, side by side."""
    print("\n== The same over real HTTP against the simulator (virtual time, real sockets), quota known")
    for name in ("burst300", "burst200"):
        scenario = SCENARIOS[name]
        print(f"\n{name}: {scenario.what}")
        print(HEADER)
        print(run(scenario, 1, ours(known(scenario), SCORED), "A").row("ours, in process", "A"), flush=True)
        print(_run(scenario).row("ours, over HTTP", "A"), flush=True)


def _run(scenario: Scenario) -> Result:
    starts = scenario.draw(1)
    fleet = Fleet(scenario, starts, FleetServer([], 0, "A"))
    limits = SimulatorLimits(requests_per_minute=scenario.per_minute, model="A")

    async def main() -> None:
        async with (
            AsanaSimulator(limits=limits, latency=ROUND_TRIP) as simulator,
            AsanaClient(
                "token", base_url=simulator.base_url, clock=LoopClock(1), limits=known(scenario), poll=SCORED
            ) as client,
        ):
            for start in starts:
                simulator.add_job(
                    start.gid, [(0.0, "in_progress"), (start.seconds, "succeeded")], kind=start.kind
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(1000):
                    await monitor(fleet, client)
            fleet.server.requests, fleet.server.rejected = len(simulator.requests), simulator.rejected

    virtually(main, sockets=True)
    return result(fleet, least_lag(scenario.name, 1), 0.0)
