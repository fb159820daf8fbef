"""Watch fleets of jobs in virtual time, ours and the usual ways, against the physical limit.

python benchmarks/fleet.py                      # everything, some ten minutes
python benchmarks/fleet.py --quick              # one seed, no 4000-job fleet
python benchmarks/fleet.py --part scored --scenario free --policy ours --seeds 1,2,3
"""

from __future__ import annotations

import argparse
import platform
from time import perf_counter
from typing import Final

from fleet_foreground import finding_out, shared, strangers
from fleet_http import over_http
from fleet_scale import scale
from fleet_scores import by_default, scored
from fleet_single import single
from fleet_workload import SCENARIOS


#: What does not depend on the options.
OTHERS: Final = {
    "http": over_http,
    "strangers": strangers,
    "foreground": shared,
    "finding-out": finding_out,
    "single": single,
    "scale": scale,
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=("scored", "defaults", *OTHERS), help="only this part")
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
        scored(scenarios, seeds, options.policy)
    if options.part in {None, "defaults"}:
        by_default(scenarios, seeds, options.policy)
    if options.scenario is None and options.policy is None:
        for name, part in OTHERS.items():
            if options.part in {None, name}:
                part()
    print(f"\n{perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
