"""Start Asana jobs, watch any number of them inside the rate limits, and never start one twice.

This page is the table of contents; errors live in `asana_jobs.errors`, events in `asana_jobs.events`, the compact
objects in `asana_jobs.models`, the simulator and the test kit in `asana_jobs.testing`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from asana_jobs._version import __version__


if TYPE_CHECKING:
    from asana_jobs._check import Check
    from asana_jobs._client import AsanaClient
    from asana_jobs._ledger import Ledger
    from asana_jobs._monitor import JobMonitor
    from asana_jobs._oauth import OAuthRefresh
    from asana_jobs._oneshot import wait_for_job
    from asana_jobs._outcome import Outcome
    from asana_jobs._sansio import Response
    from asana_jobs._waiter import JobWaiter
    from asana_jobs.errors import AsanaJobsError
    from asana_jobs.models import Job, JobStatus
    from asana_jobs.operations import (
        DuplicatePortfolio,
        DuplicateProject,
        DuplicateTask,
        ExportGraph,
        ExportResource,
        InstantiateProject,
        InstantiateTask,
        RollupProject,
        RollupTask,
        SaveProjectAsTemplate,
    )
    from asana_jobs.policies import PollPolicy, RateLimits, RetryPolicy


__all__ = [
    "AsanaClient",
    "AsanaJobsError",
    "Check",
    "DuplicatePortfolio",
    "DuplicateProject",
    "DuplicateTask",
    "ExportGraph",
    "ExportResource",
    "InstantiateProject",
    "InstantiateTask",
    "Job",
    "JobMonitor",
    "JobStatus",
    "JobWaiter",
    "Ledger",
    "OAuthRefresh",
    "Outcome",
    "PollPolicy",
    "RateLimits",
    "Response",
    "RetryPolicy",
    "RollupProject",
    "RollupTask",
    "SaveProjectAsTemplate",
    "__version__",
    "wait_for_job",
]

# Names are fetched when they are first used: ``asana-jobs --help`` and pytest's plugin hook import this package,
# and neither should pay for an HTTP client.
_HOMES = {
    "AsanaClient": "asana_jobs._client",
    "AsanaJobsError": "asana_jobs.errors",
    "Check": "asana_jobs._check",
    "DuplicatePortfolio": "asana_jobs.operations",
    "DuplicateProject": "asana_jobs.operations",
    "DuplicateTask": "asana_jobs.operations",
    "ExportGraph": "asana_jobs.operations",
    "ExportResource": "asana_jobs.operations",
    "InstantiateProject": "asana_jobs.operations",
    "InstantiateTask": "asana_jobs.operations",
    "Job": "asana_jobs.models",
    "JobMonitor": "asana_jobs._monitor",
    "JobStatus": "asana_jobs.models",
    "JobWaiter": "asana_jobs._waiter",
    "Ledger": "asana_jobs._ledger",
    "Outcome": "asana_jobs._outcome",
    "OAuthRefresh": "asana_jobs._oauth",
    "PollPolicy": "asana_jobs.policies",
    "RateLimits": "asana_jobs.policies",
    "Response": "asana_jobs._sansio",
    "RetryPolicy": "asana_jobs.policies",
    "RollupProject": "asana_jobs.operations",
    "RollupTask": "asana_jobs.operations",
    "SaveProjectAsTemplate": "asana_jobs.operations",
    "wait_for_job": "asana_jobs._oneshot",
}


if not TYPE_CHECKING:  # a type checker would take any misspelt name for an object

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module 'asana_jobs' has no attribute {name!r}")
        value: object = getattr(import_module(_HOMES[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
