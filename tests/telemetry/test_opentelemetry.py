"""Spans and metrics, as an application that has set OpenTelemetry up exports them."""

import asyncio
import gc
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context, metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from asana_jobs import AsanaClient, DuplicateProject, Ledger, RateLimits, RetryPolicy, wait_for_job
from asana_jobs._client.http.protocol import Request
from asana_jobs.errors import (
    AsanaJobsError,
    BadRequestError,
    JobTimeoutError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RequestTimeoutError,
)
from asana_jobs.testing import AsanaSimulator, FakeClock, ScriptedTransport


COPY = DuplicateProject("77", name="Q3 launch")
TOKEN = "1/77:d15t1nct1ve0d15t1nct1ve0d15t1nct"


class Exported:
    """What was exported so far."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracer = self.tracers.get_tracer("the application")

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in order."""
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of one name."""
        return [span for span in self.spans if span.name == name]

    def span(self, name: str) -> ReadableSpan:
        """The only one of its name."""
        (span,) = self.named(name)
        return span

    def points(self, metric: str) -> list[tuple[dict[str, Any], Any]]:
        """The attributes and the value (of a histogram, the sum) of each series of a metric."""
        data = self._reader.get_metrics_data()
        found: list[tuple[dict[str, Any], Any]] = []
        for resource in data.resource_metrics if data else ():
            for one in (one for scope in resource.scope_metrics for one in scope.metrics):
                for point in one.data.data_points if one.name == metric else ():
                    assert isinstance(point, NumberDataPoint | HistogramDataPoint)
                    value = point.value if isinstance(point, NumberDataPoint) else point.sum
                    found.append((dict(point.attributes or {}), value))
        return found

    def units(self) -> dict[str, str | None]:
        """The unit of each metric."""
        data = self._reader.get_metrics_data()
        resources = data.resource_metrics if data else ()
        return {one.name: one.unit for r in resources for scope in r.scope_metrics for one in scope.metrics}


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    """What a span says."""
    return span.attributes or {}


def parent(span: ReadableSpan) -> int | None:
    """The id of the span above."""
    return None if span.parent is None else span.parent.span_id


def own(span: ReadableSpan) -> int:
    """The id of a span."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Exported:
    """An application's providers, set up before the client is made; taken down afterwards, as the real ones cannot be."""
    exported = Exported()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: exported.tracers)
    monkeypatch.setattr(metrics, "get_meter_provider", lambda: exported.meters)
    return exported


@pytest.fixture
async def client(
    exported: Exported, clock: FakeClock, transport: ScriptedTransport
) -> AsyncIterator[AsanaClient]:
    """A client that was made after OpenTelemetry was set up."""
    async with AsanaClient(
        TOKEN, transport=transport, clock=clock, limits=RateLimits.paid(), retry=RetryPolicy(jitter=0)
    ) as client:
        yield client


def lost(request: Request) -> RequestTimeoutError:
    """An answer that does not come."""
    return RequestTimeoutError("no answer within 30 s", method=request.method, path=request.path, gid="77")


# Waits.


async def test_a_wait(client: AsanaClient, transport: ScriptedTransport, exported: Exported) -> None:
    """A wait is one span with the job, how the wait ended, and how often was looked."""
    transport.play("not_started", "in_progress", "succeeded")
    waiter = client.wait_for_job("1203")

    await waiter

    (span,) = exported.spans
    assert (span.name, span.kind, span.status.status_code) == (
        "asana.job.wait",
        SpanKind.INTERNAL,
        StatusCode.UNSET,
    )
    assert attributes(span) == {
        "asana.job.gid": "1203",
        "asana.job.status": "succeeded",
        "asana.wait.outcome": "succeeded",
        "asana.wait.looks": 3,
        "asana.wait.lag_bound": waiter.statistics.lag_bound,
    }


async def test_changes_are_events_of_the_span(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported
) -> None:
    """What happens during a wait is on its span: changes, rejections, looks that failed."""
    transport.play("not_started", 429, "in_progress", 503, "succeeded")

    await client.wait_for_job("1203")

    events = [event.name for event in exported.span("asana.job.wait").events]
    assert events == [
        "asana.job.changed",
        "asana.request.rejected",
        "asana.job.look_failed",
        "asana.job.changed",
        "asana.job.look_failed",
        "asana.job.changed",
    ]


