"""Blocking work in threads that nobody leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar


P = ParamSpec("P")
T = TypeVar("T")


def start_off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Run *work* in a thread. Unlike a task, what is returned is not cancelled when the loop is shut down."""
    return asyncio.get_running_loop().run_in_executor(None, lambda: work(*args, **kwargs))


async def off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run *work* in a thread; see `outlast`."""
    return await outlast(start_off_loop(work, *args, **kwargs))


async def outlast(running: asyncio.Future[T]) -> T:
    """Wait for a thread's work, to its end even if cancelled: afterwards, what it works on may be closed."""
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
