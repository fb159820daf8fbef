"""Waits whose steps go wrong in a way that nobody expected: they harm no other, and end as something to look into."""

import asyncio
import time

import pytest
from patience import Working, read, until

from asana_jobs import AsanaClient
from asana_jobs.operations import DuplicateTask
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import JobQueue, Result, WaitEndedError, _steps
from asana_jobs.worker._redis import Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

UNKNOWN_KIND = '{"operation":{"kind":"duplicate_galaxy","gid":"1203"}}'


@pytest.fixture
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten failures in a second, instead of nine minutes."""
    monkeypatch.setattr(_steps, "LONGEST_BACKOFF", 0.05)


async def poison(queue: JobQueue, store: Store, key: str, **fields: str | int) -> None:
    """Put a wait in whose record is then written over."""
    await queue.enqueue(DuplicateTask("1203"), key=key)
    record = f"asana-jobs:{{{queue.name}}}:wait:{key}"
    await store("HSET", record, *(word for pair in fields.items() for word in pair))


@pytest.mark.parametrize("spec", [UNKNOWN_KIND, "{", '{"operation":{"kind":"duplicate_task"}}', '"x"'])
async def test_what_cannot_be_read_is_no_hot_loop(
    queue: JobQueue, working: Working, store: Store, caplog: pytest.LogCaptureFixture, spec: str
) -> None:
    """A record that this worker cannot read is tried a few times in three seconds, said once, and others go on."""
    await poison(queue, store, "poison", spec=spec)
    await queue.enqueue(DuplicateTask("1204"), key="good")
    async with working():
        [result] = await read(queue, 1)
        await asyncio.sleep(3)
        [pending] = [wait async for wait in queue.pending()]

    assert result.key == "good"
    assert pending.key == "poison"
    assert 1 <= pending.failures <= 4
    assert pending.failure
    assert len(caplog.text) < 10_000
    assert caplog.text.count("the step of 'poison' failed") == 1


@pytest.mark.usefixtures("_impatient")
async def test_an_end_that_cannot_be_read_is_no_hot_loop(
    queue: JobQueue, working: Working, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A result that nobody can read is handed to no handler, and tried at the longest intervals: it has ended already."""
    await poison(queue, store, "poison", result="{")
    async with working():
        await asyncio.sleep(3)
    failures = int(await store("HGET", f"asana-jobs:{{{queue.name}}}:wait:poison", "failures"))

    assert 10 <= failures < 3 / 0.04 + 10
    assert "is given up" not in caplog.text


@pytest.mark.usefixtures("_impatient")
async def test_ten_failures_are_a_dead_letter(
    queue: JobQueue, working: Working, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """After ten failures in a row the wait is given up: readers and the handler get a result that says so."""
    told: list[Result] = []

    async def on_failed(result: Result) -> None:
        told.append(result)

    await poison(queue, store, "poison", spec=UNKNOWN_KIND)
    async with working(on_failed=on_failed):
        [result] = await read(queue, 1)
        await until(lambda: told)

    assert (result.key, result.outcome) == ("poison", "given_up")
    assert isinstance(result.error, WaitEndedError)
    assert "after 10 failures in a row" in str(result.error)
    assert "queue retry" in str(result.error)
    assert [found.key async for found in queue.failed()] == ["poison"]
    assert caplog.text.count("is given up after 10 failures") == 1


@pytest.mark.usefixtures("_impatient")
async def test_a_dead_letter_can_be_begun_anew(
    queue: JobQueue, working: Working, store: Store, simulator: AsanaSimulator
) -> None:
    """Once the cause is removed, what was given up is begun anew, and nothing was lost."""
    await poison(queue, store, "poison", spec=UNKNOWN_KIND)
    async with working():
        await read(queue, 1)
        record = f"asana-jobs:{{{queue.name}}}:wait:poison"
        await store(
            "HSET", record, "spec", '{"operation":{"kind":"duplicate_task","gid":"1203"}}'
        )  # an upgrade
        await queue.retry("poison")
        [result] = await read(queue, 1)

    assert result.succeeded
    assert len(simulator.started) == 1
    assert [found async for found in queue.failed()] == []


@pytest.mark.usefixtures("_impatient")
async def test_a_mistake_of_ours_is_one_too(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any exception of a look ends as a dead letter; one that goes away by itself leaves no trace."""
    right, broken = AsanaClient.check_job, {"1204": 99, "1205": 3}

    async def check_job(self: AsanaClient, job: str, **options: object) -> object:
        gid = "1204" if "1204" in job else "1205"
        broken[gid] -= 1
        if broken[gid] >= 0:
            raise ZeroDivisionError("a mistake")
        return await right(self, job, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(AsanaClient, "check_job", check_job)
    for gid in broken:
        simulator.add_job(gid, ["succeeded"])
        await queue.watch(gid)
    async with working():
        results = {result.key: result for result in await read(queue, 2)}

    assert results["1204"].outcome == "given_up"
    assert results["1205"].succeeded


@pytest.mark.usefixtures("_impatient")
async def test_a_start_that_goes_wrong_is_not_repeated(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception after the POST was sent leaves the start unknown, whatever it is: there is no second POST."""
    right = AsanaClient.start
    monkeypatch.setattr(_steps, "DOUBT_SECONDS", 1.0)

    async def start(self: AsanaClient, operation: DuplicateTask) -> object:
        await right(self, operation)
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(AsanaClient, "start", start)
    await queue.enqueue(DuplicateTask("1203"), key="order-17")
    async with working():
        [result] = await read(queue, 1, 30)

    assert result.unknown
    assert len(simulator.started) == 1


async def test_what_a_later_version_has_put_in_is_left_to_it(
    queue: JobQueue, working: Working, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A record of a later version is neither tried nor given up here; that is said once."""
    for number in range(3):
        await poison(queue, store, f"later-{number}", version=99)
    async with working():
        began = time.monotonic()
        await asyncio.sleep(2)
        assert time.monotonic() - began < 20
        found = [wait async for wait in queue.pending()]

    assert [wait.failures for wait in found] == [0, 0, 0]
    assert caplog.text.count("by a later version of asana_jobs") == 1


async def test_an_unreadable_operation_keeps_nobody_from_reading(
    queue: JobQueue, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """A result whose operation only a later version knows is read without it, and the next one after it."""
    stream = f"asana-jobs:{{{queue.name}}}:results"
    text = '{"key":"k%d","operation":{"kind":"duplicate_galaxy","gid":"1"},"job":null,"error":{"kind":"E","message":"m"}}'
    for number in range(2):
        await store("XADD", stream, "*", "result", text % number)
    results = await read(queue, 2)

    assert [result.key for result in results] == ["k0", "k1"]
    assert [result.operation for result in results] == [None, None]
