"""`run_all` where a gate counts the running jobs of several processes: when a place is taken, and when it is given back."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest

from asana_jobs import AsanaClient, DuplicateProject, Ledger, RateLimits
from asana_jobs._client.bulk.ledger_rows import LedgerState
from asana_jobs._client.bulk.run import Run
from asana_jobs.errors import BadRequestError, ClientClosedError, ConnectError, OutcomeUnknownError
from asana_jobs.gates import JobPlaces, LocalGate, SystemClock
from asana_jobs.testing import AsanaSimulator, Fixed, Reset, SimulatorLimits, Stuck


@attrs.define(eq=False)
class Place:
    """A place whose fate is written down."""

    log: list[str]
    gid: str = ""

    def started(self, gid: str) -> None:
        """Note the job."""
        self.gid = gid
        self.log.append(f"started {gid}")

    def release(self) -> None:
        """Note that it is free."""
        self.log.append(f"released {self.gid}".strip())

    def leave(self) -> None:
        """Note that it ends by itself."""
        self.log.append(f"left {self.gid}".strip())


class CountingGate(LocalGate):
    """A gate that counts running jobs as one that several processes share does, and writes down what it is told."""

    def __init__(self, room: int = 5) -> None:
        super().__init__(RateLimits.paid(), SystemClock())
        self.log: list[str] = []
        self.room = asyncio.Semaphore(room)
        self.troubles: deque[Exception] = deque()

    async def acquire_place(self) -> Place:
        """Give one of a limited number of places, which are not used again."""
        if self.troubles:
            raise self.troubles.popleft()
        await self.room.acquire()
        self.log.append("acquired")
        return Place(self.log)

    def hold_place(self, gid: str) -> Place:
        """Count a job that runs."""
        self.log.append(f"held {gid}")
        return Place(self.log, gid)


@asynccontextmanager
async def opened(
    gate: CountingGate, durations: Fixed | Stuck | None = None
) -> AsyncGenerator[tuple[AsanaClient, AsanaSimulator], None]:
    """Open a simulator and a client on *gate*."""
    async with (
        AsanaSimulator(durations=durations or Fixed(2.0), limits=SimulatorLimits.unlimited()) as simulator,
        AsanaClient("t", base_url=simulator.base_url, gate=gate) as asana,
    ):
        yield asana, simulator


COPIES = [DuplicateProject("1203", name="One"), DuplicateProject("1203", name="Two")]


def test_the_gate_offers_places() -> None:
    """A gate that has the two methods is known by them; a client's own gate does not offer places."""
    assert isinstance(CountingGate(), JobPlaces)
    assert not isinstance(LocalGate(RateLimits(), SystemClock()), JobPlaces)


async def test_a_place_lasts_from_start_to_end() -> None:
    """A place is acquired before the start, gets its job's gid, and is given back when the job was seen to finish."""
    gate = CountingGate()
    async with opened(gate) as (asana, simulator):
        await asana.run(COPIES[0])
        [job] = simulator.started

    assert gate.log == ["acquired", f"started {job.gid}", f"released {job.gid}"]


async def test_what_asana_refuses_gives_its_place_back() -> None:
    """A start that Asana refuses leaves no place taken."""
    gate = CountingGate()
    async with opened(gate) as (asana, simulator):
        simulator.fail_next(400, method="POST")
        with pytest.raises(BadRequestError):
            await asana.run(COPIES[0])

    assert gate.log == ["acquired", "released"]


async def test_a_job_that_may_run_is_counted_on() -> None:
    """A place whose start was not answered is left to end by itself: its job may run."""
    gate = CountingGate()
    async with opened(gate) as (asana, simulator):
        simulator.fail_next(Reset(effect=True), method="POST")
        with pytest.raises(OutcomeUnknownError):
            await asana.run(COPIES[0])

    assert gate.log == ["acquired", "left"]


