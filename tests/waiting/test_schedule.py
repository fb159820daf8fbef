from __future__ import annotations

import gc
import heapq
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from math import exp, inf, sqrt
from statistics import NormalDist
from typing import TypeAlias, TypeVar

import pytest
from counting import CountingCurve, CountingDurations
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from watched import add, gap_at

from asana_jobs._client.waiting.durations import EDGES, Curve, Durations
from asana_jobs._client.waiting.schedule import WORTH, Group, Schedule
from asana_jobs.policies import PollPolicy


T = TypeVar("T")

POLICY = PollPolicy()
EAGER = PollPolicy(lag_price=0, initial=0)  # every job is always due


def watching(*keys: str, policy: PollPolicy = EAGER) -> Schedule:
    """Return a schedule of jobs that were started at 0."""
    schedule = Schedule(Durations())
    for key in keys:
        add(schedule, key, 0, policy=policy, started=0)
    return schedule


def taught(**lengths: float) -> Durations:
    """Return what 100 jobs of each kind teach that take a certain time, give or take a fifth."""
    durations = Durations()
    for kind, length in lengths.items():
        for _ in range(100):
            durations.observe(kind, 0, length * 0.8, finished=False)
            durations.observe(kind, length * 0.8, length * 1.2, finished=True)
    return durations


def taught_by_source(kind: str, **lengths: float) -> Durations:
    """Return the same for jobs of one *kind* that are told apart by their source."""
    durations = Durations()
    for source, length in lengths.items():
        for _ in range(100):
            durations.observe(kind, 0, length * 0.8, source, finished=False)
            durations.observe(kind, length * 0.8, length * 1.2, source, finished=True)
    return durations


# A job watched alone.


def gap(policy: PollPolicy, age: float) -> float:
    """Return the seconds until the next look at a job of which nothing was learned."""
    return gap_at(age, policy, Durations())


@given(st.builds(PollPolicy, lag_price=st.floats(0, 100), initial=st.floats(0, 100)), st.floats(0, 1e6))
def test_gap_is_at_most_the_maximum(policy: PollPolicy, age: float) -> None:
    """No gap is longer than the policy's maximum, except to reach the earliest look."""
    assert gap(policy, age) <= max(policy.maximum, policy.initial - age)


@given(st.floats(0, 10), st.floats(0, 20))
def test_gap_reaches_the_earliest_look(initial: float, age: float) -> None:
    """No look comes before the policy's initial age."""
    assert age + gap(PollPolicy(initial=initial), age) >= initial * (1 - 1e-12)


@given(st.floats(1e-3, 10), st.floats(0.1, 100))
def test_gap_of_a_known_hazard_is_the_square_law(price: float, hazard: float) -> None:
    """The gap is the time after which a look is worth its price."""
    wait = Curve.from_rates((hazard,) * len(EDGES)).age_worth(price, 100, inf) - 100
    assert hazard * wait**2 / 2 == pytest.approx(price)


def test_gaps_grow_with_age() -> None:
    """An unlearned job is looked at less and less often."""
    gaps = [gap(POLICY, age) for age in (1, 10, 100, 1_000)]
    assert gaps == sorted(set(gaps))


def test_gaps_grow_more_slowly_than_age() -> None:
    """Ten times the age makes the gap about sqrt(10) times as long, not ten times."""
    assert gap(POLICY, 1_000) / gap(POLICY, 100) == pytest.approx(sqrt(10), rel=0.2)


def test_first_look_at_a_learned_kind_waits_until_it_may_have_finished() -> None:
    """A kind known to take 20 seconds is first looked at after several seconds, not at once."""
    assert gap_at(0, POLICY, taught(slow=20), "slow") > 3 * gap(POLICY, 0)


def test_first_look_at_a_slow_kind_waits_longer_than_at_a_fast_one() -> None:
    """Each kind is waited for as long as it was seen to take itself."""
    durations = taught(fast=3, slow=60)
    assert gap_at(0, POLICY, durations, "slow") > 3 * gap_at(0, POLICY, durations, "fast")


def test_first_look_at_a_slow_source_waits_longer_than_at_a_fast_one() -> None:
    """Jobs of one kind are told apart by what they are made from, once enough was seen of it."""
    durations = taught_by_source("k", fast=3, slow=60)
    slow, fast = (gap_at(0, POLICY, durations, "k", source) for source in ("slow", "fast"))
    assert slow > 3 * fast


