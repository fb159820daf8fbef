"""A queue whose Redis is locked, full or read by strangers: what its users and workers are told, and what they lose."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from patience import until
from redis_process import RedisProcess

from asana_jobs import AsanaClient, PollPolicy, RateLimits
from asana_jobs.operations import DuplicateTask
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import JobQueue, QueueError, RedisGate, _worker, run_worker
from asana_jobs.worker._redis import AwayError, Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

TOKEN = "1/1201234567890123:0123456789abcdef0123456789abcdef"
LIMITS = RateLimits.paid()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that wants a password."""
    server = RedisProcess(tmp_path / "redis", "--requirepass", "right").start()
    yield server
    server.stop()


async def put(url: str) -> None:
    """Use a queue."""
    async with JobQueue(url) as queue:
        await queue.watch("1204")


async def work(url: str) -> None:
    """Be a worker."""
    await run_worker(url, token=TOKEN)


@pytest.mark.parametrize("use", [put, work])
@pytest.mark.parametrize("password", ["", ":hunter2@", "somebody:hunter2@"])
async def test_a_wrong_password_is_said(
    locked: RedisProcess, use: Callable[[str], Coroutine[Any, Any, None]], password: str
) -> None:
    """A queue and a worker say at once that the password is wrong, or missing, and do not show it."""
    with pytest.raises(QueueError, match="password") as caught:
        await asyncio.wait_for(use(locked.url.replace("redis://", f"redis://{password}")), 5)

    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__cause__)


async def test_the_right_password_opens(locked: RedisProcess, simulator: AsanaSimulator) -> None:
    """With the password in the URL, queue, worker and budget work."""
    url = locked.url.replace("redis://", "redis://:right@")
    async with JobQueue(url) as queue:
        await queue.enqueue(DuplicateTask("1203"), key="order-17")
        worker = asyncio.create_task(run_worker(url, token=TOKEN, base_url=simulator.base_url, limits=LIMITS))
        async with asyncio.timeout(15):
            result = await anext(queue.results())
        worker.cancel()
        await asyncio.wait([worker])

    assert result.succeeded


