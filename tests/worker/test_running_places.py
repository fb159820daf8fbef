"""The cap of running jobs, counted in Redis for all who run jobs in bulk on one token."""

import asyncio
import sys
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from patience import until
from redis_process import RedisProcess

from asana_jobs import AsanaClient, RateLimits
from asana_jobs.gates import JobPlace, JobPlaces
from asana_jobs.operations import DuplicateProject, DuplicateTask
from asana_jobs.testing import AsanaSimulator, SimulatorLimits
from asana_jobs.worker import BudgetUnavailableError, JobQueue, RedisGate, _budget_protocol, run_worker


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

PROGRAM = Path(__file__).with_name("bulk_process.py")
LIMITS = RateLimits.paid()


@pytest.fixture
async def gates(redis_url: str, budget: str) -> AsyncIterator[tuple[RedisGate, RedisGate]]:
    """Two processes' gates to one budget."""
    async with (
        RedisGate(redis_url, budget=budget, limits=LIMITS) as one,
        RedisGate(redis_url, budget=budget, limits=LIMITS) as two,
    ):
        yield one, two


async def take(gate: JobPlaces, count: int) -> list[JobPlace]:
    """Take *count* places."""
    return [await gate.acquire_place() for _ in range(count)]


async def is_full(gate: RedisGate) -> bool:
    """Whether no place is free: one that is asked for has not come after a while."""
    waiting = asyncio.create_task(gate.acquire_place())
    await asyncio.wait([waiting], timeout=0.4)
    full = waiting.cancel()
    await asyncio.wait([waiting])
    if not full:
        waiting.result().release()
    return full


async def test_two_processes_have_five_places(gates: tuple[RedisGate, RedisGate]) -> None:
    """What one process has running leaves so much less to another one."""
    one, two = gates
    await take(one, 3)
    await take(two, 2)

    assert await is_full(one)
    assert await is_full(two)


async def test_a_place_goes_to_who_waits(gates: tuple[RedisGate, RedisGate]) -> None:
    """A place that one process gives back is another one's within a fraction of a second."""
    one, two = gates
    places = await take(one, 5)
    waiting = asyncio.create_task(two.acquire_place())
    await asyncio.sleep(0.2)
    assert not waiting.done()
    places[0].release()

    await asyncio.wait_for(waiting, 0.5)


async def test_processes_take_turns(gates: tuple[RedisGate, RedisGate]) -> None:
    """A process that always wants one more place does not keep another one from getting any."""
    one, two = gates
    taken = Counter[str]()

    async def work(name: str, gate: RedisGate) -> None:
        while True:
            place = await gate.acquire_place()
            taken[name] += 1
            await asyncio.sleep(0.1)
            place.release()

    tasks = [asyncio.create_task(work("one", one)) for _ in range(10)]
    await asyncio.sleep(0.5)
    tasks += [asyncio.create_task(work("two", two)) for _ in range(10)]
    await asyncio.sleep(0.3)
    before = taken.copy()
    await asyncio.sleep(2)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    during = taken - before

    assert min(during.values()) > 0.1 * during.total()
    assert during.total() > 25  # and places do not stand empty for long


async def test_a_cancelled_waiter_takes_nothing(gates: tuple[RedisGate, RedisGate]) -> None:
    """Cancelled in whatever turn of the loop, a waiter for a place leaves none taken."""
    one, two = gates
    for turns in range(40):
        waiting = asyncio.create_task(one.acquire_place())
        for _ in range(turns):
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        if not waiting.cancelled():
            waiting.result().release()

    await asyncio.wait_for(take(two, 5), 3)


async def test_a_job_counts_once(gates: tuple[RedisGate, RedisGate]) -> None:
    """A job that another process goes on watching keeps the place it had."""
    one, two = gates
    [place] = await take(one, 1)
    place.started("1204")
    place.leave()
    two.hold_place("1204")
    await asyncio.sleep(0.3)

    await take(one, 4)
    assert await is_full(one)


async def test_a_job_that_is_left_at_once_counts(gates: tuple[RedisGate, RedisGate]) -> None:
    """A job that nobody watches from the moment it was started counts like any other."""
    one, two = gates
    [place] = await take(one, 1)
    place.started("1204")
    place.leave()
    await asyncio.sleep(0.3)

    await take(two, 4)
    assert await is_full(two)


async def test_a_job_that_runs_already_counts(gates: tuple[RedisGate, RedisGate]) -> None:
    """A job that is only watched again takes a place, although there is none, and starts wait for more to end."""
    one, two = gates
    places = await take(one, 5)
    resumed = two.hold_place("1204")
    await asyncio.sleep(0.1)
    places[0].release()
    assert await is_full(one)
    resumed.release()

    await asyncio.wait_for(take(one, 1), 1)


