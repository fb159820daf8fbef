"""What everybody who waits for one job knows of it."""

from __future__ import annotations

import asyncio
from math import inf

import attrs

from asana_jobs.errors import AsanaJobsError
from asana_jobs.models import Job


@attrs.define(eq=False)
class Watch:
    """One job as everybody waiting for it sees it: shared by its waiters, gone with the last of them.

    Attributes:
        since: When it was first asked for, on the client's clock. ``started``: when the job started, if known.
        key: What names it in the schedule.
        outcome: What the last look came to. ``version`` counts looks, so that a waiter can tell what is new.
        job: The job as last seen. ``seen_at``: when that was, ``asked_at``: when it was asked for. Before that they are
            never: the job may be older than the machine's clock.
        digest: Of the answer it was read from, while it runs.
        answered_at: When the last look ended, in an answer or in an error.
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
    """Return what names a job, asked for these fields, in the schedule."""
    return gid if opt_fields is None else f"{gid}?{opt_fields}"
