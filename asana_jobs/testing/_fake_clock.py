"""A clock that jumps: hours of polling in milliseconds, without a socket."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Final, Self

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
        await self._until(delay)

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call *callback* in *delay* virtual seconds."""
        self.sleeps.append(delay)
        return self.schedule(delay, callback)

    def timeout(self, delay: float | None) -> AbstractAsyncContextManager[object]:
        """Bound a block to *delay* virtual seconds, as `asyncio.timeout` does."""
        return FakeTimeout(self, delay)

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

    async def _until(self, delay: float) -> None:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        timer = self.schedule(delay, wake)
        try:
            await future
        finally:
            timer.cancel()

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


class FakeTimeout:
    """A bound on a block, on a `FakeClock`: raises `TimeoutError` when it passes."""

    def __init__(self, clock: FakeClock, delay: float | None) -> None:
        self._clock = clock
        self._delay = delay
        self._timer: Timer | None = None
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self._expired = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        if self._task is None:
            raise RuntimeError("a timeout needs a task")
        self._cancelling = self._task.cancelling()
        if self._delay is not None:
            self._timer = self._clock.schedule(self._delay, self._expire)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._expired and self._task is not None:
            ours = self._task.uncancel() <= self._cancelling
            if ours and kind is asyncio.CancelledError:
                raise TimeoutError from error

    def _expire(self) -> None:
        self._expired = True
        if self._task is not None:
            self._task.cancel()
