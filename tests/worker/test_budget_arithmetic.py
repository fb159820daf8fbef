"""One arithmetic of a budget, kept in a process by `LocalGate` and in Redis by a script: the same tests for both.

Virtual time: the script is told what time it is, in the place of Redis' own clock.
"""

import random
from collections.abc import AsyncIterator
from hashlib import sha1
from typing import Protocol

import attrs
import pytest

from asana_jobs import RateLimits
from asana_jobs.gates import BUDGET_NUMBERS, Lease, LocalGate, Priority, Traffic
from asana_jobs.testing import FakeClock
from asana_jobs.worker._budget_protocol import (
    AskGroup,
    PendingReport,
    RefusedRequest,
    Reply,
    ReturnedLease,
    keys_of,
    limits_for,
    read_reply,
    write_message,
)
from asana_jobs.worker._redis import Script, Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

#: What the process and the script take the network to do to the spaces between requests.
NETWORK_JITTER = 1.0
LIMITS = {
    "paid": RateLimits.paid(),
    "free": RateLimits.free(),
    "fast": RateLimits(requests_per_minute=34_000),
    "tiny": RateLimits(requests_per_minute=3),
    "half for looks": RateLimits(requests_per_minute=1500, poll_share=0.5),
    "to be discovered": RateLimits(),
    "a share to be discovered": RateLimits(share=1 / 4),
    "found out before": RateLimits(expected=600),
    "the most found out before": RateLimits(expected=1500),
}


class Clock(FakeClock):
    """Virtual time with chance left out: our own backoff is one number."""

    def random(self) -> float:
        """Return the middle."""
        return 0.5


class Budget(Protocol):
    """One budget in virtual time, wherever it is kept."""

    clock: Clock

    async def acquire(self, priority: Priority, traffic: Traffic = Traffic.READ) -> Lease:
        """Wait for the turn of one request."""
        ...

    async def quota(self) -> float:
        """Return the requests a minute that are taken to be allowed."""
        ...


class InThisProcess:
    """A budget that is kept by `LocalGate`."""

    def __init__(self, limits: RateLimits) -> None:
        self.clock = Clock()
        self._gate = LocalGate(limits, self.clock)

    async def acquire(self, priority: Priority, traffic: Traffic = Traffic.READ) -> Lease:
        """Wait for the turn of one request."""
        return await self._gate.acquire(traffic, priority)

    async def quota(self) -> float:
        """Return the requests a minute that are taken to be allowed."""
        return self._gate.snapshot().quota


@attrs.define(eq=False)
class ScriptLease(Lease):
    """A lease of the budget in Redis."""

    note: ReturnedLease
    event: int
    budget: "InRedis"
    refused: bool = False

    def release(self, *, answered: bool = True) -> None:
        """Give it back."""
        self.budget.pending.releases.append(attrs.evolve(self.note, answered=answered and not self.refused))

    def discard(self) -> None:
        """Give it back unsent."""
        self.budget.pending.releases.append(attrs.evolve(self.note, unsent=True))

    def penalise(self, retry_after: float | None) -> None:
        """Take note of a 429."""
        self.refused = True
        self.budget.pending.refusals.append(
            RefusedRequest(self.note.id, self.event, -1.0 if retry_after is None else retry_after, 0.5)
        )


class InRedis:
    """A budget that is kept by the script, asked as `BudgetClient` asks it, at a time that the test says."""

    #: The script's clock, not far from what a real one shows.
    began = 1_700_000_000.0

    def __init__(self, limits: RateLimits, url: str, name: str) -> None:
        self.clock = Clock()
        self.skew = 0.0
        self.expects = True
        self.pending = PendingReport()
        self._store = Store(url)
        self._keys = keys_of(name)
        self._limits = {**limits_for(limits), "jitter": NETWORK_JITTER}
        self._last: Reply | None = None
        self._asked_at = 0.0
        self._script = Script("settle", numbers=BUDGET_NUMBERS)
        text = self._script.text
        self._script.text = text.replace("redis.call('TIME')", "{ ARGV[2], 0 }")
        assert self._script.text != text
        self._script.sha = sha1(self._script.text.encode(), usedforsecurity=False).hexdigest()

    async def settle(self, *asks: AskGroup, reservations: list[float] | None = None, first: int = 0) -> Reply:
        """Tell the budget what there is to be told, and ask it."""
        pending, self.pending = self.pending, PendingReport()
        now = self.clock.monotonic()
        expected = None
        if self._last is not None and self.expects:
            expected = self._last.at + now - self._asked_at
        message = write_message(
            process="p",
            limits=self._limits,
            pending=pending,
            held=[],
            asks=list(asks),
            reservations=reservations or [],
            first_looks=first,
            expected=expected,
            recovering=False,
        )
        text = await self._store.run(self._script, self._keys, message, f"{self.began + now + self.skew:.6f}")
        self._last, self._asked_at = read_reply(text), now
        return self._last

    async def acquire(self, priority: Priority, traffic: Traffic = Traffic.READ) -> ScriptLease:
        """Wait for the turn of one request."""
        ask = AskGroup(lane=traffic.value, routine=priority is Priority.ROUTINE, count=1)
        waited = False
        while True:
            reply = await self.settle(ask)
            [answer] = reply.answers
            if answer.granted:
                [(name, taken, look_taken)] = answer.granted
                note = ReturnedLease(
                    id=name,
                    lane=traffic.value,
                    routine=ask.routine,
                    waited=waited,
                    at=reply.at,
                    taken=reply.at + taken,
                    look_taken=reply.at + look_taken,
                )
                return ScriptLease(note, reply.event, self)
            waited = True
            await self.clock.sleep(answer.wait + 1e-6)

    async def quota(self) -> float:
        """Return the requests a minute that are taken to be allowed."""
        return (await self.settle()).quota

    async def close(self) -> None:
        """Let go of the connection."""
        await self._store.close()


