"""Budget, queue and worker where sentinels say which Redis is the master, and make another one when it is gone."""

import asyncio
import contextlib
import gc
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from patience import until
from redis_process import RedisProcess, free_port, require_redis

from asana_jobs import RateLimits
from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import JobQueue, QueueError, RedisGate, run_worker


pytestmark = [pytest.mark.looptime(False), pytest.mark.long]  # noqa: FBT003  # its way


class Sentinel:
    """One sentinel that watches one master, and gives it up after half a second."""

    def __init__(self, folder: Path, master: RedisProcess) -> None:
        self.port = free_port()
        self.url = f"redis+sentinel://127.0.0.1:{self.port}/mymaster/0"
        folder.mkdir()
        file = folder / "sentinel.conf"
        file.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {folder}\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\nsentinel failover-timeout mymaster 3000\n"
        )
        self._process = subprocess.Popen(
            [require_redis(), str(file), "--sentinel"], stdout=subprocess.DEVNULL
        )

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@pytest.fixture
def replica(own_redis: RedisProcess, tmp_path: Path) -> Iterator[RedisProcess]:
    """A replica of `own_redis`."""
    server = RedisProcess(tmp_path / "replica", "--replicaof", "127.0.0.1", str(own_redis.port)).start()
    yield server
    server.stop()


@pytest.fixture
def sentinel(own_redis: RedisProcess, replica: RedisProcess, tmp_path: Path) -> Iterator[Sentinel]:
    """A sentinel that watches over both."""
    sentinel = Sentinel(tmp_path / "sentinel", own_redis)
    yield sentinel
    sentinel.stop()


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """The client library leaves connections to a master that is gone to the garbage collector: here, not in a later test."""
    yield
    gc.collect()


def test_what_is_shown_of_sentinels_holds_no_password() -> None:
    """Where sentinels are is shown; the password of the master is not."""
    gate = RedisGate("redis+sentinel://:hunter2@one:26379,two:26380/mymaster/0", budget="b")

    assert "one:26379,two:26380/mymaster/0" in repr(gate)
    assert "hunter2" not in repr(gate)


def test_a_url_of_sentinels_names_the_master() -> None:
    """Without the name of a master, sentinels cannot be asked, and that is said."""
    with pytest.raises(ValueError, match="by its name"):
        RedisGate("redis+sentinel://one:26379", budget="b")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_failover_loses_nothing(
    sentinel: Sentinel,
    own_redis: RedisProcess,
    replica: RedisProcess,
    budget: str,
    simulator: AsanaSimulator,
) -> None:
    """The master is killed amid starts: its replica takes over, every wait ends, and nothing is started twice."""
    await until(lambda: "state=online" in own_redis.command("INFO", "replication"))
    keys = [f"copy-{number}" for number in range(12)]
    ended = set[str]()
    async with JobQueue(sentinel.url, queue=budget) as queue:
        for key in keys:
            await queue.enqueue(DuplicateProject("1203", name=key), key=key)
        worker = asyncio.create_task(
            run_worker(
                sentinel.url,
                queue=budget,
                token="t",
                base_url=simulator.base_url,
                limits=RateLimits.paid(),
            )
        )
        await until(lambda: len(simulator.started) >= 4)
        await until(lambda: "slave0" in own_redis.command("INFO", "replication"))
        own_redis.kill()
        await until(lambda: "role:master" in replica.command("INFO", "replication"), 30)
    async with asyncio.timeout(60):
        while len(ended) < len(keys):
            with contextlib.suppress(QueueError):  # for as long as there is no master
                async with JobQueue(sentinel.url, queue=budget) as queue:
                    async for result in queue.results():
                        ended.add(result.key)
                        if len(ended) == len(keys):
                            break
            await asyncio.sleep(0.2)
    worker.cancel()
    await asyncio.wait([worker])

    assert Counter(job.result["name"] for job in simulator.started if job.result) == dict.fromkeys(keys, 1)
