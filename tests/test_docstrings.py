"""What a docstring promises to say: units, errors, arguments and where Asana documents it."""

import ast
import builtins
import enum
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import attrs
import pytest

import asana_jobs
from asana_jobs import models, operations, parameters
from asana_jobs.operations import OPERATIONS


PACKAGE = Path(asana_jobs.__file__).parent
ROOMS = (
    "errors",
    "models",
    "operations",
    "parameters",
    "policies",
    "gates",
    "events",
    "tokens",
    "mcp",
    "testing",
    "worker",
)
SCHEMAS = json.loads((Path(__file__).parent / "testing/data/official_api.json").read_text("utf-8"))["schemas"]

#: What a number can be counted in.
UNITS = re.compile(
    r"\bseconds?\b|\bshare\b|\ba minute\b|\bgrowth\b|\bweights?\b|\bfaster\b|\btimes as fast\b|\b0 up to\b|\b0 to 1\b"
    r"|\bdeviation\b",
    re.IGNORECASE,
)


#: A second name with a colon, on a line of a list that has begun with one or goes on.
SECOND_ENTRY = re.compile(
    r"(?<=[.;,:] )(and )?``\w+``(:|, ``\w+``:| and ``\w+``:)|(?<=\. )[A-Z]\w+(Error|Group): "
)


class Module(NamedTuple):
    """A module as it is written."""

    name: str
    tree: ast.Module
    text: str


MODULES = [
    Module(".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts), ast.parse(text), text)
    for path in sorted(PACKAGE.rglob("*.py"))
    for text in [path.read_text("utf-8")]
]

Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def nodes_with_docstrings() -> Iterator[tuple[str, str]]:
    """Yield every docstring of the package with where it stands."""
    for module in MODULES:
        for node in ast.walk(module.tree):
            if isinstance(node, Documented) and (doc := ast.get_docstring(node)):
                yield f"{module.name}:{getattr(node, 'lineno', 1)}", doc


def names_in_the_package() -> set[str]:
    """Return every name that is defined somewhere: what a docstring may refer to."""
    names = {part for module in MODULES for part in module.name.split(".")}
    for module in MODULES:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                names.add(node.name)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.Attribute):
                names.add(node.attr)
            elif isinstance(node, ast.ImportFrom | ast.Import):
                names |= {alias.name.split(".")[0] for alias in node.names}
    return names


@cache
def docs_by_name() -> dict[str, str]:
    """Return the docstrings of every class and function by its bare name: where a reference leads."""
    found: dict[str, str] = {}
    for module in MODULES:
        room = ast.get_docstring(module.tree) or ""
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                found[node.name] = f"{found.get(node.name, '')}\n{ast.get_docstring(node) or ''}"
                if isinstance(node, ast.ClassDef):
                    found[node.name] += f"\n{room}"
    return found


