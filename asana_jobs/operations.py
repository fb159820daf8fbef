"""The eleven calls that start a job, as frozen values: one for `run` and `start`, many for `run_all`.

An operation knows its method, its path and its body, is checked when it is made (`ValueError`, before any request),
and round-trips through JSON: `operation_from_dict(operation.to_dict()) == operation`.

`gid` is what a call is about, a string of digits; `name` is that of what is made; `include` is what is copied,
as words or one string; `team` and `workspace` are gids. Sources: Asana's OpenAPI document and its reference pages.

A client has a call of the same name and arguments for each, such as `duplicate_project` for `DuplicateProject`. The call
returns the job as Asana has answered it, at once; `run` waits, and returns the succeeded job or raises.

## Templates

A template asks for dates and for people in roles. Both are given by name, or by gid. A name that the template does not
have is a `ValueError` that shows those it has, before anything is started.

```python
import asyncio
from datetime import date

from asana_jobs import AsanaClient, InstantiateProject


async def main() -> None:
    async with AsanaClient() as asana:
        template = await asana.project_template("1204")
        print(template.name, "asks for", [asked.name for asked in template.requested_dates])

        launch = InstantiateProject(
            "1204",
            name="Q3 launch",
            requested_dates={"Start Date": date(2027, 1, 4), "Due Date": date(2027, 3, 1)},
            requested_roles={"Designer": "4711"},  # a user's gid
        )
        job = await asana.run(launch)
        print(job.status, job.expect_result().name)


asyncio.run(main())
```

The same in a terminal, by name:

```console
$ asana-jobs template 1204
$ asana-jobs instantiate-project 1204 --name "Q3 launch" --date "Start Date=2027-01-04" --role "Designer=4711"
```

(`pip install 'asana-jobs[cli]'`.) Many at once, each of them once: `asana_jobs.guides.bulk`.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Iterable, Mapping
from typing import ClassVar, Final, Never, cast, final

import attrs
from attrs.validators import optional

from asana_jobs.models import (
    GraphExportCompact,
    Job,
    Makes,
    OrganizationExport,
    PortfolioCompact,
    ProjectCompact,
    ProjectTemplate,
    ProjectTemplateCompact,
    R_co,
    ResourceExportCompact,
    TaskCompact,
)
from asana_jobs.parameters import (
    ExportFilters,
    ExportParameters,
    Include,
    Json,
    PortfolioInclude,
    ProjectInclude,
    RequestedDate,
    RequestedDates,
    RequestedRole,
    RequestedRoles,
    ScheduleDates,
    TaskInclude,
    build,
    check_flag,
    check_gid_field,
    check_text,
    export_parameters,
    gids_for_names,
    portfolio_words,
    project_words,
    requested_dates,
    requested_roles,
    schedule_dates,
    task_words,
    to_json,
)


__all__ = [
    "OPERATIONS",
    "DuplicatePortfolio",
    "DuplicateProject",
    "DuplicateTask",
    "ExportFilters",
    "ExportGraph",
    "ExportOrganization",
    "ExportParameters",
    "ExportResource",
    "Include",
    "InstantiateProject",
    "InstantiateTask",
    "Operation",
    "PortfolioInclude",
    "ProjectInclude",
    "RequestedDate",
    "RequestedDates",
    "RequestedRole",
    "RequestedRoles",
    "RollupProject",
    "RollupTask",
    "SaveProjectAsTemplate",
    "ScheduleDates",
    "TaskInclude",
    "operation_from_dict",
]


@attrs.frozen
class Operation(Makes[R_co]):
    """A call that starts a job: its method, its path, its body, and itself as JSON.

    Type checkers know what each makes: `DuplicateProject` is an ``Operation[ProjectCompact]``.

    Attributes:
        gid: The subject: what is copied, instantiated or exported.
    """

    kind: ClassVar[str]
    method: ClassVar[str] = "POST"
    route: ClassVar[str]
    #: Whether a second POST while the first job runs gives the same job back (Asana forum, thread 1069047).
    same_job_while_running: ClassVar[bool] = False

    gid: str = attrs.field(validator=check_gid_field)

    @property
    def path(self) -> str:
        """The path below the base URL."""
        return self.route.format(gid=self.gid)

    @property
    def body(self) -> dict[str, Json] | None:
        """The content of the ``data`` envelope, or ``None`` for a call without a body."""
        given = self.to_dict()
        del given["kind"], given["gid"]
        if "include" in given:
            given["include"] = ",".join(cast("list[str]", given["include"]))
        return given

    def to_dict(self) -> dict[str, Json]:
        """Return the operation as JSON: ``kind``, ``gid`` and the arguments that were given."""
        fields = attrs.asdict(self, recurse=False)
        given = {name: to_json(value) for name, value in fields.items() if value not in (None, ())}
        return {"kind": self.kind, **given}


@final
@attrs.frozen
class DuplicateTask(Operation[TaskCompact]):
    """Copy a task (``POST /tasks/{gid}/duplicate``).

    Attributes:
        name: The name of the copy; Asana has one of its own for ``None``.
        include: What is copied along: assignee, attachments, dates, dependencies, followers, notes, parent, projects,
            subtasks, tags.
    """

    kind = "duplicate_task"
    route = "/tasks/{gid}/duplicate"

    name: str | None = attrs.field(default=None, kw_only=True, validator=optional(check_text))
    include: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=task_words)


@final
@attrs.frozen
class DuplicateProject(Operation[ProjectCompact]):
    """Copy a project (``POST /projects/{gid}/duplicate``).

    Attributes:
        name: The name of the copy.
        include: What is copied along: allocations, forms, members, notes, permissions, task_assignee,
            task_attachments, task_dates, task_dependencies, task_followers, task_notes, task_projects, task_subtasks,
            task_tags, task_templates, task_type_default.
        schedule_dates: How the dates are shifted; ``include`` must have ``task_dates``.
        team: The team of the copy. It left Asana's schema on 2026-06-02, and is still sent when given.
    """

    kind = "duplicate_project"
    route = "/projects/{gid}/duplicate"

    name: str = attrs.field(kw_only=True, validator=check_text)
    include: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=project_words)
    schedule_dates: ScheduleDates | None = attrs.field(default=None, kw_only=True, converter=schedule_dates)
    team: str | None = attrs.field(default=None, kw_only=True, validator=optional(check_gid_field))

    def __attrs_post_init__(self) -> None:
        if self.schedule_dates is not None and "task_dates" not in self.include:
            raise ValueError(
                "schedule_dates needs 'task_dates' in include: there are no dates to shift without it"
            )


@final
@attrs.frozen
class DuplicatePortfolio(Operation[PortfolioCompact]):
    """Copy a portfolio (``POST /portfolios/{gid}/duplicate``).

    Attributes:
        name: The name of the copy.
        include: What is copied along: description, members, permissions, templates, rules, child_projects,
            child_portfolios.
    """

    kind = "duplicate_portfolio"
    route = "/portfolios/{gid}/duplicate"

    name: str = attrs.field(kw_only=True, validator=check_text)
    include: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=portfolio_words)


@final
@attrs.frozen
class SaveProjectAsTemplate(Operation[ProjectTemplateCompact]):
    """Make a template of a project (``POST /projects/{gid}/saveAsTemplate``).

    Attributes:
        name: The name of the template.
        public: Whether everybody in the team sees it.
        team: The team of the template, in an organization.
        workspace: The workspace of the template, elsewhere. Not both.
    """

    kind = "save_project_as_template"
    route = "/projects/{gid}/saveAsTemplate"

    name: str = attrs.field(kw_only=True, validator=check_text)
    public: bool = attrs.field(kw_only=True, validator=check_flag)
    team: str | None = attrs.field(default=None, kw_only=True, validator=optional(check_gid_field))
    workspace: str | None = attrs.field(default=None, kw_only=True, validator=optional(check_gid_field))

    def __attrs_post_init__(self) -> None:
        if self.team is not None and self.workspace is not None:
            raise ValueError("give team (in an organization) or workspace (elsewhere), not both")


@final
@attrs.frozen
class InstantiateProject(Operation[ProjectCompact]):
    """Make a project from a template (``POST /project_templates/{gid}/instantiateProject``).

    Attributes:
        name: The name of the project.
        team: The team of the project.
        public: The deprecated forerunner of ``privacy_setting``.
        privacy_setting: public_to_workspace, private_to_team or private.
        is_strict: Whether a missing date is an `UnprocessableError` instead of a default.
        requested_dates: Values for the template's dates, by their gids or names: ``{"Launch": "2027-01-04"}``. What is
            made of digits alone is a gid.
        requested_roles: Users for the template's roles, likewise.

    Names are Asana's for people, and not part of its API: whatever starts this reads the template first, once, and
    refuses with a `ValueError` a name that the template does not have, or has twice. Nothing was started then. A date
    that is left out is Asana's affair, see ``is_strict``.
    """

    kind = "instantiate_project"
    route = "/project_templates/{gid}/instantiateProject"

    name: str = attrs.field(kw_only=True, validator=check_text)
    team: str | None = attrs.field(default=None, kw_only=True, validator=optional(check_gid_field))
    public: bool | None = attrs.field(default=None, kw_only=True, validator=optional(check_flag))
    privacy_setting: str | None = attrs.field(default=None, kw_only=True, validator=optional(check_text))
    is_strict: bool | None = attrs.field(default=None, kw_only=True, validator=optional(check_flag))
    requested_dates: tuple[RequestedDate, ...] = attrs.field(
        default=(), kw_only=True, converter=requested_dates
    )
    requested_roles: tuple[RequestedRole, ...] = attrs.field(
        default=(), kw_only=True, converter=requested_roles
    )

    @property
    def body(self) -> dict[str, Json] | None:
        """The content of the ``data`` envelope.

        Raises:
            ValueError: a date or role is given by its name.
        """
        if self.names:
            raise ValueError(
                f"{', '.join(map(repr, self.names))} must be known by gid before it is sent: write "
                f"operation.by_gid(await asana.project_template({self.gid!r}))"
            )
        return super().body

    @property
    def names(self) -> tuple[str, ...]:
        """The dates and roles that are given by their names."""
        dates = [date.name for date in self.requested_dates if date.name is not None]
        return (*dates, *(role.name for role in self.requested_roles if role.name is not None))

    def by_gid(self, template: ProjectTemplate) -> InstantiateProject:
        """Return the same operation with every date and role by its gid.

        Args:
            template: The template that it instantiates.

        Raises:
            ValueError: it is another template, or a name is none of its dates or roles, or that of several, or one is
                given twice; the message lists those that there are.
        """
        if template.gid != self.gid:
            raise ValueError(f"the operation is about template {self.gid}, not {template.gid}")
        whose = f"template {self.gid}"
        return attrs.evolve(
            self,
            requested_dates=gids_for_names(self.requested_dates, template.requested_dates, whose, "date"),
            requested_roles=gids_for_names(self.requested_roles, template.requested_roles, whose, "role"),
        )


@final
@attrs.frozen
class InstantiateTask(Operation[TaskCompact]):
    """Make a task from a template (``POST /task_templates/{gid}/instantiateTask``).

    Attributes:
        name: The name of the task; ``None`` takes the template's.
    """

    kind = "instantiate_task"
    route = "/task_templates/{gid}/instantiateTask"

    name: str | None = attrs.field(default=None, kw_only=True, validator=optional(check_text))


@attrs.frozen
class _Rollup(Operation[Never]):
    @property
    def body(self) -> None:
        return None


@final
@attrs.frozen
class RollupTask(_Rollup):
    """Bring a task's dates in line with its subtasks (``POST /tasks/{gid}/rollup``)."""

    kind = "rollup_task"
    route = "/tasks/{gid}/rollup"


