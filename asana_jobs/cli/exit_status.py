"""What the exit status of ``asana-jobs`` means. Scripts rely on it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum


class ExitStatus(IntEnum):
    """How a command ended, as the shell sees it."""

    SUCCEEDED = 0
    JOB_FAILED = 1
    USAGE = 2
    TIMED_OUT = 3
    NOT_ALLOWED = 4
    INTERRUPTED = 5
    API = 6
    BUG = 70
    LEFT = 130
    PIPE_CLOSED = 141
    TERMINATED = 143


#: Of several outcomes the first one here is the status: what keeps us from knowing comes before what we know.
_GRAVEST_FIRST = (
    ExitStatus.NOT_ALLOWED,
    ExitStatus.API,
    ExitStatus.JOB_FAILED,
    ExitStatus.TIMED_OUT,
)


def gravest(statuses: Iterable[ExitStatus]) -> ExitStatus:
    """Return the one status that stands for all of *statuses*."""
    found = set(statuses)
    return next((status for status in _GRAVEST_FIRST if status in found), ExitStatus.SUCCEEDED)


def status_of(error: BaseException) -> ExitStatus:
    """Return the exit status that an error of the library leads to."""
    from asana_jobs import errors  # noqa: PLC0415  # not needed to print a help page

    if isinstance(error, errors.TokenError | errors.AuthenticationError | errors.PermissionDeniedError):
        return ExitStatus.NOT_ALLOWED
    if isinstance(error, errors.JobTimeoutError):
        return ExitStatus.TIMED_OUT
    if isinstance(error, errors.JobFailedError):
        return ExitStatus.JOB_FAILED
    if isinstance(error, errors.LedgerError):
        return ExitStatus.USAGE
    return ExitStatus.API