async def test_a_job_that_is_not_watched_any_more_is_counted_on() -> None:
    """When a run is broken off, the places of what runs on are left to end by themselves."""
    gate = CountingGate()
    async with opened(gate, Stuck()) as (asana, simulator):
        run = asyncio.create_task(asana.run(COPIES[0]))
        await asyncio.sleep(5)
        run.cancel()
        await asyncio.wait([run])
        [job] = simulator.started

    assert gate.log == ["acquired", f"started {job.gid}", f"left {job.gid}"]


async def test_a_job_that_was_given_up_on_keeps_its_place_until_it_ends() -> None:
    """While its run lasts, the place of a job that timed out is given back when it was seen to finish all the same."""
    gate = CountingGate(room=1)
    async with opened(gate, Fixed(10.0)) as (asana, simulator), asana.run_all(COPIES, timeout=5) as run:
        await anext(run)
        [job] = simulator.started
        assert gate.log == ["acquired", f"started {job.gid}"]
        await asyncio.sleep(30)
        assert gate.log == ["acquired", f"started {job.gid}", f"released {job.gid}"]


async def test_a_job_that_was_given_up_on_for_good_is_counted_on() -> None:
    """When a run ends before a job that timed out does, the job's place is left to end by itself."""
    gate = CountingGate()
    async with opened(gate, Stuck()) as (asana, simulator):
        async with asana.run_all(COPIES[:1], timeout=5) as run:
            await anext(run)
        [job] = simulator.started

    assert gate.log == ["acquired", f"started {job.gid}", f"left {job.gid}"]


async def test_nothing_is_started_without_a_place() -> None:
    """With one place for two operations, the second one is not started however long that takes."""
    gate = CountingGate(room=1)
    async with opened(gate) as (asana, simulator):
        run = asana.run_all(COPIES)
        assert (await anext(run)).error is None
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(run), 100)
        assert len(simulator.started) == 1


async def test_closing_the_client_ends_the_wait_for_a_place() -> None:
    """A client that is closed keeps nobody waiting for a place."""
    gate = CountingGate(room=0)
    async with opened(gate) as (asana, _):
        run = asyncio.create_task(asana.run(COPIES[0]))
        await asyncio.sleep(5)
        await asana.close()
        with pytest.raises(ClientClosedError):
            await run

    assert gate.log == []


async def test_trouble_with_places_is_waited_out() -> None:
    """That the places cannot be asked for at the moment ends no operation."""
    gate = CountingGate()
    gate.troubles.append(ConnectError("the budget is away", method="SETTLE", path="redis"))
    async with opened(gate) as (asana, _):
        assert [outcome.error async for outcome in asana.run_all(COPIES)] == [None, None]


async def test_who_waits_for_a_place_has_no_intent_on_disk(tmp_path: Path) -> None:
    """Killed while it waits for a place, an operation is not unknown to the next run: nothing was about to be sent."""
    gate = CountingGate(room=1)
    with Ledger.open(tmp_path / "copies.ledger") as ledger:
        async with opened(gate) as (asana, _), asana.run_all(COPIES, ledger=ledger) as run:
            await anext(run)
            await asyncio.sleep(5)
            assert ledger.summary().total == 1
            assert list(ledger.rows(LedgerState.INTENT)) == []


async def test_a_second_run_counts_what_the_first_one_started(tmp_path: Path) -> None:
    """A job from an earlier run is counted under its gid without waiting for a place, and what is known needs none."""
    first, second = CountingGate(), CountingGate(room=0)
    with Ledger.open(tmp_path / "copies.ledger") as ledger:
        async with opened(first, Fixed(20.0)) as (asana, simulator):
            async with asana.run_all(COPIES[:1], ledger=ledger) as run:
                await anext(run)
            broken_off = asana.run_all(COPIES, ledger=ledger)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_drain(broken_off), 5)
            gid = simulator.started[1].gid
            async with AsanaClient("t", base_url=simulator.base_url, gate=second) as other:
                outcomes = [outcome async for outcome in other.run_all(COPIES, ledger=ledger)]

    assert [outcome.error for outcome in outcomes] == [None, None]
    assert second.log == [f"held {gid}", f"released {gid}"]


async def _drain(run: Run) -> None:
    async for _ in run:
        pass
