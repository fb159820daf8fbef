"""Ways to end a run early: nothing is left behind, and no job is started without its gid being known."""

import asyncio
import gc
import random
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from asana_jobs import AsanaClient, DuplicateProject, Ledger, Outcome, RateLimits
from asana_jobs._client.bulk.ledger_rows import LedgerClaim, LedgerRow, LedgerState
from asana_jobs._client.bulk.run import Run
from asana_jobs._client.limits.running_jobs import RunningJobPermits
from asana_jobs.errors import ClientClosedError, OutcomeUnknownError
from asana_jobs.testing import AsanaSimulator, Latency, Lognormal, Reset, SimulatorLimits
from asana_jobs.testing._scripted_transport import ScriptedTransport


#: Seconds every request takes in these tests, long enough to be caught in the middle.
LATENCY = 0.2
#: Where a row must not be held by anybody once a run has ended.
UNSETTLED = (LedgerState.INTENT, LedgerState.STARTED, LedgerState.REFUSED, LedgerState.UNKNOWN)


def copies(count: int) -> list[DuplicateProject]:
    """Return *count* different operations."""
    return [DuplicateProject("1203", name=f"Copy {number}") for number in range(count)]


@asynccontextmanager
async def open_both(**options: Any) -> AsyncGenerator[tuple[AsanaClient, AsanaSimulator], None]:
    """Open a slow simulator and a client for it."""
    options = {
        "durations": Lognormal(2, spread=0.4),
        "latency": LATENCY,
        "limits": SimulatorLimits.unlimited(),
        **options,
    }
    async with AsanaSimulator(**options) as simulator:
        async with AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid()) as client:
            yield client, simulator
        await settle()  # the simulator still answers requests whose reader has gone


def slots(client: AsanaClient) -> RunningJobPermits:
    """The client's running-job slots."""
    return client._budget.running_jobs  # pyright: ignore[reportPrivateUsage]


async def settle() -> None:
    """Give everything that ends the seconds of the requests that are under way."""
    await asyncio.sleep(2 * LATENCY)


def ours(before: set[asyncio.Task[Any]]) -> list[str]:
    """The tasks of this package that were not there *before*."""
    found: list[str] = []
    for task in asyncio.all_tasks() - before:
        code = getattr(task.get_coro(), "cr_code", None)
        if code is not None and "/asana_jobs/_" in code.co_filename:
            found.append(repr(task))
    return found


def known(outcomes: Iterable[Outcome]) -> set[str]:
    """The gids of the jobs in *outcomes*."""
    return {outcome.job.gid for outcome in outcomes if outcome.job is not None}


async def test_break_ends_a_run() -> None:
    """After ``break`` in a bare loop nothing more is started and no task or slot is left."""
    async with open_both() as (client, simulator):
        before = asyncio.all_tasks()
        async for outcome in client.run_all(copies(100)):
            assert outcome.succeeded
            break
        await settle()
        count = len(simulator.started)

        await asyncio.sleep(60)

        assert len(simulator.started) == count <= 2 * 5 + 1
        assert slots(client).taken == 0
        assert ours(before) == []


async def test_what_runs_on_is_known() -> None:
    """After an early end every job that was started is an outcome or in ``unfinished``, with a token to go on."""
    async with open_both() as (client, simulator):
        seen: list[Outcome] = []
        async with client.run_all(copies(100)) as run:
            async for outcome in run:
                seen.append(outcome)
                if len(seen) == 7:
                    break
        left = [outcome async for outcome in run]

        unfinished = run.unfinished
        assert known(seen) | known(left) | known(unfinished) == {job.gid for job in simulator.started}
        assert len(unfinished) in range(1, 6)
        for outcome in unfinished:
            assert outcome.continuation_token is not None
            assert (await client.wait_for_job(outcome.continuation_token)).succeeded


async def test_requests_under_way_are_answered() -> None:
    """Ended while every POST is under way, a run knows the gids of all of them."""
    async with open_both() as (client, simulator):
        run = client.run_all(copies(100))
        reading = asyncio.ensure_future(anext(run))
        await asyncio.sleep(LATENCY / 2)
        assert simulator.peak_writes_in_flight == 5

        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

        assert known(run.unfinished) == {job.gid for job in simulator.started}
        assert len(simulator.started) == 5
        assert slots(client).taken == 0


async def test_impatience_does_not_lose_a_gid() -> None:
    """Cancelled again and again while a POST is under way, a run still waits for the answer."""
    async with open_both() as (client, simulator):
        run = client.run_all(copies(1))
        reading = asyncio.ensure_future(anext(run))
        await asyncio.sleep(LATENCY / 2)
        while not reading.done():
            reading.cancel()
            await asyncio.sleep(LATENCY / 20)
        await settle()

        assert known(run.unfinished) == {job.gid for job in simulator.started} != set()