def with_references(text: str) -> str:
    """Return *text* and the docstrings it sends its reader to: ``See `DuplicateProject` `` is an answer."""
    refers = {name.rpartition(".")[2] for name in re.findall(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)", text)}
    return "\n".join([text, *(docs_by_name().get(name, "") for name in sorted(refers))])


class Entry(NamedTuple):
    """One public class, call or property: what it says of itself, and what its reader has read before."""

    label: str
    own: str
    around: str
    arguments: dict[str, str]
    returns: str
    source: Callable[..., Any] | None

    @property
    def read(self) -> str:
        """Everything its reader has before their eyes."""
        return with_references(f"{self.own}\n{self.around}")


def _ours(value: object) -> bool:
    return str(getattr(value, "__module__", "")).startswith("asana_jobs")


def _text(annotation: object) -> str:
    if annotation is inspect.Signature.empty:
        return ""
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _arguments(value: Callable[..., Any]) -> tuple[dict[str, str], str]:
    signature = inspect.signature(value)
    taken = {
        name: _text(argument.annotation)
        for name, argument in signature.parameters.items()
        if name not in {"self", "cls", "message"} and argument.kind is not argument.POSITIONAL_ONLY
    }
    return taken, _text(signature.return_annotation)


def _doc(value: object) -> str:
    return inspect.getdoc(value) or ""


def _of_class(kind: type[Any]) -> Iterator[Entry]:
    room = _doc(importlib.import_module(kind.__module__))
    own = "\n".join(base.__dict__.get("__doc__") or "" for base in kind.__mro__ if _ours(base))
    arguments: dict[str, str] = {}
    if attrs.has(kind):
        arguments = {f.name: _text(f.type) for f in attrs.fields(kind) if not f.name.startswith("_")}
    elif not issubclass(kind, enum.Enum) and _ours(kind.__init__) and "You get one from" not in own:
        arguments = _arguments(kind)[0]
    yield Entry(kind.__qualname__, kind.__dict__.get("__doc__") or "", f"{own}\n{room}", arguments, "", None)
    for name in sorted(dir(kind)):
        value: Any = inspect.getattr_static(kind, name)
        value = getattr(value, "__func__", value)  # a class method's function
        label = f"{kind.__qualname__}.{name}"
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            if _ours(value.fget):
                returns = _arguments(cast("Callable[..., Any]", value.fget))[1]
                yield Entry(label, _doc(value), own, {}, returns, value.fget)
        elif inspect.isfunction(value) and _ours(value):
            defined_in = value.__qualname__.partition(".")[0]
            around = f"{own}\n{docs_by_name().get(defined_in, '')}\n{room}"
            yield Entry(label, _doc(getattr(kind, name)), around, *_arguments(value), value)


def public_values() -> Iterator[tuple[str, str, Any]]:
    """Yield every exported name with its room and its value."""
    for room in ("asana_jobs", *(f"asana_jobs.{room}" for room in ROOMS)):
        module = importlib.import_module(room)
        for name in module.__all__:
            yield room, name, getattr(module, name)


def entries() -> dict[str, Entry]:
    """Return everything public, methods and properties included, by what it is called."""
    found: dict[str, Entry] = {}
    for _, name, value in public_values():
        if isinstance(value, type) and _ours(value):
            found |= {entry.label: entry for entry in _of_class(value)}
        elif inspect.isfunction(value):
            room = _doc(importlib.import_module(value.__module__))
            found[name] = Entry(name, _doc(value), room, *_arguments(value), value)
    return found


ENTRIES = entries()
CONSTANTS = sorted(
    {
        name
        for _, name, value in public_values()
        if not (isinstance(value, type) or inspect.isfunction(value)) and name != "__version__"
    }
)


def test_the_walk_finds_what_is_there() -> None:
    """The rules below are about all of the package: calls, methods, properties, fields and errors."""
    expected = (
        "AsanaClient.wait_for_job AsanaClient.rollup_task Job.result RateLimits.free Run RateLimitError serve"
    )

    assert set(expected.split()) <= ENTRIES.keys()
    assert ENTRIES["AsanaClient.run"].arguments.keys() == {"operation", "timeout"}
    assert ENTRIES["PollPolicy"].arguments["lag_price"] == "float"
    assert "Event" in CONSTANTS


@pytest.mark.parametrize("label", sorted(ENTRIES))
def test_everything_public_says_what_it_is(label: str) -> None:
    """A class, a call or a property has a docstring, and it begins with a sentence."""
    first = ENTRIES[label].own.strip().partition("\n\n")[0]

    assert re.match(r"[\"'`A-Z0-9]", first), f"{label} begins with {first[:40]!r}"
    assert first.rstrip(":").endswith((".", "?", ")", ":")) or ": " in first or first.endswith("::"), first


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_constant_or_an_alias_is_explained(name: str) -> None:
    """What has no docstring of its own has a comment that documentation tools read: ``#:``."""
    explained = re.compile(rf"(?:^#: .*\n)+{name}\b", re.MULTILINE)

    assert any(explained.search(module.text) for module in MODULES), f"no #: comment above {name}"


@pytest.mark.parametrize("label", sorted(label for label, entry in ENTRIES.items() if entry.arguments))
def test_every_argument_is_named(label: str) -> None:
    """What can be handed in, or read from a value, is mentioned by its docstring or by one that it refers to."""
    read = ENTRIES[label].read

    assert [name for name in ENTRIES[label].arguments if not re.search(rf"\b{name}\b", read)] == []


def numbers() -> Iterator[tuple[str, str]]:
    """Yield what is a number with a unit: an argument of that type, or a call or a property that returns one."""
    for label, entry in ENTRIES.items():
        yield from (
            (label, name)
            for name, annotation in entry.arguments.items()
            if re.search(r"\bfloat\b|\bDuration\b|\btimedelta\b", annotation)
        )
        if re.search(r"\bfloat\b|\btimedelta\b", entry.returns):
            yield label, ""


@pytest.mark.parametrize(("label", "name"), sorted(numbers()))
def test_every_number_says_what_it_is_counted_in(label: str, name: str) -> None:
    """Where a duration, a share or a rate is explained, its unit stands beside it."""
    entry = ENTRIES[label]
    if not name:
        assert UNITS.search(entry.own)
        return
    # A paragraph, one line of a list of arguments with its continuation, or the second argument on such a line.
    explained = entry.own if re.search(rf"^\s*{name}: ", entry.own, re.MULTILINE) else entry.read
    pieces = re.split(r"\n\s*\n|\n\s+(?=\w+: )|(?=``\w+``: )", explained)
    beside = [piece for piece in pieces if re.search(rf"\b{name}\b", piece)]

    assert any(UNITS.search(text) for text in beside), f"no unit near {name}"


def raised(source: Callable[..., Any]) -> set[str]:
    """Return the errors that a function raises itself, those of functions inside it left out."""
    found: set[str] = set()
    left: list[ast.AST] = list(
        cast("ast.FunctionDef", ast.parse(textwrap.dedent(inspect.getsource(source))).body[0]).body
    )
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if (
            isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Call)
            and isinstance(node.exc.func, ast.Name)
        ):
            found.add(node.exc.func.id)
        left += ast.iter_child_nodes(node)
    return found - {"StopAsyncIteration", "StopIteration", "NotImplementedError"}


