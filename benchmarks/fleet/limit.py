"""The least mean lag that a fleet can be watched with: the largest of three lower bounds.

Two are of the recorded workload (polling-anchors.md 7.6). The third, a linear programme, is of the laws alone: jobs
of a kind are alike, so that a way of looking is a flow of them from one look to the next. Of those last looked at
at one moment, which is when their flow begins, only those cost a request at the next that were still running; what is
lost in between is the lag of those that ended. Whoever knows the laws and not the outcomes can do no better, however
cleverly, and with many jobs nearly as well. In a steady fleet all moments are alike, and one price of a request says
what the programme would.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from importlib import import_module
from math import exp, inf, sqrt
from typing import Any, Final

import numpy as np
from workload import Law, Scenario, Start


# They have no types.
optimize: Any = import_module("scipy.optimize")
sparse: Any = import_module("scipy.sparse")
special: Any = import_module("scipy.special")

#: Seconds between two points of the integral.
STEP: Final = 0.05
#: Jobs that last longer than all but one in so many do not count.
LONGEST: Final = 3000
#: Moments of looks in the linear programme: while there are more jobs than requests, and afterwards.
CROWDED, QUIET = 80, 160
#: Looks of a steady fleet, by age: one each so many seconds, or each such part of the age.
FINE: Final = (0.05, 0.01)
#: A look costs no more seconds of lag than this in any fleet here.
DEAREST: Final = 10.0


def limit(starts: list[Start], scenario: Scenario) -> float:
    """Return the least mean lag in seconds, the return leg of the round trip not included."""
    rate = scenario.per_minute / 60
    return max(_clairvoyant(starts, rate), _aware(starts, scenario.kinds, rate), programme(scenario))


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


@cache
def programme(scenario: Scenario) -> float:
    """Return the optimum of the linear programme for the laws of a scenario."""
    solve, moments = (_steady, _ages(scenario)) if scenario.rate else (_burst, _moments(scenario))
    # What looks at given moments lose by not coming between them grows with their distance: without any, it is this.
    return 2 * solve(scenario, moments) - solve(scenario, moments[::2])


def _losses(law: Law, ages: Any) -> tuple[Any, Any]:
    """Return, for looks at *ages*, who still runs at each, and the lag lost between each two (first row, then column)."""
    scaled = np.log(np.maximum(ages, 1e-12) / law.median) / law.spread
    ended = special.ndtr(scaled)
    # The integral of `ended` from 0 on: of a lognormal it is known.
    mean = law.median * exp(law.spread**2 / 2)
    summed = ages * ended - mean * special.ndtr(scaled - law.spread)
    lost = summed[None, :] - summed[:, None] - ended[:, None] * (ages[None, :] - ages[:, None])
    return 1 - ended, lost


def _longest(laws: Iterable[Law]) -> float:
    z = float(special.ndtri(1 - 1 / LONGEST))
    return max(law.median * exp(law.spread * z) for law in laws)


def _moments(scenario: Scenario) -> Any:
    crowded = 1.4 * 60 * scenario.jobs / scenario.per_minute
    later = np.geomspace(crowded, max(_longest(scenario.kinds.values()), 2 * crowded), QUIET + 1)
    return np.concatenate([np.linspace(0, crowded, CROWDED + 1), later[1:]])


def _ages(scenario: Scenario) -> Any:
    (fine, part), ages = FINE, [0.0]
    while ages[-1] < _longest(scenario.kinds.values()):
        ages.append(ages[-1] + max(fine, part * ages[-1]))
    return np.array(ages)


def _burst(scenario: Scenario, moments: Any) -> float:
    """Solve it for jobs that all start at once: in no step are there more looks than the quota has."""
    count = len(moments)
    froms, tos = np.triu_indices(count, 1)  # a flow from each look to each later one
    flows = np.arange(len(froms))
    costs: list[Any] = []
    looks: list[Any] = []
    balances: list[Any] = []
    for law, share in zip(scenario.kinds.values(), scenario.shares, strict=True):
        running, lost = _losses(law, moments)
        costs.append(share * lost[froms, tos])
        looks.append(sparse.coo_array((scenario.jobs * share * running[froms], (tos - 1, flows))))
        ends = (np.concatenate([froms, tos]), np.concatenate([flows, flows]))
        signs = np.repeat([1.0, -1.0], len(flows))
        balances.append(sparse.coo_array((signs, ends), shape=(count, len(flows))).tocsr()[:-1])
    source = np.zeros(count - 1)
    source[0] = 1.0
    found = optimize.linprog(
        np.concatenate(costs),
        A_ub=sparse.hstack(looks).tocsr(),
        b_ub=scenario.per_minute / 60 * np.diff(moments),
        A_eq=sparse.block_diag(balances).tocsr(),
        b_eq=np.tile(source, len(balances)),
        method="highs",
    )
    if not found.success:
        raise ArithmeticError(f"{scenario.name}: {found.message}")
    return float(found.fun)


def _steady(scenario: Scenario, ages: Any) -> float:
    """Solve it for a fleet without beginning or end, by the price of a request (its only dual variable)."""
    kinds = [
        (share, *_losses(law, ages))
        for law, share in zip(scenario.kinds.values(), scenario.shares, strict=True)
    ]
    return _priced(kinds, scenario.per_minute / 60 / scenario.rate)


def alone(laws: list[tuple[float, Law]], requests: list[float]) -> list[float]:
    """Return the least lag of a job watched alone whose law is a mixture, for each number of requests for a job."""
    ages = np.array([0.0, *np.geomspace(FINE[0], _longest([law for _, law in laws]), 900)])
    parts = [(share, *_losses(law, ages)) for share, law in laws]
    running: Any = sum(share * running for share, running, _ in parts)
    lost: Any = sum(share * lost for share, _, lost in parts)

    def least(step: int) -> list[float]:
        kind = (1.0, running[::step], lost[::step, ::step])
        return [_priced([kind], budget) for budget in requests]

    return [2 * fine - coarse for fine, coarse in zip(least(1), least(2), strict=True)]


def _priced(kinds: list[tuple[float, Any, Any]], budget: float) -> float:
    """Return the least lag at so many requests for a job of *kinds*: share, who still runs, lag lost."""

    def least(price: float) -> float:
        """Return the lag of the best looks, each of which costs its price, less the price of the budget."""
        total = -price * budget
        for share, running, lost in kinds:
            future = np.zeros(len(running))
            for at in range(len(running) - 2, -1, -1):
                future[at] = np.min(lost[at, at + 1 :] + future[at + 1 :]) + price * running[at]
            total += share * future[0]
        return float(total)

    def most(price: float) -> float:
        return -least(price)

    return -float(optimize.minimize_scalar(most, bounds=(0.0, DEAREST), method="bounded").fun)
