"""The structured arguments of operations: dates, roles and what an export is to hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, TypeAlias, TypeVar, cast, get_args

import attrs

from asana_jobs._gids import check_gid, check_many


__all__ = [
    "INCLUDE_WORDS",
    "ExportFilters",
    "ExportParameters",
    "PortfolioWord",
    "ProjectWord",
    "RequestedDate",
    "RequestedRole",
    "ScheduleDates",
    "TaskWord",
]

#: What `DuplicateTask` may copy along. Source: ``TaskDuplicateRequest.include``.
TaskWord: TypeAlias = Literal[
    "assignee",
    "attachments",
    "dates",
    "dependencies",
    "followers",
    "notes",
    "parent",
    "projects",
    "subtasks",
    "tags",
]
#: What `DuplicateProject` may copy along. Source: ``ProjectDuplicateRequest.include``.
ProjectWord: TypeAlias = Literal[
    "allocations",
    "forms",
    "members",
    "notes",
    "permissions",
    "task_assignee",
    "task_attachments",
    "task_dates",
    "task_dependencies",
    "task_followers",
    "task_notes",
    "task_projects",
    "task_subtasks",
    "task_tags",
    "task_templates",
    "task_type_default",
]
#: What `DuplicatePortfolio` may copy along. Source: ``PortfolioDuplicateRequest.include``.
PortfolioWord: TypeAlias = Literal[
    "description",
    "members",
    "permissions",
    "templates",
    "rules",
    "child_projects",
    "child_portfolios",
]
#: The words of ``include`` that Asana documents, by the kind of operation. It adds some without notice.
INCLUDE_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "duplicate_task": get_args(TaskWord),
    "duplicate_project": get_args(ProjectWord),
    "duplicate_portfolio": get_args(PortfolioWord),
}

DateLike: TypeAlias = date | str
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
T = TypeVar("T")


def iso_date(value: object, what: str) -> str:
    """Return *value*, a `date` or ``YYYY-MM-DD``, as text; a wrong one is a `ValueError`."""
    if isinstance(value, datetime):
        raise ValueError(f"{what} must be a date without a time of day, not {value!r}")
    if isinstance(value, date):
        return value.isoformat()
    try:
        parsed = date.fromisoformat(cast("str", value))
    except (TypeError, ValueError):
        raise ValueError(f"{what} must be a date or 'YYYY-MM-DD', not {value!r}") from None
    return parsed.isoformat()


def _date(value: DateLike | None) -> str | None:
    return None if value is None else iso_date(value, "a date")


def _start_on(value: DateLike | None) -> str | None:
    return None if value is None else iso_date(value, "start_on")


def _due_on(value: DateLike | None) -> str | None:
    return None if value is None else iso_date(value, "due_on")


def _moment(value: datetime | str | None) -> str | None:
    if value is None:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"a filter's moment must be a datetime or ISO 8601 text, not {value!r}") from None
    if moment.tzinfo is None:
        raise ValueError(f"a filter's moment must say its time zone, not {value!r}")
    try:
        return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:
        raise ValueError(f"a filter's moment must lie in the years 1 to 9999 in UTC, not {value!r}") from None


def _gids(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    users = check_many(value, "a filter's users must be an iterable of gids", write="[{}]", name="gid")
    return tuple(check_gid(gid, "a filter's user gid") for gid in users)


def _gid(value: str) -> str:
    return check_gid(value, "the gid of a date or role")


def check_text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """An attrs validator: a string with something in it."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{attribute.name} must be a non-empty string, not {value!r}")


def check_flag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """An attrs validator: True or False, not something that merely looks like it."""
    if not isinstance(value, bool):
        raise ValueError(f"{attribute.name} must be True or False, not {value!r}")


@attrs.frozen(kw_only=True)
class ScheduleDates:
    """How the dates of a duplicated project are shifted.

    Attributes:
        should_skip_weekends: Whether shifted dates skip weekends; Asana requires it.
        start_on: The new project's first start date, or ``due_on``: its last due date. Exactly one of them,
            as a `date` or ``YYYY-MM-DD``.

    Source: ``ProjectDuplicateRequest.schedule_dates``.
    """

    should_skip_weekends: bool = attrs.field(validator=check_flag)
    start_on: str | None = attrs.field(default=None, converter=_start_on)
    due_on: str | None = attrs.field(default=None, converter=_due_on)

    def __attrs_post_init__(self) -> None:
        if (self.start_on is None) == (self.due_on is None):
            raise ValueError("schedule_dates needs exactly one of start_on and due_on")


@attrs.frozen
class RequestedDate:
    """A ``value`` for a date variable of a template; ``gid`` ``"1"`` is the project's start, ``"2"`` its due date.

    Source: ``DateVariableRequest``.
    """

    gid: str = attrs.field(converter=_gid)
    value: str | None = attrs.field(default=None, converter=_date)


