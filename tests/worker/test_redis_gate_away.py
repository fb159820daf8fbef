"""A budget whose Redis is away, locked or full: looks go on slowly, and nothing is started."""

import asyncio
from pathlib import Path

import pytest
from redis_process import RedisProcess

from asana_jobs import RateLimits
from asana_jobs.gates import Priority, Traffic
from asana_jobs.worker import BudgetUnavailableError, RedisGate


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

FAST = RateLimits(requests_per_minute=3000)


async def looks(gate: RedisGate, count: int) -> float:
    """Return the seconds that *count* looks took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(count):
        (await gate.acquire(Traffic.READ, Priority.ROUTINE)).release()
    return loop.time() - began


async def test_looks_go_on_at_the_static_share(own_redis: RedisProcess, budget: str) -> None:
    """While Redis is away, looks go at the share that was set, no faster."""
    async with RedisGate(own_redis.url, budget=budget, limits=FAST, away_share=1 / 10) as gate:
        await looks(gate, 1)
        own_redis.kill()
        took = await looks(
            gate, 10
        )  # 300 a minute, half of them for looks: a burst of 2 or 3, then 2.4 a second

    assert 1.5 < took < 6


async def test_starts_wait_for_redis(own_redis: RedisProcess, budget: str) -> None:
    """A request that starts a job waits while Redis is away, and goes when it is back."""
    async with RedisGate(own_redis.url, budget=budget, limits=FAST) as gate:
        own_redis.kill()
        start = asyncio.create_task(gate.acquire(Traffic.WRITE, Priority.START))
        await asyncio.sleep(0.8)
        assert not start.done()
        own_redis.start()
        (await asyncio.wait_for(start, 3)).release()


async def test_starts_do_not_wait_for_ever(own_redis: RedisProcess, budget: str) -> None:
    """When patience is over, a start that could not be asked about raises, and nothing was sent."""
    async with RedisGate(own_redis.url, budget=budget, limits=FAST, patience=0.5) as gate:
        own_redis.kill()
        with pytest.raises(BudgetUnavailableError, match="cannot be reached"):
            await asyncio.wait_for(gate.acquire(Traffic.WRITE, Priority.START), 4)


async def test_there_is_no_burst_when_redis_comes_back(own_redis: RedisProcess, budget: str) -> None:
    """What went while Redis was away is made up for: nobody bursts when it is back, even if it forgot all."""
    loop = asyncio.get_running_loop()
    async with RedisGate(own_redis.url, budget=budget, limits=FAST) as gate:
        await looks(gate, 1)
        own_redis.kill()
        await looks(gate, 1)
        own_redis.start()
        own_redis.command("FLUSHALL")
        times = list[float]()
        for _ in range(20):
            (await gate.acquire(Traffic.WRITE, Priority.START)).release()
            times.append(loop.time())

    assert times[-1] - times[0] > 0.3


async def test_leases_survive_a_restart(own_redis: RedisProcess, budget: str) -> None:
    """What was in flight when Redis was killed is still counted when it is back."""
    limits = RateLimits(requests_per_minute=3000, writes_in_flight=1)
    async with RedisGate(own_redis.url, budget=budget, limits=limits) as gate:
        held = await gate.acquire(Traffic.WRITE, Priority.START)
        own_redis.kill()
        own_redis.start()
        other = asyncio.create_task(gate.acquire(Traffic.WRITE, Priority.START))
        await asyncio.sleep(0.8)
        assert not other.done()
        held.release()
        (await asyncio.wait_for(other, 2)).release()


async def test_a_wrong_password_is_a_clear_error(tmp_path: Path, budget: str) -> None:
    """A wrong password is said at once, to looks as well, and is not in the message."""
    server = RedisProcess(tmp_path / "redis", "--requirepass", "right").start()
    try:
        url = server.url.replace("redis://", "redis://:hunter2@")
        async with RedisGate(url, budget=budget) as gate:
            with pytest.raises(BudgetUnavailableError, match="password") as caught:
                await gate.acquire(Traffic.READ, Priority.ROUTINE)
    finally:
        server.stop()

    assert "hunter2" not in str(caught.value)


async def test_a_full_redis_keeps_the_budget(tmp_path: Path, budget: str) -> None:
    """A Redis without memory left still decides who may go: what a budget needs does not grow."""
    server = RedisProcess(tmp_path / "redis", "--maxmemory", "100kb").start()
    try:
        async with RedisGate(server.url, budget=budget, patience=0.2) as gate:
            (await gate.acquire(Traffic.WRITE, Priority.START)).release()
    finally:
        server.stop()


async def test_closing_while_redis_is_away_ends(own_redis: RedisProcess, budget: str) -> None:
    """A gate can be closed although Redis is gone."""
    gate = RedisGate(own_redis.url, budget=budget)
    await gate.acquire(Traffic.READ, Priority.FOREGROUND)
    own_redis.kill()

    await asyncio.wait_for(gate.close(), 5)
