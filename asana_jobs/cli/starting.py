"""What every command that starts a job does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from asana_jobs.cli.complaint import complain
from asana_jobs.cli.exit_status import ExitStatus, status_of
from asana_jobs.cli.running import run_async
from asana_jobs.cli.subjects import Subject
from asana_jobs.errors import AsanaJobsError, OutcomeUnknownError


if TYPE_CHECKING:
    from asana_jobs.cli.commands.operation_options import Following
    from asana_jobs.operations import Operation


def start_job(operation: Operation, following: Following) -> ExitStatus:
    """Start the job of *operation*, and wait for it if that was asked for."""
    return run_async(lambda: _start(operation, following))


async def _start(operation: Operation, following: Following) -> ExitStatus:
    from asana_jobs.cli.connection import open_client  # noqa: PLC0415  # the HTTP client, only now
    from asana_jobs.cli.waiting import Watch  # noqa: PLC0415  # the same

    async with open_client(following.budget) as client:
        watch = Watch(client, following.output, following.timeout)
        try:
            job = await client.start(operation)
        except asyncio.CancelledError:
            complain(
                "stopped while Asana was asked to start the job: it may be running",
                OutcomeUnknownError.advice,
            )
            return ExitStatus.LEFT
        except AsanaJobsError as error:
            watch.report.broke(error)
            return watch.finish(status_of(error))
        track = watch.tally.saw(job, time.monotonic(), operation.kind)
        if following.wait:
            return await watch.run([Subject(job.gid, job)], reached=True)
        watch.report.state(track)
        return watch.finish(ExitStatus.JOB_FAILED if job.failed else ExitStatus.SUCCEEDED)
