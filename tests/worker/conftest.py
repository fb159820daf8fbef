"""What tests of queues start from: a queue that no other test uses, and workers in the test's own process."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from patience import Opening, Working

from asana_jobs import RateLimits
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import JobQueue, Steps, run_worker
from asana_jobs.worker._redis import Store


@pytest.fixture
async def queue(redis_url: str, budget: str) -> AsyncIterator[JobQueue]:
    """A queue that no other test uses."""
    async with JobQueue(redis_url, queue=budget) as queue:
        yield queue


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Store]:
    """The Redis of the queue."""
    store = Store(redis_url)
    yield store
    await store.close()


@pytest.fixture
async def opened(redis_url: str, budget: str, simulator: AsanaSimulator) -> AsyncIterator[Opening]:
    """Open the steps of workers of one queue."""
    async with AsyncExitStack() as stack:

        async def open_steps(**options: Any) -> Steps:
            options = {
                "token": "t",
                "budget": budget,
                "limits": RateLimits.paid(),
                "base_url": simulator.base_url,
                **options,
            }
            return await stack.enter_async_context(Steps(redis_url, queue=budget, **options))

        yield open_steps


@pytest.fixture
def working(redis_url: str, budget: str, simulator: AsanaSimulator) -> Working:
    """Make a worker of the queue in the test's own process."""

    @asynccontextmanager
    async def working(**options: object) -> AsyncGenerator[None, None]:
        options = {"limits": RateLimits.paid(), "concurrency": 4, "token": f"token-{budget}", **options}
        worker = asyncio.create_task(
            run_worker(redis_url, queue=budget, base_url=simulator.base_url, **options)  # type: ignore[arg-type]
        )
        try:
            yield
        finally:
            worker.cancel()
            await asyncio.wait([worker])
            if not worker.cancelled():
                worker.result()

    return working
