"""`WatchedJob`: what is known of one job while anybody is interested, whoever that is. The `Poller` looks at it.

`JobMemory` is what a client remembers of jobs when nobody waits for them any more, or not yet: how it started them;
when it was first asked for those whose start nobody knows; and how they ended.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from contextvars import Context
from datetime import datetime
from math import inf
from typing import TYPE_CHECKING, Final, TypeVar, cast
from weakref import ref

import attrs

from asana_jobs._client.clock import Clock
from asana_jobs._client.http.decode import ORGANIZATION_EXPORT, decode, loads
from asana_jobs._client.waiting.job_reference import ORGANIZATION_EXPORTS, JobReference
from asana_jobs._client.waiting.trouble import FailureStreak
from asana_jobs.models import Job
from asana_jobs.operations import Operation


if TYPE_CHECKING:
    from asana_jobs._client.waiting.subscription import Subscription


#: Jobs of each sort that are remembered, the oldest forgotten first.
REMEMBERED_JOBS: Final = 4096

V = TypeVar("V")


def mark_export(data: object) -> object:
    """Return the *data* of an answer about an organization export, which do not say so with opt_fields."""
    if isinstance(data, dict):
        return {"resource_type": ORGANIZATION_EXPORT, **cast("dict[str, object]", data)}
    return data


def read_body(body: bytes, collection: str) -> Job:
    """Return the job that an answer describes, which was read before."""
    data = loads(body)["data"]
    return decode(Job, mark_export(data) if collection == ORGANIZATION_EXPORTS else data, needed=("gid",))


@attrs.define(eq=False)
class WatchedJob:
    """What is known of one job, asked for with one set of fields. Moments are on the client's clock.

    Attributes:
        gid: The job's gid.
        opt_fields: The fields that are asked for.
        collection: Where Asana keeps it: organization exports are kept outside its jobs.
        key: Its name in the schedule.
        born: When it started or, if nobody knows, when it was first asked for, here or by an earlier process.
        kind: The kind of the job, by which durations are learned, if known.
        source: The gid of what is copied or instantiated, for the same purpose.
        known_start: Whether it is known when it started.
        looks: How many looks there were, failed ones included.
        body: The last answer; it is kept instead of the `Job` that was read from it, which takes five times as much.
        reading: The job that was read from it, as long as somebody holds that.
        running_at: When the job was last known to be running, for the schedule.
        seen_at: When it was last seen, here or by an earlier process; before that minus infinity, as it may be
            older than the machine's clock.
        asked_at: When that was asked for; before that minus infinity.
        answered_at: When the last look ended, in an answer or in an error.
        watched_from: When it was first seen running, if that was here; nothing is known of those that ended before.
        teaches: Whether durations are learned from it: not if it was watched before, and nobody knows its start.
        was_overdue: Whether it was told that it is older than nearly all of its kind become.
        learn_at: When they are to be told that it still runs: when it comes into the next bin of age.
        streak: The failures since the last answer, if there are any.
        look: The look under way.
        look_began: When that was sent; ``None`` while it waits for the budget.
        context: The context of the subscription that wants the next look.
        known: The job, or its status, before the first look; kept only if somebody is told of changes.
        first: Who is interested; ``None`` if nobody is.
        others: Who is interested, too: mostly nobody, and then there is no dictionary.
    """

    gid: str
    opt_fields: str | None
    collection: str
    key: str
    born: float
    kind: str | None = None
    source: str | None = None
    known_start: bool = False
    looks: int = 0
    body: bytes | None = None
    running_at: float = -inf
    seen_at: float = -inf
    asked_at: float = -inf
    answered_at: float = 0.0
    watched_from: float = -inf
    teaches: bool = True
    was_overdue: bool = False
    learn_at: float = -inf
    streak: FailureStreak | None = None
    look: asyncio.Task[None] | None = None
    look_began: float | None = None
    context: Context | None = None
    known: Job | str | None = None
    reading: ref[Job] | None = None
    first: Subscription | None = None
    others: OrderedDict[Subscription, None] | None = None

    @property
    def started(self) -> float | None:
        """When the job started, if known."""
        return self.born if self.known_start else None

    @property
    def job(self) -> Job | None:
        """The job as it was last seen."""
        job = None if self.reading is None else self.reading()
        if job is None and self.body is not None:
            job = read_body(self.body, self.collection)
            self.reading = ref(job)
        return job

    @property
    def subscriptions(self) -> Iterable[Subscription]:
        """All who are interested, in the order in which they came."""
        if self.first is None:
            return ()
        return (self.first,) if self.others is None else (self.first, *self.others)

    def join(self, subscription: Subscription) -> None:
        """Add somebody who is interested."""
        if self.first is None or self.first is subscription:
            self.first = subscription
        elif self.others is None:
            self.others = OrderedDict({subscription: None})
        else:
            self.others[subscription] = None

    def leave(self, subscription: Subscription) -> bool:
        """Remove somebody; return whether it was there."""
        others = self.others
        if self.first is subscription:
            self.first = others.popitem(last=False)[0] if others else None
        elif others is None or others.pop(subscription, self) is self:
            return False
        if not others:
            self.others = None
        return True


class Remembered(OrderedDict[str, V]):
    """What is remembered of jobs; the oldest is forgotten first."""

    def __setitem__(self, key: str, value: V) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > REMEMBERED_JOBS:
            self.popitem(last=False)


class JobMemory:
    """The jobs that a client remembers.

    Attributes:
        clock: The client's.
        finished: How jobs have ended, by gid and the fields that were asked for: terminal states never change.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.finished: Remembered[Job] = Remembered()
        self._started: Remembered[JobReference] = Remembered()
        self._first_seen: Remembered[float] = Remembered()

    def started(self, job: Job, operation: Operation, *, whole: bool = True) -> None:
        """Remember how a job was started, just now, and its end if it has one and is known as a *whole*."""
        self._started[job.gid] = JobReference(
            gid=job.gid, kind=operation.kind, source=operation.gid, started_at=self.clock.now()
        )
        if job.done and whole:
            self.finished[job.gid] = job

    def enrich(self, reference: JobReference) -> JobReference:
        """Add what is remembered of the start of a job."""
        start = self._started.get(reference.gid)
        if start is None:
            return reference
        return attrs.evolve(
            reference, kind=start.kind, source=start.source, started_at=start.started_at, first_seen=False
        )

    def meet(self, watched: WatchedJob, reference: JobReference) -> None:
        """Find out when a job was first asked for whose start nobody knows."""
        if reference.started_at is not None:
            watched.born = self.moment(reference.started_at)
            if reference.looks == 1:
                watched.watched_from = watched.seen_at
        elif reference.gid in self._first_seen:
            # The looks since then are not known any more.
            watched.born, watched.teaches = self._first_seen[reference.gid], False
        self._first_seen[reference.gid] = watched.born

    def moment(self, past: datetime) -> float:
        """Return when that was by the client's clock."""
        return self.clock.monotonic() - max(0.0, (self.clock.now() - past).total_seconds())
