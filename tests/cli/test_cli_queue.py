"""``asana-jobs queue`` and ``asana-jobs worker``: what operators see and do, against a Redis and a local Asana."""

from __future__ import annotations

import asyncio
import json
import signal
import urllib.request
from collections.abc import Awaitable, Callable, Generator
from typing import Any

import pytest
from command_line import LocalAsana, end_of, local_asana, run_child, run_here, start_child
from redis_process import RedisProcess, free_port

from asana_jobs.operations import DuplicateProject, DuplicateTask
from asana_jobs.worker import JobQueue


@pytest.fixture
def asana() -> Generator[LocalAsana, None, None]:
    """A local Asana."""
    with local_asana() as running:
        yield running


def use(url: str, action: Callable[[JobQueue], Awaitable[Any]]) -> Any:
    """Do something with the queue of a Redis."""

    async def main() -> Any:
        async with JobQueue(url) as queue:
            return await action(queue)

    return asyncio.run(main())


async def fill(queue: JobQueue) -> None:
    """Put some waits in."""
    await queue.enqueue(DuplicateProject("1203", name="Q3"), key="order-17")
    await queue.enqueue(DuplicateTask("1204"), key="order-18")
    await queue.watch("1205")


@pytest.fixture
def filled(own_redis: RedisProcess) -> str:
    """The URL of a Redis with three waits."""
    use(own_redis.url, fill)
    return own_redis.url


def test_the_status_is_counts_by_state(filled: str) -> None:
    """Without a terminal, the status is one event: waits by state, the oldest, steps, workers, budgets, readers."""
    ended = run_here("queue", "status", "--redis", filled)
    [found] = ended.events

    assert ended.status == 0
    assert (found["v"], found["event"], found["queue"]) == (1, "queue", "default")
    assert (found["starting"], found["watching"], found["due"], found["next_step_in"]) == (2, 1, 3, 0.0)
    assert found["oldest"] <= found["at"]
    assert (found["workers"], found["budgets"], found["readers"], found["ended"]) == ([], [], [], {})


def test_the_status_is_a_table_for_people(filled: str) -> None:
    """As a table it says the same in words, and that nobody works."""
    said = run_here("queue", "status", "--output", "table", "--redis", filled).stdout

    assert "starting 2  watching 1   the oldest for" in said
    assert "no worker has said anything" in said


def test_the_waits_are_listed(filled: str) -> None:
    """Each wait that has not ended is an event, or a row."""
    events = run_here("queue", "list", variables={"ASANA_JOBS_REDIS": filled}).events
    said = run_here("queue", "list", "--output", "table", "--limit", "2", "--redis", filled).stdout

    assert [(event["key"], event["state"], event["gid"]) for event in events] == [
        ("order-17", "starting", None),
        ("order-18", "starting", None),
        ("1205", "watching", "1205"),
    ]
    assert events[0]["operation"]["name"] == "Q3"
    assert "duplicate_project 1203" in said
    assert "1205" not in said
    assert "the first 2; --limit shows more" in said


def test_a_wait_is_cancelled_retried_and_forgotten(filled: str) -> None:
    """A cancelled wait is listed as failed, can be begun anew, and forgotten once it has ended."""
    assert run_here("queue", "cancel", "order-17", "order-18", "--redis", filled).status == 0
    failed = run_here("queue", "failed", "--redis", filled)
    again = run_here("queue", "retry", "order-17", "--redis", filled)
    gone = run_here("queue", "forget", "order-18", "1205", "--output", "table", "--redis", filled)

    assert failed.status == 1
    assert [(event["key"], event["outcome"]) for event in failed.events] == [
        ("order-17", "cancelled"),
        ("order-18", "cancelled"),
    ]
    assert again.events == [
        {"v": 1, "event": "changed", "key": "order-17", "action": "retry", "done": True, "message": None}
    ]
    assert (gone.status, gone.stdout) == (1, "order-18: forgotten\n")
    assert "1205: not forgotten: '1205' has not ended: cancel it first" in gone.stderr
    assert run_here("queue", "retry", "order-19", "--redis", filled).status == 1


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["status", "order-17"], "queue status takes no keys"),
        (["retry"], "queue retry takes the keys of waits, or --every"),
        (["retry", "order-17", "--every"], "queue retry takes the keys of waits, or --every"),
        (["cancel", "--every"], "--every is for queue retry"),
        (["list", "--limit", "0"], "--limit must be at least 1"),
        (["stat"], "stat"),
    ],
)
def test_wrong_usage_is_said(words: list[str], complaint: str) -> None:
    """What cannot be meant is said before Redis is asked."""
    ended = run_here("queue", *words, "--redis", "redis://127.0.0.1:1/0")

    assert ended.status == 2
    assert complaint in ended.stderr


