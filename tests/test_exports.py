"""What the package promises by name, and that it keeps it."""

import ast
import importlib
import importlib.metadata
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import asana_jobs
from asana_jobs import errors, models, operations, parameters, policies, testing


PACKAGE = Path(asana_jobs.__file__).parent
PROJECT = PACKAGE.parent

#: The top level: a promise to those who import from it.
PROMISED = {
    *(
        "AsanaClient",
        "Job",
        "JobStatus",
        "JobWaiter",
        "JobMonitor",
        "Check",
        "Outcome",
        "Ledger",
        "OAuthRefresh",
    ),
    *("RetryPolicy", "PollPolicy", "RateLimits", "Request", "Response", "Transport"),
    *("Durations", "Eta", "ExportRecords", "Run", "WaitStatistics"),
    *("ClaimVerdict", "LedgerClaim", "LedgerRow", "LedgerState", "LedgerSummary"),
    *(
        "DuplicateTask",
        "DuplicateProject",
        "DuplicatePortfolio",
        "SaveProjectAsTemplate",
        "InstantiateProject",
    ),
    *("InstantiateTask", "RollupTask", "RollupProject", "ExportGraph", "ExportResource"),
    *("ExportOrganization", "wait_for_job", "__version__"),
    *("AsanaJobsError", "JobFailedError", "JobTimeoutError", "OutcomeUnknownError"),
    *("NotFoundError", "PermissionDeniedError", "AuthenticationError", "RateLimitError"),
}

#: The calls of a client.
CALLS = {
    *("get_job", "start", "run", "run_all", "wait_for_job", "check_job", "monitor_jobs", "download_export"),
    *("request", "with_token", "close", "project_template", "task_template"),
    *("duplicate_task", "duplicate_project", "duplicate_portfolio", "save_project_as_template"),
    *("instantiate_project", "instantiate_task", "rollup_task", "rollup_project", "export_graph"),
    *("export_resource", "export_organization"),
}

#: What is promised of a few classes, by attribute.
ATTRIBUTES = {
    "AsanaClient": {"durations", *CALLS},
    "Job": {"done", "succeeded", "failed", "result", "raise_for_status", "from_dict", "to_dict"},
    "JobWaiter": {
        "continuation_token",
        "statistics",
        "__await__",
        "__aiter__",
        "__anext__",
        "send",
        "throw",
        "close",
    },
    "JobMonitor": {"add", "__aiter__", "__anext__", "__aenter__", "__aexit__"},
    "RateLimits": {"free", "paid"},
}
#: Arguments, in the order in which they are promised.
SIGNATURES = {
    "AsanaClient": "token base_url limits retry poll timeout session transport clock user_agent enable disable",
    "AsanaClient.get_job": "gid opt_fields opt_pretty",
    "AsanaClient.project_template": "gid opt_fields",
    "AsanaClient.task_template": "gid opt_fields",
    "AsanaClient.start": "operation ledger key opt_fields",
    "AsanaClient.run": "operation timeout",
    "AsanaClient.run_all": "operations ledger timeout",
    "AsanaClient.wait_for_job": "job timeout poll opt_fields every_poll",
    "AsanaClient.monitor_jobs": "jobs timeout",
    "AsanaClient.download_export": "job destination progress",
    "AsanaClient.request": "method path params json",
    "AsanaClient.with_token": "token",
    "Check": "job done retry_in continuation_token",
    "OAuthRefresh": "client_id client_secret refresh_token",
    "RateLimits": "requests_per_minute expected reads_in_flight writes_in_flight jobs_running poll_share",
}
#: Modules that are there after ``import asana_jobs``.
ROOMS = ["errors", "events", "gates", "models", "operations", "parameters", "policies", "subjects", "tokens"]
MODULES = [errors, models, operations, parameters, policies]


def public(dotted: str) -> Any:
    """Find a public name, or an attribute of one."""
    value: Any = asana_jobs
    for part in dotted.split("."):
        value = getattr(value, part)
    return value


def changelog() -> str:
    """Read the changelog."""
    return (PROJECT / "CHANGELOG.md").read_text("utf-8")


def test_the_top_level_is_what_was_promised() -> None:
    """What can be imported from asana_jobs is what is listed here: a name more or less is a decision."""
    assert set(asana_jobs.__all__) == PROMISED


