"""Many machines, one budget, nothing lost: what to use where one process is not enough.

Needs the extra ``worker`` (``pip install 'asana-jobs[worker]'``), and Redis 6.2 or later, or Valkey. The Redis of a
queue must be trusted: who can write to it can run code in the workers.
"""

try:
    from asana_jobs.worker._engine import Again, Scheduler
    from asana_jobs.worker._metrics import serve_metrics
    from asana_jobs.worker._queue import JobQueue
    from asana_jobs.worker._redis_gate import RedisGate
    from asana_jobs.worker._results import Result
    from asana_jobs.worker._status import (
        BudgetStatus,
        PendingWait,
        QueueStatus,
        ReadersStatus,
        WorkerStatus,
    )
    from asana_jobs.worker._steps import Steps
    from asana_jobs.worker._worker import run_worker
    from asana_jobs.worker.errors import BudgetUnavailableError, KeyInUseError, QueueError, WaitEndedError
except ImportError as error:
    if (error.name or "").startswith("asana_jobs"):
        raise  # ours, which no installation brings
    raise ImportError(
        f"asana_jobs.worker needs more packages ({error}): pip install 'asana-jobs[worker]'", name=error.name
    ) from error


__all__ = [
    "Again",
    "BudgetStatus",
    "BudgetUnavailableError",
    "JobQueue",
    "KeyInUseError",
    "PendingWait",
    "QueueError",
    "QueueStatus",
    "ReadersStatus",
    "RedisGate",
    "Result",
    "Scheduler",
    "Steps",
    "WaitEndedError",
    "WorkerStatus",
    "run_worker",
    "serve_metrics",
]
