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

#: What people read, build, catch, set and hear: known everywhere, and knowing nobody.
WORDS = {"errors", "policies", "parameters", "operations", "models", "events"}

#: The folders behind `AsanaClient` from the ground up. A folder imports itself, the words and the folders below it.
FLOORS = ["ground", "limits", "telemetry", "http", "waiting", "bulk", "exports", "client"]

#: Files that stand in `_client` itself, with the floor they are on.
ON_THE_FLOOR_OF = {
    "clock": "ground",
    "misuse": "ground",
    "assembly": "client",
    "shortcuts": "client",
    "client": "client",
    "": "client",
}

#: Small doors for those who extend the client. They show what is in `_client`; nothing in it needs them.
DOORS = {"gates", "tokens", "subjects"}

#: Around the library: they use its public names, and it does not know them.
OUTER = ("cli", "mcp", "progress", "sync", "testing", "worker")

#: Files that only know: no waiting, no clock, no dice, no network.
PURE = WORDS | {
    "_client.http.protocol",
    "_client.http.decode",
    "_client.http.secret",
    "_client.limits.quota",
    "_client.telemetry.log_fields",
    "_client.waiting.durations",
    "_client.waiting.schedule",
    "_client.waiting.job_reference",
    "_client.exports.gzip_stream",
}
IMPURE = {"asyncio", "aiohttp", "tenacity", "time", "random", "socket", "sqlite3", "threading", "subprocess"}

#: The one arrow that points up, inside a function: `Job.from_dict` is a shortcut to the decoder.
SHORTCUT = ("models", "_client.http.decode")

#: Where the machine's clock is meant, and not the client's: SQLite's busy wait in a thread of its own, and the age of a
#: claim, which a process that was stopped must not take for younger than it is.
OF_THE_MACHINE = {
    "asana_jobs._client.bulk.ledger_store",
    "asana_jobs._client.bulk.ledger_owner",
    "asana_jobs.worker._fence",
}

