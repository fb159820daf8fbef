"""A wait that was forgotten amid a step of it, or put in anew: that step leaves nothing in what is there now."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest
from patience import Opening

from asana_jobs.operations import DuplicateProject
from asana_jobs.testing import AsanaSimulator, Status
from asana_jobs.worker import JobQueue, Result, Steps


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

KEY = "order-17"
COPY, OTHER = DuplicateProject("1203", name="Q3"), DuplicateProject("1203", name="Q4")
Change = Callable[[JobQueue, Steps], Awaitable[object]]


async def forgotten(queue: JobQueue, _: Steps) -> None:
    """Cancel the wait, and forget it."""
    assert await queue.cancel(KEY)
    assert await queue.forget(KEY)


async def deleted(_: JobQueue, steps: Steps) -> None:
    """Delete the record, as a Redis does that throws keys away."""
    await steps.store("DEL", steps.records.key(KEY))


async def put_in_anew(queue: JobQueue, steps: Steps) -> None:
    """Forget the wait, and put another operation in under its name."""
    await forgotten(queue, steps)
    await queue.enqueue(OTHER, key=KEY)


async def amid(
    what: Any, method: str, change: Callable[[], Awaitable[object]], patch: pytest.MonkeyPatch
) -> None:
    """Have something happen once, right after a method of *what* has done its work."""
    done = getattr(what, method)

    async def changing(*arguments: Any, **named: Any) -> Any:
        patch.undo()
        try:
            return await done(*arguments, **named)
        finally:
            await change()

    patch.setattr(what, method, changing)


async def record(steps: Steps) -> dict[str, str]:
    """Return what is known of the wait."""
    found: dict[str, str] = await steps.store("HGETALL", steps.records.key(KEY))
    return found


async def finished(steps: Steps, queue: JobQueue) -> Result:
    """Make the steps of the wait until it has ended."""
    async with asyncio.timeout(60):
        while (again := await steps.step(KEY)) is not None:  # noqa: ASYNC110  # it is what an engine does
            await asyncio.sleep(min(again.delay, 0.1))
    result = await queue.result(KEY)
    assert result is not None
    return result


@pytest.mark.parametrize("change", [forgotten, deleted])
@pytest.mark.parametrize("how", ["goes on", "has ended", "is another token's", "fails"])
async def test_a_look_at_a_wait_that_is_gone_leaves_nothing(  # noqa: PLR0917  # fixtures
    opened: Opening,
    queue: JobQueue,
    simulator: AsanaSimulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: Change,
    how: str,
) -> None:
    """Whatever a look came to: no field of the wait is written when its record is gone, and it is in no list."""
    steps = await opened()
    await queue.enqueue(COPY, key=KEY)
    await steps.step(KEY)
    job = simulator.started[0]
    if how == "has ended":
        job.finish("succeeded")
    if how == "is another token's":
        await steps.store("HSET", steps.records.key(KEY), "budget", "another")
        simulator.fail_next(Status(403), path="/jobs/*")
    [account] = steps.accounts.values()
    if how == "fails":
        monkeypatch.setattr(steps, "_come_back", AsyncMock(side_effect=RuntimeError("unexpected")))
    with monkeypatch.context() as patch:
        await amid(account.client, "check_job", lambda: change(queue, steps), patch)
        await steps.step(KEY)
    assert await record(steps) == {}
    assert await steps.step(KEY) is None
    told = [result.outcome async for result in queue.failed()]
    status = await queue.status()

    assert told == []
    assert ("put it in again under this key" in caplog.text) == (change is deleted)
    assert (status.starting, status.watching) == (0, 0)
    assert "succeeded" not in status.ended


@pytest.mark.parametrize("has_ended", [False, True])
async def test_a_look_at_what_was_put_in_anew_is_not_taken_for_its_own(
    opened: Opening,
    queue: JobQueue,
    simulator: AsanaSimulator,
    monkeypatch: pytest.MonkeyPatch,
    *,
    has_ended: bool,
) -> None:
    """Another operation under the name of one whose job is being looked at is started, and has its own result."""
    steps = await opened()
    await queue.enqueue(COPY, key=KEY)
    await steps.step(KEY)
    if has_ended:
        simulator.started[0].finish("succeeded")
    [account] = steps.accounts.values()
    with monkeypatch.context() as patch:
        await amid(account.client, "check_job", lambda: put_in_anew(queue, steps), patch)
        await steps.step(KEY)
    result = await finished(steps, queue)

    assert result.operation == OTHER
    assert result.succeeded
    assert len(simulator.started) == 2
    assert result.job is not None
    assert result.job.gid == simulator.started[1].gid


@pytest.mark.parametrize("change", [forgotten, deleted])
async def test_what_is_gone_is_not_started(
    opened: Opening,
    queue: JobQueue,
    simulator: AsanaSimulator,
    monkeypatch: pytest.MonkeyPatch,
    change: Change,
) -> None:
    """Cancelled and forgotten while its start waited for its turn, an operation is not sent, and takes no place."""
    steps = await opened()
    await queue.enqueue(COPY, key=KEY)
    [account] = steps.accounts.values()
    with monkeypatch.context() as patch:
        await amid(type(account.gate), "acquire_start", lambda: change(queue, steps), patch)
        await steps.step(KEY)
    assert await steps.step(KEY) is None

    assert simulator.started == []
    assert await record(steps) == {}
    assert (await queue.status()).starting == 0


async def test_what_was_put_in_anew_is_what_is_started(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another operation under the name of one whose start waited for its turn: only that is started."""
    steps = await opened()
    await queue.enqueue(COPY, key=KEY)
    [account] = steps.accounts.values()
    with monkeypatch.context() as patch:
        await amid(type(account.gate), "acquire_start", lambda: put_in_anew(queue, steps), patch)
        await steps.step(KEY)
    result = await finished(steps, queue)

    assert [job.result["name"] for job in simulator.started if job.result] == ["Q4"]
    assert result.operation == OTHER
    assert result.succeeded


@pytest.mark.parametrize(
    "left", [{"token": '{"gid":"1"}'}, {"intent": "1", "by": "x"}, {"failures": "9", "only": "x"}]
)
async def test_what_an_older_worker_left_is_not_taken_over(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator, left: dict[str, str]
) -> None:
    """Half a record, which older versions left behind, is nobody's: what is put in under the name is started."""
    steps = await opened()
    await steps.store("HSET", steps.records.key(KEY), *(word for pair in left.items() for word in pair))
    await queue.enqueue(COPY, key=KEY)
    result = await finished(steps, queue)

    assert result.succeeded
    assert len(simulator.started) == 1