@pytest.mark.parametrize("form", ["await", "iterate", "task", "monitor"])
async def test_waits_hang_below_the_callers_span(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported, form: str
) -> None:
    """Whatever the form of waiting, the span of the wait is a child of the one that is current for the caller."""
    transport.play("in_progress", "succeeded")

    with exported.tracer.start_as_current_span("outer") as outer:
        if form == "await":
            await client.wait_for_job("1203")
        elif form == "iterate":
            async for _ in client.wait_for_job("1203"):
                assert trace.get_current_span() is outer
        elif form == "task":
            await asyncio.create_task(client.wait_for_job("1203"))
        else:
            async with client.monitor_jobs(["1203"]) as monitor:
                async for _ in monitor:
                    pass
        assert trace.get_current_span() is outer

    assert parent(exported.span("asana.job.wait")) == outer.get_span_context().span_id


@pytest.mark.parametrize("bulk", [False, True], ids=["start", "run"])
async def test_requests_hang_below_the_wait(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported, bulk: bool
) -> None:
    """The spans of an instrumented HTTP client are children of the start or the wait that sends the requests."""
    answers = iter(["not_started", "in_progress", "succeeded"])

    def serve(request: Request) -> str:
        with exported.tracer.start_as_current_span(request.method):
            return next(answers)

    transport.play(serve)

    await (client.run(COPY) if bulk else client.wait_for_job(await client.start(COPY)))

    wait, start = exported.span("asana.job.wait"), exported.span("asana.job.start")
    assert [parent(span) for span in exported.named("GET")] == [own(wait)] * 2
    assert parent(exported.span("POST")) == own(start)


async def test_a_failed_job(client: AsanaClient, transport: ScriptedTransport, exported: Exported) -> None:
    """A failed job makes an error of the span, although waiting for it succeeded."""
    transport.play("failed")

    await client.wait_for_job("1203")

    span = exported.span("asana.job.wait")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "job 1203 failed")
    assert attributes(span)["error.type"] == "failed"


@pytest.mark.parametrize(
    ("answer", "error", "outcome"),
    [(403, PermissionDeniedError, "error"), ("in_progress", JobTimeoutError, "timed_out")],
    ids=["403", "deadline"],
)
async def test_a_wait_that_raises(
    *,
    client: AsanaClient,
    transport: ScriptedTransport,
    exported: Exported,
    answer: str | int,
    error: type[AsanaJobsError],
    outcome: str,
) -> None:
    """What a wait raises is the status of its span, in the words of the error."""
    transport.play(answer)

    with pytest.raises(error) as caught:
        await client.wait_for_job("1203", timeout=10)

    span = exported.span("asana.job.wait")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, str(caught.value))
    assert attributes(span)["asana.wait.outcome"] == outcome
    assert attributes(span)["error.type"] == f"{error.__module__}.{error.__qualname__}"
    assert attributes(span).get("http.response.status_code") == (403 if answer == 403 else None)


