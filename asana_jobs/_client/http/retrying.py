"""Retry and backoff: how long to pause before a repetition, and the only file that knows tenacity.

`pause_before` is for a request that failed, and `retrying` the engine for those that are repeated for long. `Polling` is
how a wait looks to a strategy of tenacity's. Deadlines are ours, since tenacity's read the real clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from inspect import iscoroutine, iscoroutinefunction
from math import isfinite
from typing import SupportsFloat, TypeAlias, cast

from tenacity import (
    AsyncRetrying,
    BaseRetrying,
    Future,
    RetryCallState,
    retry_if_exception,
    stop_after_attempt,
)
from tenacity.stop import stop_base
from tenacity.wait import wait_base

from asana_jobs._client.clock import Clock
from asana_jobs.errors import APIError
from asana_jobs.models import Job
from asana_jobs.policies import Duration, PollPolicy, RetryPolicy, no_strategy


__all__ = [
    "AsyncRetrying",
    "Polling",
    "RetryCallState",
    "WaitStrategy",
    "check_strategy",
    "delay",
    "pause_before",
    "policy_in",
    "retrying",
]

#: What ``poll=`` takes beside a `PollPolicy`: any tenacity wait strategy, such as ``wait_exponential()``.
WaitStrategy: TypeAlias = wait_base | Callable[[RetryCallState], Duration]
Sleep: TypeAlias = Callable[[float], Awaitable[None]]


def delay(policy: RetryPolicy, repetition: int, random: float) -> float:
    """Return the seconds before *repetition* (1 is the first); *random* is drawn from 0 up to 1."""
    try:
        longest = min(policy.maximum, policy.initial * policy.factor ** (repetition - 1))
    except OverflowError:
        longest = policy.maximum
    return longest * (1 - policy.jitter * random)


def pause_before(
    repetition: int, error: BaseException | None, policy: RetryPolicy, random: Callable[[], float]
) -> float:
    """Return the seconds before *repetition* (1 is the first) of a request that ended in *error*."""
    if isinstance(error, APIError) and error.status == 429:
        return 0.0  # the gate makes everybody wait, this caller included
    asked = error.retry_after if isinstance(error, APIError) and error.retry_after else 0.0
    return max(asked, delay(policy, repetition, random()))


def retrying(
    policy: RetryPolicy,
    *,
    again: Callable[[BaseException], bool],
    sleep: Sleep,
    random: Callable[[], float],
    tell: Callable[[BaseException], None] | None = None,
    attempts: int | None = None,
) -> AsyncRetrying:
    """Return an engine of tenacity's for one call: it keeps the state of a run.

    Args:
        policy: How often to call, and how long to pause.
        again: Says of an error whether to call again. It says yes only to errors it knows, so that cancellation passes.
        sleep: Waits so many seconds.
        random: Draws from 0 up to 1.
        tell: Called with each error that is followed by another call. The last one is raised.
        attempts: How often to call, instead of as often as the policy says.
    """

    def wait(state: RetryCallState) -> float:
        return pause_before(state.attempt_number, _error_of(state), policy, random)

    def told(state: RetryCallState) -> None:
        error = _error_of(state)
        if tell is not None and error is not None:
            tell(error)

    return AsyncRetrying(
        retry=retry_if_exception(again),
        stop=stop_after_attempt(policy.attempts if attempts is None else attempts),
        wait=wait,
        before_sleep=told,
        sleep=sleep,
        reraise=True,
    )


def _error_of(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def check_strategy(poll: object) -> WaitStrategy:
    """Return *poll* if it can say when to look again, or raise a `ValueError` that shows what to write."""
    if isinstance(poll, wait_base):
        return poll
    if isinstance(poll, BaseRetrying):
        raise ValueError(
            f"poll must be a wait strategy, not {type(poll).__name__}(...): write poll=retrying.wait"
        )
    if isinstance(poll, stop_base):
        raise ValueError(
            f"poll must be a wait strategy; {type(poll).__name__} says when to stop: write timeout=..."
        )
    if isinstance(poll, type) or iscoroutinefunction(poll) or not callable(poll):
        raise no_strategy(poll)
    return cast("WaitStrategy", poll)


def policy_in(strategy: object) -> PollPolicy | None:
    """Return the first policy in a sum or a chain of strategies, if there is one."""
    if isinstance(strategy, PollPolicy):
        return strategy
    parts: object = getattr(strategy, "wait_funcs", None) or getattr(strategy, "strategies", None)
    found = map(policy_in, cast("Iterable[object]", parts if isinstance(parts, list | tuple) else ()))
    return next((policy for policy in found if policy is not None), None)


def gap_after(strategy: WaitStrategy, state: RetryCallState) -> float:
    """Return the seconds that *strategy* answers, or raise a `ValueError` that names ``poll``."""
    answer = cast("object", strategy(state))
    if type(answer) is not float:
        if isinstance(answer, timedelta):
            answer = answer.total_seconds()
        elif isinstance(answer, bool) or not isinstance(answer, SupportsFloat):
            raise _no_gap(strategy, answer)
    try:
        gap = float(answer)
    except (ArithmeticError, ValueError):  # a whole number beyond any float, a signalling NaN
        raise _no_gap(strategy, answer) from None
    if not isfinite(gap) or gap < 0:
        raise _no_gap(strategy, answer)
    return gap


def _no_gap(strategy: WaitStrategy, answer: object) -> ValueError:
    name = getattr(strategy, "__name__", type(strategy).__name__)
    if iscoroutine(answer):
        answer.close()
        return ValueError(
            f"poll must answer finite seconds or a timedelta; {name} has to be awaited: write a plain function"
        )
    try:
        shown = f"{answer!r:.60}"
    except ValueError:
        shown = "a number beyond all bounds"
    return ValueError(f"poll must answer finite seconds, at least 0, or a timedelta; {name} answered {shown}")


class Polling(RetryCallState):
    """The looks of one wait as any of tenacity's strategies can be asked about them.

    There is no engine of tenacity's: that costs more than the look itself, and every wait would keep one. What a look
    came to is put into tenacity's terms only when a strategy asks for it.

    Args:
        strategy: The strategy.
        clock: The client's.
        looks: How many there were before.
    """

    def __init__(self, strategy: WaitStrategy, clock: Clock, looks: int = 0) -> None:
        self._strategy = strategy
        self._report: Job | Exception | None = None
        self._seen_at = 0.0
        self._due: float | None = 0.0
        super().__init__(_NOBODY, fn=None, args=(), kwargs=_NOTHING)
        # A strategy that counts attempts goes on where the wait of an earlier process stopped.
        self.attempt_number = looks + 1
        self.start_time = clock.monotonic()
        self._clock = clock

    def saw(self, outcome: Job | Exception, at: float) -> None:
        """Take note of what a look saw, or how it failed in a way that may pass, *at* a moment of the client's clock."""
        self._report, self._seen_at, self._due = outcome, at, None

    def due(self) -> float:
        """Return when the next look is due, for which the strategy is asked once after each.

        Raises:
            Exception: what it raises, or a `ValueError` about what it answers.
        """
        if self._due is None:
            gap = gap_after(self._strategy, self)
            self.attempt_number += 1
            self.idle_for += gap
            # From the last answer, not from now: what its reader did with it meanwhile does not count.
            self._due = self._seen_at + gap
        return self._due

    @property
    def seconds_since_start(self) -> float:
        """Seconds since the first turn, on the clock of the client."""
        return self._clock.monotonic() - self.start_time

    @property
    def outcome(self) -> Future | None:
        """The last look as a future that is done."""
        if self._report is None:
            return None
        return Future.construct(self.attempt_number, self._report, isinstance(self._report, Exception))

    @outcome.setter
    def outcome(self, value: Future | None) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        assert value is None  # noqa: S101  # tenacity's own way to begin: outcomes are reported


#: A state belongs to an engine and a call, which strategies do not ask about.
_NOBODY = AsyncRetrying()
_NOTHING: dict[str, object] = {}
