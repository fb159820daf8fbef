"""Finding the quota out: the numbers alone, and against the three ways in which a server may count."""

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable

import attrs
import pytest

from asana_jobs._client.clock import SystemClock
from asana_jobs._client.limits.gate import LocalGate, Priority, Traffic
from asana_jobs._client.limits.quota import (
    DOUBLING_INTERVAL,
    SETTLING_TIME,
    MinuteCounter,
    Quota,
    RateBudget,
    cool_down,
    decrease,
    discovered,
    fixed,
    found,
    increase,
)
from asana_jobs.policies import RateLimits


#: These tests make a hundred thousand calls, and touch no socket that looptime would have to wait for.
pytestmark = pytest.mark.looptime(noop_cycles=1)

ROUND_TRIP = 0.15
MODELS = pytest.mark.parametrize("model", ["A", "B", "C"])
QUOTAS = pytest.mark.parametrize("quota", [150, 1500])
HEADERS = pytest.mark.parametrize("retry_after", ["whole", "missing"])


@attrs.define
class Server:
    """A minute limiter: A is a sliding log that records what it rejects too, B a bucket, C one that goes into debt."""

    model: str
    quota: int
    rejected: int = 0
    log: deque[float] = attrs.field(factory=deque[float])
    tokens: float = math.inf
    filled: float = 0.0

    def wait(self, now: float) -> float:
        """Take one request: 0 when it is accepted, else the seconds after which another one would be."""
        wait = self._log(now) if self.model == "A" else self._bucket(now)
        self.rejected += wait > 0
        return wait

    def _log(self, now: float) -> float:
        while self.log and self.log[0] <= now - 60:
            self.log.popleft()
        self.log.append(now)
        return 0.0 if len(self.log) <= self.quota else self.log[len(self.log) - self.quota] + 60 - now

    def _bucket(self, now: float) -> float:
        rate = self.quota / 60
        self.tokens = min(15 * rate, self.tokens + (now - self.filled) * rate)
        self.filled = now
        if self.tokens >= 1:
            self.tokens -= 1
            return 0.0
        if self.model == "C":
            self.tokens = max(-30 * rate, self.tokens - 1)
        return (1 - self.tokens) / rate


