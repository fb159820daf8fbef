"""Every public call, ended at whichever suspension: of its own, or of any task it has made.

It is over at once or when requests that are under way are answered; no task, place, slot, file or socket is left; and
the client still works. ``PYTHONPATH=tests python tests/campaign/test_cancellation.py`` goes through all of them; the
suite leaves some of the hundreds of a bulk run out.
"""

import asyncio
import os
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import pytest
from as_command import print_lines
from file_server import LINK, FileServer
from public_calls import CALLS, Call, Family, Place, briefly, wait_for_all
from tenacity import wait_fixed

from asana_jobs import (
    AsanaClient,
    Check,
    DuplicateProject,
    JobWaiter,
    Ledger,
    Outcome,
    RateLimits,
    Response,
    RetryPolicy,
)
from asana_jobs._client.bulk.ledger_rows import LedgerState
from asana_jobs._client.http.protocol import Request
from asana_jobs.errors import AsanaJobsError, ClientClosedError
from asana_jobs.testing import AsanaSimulator, SimulatorLimits
from asana_jobs.testing._scripted_transport import ScriptedAnswer, ScriptedTransport


async def _several(at: Place) -> None:
    async with asyncio.TaskGroup() as group:
        for gid in (at.gid, at.gid, "1204"):
            group.create_task(at.client.wait_for_job(gid))


#: Without a client of their own, and with some more ways to wait.
CALLS_OF_A_CLIENT: Final = {
    **{name: call for name, call in CALLS.items() if not name.startswith("asana_jobs.")},
    "wait_for_job, strategy": Call(
        Family.WAIT, lambda at: at.client.wait_for_job(at.gid, poll=wait_fixed(3))
    ),
    "wait_for_job, several": Call(Family.WAIT, _several),
}
#: Virtual seconds after which a call hangs.
TOO_LONG: Final = 1_000
#: Seconds until an answer, and until a token.
ROUND_TRIP: Final = 0.5
#: The job that has a file.
EXPORT: Final = "1299"


# --- Ending something at its n-th suspension


class Steps:
    """Counts the suspensions of some tasks together, and acts at one of them.

    Args:
        at: At which one. ``late``: only in the moment in which what is awaited there is done.
    """

    def __init__(self, at: int, *, late: bool = False) -> None:
        self.at = at
        self.taken = 0
        self.acted = False
        self.act: Callable[[], object] = lambda: None
        self._late = late

    def make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, Any] | Generator[Any, Any, Any],
        **options: Any,
    ) -> asyncio.Task[Any]:
        """Make a task whose suspensions are counted: a task factory."""
        return asyncio.Task(Counted(cast("Coroutine[Any, Any, Any]", work), self), loop=loop, **options)

    def suspended(self, waiting_for: object) -> None:
        """Count one."""
        self.taken += 1
        if self.taken != self.at:
            return
        if self._late and isinstance(waiting_for, asyncio.Future):
            future = cast("asyncio.Future[object]", waiting_for)
            future.add_done_callback(lambda _: self.act())
        else:
            asyncio.get_running_loop().call_soon(self.act)


class Counted(Coroutine[Any, Any, Any]):
    """A coroutine whose suspensions are counted."""

    def __init__(self, inner: Coroutine[Any, Any, Any], steps: Steps) -> None:
        self._inner = inner
        self._steps = steps

    def send(self, value: Any, /) -> Any:
        """Go on to the next suspension."""
        waiting_for = self._inner.send(value)
        self._steps.suspended(waiting_for)
        return waiting_for

    def throw(self, *error: Any) -> Any:
        """Go on with an error."""
        waiting_for = self._inner.throw(*error)
        self._steps.suspended(waiting_for)
        return waiting_for

    def close(self) -> None:
        """End it."""
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._inner.__await__()


async def _until_done(awaitable: Awaitable[object]) -> object:
    return await awaitable


# --- Where the calls are made