def test_free_requests_make_no_gap() -> None:
    """With a lag price of 0 the next look is due at once."""
    assert gap(PollPolicy(lag_price=0), 10) == 0


def tenacity_exponential() -> Iterator[float]:
    """Yield the ages at which tenacity's exponential 1..30 looks."""
    age, wait = 0.0, 1.0
    while True:
        yield age
        age, wait = age + wait, min(30, wait * 2)


def ours(policy: PollPolicy, durations: Durations) -> Iterator[float]:
    """Yield the ages at which a job is looked at whose POST was answered at age 0."""
    age = 0.0
    while True:
        age += gap_at(age, policy, durations, "k")
        yield age


def cost(looks: Iterator[float], lengths: list[float]) -> tuple[float, float]:
    """Return the looks per job, and the mean lag, of jobs of the *lengths* given in order."""
    at, count, looked, lag = next(looks), 1, 0, 0.0
    for length in lengths:
        while at < length:
            at, count = next(looks), count + 1
        looked, lag = looked + count, lag + at - length
    return looked / len(lengths), lag / len(lengths)


def lognormal(jobs: int, median: float, sigma: float) -> list[float]:
    """Return durations in seconds at even steps of a lognormal law."""
    return [median * exp(sigma * NormalDist().inv_cdf((n + 0.5) / jobs)) for n in range(jobs)]


def shuffled(values: list[T]) -> list[T]:
    """Return *values* in a fixed order that looks like chance."""
    return [values[n * 7_919 % len(values)] for n in range(len(values))]


@pytest.mark.parametrize(
    "lengths", [lognormal(2_000, 8, 1), lognormal(1_600, 3, 0.5) + lognormal(400, 60, 0.5)]
)
@pytest.mark.parametrize("seen", [0, 20, 200])
def test_lone_job_has_half_the_lag_of_exponential_backoff(lengths: list[float], seen: int) -> None:
    """At no more requests than tenacity's exponential 1..30, the mean lag is at most half, learned or not."""
    lengths, durations = sorted(lengths), Durations()
    for length in shuffled(lengths)[:seen]:
        last = 0.0
        for age in ours(POLICY, durations):
            if age >= length:
                durations.observe("k", last, age, finished=True)
                break
            durations.observe("k", last, age, finished=False)
            last = age
    requests, lag = cost(tenacity_exponential(), lengths)
    prices = (0.1 * 1.1**step for step in range(50))
    our_lag = next(
        our_lag
        for price in prices
        for our_requests, our_lag in [cost(ours(PollPolicy(lag_price=price), durations), lengths)]
        if our_requests <= requests
    )
    assert our_lag <= lag / 2


# Which job is next.


def test_longest_unlooked_is_next() -> None:
    """Of jobs alike, the one whose last look is longest ago goes first, in whatever order the answers came."""
    schedule = watching()
    for key, last_look in (("2", 7), ("1", 5), ("3", 6)):
        add(schedule, key, 7, policy=EAGER, started=0, last_look=last_look)
    assert [schedule.take(8) for _ in range(3)] == ["1", "3", "2"]


def test_job_about_to_finish_is_next() -> None:
    """Of two jobs not looked at for as long, the one whose kind finishes about now goes first."""
    schedule = Schedule(taught(fast=3, slow=60))
    add(schedule, "slow", 0, policy=EAGER, kind="slow", started=0)
    add(schedule, "fast", 0, policy=EAGER, kind="fast", started=0)
    assert schedule.take(4) == "fast"


def test_job_whose_source_is_fast_is_next() -> None:
    """Of two jobs of one kind, the one made from what finishes about now goes first."""
    schedule = Schedule(taught_by_source("k", fast=3, slow=60))
    for source in ("slow", "fast"):
        add(schedule, source, 0, policy=EAGER, kind="k", source=source, started=0)
    assert schedule.take(4) == "fast"


def test_resumed_job_keeps_its_age() -> None:
    """A job resumed 60 seconds old is about to finish where a new one of its kind is not."""
    schedule = Schedule(taught(slow=60))
    add(schedule, "new", 0, policy=EAGER, kind="slow", started=0)
    add(schedule, "resumed", 0, policy=EAGER, kind="slow", started=-60, last_look=0)
    assert schedule.take(3) == "resumed"


def test_taken_job_is_not_taken_again() -> None:
    """A job whose look is under way is not due for another."""
    schedule = watching("1")
    schedule.take(1)
    assert schedule.take(2) is None


