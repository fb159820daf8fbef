"""How trouble is told: one line that says what happened, one that says what to do, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from asana_jobs.cli.plain import plain


if TYPE_CHECKING:
    from asana_jobs import AsanaJobsError


class UsageError(Exception):
    """What was typed cannot be done. The message says why; nothing was sent."""


@contextmanager
def checking_arguments() -> Generator[None, None, None]:
    """Take a `ValueError` for what it is here: the library refusing an argument the user typed."""
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def complain(message: object, advice: str | None = None) -> None:
    """Write *message* in one line, and *advice* in another."""
    text = f"asana-jobs: {plain(message)}\n"
    if advice:
        text += f"  what to do: {plain(advice)}\n"
    say(text)


def complain_of(error: AsanaJobsError, prefix: str = "") -> None:
    """Write what *error* says and what its class advises."""
    complain(f"{prefix}{message_of(error)}", error.advice)


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
