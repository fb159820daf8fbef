"""The end of the program, Ctrl-C or `sys.exit`, arrives in a task of the client, at whichever suspension.

Without the handler of `asyncio.run`, ``KeyboardInterrupt`` is raised in whatever runs. The loop raises it once more to
who runs it, and the task it came in is over. A program that runs its loop again, with or without cancelling what it
does, is not left waiting, and no job starts twice.
"""

import asyncio
from collections.abc import Awaitable, Generator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, cast

import looptime
import pytest
from public_calls import Call, Family, briefly
from test_cancellation import CALLS_OF_A_CLIENT, ROUND_TRIP, TOO_LONG, Counted, Steps, World, flat

from asana_jobs import AsanaClient, DuplicateProject, Job, Ledger, Outcome
from asana_jobs._client.bulk.ledger_rows import LedgerState
from asana_jobs._client.http.protocol import Request
from asana_jobs.errors import AsanaJobsError, OutcomeUnknownError
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedAnswer, ScriptedTransport


ENDS: Final[tuple[type[BaseException], ...]] = (KeyboardInterrupt, SystemExit)

#: Not where the tasks are those of a caller's own group, which raises the end of the program once more by itself.
CALLS: Final = {name: call for name, call in CALLS_OF_A_CLIENT.items() if name != "wait_for_job, several"}

#: Calls with hundreds of suspensions, and at which of them the suite looks.
STRIDES: Final = {"run_all": 5, "run_all, ledger": 13}

Loop = asyncio.AbstractEventLoop


class Interrupted(Counted):
    """A coroutine that goes on with the end of the program after one of its suspensions."""

    def __init__(self, inner: Any, steps: "InterruptedSteps") -> None:
        super().__init__(inner, steps)
        self._interrupts = steps

    def send(self, value: Any, /) -> Any:
        """Go on to the next suspension."""
        return super().send(value) if self._interrupts.go_on(self) else super().throw(self._interrupts.end())

    def throw(self, *error: Any) -> Any:
        """Go on with an error."""
        return super().throw(*(error if self._interrupts.go_on(self) else [self._interrupts.end()]))


class InterruptedSteps(Steps):
    """Counts the suspensions of the tasks that are made by `make_task`, and ends the program at one of them."""

    def __init__(self, at: int, end: type[BaseException]) -> None:
        super().__init__(at)
        self.end = end
        self._running: Interrupted | None = None
        self._chosen: Interrupted | None = None

    def make_task(self, loop: Loop, work: Any, **options: Any) -> asyncio.Task[Any]:
        """Make a task whose suspensions are counted: a task factory."""
        return asyncio.Task(Interrupted(work, self), loop=loop, **options)

    def go_on(self, coroutine: Interrupted) -> bool:
        """Whether this coroutine goes on as it is told."""
        self._running = coroutine
        chosen = coroutine is self._chosen
        if chosen:
            self._chosen, self.acted = None, True
        return not chosen

    def suspended(self, waiting_for: object) -> None:
        """Count one."""
        self.taken += 1
        if self.taken == self.at:
            self._chosen = self._running


@contextmanager
def own_loop() -> Generator[Loop, None, None]:
    """A loop in virtual time, that the test runs itself."""
    loop = looptime.new_event_loop(start=0, noop_cycles=42)
    try:
        yield loop
    finally:
        loop.close()


def attempt(
    loop: Loop,
    world: World,
    call: Call,
    steps: InterruptedSteps,
    *,
    cancel: bool = False,
    beside: asyncio.Task[object] | None = None,
) -> tuple[asyncio.Task[object], int]:
    """Make a call, run the loop again when the program's end comes out of it, and return how often that was.

    *cancel*: the call is cancelled first. *beside*: another caller, and the suspensions of the call count as well.
    """

    async def make() -> object:
        return await call.make(world.place(call))

    loop.set_task_factory(cast("Any", steps.make_task))
    task: asyncio.Task[object] = loop.create_task(make()) if beside else asyncio.Task(make(), loop=loop)
    waiting = asyncio.Task(asyncio.wait([task, beside or task], timeout=TOO_LONG), loop=loop)
    ends = 0
    while not waiting.done():
        try:
            loop.run_until_complete(waiting)
        except ENDS:
            ends += 1
            if cancel:
                task.cancel()
    loop.set_task_factory(None)
    assert task.done(), f"ended at suspension {steps.at}, it hangs"
    assert beside is None or beside.done(), f"ended at suspension {steps.at}, another caller hangs"
    return task, ends


