"""Whether the application has set OpenTelemetry up: asked once for each client, and cheap to ask."""

from __future__ import annotations

from opentelemetry import metrics, trace


#: Where the providers live that stand in until there is one, and those that do nothing.
IDLE = ("opentelemetry.trace", "opentelemetry.metrics")


def find_providers() -> tuple[trace.TracerProvider, metrics.MeterProvider] | None:
    """Return the providers of spans and of metrics, or ``None`` if nobody has set up either so far."""
    providers = trace.get_tracer_provider(), metrics.get_meter_provider()
    idle = (type(provider).__module__.startswith(IDLE) for provider in providers)
    return None if all(idle) else providers
