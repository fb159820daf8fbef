"""Start Asana jobs, watch any number of them inside the rate limits, and never start one twice.

This page is the table of contents; errors live in `asana_jobs.errors`, the compact objects in
`asana_jobs.models`, the simulator and the test kit in `asana_jobs.testing`.
"""

from asana_jobs._check import Check
from asana_jobs._client import AsanaClient
from asana_jobs._oauth import OAuthRefresh
from asana_jobs._oneshot import wait_for_job
from asana_jobs._sansio import Response
from asana_jobs._version import __version__
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
    "JobStatus",
    "JobWaiter",
    "OAuthRefresh",
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
