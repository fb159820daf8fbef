"""Numbers are checked where they are written down."""

import pickle
from collections.abc import Callable
from datetime import timedelta
from math import inf, isfinite, nan
from typing import Any, TypeAlias

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    RetryError,
    retry_if_result,
    stop_after_attempt,
    wait_chain,
    wait_fixed,
)
from watched import gap_at

from asana_jobs import policies
from asana_jobs._client.waiting.durations import Durations
from asana_jobs.policies import PollPolicy, RateLimits, RetryPolicy, seconds


#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NOTHING_LIKE_IT: list[Any] = [None, "5", b"5", [5], 5j, True, False, nan, inf, -inf]
#: The last one is a whole number that no float can hold.
NO_NUMBERS = [*NOTHING_LIKE_IT, 10**400]

Policy: TypeAlias = Callable[..., RetryPolicy | PollPolicy | RateLimits]

DURATIONS: list[tuple[Policy, str]] = [
    (RetryPolicy, "initial"),
    (RetryPolicy, "maximum"),
    (RetryPolicy, "max_retry_after"),
    (PollPolicy, "lag_price"),
    (PollPolicy, "initial"),
    (PollPolicy, "maximum"),
    (PollPolicy, "give_up_after"),
    (PollPolicy, "first_contact"),
    (PollPolicy, "not_found_grace"),
]
COUNTS: list[tuple[Policy, str]] = [
    (RetryPolicy, "attempts"),
    (RateLimits, "reads_in_flight"),
    (RateLimits, "writes_in_flight"),
    (RateLimits, "jobs_running"),
]
SHARES: list[tuple[Policy, str]] = [(RateLimits, "poll_share"), (RateLimits, "share")]


def short(value: object) -> str:
    """Name a value in a test's id."""
    return f"{value!r:.24}"


def make(kind: Policy, argument: str, value: Any) -> Any:
    """Make a policy with one number of its own, and return that number."""
    return getattr(kind(**{argument: value}), argument)


@pytest.mark.parametrize(("kind", "argument"), DURATIONS)
@pytest.mark.parametrize("value", [0, 5, 2.5, timedelta(minutes=1), timedelta(0), timedelta.max], ids=short)
def test_durations_are_seconds_or_timedeltas(kind: Policy, argument: str, value: float | timedelta) -> None:
    """A duration is kept in seconds, whichever way it was given."""
    held = make(kind, argument, value)

    assert type(held) is float
    assert held == (value.total_seconds() if isinstance(value, timedelta) else value)


@pytest.mark.parametrize(("kind", "argument"), DURATIONS)
@pytest.mark.parametrize("value", [*NO_NUMBERS, -1, -0.001, timedelta(seconds=-1)], ids=short)
def test_what_is_no_duration_is_named(kind: Policy, argument: str, value: Any) -> None:
    """Negative, endless or senseless durations are refused under the argument's name."""
    with pytest.raises(
        ValueError, match=f"^{argument} must be (seconds or a timedelta|a finite number of seconds)"
    ):
        make(kind, argument, value)


@pytest.mark.parametrize(("kind", "argument"), COUNTS)
@pytest.mark.parametrize("value", [*NOTHING_LIKE_IT, 0, -1, 1.0, 2.5])
def test_counts_are_whole_and_at_least_one(kind: Policy, argument: str, value: Any) -> None:
    """A count that is no count is refused under the argument's name."""
    with pytest.raises(ValueError, match=f"^{argument} must be a whole number of at least 1, not "):
        make(kind, argument, value)


@pytest.mark.parametrize(("kind", "argument"), SHARES)
@pytest.mark.parametrize("value", [0.01, 0.5, 1, 1 / 4])
def test_shares_lie_above_zero_up_to_one(kind: Policy, argument: str, value: float) -> None:
    """Every proper share is accepted."""
    assert make(kind, argument, value) == value


@pytest.mark.parametrize(("kind", "argument"), SHARES)
@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, -0.5, 1.01], ids=short)
def test_what_is_no_share_is_named(kind: Policy, argument: str, value: Any) -> None:
    """Nothing, more than all, and what is no number are refused under the argument's name."""
    with pytest.raises(ValueError, match=f"^{argument} must be (a number|above 0 and at most 1), not "):
        make(kind, argument, value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, -0.1, 1.1], ids=short)
def test_jitter_is_a_share_too(value: Any) -> None:
    """A jitter below 0 or above 1 would make negative or longer waits: it is refused by name."""
    with pytest.raises(ValueError, match="jitter"):
        RetryPolicy(jitter=value)


@pytest.mark.parametrize("value", [*NO_NUMBERS, 0, 0.99, -2], ids=short)
def test_the_factor_never_shrinks(value: Any) -> None:
    """Backoff that gets shorter is refused."""
    with pytest.raises(ValueError, match=r"^factor must be (a number|at least 1), not "):
        RetryPolicy(factor=value)


@pytest.mark.parametrize("value", [*NO_NUMBERS[1:], 0, 0.5, -1], ids=short)
def test_a_quota_is_at_least_one_or_none(value: Any) -> None:
    """A quota below one request a minute, or no number, is refused; None finds it out."""
    assert RateLimits(requests_per_minute=None, expected=None).requests_per_minute is None
    with pytest.raises(ValueError, match=r"^expected must be (a number|at least 1)"):
        RateLimits(expected=value)
    with pytest.raises(ValueError, match=r"^requests_per_minute must be (a number|at least 1)"):
        RateLimits(requests_per_minute=value)