@attrs.define
class Callers:
    """Callers who never run out of requests, and repeat what was rejected."""

    gate: LocalGate
    server: Server
    retry_after: str = "whole"
    priority: Priority = Priority.FOREGROUND
    jitter: float = 0.0
    answered: int = 0

    async def call(self) -> None:
        """Repeat one request until it is accepted."""
        loop = asyncio.get_running_loop()
        noise = random.Random(self.answered)  # noqa: S311  # not for secrets
        while True:
            with await self.gate.acquire(Traffic.READ, self.priority) as lease:
                await asyncio.sleep(ROUND_TRIP / 2 + self.jitter * noise.random())
                wait = self.server.wait(loop.time())
                await asyncio.sleep(ROUND_TRIP / 2)
                if not wait:
                    self.answered += 1
                    return
                lease.penalise(math.ceil(wait) if self.retry_after == "whole" else None)

    async def make(self, calls: int) -> float:
        """Make this many calls at once, and return how long they took."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(self.call() for _ in range(calls)))
        return loop.time() - start

    async def keep_on(self, seconds: float, callers: int = 25) -> None:
        """Have so many callers make one call after the other."""
        end = asyncio.get_running_loop().time() + seconds

        async def caller() -> None:
            while asyncio.get_running_loop().time() < end:
                await self.call()

        await asyncio.gather(*(caller() for _ in range(callers)))


def callers(
    model: str, quota: int, limits: RateLimits, retry_after: str = "whole", *, jitter: float = 0.0
) -> Callers:
    """Callers with a gate of their own on a server that nobody else uses."""
    return Callers(LocalGate(limits, SystemClock(seed=7)), Server(model, quota), retry_after, jitter=jitter)


def known(quota: int) -> RateLimits:
    """Limits that say what the server does."""
    return RateLimits(requests_per_minute=quota)


def climb(quota: Quota, seconds: float, now: float = 0.0) -> Quota:
    """Let demand last for this long."""
    end = now + seconds
    while now <= end:
        quota = increase(quota, now)
        now += 0.25
    return quota


def test_unknown_starts_low() -> None:
    """Nobody who did not tell the quota sends more than 150 a minute at first."""
    assert discovered().estimate == 150


def test_unknown_doubles() -> None:
    """An unknown quota doubles under demand, once a second at most."""
    assert [
        climb(discovered(), seconds).estimate for seconds in (0, DOUBLING_INTERVAL, 2 * DOUBLING_INTERVAL)
    ] == [300, 600, 1200]


def test_unknown_ends_at_the_paid_quota() -> None:
    """Asana grants nobody more than 1500 a minute, so that nothing above it is tried."""
    assert climb(discovered(), 3600).estimate == 1500


def test_unknown_share() -> None:
    """A quarter of an unknown quota is found out between a quarter of both documented quotas."""
    assert (discovered(0.25).estimate, climb(discovered(0.25), 60).estimate) == (37.5, 375)
    assert decrease(climb(discovered(0.25), 60), 60.0, accepted=0).estimate == 37.5


@pytest.mark.parametrize(
    ("expected", "share", "quota"),
    [
        (150, 1, 150),
        (400, 1, 400),
        (1500, 1, 1500),
        (400, 0.5, 200),
        (20, 1, 150),
        (20, 0.5, 75),
        (9e9, 1, 1500),
    ],
)
def test_expected_is_where_it_begins(expected: float, share: float, quota: float) -> None:
    """What an earlier client found out is used from the start, within what Asana documents."""
    assert discovered(share, expected).estimate == quota


def test_expected_is_not_exceeded_at_first() -> None:
    """What an earlier client found out is taken for the ceiling for five minutes of demand, and then tried."""
    quota = discovered(expected=150)
    assert climb(quota, 299).estimate == 150
    assert climb(quota, 301).estimate == 225
    assert climb(discovered(expected=1200), 299).estimate == 1200


def test_a_wrong_expectation_is_grown_out_of() -> None:
    """On a domain that has become a paid one since, the whole quota is in use within a quarter of an hour."""
    assert climb(discovered(expected=150), 900).estimate == 1500


def test_nothing_was_found_out_at_first() -> None:
    """What was neither refused nor the most there is says nothing to a later client."""
    assert found(discovered()) is None
    assert found(climb(discovered(), 2.5)) is None


def test_what_was_found_out() -> None:
    """What is told to a later client is the most there is, or what is used since more was refused."""
    assert found(climb(discovered(), 60)) == 1500
    assert found(decrease(climb(discovered(), 2.5), 2.5, 400)) == 400
    assert found(discovered(expected=150)) == 150
    assert found(discovered(expected=1500)) == 1500


def test_what_others_took_is_not_found_out() -> None:
    """A quota that is below what every token has is not told: others use it for a while."""
    assert found(decrease(discovered(), 0, 40)) == 150


def test_told_never_exceeded() -> None:
    """A configured quota is not exceeded, whatever the demand."""
    assert climb(fixed(150), 3600) == fixed(150)


def test_fall_to_the_free_quota() -> None:
    """A 429 soon after the start brings an unknown quota back to 150."""
    assert decrease(climb(discovered(), 8), 8.0, accepted=50).estimate == 150


def test_fall_to_what_was_accepted() -> None:
    """A fall goes to what the last minute let through, if that is less than a step down."""
    assert decrease(climb(discovered(), 30), 30.0, accepted=600).estimate == 600


def test_fall_below_the_floor() -> None:
    """Even the documented quota falls when it is refused: somebody else uses the same token."""
    assert decrease(fixed(150), 0.0, accepted=150).estimate == pytest.approx(100)


def test_fall_has_an_end() -> None:
    """However many 429s come, a twentieth is left to find out that they are over."""
    quota = fixed(150)
    for _ in range(100):
        quota = decrease(quota, 0.0, accepted=0)
    assert quota.estimate == 150 / 20


def test_calm_after_a_fall() -> None:
    """For a minute after a fall nothing more is tried."""
    fallen = decrease(climb(discovered(), 8), 8.0, accepted=50)
    assert climb(fallen, SETTLING_TIME - 1, now=8.0) == fallen


def test_calm_counts_from_the_reopening() -> None:
    """The minute of calm starts when the pause is over, however long that was."""
    fallen = cool_down(decrease(climb(discovered(), 8), 8.0, accepted=50), 60.0)
    assert climb(fallen, SETTLING_TIME - 1, now=60.0) == fallen


def test_climbs_back_below_the_ceiling() -> None:
    """A paid quota that fell by mistake is back near its ceiling two minutes later."""
    fallen = decrease(climb(discovered(), 8), 8.0, accepted=50)
    assert climb(fallen, 120, now=8.0).estimate > 0.6 * 1500


def test_ceiling_remembered() -> None:
    """A quota that was refused is not tried again for ten minutes."""
    fallen = decrease(attrs.evolve(discovered(), estimate=225.0), 0.0, accepted=150)
    assert climb(fallen, 590).estimate == 150
    assert climb(fallen, 610).estimate == 225


def test_first_refusal_counts_double_while_finding_out() -> None:
    """A quota that was stepped up to and refused within ten minutes is kept away from for ten minutes."""
    fallen = decrease(increase(discovered(), 0.0), 1.0, accepted=150)
    assert climb(fallen, 599, now=1.0).estimate == 225
    assert climb(fallen, 600, now=1.0).estimate == 337.5


def test_refusal_by_a_full_minute_is_not_the_floors_fault() -> None:
    """A 429 within a minute of a fall to the documented quota is due to what went before: it costs a minute."""
    fallen = decrease(decrease(climb(discovered(), 8), 8.0, accepted=50), 20.0, accepted=50)
    assert fallen.estimate == 100
    assert climb(fallen, SETTLING_TIME, now=20.0).estimate == 150


def test_every_step_is_dated() -> None:
    """Whenever the quota changes, up or down, below the ceiling or past it, it says since when it holds."""
    quota, steps = discovered(), list[float]()
    for second in range(1550):
        now = float(second)
        changed = decrease(quota, now, accepted=50) if second in {8, 1500} else increase(quota, now)
        if changed.estimate != quota.estimate:
            assert changed.changed_at == now
            steps.append(changed.estimate)
        quota = changed
    assert steps == [300, 600, 1200, 1500, 150, 225, 337.5, 506.25, 759.375, 1139.0625, 1500, 150]


def test_calm_without_a_fall_changes_nothing() -> None:
    """A pause that followed no fall leaves the quota free to grow."""
    assert cool_down(discovered(), 60.0) == discovered()


@pytest.mark.parametrize(
    ("limits", "at_once"), [(known(1500), 25), (RateLimits(expected=1500), 5), (RateLimits(), 5)]
)
def test_many_go_at_once_only_within_a_quota_that_is_known(limits: RateLimits, at_once: int) -> None:
    """While it is found out, a deep burst could be refused as a whole, however high the quota has grown."""
    budget = RateBudget(limits)
    for second in range(60):
        budget.accept(budget.spend(second, routine=False, waited=True), second)
    assert budget.quota.estimate == 1500

    went = 0
    while budget.ready_at <= 1000:
        budget.spend(1000, routine=False, waited=False)
        went += 1
    assert went == at_once


def test_answer_to_an_earlier_pace_vouches_for_nothing() -> None:
    """What went out before the last step up says nothing about the quota after it."""
    budget = RateBudget(RateLimits())
    early = [budget.spend(0.0, routine=False, waited=True) for _ in range(2)]
    budget.accept(early[0], 1.0)
    assert budget.quota.estimate == 300
    budget.accept(early[1], 1.0 + DOUBLING_INTERVAL)
    assert budget.quota.estimate == 300
    budget.accept(budget.spend(1.0, routine=False, waited=True), 1.0 + DOUBLING_INTERVAL)
    assert budget.quota.estimate == 600


@pytest.mark.parametrize(("refused_at", "quota"), [(20.0, 604), (100.0, 150)])
def test_fall_goes_to_what_passed_in_the_last_minute(refused_at: float, quota: float) -> None:
    """A refusal is measured by the minute before it, not by what went through earlier."""
    budget = RateBudget(RateLimits())
    for second in range(4):
        budget.accept(budget.spend(float(second), routine=False, waited=True), float(second))
    for _ in range(600):
        budget.accept(budget.spend(10.0, routine=False, waited=False), 10.0)

    budget.refuse(refused_at)

    assert budget.quota.estimate == quota


def test_unsent_call_was_not_accepted() -> None:
    """A call that was given back before it went does not count among those that a refusal is measured by."""
    budget = RateBudget(RateLimits())
    for second in range(2):
        budget.accept(budget.spend(float(second), routine=False, waited=True), float(second))
    for _ in range(300):
        budget.give_back(budget.spend(2.0, routine=False, waited=False), 2.0)

    budget.refuse(3.0)

    assert budget.quota.estimate == 150
    assert budget.used(3.0) == 2 / 150


def test_unsent_look_costs_no_look() -> None:
    """A look that was given back before it went leaves routine looks as ready as they were, and is not counted."""
    budget = RateBudget(RateLimits.free())
    budget.spend(0.0, routine=True, waited=False)
    ready_at = budget.look_ready_at
    budget.give_back(budget.spend(0.0, routine=True, waited=False), 0.0)
    assert budget.look_ready_at == pytest.approx(ready_at)
    assert budget.used(0.0) == 1 / 150


def test_unsent_call_gives_looks_nothing() -> None:
    """Giving back a request of the caller's own lets no routine look go sooner."""
    budget = RateBudget(RateLimits.free())
    for _ in range(3):
        budget.spend(0.0, routine=True, waited=False)
    ready_at = budget.look_ready_at
    budget.give_back(budget.spend(0.0, routine=False, waited=False), 0.0)
    assert budget.look_ready_at == ready_at


