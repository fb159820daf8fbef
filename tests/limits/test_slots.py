"""The cap of running jobs by itself: first come first served, smaller after a refusal, back after quiet times."""

import asyncio

import pytest

from asana_jobs._client.limits.slots import CALM, CALMEST, RunningJobPermit, RunningJobPermits


async def fill(slots: RunningJobPermits, count: int) -> list[RunningJobPermit]:
    """Take *count* slots."""
    return [await slots.take() for _ in range(count)]


async def finish(slots: RunningJobPermits, count: int) -> None:
    """Have *count* jobs finish, one after the other."""
    for _ in range(count):
        (await slots.take()).give(finished=True)


async def turns() -> None:
    """Let everybody go on who can."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_slots_up_to_the_cap_are_free() -> None:
    """As many slots as the cap are taken without waiting."""
    slots = RunningJobPermits(3)

    await fill(slots, 3)

    assert slots.taken == 3


async def test_those_who_wait_are_served_in_order() -> None:
    """A slot that is given back goes to who has waited longest."""
    slots = RunningJobPermits(1)
    held = await slots.take()
    served: list[int] = []

    async def wait(number: int) -> None:
        slot = await slots.take()
        served.append(number)
        slot.give()

    async with asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(wait(number))
            await asyncio.sleep(0)
        held.give()

    assert served == [0, 1, 2, 3]
    assert slots.taken == 0


async def test_newcomers_do_not_push_in() -> None:
    """Who comes while others wait goes behind them, even if a slot is free at that moment."""
    slots = RunningJobPermits(1)
    held = await slots.take()
    first = asyncio.create_task(slots.take())
    await turns()

    held.give()
    second = asyncio.create_task(slots.take())
    await turns()

    assert first.done()
    assert not second.done()
    (await first).give()
    (await second).give()


async def test_giving_back_twice_is_harmless() -> None:
    """A slot counts once however often it is given back."""
    slots = RunningJobPermits(2)
    slot = await slots.take()

    slot.give()
    slot.give(finished=True)

    assert slots.taken == 0


async def test_cancelled_waiters_give_their_place_back() -> None:
    """Cancelled while it waits, a task leaves the queue."""
    slots = RunningJobPermits(1)
    held = await slots.take()
    waiting = asyncio.create_task(slots.take())
    await turns()

    waiting.cancel()
    await turns()
    held.give()

    assert slots.taken == 0


async def test_cancelled_in_the_turn_of_the_grant() -> None:
    """Cancelled in the very turn in which it was granted a slot, a task passes it on."""
    slots = RunningJobPermits(1)
    held = await slots.take()
    cancelled, next_one = asyncio.create_task(slots.take()), asyncio.create_task(slots.take())
    await turns()

    held.give()
    cancelled.cancel()

    (await next_one).give()
    assert slots.taken == 0
    assert cancelled.cancelled()


async def test_a_slot_can_change_hands() -> None:
    """A slot that was handed over is given back by its heir, and only by it."""
    slots = RunningJobPermits(1)
    slot = await slots.take()

    heir = slot.hand_over()
    slot.give()

    assert slots.taken == 1
    heir.give()
    assert slots.taken == 0


async def test_a_refusal_shrinks_the_cap_to_what_runs() -> None:
    """Refused as the fourth, the cap is three, and the refused one waits for one of them."""
    slots = RunningJobPermits(5)
    running = await fill(slots, 3)
    refused = await slots.take()

    assert refused.refused()

    assert slots.cap == 3
    again = asyncio.create_task(refused.take())
    await turns()
    assert not again.done()
    running[0].give()
    await again


async def test_a_refusal_of_the_only_one_keeps_its_slot() -> None:
    """With no other job of ours running, a refusal is not about ours: the slot is kept, the cap stays."""
    slots = RunningJobPermits(5)
    only = await slots.take()

    assert not only.refused()

    assert (slots.cap, slots.taken) == (5, 1)


@pytest.mark.parametrize("cap", [1, 2, 5])
async def test_the_cap_never_falls_below_one(cap: int) -> None:
    """However often it is refused, one job may run."""
    slots = RunningJobPermits(cap)
    for slot in await fill(slots, cap):
        slot.refused()

    assert slots.cap == 1


async def test_the_cap_recovers() -> None:
    """After enough jobs have finished without a refusal, the cap rises by one, again and again."""
    slots = RunningJobPermits(5)
    running = await fill(slots, 4)
    running.pop().refused()  # three are left
    for slot in running:
        slot.give()
    assert slots.cap == 3

    await finish(slots, CALM)
    assert slots.cap == 4
    await finish(slots, CALM)
    assert slots.cap == 5
    await finish(slots, 10 * CALM)
    assert slots.cap == 5


async def test_a_higher_cap_is_tried_at_once() -> None:
    """When the cap rises, somebody who waits goes on without another slot being given back."""
    slots = RunningJobPermits(2)
    running = await fill(slots, 2)
    running[1].refused()
    waiting = [asyncio.create_task(slots.take()) for _ in range(2 * CALM + 1)]
    running[0].give()
    most = 0
    for task in waiting:
        (await task).give(finished=True)
        most = max(most, slots.taken)

    assert slots.cap == 2
    assert slots.taken == 0


async def test_each_failed_attempt_doubles_the_patience() -> None:
    """Refused whenever it is tried, a higher cap is tried less and less often, but never given up."""
    slots = RunningJobPermits(2)
    waits: list[int] = []
    for _ in range(6):
        first, second = await fill(slots, 2)
        second.refused()
        first.give()
        count = 0
        while slots.cap == 1:
            await finish(slots, 1)
            count += 1
        waits.append(count)

    assert waits == [CALM, 2 * CALM, 4 * CALM, 8 * CALM, CALMEST, CALMEST]


async def test_patience_is_forgiven() -> None:
    """A higher cap that has lasted is tried again after the shortest time, however often it was refused before."""
    slots = RunningJobPermits(2)

    async def refuse() -> None:
        first, second = await fill(slots, 2)
        second.refused()
        first.give()

    await refuse()
    await finish(slots, CALM)
    await refuse()
    await finish(slots, 2 * CALM)  # the cap is two again
    await finish(slots, 2 * CALM)  # and has been for as long

    await refuse()
    await finish(slots, 2 * CALM)

    assert slots.cap == 2
