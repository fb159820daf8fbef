"""Exit statuses, which scripts rely on, and error messages: a line that says what happened, one that says what to do."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING

import asana_jobs
from asana_jobs.cli.terminal import discard_output, sanitize


if TYPE_CHECKING:
    from asana_jobs import AsanaJobsError


class UsageError(Exception):
    """Error of a command line that cannot be done; the message says why, and nothing was sent."""


@contextmanager
def checking_arguments() -> Generator[None, None, None]:
    """Raise the library's `ValueError` as a `UsageError`: here the user typed the argument."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def complain(message: object, advice: str | None = None) -> None:
    """Write *message* in one line, and *advice* in another."""
    text = f"asana-jobs: {sanitize(message)}\n"
    if advice:
        text += f"  what to do: {sanitize(advice)}\n"
    say(text)


def message_of(error: AsanaJobsError) -> str:
    """Return what *error* says without the advice, which many messages end with and which stands on its own here."""
    return str(error).removesuffix(error.advice).rstrip()


def say(text: str) -> None:
    """Write *text* on standard error; if nobody can read it any more, there is nobody to tell."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        pass


def say_how_to_go_on(command: str | None) -> None:
    """Write the command that goes on where this one stopped, if there is one."""
    if command is not None:
        say(f"To go on:\n  {command}\n")


def counted(count: int, noun: str) -> str:
    """Return ``1 job`` or ``2 jobs``."""
    return f"1 {noun}" if count == 1 else f"{count} {noun}s"


def lost_output(error: OSError) -> ExitStatus:
    """Say that standard output cannot be written, unless its reader has gone, and return what that means."""
    discard_output()
    if isinstance(error, BrokenPipeError):
        return ExitStatus.PIPE_CLOSED
    complain(error, "check the file or the disk that the output goes to")
    return ExitStatus.API


class ExitStatus(IntEnum):
    """Exit status of a command."""

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


#: Of several outcomes the first one here is the status: what keeps us from knowing comes before what we know.
_WORST_FIRST = (
    ExitStatus.NOT_ALLOWED,
    ExitStatus.API,
    ExitStatus.JOB_FAILED,
    ExitStatus.TIMED_OUT,
)


def worst_status(statuses: Iterable[ExitStatus]) -> ExitStatus:
    """Return the one status that stands for all of *statuses*."""
    found = set(statuses)
    return next((status for status in _WORST_FIRST if status in found), ExitStatus.SUCCEEDED)


def status_of(error: BaseException) -> ExitStatus:
    """Return the exit status that an error of the library leads to."""
    errors = asana_jobs.errors
    if isinstance(error, errors.TokenError | errors.AuthenticationError | errors.PermissionDeniedError):
        return ExitStatus.NOT_ALLOWED
    if isinstance(error, errors.JobTimeoutError):
        return ExitStatus.TIMED_OUT
    if isinstance(error, errors.JobFailedError):
        return ExitStatus.JOB_FAILED
    if isinstance(error, errors.LedgerError):
        return ExitStatus.USAGE
    return ExitStatus.API
