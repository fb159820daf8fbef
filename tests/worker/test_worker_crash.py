"""Workers in processes of their own, killed and stopped: nothing is lost, nothing is done twice."""

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from patience import until
from redis_process import RedisProcess

from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator, Latency
from asana_jobs.worker import JobQueue


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

PROGRAM = Path(__file__).with_name("worker_process.py")


class Fleet:
    """Workers of one queue."""

    def __init__(self, url: str, queue: str, base_url: str) -> None:
        self._arguments = [str(PROGRAM), url, queue, base_url]
        self.workers: list[asyncio.subprocess.Process] = []

    async def add(self, *options: str) -> asyncio.subprocess.Process:
        """Start one more."""
        environment = {**os.environ, "PYTHONWARNINGS": "default"}
        worker = await asyncio.create_subprocess_exec(
            sys.executable, *self._arguments, *options, env=environment, stderr=asyncio.subprocess.DEVNULL
        )
        self.workers.append(worker)
        return worker

    async def end(self) -> None:
        """Kill those that are left."""
        for worker in self.workers:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()


@pytest.fixture
async def fleet(own_redis: RedisProcess, budget: str, simulator: AsanaSimulator) -> AsyncIterator[Fleet]:
    """Workers that end with the test."""
    fleet = Fleet(own_redis.url, budget, simulator.base_url)
    yield fleet
    await fleet.end()


async def outcomes(url: str, queue: str, expected: int, seconds: float) -> Counter[str]:
    """Return how often each wait had a result, reading for a second longer than need be."""
    came: Counter[str] = Counter()
    extra = 1.0
    async with JobQueue(url, queue=queue) as reader:
        try:
            async with asyncio.timeout(seconds) as limit:
                async for result in reader.results():
                    came[result.key] += 1
                    assert result.succeeded, result
                    if len(came) == expected:
                        limit.reschedule(asyncio.get_running_loop().time() + extra)
        except TimeoutError:
            pass
    return came


async def test_a_killed_worker_loses_nothing(
    fleet: Fleet,
    own_redis: RedisProcess,
    budget: str,
    simulator: AsanaSimulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker killed amid its looks loses no wait: another one takes them over, and each has one result."""
    gids = [str(7000 + number) for number in range(12)]
    for gid in gids:
        simulator.add_job(gid, [(0.0, "in_progress"), (3.0, "succeeded")])
    simulator.fail_next(Latency(0.3), times=None, path="/jobs/*")
    async with JobQueue(own_redis.url, queue=budget) as queue:
        for gid in gids:
            await queue.watch(gid)
    victim = await fleet.add()
    await until(lambda: len(simulator.requests) >= 6)
    victim.kill()
    await fleet.add()

    came = await outcomes(own_redis.url, budget, len(gids), 60)

    assert came == dict.fromkeys(gids, 1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_stopped_worker_finishes_its_request(
    fleet: Fleet, own_redis: RedisProcess, budget: str, simulator: AsanaSimulator, number: signal.Signals
) -> None:
    """SIGTERM or SIGHUP during a POST: the answer is awaited and stored, the worker ends well, another one goes on."""
    simulator.fail_next(Latency(0.7), method="POST")
    async with JobQueue(own_redis.url, queue=budget) as queue:
        await queue.enqueue(DuplicateProject("1203", name="Q3"), key="order-17")
    worker = await fleet.add()
    await until(lambda: simulator.requests)
    worker.send_signal(number)
    assert await asyncio.wait_for(worker.wait(), 10) == 0
    assert len(simulator.started) == 1
    await fleet.add()

    assert await outcomes(own_redis.url, budget, 1, 60) == {"order-17": 1}
    assert len(simulator.started) == 1


async def test_redis_may_be_killed(
    fleet: Fleet, own_redis: RedisProcess, budget: str, simulator: AsanaSimulator
) -> None:
    """Redis killed and restarted on its append-only file: every wait ends, and nothing is started twice."""
    keys = [f"copy-{number}" for number in range(6)]
    async with JobQueue(own_redis.url, queue=budget) as queue:
        for key in keys:
            await queue.enqueue(DuplicateProject("1203", name=key), key=key)
    await fleet.add()
    await until(lambda: len(simulator.started) >= 2)
    own_redis.kill()
    await asyncio.sleep(0.5)
    own_redis.start()

    assert await outcomes(own_redis.url, budget, len(keys), 60) == dict.fromkeys(keys, 1)
    assert Counter(job.result["name"] for job in simulator.started if job.result) == dict.fromkeys(keys, 1)
    assert simulator.rejected == 0


async def eight_watched(
    simulator: AsanaSimulator, own_redis: RedisProcess, budget: str, seconds: float
) -> list[str]:
    """Have eight jobs, which end in so many seconds, waited for in the queue."""
    gids = [str(7000 + number) for number in range(8)]
    for gid in gids:
        simulator.add_job(gid, [(0.0, "in_progress"), (seconds, "succeeded")])
    async with JobQueue(own_redis.url, queue=budget) as queue:
        for gid in gids:
            await queue.watch(gid)
    return gids


@pytest.mark.parametrize(
    "wrong",
    [
        "--skew=300",
        pytest.param("--skew=-300", marks=pytest.mark.long),
        pytest.param("--drift=300", marks=pytest.mark.long),
        pytest.param("--drift=-300", marks=pytest.mark.long),
    ],
)
async def test_a_wrong_clock_harms_nothing(
    fleet: Fleet, own_redis: RedisProcess, budget: str, simulator: AsanaSimulator, wrong: str
) -> None:
    """A worker five minutes off, from the start or suddenly, looks no more often than need be, and misses no end."""
    gids = await eight_watched(simulator, own_redis, budget, 7.0)
    await fleet.add(wrong)
    await fleet.add()

    # Whoever waited for a clock that is five minutes off would see nothing within this minute.
    assert await outcomes(own_redis.url, budget, len(gids), 60) == dict.fromkeys(gids, 1)
    assert len(simulator.requests) < 12 * len(gids)


@pytest.mark.long
@pytest.mark.parametrize("wrong", ["--skew=300", "--drift=300"])
async def test_a_wrong_clock_leaves_nothing_for_later(
    fleet: Fleet, own_redis: RedisProcess, budget: str, simulator: AsanaSimulator, wrong: str
) -> None:
    """What a worker five minutes ahead was to look at next is looked at on time by others when it is gone."""
    gids = await eight_watched(simulator, own_redis, budget, 9.0)
    victim = await fleet.add(wrong)
    await until(lambda: simulator.requests)
    await asyncio.sleep(4)  # by then the clock has jumped, and each wait was looked at since
    victim.kill()
    await fleet.add()

    assert await outcomes(own_redis.url, budget, len(gids), 60) == dict.fromkeys(gids, 1)
