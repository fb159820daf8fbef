"""A queue that was filled while no worker ran: the budget is used from the first second on."""

import asyncio

import pytest
from patience import until

from asana_jobs import RateLimits
from asana_jobs.gates import Priority, Traffic
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import JobQueue, RedisGate, run_worker


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

LIMITS = RateLimits.paid()
#: Seconds in which looks are counted, and how many there are to be at least: four of ten that may be.
COUNTED = 3.0
USED = 0.4 * COUNTED * 1500 / 60


async def work_off(
    count: int, redis_url: str, budget: str, simulator: AsanaSimulator
) -> tuple[list[str], asyncio.Task[None]]:
    """Put in waits for so many jobs that run on, and begin to work them off."""
    gids = [str(7_000_000 + number) for number in range(count)]
    for gid in gids:
        simulator.add_job(gid, [(0.0, "in_progress"), (600.0, "succeeded")])
    async with JobQueue(redis_url, queue=budget) as queue:
        await queue.watch_many(gids)
    return gids, asyncio.create_task(
        run_worker(redis_url, queue=budget, token=budget, base_url=simulator.base_url, limits=LIMITS)
    )


async def looks_in_a_while(simulator: AsanaSimulator) -> int:
    """How many looks there are in a while; counted again, twice at most, if the machine may have been too busy."""
    looks = 0
    for _ in range(3):
        if looks <= USED:
            before = len(simulator.requests)
            await asyncio.sleep(COUNTED)
            looks = len(simulator.requests) - before
    return looks


async def test_a_cold_backlog_does_not_leave_the_budget_idle(
    redis_url: str, budget: str, simulator: AsanaSimulator
) -> None:
    """However many waits were never looked at, the looks that are allowed go out, from the first one on."""
    _, worker = await work_off(1500, redis_url, budget, simulator)
    await until(lambda: simulator.requests, 5)
    looks = await looks_in_a_while(simulator)
    worker.cancel()
    await asyncio.wait([worker])

    assert looks > USED


async def test_looks_that_return_follow_first_looks_without_a_gap(
    redis_url: str, budget: str, simulator: AsanaSimulator
) -> None:
    """Each job is looked at once before one is looked at again, and then the budget is used as before."""
    gids, worker = await work_off(200, redis_url, budget, simulator)
    await until(lambda: len({record.path for record in simulator.requests}) == len(gids), 40)
    twice = len(simulator.requests) - len(gids)
    looks = await looks_in_a_while(simulator)
    worker.cancel()
    await asyncio.wait([worker])

    assert twice < len(gids) / 2
    assert looks > USED


async def test_a_worker_that_ends_waits_for_no_first_look(
    redis_url: str, budget: str, simulator: AsanaSimulator
) -> None:
    """What waits for its first look during a long pause does not hold up the end of a worker, and is not lost."""
    async with JobQueue(redis_url, queue=budget) as queue:
        for number in range(20):
            simulator.add_job(str(7000 + number), [(0.0, "succeeded")])
            await queue.watch(str(7000 + number))
        async with RedisGate(redis_url, token=budget, limits=LIMITS) as gate:
            with await gate.acquire(Traffic.READ, Priority.FOREGROUND) as lease:
                lease.penalise(60)
        arguments = {"queue": budget, "base_url": simulator.base_url, "limits": LIMITS}
        worker = asyncio.create_task(run_worker(redis_url, token=budget, **arguments))  # type: ignore[arg-type]
        await asyncio.sleep(2)
        assert not simulator.requests
        worker.cancel()
        await asyncio.wait_for(asyncio.wait([worker]), 5)
        other = asyncio.create_task(run_worker(redis_url, token="another", **arguments))  # type: ignore[arg-type]
        results = queue.results()
        async with asyncio.timeout(30):
            keys = {(await anext(results)).key for _ in range(20)}
        other.cancel()
        await asyncio.wait([other])

    assert keys == {str(7000 + number) for number in range(20)}
