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


def test_a_simulator_takes_what_a_container_needs() -> None:
    """`--host` is where it listens, and `--token` and `--strict` what it lets in and knows."""
    child = start_child("simulate", "--host", "localhost", "--token", "a", "--token", "b", "--strict")
    assert child.stdout is not None
    announced = json.loads(child.stdout.readline())
    base_url = announced["base_url"]
    statuses = {
        token: run_here(
            "get", "5", variables={"ASANA_BASE_URL": base_url, "ASANA_ACCESS_TOKEN": token}
        ).status
        for token in "abc"
    }
    child.send_signal(signal.SIGTERM)

    assert announced["base_url"].startswith("http://localhost:")
    assert (statuses, end_of(child).status) == ({"a": 6, "b": 6, "c": 4}, 0)


def test_a_taken_port_is_one_line() -> None:
    """A port that somebody else listens on is wrong usage, told in a line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = run_here("simulate", "--port", str(taken.getsockname()[1]))

    assert ended.status == 2
    assert "cannot listen there" in ended.stderr
