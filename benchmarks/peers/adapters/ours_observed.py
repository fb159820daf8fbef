"""`AsanaClient` with somebody listening: a log, a callback, OpenTelemetry."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from adapters import TOKEN
from adapters.ours import UNLIMITED, Ours
from asana_jobs import AsanaClient
from asana_jobs.events import Event


class Logged(Ours):
    """Everything is logged, to nowhere."""

    async def setup(self, base_url: str, gap: float) -> None:
        """Open a client."""
        logging.basicConfig(level=logging.DEBUG, filename=os.devnull)
        await super().setup(base_url, gap)


class Told(Ours):
    """A callback that counts."""

    _events = 0

    def _open(self, base_url: str) -> AsanaClient:
        return AsanaClient(TOKEN, base_url=base_url, limits=UNLIMITED, on_event=self._count)

    def _count(self, _: Event) -> None:
        self._events += 1


class Traced(Ours):
    """OpenTelemetry's own implementation, with an exporter that drops everything."""

    async def setup(self, base_url: str, gap: float) -> None:
        """Set OpenTelemetry up, and open a client."""
        tracers = TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(Nowhere()))
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(MeterProvider(metric_readers=[InMemoryMetricReader()]))
        await super().setup(base_url, gap)


class Nowhere(SpanExporter):
    """Where spans go to be forgotten."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:  # noqa: ARG002  # its signature
        """Forget them."""
        return SpanExportResult.SUCCESS
