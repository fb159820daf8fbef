"""`FakeClock`: hours in milliseconds, in order, and only when everybody waits."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from asana_jobs.testing._fake_clock import FakeClock


async def test_sleep_takes_no_real_time(clock: FakeClock) -> None:
    """A day of sleep passes at once."""
    began = time.monotonic()

    await clock.sleep(86400)

    assert clock.monotonic() == 86400
    assert time.monotonic() - began < 5


async def test_sleepers_wake_in_order(clock: FakeClock) -> None:
    """Sleepers wake in the order of their times, each at its own."""
    woken: list[float] = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(clock.monotonic())

    await asyncio.gather(*(sleep(seconds) for seconds in (3, 1, 2)))

    assert woken == [1, 2, 3]


async def test_sleeps_are_written_down(clock: FakeClock) -> None:
    """Sleeps and scheduled calls are in `sleeps` as they were asked for; bounds are not."""
    await clock.sleep(3)
    clock.call_later(2, lambda: None)
    async with clock.timeout(50):
        await clock.sleep(1)

    assert clock.sleeps == [3, 2, 1]


async def test_the_calendar_goes_along(clock: FakeClock) -> None:
    """The wall clock moves with the seconds."""
    before = clock.now()

    await clock.sleep(90)

    assert clock.now() - before == timedelta(seconds=90)
    assert FakeClock(start=datetime(2030, 5, 1, tzinfo=UTC)).now() == datetime(2030, 5, 1, tzinfo=UTC)


async def test_calls_are_made_when_due(clock: FakeClock) -> None:
    """`call_later` calls at its time."""
    called: list[float] = []
    clock.call_later(5, lambda: called.append(clock.monotonic()))

    await clock.sleep(10)

    assert called == [5]


async def test_cancelled_calls_are_not_made(clock: FakeClock) -> None:
    """A timer that was called off does nothing, and does not move the time."""
    called: list[float] = []
    clock.call_later(500, lambda: called.append(1)).cancel()

    await clock.sleep(1)
    await asyncio.sleep(1)

    assert called == []
    assert clock.monotonic() == 1


async def test_a_timeout_expires(clock: FakeClock) -> None:
    """A block that outlasts its bound gets a TimeoutError at the bound."""
    with pytest.raises(TimeoutError):
        async with clock.timeout(5):
            await clock.sleep(60)

    assert clock.monotonic() == 5
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_timeout_that_is_not_reached(clock: FakeClock) -> None:
    """A block that ends in time is left alone, also afterwards."""
    async with clock.timeout(5):
        await clock.sleep(4)

    await clock.sleep(60)


async def test_no_timeout(clock: FakeClock) -> None:
    """A bound of None is none."""
    async with clock.timeout(None):
        await clock.sleep(10_000)


async def test_a_cancellation_inside_a_timeout_stays_one(clock: FakeClock) -> None:
    """Cancelling a task inside a bound that has not passed cancels it."""

    async def bounded() -> None:
        async with clock.timeout(1000):
            await asyncio.Event().wait()

    task = asyncio.create_task(bounded())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()


async def test_nested_timeouts(clock: FakeClock) -> None:
    """Of two bounds the shorter one strikes."""
    with pytest.raises(TimeoutError):
        async with clock.timeout(2), clock.timeout(9):
            await clock.sleep(60)

    assert clock.monotonic() == 2


async def test_an_error_inside_a_timeout_is_kept(clock: FakeClock) -> None:
    """What a bounded block raises comes out of it."""
    with pytest.raises(KeyError):
        async with clock.timeout(2):
            raise KeyError


async def test_advance_moves_by_hand() -> None:
    """Without autojump time stands still until it is advanced, serving what is due in order."""
    clock = FakeClock(autojump=False)
    woken: list[float] = []

    async def sleep() -> None:
        for _ in range(3):
            await clock.sleep(2)
            woken.append(clock.monotonic())

    task = asyncio.create_task(sleep())
    await asyncio.sleep(1)
    assert clock.monotonic() == 0

    await clock.advance(5)

    assert clock.monotonic() == 5
    assert woken == [2, 4]
    await clock.advance(1)
    await task


async def test_random_numbers_repeat() -> None:
    """The same seed gives the same numbers, from 0 up to 1."""
    first, second = FakeClock(seed=7), FakeClock(seed=7)

    numbers = [first.random() for _ in range(100)]

    assert numbers == [second.random() for _ in range(100)]
    assert all(0 <= number < 1 for number in numbers)


def test_a_clock_serves_one_loop_after_another(clock: FakeClock) -> None:
    """A clock can be used in a second event loop, whatever the first one left on it."""

    async def leave_something() -> None:
        clock.call_later(1000, lambda: None)
        await clock.sleep(1)

    asyncio.run(leave_something())

    asyncio.run(asyncio.wait_for(clock.sleep(1), 5))

    assert clock.monotonic() == 2


async def test_a_call_that_fails_does_not_stop_the_clock(clock: FakeClock) -> None:
    """After a scheduled call that raised, time goes on."""
    loop = asyncio.get_running_loop()
    errors: list[BaseException | None] = []
    loop.set_exception_handler(lambda _, context: errors.append(context.get("exception")))

    def fail() -> None:
        raise ZeroDivisionError

    clock.call_later(1, fail)
    await asyncio.wait_for(clock.sleep(2), 5)

    assert clock.monotonic() == 2
    assert [type(error) for error in errors] == [ZeroDivisionError]


async def test_repr(clock: FakeClock) -> None:
    """The repr tells the time and how many wait."""
    await clock.sleep(1.5)
    clock.call_later(9, lambda: None)

    assert repr(clock) == "<FakeClock at 1.5 s, 1 waiting>"


async def test_a_sleeper_that_is_cancelled_does_not_hold_time(clock: FakeClock) -> None:
    """The sleep of a cancelled task is not jumped to."""
    task = asyncio.create_task(clock.sleep(1000))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    await clock.sleep(1)
    await asyncio.sleep(1)

    assert clock.monotonic() == 1
