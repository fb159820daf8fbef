"""Blocking work in threads: its end is waited for, whoever is cancelled meanwhile."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from asana_jobs._client.http.lifetime import run_in_thread, start_in_thread, wait_shielded


class Work:
    """Blocking work that begins, and goes on when it may."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.ended = False

    def __call__(self, error: Exception | None = None) -> int:
        """Block until it may end; return the number of the thread, or raise *error*."""
        self.begun.set()
        assert self.may_end.wait(300)
        self.ended = True
        if error is not None:
            raise error
        return threading.get_ident()


@pytest.fixture
def work() -> Iterator[Work]:
    """Work that is not left behind."""
    work = Work()
    yield work
    work.may_end.set()


async def begun(work: Work) -> None:
    """Wait, in a thread, until *work* has begun."""
    assert await asyncio.to_thread(work.begun.wait, 10)


async def test_work_is_done_in_another_thread(work: Work) -> None:
    """The loop's thread is free while the work is done, and its result comes back."""
    running = asyncio.create_task(run_in_thread(work))
    await begun(work)
    work.may_end.set()

    assert await running != threading.get_ident()


async def test_an_error_of_the_work_is_raised(work: Work) -> None:
    """What the work raises is raised to whoever waits for it."""
    work.may_end.set()

    with pytest.raises(OSError, match="disk"):
        await run_in_thread(work, OSError("disk"))


@pytest.mark.parametrize("error", [None, OSError("disk")], ids=["done", "failed"])
async def test_a_cancelled_caller_leaves_no_work_behind(work: Work, error: Exception | None) -> None:
    """A caller that is cancelled, even twice, goes on when the work has ended, and is cancelled then."""
    running = asyncio.create_task(run_in_thread(work, error))
    await begun(work)
    for _ in range(2):
        running.cancel()
        await asyncio.sleep(0)
    assert not running.done()
    work.may_end.set()

    with pytest.raises(asyncio.CancelledError):
        await running
    assert work.ended


async def test_work_can_be_started_now_and_waited_for_later(work: Work) -> None:
    """Work goes on while its caller does something else."""
    running = start_in_thread(work)
    await begun(work)
    assert not running.done()
    work.may_end.set()

    assert await wait_shielded(running) != threading.get_ident()
    assert work.ended
