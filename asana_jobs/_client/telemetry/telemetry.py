"""Events told to the listeners of a client. One that nobody listens to has no `Telemetry`, but a `Silence`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import ClassVar, Protocol, Self, TypeAlias

import attrs

from asana_jobs._client.clock import Clock
from asana_jobs._client.telemetry.log_fields import Addressed
from asana_jobs.errors import AsanaJobsError, OutcomeUnknownError
from asana_jobs.events import (
    ChangeAnnounced,
    Event,
    JobChanged,
    JobFinished,
    JobLooked,
    JobOverdue,
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
        """Keep no trace: there was nothing to start."""
        ...


class WaitSpan(AbstractContextManager[object], Protocol):
    """A wait that is traced. Its block, entered any number of times, is where it is worked on."""

    def end(self, event: WaitEnded) -> None:
        """End the span with the wait."""
        ...


class KnownJob(Protocol):
    """A job as it was known before a look; moments are on the client's clock."""

    @property
    def job(self) -> Job | None:
        """The job as the look before showed it."""
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
        """The moment of its start, if that is known."""
        ...

    @property
    def asked_at(self) -> float:
        """The moment at which the look before was asked for."""
        ...


class Tracing(Protocol):
    """A keeper of spans, such as OpenTelemetry's side of a client."""

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
    """A wait of which no span is kept."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def end(self, event: WaitEnded) -> None:
        pass


@attrs.define(eq=False)
class Telemetry:
    """The listeners of one client, and what they are told.

    Attributes:
        clock: The client's clock.
        on_event: The user's function, or ``None``.
        tracing: OpenTelemetry's side, or ``None``.
    """

    listening: ClassVar[bool] = True

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
        """Tell that a job was started, which *took* so many seconds."""
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
        """Tell that a job was not started, or that nobody knows."""
        at, kind, subject = self.now(), operation.kind, operation.gid
        self.tell(
            StartDoubted(at=at, kind=kind, subject=subject, error=error)
            if isinstance(error, OutcomeUnknownError)
            else StartFailed(at=at, kind=kind, subject=subject, error=error)
        )

    def looked(self, gid: str, took: float, error: AsanaJobsError) -> None:
        """Tell that a look failed, which *took* so many seconds."""
        self.tell(JobLooked(at=self.now(), gid=gid, status=None, took=took, error=error))

    def overdue(self, gid: str, kind: str | None, age: float, usual: float) -> None:
        """Tell that a job still runs at an *age* that few of its *kind* reach, being older than is *usual*."""
        self.tell(JobOverdue(at=self.now(), gid=gid, kind=kind, age=age, usual=usual))

    def saw(self, before: KnownJob, job: Job, asked_at: float) -> None:
        """Tell what a look showed, and what is new.

        Args:
            before: The job as it was known.
            job: The job as it is.
            asked_at: The moment at which the look was asked for, on the client's clock.
        """
        at, now = self.now(), self.clock.monotonic()
        self.tell(JobLooked(at=at, gid=job.gid, status=job.status, took=now - asked_at))
        known = before.job or before.known
        status = known.status if isinstance(known, Job) else known
        if job.status != status if isinstance(known, str) else has_changed(job, known):
            self.tell(JobChanged(at=at, gid=job.gid, job=job, before=status))
        if job.done:
            unfinished_at = before.started if before.job is None else before.asked_at
            self.tell(
                JobFinished(
                    at=at,
                    gid=job.gid,
                    job=job,
                    kind=before.kind or job.resource_subtype,
                    age=None if before.started is None else now - before.started,
                    lag_bound=None if unfinished_at is None else now - unfinished_at,
                )
            )

    def rejected(self, request: Addressed, retry_after: float | None, paused_for: float) -> None:
        """Tell that Asana answered 429, and for how many seconds nobody sends."""
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
        """Tell that a request is sent again after *error*."""
        self.tell(
            RequestRepeated(
                at=self.now(), gid=request.gid, method=request.method, path=request.path, error=error
            )
        )

    def change_announced(self, gid: str | None, name: str, info: str) -> None:
        """Tell that Asana changes its API in a way that affects this client."""
        self.tell(ChangeAnnounced(at=self.now(), gid=gid, name=name, info=info))

    def wait_began(self, gid: str, kind: str | None, timeout: float | None) -> WaitSpan:
        """Tell that a wait began, and return its span."""
        event = WaitBegan(at=self.now(), gid=gid, kind=kind, timeout=timeout)
        self.tell(event)
        return _Untraced() if self.tracing is None else self.tracing.wait(event)

    def wait_ended(self, span: WaitSpan, event: WaitEnded) -> None:
        """Tell that a wait has ended, and end its span."""
        self.tell(event)
        span.end(event)
