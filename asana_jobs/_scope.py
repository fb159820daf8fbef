"""Blocks of a task that others may end: what `asyncio.timeout` does, without a timer and a handle for each block."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf
from types import TracebackType
from typing import Final, Self


class Scope:
    """A block of the task that makes it, for ``with``. Who ends it cancels the task; it is then left with an error.

    Args:
        loop: The loop that runs the task.
        running: The blocks that are running and may be ended together; this one is among them while it runs.
        reason: Makes the error that the block is left with when it was ended.
        due: When it is to be ended, for whoever ends it.
    """

    __slots__ = ("_cancelling", "_ended", "_reason", "_running", "_task", "due")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        running: dict[Scope, None],
        reason: Callable[[], Exception],
        due: float = inf,
    ) -> None:
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("there is no task to end: await this in asyncio.run() or a task")
        self._task: asyncio.Task[object] | None = task
        self._cancelling = task.cancelling()
        self._ended = False
        self._running = running
        self._reason = reason
        self.due = due

    def end(self) -> None:
        """Cancel the block if it is still running. For callbacks of the event loop, not for the block itself."""
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()

    def shield(self) -> None:
        """Let the rest of the block go on to its end, whoever wants to end it."""
        self._running.pop(self, None)
        self._task = None  # `end` may have been asked for already

    def __enter__(self) -> Self:
        self._running[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.pop(self, None)
        task, self._task = self._task, None
        if not self._ended or task is None:
            return
        # Our own cancellation is taken back; one that came from elsewhere goes on.
        if task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise self._reason() from None


#: Rounds of the loop that a block has beyond its time. A loop that was blocked for longer than that finds the answer
#: in the socket only then: one round reads it, a few more hand it on.
ROUNDS: Final = 16


class Deadlines:
    """Bounds any number of blocks to *seconds* each, with one timer for all of them.

    They are due in the order in which they began, so only the oldest needs the timer. What has arrived by then is
    read before a block is ended.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running: dict[Scope, None] = {}  # in the order in which they began
        self._timer: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def bound(self) -> Scope:
        """Return a block that `TimeoutError` ends when its time is over; it begins now."""
        loop = self._loop
        if loop is None or not loop.is_running():
            # Only now: up to Python 3.11 this is a call to the kernel. What a loop that has ended bounded is over.
            loop = self._loop = asyncio.get_running_loop()
            self.close()
        due = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._expire, loop, due)
        return Scope(loop, self.running, TimeoutError, due)

    def close(self) -> None:
        """Let go of the timer. What is under way is not bounded any more."""
        self.running.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, loop: asyncio.AbstractEventLoop, due: float, rounds: int = ROUNDS) -> None:
        if rounds:
            self._timer = loop.call_soon(self._expire, loop, due, rounds - 1)
            return
        self._timer = None
        now = max(loop.time(), due)  # loops round: a timer may go off a hair early
        while self.running:
            oldest = next(iter(self.running))
            if oldest.due > now:
                self._timer = loop.call_at(oldest.due, self._expire, loop, oldest.due)
                return
            del self.running[oldest]
            oldest.end()
