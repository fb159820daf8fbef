"""Code and commands of every page run as they stand, against a simulator in a process of its own."""

import ast
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from snippets import PAGES, SNIPPETS, Snippet, simulator_elsewhere, written_in

from asana_jobs.cli.catalog import COMMANDS
from asana_jobs.cli.parser import make_app


#: Pages whose Python needs servers of its own, and the test that runs all of it.
ELSEWHERE = {
    "asana_jobs.worker": "tests/worker/test_worker_recipes.py",
    "asana_jobs.guides.recipes": "tests/test_recipes.py",
}
RUN_ELSEWHERE = {snippet.text for page in ELSEWHERE for snippet in written_in("python", page)}
PYTHON = [snippet for snippet in written_in("python") if snippet.text not in RUN_ELSEWHERE]
SCRIPTS = [snippet for snippet in PYTHON if not snippet.is_test]
USERS_TESTS = [snippet for snippet in PYTHON if snippet.is_test]
#: pytest's configuration, by the file it is meant for.
CONFIGURATIONS = {
    "pyproject.toml": next(found.text for found in written_in("toml") if "[tool.pytest" in found.text),
    "pytest.ini": next(found.text for found in written_in("ini") if "[pytest]" in found.text),
}
TYPED = [
    (snippet, line)
    for snippet in written_in("console")
    for line in snippet.text.splitlines()
    if not line.startswith(("#", ".venv/", "python3 -m venv"))  # CI runs those of the README
]
COMMANDS_TO_RUN = [(snippet, line.removeprefix("$ ")) for snippet, line in TYPED if line.startswith("$ ")]
#: What people read: the pages of Markdown, without their code.
PROSE = {
    page: re.sub(
        r"```\w*\n.*?```",
        "",
        text if page.endswith(".md") else ast.get_docstring(ast.parse(text)) or "",
        flags=re.DOTALL,
    )
    for page, text in PAGES.items()
    if not page.startswith(("asana_jobs._client", "asana_jobs.cli"))
}
#: What comes with the package, and with pytest's plugin.
AT_HAND = {"asana_jobs", "aiohttp", "attrs", "cattrs", "pytest", "tenacity"}


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """The environment of somebody whose Asana is a simulator."""
    with simulator_elsewhere() as environment:
        yield environment


def test_every_block_is_of_a_known_kind() -> None:
    """No code is left out: what is in no language below is prose, or read by a test of its own."""
    kinds = {snippet.language for snippet in SNIPPETS}

    assert kinds == {"python", "console", "csv", "json", "toml", "ini", "yaml", "text"}
    assert len(SCRIPTS) > 25
    assert len(USERS_TESTS) > 2
    assert len(COMMANDS_TO_RUN) > 5


@pytest.mark.parametrize("snippet", written_in("json"), ids=str)
def test_json_is_json(snippet: Snippet) -> None:
    """What is copied into a configuration can be read."""
    assert json.loads(snippet.text)


@pytest.mark.parametrize("snippet", SCRIPTS, ids=str)
def test_scripts_run_as_they_stand(snippet: Snippet, environment: dict[str, str], tmp_path: Path) -> None:
    """A script ends without a word of complaint, and prints something unless it only defines."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", snippet.text],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    # On a busy machine asyncio says that a turn of its loop took long: that is no complaint about the script.
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert done.returncode == 0, done.stderr
    assert complaints == []
    assert bool(done.stdout.strip()) != snippet.only_defines
    assert "Error" not in done.stdout


@pytest.mark.parametrize("file", CONFIGURATIONS)
@pytest.mark.parametrize("snippet", USERS_TESTS, ids=str)
def test_a_users_test_passes_with_nothing_but_the_package(
    snippet: Snippet, file: str, tmp_path: Path
) -> None:
    """It needs no conftest, and the configuration that stands there: the fixtures come with the package."""
    (tmp_path / "test_copy.py").write_text(snippet.text, "utf-8")
    (tmp_path / file).write_text(CONFIGURATIONS[file], "utf-8")
    options = ["-W", "error", "--strict-markers"]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("snippet", "command"), COMMANDS_TO_RUN, ids=str)
def test_commands_run_as_they_stand(
    snippet: Snippet, command: str, environment: dict[str, str], tmp_path: Path
) -> None:
    """A command succeeds and prints its result on stdout; the file it reads stands on the same page."""
    for copies in written_in("csv", snippet.page):
        (tmp_path / "copies.csv").write_text(copies.text, "utf-8")
    if command.startswith("asana-jobs resume"):
        earlier = next(typed for found, typed in COMMANDS_TO_RUN if found is snippet and " run " in typed)
        subprocess.run(shlex.split(earlier), env=environment, cwd=tmp_path, capture_output=True, check=True)

    done = subprocess.run(
        shlex.split(command),
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("line", [line for _, line in TYPED if not line.startswith("$ ")])
def test_what_else_is_typed_can_be(line: str) -> None:
    """A command that is shown without a prompt is one of ours, with options that it has; a variable is one we read."""
    if line.startswith("export "):
        name = line.removeprefix("export ").partition("=")[0]
        assert any(
            f'"{name}"' in text for page, text in PAGES.items() if page.startswith("asana_jobs._client")
        )
        return
    program, *words = shlex.split(line)
    assert program == "asana-jobs"
    make_app().parse_args(words, exit_on_error=False, print_error=False)


@pytest.mark.parametrize("page", sorted(page for page, text in PROSE.items() if "`asana-jobs " in text))
def test_commands_in_the_prose_exist(page: str) -> None:
    """What stands in a sentence, such as `asana-jobs doctor`, begins with a command that there is."""
    known = {command.name for command in COMMANDS} | {"--help", "--version"}
    named = re.findall(r"`asana-jobs ([^\s`]+)", PROSE[page])

    assert [name for name in named if name not in known] == []


@pytest.mark.parametrize("page", sorted(page for page, text in PROSE.items() if "`asana_jobs." in text))
def test_names_in_the_prose_exist(page: str) -> None:
    """What is named in full, such as `asana_jobs.PollPolicy`, can be imported: in the reference it is a link."""
    missing = [name for name in re.findall(r"`(asana_jobs(?:\.\w+)+)`", PROSE[page]) if not is_there(name)]

    assert missing == []


def is_there(name: str) -> bool:
    """Whether a dotted name is a module, or leads to something in one; names of metrics are neither."""
    path, found, rest = name.split("."), None, list[str]()
    while path and found is None:
        try:
            found = importlib.import_module(".".join(path))
        except ModuleNotFoundError:
            rest.insert(0, path.pop())
    for part in rest:
        if not hasattr(found, part):
            return f'"{name}"' in PAGES["asana_jobs._client.telemetry.opentelemetry"]  # a metric
        found = getattr(found, part)
    return True


@pytest.mark.parametrize(
    "snippet", [found for found in written_in("python") if found.page != "README.md"], ids=str
)
def test_what_a_snippet_needs_is_named_beside_it(snippet: Snippet) -> None:
    """A package that does not come with this one stands in a ``pip install`` on the same page."""
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(snippet.text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    named = " ".join(re.findall(r"pip install ([^`\n]*)", PAGES[snippet.page])).replace(
        "opentelemetry-sdk", "opentelemetry"
    )

    needed = imported - AT_HAND - sys.stdlib_module_names
    assert sorted(name for name in needed if name not in named) == []
