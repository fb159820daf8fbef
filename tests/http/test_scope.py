"""Blocks that others may end: exactly those that are due, and no cancellation is mistaken for another's."""

import asyncio
import socket
import time

import pytest

from asana_jobs._client.clock import SystemClock
from asana_jobs._client.http.lifetime import EXTRA_ROUNDS, CancelScope, SharedTimeout


async def hang(deadlines: SharedTimeout) -> None:
    """Wait for ever inside a bounded block."""
    with deadlines.bound():
        await asyncio.Event().wait()


async def test_a_block_is_over_at_its_deadline() -> None:
    """A block that takes too long ends in a TimeoutError, at its own time."""
    loop = asyncio.get_running_loop()
    deadlines, began = SharedTimeout(3.0), loop.time()

    with pytest.raises(TimeoutError):
        await hang(deadlines)

    assert loop.time() - began == pytest.approx(3.0)


async def test_each_block_has_the_whole_time() -> None:
    """One timer serves all of them: those that begin later end later, also after a time with none at all."""
    loop = asyncio.get_running_loop()
    deadlines, ends = SharedTimeout(3.0), list[float]()

    async def one(begins: float) -> None:
        await asyncio.sleep(begins)
        try:
            await hang(deadlines)
        except TimeoutError:
            ends.append(loop.time() - began)

    began = loop.time()
    await asyncio.gather(*(one(begins) for begins in (0.0, 1.0, 1.0, 2.5, 20.0)))

    assert ends == pytest.approx([3.0, 4.0, 4.0, 5.5, 23.0])


async def test_a_block_that_ends_in_time_is_left_alone() -> None:
    """Nothing of a block that was left goes on: its deadline passes unnoticed."""
    deadlines = SharedTimeout(3.0)
    with deadlines.bound():
        await asyncio.sleep(1)

    await asyncio.sleep(10)


async def test_a_cancellation_from_outside_is_passed_on() -> None:
    """Whoever cancels a bounded block gets a cancelled task, not a timeout."""
    task = asyncio.create_task(hang(SharedTimeout(3.0)))
    await asyncio.sleep(1)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_deadline_is_passed_on() -> None:
    """Cancelled and due at once, a task is cancelled."""
    deadlines = SharedTimeout(3.0)
    task = asyncio.create_task(hang(deadlines))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_at(next(iter(deadlines.running)).due, task.cancel)

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_inner_of_two_blocks_ends_alone() -> None:
    """A block inside another one that ends is the inner one's timeout, and the outer one goes on."""
    with SharedTimeout(10.0).bound():
        with pytest.raises(TimeoutError):
            await hang(SharedTimeout(1.0))
        await asyncio.sleep(1)


async def test_a_left_block_cannot_be_ended() -> None:
    """Ending a block that was left cancels nothing."""
    with CancelScope(asyncio.get_running_loop(), {}, TimeoutError) as scope:
        pass

    scope.cancel()

    await asyncio.sleep(0)


async def test_a_timer_that_goes_off_a_hair_early_ends_its_block() -> None:
    """Loops round: what it is for is over, whatever the loop says; what begins later is not, and has a timer."""
    loop = asyncio.get_running_loop()
    deadlines = SharedTimeout(3.0)
    first, second = (asyncio.create_task(hang(deadlines)) for _ in range(2))
    await asyncio.sleep(1)
    third = asyncio.create_task(hang(deadlines))
    await asyncio.sleep(0)
    (oldest, *_) = deadlines.running
    deadlines._expire(loop, oldest.due, 0)  # pyright: ignore[reportPrivateUsage]
    ended, _ = await asyncio.wait({first, second, third}, timeout=0.5)

    assert ended == {first, second}
    assert loop.time() < oldest.due - 1
    await asyncio.wait({third})
    assert isinstance(third.exception(), TimeoutError)
    assert loop.time() == pytest.approx(4.0)


async def test_a_block_has_a_few_rounds_beyond_its_time() -> None:
    """In which what lies in the socket is read."""
    deadlines, rounds = SharedTimeout(3.0), 0
    task = asyncio.create_task(hang(deadlines))
    await asyncio.sleep(0)
    deadlines._expire(asyncio.get_running_loop(), next(iter(deadlines.running)).due)  # pyright: ignore[reportPrivateUsage]
    while not task.done():
        await asyncio.sleep(0)
        rounds += 1

    assert EXTRA_ROUNDS <= rounds <= EXTRA_ROUNDS + 2


async def test_a_block_needs_a_task() -> None:
    """A callback of the loop has none that could be ended: it is told what to do."""
    told: list[str] = []

    def begin() -> None:
        try:
            CancelScope(asyncio.get_running_loop(), {}, TimeoutError)
        except RuntimeError as error:
            told.append(str(error))

    asyncio.get_running_loop().call_soon(begin)
    await asyncio.sleep(0)

    assert told == ["there is no task to end: await this in asyncio.run() or a task"]


async def test_handles_need_not_know_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some event loops hand out handles without a time for what is due at once: deadlines are kept all the same."""
    monkeypatch.delattr(asyncio.TimerHandle, "when")
    deadlines = SharedTimeout(3.0)
    tasks = [asyncio.create_task(hang(deadlines))]
    await asyncio.sleep(0.5)
    tasks.append(asyncio.create_task(hang(deadlines)))
    await asyncio.wait(tasks)

    assert [type(task.exception()) for task in tasks] == [TimeoutError, TimeoutError]


def test_deadlines_hold_on_the_next_loop_too() -> None:
    """What a loop left behind when it ended does not keep blocks on the next one from being ended."""
    deadlines = SharedTimeout(0.01)

    async def leave_one_behind() -> None:
        deadlines.bound().__enter__()

    async def hang_again() -> None:
        with pytest.raises(TimeoutError):
            await hang(deadlines)

    asyncio.run(leave_one_behind())
    asyncio.run(hang_again())


def test_a_clock_tells_the_time_of_the_loop_that_runs() -> None:
    """A clock that outlives a loop tells the next one's time, and none when no loop runs."""
    clock = SystemClock()

    async def time_told(ahead: float) -> float:
        loop = asyncio.get_running_loop()
        real = loop.time
        loop.time = lambda: real() + ahead  # type: ignore[method-assign]
        return clock.monotonic() - real()

    told = [asyncio.run(time_told(0)), asyncio.run(time_told(5000))]

    assert told == pytest.approx([0, 5000], abs=1000)
    with pytest.raises(RuntimeError, match="no event loop of asyncio is running here"):
        clock.monotonic()


@pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it
async def test_what_has_arrived_is_read_before_a_block_is_ended() -> None:
    """A loop that was blocked for longer than the block's time finds the answer in the socket, and it counts."""
    deadlines = SharedTimeout(0.05)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(0)
        loop = asyncio.get_running_loop()

        def answer_and_block() -> None:
            theirs.send(b"the answer")
            time.sleep(0.1)  # the loop is blocked by somebody's code

        loop.call_soon(answer_and_block)
        with deadlines.bound():
            assert await loop.sock_recv(ours, 100) == b"the answer"
            for _ in range(5):
                await asyncio.sleep(0)  # handed on from task to task
    deadlines.close()
