"""Cancelled at whichever await: the cancellation comes out, every place is given back, and the client still works."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from itertools import count
from typing import Any, cast

import pytest
from tenacity import wait_fixed

from asana_jobs import AsanaClient, DuplicateProject, RateLimits, Response, RetryPolicy
from asana_jobs._sansio import Request
from asana_jobs.errors import AsanaJobsError
from asana_jobs.testing._clock import FakeClock
from asana_jobs.testing._transport import Answer, ScriptedTransport


Call = Callable[[AsanaClient], Awaitable[object]]


async def iterate(client: AsanaClient) -> list[str | None]:
    """A whole loop."""
    return [job.status async for job in client.wait_for_job("1203", poll=wait_fixed(3))]


async def several(client: AsanaClient) -> None:
    """Several waits in one task group."""
    async with asyncio.TaskGroup() as group:
        for gid in ("1203", "1203", "1204"):
            group.create_task(client.wait_for_job(gid))


CALLS: dict[str, Call] = {
    "get_job": lambda client: client.get_job("1203"),
    "wait_for_job": lambda client: client.wait_for_job("1203"),
    "wait_for_job with a timeout": lambda client: client.wait_for_job("1203", timeout=600),
    "wait_for_job with a strategy": lambda client: client.wait_for_job("1203", poll=wait_fixed(3)),
    "wait_for_job, iterated": iterate,
    "several": several,
    "check_job": lambda client: client.check_job("1203"),
    "duplicate_project": lambda client: client.duplicate_project("77", name="Q3"),
    "export_graph": lambda client: client.export_graph("77"),
    "run": lambda client: client.run(DuplicateProject("77", name="Q3")),
    "request": lambda client: client.request("GET", "/users/me"),
}


class Interrupted:
    """Awaits something and cancels its own task at the n-th suspension.

    Args:
        late: Cancel only in the moment in which what is awaited there is done, so that its result is lost.
        act: What to do instead of cancelling.
    """

    def __init__(
        self,
        awaitable: Awaitable[object],
        at: int,
        *,
        late: bool = False,
        act: Callable[[], object] | None = None,
    ) -> None:
        self._awaitable = awaitable
        self._at = at
        self._late = late
        self._act = act
        self.suspensions = 0

    def __await__(self) -> Generator[Any, Any, object]:
        inner = self._awaitable.__await__()
        try:
            waiting_for = next(inner)
            while True:
                self.suspensions += 1
                if self.suspensions == self._at:
                    self._cancel(waiting_for)
                try:
                    value = yield waiting_for
                except BaseException as error:  # noqa: BLE001  # a task throws what it likes
                    waiting_for = inner.throw(error)
                else:
                    waiting_for = inner.send(value)
        except StopIteration as end:
            return end.value

    def _cancel(self, waiting_for: object) -> None:
        task = asyncio.current_task()
        assert task is not None
        act = self._act or task.cancel
        if self._late and isinstance(waiting_for, asyncio.Future):
            future = cast("asyncio.Future[object]", waiting_for)
            future.add_done_callback(lambda _: act())
        else:
            asyncio.get_running_loop().call_soon(act)


class World:
    """A client, a server that makes trouble first, and somebody else who uses the client too."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.transport = ScriptedTransport(self.answer, clock=self.clock, latency=1)
        self.seen: Counter[tuple[str, str]] = Counter()
        self.tokens = 0
        self.calm = False
        self.client = AsanaClient(
            self.provide,
            transport=self.transport,
            clock=self.clock,
            limits=RateLimits(requests_per_minute=600, reads_in_flight=3, writes_in_flight=1, jobs_running=1),
            retry=RetryPolicy(jitter=0),
        )

    async def provide(self) -> str:
        """A token, after a while."""
        await self.clock.sleep(0.5)
        self.tokens += 1
        return f"token-{self.tokens}"

    def answer(self, request: Request) -> Answer:
        """Refuse the token, then limit, then work."""
        if str(request.authorization) == "Bearer token-1":
            return 401
        if self.calm:
            return {"gid": request.gid or "1", "status": "succeeded"}
        key = (request.method, request.path)
        self.seen[key] += 1
        if self.seen[key] == 1:
            return Response(status=429, headers={"retry-after": "2"})
        if request.method == "GET" and self.seen[key] == 2:
            return 503
        if request.method == "POST":
            return {"gid": "1203", "status": "in_progress"}
        return "in_progress" if self.seen[key] < 6 else "succeeded"

    async def check(self) -> None:
        """Everything was given back, and the client still works."""
        budget = self.client.budget
        assert (budget.reads_in_flight, budget.writes_in_flight) == (0, 0)
        assert set(budget.waiting.values()) == {0}
        dispatcher = self.client._poller._dispatcher  # pyright: ignore[reportPrivateUsage]
        assert len(dispatcher) == 0
        self.calm = True
        self.transport.latency = 0.0
        reads = await asyncio.gather(*(self.client.get_job(str(gid)) for gid in range(5000, 5050)))
        assert len(reads) == 50
        assert (await self.client.run(DuplicateProject("79", name="Q5"))).succeeded
        assert (await self.client.wait_for_job("1205")).succeeded


