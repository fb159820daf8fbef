"""How long the program and the package take to be there, against the interpreter and what they stand on.

    python benchmarks/startup.py --rounds 15

The commands are run in turn, again and again, so that a busy machine is equally busy for all of them. A ratio is
taken within each round; the median over the rounds is printed, and the smallest time of each.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from statistics import median
from typing import Final


_NOTHING: Final = "python -c pass"
_CYCLOPTS: Final = "import cyclopts"
_AIOHTTP: Final = "import aiohttp"
_PACKAGE: Final = "import asana_jobs"
_HELP: Final = "asana-jobs --help"
_COMMAND_HELP: Final = "asana-jobs wait --help"
_COMMANDS: Final = {
    _NOTHING: ["-c", "pass"],
    _CYCLOPTS: ["-c", "import cyclopts"],
    _AIOHTTP: ["-c", "import aiohttp"],
    _PACKAGE: ["-c", "import asana_jobs"],
    _HELP: ["-m", "asana_jobs", "--help"],
    _COMMAND_HELP: ["-m", "asana_jobs", "wait", "--help"],
}
_AGAINST: Final = (_NOTHING, _CYCLOPTS, _AIOHTTP)


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each command, round by round."""
    taken: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for turn in range(rounds + 1):
        for name, arguments in _COMMANDS.items():
            began = time.perf_counter()
            subprocess.run(  # noqa: S603  # our own words
                [sys.executable, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                check=True,
            )
            if turn:  # the first round fills the caches
                taken[name].append(time.perf_counter() - began)
    return taken


def ratio(taken: dict[str, list[float]], name: str, other: str) -> float:
    """Return how much longer *name* takes than *other*: the median of the rounds."""
    return median(ours / theirs for ours, theirs in zip(taken[name], taken[other], strict=True))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15, help="how often each is run (%(default)s)")
    taken = measure(parser.parse_args().rounds)
    print(f"{'':24}{'median ms':>10}{'least ms':>10}" + "".join(f"{f'/ {other}':>20}" for other in _AGAINST))
    for name, seconds in taken.items():
        ratios = "".join(f"{ratio(taken, name, other):>20.2f}" for other in _AGAINST)
        print(f"{name:24}{median(seconds) * 1000:>10.0f}{min(seconds) * 1000:>10.0f}{ratios}")
    against = min(ratio(taken, _HELP, _AIOHTTP) / 0.25, ratio(taken, _HELP, _CYCLOPTS) / 1.5)
    verdict = "within" if against <= 1 else "beyond"
    print(f"\n{_HELP} is {verdict} its bound: 0.25 of the import of aiohttp, or 1.5 of that of cyclopts.")


if __name__ == "__main__":
    main()
