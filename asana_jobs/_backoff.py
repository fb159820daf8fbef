"""From policy and clock to tenacity's engine: its only importer.

Two loops that never meet. `retrying` repeats one request over errors; `Polling` looks again over results. Each
call makes a fresh engine: tenacity keeps the state of a run on it. Predicates are positive, since negative
ones swallow cancellation; deadlines are ours, since tenacity's read the real clock.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, TypeAlias, TypeVar

from tenacity import (
    AsyncRetrying,
    IterState,
    RetryCallState,
    retry_if_exception,
    retry_if_result,
    stop_after_attempt,
)
from tenacity.retry import retry_base
from tenacity.wait import wait_base

from asana_jobs.errors import APIError
from asana_jobs.models import Job
from asana_jobs.policies import RetryPolicy


__all__ = ["Polling", "RetryCallState", "WaitStrategy", "delay", "from_first_failure", "retrying"]

#: What ``poll=`` takes beside a `PollPolicy`: any tenacity wait strategy, such as ``wait_exponential()``.
WaitStrategy: TypeAlias = wait_base | Callable[[RetryCallState], float | int]
T = TypeVar("T")
Sleep: TypeAlias = Callable[[float], Awaitable[None]]


def delay(policy: RetryPolicy, repetition: int, random: float) -> float:
    """Return the seconds before *repetition* (1 is the first); *random* is drawn from 0 up to 1."""
    try:
        longest = min(policy.maximum, policy.initial * policy.factor ** (repetition - 1))
    except OverflowError:
        longest = policy.maximum
    return longest * (1 - policy.jitter * random)


def retrying(
    policy: RetryPolicy,
    *,
    again: Callable[[BaseException], bool],
    sleep: Sleep,
    random: Callable[[], float],
    tell: Callable[[BaseException], None] | None = None,
) -> AsyncRetrying:
    """Repeat one request while *again* says so and the policy has attempts left; then its error is raised.

    *tell* is told of each error that is going to be looked past.
    """

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, APIError) and error.status == 429:
            return 0.0  # the gate makes everybody wait, this caller included
        asked = error.retry_after if isinstance(error, APIError) and error.retry_after else 0.0
        return max(asked, delay(policy, state.attempt_number, random()))

    def told(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if tell is not None and error is not None:
            tell(error)

    return AsyncRetrying(
        retry=retry_if_exception(again),
        stop=stop_after_attempt(policy.attempts),
        wait=wait,
        before_sleep=told,
        sleep=sleep,
        reraise=True,
    )


async def from_first_failure(engine: AsyncRetrying, error: Exception, call: Callable[[], Awaitable[T]]) -> T:
    """Enter *engine* with a first attempt of *call* that was made without it and ended in *error*.

    Mostly there is none, and the engine costs a third of a request.
    """
    errors = [error]

    async def attempt() -> T:
        if errors:
            raise errors.pop()
        return await call()

    return await engine(attempt)


class Polling:
    """The loop of one wait, turn by turn: ``await next()``, look, then report with `saw` or `failed`.

    The attempt is never entered as a context manager: its exit would take every exception for an outcome,
    cancellation included. A turn that is cancelled and never reported is simply taken again.
    """

    __slots__ = ("_engine", "_looks", "_state")

    def __init__(
        self, *, wait: WaitStrategy, transient: Callable[[BaseException], bool], sleep: Sleep, looks: int = 0
    ) -> None:
        self._engine = aiter(_Engine(retry=_look_again(transient), wait=wait, sleep=sleep))
        self._state: RetryCallState | None = None
        self._looks = looks

    def next(self) -> Awaitable[object]:
        """Wait for the next turn."""
        return self._first() if self._state is None else anext(self._engine)

    async def _first(self) -> None:
        self._state = (await anext(self._engine)).retry_state
        # A strategy that counts attempts goes on where the wait of an earlier process stopped.
        self._state.attempt_number += self._looks

    def saw(self, job: Job) -> None:
        """Report what the look saw."""
        self.state.set_result(job)

    def failed(self, error: Exception) -> None:
        """Report that the look failed in a way that may pass."""
        self.state.set_exception((type(error), error, error.__traceback__))

    @property
    def state(self) -> RetryCallState:
        """What a wait strategy is asked about."""
        assert self._state is not None, "next() comes first"  # noqa: S101  # a mistake of ours, not of users
        return self._state


class _Engine(AsyncRetrying):
    """An engine that keeps no more than it needs while it sleeps: thousands of them do at the same time.

    Tenacity keeps the state of a turn and its statistics thread-local, in more than a kilobyte for each engine.
    A wait stays on the thread of its loop, a turn's state is of no use after the turn, and nobody reads the
    statistics: ours are in `WaitStatistics`.
    """

    def __init__(self, *, retry: retry_base, wait: WaitStrategy, sleep: Sleep) -> None:
        super().__init__(retry=retry, wait=wait, sleep=sleep)
        vars(self).pop("_local", None)
        self._of_this_turn: tuple[IterState, dict[str, Any]] | None = None

    async def iter(self, retry_state: RetryCallState) -> Any:
        """Decide about one turn."""
        try:
            return await super().iter(retry_state)
        finally:
            self._of_this_turn = None

    @property
    def iter_state(self) -> IterState:
        """What tenacity notes while it decides."""
        return self._notes()[0]

    @property
    def statistics(self) -> dict[str, Any]:
        """What tenacity counts."""
        return self._notes()[1]

    def _notes(self) -> tuple[IterState, dict[str, Any]]:
        if self._of_this_turn is None:
            self._of_this_turn = IterState(), defaultdict(float)
        return self._of_this_turn


@cache
def _look_again(transient: Callable[[BaseException], bool]) -> retry_base:
    return retry_if_result(_unfinished) | retry_if_exception(transient)


def _unfinished(job: Job) -> bool:
    return not job.done
