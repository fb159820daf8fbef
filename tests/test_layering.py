"""Who may import whom, read from the source with `ast`: the walls of the house."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import asana_jobs
from asana_jobs import testing


PACKAGE = Path(asana_jobs.__file__).parent

#: The rooms from the ground up. A room imports rooms of its own layer (never in a circle) and of layers below it.
#: A new room needs a place here, which is a decision: put it as far down as it can stand.
LAYERS: list[set[str]] = [
    # what a job, an operation, an error and a number are
    {
        "_version",
        "_json",
        "_gids",
        "_secret",
        "_as_json",
        "_request_errors",
        "errors",
        "policies",
        "parameters",
    }
    | {"_operation_arguments", "_operation", "operations", "models", "events"},
    # from JSON to models
    {"_decode", "_structuring"},
    # what is known about Asana, without doing anything
    {"_sansio", "_answers", "_trouble", "_subjects", "subjects", "_news", "_outcome", "_statistics", "_calls"}
    | {"_durations", "_ranking", "_schedule", "_pace", "_quota", "_pause", "_outage", "_tally", "_allowance"}
    | {"_inflate", "_json_records", "_links", "_log_fields"},
    # the seams: time, tokens, repetition, the network, the budget
    {
        "_clock",
        "_scope",
        "_lifetime",
        "_tokens",
        "tokens",
        "_backoff",
        "_origin",
        "_transport",
        "_oauth",
        "_turns",
        "_gate",
        "_local_gate",
        "_telemetry",
        "_listeners",
        "_opentelemetry_providers",
        "_opentelemetry_instruments",
        "_opentelemetry",
        "gates",
        "_slots",
        "_off_loop",
    },
    # one request from intent to answer
    {"_exchange", "_assembly", "_parts"},
    # many looks
    {"_dispatcher", "_watch", "_poller"},
    # one wait, and how people hold it
    {"_wait", "_observed_wait", "_waiter", "_arguments", "_check", "_monitor", "_oneshot"},
    # what outlives the process
    {"_ledger_owner", "_ledger_file", "_ledger_rows", "_ledger_keys", "_ledger_read", "_ledger_write"}
    | {"_ledger_thread", "_ledger"},
    # many operations, and export files
    {"_source", "_errand", "_launch", "_runner", "_run"}
    | {"_export_file", "_export_stream", "_export_records", "_download"},
    # what people call
    {"_bulk_calls", "_export_calls", "_client"},
]
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}

#: Rooms that only know: no waiting, no clock, no dice, no network.
PURE = LAYERS[0] | LAYERS[1] | LAYERS[2]
IMPURE = {"asyncio", "aiohttp", "tenacity", "time", "random", "socket", "sqlite3", "threading", "subprocess"}

#: The one arrow that points up, inside a function: `Job.from_dict` is a shortcut to the decoder.
SHORTCUT = ("models", "_decode")

#: Arrows inside functions that would close a circle. The command line makes a table only when it shows one.
LAZY_SHORTCUTS = {SHORTCUT, ("cli.report", "cli.table")}

#: Rooms that run in a thread of their own, where there is no loop to ask for the time: SQLite's busy wait.
IN_A_THREAD = {"asana_jobs._ledger_file"}
#: How old a claim is depends on the machine's clocks, whatever the clock says that somebody has handed in.
OF_THE_MACHINE = {"asana_jobs._ledger_owner"}

#: Where each library may be imported at run time, besides the simulator and the command line.
HOMES = {
    "cattrs": {"_decode"},
    "tenacity": {"_backoff"},
    "aiohttp": {"_transport"},
    "opentelemetry": {"_opentelemetry", "_opentelemetry_instruments", "_opentelemetry_providers"},
    "orjson": {"_sansio"},
    "sqlite3": {room for room in RANK if room.startswith("_ledger")},
}


class Import(NamedTuple):
    """One imported module or name, and how it is imported."""

    name: str
    lazy: bool
    typing_only: bool


def _walk(nodes: Iterator[ast.AST], *, lazy: bool, typing_only: bool) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _walk(iter(node.body), lazy=lazy, typing_only=True)
            yield from _walk(iter(node.orelse), lazy=lazy, typing_only=typing_only)
            continue
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, lazy, typing_only) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (Import(f"{node.module}.{alias.name}", lazy, typing_only) for alias in node.names)
        inside = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        yield from _walk(ast.iter_child_nodes(node), lazy=inside, typing_only=typing_only)


@cache
def tree(module: str) -> ast.Module:
    """Parse a module of the package."""
    return ast.parse(MODULES[module].read_text("utf-8"))


@cache
def imports(module: str) -> list[Import]:
    """Return what a module imports."""
    return list(_walk(ast.iter_child_nodes(tree(module)), lazy=False, typing_only=False))


def room_of(name: str) -> str | None:
    """Return the module of the package that an imported name is, or is in: without ``asana_jobs.``."""
    while name.startswith("asana_jobs."):
        if name in MODULES:
            return name.removeprefix("asana_jobs.")
        name = name.rpartition(".")[0]
    return None


def rooms_used(module: str, *, lazily: bool = False) -> set[str]:
    """Return the rooms a module imports at run time, inside functions too if asked for."""
    used = {
        room_of(found.name)
        for found in imports(module)
        if not found.typing_only and (lazily or not found.lazy)
    }
    return {room for room in used if room is not None}


def libraries(module: str, *, lazily: bool = True) -> set[str]:
    """Return the libraries a module imports at run time."""
    return {
        found.name.partition(".")[0]
        for found in imports(module)
        if not found.typing_only and (lazily or not found.lazy)
    }


def dotted(path: Path) -> str:
    """Return a file's module name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}
