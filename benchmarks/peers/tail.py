"""How long the loop stands still while many jobs are watched: lateness of a callback due every millisecond."""

from __future__ import annotations

import asyncio
import gc
from time import perf_counter, process_time
from typing import Final, Literal

import attrs
from adapters import LOOP, OURS, TENACITY, Peer
from crowd import crowd
from request import read_jobs
from server import Looks, local_asana
from sizes import Sizes
from workers import worker


_PEERS: Final = (OURS, LOOP, TENACITY)
_TICK: Final = 1e-3
#: Seconds between two looks of one wait.
_GAP: Final = 5.0


@attrs.frozen
class Stalls:
    """Milliseconds for which the loop stood still.

    Attributes:
        longest: The longest stall. ``tail``: 99.9 % were no longer. ``typical``: half of them.
        own: The most processor time spent between two callbacks: other processes have no part in it.
        swept: The same without the garbage collector.
        collected: The longest pause of the garbage collector. ``collections``: how often it looked at everything.
        looks: Looks a second meanwhile.
    """

    longest: float
    tail: float
    typical: float
    own: float
    swept: float
    collected: float
    collections: int
    looks: float


class Collections:
    """The pauses of the garbage collector, by generation, in milliseconds."""

    def __init__(self) -> None:
        self.pauses: list[tuple[int, float]] = []
        self.spent = 0.0
        self._began = 0.0
        gc.callbacks.append(self._note)

    def _note(self, phase: Literal["start", "stop"], info: dict[str, int]) -> None:
        if phase == "start":
            self._began = process_time()
            return
        pause = (process_time() - self._began) * 1e3
        self.pauses.append((info["generation"], pause))
        self.spent += pause

    def stop(self) -> None:
        """End it."""
        gc.callbacks.remove(self._note)


class Pulse:
    """A callback every millisecond that notes how late it is."""

    def __init__(self) -> None:
        self.collections = Collections()
        self.late: list[float] = []
        self.own: list[float] = []
        self.swept: list[float] = []
        self._loop = asyncio.get_running_loop()
        self._spent = process_time()
        self._collected = 0.0
        self._handle = self._loop.call_later(_TICK, self._beat, perf_counter() + _TICK)

    def _beat(self, due: float) -> None:
        now, spent, collected = perf_counter(), process_time(), self.collections.spent
        own = (spent - self._spent) * 1e3
        self.late.append(max(0.0, now - due) * 1e3)
        self.own.append(own)
        self.swept.append(own - (collected - self._collected))
        self._spent, self._collected = spent, collected
        self._handle = self._loop.call_later(_TICK, self._beat, perf_counter() + _TICK)

    def stop(self) -> None:
        """End it."""
        self._handle.cancel()
        self.collections.stop()


async def watch(peer: Peer, origin: str, count: int, seconds: float) -> tuple[Stalls, Stalls, Stalls]:
    """Return the stalls while *count* waits begin, those of *seconds* of watching, and of as many after a freeze."""
    await read_jobs(peer, 200)
    async with Looks(origin) as looks:
        began, first, pulse = perf_counter(), await looks.count(), Pulse()
        async with crowd(peer, looks, count):
            pulse.stop()
            beginning = _stalls(pulse, (await looks.count() - first) / (perf_counter() - began))
            watching = await _watch_on(looks, seconds)
            gc.collect()
            gc.freeze()
            frozen = await _watch_on(looks, seconds)
            gc.unfreeze()
    return beginning, watching, frozen


async def _watch_on(looks: Looks, seconds: float) -> Stalls:
    began, first, pulse = perf_counter(), await looks.count(), Pulse()
    await asyncio.sleep(seconds)
    pulse.stop()
    return _stalls(pulse, (await looks.count() - first) / (perf_counter() - began))


def _stalls(pulse: Pulse, looks: float) -> Stalls:
    late = sorted(pulse.late)
    return Stalls(
        longest=late[-1],
        tail=late[int(len(late) * 0.999)],
        typical=late[len(late) // 2],
        own=max(pulse.own),
        swept=max(pulse.swept),
        collected=max((pause for _, pause in pulse.collections.pauses), default=0.0),
        collections=sum(generation == 2 for generation, _ in pulse.collections.pauses),
        looks=looks,
    )


def tail(sizes: Sizes) -> None:
    """Print the stalls of each peer."""
    with local_asana() as origin:
        print(f"\n== tail: {sizes.watched} waits, a look of each every {_GAP:g} s, milliseconds")
        print(
            f"{'':18}{'':10}{'longest':>9}{'own time':>10}{'without gc':>12}{'99.9 %':>8}{'half':>7}{'gc, longest':>13}{'gc, full':>10}"
            f"{'looks/s':>9}"
        )
        for name in _PEERS:
            with worker(name, f"{origin}/small", _GAP) as process:
                phases = process.do(watch, origin, sizes.watched, sizes.watch_seconds)
            for phase, stalls in zip(("beginning", "watching", "frozen"), phases, strict=True):
                print(
                    f"{name:18}{phase:10}{stalls.longest:9.1f}{stalls.own:10.1f}{stalls.swept:12.1f}{stalls.tail:8.1f}{stalls.typical:7.1f}"
                    f"{stalls.collected:13.1f}{stalls.collections:10}{stalls.looks:9.0f}"
                )
        print("frozen: after gc.freeze(). Target of ours, while watching: no stall over 20 ms")
