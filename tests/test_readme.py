"""The README's code and commands run as they stand, against a simulator in a process of its own."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asana_jobs import errors


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
#: This section's code needs servers of its own: tests/worker/test_worker_recipes.py runs it.
RECIPES = re.search(r"^## More than one machine\n.*?(?=^## )", README, re.DOTALL | re.MULTILINE)
BLOCKS = re.findall(r"```python\n(.*?)```", README.replace(RECIPES[0] if RECIPES else "", ""), re.DOTALL)
SCRIPTS = [block for block in BLOCKS if "asyncio.run(" in block]
#: pytest's configuration, by the file it is meant for.
CONFIGURATIONS = {
    "pyproject.toml": "".join(re.findall(r"```toml\n(\[tool.pytest.*?)```", README, re.DOTALL)),
    "pytest.ini": "".join(re.findall(r"```ini\n(\[pytest\].*?)```", README, re.DOTALL)),
}
USERS_TESTS = [block for block in BLOCKS if "async def test_" in block]
(COPIES,) = re.findall(r"```csv\n(.*?)```", README, re.DOTALL)
COMMANDS = re.findall(r"^\$ (asana-jobs .+)$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """The environment of somebody whose Asana is a simulator."""
    command = [
        sys.executable,
        "-m",
        "asana_jobs.testing",
        "--output",
        "table",
        "--port",
        "0",
        "--speed",
        "20",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        said = ""
        while "ASANA_ACCESS_TOKEN=" not in said or "ASANA_BASE_URL=" not in said:
            line = simulator.stdout.readline()
            assert line, f"the simulator ended: {said}"
            said += line
        exports = dict(re.findall(r"(ASANA_\w+)=(\S+)", said))
        plain = {name: value for name, value in os.environ.items() if not name.startswith("ASANA_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{plain.get('PATH', '')}"
        yield {**plain, **exports, "PATH": path}
        simulator.terminate()


def test_it_answers_in_the_order_in_which_a_newcomer_asks() -> None:
    """First what it is and how it looks, then how to get it, and what only some need at the end."""
    assert re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", README, flags=re.DOTALL), re.MULTILINE) == [
        "asana_jobs",
        "Install",
        "Waiting",
        "Errors",
        "Limits and the schedule",
        "Starting many",
        "Exports",
        "Testing your code",
        "The command line",
        "More than one machine",
        "Watching it work",
        "Moving from the official SDK",
        "When not to use this",
        "Developing",
    ]


def test_every_file_it_names_is_there() -> None:
    """Where it says what to open, that can be opened."""
    _, _, developing = README.partition("## Developing\n")
    named = set(re.findall(r"`((?:\w+/)*\w+(?:\.py|\.md|/))`", developing))

    assert len(named) > 20
    assert [
        name
        for name in sorted(named)
        if not any(
            (ROOT / room / name).exists()
            for room in ("", "asana_jobs", "asana_jobs/cli", "asana_jobs/_client", "asana_jobs/_client/http")
        )
    ] == []


def test_every_error_it_names_exists() -> None:
    """Nobody is told to catch what is never raised, and every family of errors is in the table."""
    table = README.partition("## Errors\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"\b[A-Z]\w*Error\b", README)) - {"ValueError"}

    assert sorted(named - set(errors.__all__)) == []
    assert {
        kind.__name__ for kind in errors.AsanaJobsError.__subclasses__() if kind.__module__ == errors.__name__
    } - set(re.findall(r"\w+Error", table)) == {"RequestError", "JobError"}, (
        "a family of which only the members are in the table"
    )


def test_every_python_block_is_a_script_or_a_users_test() -> None:
    """No code of the README is left out of this file."""
    assert len(BLOCKS) == len(SCRIPTS) + len(USERS_TESTS)
    assert SCRIPTS
    assert USERS_TESTS
    assert all(CONFIGURATIONS.values())
    assert COMMANDS


@pytest.mark.parametrize("number", range(len(SCRIPTS)))
def test_scripts_run_as_they_stand(number: int, environment: dict[str, str], tmp_path: Path) -> None:
    """A script of the README ends without a word of complaint and prints what it promises."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", SCRIPTS[number]],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    # On a busy machine asyncio says that a turn of its loop took long: that is no complaint about the script.
    complaints = [line for line in done.stderr.splitlines() if not line.startswith("Executing <")]
    assert done.returncode == 0, done.stderr
    assert complaints == []
    assert "succeeded" in done.stdout


@pytest.mark.parametrize("file", CONFIGURATIONS)
@pytest.mark.parametrize("number", range(len(USERS_TESTS)))
def test_a_users_test_passes_with_nothing_but_the_package(number: int, file: str, tmp_path: Path) -> None:
    """The README's test needs no conftest, and the configuration that stands there: the fixtures come with the package."""
    (tmp_path / "test_copy.py").write_text(USERS_TESTS[number], "utf-8")
    (tmp_path / file).write_text(CONFIGURATIONS[file], "utf-8")
    options = ["-W", "error", "-o", "asyncio_default_fixture_loop_scope=function", "--strict-markers"]

    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run_as_they_stand(command: str, environment: dict[str, str], tmp_path: Path) -> None:
    """A command of the README succeeds and prints its result on stdout."""
    (tmp_path / "copies.csv").write_text(COPIES, "utf-8")
    if command.startswith("asana-jobs resume"):
        earlier = next(line for line in COMMANDS if line.startswith("asana-jobs run"))
        subprocess.run(shlex.split(earlier), env=environment, cwd=tmp_path, capture_output=True, check=True)

    done = subprocess.run(
        shlex.split(command),
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_ci_runs_every_command_of_it() -> None:
    """What contributors are told to run is what CI runs: it reads it from the README, where each is in a block."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    in_blocks = [
        line
        for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
        for line in block.splitlines()
    ]

    assert ".ci/readme_commands" in script
    assert all(line.startswith((".venv/", "python3 -m venv", "$ asana-jobs ")) for line in in_blocks)
    for tool in (
        "asana-jobs demo",
        "pip install",
        "ruff format --check",
        "mypy",
        "pyright",
        "pytest -q",
        "-m long",
    ):
        assert any(tool in line for line in in_blocks)


def test_its_links_work_wherever_it_is_read() -> None:
    """A package index shows this page without the files beside it: every link is absolute, or to a heading here."""
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]*)\)", prose) + re.findall(r"(?:href|src)=\"([^\"]*)\"", prose)
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    }

    assert len(links) > 2
    assert [
        link for link in links if not link.startswith("https://") and link.removeprefix("#") not in headings
    ] == []


@pytest.mark.parametrize("file", re.findall(r"https://[^)\s]*asana-jobs/(?:blob/)?main/([^)\s]*)", README))
def test_its_links_to_files_of_the_project_name_some(file: str) -> None:
    """What is linked under the project's address is there."""
    assert (ROOT / file).is_file()