def test_job_looked_at_is_taken_again_when_it_is_added_again() -> None:
    """A job still running after its look is lined up anew."""
    schedule = watching("1")
    schedule.take(1)
    add(schedule, "1", 1, policy=EAGER, started=0, last_look=1)
    assert schedule.take(2) == "1"


def test_job_added_again_counts_as_what_it_turned_out_to_be() -> None:
    """A job that turns out to be of a fast kind goes before a slow one."""
    schedule = Schedule(taught(fast=3, slow=60))
    for key in ("1", "2"):
        add(schedule, key, 0, policy=EAGER, kind="slow", started=0)
    add(schedule, "2", 0, policy=EAGER, kind="fast", started=0)
    assert schedule.take(4) == "2"


def test_removed_job_is_not_taken() -> None:
    """A job whose wait was cancelled is never looked at again."""
    schedule = watching("1", "2")
    schedule.remove("1")
    assert [schedule.take(1), schedule.take(1)] == ["2", None]


def test_removing_an_unknown_job_is_harmless() -> None:
    """A wait cancelled before its job was watched takes nothing away."""
    schedule = watching("1")
    schedule.remove("2")
    assert schedule.take(1) == "1"


def test_removing_a_job_that_is_looked_at_is_harmless() -> None:
    """A wait cancelled while its job is looked at takes nothing away from the others."""
    schedule = watching("1", "2")
    schedule.remove(schedule.take(1) or "")
    assert [schedule.take(1), schedule.take(1)] == ["2", None]


def test_job_added_twice_is_watched_once() -> None:
    """A job added again is taken once."""
    schedule = watching("1", "1")
    assert [schedule.take(1), schedule.take(1)] == ["1", None]


@pytest.mark.parametrize("times", [1, 1_000])
def test_job_added_again_waits_from_its_last_look(times: int) -> None:
    """However often a job was looked at while others waited, only its last look counts."""
    schedule = Schedule(Durations())
    for key, last_look in (("1", 0), *(("2", 1) for _ in range(times)), ("2", 5), ("3", 3)):
        add(schedule, key, 5, policy=EAGER, started=last_look)
    assert [schedule.take(8) for _ in range(4)] == ["1", "3", "2", None]


# When a job is due.


def test_nothing_watched_is_never_due() -> None:
    """An empty schedule asks for no timer."""
    assert watching().next_due(0) == inf


def test_job_is_due_when_its_gap_is_over() -> None:
    """The schedule and `next_look` agree on a single job."""
    schedule = Schedule(taught(k=8))
    add(schedule, "1", 105, policy=POLICY, kind="k", started=100, last_look=105)
    assert schedule.next_due(105) == pytest.approx(105 + gap_at(5, POLICY, taught(k=8), "k"), rel=0.02)


def test_soonest_job_says_when_the_next_look_is_due() -> None:
    """Of jobs that are due for different reasons, none of them yet, the first one sets the timer."""
    schedule = watching("worth it", policy=PollPolicy(lag_price=1e9, maximum=60))
    add(schedule, "held back", 0, policy=PollPolicy(lag_price=0, initial=3), started=0)
    add(schedule, "at a moment", 0, policy=POLICY, started=0, due=7)
    assert schedule.next_due(0) == 3


def test_job_is_not_taken_before_it_is_due() -> None:
    """A look that is not yet worth its price is not made."""
    schedule = watching("1", policy=PollPolicy(lag_price=10))
    assert schedule.take(schedule.next_due(0) - 0.01) is None


def test_no_look_before_the_initial_age() -> None:
    """A job is not looked at before the policy's initial seconds, even if requests are free."""
    schedule = watching("1", policy=PollPolicy(lag_price=0, initial=2))
    assert (schedule.take(1.9), schedule.take(2)) == (None, "1")


def test_look_at_the_latest_after_the_maximum() -> None:
    """A look that is worth less than its price is made all the same when the longest gap is over."""
    schedule = watching("1", policy=PollPolicy(lag_price=1e9, maximum=60))
    assert schedule.next_due(0) == 60


def test_own_due_time_counts_whatever_a_look_is_worth() -> None:
    """A job with a due time of its own is taken then, and not before."""
    schedule = Schedule(Durations())
    add(schedule, "1", 0, policy=PollPolicy(lag_price=1e9), started=0, due=5)
    assert (schedule.take(4.9), schedule.next_due(0), schedule.take(5)) == (None, 5, "1")


def test_first_look_can_be_due_at_once() -> None:
    """A job of which only the gid is known can be looked at in the moment it is added."""
    schedule = Schedule(Durations())
    add(schedule, "1", 50, policy=POLICY, due=50)
    assert schedule.take(50) == "1"


