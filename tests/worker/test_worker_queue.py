"""A queue and its workers, in one process: what goes in comes out once."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any
from unittest.mock import AsyncMock

import pytest
from docket import Docket
from patience import Working, read, until
from redis.exceptions import ConnectionError as RedisConnectionError
from redis_process import RedisProcess

from asana_jobs.errors import JobFailedError, OutcomeUnknownError
from asana_jobs.operations import DuplicateProject, DuplicateTask, ExportOrganization, InstantiateProject
from asana_jobs.testing import AsanaSimulator, Reset, Status
from asana_jobs.worker import JobQueue, QueueError, Result, WaitEndedError, _handlers, _records, run_worker
from asana_jobs.worker._engine import Engine
from asana_jobs.worker._records import WaitRecords
from asana_jobs.worker._redis import Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way


async def test_an_operation_ends_in_a_result(queue: JobQueue, working: Working) -> None:
    """An operation that is enqueued is started and watched, and its finished job comes out."""
    key = await queue.enqueue(DuplicateProject("1203", name="Q3 launch"))
    async with working():
        [result] = await read(queue, 1)

    assert result.key == key
    assert result.succeeded
    assert result.operation == DuplicateProject("1203", name="Q3 launch")
    assert result.job is not None
    assert result.job.result is not None


async def test_an_organization_export_ends_in_a_result(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """So does the export of an organization, which Asana keeps outside its jobs."""
    await queue.enqueue(ExportOrganization("1199"), key="export")
    async with working():
        [result] = await read(queue, 1)

    assert (result.key, result.operation, result.succeeded) == ("export", ExportOrganization("1199"), True)
    assert len(simulator.requests.where(path="/jobs/*")) == 0


async def test_a_gid_is_watched_to_its_end(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """A job that somebody else started is watched, and named by its gid."""
    simulator.add_job("1204", [(0.0, "in_progress"), (1.0, "succeeded")])
    await queue.watch("1204")
    async with working():
        [result] = await read(queue, 1)

    assert result.key == "1204"
    assert result.operation is None
    assert result.succeeded


async def test_a_failed_job_is_a_result(queue: JobQueue, working: Working, simulator: AsanaSimulator) -> None:
    """A job that failed comes out with the error that says so."""
    simulator.add_job("1204", ["failed"])
    await queue.watch("1204")
    async with working():
        [result] = await read(queue, 1)

    assert isinstance(result.error, JobFailedError)
    with pytest.raises(JobFailedError):
        result.raise_for_error()


async def test_a_watch_that_is_impossible_ends(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """A job that may not be read ends its wait with the reason."""
    simulator.fail_next(403, path="/jobs/1204", times=None)
    await queue.watch("1204")
    async with working():
        [result] = await read(queue, 1)

    assert isinstance(result.error, WaitEndedError)
    assert result.error.reason == "PermissionDeniedError"


async def test_a_key_is_started_once(queue: JobQueue, working: Working, simulator: AsanaSimulator) -> None:
    """What is enqueued twice under one key is started once, even when it is enqueued again after its end."""
    for _ in range(2):
        await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working():
        await read(queue, 1)
        await queue.enqueue(DuplicateTask("1203"), key="order-17")
        await asyncio.sleep(1)

    assert len(simulator.started) == 1


async def test_the_fleet_has_five_running_jobs(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """Two workers together have no more than five started jobs running, and are never refused."""
    for number in range(12):
        await queue.enqueue(DuplicateProject("1203", name=f"Copy {number}"))
    async with working(), working():
        results = await read(queue, 12, 25)

    assert Counter(result.succeeded for result in results) == {True: 12}
    assert simulator.peak_jobs_running == 5
    assert simulator.rejected == 0


async def test_a_lost_answer_is_unknown(queue: JobQueue, working: Working, simulator: AsanaSimulator) -> None:
    """A start whose answer was lost is not repeated, and comes out as unknown."""
    simulator.fail_next(Reset(effect=True), method="POST")
    await queue.enqueue(DuplicateTask("1203"))
    async with working():
        [result] = await read(queue, 1)

    assert result.unknown
    assert isinstance(result.error, OutcomeUnknownError)
    assert len(simulator.started) == 1


async def test_what_is_unknown_is_repeated_when_asked(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """After a person has looked, an unknown start is made again, and has a second result."""
    simulator.fail_next(Reset(effect=False), method="POST")
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working():
        await read(queue, 1)
        await asyncio.sleep(0.5)
        await queue.retry_unknown("order-17")
        [result] = await read(queue, 1)

    assert result.succeeded


async def test_a_repetition_is_not_lost_halfway(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is killed while asking for a repetition leaves the start unknown, and it can be asked for again."""
    simulator.fail_next(Reset(effect=False), method="POST")
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working():
        await read(queue, 1)
        with monkeypatch.context() as patch:
            patch.setattr(Engine, "schedule", AsyncMock(side_effect=RuntimeError("killed")))
            with pytest.raises(QueueError, match="killed"):
                await queue.retry_unknown("order-17")
        result = await queue.result("order-17")
        assert result is not None
        assert result.unknown

        await queue.retry_unknown("order-17")
        [result] = await read(queue, 1)

    assert result.succeeded


