"""Ways to watch a fleet: our client, and the loops people write without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import attrs
from in_process import FleetServer, LoopClock, wall
from tenacity import AsyncRetrying, RetryCallState, retry_if_result, wait_exponential
from workload import Scenario, Start

from asana_jobs import AsanaClient, JobMonitor, PollPolicy, RateLimits
from asana_jobs._client.waiting.durations import Durations
from asana_jobs.subjects import JobLike


#: The whole budget goes into looking, and a look is never too dear: what the limit of 7.6 assumes.
SCORED: Final = PollPolicy(lag_price=0)
#: Who is given a limiter stays this far below the quota.
SAFE: Final = 0.95
PAID: Final = 1500


@attrs.define
class Fleet:
    """The jobs of one run, and when each was found to have finished."""

    scenario: Scenario
    starts: list[Start]
    server: FleetServer
    found: dict[str, float] = attrs.field(factory=dict[str, float])

    def find(self, gid: str) -> None:
        """Note that a job is now known to have finished."""
        self.found.setdefault(gid, now())

    @property
    def complete(self) -> bool:
        """Whether all are."""
        return len(self.found) == len(self.starts)


Policy: TypeAlias = Callable[[Fleet], Awaitable[None]]


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


async def sleep_until(moment: float) -> None:
    """Sleep until the loop's time is *moment*."""
    await asyncio.sleep(max(0.0, moment - now()))


def token(start: Start) -> str:
    """Return the continuation token of a job that was started elsewhere at this moment."""
    at = wall(start.at).isoformat()
    # What a client that started it would write down: its kind, its age, and that it was running then.
    known = {"v": 1, "gid": start.gid, "kind": start.kind, "started_at": at, "looked_at": at}
    return json.dumps({**known, "status": "in_progress"})


def gid(start: Start) -> str:
    """Return the bare gid: nothing is known of the job, so that it needs a first look at once."""
    return start.gid


def answer(start: Start) -> dict[str, str]:
    """Return what the official package returned when it started the job: its kind, but not when that was."""
    return {
        "gid": start.gid,
        "resource_type": "job",
        "resource_subtype": start.kind,
        "status": "in_progress",
    }


def client_of(
    server: FleetServer,
    limits: RateLimits,
    poll: PollPolicy | None = None,
    durations: Durations | None = None,
) -> AsanaClient:
    """Return our client for this server."""
    return AsanaClient(
        "token",
        base_url="http://127.0.0.1",
        transport=server,
        clock=LoopClock(seed=1),
        limits=limits,
        poll=poll or PollPolicy(),
        durations=durations,
    )


def ours(limits: RateLimits, poll: PollPolicy, describe: Callable[[Start], JobLike] = token) -> Policy:
    """Return one `JobMonitor` over all jobs, each of which is handed over as *describe* says."""

    async def watch(fleet: Fleet) -> None:
        async with client_of(fleet.server, limits, poll) as client:
            await monitor(fleet, client, describe)

    return watch


async def monitor(fleet: Fleet, client: AsanaClient, describe: Callable[[Start], JobLike] = token) -> None:
    """Watch a fleet with a monitor of *client*, each job from its start on, as *describe* names it."""
    async with client.monitor_jobs() as watched:
        more = asyncio.Event()
        adding = asyncio.create_task(_add(fleet, watched, more, describe))
        while not fleet.complete:
            await more.wait()
            more.clear()
            async for job in watched:
                if job.done:
                    fleet.find(job.gid)
        await adding


async def _add(
    fleet: Fleet, watched: JobMonitor, more: asyncio.Event, describe: Callable[[Start], JobLike]
) -> None:
    for start in fleet.starts:
        await sleep_until(start.at)
        watched.add(describe(start))
        more.set()


def independent(one: Callable[[Fleet, str], Awaitable[None]]) -> Policy:
    """Return a policy in which every job has a loop of its own."""

    async def watch(fleet: Fleet) -> None:
        async def follow(start: Start) -> None:
            await sleep_until(start.at)
            await one(fleet, start.gid)
            fleet.find(start.gid)

        await asyncio.gather(*(follow(start) for start in fleet.starts))

    return watch


def every(seconds: float) -> Policy:
    """Return the loop that looks at once, and then every so many seconds, or when a refusal says."""

    async def one(fleet: Fleet, gid: str) -> None:
        while True:
            done, asked = await fleet.server.ask(gid)
            if done and not asked:
                return
            await asyncio.sleep(asked or seconds)

    return independent(one)


def exponential(limiter: Callable[[Scenario], Limiter] | None = None) -> Policy:
    """Return tenacity's exponential backoff from 1 to 30 seconds, alone or behind one limiter for all."""
    backoff = wait_exponential(multiplier=1, min=1, max=30)

    def unfinished(answer: tuple[bool, float]) -> bool:
        return bool(answer[1]) or not answer[0]

    def wait(state: RetryCallState) -> float:
        answer: tuple[bool, float] = state.outcome.result() if state.outcome else (False, 0.0)
        return answer[1] or backoff(state)

    async def watch(fleet: Fleet) -> None:
        shared = limiter(fleet.scenario) if limiter else None

        async def one(fleet: Fleet, gid: str) -> None:
            async def look() -> tuple[bool, float]:
                if shared is not None:
                    await shared.turn()
                return await fleet.server.ask(gid)

            await AsyncRetrying(retry=retry_if_result(unfinished), wait=wait)(look)

        await independent(one)(fleet)

    return watch


@attrs.define
class Limiter:
    """First come, first served, evenly spaced."""

    per_minute: float
    _next: float = 0.0

    @classmethod
    def of(cls, scenario: Scenario) -> Limiter:
        """Return the limiter for a scenario's quota."""
        return cls(SAFE * scenario.per_minute)

    async def turn(self) -> None:
        """Wait for a slot."""
        slot = max(now(), self._next)
        self._next = slot + 60 / self.per_minute
        await sleep_until(slot)


def known(scenario: Scenario) -> RateLimits:
    """Return the limits of somebody who knows the quota."""
    return RateLimits.paid() if scenario.per_minute == PAID else RateLimits.free()


def policies(scenario: Scenario) -> dict[str, Policy]:
    """Return every policy that gives all of the budget to looking, and the loops."""
    return {
        "ours": ours(known(scenario), SCORED),
        "ours, quota unknown": ours(RateLimits(), SCORED),
        **loops(),
    }


def as_it_comes(scenario: Scenario) -> dict[str, Policy]:
    """Return our client as it comes, told the quota and not, by what is known of the jobs."""
    poll = PollPolicy()
    return {
        "ours, continuation tokens": ours(known(scenario), poll),
        "ours, official answers": ours(known(scenario), poll, answer),
        "ours, bare gids": ours(known(scenario), poll, gid),
        "ours, nothing said, tokens": ours(RateLimits(), poll),
        "ours, nothing said, answers": ours(RateLimits(), poll, answer),
        "ours, nothing said, bare gids": ours(RateLimits(), poll, gid),
    }


def loops() -> dict[str, Policy]:
    """Return what people write without this library."""
    return {
        "loop every 1 s": every(1.0),
        "tenacity exponential 1..30": exponential(),
        "azure-core's poller, 30 s": every(30.0),
        "exponential + shared limiter": exponential(Limiter.of),
    }
