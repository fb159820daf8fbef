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


def _gap(pace: Pace) -> float:
    return 1 / pace.rate


def _ahead(pace: Pace) -> float:
    return (pace.burst - 1 + HAIR) / pace.rate


@attrs.frozen
class Pace:
    """A steady rate with room for a burst. When the next request may go is a number that its user keeps.

    At most ``burst + seconds * rate`` requests go out in any stretch of *seconds*.

    Attributes:
        rate: Requests a second in the long run.
        burst: Requests that may go at once after a quiet time.
        gap: Seconds between requests in the long run.
        ahead: Seconds by which requests that may go at once are ahead of those that are evenly spaced.
    """

    rate: float
    burst: float
    # Kept, since every request asks for them.
    gap: float = attrs.field(init=False, default=attrs.Factory(_gap, takes_self=True))
    ahead: float = attrs.field(init=False, default=attrs.Factory(_ahead, takes_self=True))

    @classmethod
    def within(cls, quota: float, burst: float = inf) -> Pace:
        """Return the fastest safe pace for *quota* requests a minute, bursting about a second's worth."""
        burst = min(burst, max(quota / WINDOW, min(FEW, quota / 10), 1.0))
        # The burst comes out of the same quota. Below two a minute nothing would be left after it, hence the half.
        return cls(max(quota - burst, quota / 2) / (WINDOW + SLACK), burst)

    def share(self, part: float) -> Pace:
        """Return a pace of its own, for those who may use only *part* of this one."""
        return Pace(self.rate * part, max(1.0, self.burst * part))

    def take(self, ready_at: float, now: float) -> float:
        """Return when the next request may go, if it was at *ready_at* and one goes *now*."""
        return max(now - self.ahead, ready_at) + self.gap

    def give_back(self, ready_at: float, taken: float, now: float) -> float:
        """Return when the next may go, if it was at *ready_at* and the one that *taken* came of was never sent.

        What could overfill a minute is not given back.
        """
        # Once a later request has found the pace idle, the lost turn is already forgiven.
        return ready_at if now - self.ahead > taken else ready_at - self.gap

    def retune(self, ready_at: float, before: Pace, now: float) -> float:
        """Return when the next may go after *before* was the pace; who was ready for some requests stays so."""
        return now + (ready_at - now) * before.rate / self.rate
