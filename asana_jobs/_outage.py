"""Whether Asana answers at all, as a value: numbers in, numbers out, no clock.

When look after look fails, whichever job it is about, thousands of waits learn nothing by trying one by one. One
of them looks now and then, the probe; the first answer, to whomever, lets all of them go on.
"""

from __future__ import annotations

from math import inf
from typing import Final

import attrs


#: Looks in a row that have to fail: fewer may be chance, or one job that Asana stumbles over.
STREAK: Final = 5
#: Seconds between probes: as many as the failures have lasted, so that a hiccup is over soon, within these bounds.
#: The longest is fifteen probes a minute, and still tells within five seconds, answer included, that Asana is back.
SHORTEST: Final = 1.0
LONGEST: Final = 4.0


@attrs.frozen
class Outage:
    """The failures since the last answer.

    Attributes:
        failures: How many looks failed in a row. ``since``: when the first of them did.
        ready_at: When the next probe may go; long ago while there is no outage.
    """

    failures: int = 0
    since: float = inf
    ready_at: float = -inf

    @property
    def on(self) -> bool:
        """Whether looks are held back."""
        return self.failures >= STREAK

    def failed(self, now: float) -> Outage:
        """Take note of a look that was not answered: no connection, a lost answer, 5xx."""
        after = Outage(self.failures + 1, min(self.since, now), self.ready_at)
        return after if self.on or not after.on else after.probed(now)

    def probed(self, now: float) -> Outage:
        """Take note that a look goes out *now*; the next one waits, whether or not this one comes back."""
        if not self.on:
            return self
        return attrs.evolve(self, ready_at=now + min(LONGEST, max(SHORTEST, now - self.since)))
