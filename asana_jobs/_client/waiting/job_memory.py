"""`JobMemory`: what a client remembers of jobs when nobody waits for them any more, or not yet.

How it started them; when it was first asked for those whose start nobody knows; and how they ended.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import Final, TypeVar

import attrs

from asana_jobs._client.clock import Clock
from asana_jobs._client.waiting.job_reference import JobReference
from asana_jobs._client.waiting.watched_job import WatchedJob
from asana_jobs.models import Job
from asana_jobs.operations import Operation


#: Jobs of each sort that are remembered, the oldest forgotten first.
REMEMBERED_JOBS: Final = 4096

V = TypeVar("V")


class JobMemory:
    """The jobs that a client remembers.

    Attributes:
        clock: The client's.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._started: OrderedDict[str, JobReference] = OrderedDict()
        self._first_seen: OrderedDict[str, float] = OrderedDict()
        self._finished: OrderedDict[str, Job] = OrderedDict()

    def started(self, job: Job, operation: Operation, *, whole: bool = True) -> None:
        """Remember how a job was started, just now, and its end if it has one and is known as a *whole*."""
        start = JobReference(
            gid=job.gid, kind=operation.kind, source=operation.gid, started_at=self.clock.now()
        )
        _remember(self._started, job.gid, start)
        if job.done and whole:
            self.finish(job.gid, job)

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
            watched.first_seen = self.moment(reference.started_at)
            if reference.looks == 1:
                watched.watched_from = watched.seen_at
        elif reference.gid in self._first_seen:
            # The looks since then are not known any more.
            watched.first_seen, watched.teaches = self._first_seen[reference.gid], False
        _remember(self._first_seen, reference.gid, watched.first_seen)

    def finish(self, key: str, job: Job) -> None:
        """Remember how a job has ended, by its gid and the fields that were asked for: terminal states never change."""
        _remember(self._finished, key, job)

    def finished(self, key: str) -> Job | None:
        """Return the job if it is known to have finished."""
        return self._finished.get(key)

    def moment(self, past: datetime) -> float:
        """Return when that was by the client's clock."""
        return self.clock.monotonic() - max(0.0, (self.clock.now() - past).total_seconds())


def _remember(cache: OrderedDict[str, V], key: str, value: V) -> None:
    cache[key] = value
    cache.move_to_end(key)
    if len(cache) > REMEMBERED_JOBS:
        cache.popitem(last=False)
