"""From JSON to models: the only room that knows cattrs.

Strict about what the API promises (a gid is a string, a status is a string), lenient about what Asana adds
(unknown fields, unknown states). Everything wrong is a `DecodeError` that names the field and the value's type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Final, cast

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override
from cattrs.v import transform_error

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


def _converter(of_model: Callable[[Any, cattrs.Converter], Structure]) -> cattrs.Converter:
    """Return a converter to which *of_model* gives what structures each of the models."""
    converter = cattrs.Converter(forbid_extra_keys=False, detailed_validation=True)
    converter.register_structure_hook(str, _string)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(datetime, _moment)

    def of_object(kind: Any) -> Structure:
        return of_model(kind, converter)

    def of_optional(kind: Any) -> Structure:
        inner = without_none(kind)
        structure = converter.get_structure_hook(inner)
        return lambda value, _: None if value is None else structure(value, inner)

    converter.register_structure_hook_factory(attrs.has, of_object)
    converter.register_structure_hook_factory(_is_optional, of_optional)
    converter.register_structure_hook(JobStatus | str | None, _status)
    return converter


def _in_one_go(model: Any, converter: cattrs.Converter) -> Structure:
    """Read what is right, and do not say what is wrong."""
    return write_structure(model, converter.get_structure_hook, whole=_RAW)


def _in_detail(model: Any, converter: cattrs.Converter) -> Structure:
    """Go over all fields there are, and name each that is wrong."""
    leaving_out: dict[str, Any] = {_RAW: override(omit=True)}
    structure = make_dict_structure_fn(model, converter, **leaving_out)

    # What cattrs makes looks fields up in whatever it is given, text and arrays included.
    def checked(value: object, kind: Any) -> Any:
        if isinstance(value, Mapping):
            return structure(cast("Mapping[str, object]", value), kind)
        raise TypeError(f"expected an object, not {_kind(value)}")

    return checked


# Each is made for the first answer that needs it, which an import does not.
@cache
def _structure_job() -> Structure:
    return _converter(_in_one_go).get_structure_hook(Job)


@cache
def _detailed() -> cattrs.Converter:
    return _converter(_in_detail)


def decode_job(data: object) -> Job:
    """Read what somebody holds as a `Job`, which keeps a copy of it; see `decode_answer`."""
    return decode_answer(dict(cast("Mapping[str, object]", data)) if isinstance(data, Mapping) else data)


def decode_answer(data: object) -> Job:
    """Read the ``data`` of an answer as a `Job`, which keeps it as it is.

    Raises:
        DecodeError: it is not one. ``problems`` has a line for each field.
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
        job = _structure_again(fields)
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


def _structure_again(fields: dict[str, object]) -> Job:
    """Say what is wrong with *fields*, field by field; or read them, if what is no dictionary was a mapping."""
    try:
        return attrs.evolve(_detailed().structure(fields, Job), raw=fields)
    except (cattrs.BaseValidationError, TypeError, ValueError) as error:
        problems = tuple(transform_error(error, format_exception=_explain))
    gid = fields.get("gid")
    raise DecodeError(
        f"job {gid!r:.60} is not as Asana documents it: {'; '.join(problems)}",
        problems=problems,
        gid=gid if isinstance(gid, str) else None,
    )


def _explain(error: BaseException, kind: type | None) -> str:
    if isinstance(error, KeyError):
        return "required field missing"
    if isinstance(error, TypeError | ValueError) and str(error).startswith("expected"):
        return str(error)
    return f"expected {getattr(kind, '__name__', kind)}: {error}"
