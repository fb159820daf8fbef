"""The README: its order, its links, and what it names. tests/test_snippets.py runs its code."""

import re
from pathlib import Path

import pytest

from asana_jobs import errors


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")


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
