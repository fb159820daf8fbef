"""``asana-jobs export``: from a gid to a file on the disk."""

from __future__ import annotations

import gzip
import json
import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from command_line import LocalAsana, end_of, local_asana, run_here, start_child

from asana_jobs.cli.live_view import DownloadView
from asana_jobs.testing import HtmlPage, Latency, SlowDrip


_DOWNLOADS = "*/download/*"
_TASKS = '[{"resource_type": "task"}]'
#: A file is written in blocks of a megabyte; this many lines are more than one.
_LINES = 8_000
_A_BLOCK = 2**20


@pytest.fixture(scope="module")
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana whose exports are over by the first look."""
    with local_asana(durations=0.0) as running:
        yield running


@pytest.mark.parametrize("what", ["graph", "resource", "organization"])
def test_an_export_ends_in_a_file(asana: LocalAsana, tmp_path: Path, what: str) -> None:
    """Each kind of export is started, waited for, and written where ``-o`` says."""
    more = ("--parameters", _TASKS) if what == "resource" else ()
    path = tmp_path / "export.gz"

    ended = run_here("export", what, "1203", "-o", str(path), *more, asana=asana)

    download = next(event for event in ended.events if event["event"] == "download")
    assert (ended.status, download["path"], download["bytes"]) == (0, str(path), path.stat().st_size)
    assert gzip.decompress(path.read_bytes())


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/null", "/proc/self/fd/1", "pipe"])
def test_what_is_no_file_is_not_replaced(
    asana: LocalAsana, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A stream, a device or a pipe is wrong usage: the file would take its place. Nothing is sent."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    asked = len(asana.simulator.requests)

    ended = run_here("export", "graph", "1203", "-o", name, asana=asana)

    assert (ended.status, len(asana.simulator.requests)) == (2, asked)
    assert f"{name} is no file" in ended.stderr


def test_a_page_is_no_export(asana: LocalAsana, tmp_path: Path) -> None:
    """A page that stands in for the file is status 6, and the file of the day before stays."""
    path = tmp_path / "export.json.gz"
    path.write_bytes(b"older")
    asana.do(lambda simulator: simulator.fail_next(HtmlPage(200), path=_DOWNLOADS))

    ended = run_here("export", "graph", "1203", "-o", str(path), asana=asana)

    assert (ended.status, path.read_bytes()) == (6, b"older")
    assert "is no export: it begins with '<html>" in ended.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_people_get_a_line(asana: LocalAsana, tmp_path: Path) -> None:
    """``--output table`` says where the file is and how long it is."""
    path = tmp_path / "export.gz"

    ended = run_here("export", "graph", "1203", "-o", str(path), "--output", "table", asana=asana)

    assert re.fullmatch(rf"{re.escape(str(path))}: \d+\.\d kB\n", ended.stdout)


def test_json_is_one_document(asana: LocalAsana, tmp_path: Path) -> None:
    """``--output json`` holds the job, the file and the summary."""
    ended = run_here("export", "graph", "1203", "-o", str(tmp_path / "x.gz"), "--output", "json", asana=asana)

    document = json.loads(ended.stdout)
    assert (document["job"]["status"], document["exit_status"]) == ("succeeded", 0)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("graph", "1203", "-o", "/nowhere/x.gz"), "there is no folder"),
        (("graph", "1203", "-o", "/"), "is a folder"),
        (("resource", "1203", "-o", "x.gz"), "--parameters"),
        (("graph", "Q3", "-o", "x.gz"), "string of digits"),
        (("graph", "1203", "-o", "x.gz", "--parameters", _TASKS), "takes no --parameters"),
        (("graph", "1203", "-o", "x.gz", "--job", "abc"), "--job"),
        (("graph", "1203"), "-o"),
    ],
)
def test_wrong_arguments_are_refused(arguments: tuple[str, ...], reason: str) -> None:
    """What cannot end in a file is wrong usage, said before an export is started."""
    ended = run_here("export", *arguments)

    assert (ended.status, reason in ended.stderr) == (2, True)


def test_a_failed_export_is_1(tmp_path: Path) -> None:
    """An export that Asana fails exits with 1 and leaves no file."""
    with local_asana(durations=["failed"]) as asana:
        ended = run_here(
            "export", "graph", "1203", "-o", str(tmp_path / "x.gz"), "--output", "table", asana=asana
        )

    assert (ended.status, list(tmp_path.iterdir())) == (1, [])
    assert "Asana gives no reason" in ended.stderr


def test_a_timeout_is_3_and_can_be_gone_on_with(tmp_path: Path) -> None:
    """When waiting is over, the command that is printed goes on with the same export."""
    with local_asana(durations=["in_progress", "in_progress", "succeeded"]) as asana:
        path = tmp_path / "a file.gz"
        timed_out = run_here("export", "organization", "1203", "-o", str(path), "--timeout", "0", asana=asana)
        resumed = run_here(*shlex.split(timed_out.summary["resume"])[1:], asana=asana)

    assert (timed_out.status, resumed.status, path.exists(), len(asana.posts())) == (3, 0, True, 1)


def test_a_lost_start_is_6(tmp_path: Path) -> None:
    """A refusal ends with the API's status and one clear line."""
    with local_asana(strict=True) as asana:
        ended = run_here("export", "graph", "404", "-o", str(tmp_path / "x.gz"), asana=asana)

    assert (ended.status, ended.summary["total"]) == (6, 0)