#: Where each library may be imported at run time, besides the simulator and the command line.
HOMES = {
    "cattrs": {"_client.http.decode"},
    "tenacity": {"_client.http.retrying", "policies"},  # its engine, and what a policy is
    "aiohttp": {"_client.http.transport", "_client.http.connections"},
    "opentelemetry": {"_client.telemetry.opentelemetry"},
    "orjson": {"_client.http.decode"},
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


def dotted(path: Path) -> str:
    """Return a file's module name."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}
EVERY = sorted(MODULES)
ENTRANCES = ["asana_jobs", "asana_jobs.__main__"]
CORE = [module for module in EVERY if module not in ENTRANCES and module.split(".")[1] not in OUTER]
FILES = [module.removeprefix("asana_jobs.") for module in CORE]
CLI = [module for module in EVERY if module.startswith("asana_jobs.cli")]
WORKER = [module for module in EVERY if module.startswith("asana_jobs.worker")]
MCP = [module for module in EVERY if module.startswith("asana_jobs.mcp")]
TESTING = [module for module in EVERY if module.startswith("asana_jobs.testing")]


@cache
def tree(module: str) -> ast.Module:
    """Parse a module of the package."""
    return ast.parse(MODULES[module].read_text("utf-8"))


@cache
def imports(module: str) -> list[Import]:
    """Return what a module imports."""
    return list(_walk(ast.iter_child_nodes(tree(module)), lazy=False, typing_only=False))


def file_of(name: str) -> str | None:
    """Return the file of the package that an imported name is, or is in: without ``asana_jobs.``."""
    while name.startswith("asana_jobs."):
        if name in MODULES:
            return name.removeprefix("asana_jobs.")
        name = name.rpartition(".")[0]
    return None


def files_used(module: str, *, lazily: bool = False) -> set[str]:
    """Return the files a module imports at run time, inside functions too if asked for."""
    used = {
        file_of(found.name)
        for found in imports(module)
        if not found.typing_only and (lazily or not found.lazy)
    }
    return {file for file in used if file is not None} - {module.removeprefix("asana_jobs.")}


def libraries(module: str, *, lazily: bool = True) -> set[str]:
    """Return the libraries a module imports at run time."""
    return {
        found.name.partition(".")[0]
        for found in imports(module)
        if not found.typing_only and (lazily or not found.lazy)
    }


def floor_of(file: str) -> int:
    """Return how high a file of the library stands: the words on the ground, the doors on the roof."""
    first, _, rest = file.partition(".")
    if first in WORDS:
        return -1
    if first in DOORS:
        return len(FLOORS)
    folder = rest.partition(".")[0]
    return FLOORS.index(ON_THE_FLOOR_OF.get(folder, folder))


@pytest.mark.parametrize("file", FILES)
def test_arrows_point_downwards(file: str) -> None:
    """At run time a file imports its own folder, the words, and folders below its own; the documented shortcut aside."""
    used = {other for other in files_used(f"asana_jobs.{file}", lazily=True) if (file, other) != SHORTCUT}

    assert [other for other in used if floor_of(other) > floor_of(file)] == []


@pytest.mark.parametrize("module", CORE)
def test_the_library_does_not_know_what_is_around_it(module: str) -> None:
    """Nothing that people call imports the command line, the worker or the test kit."""
    assert {file for file in files_used(module, lazily=True) if file.partition(".")[0] in OUTER} == set()


def test_the_shortcut_is_inside_a_function() -> None:
    """The arrow that points up is not there when modules are loaded."""
    file, other = SHORTCUT

    assert other in files_used(f"asana_jobs.{file}", lazily=True)
    assert other not in files_used(f"asana_jobs.{file}")


@pytest.mark.parametrize("lazily", [False, True])
def test_there_are_no_circles(lazily: bool) -> None:
    """No file needs itself, not even through functions."""
    left = {
        module: {f"asana_jobs.{file}" for file in files_used(module, lazily=lazily)} - {module}
        for module in EVERY
    }
    while free := [module for module, used in left.items() if not used & left.keys()]:
        for module in free:
            del left[module]

    assert left == {}


@pytest.mark.parametrize("file", sorted(PURE))
def test_pure_files_only_know(file: str) -> None:
    """Vocabulary and pure files import nothing that waits, measures, rolls dice or talks."""
    used = libraries(f"asana_jobs.{file}") & IMPURE

    assert used <= ({"tenacity"} if file == "policies" else set())


@pytest.mark.parametrize("file", sorted(PURE))
def test_pure_files_stand_on_pure_files(file: str) -> None:
    """Nothing impure comes in through another file either."""
    assert files_used(f"asana_jobs.{file}", lazily=True) <= PURE


@pytest.mark.parametrize("library", sorted(HOMES))
def test_each_library_has_its_file(library: str) -> None:
    """A library that could be replaced is known to one file (types aside)."""
    users = {
        module.removeprefix("asana_jobs.")
        for module in CORE + CLI + WORKER + MCP
        if library in libraries(module)
    }

    assert users <= HOMES[library]


def test_sqlite_is_known_to_the_ledger_only() -> None:
    """The ledger's rows live in SQLite, and nobody else knows."""
    users = {module for module in CORE + CLI + WORKER + MCP if "sqlite3" in libraries(module)}

    assert {user for user in users if not user.startswith("asana_jobs._client.bulk.ledger")} == set()


def test_the_library_stands_on_what_it_declares() -> None:
    """The library imports the four declared dependencies (yarl and multidict are aiohttp's), two more if they are there, and the standard library."""
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


@pytest.mark.parametrize(
    "module", [*CLI, *WORKER, *MCP, "asana_jobs.__main__", "asana_jobs.progress", "asana_jobs.sync"]
)
def test_outer_folders_use_public_names_only(module: str) -> None:
    """What the command line, the worker and the like cannot do with public names, a user cannot do either."""
    own = module.rpartition(".")[0] if module.count(".") > 1 else module
    home = ".".join(module.split(".")[:2]) if module in WORKER + MCP else "asana_jobs.cli"
    for found in imports(module):
        if not found.name.startswith("asana_jobs.") or found.name.startswith((f"{home}.", f"{own}.")):
            continue
        file, _, name = found.name.removeprefix("asana_jobs.").rpartition(".")
        exported = {"": asana_jobs.__all__, "testing": testing.__all__}.get(file)
        assert not any(part.startswith("_") and part != "__version__" for part in found.name.split(".")), (
            found.name
        )
        assert exported is None or name in exported or file_of(found.name) == name, found.name


@pytest.mark.parametrize(
    "module", [module for module in TESTING if module.startswith("asana_jobs.testing.simulator")]
)
def test_the_simulator_judges_by_itself(module: str) -> None:
    """The simulator knows Asana from its documentation: it imports nothing of the library it judges."""
    outside = {
        file
        for file in files_used(module, lazily=True)
        if not file.startswith("testing.simulator") and file != "testing"
    }

    assert outside == set()


def test_the_test_kit_reaches_into_the_library_for_its_seams_only() -> None:
    """The doubles know what a request, an answer and a transport error are, and nothing else of the library."""
    used = {file for module in TESTING for file in files_used(module) if not file.startswith("testing")}

    assert used <= {"_client.http.protocol", "_client.clock", "_client.http.transport", "errors"}


@pytest.mark.parametrize("module", sorted({*CORE, *WORKER, *MCP, *TESTING, *ENTRANCES} - OF_THE_MACHINE))
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


def test_the_front_page_is_short() -> None:
    """The root of the package is its public face: what stands there is for people, and how it works is one folder down."""
    entries = [path.name for path in PACKAGE.iterdir() if path.name != "__pycache__"]

    assert sorted(name for name in entries if name.startswith("_") and not name.startswith("__")) == [
        "_client"
    ]


@pytest.mark.parametrize("module", [module for module in CORE if module.startswith("asana_jobs._client.")])
def test_every_file_of_the_client_has_tests_of_its_name(module: str) -> None:
    """Who changes a file finds its tests by its name, in the folder of the same name."""
    if MODULES[module].name == "__init__.py":
        return
    *folder, name = module.removeprefix("asana_jobs._client.").split(".")

    assert Path(__file__).parent.joinpath(*folder, f"test_{name}.py").exists()


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("asana_jobs", {"aiohttp", "asyncio", "attrs", "cattrs", "tenacity", "asana_jobs.testing"}),
        ("asana_jobs.testing", {"aiohttp", "attrs", "asana_jobs._client.http.protocol"}),
        (
            "asana_jobs.testing.plugin",
            {"aiohttp", "asana_jobs._client.client", "asana_jobs.testing.simulator.simulator", "mcp"},
        ),
        ("asana_jobs.errors", {"aiohttp", "asyncio", "cattrs", "tenacity"}),
        ("asana_jobs.__main__", {"aiohttp", "asana_jobs.testing", "cyclopts", "mcp", "rich"}),
        ("asana_jobs.cli.program", {"aiohttp", "asana_jobs.testing", "tenacity"}),
        ("asana_jobs.cli.commands.mcp", {"aiohttp", "asana_jobs.mcp", "mcp", "pydantic"}),
    ],
)
def test_what_is_not_needed_is_not_loaded(module: str, unwanted: set[str]) -> None:
    """Importing the package, its plugin or its program costs no HTTP client and no simulator."""
    script = f"import sys, {module}; print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert unwanted & set(loaded.split()) == set()
