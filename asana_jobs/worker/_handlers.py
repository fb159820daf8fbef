"""The handlers of results: users' functions, which take as long as they like, and hold no place meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from asana_jobs.errors import rounded
from asana_jobs.worker._engine import Again
from asana_jobs.worker._records import CLAIM_SECONDS, WaitRecords
from asana_jobs.worker._redis import AwayError
from asana_jobs.worker._results import Result, read_result
from asana_jobs.worker.errors import QueueError


#: Seconds for which a step waits for a handler: most have ended by then, and need no other step.
SHORT_HANDLER_SECONDS: Final = 0.2
#: Seconds between two looks whether a handler has ended, or its worker.
CHECK_SECONDS: Final = 5.0
#: Handlers at work at once in one worker; results wait for one of them to end.
MOST_HANDLERS: Final = 100

ResultHandler = Callable[[Result], Awaitable[object]]
_log = logging.getLogger("asana_jobs")


@attrs.define(eq=False)
class Handlers:
    """The handlers of one worker.

    Attributes:
        name: The name of the worker.
        records: The records of the waits.
        on_finished: Called with each result that succeeded.
        on_failed: Called with each other one.
        timeout: Seconds that one call may take.
    """

    name: str
    records: WaitRecords
    on_finished: ResultHandler | None
    on_failed: ResultHandler | None
    timeout: float
    _running: dict[str, asyncio.Task[None]] = attrs.field(factory=dict[str, "asyncio.Task[None]"], init=False)
    _keeping: asyncio.Task[None] | None = attrs.field(default=None, init=False)

    def __len__(self) -> int:
        return len(self._running)

    def handler(self, *, succeeded: bool) -> ResultHandler | None:
        """Return what is to be called with a result."""
        return self.on_finished if succeeded else self.on_failed

    def has_room(self, key: str) -> bool:
        """Return whether the handler of a wait's result can be called at once."""
        return key not in self._running and len(self._running) < MOST_HANDLERS

    async def hand(self, key: str, text: str, *, claimed: bool = False) -> Again | None:
        """Have the handler of a result called, unless one is at work on it; ``None`` once it has ended.

        Args:
            key: The name of the wait.
            text: Its result, as JSON.
            claimed: Nobody else calls it, and there is room.
        """
        result = read_result(text)
        handler = self.handler(succeeded=result.succeeded)
        if handler is None:
            await self.records.handled(key, text)
            return None
        if not claimed:
            if not self.has_room(key):
                return Again(CHECK_SECONDS if key in self._running else 1.0)
            if not await self.records.claimed(key, self.name):
                return Again(CHECK_SECONDS)
        task = asyncio.create_task(
            self._call(handler, key, result, text), name=f"asana_jobs handler of {key}"
        )
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))
        if self._keeping is None or self._keeping.done():
            self._keeping = asyncio.create_task(self._keep(), name="asana_jobs claims of handlers")
        await asyncio.wait([task], timeout=SHORT_HANDLER_SECONDS)
        return None if task.done() else Again(CHECK_SECONDS)

    async def finish(self) -> None:
        """Wait until those at work have ended. Cancelled, they are, and others call them again."""
        tasks = list(self._running.values())
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            if self._keeping is not None:
                tasks.append(self._keeping)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=1.0)

    async def _call(self, handler: ResultHandler, key: str, result: Result, text: str) -> None:
        scope = asyncio.timeout(self.timeout)
        try:
            async with scope:
                await handler(result)
        except Exception:  # noqa: BLE001  # a user's mistake does not end the worker
            if scope.expired():
                _log.error(  # where it was stopped says nothing
                    "the handler of %r was stopped, as it took more than %s s (handler_timeout); it is not called"
                    " again",
                    key,
                    rounded(self.timeout),
                )
            else:
                _log.exception("the handler of %r raised; it is not called again", key)
        await self.records.handled(key, text)

    async def _keep(self) -> None:
        """Renew the claims for as long as a handler is at work."""
        while self._running:
            await asyncio.sleep(CLAIM_SECONDS / 3)
            for key in list(self._running):
                try:
                    await self.records.keep_claim(key, self.name)
                except (AwayError, QueueError) as error:
                    _log.debug("the claim of %r could not be renewed: %s", key, error)
