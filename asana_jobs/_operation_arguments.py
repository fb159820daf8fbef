"""The arguments of operations, in every form people write them, brought into one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, TypeAlias, TypeVar, cast

from asana_jobs._gids import check_gid
from asana_jobs.parameters import ExportParameters, RequestedDate, RequestedRole, ScheduleDates, build


#: Words such as ``"members"``, or one comma-separated string of them. Unknown words are passed on.
Include: TypeAlias = str | Iterable[str]
#: Values for a template's dates: a mapping of gid to date, or `RequestedDate` values, or mappings of JSON.
RequestedDates: TypeAlias = Mapping[str, Any] | Iterable[RequestedDate | Mapping[str, Any]]
#: Users for a template's roles: a mapping of gid to user, or `RequestedRole` values, or mappings of JSON.
RequestedRoles: TypeAlias = Mapping[str, str] | Iterable[RequestedRole | Mapping[str, Any]]

T = TypeVar("T")


def subject_gid(value: str) -> str:
    """A converter: the gid an operation is about."""
    return check_gid(value)


def team_gid(value: str | None) -> str | None:
    """A converter: a team's gid, or none."""
    return None if value is None else check_gid(value, "team")


def workspace_gid(value: str | None) -> str | None:
    """A converter: a workspace's gid, or none."""
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


def include_words(value: Include | None) -> tuple[str, ...]:
    """A converter: ``include`` in any of its forms, as words."""
    return () if value is None or value == "" else _words(value)


def _one(kind: type[T], value: object, what: str) -> T:
    if isinstance(value, kind):
        return value
    if isinstance(value, Mapping):
        return build(kind, cast("Mapping[str, object]", value), what)
    raise ValueError(f"{what} must be {kind.__name__} or a mapping, not {value!r}")


def schedule_dates(value: ScheduleDates | Mapping[str, Any] | None) -> ScheduleDates | None:
    """A converter: `ScheduleDates`, or a mapping of its arguments."""
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


def requested_dates(value: RequestedDates | None) -> tuple[RequestedDate, ...]:
    """A converter: the dates of a template in any of their forms."""
    return _pairs(RequestedDate, value, "requested_dates")


def requested_roles(value: RequestedRoles | None) -> tuple[RequestedRole, ...]:
    """A converter: the roles of a template in any of their forms."""
    return _pairs(RequestedRole, value, "requested_roles")


def export_parameters(value: Iterable[ExportParameters | Mapping[str, Any]]) -> tuple[ExportParameters, ...]:
    """A converter: what a resource export is to hold."""
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise ValueError(f"parameters must be an iterable of ExportParameters, not {value!r}")
    return tuple(_one(ExportParameters, item, "an item of parameters") for item in value)