class World:
    """A client, and a server that makes trouble first; without a socket, on the loop's time."""

    def __init__(self, folder: Path) -> None:
        self.seen: Counter[tuple[str, str]] = Counter()
        self.started: Counter[bytes] = Counter()
        self.tokens = 0
        self.calm = False
        self.folder = folder
        folder.mkdir()
        self.transport = ScriptedTransport(self.answer)
        self.client = AsanaClient(
            self.provide,
            transport=self.transport,
            limits=RateLimits(requests_per_minute=600, reads_in_flight=3, writes_in_flight=1, jobs_running=2),
            retry=RetryPolicy(jitter=0),
        )
        self.client._downloads = FileServer()  # pyright: ignore[reportPrivateUsage]

    def place(self, call: Call) -> Place:
        """What a call needs."""
        gid = EXPORT if call.family is Family.FILE else "1203"
        return Place(client=self.client, gid=gid, folder=self.folder)

    async def provide(self) -> str:
        """A token, after a while."""
        await asyncio.sleep(ROUND_TRIP)
        self.tokens += 1
        return f"token-{self.tokens}"

    async def answer(self, request: Request) -> ScriptedAnswer:
        """Refuse the token, then limit, then fail, then work."""
        await asyncio.sleep(ROUND_TRIP)
        if str(request.authorization) == "Bearer token-1":
            return 401
        self.seen[request.method, request.path] += 1
        seen = self.seen[request.method, request.path]
        if seen == 1 and not self.calm:
            return Response(status=429, headers={"retry-after": "2"})
        if request.method == "POST":
            return self._start(request)
        if seen == 2 and not self.calm:
            return 503
        export = {"gid": "9", "resource_type": "graph_export", "download_url": LINK}
        status = "succeeded" if seen > 3 or self.calm or request.gid == EXPORT else "in_progress"
        return {"gid": request.gid, "resource_type": "job", "status": status, "new_graph_export": export}

    def _start(self, request: Request) -> ScriptedAnswer:
        self.started[f"{request.path} {request.body!r}".encode()] += 1
        gid = str(5_000 + self.started.total())
        if "organization" in request.path:
            return {"gid": gid, "resource_type": "organization_export", "state": "pending"}
        return {"gid": gid, "resource_type": "job", "status": "in_progress"}

    def left(self) -> dict[str, object]:
        """What was not given back."""
        _await_ledgers()
        budget = self.client.budget
        slots = self.client._budget.running_jobs  # pyright: ignore[reportPrivateUsage]
        poller = self.client._poller  # pyright: ignore[reportPrivateUsage]
        counts: dict[str, object] = {
            "reads": budget.reads_in_flight,
            "writes": budget.writes_in_flight,
            "callers": sum(budget.waiting.values()),
            "slots": slots.taken,
            "parked": len(poller.watched),
            "files": open_files(self.folder),
            "ledger rows held": self._held(),
            "started twice": [key for key, times in self.started.items() if times > 1],
        }
        return {name: what for name, what in counts.items() if what}

    def _held(self) -> list[str]:
        path = self.folder / "ledger"
        if not path.exists():
            return []
        with Ledger.open(path) as ledger:
            rows = ledger.rows(
                LedgerState.INTENT, LedgerState.STARTED, LedgerState.REFUSED, LedgerState.UNKNOWN
            )
            return [row.key for row in rows if row.holder is not None]

    async def works(self) -> bool:
        """Whether the client can do everything, at once."""
        self.calm = True
        reads = await asyncio.gather(*(self.client.get_job(str(gid)) for gid in range(7_000, 7_008)))
        run = await self.client.run(DuplicateProject("79", name="Q5"))
        return len(reads) == 8 and run.succeeded and (await self.client.wait_for_job("1205")).succeeded


def _await_ledgers() -> None:
    """A ledger whose closing was cancelled is closed by its thread, in its own time."""
    for thread in threading.enumerate():
        if thread.name.startswith("asana-jobs-ledger"):
            thread.join(timeout=5)
            assert not thread.is_alive()


def open_files(folder: Path) -> list[str]:
    """The files in a folder that this process has open."""
    found: list[str] = []
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208  # names are all that is asked for
        try:
            target = os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115
        except OSError:
            continue  # the listing's own
        if target.startswith(str(folder)):
            found.append(target)
    return found


