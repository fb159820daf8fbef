"""Watch fleets of jobs in virtual time, ours and the usual ways, against the physical limit.

    python benchmarks/fleet.py                      # everything, some ten minutes
    python benchmarks/fleet.py --quick              # one seed, no 4000-job fleet
    python benchmarks/fleet.py --part scored --scenario free --policy ours --seeds 1,2,3
"""

from __future__ import annotations

import argparse
import platform
from time import perf_counter

import fleet_scores
from fleet_workload import SCENARIOS


PARTS = ("scored", "defaults")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, help="only this part")
    parser.add_argument("--scenario", choices=SCENARIOS, help="only this fleet")
    parser.add_argument("--policy", help="only policies with this in their name, such as 'ours'")
    parser.add_argument("--seeds", default="1,2,3", help="comma-separated; the workloads are drawn with them")
    parser.add_argument("--quick", action="store_true", help="one seed, and not the fleet of 4000 jobs")
    options = parser.parse_args()
    seeds = [int(seed) for seed in options.seeds.split(",")][: 1 if options.quick else None]
    scenarios = [SCENARIOS[options.scenario]] if options.scenario else list(SCENARIOS.values())
    if options.quick and not options.scenario:
        scenarios = [scenario for scenario in scenarios if scenario.name != "paid"]
    print(f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}")
    began = perf_counter()
    if options.part in {None, "scored"}:
        fleet_scores.scored(scenarios, seeds, options.policy)
    if options.part in {None, "defaults"}:
        fleet_scores.by_default(scenarios, seeds, options.policy)
    print(f"\n{perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
