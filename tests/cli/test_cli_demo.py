"""``asana-jobs demo`` and ``simulate``: trying it without an account."""

from __future__ import annotations

import json
import signal
import socket
import time

from command_line import end_of, run_child, run_here, start_child


def test_the_demo_succeeds_without_a_token() -> None:
    """The demo ends within 20 seconds with status 0, and shows a watched job, a crash, and nothing done twice."""
    began = time.monotonic()

    ended = run_child("demo")

    assert (ended.status, ended.stderr) == (0, "")
    assert time.monotonic() - began < 20
    expected = (
        "not_started",
        "in_progress",
        "Q3 launch",
        "SIGKILL",
        "60 of 60 succeeded",
        "0 were started twice",
    )
    assert [words for words in expected if words not in ended.stdout] == []


def test_a_simulator_can_be_waited_on() -> None:
    """What `simulate` announces is what another command needs, and Ctrl-C ends it with status 0."""
    child = start_child("simulate", "--duration", "100ms")
    assert child.stdout is not None
    announced = json.loads(child.stdout.readline())
    variables = {"ASANA_BASE_URL": announced["base_url"], "ASANA_ACCESS_TOKEN": announced["token"]}

    waited = run_here("duplicate-task", "5", "--wait", variables=variables)
    child.send_signal(signal.SIGINT)

    assert (waited.status, end_of(child).status) == (0, 0)


def test_a_taken_port_is_one_line() -> None:
    """A port that somebody else listens on is wrong usage, told in a line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_here("simulate", "--port", str(taken.getsockname()[1]))

    assert ended.status == 2
    assert "cannot listen there" in ended.stderr
