"""Frameworks that ask whether a function is a coroutine function await what `wait_for_job` returns."""

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine, MutableMapping
from functools import partial
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from fastapi import BackgroundTasks, FastAPI

import asana_jobs
from asana_jobs import AsanaClient, Job
from asana_jobs.testing import AsanaSimulator


#: From here on `inspect` believes a mark; before, only `asyncio` does.
INSPECT_KNOWS_MARKS = sys.version_info >= (3, 12)

#: What every version of Python has, although the latest would rather have `inspect` asked.
is_coroutine_function = asyncio.iscoroutinefunction  # pyright: ignore[reportDeprecated]

WaitForJob = Callable[..., Coroutine[Any, Any, Job]]


@pytest.fixture
def here(simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch) -> AsanaSimulator:
    """A simulator in this loop, to which the environment points, with a job of three states."""
    monkeypatch.setenv("ASANA_BASE_URL", simulator.base_url)
    monkeypatch.setenv("ASANA_ACCESS_TOKEN", "test-token")
    simulator.add_job("1203", ["not_started", "in_progress", "succeeded"])
    return simulator


@pytest.fixture(params=["method", "function"])
def wait_for_job(request: pytest.FixtureRequest, here: AsanaSimulator, wired: AsanaClient) -> WaitForJob:
    """A client's method, and the module's function."""
    return wired.wait_for_job if request.param == "method" else asana_jobs.wait_for_job


# how it is recognised


#: The method as an attribute of its class and of a client, and the function.
EVERY_SPELLING: list[WaitForJob] = [
    AsanaClient.wait_for_job,
    AsanaClient("test-token").wait_for_job,
    asana_jobs.wait_for_job,
]


@pytest.mark.parametrize("call", EVERY_SPELLING)
def test_asyncio_takes_it_for_a_coroutine_function(call: WaitForJob) -> None:
    """In every version of Python, `asyncio` says that calling it gives a coroutine."""
    assert is_coroutine_function(call)


@pytest.mark.skipif(not INSPECT_KNOWS_MARKS, reason="inspect of Python 3.11 knows `async def` only")
@pytest.mark.parametrize("call", EVERY_SPELLING)
def test_inspect_takes_it_for_a_coroutine_function(call: WaitForJob) -> None:
    """So does `inspect`, of arguments that were bound in advance as well."""
    assert inspect.iscoroutinefunction(call)
    assert inspect.iscoroutinefunction(partial(call, "1203", timeout=60))


@pytest.mark.parametrize("name", ["run_all", "monitor_jobs", "iter_export", "with_token", "close"])
def test_the_other_calls_stay_what_they_are(name: str) -> None:
    """What is iterated is not taken for a coroutine function, and `async def` is one by itself."""
    call = getattr(AsanaClient, name)

    assert is_coroutine_function(call) == (name == "close")
    assert not inspect.isasyncgenfunction(call)


# what frameworks do with it


async def test_background_tasks_of_starlette_wait(here: AsanaSimulator, wait_for_job: WaitForJob) -> None:
    """A background task looks until the job has finished, instead of making a waiter and dropping it."""
    tasks = BackgroundTasks()
    tasks.add_task(wait_for_job, "1203")
    tasks.add_task(partial(wait_for_job, timeout=60), "1203")

    await tasks()

    assert len(here.requests.where(path="/jobs/1203")) >= 3


async def test_a_fastapi_application_answers_and_then_waits(
    here: AsanaSimulator, wait_for_job: WaitForJob
) -> None:
    """An endpoint that leaves the wait to its background tasks answers at once, and the wait is done after."""
    app, looked = FastAPI(), list[int]()

    @app.post("/watch/{gid}")
    async def watch(gid: str, background: BackgroundTasks) -> dict[str, str]:
        background.add_task(wait_for_job, gid)
        return {"watched": gid}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            looked.append(len(here.requests))

    address = {"path": "/watch/1203", "raw_path": b"/watch/1203", "query_string": b"", "root_path": ""}
    await app({"type": "http", "method": "POST", "headers": [], **address}, receive, send)

    assert looked == [0]
    assert len(here.requests.where(path="/jobs/1203")) >= 3


async def test_django_waits_in_a_view_without_async(here: AsanaSimulator, wait_for_job: WaitForJob) -> None:
    """`async_to_sync` in a thread of an application gives the finished job, without a warning."""

    def view() -> Job:
        return async_to_sync(wait_for_job)("1203", timeout=60)

    assert (await sync_to_async(view)()).succeeded


async def test_schedulers_that_ask_asyncio_await_it(here: AsanaSimulator, wait_for_job: WaitForJob) -> None:
    """A scheduler makes a task of what a coroutine function gives, and calls any other function in a thread."""

    async def run_scheduled(function: WaitForJob, *arguments: str) -> object:
        if is_coroutine_function(function):
            return await asyncio.create_task(function(*arguments))
        return await asyncio.to_thread(function, *arguments)

    job = await run_scheduled(wait_for_job, "1203")

    assert isinstance(job, Job)
    assert job.succeeded


async def test_tasks_are_made_of_it_as_before(here: AsanaSimulator, wait_for_job: WaitForJob) -> None:
    """`create_task`, `TaskGroup` and `gather` take what it returns."""
    task = asyncio.create_task(wait_for_job("1203"))
    async with asyncio.TaskGroup() as group:
        grouped = group.create_task(wait_for_job("1203"))
    (gathered,) = await asyncio.gather(wait_for_job("1203"))

    assert [job.status for job in (await task, grouped.result(), gathered)] == ["succeeded"] * 3
