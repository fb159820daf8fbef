"""The arguments of operations: words, gids, dates, roles and filters, checked before anything is sent.

First the words that Asana documents, then the checks (`check_gid` and `check_many` are everybody's), then the
structured arguments, and last the converters that bring every form in which people write them into one.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, Protocol, TypeAlias, TypeVar, cast, get_args

import attrs


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


#: A word for what `DuplicateTask` copies along. Source: ``TaskDuplicateRequest.include``.
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
#: A word for what `DuplicateProject` copies along. Source: ``ProjectDuplicateRequest.include``.
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
#: A word for what `DuplicatePortfolio` copies along. Source: ``PortfolioDuplicateRequest.include``.
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
#: Digits that a gid has at most.
LONGEST_GID: Final = 64
GID: Final = re.compile(rf"[0-9]{{1,{LONGEST_GID}}}")
#: Characters that the key of an operation has at most.
LONGEST_KEY: Final = 500

DateLike: TypeAlias = date | str
Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"
T = TypeVar("T")

_log = logging.getLogger("asana_jobs")
#: Kinds and words that were warned of, and how many at most: made-up words fill neither memory nor log.
_warned: Final = set[tuple[str, str]]()
_MOST_WARNED: Final = 100
#: Dates or roles of a template that one message lists.
_MOST_LISTED: Final = 20


def check_key(key: object) -> str:
    """Return *key* if it can name an operation of a run, or raise `ValueError`."""
    if not isinstance(key, str):
        raise ValueError(f"key must be a string, not {_shorten(key)} ({type(key).__name__})")
    if not is_key(key):
        raise ValueError(f"key must be 1 to {LONGEST_KEY} printable characters, not {key[:60]!r}")
    return key


def is_key(key: object) -> bool:
    """Whether *key* can name an operation of a run."""
    # Half a surrogate pair cannot be stored, and a line break would split a line of the export.
    return isinstance(key, str) and bool(key.strip()) and key.isprintable() and len(key) <= LONGEST_KEY


def check_gid(value: object, what: str = "gid") -> str:
    """Return *value* if it is a gid: a non-empty string of ASCII digits, or raise `ValueError`.

    Asana's gids are opaque strings of digits (``JobCompact.gid``); anything else in a path could reach
    another route, so it is refused before a request is built.
    """
    if not isinstance(value, str):
        raise ValueError(
            f"{what} must be a string of digits, such as '1203', not {_shorten(value)} ({type(value).__name__})"
        )
    if GID.fullmatch(value):
        return value
    if value.isascii() and value.isdigit():
        raise ValueError(
            f"{what} must have at most {LONGEST_GID} digits, not {len(value)}: {_shorten(value)}"
        )
    link = ": in a link it is one of the numbers" if "://" in value else ""
    raise ValueError(f"{what} must be a string of digits, such as '1203', not {_shorten(value)}{link}")


def check_many(value: object, what: str, *, write: str, name: str) -> Iterable[object]:
    """Return *value* if it is an iterable of many things, or raise a `ValueError` that shows the list to write.

    One text, bytes and a mapping can be iterated too, for letters, numbers and keys that nobody meant.

    Args:
        value: What was handed in where many are meant.
        what: What takes many of what, such as ``monitor_jobs takes a list of jobs``.
        write: What to write instead, with ``{}`` where the items belong, such as ``monitor_jobs([{}])``.
        name: How one item is called where it cannot be shown, such as ``job``.
    """
    if not _is_many(value):
        raise ValueError(f"{what}, not {_shorten(value)}: write {write.format(_as_items(value, name))}")
    return cast("Iterable[object]", value)


def _is_many(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(
        value, str | bytes | bytearray | memoryview | Mapping
    )


def _as_items(value: object, name: str) -> str:
    if isinstance(value, AsyncIterable):
        return f"{name} async for {name} in ..."
    if value is None or isinstance(value, bool | float):
        return "..."
    text = repr(as_text(value))
    if (
        isinstance(value, str)
        and len(parts := re.split(r"[\s,;]+", value.strip())) > 1
        and all(map(str.isdigit, parts))
    ):
        text = ", ".join(map(repr, parts))
    return text if isinstance(value, str | bytes | int) and len(text) <= 60 else name


def as_text(value: object) -> object:
    """Return the text that a number or bytes in the place of a gid stand for; anything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**LONGEST_GID:
        return str(value)
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    return value