def test_the_two_kinds_of_domain_have_names() -> None:
    """The documented quotas need not be remembered."""
    assert RateLimits.free() == RateLimits(requests_per_minute=150)
    assert RateLimits.paid() == RateLimits(requests_per_minute=1500)


def test_the_defaults_are_asanas_limits() -> None:
    """50 reads, 15 writes and 5 jobs at once, half of the quota for polling, all of it for this process."""
    assert attrs.asdict(RateLimits()) == {
        "requests_per_minute": None,
        "expected": None,
        "reads_in_flight": 50,
        "writes_in_flight": 15,
        "jobs_running": 5,
        "poll_share": 1.0,
        "share": 1.0,
    }


def test_the_default_lag_price_is_a_tenth_of_a_second() -> None:
    """A request is worth a tenth of a second of lag."""
    assert PollPolicy().lag_price == 0.1


@pytest.mark.parametrize("kind", [RetryPolicy, PollPolicy, RateLimits])
def test_policies_are_frozen_values(kind: Callable[[], Any]) -> None:
    """Two policies with the same numbers are equal, and neither can be changed."""
    assert kind() == kind()
    assert hash(kind()) == hash(kind())
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        kind().jitter = 1


@patient
@given(
    st.floats()
    | st.integers()
    | st.timedeltas()
    | st.booleans()
    | st.text(max_size=3)
    | st.none()
    | st.decimals()
)
def test_any_duration_is_finite_seconds_or_a_value_error(value: Any) -> None:
    """Nothing becomes an endless or negative wait, and nothing but ValueError says so."""
    try:
        held = seconds(value)
    except ValueError:
        return
    assert isfinite(held)
    assert held >= 0


@pytest.mark.parametrize("name", policies.__all__)
def test_every_public_name_of_the_policies_exists(name: str) -> None:
    """``asana_jobs.policies`` has what it promises, documented."""
    assert name == "Duration" or getattr(policies, name).__doc__


# A policy is a wait strategy of tenacity's.


def state_after(seconds_since_start: float) -> Any:
    """What tenacity tells a strategy that many seconds after the beginning."""
    state = RetryCallState(AsyncRetrying(), fn=None, args=(), kwargs={})
    state.start_time, state.outcome_timestamp = 100.0, 100.0 + seconds_since_start
    return state


@pytest.mark.parametrize("age", [0.0, 0.4, 1.0, 3.0, 10.0, 60.0, 600.0, 7200.0])
@pytest.mark.parametrize("price", [0.01, 0.1, 2.0])
def test_a_policy_answers_the_gap_of_a_job_that_nobody_knows(age: float, price: float) -> None:
    """In a foreign engine it waits as long as the schedule would at a job as old as the retrying has lasted."""
    policy = PollPolicy(lag_price=price)

    assert policy(state_after(age)) == pytest.approx(gap_at(age, policy, Durations()), rel=0.12)


@pytest.mark.parametrize(
    ("policy", "age", "seconds"),
    [
        (PollPolicy(lag_price=0, initial=0), 10.0, 0.0),
        (PollPolicy(lag_price=0, initial=5), 1.0, 4.0),
        (PollPolicy(initial=30), 1.0, 29.0),
        (PollPolicy(maximum=2), 1e6, 2.0),
        (PollPolicy(lag_price=1e9), 0.0, 60.0),
    ],
)
def test_a_policy_keeps_its_bounds_as_a_strategy(policy: PollPolicy, age: float, seconds: float) -> None:
    """The earliest look and the longest gap hold in a foreign engine too."""
    assert policy(state_after(age)) == pytest.approx(seconds)


def test_policies_add_up_and_chain() -> None:
    """A sum waits for all its parts, a chain goes from one to the next, and a list of strategies can be summed."""
    policy, state = PollPolicy(), state_after(3.0)
    alone = policy(state)

    assert (policy + wait_fixed(2))(state) == pytest.approx(alone + 2)
    assert (wait_fixed(2) + policy)(state) == pytest.approx(alone + 2)
    assert sum([policy, wait_fixed(2)])(state) == pytest.approx(alone + 2)  # type: ignore[operator]  # pyright: ignore[reportCallIssue]
    chain = wait_chain(wait_fixed(7), policy)
    state.attempt_number = 1
    assert chain(state) == 7
    state.attempt_number = 2
    assert chain(state) == alone


async def test_a_policy_paces_a_foreign_engine() -> None:
    """`AsyncRetrying(wait=PollPolicy())` sleeps for growing gaps."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        state.start_time -= seconds  # it was a sleep, as far as tenacity can see

    engine = AsyncRetrying(
        wait=PollPolicy(initial=0), stop=stop_after_attempt(6), sleep=sleep, retry=retry_if_result(bool)
    )
    with pytest.raises(RetryError):
        async for attempt in engine:
            state = attempt.retry_state
            attempt.retry_state.set_result(True)

    assert len(slept) == 5
    assert slept == sorted(slept)
    assert slept[0] == pytest.approx(0.8, abs=0.1)


def test_a_policy_can_still_be_stored() -> None:
    """A policy is a value: it equals its copy, and travels between processes."""
    policy = PollPolicy(lag_price=0.3)

    copied = pickle.loads(pickle.dumps(policy))  # noqa: S301  # our own

    assert copied == policy
    assert hash(copied) == hash(policy)
