"""The recipes of the worker's manual, run as they stand but for the addresses of servers."""

import asyncio
import os
import re
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from postgres_process import PostgresProcess
from redis_process import RedisProcess

import asana_jobs.worker
from asana_jobs import DuplicateProject, RateLimits
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import JobQueue, Result, Steps, run_worker


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

RECIPES: list[str] = re.findall(r"```python\n(.*?)```", asana_jobs.worker.__doc__ or "", re.DOTALL)
#: What tells the recipes apart: a test of each is below.
MARKS = ("queue.results()", "fastapi", "aiohttp", "procrastinate", "taskiq")


def recipe(mark: str, **addresses: str) -> str:
    """Return the recipe in which *mark* is found, with other addresses of servers."""
    [found] = [code for code in RECIPES if mark in code]
    for place, url in addresses.items():
        before = {"redis": "redis://localhost/0", "postgresql": "postgresql://localhost/jobs"}[place]
        assert before in found
        found = found.replace(before, url)
    return found


RunRecipe = Callable[[str], Any]


@pytest.fixture
def run_recipe(monkeypatch: pytest.MonkeyPatch) -> RunRecipe:
    """Run a recipe as a module of its own, and return that."""

    def run_recipe(code: str) -> ModuleType:
        module = ModuleType("recipe")
        monkeypatch.setitem(sys.modules, "recipe", module)
        exec(compile(code, "recipe.py", "exec", dont_inherit=True), module.__dict__)  # noqa: S102  # its purpose
        return module

    return run_recipe


@pytest.fixture(autouse=True)
def _asana(simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody whose Asana is a simulator."""
    monkeypatch.setenv("ASANA_BASE_URL", simulator.base_url)
    monkeypatch.setenv("ASANA_ACCESS_TOKEN", "test-token")


@pytest.fixture
def fresh_redis(own_redis: RedisProcess) -> str:
    """A Redis that other tests do not use: recipes have the names of users' things."""
    return own_redis.url


async def run_script(code: str) -> str:
    """Run a script in a process of its own, and return what it prints."""
    script = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-c", code), stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )
    said, _ = await asyncio.wait_for(script.communicate(), 300)
    assert script.returncode == 0
    return said.decode()


def test_every_recipe_is_run() -> None:
    """There is a test below for each block of the manual."""
    assert [[mark in code for mark in MARKS].count(True) for code in RECIPES] == [1] * len(MARKS)


async def test_the_queue(fresh_redis: str, simulator: AsanaSimulator) -> None:
    """With a worker somewhere, the script prints the finished job of what it has enqueued."""
    worker = asyncio.create_task(run_worker(fresh_redis, limits=RateLimits.paid()))
    said = await run_script(recipe("queue.results()", redis=fresh_redis))
    worker.cancel()
    await asyncio.wait([worker])

    assert "order-17" in said
    assert "succeeded" in said
    assert len(simulator.started) == 1


async def test_the_fastapi_application(fresh_redis: str, run_recipe: RunRecipe) -> None:
    """The application answers 202 with the key of the wait, under which the queue knows its operation."""
    app = run_recipe(recipe("fastapi", redis=fresh_redis)).app
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with app.router.lifespan_context(app) as state:
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
        }
        scope |= {"path": "/projects/1203/copies", "raw_path": b"", "query_string": b"name=Q3", "headers": []}
        await app({**scope, "state": dict(state)}, receive, send)

    assert sent[0]["status"] == 202
    key = re.search(rb'"key":"(\w+)"', sent[1]["body"])
    assert key is not None
    async with JobQueue(fresh_redis) as queue:
        assert await queue.result(key[1].decode()) is None


async def test_the_aiohttp_application(
    fresh_redis: str, simulator: AsanaSimulator, run_recipe: RunRecipe
) -> None:
    """The application makes a copy on a shared budget, answers with its gid, and closes everything at its end."""
    app = run_recipe(recipe("aiohttp", redis=fresh_redis)).app
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/projects/1203/copies?name=Q3"
        async with session.post(url) as answer:
            found = await answer.json()
    await runner.cleanup()

    [job] = simulator.started
    assert job.result is not None
    assert found == {"project": job.result["gid"]}


