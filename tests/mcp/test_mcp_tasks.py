"""Waits as tasks, for clients that take them: the official client with the other half of the extension."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from assistant import Assistant, LoopClock, in_this_process
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, Request, RequestParams, Result
from pydantic import Field

from asana_jobs import AsanaClient, Ledger
from asana_jobs.mcp import make_server
from asana_jobs.testing import AsanaSimulator, SimulatorLimits


TASKS = "io.modelcontextprotocol/tasks"


class Task(Result):
    """What the specification has in a task, as far as a client needs it."""

    result_type: Literal["task"] = Field(default="task", alias="resultType")
    task_id: str = Field(alias="taskId")
    status: str
    created_at: str = Field(alias="createdAt")
    last_updated_at: str = Field(alias="lastUpdatedAt")
    ttl_ms: int | None = Field(alias="ttlMs")
    poll_interval_ms: int | None = Field(default=None, alias="pollIntervalMs")
    status_message: str | None = Field(default=None, alias="statusMessage")


class TaskState(Task):
    """The answer to a question about one."""

    result_type: Literal["complete"] = Field(default="complete", alias="resultType")  # type: ignore[assignment]
    result: CallToolResult | None = None


class AboutTask(RequestParams):
    """Which task is meant."""

    task_id: str = Field(alias="taskId")


class TaskRequest(Request[AboutTask, str]):
    """A request about a task."""

    params: AboutTask


class TakesTasks(ClientExtension):
    """The client's half: it asks for a task as often as it is told to, until it has ended."""

    identifier = TASKS

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.states: list[TaskState] = []

    def claims(self) -> Sequence[ResultClaim[Any]]:
        """Take tasks as answers to calls."""
        return [ResultClaim(result_type="task", model=Task, resolve=self.resolve)]

    async def resolve(self, task: Task, context: ClaimContext) -> CallToolResult:
        """Ask until it has ended."""
        self.tasks.append(task)
        interval = task.poll_interval_ms
        while True:
            assert interval is not None
            await asyncio.sleep(interval / 1000)
            state = await context.session.send_request(about("tasks/get", task.task_id), TaskState)
            self.states.append(state)
            if state.result is not None:
                return state.result
            interval = state.poll_interval_ms


def about(method: str, task_id: str) -> TaskRequest:
    """A request about a task."""
    return TaskRequest(method=method, params=AboutTask(taskId=task_id))


@asynccontextmanager
async def connected(
    simulator: AsanaSimulator, ledger: Path, *extensions: ClientExtension
) -> AsyncGenerator[Assistant]:
    """An assistant whose client has *extensions*."""
    server = make_server(
        lambda: AsanaClient("good-token", base_url=simulator.base_url, clock=LoopClock()), ledger=ledger
    )
    async with in_this_process(lambda: server, *extensions) as assistant:
        yield assistant


def local_asana() -> AsanaSimulator:
    """A local Asana whose jobs take a quarter of an hour."""
    return AsanaSimulator(durations=900.0, limits=SimulatorLimits.unlimited())


async def test_a_wait_is_one_call_for_an_assistant_whose_client_takes_tasks(tmp_path: Path) -> None:
    """Two calls do for a quarter of an hour; the client asks as often as it is told, and the end is written down."""
    client = TakesTasks()
    async with local_asana() as simulator, connected(simulator, tmp_path / "a", client) as assistant:
        started = await assistant.call("duplicate_project", gid="1203", key="q3", name="Q3")
        end = await assistant.call("wait_for_job", job=started["job"])
        listed = await assistant.call("list_runs")
        again = await assistant.call("wait_for_job", job=started["job"])

        assert (end["done"], end["status"], end["makes"]["name"]) == (True, "succeeded", "Q3")
        assert again == end
        assert listed["runs"][0]["state"] == "succeeded"
        assert len(simulator.started) == 1
        assert len(simulator.requests) < 200  # an uncut wait makes 127
    (task,) = client.tasks
    assert (task.status, task.ttl_ms) == ("working", None)
    assert task.status_message == f"job {started['job']} is in_progress"
    assert {(state.task_id, state.created_at) for state in client.states} == {(task.task_id, task.created_at)}
    assert {state.status for state in client.states[:-1]} == {"working"}
    assert client.states[-1].status == "completed"


