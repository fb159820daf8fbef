"""``asana-jobs worker``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

import asana_jobs
from asana_jobs.cli.errors import ExitStatus, UsageError, checking_arguments
from asana_jobs.cli.options import FILE, NUMBER, TIME
from asana_jobs.cli.program import run_async


RedisUrl: TypeAlias = Annotated[
    str,
    Parameter(
        env_var="ASANA_JOBS_REDIS",
        metavar="URL",
        help="The Redis of the queue. Example: --redis redis://localhost:6379/0",
    ),
]
QueueName: TypeAlias = Annotated[
    str, Parameter(metavar="NAME", help="The name of the queue. Example: --queue copies")
]


def worker(
    *,
    redis: RedisUrl,
    concurrency: Annotated[int, NUMBER] = 10,
    queue: QueueName = "default",
    requests_per_minute: Annotated[float | None, NUMBER] = None,
    drain: Annotated[float, TIME] = 25.0,
    health_file: Annotated[Path | None, FILE] = None,
    metrics_port: Annotated[int | None, Parameter(metavar="PORT")] = None,
) -> ExitStatus:
    """Do the work of a queue in Redis, beside other workers, until told to stop.

    The token is read from the environment. It says when it is ready, and each minute what it did. SIGTERM and SIGHUP end
    it with 0 when what is in flight was answered, Ctrl-C with 130; a token that Asana refuses ends it with 4.

    Handlers of your own need a program of your own that calls asana_jobs.worker.run_worker.

    For example:

      asana-jobs worker --redis redis://localhost:6379/0 --concurrency 4

    Args:
        concurrency: Requests at once; a wait needs none between its looks. Example: --concurrency 4
        requests_per_minute: The limit of the token, all workers together; without it, it is found out.
            Example: --requests-per-minute 1500
        drain: How long it may take to end when it is told to: less than what the supervisor waits before it kills.
            Example: --drain 8s
        health_file: A file that is written every five seconds while all is well, and removed at the end.
            Example: --health-file /run/asana-jobs/health
        metrics_port: Serve metrics for Prometheus at this port, docket's and ours; needs the extra metrics.
            Example: --metrics-port 9464
    """
    import logging

    try:
        from asana_jobs.worker import JobQueue, run_worker, serve_metrics
    except ImportError as error:
        raise UsageError(str(error)) from error

    if concurrency < 1:
        raise UsageError("--concurrency must be at least 1")
    with checking_arguments():
        JobQueue(redis.strip(), queue=queue)
        limits = asana_jobs.RateLimits(requests_per_minute=requests_per_minute)

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("asana_jobs").setLevel(logging.INFO)
    # While Redis is away it would say so eight times a second, at length; the worker says it once.
    logging.getLogger("docket").setLevel(logging.CRITICAL)

    async def work() -> ExitStatus:
        await run_worker(
            redis.strip(),
            queue=queue,
            concurrency=concurrency,
            limits=limits,
            drain=drain,
            health_file=health_file,
        )
        return ExitStatus.SUCCEEDED

    try:
        with serve_metrics(metrics_port):
            return run_async(work)
    except ImportError as error:
        raise UsageError(str(error)) from error