@pytest.fixture
def postgres() -> Iterator[PostgresProcess]:
    """A PostgreSQL that ends with the test."""
    server = PostgresProcess()
    yield server
    server.stop()


async def test_the_procrastinate_task(
    postgres: PostgresProcess, fresh_redis: str, simulator: AsanaSimulator, run_recipe: RunRecipe
) -> None:
    """Two workers start what was enqueued twice once, watch it to its end, and their engine is Procrastinate."""
    module = run_recipe(recipe("procrastinate", postgresql=postgres.url, redis=fresh_redis))
    app = module.app
    async with app.open_async():
        await app.schema_manager.apply_schema_async()
    await module.enqueue()
    await module.enqueue()
    async with app.open_async(), Steps(fresh_redis, limits=RateLimits.paid()) as module.here["steps"]:
        options = {"concurrency": 2, "fetch_job_polling_interval": 0.1, "install_signal_handlers": False}
        workers = [asyncio.create_task(app.run_worker_async(**options)) for _ in range(2)]
        async with JobQueue(fresh_redis, scheduler=module.Procrastinating()) as queue:
            result = await asyncio.wait_for(queue.wait("order-17"), 300)
            [status] = [await queue.status()]
        for worker in workers:
            worker.cancel()
        await asyncio.wait(workers)

    assert result.succeeded
    assert len(simulator.started) == 1
    assert status.ended == {"succeeded": 1}


async def test_steps_of_one_wait_at_once_start_it_once(
    fresh_redis: str, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever an engine repeats, at once and in two processes: there is one POST, and its end is told once."""
    scheduled: list[str] = []

    class Careless:
        async def schedule(self, key: str, *, delay: float = 0.0, returning: bool = False) -> None:
            scheduled.append(key)

    async with (
        JobQueue(fresh_redis, scheduler=Careless()) as queue,
        Steps(fresh_redis, token="t", limits=RateLimits.paid()) as one,
        Steps(fresh_redis, token="t", limits=RateLimits.paid()) as two,
    ):
        await queue.enqueue(DuplicateProject("1203", name="Q3"), key="order-17")
        async with asyncio.timeout(300):
            while await queue.result("order-17") is None:
                await asyncio.gather(*(steps.step("order-17") for steps in (one, two, one, two)))
                await asyncio.sleep(0.2)
        assert [await steps.step("order-17") for steps in (one, two)] == [None, None]
        status = await queue.status()

    assert scheduled == ["order-17"]
    assert len(simulator.started) == 1
    assert status.ended == {"succeeded": 1}


async def test_the_taskiq_task(simulator: AsanaSimulator, run_recipe: RunRecipe) -> None:
    """The task makes a copy with the client of its worker, and returns its gid."""
    module = run_recipe(recipe("taskiq"))
    broker = module.broker
    broker.is_worker_process = True
    await broker.startup()
    task = await module.copy.kiq("1203", "Q3")
    result = await task.wait_result(timeout=300)
    await broker.shutdown()

    result.raise_for_error()
    [job] = simulator.started
    assert job.result is not None
    assert result.return_value == job.result["gid"]


async def test_a_worker_of_ones_own(fresh_redis: str, budget: str, simulator: AsanaSimulator) -> None:
    """A program with handlers is a call of run_worker; it ends when it is cancelled."""
    done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

    async def on_finished(result: Result) -> None:
        done.set_result(result)

    async with JobQueue(fresh_redis, queue=budget) as queue:
        await queue.enqueue(DuplicateProject("1203", name="Q3 launch"), key="order-17")
    worker = asyncio.create_task(
        run_worker(fresh_redis, queue=budget, limits=RateLimits.paid(), on_finished=on_finished)
    )
    result = await asyncio.wait_for(done, 300)
    worker.cancel()
    await asyncio.wait([worker])

    assert result.succeeded