async def test_a_task_outlives_its_server(tmp_path: Path) -> None:
    """The next server knows the task of the one before."""
    client = TakesTasks()
    async with local_asana() as simulator:
        async with connected(simulator, tmp_path / "a", client) as assistant:
            started = await assistant.call("duplicate_project", gid="1203", key="q3", name="Q3")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(100):
                    await assistant.call("wait_for_job", job=started["job"])
        async with connected(simulator, tmp_path / "a", client) as assistant:
            await asyncio.sleep(900)
            session = assistant.client.session
            state = await session.send_request(about("tasks/get", client.tasks[0].task_id), TaskState)

    assert state.result is not None
    assert (state.status, state.result.structured_content["status"]) == ("completed", "succeeded")
    with Ledger.open(tmp_path / "a") as ledger:
        assert ledger.summary().succeeded == 1


async def test_who_does_not_take_tasks_is_given_none(tmp_path: Path) -> None:
    """A client without the extension waits in parts, and is told what it lacks if it asks for a task."""
    async with local_asana() as simulator, connected(simulator, tmp_path / "a") as assistant:
        started = await assistant.call("duplicate_project", gid="1203", key="q3", name="Q3")
        answer = await assistant.call("wait_for_job", job=started["job"])
        with pytest.raises(MCPError, match="did not declare required extension") as caught:
            await assistant.client.session.send_request(about("tasks/get", "x"), TaskState)

    assert answer["done"] is False
    assert caught.value.code == -32021


async def test_what_is_done_or_wrong_needs_no_task(tmp_path: Path) -> None:
    """A job that has ended is answered at once, and so is what cannot be waited for."""
    client = TakesTasks()
    async with local_asana() as simulator, connected(simulator, tmp_path / "a", client) as assistant:
        simulator.add_job("77", ["succeeded"])
        assert (await assistant.call("wait_for_job", job="77"))["done"]
        assert "must be a string of digits" in await assistant.refused("wait_for_job", job="x")
        assert "job: Field required" in await assistant.refused("wait_for_job")

    assert client.tasks == []


async def test_a_wait_that_becomes_impossible_ends_its_task(tmp_path: Path) -> None:
    """A job that the token may not read any more completes its task with the error that a call would have answered."""
    client = TakesTasks()
    async with local_asana() as simulator, connected(simulator, tmp_path / "a", client) as assistant:
        started = await assistant.call("duplicate_project", gid="1203", key="q3", name="Q3")
        asyncio.get_running_loop().call_later(60, lambda: simulator.fail_next(403, method="GET", times=None))
        said = await assistant.refused("wait_for_job", job=started["job"])

    assert "Use the token that started the job" in said
    assert client.states[-1].status == "completed"


async def test_what_runs_at_asana_is_not_stopped_by_cancelling_its_task(tmp_path: Path) -> None:
    """A cancellation is taken note of, and the task goes on; a task that is none is a wrong argument."""
    client = TakesTasks()
    async with local_asana() as simulator, connected(simulator, tmp_path / "a", client) as assistant:
        started = await assistant.call("duplicate_project", gid="1203", key="q3", name="Q3")
        waiting = asyncio.create_task(assistant.call("wait_for_job", job=started["job"]))
        await asyncio.sleep(60)
        session, task = assistant.client.session, client.tasks[0].task_id
        for method in ("tasks/cancel", "tasks/update"):
            await session.send_request(about(method, task), Result)
        assert (await waiting)["status"] == "succeeded"
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            with pytest.raises(MCPError, match="there is no such task") as caught:
                await session.send_request(about(method, "bm90IGEgdG9rZW4="), Result)
            assert caught.value.code == -32602
