"""Budgets: what decides when a request of a token may go, for those who keep one elsewhere.

`AsanaClient` makes a `LocalGate` for itself. Hand it another `Gate` to share one budget between processes, such as
`asana_jobs.worker.RedisGate`.
"""

from asana_jobs._clock import Clock, SystemClock
from asana_jobs._gate import Gate, GateSnapshot, Lease, LocalGate, LocalLease, Priority, Traffic


__all__ = [
    "Clock",
    "Gate",
    "GateSnapshot",
    "Lease",
    "LocalGate",
    "LocalLease",
    "Priority",
    "SystemClock",
    "Traffic",
]
