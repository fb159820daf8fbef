"""Errors of a budget or a queue that is kept in Redis.

::

    AsanaJobsError
    ├── ConnectError
    │   └── BudgetUnavailableError      Redis could not be asked: nothing was sent
    ├── QueueError                      the queue in Redis cannot be used
    └── WaitEndedError                  a wait ended without a finished job: .reason
"""

from __future__ import annotations

from asana_jobs.errors import AsanaJobsError, ConnectError


__all__ = ["BudgetUnavailableError", "QueueError", "WaitEndedError"]


class BudgetUnavailableError(ConnectError):
    """The shared budget could not be asked, so nothing was sent; repeating is safe."""

    advice = "Check that Redis runs, its URL, its password and its memory."

    def __init__(self, message: str) -> None:
        super().__init__(message, method="SETTLE", path="redis")


class QueueError(AsanaJobsError):
    """The queue in Redis cannot be used, or does not hold what was asked for."""

    advice = "Check that Redis runs, its URL, its password and its memory."


class WaitEndedError(AsanaJobsError):
    """A wait of the queue ended without a finished job.

    Attributes:
        reason: The name of the error that a worker met, such as ``NotFoundError``; the message is its message.
    """

    advice = "Read the message: it is what the worker met."

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
