"""Taking turns: one round is a turn of everybody, a ratio is taken within a round, the median over rounds counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from statistics import median


def in_turns(names: Sequence[str], turn: Callable[[str], float], rounds: int) -> dict[str, list[float]]:
    """Measure *turn* of each name, round by round; the first round fills caches and does not count."""
    taken: dict[str, list[float]] = {name: [] for name in names}
    shuffled = Random(1)  # the same orders each time
    for number in range(rounds + 1):
        # Who comes after whom changes: turned round only, the first would nearly always come after the last.
        for name in shuffled.sample(names, len(names)):
            cost = turn(name)
            if number:
                taken[name].append(cost)
    return taken


def ratios(taken: dict[str, list[float]], name: str, other: str) -> list[float]:
    """Return how much more *name* costs than *other*, round by round."""
    return [ours / theirs for ours, theirs in zip(taken[name], taken[other], strict=True)]


def spread(values: Sequence[float]) -> str:
    """Write the median and the middle half of *values*."""
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return f"{median(values):.3f} ({ordered[quarter]:.3f} to {ordered[-1 - quarter]:.3f})"
