"""``asana-jobs get``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from asana_jobs.cli.connection import open_client
from asana_jobs.cli.errors import ExitStatus, checking_arguments
from asana_jobs.cli.events import event, to_line
from asana_jobs.cli.job_arguments import check_gid
from asana_jobs.cli.options import DEFAULT_BUDGET, Output
from asana_jobs.cli.program import run_async
from asana_jobs.cli.terminal import STYLES, emit, for_people, print_facts


if TYPE_CHECKING:
    from asana_jobs import Job


def get(
    gid: str,
    /,
    *,
    opt_fields: Annotated[str | None, Parameter(metavar="FIELDS")] = None,
    output: Output = "auto",
) -> ExitStatus:
    """Look at a job once.

    The exit status is 1 if the job has failed, and 0 in any other state.

    JSON holds the whole job as Asana answered it.

    For example:

      asana-jobs get 1203
      asana-jobs get 1203 --output json | jq .job.status

    Args:
        gid: The job's gid. Example: 1203
        opt_fields: Ask Asana for these fields only, separated by commas.
            Example: --opt-fields status,new_project.name
    """
    check_gid(gid)

    async def look() -> ExitStatus:
        async with open_client(DEFAULT_BUDGET) as client:
            with checking_arguments():
                job = await client.get_job(gid, opt_fields=opt_fields)
        if for_people(output):
            _print(job)
        else:
            emit(to_line(event("job", gid=job.gid, status=job.status, done=job.done, job=job.to_dict())))
        return ExitStatus.JOB_FAILED if job.failed else ExitStatus.SUCCEEDED

    return run_async(look)


def _print(job: Job) -> None:
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
    print_facts(facts, STYLES)
