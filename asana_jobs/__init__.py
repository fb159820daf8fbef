"""Start Asana jobs, watch any number of them inside the rate limits, and never start one twice.

| look for | in |
| --- | --- |
| the client, and all that its calls take and return | this page: `AsanaClient`, `Job`, `JobWaiter`, `JobMonitor`, `Ledger` |
| what is started, as values for many at once | this page: `DuplicateProject`, ..., and `asana_jobs.operations` |
| how often, how long, how many | `PollPolicy`, `RetryPolicy`, `RateLimits`, and `asana_jobs.policies` |
| what can go wrong | `asana_jobs.errors` |
| what a job makes; dates, roles and words of *include* | `asana_jobs.models`, `asana_jobs.parameters` |
| what happens, as it happens; logs, OpenTelemetry | `asana_jobs.events` |
| how to do it: waiting, bulk, exports, limits, proxies, messages | `asana_jobs.guides` |
| the calls without asyncio | `asana_jobs.sync` |
| bars while something runs, in a terminal or a notebook | `asana_jobs.progress` |
| a local Asana, and tests of your own code | `asana_jobs.testing` |
| more than one machine | `asana_jobs.worker` |
| a server for assistants | `asana_jobs.mcp` |
| budgets, tokens and references of your own making | `asana_jobs.gates`, `asana_jobs.tokens`, `asana_jobs.subjects` |

``import asana_jobs`` brings all of them but `guides`, `mcp`, `progress`, `sync`, `testing` and `worker`, which are imported by name.
"""

from importlib import import_module


TYPE_CHECKING = (
    False  # type checkers take it for true; importing it would load `typing`, and that takes longest
)


if TYPE_CHECKING:
    from asana_jobs import errors as errors
    from asana_jobs import events as events
    from asana_jobs import gates as gates
    from asana_jobs import models as models
    from asana_jobs import operations as operations
    from asana_jobs import parameters as parameters
    from asana_jobs import policies as policies
    from asana_jobs import subjects as subjects
    from asana_jobs import tokens as tokens
    from asana_jobs._client.bulk.ledger import Ledger
    from asana_jobs._client.bulk.ledger_rows import (
        ClaimVerdict,
        LedgerClaim,
        LedgerRow,
        LedgerState,
        LedgerSummary,
    )
    from asana_jobs._client.bulk.outcome import Outcome
    from asana_jobs._client.bulk.run import Run
    from asana_jobs._client.client import AsanaClient
    from asana_jobs._client.exports.records import ExportRecords
    from asana_jobs._client.http.protocol import Request, Response
    from asana_jobs._client.http.tokens import OAuthRefresh
    from asana_jobs._client.http.transport import Transport
    from asana_jobs._client.shortcuts import wait_for_job
    from asana_jobs._client.waiting.durations import Durations
    from asana_jobs._client.waiting.monitor import JobMonitor
    from asana_jobs._client.waiting.subscription import Eta, WaitStatistics
    from asana_jobs._client.waiting.waiter import Check, JobWaiter
    from asana_jobs.errors import (
        AsanaJobsError,
        AuthenticationError,
        JobFailedError,
        JobTimeoutError,
        NotFoundError,
        OutcomeUnknownError,
        PermissionDeniedError,
        RateLimitError,
    )
    from asana_jobs.models import Job, JobStatus
    from asana_jobs.operations import (
        DuplicatePortfolio,
        DuplicateProject,
        DuplicateTask,
        ExportGraph,
        ExportOrganization,
        ExportResource,
        InstantiateProject,
        InstantiateTask,
        RollupProject,
        RollupTask,
        SaveProjectAsTemplate,
    )
    from asana_jobs.policies import PollPolicy, RateLimits, RetryPolicy


__version__ = "0.2.0"

__all__ = [
    "AsanaClient",
    "AsanaJobsError",
    "AuthenticationError",
    "Check",
    "ClaimVerdict",
    "DuplicatePortfolio",
    "DuplicateProject",
    "DuplicateTask",
    "Durations",
    "Eta",
    "ExportGraph",
    "ExportOrganization",
    "ExportRecords",
    "ExportResource",
    "InstantiateProject",
    "InstantiateTask",
    "Job",
    "JobFailedError",
    "JobMonitor",
    "JobStatus",
    "JobTimeoutError",
    "JobWaiter",
    "Ledger",
    "LedgerClaim",
    "LedgerRow",
    "LedgerState",
    "LedgerSummary",
    "NotFoundError",
    "OAuthRefresh",
    "Outcome",
    "OutcomeUnknownError",
    "PermissionDeniedError",
    "PollPolicy",
    "RateLimitError",
    "RateLimits",
    "Request",
    "Response",
    "RetryPolicy",
    "RollupProject",
    "RollupTask",
    "Run",
    "SaveProjectAsTemplate",
    "Transport",
    "WaitStatistics",
    "__version__",
    "wait_for_job",
]

# Names are fetched when they are first used: ``asana-jobs --help`` and pytest's plugin hook import this package,
# and neither should pay for an HTTP client.
_HOMES = {
    "AsanaClient": "_client.client",
    "Check": "_client.waiting.waiter",
    "ClaimVerdict": "_client.bulk.ledger_rows",
    "Durations": "_client.waiting.durations",
    "Eta": "_client.waiting.subscription",
    "ExportRecords": "_client.exports.records",
    "JobMonitor": "_client.waiting.monitor",
    "JobWaiter": "_client.waiting.waiter",
    "Ledger": "_client.bulk.ledger",
    "LedgerClaim": "_client.bulk.ledger_rows",
    "LedgerRow": "_client.bulk.ledger_rows",
    "LedgerState": "_client.bulk.ledger_rows",
    "LedgerSummary": "_client.bulk.ledger_rows",
    "OAuthRefresh": "_client.http.tokens",
    "Outcome": "_client.bulk.outcome",
    "Request": "_client.http.protocol",
    "Response": "_client.http.protocol",
    "Run": "_client.bulk.run",
    "Transport": "_client.http.transport",
    "WaitStatistics": "_client.waiting.subscription",
    "wait_for_job": "_client.shortcuts",
}
#: Modules of words, where the other names of `__all__` are looked for, the quickest to import first.
_WORDS = ("errors", "policies", "models", "operations")
#: Modules that are there after ``import asana_jobs``.
_ROOMS = ("errors", "events", "gates", "models", "operations", "parameters", "policies", "subjects", "tokens")
#: Modules that are asked for by name, since programs rarely need them.
_APART = ("guides", "mcp", "progress", "sync", "testing", "worker")


if not TYPE_CHECKING:  # a type checker would take any misspelt name for an object

    def __getattr__(name: str) -> object:
        if name in _ROOMS:
            return import_module(f"asana_jobs.{name}")
        if name in __all__:
            for home in (_HOMES[name],) if name in _HOMES else _WORDS:
                module = import_module(f"asana_jobs.{home}")
                if name in vars(module):
                    globals()[name] = vars(module)[name]
                    return globals()[name]
        advice = f": write import asana_jobs.{name}" if name in _APART else ""
        raise AttributeError(f"module 'asana_jobs' has no attribute {name!r}{advice}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS} - {"TYPE_CHECKING", "import_module"})
