"""Waits between repetitions: exact without jitter, bounded with it, and never deaf to cancellation."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenacity import (
    AsyncRetrying,
    stop_after_attempt,
    wait_chain,
    wait_exponential,
    wait_fixed,
    wait_incrementing,
)

from asana_jobs import AsanaClient, Response
from asana_jobs._client.clock import SystemClock
from asana_jobs._client.http.retrying import (
    Polling,
    RetryCallState,
    check_strategy,
    delay,
    gap_after,
    policy_in,
    retrying,
)
from asana_jobs.errors import (
    APIError,
    AsanaJobsError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TransportError,
)
from asana_jobs.models import Job
from asana_jobs.policies import PollPolicy, RetryPolicy
from asana_jobs.testing import FakeClock, ScriptedTransport


#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WHERE: dict[str, Any] = {"method": "GET", "path": "/jobs/1"}
RESET = TransportError("reset", **WHERE)
STEADY = RetryPolicy(jitter=0)


def server_error(retry_after: float | None = None) -> ServerError:
    """Make a 503."""
    return ServerError("down", status=503, retry_after=retry_after, **WHERE)


def rate_limit(retry_after: float | None = None) -> RateLimitError:
    """Make a 429."""
    return RateLimitError("slow down", status=429, retry_after=retry_after, **WHERE)


def ours(error: BaseException) -> bool:
    """Repeat whatever this library raises on purpose: a positive predicate."""
    return isinstance(error, AsanaJobsError)


class Calls:
    """Something to call that fails with these errors in turn, then succeeds; and the sleeps in between."""

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.made = 0
        self.sleeps: list[float] = []

    async def __call__(self) -> str:
        """Fail or succeed."""
        self.made += 1
        if self.failures:
            raise self.failures.pop(0)
        return "done"

    async def sleep(self, seconds: float) -> None:
        """Note a sleep."""
        self.sleeps.append(seconds)

    async def run(
        self,
        policy: RetryPolicy = STEADY,
        again: Callable[[BaseException], bool] = ours,
        random: Callable[[], float] = lambda: 0.0,
        sleep: Callable[[float], Awaitable[None]] | None = None,
        tell: Callable[[BaseException], None] | None = None,
    ) -> str:
        """Repeat the call as a policy says."""
        engine = retrying(policy, again=again, sleep=sleep or self.sleep, random=random, tell=tell)
        result: str = await engine(self)
        return result


# How long.


def test_delays_grow_by_the_factor_up_to_the_maximum() -> None:
    """Without jitter the waits are initial, times factor, times factor again, and at last the maximum."""
    policy = RetryPolicy(initial=0.5, factor=2, maximum=5, jitter=0)

    assert [delay(policy, repetition, 0.9) for repetition in range(1, 7)] == [0.5, 1, 2, 4, 5, 5]


def test_jitter_shortens_by_its_share_at_most() -> None:
    """With the smallest and the largest random number a wait is whole, or shorter by the share of jitter."""
    policy = RetryPolicy(initial=8, factor=1, maximum=8, jitter=0.25)

    assert [delay(policy, 1, random) for random in (0.0, 0.5, 1.0)] == [8, 7, 6]


policies = st.builds(
    RetryPolicy,
    initial=st.floats(0, 1e6),
    factor=st.floats(1, 1000),
    maximum=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)


@patient
@given(policies, st.integers(1, 10**9), st.floats(0, 1, exclude_max=True))
def test_a_delay_lies_between_the_jittered_and_the_maximum(
    policy: RetryPolicy, repetition: int, random: float
) -> None:
    """Whatever the numbers, a wait is never negative, never above the maximum and never shortened too much."""
    seconds = delay(policy, repetition, random)

    assert 0 <= seconds <= policy.maximum
    assert seconds >= delay(policy, repetition, 0) * (1 - policy.jitter) * (1 - 1e-9)


@pytest.mark.parametrize("repetition", [32, 100, 10**6])
def test_a_steep_factor_ends_at_the_maximum(repetition: int) -> None:
    """Growth beyond what a float can hold is the maximum, not an OverflowError."""
    assert delay(RetryPolicy(factor=1e10, jitter=0), repetition, 0) == 30


# How often.


async def test_what_succeeds_is_called_once() -> None:
    """Nothing is repeated without a reason."""
    calls = Calls()

    assert await calls.run() == "done"
    assert (calls.made, calls.sleeps) == (1, [])


async def test_repetitions_wait_exactly_as_the_policy_says() -> None:
    """Four failures cost 0.5, 1, 2 and 4 seconds."""
    calls = Calls(RESET, RESET, RESET, RESET)

    assert await calls.run() == "done"
    assert (calls.made, calls.sleeps) == (5, [0.5, 1, 2, 4])


@pytest.mark.parametrize("attempts", [1, 2, 5])
async def test_attempts_are_tries_in_all(attempts: int) -> None:
    """After the last attempt its own error is raised, without a further sleep."""
    failures = [TransportError(f"reset {number}", **WHERE) for number in range(1, 10)]
    calls = Calls(*failures)

    with pytest.raises(TransportError) as caught:
        await calls.run(RetryPolicy(attempts=attempts, jitter=0))

    assert caught.value is failures[attempts - 1]
    assert (calls.made, len(calls.sleeps)) == (attempts, attempts - 1)


async def test_what_may_not_be_repeated_is_raised_at_once() -> None:
    """An error the predicate does not name is the caller's."""
    refused = NotFoundError("gone", status=404, **WHERE)
    calls = Calls(refused)

    with pytest.raises(NotFoundError) as caught:
        await calls.run(again=lambda error: isinstance(error, TransportError))

    assert caught.value is refused
    assert (calls.made, calls.sleeps) == (1, [])


