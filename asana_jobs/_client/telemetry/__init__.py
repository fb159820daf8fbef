"""The listeners of a client and what they are told: log fields, events, OpenTelemetry."""
