"""The recipes of the README, as programs that run."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from asana_jobs import AsanaClient, RateLimits
from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import JobQueue, RedisGate, run_worker


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way


async def test_aiohttp_cleanup_ctx(redis_url: str, budget: str, simulator: AsanaSimulator) -> None:
    """An aiohttp application holds one client on the shared budget for its lifetime."""
    asana = web.AppKey("asana", AsanaClient)

    async def asana_context(app: web.Application) -> AsyncGenerator[None, None]:
        async with (
            RedisGate(redis_url, budget=budget, limits=RateLimits.paid()) as gate,
            AsanaClient("test-token", base_url=simulator.base_url, gate=gate) as client,
        ):
            app[asana] = client
            yield

    async def copy(request: web.Request) -> web.Response:
        job = await request.app[asana].run(
            DuplicateProject(request.match_info["gid"], name=request.query["name"]), timeout=60
        )
        assert job.result is not None
        return web.json_response({"project": job.result.gid})

    app = web.Application()
    app.cleanup_ctx.append(asana_context)
    app.router.add_post("/projects/{gid}/copy", copy)

    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession() as session:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/projects/1203/copy?name=Q3"
        async with session.post(url) as answer:
            assert (await answer.json())["project"].isdigit()
    await runner.cleanup()


async def test_fastapi_lifespan(redis_url: str, budget: str) -> None:
    """A FastAPI application puts operations into the queue, and answers before they are done."""
    fastapi: Any = pytest.importorskip("fastapi")

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncGenerator[None, None]:
        async with JobQueue(redis_url, queue=budget) as queue:
            app.state.queue = queue
            yield

    app = fastapi.FastAPI(lifespan=lifespan)

    async def copy(gid: str, name: str) -> dict[str, str]:
        return {"key": await app.state.queue.enqueue(DuplicateProject(gid, name=name))}

    app.post("/projects/{gid}/copy", status_code=202)(copy)

    async with app.router.lifespan_context(app):
        found = await copy("1203", "Q3")
        assert await app.state.queue.result(found["key"]) is None


async def test_a_worker_of_ones_own(redis_url: str, budget: str, simulator: AsanaSimulator) -> None:
    """A program with handlers is a call of run_worker; it ends when it is cancelled."""
    done: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def on_finished(result: Any) -> None:
        done.set_result(result.job.result.gid)

    async with JobQueue(redis_url, queue=budget) as queue:
        await queue.enqueue(DuplicateProject("1203", name="Q3 launch"), key="order-17")
    worker = asyncio.create_task(
        run_worker(
            redis_url,
            queue=budget,
            token="test-token",
            base_url=simulator.base_url,
            limits=RateLimits.paid(),
            on_finished=on_finished,
        )
    )
    assert (await asyncio.wait_for(done, 15)).isdigit()
    worker.cancel()
    await asyncio.wait([worker])


async def test_a_share_without_any_server(simulator: AsanaSimulator) -> None:
    """Four processes that each take a quarter stay within the limits together, without a server."""
    limits = RateLimits(requests_per_minute=1500, share=1 / 4)
    async with AsanaClient("test-token", base_url=simulator.base_url, limits=limits) as asana:
        assert asana.budget.quota == 375
        job = await asana.duplicate_project("1203", name="Q3")
        assert (await asana.wait_for_job(job)).succeeded
