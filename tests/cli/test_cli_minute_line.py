"""Standard error without a terminal: a line a minute, so that nobody takes what takes long for dead."""

from __future__ import annotations

import re
from collections.abc import Generator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from command_line import LocalAsana, local_asana, run_here

from asana_jobs.cli import live_view
from asana_jobs.testing import SlowDrip


_SECONDS = 0.5
_JOBS = re.compile(
    r"asana-jobs: 0 of 1 job finished after (\d+\.\d) s: 1 (?:not_started|in_progress|not seen yet)"
)
_OPERATIONS = "".join(f'{{"kind": "duplicate_project", "gid": "1203", "name": "{n}"}}\n' for n in range(3))


@pytest.fixture(scope="module")
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana whose jobs take several of these minutes."""
    with local_asana(durations=_SECONDS) as running:
        yield running


@pytest.fixture
def minute(monkeypatch: pytest.MonkeyPatch) -> float:
    """A minute that is over in no time."""
    monkeypatch.setattr(live_view, "BETWEEN_LINES", 0.1)
    return 0.1


def test_a_minute_is_a_minute() -> None:
    """What the other tests make shorter is sixty seconds."""
    assert live_view.BETWEEN_LINES == 60


@pytest.mark.usefixtures("minute")
@pytest.mark.parametrize("output", ["auto", "json", "table"])
def test_a_wait_says_each_minute_what_runs_and_how_long(asana: LocalAsana, output: str) -> None:
    """Whatever goes to standard output, standard error counts the jobs and the time."""
    ended = run_here("start", "rollup-task", "7", "--wait", "--output", output, asana=asana)

    told = [_JOBS.fullmatch(line) for line in ended.stderr.splitlines()]
    seconds = [float(line[1]) for line in told if line is not None]
    assert len(seconds) == len(told) >= 2
    assert all(later - earlier >= 0.1 - 0.05 for earlier, later in pairwise(seconds))


@pytest.mark.usefixtures("minute")
def test_a_run_and_its_resume_say_so_too(asana: LocalAsana, tmp_path: Path) -> None:
    """A bulk run counts operations, also those of an earlier run that are over."""
    file, ledger = tmp_path / "operations.jsonl", str(tmp_path / "ledger")
    file.write_text(_OPERATIONS, encoding="utf-8")
    stopped = run_here("run", str(file), "--ledger", ledger, "--timeout", "300ms", asana=asana)

    resumed = run_here("resume", ledger, asana=asana)

    for ended in (stopped, resumed):
        assert re.search(
            r"^asana-jobs: [0-3] of 3 jobs finished after \d\.\d s: \d \w", ended.stderr, re.MULTILINE
        )
    assert (stopped.status, resumed.status) == (3, 0)


@pytest.mark.usefixtures("minute")
def test_an_export_says_how_much_has_come_and_until_when(asana: LocalAsana, tmp_path: Path) -> None:
    """The wait for an export is told of, and so is its download, with the expected end."""
    asana.add_job("9", [(0.0, "in_progress"), (0.4, "succeeded")], kind="export_graph", lines=8_000)
    asana.do(lambda simulator: simulator.fail_next(SlowDrip(0.1, piece=300_000), path="*/download/*"))
    words = ["export", "graph", "1203", "-o", str(tmp_path / "e.gz"), "--job", "9"]

    ended = run_here(*words, asana=asana)

    assert _JOBS.search(ended.stderr)
    told = re.search(
        r"^asana-jobs: e\.gz: \d\.\d MB of \d\.\d MB after \d+\.\d s; probably over at (\d\d:\d\d)$",
        ended.stderr,
        re.MULTILINE,
    )
    assert told is not None
    now = datetime.now().astimezone()
    assert told[1] in {f"{now + timedelta(minutes=minutes):%H:%M}" for minutes in (-1, 0, 1)}


def test_the_expected_end_has_its_day() -> None:
    """What ends tomorrow or later is not told as an hour of today."""
    day = (datetime.now().astimezone() + timedelta(days=2)).strftime("%Y-%m-%d ")

    assert live_view.clock_time(2 * 86400).startswith(day)