def test_turn_at_another_pace_is_not_given_back() -> None:
    """A request that was never sent gives nothing back once the pace has changed: its turn was worth something else."""
    budget = RateBudget(RateLimits.free())
    spent = [budget.spend(0.0, routine=True, waited=False) for _ in range(3)][-1]
    budget.refuse(0.0)
    ready_at = budget.look_ready_at
    budget.give_back(spent, 0.0)
    assert budget.look_ready_at == ready_at


def test_requests_after_a_pause_are_evenly_spaced() -> None:
    """When a pause ends one request goes at once, and the others follow without a burst."""
    budget = RateBudget(RateLimits.free())
    budget.drain(30.0)
    sent: list[float] = []
    for _ in range(3):
        sent.append(budget.ready_at)
        budget.spend(sent[-1], routine=False, waited=True)
    gap = 60 / budget.per_minute
    assert sent == pytest.approx([30.0, 30.0 + gap, 30.0 + 2 * gap])


def test_pause_that_ends_early_hurries_nothing() -> None:
    """A pause that ends before the next request's turn changes nothing."""
    budget = RateBudget(RateLimits.free())
    budget.drain(30.0)
    budget.drain(20.0)
    assert budget.ready_at == 30.0


def test_ceiling_tried_more_and_more_rarely() -> None:
    """Each refusal of the next try doubles the time until another one."""
    quota = attrs.evolve(discovered(), estimate=225.0)
    now, tries = 0.0, list[float]()
    while len(tries) < 4:
        quota = decrease(quota, now, accepted=150)
        fell = now
        while quota.estimate < 225:
            now += 1.0
            quota = increase(quota, now)
        tries.append(now - fell)
    assert tries == [600, 1200, 2400, 3600]


