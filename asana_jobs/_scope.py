"""Blocks of a task that others may end: what `asyncio.timeout` does, without a timer and a handle for each block."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Scope:
    """A block of the task that makes it.

    Ending it cancels the task; `ended_by` then tells that cancellation from one that came from elsewhere.
    """

    __slots__ = ("_cancelling", "_ended", "_task")

    def __init__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("there is no task to end: await this in asyncio.run() or a task")
        self._task: asyncio.Task[object] | None = task
        self._cancelling = task.cancelling()
        self._ended = False

    def end(self) -> None:
        """Cancel the block if it is still running. For callbacks of the event loop, not for the block itself."""
        if self._task is not None and not self._ended:
            self._ended = True
            self._task.cancel()

    def ended_by(self, error: BaseException | None) -> bool:
        """Leave the block; say whether *error*, which it is left with, comes from `end` and from nobody else."""
        task, self._task = self._task, None
        if not self._ended or task is None:
            return False
        return task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError)


class Deadlines:
    """Bounds any number of blocks to *seconds* each, with one timer for all of them.

    They are due in the order in which they began, so only the oldest needs the timer.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.blocks: dict[Bounded, None] = {}  # in the order in which they began
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        """Have the timer go off when the oldest block is due."""
        if self._timer is None:
            self._timer = loop.call_at(due, self._expire, loop, due)

    def close(self) -> None:
        """Let go of the timer. What is under way is not bounded any more."""
        self.blocks.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._timer = None
        now = max(loop.time(), due)  # loops round: a timer may go off a hair early
        while self.blocks:
            oldest = next(iter(self.blocks))
            if oldest.due > now:
                self.arm(loop, oldest.due)
                return
            del self.blocks[oldest]
            oldest.end()


class Bounded(Scope):
    """A block that `TimeoutError` ends when its time is over; see `Deadlines`."""

    __slots__ = ("_deadlines", "due")

    def __init__(self, deadlines: Deadlines) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self._deadlines = deadlines
        self.due = loop.time() + deadlines.seconds
        if not deadlines.blocks:
            deadlines.arm(loop, self.due)

    def __enter__(self) -> Self:
        self._deadlines.blocks[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._deadlines.blocks.pop(self, None)
        if self.ended_by(error):
            raise TimeoutError from error
