"""The gate as its callers see it: turns, caps, the shared pause, and nothing left behind."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import attrs
import looptime
import pytest
from counting import CountingClock

from asana_jobs._client.clock import SystemClock, Timer
from asana_jobs._client.limits.gate import (
    FairQueue,
    GateSnapshot,
    Lease,
    LocalGate,
    Priority,
    Traffic,
)
from asana_jobs._client.limits.quota import Cooldown
from asana_jobs.policies import RateLimits


#: Nothing here touches a socket that looptime would have to wait for.
pytestmark = pytest.mark.looptime(noop_cycles=1)

START, FOREGROUND, ROUTINE = Priority
READ, WRITE = Traffic
FAST = RateLimits(requests_per_minute=1e9, poll_share=1.0)


@attrs.define
class Crowd:
    """Callers of one gate, each in a task, who note when their turn comes and then keep their lease."""

    gate: LocalGate
    served: list[str] = attrs.field(factory=list[str])
    times: list[float] = attrs.field(factory=list[float])

    def call(
        self, name: str, traffic: Traffic = READ, priority: Priority = FOREGROUND
    ) -> asyncio.Task[Lease]:
        """Have somebody ask for a lease."""

        async def ask() -> Lease:
            lease = await self.gate.acquire(traffic, priority)
            self.served.append(name)
            self.times.append(now())
            return lease

        return asyncio.create_task(ask())


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()


def gate(limits: RateLimits = FAST) -> LocalGate:
    """A gate on the loop's own time."""
    return LocalGate(limits, SystemClock(seed=1))


def crowd(limits: RateLimits = FAST) -> Crowd:
    """Callers of a fresh gate."""
    return Crowd(gate(limits))


async def refuse(gate: LocalGate, retry_after: float | None) -> None:
    """Have one request go and be answered 429."""
    with await gate.acquire(READ, FOREGROUND) as lease:
        lease.penalise(retry_after)


async def a_moment() -> None:
    """Let everything happen that is due now."""
    for _ in range(5):
        await asyncio.sleep(0)