def test_due_moment_that_passed_is_now() -> None:
    """A job long due asks for a timer at once, not in the past."""
    assert watching("1").next_due(1_000) == 1_000


def test_timer_may_wake_a_rounding_error_early() -> None:
    """A job is there to be taken a tenth of a microsecond before it is due."""
    schedule = watching("1", policy=POLICY)
    assert schedule.take(schedule.next_due(0) - 1e-7) == "1"


def test_dearer_looks_are_due_later() -> None:
    """Jobs watched at different prices are each due at their own."""
    schedule = watching("cheap", policy=PollPolicy(lag_price=0.1))
    add(schedule, "dear", 0, policy=PollPolicy(lag_price=10), started=0)
    assert [schedule.take(5), schedule.take(5)] == ["cheap", None]


# What a look is worth.


def test_constant_hazard_gives_the_square_law() -> None:
    """With hazard h, a look u seconds after the last is worth h u squared over 2, and none before that."""
    curve, prospects = Curve.from_rates((0.5,) * len(EDGES)), ("k", 0, 0.1, 60.0, WORTH)
    group = Group(prospects, curve, [(103.0, 1, "1", 100.0, 103.0, prospects)])
    group.weigh()
    assert group.worth(107) == pytest.approx(0.5 * 4**2 / 2)
    assert group.worth(103) == group.worth(102) == 0


def test_a_job_that_waits_for_its_look_is_nothing_to_the_garbage_collector() -> None:
    """Ten thousand of them would make its pauses longer."""
    schedule = watching(*map(str, range(100)))
    gc.collect()  # lets go of what the jobs of a group have in common
    gc.collect()
    assert not any(gc.is_tracked(job) for job in schedule.jobs.values())


# What it costs.


Act: TypeAlias = Callable[[Schedule, float], object]


def next_due(schedule: Schedule, now: float) -> float:
    """Ask when the next look is due."""
    return schedule.next_due(now)


def weighed(jobs: int, act: Act) -> int:
    """Return how often one of *jobs*, of 300 different ages, is weighed by a decision."""
    schedule = Schedule(CountingDurations())
    for number in range(jobs):
        add(schedule, str(number), 0, policy=POLICY, kind="k", started=-10 * (number % 300), last_look=0)
    CountingCurve.counted = 0
    act(schedule, 60)
    return CountingCurve.counted


@pytest.mark.parametrize("act", [Schedule.take, next_due])
def test_decision_weighs_kinds_and_ages_not_jobs(act: Act) -> None:
    """A decision among 10,000 jobs weighs no more of them than one among 300 of the same ages."""
    assert weighed(10_000, act) <= weighed(300, act) <= 50


def test_decision_after_a_standstill_touches_few_jobs() -> None:
    """10,000 jobs that came of age together while nobody looked are not moved one by one by the next decision."""
    schedule = watching(*map(str, range(10_000)))
    touched = 0

    def profile(_frame: object, event: str, _argument: object) -> None:
        nonlocal touched
        touched += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        schedule.take(1_000)
    finally:
        sys.setprofile(None)
    assert touched < 100


@pytest.mark.parametrize("kind", [None, "other"])
def test_cancelled_jobs_leave_nothing_behind(kind: str | None) -> None:
    """A service that adds and cancels 10,000 waits keeps less than 100 kB of them."""
    schedule = watching("kept")
    tracemalloc.start()
    try:
        for number in range(10_000):
            add(schedule, str(number), 1, policy=EAGER, kind=kind, started=1)
            schedule.remove(str(number))
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 100_000


def test_jobs_added_again_leave_nothing_behind() -> None:
    """50 jobs lined up 10,000 times behind another keep less than 100 kB of that."""
    schedule = watching("kept")
    tracemalloc.start()
    try:
        for number in range(10_000):
            add(schedule, str(number % 50), 1, policy=EAGER, started=1)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used < 100_000


def test_jobs_that_stay_keep_their_order_when_many_are_cancelled() -> None:
    """Among 1,000 cancelled waits the few that stay are looked at in the order of their last looks."""
    schedule = watching()
    for number in shuffled(list(range(1_000))):
        add(schedule, str(number), 0, policy=EAGER, started=0, last_look=number / 1e4)
    for number in range(1_000):
        if number % 100:
            schedule.remove(str(number))
    assert [schedule.take(5) for _ in range(10)] == [str(number) for number in range(0, 1_000, 100)]


