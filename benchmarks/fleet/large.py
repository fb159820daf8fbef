"""A hundred thousand jobs in one monitor, against a thousand at a hundredth of the pace: the limit is the same."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Final

import attrs
from limit import limit
from policies import ours
from runs import Result, run
from workload import SCENARIOS, Scenario

from asana_jobs import PollPolicy, RateLimits


FEW: Final = 1000
MANY: Final = 100_000
#: Measurements of the few, of which the best counts: one takes a second.
ROUNDS: Final = 3
#: More than a pace of 100,000 a minute and a round trip of 0.15 s need: here the pace decides.
IN_FLIGHT: Final = 1000


def large() -> None:
    """Print both, each measured in a process of its own."""
    print(f"\n== {MANY} jobs in one monitor at {MANY} requests a minute, against {FEW} at {FEW}; defaults")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as processes:
        few = [processes.submit(measure, FEW).result() for _ in range(ROUNDS)]
        many = processes.submit(measure, MANY).result()
    print(
        f"{'jobs':>8} {'ends seen':>10} {'limit':>7} {'mean':>7} {'score':>6} {'looks/job':>10} {'a look':>8}"
    )
    for least, result in (min(few, key=lambda one: one[1].cpu), many):
        print(
            f"{result.jobs:>8} {result.detected:>10} {least:>7.2f} {result.mean:>7.2f} {result.score:>6.2f}"
            f" {result.per_job:>10.2f} {_look(result) * 1e6:>5.0f} us"
        )
    ratio = _look(many[1]) / min(_look(result) for _, result in few)
    print(f"processor time a look, benchmark's server and handing over included: {ratio:.2f}x; target <= 1.3")
    print("score: target <= 1.1")


def measure(jobs: int) -> tuple[float, Result]:
    """Return the limit of a burst of so many jobs at as many requests a minute, and how the monitor does."""
    scenario = attrs.evolve(_BURST, name=f"large {jobs}", jobs=jobs, per_minute=jobs)
    least = limit(scenario.draw(1), scenario)
    limits = RateLimits(requests_per_minute=jobs, reads_in_flight=IN_FLIGHT)
    return least, run(scenario, 1, ours(limits, PollPolicy()), "B", least=least)


_BURST: Final[Scenario] = SCENARIOS["burst1000"]


def _look(result: Result) -> float:
    return result.cpu / (result.per_job * result.jobs)
