"""No job is started twice: whoever is late, stopped or cut off, and whatever Redis forgets. The simulator counts."""

import asyncio
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from patience import Opening, until
from redis_process import RedisProcess

from asana_jobs import RateLimits
from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator, Status
from asana_jobs.worker import JobQueue, QueueError, Result, Steps, _fence, _redis, _steps, run_worker
from asana_jobs.worker._budget_protocol import keys_of
from asana_jobs.worker._redis import AwayError, Script, Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

COPY = DuplicateProject("1203", name="Q3")
LIMITS = RateLimits.paid()


async def finished(steps: Steps, queue: JobQueue, key: str, seconds: float = 300.0) -> Result:
    """Make the steps of a wait until it has ended."""
    async with asyncio.timeout(seconds):
        while (again := await steps.step(key)) is not None:  # noqa: ASYNC110  # it is what an engine does
            await asyncio.sleep(min(again.delay, 0.1))
    result = await queue.result(key)
    assert result is not None
    return result


async def cut_off(
    steps: Steps, monkeypatch: pytest.MonkeyPatch, error: type[Exception] = AwayError
) -> asyncio.Event:
    """Have a worker's answers not get to Redis, until the event is set."""
    healed = asyncio.Event()
    run = steps.store.run_replicated

    async def cut(script: Script, keys: list[str], *arguments: Any) -> Any:
        if script is _fence.STARTED_SCRIPT and not healed.is_set():
            raise error("cut off")
        return await run(script, keys, *arguments)

    monkeypatch.setattr(steps.store, "run_replicated", cut)
    monkeypatch.setattr(_redis, "REWRITE_SECONDS", 0.02)
    return healed