@attrs.frozen
class RequestedRole:
    """A user, its ``value``, for the role ``gid`` of a template: ``"me"``, an e-mail address or a user gid.

    Source: ``RequestedRoleRequest``.
    """

    gid: str = attrs.field(converter=_gid)
    value: str = attrs.field(validator=check_text)


@attrs.frozen(kw_only=True)
class ExportFilters:
    """Which resources a resource export holds; none of them apply to teams.

    Attributes:
        assigned_by_any: and ``assignee_any`` (tasks only), ``commented_on_by_any``, ``created_by_any``,
            ``followers_any``, ``liked_by_any``: user gids, of which one must match.
        created_at_after: and ``created_at_before``, ``modified_at_after``, ``modified_at_before``: an aware
            `datetime` or ISO 8601 text.

    Source: ``ResourceExportFilters``.
    """

    assigned_by_any: tuple[str, ...] | None = attrs.field(default=None, converter=_gids)
    assignee_any: tuple[str, ...] | None = attrs.field(default=None, converter=_gids)
    commented_on_by_any: tuple[str, ...] | None = attrs.field(default=None, converter=_gids)
    created_by_any: tuple[str, ...] | None = attrs.field(default=None, converter=_gids)
    followers_any: tuple[str, ...] | None = attrs.field(default=None, converter=_gids)
    liked_by_any: tuple[str, ...] | None = attrs.field(default=None, converter=_gids)
    created_at_after: str | None = attrs.field(default=None, converter=_moment)
    created_at_before: str | None = attrs.field(default=None, converter=_moment)
    modified_at_after: str | None = attrs.field(default=None, converter=_moment)
    modified_at_before: str | None = attrs.field(default=None, converter=_moment)


def dotted(name: str) -> str:
    """Return the key Asana uses for a filter: ``created_at_after`` is ``created_at.after`` on the wire."""
    stem, _, suffix = name.rpartition("_")
    return f"{stem}.{suffix}"


def _filters(value: ExportFilters | Mapping[str, object] | None) -> ExportFilters | None:
    if value is None or isinstance(value, ExportFilters):
        return value
    if not isinstance(value, Mapping):
        raise ValueError(f"filters must be ExportFilters or a mapping, not {value!r}")
    return build(ExportFilters, value, "filters")


def _names(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names: list[str] = []
    for name in check_many(
        value, "fields must be an iterable of field paths", write="fields=[{}]", name="path"
    ):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"fields must hold field paths such as 'assignee.name', not {name!r}")
        names.append(name)
    return tuple(names)


@attrs.frozen
class ExportParameters:
    """One kind of resource in a resource export.

    Several entries for one resource type add up, and may yield duplicates.

    Attributes:
        resource_type: ``task``, ``team`` or ``message``.
        filters: `ExportFilters`, or a mapping with its names or Asana's dotted ones.
        fields: Field paths to include; ``None`` includes all that are not optional.

    Source: ``ResourceExportRequestParameter``.
    """

    resource_type: str = attrs.field(validator=check_text)
    filters: ExportFilters | None = attrs.field(default=None, kw_only=True, converter=_filters)
    fields: tuple[str, ...] | None = attrs.field(default=None, kw_only=True, converter=_names)


def build(kind: type[T], data: Mapping[str, object], what: str) -> T:
    """Make a *kind* from a mapping of JSON, or say which key is unknown or missing."""
    known = {field.name: field for field in attrs.fields(cast("type[attrs.AttrsInstance]", kind))}
    # Only keys that are text have dots; others are as unknown as any.
    arguments = {str(key).replace(".", "_"): value for key, value in data.items()}
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ValueError(f"{what} has no {', '.join(map(repr, unknown))}; it has {', '.join(known)}")
    required = [name for name, field in known.items() if field.default is attrs.NOTHING]
    missing = [name for name in required if name not in arguments]
    if missing:
        raise ValueError(f"{what} needs {', '.join(map(repr, missing))}")
    return kind(**arguments)


def to_json(value: object) -> Json:
    """Return *value* as JSON would hold it: fields that are ``None`` are left out, filters get their dots."""
    if isinstance(value, tuple | list):
        return [to_json(item) for item in cast("Iterable[object]", value)]
    if attrs.has(type(value)):
        rename = dotted if isinstance(value, ExportFilters) else str
        fields = attrs.asdict(cast("attrs.AttrsInstance", value), recurse=False)
        keep_none = isinstance(value, RequestedDate)
        return {rename(k): to_json(v) for k, v in fields.items() if keep_none or v is not None}
    return cast("Json", value)
