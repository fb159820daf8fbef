"""From the bytes of an answer to models: the JSON parser, and the only file that knows cattrs and orjson.

Only what must be readable is an error when it is not (a job's gid; its status, to whoever waits for it): a `DecodeError`
that names the field and the type of its value. Any other field of another shape than documented is ``None``, stays in
``raw``, and is warned of once. What Asana adds (unknown fields, unknown states) is taken as it is.

`decode` is given the class to fill, so this file knows no model.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache, partial
from inspect import isclass
from math import isfinite
from types import NoneType
from typing import Any, Final, NoReturn, TypeAlias, TypeVar, cast, get_args, get_origin

import attrs
import cattrs

from asana_jobs.errors import DecodeError
from asana_jobs.parameters import GID, check_gid


#: Makes a value of what JSON holds. The second argument is the type, which cattrs hands in.
Structure: TypeAlias = Callable[[Any, Any], Any]
M = TypeVar("M")

ORGANIZATION_EXPORT: Final = "organization_export"
#: The states of an organization export in the words of jobs, see `OrganizationExport`.
_EXPORT_STATES: Final[Mapping[str, str]] = {
    "pending": "not_started",
    "started": "in_progress",
    "finished": "succeeded",
    "error": "failed",
}
#: The field that is the whole answer as it came.
_RAW: Final = "raw"

#: The fields that were warned of, by their place; there are no more than the models have.
_warned_of: Final[set[str]] = set()
_log = logging.getLogger("asana_jobs")


def decode(model: type[M], data: object, *, needed: tuple[str, ...] = ("gid",)) -> M:
    """Read the ``data`` of an answer as a *model*, which keeps *data* itself as its ``raw``.

    Args:
        model: The class to fill, such as `Job`: frozen, of attrs, with a ``gid``.
        data: What was parsed from JSON.
        needed: The fields that must be readable.

    Raises:
        DecodeError: *data* is no object, or a field that is needed cannot be read. ``problems`` says why.
    """
    if type(data) is not dict:
        raise DecodeError(
            f"expected a {_words(model)}, not {_kind(data)}",
            problems=(f"expected an object @ $, not {_kind(data)}",),
        )
    fields: dict[str, object] = data  # pyright: ignore[reportUnknownVariableType]
    if fields.get("resource_type") == ORGANIZATION_EXPORT and hasattr(model, ORGANIZATION_EXPORT):
        fields = _as_job(fields)
    try:
        value: Any = _structure(cast("Any", model))(fields, model)
    except (TypeError, ValueError):
        value = _structure_what_is_right(model, fields, needed)
    if GID.fullmatch(value.gid) is None:
        try:
            check_gid(value.gid)
        except ValueError as error:
            raise DecodeError(f"not a {_words(model)}: {error}", problems=(f"{error} @ $.gid",)) from None
    return cast("M", value)


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


@cache
def _structure(model: type) -> Structure:
    return _converter().get_structure_hook(model)


@cache
def _converter() -> cattrs.Converter:
    # Made for the first answer that needs it, which an import does not.
    converter = cattrs.Converter()
    converter.register_structure_hook(str, _string)
    converter.register_structure_hook(int, partial(_exactly, int, "a whole number"))
    converter.register_structure_hook(bool, partial(_exactly, bool, "a boolean"))
    converter.register_structure_hook(datetime, _moment)

    def of_model(kind: Any) -> Structure:
        return write_structure(kind, converter.get_structure_hook)

    def of_optional(kind: Any) -> Structure:
        inner = _without_none(kind)
        structure = converter.get_structure_hook(inner)
        return lambda value, _: None if value is None else structure(value, inner)

    def of_many(kind: Any) -> Structure:
        item = _item_of(kind)
        structure = converter.get_structure_hook(item)
        return lambda value, _: tuple(structure(one, item) for one in _items(value))

    converter.register_structure_hook_factory(attrs.has, of_model)
    converter.register_structure_hook_factory(lambda kind: _item_of(kind) is not None, of_many)
    converter.register_structure_hook_factory(lambda kind: _without_none(kind) is not kind, of_optional)
    converter.register_structure_hook_factory(lambda kind: _states(kind) != {}, _of_states)
    return converter


def write_structure(model: Any, structure_of: Callable[[Any], Structure]) -> Structure:
    """Return the function that makes a *model* of a dictionary, and raises without saying what is wrong with it.

    What is written for a model of two fields, where ``draft_class`` has the same bases and slots, is not frozen and takes no
    arguments::

        def structure(value, _):
            if type(value) is not dict:
                raise TypeError
            draft = draft_class()
            field = value.get('gid')
            draft.gid = field if type(field) is str else structure_gid(field, None)
            field = value.get('name')
            draft.name = field if type(field) is str or field is None else structure_name(field, None)
            draft.__class__ = model
            return draft

    A frozen class that is called sets its fields one by one through ``object.__setattr__``: then a whole warm request takes
    6 % more instructions, and 12 % more if every field is answered. By what cattrs writes it takes 8 % and 23 % more, since
    that calls a function for each text too.

    Args:
        model: A frozen class of attrs with slots, all its own; but up to Python 3.11 the one for weak references must
            be inherited, or a draft could not become one of the class. Its field ``raw`` is the dictionary itself.
        structure_of: What structures the type of a field, such as cattrs' ``get_structure_hook``. It is not asked
            about text that is text, nor about what is missing and may be.
    """
    plain_object = {name: getattr(object, name) for name in ("__init__", "__setattr__", "__delattr__")}
    draft_class = type(
        f"{model.__name__}Draft", model.__bases__, {"__slots__": model.__slots__, **plain_object}
    )
    draft: Any = draft_class()
    draft.__class__ = model  # raises, if the slots of the two are not laid out alike
    known: dict[str, Any] = {"model": model, "draft_class": draft_class}
    lines = [
        "def structure(value, _):",
        "    if type(value) is not dict:",
        "        raise TypeError",
        "    draft = draft_class()",
    ]
    for field in attrs.fields(attrs.resolve_types(model)):
        name, optional = field.name, field.default is None
        if name == _RAW:
            lines.append(f"    draft.{name} = value")
            continue
        kind = _without_none(field.type) if optional else field.type
        tests = {"type(field) is str": kind is str, "field is None": optional}
        plain = [test for test, applies in tests.items() if applies]
        known[f"structure_{name}"] = structure_of(kind)
        made = f"structure_{name}(field, None)"
        if plain:
            made = f"field if {' or '.join(plain)} else {made}"
        lines += [f"    field = value.get({name!r})", f"    draft.{name} = {made}"]
    lines += ["    draft.__class__ = model", "    return draft"]
    exec("\n".join(lines), known)  # noqa: S102  # nothing but the names of our own fields comes into it
    structure: Structure = known["structure"]
    return structure


def _item_of(kind: Any) -> Any:
    """Return the type of the items of ``tuple[item, ...]``, and ``None`` of any other *kind*."""
    return get_args(kind)[0] if get_origin(kind) is tuple else None


def _items(value: object) -> list[object]:
    """Return the items of an array; none, if it is missing."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise TypeError(f"expected an array, not {_kind(value)}")
    return cast("list[object]", value)


