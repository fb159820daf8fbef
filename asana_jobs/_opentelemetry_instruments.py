"""What is counted and measured with OpenTelemetry, from events. Gids are never attributes here: each would be a series."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final
from weakref import WeakValueDictionary

import attrs
from opentelemetry.metrics import (
    CallbackOptions,
    Counter,
    Histogram,
    MeterProvider,
    Observation,
    UpDownCounter,
)
from opentelemetry.trace import SpanContext, Tracer, TracerProvider
from opentelemetry.util.types import AttributeValue

from asana_jobs._clock import Clock
from asana_jobs._version import __version__
from asana_jobs.events import (
    Event,
    JobFinished,
    JobLooked,
    JobStarted,
    RequestRejected,
    StartDoubted,
    StartFailed,
    WaitBegan,
    WaitEnded,
)


NAME: Final = "asana_jobs"
#: What is known of a budget that nobody has used for this long says nothing any more: it is counted by the minute.
STALE: Final = timedelta(minutes=1)
#: Bounds of histograms, in seconds: the common ones are for milliseconds.
DURATIONS: Final = (0.5, 1, 2.5, 5, 10, 30, 60, 150, 300, 600, 1800, 3600, 7200)
LAGS: Final = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)


@attrs.define(eq=False)
class Budget:
    """How much of one token's budget was used, as last heard."""

    clock: Clock
    used: float
    at: datetime


@attrs.frozen(eq=False)
class Instruments:
    """What all clients of the process record with."""

    tracer: Tracer
    waits: Histogram
    lags: Histogram
    looks: Counter
    starts: Counter
    rejections: Counter
    waiting: UpDownCounter
    budgets: WeakValueDictionary[int, Budget]
    origins: OrderedDict[str, SpanContext]


@lru_cache(maxsize=1)
def make_instruments(tracers: TracerProvider, meters: MeterProvider) -> Instruments:
    """Return what to record with; the same for every client."""
    meter = meters.get_meter(NAME, __version__)
    budgets: WeakValueDictionary[int, Budget] = WeakValueDictionary()

    def used(_: CallbackOptions) -> Iterable[Observation]:
        # Called in a thread of the exporter. The list is made in one step.
        heard = [budget for reference in budgets.valuerefs() if (budget := reference()) is not None]
        fresh = [budget.used for budget in heard if budget.clock.now() - budget.at < STALE]
        if heard:
            yield Observation(max(fresh, default=0.0))

    meter.create_observable_gauge(
        "asana_jobs.budget.utilization",
        [used],
        unit="1",
        description="Share of the minute's requests that was used at the last look, of the fullest budget",
    )
    return Instruments(
        tracers.get_tracer(NAME, __version__),
        meter.create_histogram(
            "asana_jobs.wait.duration",
            unit="s",
            description="How long a job was waited for",
            explicit_bucket_boundaries_advisory=DURATIONS,
        ),
        meter.create_histogram(
            "asana_jobs.detection.lag",
            unit="s",
            description="At most this long after its end a job was seen to have finished",
            explicit_bucket_boundaries_advisory=LAGS,
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
            to.looks.add(1, given({"error.type": name_of(event.error)}))
        case JobFinished(lag_bound=float(lag)):
            to.lags.record(lag, given({"asana.job.kind": event.kind}))
        case JobStarted():
            to.starts.add(1, {"asana.job.kind": event.kind, "asana.start.outcome": "started"})
        case StartFailed() | StartDoubted():
            outcome = "doubted" if isinstance(event, StartDoubted) else "failed"
            labels = {
                "asana.job.kind": event.kind,
                "asana.start.outcome": outcome,
                "error.type": name_of(event.error),
            }
            to.starts.add(1, given(labels))
        case WaitBegan():
            to.waiting.add(1)
        case WaitEnded():
            to.waiting.add(-1)
            labels = {
                "asana.job.kind": event.kind,
                "asana.wait.outcome": event.outcome.value,
                "error.type": name_of(event.error),
            }
            to.waits.record(event.waited, given(labels))
        case RequestRejected():
            to.rejections.add(1, {"http.request.method": event.method})
        case _:
            pass


def name_of(error: Exception | None) -> str | None:
    """Return what ``error.type`` says, as OpenTelemetry's conventions have it."""
    return None if error is None else f"{type(error).__module__}.{type(error).__qualname__}"


def given(attributes: Mapping[str, AttributeValue | None]) -> dict[str, AttributeValue]:
    """Leave out what is not known, and make a plain text of a job's status."""
    return {
        name: str(value) if isinstance(value, str) else value
        for name, value in attributes.items()
        if value is not None
    }
