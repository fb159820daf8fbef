"""Time, sleep and randomness behind one protocol: whoever owns the event loop owns time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Final, Protocol


NO_LOOP: Final = (
    "no event loop of asyncio is running here: run this inside of `async def main()` and start it with "
    "`asyncio.run(main())`; a program on trio runs it in a thread of its own, with `asyncio.run`"
)


def running_loop() -> asyncio.AbstractEventLoop:
    """Return asyncio's running loop, or raise a `RuntimeError` that says how to have one."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(NO_LOOP) from None


class Timer(Protocol):
    """A call that was scheduled and can be called off."""

    def cancel(self) -> None:
        """Call it off; harmless when it is too late."""
        ...


class Clock(Protocol):
    """The source of time and randomness for everything in the library. Seconds throughout."""

    def monotonic(self) -> float:
        """Return seconds that never go backwards, from an arbitrary start."""
        ...

    def now(self) -> datetime:
        """Return the wall-clock time, aware, in UTC: for what outlives the process."""
        ...

    def random(self) -> float:
        """Return a number from 0 up to, but not including, 1."""
        ...

    async def sleep(self, delay: float) -> None:
        """Wait *delay* seconds."""
        ...

    def timeout(self, delay: float | None) -> AbstractAsyncContextManager[object]:
        """Bound a block to *delay* seconds, as `asyncio.timeout` does; ``None`` does not bound it."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* in *delay* seconds."""
        ...


class SystemClock:
    """The running event loop's own clock, which tests can make virtual.

    Threads whose loops differ in their times, as uvloop's do, need a clock each; those of asyncio do not.

    Args:
        seed: The seed of its random numbers; ``None`` takes one from the system.
    """

    _loop: asyncio.AbstractEventLoop | None = None

    def __init__(self, seed: int | None = None) -> None:
        self._random = random.Random(seed)  # noqa: S311  # jitter is no secret

    def monotonic(self) -> float:
        """Return the loop's time in seconds."""
        # To ask for the running loop is a call to the kernel (`getpid`), up to Python 3.11.
        loop = self._loop
        if loop is None or not loop.is_running():
            loop = self._loop = running_loop()
        return loop.time()

    def now(self) -> datetime:
        """Return the wall-clock time in UTC."""
        return datetime.now(UTC)

    def random(self) -> float:
        """Return a number from 0 up to 1."""
        return self._random.random()

    async def sleep(self, delay: float) -> None:
        """Sleep *delay* seconds on the loop."""
        await asyncio.sleep(delay)

    def timeout(self, delay: float | None) -> AbstractAsyncContextManager[object]:
        """Bound a block to *delay* seconds on the loop's clock; ``None`` does not bound it."""
        return asyncio.timeout(delay)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* on the loop in *delay* seconds."""
        return asyncio.get_running_loop().call_later(delay, callback)