@final
@attrs.frozen
class RollupProject(_Rollup):
    """Bring the dates of a project's tasks in line (``POST /projects/{gid}/rollup``); see ``dates_rollup_progress``."""

    kind = "rollup_project"
    route = "/projects/{gid}/rollup"


@final
@attrs.frozen
class ExportGraph(Operation[GraphExportCompact]):
    """Export what hangs below a goal, project, portfolio or team, its ``gid`` (``POST /exports/graph``)."""

    kind = "export_graph"
    route = "/exports/graph"
    same_job_while_running = True

    @property
    def body(self) -> dict[str, Json]:
        """The parent's gid."""
        return {"parent": self.gid}


@final
@attrs.frozen
class ExportResource(Operation[ResourceExportCompact]):
    """Export tasks, teams or messages of a workspace, its ``gid`` (``POST /exports/resource``).

    Attributes:
        parameters: Which resources, with which filters and fields.
    """

    kind = "export_resource"
    route = "/exports/resource"

    parameters: tuple[ExportParameters, ...] = attrs.field(
        default=(), kw_only=True, converter=export_parameters
    )

    @property
    def body(self) -> dict[str, Json]:
        """The workspace's gid and what to export."""
        return {"workspace": self.gid, "export_request_parameters": to_json(self.parameters)}