def _without_none(kind: Any) -> Any:
    """Return the other type of ``other | None``, and any other *kind* as it is."""
    members = get_args(kind)
    if len(members) != 2 or NoneType not in members:
        return kind
    return members[0] if members[1] is NoneType else members[1]


def _states(kind: Any) -> dict[str, StrEnum]:
    """Return the values of the `StrEnum` in ``AStrEnum | str | None``, and none of any other *kind*."""
    members = get_args(kind)
    if NoneType not in members:
        return {}
    enums = [each for each in members if isclass(each) and issubclass(each, StrEnum)]
    return {state.value: state for each in enums for state in each}


def _of_states(kind: Any) -> Structure:
    states = _states(kind)

    def structure_state(value: object, _: Any) -> str | None:
        if value is None:
            return None
        text = value if type(value) is str else _string(value)
        return states.get(text, text)

    return structure_state


def _string(value: object, _: Any = None) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a string, not {_kind(value)}")
    return value


def _exactly(kind: type, words: str, value: object, _: Any) -> object:
    if type(value) is not kind:
        raise TypeError(f"expected {words}, not {_kind(value)}")
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


def _words(model: type) -> str:
    """Return what people call a *model*: ``project template``."""
    return re.sub(r"\B[A-Z]", r" \g<0>", model.__name__).lower()


