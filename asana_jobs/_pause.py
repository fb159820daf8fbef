"""The pause that all callers share after a 429, as a value: numbers in, numbers out, no clock.

When it ends one request goes ahead, the probe. Only its answer opens the gate again.
"""

from __future__ import annotations

from math import isfinite

import attrs


FIRST = 2.0
FACTOR = 3.0
LONGEST = 60.0
"""Our own backoff, in seconds, where Asana does not say how long: a minute forgives everything."""

JITTER = 0.25


@attrs.frozen
class Pause:
    """Whether requests may go, and since which 429 they may not.

    Attributes:
        until: When the probe may go; ``None`` while the gate is open.
        event: How many times the gate was shut: 429s to requests of one volley count once.
        streak: How many of those came without an accepted request in between.
    """

    until: float | None = None
    event: int = 0
    streak: int = 0

    def extend(self, now: float, seconds: float | None) -> Pause:
        """Take note of one more 429 to a request that left before the gate was shut."""
        until = now + _asked(seconds)
        return attrs.evolve(self, until=until if self.until is None else max(self.until, until))

    def shut(self, now: float, seconds: float | None, chance: float) -> Pause:
        """Shut the gate, *chance* being a random number from 0 to 1 for the jitter of our own backoff."""
        backoff = min(LONGEST, FIRST * FACTOR**self.streak) * (1 + JITTER * chance)
        if seconds is None or not isfinite(seconds):
            wait = backoff
        elif self.streak:
            # Asana's number was followed and was too short, so that it cannot be trusted alone.
            wait = max(seconds, backoff / FACTOR)
        else:
            wait = max(0.0, seconds)
        until = now + wait
        return Pause(until if self.until is None else max(self.until, until), self.event + 1, self.streak + 1)

    def open(self) -> Pause:
        """Let everybody go: a request was answered."""
        return Pause(None, self.event, 0)


def _asked(seconds: float | None) -> float:
    return seconds if seconds is not None and isfinite(seconds) and seconds > 0 else 0.0