@pytest.mark.parametrize("label", sorted(label for label, entry in ENTRIES.items() if entry.source))
def test_what_is_raised_is_named(label: str) -> None:
    """An error that a public call raises itself is in its docstring, its class's, or one that it refers to."""
    entry = ENTRIES[label]

    assert entry.source is not None
    assert [error for error in sorted(raised(entry.source)) if error not in entry.read] == []


@pytest.mark.parametrize(
    "label",
    sorted(
        label
        for label, entry in ENTRIES.items()
        if label.startswith("AsanaClient.") and entry.source and inspect.iscoroutinefunction(entry.source)
    ),
)
def test_every_call_to_asana_says_what_can_go_wrong(label: str) -> None:
    """Whoever awaits a call of the client finds the errors to catch without reading the code."""
    assert re.search(r"\b\w+Error\b", ENTRIES[label].read)


def second_entries(doc: str) -> list[str]:
    """Return the lines of a docstring's lists, of arguments, attributes or errors, that hold more than one of them."""
    found: list[str] = []
    listed = False
    for line in doc.splitlines():
        if line.strip() and not line.startswith(" "):
            listed = line in {"Args:", "Attributes:", "Raises:"}
        elif listed and SECOND_ENTRY.search(line):
            found.append(line.strip())
    return found


def test_a_line_of_a_list_holds_one_entry() -> None:
    """Editors and generated references show one argument, attribute or error a line, and hide a second one."""
    lines = [f"{where}: {line}" for where, doc in nodes_with_docstrings() for line in second_entries(doc)]

    assert lines == []


@pytest.mark.parametrize(
    "line",
    [
        "initial: Seconds before the first repetition. ``factor``: growth.",
        "token: and ``base_url``: as for `AsanaClient`.",
        "ValueError: it is none of these. RuntimeError: the block has ended.",
        "key: The gid. ``kind``, ``source``: what its duration is expected from.",
    ],
)
def test_a_second_entry_of_a_line_is_found(line: str) -> None:
    """The rule above sees a name with a colon after another one, however the two are joined."""
    assert second_entries(f"It is.\n\nArgs:\n    {line}") == [line]


def test_errors_in_docstrings_exist() -> None:
    """No docstring speaks of an error that nobody could catch."""
    known = names_in_the_package() | set(dir(builtins))
    named = {
        (where, word)
        for where, doc in nodes_with_docstrings()
        for word in re.findall(r"\b[A-Z][A-Za-z]*[a-z](?:Error|Warning|Group)\b", doc)
    }

    assert len(named) > 50
    assert sorted((where, word) for where, word in named if word not in known) == []


def is_markdown(doc: str) -> bool:
    """Whether a docstring is a page of the manual, where single backticks are around all code."""
    return re.search(r"^```|^## |^\| --- ", doc, re.MULTILINE) is not None


def test_references_in_docstrings_lead_somewhere() -> None:
    """What stands in single backticks is a name of the package or of Python; in a page of Markdown, if it looks like one."""
    known = names_in_the_package() | set(dir(builtins)) | {"pytest", "tenacity"}
    named = {
        (where, word)
        for where, doc in nodes_with_docstrings()
        for word in re.findall(r"(?<!`)`([A-Za-z_][\w.]*)`(?!`)", doc)
        if not is_markdown(doc) or re.match(r"[A-Z][a-z]+[A-Z]", word)
    }

    assert len(named) > 100
    assert sorted((where, word) for where, word in named if word.rpartition(".")[2] not in known) == []


@pytest.mark.parametrize("kind", sorted(OPERATIONS))
def test_an_operation_names_its_call(kind: str) -> None:
    """An operation and the client's call of its name say which path of Asana's they stand for."""
    operation = OPERATIONS[kind]
    path = f"{operation.method} {operation.route}"

    assert path in str(operation.__doc__)
    assert path in ENTRIES[f"AsanaClient.{kind}"].read


@pytest.mark.parametrize(
    "kind",
    [
        value
        for room in (models, parameters)
        for name in room.__all__
        if isinstance(value := getattr(room, name), type)
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_value_of_asanas_names_its_source(kind: type) -> None:
    """A model or a structured argument says which schema of Asana's OpenAPI document it is, or which page."""
    source = re.search(r"Source: ([^\n]+(?:\n(?!\n)[^\n]+)*)", inspect.cleandoc(str(kind.__doc__)))

    assert source, "no line that begins with 'Source: '"
    schemas = re.findall(r"``([A-Z]\w+)", source[1])
    assert schemas or "developers.asana.com" in source[1]
    assert [schema for schema in schemas if schema not in {*SCHEMAS, "JobBase", "JobCompact"}] == []


def test_the_operations_say_where_they_come_from() -> None:
    """Their page names the source of all of them, and what is common to their arguments."""
    assert "Sources: " in str(operations.__doc__)
    assert re.search(r"`gid`", str(operations.__doc__))
