"""``asana-jobs simulate``."""

from __future__ import annotations

from pathlib import Path  # cyclopts reads it at run time
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from asana_jobs import testing
from asana_jobs.cli.errors import ExitStatus, UsageError, checking_arguments, say
from asana_jobs.cli.events import event, to_line
from asana_jobs.cli.options import FILE, FLAG, NUMBER, TIME, Output
from asana_jobs.cli.program import run_async
from asana_jobs.cli.terminal import emit, for_people


if TYPE_CHECKING:
    from asana_jobs.cli.options import OutputFormat
    from asana_jobs.testing import AsanaSimulator


#: Half of the jobs are shorter, when nothing else is said.
_USUAL_SECONDS: Final = 1.5


def simulate(
    *,
    host: Annotated[str, Parameter(metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, NUMBER] = 0,
    duration: Annotated[float | None, TIME] = None,
    failing: Annotated[float, Parameter(metavar="PART", show_default=False)] = 0.0,
    latency: Annotated[float, TIME, Parameter(show_default=False)] = 0.0,
    requests_per_minute: Annotated[int | None, NUMBER] = None,
    seed: Annotated[int, NUMBER] = 0,
    speed: Annotated[float, NUMBER, Parameter(show_default=False)] = 1.0,
    token: Annotated[tuple[str, ...], FLAG, Parameter(metavar="TOKEN")] = (),
    strict: Annotated[bool, FLAG] = False,
    state: Annotated[Path | None, FILE] = None,
    output: Output = "auto",
) -> ExitStatus:
    """Run a local Asana to try things on, until Ctrl-C.

    It listens on this machine only, knows every gid, and takes any token, unless it is told otherwise. A browser shows
    its state at the address it prints.

    For example:

      asana-jobs simulate --port 8123 --duration 30s --failing 0.1

    Args:
        host: The address to listen on; 0.0.0.0 lets other machines and containers in, whose clients need
            ASANA_ALLOW_PLAIN_HTTP=1. Example: --host 0.0.0.0
        port: The port to listen on; 0 takes a free one. Example: --port 8123
        duration: How long most jobs take; without it, a second or two. Example: --duration 30s
        failing: Part of the jobs that fail. Example: --failing 0.1
        latency: How long every request takes. Example: --latency 200ms
        requests_per_minute: The limit of each token, beyond which it answers 429; without it, there is none.
            Example: --requests-per-minute 150
        seed: Of everything random: the same seed draws the same. Example: --seed 7
        speed: How many times faster jobs run. Example: --speed 20
        token: A good token; without it, any is. Repeat it for more. Example: --token a-token
        strict: Know only what the state file holds, instead of every gid. Example: --strict --state asana.json
        state: A file that keeps the jobs when it is stopped and started again. Example: --state asana.json
    """
    if not 0 <= port <= 65535:
        raise UsageError(f"--port is a number from 0 to 65535, not {port}")
    with checking_arguments():
        simulator = testing.AsanaSimulator(
            strict,
            host=host,
            port=port,
            tokens=token or None,
            seed=seed,
            speed=speed,
            latency=latency,
            durations=testing.Lognormal(_USUAL_SECONDS if duration is None else duration, failing=failing),
            limits=testing.SimulatorLimits(requests_per_minute=requests_per_minute),
        )

    async def serve() -> ExitStatus:
        import asyncio
        from contextlib import AsyncExitStack

        async with AsyncExitStack() as stack:
            try:
                with checking_arguments():
                    await stack.enter_async_context(testing.keep(simulator, state))
            except OSError as error:
                raise UsageError(f"cannot listen there: {error.strerror or error}") from error
            _announce(simulator, output)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:  # which is how it is meant to end
                answered, started = len(simulator.requests), len(simulator.started)
                say(f"\n{answered} requests were answered, {started} jobs started.\n")
        return ExitStatus.SUCCEEDED

    return run_async(serve)


def _announce(simulator: AsanaSimulator, output: OutputFormat) -> None:
    if for_people(output):
        emit(f"{testing.connection_hints(simulator)}\n")
    else:
        token = "any-token-will-do"  # noqa: S105  # it says so itself
        emit(to_line(event("listening", base_url=simulator.base_url, origin=simulator.origin, token=token)))
