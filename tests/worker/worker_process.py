"""A worker in a process of its own, to be killed: what a user's program looks like, with a clock that may be wrong."""

import argparse
import asyncio
import importlib
from datetime import datetime, timedelta, tzinfo
from typing import Any

from asana_jobs import RateLimits
from asana_jobs.gates import SystemClock
from asana_jobs.worker import _engine, run_worker


async def set_clock_wrong(seconds: float, drift: float) -> None:
    """Have everything that asks what time it is be told a wrong one, as a wrong system clock would.

    It is *seconds* off from the start, and another *drift* seconds when the worker has run for two.
    """
    off = [seconds]
    asyncio.get_running_loop().call_later(2, off.append, drift)

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(seconds=sum(off))

    for room in ("docket", "execution", "worker", "dependencies._perpetual"):
        module: Any = importlib.import_module(f"docket.{room}")
        module.datetime = Wrong
    right = SystemClock.now
    SystemClock.now = lambda self: right(self) + timedelta(seconds=sum(off))  # type: ignore[method-assign]


async def main() -> None:
    """Work, with what the command line says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("queue")
    parser.add_argument("base_url")
    parser.add_argument("--skew", type=float, default=0.0)
    parser.add_argument("--drift", type=float, default=0.0)
    parser.add_argument("--drain", type=float, default=25.0)
    options = parser.parse_args()
    await set_clock_wrong(options.skew, options.drift)
    _engine.REDELIVERY = 3.0  # type: ignore[misc]  # so that a test need not wait for 15 seconds
    await run_worker(
        options.url,
        queue=options.queue,
        token="test-token",
        base_url=options.base_url,
        limits=RateLimits.paid(),
        concurrency=4,
        drain=options.drain,
    )


if __name__ == "__main__":
    asyncio.run(main())
