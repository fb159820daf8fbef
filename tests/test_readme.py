"""The README: its order, its links, and what it names. tests/test_snippets.py runs its code."""

import inspect
import re
from pathlib import Path

import pytest

from asana_jobs import AsanaClient, errors
from asana_jobs.cli.catalog import COMMANDS
from asana_jobs.operations import OPERATIONS


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


PROSE = re.sub(r"```.*?```", "", README, flags=re.DOTALL)


def test_it_answers_in_the_order_in_which_a_newcomer_asks() -> None:
    """First what it is and how it looks, soon whether it is the right thing, and what only some need at the end."""
    assert re.findall(r"^#+ (.+)$", PROSE, re.MULTILINE) == [
        "asana_jobs",
        "When not to use it",
        "Install",
        "What it starts",
        "Waiting",
        "Many, and never twice",
        "From a terminal",
        "Testing your code",
        "The manual",
    ]


def test_it_is_short() -> None:
    """It is read in minutes: what is longer has a page of the manual."""
    assert len(README.splitlines()) <= 220
    assert len(README.split()) <= 2500
    assert [line for line in README.splitlines() if len(line) > 120] == []


@pytest.mark.parametrize(
    "word",
    [
        *("poll", "polling", "retry", "backoff", "rate limit", "proxy", "timeout", "async", "429"),
        *("instantiate", "roll-up", "save as template", "`opt_fields`", "`with_token`", "`asana` package"),
    ],
)
def test_it_has_the_words_that_people_look_for(word: str) -> None:
    """Who searches for what Asana or others call it finds this page."""
    assert re.search(rf"(?<!\w){re.escape(word)}(?!\w)", " ".join(PROSE.split()), re.IGNORECASE)


def test_every_operation_is_in_the_table_with_its_call_and_its_command() -> None:
    """What can be started is told in one table, whose arguments are some of the call's."""
    rows = re.findall(r"^\| `(\w+)\(([^)]*)\)` \| `([\w -]+)` \|", README, re.MULTILINE)
    commands = {command.name for command in COMMANDS}

    assert [call for call, _, _ in rows] == list(OPERATIONS)
    for call, arguments, command in rows:
        taken = inspect.signature(getattr(AsanaClient, call)).parameters
        keywords = re.findall(r"(\w+)=", arguments)
        assert [name for name in keywords if name not in taken] == []
        assert command == call.replace("_", "-") in commands or f"export_{command.partition(' ')[2]}" == call


def test_every_page_of_the_manual_is_in_the_table() -> None:
    """Who has read this page finds the rest."""
    table = README.partition("## The manual\n")[2]
    guides = {file.stem for file in (ROOT / "asana_jobs" / "guides").glob("*.py")} - {"__init__"}

    assert [name for name in sorted(guides) if f"`asana_jobs.guides.{name}`" not in table] == []
    for room in ("testing", "worker", "events", "errors", "policies", "sync", "progress", "mcp"):
        assert f"`asana_jobs.{room}`" in table


def test_every_error_it_names_exists() -> None:
    """Nobody is told to catch what is never raised."""
    named = set(re.findall(r"\b[A-Z]\w*Error\b", README))

    assert sorted(named - set(errors.__all__)) == []


def test_ci_runs_every_command_of_it() -> None:
    """What a newcomer is told to run is what CI runs: it reads it from the README, where each is in a block."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    in_blocks = [
        line
        for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
        for line in block.splitlines()
    ]

    assert ".ci/readme_commands" in script
    assert all(line.startswith((".venv/", "python3 -m venv", "$ asana-jobs ")) for line in in_blocks)
    for tool in ("asana-jobs demo", "pip install", "pytest -q"):
        assert any(tool in line for line in in_blocks)


def test_its_links_work_wherever_it_is_read() -> None:
    """A package index shows this page without the files beside it: every link is absolute, or to a heading here."""
    links = re.findall(r"\]\(([^)\s]*)\)", PROSE) + re.findall(r"(?:href|src)=\"([^\"]*)\"", PROSE)
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", PROSE, re.MULTILINE)
    }

    assert len(links) > 2
    assert [
        link for link in links if not link.startswith("https://") and link.removeprefix("#") not in headings
    ] == []


@pytest.mark.parametrize("file", re.findall(r"https://[^)\s]*asana-jobs/(?:blob/)?main/([^)\s]*)", README))
def test_its_links_to_files_of_the_project_name_some(file: str) -> None:
    """What is linked under the project's address is there."""
    assert (ROOT / file).is_file()
