from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from math import inf
from random import Random
from typing import NamedTuple

import pytest
from counting import CountingCurve, CountingDurations
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from watched import add

from asana_jobs._client.waiting.durations import MEMORY, REMEMBERED, Durations, age_bin
from asana_jobs._client.waiting.schedule import Schedule
from asana_jobs.policies import PollPolicy


TIMER_SLACK = 1e-6


class Watched(NamedTuple):
    """What a schedule is told of a job."""

    key: str
    kind: str | None
    source: str | None
    policy: PollPolicy
    started: float
    last: float


class Place(NamedTuple):
    """Where a job is lined up, and since when: by moment, and of equal moments by turn."""

    moment: float
    turn: int
    job: Watched
    timed: bool
    curve: str

    def due(self, durations: Durations) -> float:
        """Return when a look at it is due."""
        if self.timed:
            return self.moment
        age, policy = self.job.last - self.job.started, self.job.policy
        curve = durations.curve(self.curve)
        worth_it = self.job.started + curve.age_worth(policy.lag_price, age, age + policy.maximum)
        return max(self.moment, worth_it)

    def worth(self, durations: Durations, now: float) -> float:
        """Return what a look at it is worth."""
        _, _, _, _, started, last = self.job
        risk = durations.curve(self.curve).risk
        return (risk(now - started) - risk(last - started)) * (now - last) / 2 if now > last else 0.0


class PlainSchedule:
    """The same decisions in the plainest way: the first job of every group is weighed at each."""

    def __init__(self, durations: Durations) -> None:
        self.durations = durations
        self.places: dict[str, tuple[object, Place]] = {}
        self.turns = 0

    def enter(self, job: Watched, due: float | None) -> None:
        """Line a job up."""
        earliest = job.started + job.policy.initial
        held = earliest > job.last
        moment = due if due is not None else earliest if held else job.last
        name = self.durations.key_for(job.kind, job.source)
        reason = "timed" if due is not None else "held" if held else "worth"
        group = (name, age_bin(job.last - job.started), job.policy.lag_price, job.policy.maximum, reason)
        self.turns += 1
        self.places[job.key] = group, Place(moment, self.turns, job, due is not None, name)

    def firsts(self) -> dict[str, Place]:
        """Return the first job of every group."""
        first: dict[object, Place] = {}
        for group, place in self.places.values():
            if group not in first or place[:2] < first[group][:2]:
                first[group] = place
        return {place.job.key: place for place in first.values()}


