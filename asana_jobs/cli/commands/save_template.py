"""``asana-jobs save-project-as-template``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from asana_jobs.cli.commands.operation_options import (
    NOT_AT_ALL,
    Following,
    Name,
    Team,
    Workspace,
    make_operation,
)
from asana_jobs.cli.exit_status import ExitStatus


def save_project_as_template(
    gid: Annotated[str, Parameter(help="The project. Example: 1203")],
    /,
    *,
    name: Name,
    public: Annotated[
        bool, Parameter(help="Whether everybody in the organization sees the template. Example: --public")
    ] = False,
    team: Team = None,
    workspace: Workspace = None,
    following: Following = NOT_AT_ALL,
) -> ExitStatus:
    """Make a template of a project.

    For example:

      asana-jobs save-project-as-template 1203 --name "Launch" --team 1207 --wait
    """
    from asana_jobs.cli.starting import start_job  # noqa: PLC0415  # not needed to print a help page

    operation = make_operation(
        "save_project_as_template", gid, name=name, public=public, team=team, workspace=workspace
    )
    return start_job(operation, following)
