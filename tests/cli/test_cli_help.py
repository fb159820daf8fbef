"""Help pages: complete, and there at once."""

from __future__ import annotations

import subprocess
import sys

import pytest
from command_line import modules_after, run_child, run_here
from cyclopts import App

from asana_jobs.cli.catalog import COMMANDS, Command
from asana_jobs.cli.help import paragraphs
from asana_jobs.cli.parser import make_app
from asana_jobs.parameters import INCLUDE_WORDS


every_command = pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)


def test_the_listing_names_every_command() -> None:
    """``asana-jobs --help`` lists each command with its summary."""
    page = run_here("--help", variables={"COLUMNS": "200"}).stdout

    missing = [command.name for command in COMMANDS if f"  {command.name} " not in page]
    assert missing == []


@pytest.mark.parametrize("arguments", [[], ["-h"]], ids=["nothing", "-h"])
def test_other_ways_to_the_listing(arguments: list[str]) -> None:
    """Nothing at all and ``-h`` print the same page as ``--help``."""
    assert run_here(*arguments) == run_here("--help")


@every_command
def test_a_summary_is_the_docstrings(command: Command) -> None:
    """What the listing says about a command is what its own page begins with."""
    assert command.summary in run_here(command.name, "--help").stdout.splitlines()


@every_command
def test_a_page_shows_how_to_type_it(command: Command) -> None:
    """Each command's page has an example that begins like the program."""
    page = run_here(command.name, "--help").stdout

    assert "For example:" in page
    assert f"  asana-jobs {command.name}" in page or f"asana-jobs {command.name} " in page


@every_command
def test_every_option_has_help_and_an_example_of_its_own(command: Command) -> None:
    """No argument and no option goes without, and an option's example holds it: it was not copied from a neighbour."""
    arguments = _app(command).assemble_argument_collection(parse_docstring=True)
    examples = {
        argument.name: (argument.parameter.help or "").partition("Example: ")[2]
        for argument in arguments
        if argument.show
    }

    assert [name for name, example in examples.items() if not example] == []
    assert [name for name, example in examples.items() if name[:2] == "--" and name not in example] == []


@pytest.mark.parametrize("kind", INCLUDE_WORDS)
def test_the_words_of_include_are_listed(kind: str) -> None:
    """The page of a command that copies lists what may be copied along, and so does that of ``start``."""
    for name in (kind.replace("_", "-"), "start"):
        page = " ".join(run_here(name, "--help").stdout.split())

        assert ", ".join(INCLUDE_WORDS[kind]) in page


@pytest.mark.parametrize(
    "arguments", [["--help"], *([command.name, "--help"] for command in COMMANDS)], ids=" ".join
)
def test_help_imports_no_http_client_and_no_loop(arguments: list[str]) -> None:
    """A help page is printed without importing aiohttp, asyncio or the client: they take longer than the page."""
    assert modules_after(*arguments).isdisjoint({"aiohttp", "asyncio", "asana_jobs._client.client"})


@pytest.mark.parametrize("name", ["", *(command.name for command in COMMANDS)])
@pytest.mark.parametrize("columns", [40, 80])
def test_a_page_fits_the_window(name: str, columns: int) -> None:
    """No line but what is to be typed is wider than the window."""
    page = run_here(*name.split(), "--help", variables={"COLUMNS": str(columns)}).stdout

    text = [
        line
        for line in page.splitlines()
        if not line.startswith(("Usage:", "  asana-jobs", "  cat", "  ASANA", "  {"))
    ]
    assert [line for line in text if len(line) > columns and " " in line.strip()] == []


@every_command
def test_an_example_fits_a_small_window(command: Command) -> None:
    """What is to be typed fits in 80 columns, so that it can be copied in one piece."""
    page = run_here(command.name, "--help", variables={"COLUMNS": "80"}).stdout

    assert [line for line in page.splitlines() if "asana-jobs" in line and len(line) > 80] == []


def test_a_paragraph_is_wrapped_as_a_whole() -> None:
    """Where a docstring breaks its lines makes no difference; commands to type stay as they are."""
    text = "It says when it is ready,\nand ends.\n\nFor example:\n\n  asana-jobs wait 1\n  asana-jobs wait 2"

    assert paragraphs(text, 20) == [
        "It says when it is",
        "ready, and ends.",
        "",
        "For example:",
        "",
        "  asana-jobs wait 1",
        "  asana-jobs wait 2",
    ]


def test_a_module_run_is_the_same_program() -> None:
    """``python -m asana_jobs --version`` prints the package's version."""
    from asana_jobs import __version__

    assert run_child("--version").stdout == f"{__version__}\n"


def test_without_the_extra_it_says_what_to_install() -> None:
    """Where cyclopts is missing, one line says what to install, and the status is 2."""
    code = (
        "import sys; sys.modules['cyclopts'] = None\n"
        "import importlib.util as util; find = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'cyclopts' else find(name, *more)\n"
        "from asana_jobs.__main__ import main; sys.exit(main())"
    )

    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )

    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert "pip install 'asana-jobs[cli]'" in ended.stderr


def test_a_misspelt_command_is_wrong_usage() -> None:
    """A command that does not exist exits with 2 and names the nearest one."""
    ended = run_here("wiat", "1")

    assert ended.status == 2
    assert 'Did you mean "wait"?' in ended.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_completion_script_knows_every_command(shell: str) -> None:
    """The completion script of each shell names each command."""
    script = run_here("completion", shell).stdout

    assert [command.name for command in COMMANDS if command.name not in script] == []


def test_a_bug_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unexpected error is told in two lines, with a status of its own and how to see more."""

    def slip(_: str) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("asana_jobs.cli.commands.get.check_gid", slip)

    ended = run_here("get", "1")

    assert (ended.status, ended.stderr.count("\n")) == (70, 2)
    assert "ASANA_JOBS_TRACEBACK=1" in ended.stderr


def _app(command: Command) -> App:
    return make_app()[command.name]
