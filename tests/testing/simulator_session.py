"""The bare client the simulator is tested with. A conftest would have its name twice in one tree."""

from collections.abc import AsyncIterator

import aiohttp
import pytest_asyncio


@pytest_asyncio.fixture
async def bare_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A bare aiohttp client with a token."""
    async with aiohttp.ClientSession(headers={"Authorization": "Bearer test-token"}) as client:
        yield client