def test_ctrl_c_during_the_start_is_130(tmp_path: Path) -> None:
    """Ctrl-C while Asana is asked to start an export says that it may be running."""
    with local_asana() as asana:
        asana.do(lambda simulator: simulator.fail_next(Latency(after=30)))
        child = start_child("export", "graph", "1203", "-o", str(tmp_path / "x.gz"), asana=asana)
        asana.wait_for_a_request()
        child.send_signal(signal.SIGINT)
        ended = end_of(child)

    assert (ended.status, "it may be running" in ended.stderr) == (130, True)


def in_the_middle(asana: LocalAsana, path: Path, gid: str) -> subprocess.Popen[str]:
    """A command that has written a part of an export's file."""
    asana.add_job(gid, ["succeeded"], kind="export_graph", lines=_LINES)
    asana.do(lambda simulator: simulator.fail_next(SlowDrip(0.1, piece=200_000), path=_DOWNLOADS))
    child = start_child("export", "graph", "1203", "-o", str(path), "--job", gid, asana=asana)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if any(part.stat().st_size >= _A_BLOCK for part in path.parent.glob(".*.part")):
            return child
        time.sleep(0.01)
    raise AssertionError("nothing was written")


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 5), (signal.SIGHUP, 5)],
    ids=["SIGKILL", "Ctrl-C", "SIGHUP"],
)
def test_a_download_goes_on_where_it_stopped(
    asana: LocalAsana, tmp_path: Path, number: signal.Signals, status: int
) -> None:
    """After SIGKILL, Ctrl-C or SIGHUP, ``--job`` with the same file asks only for the bytes that are missing."""
    path, gid = tmp_path / "export.gz", str(77 + number)
    child = in_the_middle(asana, path, gid)
    child.send_signal(number)
    interrupted = end_of(child)

    ended = run_here("export", "graph", "1203", "-o", str(path), "--job", gid, asana=asana)

    assert (interrupted.status, ended.status) == (status, 0)
    asked = asana.simulator.downloads[-1].headers["range"]
    assert int(asked.removeprefix("bytes=").rstrip("-")) >= _A_BLOCK
    assert len(gzip.decompress(path.read_bytes()).splitlines()) == _LINES
    assert [file.name for file in tmp_path.iterdir()] == ["export.gz"]


def shown(done: int, total: int | None, width: int) -> list[str]:
    """What is drawn after two seconds, in which all but half a megabyte has come."""
    view = DownloadView("launch.jsonl.gz", 0.0)
    view.progress(500_000, total)
    view.progress(done, total)
    return [line.plain for line in view.lines(2.0, width, None)]


def test_the_bar() -> None:
    """The view of a download says how much has come, how fast, and when it will be over."""
    (line,) = shown(2_500_000, 4_500_000, 79)

    assert line.startswith("launch.jsonl.gz   ━")
    assert line.endswith("2.5 MB of 4.5 MB   1.0 MB/s, about 2.0 s left")


@pytest.mark.parametrize("width", [20, 39, 60, 79, 200])
@pytest.mark.parametrize("total", [None, 4_500_000])
def test_the_bar_fits(width: int, total: int | None) -> None:
    """No line of it is wider than the window, unless the window is narrower than its words."""
    assert max(len(line) for line in shown(2_500_000, total, width)) <= max(width, 30)
