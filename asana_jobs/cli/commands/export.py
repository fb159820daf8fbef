"""``asana-jobs export``."""

from __future__ import annotations

from pathlib import Path  # cyclopts reads it at run time
from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from asana_jobs.cli.commands.operation_options import Parameters, make_operation, read_parameters
from asana_jobs.cli.commands.options import ALL_OF_IT, Budget, Output, Timeout
from asana_jobs.cli.complaint import UsageError
from asana_jobs.cli.exit_status import ExitStatus


What: TypeAlias = Literal["graph", "resource", "organization"]


def export(
    what: Annotated[
        What,
        Parameter(
            help="graph for what hangs below a goal, project, portfolio or team; resource for tasks, teams or "
            "messages of a workspace; organization for all of it. Example: graph"
        ),
    ],
    gid: Annotated[str, Parameter(help="What is exported. Example: 1203")],
    /,
    *,
    to: Annotated[
        Path,
        Parameter(
            name=["--output-file", "-o"],
            metavar="FILE",
            help="Where the file goes; one that is there is replaced once the new one is whole. It is gzip, as "
            "Asana serves it. Example: --output-file launch.jsonl.gz",
        ),
    ],
    parameters: Parameters = None,
    job: Annotated[
        str | None,
        Parameter(
            metavar="GID",
            help="Go on with this export job of an earlier call instead of starting one; what has been downloaded "
            "is kept. Example: --job 1209",
        ),
    ] = None,
    timeout: Timeout = None,
    output: Output = "auto",
    budget: Budget = ALL_OF_IT,
) -> ExitStatus:
    """Export to a file: start it, wait for it, download it.

    When it is interrupted, it prints the command that goes on, at the same byte.

    For example:

      asana-jobs export graph 1203 -o launch.jsonl.gz
      asana-jobs export resource 1207 -o tasks.gz --parameters "$(cat tasks.json)"
      asana-jobs export organization 1199 -o all.json.gz --timeout 12h
    """
    from asana_jobs.cli.export_arguments import check_destination  # noqa: PLC0415  # not needed to print a help page
    from asana_jobs.cli.running import run_async  # noqa: PLC0415  # the same
    from asana_jobs.cli.subjects import check_gid  # noqa: PLC0415  # the same

    if what == "resource" and parameters is None and job is None:
        raise UsageError("""resource needs --parameters, such as '[{"resource_type": "task"}]'""")
    operation = make_operation(f"export_{what}", gid, parameters=read_parameters(parameters))
    destination = check_destination(str(to))
    known = None if job is None else check_gid(job, "--job")

    async def main() -> ExitStatus:
        from asana_jobs.cli.connection import open_client  # noqa: PLC0415  # the same
        from asana_jobs.cli.exporting import Export  # noqa: PLC0415  # the same

        async with open_client(budget) as client:
            return await Export(
                client=client,
                what=what,
                gid=gid,
                operation=operation,
                destination=destination,
                job=known,
                output=output,
                timeout=timeout,
            ).run()

    return run_async(main)