class Both:
    """Makes the same budget in this process and in Redis."""

    def __init__(self, url: str, name: str) -> None:
        self._url, self._name = url, name
        self._open: list[InRedis] = []

    def in_redis(self, limits: RateLimits) -> InRedis:
        """Return one in Redis."""
        made = InRedis(limits, self._url, f"{self._name}-{len(self._open)}")
        self._open.append(made)
        return made

    def make(self, where: str, limits: RateLimits) -> Budget:
        """Return one, as the test asks for it."""
        return InThisProcess(limits) if where == "process" else self.in_redis(limits)

    async def close(self) -> None:
        """Let go of the connections."""
        for budget in self._open:
            await budget.close()


@pytest.fixture
async def both(redis_url: str, budget: str) -> AsyncIterator[Both]:
    """Budgets that no other test uses."""
    made = Both(redis_url, budget)
    yield made
    await made.close()


WHERE = pytest.mark.parametrize("where", ["process", "redis"])


async def grants(budget: Budget, count: int, priority: Priority = Priority.FOREGROUND) -> list[float]:
    """Return when each of *count* requests might go, one after the other."""
    times = list[float]()
    for _ in range(count):
        (await budget.acquire(priority)).release()
        times.append(budget.clock.monotonic())
    return times


async def story(budget: Budget, seed: int) -> list[tuple[float, float]]:
    """Live through what chance brings; return when each request went, and what the quota was then."""
    chance = random.Random(seed)  # noqa: S311  # repeatable on purpose
    held = list[Lease]()
    found = list[tuple[float, float]]()
    paused = False
    calls = 0

    async def answer(lease: Lease) -> bool:
        """Answer one request somehow; return whether it was a 429."""
        how = chance.choice(["answered", "answered", "answered", "cancelled", "refused"])
        if how == "refused":
            lease.penalise(chance.choice([None, 0.0, 3.0, 40.0]))
        lease.release(answered=how != "cancelled")
        await budget.quota()  # which tells Redis
        return how == "refused"

    for _ in range(100):
        what = chance.choice(["call", "look", "look", "answer", "answer", "idle"])
        if what == "idle":
            while held:  # in Redis a lease is over after a while
                paused = await answer(held.pop(0)) or paused
            await budget.clock.sleep(chance.choice([0.05, 1.0, 20.0, 90.0, 400.0]))
        elif what == "answer" and held:
            paused = await answer(held.pop(chance.randrange(len(held)))) or paused
        elif what == "look" or (
            what == "call" and calls < 5
        ):  # after more of them it would be the looks' turn
            calls = 0 if what == "look" else calls + 1
            lease = await budget.acquire(Priority.ROUTINE if what == "look" else Priority.FOREGROUND)
            found.append((budget.clock.monotonic(), await budget.quota()))
            if paused:  # the others wait for this one's answer
                lease.release()
                await budget.quota()
                paused = False
            else:
                held.append(lease)
    return found


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS.keys())
@pytest.mark.parametrize("seed", range(6))
async def test_both_let_the_same_requests_go_at_the_same_time(
    both: Both, limits: RateLimits, seed: int
) -> None:
    """Whatever happens, a budget in Redis lets every request go when one in a process would, with the same quota."""
    here = await story(both.make("process", limits), seed)
    there = await story(both.make("redis", limits), seed)

    assert len(here) == len(there) > 20
    assert [at for at, _ in there] == pytest.approx([at for at, _ in here], abs=0.01)
    assert [quota for _, quota in there] == pytest.approx([quota for _, quota in here])


@WHERE
async def test_no_minute_sees_more_than_the_quota(both: Both, where: str) -> None:
    """After a quiet time a burst goes at once, and the burst and a minute of the pace are within the quota."""
    times = await grants(both.make(where, RateLimits.free()), 320)

    assert times[4] - times[0] < 0.01
    assert max(sum(at <= time < at + 60 for time in times) for at in times) <= 150
    assert times[-1] - times[0] < 150  # and not far below it: (150 - 5) / 61 a second


@WHERE
async def test_looks_leave_five_requests_for_calls(both: Both, where: str) -> None:
    """However many looks there are, five calls go at once."""
    budget = both.make(where, RateLimits.paid())
    await grants(budget, 60, Priority.ROUTINE)
    times = await grants(budget, 6)

    assert times[4] - times[0] < 0.01 < times[5] - times[4]