async def test_each_failure_that_is_followed_by_another_call_is_told() -> None:
    """Not the last one, which is raised."""
    failures, told = [RESET, server_error(), rate_limit()], list[BaseException]()

    with pytest.raises(RateLimitError):
        await Calls(*failures).run(RetryPolicy(jitter=0, attempts=3), tell=told.append)

    assert told == failures[:2]


async def test_jitter_is_drawn_anew_for_each_wait() -> None:
    """Every wait gets a random number of its own."""
    numbers = iter([0.0, 0.5])
    calls = Calls(RESET, RESET)

    await calls.run(RetryPolicy(initial=8, factor=1, jitter=0.5), random=lambda: next(numbers))

    assert calls.sleeps == [8, 6]


@pytest.mark.parametrize(
    ("asked", "waited"), [(None, 0.5), (0.0, 0.5), (0.1, 0.5), (7.0, 7.0), (100.0, 100.0)]
)
async def test_a_longer_retry_after_wins(asked: float | None, waited: float) -> None:
    """Asana's own wish is followed if it is longer than our wait, and above the maximum too."""
    calls = Calls(server_error(asked))

    await calls.run()

    assert calls.sleeps == [waited]


@pytest.mark.parametrize("asked", [None, 30.0])
async def test_after_a_429_the_gate_waits_not_the_call(asked: float | None) -> None:
    """A rate limit is repeated without a sleep of one's own: the pause is the whole token's."""
    calls = Calls(rate_limit(asked), rate_limit(asked))

    await calls.run()

    assert calls.sleeps == [0, 0]


async def test_a_retry_after_beyond_the_cap_is_raised_whatever_the_status() -> None:
    """A 503 that asks for a day is raised, as a 429 is, instead of being slept through."""
    maintenance = Response(status=503, headers={"retry-after": "86400"}, body=b"{}")
    transport, clock = ScriptedTransport(maintenance, "succeeded"), FakeClock()
    async with AsanaClient("test-token", transport=transport, clock=clock) as client:
        with pytest.raises(ServerError):
            await client.get_job("1")

    assert clock.sleeps == []


