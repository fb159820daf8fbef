"""A machine that was booted 100 seconds ago: with this folder first in PYTHONPATH, `time.monotonic` says so.

Event loops, locks and queues take their time from there, looptime hands it back to the loop after each test, and
whoever takes "0.0" for "long ago" fails. All processes below the first one share its clock, as on a real machine.
"""

# ruff: noqa: INP001 - not a package: a folder for PYTHONPATH

import importlib.util
import os
import sys
import time
from importlib.machinery import PathFinder
from pathlib import Path


_SECONDS_SINCE_BOOT = 100
_BOOTED = "YOUNG_CLOCK_BOOTED_AT"  # nanoseconds of the real clock, for child processes
_HERE = Path(__file__).parent


def _make_young() -> None:
    real_ns = time.monotonic_ns
    started = real_ns() - _SECONDS_SINCE_BOOT * 10**9
    booted = int(os.environ.setdefault(_BOOTED, str(started)))

    def monotonic_ns() -> int:
        return real_ns() - booted

    def monotonic() -> float:
        return monotonic_ns() / 1e9

    time.monotonic_ns = monotonic_ns
    time.monotonic = monotonic


def _run_the_one_this_hides() -> None:
    """Run the `sitecustomize` that Python would have found without this folder, if there is one."""
    rest = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE.resolve()]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


_make_young()
_run_the_one_this_hides()
