"""``asana-jobs export``."""

from __future__ import annotations

import os
from pathlib import Path  # cyclopts reads it at run time
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from asana_jobs.cli.errors import ExitStatus, UsageError
from asana_jobs.cli.job_arguments import check_gid
from asana_jobs.cli.options import (
    DEFAULT_BUDGET,
    FILE,
    BudgetOptions,
    Output,
    Parameters,
    Timeout,
    make_operation,
)
from asana_jobs.cli.program import run_async


What: TypeAlias = Literal["graph", "resource", "organization"]


def export(
    what: What,
    gid: str,
    /,
    *,
    to: Annotated[Path, FILE, Parameter(name=["--output-file", "-o"])],
    parameters: Parameters = None,
    job: Annotated[str | None, Parameter(metavar="GID")] = None,
    timeout: Timeout = None,
    output: Output = "auto",
    budget: BudgetOptions = DEFAULT_BUDGET,
) -> ExitStatus:
    """Export to a file: start it, wait for it, download it.

    When it is interrupted, it prints the command that goes on, at the same byte.

    For example:

      asana-jobs export graph 1203 -o launch.jsonl.gz
      asana-jobs export resource 1207 -o tasks.gz --parameters "$(cat tasks.json)"
      asana-jobs export organization 1199 -o all.json.gz --timeout 12h

    Args:
        what: graph for what hangs below a goal, project, portfolio or team; resource for tasks, teams or messages of a
            workspace; organization for all of it. Example: graph
        gid: What is exported. Example: 1203
        to: Where the file goes; one that is there is replaced once the new one is whole. It is gzip, as Asana serves
            it. Example: --output-file launch.jsonl.gz
        job: Go on with this export job of an earlier call instead of starting one; what has been downloaded is kept.
            Example: --job 1209
    """
    if what == "resource" and parameters is None and job is None:
        raise UsageError("""resource needs --parameters, such as '[{"resource_type": "task"}]'""")
    operation = make_operation(f"export_{what}", gid, parameters=parameters)
    destination = check_destination(str(to))
    known = None if job is None else check_gid(job, "--job")

    async def main() -> ExitStatus:
        from asana_jobs.cli.export_file import ExportRun
        from asana_jobs.cli.learned import learning_client
        from asana_jobs.cli.report import Report

        report = Report("export", output)
        async with learning_client(budget, report.hear) as client:
            return await ExportRun(
                client=client,
                what=what,
                operation=operation,
                destination=destination,
                job=known,
                timeout=timeout,
                report=report,
            ).run()

    return run_async(main)


def check_destination(name: str) -> Path:
    """Return where the file goes.

    Raises:
        UsageError: it cannot be written there.
    """
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{name} is a folder: name a file in it, such as {path / 'export.jsonl.gz'}")
    device = path.absolute().parts[1:2] in {("dev",), ("proc",)}
    if device or (path.exists() and not path.is_file()):
        raise UsageError(
            f"{name} is no file: name one, such as export.jsonl.gz, which is put in place once it is whole"
        )
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"the folder {path.parent} cannot be written")
    return path
