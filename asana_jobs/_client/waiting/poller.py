"""Looks at jobs: one request for any number of waiters on a gid, and none for a job known to be finished."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from datetime import datetime
from hashlib import blake2b
from math import inf
from typing import Final, TypeVar, cast
from weakref import WeakValueDictionary

import attrs

from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.decode import ORGANIZATION_EXPORT, decode
from asana_jobs._client.http.protocol import Request, Response, read_data, read_error, read_job
from asana_jobs._client.limits.gate import FOREGROUND, ROUTINE, Lease, Priority
from asana_jobs._client.telemetry.log_fields import about_job
from asana_jobs._client.waiting.dispatcher import Dispatcher, LookTurn, Plan, twin
from asana_jobs._client.waiting.durations import Durations
from asana_jobs._client.waiting.job_reference import ORGANIZATION_EXPORTS, JobReference
from asana_jobs.errors import AsanaJobsError
from asana_jobs.models import Job, JobStatus, has_changed
from asana_jobs.operations import Operation
from asana_jobs.policies import PollPolicy


#: Finished jobs and freshly started ones that are remembered.
REMEMBERED_JOBS: Final = 4096
#: Unknown states that are logged, so that a server which invents one with each answer does not fill log and memory.
LOGGED_STATES: Final = 100
#: Seconds for which what another waiter saw counts as a look of one's own.
FRESH: Final = 1.0

_EXPORT_PATH: Final = f"/{ORGANIZATION_EXPORTS}/"

K = TypeVar("K")
V = TypeVar("V")
_log = logging.getLogger("asana_jobs")


@attrs.define(eq=False)
class Watch:
    """The state of one job that all who wait for it share; it goes with the last of them.

    Attributes:
        gid: The job's gid.
        opt_fields: The fields that are asked for.
        collection: Where Asana keeps it: organization exports are kept outside its jobs.
        since: When it was first asked for, on the client's clock, here or by an earlier process.
        key: Its name in the schedule.
        kind: The kind of the job, by which durations are learned, if known.
        source: The gid of what is copied or instantiated, for the same purpose.
        started: When the job started, if known.
        outcome: The result of the last look.
        version: The number of looks, so that a waiter can tell what is new.
        job: The job as last seen.
        digest: The digest of the answer it was read from, while it runs.
        seen_at: When it was last seen, here or by an earlier process; before that minus infinity, as it may be
            older than the machine's clock.
        watched_from: When it was first seen running, if that was here; nothing is known of those that ended before.
        teaches: Whether durations are learned from it: not if it was watched before, and nobody knows its start.
        asked_at: When that was asked for; before that minus infinity.
        answered_at: When the last look ended, in an answer or in an error.
        flying: Whether a look is under way.
        joined: Those who wait for the answer that is under way; ``None`` while nobody does.
        known: The job, or its status, before the first look; kept only if somebody is told of changes.
    """

    gid: str
    opt_fields: str | None
    collection: str
    since: float
    key: str
    kind: str | None = None
    source: str | None = None
    started: float | None = None
    outcome: Job | AsanaJobsError | None = None
    version: int = 0
    job: Job | None = None
    digest: bytes | None = None
    seen_at: float = -inf
    watched_from: float = -inf
    teaches: bool = True
    asked_at: float = -inf
    answered_at: float = 0.0
    flying: bool = False
    joined: list[asyncio.Future[None]] | None = None
    known: Job | str | None = None

    @property
    def born(self) -> float:
        """When the job started, or is taken to have started."""
        return self.since if self.started is None else self.started


def key_of(gid: str, opt_fields: str | None) -> str:
    """Return the name in the schedule of a job that is asked for these fields."""
    return gid if opt_fields is None else f"{gid}?{opt_fields}"


@attrs.frozen
class Birth:
    """The start of a job that this client started itself."""

    kind: str
    source: str
    at: float
    started_at: datetime


class Poller:
    """All looks of one client."""

    def __init__(self, exchange: ApiSession, durations: Durations) -> None:
        self.exchange = exchange
        self.durations = durations
        self._dispatcher = Dispatcher(exchange, durations)
        self._watches: WeakValueDictionary[str, Watch] = WeakValueDictionary()
        self._finished: OrderedDict[str, Job] = OrderedDict()
        self._births: OrderedDict[str, Birth] = OrderedDict()
        self._first_seen: OrderedDict[str, float] = OrderedDict()
        self._unknown_states: set[str] = set()

    def watch(self, subject: JobReference, opt_fields: str | None) -> Watch:
        """Return the one watch on this job with these fields."""
        key = key_of(subject.gid, opt_fields)
        watch = self._watches.get(key)
        new = watch is None
        if watch is None:
            now = self.exchange.clock.monotonic()
            watch = self._watches[key] = Watch(subject.gid, opt_fields, subject.collection, now, key)
            if subject.looked_at is not None and subject.trouble_since is None:
                watch.seen_at = self._moment(subject.looked_at)  # it was running then
        watch.kind = watch.kind or subject.kind
        watch.source = watch.source or subject.source
        if watch.started is None:
            watch.started = self._started(subject)
            if watch.started is None and new:
                self._meet(watch, subject)
        if self.exchange.telemetry is not None:
            watch.known = watch.known or subject.job or subject.last_status
        return watch

    def born(self, job: Job, operation: Operation, asked_at: float) -> None:
        """Remember when and how a job was started."""
        now = self.exchange.clock.monotonic()
        _remember(self._births, job.gid, Birth(operation.kind, operation.gid, now, self.exchange.clock.now()))
        if _log.isEnabledFor(logging.DEBUG):
            extra = about_job(job.gid, job.status, kind=operation.kind)
            _log.debug("%s of %s started job %s", operation.kind, operation.gid, job.gid, extra=extra)
        if self.exchange.telemetry is not None:
            self.exchange.telemetry.started(job, operation, now - asked_at)
        if job.done:
            self.durations.observe(operation.kind, 0.0, now - asked_at, operation.gid, finished=True)
            _remember(self._finished, key_of(job.gid, None), job)

    def enrich(self, subject: JobReference) -> JobReference:
        """Add what is remembered about a job."""
        birth = self._births.get(subject.gid)
        if birth is None:
            return subject
        return attrs.evolve(
            subject, kind=birth.kind, source=birth.source, started_at=birth.started_at, first_seen=False
        )

    def _started(self, subject: JobReference) -> float | None:
        birth = self._births.get(subject.gid)
        if birth is not None:
            return birth.at
        if subject.started_at is None or subject.first_seen:
            return None
        return self._moment(subject.started_at)

    def _meet(self, watch: Watch, subject: JobReference) -> None:
        """Find out when a job was first asked for whose start nobody knows."""
        if subject.started_at is not None:
            watch.since = self._moment(subject.started_at)
            if subject.looks == 1:
                watch.watched_from = watch.seen_at
        elif subject.gid in self._first_seen:
            # The looks since then are not known any more.
            watch.since, watch.teaches = self._first_seen[subject.gid], False
        _remember(self._first_seen, subject.gid, watch.since)

    def _moment(self, past: datetime) -> float:
        """Return when that was by the client's clock."""
        clock = self.exchange.clock
        return clock.monotonic() - max(0.0, (clock.now() - past).total_seconds())

    def finished(self, gid: str, opt_fields: str | None) -> Job | None:
        """Return the job if it is known to be finished: terminal states never change."""
        return self._finished.get(key_of(gid, opt_fields))

    @property
    def away(self) -> bool:
        """Whether Asana answers no look at all, so that nobody looks out of turn."""
        return self._dispatcher.away

    def priority(self, *, first: bool, last: bool) -> Priority:
        """Return how urgent a wait's look is: the *last* before its deadline is, the *first* if nobody waits yet."""
        # The first looks of a fleet would keep everybody's own calls waiting for minutes.
        calls_waiting = first and self.exchange.gate.snapshot().waiting[FOREGROUND] > 0
        return FOREGROUND if last or (first and not calls_waiting) else ROUTINE

    def turn(
        self,
        watch: Watch,
        seen: int,
        policy: PollPolicy,
        last_look: float,
        due: float | None,
        *,
        since: float | None = None,
    ) -> LookTurn | None:
        """Line up for the next look; what is granted goes to `look`. ``None`` if there is a newer one than *seen*.

        *since*: as in `Plan.trouble_since`.
        """
        if watch.version > seen:
            return None
        # Without keywords, which take as long as all the rest of making one.
        last_look, known_start = max(last_look, watch.seen_at), watch.started is not None
        plan = Plan(policy, watch.kind, watch.source, watch.born, last_look, due, since, known_start)
        return self._dispatcher.turn(watch.key, plan)

    async def look(self, watch: Watch, seen: int, priority: Priority, lease: Lease | None = None) -> Job:
        """Return the job as of a look newer than *seen*: somebody else's if there is one, else our own."""
        try:
            while watch.version <= seen:
                if not watch.flying:
                    return await self._fly(watch, priority, lease)
                with self.exchange.lifetime.guard():
                    await _join(watch)
        finally:
            if lease is not None:
                lease.release(answered=False)  # unless it was used: then it was given back before
        if isinstance(watch.outcome, Job):
            return watch.outcome
        assert watch.outcome is not None  # noqa: S101  # a version has an outcome
        raise twin(watch.outcome)

    async def _fly(self, watch: Watch, priority: Priority, lease: Lease | None) -> Job:
        watch.flying = True
        asked_at = self.exchange.clock.monotonic()
        try:
            # Made for each look, since a parked wait keeps no more than it needs.
            request = read_job(
                watch.gid,
                watch.opt_fields,
                collection=watch.collection,
                timeout=self.exchange.timeout,
            )
            response = await self.exchange.once(request, priority, lease=lease)
            job, digest = self._seen(watch, request, response)
        except AsanaJobsError as error:
            watch.outcome, watch.version = error, watch.version + 1
            watch.answered_at = self.exchange.clock.monotonic()
            self._dispatcher.met(error)
            if self.exchange.telemetry is not None:
                self.exchange.telemetry.looked(watch.gid, watch.answered_at - asked_at, error)
            raise
        else:
            self._note(watch, job, asked_at)
            watch.digest = digest
            self._dispatcher.met(None)
            return job
        finally:
            # Without an outcome, because we were cancelled, one of the others takes over.
            watch.flying = False
            joined, watch.joined = watch.joined or (), None
            for future in joined:
                if not future.done():
                    future.set_result(None)
            self._dispatcher.wake(watch.key)

    def _seen(self, watch: Watch, request: Request, response: Response) -> tuple[Job, bytes | None]:
        # Most looks see what the one before saw, to the letter: that is read once, and kept once. A digest says so,
        # since a parked wait keeps no more than it needs.
        digest = blake2b(response.body, digest_size=16, usedforsecurity=False).digest()
        if watch.job is not None and watch.digest == digest and response.status == 200:
            return watch.job, digest
        job = self.read(request, response, needed=("gid", "status"))
        return job, None if job.done else digest

    def read(self, request: Request, response: Response, needed: tuple[str, ...] = ("gid",)) -> Job:
        """Return the job that an answer is about, if it is the one that was asked for; *needed*: see `decode`."""
        if response.status != 200:
            raise read_error(request, response, self.exchange.clock.now())
        data = read_data(request, response, self.exchange.clock.now)
        if request.path.startswith(_EXPORT_PATH) and isinstance(data, dict):
            # With opt_fields the answer does not say what it is.
            data = {"resource_type": ORGANIZATION_EXPORT, **cast("dict[str, object]", data)}
        job: Job = decode(Job, data, needed=needed)
        if job.gid != request.gid:
            raise self.exchange.refuse_stray(request, job.gid)
        return job

    def _note(self, watch: Watch, job: Job, asked_at: float) -> None:
        if self.exchange.telemetry is not None:
            self.exchange.telemetry.saw(watch, job, asked_at)
        if _log.isEnabledFor(logging.DEBUG) and has_changed(job, watch.job):
            _log.debug("job %s: %s", job.gid, job.status, extra=about_job(job.gid, job.status))
        watch.outcome, watch.job, watch.version = job, job, watch.version + 1
        watch.kind = watch.kind or job.resource_subtype
        watch.asked_at, watch.answered_at = asked_at, self.exchange.clock.monotonic()
        # Asana saw the job at some moment between; the middle is the best guess.
        seen_at = (asked_at + watch.answered_at) / 2
        if watch.started is not None:
            before, after = seen_at - watch.started, max(0.0, watch.seen_at - watch.started)
            self.durations.observe(watch.kind, after, before, watch.source, finished=job.done)
        elif watch.seen_at == -inf:
            watch.watched_from = seen_at  # the job may have ended at any moment before
        elif watch.teaches:
            self.durations.observe(
                watch.kind,
                watch.seen_at - watch.since,
                seen_at - watch.since,
                finished=job.done,
                known_start=False,
                since=watch.watched_from - watch.since,
            )
        watch.seen_at = seen_at
        if job.done:
            _remember(self._finished, watch.key, job)
        elif job.status is not None and not isinstance(job.status, JobStatus):
            self._note_unknown_state(job.status, job.gid)

    def _note_unknown_state(self, status: str, gid: str) -> None:
        if status not in self._unknown_states and len(self._unknown_states) < LOGGED_STATES:
            self._unknown_states.add(status)
            text = "job %s is in state %r, unknown to this version: taken as not finished"
            _log.warning(text, gid, status, extra=about_job(gid, status))


async def _join(watch: Watch) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    watch.joined = [] if watch.joined is None else watch.joined
    watch.joined.append(future)
    await future


def _remember(cache: OrderedDict[K, V], key: K, value: V) -> None:
    cache[key] = value
    cache.move_to_end(key)
    while len(cache) > REMEMBERED_JOBS:
        cache.popitem(last=False)