def test_told_quota_comes_back_soon() -> None:
    """A configured quota is tried again a minute after it was refused, since somebody vouched for it."""
    assert climb(decrease(fixed(1500), 0.0, accepted=900), SETTLING_TIME).estimate == 1500


def test_patience_is_forgotten() -> None:
    """A 429 after a long good time counts as the first one."""
    quota = decrease(decrease(decrease(fixed(150), 0.0, 150), 1.0, 150), 2.0, 150)
    recovered = climb(quota, 3600)
    assert recovered.estimate == 150
    assert climb(decrease(recovered, 9000.0, 150), SETTLING_TIME, now=9000.0).estimate == 150


def test_counter_forgets_after_a_minute() -> None:
    """What is a minute old no longer counts."""
    counter = MinuteCounter()
    for second in range(200):
        counter.count(float(second), 2, 1)
    assert (counter.sent(199.0), counter.accepted(199.0)) == (120, 60)
    assert (counter.sent(1000.0), counter.accepted(1000.0)) == (0, 0)


def test_counter_keeps_one_entry_a_second() -> None:
    """However many requests go in a second, a minute of them is at most 61 entries."""
    counter = MinuteCounter()
    for step in range(2000):
        counter.count(step / 10, 1, 1)
    assert len(attrs.astuple(counter, recurse=False)[0]) <= 61


@MODELS
@QUOTAS
async def test_known_quota_is_never_exceeded(model: str, quota: int) -> None:
    """With the quota known there is no 429 at all, even if the network jitters by half a second."""
    everybody = callers(model, quota, known(quota), jitter=0.5)
    await everybody.keep_on(100)
    assert everybody.server.rejected == 0
    assert everybody.answered > 0.9 * quota * 100 / 60


@MODELS
async def test_known_quota_in_spurts(model: str) -> None:
    """With the quota known there is no 429 if callers come in bursts with quiet times between them."""
    everybody = callers(model, 150, known(150))
    for calls, quiet in [(60, 20.0), (100, 5.0), (10, 61.0), (150, 1.0)] * 3:
        await everybody.make(calls)
        await asyncio.sleep(quiet)
    assert everybody.server.rejected == 0


@MODELS
async def test_unknown_is_not_slow(model: str) -> None:
    """On a paid domain the first 200 calls take at most twice as long as with the quota known, without a 429."""
    told_first = await callers(model, 1500, known(1500)).make(200)
    everybody = callers(model, 1500, RateLimits())
    assert await everybody.make(200) <= 2 * told_first
    assert everybody.server.rejected == 0


