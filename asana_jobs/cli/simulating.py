"""What `simulate` does."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from asana_jobs.cli.complaint import UsageError, checking_arguments, say
from asana_jobs.cli.events import event, to_line
from asana_jobs.cli.exit_status import ExitStatus
from asana_jobs.cli.stdout import emit
from asana_jobs.testing import AsanaSimulator, Lognormal, SimulatorLimits, keep


if TYPE_CHECKING:
    from pathlib import Path

    from asana_jobs.cli.commands.options import OutputFormat

#: Seconds that half of the jobs stay below, when nothing else is said.
_USUAL = 1.5
#: Any token will do; this one says so.
_TOKEN = "any-token-will-do"  # noqa: S105  # not a secret


def make_simulator(
    *,
    port: int,
    duration: float | None,
    failing: float,
    latency: float,
    requests_per_minute: int | None,
    seed: int,
    speed: float,
) -> AsanaSimulator:
    """Return the simulator that the options describe."""
    if not 0 <= port <= 65535:
        raise UsageError(f"--port is a number from 0 to 65535, not {port}")
    with checking_arguments():
        return AsanaSimulator(
            port=port,
            seed=seed,
            speed=speed,
            latency=latency,
            durations=Lognormal(_USUAL if duration is None else duration, failing=failing),
            limits=SimulatorLimits(requests_per_minute=requests_per_minute),
        )


async def simulate_until_stopped(
    simulator: AsanaSimulator, state: Path | None, output: OutputFormat
) -> ExitStatus:
    """Say where the simulator listens, and run it until Ctrl-C, which is how it is meant to end."""
    try:
        with checking_arguments():
            running = keep(simulator, state)
        async with running:
            _announce(simulator, output)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                say(
                    f"\n{len(simulator.requests)} requests were answered, {len(simulator.started)} jobs started.\n"
                )
    except OSError as error:
        raise UsageError(f"cannot listen there: {error.strerror or error}") from error
    return ExitStatus.SUCCEEDED


def _announce(simulator: AsanaSimulator, output: OutputFormat) -> None:
    if output == "table" or (output == "auto" and sys.stdout.isatty()):
        emit(
            f"A local Asana is listening; {simulator.origin}/ shows its state.\n"
            "Point a client at it:\n\n"
            f"  export ASANA_BASE_URL={simulator.base_url}\n"
            f"  export ASANA_ACCESS_TOKEN={_TOKEN}\n\n"
            "Ctrl-C ends it.\n"
        )
    else:
        emit(to_line(event("listening", base_url=simulator.base_url, origin=simulator.origin, token=_TOKEN)))
