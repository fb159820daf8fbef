"""`JobWaiter`, row by row of the table of behaviours: one stream in a coroutine's clothes."""

import asyncio
import gc
import inspect
import re
import warnings
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    stop_after_delay,
    wait_chain,
    wait_exponential,
    wait_fixed,
    wait_random,
)

from asana_jobs import (
    AsanaClient,
    Job,
    JobStatus,
    JobWaiter,
    PollPolicy,
    RateLimits,
    RetryPolicy,
    wait_for_job,
)
from asana_jobs._client.limits.gate import LocalGate, LocalLease, Priority, Traffic
from asana_jobs.errors import JobTimeoutError, PermissionDeniedError, ServerError
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


DOUBLING = wait_exponential(min=1)


class AskedGate(LocalGate):
    """A budget that notes how urgently it was asked for each request."""

    def __init__(self, limits: RateLimits, clock: FakeClock) -> None:
        super().__init__(limits, clock)
        self.asked: list[Priority] = []

    async def acquire(self, traffic: Traffic, priority: Priority) -> LocalLease:
        """Note it, and wait for the turn."""
        self.asked.append(priority)
        return await super().acquire(traffic, priority)


async def states(waiter: JobWaiter) -> list[str | None]:
    """Every state the waiter yields."""
    return [job.status async for job in waiter]


# Awaiting.