@final
@attrs.frozen
class ExportOrganization(Operation[OrganizationExport]):
    """Export a whole organization, its ``gid`` (``POST /organization_exports``).

    Asana keeps it outside its jobs; here it is started, waited for and downloaded like one.
    """

    kind = "export_organization"
    route = "/organization_exports"

    @property
    def body(self) -> dict[str, Json]:
        """The organization's gid."""
        return {"organization": self.gid}


#: Every operation by its kind, in the order of this page.
OPERATIONS: Final[Mapping[str, type[Operation]]] = {
    value.__dict__["kind"]: cast("type[Operation]", value)
    for value in tuple(globals().values())
    if isinstance(value, type) and issubclass(value, Operation) and "kind" in value.__dict__
}


def operation_from_dict(data: Mapping[str, object]) -> Operation:
    """Make an operation from JSON, *data* such as ``{"kind": "duplicate_project", "gid": "1203", "name": "Q3"}``.

    Raises:
        ValueError: no such kind, an unknown or missing argument, or one that is wrong; the message names it.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"an operation is an object with a kind and a gid, not {data!r:.60}")
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in OPERATIONS:
        raise ValueError(f"kind must be one of {', '.join(OPERATIONS)}, not {kind!r}")
    arguments = {name: value for name, value in data.items() if name != "kind"}
    return build(OPERATIONS[kind], arguments, kind)


def check_operation(operation: object, *, many: str) -> Operation:
    """Return *operation* if it is one, or raise a `ValueError`; *many* says what takes many of them.

    Raises:
        ValueError: it is a class, a mapping, a list or something else; the message says what to write instead.
    """
    if isinstance(operation, Operation):
        return cast("Operation", operation)
    found = no_operation(operation)
    if isinstance(operation, Iterable | AsyncIterable) and not isinstance(
        operation, str | bytes | type | Mapping | Awaitable
    ):
        found += f", which is several: {many}"
    raise ValueError(f"operation must be one of asana_jobs.operations, not {found}")


def no_operation(thing: object) -> str:
    """Return how to call a *thing* that stands where an operation is meant, and what to write instead, if it is known."""
    name = type(thing).__name__
    if isinstance(thing, type):
        itself = f"the class {thing.__name__} itself"
        return f"{itself}: write {thing.__name__}(gid, ...)" if issubclass(thing, Operation) else itself
    if isinstance(thing, Mapping):
        return f"{thing!r:.100}: write operation_from_dict(data)"
    if isinstance(thing, Job):
        return "a Job, which has been started: wait_for_job waits for it"
    if isinstance(thing, Awaitable):
        return f"a {name}: hand in the operation itself, such as DuplicateProject(gid, ...)"
    if isinstance(thing, str) and thing.isdigit():
        return f"{thing!r:.100}: say what to do with it, such as DuplicateProject({thing!r:.100}, name=...)"
    return f"{thing!r:.100}"
