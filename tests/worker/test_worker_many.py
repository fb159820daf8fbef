"""Many waits at once: put in together, by one task or by hundreds."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from patience import Working, read
from redis_process import RedisProcess

from asana_jobs.operations import DuplicateProject, DuplicateTask, Operation
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import JobQueue, KeyInUseError, QueueError


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way


async def test_hundreds_put_in_at_the_same_moment(queue: JobQueue) -> None:
    """Three hundred tasks that enqueue at once are all served: those for whom there is no connection wait for one."""
    keys = [f"order-{number}" for number in range(300)]
    assert await asyncio.gather(*(queue.enqueue(DuplicateTask("1203"), key=key) for key in keys)) == keys

    assert (await queue.status()).starting == 300
    assert sorted([wait.key async for wait in queue.pending()]) == sorted(keys)


async def test_thousands_are_put_in_by_one_call(own_redis: RedisProcess) -> None:
    """Two and a half thousand operations cost Redis a few calls for each thousand, and none is left out."""
    taken: list[int] = []

    def operations() -> Iterator[Operation]:
        for number in range(2500):
            taken.append(number)
            yield DuplicateTask(str(1000 + number))

    async with JobQueue(own_redis.url) as queue:
        keys = await queue.enqueue_many(operations())
        status = await queue.status()

    assert len(set(keys)) == len(keys) == len(taken) == 2500
    assert (status.starting, status.due) == (2500, 2500)


async def test_what_is_put_in_together_is_started_once_each(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """Under names of one's own, doing it again after a failure halfway starts nothing a second time."""
    operations = {f"order-{number}": DuplicateProject("1203", name=f"Copy {number}") for number in range(6)}
    first = dict(list(operations.items())[:3])
    await queue.enqueue_many(first)
    assert await queue.enqueue_many(operations) == list(operations)
    async with working():
        results = await read(queue, 6, 40)
        await queue.enqueue_many(operations)
        await asyncio.sleep(0.5)

    assert {result.key for result in results} == set(operations)
    assert len(simulator.started) == 6


async def test_jobs_are_watched_together(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """Gids and jobs that are handed in together are watched under their gids, each once."""
    for gid in ("1204", "1205"):
        simulator.add_job(gid, ["succeeded"])
    assert await queue.watch_many(["1204", "1205", "1204"]) == ["1204", "1205"]
    async with working():
        results = await read(queue, 2)

    assert {result.key for result in results} == {"1204", "1205"}


async def test_one_name_in_use_keeps_the_others_in(queue: JobQueue) -> None:
    """Where one of many has a name that is in use, the error names it, and all others are in the queue."""
    await queue.enqueue(DuplicateTask("1203"), key="b")
    with pytest.raises(KeyInUseError, match=r"^'b' is the name of another wait"):
        await queue.enqueue_many({key: DuplicateTask("1204") for key in "abc"})

    assert sorted([wait.key async for wait in queue.pending()]) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("operations", "complaint"),
    [
        (DuplicateTask("1"), r"write enqueue_many\(\[operation\]\)"),
        (["1203"], r"operation must be one of asana_jobs.operations, not '1203'"),
        ([DuplicateTask], "the class DuplicateTask itself"),
        ({"": DuplicateTask("1")}, "^key must be a short text"),
        ([[DuplicateTask("1")]], "give them one by one"),
    ],
)
async def test_what_cannot_be_meant_is_refused(operations: Any, complaint: str) -> None:
    """What are not many operations is refused with what to write, before Redis is asked."""
    queue = JobQueue("redis://127.0.0.1:1/0")
    with pytest.raises(ValueError, match=complaint):
        await queue.enqueue_many(operations)
    with pytest.raises(ValueError, match=r"write watch_many\(\['1203'\]\)"):
        await queue.watch_many("1203")
    await queue.close()


async def test_a_redis_that_goes_away_midway_is_said(own_redis: RedisProcess) -> None:
    """Where it fails, the error says so; nobody is told that all is well."""

    def operations() -> Iterator[Operation]:
        for number in range(2000):
            if number == 1500:
                own_redis.kill()
            yield DuplicateTask("1203")

    async with JobQueue(own_redis.url) as queue:
        with pytest.raises(QueueError, match="1000 waits could not be put into the queue"):
            await queue.enqueue_many(operations())
