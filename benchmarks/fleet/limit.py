"""The physical limit of a recorded workload (polling-anchors.md 7.6): no policy's mean lag can be below it."""

from __future__ import annotations

from math import inf, sqrt
from typing import Final

from workload import Law, Start


#: Seconds between two points of the integral.
STEP: Final = 0.05


def limit(starts: list[Start], kinds: dict[str, Law], per_minute: float) -> float:
    """Return the least mean lag in seconds, the return leg of the round trip not included."""
    rate = per_minute / 60
    return max(_clairvoyant(starts, rate), _aware(starts, kinds, rate))


def _clairvoyant(starts: list[Start], rate: float) -> float:
    """Return the lag of somebody who knows when every job ends, and still has to look at each once."""
    seen, total = -inf, 0.0
    for end in sorted(start.end for start in starts):
        seen = max(end, seen + 1 / rate)
        total += seen - end
    return total / len(starts)


def _aware(starts: list[Start], kinds: dict[str, Law], rate: float) -> float:
    """Return the lag of somebody who knows each kind's law: the integral of (sum sqrt h)^2, over 2 r J."""
    longest = int(max(start.seconds for start in starts) / STEP) + 2
    roots = {
        name: [sqrt(law.hazard((step + 0.5) * STEP)) for step in range(longest)]
        for name, law in kinds.items()
    }
    sums = [0.0] * (int(max(start.end for start in starts) / STEP) + 2)
    for start in starts:
        begin, curve = int(start.at / STEP), roots[start.kind]
        for step in range(int(start.seconds / STEP) + 1):
            sums[begin + step] += curve[step]
    return sum(value * value for value in sums) * STEP / (2 * rate * len(starts))
