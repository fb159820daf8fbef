"""Readers of results: each result is read at least once, and by one reader of a group where nobody dies."""

import asyncio
import contextlib
import gc

import pytest
from patience import read

from asana_jobs import Job
from asana_jobs.worker import JobQueue, QueueError, Result, _results
from asana_jobs.worker._records import RESULT_LIFETIME, WaitRecords
from asana_jobs.worker._redis import Store
from asana_jobs.worker._results import write_result


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

JOB = Job(gid="1204", status="succeeded")


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not kept is given to others after half a second, and kept by a sign of life each tenth."""
    monkeypatch.setattr(_results, "RECLAIM_SECONDS", 0.5)
    monkeypatch.setattr(_results, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(_results, "BLOCK_SECONDS", 0.1)


async def put(queue: JobQueue, store: Store, *keys: str) -> None:
    """Have results come in, as a worker does."""
    records = WaitRecords(store, queue.name)
    for key in keys:
        text = write_result(key, None, JOB, None, "succeeded")
        await records.describe({key: "{}"}, start=False)
        mark = (await records.read(key)).mark
        assert await records.finish(key, text, "succeeded", mark=mark) == "done"


async def rest(queue: JobQueue, seconds: float = 1.5) -> list[str]:
    """Return what there is still to be read."""
    found: list[str] = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            async for result in queue.results():
                found.append(result.key)  # noqa: PERF401  # it ends by the timeout
    return found


@pytest.mark.usefixtures("_quick")
async def test_leaving_the_loop_delivers_nothing_twice(queue: JobQueue, store: Store, redis_url: str) -> None:
    """What was read before a `break` comes to nobody else, neither in the same queue nor in another one."""
    await put(queue, store, "one", "two", "three")
    async for result in queue.results():
        assert result.key == "one"
        break
    async with JobQueue(redis_url, queue=queue.name) as other:
        async for result in other.results():
            assert result.key == "two"
            break

    assert await rest(queue) == ["three"]


@pytest.mark.usefixtures("_quick")
async def test_a_result_that_was_asked_for_by_itself_counts_as_read(
    queue: JobQueue, store: Store, redis_url: str
) -> None:
    """So does one that was got with `anext`, when its queue is closed."""
    await put(queue, store, "one", "two")
    async with JobQueue(redis_url, queue=queue.name) as other:
        results = other.results()
        assert (await anext(results)).key == "one"

    assert await rest(queue) == ["two"]


@pytest.mark.usefixtures("_quick")
async def test_a_slow_reader_keeps_what_it_reads(queue: JobQueue, store: Store) -> None:
    """While the body of the loop runs, four times as long as a silent reader has, nobody else gets the result."""
    await put(queue, store, "one")
    seen: list[str] = []
    async for result in queue.results():
        seen.append(result.key)
        seen += await rest(queue, 2.0)
        break

    assert seen == ["one"]
    assert await rest(queue, 1.0) == []


@pytest.mark.usefixtures("_quick")
async def test_what_an_error_keeps_from_being_done_is_anothers(
    queue: JobQueue, store: Store, redis_url: str
) -> None:
    """An error that goes through the queue's `async with` gives the result to another reader, at once."""

    async def fail() -> None:
        async with JobQueue(redis_url, queue=queue.name) as other:
            async for result in other.results():
                raise ZeroDivisionError(result.key)

    await put(queue, store, "one")
    with pytest.raises(ZeroDivisionError, match="one"):
        await fail()

    assert await rest(queue, 1.0) == ["one"]


@pytest.mark.usefixtures("_quick")
async def test_a_cancelled_reader_has_not_read(queue: JobQueue, store: Store, redis_url: str) -> None:
    """So does a task that is cancelled amid the body of its loop."""
    began = asyncio.Event()

    async def reading() -> None:
        async with JobQueue(redis_url, queue=queue.name) as other:
            async for _ in other.results():
                began.set()
                await asyncio.sleep(60)

    await put(queue, store, "one")
    task = asyncio.create_task(reading())
    await began.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await rest(queue, 1.0) == ["one"]


@pytest.mark.usefixtures("_quick")
async def test_what_a_killed_reader_was_reading_is_anothers(queue: JobQueue, store: Store) -> None:
    """A reader that says nothing more for long loses its result to another one."""
    await put(queue, store, "one")
    stream = f"asana-jobs:{{{queue.name}}}:results"
    await store("XGROUP", "CREATE", stream, "readers", "0")
    await store("XREADGROUP", "GROUP", "readers", "killed", "COUNT", 1, "STREAMS", stream, ">")

    assert await rest(queue, 2.0) == ["one"]


async def test_readers_leave_no_name_behind(queue: JobQueue, store: Store) -> None:
    """However many loops there were, the group lists none of them when they are over."""
    await put(queue, store, *(f"order-{number}" for number in range(4)))
    for _ in range(4):
        await read(queue, 1)
    gc.collect()
    await asyncio.sleep(0.3)
    stream = f"asana-jobs:{{{queue.name}}}:results"

    assert await store("XINFO", "CONSUMERS", stream, "readers") == []


async def test_killed_readers_are_forgotten(
    queue: JobQueue, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a reader that was killed while it read nothing is removed by the next one that comes, after an hour."""
    await put(queue, store, "one", "two")
    stream = f"asana-jobs:{{{queue.name}}}:results"
    await store("XGROUP", "CREATE", stream, "readers", "0")
    await store("XGROUP", "CREATECONSUMER", stream, "readers", "killed")
    await read(queue, 1)
    await asyncio.sleep(0.1)
    [still] = await store("XINFO", "CONSUMERS", stream, "readers")
    monkeypatch.setattr(_results, "FORGOTTEN_READER_SECONDS", 0.05)
    await read(queue, 1)
    await asyncio.sleep(0.2)

    assert "killed" in still.values() if isinstance(still, dict) else still
    assert await store("XINFO", "CONSUMERS", stream, "readers") == []


async def test_results_are_kept_for_a_week(queue: JobQueue, store: Store) -> None:
    """The stream of results is cut to the last seven days as results come, whether anybody reads it or not."""
    stream = f"asana-jobs:{{{queue.name}}}:results"
    seconds, _ = await store("TIME")
    for age in (RESULT_LIFETIME + 3600, RESULT_LIFETIME - 3600):
        for number in range(200):  # Redis cuts whole blocks of a hundred
            at = (int(seconds) - age) * 1000 + number
            await store(
                "XADD", stream, f"{at}-0", "result", write_result("old", None, JOB, None, "succeeded")
            )
    await put(queue, store, "new")

    assert await store("XLEN", stream) <= 301  # a block of the old ones may be left


async def test_a_wait_for_one_result(queue: JobQueue, store: Store) -> None:
    """Who waits for one wait gets its result when it has ended, and readers get it all the same."""
    from asana_jobs.operations import DuplicateTask

    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    waiting = asyncio.create_task(queue.wait("order-17"))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    await put(queue, store, "order-17")
    result: Result = await asyncio.wait_for(waiting, 5)
    [same] = await read(queue, 1)

    assert result.succeeded
    assert same.key == result.key == "order-17"
    with pytest.raises(QueueError, match="nothing is known of the wait 'order-18'"):
        await queue.wait("order-18")
