"""Waiting for something that another process does."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until *condition* holds; `TimeoutError` if that takes too long."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # it happens in another process
            await asyncio.sleep(0.02)
