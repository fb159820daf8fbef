"""On a terminal: a live view while it runs, a table at the end."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Generator

import pytest
from command_line import LocalAsana, command, environment, local_asana, run_here

from asana_jobs.testing import NotJson


if sys.platform == "win32":
    pytest.skip("there are no pseudo-terminals", allow_module_level=True)

_SECONDS = 0.8


@pytest.fixture(scope="module")
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana whose jobs take long enough to be watched."""
    with local_asana(durations=_SECONDS) as running:
        yield running


@pytest.fixture(scope="module")
def seen(asana: LocalAsana) -> tuple[str, float]:
    """What a terminal receives from a wait, and in how many seconds."""
    return seen_on_a_terminal(asana, "wait", "1")


def seen_on_a_terminal(asana: LocalAsana, *arguments: str, **variables: str) -> tuple[str, float]:
    """Everything a terminal receives from a command, and the seconds from the first to the last of it."""
    ours, theirs = pty.openpty()
    child = subprocess.Popen(
        command(*arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment(asana, LINES="24", **variables),
    )
    os.close(theirs)
    received, began = b"", 0.0
    while chunk := _read(ours):
        began = began or time.monotonic()
        received += chunk
    os.close(ours)
    assert child.wait(300) == 0
    return received.decode(), time.monotonic() - began


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError as error:
        if error.errno != errno.EIO:  # which is how a terminal says that nobody is left on it
            raise
        return b""


def test_it_is_redrawn_at_most_ten_times_a_second(seen: tuple[str, float]) -> None:
    """The live view moves, and is not drawn more often than an eye can follow."""
    text, seconds = seen

    drawings = text.count("of 1 job finished")
    assert 2 <= drawings <= 10 * seconds + 1


def test_it_ends_with_a_table(seen: tuple[str, float]) -> None:
    """The last thing on the screen is the table, and the live view is gone."""
    text, _ = seen

    after_the_view = re.sub(r"\x1b\[\d*m", "", text.rpartition("\x1b[J")[2])
    assert [line.split()[0] for line in after_the_view.split("\r\n") if line] == ["JOB", "1", "1"]


def test_no_color_is_respected(asana: LocalAsana) -> None:
    """With ``NO_COLOR`` the cursor still moves, and nothing is coloured."""
    text, _ = seen_on_a_terminal(asana, "wait", "2", NO_COLOR="1")

    colours = [code for code in re.findall(r"\x1b\[([\d;]*)m", text) if re.search(r"\b[349]\d\b", code)]
    assert colours == []


def test_a_dumb_terminal_gets_plain_lines(asana: LocalAsana) -> None:
    """With ``TERM=dumb`` there is no escape sequence at all."""
    text, _ = seen_on_a_terminal(asana, "wait", "3", TERM="dumb")

    assert "\x1b" not in text
    assert "1 job: 1 succeeded" in text


def test_json_lines_on_a_terminal_stand_alone(asana: LocalAsana) -> None:
    """With ``--output jsonl`` on a terminal no live view is mixed into the lines."""
    text, _ = seen_on_a_terminal(asana, "wait", "4", "--output", "jsonl")

    assert "1 job finished" not in text
    assert "\x1b" not in text


HOSTILE = "x\nforged\r\x1b[31mred\x1b]0;t\x07\u202eabc\u2028\x85[bold red]m[/]\x00\x9b31m"


@pytest.mark.parametrize("output", ["table", "json", "jsonl"])
@pytest.mark.parametrize(
    "answer",
    [
        {"errors": [{"message": HOSTILE, "phrase": HOSTILE}]},
        {"data": {"gid": HOSTILE, "status": "succeeded"}},
        {"data": {"gid": "1203", "status": HOSTILE}},
        {"data": {"gid": "1203", "status": "failed", "new_project": {"gid": "5", "name": HOSTILE}}},
        {"data": {"gid": "1203", "status": "succeeded", "resource_subtype": HOSTILE}},
    ],
)
@pytest.mark.parametrize("word", ["get", "wait"])
def test_no_answer_drives_the_terminal(word: str, answer: dict[str, object], output: str) -> None:
    """Whatever an answer says, what is printed has no control characters, and markup of rich's is text."""
    more = ("--timeout", "0.2") if word == "wait" else ()
    with local_asana() as asana:
        fault = NotJson(400 if "errors" in answer else 200, json.dumps(answer))
        asana.do(lambda simulator: simulator.fail_next(fault, times=None))
        ended = run_here(word, "1203", *more, "--output", output, asana=asana)

    lines = (ended.stdout + ended.stderr).split("\n")
    assert all(line.isprintable() for line in lines)
    assert not any(line.startswith("forged") for line in lines)
    assert "bold red" in ended.stdout + ended.stderr or "gid" in ended.stderr


def test_a_page_of_the_manual_is_set_in_type(asana: LocalAsana) -> None:
    """A terminal gets headings, tables and code as such, within its width; a dumb one gets Markdown."""
    page, _ = seen_on_a_terminal(asana, "help", "waiting", COLUMNS="80")
    plain, _ = seen_on_a_terminal(asana, "help", "waiting", TERM="dumb")

    lines = re.sub(r"\x1b\[[\d;]*m", "", page).splitlines()
    assert "\x1b[" in page
    assert "```" not in page
    assert "| --- |" not in page
    assert max(map(len, lines)) <= 80
    assert "\x1b[" not in plain
    assert "```python" in plain