@pytest.mark.parametrize("late", [False, True], ids=["at once", "as it is done"])
@pytest.mark.parametrize("company", [False, True], ids=["alone", "in company"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_cancelled_at_every_await(call: Call, company: bool, late: bool) -> None:
    """A call cancelled at any of its awaits is cancelled, leaves no task and no place taken, and hurts nobody else."""
    before = asyncio.all_tasks()
    for at in count(1):
        world = World()
        others = [asyncio.create_task(world.client.wait_for_job("1203"))] if company else []
        interrupted = Interrupted(call(world.client), at, late=late)
        task = asyncio.ensure_future(interrupted)

        await asyncio.wait([task], timeout=100)
        assert task.done()
        if interrupted.suspensions < at:
            # It was over before its turn to be cancelled came.
            task.result()
            await asyncio.gather(*others)
            await world.client.close()
            break
        assert task.cancelled(), f"at suspension {at} the cancellation was swallowed: {task!r}"
        for other in others:
            assert (await other).succeeded
        left = asyncio.all_tasks() - before
        assert not left, f"cancelled at suspension {at}, tasks were left: {left}"
        await world.check()
        await world.client.close()


def close_in_a_task(client: AsanaClient, closing: list[asyncio.Task[None]]) -> None:
    """Close the client from outside the call."""
    closing.append(asyncio.get_running_loop().create_task(client.close()))


def flat(error: BaseException | None) -> list[BaseException]:
    """The errors in an error, which may be a group."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [one for member in group.exceptions for one in flat(member)]
    return [] if error is None else [error]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_closed_at_every_await(call: Call) -> None:
    """A call whose client is closed at any of its awaits ends with an error of ours, and leaves no task."""
    before = asyncio.all_tasks()
    for at in count(1):
        world = World()
        closing: list[asyncio.Task[None]] = []
        act = partial(close_in_a_task, world.client, closing)
        interrupted = Interrupted(call(world.client), at, act=act)
        task = asyncio.ensure_future(interrupted)
        await asyncio.wait([task], timeout=100)
        assert task.done()
        if not closing:
            task.result()
            await world.client.close()
            break
        await asyncio.wait(closing)
        error = task.exception()
        errors = flat(error)
        assert errors
        assert all(isinstance(one, AsanaJobsError) for one in errors), f"closed at suspension {at}: {errors}"
        assert asyncio.all_tasks() - before == set()
        assert world.client.budget.reads_in_flight == 0
        assert world.client.budget.writes_in_flight == 0


async def test_cancelling_close_still_closes() -> None:
    """A close that is cancelled has closed the client."""
    world = World()
    call = asyncio.create_task(world.client.get_job("1203"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(world.client.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing, call])

    with pytest.raises(AsanaJobsError):
        call.result()
    with pytest.raises(AsanaJobsError):
        await world.client.get_job("1203")


async def test_a_cancelled_waiter_finishes_when_awaited() -> None:
    """A waiter cancelled at any of its awaits goes on when it is awaited again, and gives the job."""
    for at in count(1):
        world = World()
        waiter = world.client.wait_for_job("1203")
        interrupted = Interrupted(waiter, at, late=at % 2 == 0)
        task = asyncio.ensure_future(interrupted)
        await asyncio.wait([task])

        assert (await waiter).succeeded
        await world.client.close()
        if interrupted.suspensions < at:
            break
        assert task.cancelled()


async def test_many_cancelled_at_once() -> None:
    """A hundred waits cancelled together leave the client as it was."""
    world = World()
    waits = [asyncio.create_task(world.client.wait_for_job(str(gid))) for gid in range(1, 101)]
    await world.clock.sleep(7)
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)

    assert all(wait.cancelled() for wait in waits)
    await world.check()
    await world.client.close()