def interrupt_everywhere(
    loop: Loop, call: Call, folder: Path, *, cancel: bool, first: int = 1, stride: int = 1
) -> int:
    """End the program at every suspension of a task of the client in turn; return how many there were."""
    for at in count(first, stride):
        world = loop.run_until_complete(_world(folder / str(at)))
        steps = InterruptedSteps(at, ENDS[at // stride % 2])
        task, ends = attempt(loop, world, call, steps, cancel=cancel)

        assert ends <= 1, f"interrupted at suspension {at}, the program ended {ends} times"
        assert task.cancelled() <= (cancel and ends == 1), f"at suspension {at}, a caller was cancelled along"
        errors = flat(None if task.cancelled() else task.exception())
        assert all(isinstance(error, AsanaJobsError | RuntimeError) for error in errors), (at, errors)
        if call.family is not Family.RUN:
            assert errors == [], f"at suspension {at}"
        elif not task.cancelled() and not errors and isinstance(task.result(), list):
            assert len(cast("list[Outcome]", task.result())) == 3, f"at suspension {at}, an outcome was lost"
        if call.family is Family.WAIT and not task.cancelled():
            assert _last(task.result()) == "succeeded", f"at suspension {at}, the end was not told"
        assert asyncio.all_tasks(loop) == set(), f"interrupted at suspension {at}"
        loop.run_until_complete(_compare(world, call, at))
        if not steps.acted:
            return at
    raise AssertionError


def interrupt_the_caller_everywhere(
    loop: Loop, call: Call, folder: Path, *, first: int = 1, stride: int = 1
) -> int:
    """End the program at every suspension of a caller and its tasks, beside another caller; return how many."""
    for at in count(first, stride):
        world = loop.run_until_complete(_world(folder / str(at)))
        other = asyncio.Task(_until_done(world.client.wait_for_job("1203")), loop=loop)
        task, ends = attempt(loop, world, call, InterruptedSteps(at, ENDS[at % 2]), beside=other)

        assert ends <= 1, f"interrupted at suspension {at}, the program ended {ends} times"
        if not other.exception() or call.family is not Family.CLOSE:  # it has closed the client
            assert cast("Job", other.result()).succeeded
        assert asyncio.all_tasks(loop) == set(), f"interrupted at suspension {at}"
        if not task.cancelled():
            task.exception()  # told to the caller
        loop.run_until_complete(_compare(world, call, at))
        if not ends:
            return at
    raise AssertionError


async def _until_done(awaitable: Awaitable[object]) -> object:
    return await awaitable


class LateWorld(World):
    """A server that has started a job for a while when it answers, and notes what has come."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.arrived: list[str] = []

    async def answer(self, request: Request) -> ScriptedAnswer:
        """Answer late."""
        if request.method == "POST":
            self.arrived.append(str(request.body))
        answer = await super().answer(request)
        if request.method == "POST":
            await asyncio.sleep(ROUND_TRIP)
        return answer


async def _world(folder: Path) -> LateWorld:
    return LateWorld(folder)


def _last(told: object) -> object:
    """The last status that a wait, an iteration or a monitor has told."""
    return cast("list[object]", told)[-1] if isinstance(told, list) else cast("Job", told).status


async def _compare(world: LateWorld, call: Call, at: int) -> None:
    assert world.left() == {}, f"interrupted at suspension {at}"
    if call.family is not Family.CLOSE:
        assert await world.works()
    if (world.folder / "ledger").exists():
        with Ledger.open(world.folder / "ledger") as ledger:
            unknown = [str(row.content["name"]) for row in ledger.rows(LedgerState.UNKNOWN)]
        assert all(any(name in post for post in world.arrived) for name in unknown), f"at suspension {at}"
        outcomes = cast("list[Outcome]", await call.make(world.place(call)))
        assert len(outcomes) == 3
        assert sum(outcome.succeeded for outcome in outcomes) == 3 - len(unknown)
        assert set(world.started.values()) == {1}
    await world.client.close()


@pytest.mark.parametrize("cancel", [False, True], ids=["run again", "cancelled and run again"])
@pytest.mark.parametrize("name", briefly(CALLS))
def test_the_end_of_the_program_in_any_task_of_the_client(name: str, cancel: bool, tmp_path: Path) -> None:
    """Nobody hangs, who waits is answered or told, the program ends once, and no job starts twice."""
    call, stride = CALLS[name], STRIDES.get(name, 1)

    with own_loop() as loop:
        interrupt_everywhere(loop, call, tmp_path, cancel=cancel, first=1 + cancel, stride=stride)


@pytest.mark.parametrize("name", briefly(CALLS))
def test_the_end_of_the_program_in_a_caller_beside_another(name: str, tmp_path: Path) -> None:
    """A caller in whose task the program ends leaves nothing behind, and whoever relied on it is answered."""
    with own_loop() as loop:
        interrupt_the_caller_everywhere(loop, CALLS[name], tmp_path, first=1, stride=STRIDES.get(name, 1))


def test_what_went_out_when_the_program_ended_is_unknown_at_once(tmp_path: Path) -> None:
    """The end of the program comes in the task of a POST that has left: its row says so, and nothing is sent again."""
    sent = count(1)

    async def answer(_: Request) -> ScriptedAnswer:
        await asyncio.sleep(next(sent))
        raise KeyboardInterrupt

    async def run(client: AsanaClient, ledger: Ledger) -> list[Outcome]:
        async with client, ledger:
            outcomes: list[Outcome] = [
                one async for one in client.run_all([DuplicateProject("1", name="2")], ledger=ledger)
            ]
            assert [row.state for row in ledger.rows()] == [LedgerState.UNKNOWN]
            return outcomes

    with own_loop() as loop:
        client = AsanaClient("t", transport=ScriptedTransport(answer))
        task = loop.create_task(run(client, Ledger.open(tmp_path / "ledger")))
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        (outcome,) = loop.run_until_complete(task)

    assert isinstance(outcome.error, OutcomeUnknownError)
    assert next(sent) == 2


def test_leases_are_renewed_after_the_end_of_the_program_came_while_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that goes on keeps its ledger's rows."""
    renew, renewals = Ledger.renew, count(1)

    async def end_first(self: Ledger) -> None:
        if next(renewals) == 1:
            raise KeyboardInterrupt
        await renew(self)

    async def answer(request: Request) -> ScriptedAnswer:
        done = clock.monotonic() - began > 100
        status = "succeeded" if done and request.method == "GET" else "in_progress"
        return {"gid": "5", "resource_type": "job", "status": status}

    async def run() -> list[Outcome]:
        client = AsanaClient("t", transport=ScriptedTransport(answer), clock=clock)
        async with client, Ledger.open(tmp_path / "ledger") as ledger:
            return [one async for one in client.run_all([DuplicateProject("1", name="2")], ledger=ledger)]

    monkeypatch.setattr(Ledger, "renew", end_first)
    clock = FakeClock()
    began = clock.monotonic()
    with own_loop() as loop:
        task = loop.create_task(run())
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(task)
        (outcome,) = loop.run_until_complete(task)

    assert outcome.succeeded
    assert next(renewals) > 2  # the clock jumps while the disk is at work, so how many is chance


def test_the_next_in_line_renews_a_token_when_the_program_ended_in_the_renewal() -> None:
    """A provider that leaves the program, which goes on all the same, is asked again by who waited for it."""
    tokens = count(1)

    async def provide() -> str:
        await asyncio.sleep(1)
        if (number := next(tokens)) == 1:
            raise SystemExit
        return f"token-{number}"

    async def read_twice() -> list[Any]:
        transport = ScriptedTransport({"gid": "5", "resource_type": "job", "status": "succeeded"})
        async with AsanaClient(provide, transport=transport) as client:
            tasks = [asyncio.ensure_future(client.get_job("5")) for _ in range(2)]
            return await asyncio.gather(*tasks, return_exceptions=True)

    with own_loop() as loop:
        task = loop.create_task(read_twice())
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
        ended, job = loop.run_until_complete(task)

    assert isinstance(ended, SystemExit)
    assert job.succeeded
