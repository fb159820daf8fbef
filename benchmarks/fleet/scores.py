"""The two tables of the fleet: every policy against the physical limit, and our defaults."""

from __future__ import annotations

from policies import Policy, defaults, policies
from runs import HEADER, Result, average, least, run
from workload import Scenario


#: Who keeps below the quota by itself, so that one run may stand for all limiters.
POLITE = ("ours", "exponential + shared limiter")


def scored(scenarios: list[Scenario], seeds: list[int], chosen: str | None) -> None:
    """Print every policy's score: a look is never too dear."""
    print("\n== Scored: a look is never too dear (lag_price=0)")
    print(
        "   later: mean lag of the jobs after the first 200 to end; other policies than ours: first seed only"
    )
    for scenario in scenarios:
        _table(scenario, policies(scenario), seeds, chosen)


def by_default(scenarios: list[Scenario], seeds: list[int], chosen: str | None) -> None:
    """Print how our client does as it comes: a request is worth 0.1 s of lag."""
    print("\n== Defaults (lag_price=0.1)")
    for scenario in scenarios:
        _table(scenario, defaults(scenario), seeds[:1], chosen)


def _table(scenario: Scenario, contenders: dict[str, Policy], seeds: list[int], chosen: str | None) -> None:
    limits = ", ".join(f"{least(scenario.name, seed):.2f}" for seed in seeds)
    print(f"\n{scenario.name}: {scenario.what}; seeds {seeds}; limit {limits} s")
    print(HEADER)
    for name, policy in contenders.items():
        if chosen is not None and chosen not in name:
            continue
        ours = name.startswith("ours")
        for models, result in _under_all(
            scenario, policy, seeds if ours else seeds[:1], polite=name in POLITE or ours
        ):
            print(result.row(name, models), flush=True)


def _under_all(
    scenario: Scenario, policy: Policy, seeds: list[int], *, polite: bool
) -> list[tuple[str, Result]]:
    """Return the runs under each limiter, or the one that stands for all because nothing was refused."""
    if polite:
        together = average([run(scenario, seed, policy, "ABC") for seed in seeds])
        if not together.rejected:
            return [("ABC", together)]
    return [(model, average([run(scenario, seed, policy, model) for seed in seeds])) for model in "ABC"]