async def everyone_leaves(*tasks: "asyncio.Task[Lease]") -> None:
    """Cancel those who still wait."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


# -- turns and caps


async def test_no_wait_without_need() -> None:
    """An idle gate gives a lease in the same turn of the loop."""
    coroutine = gate().acquire(READ, FOREGROUND)
    with pytest.raises(StopIteration):
        coroutine.send(None)


@pytest.mark.parametrize(("traffic", "cap"), [(READ, 50), (WRITE, 15)])
async def test_caps(traffic: Traffic, cap: int) -> None:
    """No more requests of one kind are in flight than Asana allows."""
    callers = crowd()
    tasks = [callers.call(str(number), traffic) for number in range(60)]
    await asyncio.sleep(1)
    assert len(callers.served) == cap
    await everyone_leaves(*tasks)


async def test_requests_that_never_wait_raise_no_quota() -> None:
    """That more may be sent is tried only when somebody is kept waiting for it."""
    quiet = gate(RateLimits())
    for _ in range(60):
        with await quiet.acquire(READ, FOREGROUND):
            await asyncio.sleep(1)
    assert quiet.snapshot().quota == 150


async def test_share_scales_the_caps() -> None:
    """A quarter of the limits is a quarter of the caps, and at least one of each."""
    callers = crowd(RateLimits(requests_per_minute=1e9, reads_in_flight=50, writes_in_flight=2, share=0.25))
    tasks = [callers.call(traffic.value, traffic) for traffic in Traffic for _ in range(20)]
    await asyncio.sleep(1)
    assert (callers.served.count("read"), callers.served.count("write")) == (12, 1)
    await everyone_leaves(*tasks)


async def test_reads_and_writes_apart() -> None:
    """A caller who waits for a write slot does not hold up those who read."""
    callers = crowd(RateLimits(requests_per_minute=1e9, writes_in_flight=1))
    tasks = [callers.call("write", WRITE, START), callers.call("blocked", WRITE, START), callers.call("read")]
    await asyncio.sleep(1)
    assert callers.served == ["write", "read"]
    await everyone_leaves(*tasks)


async def test_release_lets_the_next_go() -> None:
    """A lease that comes back goes to the next caller at once."""
    callers = crowd(attrs.evolve(FAST, reads_in_flight=1))
    first, second = callers.call("first"), callers.call("second")
    (await first).release()
    await a_moment()
    assert callers.served == ["first", "second"]
    await everyone_leaves(second)


async def test_release_twice() -> None:
    """A lease that is given back twice makes room for one."""
    callers = crowd(attrs.evolve(FAST, reads_in_flight=1))
    tasks = [callers.call(str(number)) for number in range(3)]
    lease = await tasks[0]
    lease.release()
    lease.release()
    await asyncio.sleep(1)
    assert callers.served == ["0", "1"]
    await everyone_leaves(*tasks)


async def test_with_releases() -> None:
    """Leaving ``with`` gives the lease back, also by an exception."""
    budget = gate(attrs.evolve(FAST, reads_in_flight=1))
    with pytest.raises(KeyError), await budget.acquire(READ, FOREGROUND):
        raise KeyError
    assert budget.snapshot().reads_in_flight == 0


async def test_first_come_first_served() -> None:
    """Callers of one priority are served in the order in which they came, whether they read or write."""
    callers = crowd(RateLimits(requests_per_minute=600))
    tasks = [callers.call(str(number), READ if number % 3 else WRITE) for number in range(45)]
    await asyncio.gather(*tasks)
    assert callers.served == [str(number) for number in range(45)]


async def test_priorities() -> None:
    """Starting jobs goes before foreground calls, and those before routine looks."""
    callers = crowd(attrs.evolve(FAST, reads_in_flight=1))
    lease = await callers.gate.acquire(READ, FOREGROUND)
    tasks = [callers.call(priority.name, READ, priority) for priority in (ROUTINE, FOREGROUND, START)]
    await a_moment()
    lease.release()
    for task in reversed(tasks):
        (await task).release()
    assert callers.served == ["START", "FOREGROUND", "ROUTINE"]


@pytest.mark.parametrize(
    ("endless", "patient"), [(FOREGROUND, ROUTINE), (START, FOREGROUND), (START, ROUTINE)]
)
async def test_nobody_starves(endless: Priority, patient: Priority) -> None:
    """A priority under endless load of a higher one still gets one turn in ten, whoever has to leave room for whom."""
    callers = crowd(RateLimits(requests_per_minute=600))
    tasks = [
        callers.call(priority.name, READ, priority) for priority in (endless, patient) for _ in range(500)
    ]
    for task in tasks:
        task.add_done_callback(lambda task: None if task.cancelled() else task.result().release())
    await asyncio.sleep(30)
    assert callers.served.count(patient.name) >= len(callers.served) // 10 - 1
    assert callers.served.count(patient.name) <= len(callers.served) // 8
    await everyone_leaves(*tasks)


async def test_foreground_does_not_wait_for_looks() -> None:
    """A foreground call among thousands of routine looks waits for one turn of the pace, not for theirs."""
    callers = crowd(RateLimits(requests_per_minute=1500, poll_share=1.0))
    tasks = [callers.call("look", READ, ROUTINE) for _ in range(3000)]
    for task in tasks:
        task.add_done_callback(lambda task: None if task.cancelled() else task.result().release())
    await asyncio.sleep(10)
    before = now()
    (await callers.call("call")).release()
    assert now() - before < 0.1
    await everyone_leaves(*tasks)


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
async def test_poll_share(share: float) -> None:
    """Routine looks use their share of the quota and no more, though nobody else is there."""
    callers = crowd(RateLimits(requests_per_minute=600, poll_share=share, reads_in_flight=1000))
    tasks = [callers.call("look", READ, ROUTINE) for _ in range(900)]
    await asyncio.sleep(59.9)
    assert 0.85 * 600 * share <= len(callers.served) <= 600 * share
    await everyone_leaves(*tasks)


async def test_looks_use_what_nobody_else_does() -> None:
    """With nothing said about them, looks get all of the pace while nobody else wants any."""
    callers = crowd(RateLimits(requests_per_minute=600, reads_in_flight=1000))
    tasks = [callers.call("look", READ, ROUTINE) for _ in range(900)]
    await asyncio.sleep(60)
    assert callers.gate.snapshot().pace - 1 <= len(callers.served) <= 600
    await everyone_leaves(*tasks)


@pytest.mark.parametrize(("quota", "at_once"), [(150, 4), (600, 5), (1500, 5)])
async def test_some_requests_are_kept_for_calls(quota: int, at_once: int) -> None:
    """A handful of calls goes at once though looks use all of the pace, and the next one after a turn of it."""
    callers = crowd(RateLimits(requests_per_minute=quota, reads_in_flight=1000))
    looks = [callers.call("look", READ, ROUTINE) for _ in range(1000)]
    await asyncio.sleep(20)
    calls = [callers.call("call") for _ in range(at_once + 1)]
    await a_moment()
    assert callers.served.count("call") == at_once
    await asyncio.sleep(1.1 * 60 / callers.gate.snapshot().pace)
    assert callers.served[-(at_once + 1) :] == ["call"] * (at_once + 1)
    await everyone_leaves(*looks, *calls)


async def test_steady_calls_push_looks_aside() -> None:
    """Calls that use four fifths of the pace, one by one, all go at once, and looks get the rest."""
    callers = crowd(RateLimits(requests_per_minute=1500, reads_in_flight=3000))
    looks = [callers.call("look", READ, ROUTINE) for _ in range(300)]
    await asyncio.sleep(5)
    callers.served.clear()
    callers.times.clear()
    waits: list[float] = []
    for _ in range(300):
        began = now()
        await callers.call("call")
        waits.append(now() - began)
        await asyncio.sleep(1.25 * 60 / callers.gate.snapshot().pace)
    assert max(waits) < 0.05
    assert callers.served.count("look") == pytest.approx(75, abs=6)
    await everyone_leaves(*looks)


class LateClock(SystemClock):
    """A clock whose timers all fire some milliseconds late, as they do in a busy process."""

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* after *delay* seconds and a little more."""
        return super().call_later(delay + 0.005, callback)


