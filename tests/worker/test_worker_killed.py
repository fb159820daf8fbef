"""Killed between any two commands to Redis: others finish what was begun, and nothing of it is left lying about."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import pytest
from patience import Opening

from asana_jobs.operations import DuplicateTask
from asana_jobs.testing import AsanaSimulator, Status
from asana_jobs.worker import JobQueue, QueueError, Result, Steps, _records, _steps
from asana_jobs.worker._budget_protocol import keys_of
from asana_jobs.worker._redis import Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way


class Killing:
    """The end of a process after so many commands to Redis: the next one is not sent, or it is, and not answered."""

    def __init__(self, store: Store, commands: int, *, sent: bool) -> None:
        self._exchange = store._exchange  # pyright: ignore[reportPrivateUsage]
        self._left, self._sent = commands, sent
        self._killed, self._buried = asyncio.Event(), asyncio.Event()
        store._exchange = self._until_killed  # type: ignore[method-assign]  # pyright: ignore[reportPrivateUsage]

    async def _until_killed(self, commands: Sequence[Any], *, takes: float = 0.0) -> list[Any]:
        self._left -= 1
        if self._left >= 0 or (self._left == -1 and self._sent):
            found = await self._exchange(commands, takes=takes)
            if self._left >= 0:
                return found
        self._killed.set()
        await self._buried.wait()
        return [QueueError("killed")] * len(commands)

    async def kill(self, work: Coroutine[None, None, object]) -> bool:
        """Do *work* until it is killed; whether it was."""
        task, killed = asyncio.create_task(work), asyncio.create_task(self._killed.wait())
        await asyncio.wait([task, killed], return_when=asyncio.FIRST_COMPLETED)
        was_killed = not task.done()
        for one in (task, killed):
            one.cancel()
        await asyncio.wait([task, killed])
        self._buried.set()
        if not was_killed:
            task.result()
        return was_killed


async def all_steps(steps: Steps, key: str) -> None:
    """Make the steps of a wait until it has ended, as an engine does, that makes one again which it could not end."""
    async with asyncio.timeout(60):
        while (again := await steps.step(key)) is not None:  # noqa: ASYNC110  # it is what an engine does
            await asyncio.sleep(min(again.delay, 0.05))


async def left_behind(queue: JobQueue, steps: Steps, budget: str) -> list[object]:
    """Return what is in Redis of waits that have all ended, beside what is remembered of them."""
    status = await queue.status()
    found: list[object] = [wait async for wait in queue.pending()]
    found += ["a wait that is counted"] * (status.starting + status.watching)
    found += await steps.store("ZRANGE", keys_of(budget)[3], 0, -1)
    for key in await steps.store("KEYS", f"asana-jobs:{{{queue.name}}}:*"):
        if ":wait:" in key:
            whole = None not in await steps.store("HMGET", key, "spec", "result")
            found += [] if whole and await steps.store("TTL", key) > 0 else [key]
        elif key.rpartition(":")[2] not in REMEMBERED and ":handling:" not in key:
            found.append(key)
    return found


#: What a queue keeps of waits that have ended.
REMEMBERED = {
    "ended",
    "gate",
    "reads",
    "writes",
    "running",
    "counts",
    "starters",
    "failed",
    "results",
    "server",
    "writable",
    "workers",
}


@pytest.fixture
async def simulator() -> AsyncIterator[AsanaSimulator]:
    """An Asana whose jobs are quick."""
    async with AsanaSimulator(speed=50) as simulator:
        yield simulator


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed worker held is others' in a fraction of a second."""
    monkeypatch.setattr(_steps, "DOUBT_SECONDS", 0.2)
    monkeypatch.setattr(_steps, "UNKNOWN_PLACE_SECONDS", 1)
    monkeypatch.setattr(_records, "SHORTEST_RETRY", 0.05)
    monkeypatch.setattr(_records, "CLAIM_SECONDS", 1)


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("sent", [True, False])
async def test_a_worker_may_be_killed_anywhere(
    opened: Opening, queue: JobQueue, simulator: AsanaSimulator, budget: str, *, sent: bool
) -> None:
    """Every wait ends, once, its handler is called, and its job is started once, whenever its worker was killed."""
    called = Counter[str]()
    simulator.fail_next(Status(429, retry_after=0), method="POST")

    async def handle(result: Result) -> None:
        called[result.key] += 1

    others = await opened(on_finished=handle, on_failed=handle)
    commands, was_killed = 0, True
    while was_killed:
        key = f"killed after {commands}"
        await queue.enqueue(DuplicateTask("1203", name=key), key=key)
        victim = await opened(on_finished=handle, on_failed=handle)
        was_killed = await Killing(victim.store, commands, sent=sent).kill(all_steps(victim, key))
        await asyncio.sleep(0.3 if was_killed else 0)
        await all_steps(others, key)
        commands += 1
    keys = [f"killed after {number}" for number in range(commands)]
    results = [await queue.result(key) for key in keys]
    await asyncio.sleep(1.0)

    assert commands > 8
    assert {result.outcome for result in results if result} == {"succeeded", "unknown"}
    started = Counter(job.result["name"] for job in simulator.started if job.result)
    assert max(started.values()) == 1
    assert all(result and (result.unknown or started[result.key]) for result in results)
    assert set(called) == set(keys)
    assert sum((await queue.status()).ended.values()) == commands
    assert await left_behind(queue, others, budget) == []