async def test_await_gives_the_finished_job(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Awaiting a waiter gives the job once it has succeeded."""
    transport.play("not_started", "in_progress", "succeeded")

    job = await client.wait_for_job("1203")

    assert (job.gid, job.status) == ("1203", JobStatus.SUCCEEDED)


async def test_a_failed_job_is_a_result(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A job that ends as failed is returned, not raised."""
    transport.play("in_progress", "failed")

    job = await client.wait_for_job("1203")

    assert job.failed


async def test_await_looks_once_for_each_state(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A wait sends one GET for each look and none after the last."""
    transport.play("not_started", "in_progress", "succeeded")

    await client.wait_for_job("1203")

    assert [(request.method, request.target) for request in transport.requests] == [("GET", "/jobs/1203")] * 3


async def test_a_gid_is_looked_at_at_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The first look at a bare gid does not wait."""
    transport.play("succeeded")

    await client.wait_for_job("1203")

    assert clock.sleeps == []


async def test_what_another_wait_has_just_seen_is_the_first_look(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A second wait for a job begins with the state that the first one has just seen, at any time of day."""
    transport.play("in_progress")
    await clock.sleep(100)
    first, second = client.wait_for_job("1203"), client.wait_for_job("1203")

    seen = [(await anext(first)).status, (await anext(second)).status]

    assert seen == [JobStatus.IN_PROGRESS] * 2
    assert len(transport.requests) == 1


async def test_only_the_first_look_is_urgent(clock: FakeClock) -> None:
    """Each look asks for the budget once, and routinely but for the first."""
    gate = AskedGate(RateLimits.paid(), clock)
    transport = ScriptedTransport("in_progress", "in_progress", "succeeded", clock=clock)
    async with AsanaClient("test-token", transport=transport, clock=clock, gate=gate) as client:
        await client.wait_for_job("1203")

    assert gate.asked == [Priority.FOREGROUND, Priority.ROUTINE, Priority.ROUTINE]
    assert gate.snapshot().reads_in_flight == 0


async def test_the_look_at_the_deadline_is_urgent(clock: FakeClock) -> None:
    """The last look does not line up behind the looks of others."""
    gate = AskedGate(RateLimits.paid(), clock)
    transport = ScriptedTransport("in_progress", clock=clock)
    async with AsanaClient("test-token", transport=transport, clock=clock, gate=gate) as client:
        with pytest.raises(JobTimeoutError):
            await client.wait_for_job("1203", poll=PollPolicy(initial=10), timeout=1)

    assert gate.asked == [Priority.FOREGROUND] * 2
    assert gate.snapshot().reads_in_flight == 0


async def test_the_default_gaps_grow(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """By the default policy the gaps between looks never shrink, and end at the policy's maximum."""
    transport.play(*["in_progress"] * 200, "succeeded")

    await client.wait_for_job("1203", poll=PollPolicy(maximum=3))

    assert all(gap <= later + 1e-6 for gap, later in pairwise(clock.sleeps))
    assert clock.sleeps[0] >= 0.5
    assert clock.sleeps[-1] == 3


# Iterating.


async def test_iteration_yields_every_state(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Iterating yields each state, the first at once and the terminal one last."""
    transport.play("not_started", "in_progress", "succeeded")

    seen = await states(client.wait_for_job("1203"))

    assert seen == ["not_started", "in_progress", "succeeded"]


async def test_iteration_yields_changes_only(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A look that shows nothing new is not yielded."""
    transport.play("not_started", "not_started", "in_progress", "in_progress", "in_progress", "failed")

    seen = await states(client.wait_for_job("1203"))

    assert seen == ["not_started", "in_progress", "failed"]


async def test_every_poll_yields_every_look(client: AsanaClient, transport: ScriptedTransport) -> None:
    """With every_poll each look is yielded, changed or not, and the finished job once."""
    transport.play("in_progress", "in_progress", "in_progress", "succeeded")

    seen = await states(client.wait_for_job("1203", every_poll=True))

    assert seen == ["in_progress"] * 3 + ["succeeded"]


async def test_progress_of_a_roll_up_is_a_change(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A roll-up that moves on within one state is yielded."""

    def progress(updated: int, status: str = "in_progress") -> dict[str, object]:
        counts = {"total_tasks": 3, "updated_tasks": updated}
        return {"gid": "1203", "status": status, "dates_rollup_progress": counts}

    transport.play(progress(1), progress(1), progress(2), progress(3, "succeeded"))

    seen = [
        job.dates_rollup_progress.updated_tasks
        async for job in client.wait_for_job("1203")
        if job.dates_rollup_progress
    ]

    assert seen == [1, 2, 3]


async def test_a_result_that_appears_is_a_change(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A result that is named within one state is yielded."""
    running = {"gid": "1203", "status": "in_progress"}
    transport.play(running, {**running, "new_project": {"gid": "77"}}, "succeeded")

    seen = [job.result and job.result.gid async for job in client.wait_for_job("1203")]

    assert seen == [None, "77", None]


async def test_iteration_ends_for_good(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A second loop over a finished waiter yields nothing and sends nothing."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")
    await states(waiter)

    again = await states(waiter)

    assert again == []
    assert len(transport.requests) == 2


async def test_iteration_after_await_tells_the_end(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A loop over a waiter that was awaited before yields the finished job once."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")
    await waiter

    assert await states(waiter) == ["succeeded"]


async def test_await_inside_the_loop_ends_the_loop(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Awaiting the waiter in its own loop finishes the wait, and the loop tells the end and ends."""
    transport.play("not_started", "in_progress", "succeeded")
    waiter = client.wait_for_job("1203")
    seen: list[str | None] = []

    async for job in waiter:
        seen.append(job.status)
        assert (await waiter).succeeded

    assert seen == ["not_started", "succeeded"]


# break, then await


async def test_break_then_await_repeats_no_request(client: AsanaClient, transport: ScriptedTransport) -> None:
    """After break, await goes on with the next look; what was seen is not asked for again."""
    transport.play("not_started", "in_progress", "in_progress", "succeeded")
    waiter = client.wait_for_job("1203")

    async for job in waiter:
        if job.status == "in_progress":
            break
    finished = await waiter

    assert finished.succeeded
    assert len(transport.requests) == 4


async def test_break_then_await_keeps_the_schedule(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """After break, await sleeps as if there had been no break."""
    transport.play("not_started", *["in_progress"] * 4, "succeeded")
    waiter = client.wait_for_job("1203", poll=DOUBLING)

    async for job in waiter:
        if job.status == "in_progress":
            break
    await waiter

    assert clock.sleeps == [1, 2, 4, 8, 16]


async def test_break_then_await_keeps_the_deadline(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """After break, await still ends at the deadline that counts from the first use."""
    transport.play("not_started", "in_progress")
    waiter = client.wait_for_job("1203", poll=DOUBLING, timeout=20)

    async for job in waiter:
        if job.status == "in_progress":
            break
    with pytest.raises(JobTimeoutError):
        await waiter

    assert clock.sleeps == [1, 2, 4, 8, 5]


async def test_time_spent_in_the_loop_body_does_not_add_to_the_gap(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The next look is due a gap after the last one, however long the body of the loop takes."""
    transport.play("not_started", "in_progress", "succeeded")
    looks: list[float] = []

    async for _ in client.wait_for_job("1203", poll=wait_fixed(10)):
        looks.append(clock.monotonic())
        await clock.sleep(4)

    assert looks == [0, 10, 20]


async def test_a_late_reader_looks_at_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Who comes back after the next look was due gets a look without another wait."""
    transport.play("not_started", "succeeded")
    waiter = client.wait_for_job("1203", poll=wait_fixed(10))
    await anext(waiter)
    await clock.sleep(3600)

    await waiter

    assert clock.monotonic() == 3600


# await waiter again


async def test_await_again_gives_the_same_job_without_a_request(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Awaiting a finished waiter gives the very same job and sends nothing."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")
    first = await waiter

    second = await waiter

    assert second is first
    assert len(transport.requests) == 2


# create_task, TaskGroup, gather, as_completed, wait_for, asyncio.run


def test_a_waiter_is_a_coroutine(client: AsanaClient) -> None:
    """Asyncio takes a waiter for the coroutine it is."""
    waiter = client.wait_for_job("1203")
    waiter.close()

    assert asyncio.iscoroutine(waiter)
    assert isinstance(waiter, Coroutine)
    assert isinstance(waiter, AsyncIterator)
    assert inspect.isawaitable(waiter)


async def test_create_task(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A waiter can be made a task, whose result is the job."""
    transport.play("in_progress", "succeeded")

    task: asyncio.Task[Job] = asyncio.create_task(client.wait_for_job("1203"))

    assert (await task).succeeded


async def test_task_group(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A task group runs waiters side by side."""
    transport.play(*["in_progress"] * 3, "succeeded")

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(client.wait_for_job(gid)) for gid in ("1", "2", "3")]

    assert [task.result().gid for task in tasks] == ["1", "2", "3"]


async def test_task_group_collects_errors(client: AsanaClient, transport: ScriptedTransport) -> None:
    """An error of one waiter leaves its task group as an ExceptionGroup, and the siblings are cancelled."""
    transport.play(lambda request: 403 if request.gid == "2" else "in_progress")
    tasks: list[asyncio.Task[Job]] = []

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as group:
            tasks += [group.create_task(client.wait_for_job(gid)) for gid in ("1", "2", "3")]

    assert caught.group_contains(PermissionDeniedError)
    assert [task.cancelled() for task in tasks] == [True, False, True]


async def test_except_star(client: AsanaClient, transport: ScriptedTransport) -> None:
    """`except*` takes the error of a waiter by its class."""
    transport.play("in_progress")
    late: list[str] = []

    try:
        async with asyncio.TaskGroup() as group:
            for gid in ("1", "2"):
                group.create_task(client.wait_for_job(gid, timeout=10 * int(gid)))
    except* JobTimeoutError as errors:
        late += [error.gid for error in errors.exceptions if isinstance(error, JobTimeoutError)]

    assert late == ["1"]


async def test_gather(client: AsanaClient, transport: ScriptedTransport) -> None:
    """`gather` takes waiters and gives their jobs in order."""
    transport.play(*["in_progress"] * 3, "succeeded")

    jobs = await asyncio.gather(client.wait_for_job("1"), client.wait_for_job("2"))

    assert [job.gid for job in jobs] == ["1", "2"]


async def test_gather_returns_exceptions(client: AsanaClient, transport: ScriptedTransport) -> None:
    """`gather` with return_exceptions gives the error of a waiter in its place."""
    transport.play("in_progress")

    outcome = await asyncio.gather(client.wait_for_job("1", timeout=5), return_exceptions=True)

    assert isinstance(outcome[0], JobTimeoutError)


async def test_as_completed(client: AsanaClient, clock: FakeClock, transport: ScriptedTransport) -> None:
    """`as_completed` gives the jobs in the order in which they finish."""
    ends = {"1": 9.0, "2": 3.0, "3": 6.0}
    transport.play(
        lambda request: "succeeded" if clock.monotonic() >= ends[request.gid or ""] else "in_progress"
    )

    order = [
        (await done).gid
        for done in asyncio.as_completed([client.wait_for_job(g, poll=wait_fixed(1)) for g in ends])
    ]

    assert order == ["2", "3", "1"]


async def test_wait_for(client: AsanaClient, transport: ScriptedTransport) -> None:
    """`asyncio.wait_for` takes a waiter."""
    transport.play("in_progress", "succeeded")

    job = await asyncio.wait_for(client.wait_for_job("1203"), 60)

    assert job.succeeded


def test_asyncio_run() -> None:
    """`asyncio.run` takes a waiter as its main coroutine."""
    client = AsanaClient(
        "test-token", transport=ScriptedTransport("in_progress", "succeeded"), clock=FakeClock()
    )

    job = asyncio.run(client.wait_for_job("1203"))

    assert job.succeeded


async def test_a_task_of_a_waiter_can_be_shown(client: AsanaClient, transport: ScriptedTransport) -> None:
    """The repr and the stack of a task made of a waiter can be printed, as debuggers do."""
    transport.play("succeeded")
    task = asyncio.create_task(client.wait_for_job("1203"))

    assert "JobWaiter" in repr(task)
    task.get_stack()
    await task
    assert "JobWaiter" in repr(task)


# Cancelling, and bounding in time.


async def test_cancelling_a_task_ends_it(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Cancelling the task of a waiter ends it as cancelled."""
    transport.play("in_progress")
    task = asyncio.create_task(client.wait_for_job("1203"))
    await asyncio.sleep(0)

    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_cancelling_before_the_first_step(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A task cancelled before it ran sends nothing, and the waiter can still be used."""
    transport.play("succeeded")
    waiter = client.wait_for_job("1203")
    task = asyncio.create_task(waiter)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert transport.requests == []

    assert (await waiter).succeeded


async def test_a_cancelled_waiter_goes_on_when_awaited(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Awaited again after a cancellation in its sleep, a waiter sleeps the rest of that sleep only."""
    transport.play("not_started", "in_progress", "succeeded")
    waiter = client.wait_for_job("1203", poll=wait_fixed(10))
    task = asyncio.create_task(waiter)
    await clock.sleep(14)
    task.cancel()
    await asyncio.wait([task])

    await waiter

    assert clock.monotonic() == 20
    assert len(transport.requests) == 3


async def test_asyncio_timeout_passes_through(transport: ScriptedTransport) -> None:
    """`asyncio.timeout` around a wait raises TimeoutError, not one of ours, and the waiter goes on afterwards."""
    transport.play("in_progress")
    async with AsanaClient("test-token", transport=transport) as client:
        waiter = client.wait_for_job("1203", poll=wait_fixed(10))
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(25):
                await waiter
        transport.play("succeeded")
        job = await waiter
        ended_at = asyncio.get_running_loop().time()

    assert type(caught.value) is TimeoutError
    assert job.succeeded
    assert ended_at == pytest.approx(30, abs=0.1)


async def test_asyncio_timeout_in_the_loop_body(transport: ScriptedTransport) -> None:
    """`asyncio.timeout` around a loop ends it, and a second loop goes on with what is new."""
    transport.play("not_started")
    async with AsanaClient("test-token", transport=transport) as client:
        waiter = client.wait_for_job("1203", poll=wait_fixed(10))
        seen: list[str | None] = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(25):
                seen += [job.status async for job in waiter]
        transport.play("in_progress", "succeeded")

        assert await states(waiter) == ["in_progress", "succeeded"]


async def test_a_closed_waiter_can_be_awaited(client: AsanaClient, transport: ScriptedTransport) -> None:
    """`close` ends the coroutine a task was driving; the waiter itself goes on when awaited."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")
    waiter.send(None)  # as a task does; it now sleeps until the second look

    waiter.close()

    assert (await waiter).succeeded
    assert len(transport.requests) == 2


# the GET fails for good


async def test_an_error_for_good_is_raised_at_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A look that is refused for good ends the wait without another request."""
    transport.play("in_progress", 403)

    with pytest.raises(PermissionDeniedError) as caught:
        await client.wait_for_job("1203", poll=wait_fixed(1))

    assert caught.value.gid == "1203"
    assert len(transport.requests) == 2
    assert clock.sleeps == [1]


async def test_awaiting_again_after_an_error_looks_again(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """After an error for good, awaiting again looks again, at once."""
    transport.play("in_progress", 403, "succeeded")
    waiter = client.wait_for_job("1203")
    with pytest.raises(PermissionDeniedError):
        await waiter

    job = await waiter

    assert job.succeeded
    assert len(transport.requests) == 3


# two tasks on one waiter


async def test_two_tasks_awaiting_one_waiter(client: AsanaClient, transport: ScriptedTransport) -> None:
    """The second task on a waiter gets a RuntimeError that says what to do, and the first goes on."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")

    async def wait() -> Job:
        return await waiter

    first = asyncio.create_task(wait())
    second = asyncio.create_task(wait())
    await asyncio.wait([first, second])

    with pytest.raises(RuntimeError, match=r"two tasks use one waiter for job 1203: call wait_for_job once"):
        second.result()
    assert first.result().succeeded


async def test_two_tasks_made_of_one_waiter(client: AsanaClient, transport: ScriptedTransport) -> None:
    """The second create_task of a waiter gets the RuntimeError too."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")

    first, second = asyncio.create_task(waiter), asyncio.create_task(waiter)
    await asyncio.wait([first, second])

    with pytest.raises(RuntimeError, match="two tasks use one waiter for job 1203"):
        second.result()
    assert first.result().succeeded


async def test_a_task_and_a_loop_on_one_waiter(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Iterating a waiter that a task drives gives the RuntimeError."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")
    task = asyncio.create_task(waiter)
    await asyncio.sleep(0)

    with pytest.raises(RuntimeError, match="two tasks use one waiter"):
        await anext(waiter)
    assert (await task).succeeded


async def test_one_task_after_the_other(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Two tasks may use one waiter one after the other."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")

    first = await asyncio.create_task(waiter)
    second = await asyncio.create_task(waiter)

    assert first is second


# dropped unused


def drop(waiter: JobWaiter) -> list[warnings.WarningMessage]:
    """Forget the waiter and return the warnings that gave."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del waiter
        gc.collect()
    return [warning for warning in caught if "wait_for_job" in str(warning.message)]


async def test_dropped_unused_warns(client: AsanaClient) -> None:
    """A waiter that was made and never used gives a RuntimeWarning that names it."""
    with pytest.warns(RuntimeWarning, match=r"wait_for_job\('1203'\) was never awaited or iterated"):
        client.wait_for_job("1203")


async def test_dropped_after_use_does_not_warn(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A waiter that was used, even in part, is dropped without a warning."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203")
    await anext(waiter)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del waiter
        gc.collect()


async def test_dropped_before_the_first_turn_of_a_loop_does_not_warn(client: AsanaClient) -> None:
    """A waiter that was handed to a loop counts as used, even if the loop never came to its first turn."""
    waiter = client.wait_for_job("1203")
    aiter(waiter)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        del waiter
        gc.collect()


# any tenacity strategy


async def test_wait_fixed(client: AsanaClient, clock: FakeClock, transport: ScriptedTransport) -> None:
    """`wait_fixed` as poll sleeps the same before each look but the first."""
    transport.play(*["in_progress"] * 3, "succeeded")

    await client.wait_for_job("1203", poll=wait_fixed(7))

    assert clock.sleeps == [7, 7, 7]


async def test_wait_exponential(client: AsanaClient, clock: FakeClock, transport: ScriptedTransport) -> None:
    """`wait_exponential` as poll doubles."""
    transport.play(*["in_progress"] * 5, "succeeded")

    await client.wait_for_job("1203", poll=wait_exponential(max=10))

    assert clock.sleeps == [1, 2, 4, 8, 10]


async def test_wait_chain(client: AsanaClient, clock: FakeClock, transport: ScriptedTransport) -> None:
    """`wait_chain` as poll goes through its parts and stays at the last."""
    transport.play(*["in_progress"] * 4, "succeeded")

    await client.wait_for_job("1203", poll=wait_chain(wait_fixed(1), wait_fixed(3), wait_fixed(9)))

    assert clock.sleeps == [1, 3, 9, 9]


async def test_wait_random(client: AsanaClient, clock: FakeClock, transport: ScriptedTransport) -> None:
    """`wait_random` as poll sleeps within its bounds."""
    transport.play(*["in_progress"] * 10, "succeeded")

    await client.wait_for_job("1203", poll=wait_random(2, 3))

    assert len(clock.sleeps) == 10
    assert all(2 <= sleep <= 3 for sleep in clock.sleeps)


async def test_a_sum_of_strategies(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Strategies that were added up work as tenacity says."""
    transport.play(*["in_progress"] * 2, "succeeded")

    await client.wait_for_job("1203", poll=wait_fixed(1) + wait_exponential())

    assert clock.sleeps == [2, 3]


async def test_a_policy_in_a_sum_or_a_chain(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A policy among strategies decides as they do, by the seconds since the wait began."""
    policy = PollPolicy(initial=20, maximum=5, lag_price=100)
    transport.play(*["in_progress"] * 4, "succeeded")

    await client.wait_for_job("1203", poll=wait_chain(wait_fixed(1), wait_fixed(2), policy + wait_fixed(1)))

    assert clock.sleeps == [1, 2, 18, 6]


@pytest.mark.parametrize("where", ["sum", "chain", "nested"])
async def test_the_patience_of_a_policy_in_a_sum_or_a_chain_holds(
    where: str, client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The first policy among strategies says how long trouble may last, and not the client's."""
    hasty, patient = PollPolicy(give_up_after=20), PollPolicy(give_up_after=5000)
    poll = {
        "sum": wait_fixed(1) + hasty + patient,
        "chain": wait_chain(wait_fixed(1), hasty, patient),
        "nested": wait_chain(wait_fixed(1), wait_fixed(1) + hasty),
    }[where]
    transport.play(503)

    with pytest.raises(ServerError):
        await client.wait_for_job("1203", poll=poll)

    assert 20 <= clock.monotonic() < 60


async def test_a_callable_of_ones_own(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Any function of tenacity's call state is a strategy, and sees the job of the last look."""
    transport.play("not_started", "in_progress", "succeeded")
    seen: list[tuple[int, str | None]] = []

    def wait(state: RetryCallState) -> float:
        assert state.outcome is not None
        job: Job = state.outcome.result()
        seen.append((state.attempt_number, job.status))
        return 5 if job.status == "not_started" else 1

    await client.wait_for_job("1203", poll=wait)

    assert clock.sleeps == [5, 1]
    assert seen == [(1, "not_started"), (2, "in_progress")]


async def test_a_strategy_that_never_waits_lets_others_run(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Even a strategy of no wait at all does not go faster than the budget of the token."""
    transport.play("in_progress")

    with pytest.raises(JobTimeoutError):
        await client.wait_for_job("1203", poll=wait_fixed(0), timeout=60)

    assert len(transport.requests) <= 1500


async def test_an_error_in_a_strategy_is_raised(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A strategy that raises ends the wait with its own error."""
    transport.play("in_progress")

    def wait(_: RetryCallState) -> float:
        raise LookupError("no idea")

    with pytest.raises(LookupError, match="no idea"):
        await client.wait_for_job("1203", poll=wait)


class _Strategist:
    """Something that can be called, and has a method to wait."""

    async def __call__(self, state: RetryCallState) -> float:
        return 1.0


async def _politely(_: RetryCallState) -> float:
    return 1.0


NO_STRATEGIES: list[tuple[Any, str]] = [
    (5, "not 5: write poll=wait_fixed(5) (from tenacity) to look at equal distances"),
    (2.5, "not 2.5: write poll=wait_fixed(2.5) "),
    (timedelta(minutes=2), "not timedelta(0:02:00): write poll=wait_fixed(120) "),
    (-1, "not -1: write poll=wait_fixed(5) "),
    (float("nan"), "not float: write poll=wait_fixed(5) "),
    (10**400, "write poll=wait_fixed(5) "),
    (10**9000, "not int: write poll=wait_fixed(5) "),
    (True, "not bool: write poll=wait_fixed(5) "),
    ("fast", "not 'fast': write poll=wait_fixed(5) "),
    ([wait_fixed(5)], "write poll=wait_fixed(5) "),
    (wait_exponential, "not the class wait_exponential itself: write poll=wait_exponential() or wait_fixed(5)"),
    (wait_fixed, "not the class wait_fixed itself: write poll=wait_fixed(5)"),
    (PollPolicy, "not the class PollPolicy itself: write poll=PollPolicy() or wait_fixed(5)"),
    (RetryPolicy, "not the class RetryPolicy itself: write poll=wait_fixed(5)"),
    (int, "not the class int itself: write poll=wait_fixed(5)"),
    (RetryPolicy(), "not RetryPolicy: write poll=wait_fixed(5) "),
    ("1/1203:0123abc", "not str: write poll=wait_fixed(5) "),
    (_politely, "write poll=wait_fixed(5) "),
    (stop_after_delay(5), "stop_after_delay says when to stop: write timeout=..."),
    (AsyncRetrying(wait=wait_fixed(5)), "not AsyncRetrying(...): write poll=retrying.wait"),
]  # fmt: skip


@pytest.mark.parametrize(("poll", "advice"), NO_STRATEGIES, ids=lambda value: f"{type(value).__name__}")
async def test_what_is_no_strategy_is_refused_at_once(
    poll: Any, advice: str, client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A number, a word or a class as poll is a ValueError wherever a wait is made, which shows what to write."""
    complaint = f"^poll must be a.*{re.escape(advice)}"
    with pytest.raises(ValueError, match=complaint):
        client.wait_for_job("1203", poll=poll)
    with pytest.raises(ValueError, match=complaint):
        client.monitor_jobs(poll=poll)
    with pytest.raises(ValueError, match=complaint):
        await client.check_job("1203", poll=poll)
    with pytest.raises(ValueError, match=complaint):
        wait_for_job("1203", poll=poll, token="token")
    with pytest.raises(ValueError, match=r"^poll must be a PollPolicy"):
        AsanaClient("token", poll=poll)

    assert transport.requests == []


def test_a_client_takes_a_policy_and_says_where_strategies_go() -> None:
    """What every wait of a client goes by is a policy; a strategy belongs to one wait."""
    with pytest.raises(ValueError) as caught:
        AsanaClient("token", poll=wait_fixed(5))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    assert str(caught.value) == (
        "poll must be a PollPolicy here, not wait_fixed; wait_for_job(job, poll=...) takes a wait strategy"
    )


@pytest.mark.parametrize(
    ("poll", "complaint"),
    [
        (5, "a PollPolicy here, not 5; wait_for_job(job, poll=wait_fixed(5)) takes a wait strategy"),
        (
            timedelta(minutes=2),
            "a PollPolicy here, not timedelta(0:02:00); wait_for_job(job, poll=wait_fixed(120)) takes a wait strategy",
        ),
        (wait_exponential, "a PollPolicy, not the class wait_exponential itself: write poll=PollPolicy()"),
        (PollPolicy, "a PollPolicy, not the class PollPolicy itself: write poll=PollPolicy()"),
    ],
)
def test_a_client_advises_nothing_that_it_refuses(poll: Any, complaint: str) -> None:
    """What it shows instead of a number or a class is a policy, or where a strategy may stand."""
    with pytest.raises(ValueError, match=f"^poll must be {re.escape(complaint)}$"):
        AsanaClient("token", poll=poll)


@pytest.mark.parametrize(
    ("answer", "slept"),
    [
        (timedelta(seconds=2.5), 2.5),
        (timedelta(0), 0.0),
        (2, 2.0),
        (Decimal("2.5"), 2.5),
        (Fraction(5, 2), 2.5),
        (0, 0.0),
    ],
)
async def test_a_strategy_may_answer_any_number_or_a_timedelta(
    answer: Any, slept: float, client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Seconds of whatever type are seconds."""
    transport.play("in_progress", "succeeded")

    await client.wait_for_job("1203", poll=lambda _: answer)

    assert [seconds for seconds in clock.sleeps if seconds] == ([slept] if slept else [])


NO_GAPS: list[tuple[Any, str]] = [
    (None, "answered None"),
    (float("inf"), "answered inf"),
    (float("nan"), "answered nan"),
    (-0.5, "answered -0.5"),
    (timedelta(seconds=-1), "answered -1.0"),
    ("5", "answered '5'"),
    (True, "answered True"),
    (1j, "answered 1j"),
    (10**400, "answered 1000"),
    (10**9000, "answered a number beyond all bounds"),
    (Decimal("sNaN"), "answered Decimal('sNaN')"),
    ([5], "answered [5]"),
]


@pytest.mark.parametrize(
    ("answer", "what"), NO_GAPS, ids=lambda value: f"{value!r:.20}" if isinstance(value, str) else ""
)
async def test_a_strategy_that_answers_no_seconds_ends_the_wait(
    answer: Any, what: str, client: AsanaClient, transport: ScriptedTransport
) -> None:
    """None, infinity, NaN, a negative number or text is an error that names poll and the strategy, each time."""
    transport.play("in_progress")

    def moody(_: RetryCallState) -> Any:
        return answer

    waiter = client.wait_for_job("1203", poll=moody)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=rf"^poll must answer finite seconds.* a timedelta; moody {re.escape(what)}"
        ):
            await waiter
    with pytest.raises(ValueError, match=r"^poll must answer"):
        await client.check_job("1203", poll=moody)
    monitor = client.monitor_jobs(["1204"], poll=moody)
    with pytest.raises(ExceptionGroup) as group:
        async with monitor:
            async for _ in monitor:
                pass
    assert [str(error)[:16] for error in group.value.exceptions] == ["poll must answer"]


async def test_a_strategy_that_has_to_be_awaited_ends_the_wait(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """An object whose call is a coroutine says that a plain function is needed, and leaves no warning behind."""
    transport.play("in_progress")

    strategist: Any = _Strategist()
    with pytest.raises(ValueError, match=r"_Strategist has to be awaited: write a plain function$"):
        await client.wait_for_job("1203", poll=strategist)


# what it shows of itself


async def test_repr(client: AsanaClient, transport: ScriptedTransport) -> None:
    """The repr says which job, what was seen of it and how often it was looked at."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")
    before = repr(waiter)
    await waiter

    assert before == "<JobWaiter job 1203: not seen yet, 0 looks>"
    assert repr(waiter) == "<JobWaiter job 1203: succeeded, 2 looks>"


# arguments


@pytest.mark.parametrize(
    "job", ["", "12a", "१२", "-1", " 12", 12, None, ["12"], {"name": "no gid"}, {"gid": 12}, b"12"]
)
def test_a_job_that_is_none(client: AsanaClient, job: object) -> None:
    """What is neither job, gid, answer nor token is a ValueError before any request."""
    with pytest.raises(ValueError):
        client.wait_for_job(job)  # type: ignore[arg-type]


async def test_an_answer_of_the_official_sdk(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A mapping with a gid is taken as the job it describes."""
    transport.play("succeeded")

    seen = await states(client.wait_for_job({"gid": "1203", "status": "in_progress", "new_project": None}))

    assert seen == ["in_progress", "succeeded"]


async def test_opt_fields_always_ask_for_the_status(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """The status is asked for although opt_fields leaves it out."""
    transport.play("succeeded")

    await client.wait_for_job("1203", opt_fields=["new_project.name"])

    assert transport.requests[0].query == "opt_fields=new_project.name,status"
