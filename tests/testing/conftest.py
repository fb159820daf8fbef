from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio

from asana_jobs.testing import AsanaSimulator


@pytest_asyncio.fixture
async def simulator() -> AsyncIterator[AsanaSimulator]:
    """A simulator with its defaults."""
    async with AsanaSimulator() as running:
        yield running


@pytest_asyncio.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A bare aiohttp client with a token."""
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer test-token"}) as client:
        yield client
