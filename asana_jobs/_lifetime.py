"""From open to closed: everything under way ends at once when its client is closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar
from weakref import WeakSet

from asana_jobs.errors import AsanaJobsError, ClientClosedError


T = TypeVar("T")
_log = logging.getLogger("asana_jobs")


class Lifetime:
    """Knows what is under way on one event loop, and ends it."""

    def __init__(self) -> None:
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scopes: set[asyncio.Timeout] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._end_of_task = self._ended  # one for all tasks, of which there may be thousands
        self._children: WeakSet[Lifetime] = WeakSet()

    def child(self) -> Lifetime:
        """Return a lifetime that may end before this one, and ends with it."""
        child = Lifetime()
        child.closed = self.closed
        self._children.add(child)
        return child

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run *work* in a task that does not outlive the client."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end_of_task)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, AsanaJobsError):
            # Whoever waits for the task gets it too; nobody has to, so it is not lost without a word.
            _log.error("a background task ended in an error: %r", error, exc_info=error)

    async def settled(self) -> None:
        """Wait for the tasks that were spawned; after `end` they end by themselves."""
        for child in list(self._children):
            await child.settled()
        ours = self._tasks - {asyncio.current_task()}
        if ours:
            await asyncio.wait(ours)

    def guard(self) -> _Guard:
        """Return a context manager for one call: `ClientClosedError` if the client is or gets closed."""
        return _Guard(self)

    def end(self) -> None:
        """End every call under way, from now on refuse new ones."""
        for child in list(self._children):
            child.end()
        if self.closed:
            return
        self.closed = True
        for scope in list(self._scopes):
            # Expiring a timeout is asyncio's own way to cancel a block from outside without losing a
            # cancellation that comes from elsewhere.
            scope.reschedule(0)

    def enter(self, scope: asyncio.Timeout) -> None:
        """Note a call."""
        self._scopes.add(scope)

    def leave(self, scope: asyncio.Timeout) -> None:
        """Forget a call."""
        self._scopes.discard(scope)

    def check(self) -> None:
        """Refuse a closed client and a second event loop."""
        if self.closed:
            raise ClientClosedError(f"this client is closed. {ClientClosedError.advice}")
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise RuntimeError(
                "this client belongs to another event loop: make one client for each loop (each asyncio.run)"
            )


class _Guard:
    __slots__ = ("_lifetime", "_scope")

    def __init__(self, lifetime: Lifetime) -> None:
        self._lifetime = lifetime
        self._scope = asyncio.timeout(None)

    async def __aenter__(self) -> Self:
        self._lifetime.check()
        await self._scope.__aenter__()
        self._lifetime.enter(self._scope)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lifetime.leave(self._scope)
        try:
            await self._scope.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise ClientClosedError(
                f"the client was closed while this call was under way. {ClientClosedError.advice}"
            ) from None