async def test_a_single_run_answers_its_request() -> None:
    """``client.run`` that is cancelled while its POST is under way ends when that was answered."""
    async with open_both() as (client, simulator):
        running = asyncio.create_task(client.run(copies(1)[0]))
        await asyncio.sleep(LATENCY / 2)

        running.cancel()
        await asyncio.wait([running])

        assert running.cancelled()
        assert simulator.requests[0].status == 201
        assert slots(client).taken == 0


async def test_doubt_survives_a_cancellation() -> None:
    """A POST whose answer was lost while its run was being cancelled is in ``unfinished``, as unknown."""
    async with open_both() as (client, simulator):
        simulator.fail_next(Reset(effect=True), method="POST")
        run = client.run_all(copies(1))
        reading = asyncio.ensure_future(anext(run))
        await asyncio.sleep(LATENCY / 2)

        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

        (outcome,) = run.unfinished
        assert isinstance(outcome.error, OutcomeUnknownError)
        assert outcome.job is None


async def test_doubt_is_recorded_at_once_though_the_run_was_cancelled(tmp_path: Path) -> None:
    """What a cancelled run does not know stands in its ledger when it has ended, not only when that is closed."""
    async with open_both() as (client, simulator):
        simulator.fail_next(Reset(effect=True), method="POST")
        with Ledger.open(tmp_path / "run.ledger") as ledger:
            reading = asyncio.ensure_future(anext(client.run_all(copies(1), ledger=ledger)))
            while not simulator.requests:  # noqa: ASYNC110  # the simulator has no event for it
                await asyncio.sleep(LATENCY / 20)

            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

            (row,) = ledger.rows()
            assert row.state is LedgerState.UNKNOWN
            assert "may or may not" in (row.error or "")


async def test_cancelled_while_waiting_for_the_quota() -> None:
    """A POST that was still waiting for its turn when its run was cancelled is never sent."""
    async with open_both() as (client, simulator):
        simulator.fail_next(429, retry_after=60, method="POST")
        run = client.run_all(copies(3))
        reading = asyncio.ensure_future(anext(run))
        await asyncio.sleep(30)
        count = len(simulator.requests)

        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await asyncio.sleep(120)

        assert len(simulator.requests) == count
        assert slots(client).taken == 0


async def test_dropping_a_run_ends_it() -> None:
    """A run that nobody holds any more ends, even if it is found by the garbage collector."""
    async with open_both() as (client, simulator):
        before = asyncio.all_tasks()
        run: Any = client.run_all(copies(100))
        await anext(run)
        cycle: list[Any] = [run]
        cycle.append(cycle)
        del run, cycle
        gc.collect()
        await settle()
        count = len(simulator.started)

        await asyncio.sleep(30)

        assert len(simulator.started) == count
        assert ours(before) == []
        assert slots(client).taken == 0


async def test_aclose_twice_is_harmless() -> None:
    """Closing a run twice, or one that was never iterated, does nothing; it has no outcomes afterwards."""
    async with open_both() as (client, _):
        fresh, run = client.run_all(copies(3)), client.run_all(copies(3))
        await fresh.aclose()
        await anext(run)
        await run.aclose()
        await run.aclose()
        gids = [outcome.key async for outcome in run]

        assert [outcome async for outcome in fresh] == []
        assert len(gids) <= 3


async def test_cancelling_the_reader_ends_the_run() -> None:
    """A reader that is cancelled ends its run before it ends itself."""
    async with open_both() as (client, simulator):
        before = asyncio.all_tasks()

        async def read() -> None:
            async for _ in client.run_all(copies(100)):
                pass

        reader = asyncio.create_task(read())
        await asyncio.sleep(3)
        reader.cancel()
        await asyncio.wait([reader])
        count = len(simulator.started)
        await asyncio.sleep(30)

        assert reader.cancelled()
        assert len(simulator.started) == count
        assert ours(before) == []
        assert slots(client).taken == 0


async def test_an_error_in_the_loops_body_ends_the_run() -> None:
    """An exception of the reader's own code ends the run in ``async with`` and comes through."""
    async with open_both() as (client, _):
        before = asyncio.all_tasks()
        with pytest.raises(LookupError):
            async with client.run_all(copies(100)) as run:
                async for _ in run:
                    raise LookupError

        assert ours(before) == []
        assert slots(client).taken == 0


