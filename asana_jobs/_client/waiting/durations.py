"""Durations of jobs: hazards learned per kind of job from the looks at them.

A look only says "finished by now, or not", so what is learned comes as intervals of age. Ages are cut into
log-spaced bins; every bin counts completions and the seconds for which jobs of that age were watched, and
their quotient is the hazard: completions per second of a job that is still running. A weak prior fills in.

Ages are since a job was started or, where nobody knows when that was, since it was first asked for. Such ages
mean something else, so they are counted apart.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache, lru_cache
from itertools import accumulate, pairwise
from math import inf, log1p, sqrt
from operator import mul
from typing import Any, Final, Self, TypeAlias, cast

import attrs

from asana_jobs.policies import TYPICAL_SECONDS


__all__ = ["EDGES", "Curve", "Durations", "age_bin"]

#: Version 1 had no counts of jobs whose start nobody knows; nothing else is different.
VERSION: Final = 2
#: Where the bins of age begin, in seconds: 0, then 0.3 s to 7 hours in steps of half as much again.
EDGES: Final = (0.0, *(0.3 * 1.5**step for step in range(29)))
#: The name under which jobs of every kind are counted together, for jobs whose kind is not known.
ANY_KIND: Final = "*"
#: What the name of a kind begins with where ages are since a job was first asked for.
FIRST_SEEN: Final = "?"
#: Completions of one source from which on its own hazards are better than those of its kind.
ENOUGH: Final = 20
#: Kinds and sources remembered: Asana has a dozen kinds, but template ids are not bounded by anything else. The longest
#: unused source is forgotten first, and a kind only where there are more of them than Asana can have.
REMEMBERED: Final = 400
#: Completions after which the past counts half, so that a change at Asana is noticed.
MEMORY: Final = 2000

_ENDS: Final = (*EDGES[1:], inf)
_WIDTHS: Final = tuple(end - begin for begin, end in pairwise(EDGES))
_ZEROS: Final = [0.0] * len(EDGES)
# The prior's weight, in completions per bin. From a tenth to a half scored within 0.03 of each other.
_WEIGHT: Final = 0.25
_STALE: Final = 1 / 32  # the part of all notes that a curve may lack
_MOST: Final = 1e300  # so that no sum of what is imported overflows
# Seconds up to which the prior hazard 1 / (age + typical) of an export is about flat. For others it is `TYPICAL_SECONDS`: with
# 3 an unlearned schedule has at most 0.42 of the lag of tenacity's exponential at as many requests; with 0 up to 0.65.
_TYPICAL_EXPORT: Final = 60.0

#: Bins of age, with seconds in each.
Bins: TypeAlias = list[tuple[int, float]]


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

    def age_at(self, risk: float) -> float:
        """Return the age in seconds up to which the hazard sums up to *risk*."""
        at = bisect_right(self.risks, risk) - 1
        return EDGES[at] + (risk - self.risks[at]) / self.rates[at]

    def risk(self, age: float) -> float:
        """Return the hazard summed up from age 0 to *age* seconds."""
        # Written out, since a decision compares a hundred of them.
        at = bisect_right(EDGES, age) - 1 if age > 0 else 0
        return self.risks[at] + self.rates[at] * (age - EDGES[at])

    def age_worth(self, price: float, after: float, latest: float) -> float:
        """Return the age from which on a look saves *price* seconds of lag, at most *latest*."""
        if price <= 0:
            return after
        risk, begin, at = 0.0, after, bisect_right(EDGES, max(after, 0.0)) - 1
        while begin < latest:
            rate = self.rates[at]
            end = min(latest, _ENDS[at])
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
    notes: int = 0
    drawn: int = 0  # notes when the curve was thrown away last

    def note(self, survived: Bins, ended: Bins, curve: Curve) -> bool:
        """Count what a look found out; return whether the curve is to be drawn anew.

        Args:
            survived: The bins of age in which the job went on running.
            ended: The bins in one of which it ended; none while it runs.
            curve: What these share the completion by.
        """
        for at, seconds in survived:
            self.exposure[at] += seconds
        if ended:
            # One step of expectation-maximisation: the bins share the completion by their chance of holding it.
            total, left = 0.0, 1.0
            for at, seconds in ended:
                total += curve.rates[at] * seconds
            for at, seconds in ended:
                share = curve.rates[at] * seconds / total
                self.events[at] += share
                self.exposure[at] += seconds * (left - share / 2)
                left -= share
            self.seen += 1
            if self.seen > MEMORY:
                self.events = [value / 2 for value in self.events]
                self.exposure = [value / 2 for value in self.exposure]
                self.seen, self.notes, self.drawn = self.seen / 2, self.notes // 2, 0
        self.notes += 1
        stale = self.notes - self.drawn > self.notes * _STALE
        if stale:
            self.curve, self.drawn = None, self.notes
        return stale

    def add(self, other: _Counts) -> None:
        """Count what was counted elsewhere, too."""
        self.events = [a + b for a, b in zip(self.events, other.events, strict=True)]
        self.exposure = [a + b for a, b in zip(self.exposure, other.exposure, strict=True)]
        self.seen += other.seen
        self.curve = None


class Durations:
    """The durations of jobs, learned per kind and, where enough were seen, per source (the template or project copied).

    Clients that share connections share one.

    Attributes:
        revision: While it is the same, `curve` returns the same for each key.
    """

    def __init__(self) -> None:
        self.revision: int = 0
        self._counts: OrderedDict[str, _Counts] = OrderedDict()  # in the order of use

    def observe(
        self,
        kind: str | None,
        after: float,
        before: float,
        source: str | None = None,
        *,
        finished: bool,
        known_start: bool = True,
        since: float = 0.0,
    ) -> None:
        """Learn from a look at a job. All looks at it are to be told, in their order.

        Args:
            kind: The kind of the job, if it is known.
            after: The age in seconds at which it was last known to be running.
            before: The age in seconds at which it was looked at.
            source: The gid of what is copied or instantiated, if it is known.
            finished: Whether it had finished.
            known_start: Whether ages are since its start, or only since it was first asked for.
            since: The age in seconds from which on it was watched; had it ended earlier, nobody would have told.
        """
        after = max(after, 0.0)
        before = max(before, after + 1e-6)  # a look is never quite at once; nothing divides by zero
        first, last = bisect_right(EDGES, after) - 1, bisect_right(EDGES, before) - 1
        if first == last and not finished:
            return  # noted when it leaves its bin, or ends in it
        survived = _bins(max(EDGES[first], min(since, after)), after if finished else EDGES[last])
        ended = _bins(after, before) if finished else []
        keys = _keys(kind, source, known_start)
        # Kind and source share a completion by the best guess at this job, all kinds together by their own.
        curve = best = _prior(TYPICAL_SECONDS)
        if finished:
            curve = self.curve(keys[0])
            best = self.curve(self.key_for(kind, source, known_start=known_start))
        for key in keys:
            self.revision += self._of(key).note(survived, ended, curve)
            curve = best

    def key_for(self, kind: str | None, source: str | None = None, *, known_start: bool = True) -> str:
        """Return the key of the counts that say most about such a job, for `curve`; *known_start* as in `observe`."""
        own, name = _keys(kind, source, known_start)[-1], kind or ANY_KIND
        if own == name:
            return name
        counts, others = self._counts.get(own), self._counts.get(name)
        # Before enough of them were seen, others of their kind are the better guess, even if theirs are other ages.
        enough = ENOUGH if known_start else 0 if others is None else min(ENOUGH, others.seen)
        return own if (0 if counts is None else counts.seen) >= enough else name

    def end_age(
        self,
        kind: str | None,
        share: float,
        *,
        age: float = 0.0,
        source: str | None = None,
        known_start: bool = True,
    ) -> float | None:
        """Return the age by which a *share* of the jobs has ended that are still running at *age*.

        Args:
            kind: The kind of the job, if it is known.
            share: Between 0 and 1: 0.5 for the median.
            age: The age of the job in seconds.
            source: The gid of what is copied or instantiated, if it is known.
            known_start: Whether ages are since its start, or only since it was first asked for.

        Returns:
            The age in seconds; ``None`` if too few ends of that kind were seen to say: 20, and 100 for 0.99.
        """
        needed = max(ENOUGH, round(1 / (1 - share)))
        if kind is None:
            return None
        for name in (_keys(kind, source, known_start)[-1], kind):
            counts = self._counts.get(name)
            if counts is not None and counts.seen >= needed:
                curve = self.curve(name)
                return curve.age_at(curve.risk(age) - log1p(-share))
        return None

    def curve(self, key: str) -> Curve:
        """Return the hazards under a *key* that `key_for` returned."""
        counts = self._counts.get(key)
        if counts is not None and counts.curve is not None:
            return counts.curve
        # A source that is new is expected to be like its kind, a kind that is new like the prior.
        kind, slash, _ = key.partition("/")
        prior = self.curve(kind) if slash else _prior(_TYPICAL_EXPORT if "export" in key else TYPICAL_SECONDS)
        if counts is None:
            return prior
        rates: list[float] = []
        for events, exposure, expected in zip(counts.events, counts.exposure, prior.rates, strict=True):
            rates.append((_WEIGHT + events) / (_WEIGHT / expected + exposure))
        counts.curve = Curve.from_rates(tuple(rates))
        return counts.curve

    def merge(self, other: Durations) -> None:
        """Add what *other* has seen, such as the export of another process."""
        for key, counts in other._counts.items():
            self._of(key).add(counts)
        self.revision += 1

    def to_dict(self) -> dict[str, Any]:
        """Return everything learned as JSON: completions and seconds watched, per kind and bin of age.

        The names of kinds whose ages are since jobs were first asked for begin with a question mark.
        """
        return {
            "version": VERSION,
            "kinds": {
                key: {
                    "events": [round(value, 6) for value in counts.events],
                    "exposure": [round(value, 6) for value in counts.exposure],
                }
                for key, counts in self._counts.items()
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return what `to_dict` wrote, from its *data*.

        Raises:
            ValueError: it is of another version or damaged; the message says where.
        """
        version = _mapping(data, "durations").get("version")
        if isinstance(version, bool) or version not in range(1, VERSION + 1):
            raise ValueError(f"durations have version {version!r}; this library reads 1 to {VERSION}")
        read = cls()
        for key, counts in _mapping(data.get("kinds"), "kinds").items():
            if not isinstance(key, str) or not key:
                raise ValueError(f"kinds must have names, not {key!r}")
            lists = _mapping(counts, f"kinds[{key!r}]")
            events = _numbers(lists.get("events"), f"kinds[{key!r}].events")
            exposure = _numbers(lists.get("exposure"), f"kinds[{key!r}].exposure")
            read._of(key).add(_Counts(events, exposure, sum(events)))
        return read

    def _of(self, key: str) -> _Counts:
        """Return what is counted under a key, to be added to."""
        counts = self._counts.get(key)
        if counts is not None:
            self._counts.move_to_end(key)
            return counts
        counts = self._counts[key] = _Counts()
        if len(self._counts) > REMEMBERED:
            del self._counts[next((key for key in self._counts if "/" in key), next(iter(self._counts)))]
        return counts