@pytest.mark.parametrize("quota", [1_500, 34_000, 100_000])
async def test_looks_make_up_for_late_timers(quota: int) -> None:
    """However short the turns, looks get nearly all of the pace from timers that fire late."""
    callers = Crowd(LocalGate(RateLimits(requests_per_minute=quota, reads_in_flight=100_000), LateClock()))
    pace = callers.gate.snapshot().pace / 60
    tasks = [callers.call("look", READ, ROUTINE) for _ in range(int(3 * pace))]
    await asyncio.sleep(2)
    assert len(callers.served) >= 0.95 * 2 * pace
    await everyone_leaves(*tasks)


async def test_a_turn_that_a_look_gave_up_is_one_turn() -> None:
    """Calls pass a look over until it is its turn; when it leaves then, the next look has that turn, and no other."""
    callers = crowd(RateLimits(requests_per_minute=150, reads_in_flight=1000))
    gap = 60 / callers.gate.snapshot().pace
    calls = [callers.call("call") for _ in range(14)]
    await a_moment()
    look = callers.call("look", READ, ROUTINE)
    await asyncio.sleep(9.2 * gap)
    await everyone_leaves(look)
    await asyncio.gather(*calls)
    for _ in range(3):
        await callers.call("look", READ, ROUTINE)
    assert [after - before for before, after in pairwise(callers.times[-4:])] == pytest.approx(
        [gap, 5 * gap, gap], rel=0.01
    )


async def test_the_probe_may_be_a_look() -> None:
    """When a pause is over a look goes at once, though nothing has yet been put by for calls."""
    callers = crowd(RateLimits(requests_per_minute=150))
    await refuse(callers.gate, 30)
    look = callers.call("look", READ, ROUTINE)
    began = now()
    (await look).release()
    assert now() - began == pytest.approx(30)


async def test_poll_share_of_looks_one_by_one() -> None:
    """Looks that come one by one, two a second at most, keep to the share as those that queue do."""
    budget = gate(RateLimits(requests_per_minute=600, poll_share=0.2))
    for _ in range(3):
        (await budget.acquire(READ, ROUTINE)).release()
    assert now() == pytest.approx(0.5, rel=0.05)


async def test_foreground_goes_on_while_looks_wait_for_their_share() -> None:
    """Looks whose turn is far off do not keep the callers behind them asleep until then."""
    callers = crowd(RateLimits(requests_per_minute=600, poll_share=0.02, reads_in_flight=1000))
    looks = [callers.call("look", READ, ROUTINE) for _ in range(3)]
    calls = [callers.call("call") for _ in range(30)]
    await asyncio.sleep(5)
    assert (callers.served.count("look"), callers.served.count("call")) == (1, 30)
    await everyone_leaves(*looks, *calls)


