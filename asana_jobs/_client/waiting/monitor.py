"""`JobMonitor`: many subscriptions, one stream of changes; no task, coroutine or timer for each job."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextvars import Context, copy_context
from types import TracebackType
from typing import TYPE_CHECKING, Final, Never, Self, final

import attrs

from asana_jobs._client.misuse import Instead, MisuseError, no_attribute
from asana_jobs._client.waiting.job_reference import JobLike, check_jobs
from asana_jobs._client.waiting.poller import Poller
from asana_jobs._client.waiting.subscription import CHANGE, Eta, Subscription, until_ended
from asana_jobs.errors import ClientClosedError
from asana_jobs.events import JobChanged, WaitEnded
from asana_jobs.models import Job


#: News kept for a reader that is slow. A job that has more is not looked at until there is room for that.
BUFFERED_CHANGES: Final = 64
#: Jobs that are entered, left or read in one turn of the loop, which must not stand still for thousands of them.
_PORTION: Final = 100
_OPEN: Final = "`async with asana.monitor_jobs([...]) as monitor`"

_JOBS: Final = "`async for job in monitor`"
_EVENTS: Final = "`async for event in monitor.events()`"


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
        self, make: Callable[[JobLike], Subscription], poller: Poller, jobs: Iterable[JobLike]
    ) -> None:
        self._make = make
        self._lifetime = poller.exchange.lifetime
        self._entries = MonitorEntries(poller)
        self._reader: str | None = None
        self._entered = False
        self._left = False
        self._taken = 0
        for job in check_jobs(jobs, "monitor_jobs"):
            self.add(job)

    def __repr__(self) -> str:
        entries = self._entries
        running = entries.running if self._entered else len(entries.all)
        return f"<JobMonitor {running} of {len(entries.all)} jobs running, {len(entries.errors)} errors>"

    @property
    def running(self) -> list[str]:
        """The gids of the jobs that are being watched."""
        return [entry.gid for entry in self._entries.watched()]

    @property
    def errors(self) -> dict[str, Exception]:
        """The error that ended the wait of each job that could not be watched to its end, by gid."""
        return dict(self._entries.errors)

    def continuation_tokens(self) -> dict[str, str]:
        """Return a continuation token for every job that is not known to have finished, by gid."""
        return {gid: entry.token() for gid, entry in self._entries.all.items() if entry is not None}

    def eta(self) -> Eta | None:
        """Return when the last of the jobs is expected to have ended: the latest of what is expected of each.

        ``None`` when all have ended, and while too little was learned of the kind of one of them.
        """
        etas = [entry.eta() for entry in self._entries.watched()]
        known = [eta for eta in etas if eta is not None]
        if not known or len(known) < len(etas):
            return None
        return Eta(likely=max(eta.likely for eta in known), latest=max(eta.latest for eta in known))

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
        entry = self._make(job)
        gid = entry.gid
        entries = self._entries
        if gid in entries.all and gid not in entries.errors:
            return False
        if self._entered:
            self._lifetime.check()
        entries.all[gid] = entry
        entries.errors.pop(gid, None)
        entries.untold_errors.pop(gid, None)
        if self._entered:
            entries.enter(entry)
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
        self._read_as(_EVENTS)
        return _Events(self._next)

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
        entries = [entry for entry in self._entries.all.values() if entry is not None]
        try:
            for number, entry in enumerate(entries, 1):
                self._entries.enter(entry)
                if not number % _PORTION:
                    await asyncio.sleep(0)
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._leave()
        errors = list(self._entries.untold_errors.values())
        if error is None and errors:
            raise ExceptionGroup(
                f"{len(errors)} of {len(self._entries.all)} jobs could not be watched", errors
            )

    async def _leave(self) -> None:
        self._left = True
        entries, looks = iter(self._entries.watched()), list[asyncio.Task[None]]()
        try:
            for number, entry in enumerate(entries, 1):
                looks += self._entries.leave(entry)
                if not number % _PORTION:
                    await asyncio.sleep(0)
        finally:
            for entry in entries:  # at once, if cancelled meanwhile
                looks += self._entries.leave(entry)
            self._entries.running = 0
            self._entries.news.clear()
            await until_ended(*looks)

    # The user writes: async for job in monitor

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Job:
        self._read_as(_JOBS)
        while True:
            event = await self._next()
            if isinstance(event, JobChanged):
                return event.job

    def _read_as(self, reader: str) -> None:
        if self._reader not in {None, reader}:
            raise RuntimeError(
                f"this monitor is read with {self._reader}: a second loop of another kind would miss what the "
                "first one takes; watch the same jobs with another monitor_jobs, they are not asked for twice"
            )
        self._reader = reader

    async def _next(self) -> JobChanged | WaitEnded:
        if not self._entered or self._left:
            raise RuntimeError(
                "iterate a monitor inside its block: async with asana.monitor_jobs(...) as monitor"
            )
        entries = self._entries
        self._taken += 1
        if not self._taken % _PORTION:
            await asyncio.sleep(0)
        while not entries.news:
            self._lifetime.check()
            if not entries.running:
                raise StopAsyncIteration
            entries.came.clear()
            await entries.came.wait()
        event = entries.take()
        untold = entries.untold_errors
        if self._reader == _EVENTS and isinstance(event, WaitEnded) and untold.get(event.gid) is event.error:
            untold.pop(event.gid, None)
        return event


class MonitorEntries:
    """The jobs of a monitor, and what is new of them.

    Attributes:
        all: Every job by its gid, ``None`` once it has finished.
        running: How many are watched.
        errors: What ended the wait of those that could not be.
        untold_errors: The ones of which nobody has read.
        news: What is to be read; beyond the first of it, entries that have something new.
        came: Set when something has come.
    """

    def __init__(self, poller: Poller) -> None:
        self._poller = poller
        self._context: Context | None = None
        self.all: dict[str, Subscription | None] = {}
        self.running: int = 0
        self.errors: dict[str, Exception] = {}
        self.untold_errors: dict[str, Exception] = {}
        self.news: deque[JobChanged | WaitEnded | Subscription] = deque()
        self.came: asyncio.Event = asyncio.Event()

    def watched(self) -> list[Subscription]:
        """Return those that are watched."""
        return [entry for entry in self.all.values() if entry is not None and entry.monitor is not None]

    def enter(self, entry: Subscription) -> None:
        """Have a job watched."""
        if self._context is None:
            self._context = copy_context()
        entry.monitor, entry.wants, entry.context = self, CHANGE, self._context
        self.running += 1
        entry.begin()
        if entry.job is not None:
            self.changed(entry, entry.job)
        if entry.done:
            self.ended(entry, None)
        else:
            self._poller.subscribe(entry)

    def leave(self, entry: Subscription) -> list[asyncio.Task[None]]:
        """Have a job not watched any more; return the look that is cancelled, if there is one."""
        entry.monitor = None
        look = self._poller.leave(entry)
        entry.tell_end(asyncio.CancelledError())
        return [] if look is None else [look]

    def take(self) -> JobChanged | WaitEnded:
        """Take what is to be read next; whoever gets its room is looked at again."""
        first = self.news.popleft()
        if len(self.news) >= BUFFERED_CHANGES:
            entry = self.news[BUFFERED_CHANGES - 1]
            if isinstance(entry, Subscription):
                self.news[BUFFERED_CHANGES - 1] = _read(entry, entry.job)
                if entry.monitor is not None:
                    self._poller.line_up(entry.watched, self._poller.now())
        return _read(first, first.job) if isinstance(first, Subscription) else first

    def changed(self, entry: Subscription, job: Job) -> None:
        """Keep for the reader that there is something new of the *job* of *entry*."""
        if entry.paused:
            return  # of what is not read yet, only the newest is kept
        if len(self.news) < BUFFERED_CHANGES:
            self.news.append(_read(entry, job))
        else:
            entry.paused = True
            self.news.append(entry)
        self.came.set()

    def ended(self, entry: Subscription, error: Exception | None) -> None:
        """Keep for the reader that the job of *entry* has finished, or with what *error* it is watched no more."""
        entry.monitor = None
        self.running -= 1
        self.came.set()
        if isinstance(error, ClientClosedError):
            return  # of that the reader is told by its own check
        if error is None:
            self.all[entry.gid] = None
        else:
            self.errors[entry.gid] = self.untold_errors[entry.gid] = error
        self.news.append(entry.ended(error))


def _read(entry: Subscription, job: Job | None) -> JobChanged:
    """Take what is new of a job."""
    assert job is not None  # noqa: S101  # it is new
    before = entry.tell()
    entry.watched.reading = None  # of thousands, each would keep a reference to what its reader lets go of
    status = None if before is None else before.status
    return JobChanged(at=entry.changed_at(), gid=entry.gid, job=job, before=status)


@attrs.frozen
class _Events(AsyncIterator[JobChanged | WaitEnded]):
    """A reader of a monitor's events. Nothing is left behind by a loop that breaks."""

    _next: Callable[[], Awaitable[JobChanged | WaitEnded]]

    async def __anext__(self) -> JobChanged | WaitEnded:
        return await self._next()
