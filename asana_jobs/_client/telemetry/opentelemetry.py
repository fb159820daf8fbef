"""Spans and metrics for applications that have set OpenTelemetry up; loaded for them only.

Each start and each wait has a span, below the span of whoever asked, and current while it is worked on, so that the
spans of an instrumented HTTP client hang below it. A wait is linked to the start of its job. Metrics are counted and
measured from events; gids are never their attributes, since each would be a series.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from contextvars import Token
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final, Self
from weakref import WeakValueDictionary

import attrs
from opentelemetry import context, metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import (
    CallbackOptions,
    Counter,
    Histogram,
    MeterProvider,
    Observation,
    UpDownCounter,
)
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Status, StatusCode, Tracer, TracerProvider
from opentelemetry.util.types import Attributes, AttributeValue
from yarl import URL

from asana_jobs import __version__
from asana_jobs._client.clock import Clock
from asana_jobs._client.limits.gate import Gate
from asana_jobs.errors import APIError, AsanaJobsError
from asana_jobs.events import (
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
    WaitOutcome,
)
from asana_jobs.operations import Operation


#: The scope of the spans and metrics.
SCOPE: Final = "asana_jobs"
#: Where the providers live that stand in until there is one, and those that do nothing.
NO_PROVIDERS: Final = ("opentelemetry.trace", "opentelemetry.metrics")
#: The key of our span in the context, lest events are added to anybody else's.
SPAN_KEY: Final = context.create_key("asana_jobs-span")
#: Jobs whose start is remembered, for the link from their wait to it.
STARTS_REMEMBERED: Final = 1024
#: The use of a budget is counted by the minute: what was heard of it longer ago says nothing any more.
BUDGET_STALE_AFTER: Final = timedelta(minutes=1)
#: Bounds of histograms, in seconds: the common ones are for milliseconds.
WAIT_BUCKETS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1800, 3600, 7200)
LAG_BUCKETS: Final = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)


def find_opentelemetry(*, clock: Clock, gate: Gate, base_url: str) -> OpenTelemetry | None:
    """Return what records one client, or ``None`` if nobody has set up spans or metrics so far.

    Args:
        clock: The client's clock.
        gate: The client's gate, whose use is measured.
        base_url: Where the client's requests go.
    """
    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    if all(type(provider).__module__.startswith(NO_PROVIDERS) for provider in providers):
        return None
    return OpenTelemetry(*providers, clock=clock, gate=gate, base_url=base_url)


class OpenTelemetry:
    """OpenTelemetry's side of one client."""

    def __init__(
        self, tracers: TracerProvider, meters: MeterProvider, *, clock: Clock, gate: Gate, base_url: str
    ) -> None:
        self._to = make_instruments(tracers, meters)
        self._gate = gate
        self._budget = BudgetUse(clock, 0.0, clock.now())
        self._to.budgets[id(self._budget)] = self._budget
        url = URL(base_url)
        self._server: dict[str, AttributeValue] = {"server.address": url.host or ""}
        if url.port is not None:
            self._server["server.port"] = url.port

    def start(self, operation: Operation) -> TracedStart:
        """Begin the span of a start: one call to Asana as users see it, whatever is repeated."""
        known = {"asana.job.kind": operation.kind, "asana.subject.gid": operation.gid, **self._server}
        return TracedStart(
            self._to.tracer.start_span("asana.job.start", kind=SpanKind.CLIENT, attributes=known)
        )

    def wait(self, event: WaitBegan) -> TracedWait:
        """Begin the span of a wait."""
        origin = self._to.origins.get(event.gid)
        return TracedWait(
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
        while len(origins) > STARTS_REMEMBERED:
            origins.popitem(last=False)


def _annotate(event: Event) -> None:
    match event:
        case JobLooked(error=AsanaJobsError() as error):
            _add("asana.job.look_failed", given({"error.type": error_type(error)}))
        case JobChanged():
            _add("asana.job.changed", given({"asana.job.status": event.job.status}))
        case JobOverdue():
            _add("asana.job.overdue", {"asana.job.age": event.age, "asana.job.usual_age": event.usual})
        case RequestRejected():
            told = {"asana.retry_after": event.retry_after, "asana.paused_for": event.paused_for}
            _add("asana.request.rejected", given(told))
        case RequestRepeated():
            _add("asana.request.repeated", given({"error.type": error_type(event.error)}))
        case _:
            pass


def _current() -> Span | None:
    span = context.get_value(SPAN_KEY)
    return span if isinstance(span, Span) else None


def _add(name: str, attributes: Attributes) -> None:
    span = _current()
    if span is not None:
        span.add_event(name, attributes)


class _Current:
    """A span that is the current one inside its block."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._outer: Token[Context] | None = None

    def __enter__(self) -> Self:
        inside = context.set_value(SPAN_KEY, self._span, trace.set_span_in_context(self._span))
        self._outer = context.attach(inside)
        return self

    def __exit__(self, kind: object, error: object, traceback: object, /) -> None:
        outer, self._outer = self._outer, None
        if outer is not None:
            context.detach(outer)


class TracedStart(_Current):
    """The span of a start; it ends with its block."""

    def __init__(self, span: Span) -> None:
        super().__init__(span)
        self._discarded = False

    def __exit__(self, kind: object, error: object, traceback: object, /) -> None:
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


class TracedWait(_Current):
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


def _fail(span: Span, error: Exception) -> None:
    status = error.status if isinstance(error, APIError) else None
    span.set_attributes(given({"error.type": error_type(error), "http.response.status_code": status}))
    # Only ours are known to hold no secrets.
    span.set_status(Status(StatusCode.ERROR, str(error) if isinstance(error, AsanaJobsError) else None))


@attrs.frozen(eq=False)
class Instruments:
    """The instruments that all clients of the process record with."""

    tracer: Tracer
    waits: Histogram
    lags: Histogram
    looks: Counter
    starts: Counter
    rejections: Counter
    waiting: UpDownCounter
    budgets: WeakValueDictionary[int, BudgetUse]
    origins: OrderedDict[str, SpanContext]


@attrs.define(eq=False)
class BudgetUse:
    """The use of one token's budget, as last heard.

    Attributes:
        clock: The clock of its client.
        used: The share that was used in the last minute.
        at: When this was heard.
    """

    clock: Clock
    used: float
    at: datetime


@lru_cache(maxsize=1)
def make_instruments(tracers: TracerProvider, meters: MeterProvider) -> Instruments:
    """Return the instruments; the same for every client."""
    meter = meters.get_meter(SCOPE, __version__)
    budgets: WeakValueDictionary[int, BudgetUse] = WeakValueDictionary()

    def used(_: CallbackOptions) -> Iterable[Observation]:
        # Called in a thread of the exporter. The list is made in one step.
        heard = [budget for reference in budgets.valuerefs() if (budget := reference()) is not None]
        fresh = [budget.used for budget in heard if budget.clock.now() - budget.at < BUDGET_STALE_AFTER]
        if heard:
            yield Observation(max(fresh, default=0.0))

    meter.create_observable_gauge(
        "asana_jobs.budget.utilization",
        [used],
        unit="1",
        description="Share of the minute's requests that was used at the last look, of the fullest budget",
    )
    return Instruments(
        tracers.get_tracer(SCOPE, __version__),
        meter.create_histogram(
            "asana_jobs.wait.duration",
            unit="s",
            description="How long a job was waited for",
            explicit_bucket_boundaries_advisory=WAIT_BUCKETS,
        ),
        meter.create_histogram(
            "asana_jobs.detection.lag",
            unit="s",
            description="At most this long after its end a job was seen to have finished",
            explicit_bucket_boundaries_advisory=LAG_BUCKETS,
        ),
        meter.create_counter("asana_jobs.looks", unit="{look}", description="Looks at jobs"),
        meter.create_counter("asana_jobs.starts", unit="{job}", description="Jobs started, or not"),
        meter.create_counter("asana_jobs.rejections", unit="{request}", description="Answers 429"),
        meter.create_up_down_counter("asana_jobs.waits.active", unit="{wait}", description="Waits under way"),
        budgets,
        OrderedDict(),
    )


def count(to: Instruments, event: Event) -> None:
    """Count and measure what *event* tells."""
    match event:
        case JobLooked():
            to.looks.add(1, given({"error.type": error_type(event.error)}))
        case JobFinished(lag_bound=float(lag)):
            to.lags.record(lag, given({"asana.job.kind": event.kind}))
        case JobStarted():
            to.starts.add(1, {"asana.job.kind": event.kind, "asana.start.outcome": "started"})
        case StartFailed() | StartDoubted():
            outcome = "doubted" if isinstance(event, StartDoubted) else "failed"
            labels = {
                "asana.job.kind": event.kind,
                "asana.start.outcome": outcome,
                "error.type": error_type(event.error),
            }
            to.starts.add(1, given(labels))
        case WaitBegan():
            to.waiting.add(1)
        case WaitEnded():
            to.waiting.add(-1)
            labels = {
                "asana.job.kind": event.kind,
                "asana.wait.outcome": event.outcome.value,
                "error.type": error_type(event.error),
            }
            to.waits.record(event.waited, given(labels))
        case RequestRejected():
            to.rejections.add(1, {"http.request.method": event.method})
        case _:
            pass


def error_type(error: Exception | None) -> str | None:
    """Return what ``error.type`` says, as OpenTelemetry's conventions have it."""
    return None if error is None else f"{type(error).__module__}.{type(error).__qualname__}"


def given(attributes: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue]:
    """Leave out what is not known, and make a plain text of a job's status."""
    return {
        name: str(value) if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None
    }
