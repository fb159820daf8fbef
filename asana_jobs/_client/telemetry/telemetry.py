"""Who is told of what happens. A client that nobody listens to has no `Telemetry`: it pays for a look at ``None``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol, Self, TypeAlias

import attrs

from asana_jobs._client.clock import Clock
from asana_jobs._client.telemetry.log_fields import Addressed
from asana_jobs.errors import AsanaJobsError, OutcomeUnknownError
from asana_jobs.events import (
    Event,
    JobChanged,
    JobFinished,
    JobLooked,
    JobStarted,
    RequestRejected,
    RequestRepeated,
    StartDoubted,
    StartFailed,
    WaitBegan,
    WaitEnded,
)
from asana_jobs.models import Job, has_changed
from asana_jobs.operations import Operation


#: What ``on_event`` takes: a plain function, called where and when things happen, so it must not block.
OnEvent: TypeAlias = Callable[[Event], object]

_log = logging.getLogger("asana_jobs")


class StartSpan(AbstractContextManager["StartSpan"], Protocol):
    """A start that is traced while its block runs. It ends with the block."""

    def discard(self) -> None:
        """There was nothing to start."""
        ...


class WaitSpan(AbstractContextManager[object], Protocol):
    """A wait that is traced. Its block, entered any number of times, is where it is worked on."""

    def end(self, event: WaitEnded) -> None:
        """It is over."""
        ...


class Watched(Protocol):
    """A job as it was known before a look; moments are on the client's clock."""

    @property
    def job(self) -> Job | None:
        """What the look before showed."""
        ...

    @property
    def known(self) -> Job | str | None:
        """The job, or its status, as known before the first look."""
        ...

    @property
    def kind(self) -> str | None:
        """The operation, or the job's ``resource_subtype``."""
        ...

    @property
    def started(self) -> float | None:
        """When it started, if that is known."""
        ...

    @property
    def asked_at(self) -> float:
        """When the look before was asked for."""
        ...


class Tracing(Protocol):
    """What keeps spans."""

    def __call__(self, event: Event) -> object:
        """Take note of *event*, told within the block of what it belongs to."""
        ...

    def start(self, operation: Operation) -> StartSpan:
        """Begin the span of a start."""
        ...

    def wait(self, event: WaitBegan) -> WaitSpan:
        """Begin the span of a wait."""
        ...


class _Untraced:
    """A span of which nothing is kept."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Go on."""

    def discard(self) -> None:
        """There was nothing anyway."""

    def end(self, event: WaitEnded) -> None:
        """There was nothing anyway."""


@attrs.define(eq=False)
class Telemetry:
    """Tells events to those who listen to one client.

    Attributes:
        on_event: The user's function, or ``None``. ``tracing``: OpenTelemetry's side, or ``None``.
    """

    clock: Clock
    on_event: OnEvent | None
    tracing: Tracing | None
    _complained: list[object] = attrs.field(factory=list[object], init=False)

    def tell(self, event: Event) -> None:
        """Tell *event* to everybody. Whatever they raise is logged once and breaks nothing."""
        for listener in (self.on_event, self.tracing):
            if listener is None:
                continue
            try:
                listener(event)
            except Exception:  # noqa: BLE001  # whatever it is, it is not worth a wait
                if listener not in self._complained:
                    self._complained.append(listener)
                    _log.exception(
                        "%s raised for a %s; it is told of more, and what it raises is not logged again",
                        "on_event" if listener is self.on_event else "OpenTelemetry",
                        type(event).__name__,
                        extra={"asana_event": type(event).__name__},
                    )

    def now(self) -> datetime:
        """Return the moment to put on an event."""
        return self.clock.now()

    def started(self, job: Job, operation: Operation, took: float) -> None:
        """A job was started."""
        event = JobStarted(
            at=self.now(),
            gid=job.gid,
            status=job.status,
            kind=operation.kind,
            subject=operation.gid,
            took=took,
        )
        self.tell(event)
        if job.done:
            self.tell(
                JobFinished(
                    at=event.at, gid=job.gid, job=job, kind=operation.kind, age=0.0, lag_bound=event.took
                )
            )

    def not_started(self, operation: Operation, error: AsanaJobsError) -> None:
        """A job was not started, or nobody knows."""
        at, kind, subject = self.now(), operation.kind, operation.gid
        self.tell(
            StartDoubted(at=at, kind=kind, subject=subject, error=error)
            if isinstance(error, OutcomeUnknownError)
            else StartFailed(at=at, kind=kind, subject=subject, error=error)
        )

    def looked(self, gid: str, took: float, error: AsanaJobsError) -> None:
        """A look failed."""
        self.tell(JobLooked(at=self.now(), gid=gid, status=None, took=took, error=error))

    def saw(self, watch: Watched, job: Job, asked_at: float) -> None:
        """A look at what is *watched*, asked for at *asked_at* on the client's clock, was answered with *job*."""
        at, now = self.now(), self.clock.monotonic()
        self.tell(JobLooked(at=at, gid=job.gid, status=job.status, took=now - asked_at))
        before = watch.job or watch.known
        status = before.status if isinstance(before, Job) else before
        if job.status != status if isinstance(before, str) else has_changed(job, before):
            self.tell(JobChanged(at=at, gid=job.gid, job=job, before=status))
        if job.done:
            unfinished_at = watch.started if watch.job is None else watch.asked_at
            self.tell(
                JobFinished(
                    at=at,
                    gid=job.gid,
                    job=job,
                    kind=watch.kind or job.resource_subtype,
                    age=None if watch.started is None else now - watch.started,
                    lag_bound=None if unfinished_at is None else now - unfinished_at,
                )
            )

    def rejected(self, request: Addressed, retry_after: float | None, paused_for: float) -> None:
        """Asana answered 429."""
        self.tell(
            RequestRejected(
                at=self.now(),
                gid=request.gid,
                method=request.method,
                path=request.path,
                retry_after=retry_after,
                paused_for=paused_for,
            )
        )

    def repeated(self, request: Addressed, error: AsanaJobsError) -> None:
        """A request is sent again."""
        self.tell(
            RequestRepeated(
                at=self.now(), gid=request.gid, method=request.method, path=request.path, error=error
            )
        )

    def wait(self, event: WaitBegan) -> WaitSpan:
        """A wait began."""
        self.tell(event)
        return _Untraced() if self.tracing is None else self.tracing.wait(event)
