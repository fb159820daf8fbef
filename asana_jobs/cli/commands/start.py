"""``asana-jobs start``: a job of any kind."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from asana_jobs.cli.commands.operation_options import (
    NOT_AT_ALL,
    Dates,
    DueOn,
    Following,
    IncludeInAny,
    OptionalName,
    Parameters,
    Privacy,
    Public,
    Roles,
    SkipWeekends,
    StartOn,
    Strict,
    Team,
    Workspace,
    make_operation,
    pairs,
    read_parameters,
    schedule,
)
from asana_jobs.cli.exit_status import ExitStatus


Kind: TypeAlias = Literal[
    "duplicate-task",
    "duplicate-project",
    "duplicate-portfolio",
    "save-project-as-template",
    "instantiate-project",
    "instantiate-task",
    "rollup-task",
    "rollup-project",
    "export-graph",
    "export-resource",
    "export-organization",
]


def start(
    kind: Annotated[Kind, Parameter(help="What is done. Example: duplicate-project")],
    gid: Annotated[str, Parameter(help="What it is done to. Example: 1203")],
    /,
    *,
    name: OptionalName = None,
    include: IncludeInAny = None,
    team: Team = None,
    workspace: Workspace = None,
    start_on: StartOn = None,
    due_on: DueOn = None,
    skip_weekends: SkipWeekends = None,
    public: Public = None,
    privacy_setting: Privacy = None,
    is_strict: Strict = None,
    date: Dates = (),
    role: Roles = (),
    parameters: Parameters = None,
    following: Following = NOT_AT_ALL,
) -> ExitStatus:
    """Start a job of any kind.

    Each kind takes some of the options and refuses the others.

    The commands named for a kind, such as duplicate-project, list those it takes.

    For example:

      asana-jobs start duplicate-project 1203 --name "Q3 launch"
      asana-jobs start export-graph 1203 --wait
      asana-jobs start export-organization 1199
    """
    from asana_jobs.cli.starting import start_job  # noqa: PLC0415  # not needed to print a help page

    operation = make_operation(
        kind.replace("-", "_"),
        gid,
        name=name,
        include=include,
        team=team,
        workspace=workspace,
        schedule_dates=schedule(start_on, due_on, skip_weekends),
        public=public,
        privacy_setting=privacy_setting,
        is_strict=is_strict,
        requested_dates=pairs("--date", date),
        requested_roles=pairs("--role", role),
        parameters=read_parameters(parameters),
    )
    return start_job(operation, following)
