"""Every public call under tasks that run at once, until they first wait (Python 3.12 and later)."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from public_calls import CALLS, Family, Place

from asana_jobs import AsanaClient, RateLimits
from asana_jobs.testing import AsanaSimulator, SimulatorLimits


pytestmark = pytest.mark.skipif(sys.version_info < (3, 12), reason="tasks are eager from Python 3.12 on")

#: Virtual seconds after which a call hangs.
TOO_LONG = 1_000


@pytest.mark.parametrize("known", [False, True], ids=["running", "known to be finished"])
@pytest.mark.parametrize("name", CALLS)
async def test_eager_tasks(name: str, known: bool, tmp_path: Path) -> None:
    """A call under an eager task factory ends well, also about a job that is known to be finished."""
    call = CALLS[name]
    gid = "1299" if call.family is Family.FILE else "1203"
    factory: Any = getattr(asyncio, "eager_task_factory")  # noqa: B009  # mypy looks at 3.11
    async with (
        AsanaSimulator(durations=1, limits=SimulatorLimits.unlimited()) as simulator,
        AsanaClient("token", base_url=simulator.base_url, limits=RateLimits.paid()) as client,
    ):
        simulator.add_job("1299", ["succeeded"], kind="export_graph", lines=50)
        asyncio.get_running_loop().set_task_factory(factory)
        if known:
            await client.wait_for_job(gid)
        place = Place(client=client, gid=gid, folder=tmp_path, base_url=simulator.base_url)
        async with asyncio.timeout(TOO_LONG):
            await call.make(place)
        asyncio.get_running_loop().set_task_factory(None)