def test_the_list_of_names_is_sorted() -> None:
    """A name is where one looks for it."""
    assert asana_jobs.__all__ == sorted(asana_jobs.__all__)
    assert len(set(asana_jobs.__all__)) == len(asana_jobs.__all__)


@pytest.mark.parametrize("name", asana_jobs.__all__)
def test_every_name_can_be_imported_and_is_documented(name: str) -> None:
    """Each promised name is there, and says what it is."""
    value = public(name)

    assert name == "__version__" or inspect.getdoc(value)


@pytest.mark.parametrize("name", asana_jobs.__all__)
def test_type_checkers_see_every_name(name: str) -> None:
    """Names are fetched lazily at run time, so each is imported for type checkers as well."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert name in imported or name == "__version__"


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    """A misspelt name fails as on any module."""
    with pytest.raises(AttributeError, match="module 'asana_jobs' has no attribute 'AsanaCleint'"):
        public("AsanaCleint")


@pytest.mark.parametrize("room", ROOMS)
def test_its_modules_are_there_after_a_plain_import(room: str) -> None:
    """``import asana_jobs; asana_jobs.errors`` needs no second import, in a process that imported nothing else."""
    script = f"import asana_jobs; print(asana_jobs.{room}.__name__, asana_jobs.{room}.__all__ != [])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout == f"asana_jobs.{room} True\n"


def test_every_public_module_is_there_or_says_how_to_import_it() -> None:
    """No public module is forgotten, but for the programs and what a program rarely needs."""
    public_modules = {
        found.name for found in pkgutil.iter_modules(asana_jobs.__path__) if not found.name.startswith("_")
    }

    assert public_modules == {*ROOMS, "cli", "guides", "mcp", "progress", "sync", "testing", "worker"}


@pytest.mark.parametrize("room", ["guides", "mcp", "testing", "worker"])
def test_a_module_that_stands_apart_says_how_to_import_it(room: str) -> None:
    """What a plain import does not bring says what to write."""
    script = f"import asana_jobs; asana_jobs.{room}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.stderr.endswith(
        f"AttributeError: module 'asana_jobs' has no attribute '{room}': write import asana_jobs.{room}\n"
    )


def test_help_begins_with_a_table_of_all_modules() -> None:
    """Who types ``help(asana_jobs)`` is shown where to look, and no public module is left out."""
    summary, table, *_ = (asana_jobs.__doc__ or "").split("\n\n")
    listed = set(re.findall(r"`asana_jobs\.(\w+)`", table))
    there = {found.name for found in pkgutil.iter_modules(asana_jobs.__path__)}

    assert summary.endswith("never start one twice.")
    assert listed == {name for name in there if not name.startswith("_")} - {"cli"}


def test_everything_can_be_imported_by_a_star() -> None:
    """``from asana_jobs import *`` in a notebook brings every promised name, and no module."""
    names: dict[str, object] = {}
    exec("from asana_jobs import *", names)  # noqa: S102  # a star is not allowed in a function

    assert names.keys() - {"__builtins__"} == PROMISED


@pytest.mark.parametrize("path", ["__init__.py", "testing/__init__.py"])
def test_type_checkers_see_no_other_name(path: str) -> None:
    """A misspelt import is an error for type checkers: the lazy __getattr__ is hidden from them."""
    tree = ast.parse((PACKAGE / path).read_text("utf-8"))

    assert not any(isinstance(node, ast.FunctionDef) and node.name == "__getattr__" for node in tree.body)


def test_dir_lists_what_is_exported() -> None:
    """Completion in a shell finds every name before it was used."""
    listed = set(dir(asana_jobs))

    assert {*asana_jobs.__all__, *ROOMS} <= listed
    # A submodule that was imported is listed too; pytest leaves names that nobody could type.
    plain = {name for name in listed if name.isidentifier() and not name.startswith("_")}
    assert plain <= {*PROMISED, *ROOMS, "cli", "guides", "mcp", "progress", "sync", "testing", "worker"}
    assert [name for name in listed if not hasattr(asana_jobs, name)] == []


@pytest.mark.parametrize(
    ("owner", "attribute"),
    [(owner, name) for owner in sorted(ATTRIBUTES) for name in sorted(ATTRIBUTES[owner])],
)
def test_every_promised_attribute_is_there_and_documented(owner: str, attribute: str) -> None:
    """What a class was promised to do, it can, and says so."""
    value = inspect.getattr_static(public(owner), attribute)

    assert attribute.startswith("__") or inspect.getdoc(value)


@pytest.mark.parametrize("dotted", sorted(SIGNATURES))
def test_promised_arguments_are_taken_in_their_order(dotted: str) -> None:
    """Arguments come in the order of the list; others come behind or between."""
    taken = list(inspect.signature(public(dotted)).parameters)
    promised = SIGNATURES[dotted].split()

    assert [name for name in taken if name in promised] == promised


@pytest.mark.parametrize("call", sorted(CALLS - {"request", "with_token", "close"}))
def test_only_the_subject_is_positional(call: str) -> None:
    """After the subject every argument of a call is keyword-only, but for where a download goes."""
    parameters = list(inspect.signature(getattr(asana_jobs.AsanaClient, call)).parameters.values())[1:]
    positional = [given.name for given in parameters if given.kind is not inspect.Parameter.KEYWORD_ONLY]

    assert positional[1:] == (["destination"] if call == "download_export" else [])


@pytest.mark.parametrize("operation", operations.OPERATIONS)
def test_every_operation_has_its_call(operation: str) -> None:
    """The client's method for an operation takes what the operation takes, and fields of the answer."""
    taken = set(inspect.signature(getattr(asana_jobs.AsanaClient, operation)).parameters) - {"self"}

    assert taken - {"opt_fields"} == set(inspect.signature(operations.OPERATIONS[operation]).parameters)
    assert "opt_fields" in taken


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_modules_list_their_names(module: object) -> None:
    """Each public module has a sorted list of names, all of them there and documented."""
    names: list[str] = list(getattr(module, "__all__", []))

    assert names
    assert sorted(names, key=lambda name: (not name.isupper(), name)) == names or sorted(names) == names
    assert [name for name in names if not hasattr(module, name)] == []