async def test_foreground_may_use_everything() -> None:
    """Foreground calls are not bound to what routine looks leave over."""
    callers = crowd(RateLimits(requests_per_minute=600, poll_share=0.5, reads_in_flight=1000))
    tasks = [callers.call("call") for _ in range(900)]
    await asyncio.sleep(59.9)
    assert 0.95 * 600 <= len(callers.served) <= 600
    await everyone_leaves(*tasks)


def test_turns_pass_over_who_cannot_go() -> None:
    """Who may not go for a reason of his own loses no turn to those behind him, and keeps his place."""
    turns: FairQueue[str, str] = FairQueue([0, 1], ["a", "b"])
    turns.join(0, "a", "first")
    turns.join(1, "b", "second")
    assert turns.pop(lambda _, lane: lane == "b") == (1, "b", "second")
    assert turns.pop(lambda _, __: True) == (0, "a", "first")
    assert turns.pop(lambda _, __: True) is None


def test_who_leaves_a_queue_is_counted_once() -> None:
    """A queue knows how many wait, whoever leaves from wherever, and however often."""
    turns: FairQueue[str, str] = FairQueue([0, 1], ["a", "b"])
    tickets = [turns.join(rank, lane, lane) for rank in (0, 1) for lane in ("a", "b")]
    assert (turns.size, turns.waiting(0), turns.waiting(1)) == (4, 2, 2)
    for _ in range(2):
        turns.leave(tickets[1])
    assert (turns.size, turns.waiting(0), turns.waiting(1)) == (3, 1, 2)
    assert turns.places() == [(0, "a"), (1, "a"), (1, "b")]
    assert turns.pop(lambda _, __: True) == (0, "a", "a")
    turns.leave(tickets[0])
    assert (turns.size, turns.waiting(0), turns.waiting(1)) == (2, 0, 2)


def test_tenth_turn_is_for_who_was_passed_over() -> None:
    """Nine turns in a row go to those who are more urgent, and then one to those behind them."""
    turns: FairQueue[str, int] = FairQueue([0, 1], ["a"])
    for number in range(60):
        turns.join(number % 2, "a", number)

    taken = [turn[0] for _ in range(30) if (turn := turns.pop(lambda _, __: True))]

    assert taken == ([0] * 9 + [1]) * 3


# -- cancellation


async def test_cancelled_waiter_leaves() -> None:
    """A caller who is cancelled while waiting does not hold up those behind it."""
    callers = crowd(attrs.evolve(FAST, reads_in_flight=1))
    first, second, third = (callers.call(name) for name in ("first", "second", "third"))
    await a_moment()
    await everyone_leaves(second)
    (await first).release()
    await asyncio.wait_for(third, 1)
    assert callers.served == ["first", "third"]


async def test_a_waiter_that_is_thrown_away_leaves() -> None:
    """A coroutine that is closed while it waits, as garbage is, gives its place back without a word."""
    callers = crowd(attrs.evolve(FAST, reads_in_flight=1))
    await callers.gate.acquire(READ, FOREGROUND)
    waiting = callers.gate.acquire(READ, FOREGROUND)
    waiting.send(None)
    assert callers.gate.snapshot().waiting[FOREGROUND] == 1

    waiting.close()

    assert callers.gate.snapshot().waiting[FOREGROUND] == 0


@pytest.mark.parametrize("served_first", [True, False])
async def test_cancelled_in_the_turn_in_which_it_is_served(*, served_first: bool) -> None:
    """A caller who is cancelled in the very turn in which it is served, just after or before, hands the lease on."""
    callers = crowd(attrs.evolve(FAST, reads_in_flight=1))
    first, second, third = (callers.call(name) for name in ("first", "second", "third"))
    lease = await first
    await a_moment()
    if served_first:
        lease.release()
    second.cancel()
    lease.release()
    await asyncio.wait_for(third, 1)
    assert second.cancelled()
    assert callers.served == ["first", "third"]


