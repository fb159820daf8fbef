"""The event loop is over, at whichever suspension of a call: stopped, and closed with or without cancelling its tasks.

A program does that which calls ``loop.stop()``, whose ``asyncio.run`` ends by another task's error, or whose framework
closes a loop that still has tasks. What the ledger says afterwards is what the server counted: the call made again on
a new loop starts nothing twice, and leaves open only what nobody can know.
"""

import asyncio
import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, cast

import pytest
from public_calls import CALLS
from test_cancellation import Steps, World
from test_interrupts import Loop, own_loop

from asana_jobs import Ledger, Outcome
from asana_jobs._client.bulk.ledger_rows import LedgerState
from asana_jobs.errors import LedgerBusyError


CALL: Final = CALLS["run_all, ledger"]


def cancel_all(loop: Loop) -> None:
    """End the tasks of a loop as ``asyncio.run`` does."""

    async def cancel() -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    loop.run_until_complete(cancel())
    loop.run_until_complete(loop.shutdown_asyncgens())


def leave(_: Loop) -> None:
    """Leave them as they are: nothing of them runs any more, but for what the collector closes."""


def stop_at(world: World, at: int, end: Callable[[Loop], None]) -> bool:
    """Make the call, stop its loop at a suspension of any task, and end it; return whether that moment came."""
    with own_loop() as loop:
        steps = Steps(at)
        steps.act = loop.stop
        loop.set_task_factory(cast("Any", steps.make_task))

        async def make() -> object:
            return await CALL.make(world.place(CALL))

        task = loop.create_task(make())
        task.add_done_callback(_stop_its_loop)
        loop.run_forever()
        task.remove_done_callback(_stop_its_loop)
        loop.set_task_factory(None)
        reached = not task.done()
        end(loop)
    return reached


def _stop_its_loop(task: asyncio.Task[object]) -> None:
    task.get_loop().stop()


def go_on(world: World, folder: Path) -> list[Outcome]:
    """Make the call again on a new loop with a new client, on the same ledger and against the same server."""
    again = World(folder)
    again.started, again.folder, again.calm = world.started, world.folder, True

    async def make() -> list[Outcome]:
        async with again.client:
            return cast("list[Outcome]", await CALL.make(again.place(CALL)))

    with own_loop() as loop:
        return loop.run_until_complete(make())


def end_and_go_on(at: int, end: Callable[[Loop], None], folder: Path) -> bool:
    """End the loop at one suspension, go on from the ledger, and compare with what the server counted."""
    world = World(folder / str(at))
    reached = stop_at(world, at, end)
    sent = sum(request.method == "POST" for request in world.transport.requests)
    outcomes = go_on(world, folder / f"{at} again")

    with Ledger.open(world.folder / "ledger") as ledger:
        unknown = {row.key for row in ledger.rows(LedgerState.UNKNOWN)}
    finished = [outcome for outcome in outcomes if outcome.succeeded]
    held = [outcome for outcome in outcomes if isinstance(outcome.error, LedgerBusyError)]
    assert set(world.started.values()) == {1}, f"ended at suspension {at}"
    assert len(finished) + len(unknown) + len(held) == len(outcomes) == 3, f"ended at suspension {at}"
    assert len(unknown) <= sent, f"ended at suspension {at}, unknown although nothing was sent"
    assert not held or end is leave, f"ended at suspension {at}, its tasks held rows after their end"
    return reached


@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # what closes a loop full of tasks gets
@pytest.mark.parametrize("stride", [pytest.param(1, marks=pytest.mark.long), 9])
@pytest.mark.parametrize("end", [cancel_all, leave])
def test_a_loop_that_ends_anywhere_starts_nothing_twice(
    end: Callable[[Loop], None], stride: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Each job is started once; what the ledger does not call finished was sent and never answered, or is still held."""
    caplog.set_level(logging.CRITICAL)
    at = 1
    while end_and_go_on(at, end, tmp_path):
        gc.collect()
        at += stride
    assert at > 1