async def doubted(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> tuple[Steps, asyncio.Event, asyncio.Task[object]]:
    """Have a start end as unknown for all but its starter: the others' steps, what lets that one talk, and its own step."""
    monkeypatch.setattr(_steps, "DOUBT_SECONDS", 0.3)
    slow, other = await opened(), await opened()
    healed = await cut_off(slow, monkeypatch)
    await queue.enqueue(COPY, key="order-17")
    starting: asyncio.Task[object] = asyncio.create_task(slow.step("order-17"))
    await until(lambda: simulator.started)
    await asyncio.sleep(1)
    assert (await finished(other, queue, "order-17")).unknown
    return other, healed, starting


async def test_a_job_that_turns_up_late_is_gone_on_with(
    opened: Opening,
    queue: JobQueue,
    simulator: AsanaSimulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A worker was cut off with the answer, and its start ended as unknown: what is retried is that job, not another."""
    other, healed, starting = await doubted(opened, queue, simulator, monkeypatch)

    healed.set()
    await starting
    await queue.retry_unknown("order-17")
    result = await finished(other, queue, "order-17")

    assert result.succeeded
    assert len(simulator.started) == 1
    assert "turned up late" in caplog.text


@pytest.mark.parametrize("error", [AwayError, QueueError])
async def test_a_job_that_cannot_be_written_down_is_named(  # noqa: PLR0917  # fixtures
    opened: Opening,
    queue: JobQueue,
    simulator: AsanaSimulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[Exception],
) -> None:
    """A worker that ends while Redis is away, or whose password is refused meanwhile, says which job was started."""
    steps = await opened()
    await cut_off(steps, monkeypatch, error)
    await queue.enqueue(COPY, key="order-17")
    starting = asyncio.create_task(steps.step("order-17"))
    await until(lambda: simulator.started)
    await asyncio.wait([starting], timeout=0.3)
    starting.cancel()
    await asyncio.wait([starting])

    assert (
        f"the job of 'order-17' was started, and its gid could not be written down: {simulator.started[0].gid}"
        in caplog.text
    )


async def test_a_late_answer_does_not_take_over_another_start(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was started anew, while its first starter was cut off, is gone on with, and the first job is written down."""
    other, healed, starting = await doubted(opened, queue, simulator, monkeypatch)
    await queue.retry_unknown("order-17")  # somebody has looked in Asana, and did not see it
    await other.step("order-17")
    await other.step("order-17")
    healed.set()
    await starting
    result = await finished(other, queue, "order-17")

    assert len(simulator.started) == 2
    assert result.job is not None
    assert result.job.gid == simulator.started[1].gid
    late = await other.store("HGET", other.records.key("order-17"), "late")
    assert late is not None


async def test_a_worker_that_was_stopped_sends_nothing_any_more(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the intent and the POST a worker stood still for too long: it sends nothing, and the start is made anew."""
    steps = await opened()
    monkeypatch.setattr(_fence, "INTENT_SECONDS", 0.2)
    await queue.enqueue(COPY, key="order-17")
    [account] = steps.accounts.values()
    start = account.client.start

    async def stopped(operation: DuplicateProject) -> Any:
        await asyncio.sleep(0.4)
        return await start(operation)

    with monkeypatch.context() as patch:
        patch.setattr(account.client, "start", stopped)
        again = await steps.step("order-17")
    assert again is not None
    assert not simulator.requests

    assert (await finished(steps, queue, "order-17")).succeeded
    assert len(simulator.started) == 1


async def test_a_repetition_is_not_sent_on_an_old_intent(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A POST that was refused with 429 is repeated on a new intent, when the pause was longer than an intent lasts."""
    steps = await opened()
    monkeypatch.setattr(_fence, "INTENT_SECONDS", 0.5)
    simulator.fail_next(Status(429, retry_after=1), method="POST")
    await queue.enqueue(COPY, key="order-17")
    await steps.step("order-17")

    assert len(simulator.requests) == 1
    assert await steps.store("HGET", steps.records.key("order-17"), "intent") is None
    assert (await finished(steps, queue, "order-17")).succeeded


@pytest.mark.parametrize("forget", ["the last writes", pytest.param("everything", marks=pytest.mark.long)])
async def test_what_redis_lost_is_not_started_again(  # noqa: PLR0917  # fixtures
    own_redis: RedisProcess,
    budget: str,
    simulator: AsanaSimulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    forget: str,
) -> None:
    """Redis comes back without what was written after a moment, or empty: the worker writes its starts again first."""
    keys = [f"copy-{number}" for number in range(4)]
    arguments: dict[str, Any] = {"queue": budget, "base_url": simulator.base_url, "limits": LIMITS}
    async with JobQueue(own_redis.url, queue=budget) as queue:
        for key in keys:
            await queue.enqueue(DuplicateProject("1203", name=key), key=key)
    backup = tmp_path / "backup"
    worker: asyncio.Task[None] | None = None
    if forget == "the last writes":
        shutil.copytree(own_redis.folder, backup)  # the append-only file as it was then
    worker = asyncio.create_task(run_worker(own_redis.url, token=budget, **arguments))
    await until(lambda: len(simulator.started) == 4)
    if forget == "the last writes":
        own_redis.kill()
        shutil.rmtree(own_redis.folder)
        shutil.move(backup, own_redis.folder)
        own_redis.start()
    else:
        own_redis.command("FLUSHALL")
        async with JobQueue(own_redis.url, queue=budget) as queue:
            for key in keys:
                await queue.enqueue(DuplicateProject("1203", name=key), key=key)
    ended = set[str]()
    async with JobQueue(own_redis.url, queue=budget) as queue, asyncio.timeout(60):
        async for result in queue.results():
            ended.add(result.key)
            if len(ended) == 4:
                break
    worker.cancel()
    await asyncio.wait([worker])

    assert Counter(job.result["name"] for job in simulator.started if job.result) == dict.fromkeys(keys, 1)
    assert ("was emptied" if forget == "everything" else "was restarted") in caplog.text


async def test_the_steps_of_what_redis_lost_are_made_again(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator
) -> None:
    """A wait came to the replica, and its step did not: when the job is written down again, its steps are made too."""
    steps = await opened()
    rescheduled: list[str] = []

    async def reschedule(keys: Sequence[str]) -> None:
        rescheduled.extend(keys)

    steps.fence.reschedule = reschedule
    await queue.enqueue(COPY, key="order-17")
    await steps.step("order-17")
    record = steps.records.key("order-17")
    token = await steps.store("HGET", record, "token")
    await steps.store("HDEL", record, "intent", "by", "budget", "token")
    await steps.store("HSET", steps.records.server, "run", "another")
    await steps.fence.watch()

    assert await steps.store("HGET", record, "token") == token
    assert rescheduled == ["order-17"]
    assert len(simulator.started) == 1


async def test_steps_that_could_not_be_scheduled_are_scheduled_next_time(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator
) -> None:
    """Redis goes away again while the steps of what it had lost are scheduled: that is done when it is back."""
    steps = await opened()
    reschedule = AsyncMock(side_effect=[AwayError("away again"), None])
    steps.fence.reschedule = reschedule
    await queue.enqueue(COPY, key="order-17")
    await steps.step("order-17")
    await steps.store("DEL", steps.records.key("order-17"))
    await steps.store("HSET", steps.records.server, "run", "another")
    with pytest.raises(AwayError):
        await steps.fence.watch()
    await steps.fence.watch()

    assert [call.args for call in reschedule.await_args_list] == [(["order-17"],)] * 2
    assert (await queue.status()).watching == 1


@pytest.mark.parametrize("anew", [False, True])
async def test_what_was_forgotten_does_not_come_back_with_redis(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator, *, anew: bool
) -> None:
    """Redis is restarted after a wait was forgotten: its job is not taken for lost, nor for that of a new wait."""
    steps = await opened()
    reschedule = AsyncMock()
    steps.fence.reschedule = reschedule
    await queue.enqueue(COPY, key="order-17")
    await finished(steps, queue, "order-17")
    await queue.forget("order-17")
    if anew:
        await queue.enqueue(COPY, key="order-17")
    await steps.store("HSET", steps.records.server, "run", "another")
    await steps.fence.watch()
    found = await steps.store("HKEYS", steps.records.key("order-17"))

    assert set(found) == ({"spec", "version"} if anew else set())
    reschedule.assert_not_awaited()


async def test_a_start_is_on_a_replica_before_it_is_sent(
    own_redis: RedisProcess, budget: str, simulator: AsanaSimulator, tmp_path: Path
) -> None:
    """Where there is a replica, an intent is there too before the POST."""
    replica = RedisProcess(tmp_path / "replica", "--replicaof", "127.0.0.1", str(own_redis.port)).start()
    try:
        await until(lambda: "state=online" in own_redis.command("INFO", "replication"))
        async with (
            JobQueue(own_redis.url, queue=budget) as queue,
            Steps(
                own_redis.url, queue=budget, token="t", base_url=simulator.base_url, limits=LIMITS
            ) as steps,
        ):
            await queue.enqueue(COPY, key="order-17")
            assert (await finished(steps, queue, "order-17")).succeeded
        assert steps.store.replicas == 1
        waited = own_redis.command("INFO", "commandstats")
    finally:
        replica.stop()

    assert "cmdstat_wait:calls=2" in waited  # for the intent, and for the job


async def test_the_places_of_lost_waits_are_given_back(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator, budget: str
) -> None:
    """Records of running jobs are deleted, or evicted: their places are free as soon as that is seen."""
    steps = await opened()
    running = keys_of(budget)[3]
    for number in range(5):
        await queue.enqueue(DuplicateProject("1203", name=f"{number}"), key=f"copy-{number}")
        await steps.step(f"copy-{number}")
    assert await steps.store("ZCARD", running) == 5
    quarter = int((await steps.store("TIME"))[0]) + 900
    assert await steps.store("ZCOUNT", running, f"({quarter}", "inf") == 0

    for number in range(5):
        await steps.store("DEL", steps.records.key(f"copy-{number}"))
        assert await steps.step(f"copy-{number}") is None
    assert await steps.store("ZCARD", running) == 0


async def test_two_tokens_on_one_queue_lose_no_place(
    redis_url: str, queue: JobQueue, budget: str, simulator: AsanaSimulator
) -> None:
    """Whichever token's worker sees a job finish, its place is given back to the budget that it came from."""
    for number in range(14):
        await queue.enqueue(DuplicateProject("1203", name=f"{number}"), key=f"copy-{number}")
    names = [f"{budget}-one", f"{budget}-two"]
    workers = [
        asyncio.create_task(
            run_worker(
                redis_url, queue=budget, token=name, budget=name, base_url=simulator.base_url, limits=LIMITS
            )
        )
        for name in names
    ]
    ended = set[str]()
    async with asyncio.timeout(60):
        async for result in queue.results():
            ended.add(result.key)
            if len(ended) == 14:
                break
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    store = Store(redis_url)
    left = [await store("ZCARD", keys_of(name)[3]) for name in names]
    await store.close()

    assert left == [0, 0]
    assert len(simulator.started) == 14


async def test_places_of_the_same_name_in_two_queues_are_two(
    redis_url: str, opened: Opening, queue: JobQueue, budget: str, simulator: AsanaSimulator
) -> None:
    """Two queues of one token may have a wait of the same name: their jobs are two."""
    steps = await opened()
    async with (
        JobQueue(redis_url, queue=f"{budget}-2") as second,
        Steps(
            redis_url,
            queue=f"{budget}-2",
            token="t",
            budget=budget,
            base_url=simulator.base_url,
            limits=LIMITS,
        ) as others,
    ):
        for where, what in ((queue, steps), (second, others)):
            await where.enqueue(COPY, key="order-17")
            await what.step("order-17")
        assert await steps.store("ZCARD", keys_of(budget)[3]) == 2
