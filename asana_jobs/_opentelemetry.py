"""Spans from starts and waits, for applications that have set OpenTelemetry up; loaded for them only.

A span for each start and each wait, below the span of whoever asked, and current while it is worked on, so that the
spans of an instrumented HTTP client hang below it. A wait is linked to the start of its job.
"""

from __future__ import annotations

from contextvars import Token
from types import TracebackType
from typing import Final, Self

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.util.types import Attributes, AttributeValue
from yarl import URL

from asana_jobs._clock import Clock
from asana_jobs._gate import Gate
from asana_jobs._opentelemetry_instruments import Budget, count, given, make_instruments, name_of
from asana_jobs.errors import APIError, AsanaJobsError
from asana_jobs.events import (
    Event,
    JobChanged,
    JobLooked,
    JobStarted,
    RequestRejected,
    RequestRepeated,
    WaitBegan,
    WaitEnded,
    WaitOutcome,
)
from asana_jobs.operations import Operation


#: Under which the span that is ours is kept in the context, lest events are added to anybody else's.
OURS: Final = context.create_key("asana_jobs-span")
#: Jobs whose start is remembered, for the link from their wait to it.
REMEMBERED: Final = 1024


class OpenTelemetry:
    """What one client records."""

    def __init__(
        self, tracers: TracerProvider, meters: MeterProvider, *, clock: Clock, gate: Gate, base_url: str
    ) -> None:
        self._to = make_instruments(tracers, meters)
        self._gate = gate
        self._budget = Budget(clock, 0.0, clock.now())
        self._to.budgets[id(self._budget)] = self._budget
        url = URL(base_url)
        self._server: dict[str, AttributeValue] = {"server.address": url.host or ""}
        if url.port is not None:
            self._server["server.port"] = url.port

    def start(self, operation: Operation) -> StartSpan:
        """Begin the span of a start: one call to Asana as users see it, whatever is repeated."""
        known = {"asana.job.kind": operation.kind, "asana.subject.gid": operation.gid, **self._server}
        return StartSpan(
            self._to.tracer.start_span("asana.job.start", kind=SpanKind.CLIENT, attributes=known)
        )

    def wait(self, event: WaitBegan) -> WaitSpan:
        """Begin the span of a wait."""
        origin = self._to.origins.get(event.gid)
        return WaitSpan(
            self._to.tracer.start_span(
                "asana.job.wait",
                attributes=given({"asana.job.gid": event.gid, "asana.job.kind": event.kind}),
                links=None if origin is None else [Link(origin)],
            )
        )

    def __call__(self, event: Event) -> None:
        """Record *event*."""
        count(self._to, event)
        _annotate(event)
        if isinstance(event, JobStarted | JobLooked | RequestRejected):
            self._budget.used, self._budget.at = self._gate.snapshot().used, event.at
        if isinstance(event, JobStarted):
            self._remember_start(event)

    def _remember_start(self, event: JobStarted) -> None:
        span = _current()
        if span is None:
            return
        span.set_attributes(given({"asana.job.gid": event.gid, "asana.job.status": event.status}))
        origins = self._to.origins
        origins[event.gid] = span.get_span_context()
        while len(origins) > REMEMBERED:
            origins.popitem(last=False)


class _Current:
    """A span that is the current one inside its block."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._outer: Token[Context] | None = None

    def __enter__(self) -> Self:
        inside = context.set_value(OURS, self._span, trace.set_span_in_context(self._span))
        self._outer = context.attach(inside)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        outer, self._outer = self._outer, None
        if outer is not None:
            context.detach(outer)


class StartSpan(_Current):
    """The span of a start; it ends with its block."""

    def __init__(self, span: Span) -> None:
        super().__init__(span)
        self._discarded = False

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        super().__exit__(kind, error, traceback)
        if self._discarded:
            return
        if isinstance(error, Exception):
            _fail(self._span, error)
        elif error is not None:
            self._span.set_attribute("error.type", "cancelled")
        self._span.end()

    def discard(self) -> None:
        """Keep nothing of it: a span that does not end is not exported."""
        self._discarded = True


class WaitSpan(_Current):
    """The span of a wait."""

    def end(self, event: WaitEnded) -> None:
        """Write down how it ended. A failed job makes a failed span, although waiting for it succeeded."""
        span = self._span
        span.set_attributes(
            given(
                {
                    "asana.job.status": event.status,
                    "asana.job.kind": event.kind,
                    "asana.wait.outcome": event.outcome.value,
                    "asana.wait.looks": event.looks,
                    "asana.wait.lag_bound": event.lag_bound,
                }
            )
        )
        if event.error is not None:
            _fail(span, event.error)
        elif event.outcome is WaitOutcome.FAILED:
            span.set_attribute("error.type", "failed")
            span.set_status(Status(StatusCode.ERROR, f"job {event.gid} failed"))
        span.end()


def _annotate(event: Event) -> None:
    match event:
        case JobLooked(error=AsanaJobsError() as error):
            _add("asana.job.look_failed", given({"error.type": name_of(error)}))
        case JobChanged():
            _add("asana.job.changed", given({"asana.job.status": event.job.status}))
        case RequestRejected():
            told = {"asana.retry_after": event.retry_after, "asana.paused_for": event.paused_for}
            _add("asana.request.rejected", given(told))
        case RequestRepeated():
            _add("asana.request.repeated", given({"error.type": name_of(event.error)}))
        case _:
            pass


def _current() -> Span | None:
    span = context.get_value(OURS)
    return span if isinstance(span, Span) else None


def _add(name: str, attributes: Attributes) -> None:
    span = _current()
    if span is not None:
        span.add_event(name, attributes)


def _fail(span: Span, error: Exception) -> None:
    status = error.status if isinstance(error, APIError) else None
    span.set_attributes(given({"error.type": name_of(error), "http.response.status_code": status}))
    # Only ours are known to hold no secrets.
    span.set_status(Status(StatusCode.ERROR, str(error) if isinstance(error, AsanaJobsError) else None))
