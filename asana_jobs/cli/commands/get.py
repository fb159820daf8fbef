"""``asana-jobs get``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from asana_jobs.cli.commands.options import Output
from asana_jobs.cli.exit_status import ExitStatus


def get(
    gid: Annotated[str, Parameter(help="The job's gid. Example: 1203")],
    /,
    *,
    opt_fields: Annotated[
        str | None,
        Parameter(
            metavar="FIELDS",
            help="Ask Asana for these fields only, separated by commas. Example: --opt-fields status,new_project.name",
        ),
    ] = None,
    output: Output = "auto",
) -> ExitStatus:
    """Look at a job once.

    The exit status is 1 if the job has failed, and 0 in any other state.

    JSON holds the whole job as Asana answered it.

    For example:

      asana-jobs get 1203
      asana-jobs get 1203 --output json | jq .job.status
    """
    from asana_jobs.cli.looking import look  # noqa: PLC0415  # not needed to print a help page
    from asana_jobs.cli.running import run_async  # noqa: PLC0415  # the same
    from asana_jobs.cli.subjects import check_gid  # noqa: PLC0415  # the same

    check_gid(gid)
    return run_async(lambda: look(gid, opt_fields, output))