EVERY = sorted(MODULES)
CLI = [module for module in EVERY if module.startswith("asana_jobs.cli")]
WORKER = [module for module in EVERY if module.startswith("asana_jobs.worker")]
TESTING = [module for module in EVERY if module.startswith("asana_jobs.testing")]
ENTRANCES = ["asana_jobs", "asana_jobs.__main__"]
CORE = [module for module in EVERY if module not in {*CLI, *WORKER, *TESTING, *ENTRANCES}]
ROOMS = [module.removeprefix("asana_jobs.") for module in CORE]


def test_every_room_has_a_rank() -> None:
    """No room of the library stands outside the table above."""
    assert sorted(set(ROOMS) - set(RANK)) == [], "give these rooms a place in LAYERS"


@pytest.mark.parametrize("room", sorted(RANK.keys() & set(ROOMS)))
def test_arrows_point_downwards(room: str) -> None:
    """At run time a room imports rooms of its own layer or of lower ones, the documented shortcut aside."""
    used = {other for other in rooms_used(f"asana_jobs.{room}", lazily=True) if (room, other) != SHORTCUT}

    assert [other for other in used if other not in RANK or RANK[other] > RANK[room]] == []


@pytest.mark.parametrize(("room", "other"), sorted(LAZY_SHORTCUTS))
def test_shortcuts_are_inside_functions(room: str, other: str) -> None:
    """An arrow that would close a circle is not there when modules are loaded."""
    assert other in rooms_used(f"asana_jobs.{room}", lazily=True)
    assert other not in rooms_used(f"asana_jobs.{room}")


@pytest.mark.parametrize("lazily", [False, True])
def test_there_are_no_circles(lazily: bool) -> None:
    """No room needs itself, not even through functions, the documented shortcuts aside."""
    left = {
        module: {f"asana_jobs.{room}" for room in rooms_used(module, lazily=lazily)} - {module}
        for module in EVERY
    }
    for room, other in LAZY_SHORTCUTS:
        left[f"asana_jobs.{room}"].discard(f"asana_jobs.{other}")
    while free := [module for module, used in left.items() if not used & left.keys()]:
        for module in free:
            del left[module]

    assert left == {}


@pytest.mark.parametrize("room", sorted(PURE & set(ROOMS)))
def test_pure_rooms_only_know(room: str) -> None:
    """Vocabulary and pure rooms import nothing that waits, measures, rolls dice or talks."""
    assert libraries(f"asana_jobs.{room}") & IMPURE == set()


@pytest.mark.parametrize("room", sorted(PURE & set(ROOMS)))
def test_pure_rooms_stand_on_pure_rooms(room: str) -> None:
    """Nothing impure comes in through another room either."""
    assert rooms_used(f"asana_jobs.{room}", lazily=True) <= PURE


@pytest.mark.parametrize("library", sorted(HOMES))
def test_each_library_has_its_room(library: str) -> None:
    """A library that could be replaced is known to one room (types aside)."""
    users = {
        module.removeprefix("asana_jobs.") for module in CORE + CLI + WORKER if library in libraries(module)
    }

    assert users <= HOMES[library]


def test_the_library_stands_on_what_it_declares() -> None:
    """The rooms import the four declared dependencies (yarl and multidict are aiohttp's), two more if they are there, and the standard library."""
    used = {library for module in CORE + ENTRANCES for library in libraries(module)}

    assert used - sys.stdlib_module_names - {"asana_jobs"} <= {
        "aiohttp",
        "attrs",
        "cattrs",
        "opentelemetry",
        "orjson",
        "tenacity",
        "multidict",
        "yarl",
    }