async def test_cancelled_turn_costs_nothing() -> None:
    """A turn whose caller was cancelled before it could send leaves the burst as it was."""
    callers = crowd(RateLimits(requests_per_minute=600, reads_in_flight=1))
    for name in ("first", "second", "third"):
        holder, victim = callers.call(name), callers.call("victim")
        lease = await holder
        await a_moment()
        lease.release()
        victim.cancel()
        await a_moment()
    for _ in range(7):
        (await callers.call("next")).release()
    assert callers.served == ["first", "second", "third", *["next"] * 7]
    assert callers.times == [callers.times[0]] * 10


async def test_thousands_cancelled() -> None:
    """Ten thousand callers who give up leave an empty gate."""
    clock = CountingClock()
    callers = Crowd(LocalGate(RateLimits(requests_per_minute=150), clock))
    tasks = [callers.call(str(number)) for number in range(10_000)]
    await asyncio.sleep(1)
    assert callers.gate.snapshot().waiting[FOREGROUND] > 9_900
    await everyone_leaves(*tasks)
    assert sum(callers.gate.snapshot().waiting.values()) == 0
    assert clock.pending == 0


async def test_the_last_who_gives_up_takes_the_timer_along() -> None:
    """Nothing wakes up for a turn that nobody waits for."""
    clock = CountingClock()
    callers = Crowd(LocalGate(RateLimits(requests_per_minute=150), clock))
    tasks = [callers.call(str(number)) for number in range(10)]
    await a_moment()
    assert clock.pending == 1
    await everyone_leaves(*tasks[1:])
    assert clock.pending == 0


async def test_one_timer() -> None:
    """However many wait, at most one timer is set."""
    clock = CountingClock()
    callers = Crowd(LocalGate(RateLimits(requests_per_minute=600), clock))
    tasks = [callers.call(str(number), READ, priority) for priority in Priority for number in range(20)]
    for _ in range(50):
        await asyncio.sleep(0.05)
        assert clock.pending == 1
    (await tasks[0]).penalise(1.0)
    assert clock.pending == 1
    await everyone_leaves(*tasks)


async def test_no_timer_when_nobody_waits() -> None:
    """A gate that is paused or has spent its pace schedules nothing while nobody waits."""
    clock = CountingClock()
    budget = LocalGate(RateLimits(requests_per_minute=150), clock)
    for _ in range(4):
        (await budget.acquire(READ, FOREGROUND)).release()
    await refuse(budget, 30)
    assert not clock.started


# -- the pause after a 429


async def test_pause() -> None:
    """After a 429 nobody sends for as long as Asana asked."""
    callers = crowd()
    before = now()
    await refuse(callers.gate, 30)
    (await callers.call("next")).release()
    assert now() - before == pytest.approx(30, abs=1e-3)


async def test_pause_is_extended() -> None:
    """A longer number makes the pause longer, a shorter one never shortens it."""
    callers = crowd()
    before = now()
    leases = [await callers.gate.acquire(READ, FOREGROUND) for _ in range(3)]
    for lease, seconds in zip(leases, (10, 30, 5), strict=True):
        lease.penalise(seconds)
        lease.release()
    (await callers.call("next")).release()
    assert now() - before == pytest.approx(30, abs=1e-3)


async def test_one_probe() -> None:
    """When the pause ends one request goes, and the others wait for its answer."""
    callers = crowd()
    await refuse(callers.gate, 10)
    tasks = [callers.call(str(number)) for number in range(20)]
    await asyncio.sleep(20)
    assert callers.served == ["0"]
    (await tasks[0]).release()
    await asyncio.sleep(1)
    assert len(callers.served) == 20


async def test_pause_ends_without_a_burst() -> None:
    """After the probe the others follow evenly spaced, not as a burst."""
    callers = crowd(RateLimits(requests_per_minute=600))
    await asyncio.sleep(100)
    await refuse(callers.gate, 10)
    tasks = [callers.call(str(number)) for number in range(10)]
    await asyncio.sleep(10.05)
    (await tasks[0]).release()
    await asyncio.gather(*tasks)
    assert min(later - sooner for sooner, later in pairwise(callers.times)) > 0.1


async def test_refused_probe() -> None:
    """A probe that is refused shuts the gate again, and another one goes later."""
    callers = crowd()
    await refuse(callers.gate, 10)
    tasks = [callers.call(str(number)) for number in range(3)]
    probe = await tasks[0]
    probe.penalise(20)
    probe.release()
    (await tasks[1]).release()
    await tasks[2]
    assert callers.times == pytest.approx([10, 30, 30], abs=1e-3)


