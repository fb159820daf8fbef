"""Watch fleets of jobs, in virtual time against the physical limit and on several machines that are killed.

python benchmarks/fleet                       all that is in virtual time, some ten minutes
python benchmarks/fleet --quick               one seed, and not the fleet of 4000 jobs
python benchmarks/fleet scored --scenario free --policy ours --seeds 1,2,3
python benchmarks/fleet disaster lag starts memory      the distributed worker, some eight minutes
python benchmarks/fleet chaos --minutes 30   kills, stops, cuts, restarts and failovers at random: what is lost, what twice
python benchmarks/fleet pace --waits 20000 --workers 4   a large pace: the first look, the budget used, what a look costs
python benchmarks/fleet many                  a hundred thousand starts put in at once
python benchmarks/fleet picture               draw benchmarks/lag.svg anew
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import sys
from collections.abc import Callable
from time import perf_counter
from typing import Final

from chaos import chaos
from distributed import WORKER_PARTS
from foreground import finding_out, shared, strangers
from large import large
from over_http import over_http
from pace import many, pace
from picture import picture
from scale import scale
from scores import by_default, scored
from single import single
from workload import SCENARIOS


#: Every policy on every fleet that is asked for.
TABLES: Final = {"scored": scored, "defaults": by_default}
#: What does not depend on the options.
OTHERS: Final[dict[str, Callable[[], None]]] = {
    "http": over_http,
    "strangers": strangers,
    "foreground": shared,
    "finding-out": finding_out,
    "single": single,
    "scale": scale,
    "large": large,
}
#: What needs Redis.
WORKERS: Final = {"chaos": chaos, **WORKER_PARTS, "pace": pace, "many": many}
NAMES: Final = (*TABLES, *OTHERS, *WORKERS, "picture")


def parse() -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="*", help=f"any of {', '.join(NAMES)}")
    tables = parser.add_argument_group("scored and defaults")
    tables.add_argument("--scenario", choices=SCENARIOS, help="only this fleet")
    tables.add_argument("--policy", help="only policies with this in their name, such as 'ours'")
    tables.add_argument("--seeds", default="1,2,3", help="comma-separated; the workloads are drawn with them")
    tables.add_argument("--quick", action="store_true", help="one seed, and not the fleet of 4000 jobs")
    workers = parser.add_argument_group(
        "the distributed worker", "Needs the extra 'worker' and redis-server."
    )
    workers.add_argument("--waits", type=int, default=500)
    workers.add_argument("--starts", type=int, default=100)
    workers.add_argument("--workers", type=int, default=3, help="machines")
    workers.add_argument("--per-minute", type=int, default=34_000, help="requests of 'pace'")
    workers.add_argument("--pending", type=int, default=10_000, help="waits of 'memory'")
    workers.add_argument("--minutes", type=float, default=30, help="of 'chaos'")
    workers.add_argument("--starts-per-second", type=float, default=1.0, help="of 'chaos'")
    workers.add_argument("--seed", type=int, default=1, help="of 'chaos'")
    options = parser.parse_args()
    unknown = set(options.what) - set(NAMES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    # Whoever chooses a fleet or a policy means the two tables.
    chosen = options.scenario is not None or options.policy is not None
    options.what = options.what or [*TABLES, *(() if chosen else OTHERS)]
    return options


def main() -> int:
    """Run what the command line asks for; the exit status says whether the workers lost nothing."""
    options = parse()
    seeds = [int(seed) for seed in options.seeds.split(",")][: 1 if options.quick else None]
    scenarios = [SCENARIOS[options.scenario]] if options.scenario else list(SCENARIOS.values())
    if options.quick and not options.scenario:
        scenarios = [scenario for scenario in scenarios if scenario.name != "paid"]
    print(f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}")
    began = perf_counter()
    good = True
    for name in options.what:
        if name in TABLES:
            TABLES[name](scenarios, seeds, options.policy)
        elif name in OTHERS:
            OTHERS[name]()
        elif name in WORKERS:
            print(f"\n== {name}", flush=True)
            met = asyncio.run(WORKERS[name](options))
            if not met:
                print("NOT GOOD")
            good = met and good
        else:
            picture()
    print(f"\n{perf_counter() - began:.0f} s")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
