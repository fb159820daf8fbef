"""How much of everything: enough to tell, or just enough to see that it runs."""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen(kw_only=True)
class Sizes:
    """Sizes of all benchmarks.

    Attributes:
        rounds: Turns of each peer, of which the median counts.
        crews: How often the processes of the requests are started anew, for as many rounds each.
        requests: Requests of one turn. ``decodes``: answers read in one turn.
        waits: How many waits are parked, from few to many; ``wait_rounds`` turns each.
        quiet_seconds: How long they are seen to do nothing.
        looks: Looks whose processor time is measured.
        watched: Waits during which stalls are measured, for ``watch_seconds``.
        starts: How often each command is started.
    """

    rounds: int
    crews: int
    requests: int
    decodes: int
    waits: tuple[int, ...]
    wait_rounds: int
    quiet_seconds: float
    looks: int
    watched: int
    watch_seconds: float
    starts: int


FULL: Final = Sizes(
    rounds=9,
    crews=14,
    requests=400,
    decodes=4_000,
    waits=(1_000, 10_000),
    wait_rounds=3,
    quiet_seconds=1.0,
    looks=6_000,
    watched=10_000,
    watch_seconds=15.0,
    starts=15,
)
SMOKE: Final = Sizes(
    rounds=1,
    crews=1,
    requests=50,
    decodes=50,
    waits=(50,),
    wait_rounds=1,
    quiet_seconds=0.1,
    looks=50,
    watched=50,
    watch_seconds=0.3,
    starts=1,
)
