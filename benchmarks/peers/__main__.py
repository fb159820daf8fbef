"""Ours beside the others, in turns, over real sockets: what a request, an answer, a wait and a start cost.

python benchmarks/peers                  everything, some fifteen minutes
python benchmarks/peers request decode   only these
python benchmarks/peers --smoke          everything in tiny sizes: that it runs, and nothing else
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Callable
from time import perf_counter
from typing import Final

import attrs
from decode import decode
from processes import KEPT, use_memory
from request import request
from sizes import FULL, SMOKE, Sizes
from startup import startup
from tail import tail
from telemetry import telemetry
from wait import wait


BENCHMARKS: Final[dict[str, Callable[[Sizes], None]]] = {
    "request": request,
    "decode": decode,
    "wait": wait,
    "startup": startup,
    "tail": tail,
    "telemetry": telemetry,
}


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/peers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("benchmark", nargs="*", help=f"any of {', '.join(BENCHMARKS)}; all if none is named")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes")
    parser.add_argument("--rounds", type=int, help="turns of each peer")
    parser.add_argument("--waits", type=int, help="so many waits at once, and no other number of them")
    options = parser.parse_args()
    unknown = set(options.benchmark) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    sizes = SMOKE if options.smoke else FULL
    if options.rounds:
        sizes = attrs.evolve(sizes, rounds=options.rounds, wait_rounds=options.rounds, starts=options.rounds)
    if options.waits:
        sizes = attrs.evolve(sizes, waits=(options.waits,), watched=options.waits)
    print(f"{platform.python_implementation()} {platform.python_version()} on {platform.machine()}")
    began = perf_counter()
    for name in options.benchmark or BENCHMARKS:
        use_memory(KEPT)
        BENCHMARKS[name](sizes)
    print(f"\n{perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
