"""``asana-jobs template``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

import asana_jobs
from asana_jobs.cli.connection import open_client
from asana_jobs.cli.errors import ExitStatus, complain
from asana_jobs.cli.events import event, to_line
from asana_jobs.cli.job_arguments import check_gid
from asana_jobs.cli.options import DEFAULT_BUDGET, Output
from asana_jobs.cli.program import run_async
from asana_jobs.cli.terminal import emit, for_people, print_facts


if TYPE_CHECKING:
    from asana_jobs import AsanaClient
    from asana_jobs.models import ProjectTemplate, TaskTemplate


Kind: TypeAlias = Literal["project", "task"]


def template(gid: str, /, *, kind: Kind | None = None, output: Output = "auto") -> ExitStatus:
    """Show what a template asks for: its dates and roles.

    Each has a name and a gid, and instantiate-project takes either.

    JSON holds the whole template as Asana answered it.

    For example:

      asana-jobs template 1204
      asana-jobs template 1204 --output json | jq .template.requested_dates

    Args:
        gid: The template's gid. Example: 1204
        kind: Which kind of template it is. Without it, both are looked for. Example: --kind project
    """
    check_gid(gid)

    async def show() -> ExitStatus:
        async with open_client(DEFAULT_BUDGET) as client:
            found = await _find(client, gid, kind)
        if found is None:
            missing = (
                f"there is no project template and no task template {gid}, or this token does not see it"
            )
            complain(missing, asana_jobs.NotFoundError.advice)
            return ExitStatus.API
        what = "project_template" if isinstance(found, asana_jobs.models.ProjectTemplate) else "task_template"
        if for_people(output):
            print_facts([(name, value) for name, value in _facts(found) if value])
        else:
            emit(to_line(event("template", gid=found.gid, kind=what, template=found.to_dict())))
        return ExitStatus.SUCCEEDED

    return run_async(show)


async def _find(client: AsanaClient, gid: str, kind: Kind | None) -> ProjectTemplate | TaskTemplate | None:
    if kind == "task":
        return await client.task_template(gid)
    try:
        return await client.project_template(gid)
    except asana_jobs.NotFoundError:
        if kind == "project":
            raise
    try:
        return await client.task_template(gid)
    except asana_jobs.NotFoundError:
        return None


def _facts(found: ProjectTemplate | TaskTemplate) -> Iterator[tuple[str, str | None]]:
    yield "name", found.name
    if not isinstance(found, asana_jobs.models.ProjectTemplate):
        yield "task template", found.gid
        yield "project", None if found.project is None else found.project.name
        yield "asks for", "nothing: a task has the dates and people of its template"
        yield "write", f"asana-jobs instantiate-task {found.gid}"
        return
    yield "project template", found.gid
    yield "team", None if found.team is None else found.team.name
    for date in found.requested_dates:
        yield "date", _line(date.name, date.gid, date.description)
    for role in found.requested_roles:
        yield "role", _line(role.name, role.gid, None)
    if not (found.requested_dates or found.requested_roles):
        yield "asks for", "no dates and no roles"
    words = [f'--date "{date.name or date.gid}=YYYY-MM-DD"' for date in found.requested_dates]
    words += [f'--role "{role.name or role.gid}=me"' for role in found.requested_roles]
    yield "write", " ".join([f"asana-jobs instantiate-project {found.gid} --name NAME", *words])


def _line(name: str | None, gid: str, description: str | None) -> str:
    named = f"{name} (gid {gid})" if name else f"gid {gid}"
    return f"{named}: {description}" if description else named
