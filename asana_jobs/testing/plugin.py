"""pytest fixtures: `asana_simulator`, a running `AsanaSimulator`, and `asana_client`, pointed at it.

Loaded in every pytest run of everybody who has `asana_jobs` installed, so it imports next to nothing
before a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from asana_jobs import AsanaClient
    from asana_jobs.testing import AsanaSimulator

try:
    # In strict mode only fixtures made by pytest-asyncio are its own; auto mode takes them as well.
    from pytest_asyncio import fixture
except ImportError:  # pragma: no cover
    # Without it anyio's plugin runs plain async fixtures, and the tests of others are left alone.
    from pytest import fixture  # type: ignore[no-redef]  # noqa: PT013 - one name from two homes


@fixture
async def asana_simulator() -> AsyncIterator[AsanaSimulator]:
    """A local Asana in the test's own event loop: any gid exists, jobs take a second or two."""
    from asana_jobs.testing import AsanaSimulator  # noqa: PLC0415 - see the module's docstring

    async with AsanaSimulator() as simulator:
        yield simulator


@fixture
async def asana_client(asana_simulator: AsanaSimulator) -> AsyncIterator[AsanaClient]:
    """An `AsanaClient` whose Asana is the `asana_simulator` of the same test."""
    from asana_jobs import AsanaClient  # noqa: PLC0415 - see the module's docstring

    async with AsanaClient("test-token", base_url=asana_simulator.base_url) as client:
        yield client
