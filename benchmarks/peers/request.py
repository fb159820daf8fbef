"""GETs per second of the client's processor time, 50 in flight, over real sockets."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from functools import partial
from itertools import product
from statistics import median
from time import process_time
from typing import Final

from adapters import HTTPX2, IN_FLIGHT, LOOP, OFFICIAL, OURS, RAW, Peer
from payloads import PAYLOADS, gid_of
from processes import MEMORY, use_memory
from server import local_asana
from sizes import Sizes
from turns import in_turns, ratios, spread
from workers import Worker, worker


_PEERS: Final = (OURS, RAW, LOOP, HTTPX2, OFFICIAL)
#: The part of a turn's requests that the slow make: what counts is the time of one.
_PARTS: Final = {HTTPX2: 0.2, OFFICIAL: 0.5}
_TARGETS: Final = {
    "small": {RAW: ">= 0.95", OFFICIAL: ">= 3.5"},
    "full": {RAW: ">= 0.90", OFFICIAL: ">= 3.5"},
}


async def read_jobs(peer: Peer, count: int) -> float:
    """Read *count* jobs; return the seconds of processor time of each."""
    await _read(peer, IN_FLIGHT)  # opens again what was closed while others had their turn
    began = process_time()
    await _read(peer, count)
    return (process_time() - began) / count


async def _read(peer: Peer, count: int) -> None:
    gids = map(gid_of, range(count))

    async def work() -> None:
        for gid in gids:
            await peer.get_job(gid)

    async with asyncio.TaskGroup() as group:
        for _ in range(IN_FLIGHT):
            group.create_task(work())


def _turn(workers: dict[str, Worker], count: int, name: str) -> float:
    return workers[name].do(read_jobs, round(count * _PARTS.get(name, 1.0)))


def _crew(base_url: str, sizes: Sizes) -> dict[str, list[float]]:
    # How fast a process is depends by a tenth on where its memory happens to lie, for as long as it lives.
    with ExitStack() as stack:
        workers = {name: stack.enter_context(worker(name, base_url)) for name in _PEERS}
        return in_turns(_PEERS, partial(_turn, workers, sizes.requests), sizes.rounds)


def request(sizes: Sizes) -> None:
    """Print what a request costs each peer, in both ways to get memory."""
    with local_asana() as origin:
        for memory, payload in product(MEMORY, PAYLOADS):
            use_memory(memory)
            crews = [_crew(f"{origin}/{payload}", sizes) for _ in range(sizes.crews)]
            taken = {name: [cost for crew in crews for cost in crew[name]] for name in _PEERS}
            print(
                f"\n== request: GETs per processor second, {IN_FLIGHT} in flight, {payload}"
                f" ({len(PAYLOADS[payload])} bytes), {memory}"
            )
            print(
                f"   ratios: median of {sizes.rounds} rounds of each of {sizes.crews} sets of processes,"
                " and the middle half of them"
            )
            for name, costs in taken.items():
                line = f"{name:26}{median(costs) * 1e6:7.0f} us"
                if name != OURS:
                    line += f"   {OURS} does {spread(ratios(taken, name, OURS)):24} times as many"
                    line += f"   target {_TARGETS[payload][name]}" if name in _TARGETS[payload] else ""
                print(line)
