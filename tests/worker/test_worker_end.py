"""The end of a worker, and its handlers: in order and in time, whatever hangs."""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from patience import Working, read, until
from redis_process import RedisProcess

from asana_jobs import RateLimits
from asana_jobs.operations import DuplicateTask
from asana_jobs.testing import AsanaSimulator, Latency
from asana_jobs.worker import JobQueue, Result, _handlers, _records, _worker, run_worker


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

PROGRAM = Path(__file__).with_name("worker_process.py")


async def all_ready(queue: JobQueue, count: int) -> None:
    """Wait until so many workers have said that they are ready."""
    async with asyncio.timeout(60):
        while len((await queue.status()).workers) < count:  # noqa: ASYNC110  # it happens in another process
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("redis_goes", [RedisProcess.kill, RedisProcess.freeze])
async def test_a_worker_ends_when_redis_goes_away_with_it(
    own_redis: RedisProcess,
    budget: str,
    simulator: AsanaSimulator,
    redis_goes: Callable[[RedisProcess], None],
) -> None:
    """SIGTERM together with a Redis that dies, or answers nobody any more: every worker has ended when its time is over."""
    async with JobQueue(own_redis.url, queue=budget) as queue:
        await queue.watch_many(_jobs(simulator, 40))
        for number in range(6):
            await queue.enqueue(DuplicateTask("1203"), key=f"order-{number}")
    workers = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, str(PROGRAM), own_redis.url, budget, simulator.base_url, "--drain", "4"),
            stderr=asyncio.subprocess.DEVNULL,
        )
        for _ in range(4)
    ]
    async with JobQueue(own_redis.url, queue=budget) as queue:
        await all_ready(queue, len(workers))
    redis_goes(own_redis)
    for worker in workers:
        worker.send_signal(signal.SIGTERM)
    try:
        ended = await asyncio.wait_for(asyncio.gather(*(worker.wait() for worker in workers)), 4 + 6)
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
                await worker.wait()

    assert ended == [0, 0, 0, 0]


async def test_a_worker_whose_asana_hangs_ends_in_time(
    queue: JobQueue, working: Working, redis_url: str, budget: str, simulator: AsanaSimulator
) -> None:
    """What is still under way when the time to end is over is cancelled: a look is another worker's."""
    simulator.fail_next(Latency(60), times=None, path="/jobs/*")
    await queue.watch("1204")
    loop = asyncio.get_running_loop()
    worker = asyncio.create_task(
        run_worker(
            redis_url, queue=budget, token="t", base_url=simulator.base_url, limits=RateLimits.paid(), drain=4
        )
    )
    await until(lambda: simulator.requests)
    began = loop.time()
    worker.cancel()
    await asyncio.wait([worker], timeout=10)

    assert worker.cancelled()
    assert 1.5 < loop.time() - began < 5.0
    simulator.heal()
    async with working():
        [result] = await read(queue, 1, 40)
    assert result.succeeded


async def test_a_handler_that_hangs_holds_no_place(
    queue: JobQueue, working: Working, simulator: AsanaSimulator
) -> None:
    """With more handlers that hang than places, other waits end as before, and the worker ends in time."""
    hanging: list[str] = []

    async def hang(result: Result) -> None:
        hanging.append(result.key)
        if result.key.startswith("hang"):
            await asyncio.sleep(600)

    loop = asyncio.get_running_loop()
    async with working(on_finished=hang, concurrency=2, drain=4):
        for number in range(6):
            simulator.add_job(str(7000 + number), ["succeeded"])
            await queue.watch(str(7000 + number), key=f"hang-{number}")
        await until(lambda: len(hanging) == 6)
        for number in range(6):
            simulator.add_job(str(8000 + number), ["succeeded"])
            await queue.watch(str(8000 + number), key=f"good-{number}")
        await until(lambda: len(hanging) == 12)
        began = loop.time()

    assert loop.time() - began < 6.0


