"""What `get` does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from asana_jobs.cli.commands.options import ALL_OF_IT, OutputFormat
from asana_jobs.cli.complaint import checking_arguments
from asana_jobs.cli.connection import open_client
from asana_jobs.cli.events import event, to_line
from asana_jobs.cli.exit_status import ExitStatus
from asana_jobs.cli.stdout import emit


if TYPE_CHECKING:
    from asana_jobs import Job


async def look(gid: str, opt_fields: str | None, output: OutputFormat) -> ExitStatus:
    """Read the job and print it."""
    async with open_client(ALL_OF_IT) as client:
        with checking_arguments():
            job = await client.get_job(gid, opt_fields=opt_fields)
    if output == "table" or (output == "auto" and sys.stdout.isatty()):
        _print(job)
    else:
        emit(to_line(event("job", gid=job.gid, status=job.status, done=job.done, job=job.to_dict())))
    return ExitStatus.JOB_FAILED if job.failed else ExitStatus.SUCCEEDED


def _print(job: Job) -> None:
    from asana_jobs.cli.facts import print_facts  # noqa: PLC0415  # rich is not needed for JSON

    result = job.result
    facts = [("job", job.gid), ("status", job.status or "-"), ("kind", job.resource_subtype or "-")]
    if result is not None:
        name = getattr(result, "name", None) or ""
        words = f"{result.resource_type or 'object'} {result.gid} {name}"
        facts.append(("result", words if job.succeeded else f"{words} (not complete yet)"))
    progress = job.dates_rollup_progress
    if progress is not None and progress.total_tasks is not None:
        facts.append(("progress", f"{progress.updated_tasks or 0} of {progress.total_tasks} tasks"))
    download = getattr(result, "download_url", None)
    if download:
        facts.append(("download", download))
    print_facts(facts)
