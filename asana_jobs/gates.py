"""Budgets: gates that decide when a request of a token may go, for those who keep one elsewhere.

`AsanaClient` makes a `LocalGate` for itself. Hand it another `Gate` to share one budget between processes, such as
`asana_jobs.worker.RedisGate`. A gate that offers `JobPlaces` as well counts the jobs that ``run`` and ``run_all`` have
running in all of them.
"""

from asana_jobs._client.clock import Clock, SystemClock
from asana_jobs._client.limits.gate import Gate, GateSnapshot, Lease, LocalGate, LocalLease, Priority, Traffic
from asana_jobs._client.limits.running_jobs import JobPlace, JobPlaces


__all__ = [
    "Clock",
    "Gate",
    "GateSnapshot",
    "JobPlace",
    "JobPlaces",
    "Lease",
    "LocalGate",
    "LocalLease",
    "Priority",
    "SystemClock",
    "Traffic",
]
