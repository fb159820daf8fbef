"""Budget, queue and worker on a Redis cluster, which takes no command whose keys do not live on one node."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from patience import until
from redis_process import RedisProcess, free_port

from asana_jobs import AsanaClient, RateLimits
from asana_jobs.errors import AsanaJobsError
from asana_jobs.operations import DuplicateTask
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import BudgetUnavailableError, JobQueue, QueueError, RedisGate, run_worker
from asana_jobs.worker._budget_protocol import keys_of


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

LIMITS = RateLimits.paid()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[str]:
    """The URL of a cluster; it has one node, and is as strict about keys as one with many."""
    server = RedisProcess(
        tmp_path / "redis", "--cluster-enabled", "yes", "--cluster-port", str(free_port())
    ).start()
    try:
        server.command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        await until(lambda: "cluster_state:ok" in server.command("CLUSTER", "INFO"))
        yield server.url.replace("redis://", "redis+cluster://")
    finally:
        server.stop()


def test_the_keys_of_a_budget_have_one_tag() -> None:
    """All that is settled in one call is on one node."""
    assert {key[key.index("{") : key.index("}") + 1] for key in keys_of("b17")} == {"{b17}"}


async def test_a_budget_on_a_cluster(cluster: str, simulator: AsanaSimulator) -> None:
    """A bulk run keeps to a budget that a cluster holds."""
    async with (
        RedisGate(cluster, token="t", limits=LIMITS) as gate,
        AsanaClient("t", base_url=simulator.base_url, gate=gate) as asana,
    ):
        copies = [DuplicateTask("1203") for _ in range(3)]
        assert [outcome.error async for outcome in asana.run_all(copies)] == [None] * 3


async def test_a_queue_on_a_cluster(cluster: str, simulator: AsanaSimulator) -> None:
    """Starts and waits in a cluster's queue are done by a worker, and their results are read."""
    simulator.add_job("1204", [(0.0, "in_progress"), (1.0, "succeeded")])
    async with JobQueue(cluster) as queue:
        await queue.watch("1204")
        await queue.enqueue(DuplicateTask("1203"), key="order-17")
        worker = asyncio.create_task(
            run_worker(cluster, token="t", base_url=simulator.base_url, limits=LIMITS)
        )
        results = queue.results()
        async with asyncio.timeout(20):
            found = [await anext(results), await anext(results)]
        worker.cancel()
        await asyncio.wait([worker])

    assert {result.key: result.succeeded for result in found} == {"1204": True, "order-17": True}


@pytest.mark.parametrize("error", [QueueError, BudgetUnavailableError])
async def test_a_cluster_that_is_not_there_is_said(error: type[AsanaJobsError], tmp_path: Path) -> None:
    """A cluster that cannot be reached is a clear error for the queue and for the budget."""
    url = RedisProcess(tmp_path).url.replace("redis://", "redis+cluster://")
    with pytest.raises(error, match="cannot be reached"):
        if error is QueueError:
            await JobQueue(url).open()
        else:
            async with (
                RedisGate(url, token="t", patience=0.1) as gate,
                AsanaClient("t", base_url="http://127.0.0.1:9", gate=gate) as asana,
            ):
                await asana.start(DuplicateTask("1203"))