class RankingMachine(RuleBasedStateMachine):
    """Herds of jobs of which each is a group, decided about by a schedule and the plain way."""

    def __init__(self) -> None:
        super().__init__()
        self.durations = Durations()
        self.schedule = Schedule(self.durations)
        self.plain = PlainSchedule(self.durations)
        self.now = 1_000.0
        self.taken: dict[str, Watched] = {}
        self.keys = 0

    @initialize()
    def some_sources_are_known(self) -> None:
        """Enough was seen of two sources to tell them apart."""
        for source, length in (("a", 4.0), ("b", 40.0)):
            for _ in range(25):
                self.durations.observe("k", 0, length * 0.8, source, finished=False)
                self.durations.observe("k", length * 0.8, length * 1.2, source, finished=True)

    @rule(jobs=st.integers(1, 120), seed=st.integers(0, 1_000), oldest=st.sampled_from([0.0, 10.0, 1_000.0]))
    def add_a_herd(self, jobs: int, seed: int, oldest: float) -> None:
        """Watch jobs of all sorts, many of them at a price of their own."""
        random = Random(seed)  # noqa: S311
        for _ in range(jobs):
            self.keys += 1
            started = self.now - random.choice([0.0, random.uniform(0, oldest)])
            last = random.uniform(started, self.now)
            policy = PollPolicy(
                lag_price=random.choice([0.0, 0.1, 10 ** random.uniform(-3, 2)]),
                initial=random.choice([0.0, 2.0]),
                maximum=random.choice([5.0, 60.0]),
            )
            due = None if random.random() < 0.8 else self.now + random.uniform(-5, 20)
            kind, source = random.choice([None, "k", "export"]), random.choice([None, "a", "b", "new"])
            job = Watched(str(self.keys), kind, source, policy, started, last)
            self.line_up(job, due)

    @rule(seconds=st.sampled_from([0.0, 0.01, 1.0, 30.0]) | st.floats(0, 200))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule(times=st.integers(1, 60), gap=st.sampled_from([0.0, 0.04, 0.4, inf]))
    def decide(self, times: int, gap: float) -> None:
        """Take one job after the other, at a pace or whenever the next is due, and put some back at once."""
        for number in range(times):
            firsts = self.plain.firsts()
            moment = self.schedule.next_due(self.now)
            if moment == inf:
                assert not firsts
                return
            soonest = min(place.due(self.durations) for place in firsts.values())
            assert moment == pytest.approx(max(self.now, soonest), rel=0, abs=2 * TIMER_SLACK)
            self.now = moment if gap == inf else self.now + gap
            self.take(firsts)
            if number % 2 and self.taken:
                self.answer("running")

    def take(self, firsts: dict[str, Place]) -> None:
        """Take the job that is worth most of those due."""
        due = [place for place in firsts.values() if place.due(self.durations) <= self.now + TIMER_SLACK]
        key = self.schedule.take(self.now)
        if key is None:
            early = [place for place in due if place.due(self.durations) <= self.now]
            assert not early
            return
        place = firsts[key]
        assert place.due(self.durations) <= self.now + 2 * TIMER_SLACK
        most = max(place.worth(self.durations, self.now) for place in due)
        assert place.worth(self.durations, self.now + TIMER_SLACK) >= most * (1 - 1e-9)
        del self.plain.places[key]
        self.taken[key] = place.job

    @precondition(lambda self: self.taken)
    @rule(outcome=st.sampled_from(["running", "finished", "again", "due then", "cancelled"]))
    def answer(self, outcome: str) -> None:
        """An answer comes in."""
        key, job = self.taken.popitem()
        after, age = job.last - job.started, self.now - job.started
        if outcome == "running":
            self.durations.observe(job.kind, after, age, job.source, finished=False)
            self.line_up(job._replace(last=self.now), None)
        elif outcome == "finished":
            self.durations.observe(job.kind, after, age, job.source, finished=True)
        elif outcome == "cancelled":
            self.schedule.remove(key)
        else:
            self.line_up(job, self.now + 3 if outcome == "due then" else None)

    def line_up(self, job: Watched, due: float | None) -> None:
        """Have both watch a job."""
        add(
            self.schedule,
            job.key,
            self.now,
            policy=job.policy,
            kind=job.kind,
            source=job.source,
            started=job.started,
            last_look=job.last,
            due=due,
        )
        self.plain.enter(job, due)

    @precondition(lambda self: self.plain.places)
    @rule(every=st.integers(1, 9))
    def cancel(self, every: int) -> None:
        """Waits are cancelled, among them those whose turn it is."""
        for key in [*list(self.plain.places)[::every], next(iter(self.plain.firsts()))]:
            self.schedule.remove(key)
            self.plain.places.pop(key, None)

    @rule(
        length=st.sampled_from([0.5, 5.0, 300.0]),
        source=st.sampled_from([None, "a", "b", "new"]),
        times=st.sampled_from([1, 30]),
    )
    def learn_elsewhere(self, length: float, source: str | None, times: int) -> None:
        """A client that shares the durations sees jobs finish."""
        for _ in range(times):
            self.durations.observe("k", length * 0.8, length * 1.2, source, finished=True)


RankingMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestRanking = RankingMachine.TestCase


def test_job_not_yet_due_in_a_backlog_is_due_on_time_after_it() -> None:
    """What a look costs while hundreds of jobs are overdue holds nobody back who is due later."""
    schedule = herd(300)
    schedule.next_due(1_000)
    add(schedule, "later", 1_000, policy=PollPolicy(), started=999, due=1_005)
    for _ in range(300):
        schedule.next_due(1_000)
        assert schedule.take(1_000) is not None
    assert (schedule.take(1_000), schedule.next_due(1_000)) == (None, 1_005)


# What was learned elsewhere moves the moment at which a job is due.


def finish(durations: Durations, times: int, *, length: float = 40) -> None:
    """Have jobs of a source seen that take so many seconds, give or take a fifth."""
    for _ in range(times):
        durations.observe("k", 0, length * 0.8, "s", finished=False)
        durations.observe("k", length * 0.8, length * 1.2, "s", finished=True)


def kind_was_seen(durations: Durations) -> None:
    """A job of the kind is seen, the first of all."""
    durations.observe("k", 0, 30, finished=False)


def kind_was_seen_finishing(durations: Durations) -> None:
    """A job of the kind is seen, finished at the first look."""
    durations.observe("k", 0, 30, finished=True)


def source_was_seen(durations: Durations) -> None:
    """Ten jobs of the source are ten times as fast."""
    finish(durations, 10, length=4)


def source_was_forgotten(durations: Durations) -> None:
    """More sources are seen than are remembered."""
    for number in range(REMEMBERED):
        durations.observe("k", 0, 1, str(number), finished=False)


def source_was_forgotten_and_seen_again(durations: Durations) -> None:
    """The same, and then the source again."""
    source_was_forgotten(durations)
    durations.observe("k", 0, 300, "s", finished=False)


def others_were_merged(durations: Durations) -> None:
    """What was learned of the same source elsewhere is added."""
    other = Durations()
    finish(other, 30, length=4)
    durations.merge(other)


