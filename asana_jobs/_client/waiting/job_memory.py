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
            watched.first_seen = self.moment(reference.started_at)
            if reference.looks == 1:
                watched.watched_from = watched.seen_at
        elif reference.gid in self._first_seen:
            # The looks since then are not known any more.
            watched.first_seen, watched.teaches = self._first_seen[reference.gid], False
        self._first_seen[reference.gid] = watched.first_seen

    def moment(self, past: datetime) -> float:
        """Return when that was by the client's clock."""
        return self.clock.monotonic() - max(0.0, (self.clock.now() - past).total_seconds())
