"""The tables of the fleet: every policy against the limit with the whole budget, and our client as it comes."""

from __future__ import annotations

from policies import Policy, as_it_comes, loops, policies
from runs import HEADER, Result, average, least_lag, run
from workload import Scenario


#: Who keeps below the quota by itself, so that one run may stand for all limiters.
POLITE = ("ours", "exponential + shared limiter")


def scored(scenarios: list[Scenario], seeds: list[int], chosen: str | None) -> None:
    """Print every policy's score: the whole budget goes into looking, and a look is never too dear."""
    print("\n== Scored: the whole budget for looking (lag_price=0)")
    print(
        "   later: mean lag of the jobs after the first 200 to end; other policies than ours: first seed only"
    )
    for scenario in scenarios:
        _table(scenario, policies(scenario), seeds, chosen)


def by_default(scenarios: list[Scenario], seeds: list[int], chosen: str | None) -> None:
    """Print how our client does as it comes, whatever is known of the jobs, beside the loops people write."""
    print("\n== Defaults: RateLimits.paid() or .free(), and RateLimits() (nothing said); PollPolicy()")
    scores: dict[str, dict[str, str]] = {}
    refused: dict[str, dict[str, str]] = {}
    for scenario in scenarios:
        rows = _table(scenario, as_it_comes(scenario) | loops(), seeds, chosen)
        for name, runs in rows.items():
            within = ["livelock" if result.livelock else f"{result.score:.2f}" for _, result in runs]
            scores.setdefault(name, {})[scenario.name] = " ".join(dict.fromkeys(within))
            counts = [f"{result.rejected}" for _, result in runs]
            refused.setdefault(name, {})[scenario.name] = " ".join(dict.fromkeys(counts))
    _summary("score; where it differs, under A, B and C", scores, scenarios)
    _summary(
        f"429s in all runs (ours: seeds {seeds}); where it differs, under A, B and C", refused, scenarios
    )


def _summary(what: str, cells: dict[str, dict[str, str]], scenarios: list[Scenario]) -> None:
    print(f"\n{what}")
    print(f"{'':<34}" + "".join(f"{scenario.name:>24}" for scenario in scenarios))
    for name, by_scenario in cells.items():
        print(f"{name:<34}" + "".join(f"{by_scenario[scenario.name]:>24}" for scenario in scenarios))


def _table(
    scenario: Scenario, contenders: dict[str, Policy], seeds: list[int], chosen: str | None
) -> dict[str, list[tuple[str, Result]]]:
    limits = ", ".join(f"{least_lag(scenario.name, seed):.2f}" for seed in seeds)
    print(f"\n{scenario.name}: {scenario.what}; seeds {seeds}; limit {limits} s")
    print(HEADER)
    rows: dict[str, list[tuple[str, Result]]] = {}
    for name, policy in contenders.items():
        if chosen is not None and chosen not in name:
            continue
        ours = name.startswith("ours")
        rows[name] = _under_all(scenario, policy, seeds if ours else seeds[:1], polite=name in POLITE or ours)
        for models, result in rows[name]:
            print(result.row(name, models), flush=True)
    return rows


def _under_all(
    scenario: Scenario, policy: Policy, seeds: list[int], *, polite: bool
) -> list[tuple[str, Result]]:
    """Return the runs under each limiter, or the one that stands for all because nothing was refused."""
    if polite:
        together = average([run(scenario, seed, policy, "ABC") for seed in seeds])
        if not together.rejected:
            return [("ABC", together)]
    return [(model, average([run(scenario, seed, policy, model) for seed in seeds])) for model in "ABC"]
