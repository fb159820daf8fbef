"""Output options: `opt_fields` and `opt_pretty`.

Source: developers.asana.com, "Input/output options". With `opt_fields` an answer holds exactly the
named fields plus `gid`, at every level; an object named without a field of its own gives its
compact form. Paths may start with ``this.`` and group alternatives: `new_task.(name|created_by)`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, cast

from attrs import define, field

from asana_jobs.testing.simulator.bodies import ApiError


# Fields that are only given when somebody asks for them by name.
OPT_IN = {"task": frozenset({"created_by"})}
_MAXIMUM_PATHS = 500


@define
class FieldTree:
    """The fields asked for below one object; `whole` when the object itself was named."""

    whole: bool = False
    children: dict[str, "FieldTree"] = field(factory=dict[str, "FieldTree"])

    def add(self, path: str) -> None:
        """Ask for one dotted path."""
        tree = self
        for name in path.split("."):
            if name:
                tree = tree.children.setdefault(name, FieldTree())
        tree.whole = True


def _split(text: str, separator: str) -> list[str]:
    parts = [""]
    depth = 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == separator and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _expand(path: str) -> list[str]:
    start = path.find("(")
    if start < 0:
        return [path]
    depth = 0
    for end in range(start, len(path)):
        depth += (path[end] == "(") - (path[end] == ")")
        if depth == 0:
            break
    else:
        # A group that does not end names nothing that exists.
        return [path]
    before, inside, after = path[:start], path[start + 1 : end], path[end + 1 :]
    expanded = [tail for choice in _split(inside, "|") for tail in _expand(before + choice + after)]
    if len(expanded) > _MAXIMUM_PATHS:
        raise ApiError(400, "opt_fields: Too many fields")
    return expanded


def parse_fields(names: Iterable[str]) -> FieldTree | None:
    """Understand the values of `opt_fields`; None when nothing was named, which means everything."""
    tree = FieldTree()
    for name in names:
        for group in _split(name, ","):
            for path in _expand(group.strip()):
                stripped = path.strip().removeprefix("this.")
                if stripped:
                    tree.add(stripped)
    return tree if tree.children else None


def compact(value: Any) -> Any:
    """Return the compact form of a value: what it shows when nobody asked for more."""
    if isinstance(value, list):
        return [compact(item) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    record = cast("dict[str, Any]", value)
    hidden = OPT_IN.get(str(record.get("resource_type")), frozenset[str]())
    return {name: compact(item) for name, item in record.items() if name not in hidden}


def select(value: Any, tree: FieldTree | None) -> Any:
    """Return the part of `value` that `tree` asks for."""
    if tree is None:
        return compact(value)
    if isinstance(value, list):
        return [select(item, tree) for item in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    record = cast("dict[str, Any]", value)
    answer: dict[str, Any] = {"gid": record["gid"]} if "gid" in record else {}
    if tree.whole:
        answer.update(compact(record))
    for name, child in tree.children.items():
        if name in record and name != "gid":
            answer[name] = select(record[name], child if child.children else None)
    return answer


def wants_pretty(options: Mapping[str, str]) -> bool:
    """Return whether `opt_pretty` is on: given without a value, or with a true one."""
    value = options.get("opt_pretty")
    return value is not None and value.lower() in {"", "1", "true", "yes", "on"}


def boolean_option(options: Mapping[str, str], name: str) -> None:
    """Refuse an option that is neither true nor false."""
    value = options.get(name)
    if value is not None and value.lower() not in {"", "0", "1", "true", "false", "yes", "no", "on", "off"}:
        raise ApiError(400, f"{name}: Value is not a boolean: {value}")
