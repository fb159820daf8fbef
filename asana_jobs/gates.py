"""Budgets: gates that decide when a request of a token may go, for those who keep one elsewhere.

`AsanaClient` makes a `LocalGate` for itself. Hand it another `Gate` to share one budget between processes, such as
`asana_jobs.worker.RedisGate`. A gate that offers `JobPlaces` as well counts the jobs that ``run`` and ``run_all`` have
running in all of them.
"""

from math import isfinite
from typing import Final

from asana_jobs._client.clock import Clock, SystemClock, Timer
from asana_jobs._client.limits import gate as _gate
from asana_jobs._client.limits import quota as _quota
from asana_jobs._client.limits.gate import (
    Gate,
    GateSnapshot,
    LastWord,
    Lease,
    LocalGate,
    LocalLease,
    Priority,
    Traffic,
)
from asana_jobs._client.limits.running_jobs import JobPlace, JobPlaces
from asana_jobs.policies import RateLimits


#: The numbers of the arithmetic of a budget, for gates that decide in another language, as that in Redis does in Lua.
BUDGET_NUMBERS: Final[dict[str, float]] = {
    "WINDOW": _quota.WINDOW,
    "MIN_BURST": _quota.MIN_BURST,
    "KEPT_FOR_CALLS": _quota.KEPT_FOR_CALLS,
    "ROUNDING": _quota.ROUNDING,
    "MAX_PASSED_OVER": _gate.MAX_PASSED_OVER,
    "QUOTA_PARTS": _quota.QUOTA_PARTS,
    "DOUBLING_INTERVAL": _quota.DOUBLING_INTERVAL,
    "STEP_FACTOR": _quota.STEP_FACTOR,
    "STEP_INTERVAL": _quota.STEP_INTERVAL,
    "SETTLING_TIME": _quota.SETTLING_TIME,
    "NEAR_CEILING": _quota.NEAR_CEILING,
    "FIRST_BACKOFF": _quota.FIRST_BACKOFF,
    "BACKOFF_FACTOR": _quota.BACKOFF_FACTOR,
    "LONGEST_BACKOFF": _quota.LONGEST_BACKOFF,
    "BACKOFF_JITTER": _quota.BACKOFF_JITTER,
}

__all__ = [
    "BUDGET_NUMBERS",
    "Clock",
    "Gate",
    "GateSnapshot",
    "JobPlace",
    "JobPlaces",
    "LastWord",
    "Lease",
    "LocalGate",
    "LocalLease",
    "Priority",
    "SystemClock",
    "Timer",
    "Traffic",
    "quota_numbers",
]


def quota_numbers(limits: RateLimits) -> dict[str, float]:
    """Return the numbers of a quota as it is taken to be at first, for gates that decide in another language.

    Args:
        limits: What the token may do.

    Returns:
        ``estimate``, ``floor`` and ``maximum`` in requests a minute, and ``ceiling`` if an earlier client was refused it;
        ``min_backoff``, ``max_backoff`` and ``backoff`` in seconds.
    """
    quota = _quota.first_quota(limits)
    names = ("estimate", "ceiling", "floor", "maximum", "min_backoff", "max_backoff", "backoff")
    return {name: value for name in names if isfinite(value := getattr(quota, name))}
