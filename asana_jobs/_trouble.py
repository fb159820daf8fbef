"""A streak of trouble in one wait: what of it may pass, since when it lasts, and how long to stay away."""

from __future__ import annotations

import copy
from typing import Final

import attrs

from asana_jobs._answers import LONGEST_PAUSE
from asana_jobs._sansio import transient
from asana_jobs.errors import APIError, AsanaJobsError, NotFoundError, RateLimitError


#: How many 404s in a row end a wait whose job was seen before: one may be a replica that lags behind.
NOT_FOUND_STREAK: Final = 3


@attrs.define
class Trouble:
    """What has gone wrong since the last answer.

    Attributes:
        since: When it began. ``error``: the last one. ``streak``: how many.
        not_found: How many 404s came in a row at the end of it.
    """

    since: float | None = None
    error: AsanaJobsError | None = None
    streak: int = 0
    not_found: int = 0

    def meet(self, error: AsanaJobsError, now: float, *, young: bool, seen: bool) -> bool:
        """Take note of *error*, and say whether it may pass.

        Args:
            young: Whether the job is so young that it may not be found yet. ``seen``: whether it was seen before.
        """
        self.not_found = self.not_found + 1 if isinstance(error, NotFoundError) else 0
        may_appear = self.not_found > 0 and (young or (seen and self.not_found < NOT_FOUND_STREAK))
        self.since = now if self.since is None else self.since
        self.error = error
        self.streak += 1
        return transient(error) or may_appear

    def clear(self) -> None:
        """An answer came."""
        self.since, self.error, self.streak, self.not_found = None, None, 0, 0

    def set_back_since(self) -> float | None:
        """Return since when it lasts, if it is we who chose how long to stay away, and ``None`` if Asana did."""
        return self.since if self.streak and not self.asked(gated=True) else None

    def asked(self, *, gated: bool) -> float:
        """Return the seconds Asana asked to be left alone; *gated*: leave out what the gate sees to, after a 429."""
        if not isinstance(self.error, APIError) or (gated and isinstance(self.error, RateLimitError)):
            return 0.0
        return min(self.error.retry_after or 0.0, LONGEST_PAUSE)


def unanswered(error: AsanaJobsError) -> bool:
    """Whether *error* says that nobody was there to answer, whatever was asked."""
    return transient(error) and not isinstance(error, RateLimitError)


def twin(error: AsanaJobsError) -> AsanaJobsError:
    """Return *error* for another task: one exception raised in two tasks would mix their tracebacks."""
    other = copy.copy(error)
    other.__cause__ = error.__cause__
    return other
