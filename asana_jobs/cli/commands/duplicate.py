"""``asana-jobs duplicate-task``, ``duplicate-project`` and ``duplicate-portfolio``."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from asana_jobs.cli.commands.operation_options import (
    NOT_AT_ALL,
    DueOn,
    Following,
    IncludeInPortfolio,
    IncludeInProject,
    IncludeInTask,
    Name,
    OptionalName,
    SkipWeekends,
    StartOn,
    Team,
    make_operation,
    schedule,
)
from asana_jobs.cli.exit_status import ExitStatus


def duplicate_task(
    gid: Annotated[str, Parameter(help="The task to copy. Example: 1203")],
    /,
    *,
    name: OptionalName = None,
    include: IncludeInTask = None,
    following: Following = NOT_AT_ALL,
) -> ExitStatus:
    """Copy a task.

    For example:

      asana-jobs duplicate-task 1203 --name "Q3 launch" --include notes --wait
    """
    from asana_jobs.cli.starting import start_job  # noqa: PLC0415  # not needed to print a help page

    return start_job(make_operation("duplicate_task", gid, name=name, include=include), following)


def duplicate_project(
    gid: Annotated[str, Parameter(help="The project to copy. Example: 1203")],
    /,
    *,
    name: Name,
    include: IncludeInProject = None,
    team: Team = None,
    start_on: StartOn = None,
    due_on: DueOn = None,
    skip_weekends: SkipWeekends = None,
    following: Following = NOT_AT_ALL,
) -> ExitStatus:
    """Copy a project.

    For example:

      asana-jobs duplicate-project 1203 --name "Q3 launch" --wait
      asana-jobs duplicate-project 1203 --name Q3 --include notes,members --wait
    """
    from asana_jobs.cli.starting import start_job  # noqa: PLC0415  # not needed to print a help page

    operation = make_operation(
        "duplicate_project",
        gid,
        name=name,
        include=include,
        team=team,
        schedule_dates=schedule(start_on, due_on, skip_weekends),
    )
    return start_job(operation, following)


def duplicate_portfolio(
    gid: Annotated[str, Parameter(help="The portfolio to copy. Example: 1203")],
    /,
    *,
    name: Name,
    include: IncludeInPortfolio = None,
    following: Following = NOT_AT_ALL,
) -> ExitStatus:
    """Copy a portfolio.

    For example:

      asana-jobs duplicate-portfolio 1203 --name "2027" --include members --wait
    """
    from asana_jobs.cli.starting import start_job  # noqa: PLC0415  # not needed to print a help page

    return start_job(make_operation("duplicate_portfolio", gid, name=name, include=include), following)
