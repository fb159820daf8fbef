"""What a wait costs: memory while it is parked, and processor time of each look."""

from __future__ import annotations

import asyncio
import gc
from statistics import median
from time import process_time
from typing import Final

import attrs
from adapters import AZURE, HTTPX2, LOOP, OFFICIAL, OURS, RAW, TENACITY, Peer
from crowd import crowd, resident
from request import read_jobs
from server import Looks, local_asana
from sizes import Sizes
from turns import ratios
from workers import worker


_PEERS: Final = (OURS, RAW, LOOP, TENACITY, AZURE, OFFICIAL, HTTPX2)
#: Waits beyond which only some take part: the others need minutes for so many, and the pool of httpx2 goes through all
#: who queue for a connection, for each that gets one.
_FEW: Final = 1000
_MANY: Final = {OURS, RAW, LOOP}
#: Seconds between two looks of a parked wait: longer than anybody measures.
_PARKED: Final = 3600.0


@attrs.frozen
class Parked:
    """One of many parked waits.

    Attributes:
        size: Bytes resident. ``begun``: seconds of processor time until it was parked, its first look included.
        idle: Seconds of processor time for each second that it is parked.
        get_job: Seconds of processor time of a ``get_job`` beside so many parked waits: the garbage collector goes
            through them all.
    """

    size: float
    begun: float
    idle: float
    get_job: float


@attrs.frozen
class Look:
    """Seconds of processor time of one look of a wait, and of one ``get_job`` while nobody waits."""

    look: float
    get_job: float


async def park(peer: Peer, origin: str, count: int, quiet: float, requests: int) -> Parked:
    """Park *count* waits."""
    await read_jobs(peer, 200)
    async with Looks(origin) as looks:
        gc.collect()
        before, began = resident(), process_time()
        async with crowd(peer, looks, count):
            begun = process_time() - began
            await asyncio.sleep(quiet / 4)
            gc.collect()
            size = resident() - before
            began = process_time()
            await asyncio.sleep(quiet)
            idle = process_time() - began
            get_job = await read_jobs(peer, requests)
    return Parked(size / count, begun / count, idle / quiet / count, get_job)


async def look(peer: Peer, origin: str, count: int, enough: int) -> Look:
    """Have *count* waits look as often as they can; measure *enough* looks."""
    before = await read_jobs(peer, enough // 4)
    async with Looks(origin) as looks:
        async with crowd(peer, looks, count):
            first, began = await looks.count(), process_time()
            done = await looks.until(first + enough) - first
            spent = (process_time() - began) / done
        after = await read_jobs(peer, enough // 4)
    return Look(spent, (before + after) / 2)


def wait(sizes: Sizes) -> None:
    """Print what waits cost each peer."""
    with local_asana() as origin:
        for count in sizes.waits:
            rounds = range(sizes.wait_rounds)
            peers = [name for name in _PEERS if count <= _FEW or name in _MANY]
            parked: dict[str, list[Parked]] = {name: [] for name in peers}
            looked: dict[str, list[Look]] = {name: [] for name in peers}
            for _ in rounds:
                for name in peers:
                    # A process for each: what others left in the allocator would be filled first.
                    with worker(name, f"{origin}/small", _PARKED) as process:
                        parked[name].append(
                            process.do(park, origin, count, sizes.quiet_seconds, sizes.looks // 4)
                        )
                    with worker(name, f"{origin}/small", 0.0) as process:
                        looked[name].append(process.do(look, origin, count, sizes.looks))
            _show(count, parked, looked, sizes.wait_rounds)


def _show(count: int, parked: dict[str, list[Parked]], looked: dict[str, list[Look]], rounds: int) -> None:
    print(f"\n== wait: {count} at once, median of {rounds}")
    print(
        f"{'':24}{'resident':>14}{'to begin':>12}{'standing':>15}{'a look':>10}"
        f"{'/ get_job alone':>18}{'/ beside them':>16}{'/ raw aiohttp':>15}{'/ naive loop':>15}"
    )
    costs = {name: [each.look for each in all_of_it] for name, all_of_it in looked.items()}
    for name, standing in parked.items():
        size = median(each.size for each in standing) / 1024
        begun = median(each.begun for each in standing) * 1e6
        idle = median(each.idle for each in standing) * 1e9
        alone = median(each.look / each.get_job for each in looked[name])
        beside = median(one.look / other.get_job for one, other in zip(looked[name], standing, strict=True))
        print(
            f"{name:24}{size:10.2f} KiB{begun:9.0f} us{idle:10.1f} ns/s{median(costs[name]) * 1e6:7.0f} us"
            f"{alone:18.2f}{beside:16.2f}{median(ratios(costs, name, RAW)):15.2f}{median(ratios(costs, name, LOOP)):15.2f}"
        )
    print(f"{'target of ours':24}{'< 5 KiB':>14}{'':37}{'<= 1.20':>18}")
