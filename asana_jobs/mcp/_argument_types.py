"""The arguments of an operation as types that a JSON schema is made of, with the words of its docstring."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from functools import cache
from types import GenericAlias, NoneType
from typing import Annotated, Any, Final, Literal, cast, get_args, get_origin, get_type_hints

import attrs
from pydantic import BaseModel, ConfigDict, Field, create_model

from asana_jobs.operations import Operation
from asana_jobs.parameters import INCLUDE_WORDS, RequestedDate, RequestedRole


#: The part of a docstring that explains fields, and one field in it.
_FIELDS: Final = re.compile(r"^Attributes:\n(.*?)(?=^\S|\Z)", re.DOTALL | re.MULTILINE)
_FIELD: Final = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)
#: How a gid looks, for the schema: the library checks it, in words.
GID: Final[dict[str, Any]] = {"pattern": "^[0-9]+$"}
#: The arguments of operations that are gids.
_GIDS: Final = {"gid", "team", "workspace"}


def parameters_of(operation: type[Operation]) -> Iterator[inspect.Parameter]:
    """Go through the arguments of an operation as parameters of a tool, those that must be given first."""
    for name, (kind, default) in sorted(
        _fields_of(operation).items(), key=lambda item: item[1][1] is not ...
    ):
        yield inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            annotation=kind,
            default=inspect.Parameter.empty if default is ... else default,
        )


def compact(schema: object) -> Any:
    """Return a JSON schema without what repeats itself: assistants read all of it, in every conversation.

    Titles say what names say, and ``null`` is what is taken for an argument that is not given, said or not.
    """
    if isinstance(schema, list):
        return [compact(one) for one in cast("list[object]", schema)]
    if not isinstance(schema, dict):
        return schema
    given = cast("dict[str, object]", schema)
    kept = {
        name: compact(one) for name, one in given.items() if not (name == "title" and isinstance(one, str))
    }
    if "default" in kept and kept["default"] is None:
        del kept["default"]
    if (choices := kept.pop("anyOf", None)) is not None:
        (kind,) = (one for one in choices if one != {"type": "null"})
        kept = {**kind, **kept}
    return kept


def summary_of(documented: type) -> str:
    """Return the first paragraph of a docstring, without its markup."""
    return plain_words((inspect.getdoc(documented) or "").partition("\n\n")[0])


def as_json(value: object) -> object:
    """Return an argument as the library reads it: what was not given is not there."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    if isinstance(value, list):
        return [as_json(item) for item in cast("list[object]", value)]
    return value


def _fields_of(described: type) -> dict[str, tuple[Any, Any]]:
    """Return the type and the default of each field; ``...`` where it must be given."""
    hints, texts = get_type_hints(described), _texts(described)
    words = INCLUDE_WORDS.get(getattr(described, "kind", ""))
    found: dict[str, tuple[Any, Any]] = {}
    for field in attrs.fields(cast("type[attrs.AttrsInstance]", described)):
        # Asana ignores words it does not know: an assistant that mistypes one would not notice what is missing.
        kind = (
            _list_of(Literal[words]) if field.name == "include" and words else _json_type(hints[field.name])
        )
        extra = GID if field.name in _GIDS and issubclass(described, Operation) else None
        about = Field(description=texts.get(field.name), json_schema_extra=extra)
        if field.default is attrs.NOTHING:
            found[field.name] = (Annotated[kind, about], ...)
        else:
            found[field.name] = (Annotated[kind | None, about], None)
    return found


def _json_type(hint: Any) -> Any:
    """Return the type that JSON has for a *hint*."""
    if attrs.has(hint):
        return _model_of(hint)
    arguments = get_args(hint)
    if arguments and arguments[0] in {RequestedDate, RequestedRole}:
        return dict[str, str]  # by name or gid, the shortest of the forms they are taken in
    if get_origin(hint) is tuple:
        return _list_of(_json_type(arguments[0]))
    if arguments:
        (one,) = (one for one in arguments if one is not NoneType)
        return _json_type(one)
    return hint


def _list_of(kind: Any) -> Any:
    return GenericAlias(list, (kind,))


@cache
def _model_of(described: type) -> type[BaseModel]:
    model: type[BaseModel] = create_model(
        described.__name__,
        __config__=ConfigDict(extra="forbid"),
        __doc__=summary_of(described),
        **cast("dict[str, Any]", _fields_of(described)),
    )
    return model


def _texts(described: type) -> dict[str, str]:
    """Return what docstrings say about each field, those of base classes too."""
    found: dict[str, str] = {}
    for documented in reversed(described.__mro__):
        fields = _FIELDS.search(inspect.cleandoc(documented.__doc__ or ""))
        if fields is not None:
            found.update((name, plain_words(text)) for name, text in _FIELD.findall(fields[1]))
    return found


def plain_words(text: str) -> str:
    """Return *text* in one line, without its markup."""
    return re.sub(r"\s+", " ", text.replace("`", "")).strip()