@lru_cache(REMEMBERED)
def _keys(kind: str | None, source: str | None, known_start: bool) -> tuple[str, ...]:
    """Return the keys of all counts that such a job is counted in, the widest first."""
    prefix = "" if known_start else FIRST_SEEN
    if not kind:
        return (prefix + ANY_KIND,)
    keys = prefix + ANY_KIND, prefix + kind
    return (*keys, f"{kind}/{source}") if source and known_start else keys


def _bins(begin: float, end: float) -> Bins:
    """Return the bins of age between two ages."""
    at, bins = bisect_right(EDGES, begin) - 1, Bins()
    while begin < end:
        stop = min(end, _ENDS[at])
        bins.append((at, stop - begin))
        begin, at = stop, at + 1
    return bins


def _mapping(value: object, what: str) -> Mapping[object, object]:
    if not isinstance(value, Mapping):
        raise ValueError(f"{what} must be a mapping, not {type(value).__name__}")
    return cast("Mapping[object, object]", value)


def _numbers(value: object, what: str) -> list[float]:
    if not isinstance(value, list | tuple) or len(cast("list[object]", value)) != len(EDGES):
        raise ValueError(f"{what} must be a list of {len(EDGES)} numbers")
    for number in cast("list[object]", value):
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < _MOST:
            raise ValueError(f"{what} must hold finite numbers of at least 0, not {number!r}")
    return [float(number) for number in cast("list[float]", value)]