@pytest.mark.parametrize("end", [None, asyncio.CancelledError, KeyboardInterrupt, SystemExit])
async def test_cancelled_probe(end: type[BaseException] | None) -> None:
    """A probe that is cancelled without an answer opens nothing, but lets another probe go."""
    callers = crowd()
    await refuse(callers.gate, 10)
    tasks = [callers.call(str(number)) for number in range(3)]
    probe = await tasks[0]
    if end is None:
        probe.release(answered=False)
    else:
        with pytest.raises(end), probe:
            raise end
    await asyncio.sleep(1)
    assert callers.served == ["0", "1"]
    await everyone_leaves(*tasks)


async def test_probe_cancelled_before_it_went() -> None:
    """A probe whose caller is cancelled in the turn it was served does not keep the gate shut."""
    callers = crowd()
    await refuse(callers.gate, 10)
    first, second = callers.call("first"), callers.call("second")
    asyncio.get_running_loop().call_later(10, first.cancel)
    await asyncio.wait_for(second, 11)
    assert callers.served == ["second"]


async def test_probe_served_as_it_is_cancelled() -> None:
    """A probe whose caller is cancelled after it was served, but before it could send, opens nothing."""
    callers = crowd()
    await refuse(callers.gate, 10)
    first, second, third = (callers.call(name) for name in ("first", "second", "third"))
    await a_moment()
    asyncio.get_running_loop().call_later(10, first.cancel)
    await asyncio.sleep(11)
    assert first.cancelled()
    assert callers.served == ["second"]
    await everyone_leaves(second, third)


async def test_failed_probe_opens() -> None:
    """A probe that fails otherwise than by 429 opens the gate: the limit is not what is wrong."""
    callers = crowd()
    await refuse(callers.gate, 10)
    tasks = [callers.call(str(number)) for number in range(3)]
    with pytest.raises(OSError), await tasks[0]:
        raise OSError
    await asyncio.sleep(1)
    assert len(callers.served) == 3


async def test_late_answer_extends() -> None:
    """A 429 to a request from before the pause extends it, even after the gate was opened again."""
    callers = crowd()
    early = [await callers.gate.acquire(READ, FOREGROUND) for _ in range(2)]
    early[0].penalise(5)
    (await callers.call("probe")).release()
    early[1].penalise(20)
    (await callers.call("next")).release()
    assert callers.times == pytest.approx([5, 25], abs=1e-3)


async def test_a_refusal_from_before_the_pause_lowers_the_quota_once() -> None:
    """A 429 to a request of the first volley that comes when the pause is over already shuts the gate, and no more."""
    callers = crowd(RateLimits.free())
    early, late = await callers.call("early"), await callers.call("late")
    early.penalise(5)
    early.release()
    (await callers.call("probe")).release()
    assert callers.gate.snapshot().paused_for == 0
    late.penalise(7)
    late.release()
    snapshot = callers.gate.snapshot()
    assert (snapshot.quota, snapshot.rejected, snapshot.paused_for) == (100, 2, 7)


async def test_refused_request_does_not_count_as_let_through() -> None:
    """What was answered with 429 says nothing about how much the server accepts."""
    budget = gate()
    leases = [await budget.acquire(READ, FOREGROUND) for _ in range(3)]
    leases[0].penalise(1)
    for lease in leases:
        lease.release()
    counter = budget._budget.counter  # pyright: ignore[reportPrivateUsage]
    assert counter.accepted(asyncio.get_running_loop().time()) == 2


async def test_late_good_answer_opens_nothing() -> None:
    """A good answer to a request from before the pause does not end it."""
    callers = crowd()
    early = [await callers.gate.acquire(READ, FOREGROUND) for _ in range(2)]
    early[0].penalise(5)
    early[1].release()
    await callers.call("next")
    assert callers.times == pytest.approx([5], abs=1e-3)


async def test_volley_counts_once() -> None:
    """Several 429s to requests of one volley lower the quota once."""
    budget = gate(RateLimits(requests_per_minute=600))
    leases = [await budget.acquire(READ, FOREGROUND) for _ in range(8)]
    for lease in leases:
        await asyncio.sleep(0.01)
        lease.penalise(0.001)
        lease.release()
    assert budget.snapshot().quota == 400
    assert budget.snapshot().rejected == 8