@MODELS
@HEADERS
async def test_finding_out_is_cheap(model: str, retry_after: str) -> None:
    """On a free domain finding out costs at most ten 429s, and the quota is then used."""
    everybody = callers(model, 150, RateLimits(), retry_after, jitter=0.1)
    await everybody.keep_on(120)
    assert everybody.server.rejected <= 10
    before = everybody.answered
    await everybody.keep_on(300)
    assert everybody.answered - before >= 0.8 * 150 * 5


@pytest.mark.long
@MODELS
@QUOTAS
async def test_unknown_in_the_long_run(model: str, quota: int) -> None:
    """In the long run fewer than one request in a hundred is rejected, and 85 % of the quota is used."""
    everybody = callers(model, quota, RateLimits(), jitter=0.1)
    minutes = 15 if quota == 150 else 3
    await everybody.keep_on(minutes * 60)
    assert everybody.server.rejected < 0.01 * everybody.answered
    assert everybody.answered > 0.85 * quota * minutes


@MODELS
@QUOTAS
async def test_found_out_once(model: str, quota: int) -> None:
    """A client that is told what an earlier one has found out is refused nothing, and uses all of it at once."""
    first = callers(model, quota, RateLimits(), jitter=0.1)
    await first.keep_on(90 if quota == 150 else 10)
    expected = first.gate.snapshot().expected
    assert expected is not None
    second = callers(model, quota, RateLimits(expected=expected), jitter=0.1)
    minutes = 4 if quota == 150 else 1.2
    await second.keep_on(60 * minutes)
    assert second.server.rejected == 0
    assert second.answered >= 0.95 * quota * minutes


@MODELS
async def test_a_wrong_expectation_is_as_cheap_as_none(model: str) -> None:
    """On a domain that is a free one by now, what an earlier client has found out costs a handful of 429s, once."""
    everybody = callers(model, 150, RateLimits(expected=1500), jitter=0.1)
    await everybody.keep_on(150)
    assert everybody.server.rejected <= 30
    before, rejected = everybody.answered, everybody.server.rejected
    await everybody.keep_on(300)
    assert everybody.server.rejected <= rejected + 5
    assert everybody.answered - before >= 0.8 * 150 * 5


@MODELS
async def test_unknown_with_routine_looks_only(model: str) -> None:
    """Looks at jobs find the quota out as cheaply, and use it."""
    everybody = callers(model, 150, RateLimits())
    everybody.priority = Priority.ROUTINE
    await everybody.keep_on(400)
    assert everybody.server.rejected <= 10
    assert everybody.answered > 0.8 * 150 * 400 / 60


@MODELS
@pytest.mark.parametrize(
    "limits", [RateLimits(requests_per_minute=150), RateLimits()], ids=["known", "unknown"]
)
async def test_two_clients_on_one_token(model: str, limits: RateLimits) -> None:
    """Two clients that do not know of each other both get on, and reject less than one request in fifty."""
    server = Server(model, 150)
    both = [Callers(LocalGate(limits, SystemClock(seed=seed)), server) for seed in (1, 2)]
    await asyncio.gather(*(each.keep_on(900) for each in both))
    assert min(each.answered for each in both) > 0.2 * 150 * 15
    assert sum(each.answered for each in both) > 0.75 * 150 * 15
    assert server.rejected < 0.02 * sum(each.answered for each in both)


async def test_no_growth_without_demand() -> None:
    """Calls that the pace never kept waiting say nothing about the quota, so that it stays where it is."""
    everybody = callers("A", 1500, RateLimits())
    for _ in range(40):
        await everybody.make(2)
        await asyncio.sleep(2)
    assert everybody.gate.snapshot().quota == 150


@MODELS
async def test_undocumented_quota(model: str) -> None:
    """Of a quota that Asana does not document at least 60 % are found and used."""
    everybody = callers(model, 600, RateLimits())
    await everybody.keep_on(240)
    assert everybody.server.rejected <= 15
    assert everybody.answered > 0.6 * 600 * 4


async def test_found_out_once_for_all() -> None:
    """Once a minute has passed at the paid quota, calls go as fast as if it had been told."""
    measured: list[float] = []
    makers: list[Callable[[], RateLimits]] = [RateLimits.paid, RateLimits]
    for limits in makers:
        everybody = callers("A", 1500, limits())
        await everybody.keep_on(70)
        await asyncio.sleep(60)
        measured.append(await everybody.make(600))
    assert measured[1] <= 1.1 * measured[0]