def kind_was_merged(durations: Durations) -> None:
    """The same of a kind of which nothing was known."""
    other = Durations()
    other.observe("k", 0, 30, finished=False)
    durations.merge(other)


def counts_were_halved(durations: Durations) -> None:
    """So much is seen that the past counts half."""
    finish(durations, MEMORY, length=4)


@pytest.mark.parametrize(
    ("known", "learn"),
    [
        (0, kind_was_seen),
        (0, kind_was_seen_finishing),
        (0, kind_was_merged),
        (30, source_was_seen),
        (30, source_was_forgotten),
        (30, source_was_forgotten_and_seen_again),
        (30, others_were_merged),
        (30, counts_were_halved),
    ],
)
def test_what_is_learned_elsewhere_moves_the_due_moment(
    known: int, learn: Callable[[Durations], None]
) -> None:
    """A job lined up before a client that shares the durations learned something is due as if lined up after."""
    durations, policy = Durations(), PollPolicy(lag_price=0.1, initial=0)
    finish(durations, known)
    schedule = Schedule(durations)
    add(schedule, "1", 0, policy=policy, kind="k", source="s", started=0)
    before, name = schedule.next_due(0), durations.key_for("k", "s")
    learn(durations)
    after = schedule.next_due(0)
    assert before != after == durations.curve(name).age_worth(policy.lag_price, 0, policy.maximum)


# What a decision costs.


def herd(groups: int) -> Schedule:
    """Return a schedule of jobs of which each is looked at at its own price."""
    schedule = Schedule(CountingDurations())
    for number in range(groups):
        add_to_herd(schedule, number, last_look=-number / 200)
    return schedule


def add_to_herd(schedule: Schedule, number: int, *, last_look: float) -> None:
    """Have a job of a herd looked at again."""
    policy = PollPolicy(lag_price=0.1 + number / 1e6)
    add(schedule, str(number), last_look, policy=policy, started=-number / 100, last_look=last_look)


def weighed(schedule: Schedule, now: float, decisions: int, pause: float) -> float:
    """Return how much is weighed by a decision, each followed by a look after which the job is still running."""
    CountingCurve.counted = 0
    for _ in range(decisions):
        now += pause
        schedule.next_due(now)
        taken = schedule.take(now)
        if taken is not None:
            add_to_herd(schedule, int(taken), last_look=now)
    return CountingCurve.counted / decisions


@pytest.mark.parametrize("groups", [1_000, 4_000])
def test_decision_before_anything_is_due_weighs_nothing(groups: int) -> None:
    """However many groups there are, it is known when the first of them is due."""
    schedule = herd(groups)
    schedule.next_due(-1e6)
    assert weighed(schedule, -1e6, 10, 0.01) == 0


@pytest.mark.parametrize("groups", [1_000, 4_000])
def test_decision_in_a_backlog_weighs_about_a_hundred_groups(groups: int) -> None:
    """When thousands of groups are overdue, only those where a look is worth most are compared."""
    schedule = herd(groups)
    weighed(schedule, 60, 1, 0)
    assert weighed(schedule, 60, 500, 0.04) < 200


def test_decision_asks_for_no_hazards_while_nothing_is_learned() -> None:
    """With jobs of 200 sources in the running, a decision costs nothing per source if nothing was learned since the last."""
    durations = CountingDurations()
    schedule = Schedule(durations)
    for number in range(200):
        add(schedule, str(number), 0, policy=PollPolicy(), kind="k", source=str(number))
    durations.observe("k", 0, 1, finished=False)
    schedule.next_due(0)
    durations.asked = 0
    schedule.take(schedule.next_due(1))
    assert durations.asked == 0


def test_sources_whose_jobs_are_gone_are_not_asked_about() -> None:
    """After jobs of 1,000 sources were waited for, a decision about another job is as cheap as the first."""
    durations = CountingDurations()
    schedule = Schedule(durations)
    for number in range(1_000):
        add(schedule, "1", number, policy=PollPolicy(), kind="k", source=str(number))
        schedule.next_due(number)
    durations.asked = 0
    schedule.next_due(1_000)
    assert durations.asked < 5


def test_groups_that_come_and_go_between_decisions_leave_nothing_behind() -> None:
    """A service that adds and cancels 2,000 waits, and decides after each, keeps less than 100 kB of them."""
    schedule = Schedule(Durations())
    add(schedule, "kept", 0, policy=PollPolicy(lag_price=1e9, maximum=5), started=0)
    tracemalloc.start()
    try:
        for number in range(2_000):
            policy = PollPolicy(lag_price=1e9 + number, maximum=1e6)
            add(schedule, "other", 0, policy=policy, started=0)
            assert schedule.next_due(1) == 5
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 100_000
