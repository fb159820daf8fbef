"""`python -m asana_jobs.testing`: a local Asana in a terminal, until Ctrl-C."""

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from asana_jobs.testing.simulator.limits import SimulatorLimits
from asana_jobs.testing.simulator.simulator import AsanaSimulator
from asana_jobs.testing.simulator.state_file import connection_hints, serve


def _speed(text: str) -> float:
    speed = float(text)
    if not speed > 0:
        raise argparse.ArgumentTypeError("must be more than 0")
    return speed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m asana_jobs.testing", description="Run a local Asana.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port to listen on (a free one)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (%(default)s)")
    parser.add_argument("--speed", type=_speed, default=1.0, help="how much faster jobs run (%(default)s)")
    parser.add_argument("--state", type=Path, metavar="FILE", help="file that keeps jobs across restarts")
    parser.add_argument("--strict", action="store_true", help="know only what the state file holds")
    parser.add_argument(
        "--requests-per-minute", type=int, metavar="N", help="minute quota of a token, such as 150 (none)"
    )
    parser.add_argument(
        "--token", action="append", metavar="TOKEN", help="a good token; may be given several times (any)"
    )
    return parser


def _announce(simulator: AsanaSimulator) -> None:
    sys.stdout.write(f"{connection_hints(simulator)}\n")
    sys.stdout.flush()


async def _serve_until_told(arguments: argparse.Namespace) -> None:
    running = asyncio.ensure_future(
        serve(
            host=arguments.host,
            port=arguments.port,
            seed=arguments.seed,
            speed=arguments.speed,
            state=arguments.state,
            strict=arguments.strict,
            limits=SimulatorLimits(requests_per_minute=arguments.requests_per_minute),
            tokens=arguments.token,
            started=_announce,
        )
    )
    loop = asyncio.get_running_loop()
    told = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        told.append(signal.SIGHUP)  # the terminal was closed, and nobody has said `nohup`
    for name in told:
        # Where loops know no signals (Windows), Ctrl-C cancels the main task, which is as good.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(name, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a simulator as the command line says; the exit status."""
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve_until_told(_parser().parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
