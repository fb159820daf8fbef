"""Durations of jobs: hazards learned per kind of job from the looks at them.

A look only says "finished by now, or not", so what is learned comes as intervals of age. Ages are cut into
log-spaced bins; every bin counts completions and the seconds for which jobs of that age were watched, and
their quotient is the hazard: completions per second of a job that is still running. A weak prior fills in.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import accumulate, pairwise
from math import inf, sqrt
from operator import mul
from typing import Any, Final, Self, cast

import attrs


__all__ = ["EDGES", "Curve", "Durations", "age_bin"]

VERSION: Final = 1
#: Where the bins of age begin, in seconds: 0, then 0.3 s to 7 hours in steps of half as much again.
EDGES: Final = (0.0, *(0.3 * 1.5**step for step in range(29)))
#: The name under which jobs of every kind are counted together, for jobs whose kind is not known.
ANY_KIND: Final = "*"
#: Completions of one source from which on its own hazards are better than those of its kind.
ENOUGH: Final = 20
#: Sources remembered, the longest unused forgotten first. Template ids are not bounded by anything else.
SOURCES: Final = 200
#: Kinds remembered: Asana has a dozen.
KINDS: Final = 200
#: Completions after which the past counts half, so that a change at Asana is noticed.
MEMORY: Final = 2000

_WIDTHS: Final = tuple(end - begin for begin, end in pairwise(EDGES))
_ZEROS: Final = [0.0] * len(EDGES)
# The prior's weight, in completions per bin. From a tenth to a half scored within 0.03 of each other.
_WEIGHT: Final = 0.25
_STALE: Final = 1 / 32  # the part of all looks that a curve may lack
_MOST: Final = 1e300  # so that no sum of what is imported overflows
# Seconds up to which the prior hazard 1 / (age + typical) is about flat. With 3 s an unlearned schedule has at most
# 0.42 of the lag of tenacity's exponential at as many requests; with 0 s up to 0.65.
_TYPICAL: Final = 3.0
_TYPICAL_EXPORT: Final = 60.0


@attrs.frozen
class Curve:
    """The hazard of a job over its age, constant within each bin.

    Attributes:
        rates: Completions per second of a running job, per bin.
        risks: The sum of the hazard from age 0 to the beginning of each bin.
    """

    rates: tuple[float, ...]
    risks: tuple[float, ...]

    @classmethod
    def from_rates(cls, rates: tuple[float, ...]) -> Self:
        """Make a curve from one hazard per bin."""
        return cls(rates, tuple(accumulate(map(mul, _WIDTHS, rates), initial=0.0)))

    def rate(self, age: float) -> float:
        """Return the hazard at *age* seconds, per second."""
        return self.rates[age_bin(age)]

    def risk(self, age: float) -> float:
        """Return the hazard summed up from age 0 to *age* seconds."""
        at = age_bin(age)
        return self.risks[at] + self.rates[at] * (age - EDGES[at])

    def worth(self, after: float, age: float) -> float:
        """Return the lag in seconds that a look at *age* is expected to save if the last was at age *after*.

        This is ``h u^2 / 2`` with the mean hazard of the gap: the hazard at its end would favour jobs that
        are about to finish over those that may have finished already.
        """
        return (self.risk(age) - self.risk(after)) * (age - after) / 2

    def age_worth(self, price: float, after: float, latest: float) -> float:
        """Return the age from which on a look saves *price* seconds of lag, at most *latest*."""
        if price <= 0:
            return after
        risk, begin, at = 0.0, after, bisect_right(EDGES, max(after, 0.0)) - 1
        while begin < latest:
            rate = self.rates[at]
            end = min(latest, EDGES[at + 1] if at + 1 < len(EDGES) else inf)
            # Within one bin, with v the seconds since the last look: (slack + rate v) v / 2 = price.
            slack = risk - rate * (begin - after)
            root = sqrt(slack * slack + 8 * rate * price)
            wait = 4 * price / (root + slack) if slack > 0 else (root - slack) / (2 * rate)
            if after + wait <= end:
                return after + wait
            risk += rate * (end - begin)
            begin, at = end, at + 1
        return latest


def age_bin(age: float) -> int:
    """Return which bin of `EDGES` an age in seconds is in."""
    return bisect_right(EDGES, age) - 1 if age > 0 else 0


@cache
def _prior(typical: float) -> Curve:
    middles = (*((begin + end) / 2 for begin, end in pairwise(EDGES)), EDGES[-1])
    return Curve.from_rates(tuple(1 / (middle + typical) for middle in middles))


@attrs.define(eq=False)
class _Counts:
    """Completions and seconds watched, per bin of age, of the jobs counted under one key."""

    events: list[float] = attrs.field(factory=_ZEROS.copy)
    exposure: list[float] = attrs.field(factory=_ZEROS.copy)
    seen: float = 0.0
    curve: Curve | None = None
    looks: int = 0
    drawn: int = 0  # looks when the curve was thrown away last

    def observe(self, parts: list[tuple[int, float]], curve: Curve | None) -> bool:
        """Count a look; return whether the curve is to be drawn anew.

        Args:
            parts: The bins of age since the last look, with the seconds in each.
            curve: What the bins share the completion by if the job has finished; ``None`` if it has not.
        """
        if curve is None:
            for at, seconds in parts:
                self.exposure[at] += seconds
        else:
            # One step of expectation-maximisation: the bins share the completion by their chance of holding it.
            total, left = 0.0, 1.0
            for at, seconds in parts:
                total += curve.rates[at] * seconds
            for at, seconds in parts:
                share = curve.rates[at] * seconds / total
                self.events[at] += share
                self.exposure[at] += seconds * (left - share / 2)
                left -= share
            self.seen += 1
            if self.seen > MEMORY:
                self.events = [value / 2 for value in self.events]
                self.exposure = [value / 2 for value in self.exposure]
                self.seen, self.looks, self.drawn = self.seen / 2, self.looks // 2, 0
        self.looks += 1
        stale = self.looks - self.drawn > self.looks * _STALE
        if stale:
            self.curve, self.drawn = None, self.looks
        return stale

    def add(self, other: _Counts) -> None:
        """Count what was counted elsewhere, too."""
        self.events = [a + b for a, b in zip(self.events, other.events, strict=True)]
        self.exposure = [a + b for a, b in zip(self.exposure, other.exposure, strict=True)]
        self.seen += other.seen
        self.curve = None


class Durations:
    """The durations of jobs, learned per kind and, where enough were seen, per source (the template or project copied).

    Clients that share connections share one. Ages are seconds since a job was started.

    Attributes:
        revision: While it is the same, `curve` returns the same for each key.
    """

    def __init__(self) -> None:
        self.revision = 0
        self._kinds: dict[str, _Counts] = {}
        self._sources: dict[str, _Counts] = {}

    def observe(
        self, kind: str | None, after: float, before: float, source: str | None = None, *, finished: bool
    ) -> None:
        """Learn from a look at a job.

        Args:
            kind: The kind of the job, if it is known.
            after: The age in seconds at which it was last known to be running.
            before: The age in seconds at which it was looked at.
            source: The gid of what is copied or instantiated, if it is known.
            finished: Whether it had finished.
        """
        after = max(after, 0.0)
        before = max(before, after + 1e-6)  # a look is never quite at once; nothing divides by zero
        first, last = bisect_right(EDGES, after) - 1, bisect_right(EDGES, before) - 1
        marks = (after, *EDGES[first + 1 : last + 1], before)
        parts: list[tuple[int, float]] = []
        for at, (begin, end) in enumerate(pairwise(marks), first):
            seconds = end - begin
            if seconds > 0:
                parts.append((at, seconds))
        if not kind:
            keys = [ANY_KIND]
        else:
            keys = [ANY_KIND, kind, f"{kind}/{source}"] if source else [ANY_KIND, kind]
        # Kind and source share a completion by the best guess at this job, all kinds together by their own.
        curve = self.curve(ANY_KIND) if finished else None
        best = self.curve(self.key_for(kind, source)) if finished and kind else None
        for counts in self._counts(keys):
            self.revision += counts.observe(parts, curve)
            curve = best

    def hazard(self, kind: str | None, age: float, source: str | None = None) -> float:
        """Return the completions per second expected of a running job *age* seconds old."""
        return self.curve(self.key_for(kind, source)).rate(age)

    def key_for(self, kind: str | None, source: str | None = None) -> str:
        """Return the key of the finest counts that say enough about such a job, for `curve`."""
        fine = f"{kind}/{source}"
        if kind and source and fine in self._sources and self._sources[fine].seen >= ENOUGH:
            return fine
        return kind or ANY_KIND

    def curve(self, key: str) -> Curve:
        """Return the hazards under a *key* that `key_for` returned."""
        counts = self._sources.get(key) or self._kinds.get(key)
        if counts is not None and counts.curve is not None:
            return counts.curve
        # A source that is new is expected to be like its kind, a kind that is new like the prior.
        kind, slash, _ = key.partition("/")
        prior = self.curve(kind) if slash else _prior(_TYPICAL_EXPORT if "export" in key else _TYPICAL)
        if counts is None:
            return prior
        rates: list[float] = []
        for events, exposure, expected in zip(counts.events, counts.exposure, prior.rates, strict=True):
            rate = (_WEIGHT + events) / (_WEIGHT / expected + exposure)
            rates.append(rate)
        counts.curve = Curve.from_rates(tuple(rates))
        return counts.curve

    def merge(self, other: Durations) -> None:
        """Add what *other* has seen, such as the export of another process."""
        for key, counts in (*other._kinds.items(), *other._sources.items()):
            self._counts([key])[0].add(counts)
        self.revision += 1

    def to_dict(self) -> dict[str, Any]:
        """Return everything learned as JSON: completions and seconds watched, per kind and bin of age."""
        return {
            "version": VERSION,
            "kinds": {
                key: {
                    "events": [round(value, 6) for value in counts.events],
                    "exposure": [round(value, 6) for value in counts.exposure],
                }
                for key, counts in (*self._kinds.items(), *self._sources.items())
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote, from its *data*.

        Raises:
            ValueError: it is of another version or damaged; the message says where.
        """
        given = cast("object", data)
        if not isinstance(given, Mapping):
            raise ValueError(f"durations must be a mapping, not {type(given).__name__}")
        if data.get("version") != VERSION:
            raise ValueError(f"durations have version {data.get('version')!r}; this library reads {VERSION}")
        kinds: object = data.get("kinds")
        if not isinstance(kinds, Mapping):
            raise ValueError(f"kinds must be a mapping, not {type(kinds).__name__}")
        read = cls()
        for key, counts in cast("Mapping[object, object]", kinds).items():
            if not isinstance(key, str) or not key:
                raise ValueError(f"kinds must have names, not {key!r}")
            if not isinstance(counts, Mapping):
                raise ValueError(f"kinds[{key!r}] must be a mapping, not {type(counts).__name__}")
            lists = cast("Mapping[str, object]", counts)
            events = _numbers(lists.get("events"), f"kinds[{key!r}].events")
            exposure = _numbers(lists.get("exposure"), f"kinds[{key!r}].exposure")
            read._counts([key])[0].add(_Counts(events, exposure, sum(events)))
        return read

    def _counts(self, keys: Iterable[str]) -> list[_Counts]:
        """Return what is counted under each of some keys, to be added to."""
        found: list[_Counts] = []
        for key in keys:
            if "/" in key:
                # Reinserting keeps the dict in order of use.
                counts = self._sources[key] = self._sources.pop(key) if key in self._sources else _Counts()
                if len(self._sources) > SOURCES:
                    del self._sources[next(iter(self._sources))]
            elif (known := self._kinds.get(key)) is not None:
                counts = known
            else:
                counts = _Counts()
                if len(self._kinds) < KINDS:  # more than Asana can have: what is noted of them is forgotten
                    self._kinds[key] = counts
            found.append(counts)
        return found


def _numbers(value: object, what: str) -> list[float]:
    if not isinstance(value, list | tuple) or len(cast("list[object]", value)) != len(EDGES):
        raise ValueError(f"{what} must be a list of {len(EDGES)} numbers")
    for number in cast("list[object]", value):
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < _MOST:
            raise ValueError(f"{what} must hold finite numbers of at least 0, not {number!r}")
    return [float(number) for number in cast("list[float]", value)]