# Cancellation.


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(1), ValueError("x")]
)
async def test_what_is_not_ours_passes_straight_through(error: BaseException) -> None:
    """Cancellation, Ctrl-C and mistakes of ours are never taken for a failure to be repeated."""
    calls = Calls(error)

    with pytest.raises(type(error)) as caught:
        await calls.run()

    assert caught.value is error
    assert (calls.made, calls.sleeps) == (1, [])


async def test_a_call_that_is_cancelled_while_it_sleeps_ends() -> None:
    """Cancelling between two attempts ends the repetition there."""
    calls = Calls(RESET, RESET)
    asleep = asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(calls.run(sleep=sleep))
    await asleep.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert calls.made == 1


async def test_engines_do_not_share_a_run() -> None:
    """Two calls at once each count their own attempts."""
    first, second = Calls(RESET, RESET), Calls(RESET)

    await asyncio.gather(first.run(), second.run())

    assert (first.sleeps, second.sleeps) == ([0.5, 1], [0.5])


# The loop of a wait.

RUNNING = Job("1", status="in_progress")


@attrs.frozen
class Loop:
    """The loop of a wait with a strategy, and its rests."""

    polling: Polling
    rests: list[float] = attrs.field(factory=list[float])

    def after(self, outcome: Job | Exception) -> float:
        """Rest after a look."""
        self.polling.saw(outcome, 50)
        seconds = self.polling.due() - 50
        assert self.polling.due() - 50 == seconds  # the strategy is asked once
        self.rests.append(seconds)
        return seconds


def loop_with(strategy: Any = wait_fixed(3), looks: int = 0) -> Loop:  # noqa: B008  # a value
    """Make the loop of a wait."""
    return Loop(Polling(strategy, SystemClock(), looks))


def ten_times_the_attempt(state: RetryCallState) -> float:
    """A strategy of one's own."""
    return state.attempt_number * 10


@pytest.mark.parametrize(
    ("strategy", "rests"),
    [
        (wait_fixed(2), [2, 2, 2, 2]),
        (wait_exponential(multiplier=1, max=5), [1, 2, 4, 5]),
        (wait_incrementing(start=1, increment=2), [1, 3, 5, 7]),
        (ten_times_the_attempt, [10, 20, 30, 40]),
        (wait_fixed(1) + wait_fixed(2), [3, 3, 3, 3]),
    ],
)
async def test_any_tenacity_strategy_sets_the_pace(
    strategy: Callable[[RetryCallState], float], rests: list[float]
) -> None:
    """People keep the strategies they know: fixed, exponential, added up, or a function of their own."""
    loop = loop_with(strategy)

    for _ in rests:
        loop.after(RUNNING)

    assert loop.rests == rests


async def test_a_strategy_sees_what_was_seen() -> None:
    """A strategy may decide by the job as last seen."""
    seen: list[object] = []

    def strategy(state: RetryCallState) -> float:
        seen.append(state.outcome and state.outcome.result())
        return 1.0

    loop_with(strategy).after(RUNNING)

    assert seen == [RUNNING]


async def test_a_strategy_sees_how_a_look_failed() -> None:
    """A strategy may decide by the error of the last look."""
    seen: list[object] = []

    def strategy(state: RetryCallState) -> float:
        seen.append(state.outcome and state.outcome.exception())
        return 1.0

    loop_with(strategy).after(RESET)

    assert seen == [RESET]


async def test_a_strategy_sees_the_time_on_our_clock() -> None:
    """The seconds since the first turn are the client's, and its sleeps add up."""
    seen: list[tuple[float | None, float]] = []

    def strategy(state: RetryCallState) -> float:
        seen.append((state.seconds_since_start, state.idle_for))
        return 2.0

    loop = loop_with(strategy)
    await asyncio.sleep(loop.after(RUNNING))
    loop.after(RUNNING)

    assert seen == [(0, 0), (2, 2)]