@asynccontextmanager
async def stepping(steps: Steps) -> AsyncGenerator[None, None]:
    """Count the suspensions of the tasks that are made here."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(cast("Any", steps.make_task))
    try:
        yield
    finally:
        loop.set_task_factory(None)


async def attempt(
    world: World, call: Call, steps: Steps, act: Callable[[asyncio.Task[object]], object]
) -> asyncio.Task[object]:
    """Make a call, act at one of its suspensions, and wait for its end."""
    async with stepping(steps):
        task = asyncio.get_running_loop().create_task(_until_done(call.make(world.place(call))))

        def act_in_time() -> None:
            if not task.done():
                steps.acted = True
                act(task)

        steps.act = act_in_time
        await asyncio.wait([task], timeout=TOO_LONG)
    assert task.done(), f"ended at suspension {steps.at}, it hangs"
    return task


# --- Cancelled


def cancel(task: asyncio.Task[object]) -> None:
    """Cancel it."""
    task.cancel()


async def cancel_everywhere(
    call: Call, folder: Path, *, company: bool, late: bool, first: int = 1, stride: int = 1
) -> int:
    """Cancel a call at every suspension in turn, and check what is left; return how many there were."""
    before = asyncio.all_tasks()
    for at in count(first, stride):
        world = World(folder / str(at))
        others = [asyncio.ensure_future(world.client.wait_for_job("1203"))] if company else []
        steps = Steps(at, late=late)
        task = await attempt(world, call, steps, cancel)
        assert task.cancelled() or not steps.acted, f"cancelled at suspension {at}, it went on: {task!r}"
        closed = [ClientClosedError] if call.family is Family.CLOSE else []
        for other in await wait_for_all(others):
            assert type(other) in closed or other.succeeded
        assert asyncio.all_tasks() - before == set(), f"cancelled at suspension {at}"
        assert world.left() == {}, f"cancelled at suspension {at}"
        if call.family is not Family.CLOSE:
            assert await world.works()
        await world.client.close()
        if steps.taken < at:  # it was over before its turn to be cancelled came
            task.result()
            return steps.taken
    raise AssertionError


#: Calls with hundreds of suspensions, and at which of them the suite looks; the command looks at all.
STRIDES: Final = {"run": 3, "run_all": 7, "run_all, ledger": 31, "wait_for_job, several": 3}


@pytest.mark.parametrize("late", [False, True], ids=["at once", "as it is done"])
@pytest.mark.parametrize("company", [False, True], ids=["alone", "in company"])
@pytest.mark.parametrize("name", briefly(CALLS_OF_A_CLIENT))
async def test_cancelled_at_every_suspension(name: str, company: bool, late: bool, tmp_path: Path) -> None:
    """A call cancelled at any suspension is cancelled, leaves nothing behind, and hurts nobody else."""
    call, stride = CALLS_OF_A_CLIENT[name], STRIDES.get(name, 1)
    first = 1 + (2 * company + late) % stride

    await cancel_everywhere(call, tmp_path, company=company, late=late, first=first, stride=stride)


async def test_a_run_cancelled_anywhere_goes_on_from_its_ledger(tmp_path: Path) -> None:
    """A run with a ledger that is cancelled, and made again, has started each job once and finished all of them."""
    call = CALLS["run_all, ledger"]
    for at in range(1, 200, 12):
        world = World(tmp_path / str(at))
        await attempt(world, call, Steps(at), cancel)
        outcomes = cast("list[Outcome]", await call.make(world.place(call)))

        assert [outcome.succeeded for outcome in outcomes] == [True] * 3
        assert sorted(world.started.values()) == [1] * 3
        await world.client.close()


@pytest.mark.parametrize(
    "name", [name for name, call in CALLS_OF_A_CLIENT.items() if call.family is Family.WAIT]
)
async def test_a_cancelled_wait_begun_again_ends(name: str, tmp_path: Path) -> None:
    """A wait that was cancelled anywhere and is made again on the same client gives the job."""
    call = CALLS_OF_A_CLIENT[name]
    for at in count(1, 4):
        world = World(tmp_path / str(at))
        steps = Steps(at)
        await attempt(world, call, steps, cancel)
        await call.make(world.place(call))
        await world.client.close()
        if steps.taken < at:
            break


def _given(waiter: JobWaiter, _: Place) -> JobWaiter:
    return waiter


async def test_a_cancelled_waiter_finishes_when_awaited(tmp_path: Path) -> None:
    """A waiter cancelled at any of its suspensions goes on when it is awaited again, and gives the job."""
    for at in count(1):
        world = World(tmp_path / str(at))
        waiter = world.client.wait_for_job("1203")
        steps = Steps(at, late=at % 2 == 0)
        task = await attempt(world, Call(Family.WAIT, partial(_given, waiter)), steps, cancel)

        assert task.cancelled() or not steps.acted
        assert (await waiter).succeeded
        await world.client.close()
        if steps.taken < at:
            break


async def test_many_cancelled_at_once(tmp_path: Path) -> None:
    """A hundred waits cancelled together leave the client as it was."""
    world = World(tmp_path / "folder")
    waits = [asyncio.ensure_future(world.client.wait_for_job(str(gid))) for gid in range(1, 101)]
    await asyncio.sleep(7)
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)

    assert all(wait.cancelled() for wait in waits)
    assert world.left() == {}
    assert await world.works()
    await world.client.close()


# --- Every task of the client, cancelled by somebody else


Choose = Callable[[list[asyncio.Task[Any]], int], list[asyncio.Task[Any]]]


def every(tasks: list[asyncio.Task[Any]], _: int) -> list[asyncio.Task[Any]]:
    """All of them, as who ends a program in haste does."""
    return tasks


def one(tasks: list[asyncio.Task[Any]], at: int) -> list[asyncio.Task[Any]]:
    """One of them, another one each time."""
    ordered = sorted(tasks, key=lambda task: task.get_name())
    return ordered[at % len(ordered) :][:1] if ordered else []


async def cancel_the_client_everywhere(
    call: Call, folder: Path, choose: Choose, *, company: bool, first: int = 1, stride: int = 1
) -> int:
    """Cancel tasks of the client, but no caller, at every suspension in turn; return how many there were."""
    before = asyncio.all_tasks()
    for at in count(first, stride):
        world = World(folder / str(at))
        others = [asyncio.ensure_future(world.client.wait_for_job("1203"))] if company else []
        steps = Steps(at)

        def cancel_others(caller: asyncio.Task[object], at: int = at, callers: Any = others) -> None:
            for task in choose(list(asyncio.all_tasks() - before - {caller, *callers}), at):
                task.cancel()

        task = await attempt(world, call, steps, cancel_others)
        errors = flat(None if task.cancelled() else task.exception())
        assert not task.cancelled(), f"at suspension {at}, a caller was cancelled along"
        assert all(isinstance(error, AsanaJobsError | RuntimeError) for error in errors), errors
        if call.family is Family.RUN and not errors and isinstance(task.result(), list):
            assert len(cast("list[Outcome]", task.result())) == 3, f"at suspension {at}, an outcome was lost"
        if call.family is not Family.RUN:
            assert errors == [], f"at suspension {at}"
        closed = [ClientClosedError] if call.family is Family.CLOSE else []
        done, hanging = await asyncio.wait(others, timeout=TOO_LONG) if others else ((), ())
        assert not hanging, f"at suspension {at}, somebody else hangs"
        for other in await wait_for_all(list(done)):
            assert type(other) in closed or other.succeeded
        assert asyncio.all_tasks() - before == set(), f"cancelled at suspension {at}"
        assert world.left() == {}, f"cancelled at suspension {at}"
        if call.family is not Family.CLOSE:
            assert await world.works()
        if "ledger" in [path.name for path in world.folder.iterdir()]:
            with Ledger.open(world.folder / "ledger") as ledger:
                states = [row.state for row in ledger.rows()]
            outcomes = cast("list[Outcome]", await call.make(world.place(call)))
            succeeded = [outcome for outcome in outcomes if outcome.succeeded]
            assert len(outcomes) == 3
            assert len(succeeded) == 3 - states.count(LedgerState.UNKNOWN)
            assert set(world.started.values()) == {1}
        await world.client.close()
        if steps.taken < at:
            return steps.taken
    raise AssertionError


@pytest.mark.parametrize("choose", [every, one])
@pytest.mark.parametrize("company", [False, True], ids=["alone", "in company"])
@pytest.mark.parametrize("name", briefly(CALLS_OF_A_CLIENT))
async def test_tasks_of_the_client_cancelled_at_every_suspension(
    name: str, company: bool, choose: Choose, tmp_path: Path
) -> None:
    """Whoever cancels tasks of the client: no caller hangs, each is answered or told, and no job starts twice."""
    call, stride = CALLS_OF_A_CLIENT[name], STRIDES.get(name, 1)

    await cancel_the_client_everywhere(
        call, tmp_path, choose, company=company, first=1 + company, stride=stride
    )


# --- Closed


def flat(error: BaseException | None) -> list[BaseException]:
    """The errors that a group is made of."""
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        return [one for member in group.exceptions for one in flat(member)]
    return [] if error is None else [error]


@pytest.mark.parametrize(
    "name", briefly({name: call for name, call in CALLS_OF_A_CLIENT.items() if name != "close"})
)
async def test_closed_at_every_suspension(name: str, tmp_path: Path) -> None:
    """A call whose client is closed at any suspension ends with an error of ours, and leaves nothing behind."""
    call, stride = CALLS_OF_A_CLIENT[name], STRIDES.get(name, 1)
    before = asyncio.all_tasks()
    for at in count(1, stride):
        world = World(tmp_path / str(at))
        closing: list[asyncio.Task[None]] = []
        steps = Steps(at)
        task = await attempt(world, call, steps, partial(_close, world, closing))
        if steps.taken < at:
            task.result()
            await world.client.close()
            break
        await asyncio.wait(closing or [task])
        errors = flat(task.exception())
        # Outcomes and a check tell of errors themselves, and a file may have come whole before.
        told = not errors and (isinstance(task.result(), list | Check) or call.family is Family.FILE)
        assert errors or told or not steps.acted, f"closed at suspension {at}, it went on: {task!r}"
        assert all(isinstance(one, AsanaJobsError) for one in errors), f"closed at suspension {at}: {errors}"
        assert asyncio.all_tasks() - before == set(), f"closed at suspension {at}"
        assert world.left() == {}, f"closed at suspension {at}"
        await world.client.close()


def _close(world: World, closing: list[asyncio.Task[None]], _: asyncio.Task[object]) -> None:
    closing.append(asyncio.Task(world.client.close()))  # not counted


async def test_cancelling_close_still_closes(tmp_path: Path) -> None:
    """A close that is cancelled has closed the client."""
    world = World(tmp_path / "folder")
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


# --- Over real sockets


def sockets() -> int:
    """How many sockets this process has open."""
    found = 0
    for descriptor in os.listdir("/proc/self/fd"):  # noqa: PTH208  # names are all that is asked for
        try:
            found += os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")  # noqa: PTH115
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", CALLS)
async def test_no_socket_and_no_file_is_left(name: str, tmp_path: Path) -> None:
    """A call over HTTP that is cancelled at any of its own suspensions leaves no socket once its client is closed."""
    call = CALLS[name]
    limits = SimulatorLimits.unlimited()
    async with AsanaSimulator(limits=limits, durations=2, latency=0.2, link_seconds=9_000) as simulator:
        simulator.add_job(EXPORT, ["succeeded"], kind="export_graph", lines=50)
        before, tasks = sockets(), asyncio.all_tasks()
        for at in count(1, 3 if name.startswith("run_all") else 1):
            folder = tmp_path / str(at)
            folder.mkdir()
            steps = Steps(at)
            async with AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid()) as client:
                gid = EXPORT if call.family is Family.FILE else str(2_000 + at)
                place = Place(client=client, gid=gid, folder=folder, base_url=simulator.base_url)
                task = asyncio.Task(Counted(_until_done(call.make(place)), steps))
                steps.act = task.cancel
                await asyncio.wait([task], timeout=TOO_LONG)
            assert task.done()
            _await_ledgers()
            await asyncio.sleep(5)  # the server learns that it is alone

            assert sockets() == before, f"cancelled at suspension {at}"
            assert open_files(folder) == [], f"cancelled at suspension {at}"
            assert [one for one in asyncio.all_tasks() - tasks if "RequestHandler" not in repr(one)] == []
            if steps.taken < at:
                break


# --- As a command


async def _lines(folder: Path) -> AsyncGenerator[str, None]:
    yield "suspensions of every call, at each of which it was cancelled: alone or in company, at once or as it is done"
    for name, call in CALLS_OF_A_CLIENT.items():
        counts: list[int] = []
        for number, (company, late) in enumerate(
            [(False, False), (False, True), (True, False), (True, True)]
        ):
            here = folder / f"{name} {number}"
            here.mkdir()
            counts.append(await cancel_everywhere(call, here, company=company, late=late))
        yield f"{name:<28} {' '.join(f'{steps:>6}' for steps in counts)}"


if __name__ == "__main__":
    print_lines(_lines)
