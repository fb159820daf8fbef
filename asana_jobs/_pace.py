"""How fast requests may go out: one timestamp and some arithmetic (GCRA), no clock.

Requests may come in bursts, but no minute ever sees more of them than the quota.
"""

from __future__ import annotations

from math import inf

import attrs


WINDOW = 60.0
"""Seconds over which Asana counts."""

SLACK = 1.0
"""Seconds by which the network may bunch requests together: two that left 61 seconds apart may arrive within 60."""

FEW = 5.0
"""Requests that may go at once even where a second's worth is less."""


HAIR = 1e-6
"""Part of a request by which sums of many small numbers may be off."""


@attrs.define  # never changed, but not frozen: one is made for each request, and freezing takes most of that time
class Pace:
    """A steady rate with room for a burst.

    At most ``burst + seconds * rate`` requests go out in any stretch of *seconds*.

    Attributes:
        rate: Requests a second in the long run.
        burst: Requests that may go at once after a quiet time.
        ready_at: The earliest time at which the next request may go.
    """

    rate: float
    burst: float
    ready_at: float = -inf

    @classmethod
    def within(cls, quota: float, burst: float = inf) -> Pace:
        """Return the fastest safe pace for *quota* requests a minute, bursting about a second's worth."""
        burst = min(burst, max(quota / WINDOW, min(FEW, quota / 10), 1.0))
        # The burst comes out of the same quota. Below two a minute nothing would be left after it, hence the half.
        return cls(max(quota - burst, quota / 2) / (WINDOW + SLACK), burst)

    @property
    def ahead(self) -> float:
        """Seconds by which requests that may go at once are ahead of those that are evenly spaced."""
        return (self.burst - 1 + HAIR) / self.rate

    def share(self, part: float) -> Pace:
        """Return a pace of its own, for those who may use only *part* of this one."""
        return Pace(self.rate * part, max(1.0, self.burst * part))

    def take(self, now: float) -> Pace:
        """Count one request that goes *now*."""
        # `ahead` without asking for it: every request comes by here.
        quiet = now - (self.burst - 1 + HAIR) / self.rate
        return Pace(self.rate, self.burst, max(quiet, self.ready_at) + 1 / self.rate)

    def give_back(self, taken: Pace, now: float) -> Pace:
        """Forget the request that led to *taken* and was never sent, where no minute can be overfilled by it."""
        # Once a later request has found the pace idle, the lost turn is already forgiven.
        if self.rate != taken.rate or self.burst != taken.burst or now - taken.ahead > taken.ready_at:
            return self
        return Pace(self.rate, self.burst, self.ready_at - 1 / self.rate)

    def retune(self, other: Pace, now: float) -> Pace:
        """Go on at the rate and burst of *other*; who is ready for some requests now stays ready for as many."""
        return Pace(other.rate, other.burst, now + (self.ready_at - now) * self.rate / other.rate)

    def drain(self, at: float) -> Pace:
        """Spend the burst: one request may go at *at*, the others follow evenly spaced."""
        return Pace(self.rate, self.burst, max(self.ready_at, at))
