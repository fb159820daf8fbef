"""Events: what happens to jobs, waits and requests, as values for ``AsanaClient(on_event=...)``.

::

    JobStarted         a request to start a job was answered with one
    StartFailed        a job was not started
    StartDoubted       a job may or may not have been started; look in Asana
    JobLooked          a look at a job was answered, or failed
    JobChanged         it showed another status, progress or result than was known before
    JobFinished        it showed that the job has succeeded or failed
    JobOverdue         it showed a job running that is older than nearly all of its kind become
    WaitBegan          somebody began to wait for a job
    WaitEnded          that wait is over: the job finished, or the wait did
    RequestRejected    Asana answered 429; nobody sends for a while
    RequestRepeated    a request failed in a way that may pass, and is sent again

Any number of waits for a job share its looks: each wait begins and ends, and the job changes and finishes once (for
each set of ``opt_fields`` that is asked for).
Every event has ``at``, an aware `datetime`; spans of time are seconds. No event holds a token.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import attrs

from asana_jobs.errors import AsanaJobsError, JobTimeoutError, OutcomeUnknownError
from asana_jobs.models import Job


__all__ = [
    "Event",
    "JobChanged",
    "JobFinished",
    "JobLooked",
    "JobOverdue",
    "JobStarted",
    "RequestRejected",
    "RequestRepeated",
    "StartDoubted",
    "StartFailed",
    "WaitBegan",
    "WaitEnded",
    "WaitOutcome",
]


class WaitOutcome(StrEnum):
    """The ways in which a wait ends."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    ERROR = "error"
    CANCELLED = "cancelled"
    #: Iteration was left, and nobody went on with it.
    ABANDONED = "abandoned"


def outcome_of(job: Job | None, error: BaseException | None, *, abandoned: bool = False) -> WaitOutcome:
    """Return how a wait has ended that was ended by *error*, or by its *job*."""
    if abandoned:
        return WaitOutcome.ABANDONED
    if isinstance(error, JobTimeoutError):
        return WaitOutcome.TIMED_OUT
    if error is not None:
        return WaitOutcome.ERROR if isinstance(error, Exception) else WaitOutcome.CANCELLED
    return WaitOutcome.SUCCEEDED if job is not None and job.succeeded else WaitOutcome.FAILED


@attrs.frozen(kw_only=True)
class JobStarted:
    """A request to start a job was answered with one.

    Attributes:
        gid: The job.
        status: The status that the answer has.
        kind: The operation, such as ``duplicate_project``.
        subject: The gid of what it is about.
        took: Seconds that the request took, its wait for the budget included.
    """

    at: datetime
    gid: str
    status: str | None
    kind: str
    subject: str
    took: float


@attrs.frozen(kw_only=True)
class StartFailed:
    """A job was not started, and will not be by this call.

    Attributes:
        kind: The operation, such as ``duplicate_project``.
        subject: The gid of what it is about.
        error: Why.
    """

    at: datetime
    kind: str
    subject: str
    error: AsanaJobsError


@attrs.frozen(kw_only=True)
class StartDoubted:
    """The answer to a request that starts a job was lost: the job may run. It is not started again.

    Attributes:
        kind: The operation, such as ``duplicate_project``.
        subject: The gid of what it is about.
        error: Why, and in its ``check`` where to look.
    """

    at: datetime
    kind: str
    subject: str
    error: OutcomeUnknownError


@attrs.frozen(kw_only=True)
class JobLooked:
    """A look at a job was answered, or failed. One request, whatever the number of waits for the job.

    Attributes:
        gid: The job.
        status: The status that it showed, or ``None``.
        took: Seconds that the request took.
        error: Why it was not answered, or ``None``. Most such trouble passes: see `WaitEnded` for what does not.
    """

    at: datetime
    gid: str
    status: str | None
    took: float
    error: AsanaJobsError | None = None