def _structure_what_is_right(model: type, fields: Mapping[str, object], needed: tuple[str, ...]) -> object:
    """Read *fields* one by one, and leave out what is of another shape than documented, unless it is *needed*."""
    gid = fields.get("gid")
    whose = f"{_words(model)} {gid!r:.60}"
    values, wrong = _read_fields(model, fields, needed, whose)
    problems = tuple(f"{error} @ $.{name}" for name, error in wrong.items())
    if "gid" not in values and not problems:
        problems = ("required field missing @ $.gid",)
    if problems:
        raise DecodeError(
            f"{whose} is not as Asana documents it: {'; '.join(problems)}",
            problems=problems,
            gid=gid if isinstance(gid, str) else None,
        )
    return model(raw=fields, **values)


def _read_fields(
    model: Any, fields: Mapping[str, object], needed: tuple[str, ...], whose: str, place: str = ""
) -> tuple[dict[str, Any], dict[str, Exception]]:
    """Return the fields of *model* that can be read, and what is wrong with those that are *needed*; warn of others."""
    values, wrong = dict[str, Any](), dict[str, Exception]()
    for field in attrs.fields(attrs.resolve_types(model)):
        name, value = field.name, fields.get(field.name)
        # What must be there is asked for, and ``None`` is then of another shape.
        if name == _RAW or (value is None and (name not in fields or field.default is not attrs.NOTHING)):
            continue
        try:
            values[name] = _value(value, field.type, whose, f"{place}{name}")
        except (TypeError, ValueError) as error:
            if name in needed:
                wrong[name] = error
            else:
                _warn(whose, f"{place}{name}", error)
    return values, wrong


def _value(value: object, kind: Any, whose: str, place: str) -> Any:
    if (item := _item_of(kind)) is not None:
        return tuple(_readable(_items(value), item, whose, f"{place}[]"))
    model = _without_none(kind)
    if not attrs.has(model):
        return _converter().structure(value, kind)
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object, not {_kind(value)}")
    # Nothing without a gid is a thing of Asana's.
    values, wrong = _read_fields(model, cast("Mapping[str, object]", value), ("gid",), whose, f"{place}.")
    if wrong:
        raise TypeError(f"its gid: {wrong['gid']}")
    if "gid" in attrs.fields_dict(model) and "gid" not in values:
        raise TypeError("its gid is missing")
    return model(**values)


def _readable(items: list[object], kind: Any, whose: str, place: str) -> Iterator[Any]:
    for item in items:
        try:
            yield _value(item, kind, whose, place)
        except (TypeError, ValueError) as error:
            _warn(whose, place, error)


def _warn(whose: str, place: str, error: Exception) -> None:
    if place not in _warned_of:
        _warned_of.add(place)
        text = "%s of %s is not as Asana documents it: %s; it is taken as missing, and stays in raw"
        _log.warning(text, place, whose, error)


def loads(body: bytes) -> Any:
    """Parse JSON. Half an emoji is read as U+FFFD.

    Raises:
        ValueError: *body* is no JSON, or is nested too deeply.
    """
    try:
        return _parse(body)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except ValueError:
        mended = _with_whole_characters(body)
        if mended == body:
            raise
    return loads(mended)


def parse(body: bytes) -> Any:
    """Parse JSON in UTF-8 by the standard library, as strictly as orjson: what one of them reads, so does the other.

    Raises:
        ValueError: it is none, or holds half of a surrogate pair; see `loads`.
        RecursionError: it is nested too deeply.
    """
    found = _DECODER.decode(body.decode())
    if b"\\ud" in body.lower():
        json.dumps(found, ensure_ascii=False).encode()
    return found


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is no JSON")


def _number(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError("a number is too large")
    return number


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse, parse_float=_number)

_parse: Callable[[bytes], Any]
try:
    import orjson
except ImportError:
    _parse = parse
else:
    _parse = orjson.loads  # three to five times faster; the extra `speed`

#: Anything that a backslash begins in a string; a pair of surrogates is one character.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}|\\.",
    re.DOTALL,
)
_HALF_A_PAIR: Final = 6


def _with_whole_characters(body: bytes) -> bytes:
    """Put U+FFFD for half an emoji: a surrogate without the other one is valid JSON, but no file or terminal takes it."""

    def whole(found: re.Match[bytes]) -> bytes:
        return rb"\ufffd" if len(found[0]) == _HALF_A_PAIR else found[0]

    return _ESCAPE.sub(whole, body)
