"""From policy and clock to tenacity's engine: its only importer.

Two loops that never meet. `retrying` repeats one request over errors; `Polling` looks again over results. Each
call makes a fresh engine: tenacity keeps the state of a run on it. Predicates are positive, since negative
ones swallow cancellation; deadlines are ours, since tenacity's read the real clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from tenacity import (
    AsyncRetrying,
    AttemptManager,
    RetryCallState,
    retry_if_exception,
    retry_if_result,
    stop_after_attempt,
)
from tenacity.wait import wait_base

from asana_jobs.errors import APIError
from asana_jobs.models import Job
from asana_jobs.policies import RetryPolicy


__all__ = ["Polling", "RetryCallState", "WaitStrategy", "delay", "retrying"]

#: What ``poll=`` takes beside a `PollPolicy`: any tenacity wait strategy, such as ``wait_exponential()``.
WaitStrategy: TypeAlias = wait_base | Callable[[RetryCallState], float | int]
Sleep: TypeAlias = Callable[[float], Awaitable[None]]


def delay(policy: RetryPolicy, repetition: int, random: float) -> float:
    """Return the seconds before *repetition* (1 is the first); *random* is drawn from 0 up to 1."""
    longest = min(policy.maximum, policy.initial * policy.factor ** min(repetition - 1, 64))
    return longest * (1 - policy.jitter * random)


def retrying(
    policy: RetryPolicy, *, again: Callable[[BaseException], bool], sleep: Sleep, random: Callable[[], float]
) -> AsyncRetrying:
    """Repeat one request while *again* says so and the policy has attempts left; then its error is raised."""

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, APIError) and error.status == 429:
            return 0.0  # the gate makes everybody wait, this caller included
        asked = error.retry_after if isinstance(error, APIError) and error.retry_after else 0.0
        return max(asked, delay(policy, state.attempt_number, random()))

    return AsyncRetrying(
        retry=retry_if_exception(again),
        stop=stop_after_attempt(policy.attempts),
        wait=wait,
        sleep=sleep,
        reraise=True,
    )


class Polling:
    """The loop of one wait, turn by turn: ``await next()``, look, then report with `saw` or `failed`.

    The attempt is never entered as a context manager: its exit would take every exception for an outcome,
    cancellation included. A turn that is cancelled and never reported is simply taken again.
    """

    __slots__ = ("_attempt", "_engine", "_looks")

    def __init__(
        self, *, wait: WaitStrategy, transient: Callable[[BaseException], bool], sleep: Sleep, looks: int = 0
    ) -> None:
        self._engine = aiter(
            AsyncRetrying(
                retry=retry_if_result(_unfinished) | retry_if_exception(transient), wait=wait, sleep=sleep
            )
        )
        self._attempt: AttemptManager | None = None
        self._looks = looks

    async def next(self) -> None:
        """Wait for the next turn."""
        first = self._attempt is None
        self._attempt = await anext(self._engine)
        if first:
            # A strategy that counts attempts goes on where the wait of an earlier process stopped.
            self._attempt.retry_state.attempt_number += self._looks

    def saw(self, job: Job) -> None:
        """Report what the look saw."""
        self.state.set_result(job)

    def failed(self, error: Exception) -> None:
        """Report that the look failed in a way that may pass."""
        self.state.set_exception((type(error), error, error.__traceback__))

    @property
    def state(self) -> RetryCallState:
        """What a wait strategy is asked about."""
        assert self._attempt is not None, "next() comes first"  # noqa: S101  # a mistake of ours, not of users
        return self._attempt.retry_state


def _unfinished(job: Job) -> bool:
    return not job.done