@attrs.frozen(kw_only=True)
class JobChanged:
    """A look at a job showed another status, progress or result than was known before.

    What was known is what the look before it showed, or the answer that started it, or a continuation token; the first
    look at a job of which nothing was known is a change.

    Attributes:
        gid: The job.
        job: All that is known of it.
        before: The status that was known before, or ``None``.
    """

    at: datetime
    gid: str
    job: Job
    before: str | None


@attrs.frozen(kw_only=True)
class JobFinished:
    """A look at a job showed that it has succeeded or failed.

    Attributes:
        gid: The job.
        job: All that is known of it.
        kind: The operation, such as ``duplicate_project``, or the job's ``resource_subtype``, if known.
        age: Seconds since it was started, if that is known.
        lag_bound: It finished at most this many seconds ago; ``None`` if it was never seen unfinished.
    """

    at: datetime
    gid: str
    job: Job
    kind: str | None
    age: float | None
    lag_bound: float | None


@attrs.frozen(kw_only=True)
class JobOverdue:
    """A look showed a job running at an age by which 99 of 100 of its kind have ended. Told once.

    What ages are usual is learned from a hundred ends of that kind; before, no job is overdue.

    Attributes:
        gid: The job.
        kind: The operation, such as ``duplicate_project``, or the job's ``resource_subtype``.
        age: Seconds since it was started or, if nobody knows when that was, since it was first asked for.
        usual: The age in seconds by which 99 of 100 have ended.
    """

    at: datetime
    gid: str
    kind: str | None
    age: float
    usual: float


@attrs.frozen(kw_only=True)
class WaitBegan:
    """Somebody began to wait for a job, or goes on with a wait that had ended without the job's end.

    Attributes:
        gid: The job.
        kind: The operation or the job's ``resource_subtype``, as for `JobFinished`.
        timeout: Seconds after which the wait ends, counted from its first use; ``None`` if it does not by itself.
    """

    at: datetime
    gid: str
    kind: str | None
    timeout: float | None


@attrs.frozen(kw_only=True)
class WaitEnded:
    """A wait is over.

    Attributes:
        gid: The job.
        kind: The operation or the job's ``resource_subtype``, as for `JobFinished`.
        outcome: How it ended.
        error: The exception that is raised, if any: `JobTimeoutError`, ...; a failed job is a result, and no error.
        status: The job's as last seen, or ``None``.
        waited: Seconds since the wait was first used.
        looks: Looks so far, those shared with other waits on the same job included.
        lag_bound: The wait saw the job's end at most this many seconds late; ``None`` if it saw none, or saw the
            job finished at once.
    """

    at: datetime
    gid: str
    kind: str | None
    outcome: WaitOutcome
    error: Exception | None
    status: str | None
    waited: float
    looks: int
    lag_bound: float | None


@attrs.frozen(kw_only=True)
class RequestRejected:
    """Asana answered 429: too many requests, or too many jobs.

    Attributes:
        gid: The gid that the request is about, if any.
        method: The method of the request.
        path: Its path below the base URL.
        retry_after: Seconds that Asana asks to be left alone, if it says so.
        paused_for: Seconds for which nobody sends with this token now.
    """

    at: datetime
    gid: str | None
    method: str
    path: str
    retry_after: float | None
    paused_for: float


@attrs.frozen(kw_only=True)
class RequestRepeated:
    """A request failed in a way that may pass, and is sent again. Looks of waits are not repeated: see `JobLooked`.

    Attributes:
        gid: The gid that the request is about, if any.
        method: The method of the request.
        path: Its path below the base URL.
        error: The failure.
    """

    at: datetime
    gid: str | None
    method: str
    path: str
    error: AsanaJobsError


#: Any event: the argument of ``on_event``.
Event: TypeAlias = (
    JobStarted
    | StartFailed
    | StartDoubted
    | JobLooked
    | JobChanged
    | JobFinished
    | JobOverdue
    | WaitBegan
    | WaitEnded
    | RequestRejected
    | RequestRepeated
)
