"""What one token may send: the quota, the pace that keeps to it, and what was sent. Numbers only, no clock."""

from __future__ import annotations

from math import inf

import attrs

from asana_jobs._pace import FEW, WINDOW, Pace
from asana_jobs._quota import Quota, calm, fall, grow, told, unknown
from asana_jobs._tally import Tally
from asana_jobs.policies import RateLimits


@attrs.define  # never changed, but not frozen: one is made for each request, and freezing takes most of that time
class Spent:
    """One request's part of the allowance.

    Attributes:
        at: When it went out. ``pace``: the pace at which it did.
        ready_at: When the next may go, right after it. ``looking_at``: when the next routine look may, if it was one.
        waited: Whether the pace had kept it waiting, so that its answer says something about the quota.
    """

    at: float
    pace: Pace
    ready_at: float
    looking_at: float | None
    waited: bool


@attrs.define(eq=False, init=False)
class Allowance:
    """The requests a minute that one token may send.

    Routine looks at jobs have a pace of their own on top, so that the rest is kept for the caller's own requests.

    Attributes:
        ready_at: The earliest time at which the next request may go. ``looking_at``: not before then if it is a look.
    """

    quota: Quota
    pace: Pace
    looking: Pace
    tally: Tally
    known: bool
    ready_at: float
    looking_at: float
    _poll_share: float

    def __init__(self, limits: RateLimits) -> None:
        per_minute = limits.requests_per_minute
        self.known = per_minute is not None
        self.quota = unknown(limits.share) if per_minute is None else told(per_minute * limits.share)
        self.pace = self._pace_within(self.quota)
        self._poll_share = limits.poll_share
        self.looking = self.pace.share(self._poll_share)
        self.ready_at = self.looking_at = -inf
        self.tally = Tally()

    @property
    def per_minute(self) -> float:
        """Requests a minute that go through when callers never stop coming: a little less than the quota."""
        return self.pace.rate * WINDOW

    def used(self, now: float) -> float:
        """Return the share of the quota that was used in the last minute."""
        return max(0, self.tally.sent(now)) / self.quota.estimate

    def spend(self, now: float, *, routine: bool, waited: bool) -> Spent:
        """Count one request that goes *now*."""
        pace = self.pace
        self.ready_at = ready_at = pace.take(self.ready_at, now)
        if routine:
            self.looking_at = self.looking.take(self.looking_at, now)
        self.tally.count(now, 1, 0)
        return Spent(now, pace, ready_at, self.looking_at if routine else None, waited)

    def give_back(self, spent: Spent, now: float) -> None:
        """Forget a request that was never sent."""
        self.tally.count(now, -1, 0)
        if spent.pace != self.pace:
            return  # at another pace its turn was worth something else
        self.ready_at = self.pace.give_back(self.ready_at, spent.ready_at, now)
        if spent.looking_at is not None:
            self.looking_at = self.looking.give_back(self.looking_at, spent.looking_at, now)

    def accept(self, spent: Spent, now: float) -> None:
        """Take note of an answer other than 429."""
        self.tally.count(now, 0, 1)
        # Only a request that the present quota let through, and would not have let through sooner, vouches for it.
        if spent.waited and spent.at >= self.quota.stepped_at:
            self._use(grow(self.quota, now), now)

    def refuse(self, now: float) -> None:
        """Take note of a 429 that says that the pace was too high."""
        self._use(fall(self.quota, now, self.tally.accepted(now)), now)

    def drain(self, at: float) -> None:
        """Have one request ready at *at*, when a pause ends, and the others evenly spaced behind it."""
        self.ready_at = max(self.ready_at, at)

    def resume(self, now: float) -> None:
        """Take note that a pause is over."""
        self.quota = calm(self.quota, now)

    def _pace_within(self, quota: Quota) -> Pace:
        # While the quota is being found out, a deep burst could be refused as a whole.
        return Pace.within(quota.estimate) if self.known else Pace.within(quota.estimate, FEW)

    def _use(self, quota: Quota, now: float) -> None:
        if quota is not self.quota:
            self.quota = quota
            pace, looking = self.pace, self.looking
            self.pace = self._pace_within(quota)
            self.ready_at = self.pace.retune(self.ready_at, pace, now)
            self.looking = self.pace.share(self._poll_share)
            self.looking_at = self.looking.retune(self.looking_at, looking, now)