async def test_closing_the_client_ends_a_run() -> None:
    """A reader of a client that is closed gets ClientClosedError; what was started is known."""
    async with open_both() as (client, simulator):
        before = asyncio.all_tasks()
        run = client.run_all(copies(100))
        seen: list[Outcome] = []

        async def read() -> None:
            async for outcome in run:
                seen.append(outcome)  # noqa: PERF401  # it is read in the middle

        reader = asyncio.create_task(read())
        await asyncio.sleep(5)
        await client.close()

        with pytest.raises(ClientClosedError):
            await reader
        assert known(seen) | known(run.unfinished) == {job.gid for job in simulator.started}
        assert ours(before) == []
        assert slots(client).taken == 0


@pytest.mark.parametrize("moment", [0.01, 0.1, 0.19, 0.21, 0.3])
async def test_closing_the_client_answers_requests_first(moment: float) -> None:
    """A client that is closed while POSTs are under way waits for their answers, so that no gid is lost."""
    async with open_both() as (client, simulator):
        run = client.run_all(copies(100))
        reading = asyncio.ensure_future(anext(run))
        await asyncio.sleep(moment)

        await client.close()

        assert isinstance((await asyncio.gather(reading, return_exceptions=True))[0], ClientClosedError)
        assert known(run.unfinished) == {job.gid for job in simulator.started}
        assert len(simulator.started) == 5


async def test_break_and_close_in_one_breath(tmp_path: Path) -> None:
    """``break`` right before the end of ``async with client`` loses no gid: the ledger has every job."""
    async with AsanaSimulator(latency=LATENCY, limits=SimulatorLimits.unlimited()) as simulator:
        with Ledger.open(tmp_path / "ledger") as ledger:
            async with AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid()) as client:
                async for _ in client.run_all(copies(100), ledger=ledger):
                    break
            rows = list(ledger.rows())
        await settle()

        assert {row.gid for row in rows} == {job.gid for job in simulator.started}
        assert ledger_is_settled(rows)


def ledger_is_settled(rows: list[LedgerRow]) -> bool:
    """Whether nothing is held or doubtful."""
    return all(
        row.holder is None and row.state in {LedgerState.STARTED, LedgerState.SUCCEEDED} for row in rows
    )


async def test_closing_the_client_while_its_reader_is_away() -> None:
    """A client can be closed although outcomes of a run of it wait to be read; they are delivered first."""
    async with open_both() as (client, _):
        run = client.run_all(copies(100))
        await anext(run)
        await asyncio.sleep(600)

        async with asyncio.timeout(60):
            await client.close()

        seen: list[Outcome] = []
        with pytest.raises(ClientClosedError):
            async for outcome in run:
                seen.append(outcome)  # noqa: PERF401  # what came before it raises is the point
        assert all(outcome.succeeded for outcome in seen)
        assert seen


async def test_closing_the_client_while_the_input_is_quiet() -> None:
    """A client can be closed although the input of a run has nothing to offer; the input is closed too."""
    closed = asyncio.Event()

    async def quiet() -> AsyncIterator[DuplicateProject]:
        try:
            await asyncio.sleep(10_000)
            yield copies(1)[0]
        finally:
            closed.set()

    async with open_both() as (client, _):
        reading = asyncio.ensure_future(anext(client.run_all(quiet())))
        await asyncio.sleep(1)
        async with asyncio.timeout(60):
            await client.close()

        assert isinstance((await asyncio.gather(reading, return_exceptions=True))[0], ClientClosedError)
        assert closed.is_set()


async def test_closing_the_client_while_waiting_for_a_slot() -> None:
    """``run`` that waits for a slot when its client is closed is a ClientClosedError."""
    async with open_both() as (client, simulator):
        tasks = [asyncio.create_task(client.run(copy)) for copy in copies(8)]
        await asyncio.sleep(1)

        await client.close()
        errors = await asyncio.gather(*tasks, return_exceptions=True)

        assert {type(error) for error in errors} == {ClientClosedError}
        assert len(simulator.started) == 5
        assert slots(client).taken == 0


async def test_a_task_that_never_began_gives_its_slot_back() -> None:
    """A run that is cancelled in the very turn in which it hands out a slot keeps none."""
    async with open_both() as (client, _):
        for turn in range(12):
            run = client.run_all(copies(9))
            reading = asyncio.ensure_future(anext(run))
            for _ in range(turn):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await run.aclose()

            assert slots(client).taken == 0


