"""The simulator as a program of its own, for any language's client."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from asana_jobs.testing._limits import SimulatorLimits
from asana_jobs.testing._simulator import AsanaSimulator
from asana_jobs.testing._state import load, save


_SECONDS_BETWEEN_SAVES = 1.0


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    speed: float = 1.0,
    state: Path | None = None,
    strict: bool = False,
    limits: SimulatorLimits | None = None,
    tokens: Collection[str] | None = None,
    started: Callable[[AsanaSimulator], None] | None = None,
) -> None:
    """Run a simulator until this is cancelled.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        seed: of everything random.
        speed: how much faster than their durations jobs run.
        state: file that keeps jobs across restarts; read if it exists, written every second and at
            the end.
        strict: know only what the state file holds.
        limits: what one token may do.
        tokens: the good tokens; None takes any.
        started: called once with the simulator when it listens.
    """
    simulator = AsanaSimulator(
        strict, host=host, port=port, seed=seed, speed=speed, limits=limits, tokens=tokens
    )
    async with keep(simulator, state):
        if started is not None:
            started(simulator)
        await asyncio.Event().wait()


@asynccontextmanager
async def keep(simulator: AsanaSimulator, state: Path | None) -> AsyncGenerator[AsanaSimulator, None]:
    """Run a simulator whose jobs are kept in a file across restarts.

    Args:
        simulator: one that does not run yet.
        state: the file; read if it exists, written every second and at the end. None keeps nothing.
    """
    _load_if_there(simulator, state)
    async with simulator:
        saving = None if state is None else asyncio.create_task(_keep_saving(simulator, state))
        try:
            yield simulator
        finally:
            if saving is not None:
                saving.cancel()
                await asyncio.wait([saving])
                if not saving.cancelled():
                    saving.result()


def _load_if_there(simulator: AsanaSimulator, state: Path | None) -> None:
    if state is not None and state.exists():
        load(simulator, state)


async def _keep_saving(simulator: AsanaSimulator, state: Path) -> None:
    saved = 0
    try:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_SAVES)
            # Nothing changes but by requests: without any there is nothing new to write.
            if len(simulator.requests) != saved:
                saved = len(simulator.requests)
                save(simulator, state)
    finally:
        save(simulator, state)


def connection_hints(simulator: AsanaSimulator) -> str:
    """What a person types to point a client at a simulator."""
    return (
        f"A local Asana is listening at {simulator.base_url}\n"
        f"Its status page is {simulator.origin}/ and its description {simulator.origin}/openapi.json\n\n"
        "Point a client at it:\n\n"
        f"  export ASANA_BASE_URL={simulator.base_url}\n"
        "  export ASANA_ACCESS_TOKEN=any-token-will-do\n\n"
        "Ctrl-C ends it."
    )
