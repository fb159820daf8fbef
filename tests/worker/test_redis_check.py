"""What a worker and a queue say of a Redis that cannot be trusted with waits."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from redis_process import RedisProcess

from asana_jobs.operations import DuplicateTask
from asana_jobs.worker import JobQueue, QueueError, Steps
from asana_jobs.worker._redis import Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

Starting = Callable[..., RedisProcess]


@pytest.fixture
async def starting(tmp_path: Path) -> AsyncIterator[Starting]:
    """Start a Redis as the test configures it."""
    servers: list[RedisProcess] = []

    def start(*options: str) -> RedisProcess:
        servers.append(RedisProcess(tmp_path / f"redis-{len(servers)}", *options).start())
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_cache_is_no_queue(starting: Starting, policy: str) -> None:
    """A worker does not begin on a Redis that throws keys away when its memory is full, and says what to do."""
    server = starting("--maxmemory", "50mb", "--maxmemory-policy", policy)
    with pytest.raises(QueueError, match=f"{policy}.*noeviction.*allow_eviction=True"):
        await Steps(server.url, token="t").open()


async def test_a_cache_can_be_taken_all_the_same(
    starting: Starting, caplog: pytest.LogCaptureFixture
) -> None:
    """Who says so may use it, and is warned."""
    server = starting("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    async with Steps(server.url, token="t", allow_eviction=True):
        pass

    assert "throws keys away" in caplog.text


async def test_nothing_is_put_into_a_cache(starting: Starting, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is anything put in there without a worker, unless that is said; looking at it is allowed, without a word."""
    server = starting("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru", "--appendonly", "no")
    async with JobQueue(server.url) as queue:
        with pytest.raises(QueueError, match="throws keys away"):
            await queue.enqueue(DuplicateTask("1203"))
        with pytest.raises(QueueError, match="throws keys away"):
            await queue.watch_many(["1204", "1205"])
        assert (await queue.status()).starting == 0
    async with JobQueue(server.url, allow_eviction=True) as queue:
        await queue.enqueue(DuplicateTask("1203"))
        assert (await queue.status()).starting == 1

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_policy_without_a_limit_harms_nobody(
    starting: Starting, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the memory has no limit nothing is thrown away, whatever the policy says; and all is well without a word."""
    server = starting("--maxmemory-policy", "allkeys-lru")
    async with Steps(server.url, token="t"):
        pass

    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_no_append_only_file_is_warned_of(starting: Starting, caplog: pytest.LogCaptureFixture) -> None:
    """A Redis that a restart empties is said to be that."""
    server = starting("--appendonly", "no")
    async with Steps(server.url, token="t"):
        pass

    assert "no append-only file" in caplog.text


async def test_config_need_not_be_allowed(starting: Starting) -> None:
    """Hosted servers forbid CONFIG: what is to be known is in INFO; and where that is forbidden too, nothing is checked."""
    server = starting("--maxmemory", "50mb", "--maxmemory-policy", "allkeys-lru")
    server.command("ACL", "SETUSER", "guest", "on", ">pw", "~*", "&*", "+@all", "-config")
    server.command("ACL", "SETUSER", "blind", "on", ">pw", "~*", "&*", "+@all", "-config", "-info")
    for user in ("guest", "blind"):
        store = Store(server.url.replace("redis://", f"redis://{user}:pw@"))
        if user == "guest":
            with pytest.raises(QueueError, match="throws keys away"):
                await store.check()
        else:
            await store.check()
        await store.close()


async def test_an_old_version_is_refused(own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Redis that lacks what is needed is said to be too old."""
    store = Store(own_redis.url)

    async def info(section: str) -> dict[str, str]:
        return {"redis_version": "6.0.16"} if section == "server" else {}

    monkeypatch.setattr(store, "info", info)
    with pytest.raises(QueueError, match=r"6\.0\.16: 6\.2 or later"):
        await store.check()
    await store.close()


@pytest.mark.parametrize("steps", range(1, 9))
async def test_a_command_is_cancelled_wherever_it_is(store: Store, steps: int) -> None:
    """No cancellation is swallowed: neither where a command is sent, nor where its answer is read."""
    await store("PING")
    under_way = asyncio.create_task(store("SET", "cancelled", "1", "EX", 1))
    for _ in range(steps):
        await asyncio.sleep(0)

    if under_way.cancel():
        with pytest.raises(asyncio.CancelledError):
            await under_way
    assert await store("PING") in {True, "PONG"}