def test_the_module_of_an_exported_class_is_public_or_the_package() -> None:
    """An error in a log is named after the room that users import it from."""
    assert {kind.__module__ for name, kind in vars(errors).items() if name in errors.__all__} == {
        "asana_jobs.errors"
    }


def test_the_test_kit_exports_its_doubles() -> None:
    """The simulator, the clock and the scripted server can be imported from asana_jobs.testing."""
    assert {"AsanaSimulator", "FakeClock", "ScriptedTransport"} <= set(testing.__all__)
    assert testing.__all__ == sorted(testing.__all__, key=lambda name: (name[0].islower(), name))


@pytest.mark.parametrize("name", testing.__all__)
def test_every_name_of_the_test_kit_can_be_imported(name: str) -> None:
    """Each promised name of asana_jobs.testing is there."""
    assert getattr(testing, name) is not None


def test_the_version_is_the_newest_of_the_changelog() -> None:
    """Whoever raises the version says what changed."""
    released = re.findall(r"^## \[(\d[^\]]*)\]", changelog(), re.MULTILINE)

    assert released[0] == asana_jobs.__version__


def test_versions_of_the_changelog_fall() -> None:
    """The newest version comes first, and each has its date."""
    released = re.findall(r"^## \[(\d+)\.(\d+)\.(\d+)\] - \d{4}-\d\d-\d\d$", changelog(), re.MULTILINE)
    numbers = [tuple(map(int, version)) for version in released]

    assert numbers
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == len(re.findall(r"^## \[\d", changelog(), re.MULTILINE))


@pytest.mark.parametrize("name", re.findall(r"`(asana_jobs(?:\.\w+)*)`", changelog()))
def test_names_in_the_changelog_exist(name: str) -> None:
    """What the changelog announces by its full name is there."""
    value: object = asana_jobs
    for part in name.split(".")[1:]:
        if inspect.ismodule(value) and not hasattr(value, part):
            value = importlib.import_module(f"{value.__name__}.{part}")
        else:
            value = getattr(value, part)


def test_the_package_says_that_it_is_typed() -> None:
    """Type checkers read the annotations."""
    assert (PACKAGE / "py.typed").is_file()


def test_the_installed_package_knows_its_version() -> None:
    """What pip shows is what the package says."""
    assert importlib.metadata.version("asana-jobs") == asana_jobs.__version__
