"""How long the program and the package take to be there, against the interpreter and what they stand on.

The commands are run in turn, again and again, so that a busy machine is equally busy for all of them. What counts
is the processor's time. The package itself imports nothing until a name of it is used; the client is such a name.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final

from sizes import Sizes
from turns import ratios


_NOTHING: Final = "python -c pass"
_CYCLOPTS: Final = "import cyclopts"
_AIOHTTP: Final = "import aiohttp"
_PACKAGE: Final = "import asana_jobs"
_CLIENT: Final = "from asana_jobs import AsanaClient"
_HELP: Final = "asana-jobs --help"
_COMMAND_HELP: Final = "asana-jobs wait --help"
_COMMANDS: Final = {
    _NOTHING: ["-c", "pass"],
    _CYCLOPTS: ["-c", _CYCLOPTS],
    _AIOHTTP: ["-c", _AIOHTTP],
    _PACKAGE: ["-c", _PACKAGE],
    _CLIENT: ["-c", _CLIENT],
    _HELP: ["-m", "asana_jobs", "--help"],
    _COMMAND_HELP: ["-m", "asana_jobs", "wait", "--help"],
}
_AGAINST: Final = (_NOTHING, _CYCLOPTS, _AIOHTTP)


def measure(rounds: int) -> dict[str, list[float]]:
    """Return the seconds of processor time of each command, round by round."""
    taken: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    with TemporaryDirectory() as compiled:
        # As with an installed package, nothing is compiled, even where Python is told to keep no bytecode.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled, "PYTHONDONTWRITEBYTECODE": ""}
        for turn in range(rounds + 1):
            for name, arguments in _COMMANDS.items():
                began = _spent()
                subprocess.run(  # noqa: S603  # our own words
                    [sys.executable, *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=environment,
                    check=True,
                )
                if turn:  # the first round compiles
                    taken[name].append(_spent() - began)
    return taken


def _spent() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def startup(sizes: Sizes) -> None:
    """Print what each command takes."""
    taken = measure(sizes.starts)
    print(f"\n== startup: {sizes.starts} rounds; processor time; ratios are medians of the rounds")
    print(f"{'':36}{'median ms':>10}{'least ms':>10}" + "".join(f"{f'/ {other}':>20}" for other in _AGAINST))
    for name, seconds in taken.items():
        against = "".join(f"{median(ratios(taken, name, other)):>20.2f}" for other in _AGAINST)
        print(f"{name:36}{median(seconds) * 1000:>10.0f}{min(seconds) * 1000:>10.0f}{against}")
    # What the package is made of is loaded when it is asked for, so the second is what a program pays.
    for name, other in ((_PACKAGE, _NOTHING), (_CLIENT, _AIOHTTP)):
        added = median(ours - theirs for ours, theirs in zip(taken[name], taken[other], strict=True))
        print(f"{name} adds {added * 1000:.0f} ms to {other}; target < 60 ms")
    print(f"{_HELP}: target 0.25 of {_AIOHTTP}, or 1.5 of {_CYCLOPTS}")
