"""What a budget is: who asks for the right to send a request, how it is given, and what can be seen of it."""

from __future__ import annotations

import asyncio
from enum import IntEnum, StrEnum
from types import TracebackType
from typing import Final, Protocol, Self

import attrs


#: What ends a request without an answer, as far as a lease can tell.
UNANSWERED: Final = (asyncio.CancelledError, GeneratorExit)


class Traffic(StrEnum):
    """The two kinds of request that Asana caps separately."""

    READ = "read"
    WRITE = "write"


class Priority(IntEnum):
    """Who goes first when there is not room for all. Lower goes first."""

    START = 0
    FOREGROUND = 1
    ROUTINE = 2


# Members that every request asks for: Python 3.11 looks one up in its class by a call.
READ: Final = Traffic.READ
WRITE: Final = Traffic.WRITE
FOREGROUND: Final = Priority.FOREGROUND
ROUTINE: Final = Priority.ROUTINE


def traffic_of(method: str) -> Traffic:
    """Return the kind that a request of *method* is."""
    return READ if method in {"GET", "HEAD"} else WRITE


class Lease(Protocol):
    """The right to have one request in flight. Give it back with `release`, or by leaving ``with``."""

    __slots__ = ()

    def release(self, *, answered: bool = True) -> None:
        """Give it back; harmless when that was done before. Not *answered*: it was cancelled without an answer."""
        ...

    def penalise(self, retry_after: float | None) -> None:
        """Take note of a 429 to this very request, as `Gate.penalise` does but more exactly: it is still to be released.

        *retry_after* is in seconds, or ``None``.
        """
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self.release(answered=not isinstance(error, UNANSWERED))


@attrs.frozen
class GateSnapshot:
    """A gate at one moment, for people to look at.

    Attributes:
        quota: Requests a minute that are allowed as far as is known. ``quota_known``: whether it was configured.
        pace: Requests a minute at which the gate lets callers through, a little less than the quota.
        used: Share of the quota that was used in the last 60 seconds.
        reads_in_flight: GET requests at this moment. ``writes_in_flight``: other requests.
        waiting: Callers waiting, by priority.
        paused_for: Seconds until a request may go again after a 429; 0 when the gate is not paused.
        reopening: Whether the pause is over and the answer of the one probe is awaited.
        rejected: 429s so far.
    """

    quota: float
    quota_known: bool
    pace: float
    used: float
    reads_in_flight: int
    writes_in_flight: int
    waiting: dict[Priority, int]
    paused_for: float
    reopening: bool
    rejected: int


class Gate(Protocol):
    """What a client asks of a budget, wherever it is kept."""

    async def acquire(self, traffic: Traffic, priority: Priority) -> Lease:
        """Wait for the turn of one request, by its *traffic* and its *priority*. Cancelling gives the place back."""
        ...

    def penalise(self, retry_after: float | None) -> None:
        """Take note of a 429: nobody sends for *retry_after* seconds, or for a backoff of our own if ``None``."""
        ...

    def snapshot(self) -> GateSnapshot:
        """Return the budget as it is at this moment."""
        ...