async def test_trouble_that_may_pass_is_another_turn() -> None:
    """A look that failed counts for the pace like any other."""
    loop = loop_with(wait_incrementing(start=1, increment=1))
    loop.after(RESET)
    loop.after(RUNNING)

    assert loop.rests == [1, 2]


async def test_a_resumed_loop_goes_on_where_the_strategy_stopped() -> None:
    """The looks of an earlier process count as attempts."""
    loop = loop_with(wait_exponential(multiplier=1, max=60), looks=3)
    loop.after(RUNNING)

    assert loop.rests == [8]


async def test_an_api_error_of_our_own_making_repeats_too() -> None:
    """The predicate alone decides, not the class of the error."""
    calls = Calls(APIError("odd", status=409, **WHERE))

    assert await calls.run(again=lambda error: isinstance(error, APIError) and error.status == 409) == "done"


async def test_before_the_first_look_nothing_was_seen_and_one_is_due() -> None:
    """It is the first attempt, of nobody's engine, and the strategy is not asked."""

    def never(_: RetryCallState) -> float:
        raise AssertionError("asked before there was a look")

    polling = Polling(never, SystemClock())

    assert (polling.outcome, polling.due(), polling.attempt_number) == (None, 0.0, 1)
    assert (polling.fn, polling.args, polling.kwargs) == (None, (), {})
    assert polling.idle_for == 0.0
    assert polling.seconds_since_start == pytest.approx(0, abs=1)


class Moody:
    """A strategy without a name, which answers what it is told to."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def __call__(self, _: RetryCallState) -> Any:
        """Answer."""
        return self.answer


@pytest.mark.parametrize(
    ("answer", "shown"),
    [(-1, "-1"), (True, "True"), (10**400, f"1{'0' * 59}"), ("x" * 99, f"'{'x' * 59}")],
    ids=["below 0", "a boolean", "too large", "text"],
)
def test_an_answer_that_is_no_gap_is_told_in_a_sentence(answer: object, shown: str) -> None:
    """What it must be, whose answer it was, by the name of its type if it has none, and the beginning of that."""
    with pytest.raises(ValueError, match=r"^poll must") as caught:
        gap_after(Moody(answer), Polling(wait_fixed(1), FakeClock()))

    assert str(caught.value) == (
        f"poll must answer finite seconds, at least 0, or a timedelta; Moody answered {shown}"
    )


def test_what_cannot_be_a_strategy_is_told_in_a_sentence() -> None:
    """An engine has one, a stop is none, and neither is what has to be awaited."""
    refused: list[tuple[object, str]] = [
        (
            AsyncRetrying(),
            "poll must be a wait strategy, not AsyncRetrying(...): write poll=retrying.wait",
        ),
        (
            stop_after_attempt(3),
            "poll must be a wait strategy; stop_after_attempt says when to stop: write timeout=...",
        ),
    ]
    for poll, sentence in refused:
        with pytest.raises(ValueError, match=r"^poll must") as caught:
            check_strategy(poll)
        assert str(caught.value) == sentence

    moody, fixed = Moody(1), wait_fixed(1)
    assert (check_strategy(moody), check_strategy(fixed)) == (moody, fixed)


def test_the_first_policy_in_a_strategy_is_found() -> None:
    """In sums, in chains, in chains of sums; most strategies have none, and lists of other things are no parts."""
    first, second = PollPolicy(initial=1), PollPolicy(initial=2)
    odd: Any = Moody(1)
    odd.wait_funcs = "no list of parts"

    assert policy_in(first) is first
    assert policy_in(wait_fixed(1) + first + second) is first
    assert policy_in(wait_chain(wait_fixed(1), wait_fixed(2) + second, first)) is second
    assert [policy_in(one) for one in (wait_fixed(1), wait_chain(wait_fixed(1)), Moody(1), odd)] == [None] * 4
