"""What one token may send: the quota, the pace that keeps to it, and what was sent. Numbers only, no clock."""

from __future__ import annotations

import attrs

from asana_jobs._pace import FEW, WINDOW, Pace
from asana_jobs._quota import Quota, calm, fall, grow, told, unknown
from asana_jobs._tally import Tally
from asana_jobs.policies import RateLimits


@attrs.define  # never changed, but not frozen: see `Pace`
class Spent:
    """One request's part of the allowance.

    Attributes:
        at: When it went out.
        pace: The pace right after it. ``looking``: the pace of routine looks right after it, if it was one.
        waited: Whether the pace had kept it waiting, so that its answer says something about the quota.
    """

    at: float
    pace: Pace
    looking: Pace | None
    waited: bool


@attrs.define(eq=False, init=False)
class Allowance:
    """The requests a minute that one token may send.

    Routine looks at jobs have a pace of their own on top, so that the rest is kept for the caller's own requests.
    """

    quota: Quota
    pace: Pace
    looking: Pace
    tally: Tally
    known: bool
    _poll_share: float

    def __init__(self, limits: RateLimits) -> None:
        per_minute = limits.requests_per_minute
        self.known = per_minute is not None
        self.quota = unknown(limits.share) if per_minute is None else told(per_minute * limits.share)
        self.pace = self._pace_within(self.quota)
        self._poll_share = limits.poll_share
        self.looking = self.pace.share(self._poll_share)
        self.tally = Tally()

    @property
    def per_minute(self) -> float:
        """Requests a minute that go through when callers never stop coming: a little less than the quota."""
        return self.pace.rate * WINDOW

    def used(self, now: float) -> float:
        """Return the share of the quota that was used in the last minute."""
        self.tally.forget(now)
        return max(0, self.tally.sent) / self.quota.estimate

    def ready_at(self, *, routine: bool) -> float:
        """Return the earliest time at which the next request may go."""
        return max(self.pace.ready_at, self.looking.ready_at) if routine else self.pace.ready_at

    def spend(self, now: float, *, routine: bool, waited: bool) -> Spent:
        """Count one request that goes *now*."""
        self.pace = self.pace.take(now)
        if routine:
            self.looking = self.looking.take(now)
        self.tally.count(now, sent=1)
        return Spent(now, self.pace, self.looking if routine else None, waited)

    def give_back(self, spent: Spent, now: float) -> None:
        """Forget a request that was never sent."""
        self.pace = self.pace.give_back(spent.pace, now)
        if spent.looking is not None:
            self.looking = self.looking.give_back(spent.looking, now)
        self.tally.count(now, sent=-1)

    def accept(self, spent: Spent, now: float) -> None:
        """Take note of an answer other than 429."""
        self.tally.count(now, accepted=1)
        # Only a request that the present quota let through, and would not have let through sooner, vouches for it.
        if spent.waited and spent.at >= self.quota.stepped_at:
            self._use(grow(self.quota, now), now)

    def refuse(self, now: float) -> None:
        """Take note of a 429 that says that the pace was too high."""
        self.tally.forget(now)
        self._use(fall(self.quota, now, self.tally.accepted), now)

    def drain(self, at: float) -> None:
        """Have one request ready at *at*, when a pause ends, and the others evenly spaced behind it."""
        self.pace = self.pace.drain(at)

    def resume(self, now: float) -> None:
        """Take note that a pause is over."""
        self.quota = calm(self.quota, now)

    def _pace_within(self, quota: Quota) -> Pace:
        # While the quota is being found out, a deep burst could be refused as a whole.
        return Pace.within(quota.estimate) if self.known else Pace.within(quota.estimate, FEW)

    def _use(self, quota: Quota, now: float) -> None:
        if quota is not self.quota:
            self.quota = quota
            self.pace = self.pace.retune(self._pace_within(quota), now)
            self.looking = self.looking.retune(self.pace.share(self._poll_share), now)
