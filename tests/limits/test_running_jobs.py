"""The cap of running jobs by itself: first come first served, smaller after a refusal, back after quiet times."""

import asyncio

import pytest

from asana_jobs._client.limits.running_jobs import (
    JOBS_BEFORE_RAISE,
    MAX_JOBS_BEFORE_RAISE,
    JobPlace,
    RunningJobPermit,
    RunningJobPermits,
)


async def fill(permits: RunningJobPermits, count: int) -> list[RunningJobPermit]:
    """Take *count* permits."""
    return [await permits.acquire() for _ in range(count)]


async def finish(permits: RunningJobPermits, count: int) -> None:
    """Have *count* jobs finish, one after the other."""
    for _ in range(count):
        (await permits.acquire()).release(finished=True)


async def turns() -> None:
    """Let everybody go on who can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_permits_up_to_the_cap_are_free() -> None:
    """As many permits as the cap are taken without waiting."""
    permits = RunningJobPermits(3)

    await fill(permits, 3)

    assert permits.taken == 3


async def test_those_who_wait_are_served_in_order() -> None:
    """A permit that is given back goes to who has waited longest."""
    permits = RunningJobPermits(1)
    held = await permits.acquire()
    served: list[int] = []

    async def wait(number: int) -> None:
        permit = await permits.acquire()
        served.append(number)
        permit.release()

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(wait(number))
            await asyncio.sleep(0)
        held.release()

    assert served == [0, 1, 2, 3]
    assert permits.taken == 0


async def test_newcomers_do_not_push_in() -> None:
    """Who comes while others wait goes behind them, even if a permit is free at that moment."""
    permits = RunningJobPermits(1)
    held = await permits.acquire()
    first = asyncio.create_task(permits.acquire())
    await turns()

    held.release()
    second = asyncio.create_task(permits.acquire())
    await turns()

    assert first.done()
    assert not second.done()
    (await first).release()
    (await second).release()


async def test_giving_back_twice_is_harmless() -> None:
    """A permit counts once however often it is given back."""
    permits = RunningJobPermits(2)
    permit = await permits.acquire()

    permit.release()
    permit.release(finished=True)

    assert permits.taken == 0


async def test_cancelled_waiters_give_their_place_back() -> None:
    """Cancelled while it waits, a task leaves the queue."""
    permits = RunningJobPermits(1)
    held = await permits.acquire()
    waiting = asyncio.create_task(permits.acquire())
    await turns()

    waiting.cancel()
    await turns()
    held.release()

    assert permits.taken == 0


async def test_cancelled_in_the_turn_of_the_grant() -> None:
    """Cancelled in the very turn in which it was granted a permit, a task passes it on."""
    permits = RunningJobPermits(1)
    held = await permits.acquire()
    cancelled, next_one = asyncio.create_task(permits.acquire()), asyncio.create_task(permits.acquire())
    await turns()

    held.release()
    cancelled.cancel()

    (await next_one).release()
    assert permits.taken == 0
    assert cancelled.cancelled()


async def test_a_permit_can_change_hands() -> None:
    """A permit that was handed over is given back by its heir, and only by it."""
    permits = RunningJobPermits(1)
    permit = await permits.acquire()

    heir = permit.hand_over()
    permit.release()

    assert permits.taken == 1
    heir.release()
    assert permits.taken == 0


async def test_a_refusal_shrinks_the_cap_to_what_runs() -> None:
    """Refused as the fourth, the cap is three, and the refused one waits for one of them."""
    permits = RunningJobPermits(5)
    running = await fill(permits, 3)
    refused = await permits.acquire()

    assert refused.refused()

    assert permits.cap == 3
    again = asyncio.create_task(refused.acquire())
    await turns()
    assert not again.done()
    running[0].release()
    await again


async def test_a_refusal_of_the_only_one_keeps_its_slot() -> None:
    """With no other job of ours running, a refusal is not about ours: the permit is kept, the cap stays."""
    permits = RunningJobPermits(5)
    only = await permits.acquire()

    assert not only.refused()

    assert (permits.cap, permits.taken) == (5, 1)


@pytest.mark.parametrize("cap", [1, 2, 5])
async def test_the_cap_never_falls_below_one(cap: int) -> None:
    """However often it is refused, one job may run."""
    permits = RunningJobPermits(cap)
    for permit in await fill(permits, cap):
        permit.refused()

    assert permits.cap == 1


async def test_the_cap_recovers() -> None:
    """After enough jobs have finished without a refusal, the cap rises by one, again and again."""
    permits = RunningJobPermits(5)
    running = await fill(permits, 4)
    running.pop().refused()  # three are left
    for permit in running:
        permit.release()
    assert permits.cap == 3

    await finish(permits, JOBS_BEFORE_RAISE)
    assert permits.cap == 4
    await finish(permits, JOBS_BEFORE_RAISE)
    assert permits.cap == 5
    await finish(permits, 10 * JOBS_BEFORE_RAISE)
    assert permits.cap == 5


async def test_jobs_that_did_not_finish_raise_nothing() -> None:
    """A permit that is given back for want of a start says nothing about how many jobs may run."""
    permits = RunningJobPermits(5)
    running = await fill(permits, 3)
    running.pop().refused()
    for permit in running:
        permit.release()
    for _ in range(3 * JOBS_BEFORE_RAISE):
        (await permits.acquire()).release()

    assert (permits.cap, permits.max_cap) == (2, 5)


async def test_one_that_comes_back_lets_one_go() -> None:
    """However many wait, what is given back is granted once, and those who gave up are counted no more."""
    permits = RunningJobPermits(2)
    held = await fill(permits, 2)
    waiting = [asyncio.create_task(permits.acquire()) for _ in range(4)]
    await turns()
    waiting[0].cancel()
    await turns()
    assert waiting[0].cancelled()
    assert repr(permits) == "<RunningJobPermits 2 of 2 taken, 3 waiting>"
    held[0].release()
    await turns()
    assert [task.done() for task in waiting] == [True, True, False, False]
    assert repr(permits) == "<RunningJobPermits 2 of 2 taken, 2 waiting>"
    for task in waiting:
        task.cancel()
    await turns()


async def test_the_cap_recovers_one_step_at_a_time() -> None:
    """One job fewer than needed raises nothing, after each step anew."""
    permits = RunningJobPermits(5)
    running = await fill(permits, 4)
    running.pop().refused()
    for permit in running:
        permit.release()

    for cap in (3, 4):
        await finish(permits, JOBS_BEFORE_RAISE - 1)
        assert permits.cap == cap
        await finish(permits, 1)
        assert permits.cap == cap + 1


async def test_a_higher_cap_is_tried_at_once() -> None:
    """When the cap rises, somebody who waits goes on without another permit being given back."""
    permits = RunningJobPermits(2)
    running = await fill(permits, 2)
    running[1].refused()
    waiting = [asyncio.create_task(permits.acquire()) for _ in range(2 * JOBS_BEFORE_RAISE + 1)]
    running[0].release()
    most = 0
    for task in waiting:
        (await task).release(finished=True)
        most = max(most, permits.taken)

    assert permits.cap == 2
    assert permits.taken == 0


async def test_each_failed_attempt_doubles_the_patience() -> None:
    """Refused whenever it is tried, a higher cap is tried less and less often, but never given up."""
    permits = RunningJobPermits(2)
    waits: list[int] = []
    for _ in range(6):
        first, second = await fill(permits, 2)
        second.refused()
        first.release()
        count = 0
        while permits.cap == 1:
            await finish(permits, 1)
            count += 1
        waits.append(count)

    assert waits == [
        JOBS_BEFORE_RAISE,
        2 * JOBS_BEFORE_RAISE,
        4 * JOBS_BEFORE_RAISE,
        8 * JOBS_BEFORE_RAISE,
        MAX_JOBS_BEFORE_RAISE,
        MAX_JOBS_BEFORE_RAISE,
    ]


async def test_patience_is_forgiven() -> None:
    """A higher cap that has lasted is tried again after the shortest time, however often it was refused before."""
    permits = RunningJobPermits(2)

    async def refuse() -> None:
        first, second = await fill(permits, 2)
        second.refused()
        first.release()

    await refuse()
    await finish(permits, JOBS_BEFORE_RAISE)
    await refuse()
    await finish(permits, 2 * JOBS_BEFORE_RAISE)  # the cap is two again
    await finish(permits, 2 * JOBS_BEFORE_RAISE)  # and has been for as long

    await refuse()
    await finish(permits, 2 * JOBS_BEFORE_RAISE)

    assert permits.cap == 2


class Fleet:
    """Places among the running jobs of several processes, which notes how many were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    async def acquire_place(self) -> JobPlace:
        """Give a place."""
        self.asked += 1
        return Place()

    def hold_place(self, gid: str) -> JobPlace:
        """Count a job."""
        raise AssertionError(gid)


class Place:
    """A place that is used as often as one likes."""

    def started(self, gid: str) -> None:
        """Take note of its job."""

    def release(self) -> None:
        """Give it back."""

    def leave(self) -> None:
        """Let it end."""


async def test_a_permit_takes_one_place_of_the_fleet() -> None:
    """Asked for twice, a place is taken once; and where there is no fleet, none is."""
    fleet = Fleet()
    permit = await RunningJobPermits(5, fleet).acquire()
    assert not permit.has_place
    await permit.acquire_place()
    await permit.acquire_place()
    assert (fleet.asked, permit.has_place) == (1, True)

    alone = await RunningJobPermits(5, object()).acquire()  # a gate that counts no jobs
    assert alone.has_place
    await alone.acquire_place()
    assert alone.has_place
