"""The arguments of operations, in every form people write them, brought into one."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeAlias, TypeVar, cast

from asana_jobs._gids import check_gid, check_many
from asana_jobs.parameters import (
    INCLUDE_WORDS,
    ExportParameters,
    PortfolioWord,
    ProjectWord,
    RequestedDate,
    RequestedRole,
    ScheduleDates,
    TaskWord,
    build,
)


#: Words such as ``"members"``, or one comma-separated string of them. Unknown words are passed on.
Include: TypeAlias = str | Iterable[str]
#: `Include` of a task: the words that Asana documents, or any.
TaskInclude: TypeAlias = str | Iterable[TaskWord | str]
#: `Include` of a project: the words that Asana documents, or any.
ProjectInclude: TypeAlias = str | Iterable[ProjectWord | str]
#: `Include` of a portfolio: the words that Asana documents, or any.
PortfolioInclude: TypeAlias = str | Iterable[PortfolioWord | str]
#: Values for a template's dates: a mapping of gid to date, or `RequestedDate` values, or mappings of JSON.
RequestedDates: TypeAlias = Mapping[str, Any] | Iterable[RequestedDate | Mapping[str, Any]]
#: Users for a template's roles: a mapping of gid to user, or `RequestedRole` values, or mappings of JSON.
RequestedRoles: TypeAlias = Mapping[str, str] | Iterable[RequestedRole | Mapping[str, Any]]

T = TypeVar("T")

_log = logging.getLogger("asana_jobs")
#: Kinds and words that were told of, and how many at most: who sends made-up words fills neither memory nor log.
_told: Final = set[tuple[str, str]]()
_MOST_TOLD: Final = 100


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
    given = value.split(",") if isinstance(value, str) else value
    words: list[str] = []
    for word in check_many(
        given, "include must be words or one comma-separated string", write="include=[{}]", name="'members'"
    ):
        if not isinstance(word, str) or not word.strip() or "," in word:
            raise ValueError(f"include must hold words such as 'members', not {word!r}")
        words.append(word.strip())
    # A set has no order of its own, and equal operations must look equal on the wire and in a ledger.
    return tuple(sorted(set(words)) if isinstance(value, AbstractSet) else dict.fromkeys(words))


def _include(kind: str, value: Include | None) -> tuple[str, ...]:
    words = () if value is None or value == "" else _words(value)
    for word in words:
        if word not in INCLUDE_WORDS[kind] and (kind, word) not in _told:
            _tell(kind, word)
    return words


def _tell(kind: str, word: str) -> None:
    """Say once that Asana documents no such word: it adds some without notice, so that it is sent all the same."""
    if len(_told) >= _MOST_TOLD:
        return
    from difflib import get_close_matches  # noqa: PLC0415  # for the few who mistype

    _told.add((kind, word))
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
        if "gid" in given:
            raise ValueError(
                f"{what} must map gids to values, not be one of them: write {what}=[{value!r:.100}]"
            )
        return tuple(_one(kind, {"gid": gid, "value": chosen}, what) for gid, chosen in given.items())
    items = check_many(value, f"{what} must map gids to values", write=f"{what}=[{{}}]", name=kind.__name__)
    return tuple(_one(kind, item, f"an item of {what}") for item in items)


def requested_dates(value: RequestedDates | None) -> tuple[RequestedDate, ...]:
    """A converter: the dates of a template in any of their forms."""
    return _pairs(RequestedDate, value, "requested_dates")


def requested_roles(value: RequestedRoles | None) -> tuple[RequestedRole, ...]:
    """A converter: the roles of a template in any of their forms."""
    return _pairs(RequestedRole, value, "requested_roles")


def export_parameters(value: Iterable[ExportParameters | Mapping[str, Any]]) -> tuple[ExportParameters, ...]:
    """A converter: what a resource export is to hold."""
    items = check_many(
        value,
        "parameters must be an iterable of ExportParameters",
        write="parameters=[{}]",
        name="ExportParameters('task')",
    )
    return tuple(_one(ExportParameters, item, "an item of parameters") for item in items)
