"""What it costs to be listened to: a log, a callback, OpenTelemetry, against nobody."""

from __future__ import annotations

from contextlib import ExitStack
from statistics import median
from typing import Final

from adapters import LOGGED, OURS, TOLD, TRACED
from server import local_asana
from sizes import Sizes
from turns import ratios, spread
from wait import Look, look
from workers import worker


_PEERS: Final = (OURS, LOGGED, TOLD, TRACED)


def telemetry(sizes: Sizes) -> None:
    """Print what a look and a ``get_job`` cost each."""
    count = sizes.waits[0]
    looked: dict[str, list[Look]] = {name: [] for name in _PEERS}
    with local_asana() as origin, ExitStack() as stack:
        workers = {name: stack.enter_context(worker(name, f"{origin}/small", 0.0)) for name in _PEERS}
        for _ in range(sizes.wait_rounds):
            for name in _PEERS:
                looked[name].append(workers[name].do(look, origin, count, sizes.looks // 2))
    print(f"\n== telemetry: {count} waits; processor time, median of {sizes.wait_rounds} rounds")
    for what in ("look", "get_job"):
        costs = {
            name: [float(getattr(each, what)) for each in all_of_it] for name, all_of_it in looked.items()
        }
        for name in _PEERS:
            line = f"{what:9}{name:28}{median(costs[name]) * 1e6:7.0f} us"
            print(line if name == OURS else f"{line}   {spread(ratios(costs, name, OURS))} times {OURS}")
