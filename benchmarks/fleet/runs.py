"""One run of one policy over one recorded workload, and what is printed of it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import cache
from math import inf
from time import process_time
from typing import Final

import attrs
from in_process import ROUND_TRIP, FleetServer, virtually
from limit import limit
from policies import Fleet, Policy
from workload import SCENARIOS, Scenario


#: Seconds after the last job's end at which a run is cut off.
CUT_OFF: Final = 900.0
#: Refused requests after which a run is cut off if not even half of the jobs that have ended were detected.
HOPELESS: Final = 40_000
#: Jobs that have to end before what was learned counts as learned.
LEARNED: Final = 200

HEADER: Final = (
    f"{'policy':<34} {'limiter':<7} {'detected':>9} {'mean':>7} {'p95':>7} {'max':>7} {'req/job':>8}"
    f" {'429s':>7} {'score':>6} {'later':>7}"
)


@attrs.frozen(kw_only=True)
class Result:
    """How one run went.

    Attributes:
        jobs: How many there were.
        detected: How many were seen to have finished.
        mean: Seconds from a job's end to its detection.
        p95: The 95th percentile of those seconds.
        worst: The longest.
        late_mean: The mean of the jobs after the first 200 to end.
        per_job: Requests for each job.
        rejected: Requests that were answered 429.
        score: Mean lag, less half a round trip, over the least that is possible.
        cpu: Seconds of processor time.
    """

    jobs: int
    detected: int
    mean: float
    p95: float
    worst: float
    late_mean: float
    per_job: float
    rejected: int
    score: float
    cpu: float

    @property
    def livelock(self) -> bool:
        """Whether not even half of the jobs were ever detected."""
        return self.detected < self.jobs / 2

    def row(self, name: str, models: str) -> str:
        """Return one line of the table."""
        if self.livelock:
            lags = f"{'livelock':>9} {'':>7} {'':>7} {'':>7}"
        else:
            lags = f"{self.detected:>9} {self.mean:>7.2f} {self.p95:>7.2f} {self.worst:>7.1f}"
        score = "" if self.livelock else f"{self.score:.2f}"
        later = "" if self.livelock or self.late_mean == inf else f"{self.late_mean:.2f}"
        return f"{name:<34} {' '.join(models):<7} {lags} {self.per_job:>8.1f} {self.rejected:>7} {score:>6} {later:>7}"


@cache
def least_lag(name: str, seed: int) -> float:
    """Return the least mean lag that a workload can be watched with."""
    scenario = SCENARIOS[name]
    return limit(scenario.draw(seed), scenario)


def run(scenario: Scenario, seed: int, policy: Policy, models: str, *, least: float | None = None) -> Result:
    """Run a policy over a workload, with the limiters of *models*; *least*: its limit, if it is known."""
    starts = scenario.draw(seed)
    fleet = Fleet(scenario, starts, FleetServer(starts, scenario.per_minute, models))

    async def main() -> None:
        watching = asyncio.ensure_future(policy(fleet))
        end = max(start.end for start in starts) + CUT_OFF
        while not watching.done() and not _hopeless(fleet, end):
            await asyncio.wait([watching], timeout=10)
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching

    began = process_time()
    virtually(main)
    spent = process_time() - began
    return result(fleet, least_lag(scenario.name, seed) if least is None else least, spent)


def _hopeless(fleet: Fleet, end: float) -> bool:
    now = asyncio.get_running_loop().time()
    ended = sum(start.end <= now for start in fleet.starts)
    return now >= end or (fleet.server.rejected > HOPELESS and len(fleet.found) < ended / 2)


def result(fleet: Fleet, least: float, cpu: float) -> Result:
    """Return how a run went, against the *least* mean lag that is possible."""
    by_end = sorted(fleet.starts, key=lambda start: start.end)
    lags = [fleet.found[start.gid] - start.end for start in by_end if start.gid in fleet.found]
    late = [fleet.found[start.gid] - start.end for start in by_end[LEARNED:] if start.gid in fleet.found]
    ordered = sorted(lags)
    mean = _mean(lags)
    return Result(
        jobs=len(fleet.starts),
        detected=len(lags),
        mean=mean,
        p95=ordered[int(0.95 * len(ordered))] if ordered else inf,
        worst=ordered[-1] if ordered else inf,
        late_mean=_mean(late),
        per_job=fleet.server.requests / len(fleet.starts),
        rejected=fleet.server.rejected,
        score=(mean - ROUND_TRIP / 2) / least,
        cpu=cpu,
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else inf


def average(results: list[Result]) -> Result:
    """Return the mean of several runs; the worst lag is the worst of all."""
    first, count = results[0], len(results)
    return Result(
        jobs=first.jobs,
        detected=sum(one.detected for one in results) // count,
        mean=sum(one.mean for one in results) / count,
        p95=sum(one.p95 for one in results) / count,
        worst=max(one.worst for one in results),
        late_mean=sum(one.late_mean for one in results) / count,
        per_job=sum(one.per_job for one in results) / count,
        rejected=sum(one.rejected for one in results),
        score=sum(one.score for one in results) / count,
        cpu=sum(one.cpu for one in results) / count,
    )
