"""Errors of a budget or a queue that is kept in Redis.

::

    AsanaJobsError
    ├── ConnectError
    │   └── BudgetUnavailableError      Redis could not be asked: nothing was sent
    ├── QueueError                      the queue in Redis cannot be used
    │   └── KeyInUseError               another wait has this name
    └── WaitEndedError                  a wait ended without a finished job: .reason
"""

from __future__ import annotations

from asana_jobs.errors import AsanaJobsError, ConnectError


__all__ = ["BudgetUnavailableError", "KeyInUseError", "QueueError", "WaitEndedError"]


class BudgetUnavailableError(ConnectError):
    """The shared budget could not be asked, so nothing was sent; repeating is safe."""

    advice = "Check that Redis runs, its URL, its password and its memory."

    def __init__(self, message: str) -> None:
        super().__init__(message, method="SETTLE", path="redis")


class QueueError(AsanaJobsError):
    """The queue in Redis cannot be used, or does not hold what was asked for."""

    advice = "Check that Redis runs, its URL, its password and its memory."


class KeyInUseError(QueueError):
    """Another operation, or another job, was put into the queue under the same name."""

    advice = "Give it a name of its own, or forget the other one once it has ended."


class WaitEndedError(AsanaJobsError):
    """A wait of the queue ended without a finished job.

    Attributes:
        reason: The name of the error that a worker met, such as ``NotFoundError``, with its message; ``CancelledError``
            if the wait was cancelled.
    """

    advice = "Read the message: it is what the worker met."

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
