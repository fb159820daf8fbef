"""Standard streams that are closed, full, or read by somebody who has gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from command_line import LocalAsana, command, environment, local_asana


if sys.platform == "win32":
    pytest.skip("there is no shell that closes streams", allow_module_level=True)

OUTPUT, ERRORS, INPUT, ALL = ">&-", "2>&-", "<&-", "<&- >&- 2>&-"


@pytest.fixture(scope="module")
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana."""
    with local_asana() as running:
        running.add_job("9", ["failed"])
        yield running


def redirected(
    redirection: str, *arguments: str, asana: LocalAsana, folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end with its streams as the shell's words say."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', *command(*arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=folder,
        env=environment(asana, PYTHONPATH=str(Path(__file__).parents[2])),
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.parametrize("closed", [OUTPUT, ERRORS, INPUT, ALL])
@pytest.mark.parametrize(("gid", "status"), [("1", 0), ("9", 1), ("Q3", 2)])
def test_a_closed_stream_changes_no_exit_status(
    asana: LocalAsana, tmp_path: Path, closed: str, gid: str, status: int
) -> None:
    """A wait ends as it would with open streams, and says on those that are open what it would say."""
    ended = redirected(closed, "wait", gid, asana=asana, folder=tmp_path)

    assert ended.returncode == status
    assert "bug" not in ended.stderr
    if closed in {ERRORS, INPUT} and gid != "Q3":
        assert json.loads(ended.stdout.splitlines()[-1])["exit_status"] == status


@pytest.mark.parametrize("closed", [OUTPUT, ALL])
@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--help"],
        ["--version"],
        ["wait", "--help"],
        ["completion", "bash"],
        ["wait", "1", "--output", "table"],
        ["get", "1"],
        ["start", "rollup-task", "7"],
        ["run", "operations.jsonl"],
        ["export", "graph", "1203", "-o", "e.gz"],
        ["doctor"],
    ],
    ids=" ".join,
)
def test_every_command_ends_well_with_closed_streams(
    asana: LocalAsana, tmp_path: Path, words: list[str], closed: str
) -> None:
    """Whatever is asked for is done, and the status is 0."""
    (tmp_path / "operations.jsonl").write_text('{"kind": "rollup_task", "gid": "7"}\n', encoding="utf-8")

    ended = redirected(closed, *words, asana=asana, folder=tmp_path)

    assert (ended.returncode, ended.stdout, "bug" in ended.stderr) == (0, "", False)


def test_what_is_written_does_not_end_up_in_other_files(asana: LocalAsana, tmp_path: Path) -> None:
    """The ledger of a run does not get the number of a closed stream, and what is written to that."""
    (tmp_path / "operations.jsonl").write_text('{"kind": "rollup_task", "gid": "7"}\n', encoding="utf-8")
    redirected(ALL, "run", "operations.jsonl", asana=asana, folder=tmp_path)

    again = redirected("", "run", "operations.jsonl", asana=asana, folder=tmp_path)

    assert json.loads(again.stdout.splitlines()[-1])["ledger"]["succeeded"] == 1


@pytest.mark.parametrize(
    "words", [["wait", "9"], ["doctor"], ["--help"], ["completion", "fish"]], ids=" ".join
)
def test_a_full_disk_is_6(asana: LocalAsana, tmp_path: Path, words: list[str]) -> None:
    """What cannot be written is trouble with a status of its own, said in two lines before how to go on."""
    ended = redirected(">/dev/full", *words, asana=asana, folder=tmp_path)

    assert ended.returncode == 6
    assert "No space left on device" in ended.stderr
    assert ended.stderr.partition("To go on:")[0].count("\n") == 2


@pytest.mark.parametrize(("after", "status"), [(">/dev/full", 6), ("| true", 141)])
def test_a_job_that_was_started_is_told_all_the_same(
    asana: LocalAsana, tmp_path: Path, after: str, status: int
) -> None:
    """Where the started job cannot be written, standard error has the command that waits for it."""
    ended = subprocess.run(
        ["sh", "-c", f'("$0" "$@"; echo $? >status) {after}', *command("start", "rollup-task", "7")],
        capture_output=True,
        cwd=tmp_path,
        env=environment(asana, PYTHONPATH=str(Path(__file__).parents[2])),
        text=True,
        timeout=300,
        check=False,
    )

    assert int((tmp_path / "status").read_text("utf-8")) == status
    assert ended.stderr.endswith(f"To go on:\n  asana-jobs wait {asana.simulator.started[-1].gid}\n")


def test_errors_that_nobody_can_read_change_nothing(asana: LocalAsana, tmp_path: Path) -> None:
    """A full disk under standard error does not change how a wait ends."""
    assert redirected("2>/dev/full", "wait", "9", asana=asana, folder=tmp_path).returncode == 1