async def test_a_repetition_may_be_asked_for_at_once(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """While the handler of the unknown start is still at work, its repetition is made all the same."""
    simulator.fail_next(Reset(effect=False), method="POST")
    told = list[Result]()

    async def slow(result: Result) -> None:
        told.append(result)
        await asyncio.sleep(0.5)

    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working(on_failed=slow):
        await read(queue, 1)
        await queue.retry_unknown("order-17")
        [result] = await read(queue, 1)

    assert result.succeeded
    assert len(told) == 1


async def test_the_handler_of_a_repetition_is_called(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends while the handler of the first end is still at work: that one's end is not taken for its own."""
    monkeypatch.setattr(_handlers, "CHECK_SECONDS", 0.2)
    monkeypatch.setattr(_records, "CLAIM_SECONDS", 1)
    simulator.fail_next(Status(403), method="POST")
    told = list[str]()
    repeated = asyncio.Event()

    async def slow(result: Result) -> None:
        if not result.succeeded:
            await repeated.wait()
        told.append(result.outcome)

    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working(on_finished=slow, on_failed=slow):
        await read(queue, 1)
        await queue.retry("order-17")
        await read(queue, 1)
        assert told == []
        repeated.set()
        await until(lambda: len(told) == 2, 30)

    assert told == ["refused", "succeeded"]


@pytest.mark.parametrize("is_forgotten", [False, True])
async def test_a_repetition_can_be_cancelled_at_once(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, *, is_forgotten: bool
) -> None:
    """What is to be begun anew has not ended: it can be cancelled, and not forgotten, before any worker has seen it."""
    simulator.fail_next(Status(403), method="POST")
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working():
        await read(queue, 1)
    await queue.retry("order-17")
    if is_forgotten:
        with pytest.raises(QueueError, match="has not ended"):
            await queue.forget("order-17")
    assert await queue.cancel("order-17")
    async with working():
        [result] = await read(queue, 1)

    assert result.outcome == "cancelled"
    assert simulator.started == []


async def test_a_redis_that_goes_away_from_under_docket_is_said_as_ever(
    queue: JobQueue, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two commands of one call: whoever cancels, opens, works or asks for the status is told it as ever."""
    await queue.enqueue(DuplicateTask("1203"), key="order-17")

    async def away(*_: object) -> None:
        raise RedisConnectionError("Connection closed by server.")

    def replace(*_: object, **__: object) -> Any:
        return away

    monkeypatch.setattr(Docket, "replace", replace)
    monkeypatch.setattr(Docket, "__aenter__", away)
    other = JobQueue(redis_url, queue=queue.name)
    work = partial(run_worker, redis_url, queue=queue.name, token="t")
    for call in (other.open, other.status, partial(queue.cancel, "order-17"), work):
        with pytest.raises(QueueError, match=r"Redis cannot be reached: Connection closed by server"):
            await call()
    await other.close()


async def test_a_queue_and_a_budget_may_have_one_name(queue: JobQueue, working: Working, budget: str) -> None:
    """What a budget counts is not taken for how waits ended."""
    await queue.enqueue(DuplicateTask("1203"))
    async with working(token="t", budget=budget):
        await read(queue, 1)

    assert (await queue.status()).ended == {"succeeded": 1}


async def test_only_what_is_unknown_is_repeated(queue: JobQueue, working: Working) -> None:
    """A start whose outcome is known cannot be retried by mistake."""
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working():
        await read(queue, 1)

    with pytest.raises(QueueError, match="unknown"):
        await queue.retry_unknown("order-17")


async def test_a_result_can_be_asked_for(queue: JobQueue, working: Working) -> None:
    """A wait's result is found under its key after its end, and not before."""
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    assert await queue.result("order-17") is None
    async with working():
        await read(queue, 1)
    result = await queue.result("order-17")

    assert result is not None
    assert result.succeeded


async def test_handlers_are_called(queue: JobQueue, working: Working, simulator: AsanaSimulator) -> None:
    """What succeeded goes to one handler, what did not to the other."""
    simulator.add_job("1", ["succeeded"])
    simulator.add_job("2", ["failed"])
    good, bad = list[str](), list[str]()

    async def on_finished(result: Result) -> None:
        good.append(result.key)

    async def on_failed(result: Result) -> None:
        bad.append(result.key)

    await queue.watch("1")
    await queue.watch("2")
    async with working(on_finished=on_finished, on_failed=on_failed):
        await read(queue, 2)

    assert (good, bad) == (["1"], ["2"])


async def test_a_handler_that_raises_ends_nothing(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """A mistake in a handler is logged, and the worker goes on."""
    simulator.add_job("1", ["succeeded"])
    simulator.add_job("2", ["succeeded"])

    async def broken(result: Result) -> None:
        raise RuntimeError(result.key)

    await queue.watch("1")
    await queue.watch("2")
    async with working(on_finished=broken):
        results = await read(queue, 2)

    assert {result.key for result in results} == {"1", "2"}


async def test_waits_hold_no_place(queue: JobQueue, working: Working, simulator: AsanaSimulator) -> None:
    """With hundreds of waits pending, what is put in last is started within a second."""
    for number in range(500):
        simulator.add_job(str(5000 + number), [(0.0, "in_progress"), (600.0, "succeeded")])
        await queue.watch(str(5000 + number))
    async with working(concurrency=2):
        await until(lambda: simulator.requests)
        loop = asyncio.get_running_loop()
        began = loop.time()
        await queue.enqueue(DuplicateTask("1203"))
        await until(lambda: simulator.started)
        took = loop.time() - began

    assert took < 1.0


async def test_what_was_learned_is_shared(
    queue: JobQueue, working: Working, own_redis: RedisProcess, simulator: AsanaSimulator
) -> None:
    """A worker that has seen no job knows how long jobs take from those that have."""
    from asana_jobs import AsanaClient
    from asana_jobs.worker._records import FleetDurations
    from asana_jobs.worker._redis import Store

    store = Store(own_redis.url)
    async with (
        AsanaClient("t", base_url=simulator.base_url) as one,
        AsanaClient("t", base_url=simulator.base_url) as two,
    ):
        ours, theirs = FleetDurations(store, "d", one), FleetDurations(store, "d", two)
        for _ in range(30):
            one.durations.observe("duplicate_project", 7.0, 8.0, finished=True)
            one.durations.observe("duplicate_project", 3.0, 4.0, finished=True, known_start=False)
        for _ in range(3):  # what was told is not told again, nor learned twice
            await ours.exchange()
            await theirs.exchange()

        assert two.durations.to_dict() == one.durations.to_dict()
        assert sum(one.durations.to_dict()["kinds"]["duplicate_project"]["events"]) == pytest.approx(30)
    await store.close()


async def test_what_a_fleet_of_an_older_version_has_learned_is_taken_over(
    own_redis: RedisProcess, simulator: AsanaSimulator
) -> None:
    """Counts that workers wrote down before there was a version are read, and have the present one from then on."""
    from asana_jobs import AsanaClient
    from asana_jobs.worker._records import VERSION_FIELD, FleetDurations
    from asana_jobs.worker._redis import Store

    store = Store(own_redis.url)
    own_redis.command("HSET", "d", "duplicate_project|events|7", "30", "duplicate_project|exposure|7", "60")
    async with AsanaClient("t", base_url=simulator.base_url) as client:
        await FleetDurations(store, "d", client).exchange()

        assert client.durations.to_dict()["kinds"]["duplicate_project"]["events"][7] == 30
        assert await store("HGET", "d", VERSION_FIELD) == "2"
    await store.close()


async def test_what_a_fleet_of_a_newer_version_has_learned_is_left_alone(
    own_redis: RedisProcess, simulator: AsanaSimulator
) -> None:
    """Nobody reads, or adds to, counts of which an older worker cannot know what they mean."""
    from asana_jobs import AsanaClient
    from asana_jobs.worker._records import VERSION_FIELD, FleetDurations
    from asana_jobs.worker._redis import Store

    store = Store(own_redis.url)
    fields = {VERSION_FIELD: "3", "duplicate_project|events|7": "30"}
    own_redis.command("HSET", "d", *(part for field in fields.items() for part in field))
    async with AsanaClient("t", base_url=simulator.base_url) as client:
        client.durations.observe("duplicate_task", 7.0, 8.0, finished=True)
        before = client.durations.to_dict()
        await FleetDurations(store, "d", client).exchange()

        assert client.durations.to_dict() == before
        assert await store("HGETALL", "d") == fields
    await store.close()


@pytest.mark.parametrize("wrong", ["", "12a", "1" * 65, "{", '{"gid": "x"}', '{"gid": "1203"}'])
async def test_what_cannot_be_a_job_is_refused(queue: JobQueue, wrong: str) -> None:
    """What is neither a gid nor a token never gets into the queue."""
    with pytest.raises(ValueError):
        await queue.watch(wrong)


async def test_names_of_dates_are_refused(queue: JobQueue) -> None:
    """What a name stands for, a client asks before: the message says how."""
    operation = InstantiateProject("1204", name="Q3", requested_dates={"Launch": "2027-01-04"})

    with pytest.raises(ValueError, match=r"'Launch' .*by_gid\(await asana.project_template\('1204'\)\)"):
        await queue.enqueue(operation)
    with pytest.raises(ValueError, match="by_gid"):
        await queue.enqueue_many({"mine": operation})


async def test_what_another_redis_does_not_know_is_put_in_again(
    redis_url: str, queue: JobQueue, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica took over between what the wait is about and its step, and knows the step alone: it is put in whole."""
    schedule = Engine.schedule
    store = Store(redis_url)
    calls: list[str] = []

    async def slow(self: Engine, key: str, *, start: bool, anew: bool = False) -> None:
        calls.append(key)
        if len(calls) == 1:
            await store("DEL", WaitRecords(store, queue.name).key(key))
            await asyncio.sleep(0.3)
        await schedule(self, key, start=start, anew=anew)

    monkeypatch.setattr(Engine, "schedule", slow)
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working():
        [result] = await read(queue, 1)
    await store.close()

    assert result.succeeded
    assert calls == ["order-17", "order-17"]


async def test_a_redis_that_is_not_there_is_said(own_redis: RedisProcess) -> None:
    """A queue and a worker say at once that Redis cannot be reached."""
    own_redis.kill()
    with pytest.raises(QueueError, match="cannot be reached"):
        async with JobQueue(own_redis.url):
            pass
    with pytest.raises(QueueError, match="cannot be reached"):
        await run_worker(own_redis.url, token="t")


async def test_a_full_redis_is_said(own_redis: RedisProcess) -> None:
    """What cannot be put into a full Redis is a clear error, and is not in the queue."""
    async with JobQueue(own_redis.url) as queue:
        own_redis.command("CONFIG", "SET", "maxmemory", "100kb")
        with pytest.raises(QueueError, match="maxmemory"):
            await queue.watch("1204")
