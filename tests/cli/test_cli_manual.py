"""``asana-jobs help``: pages by topic, and what is said of a topic that there is not."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from command_line import modules_after, run_here

import asana_jobs
from asana_jobs.cli.catalog import COMMANDS
from asana_jobs.cli.manual import TOPICS, contents, read


PACKAGE = Path(asana_jobs.__file__).parent


def test_every_guide_and_every_page_of_the_skill_is_a_topic() -> None:
    """Whatever is written for people to read can be printed, and so can every module that has code on its page."""
    modules = [
        file
        for file in (*PACKAGE.glob("[!_]*.py"), *PACKAGE.glob("[!_]*/__init__.py"))
        if "```" in (ast.get_docstring(ast.parse(file.read_text("utf-8"))) or "")
    ]
    written = {
        str(file.relative_to(PACKAGE))
        for file in (*(PACKAGE / "guides").glob("[!_]*.py"), *(PACKAGE / ".agents").rglob("*.md"), *modules)
    }

    assert written - {*TOPICS.values()} == set()


@pytest.mark.parametrize("topic", TOPICS)
def test_a_page_is_printed_as_it_is_written(topic: str) -> None:
    """Into a pipe comes the Markdown, and nothing but that: no front matter, no path in the package."""
    ended = run_here("help", topic)

    assert (ended.status, ended.stderr) == (0, "")
    assert ended.stdout == f"{read(topic)}\n"
    assert len(ended.stdout) > 500
    assert not ended.stdout.startswith(("---", '"""'))
    assert "references/" not in ended.stdout


def test_pages_name_the_commands_that_print_others() -> None:
    """A reader at a terminal is sent to a command, where the reference has a link."""
    assert "`asana-jobs help limits`" in read("waiting")
    assert "asana_jobs.guides" not in read("waiting")


def test_without_a_topic_they_are_listed() -> None:
    """Each topic with the first sentence of its page."""
    listed = run_here("help", variables={"COLUMNS": "300"}).stdout

    for heading, entries in contents().items():
        assert f"{heading}:" in listed
        for name, summary in entries:
            assert f"  {name} " in listed
            assert summary.split()[0] in listed


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("waitng", "waiting"), ("trouble", "troubleshooting"), ("dowloads", None), ("gett", "get")],
)
def test_an_unknown_topic_names_the_known(typed: str, meant: str | None) -> None:
    """It is wrong usage, and says which pages there are, and which was probably meant."""
    ended = run_here("help", typed)

    assert (ended.status, ended.stdout) == (2, "")
    assert f"there is no page '{typed}'" in ended.stderr
    assert ", ".join(TOPICS) in ended.stderr
    assert ("did you mean" in ended.stderr) == (meant is not None)
    assert meant is None or f"did you mean {meant}?" in ended.stderr


@pytest.mark.parametrize("command", [command.name for command in COMMANDS if command.name not in TOPICS])
def test_a_command_is_a_topic_too(command: str) -> None:
    """``asana-jobs help get`` is ``asana-jobs get --help``, as people expect it."""
    assert run_here("help", command) == run_here(command, "--help")


def test_a_page_needs_no_http_client() -> None:
    """Printing one imports neither aiohttp nor asyncio, nor what it is about."""
    assert modules_after("help", "worker").isdisjoint({"aiohttp", "asyncio", "asana_jobs.worker"})
