"""A clock that jumps: hours of polling in milliseconds, without a socket."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from asana_jobs._client.clock import Timer


#: Loop turns without anybody asking the clock for anything, after which everybody is taken to be waiting.
QUIET_TURNS: Final = 20


class FakeTimer:
    """Something scheduled on a `FakeClock`."""

    __slots__ = ("callback", "cancelled")

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] = callback
        self.cancelled: bool = False

    def cancel(self) -> None:
        """Call it off."""
        self.cancelled = True


class FakeClock:
    """Virtual time for tests without sockets: when everybody waits, it jumps to the next thing due.

    Use it with `ScriptedTransport`. With real sockets on loopback, such as the simulator's, use a virtual event
    loop instead (the ``looptime`` package), since this clock cannot see the network.

    Args:
        start: The wall-clock time at the beginning, in UTC.
        autojump: Jump by itself; without it, move time with `advance`.
        seed: Makes the random numbers, and so the jitter, repeatable.

    Attributes:
        sleeps: Every wait asked for with `sleep` or `call_later`, in seconds, in order, when it was served.
    """

    def __init__(
        self, *, start: datetime = datetime(2026, 1, 1, tzinfo=UTC), autojump: bool = True, seed: int = 0
    ) -> None:
        self.sleeps: list[float] = []
        self._start = start
        self._time = 0.0
        self._autojump = autojump
        self._random = random.Random(seed)  # noqa: S311  # repeatable on purpose
        self._scheduled: list[tuple[float, int, FakeTimer]] = []
        self._order = itertools.count()
        self._quiet = 0
        self._watching: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return f"<FakeClock at {self._time:g} s, {len(self._scheduled)} waiting>"

    def monotonic(self) -> float:
        """Return the virtual seconds since the start."""
        return self._time

    def now(self) -> datetime:
        """Return the virtual wall-clock time."""
        return self._start + timedelta(seconds=self._time)

    def random(self) -> float:
        """Return the next number from the seed, from 0 up to 1."""
        return self._random.random()

    async def sleep(self, delay: float) -> None:
        """Wait *delay* virtual seconds."""
        self.sleeps.append(delay)
        over = asyncio.Event()
        timer = self.schedule(delay, over.set)
        try:
            await over.wait()
        finally:
            timer.cancel()

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* in *delay* virtual seconds."""
        self.sleeps.append(delay)
        return self.schedule(delay, callback)

    @asynccontextmanager
    async def timeout(self, delay: float | None) -> AsyncGenerator[object, None]:
        """Bound a block to *delay* virtual seconds, as `asyncio.timeout` does."""
        async with asyncio.timeout(None) as bound:
            timer = None if delay is None else self.schedule(delay, lambda: bound.reschedule(-math.inf))
            try:
                yield bound
            finally:
                if timer is not None:
                    timer.cancel()

    async def advance(self, delay: float) -> None:
        """Move time forward by *delay* seconds, serving what comes due on the way in order."""
        await self._settle()
        end = self._time + delay
        while (due := self._next_due()) is not None and due <= end:
            self._jump()
            await self._settle()
        self._time = end

    def schedule(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* in *delay* virtual seconds without noting it as a sleep: for bounds, which nobody waits for."""
        timer = FakeTimer(callback)
        heapq.heappush(self._scheduled, (self._time + max(0.0, delay), next(self._order), timer))
        self._quiet = 0
        loop = asyncio.get_running_loop()
        if self._autojump and self._watching is not loop:
            self._watching = loop
            loop.call_soon(self._watch)
        return timer

    def _watch(self) -> None:
        if self._next_due() is None:
            self._watching = None
            return
        asyncio.get_running_loop().call_soon(self._watch)
        self._quiet += 1
        if self._quiet > QUIET_TURNS:
            self._quiet = 0
            self._jump()

    def _next_due(self) -> float | None:
        while self._scheduled and self._scheduled[0][2].cancelled:
            heapq.heappop(self._scheduled)
        return self._scheduled[0][0] if self._scheduled else None

    def _jump(self) -> None:
        if self._next_due() is not None:
            due, _, timer = heapq.heappop(self._scheduled)
            self._time = max(self._time, due)
            timer.callback()

    async def _settle(self) -> None:
        for _ in range(QUIET_TURNS):
            await asyncio.sleep(0)
