"""Waiting for something that another process does, or another task."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from asana_jobs.worker import JobQueue, Result, Steps


#: What makes workers, with the arguments of `run_worker`.
Working = Callable[..., AbstractAsyncContextManager[None]]
#: What opens the steps of workers, with the arguments of `Steps`.
Opening = Callable[..., Awaitable[Steps]]


async def until(condition: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait until *condition* holds; `TimeoutError` if that takes too long."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # it happens in another process
            await asyncio.sleep(0.02)


async def read(queue: JobQueue, count: int, seconds: float = 300.0) -> list[Result]:
    """Return the next *count* results."""
    found: list[Result] = []
    async with asyncio.timeout(seconds):
        async for result in queue.results():
            found.append(result)
            if len(found) == count:
                break
    return found
