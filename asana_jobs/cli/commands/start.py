"""The commands that start one job: ``start`` takes any kind, each of the others is named for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from cyclopts import Parameter

import asana_jobs
from asana_jobs.cli.errors import ExitStatus, checking_arguments, complain
from asana_jobs.cli.job_arguments import JobArgument
from asana_jobs.cli.options import (
    DEFAULT_START,
    Dates,
    DueOn,
    IncludeInAny,
    IncludeInPortfolio,
    IncludeInProject,
    IncludeInTask,
    Name,
    OptionalName,
    Parameters,
    Privacy,
    Public,
    Roles,
    SkipWeekends,
    StartOn,
    StartOptions,
    Strict,
    Team,
    Workspace,
    make_operation,
    read_dates,
    read_parameters,
    read_roles,
    read_schedule,
)
from asana_jobs.cli.program import run_async


if TYPE_CHECKING:
    from asana_jobs import AsanaClient
    from asana_jobs.operations import Operation


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
    following: StartOptions = DEFAULT_START,
) -> ExitStatus:
    """Start a job of any kind.

    Each kind takes some of the options and refuses the others.

    The commands named for a kind, such as duplicate-project, list those it takes.

    For example:

      asana-jobs start duplicate-project 1203 --name "Q3 launch"
      asana-jobs start export-graph 1203 --wait
      asana-jobs start export-organization 1199
    """
    operation = make_operation(
        kind.replace("-", "_"),
        gid,
        name=name,
        include=include,
        team=team,
        workspace=workspace,
        schedule_dates=read_schedule(start_on, due_on, skip_weekends),
        public=public,
        privacy_setting=privacy_setting,
        is_strict=is_strict,
        requested_dates=read_dates(date),
        requested_roles=read_roles(role),
        parameters=read_parameters(parameters),
    )
    return start_job(operation, following)


def duplicate_task(
    gid: Annotated[str, Parameter(help="The task to copy. Example: 1203")],
    /,
    *,
    name: OptionalName = None,
    include: IncludeInTask = None,
    following: StartOptions = DEFAULT_START,
) -> ExitStatus:
    """Copy a task.

    For example:

      asana-jobs duplicate-task 1203 --name "Q3 launch" --include notes --wait
    """
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
    following: StartOptions = DEFAULT_START,
) -> ExitStatus:
    """Copy a project.

    For example:

      asana-jobs duplicate-project 1203 --name "Q3 launch" --wait
      asana-jobs duplicate-project 1203 --name Q3 --include notes,members --wait
    """
    operation = make_operation(
        "duplicate_project",
        gid,
        name=name,
        include=include,
        team=team,
        schedule_dates=read_schedule(start_on, due_on, skip_weekends),
    )
    return start_job(operation, following)


def duplicate_portfolio(
    gid: Annotated[str, Parameter(help="The portfolio to copy. Example: 1203")],
    /,
    *,
    name: Name,
    include: IncludeInPortfolio = None,
    following: StartOptions = DEFAULT_START,
) -> ExitStatus:
    """Copy a portfolio.

    For example:

      asana-jobs duplicate-portfolio 1203 --name "2027" --include members --wait
    """
    return start_job(make_operation("duplicate_portfolio", gid, name=name, include=include), following)


def instantiate_task(
    gid: Annotated[str, Parameter(help="The task template. Example: 1203")],
    /,
    *,
    name: OptionalName = None,
    following: StartOptions = DEFAULT_START,
) -> ExitStatus:
    """Make a task from a task template.

    For example:

      asana-jobs instantiate-task 1203 --name "Onboard Kim" --wait
    """
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
    following: StartOptions = DEFAULT_START,
) -> ExitStatus:
    """Make a project from a project template.

    For example:

      asana-jobs template 1203
      asana-jobs instantiate-project 1203 --name Q3 --date Launch=2027-01-04 --wait
    """
    operation = make_operation(
        "instantiate_project",
        gid,
        name=name,
        team=team,
        public=public,
        privacy_setting=privacy_setting,
        is_strict=is_strict,
        requested_dates=read_dates(date),
        requested_roles=read_roles(role),
    )
    return start_job(operation, following)


def rollup_task(
    gid: Annotated[str, Parameter(help="The task. Example: 1203")],
    /,
    *,
    following: StartOptions = DEFAULT_START,
) -> ExitStatus:
    """Bring a task's dates in line with its subtasks.

    For example:

      asana-jobs rollup-task 1203 --wait
    """
    return start_job(make_operation("rollup_task", gid), following)


def rollup_project(
    gid: Annotated[str, Parameter(help="The project. Example: 1203")],
    /,
    *,
    following: StartOptions = DEFAULT_START,
) -> ExitStatus:
    """Bring the dates of a project's tasks in line.

    For example:

      asana-jobs rollup-project 1203 --wait
    """
    return start_job(make_operation("rollup_project", gid), following)


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
    following: StartOptions = DEFAULT_START,
) -> ExitStatus:
    """Make a template of a project.

    For example:

      asana-jobs save-project-as-template 1203 --name "Launch" --team 1207 --wait
    """
    operation = make_operation(
        "save_project_as_template", gid, name=name, public=public, team=team, workspace=workspace
    )
    return start_job(operation, following)


def start_job(operation: Operation, following: StartOptions) -> ExitStatus:
    """Start the job of *operation*, and wait for it if that was asked for."""
    return run_async(lambda: _start(operation, following))


async def _start(operation: Operation, following: StartOptions) -> ExitStatus:
    import asyncio

    from asana_jobs.cli.learned import learning_client
    from asana_jobs.cli.report import Report
    from asana_jobs.cli.wait_jobs import WaitRun

    report = Report("jobs", following.output)
    async with learning_client(following.budget, report.hear) as client:
        watch = WaitRun(client, report, following.timeout, operation.kind)
        try:
            operation = await _with_gids(client, operation)
        except asana_jobs.AsanaJobsError as error:
            return watch.finish(report.tell_broken(error))
        try:
            job = await client.start(operation)
        except asyncio.CancelledError:
            complain(
                "stopped while Asana was asked to start the job: it may be running",
                asana_jobs.OutcomeUnknownError.advice,
            )
            return ExitStatus.LEFT
        except asana_jobs.AsanaJobsError as error:
            return watch.finish(report.tell_broken(error))
        if following.wait:
            return await watch.run([JobArgument(job.gid, job)])
        try:
            report.tell_job(job, operation.kind)
        except OSError as error:
            return watch.finish(report.lose(error))
        return watch.finish(ExitStatus.JOB_FAILED if job.failed else ExitStatus.SUCCEEDED)


async def _with_gids(client: AsanaClient, operation: Operation) -> Operation:
    """Return *operation* with the gids of dates and roles; until then, nothing can have been started."""
    if not isinstance(operation, asana_jobs.InstantiateProject) or not operation.names:
        return operation
    template = await client.project_template(operation.gid)
    with checking_arguments():
        return operation.by_gid(template)
