"""Trouble of looks: the `FailureStreak` of one job, and the `Outage` in which Asana answers nobody.

When look after look fails, whichever job it is about, thousands of watched jobs learn nothing by being tried one by
one. One of them is looked at now and then, the probe; the first answer, about whichever job, lets all of them go on.
"""

from __future__ import annotations

import copy
from math import inf
from typing import Final, TypeVar

import attrs

from asana_jobs._client.http.protocol import LONGEST_PAUSE, transient
from asana_jobs.errors import APIError, AsanaJobsError, NotFoundError, RateLimitError


#: Looks in a row that have to fail for an outage: fewer may be chance, or one job that Asana stumbles over.
OUTAGE_STREAK: Final = 5
#: Seconds between probes: as many as the failures have lasted, so that a hiccup is over soon, within these bounds.
#: The longest is fifteen probes a minute, and still tells within five seconds, answer included, that Asana is back.
PROBE_AFTER_AT_LEAST: Final = 1.0
PROBE_AFTER_AT_MOST: Final = 4.0
#: How many 404s in a row end a wait whose job was seen before: one may be a replica that lags behind.
NOT_FOUND_STREAK: Final = 3


E = TypeVar("E", bound=Exception)


@attrs.define
class Outage:
    """The failures since the last answer about any job: a circuit breaker.

    Attributes:
        failures: How many looks failed in a row.
        since: When the first of them did.
        error: The last one, without its traceback.
        on: Whether looks are held back.
        ready_at: When the next probe may go; long ago while there is no outage.
    """

    failures: int = 0
    since: float = inf
    error: AsanaJobsError | None = None
    on: bool = False
    ready_at: float = -inf

    def failed(self, error: AsanaJobsError, now: float) -> bool:
        """Take note of a look that was not answered: no connection, a lost answer, 5xx; return whether that is enough."""
        self.failures, self.since, self.error = self.failures + 1, min(self.since, now), copy_exception(error)
        if self.failures != OUTAGE_STREAK:
            return False
        self.on = True
        self.probed(now)
        return True

    def probed(self, now: float) -> None:
        """Take note that a look goes out *now*; the next one waits, whether or not this one comes back."""
        self.ready_at = now + min(PROBE_AFTER_AT_MOST, max(PROBE_AFTER_AT_LEAST, now - self.since))


@attrs.define
class FailureStreak:
    """The failures since the last answer about one job.

    Attributes:
        since: When the first of them was.
        error: The last one, without its traceback.
        failures: How many there were.
        not_found: How many 404s in a row are at the end of it.
        due: When to look again.
    """

    since: float
    error: AsanaJobsError
    failures: int = 0
    not_found: int = 0
    due: float = 0.0

    def record(self, error: AsanaJobsError) -> None:
        """Take note of a failure."""
        self.error = copy_exception(error)
        self.failures += 1
        self.not_found = self.not_found + 1 if isinstance(error, NotFoundError) else 0

    @property
    def retry_after(self) -> float:
        """The seconds for which Asana asked to be left alone."""
        asked = self.error.retry_after if isinstance(self.error, APIError) else None
        return min(asked or 0.0, LONGEST_PAUSE)

    @property
    def asked_pause(self) -> float:
        """The same, except after a 429, which the gate sees to."""
        return 0.0 if isinstance(self.error, RateLimitError) else self.retry_after


def passes(error: AsanaJobsError, *, not_found: int, young: bool, seen: bool) -> bool:
    """Return whether the trouble with a job may pass by itself.

    Args:
        error: The last failure.
        not_found: How many 404s in a row there were.
        young: Whether the job is so young that it may not be found yet.
        seen: Whether the job was seen before.
    """
    return transient(error) or (not_found > 0 and (young or (seen and not_found < NOT_FOUND_STREAK)))


def unanswered(error: AsanaJobsError) -> bool:
    """Return whether *error* says that nobody was there to answer, whatever was asked."""
    return transient(error) and not isinstance(error, RateLimitError)


def copy_exception(error: E) -> E:
    """Return *error* for one more task: one exception raised in two tasks would mix their tracebacks."""
    try:
        other = copy.copy(error)
    except Exception:  # noqa: BLE001  # somebody else's, which cannot be copied
        return error
    other.__cause__ = error.__cause__
    return other
