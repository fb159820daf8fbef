"""Doubles that count: timers of a clock, and what a decision of the schedule weighs and asks for."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from asana_jobs._client.clock import SystemClock, Timer
from asana_jobs._client.waiting.durations import EDGES, Curve, Durations


class CountingCurve(Curve):
    """Counts how many groups are weighed, and for how many it is worked out when they are due."""

    counted = 0

    def risk(self, age: float) -> float:
        """Count, and return the risk."""
        CountingCurve.counted += 1
        return super().risk(age)

    def age_worth(self, price: float, after: float, latest: float) -> float:
        """Count, and return the age."""
        CountingCurve.counted += 1
        return super().age_worth(price, after, latest)


class CountingDurations(Durations):
    """Durations of which nothing is learned, and whose curve counts."""

    flat = CountingCurve.from_rates((0.1,) * len(EDGES))

    asked = 0

    def key_for(self, kind: str | None, source: str | None = None, *, known_start: bool = True) -> str:
        """Tell all sources apart."""
        return f"{kind}/{source}"

    def curve(self, key: str) -> Curve:
        """Count, and return the same for every key."""
        self.asked += 1
        return self.flat


class CountingClock(SystemClock):
    """A clock that counts the timers which are still to come."""

    pending = 0
    started = 0

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Schedule, and count until it is called or cancelled."""
        self.pending += 1
        self.started += 1

        def call() -> None:
            self.pending -= 1
            callback()

        return CountedTimer(self, super().call_later(delay, call))


@attrs.frozen
class CountedTimer:
    """A timer that is counted off when it is cancelled."""

    clock: CountingClock
    timer: Timer

    def cancel(self) -> None:
        """Call it off."""
        self.clock.pending -= 1
        self.timer.cancel()