async def test_next_volley_counts_again() -> None:
    """A 429 to a request from after the reopening lowers the quota once more."""
    budget = gate(RateLimits(requests_per_minute=900))
    for quota in (600, 400):
        (await budget.acquire(READ, FOREGROUND)).release()  # the probe, the second time
        lease = await budget.acquire(READ, FOREGROUND)
        lease.penalise(1.0)
        lease.release()
        assert budget.snapshot().quota == pytest.approx(quota)


async def test_backoff_grows() -> None:
    """Without a number from Asana each refused probe makes the next pause longer, up to some minute."""
    callers = crowd()
    lengths: list[float] = []
    await refuse(callers.gate, None)
    for _ in range(6):
        before = now()
        lease = await callers.gate.acquire(READ, FOREGROUND)
        lengths.append(now() - before)
        lease.penalise(None)
        lease.release()
    assert all(2 * a < b for a, b in pairwise(lengths[:4]))
    assert 2 <= lengths[0] <= 2.5
    assert 60 <= min(lengths[4:]) <= max(lengths[4:]) <= 75


async def test_success_resets_the_backoff() -> None:
    """After an answered probe the backoff starts at its beginning again."""
    budget = gate()
    for _ in range(4):
        await refuse(budget, None)
        before = now()
        (await budget.acquire(READ, FOREGROUND)).release()
        assert 2 <= now() - before <= 2.5


def test_jitter() -> None:
    """The backoff's jitter comes from the number that is handed in."""
    assert [Cooldown().shut(0.0, None, chance).until for chance in (0.0, 1.0)] == [2.0, 2.5]


def test_fractions_of_a_second_are_waited_as_asked() -> None:
    """A pause is as long as Asana asks for, be it less than a second."""
    assert Cooldown().shut(10.0, 0.5, 0.0).until == 10.5
    assert Cooldown(until=10.0).extend(10.0, 0.5).until == 10.5


def test_late_refusal_without_a_number_adds_nothing() -> None:
    """A 429 to a request of the same volley that names no time leaves the pause as long as it was."""
    assert Cooldown(until=10.0).extend(9.5, None).until == 10.0


def test_shutting_is_counted() -> None:
    """Each time the gate is shut is one event, and opening it is none."""
    assert Cooldown().shut(0.0, None, 0.0).open().shut(0.0, None, 0.0).event == 2


@pytest.mark.parametrize("nonsense", [-5.0, float("nan"), float("inf")])
def test_nonsense_number(nonsense: float) -> None:
    """A number that is no duration neither shuts the gate for ever nor fails."""
    until = Cooldown().shut(100.0, nonsense, 0.0).until
    assert until is not None
    assert 100.0 <= until <= 102.0
    assert Cooldown(until=100.0).extend(0.0, nonsense).until == 100.0


def test_short_numbers_are_not_believed_for_ever() -> None:
    """A server that says 0 seconds and refuses again and again is asked more and more rarely."""
    pause = Cooldown()
    for _ in range(5):
        pause = pause.shut(0.0, 0.0, 0.0)
    assert pause.until is not None
    assert pause.until >= 20


# -- looking at it


async def test_snapshot() -> None:
    """A snapshot shows the quota, the pace, what is in flight, who waits, and the pause."""
    callers = crowd(RateLimits(requests_per_minute=150))
    leases = [await callers.gate.acquire(traffic, FOREGROUND) for traffic in (READ, READ, WRITE)]
    leases[0].penalise(30)
    leases[0].release()
    tasks = [callers.call("x", READ, priority) for priority in (START, ROUTINE, ROUTINE)]
    await asyncio.sleep(10)
    snapshot = callers.gate.snapshot()
    assert snapshot == GateSnapshot(
        quota=100,
        quota_known=True,
        pace=snapshot.pace,
        used=0.03,
        reads_in_flight=1,
        writes_in_flight=1,
        waiting={START: 1, FOREGROUND: 0, ROUTINE: 2},
        paused_for=snapshot.paused_for,
        reopening=False,
        rejected=1,
        expected=None,
    )
    assert 90 < snapshot.pace < 100
    assert snapshot.paused_for == pytest.approx(20)
    await everyone_leaves(*tasks)


