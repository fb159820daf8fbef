"""From JSON to models: the only room that knows cattrs.

Only a job's gid must be readable, and its status to whoever waits for it: otherwise it is a `DecodeError` that names the
field and the value's type. Any other field of another shape than documented is ``None``, stays in ``raw``, and is warned
of once. What Asana adds (unknown fields, unknown states) is taken as it is.

The short way from JSON to a frozen model: a function for each, written as by hand, and compiled.

What is written for a model of two fields, where ``draft_class`` has the same bases and slots, and is not frozen::

    def structure(value, _):
        if type(value) is not dict:
            raise TypeError
        draft, look_up = new(draft_class), value.get
        field = look_up('gid')
        draft.gid = field if type(field) is str else structure_gid(field, None)
        field = look_up('name')
        draft.name = field if field is None or type(field) is str else structure_name(field, None)
        draft.__class__ = model
        return draft

A frozen class that is called sets its fields one by one through ``object.__setattr__``, which takes longer than all the
rest: an answer is read in half of the time this way.

JSON by the standard library, as strict as orjson: what one of them reads, so does the other. No I/O.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cache
from math import isfinite
from types import NoneType
from typing import Any, Final, NoReturn, TypeAlias, cast, get_args

import attrs
import cattrs

from asana_jobs.errors import DecodeError
from asana_jobs.models import Job, JobStatus
from asana_jobs.parameters import check_gid


#: Makes a value of what JSON holds. The second argument is the type, which cattrs hands in.
Structure: TypeAlias = Callable[[Any, Any], Any]


def write_structure(model: Any, structure_of: Callable[[Any], Structure], *, whole: str) -> Structure:
    """Return the function that makes a *model* of a dictionary, and raises without saying what is wrong with it.

    Args:
        model: A frozen class of attrs with slots, all its own; but up to Python 3.11 the one for weak references must
            be inherited, or a draft could not become one of the class.
        structure_of: What structures the type of a field, such as cattrs' ``get_structure_hook``. It is not asked
            about text that is text, nor about what is missing and may be.
        whole: The name of the field, if there is one, that is the dictionary itself.
    """
    draft_class = type(f"{model.__name__}Draft", model.__bases__, {"__slots__": model.__slots__})
    draft: Any = object.__new__(draft_class)
    draft.__class__ = model  # raises, if the slots of the two are not laid out alike
    known: dict[str, Any] = {"model": model, "draft_class": draft_class, "new": object.__new__}
    lines = [
        "def structure(value, _):",
        "    if type(value) is not dict:",
        "        raise TypeError",
        "    draft, look_up = new(draft_class), value.get",
    ]
    for field in attrs.fields(attrs.resolve_types(model)):
        if field.name == whole:
            lines.append(f"    draft.{whole} = value")
            continue
        kind, plain = field.type, list[str]()
        if field.default is None:
            plain.append("field is None")
            kind = without_none(kind)
        if kind is str:
            plain.append("type(field) is str")
        known[f"structure_{field.name}"] = structure_of(kind)
        made = f"structure_{field.name}(field, None)"
        if plain:
            made = f"field if {' or '.join(plain)} else {made}"
        lines += [f"    field = look_up({field.name!r})", f"    draft.{field.name} = {made}"]
    lines += ["    draft.__class__ = model", "    return draft"]
    exec("\n".join(lines), known)  # noqa: S102  # nothing but the names of our own fields comes into it
    structure: Structure = known["structure"]
    return structure


def without_none(kind: Any) -> Any:
    """Return the other type of ``other | None``, and any other *kind* as it is."""
    members = get_args(kind)
    if len(members) != 2 or NoneType not in members:
        return kind
    return members[0] if members[1] is NoneType else members[1]


#: Characters of a word that is worth keeping, such as the name of a field, a state, a kind; and how many are kept.
LONGEST_WORD: Final = 64
MOST_WORDS: Final = 256


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number is too large")
    return number


class Words(dict[str, str]):
    """One copy of each word that many answers repeat: ``words[word]`` is that copy, or the word itself.

    A server that makes words up fills no memory: when there are `MOST_WORDS` it begins anew.
    """

    __slots__ = ()

    def __missing__(self, word: str) -> str:
        """Keep *word*, if it is not too long."""
        if len(word) <= LONGEST_WORD:
            if len(self) >= MOST_WORDS:
                self.clear()
            self[word] = word
        return word


#: The words of all answers: each document brings its own copies.
WORDS: Final = Words()


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {WORDS[name]: value for name, value in pairs}


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_number, object_pairs_hook=_object)


#: Anything that a backslash begins in a string; a pair of surrogates is one character.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)
_HALF_A_PAIR: Final = 6


def with_whole_characters(body: bytes) -> bytes:
    """Put U+FFFD for half an emoji: a surrogate without the other one is valid JSON, but no file or terminal takes it."""

    def whole(found: re.Match[bytes]) -> bytes:
        return rb"\ufffd" if len(found[0]) == _HALF_A_PAIR else found[0]

    return _ESCAPE.sub(whole, body)


def parse(body: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: it is none, or holds half of a surrogate pair; see `with_whole_characters`.
        RecursionError: it is nested too deeply.
    """
    found = _DECODER.decode(body.decode())
    if b"\\ud" in body.lower():
        json.dumps(found, ensure_ascii=False).encode()
    return found


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
