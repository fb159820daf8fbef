"""The names of waits: any printable text, for one wait each, for as long as is promised."""

import asyncio
from collections import Counter

import pytest
from patience import Working, read
from redis_process import RedisProcess

from asana_jobs.errors import OutcomeUnknownError
from asana_jobs.operations import DuplicateProject, DuplicateTask
from asana_jobs.testing import AsanaSimulator, Reset
from asana_jobs.worker import JobQueue, KeyInUseError, QueueError


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way


@pytest.mark.parametrize("key", ["queue", "stream", "runs:order-17", "workers", "naïve 試 *?[x]", "{queue}"])
async def test_any_printable_text_names_a_wait(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, key: str
) -> None:
    """Waits named as the engine names its own data harm neither themselves nor others: all of them end."""
    for number in range(5):
        await queue.enqueue(DuplicateTask("1203"), key=f"order-{number}")
    await queue.enqueue(DuplicateTask("1203"), key=key)
    simulator.add_job("1204", [(0.0, "in_progress"), (1.0, "succeeded")])
    await queue.watch("1204", key=f"{key} too")
    async with working():
        results = await read(queue, 7)

    named = ["order-0", "order-1", "order-2", "order-3", "order-4", key, f"{key} too"]
    assert Counter(result.key for result in results) == Counter(named)
    assert all(result.succeeded for result in results)


@pytest.mark.parametrize("key", ["", "x" * 201, "a\nb", "\x00", "\ud800", 17])
async def test_what_cannot_be_a_name_is_refused(queue: JobQueue, key: str) -> None:
    """Control characters, half an emoji, numbers and whole texts are no names."""
    with pytest.raises(ValueError, match=r"^key must be a short text"):
        await queue.enqueue(DuplicateTask("1203"), key=key)


async def test_another_operation_under_a_name_is_an_error(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """A name that is in use takes no other operation, neither while its wait is under way nor after its end."""
    await queue.enqueue(
        DuplicateProject("1203", name="Q3", include=["members", "task_notes"]), key="order-17"
    )
    with pytest.raises(KeyInUseError, match=r"'order-17' is the name of another wait.*seven days") as caught:
        await queue.enqueue(DuplicateProject("1203", name="Q4"), key="order-17")
    with pytest.raises(KeyInUseError):
        await queue.watch("1204", key="order-17")
    async with working():
        await read(queue, 1)
    with pytest.raises(KeyInUseError):
        await queue.enqueue(DuplicateTask("1203"), key="order-17")

    assert "forget" in caught.value.advice
    assert len(simulator.started) == 1


async def test_the_same_operation_written_otherwise_is_the_same(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """The order of words is none of Asana's business: it is the same wait, and is started once."""
    for include in (["members", "task_notes"], ["task_notes", "members"], "task_notes,members"):
        await queue.enqueue(DuplicateProject("1203", name="Q3", include=include), key="order-17")
    async with working():
        await read(queue, 1)
        await asyncio.sleep(0.5)

    assert len(simulator.started) == 1


async def test_a_job_is_the_same_by_gid_or_by_token(queue: JobQueue) -> None:
    """A job may be watched once more under its gid, whatever it is handed in as; another job may not."""
    from asana_jobs import AsanaClient

    await queue.watch("1204", key="copy")
    async with AsanaClient("t") as asana:
        waiter = asana.wait_for_job("1204")
        await queue.watch(waiter.continuation_token(), key="copy")
        waiter.close()
    with pytest.raises(KeyInUseError):
        await queue.watch("1205", key="copy")


async def test_a_name_is_free_when_it_is_forgotten(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """A wait that has ended can be forgotten: then its name is free, and what is put in under it is started."""
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    with pytest.raises(QueueError, match="'order-17' has not ended: cancel it first"):
        await queue.forget("order-17")
    async with working():
        await read(queue, 1)
    assert await queue.forget("order-17")
    assert not await queue.forget("order-17")
    await queue.enqueue(DuplicateTask("1204"), key="order-17")
    async with working():
        [result] = await read(queue, 1)

    assert result.operation == DuplicateTask("1204")
    assert len(simulator.started) == 2


async def test_a_name_is_remembered_for_seven_days(queue: JobQueue, working: Working, redis_url: str) -> None:
    """The record of a wait that has ended is gone after a week, and that of one under way never."""
    from asana_jobs.worker._redis import Store

    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    store, record = Store(redis_url), f"asana-jobs:{{{queue.name}}}:wait:order-17"
    before = await store("TTL", record)
    async with working():
        await read(queue, 1)
    after = await store("TTL", record)
    await store.close()

    assert before == -1
    assert 7 * 86400 - 60 < after <= 7 * 86400


async def test_a_wait_of_an_older_version_ends(
    own_redis: RedisProcess, simulator: AsanaSimulator, working: Working, queue: JobQueue, redis_url: str
) -> None:
    """A record without a version, as the first release wrote it, is read, and its operation started."""
    from asana_jobs.worker._redis import Store

    store = Store(redis_url)
    spec = '{"operation":{"kind":"duplicate_task","gid":"1203"}}'
    await store("HSET", f"asana-jobs:{{{queue.name}}}:wait:order-17", "spec", spec)
    await store.close()
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working():
        [result] = await read(queue, 1)

    assert result.succeeded
    assert len(simulator.started) == 1


async def test_a_retry_keeps_the_name(queue: JobQueue, working: Working, simulator: AsanaSimulator) -> None:
    """What is begun anew is the same wait: the same operation is none besides it, and another one an error."""
    simulator.fail_next(Reset(effect=False), method="POST")
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working():
        [result] = await read(queue, 1)
        assert isinstance(result.error, OutcomeUnknownError)
        await queue.retry_unknown("order-17")
        await queue.enqueue(DuplicateTask("1203"), key="order-17")
        with pytest.raises(KeyInUseError):
            await queue.enqueue(DuplicateTask("1204"), key="order-17")
        [result] = await read(queue, 1)

    assert result.succeeded
    assert len(simulator.started) == 1
