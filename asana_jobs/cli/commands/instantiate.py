"""``asana-jobs instantiate-task`` and ``instantiate-project``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from asana_jobs.cli.commands.operation_options import (
    NOT_AT_ALL,
    Dates,
    Following,
    Name,
    OptionalName,
    Privacy,
    Public,
    Roles,
    Strict,
    Team,
    make_operation,
    pairs,
)
from asana_jobs.cli.exit_status import ExitStatus


def instantiate_task(
    gid: Annotated[str, Parameter(help="The task template. Example: 1203")],
    /,
    *,
    name: OptionalName = None,
    following: Following = NOT_AT_ALL,
) -> ExitStatus:
    """Make a task from a task template.

    For example:

      asana-jobs instantiate-task 1203 --name "Onboard Kim" --wait
    """
    from asana_jobs.cli.starting import start_job  # noqa: PLC0415  # not needed to print a help page

    return start_job(make_operation("instantiate_task", gid, name=name), following)


def instantiate_project(
    gid: Annotated[str, Parameter(help="The project template. Example: 1203")],
    /,
    *,
    name: Name,
    team: Team = None,
    public: Public = None,
    privacy_setting: Privacy = None,
    is_strict: Strict = None,
    date: Dates = (),
    role: Roles = (),
    following: Following = NOT_AT_ALL,
) -> ExitStatus:
    """Make a project from a project template.

    For example:

      asana-jobs instantiate-project 1203 --name Q3 --date 1=2027-01-04 --wait
    """
    from asana_jobs.cli.starting import start_job  # noqa: PLC0415  # not needed to print a help page

    operation = make_operation(
        "instantiate_project",
        gid,
        name=name,
        team=team,
        public=public,
        privacy_setting=privacy_setting,
        is_strict=is_strict,
        requested_dates=pairs("--date", date),
        requested_roles=pairs("--role", role),
    )
    return start_job(operation, following)