@pytest.mark.parametrize("command", [["worker"], ["queue", "status"]])
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--redis", "localhost:6379"], "not a Redis URL such as redis://localhost:6379/0"),
        (
            ["--redis", "redis://127.0.0.1:1/0", "--queue", "a b"],
            "queue must be a short ASCII name without blanks",
        ),
    ],
)
def test_what_cannot_name_a_queue_is_wrong_usage(
    command: list[str], words: list[str], complaint: str
) -> None:
    """A mistyped address or name is no bug of ours, neither of a worker's nor of who asks how the queue is."""
    ended = run_here(*command, *words)

    assert ended.status == 2
    assert complaint in ended.stderr


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--concurrency", "0"], "--concurrency must be at least 1"),
        (["--requests-per-minute", "0"], "requests_per_minute must be at least 1"),
    ],
)
def test_a_number_that_no_worker_can_do_with_is_wrong_usage(words: list[str], complaint: str) -> None:
    """No work at once, or no requests, is said before anything is connected."""
    ended = run_here("worker", "--redis", "redis://127.0.0.1:1/0", *words)

    assert ended.status == 2
    assert complaint in ended.stderr


def test_a_redis_that_is_not_there_is_said() -> None:
    """A Redis that cannot be reached is one line, and one of advice."""
    ended = run_here("queue", "status", "--redis", "redis://127.0.0.1:1/0")

    assert ended.status == 6
    assert "cannot be reached" in ended.stderr
    assert "what to do: Check that Redis runs" in ended.stderr


def test_a_worker_does_it_and_says_so(filled: str, asana: LocalAsana) -> None:
    """The worker says that it is ready, the status shows it at work, and SIGTERM ends it with 0."""
    port = free_port()
    worker = start_child("worker", "--redis", filled, "--metrics-port", str(port), asana=asana)

    async def ended(queue: JobQueue) -> list[str]:
        async with asyncio.timeout(300):
            return [(await queue.wait(key)).outcome for key in ("order-17", "order-18", "1205")]

    outcomes = use(filled, ended)
    asyncio.run(asyncio.sleep(0.1))
    [status] = run_here("queue", "status", "--redis", filled).events
    said = run_here("queue", "status", "--output", "table", "--redis", filled).stdout
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=300) as answer:  # our own
        metrics = answer.read().decode()
    worker.send_signal(signal.SIGTERM)
    over = end_of(worker)

    assert outcomes == ["succeeded"] * 3
    assert over.status == 0
    assert "is ready: queue 'default' at 127.0.0.1" in over.stderr
    assert (status["starting"], status["watching"], status["ended"]) == (0, 0, {"succeeded": 3})
    [one], [budget] = status["workers"], status["budgets"]
    assert one["budgets"] == [budget["name"]]
    assert (budget["places"], budget["jobs_running"]) == ([], 5)
    assert "0 of 5" in said
    assert "docket_tasks_started" in metrics
    assert "asana_jobs_looks" in metrics


def test_ctrl_c_ends_a_worker_with_130(filled: str, asana: LocalAsana) -> None:
    """As the help says, and in order: the worker signs off."""
    worker = start_child("worker", "--redis", filled, asana=asana)
    asana.wait_for_a_request()
    worker.send_signal(signal.SIGINT)
    over = end_of(worker)

    assert over.status == 130
    assert "has ended" in over.stderr
    assert "Traceback" not in over.stderr


def test_a_refused_token_ends_a_worker_with_4(filled: str, asana: LocalAsana) -> None:
    """With advice, and without having ended a wait."""
    asana.do(lambda simulator: simulator.fail_next(401, times=None))
    over = run_child("worker", "--redis", filled, asana=asana)

    assert over.status == 4
    assert "Asana refuses the token of the budget" in over.stderr
    assert "what to do" in over.stderr
    [status] = run_here("queue", "status", "--redis", filled).events
    assert status["starting"] + status["watching"] == 3


def test_json_is_one_document(filled: str) -> None:
    """With --output json the waits are one list."""
    found = json.loads(run_here("queue", "list", "--output", "json", "--redis", filled).stdout)

    assert [event["key"] for event in found] == ["order-17", "order-18", "1205"]
