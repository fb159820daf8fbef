"""Many machines, one budget, nothing lost: what to use where one process is not enough.

Needs the extra ``worker`` (``pip install 'asana-jobs[worker]'``), and Redis 6.2 or later, or Valkey. The Redis of a
queue must be trusted: who can write to it can run code in the workers.

What goes in and comes out is a `JobQueue`; what does the work is ``asana-jobs worker``, or `run_worker` in a program with
handlers of its own, or `Steps` on another engine. ``asana-jobs queue status`` shows it all.

Running it
----------
**Redis** keeps what must not be lost, so it writes a file, and throws nothing away. The lines of ``redis.conf``::

    # Written before it is answered: a restart loses nothing. With everysec, which is faster, it may lose its last second.
    appendonly yes
    appendfsync always
    # A queue is no cache: full, it says so.
    maxmemory-policy noeviction
    # The append-only file is enough.
    save ""

It needs less than 4 kB of memory for each wait under way, and less than 3 kB for each that has ended within seven days;
a worker opens up to 200 connections.

**Docker Compose**, in an image of your own with ``asana-jobs[cli,metrics,worker]``; two workers, so that one may be
restarted::

    services:
      redis:
        image: redis:7.4
        command: [redis-server, /etc/redis/redis.conf]
        volumes: ["./redis.conf:/etc/redis/redis.conf:ro", "redis:/data"]
        restart: unless-stopped
      worker:
        image: your/asana-worker
        command: [asana-jobs, worker, --redis, "redis://redis:6379/0", --requests-per-minute, "1500",
                  --drain, 25s, --health-file, /tmp/health, --metrics-port, "9464"]
        environment:
          ASANA_ACCESS_TOKEN_FILE: /run/secrets/asana_token
        secrets: [asana_token]
        depends_on: [redis]
        deploy:
          replicas: 2
        # Longer than --drain.
        stop_grace_period: 30s
        # Not for ever: with 4 it has ended because the token was refused.
        restart: on-failure:5
        healthcheck:
          test: [CMD-SHELL, 'test -n "$$(find /tmp/health -mmin -0.5)"']
          interval: 15s
    secrets:
      asana_token:
        file: ./asana_token
    volumes:
      redis: {}

**systemd**, without containers::

    [Unit]
    Description=Worker of the queue of Asana jobs
    Wants=network-online.target
    After=network-online.target redis-server.service

    [Service]
    ExecStart=/usr/bin/env asana-jobs worker --redis redis://localhost:6379/0 --drain 25s
    Environment=ASANA_ACCESS_TOKEN_FILE=%d/asana-token
    LoadCredential=asana-token:/etc/asana-jobs/token
    DynamicUser=yes
    TimeoutStopSec=30
    Restart=on-failure
    RestartSec=5
    # Wrong usage, and a refused token, do not go away by themselves.
    RestartPreventExitStatus=2 4

    [Install]
    WantedBy=multi-user.target

**Sizing.** A token's budget is the limit, not the machines: one worker spends 1,500 requests a minute with a tenth of a
processor. A second one is for when the first is restarted, and others for handlers that compute. At most five jobs of a
token run at any time (`asana_jobs.RateLimits`), however many workers there are.

What can go wrong, and what is then true:

- A worker that is killed: others take its waits over within 15 seconds; a start whose answer it awaited is ``unknown``.
- Redis away: looks go on at ``away_share``, nothing is started, and everything goes on when it is back.
- A result is delivered at least once, to each group of readers and to the handlers: do twice what comes twice.
"""

try:
    from asana_jobs.worker._engine import Again, Scheduler
    from asana_jobs.worker._leases import ComeBack
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
except ImportError as _error:
    if (_error.name or "").startswith("asana_jobs"):
        raise  # ours, which no installation brings
    raise ImportError(
        f"asana_jobs.worker needs more packages ({_error}): pip install 'asana-jobs[worker]'",
        name=_error.name,
    ) from _error


__all__ = [
    "Again",
    "BudgetStatus",
    "BudgetUnavailableError",
    "ComeBack",
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