def _shorten(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number with more digits than Python writes
        return "a number beyond all bounds"
    return text if len(text) <= 60 else f"{text[:57]}..."


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


def _gid(value: str | None) -> str | None:
    try:
        return None if value is None else check_gid(value, "the gid of a date or role")
    except ValueError as error:
        raise ValueError(f"{error}: a name is given as name=...") from None


def _name(value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(cast("object", value), str) or not value.strip():
        raise ValueError(f"the name of a date or role must be a non-empty string, not {_shorten(value)}")
    return normal_name(check_whole(value, "the name of a date or role"))


def normal_name(name: str) -> str:
    """Return the *name* of a date or role without what nobody sees: keyboards write one letter in several ways."""
    return unicodedata.normalize("NFC", name.strip())


def _check_named_once(request: RequestedDate | RequestedRole) -> None:
    if request.gid is None and request.name is None:
        raise ValueError("a date or role of a template needs 'gid' or 'name'")
    if request.gid is not None and request.name is not None:
        raise ValueError(
            f"a date or role of a template has a gid or a name, not both: {request.gid} and {request.name!r:.60}"
        )


def check_whole(value: str, what: str) -> str:
    """Return *value* if it is whole characters, or raise `ValueError`.

    Half an emoji (an unpaired surrogate) is what is left where text was cut by its length, and bytes that are no UTF-8
    on a command line: no text holds one, and Asana would make something else of it.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"{what} must be whole characters, and holds half of one (an unpaired surrogate, {value[error.start]!a}) at "
            f"place {error.start}: {_shorten(value)}"
        ) from None
    return value


def check_text(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse what is no string with something in it: an attrs validator."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{attribute.name} must be a non-empty string, not {value!r}")
    check_whole(value, attribute.name)


def check_gid_field(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse what is no gid: an attrs validator."""
    check_gid(value, attribute.name)


def check_flag(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    """Refuse what is neither True nor False: an attrs validator."""
    if not isinstance(value, bool):
        raise ValueError(f"{attribute.name} must be True or False, not {value!r}")


@attrs.frozen(kw_only=True)
class ScheduleDates:
    """The shift of the dates of a duplicated project.

    Attributes:
        should_skip_weekends: Whether shifted dates skip weekends; Asana requires it.
        start_on: The new project's first start date, as a `date` or ``YYYY-MM-DD``. Either this or the next.
        due_on: The new project's last due date, likewise.

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
    """A date for a date variable of a template, which is given by its gid or by its name.

    Attributes:
        gid: The gid of the variable; ``"1"`` is the project's start, ``"2"`` its due date.
        value: The date, as a `date` or ``YYYY-MM-DD``.
        name: The name of the variable instead, as Asana shows it. It is never sent: `InstantiateProject.by_gid`.

    Source: ``DateVariableRequest``.
    """

    gid: str | None = attrs.field(default=None, converter=_gid)
    value: str | None = attrs.field(default=None, converter=_date)
    name: str | None = attrs.field(default=None, kw_only=True, converter=_name)

    def __attrs_post_init__(self) -> None:
        _check_named_once(self)


@attrs.frozen
class RequestedRole:
    """A user for a role of a template, which is given by its gid or by its name.

    Attributes:
        gid: The gid of the role.
        value: The user: ``"me"``, an e-mail address or a user gid.
        name: The name of the role instead, as Asana shows it. It is never sent: `InstantiateProject.by_gid`.

    Source: ``RequestedRoleRequest``.
    """

    gid: str | None = attrs.field(default=None, converter=_gid)
    value: str = attrs.field(default="", validator=check_text)
    name: str | None = attrs.field(default=None, kw_only=True, converter=_name)

    def __attrs_post_init__(self) -> None:
        _check_named_once(self)


@attrs.frozen(kw_only=True)
class ExportFilters:
    """The filters of a resource export; none of them apply to teams.

    User gids are any number of which one must match; moments are an aware `datetime` or ISO 8601 text.

    Attributes:
        assigned_by_any: The gids of users who assigned it.
        assignee_any: The gids of users it is assigned to; of tasks only.
        commented_on_by_any: The gids of users who commented on it.
        created_by_any: The gids of users who created it.
        followers_any: The gids of users who follow it.
        liked_by_any: The gids of users who like it.
        created_at_after: The moment after which it was created.
        created_at_before: The moment before which it was created.
        modified_at_after: The moment after which it was last changed.
        modified_at_before: The moment before which it was last changed.

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
    return None if value is None else _one(ExportFilters, value, "filters")


def _names(value: Iterable[str] | None) -> tuple[str, ...] | None:
    if value is None:
        return None
    names: list[str] = []
    for name in check_many(
        value, "fields must be an iterable of field paths", write="fields=[{}]", name="path"
    ):
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"fields must hold field paths such as 'assignee.name', not {name!r}")
        names.append(check_whole(name, "fields"))
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
        null = "value" if isinstance(value, RequestedDate) else ""
        return {rename(k): to_json(v) for k, v in fields.items() if v is not None or k == null}
    return cast("Json", value)


#: Words such as ``"members"``, or one comma-separated string of them. Unknown words are passed on.
Include: TypeAlias = str | Iterable[str]
#: `Include` of a task: the words that Asana documents, or any.
TaskInclude: TypeAlias = str | Iterable[TaskWord | str]
#: `Include` of a project: the words that Asana documents, or any.
ProjectInclude: TypeAlias = str | Iterable[ProjectWord | str]
#: `Include` of a portfolio: the words that Asana documents, or any.
PortfolioInclude: TypeAlias = str | Iterable[PortfolioWord | str]
#: Values for a template's dates: a mapping of gid or name to date (digits are a gid), or `RequestedDate` values, or
#: mappings of JSON.
RequestedDates: TypeAlias = Mapping[str, Any] | Iterable[RequestedDate | Mapping[str, Any]]
#: Users for a template's roles: a mapping of gid or name to user (digits are a gid), or `RequestedRole` values, or
#: mappings of JSON.
RequestedRoles: TypeAlias = Mapping[str, str] | Iterable[RequestedRole | Mapping[str, Any]]


def _words(value: object) -> tuple[str, ...]:
    given = value.split(",") if isinstance(value, str) else value
    words: list[str] = []
    for word in check_many(
        given, "include must be words or one comma-separated string", write="include=[{}]", name="'members'"
    ):
        if not isinstance(word, str) or not word.strip() or "," in word:
            raise ValueError(f"include must hold words such as 'members', not {word!r}")
        words.append(check_whole(word.strip(), "include"))
    # A set has no order of its own, and equal operations must look equal on the wire and in a ledger.
    return tuple(sorted(set(words)) if isinstance(value, AbstractSet) else dict.fromkeys(words))


def _include(kind: str, value: Include | None) -> tuple[str, ...]:
    words = () if value is None or value == "" else _words(value)
    for word in words:
        if word not in INCLUDE_WORDS[kind] and (kind, word) not in _warned:
            _warn(kind, word)
    return words


def _warn(kind: str, word: str) -> None:
    """Say once that Asana documents no such word: it adds some without notice, so that it is sent all the same."""
    if len(_warned) >= _MOST_WARNED:
        return
    from difflib import get_close_matches  # noqa: PLC0415  # for the few who mistype

    _warned.add((kind, word))
    nearest = get_close_matches(word[:60], INCLUDE_WORDS[kind], 1)
    _log.warning(
        "include=%.60r is no word that Asana documents for %s, and may be ignored: %s",
        word,
        kind,
        f"is {nearest[0]!r} meant?" if nearest else f"its words are {', '.join(INCLUDE_WORDS[kind])}",
        extra={"asana_kind": kind},
    )


def task_words(value: TaskInclude | None) -> tuple[str, ...]:
    """A converter: what is copied along with a task, in any of its forms, as words."""
    return _include("duplicate_task", value)


def project_words(value: ProjectInclude | None) -> tuple[str, ...]:
    """A converter: what is copied along with a project, in any of its forms, as words."""
    return _include("duplicate_project", value)


def portfolio_words(value: PortfolioInclude | None) -> tuple[str, ...]:
    """A converter: what is copied along with a portfolio, in any of its forms, as words."""
    return _include("duplicate_portfolio", value)


#: What to write for an argument, where something else was given.
_EXAMPLES: Final = {
    "schedule_dates": '{"start_on": "2027-01-04", "should_skip_weekends": False}',
    "requested_dates": '{"Launch": "2027-01-04"}',
    "requested_roles": '{"Designer": "me"}',
    "parameters": '[ExportParameters("task")]',
    "filters": '{"assignee_any": ["1203"]}',
}


def _one(kind: type[T], value: object, what: str, of: str = "") -> T:
    if isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        return build(kind, cast("Mapping[str, object]", value), what)
    name = of or what
    raise ValueError(
        f"{what} must be {kind.__name__} or a mapping, not {_shorten(value)}: write {name}={_EXAMPLES[name]}"
    )


def schedule_dates(value: ScheduleDates | Mapping[str, Any] | None) -> ScheduleDates | None:
    """A converter: `ScheduleDates`, or a mapping of its arguments."""
    return None if value is None else _one(ScheduleDates, value, "schedule_dates")


def _pairs(kind: type[T], value: object, what: str) -> tuple[T, ...]:
    if value is None:
        return ()
    if isinstance(value, Mapping):
        given = cast("Mapping[str, object]", value)
        if "gid" in given or {"name", "value"} <= given.keys():
            raise ValueError(
                f"{what} must map gids or names to values, not be one of them: write {what}=[{value!r:.100}]"
            )
        return tuple(
            _one(kind, {_word_for(key): key, "value": chosen}, what) for key, chosen in given.items()
        )
    must = f"{what} must map gids or names to values"
    if not isinstance(value, kind) and not _is_many(value):
        raise ValueError(f"{must}, not {_shorten(value)}: write {what}={_EXAMPLES[what]}")
    items = check_many(value, must, write=f"{what}=[{{}}]", name=kind.__name__)
    return tuple(_one(kind, item, f"an item of {what}", what) for item in items)


def _word_for(key: object) -> str:
    """Return what the *key* of a date or role is: a name that is made of digits alone is given as `RequestedDate`."""
    return "name" if isinstance(key, str) and not (key.isascii() and key.isdigit()) else "gid"


def requested_dates(value: RequestedDates | None) -> tuple[RequestedDate, ...]:
    """A converter: the dates of a template in any of their forms."""
    return _pairs(RequestedDate, value, "requested_dates")


def requested_roles(value: RequestedRoles | None) -> tuple[RequestedRole, ...]:
    """A converter: the roles of a template in any of their forms."""
    return _pairs(RequestedRole, value, "requested_roles")


class Asked(Protocol):
    """A date or role that a template asks for."""

    @property
    def gid(self) -> str: ...

    @property
    def name(self) -> str | None: ...


Requested = TypeVar("Requested", RequestedDate, RequestedRole)


def gids_for_names(
    requested: tuple[Requested, ...], asked: Sequence[Asked], whose: str, kind: str
) -> tuple[Requested, ...]:
    """Return the *requested* dates or roles, each by its gid.

    Args:
        requested: What was given.
        asked: What the template asks for.
        whose: The template in messages.
        kind: ``date`` or ``role``.

    Raises:
        ValueError: a name is unknown or ambiguous, or two of them are the same.
    """
    found = tuple(_by_gid(one, asked, whose, kind) for one in requested)
    given: dict[str | None, str] = {}
    for one, before in zip(found, requested, strict=True):
        word = repr(before.name or before.gid)
        if one.gid in given:
            raise ValueError(f"{given[one.gid]} and {word} are the same {kind} of {whose}: give it once")
        given[one.gid] = word
    return found


def _by_gid(one: Requested, asked: Sequence[Asked], whose: str, kind: str) -> Requested:
    if one.name is None:
        return one
    gids = list(dict.fromkeys(each.gid for each in asked if each.name and normal_name(each.name) == one.name))
    if len(gids) == 1:
        return attrs.evolve(one, gid=gids[0], name=None)
    if gids:
        raise ValueError(
            f"{_shorten(one.name)} is the name of {len(gids)} {kind}s of {whose}, {', '.join(gids)}: give the gid instead"
        )
    known = [f"{_shorten(each.name)} ({each.gid})" for each in asked if each.name]
    listed = ", ".join(known[:_MOST_LISTED]) + (", ..." if len(known) > _MOST_LISTED else "")
    raise ValueError(
        f"{whose} asks for no {kind} {_shorten(one.name)}: it asks for {listed or f'no {kind}s by name'}"
    )


def export_parameters(value: Iterable[ExportParameters | Mapping[str, Any]]) -> tuple[ExportParameters, ...]:
    """A converter: what a resource export is to hold."""
    must = "parameters must be an iterable of ExportParameters"
    items = check_many(value, must, write=f"parameters={_EXAMPLES['parameters']}", name="ExportParameters")
    return tuple(_one(ExportParameters, item, "an item of parameters", "parameters") for item in items)
