"""Blocking work in threads, none of which is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar


P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run *work* in a thread and return what it does, to its end even if cancelled; see `wait_shielded`."""
    return await wait_shielded(start_in_thread(work, *args, **kwargs))


def start_in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Start *work* in a thread. Unlike a task, the future is not cancelled when the loop is shut down."""
    return asyncio.get_running_loop().run_in_executor(None, lambda: work(*args, **kwargs))


async def wait_shielded(running: asyncio.Future[T]) -> T:
    """Wait for the work of a thread, to its end even if cancelled: afterwards, its files may be closed."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        running.exception()  # asked for, so that asyncio does not report it as forgotten
        raise cancelled
    return running.result()
