"""Fleets to watch: jobs with a start, a length and a kind, drawn with a seed."""

from __future__ import annotations

import random
from math import erfc, exp, log, pi, sqrt
from typing import Final

import attrs


@attrs.frozen
class Law:
    """Lognormal durations: half of the jobs take less than *median* seconds."""

    median: float
    spread: float

    def draw(self, source: random.Random) -> float:
        """Return the length of one job in seconds."""
        return self.median * exp(self.spread * source.gauss(0, 1))

    def hazard(self, age: float) -> float:
        """Return the completions per second of a job that is still running at *age*."""
        z = log(age / self.median) / self.spread
        return exp(-z * z / 2) / sqrt(2 * pi) / (age * self.spread) / max(1e-300, erfc(z / sqrt(2)) / 2)


@attrs.frozen
class Start:
    """One job: when it starts, how long it takes, what kind it is."""

    gid: str
    at: float
    seconds: float
    kind: str

    @property
    def end(self) -> float:
        """When it ends."""
        return self.at + self.seconds


@attrs.frozen(kw_only=True, eq=False)
class Scenario:
    """A fleet of jobs and the quota of the token that watches it.

    Attributes:
        name: How the command line calls it.
        what: A line about it.
        per_minute: The quota.
        jobs: How many there are.
        rate: Starts per second, at random; 0 is all at once.
        kinds: The law of each kind.
        shares: The share of the jobs that is of each kind.
    """

    name: str
    what: str
    per_minute: int
    jobs: int
    rate: float
    kinds: dict[str, Law]
    shares: tuple[float, ...]

    def draw(self, seed: int) -> list[Start]:
        """Return the jobs in the order of their starts; the same for the same seed."""
        source = random.Random(f"{self.name}/{seed}")
        at = 0.0
        starts: list[Start] = []
        for number in range(self.jobs):
            at += source.expovariate(self.rate) if self.rate else 0.0
            kind = source.choices(tuple(self.kinds), self.shares)[0]
            starts.append(Start(str(1000 + number), at, self.kinds[kind].draw(source), kind))
        return starts


_MIX: Final = {"duplicate_task": Law(3.0, 0.4), "duplicate_project": Law(60.0, 0.6)}
_ONE: Final = {"duplicate_project": Law(8.0, 1.0)}

#: The scenarios of polling-anchors.md 7.9; the mix is 80 % around 3 s and 20 % around 60 s.
SCENARIOS: Final = {
    scenario.name: scenario
    for scenario in (
        Scenario(
            name="paid",
            what="4 starts/s, 4000 jobs, 80/20 mix, 1500/min",
            per_minute=1500,
            jobs=4000,
            rate=4.0,
            kinds=_MIX,
            shares=(0.8, 0.2),
        ),
        Scenario(
            name="free",
            what="0.5 starts/s, 1200 jobs, 80/20 mix, 150/min",
            per_minute=150,
            jobs=1200,
            rate=0.5,
            kinds=_MIX,
            shares=(0.8, 0.2),
        ),
        Scenario(
            name="burst300",
            what="300 jobs at once, 80/20 mix, 150/min",
            per_minute=150,
            jobs=300,
            rate=0.0,
            kinds=_MIX,
            shares=(0.8, 0.2),
        ),
        Scenario(
            name="burst200",
            what="200 jobs at once, 80/20 mix, 1500/min",
            per_minute=1500,
            jobs=200,
            rate=0.0,
            kinds=_MIX,
            shares=(0.8, 0.2),
        ),
        Scenario(
            name="burst1000",
            what="1000 jobs of one kind at once, median 8 s, 1500/min",
            per_minute=1500,
            jobs=1000,
            rate=0.0,
            kinds=_ONE,
            shares=(1.0,),
        ),
    )
}
