"""The commands that start one job: ``start`` takes any kind, each of the others is named for one."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from cyclopts import Parameter

import asana_jobs
from asana_jobs.cli.catalog import COMMANDS, NAME
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
    PublicTemplate,
    Roles,
    SkipWeekends,
    StartOn,
    StartOptions,
    Strict,
    Team,
    Workspace,
    make_operation,
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

#: What runs a command; cyclopts reads its options from its signature.
Command: TypeAlias = Callable[..., ExitStatus]
_KIND: TypeAlias = Annotated[Kind, Parameter(help="What is done. Example: duplicate-project")]


def _command(typed: str, subject: str, /, *examples: str, about: str = "", **options: object) -> Command:
    """Return the command *typed*: ``start``, or one that is named for a kind.

    Args:
        typed: Its name.
        subject: What its gid is of.
        examples: What can be typed.
        about: What else its help page says.
        options: The annotation of each option.
    """
    fixed = [] if typed == "start" else [typed]

    def command(*words: str, following: StartOptions = DEFAULT_START, **given: Any) -> ExitStatus:
        operation = make_operation(*fixed, *words, **given)
        return run_async(lambda: _start(operation, following))

    summary = next(command.summary for command in COMMANDS if command.name == typed)
    shown = "\n".join(f"  {NAME} {example}" for example in examples)
    command.__doc__ = f"{summary}\n\n{about}For example:\n\n{shown}"
    gid = Annotated[str, Parameter(help=f"{subject}. Example: 1203")]
    arguments: dict[str, object] = {"gid": gid} if fixed else {"kind": _KIND, "gid": gid}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            *(
                inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY, annotation=annotation)
                for name, annotation in arguments.items()
            ),
            *(
                inspect.Parameter(
                    name, inspect.Parameter.KEYWORD_ONLY, default=_default(annotation), annotation=annotation
                )
                for name, annotation in options.items()
            ),
            inspect.signature(command).parameters["following"],
        ]
    )
    return command


def _default(annotation: object) -> object:
    defaults = ((Name, inspect.Parameter.empty), (PublicTemplate, False), (Dates, ()), (Roles, ()))
    return next((default for kind, default in defaults if kind is annotation), None)


start: Command = _command(
    "start",
    "What it is done to",
    'start duplicate-project 1203 --name "Q3 launch"',
    "start export-graph 1203 --wait",
    "start export-organization 1199",
    about="Each kind takes some of the options and refuses the others.\n\n"
    "The commands named for a kind, such as duplicate-project, list those it takes.\n\n",
    name=OptionalName,
    include=IncludeInAny,
    team=Team,
    workspace=Workspace,
    start_on=StartOn,
    due_on=DueOn,
    skip_weekends=SkipWeekends,
    public=Public,
    privacy_setting=Privacy,
    is_strict=Strict,
    date=Dates,
    role=Roles,
    parameters=Parameters,
)
duplicate_task: Command = _command(
    "duplicate-task",
    "The task to copy",
    'duplicate-task 1203 --name "Q3 launch" --include notes --wait',
    name=OptionalName,
    include=IncludeInTask,
)
duplicate_project: Command = _command(
    "duplicate-project",
    "The project to copy",
    'duplicate-project 1203 --name "Q3 launch" --wait',
    "duplicate-project 1203 --name Q3 --include notes,members --wait",
    name=Name,
    include=IncludeInProject,
    team=Team,
    start_on=StartOn,
    due_on=DueOn,
    skip_weekends=SkipWeekends,
)
duplicate_portfolio: Command = _command(
    "duplicate-portfolio",
    "The portfolio to copy",
    'duplicate-portfolio 1203 --name "2027" --include members --wait',
    name=Name,
    include=IncludeInPortfolio,
)
instantiate_task: Command = _command(
    "instantiate-task",
    "The task template",
    'instantiate-task 1203 --name "Onboard Kim" --wait',
    name=OptionalName,
)
instantiate_project: Command = _command(
    "instantiate-project",
    "The project template",
    "template 1203",
    "instantiate-project 1203 --name Q3 --date Launch=2027-01-04 --wait",
    name=Name,
    team=Team,
    public=Public,
    privacy_setting=Privacy,
    is_strict=Strict,
    date=Dates,
    role=Roles,
)
rollup_task: Command = _command("rollup-task", "The task", "rollup-task 1203 --wait")
rollup_project: Command = _command("rollup-project", "The project", "rollup-project 1203 --wait")
save_project_as_template: Command = _command(
    "save-project-as-template",
    "The project",
    'save-project-as-template 1203 --name "Launch" --team 1207 --wait',
    name=Name,
    public=PublicTemplate,
    team=Team,
    workspace=Workspace,
)


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
