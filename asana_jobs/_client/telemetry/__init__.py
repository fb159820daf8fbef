"""Who is told what happens: logs, events, OpenTelemetry."""