async def test_a_handler_has_a_time_limit(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A handler that takes longer is stopped, which is logged, and is not called again."""
    called: list[str] = []
    stopped = asyncio.Event()

    async def hang(result: Result) -> None:
        called.append(result.key)
        try:
            await asyncio.sleep(600)
        finally:
            stopped.set()

    simulator.add_job("1204", ["succeeded"])
    await queue.watch("1204")
    async with working(on_finished=hang, handler_timeout=0.5):
        await asyncio.wait_for(stopped.wait(), 300)
        await asyncio.sleep(1)
    async with working(on_finished=hang):
        await asyncio.sleep(1)

    assert called == ["1204"]
    assert "the handler of '1204' was stopped, as it took more than 0.5 s (handler_timeout)" in caplog.text


async def test_a_handler_that_did_not_end_is_called_by_another_worker(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker's end kept from being handled is handled by the next one."""
    for module in (_handlers, _records):
        monkeypatch.setattr(module, "CLAIM_SECONDS", 1)
    monkeypatch.setattr(_handlers, "CHECK_SECONDS", 0.3)
    called: list[str] = []
    done = asyncio.Event()

    async def hang(_: Result) -> None:
        called.append("first")
        await asyncio.sleep(600)

    async def handle(_: Result) -> None:
        called.append("second")
        done.set()

    simulator.add_job("1204", ["succeeded"])
    await queue.watch("1204")
    async with working(on_finished=hang, drain=2):
        await until(lambda: called)
    async with working(on_finished=handle):
        await asyncio.wait_for(done.wait(), 300)
        await asyncio.sleep(0.5)

    assert called == ["first", "second"]


async def test_a_slow_handler_is_called_once(
    queue: JobQueue, working: Working, simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a handler is at work, longer than a dead worker's claim lasts, nobody else calls it."""
    for module in (_handlers, _records):
        monkeypatch.setattr(module, "CLAIM_SECONDS", 1)
    monkeypatch.setattr(_handlers, "CHECK_SECONDS", 0.2)
    called: list[str] = []

    async def slow(result: Result) -> None:
        called.append(result.key)
        await asyncio.sleep(2.5)
        called.append("done")

    simulator.add_job("1204", ["succeeded"])
    await queue.watch("1204")
    async with working(on_finished=slow), working(on_finished=slow):
        await until(lambda: "done" in called)
        await asyncio.sleep(1)

    assert called == ["1204", "done"]


async def test_a_worker_says_that_it_is_ready_and_well(
    queue: JobQueue, working: Working, budget: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One line says what it is ready to do, and a file that it is well; at its end both are over."""
    caplog.set_level("INFO", "asana_jobs")
    health = tmp_path / "health"
    async with working(health_file=health, token="t", budget=f"b-{budget}"):
        await until(lambda: health.exists() and health.read_text("utf-8"))
        [worker] = (await queue.status()).workers
        assert worker.name in health.read_text("utf-8")

    assert f"worker {worker.name} is ready: queue {budget!r} at 127.0.0.1" in caplog.text
    assert f"budget b-{budget}" in caplog.text
    assert f"worker {worker.name} has ended" in caplog.text
    assert not health.exists()
    assert (await queue.status()).workers == ()


async def test_a_health_file_that_cannot_be_written_ends_no_worker(
    queue: JobQueue,
    working: Working,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A path that is wrong from the start is an error; a folder that goes away later is one line in the log."""
    monkeypatch.setattr(_worker, "REPORT_SECONDS", 0.1)
    health = tmp_path / "run" / "health"
    with pytest.raises(FileNotFoundError):
        async with working(health_file=health):
            await asyncio.sleep(0.5)
    health.parent.mkdir()
    await queue.enqueue(DuplicateTask("1203"))
    async with working(health_file=health):
        await until(lambda: health.exists() and health.read_text("utf-8"))
        shutil.rmtree(health.parent)
        await until(lambda: "its health file cannot be written: " in caplog.text)
        [result] = await read(queue, 1)

    assert result.succeeded


async def test_a_worker_says_what_it_did(
    queue: JobQueue,
    working: Working,
    simulator: AsanaSimulator,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each minute, here each second, one line says what was done since the last one."""
    caplog.set_level("INFO", "asana_jobs")
    monkeypatch.setattr(_worker, "LINE_SECONDS", 1.0)
    monkeypatch.setattr(_worker, "REPORT_SECONDS", 0.25)
    await queue.enqueue(DuplicateTask("1203"))
    async with working():
        await read(queue, 1)
        await until(lambda: " 1 waits ended" in caplog.text)
    lines = re.findall(r"in the last minute: (.*)", caplog.text)

    assert sum("1 starts, " in line for line in lines) == 1
    assert sum("1 waits ended, 0 failures, 0 handlers at work; " in line for line in lines) == 1
    assert all(line.endswith("% of 1500 requests a minute") for line in lines)


async def test_ctrl_c_is_pythons(own_redis: RedisProcess, budget: str, simulator: AsanaSimulator) -> None:
    """A program whose main task is a worker ends in order by Ctrl-C, and with KeyboardInterrupt, as any other does."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), own_redis.url, budget, simulator.base_url),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ},
    )
    async with JobQueue(own_redis.url, queue=budget) as queue:
        await all_ready(queue, 1)
        worker.send_signal(signal.SIGINT)
        _, said = await asyncio.wait_for(worker.communicate(), 15)
        assert (await queue.status()).workers == ()

    assert worker.returncode == -signal.SIGINT
    assert said.decode().rstrip().endswith("KeyboardInterrupt")


async def test_a_cancellation_after_sigterm_leaves_a_worker_its_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A service that ends tells in several ways: what is under way is finished, and in the time that was left for that."""
    caplog.set_level("INFO", "asana_jobs")
    finished = False

    async def work() -> None:
        nonlocal finished
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(0.5)
            finished = True

    worker = asyncio.create_task(_worker._until_told(work(), 4.0))  # pyright: ignore[reportPrivateUsage]
    await asyncio.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)
    await until(lambda: "is told to end: what is under way has 4 s" in caplog.text)
    worker.cancel()
    await asyncio.wait([worker])

    assert worker.cancelled()
    assert finished


async def test_a_second_cancellation_ends_a_worker_at_once() -> None:
    """Whatever is under way then."""

    async def work() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            await asyncio.sleep(600)

    worker = asyncio.create_task(_worker._until_told(work(), 60.0))  # pyright: ignore[reportPrivateUsage]
    for _ in range(2):
        await asyncio.sleep(0.1)
        worker.cancel()
    done, _ = await asyncio.wait([worker], timeout=10)

    assert done


def _jobs(simulator: AsanaSimulator, count: int) -> list[str]:
    gids = [str(7000 + number) for number in range(count)]
    for gid in gids:
        simulator.add_job(gid, [(0.0, "in_progress"), (600.0, "succeeded")])
    return gids
