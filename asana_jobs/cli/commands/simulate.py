"""``asana-jobs simulate``."""

from __future__ import annotations

from pathlib import Path  # cyclopts reads it at run time
from typing import Annotated

from cyclopts import Parameter

from asana_jobs.cli.commands.options import Output
from asana_jobs.cli.exit_status import ExitStatus
from asana_jobs.cli.spans import span_option


def simulate(
    *,
    port: Annotated[
        int, Parameter(metavar="N", help="The port to listen on; 0 takes a free one. Example: --port 8123")
    ] = 0,
    duration: Annotated[
        float | None,
        Parameter(
            converter=span_option,
            metavar="TIME",
            help="How long most jobs take; without it, a second or two. Example: --duration 30s",
        ),
    ] = None,
    failing: Annotated[
        float,
        Parameter(
            metavar="PART", show_default=False, help="Part of the jobs that fail. Example: --failing 0.1"
        ),
    ] = 0.0,
    latency: Annotated[
        float,
        Parameter(
            converter=span_option,
            metavar="TIME",
            show_default=False,
            help="How long every request takes. Example: --latency 200ms",
        ),
    ] = 0.0,
    requests_per_minute: Annotated[
        int | None,
        Parameter(
            metavar="N",
            help="The limit of each token, beyond which it answers 429; without it, there is none. "
            "Example: --requests-per-minute 150",
        ),
    ] = None,
    seed: Annotated[
        int,
        Parameter(metavar="N", help="Of everything random: the same seed draws the same. Example: --seed 7"),
    ] = 0,
    speed: Annotated[
        float,
        Parameter(
            metavar="N", show_default=False, help="How many times faster jobs run. Example: --speed 20"
        ),
    ] = 1.0,
    state: Annotated[
        Path | None,
        Parameter(
            metavar="FILE",
            help="A file that keeps the jobs when it is stopped and started again. Example: --state asana.json",
        ),
    ] = None,
    output: Output = "auto",
) -> ExitStatus:
    """Run a local Asana to try things on, until Ctrl-C.

    It listens on this machine only, knows every gid, and takes any token.

    For example:

      asana-jobs simulate --port 8123 --duration 30s --failing 0.1
    """
    from asana_jobs.cli.running import run_async  # noqa: PLC0415  # not needed to print a help page
    from asana_jobs.cli.simulating import make_simulator, simulate_until_stopped  # noqa: PLC0415  # the same

    simulator = make_simulator(
        port=port,
        duration=duration,
        failing=failing,
        latency=latency,
        requests_per_minute=requests_per_minute,
        seed=seed,
        speed=speed,
    )
    return run_async(lambda: simulate_until_stopped(simulator, state, output))
