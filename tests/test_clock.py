"""The clock of a client: the running event loop's, or a plain error where there is none."""

import asyncio
from datetime import UTC, datetime

import looptime
import pytest

from asana_jobs._client.clock import SystemClock, running_loop


async def test_time_is_the_loops() -> None:
    """Seconds are those of the running loop, virtual ones too."""
    clock = SystemClock()
    before = clock.monotonic()
    assert before == asyncio.get_running_loop().time()

    await clock.sleep(3600)

    assert clock.monotonic() == pytest.approx(before + 3600)


async def test_a_timeout_bounds_a_block() -> None:
    """A block of an hour is ended after its seconds, and without any it runs to its end."""
    clock = SystemClock()
    began = clock.monotonic()

    with pytest.raises(TimeoutError):
        async with clock.timeout(5):
            await clock.sleep(3600)
    async with clock.timeout(None):
        await clock.sleep(10)

    assert clock.monotonic() - began == pytest.approx(15)


async def test_a_timer_calls_at_its_time() -> None:
    """What is scheduled is called when its seconds are over; what is cancelled is not."""
    clock = SystemClock()
    called: list[str] = []
    clock.call_later(5, lambda: called.append("kept"))
    clock.call_later(5, lambda: called.append("cancelled")).cancel()

    await clock.sleep(4)
    assert called == []
    await clock.sleep(2)

    assert called == ["kept"]


def test_one_clock_follows_from_loop_to_loop() -> None:
    """A clock that was used on a loop that has ended goes by the next one."""
    clock = SystemClock()
    read: list[tuple[float, float]] = []

    async def note() -> None:
        await asyncio.sleep(100 * (1 - len(read)))
        read.append((clock.monotonic(), asyncio.get_running_loop().time()))

    for _ in range(2):
        loop = looptime.new_event_loop()
        loop.run_until_complete(note())
        loop.close()

    assert read[0] == (read[0][1], read[0][1])
    assert read[1] == (read[1][1], read[1][1])
    assert read[0] != read[1]


def test_no_loop_is_explained() -> None:
    """Without a running loop of asyncio the error says how to have one."""
    for use in (running_loop, SystemClock().monotonic):
        with pytest.raises(
            RuntimeError, match=r"no event loop of asyncio is running here: .*asyncio\.run\(main\(\)\)"
        ):
            use()


def test_wall_clock_time_is_aware() -> None:
    """The time of day is aware, in UTC, and now."""
    before = datetime.now(UTC)
    assert before <= SystemClock().now() <= datetime.now(UTC)
    assert SystemClock().now().tzinfo is UTC


def test_randomness_can_be_repeated() -> None:
    """Two clocks of one seed throw the same dice, from 0 up to 1, and of two seeds they do not."""
    one, same, other = (SystemClock(seed=seed) for seed in (7, 7, 8))
    thrown = [one.random() for _ in range(100)]

    assert thrown == [same.random() for _ in range(100)]
    assert thrown != [other.random() for _ in range(100)]
    assert all(0 <= number < 1 for number in thrown)
