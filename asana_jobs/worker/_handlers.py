"""The handlers of results: users' functions, which take as long as they like, and hold no place meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import attrs

from asana_jobs.errors import rounded
from asana_jobs.worker._engine import Again
from asana_jobs.worker._records import WaitRecords
from asana_jobs.worker._redis import AwayError
from asana_jobs.worker._results import Result
from asana_jobs.worker.errors import QueueError


#: Seconds for which a step waits for a handler: most have ended by then, and need no other step.
SHORT_HANDLER_SECONDS: Final = 0.2
#: Seconds after which a handler whose worker was killed is called by another one.
CLAIM_SECONDS: Final = 15
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

    def __len__(self) -> int:
        return len(self._running)

    async def hand(self, key: str, result: Result) -> Again | None:
        """Have the handler of a result called, unless one is at work on it; ``None`` once it has ended."""
        handler = self.on_finished if result.succeeded else self.on_failed
        if handler is None:
            await self.records.handled(key)
            return None
        if key in self._running:
            return Again(CHECK_SECONDS)
        if len(self._running) >= MOST_HANDLERS:
            return Again(1.0)
        store, claim = self.records.store, self.records.claim(key)
        if not await store("SET", claim, self.name, "NX", "EX", CLAIM_SECONDS):
            return Again(CHECK_SECONDS)
        task = asyncio.create_task(self._call(handler, key, result), name=f"asana_jobs handler of {key}")
        self._running[key] = task
        task.add_done_callback(lambda _: self._running.pop(key, None))
        await asyncio.wait([task], timeout=SHORT_HANDLER_SECONDS)
        return None if task.done() else Again(CHECK_SECONDS)

    async def finish(self) -> None:
        """Wait until those at work have ended. Cancelled, they are, and others call them again."""
        tasks = list(self._running.values())
        try:
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=1.0)

    async def _call(self, handler: ResultHandler, key: str, result: Result) -> None:
        keeping = asyncio.create_task(self._keep(key), name=f"asana_jobs claim of {key}")
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
        finally:
            keeping.cancel()
            await asyncio.wait([keeping])
        await self.records.handled(key)

    async def _keep(self, key: str) -> None:
        while True:
            await asyncio.sleep(CLAIM_SECONDS / 3)
            try:
                await self.records.store("SET", self.records.claim(key), self.name, "XX", "EX", CLAIM_SECONDS)
            except (AwayError, QueueError) as error:
                _log.debug("the claim of %r could not be renewed: %s", key, error)
