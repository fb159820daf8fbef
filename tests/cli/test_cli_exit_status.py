"""Each exit status, through a child process against a local Asana."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Generator

import pytest
from command_line import LocalAsana, command, end_of, environment, local_asana, run_child, start_child

from asana_jobs.testing import Latency


_SLOW_TO_STOP = """
import asyncio
from asana_jobs.cli.program import run_async

async def main():
    print("running", flush=True)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("stopping", flush=True)
        await asyncio.sleep(60)

raise SystemExit(run_async(main))
"""


@pytest.fixture
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana."""
    with local_asana() as running:
        yield running


def test_succeeded_is_0(asana: LocalAsana) -> None:
    """A wait whose jobs all succeed exits with 0."""
    assert run_child("wait", "1", "2", asana=asana).status == 0


def test_a_failed_job_is_1(asana: LocalAsana) -> None:
    """One failed job among succeeded ones makes the status 1."""
    asana.add_job("9", ["in_progress", "failed"])

    assert run_child("wait", "1", "9", asana=asana).status == 1


def test_wrong_usage_is_2() -> None:
    """Text instead of a gid exits with 2, before anything is sent."""
    ended = run_child("wait", "Q3 launch")

    assert ended.status == 2
    assert "a gid is a string of digits" in ended.stderr


def test_a_timeout_is_3(asana: LocalAsana) -> None:
    """A wait that ends before its job exits with 3, and prints the command that goes on."""
    asana.add_job("9", ["in_progress"])

    ended = run_child("wait", "9", "--timeout", "200ms", asana=asana)

    assert ended.status == 3
    assert "asana-jobs wait 9\n" in ended.stderr


def test_no_token_is_4() -> None:
    """Without a token in the environment the status is 4, and the message names the variable."""
    ended = run_child("wait", "1")

    assert ended.status == 4
    assert "ASANA_ACCESS_TOKEN" in ended.stderr


def test_a_wrong_token_is_4() -> None:
    """A token that Asana refuses exits with 4."""
    with local_asana(tokens=["good-token"]) as asana:
        ended = run_child("wait", "1", asana=asana, variables={"ASANA_ACCESS_TOKEN": "bad-token"})

    assert ended.status == 4
    assert "bad-token" not in ended.stdout + ended.stderr


def test_a_missing_permission_is_4(asana: LocalAsana) -> None:
    """A job that Asana refuses to show exits with 4."""
    asana.do(lambda simulator: simulator.fail_next(403, times=None, path="/jobs/*"))

    assert run_child("wait", "1", asana=asana).status == 4


def test_interrupted_is_5_and_says_how_to_go_on(asana: LocalAsana) -> None:
    """Ctrl-C ends a wait with 5, a summary, and the command that waits for the unfinished jobs."""
    asana.add_job("9", ["in_progress"])
    child = start_child("wait", "9", asana=asana)
    assert child.stdout is not None
    first = child.stdout.readline()

    child.send_signal(signal.SIGINT)
    ended = end_of(child, first)

    assert ended.status == 5
    assert ended.summary["resume"] == "asana-jobs wait 9"
    assert ended.stderr.endswith("asana-jobs wait 9\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_stop_like_ctrl_c(asana: LocalAsana, number: signal.Signals) -> None:
    """A CI system that ends a wait, or a terminal that is closed, gets status 5 and the command that goes on."""
    asana.add_job("9", ["in_progress"])
    child = start_child("wait", "9", asana=asana)
    assert child.stdout is not None
    first = child.stdout.readline()

    child.send_signal(number)
    ended = end_of(child, first)

    assert (ended.status, ended.summary["resume"]) == (5, "asana-jobs wait 9")


def test_signals_in_a_row_end_once_and_in_order(asana: LocalAsana) -> None:
    """A terminal that is closed under a service sends SIGHUP, SIGTERM and SIGHUP again: the end is still in order."""
    asana.add_job("9", ["in_progress"])
    child = start_child("wait", "9", asana=asana)
    assert child.stdout is not None
    first = child.stdout.readline()

    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGHUP):
        child.send_signal(number)

    assert end_of(child, first).status == 5


def test_sighup_is_ignored_under_nohup(asana: LocalAsana) -> None:
    """Who starts a wait with SIGHUP ignored, as nohup does, closes the terminal without ending it."""
    asana.add_job("9", ["in_progress", "in_progress", "succeeded"])
    child = subprocess.Popen(
        ["nohup", *command("wait", "9")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(asana),
        text=True,
    )
    assert child.stdout is not None
    first = child.stdout.readline()

    child.send_signal(signal.SIGHUP)

    assert end_of(child, first).status == 0


def test_an_unknown_gid_is_6() -> None:
    """A gid that Asana does not know exits with 6 and one clear line."""
    with local_asana(strict=True) as asana:
        ended = run_child("get", "404", asana=asana)

    assert ended.status == 6
    assert "404" in ended.stderr.splitlines()[0]


def test_no_network_is_6() -> None:
    """An address where nothing listens exits with 6, instead of being waited for."""
    nowhere = {"ASANA_BASE_URL": "http://127.0.0.1:9/api/1.0", "ASANA_ACCESS_TOKEN": "good-token"}

    ended = run_child("wait", "1", variables=nowhere)

    assert ended.status == 6
    assert "no connection could be made" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_without_state_is_130(asana: LocalAsana, number: signal.Signals) -> None:
    """Ctrl-C, SIGTERM or SIGHUP while there is nothing to go on with exits with 130."""
    asana.do(lambda simulator: simulator.fail_next(Latency(30), times=None))
    child = start_child("get", "1", asana=asana)
    asana.wait_for_a_request()

    child.send_signal(number)

    assert end_of(child).status == 130


def test_a_second_ctrl_c_leaves_at_once() -> None:
    """The second Ctrl-C exits with 130, however long the first one's ending takes."""
    child = subprocess.Popen(
        [sys.executable, "-c", _SLOW_TO_STOP], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    child.send_signal(signal.SIGINT)
    child.stdout.readline()

    child.send_signal(signal.SIGINT)

    assert end_of(child).status == 130


def test_a_closed_pipe_ends_quietly(asana: LocalAsana) -> None:
    """When the reader goes away, the command ends without a word and with the shell's status for that."""
    asana.add_job("9", ["in_progress", "in_progress", "succeeded"])
    with start_child("wait", "9", asana=asana) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()

        child.stdout.close()

        assert (child.wait(300), child.stderr.read()) == (141, "")
