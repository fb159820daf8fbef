"""From JSON to models: the only room that knows cattrs.

Only a job's gid must be readable, and its status to whoever waits for it: otherwise it is a `DecodeError` that names the
field and the value's type. Any other field of another shape than documented is ``None``, stays in ``raw``, and is warned
of once. What Asana adds (unknown fields, unknown states) is taken as it is.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, cast

import attrs
import cattrs

from asana_jobs._gids import check_gid
from asana_jobs._json import WORDS
from asana_jobs._structuring import Structure, without_none, write_structure
from asana_jobs.errors import DecodeError
from asana_jobs.models import Job, JobStatus


ORGANIZATION_EXPORT: Final = "organization_export"
#: The states of an organization export in the words of jobs, see `OrganizationExport`.
_EXPORT_STATES: Final[Mapping[str, str]] = {
    "pending": "not_started",
    "started": "in_progress",
    "finished": "succeeded",
    "error": "failed",
}
_KNOWN_STATES = {state.value: state for state in JobStatus}
#: The field that is the whole answer as it came.
_RAW: Final = "raw"
#: What all answers say alike.
_ALIKE: Final = ("status", "resource_type", "resource_subtype")

#: The fields that were warned of, by their place in a job; there are no more than the models have.
_warned_of: Final[set[str]] = set()
_log = logging.getLogger("asana_jobs")


def _string(value: object, _: Any = None) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, not {_kind(value)}")
    return value


def _integer(value: object, _: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"expected a whole number, not {_kind(value)}")
    return value


def _moment(value: object, _: Any) -> datetime:
    text = value if type(value) is str else _string(value)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a date-time such as 2012-02-22T02:06:58.147Z, not {text!r:.60}") from None
    if moment.tzinfo is None:
        raise ValueError(f"expected a date-time with a time zone, not {text!r:.60}")
    return moment


def _status(value: object, _: Any) -> JobStatus | str | None:
    if value is None:
        return None
    text = value if type(value) is str else _string(value)
    return _KNOWN_STATES.get(text, text)


def _kind(value: object) -> str:
    names: dict[type, str] = {
        dict: "an object",
        list: "an array",
        bool: "a boolean",
        int: "a number",
        float: "a decimal number",
        str: "a string",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _is_optional(kind: Any) -> bool:
    return without_none(kind) is not kind


@cache
def _converter() -> cattrs.Converter:
    # Made for the first answer that needs it, which an import does not.
    converter = cattrs.Converter(forbid_extra_keys=False, detailed_validation=True)
    converter.register_structure_hook(str, _string)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(datetime, _moment)

    def of_object(kind: Any) -> Structure:
        return write_structure(kind, converter.get_structure_hook, whole=_RAW)

    def of_optional(kind: Any) -> Structure:
        inner = without_none(kind)
        structure = converter.get_structure_hook(inner)
        return lambda value, _: None if value is None else structure(value, inner)

    converter.register_structure_hook_factory(attrs.has, of_object)
    converter.register_structure_hook_factory(_is_optional, of_optional)
    converter.register_structure_hook(JobStatus | str | None, _status)
    return converter


@cache
def _structure_job() -> Structure:
    return _converter().get_structure_hook(Job)


def decode_job(data: object) -> Job:
    """Read what somebody holds as a `Job`, which keeps a copy of it; see `decode_answer`."""
    return decode_answer(dict(cast("Mapping[str, object]", data)) if isinstance(data, Mapping) else data)


def decode_answer(data: object, *, waited_for: bool = False) -> Job:
    """Read the ``data`` of an answer as a `Job`, which keeps it as it is.

    Args:
        waited_for: Whether the status must be readable too.

    Raises:
        DecodeError: it is no object, or its gid (or its status, if it must) cannot be read. ``problems`` says why.
    """
    if type(data) is not dict:
        raise DecodeError(
            f"expected a job, not {_kind(data)}", problems=(f"expected an object @ $, not {_kind(data)}",)
        )
    fields: dict[str, object] = data  # pyright: ignore[reportUnknownVariableType]
    if fields.get("resource_type") == ORGANIZATION_EXPORT:
        fields = _as_job(fields)
    try:
        job: Job = _structure_job()(fields, Job)
    except (TypeError, ValueError):
        job = _structure_what_is_right(fields, ("gid", "status") if waited_for else ("gid",))
    try:
        check_gid(job.gid)
    except ValueError as error:
        raise DecodeError(f"not a job: {error}", problems=(f"{error} @ $.gid",)) from None
    return job


def share_words(data: object) -> None:
    """Exchange what all answers say alike in *data*, each in copies of its own, for the copies of all."""
    if isinstance(data, dict):
        fields = cast("dict[str, object]", data)
        for name in _ALIKE:
            word = fields.get(name)
            if type(word) is str:
                fields[name] = WORDS[word]


def _as_job(fields: dict[str, object]) -> dict[str, object]:
    """Put an organization export, which Asana keeps outside its jobs, into the words of jobs."""
    if ORGANIZATION_EXPORT in fields:
        return fields
    state = fields.get("state")
    return {
        "gid": fields.get("gid"),
        "resource_type": ORGANIZATION_EXPORT,
        "resource_subtype": ORGANIZATION_EXPORT,
        "status": _EXPORT_STATES.get(state, state) if isinstance(state, str) else state,
        ORGANIZATION_EXPORT: dict(fields),
    }


def _structure_what_is_right(fields: Mapping[str, object], needed: tuple[str, ...]) -> Job:
    """Read *fields* one by one, and leave out what is of another shape than documented, unless it is *needed*."""
    gid = fields.get("gid")
    values: dict[str, Any] = {_RAW: fields}
    problems = list[str]()
    for name, value, kind in _fields_of(Job, fields):
        try:
            values[name] = _value(value, kind, gid, name)
        except (TypeError, ValueError) as error:
            if name in needed:
                problems.append(f"{error} @ $.{name}")
            else:
                _warn(gid, name, error)
    if "gid" not in values and not problems:
        problems.append("required field missing @ $.gid")
    if problems:
        raise DecodeError(
            f"job {gid!r:.60} is not as Asana documents it: {'; '.join(problems)}",
            problems=tuple(problems),
            gid=gid if isinstance(gid, str) else None,
        )
    return Job(**values)


def _fields_of(model: Any, fields: Mapping[str, object]) -> Iterator[tuple[str, object, Any]]:
    """Go over the fields of *model* that have a value: each with that and its type."""
    for field in attrs.fields(attrs.resolve_types(model)):
        # What must be there is asked for, and ``None`` is then of another shape.
        if field.name in fields and (fields[field.name] is not None or field.default is attrs.NOTHING):
            yield field.name, fields[field.name], field.type


def _value(value: object, kind: Any, gid: object, place: str) -> Any:
    model = without_none(kind)
    if not attrs.has(model):
        return _converter().structure(value, kind)
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object, not {_kind(value)}")
    values: dict[str, Any] = {}
    for name, below, its_kind in _fields_of(model, cast("Mapping[str, object]", value)):
        try:
            values[name] = _value(below, its_kind, gid, f"{place}.{name}")
        except (TypeError, ValueError) as error:
            if name == "gid":  # nothing without one is a thing of Asana's
                raise TypeError(f"its gid: {error}") from None
            _warn(gid, f"{place}.{name}", error)
    if "gid" in attrs.fields_dict(model) and "gid" not in values:
        raise TypeError("its gid is missing")
    return model(**values)


def _warn(gid: object, place: str, error: Exception) -> None:
    if place not in _warned_of:
        _warned_of.add(place)
        text = "%s of job %s is not as Asana documents it: %s; it is taken as missing, and stays in Job.raw"
        _log.warning(text, place, f"{gid!r:.60}", error)
