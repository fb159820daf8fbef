"""Looking at jobs: one request for any number of waiters on a gid, and none for a job known to be finished."""

from __future__ import annotations

import asyncio
import copy
import logging
from collections import OrderedDict
from typing import Final, TypeVar
from weakref import WeakValueDictionary

import attrs

from asana_jobs._answers import read_data, read_error
from asana_jobs._clock import Timer
from asana_jobs._decode import decode_job
from asana_jobs._exchange import Exchange
from asana_jobs._gate import Priority
from asana_jobs._sansio import Request, Response, read_job
from asana_jobs._subjects import Subject
from asana_jobs.errors import AsanaJobsError
from asana_jobs.models import Job, JobStatus
from asana_jobs.operations import Operation


#: Finished jobs and freshly started ones that are remembered.
REMEMBERED: Final = 4096
#: Seconds for which what another waiter saw counts as a look of one's own.
FRESH: Final = 1.0

K = TypeVar("K")
V = TypeVar("V")
_log = logging.getLogger("asana_jobs")


@attrs.define(eq=False)
class Watch:
    """One job as everybody waiting for it sees it: shared by its waiters, gone with the last of them."""

    gid: str
    opt_fields: str | None
    request: Request
    job: Job | None = None
    #: Counts the answers, so that a waiter can tell whether it has seen the latest.
    version: int = 0
    looked_at: float = 0.0
    flying: bool = False
    #: Those who wait for the answer that is under way, and those who wait for their next turn.
    joined: set[asyncio.Future[None]] = attrs.field(factory=set["asyncio.Future[None]"])
    parked: set[asyncio.Future[None]] = attrs.field(factory=set["asyncio.Future[None]"])


@attrs.frozen
class Birth:
    """What is known of a job that this client started itself."""

    kind: str
    source: str
    at: float


class Poller:
    """All looks of one client."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._watches: WeakValueDictionary[tuple[str, str | None], Watch] = WeakValueDictionary()
        self._finished: OrderedDict[tuple[str, str | None], Job] = OrderedDict()
        self._births: OrderedDict[str, Birth] = OrderedDict()
        self._unknown_states: set[str] = set()

    def watch(self, gid: str, opt_fields: str | None) -> Watch:
        """Return the one watch on this job with these fields."""
        key = (gid, opt_fields)
        watch = self._watches.get(key)
        if watch is None:
            request = read_job(gid, opt_fields, timeout=self.exchange.timeout)
            watch = self._watches[key] = Watch(gid, opt_fields, request)
        return watch

    def born(self, job: Job, operation: Operation) -> None:
        """Remember when and how a job was started."""
        birth = Birth(operation.kind, operation.gid, self.exchange.clock.monotonic())
        _remember(self._births, job.gid, birth)
        if job.done:
            _remember(self._finished, (job.gid, None), job)

    def enrich(self, subject: Subject) -> tuple[Subject, float]:
        """Add what is remembered about a job; return it with the job's age in seconds."""
        birth = self._births.get(subject.gid)
        clock = self.exchange.clock
        if birth is not None:
            known = attrs.evolve(subject, kind=birth.kind, source=birth.source)
            return known, clock.monotonic() - birth.at
        if subject.started_at is None:
            return subject, 0.0
        return subject, max(0.0, (clock.now() - subject.started_at).total_seconds())

    def finished(self, gid: str, opt_fields: str | None) -> Job | None:
        """Return the job if it is known to be finished: terminal states never change."""
        return self._finished.get((gid, opt_fields))

    async def look(self, watch: Watch, seen: int, priority: Priority) -> Job:
        """Return the job as of a look newer than *seen*: somebody else's if there is one, else our own."""
        while True:
            now = self.exchange.clock.monotonic()
            if (
                watch.job is not None
                and watch.version > seen
                and (seen > 0 or now - watch.looked_at <= FRESH)
            ):
                return watch.job
            if not watch.flying:
                return await self._fly(watch, priority)
            async with self.exchange.lifetime.guard():
                await _wait_in(watch.joined)

    async def pause(self, watch: Watch, seen: int, delay: float) -> None:
        """Wait *delay* seconds, or until somebody else has looked."""
        if watch.version > seen or delay <= 0:
            return
        async with self.exchange.lifetime.guard():
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            timer: Timer = self.exchange.clock.call_later(delay, lambda: _wake(future))
            try:
                watch.parked.add(future)
                await future
            finally:
                watch.parked.discard(future)
                timer.cancel()

    async def _fly(self, watch: Watch, priority: Priority) -> Job:
        watch.flying = True
        try:
            response = await self.exchange.once(watch.request, priority)
            job = self.read(watch.request, response)
        except AsanaJobsError as error:
            for future in watch.joined:
                if not future.done():
                    future.set_exception(_copy(error))
            raise
        else:
            self._publish(watch, job)
            return job
        finally:
            watch.flying = False
            for future in watch.joined:
                _wake(future)  # cancelled without an answer: one of them takes over

    def read(self, request: Request, response: Response) -> Job:
        """Read the answer to a look."""
        now = self.exchange.clock.now()
        if response.status != 200:
            raise read_error(request, response, now)
        return decode_job(read_data(request, response, now))

    def _publish(self, watch: Watch, job: Job) -> None:
        watch.job = job
        watch.version += 1
        watch.looked_at = self.exchange.clock.monotonic()
        if job.done:
            _remember(self._finished, (watch.gid, watch.opt_fields), job)
        elif job.status is not None and not isinstance(job.status, JobStatus):
            self._note_unknown_state(job.status, job.gid)
        for future in (*watch.joined, *watch.parked):
            _wake(future)

    def _note_unknown_state(self, status: str, gid: str) -> None:
        if status not in self._unknown_states:
            self._unknown_states.add(status)
            _log.warning("job %s is in state %r, unknown to this version: taken as not finished", gid, status)


async def _wait_in(futures: set[asyncio.Future[None]]) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    futures.add(future)
    try:
        await future
    finally:
        futures.discard(future)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _copy(error: AsanaJobsError) -> AsanaJobsError:
    """Return *error* for another task: one exception raised in two tasks would mix their tracebacks."""
    twin = copy.copy(error)
    twin.__cause__ = error.__cause__
    return twin


def _remember(cache: OrderedDict[K, V], key: K, value: V) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > REMEMBERED:
        cache.popitem(last=False)