@pytest.mark.parametrize("share", [1.0, 0.25])
async def test_snapshot_of_what_was_found_out(share: float) -> None:
    """What a later client may expect is the quota of the whole token, whatever the share of this process."""
    limits = RateLimits(share=share)
    callers = crowd(limits)
    assert callers.gate.snapshot().expected is None
    for _ in range(8):
        for task in [callers.call("call") for _ in range(30)]:
            (await task).release()
    snapshot = callers.gate.snapshot()
    assert (snapshot.quota, snapshot.expected) == (1500 * share, 1500)
    assert gate(attrs.evolve(limits, expected=snapshot.expected)).snapshot().quota == 1500 * share


async def test_what_is_expected_of_a_known_quota() -> None:
    """A quota that was configured was not found out, and nothing else is expected of it."""
    snapshot = gate(RateLimits(requests_per_minute=600, expected=150)).snapshot()
    assert (snapshot.quota, snapshot.expected) == (600, None)


async def test_snapshot_of_a_quiet_minute() -> None:
    """Nothing of the quota counts as used before the first request, nor a minute after the last."""
    budget = gate(RateLimits(requests_per_minute=1500, share=0.25))
    assert (budget.snapshot().quota, budget.snapshot().used) == (375, 0.0)
    (await budget.acquire(READ, FOREGROUND)).release()
    assert budget.snapshot().used == pytest.approx(1 / 375)
    await asyncio.sleep(61)
    assert budget.snapshot().used == 0.0


async def test_snapshot_of_a_pause_that_ends() -> None:
    """The seconds until a request may go again run out, and a gate that is open has none."""
    budget = gate()
    assert budget.snapshot().paused_for == 0.0
    await refuse(budget, 2)
    await asyncio.sleep(1.5)
    assert budget.snapshot().paused_for == pytest.approx(0.5)
    await asyncio.sleep(1)
    assert budget.snapshot().paused_for == 0.0


async def test_repr() -> None:
    """What a gate does is readable in its ``repr``."""
    budget = gate(RateLimits.free())
    await budget.acquire(READ, FOREGROUND)
    assert repr(budget) == (
        "<LocalGate open: 150 requests/min, 1 reads and 0 writes in flight, 0 waiting, 0 429s>"
    )
    assert repr(gate(RateLimits())).startswith("<LocalGate open: 150 requests/min as found out, 0 reads")


async def test_repr_of_a_pause() -> None:
    """A gate shows that it is shut, and then that the answer of the one probe is awaited."""
    callers = crowd(RateLimits.free())
    await refuse(callers.gate, 5)
    assert repr(callers.gate).startswith("<LocalGate paused: 100 requests/min, 0 reads")
    probe = await callers.call("probe")
    assert repr(callers.gate).startswith("<LocalGate reopening: 100 requests/min, 1 reads")
    probe.release()
    assert repr(callers.gate).startswith("<LocalGate open: 100 requests/min, 0 reads")


def test_other_loop() -> None:
    """A gate that is used from a second event loop says so."""
    budget = gate()

    def use() -> None:
        loop = looptime.new_event_loop()
        try:
            loop.run_until_complete(budget.acquire(READ, FOREGROUND)).release()
        finally:
            loop.close()

    use()
    with pytest.raises(
        RuntimeError, match=r"^this budget belongs to another event loop: use one client per loop$"
    ):
        use()


async def test_a_probe_that_nobody_uses_reopens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a 429, the right to try is granted to somebody who is cancelled in that moment: one other tries instead."""
    gate = LocalGate(FAST, SystemClock())
    (await gate.acquire(READ, FOREGROUND)).penalise(5)
    tasks = [asyncio.ensure_future(gate.acquire(READ, FOREGROUND)) for _ in range(3)]
    await asyncio.sleep(1)
    settle = gate._serve  # pyright: ignore[reportPrivateUsage]

    def settle_and_cancel(now: float, *, waited: bool = False) -> None:
        settle(now, waited=waited)
        tasks[0].cancel()

    monkeypatch.setattr(gate, "_serve", settle_and_cancel)
    await asyncio.wait(tasks, timeout=60)

    assert tasks[0].cancelled()
    assert [task.done() for task in tasks[1:]] == [True, False]
    tasks[1].result().release()
    (await tasks[2]).release()
