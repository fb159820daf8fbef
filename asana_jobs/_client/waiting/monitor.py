"""`JobMonitor`: many waits, one stream of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Never, Self, TypeAlias, final

import attrs

from asana_jobs._client.http.lifetime import Lifetime, broken_off
from asana_jobs._client.misuse import Instead, MisuseError, no_attribute
from asana_jobs._client.waiting.job_reference import JobLike, check_jobs
from asana_jobs._client.waiting.wait import Wait
from asana_jobs.errors import ClientClosedError, JobTimeoutError
from asana_jobs.events import JobChanged, WaitEnded, WaitOutcome
from asana_jobs.models import Job, has_changed


#: Changes kept for a reader that is slow; beyond it the waits stop looking until it has caught up.
BUFFERED_CHANGES: Final = 64
_OPEN: Final = "`async with asana.monitor_jobs([...]) as monitor`"

_Reader: TypeAlias = Literal["`async for job in monitor`", "`async for event in monitor.events()`"]


@final
class JobMonitor(AsyncIterator[Job]):
    """Watches many jobs at once and yields their changes as they come.

    ::

        async with asana.monitor_jobs(["1205", "1206"]) as monitor:
            async for job in monitor:
                print(job.gid, job.status)

    The loop ends when every job has finished. `add` takes more while it runs; a gid given twice is watched
    once. A failed job is a change like others. A job that cannot be watched does not disturb the rest: its error is in
    `errors`, and when the block ends normally all of them are raised together. Who would rather be told as it happens
    reads `events` instead.

    Raises:
        ExceptionGroup: at the end of the block: what ended the wait of each job that could not be watched, such
            as `NotFoundError`, `PermissionDeniedError` or `JobTimeoutError`, and that `events` has not told.
        ClientClosedError: from the loop, when the client is closed meanwhile.

    You get one from ``monitor_jobs``; do not make it yourself.
    """

    if not TYPE_CHECKING:  # a type checker knows from `__init__` that nobody hands this in

        def __new__(cls, *parts: object, **named: object) -> Self:
            """Refuse what users hand in: `AsanaClient.monitor_jobs` makes monitors."""
            if len(parts) + len(named) != 3:
                raise TypeError("do not make a JobMonitor: write asana.monitor_jobs([...])")
            return super().__new__(cls)

    def __init__(
        self, make_wait: Callable[[JobLike], Wait], lifetime: Lifetime, jobs: Iterable[JobLike]
    ) -> None:
        self._make_wait = make_wait
        self._lifetime = lifetime
        self._waits: dict[str, Wait | None] = {}  # None once it has come to its end
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._errors: dict[str, Exception] = {}
        self._untold_errors: dict[str, Exception] = {}  # nobody has read of them yet
        self._changes: asyncio.Queue[JobChanged | WaitEnded] = asyncio.Queue(BUFFERED_CHANGES)
        self._reader: _Reader | None = None
        self._came = asyncio.Event()
        self._entered = False
        self._left = False
        for job in check_jobs(jobs, "monitor_jobs"):
            self.add(job)

    def __repr__(self) -> str:
        return (
            f"<JobMonitor {len(self._tasks)} of {len(self._waits)} jobs running, {len(self._errors)} errors>"
        )

    @property
    def running(self) -> list[str]:
        """The gids of the jobs that are being watched."""
        return list(self._tasks)

    @property
    def errors(self) -> dict[str, Exception]:
        """The error that ended the wait of each job that could not be watched to its end, by gid."""
        return dict(self._errors)

    def continuation_tokens(self) -> dict[str, str]:
        """Return a continuation token for every job that is not known to have finished, by gid."""
        return {gid: wait.token() for gid, wait in self._waits.items() if wait is not None}

    def add(self, job: JobLike) -> bool:
        """Watch one more job; ``False`` if its gid is watched already, or has finished.

        A job that could not be watched is watched again, and its error forgotten.

        Args:
            job: A `Job`, a gid, an answer of the official SDK or a continuation token.

        Raises:
            ValueError: it is none of these.
            RuntimeError: the block of this monitor has ended.
            ClientClosedError: the client was closed.
        """
        if self._left:
            raise RuntimeError("this monitor's block has ended: call monitor_jobs again")
        wait = self._make_wait(job)
        gid = wait.subject.gid
        if gid in self._waits and gid not in self._errors:
            return False
        if self._entered:
            self._lifetime.check()
            self._spawn(gid, wait)
        self._waits[gid] = wait
        self._errors.pop(gid, None)
        self._untold_errors.pop(gid, None)
        return True

    def events(self) -> AsyncIterator[JobChanged | WaitEnded]:
        """Return the same stream as events, with what ended each wait as it happens.

        ::

            async with asana.monitor_jobs(gids) as monitor:
                async for event in monitor.events():
                    match event:
                        case JobChanged():
                            print(event.gid, event.job.status)
                        case WaitEnded(error=None):
                            print(event.gid, event.outcome)  # succeeded or failed
                        case WaitEnded():
                            print(event.gid, event.error)

        Each job ends with one `WaitEnded`, after its last change. An error that was told is not raised again at the
        end of the block. Of several readers each gets some of the events, like those of the monitor itself.

        Raises:
            RuntimeError: the monitor is iterated already, or was: the two would take each other's news.
        """
        self._read_as("`async for event in monitor.events()`")
        return _Events(self._next_event)

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not
        __enter__ = Instead(f"a monitor is opened with {_OPEN}, inside of `async def`")
        # Iteration falls back on this, while nobody takes for an iterable what has no ``__iter__``.
        __getitem__ = Instead("a monitor is iterated with `async for job in monitor`")

        def __getattr__(self, name: str) -> Never:
            raise no_attribute(self, name, Job, "iterate it, `async for job in monitor`")

        def __await__(self) -> Never:
            raise MisuseError(
                f"a monitor is not awaited: open it with {_OPEN}, and write `async for job in monitor`"
            )

    async def __aenter__(self) -> Self:
        if self._entered:
            raise RuntimeError("a monitor is entered once: call monitor_jobs again")
        self._lifetime.check()
        self._entered = True
        for gid, wait in self._waits.items():
            if wait is not None:
                self._spawn(gid, wait)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._left = True
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if error is None and self._untold_errors:
            raise ExceptionGroup(
                f"{len(self._untold_errors)} of {len(self._waits)} jobs could not be watched",
                list(self._untold_errors.values()),
            )

    # The user writes: async for job in monitor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Job:
        self._read_as("`async for job in monitor`")
        while True:
            event = await self._next()
            if isinstance(event, JobChanged):
                return event.job

    def _read_as(self, reader: _Reader) -> None:
        if self._reader not in {None, reader}:
            raise RuntimeError(
                f"this monitor is read with {self._reader}: a second loop of another kind would miss what the "
                "first one takes; watch the same jobs with another monitor_jobs, they are not asked for twice"
            )
        self._reader = reader

    async def _next_event(self) -> JobChanged | WaitEnded:
        event = await self._next()
        if isinstance(event, WaitEnded) and self._untold_errors.get(event.gid) is event.error:
            self._untold_errors.pop(event.gid, None)
        return event

    async def _next(self) -> JobChanged | WaitEnded:
        if not self._entered or self._left:
            raise RuntimeError(
                "iterate a monitor inside its block: async with asana.monitor_jobs(...) as monitor"
            )
        while self._changes.empty():
            self._lifetime.check()
            if not self._tasks:
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        return self._changes.get_nowait()

    def _spawn(self, gid: str, wait: Wait) -> None:
        task = self._lifetime.spawn(self._watch(gid, wait))
        if not task.done():  # it may be, where tasks are eager
            self._tasks[gid] = task
        task.add_done_callback(partial(self._ended, gid, wait))

    def _ended(self, gid: str, wait: Wait, task: asyncio.Task[None]) -> None:
        if self._tasks.get(gid) is task:
            del self._tasks[gid]
        if broken_off(task) and not (self._left or self._lifetime.closed):
            self._spawn(gid, wait)  # by somebody else: the reader still waits for this job
        self._came.set()

    async def _watch(self, gid: str, wait: Wait) -> None:
        told: Job | None = None
        try:
            await wait.begin()
            job = wait.job
            while job is None or not job.done:
                if job is not None and has_changed(job, told):
                    await self._tell_change(wait, job, told)
                    told = job
                elif job == told:
                    told = job  # the same in other words: one of the two is enough
                job = await wait.look()
            await self._tell_change(wait, job, told)
            self._waits[gid] = None
            await self._tell(wait.ended(WaitOutcome.SUCCEEDED if job.succeeded else WaitOutcome.FAILED))
        except ClientClosedError:
            pass  # the reader is told by its own check
        except Exception as error:  # noqa: BLE001  # such as one of a wait strategy: told, or raised at the end
            self._errors[gid] = self._untold_errors[gid] = error
            timed_out = isinstance(error, JobTimeoutError)
            with suppress(ClientClosedError):
                await self._tell(
                    wait.ended(WaitOutcome.TIMED_OUT if timed_out else WaitOutcome.ERROR, error=error)
                )
        if self._tasks.get(gid) is asyncio.current_task():  # it may have been added again meanwhile
            del self._tasks[gid]
        self._came.set()

    async def _tell_change(self, wait: Wait, job: Job, told: Job | None) -> None:
        before = None if told is None else told.status
        await self._tell(JobChanged(at=wait.wall_now(), gid=job.gid, job=job, before=before))

    async def _tell(self, event: JobChanged | WaitEnded) -> None:
        with self._lifetime.guard():
            await self._changes.put(event)
        self._came.set()


@attrs.frozen
class _Events(AsyncIterator[JobChanged | WaitEnded]):
    """A reader of a monitor's events. Nothing is left behind by a loop that breaks."""

    _next: Callable[[], Awaitable[JobChanged | WaitEnded]]

    async def __anext__(self) -> JobChanged | WaitEnded:
        return await self._next()