async def test_a_post_whose_task_never_began_leaves_no_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody cancels every task between the claim and the first step of the POST: the next run starts the job."""
    async with open_both() as (client, simulator):
        others, claim = asyncio.all_tasks(), Ledger.claim

        def end_everything() -> None:
            for task in asyncio.all_tasks() - others:
                task.cancel()

        async def claim_and_end(*arguments: Any, **options: Any) -> LedgerClaim:
            claimed = await claim(*arguments, **options)
            asyncio.get_running_loop().call_soon(end_everything)
            return claimed

        with Ledger.open(tmp_path / "run.ledger") as ledger:
            monkeypatch.setattr(Ledger, "claim", claim_and_end)
            with pytest.raises(RuntimeError, match="cancelled by somebody else"):
                await anext(client.run_all(copies(1), ledger=ledger))
            monkeypatch.undo()
            assert simulator.started == []

        with Ledger.open(tmp_path / "run.ledger") as ledger:
            outcomes = [outcome async for outcome in client.run_all(copies(1), ledger=ledger)]

        assert [outcome.succeeded for outcome in outcomes] == [True]
        assert len(simulator.started) == 1


def test_the_programs_end_in_an_operation_comes_out_of_the_loop_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that goes on after ``sys.exit`` in an operation's task is not ended again by the run around it."""

    async def end_the_program(*_: Any) -> None:
        raise SystemExit(3)

    monkeypatch.setattr(Ledger, "finished", end_the_program)
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        loop = runner.get_loop()
        reading = loop.create_task(read_all(copies(1), tmp_path / "ledger"))
        with pytest.raises(SystemExit):
            loop.run_until_complete(reading)
        with pytest.raises(RuntimeError, match="cancelled by somebody else"):
            loop.run_until_complete(reading)


def test_an_input_that_ends_the_program_does(tmp_path: Path) -> None:
    """``sys.exit`` in the iterable of operations leaves the program, and is no cancellation."""

    def leave() -> Iterator[DuplicateProject]:
        yield from copies(1)
        raise SystemExit(3)

    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        loop = runner.get_loop()
        reading = loop.create_task(read_all(leave(), tmp_path / "ledger"))
        with pytest.raises(SystemExit) as left:
            loop.run_until_complete(reading)
        assert left.value.code == 3
        with pytest.raises(RuntimeError, match="cancelled by somebody else"):
            loop.run_until_complete(reading)


async def read_all(operations: Iterable[DuplicateProject], path: Path) -> None:
    """Run *operations* whose jobs have finished when they are started."""
    async with (
        AsanaClient("t", transport=ScriptedTransport("succeeded")) as client,
        Ledger.open(path) as ledger,
    ):
        async for _ in client.run_all(operations, ledger=ledger):
            pass


async def test_cancelled_at_random_points(tmp_path: Path) -> None:
    """Cancelled at 100 random points, a run leaves no task and no slot, and the next goes on where it was."""
    dice = random.Random(4)  # noqa: S311  # repeatable on purpose
    operations = copies(200)
    async with open_both() as (client, simulator), Ledger.open(tmp_path / "ledger") as ledger:
        simulator.fail_next(Latency(after=0.3), times=None, probability=0.2)
        before = asyncio.all_tasks()

        async def read(run: Run) -> None:
            async for _ in run:
                pass

        for point in range(100):
            # Half of the input is done already, half is new: a whole one would take a minute of disk.
            begun = len(simulator.started)
            run = client.run_all(operations[max(0, begun - 5) : begun + 6], ledger=ledger)
            reader = asyncio.create_task(read(run))
            await asyncio.sleep(dice.uniform(0, 0.8))
            if point % 2:
                await run.aclose()
            reader.cancel()
            await asyncio.wait([reader])

            assert slots(client).taken == 0
            assert ours(before) == []
            assert ledger_is_settled(list(ledger.rows(*UNSETTLED)))

        assert 50 < len(simulator.started) < 200
        outcomes = [outcome async for outcome in client.run_all(operations, ledger=ledger)]

        assert all(outcome.succeeded for outcome in outcomes)
        assert len(outcomes) == len(operations)
        assert sorted(job.result["name"] for job in simulator.started) == sorted(
            copy.name for copy in operations
        )
        assert ledger.summary().succeeded == len(operations)


async def test_closed_in_the_round_of_the_start(tmp_path: Path) -> None:
    """A client that is closed in the very moment its token arrives starts nothing that the next run starts again."""
    async with AsanaSimulator(latency=LATENCY, limits=SimulatorLimits.unlimited()) as simulator:
        token: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def provide() -> str:
            return await token

        async with aiohttp.ClientSession() as session:
            # A connection that is there already: the request goes out in the same round.
            async with session.get(f"{simulator.base_url}/users/me") as answer:
                await answer.read()
            with Ledger.open(tmp_path / "run.ledger") as ledger:
                client = AsanaClient(provide, base_url=simulator.base_url, session=session)
                first = asyncio.ensure_future(anext(client.run_all(copies(1), ledger=ledger)))
                await asyncio.sleep(1)
                token.set_result("t")
                await client.close()
                await asyncio.gather(first, return_exceptions=True)
                await settle()

                async with AsanaClient("t", base_url=simulator.base_url) as again:
                    outcomes = [outcome async for outcome in again.run_all(copies(1), ledger=ledger)]

        assert len(simulator.started) == 1
        assert len(outcomes) == 1
