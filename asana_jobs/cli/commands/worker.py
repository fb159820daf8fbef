"""``asana-jobs worker``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

import asana_jobs
from asana_jobs.cli.errors import ExitStatus, UsageError
from asana_jobs.cli.program import run_async


def worker(
    *,
    redis: Annotated[
        str,
        Parameter(
            env_var="ASANA_JOBS_REDIS",
            metavar="URL",
            help="The Redis of the queue. Example: --redis redis://localhost:6379/0",
        ),
    ],
    concurrency: Annotated[
        int,
        Parameter(
            metavar="N",
            help="Requests at once; a wait needs none between its looks. Example: --concurrency 4",
        ),
    ] = 10,
    queue: Annotated[
        str, Parameter(metavar="NAME", help="The name of the queue. Example: --queue copies")
    ] = "default",
    requests_per_minute: Annotated[
        float | None,
        Parameter(
            metavar="N",
            help="The limit of the token, all workers together; without it, it is found out. "
            "Example: --requests-per-minute 1500",
        ),
    ] = None,
) -> ExitStatus:
    """Do the work of a queue in Redis, beside other workers, until told to stop.

    The token is read from the environment. SIGTERM and SIGHUP end it when what is in flight was answered.

    Handlers of your own need a program of your own that calls asana_jobs.worker.run_worker.

    For example:

      asana-jobs worker --redis redis://localhost:6379/0 --concurrency 4
    """
    import logging

    try:
        from asana_jobs.worker import run_worker
    except ImportError as error:
        raise UsageError(str(error)) from error

    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("asana_jobs").setLevel(logging.INFO)

    async def work() -> ExitStatus:
        await run_worker(
            redis.strip(),
            queue=queue,
            concurrency=concurrency,
            limits=asana_jobs.RateLimits(requests_per_minute=requests_per_minute),
        )
        return ExitStatus.SUCCEEDED

    return run_async(work)