@pytest.mark.parametrize("module", CORE + WORKER + ["asana_jobs"])
def test_only_the_command_line_knows_the_test_kit(module: str) -> None:
    """Neither the library nor the worker imports the simulator."""
    assert [found.name for found in imports(module) if found.name.startswith("asana_jobs.testing")] == []


@pytest.mark.parametrize("module", CLI + WORKER + ["asana_jobs.__main__"])
def test_outer_rooms_use_public_names_only(module: str) -> None:
    """What the command line or the worker cannot do with public names, a user cannot do either."""
    own = module.rpartition(".")[0] if module.count(".") > 1 else module
    home = "asana_jobs.worker" if module in WORKER else "asana_jobs.cli"
    for found in imports(module):
        if not found.name.startswith("asana_jobs.") or found.name.startswith((f"{home}.", f"{own}.")):
            continue
        room, _, name = found.name.removeprefix("asana_jobs.").rpartition(".")
        exported = {"": asana_jobs.__all__, "testing": testing.__all__}.get(room)
        assert not any(part.startswith("_") and part != "__version__" for part in found.name.split(".")), (
            found.name
        )
        assert exported is None or name in exported or room_of(found.name) == name, found.name


def simulator() -> set[str]:
    """Return every module that the simulator is made of."""
    made_of, left = set[str](), ["asana_jobs.testing._simulator", "asana_jobs.testing._server"]
    while left:
        module = left.pop()
        if module not in made_of:
            made_of.add(module)
            left += [
                f"asana_jobs.{room}"
                for room in rooms_used(module, lazily=True)
                if room.startswith("testing.")
            ]
    return made_of


def test_the_simulator_judges_by_itself() -> None:
    """The simulator knows Asana from its documentation: it imports nothing of the library it judges."""
    used = {room for module in simulator() for room in rooms_used(module, lazily=True)}

    assert {room for room in used if not room.startswith("testing")} <= {"_version"}


def test_the_test_kit_reaches_into_the_library_for_its_seams_only() -> None:
    """The doubles know what a request, an answer and a transport error are, and nothing else of the library."""
    used = {room for module in TESTING for room in rooms_used(module) if not room.startswith("testing")}

    assert used <= {"_sansio", "_clock", "_transport", "errors", "_version"}


@pytest.mark.parametrize(
    "module", sorted({*CORE, *WORKER, *TESTING, *ENTRANCES} - IN_A_THREAD - OF_THE_MACHINE)
)
def test_time_comes_from_one_seam(module: str) -> None:
    """Nobody asks the real clock behind the back of the one whoever owns the loop owns."""
    asked = {
        ast.unparse(node)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) in {"time", "datetime.datetime"}
    }

    assert (
        asked & {f"time.{name}" for name in ("time", "monotonic", "perf_counter", "sleep", "time_ns")}
        == set()
    )
    assert not any(found.name.startswith("time.") for found in imports(module))


@pytest.mark.parametrize(
    "module", [module for module in EVERY if module not in {*CLI, "asana_jobs.testing.__main__"}]
)
def test_only_the_command_line_prints(module: str) -> None:
    """A library says nothing on its user's standard output."""
    called = {
        node.func.id
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }

    assert "print" not in called


@pytest.mark.parametrize("module", EVERY)
def test_every_module_says_what_it_is_for(module: str) -> None:
    """The first line of each module is a sentence about it."""
    assert ast.get_docstring(tree(module))


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("asana_jobs", {"aiohttp", "asyncio", "attrs", "cattrs", "tenacity", "asana_jobs.testing"}),
        ("asana_jobs.testing", {"aiohttp", "attrs", "asana_jobs._sansio"}),
        ("asana_jobs.testing.plugin", {"aiohttp", "asana_jobs._client", "asana_jobs.testing._simulator"}),
        ("asana_jobs.errors", {"aiohttp", "asyncio", "cattrs", "tenacity"}),
        ("asana_jobs.__main__", {"aiohttp", "asana_jobs.testing", "cyclopts", "rich"}),
        ("asana_jobs.cli.program", {"aiohttp", "asana_jobs.testing", "tenacity"}),
    ],
)
def test_what_is_not_needed_is_not_loaded(module: str, unwanted: set[str]) -> None:
    """Importing the package, its plugin or its program costs no HTTP client and no simulator."""
    script = f"import sys, {module}; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert unwanted & set(loaded.split()) == set()
