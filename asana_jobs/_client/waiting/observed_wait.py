"""A wait that tells its listeners when it begins and how it ends. One that nobody listens to is a plain `Wait`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import attrs

from asana_jobs._client.telemetry.telemetry import Telemetry, WaitSpan
from asana_jobs._client.waiting.wait import Wait
from asana_jobs.errors import JobTimeoutError
from asana_jobs.events import WaitBegan, WaitEnded, WaitOutcome
from asana_jobs.models import Job


T = TypeVar("T")


@attrs.define(eq=False, kw_only=True)
class ObservedWait(Wait):
    """A wait that somebody listens to.

    One that was cancelled or ended in an error can be gone on with: it begins again then.
    """

    telemetry: Telemetry

    _span: WaitSpan | None = attrs.field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(default=None, init=False)
    _told_end: bool = attrs.field(default=False, init=False)

    async def begin(self) -> None:
        """Start the clock of this wait, once."""
        await self._observe(super().begin)

    async def look(self) -> Job:
        """Wait for the next turn, look, and return what was seen."""
        return await self._observe(super().look)

    async def _observe(self, act: Callable[[], Awaitable[T]]) -> T:
        if self._told_end:
            return await act()
        span = self._opened()
        try:
            with span:
                result = await act()
        except GeneratorExit:
            self._abandon()  # closed, perhaps where there is no loop any more
            raise
        except BaseException as error:
            self._end(error)
            raise
        if self.done:
            self._end(None)
        return result

    def _opened(self) -> WaitSpan:
        if self._span is None:
            self._loop = asyncio.get_running_loop()
            self.subject = self.poller.enrich(self.subject)
            self._span = self.telemetry.wait(
                WaitBegan(at=self.telemetry.now(), gid=self.subject.gid, kind=self.kind, timeout=self.timeout)
            )
        return self._span

    def _end(self, error: BaseException | None) -> None:
        self._told_end = self.done or isinstance(error, JobTimeoutError)
        span, self._span = self._span, None
        raised = error if isinstance(error, Exception) else None
        _tell(self.telemetry, span, self.ended(_outcome(self.job, error), error=raised))

    def _abandon(self) -> None:
        span, self._span = self._span, None
        event = self.ended(WaitOutcome.ABANDONED, waited=max(0.0, self._answered_at - self._began))
        if self._loop is not None and not self._loop.is_closed():
            # Garbage is collected in whatever thread is running.
            self._loop.call_soon_threadsafe(_tell, self.telemetry, span, event)

    def __del__(self) -> None:
        if self._span is not None:
            self._abandon()


def _outcome(job: Job | None, error: BaseException | None) -> WaitOutcome:
    if isinstance(error, JobTimeoutError):
        return WaitOutcome.TIMED_OUT
    if error is not None:
        return WaitOutcome.ERROR if isinstance(error, Exception) else WaitOutcome.CANCELLED
    return WaitOutcome.SUCCEEDED if job is not None and job.succeeded else WaitOutcome.FAILED


def _tell(telemetry: Telemetry, span: WaitSpan | None, event: WaitEnded) -> None:
    telemetry.tell(event)
    if span is not None:
        span.end(event)
