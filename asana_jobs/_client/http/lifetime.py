"""Blocks of a task that others may cancel: everything under way when a client is closed, and what takes too long.

`Lifetime` is a client from open to closed, `SharedTimeout` bounds blocks in time, and `CancelScope` is such a block: what
`asyncio.timeout` makes, without a timer and a handle for each. `run_in_thread` does blocking work, and leaves no thread behind.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import Callable, Coroutine
from math import inf
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar
from weakref import WeakSet

from asana_jobs._client.clock import NO_LOOP, Timer, running_loop
from asana_jobs.errors import AsanaJobsError, ClientClosedError


#: Rounds of the loop that a block has beyond its time. A loop that was blocked for longer than that finds the answer
#: in the socket only then: one round reads it, a few more hand it on.
EXTRA_ROUNDS: Final = 16

#: What ends a program. The loop raises it out of whatever task it arrives in, which is over then; a program that runs
#: its loop again, to end in order, still waits for what that task was to do.
PROGRAM_ENDS: Final = (KeyboardInterrupt, SystemExit)

T = TypeVar("T")
_log = logging.getLogger("asana_jobs")


class CancelScope:
    """A block of the task that makes it, for ``with``: left with an error if it is cancelled.

    Args:
        loop: The loop that runs the task.
        running: The blocks that are running and may be cancelled together; this one is among them while it runs.
        reason: Makes the error that the block is left with when it was cancelled.
        due: When it is to be cancelled, for those who do that.
    """

    __slots__ = ("_cancel_called", "_cancelling", "_reason", "_running", "_task", "due")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        running: dict[Any, None],
        reason: Callable[[], Exception],
        due: float = inf,
    ) -> None:
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("there is no task to end: await this in asyncio.run() or a task")
        self._task: asyncio.Task[object] | None = task
        self._cancelling = task.cancelling()
        self._cancel_called = False
        self._running = running
        self._reason = reason
        self.due: float = due

    def cancel(self) -> None:
        """Cancel the block if it is still running. For callbacks of the event loop, not for the block itself."""
        if self._task is not None and not self._cancel_called:
            self._cancel_called = True
            self._task.cancel()

    def shield(self) -> None:
        """Let the rest of the block go on to its end: it cannot be cancelled any more."""
        self._running.pop(self, None)
        self._task = None  # `cancel` may be on its way already

    def __enter__(self) -> Self:
        self._running[self] = None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._running.pop(self, None)
        task, self._task = self._task, None
        if not self._cancel_called or task is None:
            return
        # Our own cancellation is taken back; one that came from elsewhere goes on.
        if task.uncancel() <= self._cancelling and isinstance(error, asyncio.CancelledError):
            raise self._reason() from None


class SharedTimeout:
    """One timer that bounds any number of blocks, to equally many seconds each.

    They are due in the order in which they began, so only the oldest needs the timer. What has arrived by then is
    read before a block is cancelled.

    Args:
        seconds: How long each block may take.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running: dict[CancelScope, None] = {}  # in the order in which they began
        self._timer: asyncio.Handle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def bound(self) -> CancelScope:
        """Return a block that is left with a `TimeoutError` when its time is over; it begins now."""
        loop = self._loop
        if loop is None or not loop.is_running():
            # Only now: up to Python 3.11 this is a call to the kernel. What a loop that has ended bounded is over.
            loop = self._loop = asyncio.get_running_loop()
            self.close()
        due = loop.time() + self.seconds
        if self._timer is None:
            self._timer = loop.call_at(due, self._expire, loop, due)
        return CancelScope(loop, self.running, TimeoutError, due)

    def close(self) -> None:
        """Let go of the timer: what is under way is not bounded any more."""
        self.running.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self, loop: asyncio.AbstractEventLoop, due: float, rounds: int = EXTRA_ROUNDS) -> None:
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
            oldest.cancel()


class Lifetime:
    """A client from open to closed, on one event loop: knows what is under way, and ends it.

    Attributes:
        closed: Whether it is.
        guards: What is cancelled when it is closed.
        tasks: What is waited for when it was closed; it ends by itself then.
    """

    def __init__(self) -> None:
        self.closed: bool = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.guards: dict[Timer, None] = {}
        self.tasks: set[asyncio.Task[Any]] = set()
        self._when_done = self._note_done  # one for all tasks, of which there may be thousands
        self._children: WeakSet[Lifetime] = WeakSet()

    def child(self) -> Lifetime:
        """Return a lifetime that may end before this one, and ends with it."""
        child = Lifetime()
        child.closed = self.closed
        self._children.add(child)
        return child

    def spawn(self, work: Coroutine[Any, Any, T], name: str) -> asyncio.Task[T]:
        """Run *work* in a task of that *name*, which does not outlive the client."""
        try:
            task = running_loop().create_task(work, name=name)
        except RuntimeError:
            work.close()
            raise
        self.tasks.add(task)
        task.add_done_callback(self._when_done)
        return task

    def _note_done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, (AsanaJobsError, *PROGRAM_ENDS)):
            # Whoever waits for the task gets it too; nobody has to, so it is not lost without a word.
            _log.error("a background task ended in an error: %r", error, exc_info=error)

    async def settled(self) -> None:
        """Wait for the tasks that were spawned; after `close` they end by themselves."""
        for child in list(self._children):
            await child.settled()
        if self.guards:
            await asyncio.sleep(0)  # they are called in the next round
        ours = self.tasks - {asyncio.current_task()}
        if ours:
            await asyncio.wait(ours)

    def guard(self) -> CancelScope:
        """Return a context manager for one call: `ClientClosedError` if the client is or gets closed."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(NO_LOOP) from None
        if self.closed or self._loop is not loop:
            self.check()
        return CancelScope(loop, self.guards, closed_error)

    def close(self) -> None:
        """End every call under way, and from now on refuse new ones."""
        for child in list(self._children):
            child.close()
        if self.closed:
            return
        self.closed = True
        for guard in list(self.guards):
            # In the loop's next round: what is answered in this one is answered.
            assert self._loop is not None  # noqa: S101  # guards are made on it
            self._loop.call_soon(guard.cancel)

    def check(self) -> None:
        """Refuse a closed client and a second event loop."""
        if self.closed:
            raise ClientClosedError(f"this client is closed. {ClientClosedError.advice}")
        loop = running_loop()
        if self._loop is None:
            self._loop = loop
        if self._loop is not loop:
            raise RuntimeError(
                "this client belongs to another event loop: make one client for each loop (each asyncio.run)"
            )


def broken_off(task: asyncio.Task[Any]) -> bool:
    """Return whether *task*, which has ended, was ended from outside: cancelled, or by the end of the program."""
    return task.cancelled() or isinstance(task.exception(), PROGRAM_ENDS)


def warn_unclosed(owner: object, session: Any) -> None:
    """Warn that *session* is still open while the *owner* of it goes away; not amid the end of the whole process."""
    if session is not None and not session.closed and not sys.is_finalizing():
        warnings.warn(
            "an AsanaClient was not closed: use it in `async with AsanaClient() as asana:`, or `await asana.close()`",
            ResourceWarning,
            stacklevel=3,
            source=owner,
        )


def closed_error() -> ClientClosedError:
    """Return the error of what was under way when its client was closed."""
    return ClientClosedError(
        f"the client was closed while this call was under way. {ClientClosedError.advice}"
    )


P = ParamSpec("P")


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