@pytest.mark.long
async def test_a_full_redis_is_waited_out(
    own_redis: RedisProcess, simulator: AsanaSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis fills up while a worker works: it says so, and goes on when there is memory; nothing is started twice."""
    async with JobQueue(own_redis.url) as queue:
        for number in range(8):
            await queue.enqueue(DuplicateTask("1203"), key=f"order-{number}")
        worker = asyncio.create_task(
            run_worker(own_redis.url, token=TOKEN, base_url=simulator.base_url, limits=LIMITS)
        )
        await until(lambda: len(simulator.started) >= 2)
        own_redis.command("CONFIG", "SET", "maxmemory", "100kb")
        await asyncio.sleep(2)
        own_redis.command("CONFIG", "SET", "maxmemory", "0")
        keys = set[str]()
        async with asyncio.timeout(60):
            async for result in queue.results():
                assert result.succeeded, result
                keys.add(result.key)
                if len(keys) == 8:
                    break
        worker.cancel()
        await asyncio.wait([worker])

    assert len(simulator.started) == 8
    assert "maxmemory" in caplog.text


async def test_a_redis_that_goes_away_is_said_once(
    own_redis: RedisProcess,
    simulator: AsanaSimulator,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One line says that Redis is away and what that means, and one that it is back."""
    monkeypatch.setattr(_worker, "WATCH_SECONDS", 0.05)
    caplog.set_level("INFO", "asana_jobs")
    worker = asyncio.create_task(
        run_worker(own_redis.url, token=TOKEN, base_url=simulator.base_url, limits=LIMITS)
    )
    await until(lambda: "is ready" in caplog.text)
    own_redis.kill()
    await until(lambda: "Until it is back nothing is started" in caplog.text)
    await asyncio.sleep(0.5)
    own_redis.start()
    await until(lambda: "is back after" in caplog.text)
    worker.cancel()
    await asyncio.wait([worker])
    said = [record.getMessage() for record in caplog.records if record.name == "asana_jobs"]

    assert len([line for line in said if "cannot be reached" in line]) == 1
    assert len([line for line in said if "is back after" in line]) == 1


async def test_a_redis_that_is_busy_is_away_for_a_while(own_redis: RedisProcess) -> None:
    """While somebody's script holds it up, Redis refuses all commands with BUSY: that passes."""
    own_redis.command("CONFIG", "SET", "busy-reply-threshold", "1")
    store = Store(own_redis.url)
    await store("PING")
    held = asyncio.create_task(asyncio.to_thread(own_redis.command, "EVAL", "while true do end", "0"))
    await asyncio.sleep(0.1)
    with pytest.raises(AwayError, match="cannot be written to at the moment: BUSY"):
        await store("SET", "a", "b")
    own_redis.command("SCRIPT", "KILL")
    await held

    assert await store("SET", "a", "b")
    await store.close()


async def test_a_worker_on_a_full_redis_says_so(own_redis: RedisProcess, simulator: AsanaSimulator) -> None:
    """A worker that is started on a Redis without memory left ends with an error that says what to do."""
    own_redis.command("CONFIG", "SET", "maxmemory", "100kb")
    with pytest.raises(QueueError, match="maxmemory"):
        await asyncio.wait_for(work(own_redis.url), 5)


async def test_the_token_never_gets_to_the_queue(own_redis: RedisProcess, simulator: AsanaSimulator) -> None:
    """After starts and waits, neither a key nor a value of Redis holds the token, nor does its file."""
    async with (
        JobQueue(own_redis.url) as queue,
        RedisGate(own_redis.url, token=TOKEN, limits=LIMITS) as gate,
        AsanaClient(TOKEN, base_url=simulator.base_url, gate=gate) as asana,
    ):
        simulator.add_job("1204", [(0.0, "in_progress"), (60.0, "succeeded")])
        simulator.fail_next(403, path="/jobs/1205", times=None)
        await queue.watch("1204")
        await queue.watch("1205")
        await queue.enqueue(DuplicateTask("1203"))
        worker = asyncio.create_task(
            run_worker(own_redis.url, token=TOKEN, base_url=simulator.base_url, limits=LIMITS)
        )
        await asana.run(DuplicateTask("1203"))
        results = queue.results()
        async with asyncio.timeout(15):
            await anext(results)
            await anext(results)
        held = await asyncio.to_thread(everything, own_redis)
        worker.cancel()
        await asyncio.wait([worker])
    written = b"".join(path.read_bytes() for path in own_redis.folder.rglob("*") if path.is_file())

    assert "1204" in held
    for secret in (TOKEN, TOKEN.rpartition(":")[2], TOKEN.rpartition("/")[2]):
        assert secret not in held
        assert secret.encode() not in written


def everything(redis: RedisProcess) -> str:
    """Return every key of a Redis and what is in it."""
    read = {
        "string": ["GET"],
        "hash": ["HGETALL"],
        "set": ["SMEMBERS"],
        "zset": ["ZRANGE", "0", "-1", "WITHSCORES"],
        "stream": ["XRANGE", "-", "+"],
        "list": ["LRANGE", "0", "-1"],
    }
    found: list[str] = []
    for key in redis.command("KEYS", "*").split("\r\n"):
        kind = redis.command("TYPE", key).strip("+\r\n") if key and key[0] not in "*$" else "none"
        if kind in read:
            command, *rest = read[kind]
            found += [key, redis.command(command, key, *rest)]
    return "\n".join(found)


@pytest.mark.parametrize("poll", [5, "fast", PollPolicy])
async def test_a_poll_that_is_none_is_refused_before_anything_is_asked(poll: Any) -> None:
    """A worker says at once what to write instead, whether its Redis is there or not."""
    with pytest.raises(
        ValueError, match=r"^poll must be a PollPolicy.*(, not 5|, not 'fast'|: write poll=PollPolicy\(\))"
    ):
        await run_worker("redis://127.0.0.1:1/0", token=TOKEN, poll=poll)


@pytest.mark.parametrize(
    ("operation", "complaint"),
    [
        ([DuplicateTask("1")], "which is several: enqueue_many takes them all$"),
        (DuplicateTask, "the class DuplicateTask itself"),
    ],
)
async def test_a_queue_takes_one_operation_one_job_and_one_name_at_a_time(
    operation: Any, complaint: str
) -> None:
    """Lists are refused with what to do, before Redis is asked."""
    names: Any = ["a", "b"]
    queue = JobQueue("redis://127.0.0.1:1/0")
    with pytest.raises(
        ValueError, match=f"^operation must be one of asana_jobs.operations, not .*{complaint}"
    ):
        await queue.enqueue(operation)
    with pytest.raises(ValueError, match="which is several"):
        await queue.watch(names)
    for call in (queue.result, queue.retry_unknown):
        with pytest.raises(ValueError, match=r"^key must be a short text, not \['a', 'b'\]"):
            await call(names)
    with pytest.raises(ValueError, match=r"^readers must be one name"):
        await anext(queue.results(names))
    await queue.close()