def test_job_needs_under_a_quarter_of_a_kilobyte() -> None:
    """Each of 10,000 jobs watched costs less than 250 bytes, with the moments it is given."""
    keys = [str(number) for number in range(10_000)]
    schedule = watching()
    tracemalloc.start()
    try:
        for key in keys:
            add(schedule, key, float(key), policy=POLICY, kind="k", started=float(key) - 7)
        used, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert used / len(keys) < 250


# How good it is: discrete events, a round trip of 0.15 s, looks at an even pace. `benchmarks/fleet` has more.


def mean_lag(jobs: list[tuple[str, float]], rate: float) -> float:
    """Return the mean lag of a burst of jobs (kind, duration) with *rate* looks a second."""
    durations = Durations()
    schedule, now, lag, answers = Schedule(durations), 0.0, 0.0, list[tuple[float, str, bool]]()
    last = {str(number): 0.0 for number in range(len(jobs))}
    for key in last:
        add(schedule, key, 0, policy=EAGER, kind=jobs[int(key)][0], started=0)
    while last:
        now += 1 / rate
        while answers and answers[0][0] <= now:
            answered, key, done = heapq.heappop(answers)
            kind, length = jobs[int(key)]
            seen = answered - 0.075
            if done:
                lag += answered - length
                durations.observe(kind, last.pop(key), seen, finished=True)
            else:
                durations.observe(kind, last[key], seen, finished=False)
                add(schedule, key, now, policy=EAGER, kind=kind, started=0, last_look=seen)
                last[key] = seen
        if (taken := schedule.take(now)) is not None:
            heapq.heappush(answers, (now + 0.15, taken, jobs[int(taken)][1] <= now + 0.075))
    return lag / len(jobs)


def test_burst_is_detected_near_the_physical_limit() -> None:
    """300 jobs at 150 requests a minute lag at most 1.25 times what a clairvoyant needs, nothing known before."""
    fast, slow = lognormal(240, 3, 0.4), lognormal(60, 60, 0.6)
    jobs = shuffled([("fast", length) for length in fast] + [("slow", length) for length in slow])
    seen = limit = 0.0
    for end in sorted(length for _, length in jobs):
        seen = max(end, seen + 1 / 2.5)
        limit += (seen - end) / len(jobs)
    assert mean_lag(jobs, 2.5 * 0.97) <= 1.25 * limit


class ScheduleMachine(RuleBasedStateMachine):
    """A schedule under anything that waits may do to it, against a plain record of where each job is."""

    def __init__(self) -> None:
        super().__init__()
        self.schedule = Schedule(Durations())
        self.now = 1_000.0
        self.waiting: dict[str, float] = {}  # not before

    @rule(
        key=st.sampled_from("123456789"),
        age=st.none() | st.floats(0, 5_000),
        kind=st.sampled_from([None, "a", "export"]),
        price=st.sampled_from([0.0, 0.1, 5.0]),
        initial=st.sampled_from([0.0, 2.0]),
        due=st.none() | st.floats(0, 100),
    )
    def add(
        self,
        *,
        key: str,
        age: float | None,
        kind: str | None,
        price: float,
        initial: float,
        due: float | None,
    ) -> None:
        """Watch a job."""
        started = None if age is None else self.now - age
        moment = None if due is None else self.now + due
        policy = PollPolicy(lag_price=price, initial=initial)
        add(self.schedule, key, self.now, policy=policy, kind=kind, started=started, due=moment)
        begun = self.now if started is None else started
        self.waiting[key] = begun + initial if moment is None else moment

    @rule(seconds=st.floats(0, 200))
    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds

    @rule()
    def take(self) -> None:
        """Take the next job: one that waits, and not before its moment."""
        key = self.schedule.take(self.now)
        if key is not None:
            assert self.waiting.pop(key) <= self.now + 1e-5

    @rule()
    def take_when_due(self) -> None:
        """At the moment that `next_due` names there is a job to take."""
        moment = self.schedule.next_due(self.now)
        assert (moment == inf) == (not self.waiting)
        if moment < inf:
            assert moment >= self.now
            self.now = moment
            key = self.schedule.take(moment)
            assert key is not None
            del self.waiting[key]

    @rule(key=st.sampled_from("123456789"))
    def remove(self, key: str) -> None:
        """A wait is cancelled, or its job was seen finished."""
        self.schedule.remove(key)
        self.waiting.pop(key, None)


ScheduleMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSchedule = ScheduleMachine.TestCase
