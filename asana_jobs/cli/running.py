"""Running a command's coroutine, and stopping it: Ctrl-C once stops in order, twice leaves at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from asana_jobs.cli.complaint import say
from asana_jobs.cli.exit_status import ExitStatus


def run_async(main: Callable[[], Coroutine[Any, Any, ExitStatus]]) -> ExitStatus:
    """Run *main* to its end and return its exit status.

    The first Ctrl-C (or SIGTERM) cancels it. A command that can say how to go on catches that and returns
    `ExitStatus.INTERRUPTED`; the others end here.
    """
    received: list[signal.Signals] = []

    async def stoppable() -> ExitStatus:
        with _stopping(received):
            return await main()

    try:
        return asyncio.run(stoppable())
    except asyncio.CancelledError:
        if not received:
            raise
        return _left_by(received[0])


def _left_by(number: signal.Signals) -> ExitStatus:
    return ExitStatus.TERMINATED if number is signal.SIGTERM else ExitStatus.LEFT


@contextmanager
def _stopping(received: list[signal.Signals]) -> Generator[None, None, None]:
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()

    def stop(number: int, _: FrameType | None) -> None:
        received.append(signal.Signals(number))
        if len(received) > 1 or task is None:
            say("\n")
            os._exit(_left_by(received[-1]))
        loop.call_soon_threadsafe(task.cancel)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
