"""From open to closed: everything under way ends at once when its client is closed. And how not to open it."""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import Coroutine
from typing import Any, Never, Protocol, TypeVar
from weakref import WeakSet

from asana_jobs._clock import NO_LOOP, running_loop
from asana_jobs._scope import Scope
from asana_jobs.errors import AsanaJobsError, ClientClosedError


T = TypeVar("T")
_log = logging.getLogger("asana_jobs")


class MisuseError(TypeError, AttributeError):
    """Something was used as what it is not: a `TypeError` for whoever wrote it, while `hasattr` is ``False``."""


class Instead:
    """Stands for a method that a class has not, and says what to write instead when Python looks for it.

    To `hasattr` it is not there, and abstract classes want its companion as well (``__exit__``), so that nobody takes
    the class for what it is not.
    """

    def __init__(self, message: str) -> None:
        self._message = message

    def __get__(self, instance: object, owner: type | None = None) -> Never:
        raise MisuseError(self._message)


def no_attribute(thing: object, name: str, of: type, advice: str) -> AttributeError:
    """Return the error about the *name* that *thing* has not; with *advice* if what it stands for, an *of*, has it.

    It knows nothing of *thing* but its class: while a copy is being made, there is no more.
    """
    message = f"{type(thing).__name__!r} object has no attribute {name!r}"
    if not name.startswith("_") and hasattr(of, name):
        message += f": {advice}"
    return AttributeError(message, name=name, obj=thing)


class Closing(Protocol):
    """Something that is open, and closed at last."""

    @property
    def closed(self) -> bool:
        """Whether it was."""
        ...


class Lifetime:
    """Knows what is under way on one event loop, and ends it."""

    def __init__(self) -> None:
        self.closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self.guards: dict[Scope, None] = {}
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
        try:
            task = running_loop().create_task(work)
        except RuntimeError:
            work.close()
            raise
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

    def guard(self) -> Scope:
        """Return a context manager for one call: `ClientClosedError` if the client is or gets closed."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(NO_LOOP) from None
        if self.closed or self._loop is not loop:
            self.check()
        return Scope(loop, self.guards, _closed)

    def end(self) -> None:
        """End every call under way, from now on refuse new ones."""
        for child in list(self._children):
            child.end()
        if self.closed:
            return
        self.closed = True
        for guard in list(self.guards):
            # In the loop's next round: what is answered in this one is answered.
            assert self._loop is not None  # noqa: S101  # guards are made on it
            self._loop.call_soon(guard.end)

    def check(self) -> None:
        """Refuse a closed client and a second event loop."""
        if self.closed:
            raise ClientClosedError(f"this client is closed. {ClientClosedError.advice}")
        loop = running_loop()
        if self._loop is loop:
            return
        if self._loop is None:
            self._loop = loop
        else:
            raise RuntimeError(
                "this client belongs to another event loop: make one client for each loop (each asyncio.run)"
            )


def warn_unclosed(owner: object, session: Closing | None) -> None:
    """Warn that *session* is still open while the *owner* of it goes away; not amid the end of the whole process."""
    if session is not None and not session.closed and not sys.is_finalizing():
        warnings.warn(
            "an AsanaClient was not closed: use it in `async with AsanaClient() as asana:`, or `await asana.close()`",
            ResourceWarning,
            stacklevel=3,
            source=owner,
        )


def _closed() -> ClientClosedError:
    return ClientClosedError(
        f"the client was closed while this call was under way. {ClientClosedError.advice}"
    )
