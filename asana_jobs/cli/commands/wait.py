"""``asana-jobs wait``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from asana_jobs.cli.errors import ExitStatus
from asana_jobs.cli.job_arguments import read_job_arguments
from asana_jobs.cli.options import DEFAULT_BUDGET, BudgetOptions, Output, Timeout
from asana_jobs.cli.program import run_async


def wait(
    *gids: Annotated[str, Parameter(name="GID", allow_leading_hyphen=True)],
    timeout: Timeout = None,
    output: Output = "auto",
    budget: BudgetOptions = DEFAULT_BUDGET,
) -> ExitStatus:
    """Wait until jobs have finished, and watch them.

    For example:

      asana-jobs wait 1203
      asana-jobs wait 1203 1204 --timeout 5m
      cat gids.txt | asana-jobs wait - --output jsonl

    Args:
        gids: Gids of jobs, or continuation tokens; - reads them from standard input, one or more to a line.
            Example: 1203 1204
    """
    subjects = read_job_arguments(gids)

    async def main() -> ExitStatus:
        from asana_jobs.cli.learned import learning_client
        from asana_jobs.cli.report import Report
        from asana_jobs.cli.wait_jobs import WaitRun

        report = Report("jobs", output)
        async with learning_client(budget, report.hear) as client:
            return await WaitRun(client, report, timeout).run(subjects)

    return run_async(main)