async def test_what_was_left_counts_for_a_while(
    gates: tuple[RedisGate, RedisGate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that nobody watches any more, or whose process was killed, counts until its lease is over."""
    monkeypatch.setattr(_budget_protocol, "PLACE_SECONDS", 1.0)
    one, two = gates
    for place in await take(one, 5):
        place.leave()
    assert await is_full(two)

    await asyncio.wait_for(take(two, 5), 2)


async def test_a_long_job_keeps_its_place(
    gates: tuple[RedisGate, RedisGate], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A place lasts as long as it is held, since its process renews it."""
    from asana_jobs.worker import _budget_client

    monkeypatch.setattr(_budget_protocol, "PLACE_SECONDS", 0.3)
    monkeypatch.setattr(_budget_client, "LEASE_SECONDS", 0.3)
    one, two = gates
    await take(one, 5)
    await asyncio.sleep(1)

    assert await is_full(two)


async def test_places_survive_a_redis_that_forgot_them(own_redis: RedisProcess, budget: str) -> None:
    """After Redis was killed and has lost everything, what is running is counted again."""
    async with (
        RedisGate(own_redis.url, budget=budget, limits=LIMITS) as one,
        RedisGate(own_redis.url, budget=budget, limits=LIMITS) as two,
    ):
        await take(one, 5)
        own_redis.kill()
        await asyncio.sleep(0.1)
        own_redis.start()
        own_redis.command("FLUSHALL")
        one.hold_place("1204")  # whatever makes it talk
        await asyncio.sleep(1)

        assert await is_full(two)


async def test_no_place_without_redis(own_redis: RedisProcess, budget: str) -> None:
    """While Redis is away no place is given, and when patience is over that is said."""
    own_redis.kill()
    async with RedisGate(own_redis.url, budget=budget, limits=LIMITS, patience=0.3) as gate:
        with pytest.raises(BudgetUnavailableError, match="cannot be reached"):
            await asyncio.wait_for(gate.acquire_place(), 4)


@pytest.fixture
async def capped() -> AsyncIterator[AsanaSimulator]:
    """An Asana that refuses a sixth running job."""
    async with AsanaSimulator(limits=SimulatorLimits(requests_per_minute=1500, jobs_running=5)) as simulator:
        yield simulator


async def test_two_bulk_runs_share_five_running_jobs(
    gates: tuple[RedisGate, RedisGate], capped: AsanaSimulator
) -> None:
    """Two clients that run everything they have at once have five jobs running together, and no more."""

    async def run(gate: RedisGate, name: str) -> int:
        async with AsanaClient("t", base_url=capped.base_url, limits=LIMITS, gate=gate) as asana:
            copies = [DuplicateProject("1203", name=f"{name} {number}") for number in range(8)]
            return sum([outcome.error is None async for outcome in asana.run_all(copies)])

    good = await asyncio.gather(run(gates[0], "one"), run(gates[1], "two"))

    assert list(good) == [8, 8]
    assert capped.peak_jobs_running == 5
    assert capped.rejected == 0


async def test_a_queue_and_a_bulk_run_share_five_running_jobs(
    redis_url: str, budget: str, capped: AsanaSimulator
) -> None:
    """Jobs that the queue's workers start and those of a bulk run on the same token are counted together."""
    token = f"token-{budget}"
    async with JobQueue(redis_url, queue=budget) as queue:
        for number in range(6):
            await queue.enqueue(DuplicateTask("1203", name=f"queued {number}"))
    worker = asyncio.create_task(
        run_worker(redis_url, queue=budget, token=token, base_url=capped.base_url, limits=LIMITS)
    )
    async with (
        RedisGate(redis_url, token=token, limits=LIMITS) as gate,
        AsanaClient(token, base_url=capped.base_url, limits=LIMITS, gate=gate) as asana,
    ):
        copies = [DuplicateTask("1203", name=f"copied {number}") for number in range(6)]
        assert [outcome.error async for outcome in asana.run_all(copies)] == [None] * 6
    await until(lambda: len(capped.started) == 12 and all(job.result for job in capped.started))
    worker.cancel()
    await asyncio.wait([worker])

    assert capped.peak_jobs_running == 5
    assert capped.rejected == 0


async def test_a_killed_bulk_run_loses_no_place(redis_url: str, budget: str, capped: AsanaSimulator) -> None:
    """One of two processes is killed: never more than five jobs run, and soon the other one has all five places."""

    async def start(name: str) -> asyncio.subprocess.Process:
        arguments = [str(PROGRAM), redis_url, budget, capped.base_url, name, "9"]
        return await asyncio.create_subprocess_exec(
            sys.executable, *arguments, stdout=asyncio.subprocess.PIPE
        )

    victim, survivor = await asyncio.gather(start("victim"), start("survivor"))
    # Each needs as long as this machine takes to start a process.
    await until(lambda: {name_of(job.result) for job in capped.started} == {"victim", "survivor"}, 60)
    await until(lambda: len(capped.started) >= 6)
    victim.kill()
    said, _ = await asyncio.wait_for(survivor.communicate(), 300)
    await victim.communicate()

    assert survivor.returncode == 0
    assert len(said.splitlines()) == 9
    assert capped.peak_jobs_running == 5
    assert capped.rejected == 0
    async with RedisGate(redis_url, budget=budget, limits=LIMITS) as gate:
        await asyncio.wait_for(take(gate, 5), 5)


def name_of(result: Mapping[str, Any] | None) -> str:
    """Return which process a copy belongs to."""
    return str(result["name"]).partition(" ")[0] if result else ""
