"""The ten calls that start a job, as frozen values.

An operation knows its method, its path and its body, is checked when it is made (`ValueError`, before any
request), and round-trips through JSON: ``operation_from_dict(operation.to_dict()) == operation``. Sources: the
request schemas of Asana's OpenAPI document and the reference pages of the same names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, ClassVar, Final, TypeAlias, TypeVar, cast, final

import attrs

from asana_jobs._gids import check_gid
from asana_jobs.parameters import (
    ExportFilters,
    ExportParameters,
    Json,
    RequestedDate,
    RequestedRole,
    ScheduleDates,
    build,
    check_flag,
    check_text,
    to_json,
)


__all__ = [
    "OPERATIONS",
    "DuplicatePortfolio",
    "DuplicateProject",
    "DuplicateTask",
    "ExportFilters",
    "ExportGraph",
    "ExportParameters",
    "ExportResource",
    "Include",
    "InstantiateProject",
    "InstantiateTask",
    "Operation",
    "RequestedDate",
    "RequestedRole",
    "RollupProject",
    "RollupTask",
    "SaveProjectAsTemplate",
    "ScheduleDates",
    "operation_from_dict",
]

#: Words such as ``"members"``, or one comma-separated string of them. Unknown words are passed on.
Include: TypeAlias = str | Iterable[str]
#: Values for a template's dates: a mapping of gid to date, or `RequestedDate` values, or mappings of JSON.
RequestedDates: TypeAlias = Mapping[str, Any] | Iterable[RequestedDate | Mapping[str, Any]]
RequestedRoles: TypeAlias = Mapping[str, str] | Iterable[RequestedRole | Mapping[str, Any]]

T = TypeVar("T")


def _gid(value: str) -> str:
    return check_gid(value)


def _team(value: str | None) -> str | None:
    return None if value is None else check_gid(value, "team")


def _workspace(value: str | None) -> str | None:
    return None if value is None else check_gid(value, "workspace")


def _words(value: object) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, Iterable) or isinstance(value, Mapping | bytes):
        raise ValueError(f"include must be words or one comma-separated string, not {value!r}")
    words: list[str] = []
    for word in cast("Iterable[object]", value):
        if not isinstance(word, str) or not word.strip() or "," in word:
            raise ValueError(f"include must hold words such as 'members', not {word!r}")
        words.append(word.strip())
    # A set has no order of its own, and equal operations must look equal on the wire and in a ledger.
    return tuple(sorted(set(words)) if isinstance(value, AbstractSet) else dict.fromkeys(words))


def _include(value: Include | None) -> tuple[str, ...]:
    return () if value is None or value == "" else _words(value)


def _one(kind: type[T], value: object, what: str) -> T:
    if isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        return build(kind, cast("Mapping[str, object]", value), what)
    raise ValueError(f"{what} must be {kind.__name__} or a mapping, not {value!r}")


def _schedule(value: ScheduleDates | Mapping[str, Any] | None) -> ScheduleDates | None:
    return None if value is None else _one(ScheduleDates, value, "schedule_dates")


def _pairs(kind: type[T], value: object, what: str) -> tuple[T, ...]:
    if value is None:
        return ()
    if isinstance(value, Mapping):
        given = cast("Mapping[str, object]", value)
        return tuple(_one(kind, {"gid": gid, "value": chosen}, what) for gid, chosen in given.items())
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ValueError(f"{what} must map gids to values, not {value!r}")
    return tuple(_one(kind, item, f"an item of {what}") for item in cast("Iterable[object]", value))


def _dates(value: RequestedDates | None) -> tuple[RequestedDate, ...]:
    return _pairs(RequestedDate, value, "requested_dates")


def _roles(value: RequestedRoles | None) -> tuple[RequestedRole, ...]:
    return _pairs(RequestedRole, value, "requested_roles")


def _export_parameters(value: Iterable[ExportParameters | Mapping[str, Any]]) -> tuple[ExportParameters, ...]:
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise ValueError(f"parameters must be an iterable of ExportParameters, not {value!r}")
    return tuple(_one(ExportParameters, item, "an item of parameters") for item in value)


@attrs.frozen
class Operation:
    """What the ten have in common. ``gid`` is the subject: what is copied, instantiated or exported."""

    kind: ClassVar[str]
    method: ClassVar[str] = "POST"
    route: ClassVar[str]
    #: Whether a second POST while the first job runs gives the same job back (Asana forum, thread 1069047).
    same_job_while_running: ClassVar[bool] = False

    gid: str = attrs.field(converter=_gid)

    @property
    def path(self) -> str:
        """The path below the base URL."""
        return self.route.format(gid=self.gid)

    @property
    def body(self) -> dict[str, Json] | None:
        """What goes into the ``data`` envelope, or ``None`` for a call without a body."""
        fields = attrs.asdict(self, recurse=False)
        fields.pop("gid")
        if "include" in fields:
            fields["include"] = ",".join(fields["include"]) or None
        return {name: to_json(value) for name, value in fields.items() if value not in (None, ())}

    def to_dict(self) -> dict[str, Json]:
        """Return the operation as JSON: ``kind``, ``gid`` and the arguments that were given."""
        fields = attrs.asdict(self, recurse=False)
        given = {name: to_json(value) for name, value in fields.items() if value not in (None, ())}
        return {"kind": self.kind, **given}


@final
@attrs.frozen
class DuplicateTask(Operation):
    """Copy a task (``POST /tasks/{gid}/duplicate``).

    ``include`` words: assignee, attachments, dates, dependencies, followers, notes, parent, projects, subtasks, tags.
    """

    kind = "duplicate_task"
    route = "/tasks/{gid}/duplicate"

    name: str | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_text)
    )
    include: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_include)


@final
@attrs.frozen
class DuplicateProject(Operation):
    """Copy a project (``POST /projects/{gid}/duplicate``).

    ``include`` words: allocations, forms, members, notes, permissions, task_assignee, task_attachments, task_dates,
    task_dependencies, task_followers, task_notes, task_projects, task_subtasks, task_tags, task_templates,
    task_type_default. ``schedule_dates`` needs ``task_dates`` among them. ``team`` left Asana's schema on
    2026-06-02; it is still sent when given.
    """

    kind = "duplicate_project"
    route = "/projects/{gid}/duplicate"

    name: str = attrs.field(kw_only=True, validator=check_text)
    include: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_include)
    schedule_dates: ScheduleDates | None = attrs.field(default=None, kw_only=True, converter=_schedule)
    team: str | None = attrs.field(default=None, kw_only=True, converter=_team)

    def __attrs_post_init__(self) -> None:
        if self.schedule_dates is not None and "task_dates" not in self.include:
            raise ValueError(
                "schedule_dates needs 'task_dates' in include: there are no dates to shift without it"
            )


@final
@attrs.frozen
class DuplicatePortfolio(Operation):
    """Copy a portfolio (``POST /portfolios/{gid}/duplicate``).

    ``include`` words: description, members, permissions, templates, rules, child_projects, child_portfolios.
    """

    kind = "duplicate_portfolio"
    route = "/portfolios/{gid}/duplicate"

    name: str = attrs.field(kw_only=True, validator=check_text)
    include: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_include)


@final
@attrs.frozen
class SaveProjectAsTemplate(Operation):
    """Make a template of a project (``POST /projects/{gid}/saveAsTemplate``).

    ``team`` in organizations or ``workspace`` elsewhere: not both.
    """

    kind = "save_project_as_template"
    route = "/projects/{gid}/saveAsTemplate"

    name: str = attrs.field(kw_only=True, validator=check_text)
    public: bool = attrs.field(kw_only=True, validator=check_flag)
    team: str | None = attrs.field(default=None, kw_only=True, converter=_team)
    workspace: str | None = attrs.field(default=None, kw_only=True, converter=_workspace)

    def __attrs_post_init__(self) -> None:
        if self.team is not None and self.workspace is not None:
            raise ValueError("give team (in an organization) or workspace (elsewhere), not both")


@final
@attrs.frozen
class InstantiateProject(Operation):
    """Make a project from a template (``POST /project_templates/{gid}/instantiateProject``).

    ``privacy_setting``: public_to_workspace, private_to_team or private; ``public`` is its deprecated forerunner.
    ``is_strict``: a missing date is an `UnprocessableError` instead of a default.
    """

    kind = "instantiate_project"
    route = "/project_templates/{gid}/instantiateProject"

    name: str = attrs.field(kw_only=True, validator=check_text)
    team: str | None = attrs.field(default=None, kw_only=True, converter=_team)
    public: bool | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_flag)
    )
    privacy_setting: str | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_text)
    )
    is_strict: bool | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_flag)
    )
    requested_dates: tuple[RequestedDate, ...] = attrs.field(default=(), kw_only=True, converter=_dates)
    requested_roles: tuple[RequestedRole, ...] = attrs.field(default=(), kw_only=True, converter=_roles)


@final
@attrs.frozen
class InstantiateTask(Operation):
    """Make a task from a template (``POST /task_templates/{gid}/instantiateTask``)."""

    kind = "instantiate_task"
    route = "/task_templates/{gid}/instantiateTask"

    name: str | None = attrs.field(
        default=None, kw_only=True, validator=attrs.validators.optional(check_text)
    )


@attrs.frozen
class _Rollup(Operation):
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
class ExportGraph(Operation):
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
class ExportResource(Operation):
    """Export tasks, teams or messages of a workspace, its ``gid`` (``POST /exports/resource``)."""

    kind = "export_resource"
    route = "/exports/resource"

    parameters: tuple[ExportParameters, ...] = attrs.field(
        default=(), kw_only=True, converter=_export_parameters
    )

    @property
    def body(self) -> dict[str, Json]:
        """The workspace's gid and what to export."""
        return {"workspace": self.gid, "export_request_parameters": to_json(self.parameters)}


#: Every operation by its kind.
OPERATIONS: Final[Mapping[str, type[Operation]]] = {
    kind.kind: kind
    for kind in (
        DuplicateTask,
        DuplicateProject,
        DuplicatePortfolio,
        SaveProjectAsTemplate,
        InstantiateProject,
        InstantiateTask,
        RollupTask,
        RollupProject,
        ExportGraph,
        ExportResource,
    )
}


def operation_from_dict(data: Mapping[str, object]) -> Operation:
    """Make an operation from JSON: ``{"kind": "duplicate_project", "gid": "1203", "name": "Q3"}``.

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
