"""The short way from JSON to a frozen model: a function for each, written as by hand, and compiled.

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
"""

from __future__ import annotations

from collections.abc import Callable
from types import NoneType
from typing import Any, TypeAlias, get_args

import attrs


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
