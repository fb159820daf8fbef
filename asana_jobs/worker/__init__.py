"""Many machines, one budget, nothing lost: what to use where one process is not enough.

Needs the extra ``worker`` (``pip install 'asana-jobs[worker]'``), and Redis 6.2 or later, or Valkey.
"""

from asana_jobs.worker._redis_gate import RedisGate
from asana_jobs.worker.errors import BudgetUnavailableError, QueueError


__all__ = ["BudgetUnavailableError", "QueueError", "RedisGate"]