async def test_cancellation(client: AsanaClient, transport: ScriptedTransport, exported: Exported) -> None:
    """A cancelled wait ends its span, as cancelled and without an error, and leaves the caller's context as it was."""
    transport.play("in_progress")

    with exported.tracer.start_as_current_span("outer") as outer:
        before = context.get_current()
        waiting = asyncio.create_task(client.wait_for_job("1203"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert context.get_current() == before

    span = exported.span("asana.job.wait")
    assert attributes(span)["asana.wait.outcome"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET
    assert parent(span) == outer.get_span_context().span_id
    assert exported.points("asana_jobs.waits.active") == [({}, 0)]


async def test_a_wait_that_nobody_goes_on_with(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported
) -> None:
    """The span of a wait that was left and dropped ends, with the parent it began with."""
    transport.play("in_progress")
    with exported.tracer.start_as_current_span("outer") as outer:
        waiter = client.wait_for_job("1203")
        await anext(waiter)

    del waiter
    gc.collect()
    await asyncio.sleep(0)

    span = exported.span("asana.job.wait")
    assert attributes(span)["asana.wait.outcome"] == "abandoned"
    assert parent(span) == outer.get_span_context().span_id


# Starts.


async def test_a_start(client: AsanaClient, transport: ScriptedTransport, exported: Exported) -> None:
    """A start is a client's span, however often its request is repeated, and its wait is linked to it."""
    transport.play(429, "not_started", "succeeded")

    await client.wait_for_job(await client.start(COPY))

    start, wait = exported.spans
    assert (start.name, start.kind, start.status.status_code) == (
        "asana.job.start",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    assert attributes(start) == {
        "asana.job.kind": "duplicate_project",
        "asana.subject.gid": "77",
        "asana.job.gid": "77",
        "asana.job.status": "not_started",
        "server.address": "app.asana.com",
        "server.port": 443,
    }
    assert [event.name for event in start.events] == ["asana.request.rejected", "asana.request.repeated"]
    assert [link.context for link in wait.links] == [start.get_span_context()]


@pytest.mark.parametrize(
    ("answer", "error", "outcome"),
    [(400, BadRequestError, "failed"), (lost, OutcomeUnknownError, "doubted")],
    ids=["400", "lost"],
)
@pytest.mark.parametrize("bulk", [False, True], ids=["start", "run"])
async def test_a_start_that_fails(
    *,
    client: AsanaClient,
    transport: ScriptedTransport,
    exported: Exported,
    answer: Any,
    error: type[AsanaJobsError],
    outcome: str,
    bulk: bool,
) -> None:
    """A start that fails, alone or in a run, has its error as its status, and is counted as failed or doubted."""
    transport.play(answer)

    with pytest.raises(error) as caught:
        await (client.run(COPY) if bulk else client.start(COPY))

    span = exported.span("asana.job.start")
    assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, str(caught.value))
    name = f"{error.__module__}.{error.__qualname__}"
    labels = {"asana.job.kind": "duplicate_project", "asana.start.outcome": outcome, "error.type": name}
    assert exported.points("asana_jobs.starts") == [(labels, 1)]


async def test_a_run_hangs_below_the_callers_span(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported
) -> None:
    """Every start and every wait of a bulk run is a child of the span of whoever iterates it."""
    transport.play("in_progress", *["succeeded"] * 20)

    with exported.tracer.start_as_current_span("outer") as outer:
        assert len([outcome async for outcome in client.run_all([COPY] * 3)]) == 3

    starts, waits = exported.named("asana.job.start"), exported.named("asana.job.wait")
    assert {parent(span) for span in starts + waits} == {outer.get_span_context().span_id}
    assert (len(starts), len(waits)) == (3, 3)


async def test_a_start_that_is_cancelled(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, exported: Exported
) -> None:
    """A start that is cancelled while it waits for its answer ends its span without an error."""
    transport.latency = 10

    with pytest.raises(TimeoutError):
        async with clock.timeout(1):
            await client.start(COPY)

    span = exported.span("asana.job.start")
    assert attributes(span)["error.type"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET


async def test_what_a_ledger_knows_leaves_no_span(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported, tmp_path: Path
) -> None:
    """An operation that an earlier run has finished is neither a start nor a wait."""
    transport.play("in_progress", "succeeded")
    with Ledger.open(tmp_path / "ledger") as ledger:
        for _ in range(2):
            assert [outcome.succeeded async for outcome in client.run_all([COPY], ledger=ledger)] == [True]

    assert [span.name for span in exported.spans] == ["asana.job.start", "asana.job.wait"]


# Metrics.


async def test_metrics(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, exported: Exported
) -> None:
    """What is counted and measured, in which units, with attributes that stay few: never a gid."""
    transport.play("not_started", "in_progress", 429, "succeeded")

    waiter = client.wait_for_job(await client.start(COPY))
    await waiter

    kind = {"asana.job.kind": "duplicate_project"}
    rejected = "asana_jobs.errors.RateLimitError"
    assert exported.points("asana_jobs.starts") == [({**kind, "asana.start.outcome": "started"}, 1)]
    waited = {**kind, "asana.wait.outcome": "succeeded"}
    assert exported.points("asana_jobs.wait.duration") == [(waited, pytest.approx(clock.monotonic()))]
    assert exported.points("asana_jobs.detection.lag") == [
        (kind, pytest.approx(waiter.statistics.lag_bound, abs=1e-5))
    ]
    assert sorted(exported.points("asana_jobs.looks"), key=str) == [({"error.type": rejected}, 1), ({}, 2)]
    assert exported.points("asana_jobs.rejections") == [({"http.request.method": "GET"}, 1)]
    assert exported.points("asana_jobs.waits.active") == [({}, 0)]
    assert exported.units() == {
        "asana_jobs.starts": "{job}",
        "asana_jobs.wait.duration": "s",
        "asana_jobs.detection.lag": "s",
        "asana_jobs.looks": "{look}",
        "asana_jobs.rejections": "{request}",
        "asana_jobs.waits.active": "{wait}",
        "asana_jobs.budget.utilization": "1",
    }


async def test_waits_under_way(client: AsanaClient, transport: ScriptedTransport, exported: Exported) -> None:
    """Waits that have begun and not ended are counted."""
    transport.play("in_progress")
    waiting = [asyncio.create_task(client.wait_for_job(gid)) for gid in ("1", "2", "3")]
    await asyncio.sleep(0)

    assert exported.points("asana_jobs.waits.active") == [({}, 3)]

    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)


async def test_the_budget_is_read_from_the_exporters_thread(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported
) -> None:
    """The budget in use, that of the last look, is read where there is no event loop."""
    transport.play("in_progress", "succeeded")
    await client.wait_for_job("1203")
    read: list[tuple[dict[str, Any], Any]] = []

    thread = threading.Thread(target=lambda: read.extend(exported.points("asana_jobs.budget.utilization")))
    thread.start()
    thread.join()

    assert read == [({}, pytest.approx(client.budget.used))]
    assert client.budget.used > 0


async def test_a_budget_of_long_ago(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, exported: Exported
) -> None:
    """A budget that nobody has used for a minute is free."""
    transport.play("succeeded")
    await client.wait_for_job("1203")

    await clock.sleep(61)

    assert exported.points("asana_jobs.budget.utilization") == [({}, 0)]


async def test_the_fullest_budget_counts(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported
) -> None:
    """Of several clients the fullest budget is told, so that ten thousand of them are one series."""
    transport.play(*["in_progress"] * 8, "succeeded")
    await client.wait_for_job("1203")
    sibling = client.with_token("another")
    await sibling.wait_for_job("1204")

    fullest = max(client.budget.used, sibling.budget.used)
    assert exported.points("asana_jobs.budget.utilization") == [({}, pytest.approx(fullest))]


# When.


async def test_siblings_are_traced(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported
) -> None:
    """A client made by with_token records as the one it came from."""
    transport.play("succeeded")

    await client.with_token("another").wait_for_job("1203")

    assert len(exported.named("asana.job.wait")) == 1


async def test_a_wait_without_a_client(
    exported: Exported, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wait without a client at hand is traced as well."""
    monkeypatch.setenv("ASANA_ACCESS_TOKEN", TOKEN)

    await wait_for_job("1203", base_url=simulator.base_url)

    assert len(exported.named("asana.job.wait")) == 1


@pytest.mark.parametrize("only", ["spans", "metrics"])
async def test_one_of_the_two_is_enough(
    only: str,
    exported: Exported,
    monkeypatch: pytest.MonkeyPatch,
    transport: ScriptedTransport,
    clock: FakeClock,
) -> None:
    """An application that has set up only spans, or only metrics, gets these."""
    if only == "spans":
        monkeypatch.setattr(metrics, "get_meter_provider", metrics.NoOpMeterProvider)
    else:
        monkeypatch.setattr(trace, "get_tracer_provider", trace.NoOpTracerProvider)
    transport.play("succeeded")

    async with AsanaClient(TOKEN, transport=transport, clock=clock) as client:
        await client.wait_for_job("1203")

    assert bool(exported.spans) is (only == "spans")
    assert bool(exported.points("asana_jobs.looks")) is (only == "metrics")


async def test_not_set_up(transport: ScriptedTransport, clock: FakeClock) -> None:
    """Where the API is loaded but nothing has been set up, a client keeps nothing to tell with."""
    assert "opentelemetry.trace" in sys.modules

    async with AsanaClient(TOKEN, transport=transport, clock=clock) as client:
        assert not client._exchange.telemetry.listening  # pyright: ignore[reportPrivateUsage]


def test_not_loaded() -> None:
    """A client in a process that has not loaded OpenTelemetry does not load it."""
    script = (
        "import sys, asana_jobs\n"
        "asana_jobs.AsanaClient('t', on_event=print)\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules)\n"
        "assert not any('_opentelemetry' in name for name in sys.modules)\n"
    )

    subprocess.run([sys.executable, "-c", script], check=True)


async def test_no_span_shows_the_token(
    client: AsanaClient, transport: ScriptedTransport, exported: Exported
) -> None:
    """No span and no metric shows the token, whatever went wrong."""
    for answers in (("in_progress", 429, 503, "succeeded"), ("in_progress", 403), (400,), (lost,)):
        for call in (client.wait_for_job("1203", timeout=60), client.run(COPY), client.start(COPY)):
            transport.play(*answers)
            with suppress(AsanaJobsError):
                await call

    texts = [span.to_json() for span in exported.spans]
    texts += [repr(exported.points(name)) for name in exported.units()]
    assert len(texts) > 12
    assert not any("d15t1nct1ve" in text for text in texts)