@WHERE
async def test_looks_use_the_whole_pace(both: Both, where: str) -> None:
    """Where nobody calls, looks go at the pace of the quota."""
    times = await grants(both.make(where, RateLimits.paid()), 300, Priority.ROUTINE)

    assert 299 / (times[-1] - times[0]) > 0.95 * 1475 / 61


@WHERE
async def test_a_probe_reopens(both: Both, where: str) -> None:
    """After a 429 nothing goes until Retry-After is over, and one answer opens the gate."""
    budget = both.make(where, RateLimits.paid())
    lease = await budget.acquire(Priority.FOREGROUND)
    lease.penalise(30.0)
    lease.release()
    began = budget.clock.monotonic()
    (await budget.acquire(Priority.FOREGROUND)).release()
    assert budget.clock.monotonic() - began == pytest.approx(30, abs=0.01)
    assert await budget.quota() == 1000

    assert (await grants(budget, 1))[0] - began < 30.2


@WHERE
async def test_a_quota_is_found_out(both: Both, where: str) -> None:
    """A quota that was not told is doubled while callers wait, up to what Asana never exceeds."""
    budget = both.make(where, RateLimits())
    assert await budget.quota() == 150
    await grants(budget, 200)

    assert await budget.quota() == 1500


@WHERE
async def test_a_first_refusal_is_remembered(both: Both, where: str) -> None:
    """What was refused is not exceeded for ten minutes, however many wait."""
    budget = both.make(where, RateLimits())
    await grants(budget, 200)
    lease = await budget.acquire(Priority.FOREGROUND)
    lease.penalise(0.0)
    lease.release()
    refused_at = budget.clock.monotonic()
    while budget.clock.monotonic() < refused_at + 590:
        await grants(budget, 100)
        assert 150 <= await budget.quota() < 1500


# What only the script has: a clock that is not its own, and a queue of those who come back.


@pytest.mark.parametrize("leap", [-300.0, -3.0, 300.0, 86400.0])
async def test_a_leap_of_the_clock_makes_no_difference(both: Both, leap: float) -> None:
    """Redis' clock is put five minutes back, or ahead: requests go on at their pace, neither late nor in a burst."""
    budget = both.in_redis(RateLimits.paid())
    await grants(budget, 40)
    budget.skew = leap
    times = await grants(budget, 26)

    assert times[-1] - times[0] == pytest.approx(25 * 61 / 1475, abs=0.05)


async def test_a_pause_outlives_a_leap_of_the_clock(both: Both) -> None:
    """A pause ends when it was to, although Redis' clock was put back meanwhile."""
    budget = both.in_redis(RateLimits.paid())
    lease = await budget.acquire(Priority.FOREGROUND)
    lease.penalise(20.0)
    lease.release()
    await budget.settle()
    began = budget.clock.monotonic()
    budget.skew = -300.0
    await budget.acquire(Priority.FOREGROUND)

    assert budget.clock.monotonic() - began == pytest.approx(20, abs=0.1)


async def test_a_process_that_knows_no_time_believes_redis(both: Both) -> None:
    """What asks for the first time takes the time that has passed for what it is: a quiet night is no leap."""
    budget = both.in_redis(RateLimits.paid())
    await grants(budget, 25)
    budget.skew, budget.expects = 3600.0, False
    times = await grants(budget, 25)

    assert times[-1] - times[0] < 0.01


async def test_a_look_that_was_not_sent_is_given_back(both: Both) -> None:
    """A turn that nobody took is another one's."""
    budget = both.in_redis(RateLimits.paid())
    await grants(budget, 30)
    began = budget.clock.monotonic()
    for _ in range(20):
        (await budget.acquire(Priority.FOREGROUND)).discard()

    assert budget.clock.monotonic() - began < 0.1


async def test_looks_that_return_are_told_their_turn(both: Both) -> None:
    """Those who have looked come back one after the other where there is a queue, and when they want where there is none."""
    budget = both.in_redis(RateLimits.paid())
    queue = AskGroup(lane="read", routine=True, count=60, queue=True)
    gap = 61 / 1475
    assert (await budget.settle(reservations=[5.0])).reserved == [-1]
    told = (await budget.settle(queue)).answers[0].tickets  # 20 may go at once
    assert len(told) == 40

    reserved = (await budget.settle(reservations=[0.1, 0.1, 90.0])).reserved
    assert reserved == pytest.approx([told[-1] + gap, told[-1] + 2 * gap, -1], abs=0.01)


async def test_looks_that_return_make_way_for_first_looks(both: Both) -> None:
    """While many waits were never looked at, those that were come back when these have had their turn."""
    budget = both.in_redis(RateLimits.paid())
    reserved = (await budget.settle(reservations=[1.0, 1.0], first=1000)).reserved

    assert reserved == pytest.approx([1000 * 61 / 1475, 1001 * 61 / 1475], abs=0.01)
    assert (await budget.settle(reservations=[1.0], first=10**6)).reserved[0] < 65
