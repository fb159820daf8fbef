"""However a run is stopped while its POSTs are under way, the next run on its ledger starts none of them again.

Run as a program, this module is the process that is stopped; the simulator outlives it and counts.
"""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from asana_jobs import AsanaClient, DuplicateProject, Job, Ledger, Outcome, RateLimits
from asana_jobs._client.bulk.ledger_rows import LedgerRow, LedgerState
from asana_jobs._client.http.protocol import Request
from asana_jobs.errors import LedgerBusyError, OutcomeUnknownError, TransportError
from asana_jobs.testing import AsanaSimulator, Fixed, Latency, SimulatorLimits
from asana_jobs.testing._scripted_transport import ScriptedAnswer, ScriptedTransport


COPIES = [DuplicateProject("1203", name=f"Copy {number}") for number in range(3)]
#: Seconds for which the answer of each POST is under way.
UNDER_WAY = 0.6

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
real_time = pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it


# --- The process that is stopped


async def work(ledger: str, base_url: str, stop: str) -> None:
    """Run all operations, as the README does it, and stop in the middle of them if told how."""
    async with AsanaClient("t", base_url=base_url, limits=RateLimits.paid()) as client:
        with Ledger.open(ledger) as opened:
            looking: asyncio.Task[Job] | None = None
            if stop == "gate":
                looking = asyncio.create_task(client.get_job("1"))  # a 429, which shuts the gate for a while
                await asyncio.sleep(0.3)
            elif stop != "signals":
                asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, STOPS[stop])
            async for _ in client.run_all(COPIES, ledger=opened):
                pass
            if looking is not None:
                await looking


def cancel_all() -> None:
    """Cancel every task there is."""
    for task in asyncio.all_tasks():
        task.cancel()


def stop_loop() -> None:
    """End the loop under its tasks: asyncio.run cancels what is left."""
    asyncio.get_running_loop().stop()


def leave() -> None:
    """Leave as a program does that has had enough."""
    sys.exit(3)


STOPS = {stop.__name__: stop for stop in (cancel_all, stop_loop, leave)}


# --- The server


@asynccontextmanager
async def slow_to_answer(count: int) -> AsyncGenerator[tuple[AsanaSimulator, asyncio.Event], None]:
    """A simulator that starts the first *count* jobs at once and answers late; the event: all of them were started."""
    all_there = asyncio.Event()
    posts = iter(range(1, count))

    def note(record: Any) -> bool:
        if record.method == "POST" and next(posts, None) is None:
            all_there.set()
        return bool(record.method == "POST")

    async with AsanaSimulator(durations=Fixed(0.05), limits=SimulatorLimits.unlimited()) as simulator:
        simulator.fail_next(Latency(after=UNDER_WAY), times=count, when=note)
        yield simulator, all_there
        await asyncio.sleep(UNDER_WAY)  # it still answers requests whose reader has gone


def started(simulator: AsanaSimulator) -> Counter[str]:
    """How often each name was started."""
    return Counter(job.result["name"] for job in simulator.started)


def rows(path: Path) -> list[LedgerRow]:
    """What the ledger holds."""
    with Ledger.open(path) as ledger:
        return list(ledger.rows())


async def run_again(
    simulator: AsanaSimulator, path: Path, operations: Any = COPIES, **options: Any
) -> list[Outcome]:
    """Run the same operations on the same ledger."""
    async with (
        AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid()) as client,
        Ledger.open(path) as ledger,
    ):
        return [outcome async for outcome in client.run_all(operations, ledger=ledger, **options)]


async def program(path: Path, simulator: AsanaSimulator, stop: str) -> asyncio.subprocess.Process:
    """Start the process that is stopped."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        sys.executable, __file__, str(path), simulator.base_url, stop, stderr=pipe
    )


@posix
@real_time
@pytest.mark.parametrize(
    ("number", "times"), [(signal.SIGINT, 1), (signal.SIGINT, 2), (signal.SIGTERM, 1), (signal.SIGKILL, 1)]
)
async def test_a_signal_while_posts_are_under_way(tmp_path: Path, number: signal.Signals, times: int) -> None:
    """Ctrl-C once waits for the answers; twice, or a harder end, leaves what went out unknown. None is started again."""
    path = tmp_path / "copies.ledger"
    async with slow_to_answer(len(COPIES)) as (simulator, all_there):
        process = await program(path, simulator, "signals")
        await asyncio.wait_for(all_there.wait(), 20)
        for _ in range(times):
            await asyncio.sleep(0.15)  # asyncio.Runner takes two that come together for one
            if process.returncode is None:
                process.send_signal(number)
        await process.communicate()

        once = number is signal.SIGINT and times == 1
        assert {row.state for row in rows(path)} == {LedgerState.STARTED if once else LedgerState.UNKNOWN}
        outcomes = await run_again(simulator, path)

        assert started(simulator) == Counter(copy.name for copy in COPIES)
        assert len(outcomes) == len(COPIES)
        assert all(outcome.succeeded is once for outcome in outcomes)


@posix
@real_time
@pytest.mark.parametrize("stop", STOPS)
async def test_an_end_while_posts_are_under_way(tmp_path: Path, stop: str) -> None:
    """Whoever cancels every task, stops the loop or leaves the program: what went out is unknown, and starts once."""
    path = tmp_path / "copies.ledger"
    async with slow_to_answer(len(COPIES)) as (simulator, all_there):
        process = await program(path, simulator, stop)
        await asyncio.wait_for(all_there.wait(), 20)
        process.send_signal(signal.SIGUSR1)
        await process.communicate()

        assert {row.state for row in rows(path)} == {LedgerState.UNKNOWN}
        await run_again(simulator, path)

        assert started(simulator) == Counter(copy.name for copy in COPIES)


@posix
@real_time
async def test_a_stopped_process_keeps_what_it_claimed(tmp_path: Path) -> None:
    """Stopped while it waits out a 429, a run keeps its intents: ``retry_unknown`` says so; continued, it starts them."""
    path = tmp_path / "copies.ledger"
    async with slow_to_answer(0) as (simulator, _):
        simulator.add_job("1", ["succeeded"])
        simulator.fail_next(429, retry_after=3, method="GET", path="/jobs/1")
        process = await program(path, simulator, "gate")
        found: list[LedgerRow] = []
        while len(found) < len(COPIES):  # nobody tells when another process has written
            await asyncio.sleep(0.05)
            found = rows(path) if path.exists() else []
        assert {row.state for row in found} == {LedgerState.INTENT}
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(0.05)

        outcomes = await run_again(simulator, path, retry_unknown=True)

        for outcome in outcomes:
            assert isinstance(outcome.error, LedgerBusyError)
            assert str(outcome.error).endswith(
                f"process {process.pid}, which is stopped: continue it or end it"
            )
        process.send_signal(signal.SIGCONT)
        await process.communicate()
        assert process.returncode == 0
        assert started(simulator) == Counter(copy.name for copy in COPIES)


# --- The task of a POST is cancelled from outside


def posting() -> list[asyncio.Task[Any]]:
    """The tasks that send a POST."""
    return [task for task in asyncio.all_tasks() if getattr(task.get_coro(), "__name__", "") == "_post"]


async def test_a_cancelled_post_that_went_out_is_unknown(tmp_path: Path) -> None:
    """The task of a POST that went out is cancelled by a stranger: its outcome is unknown, and so is its row."""
    path = tmp_path / "copies.ledger"
    async with slow_to_answer(1) as (simulator, all_there):
        async with AsanaClient("t", base_url=simulator.base_url) as client, Ledger.open(path) as ledger:
            run = client.run_all(COPIES[:1], ledger=ledger)
            reading = asyncio.ensure_future(anext(run))
            await all_there.wait()
            (post,) = posting()
            post.cancel()
            outcome = await reading
            (row,) = ledger.rows()  # at once, not when the ledger is closed
            await run.aclose()

        assert isinstance(outcome.error, OutcomeUnknownError)
        assert (row.state, row.error_type) == (LedgerState.UNKNOWN, OutcomeUnknownError.__name__)
        assert "the task that sent it was ended before the answer came" in (row.error or "")
        assert str(outcome.error) == row.error, "told once, and as it is written down"
        await run_again(simulator, path, COPIES[:1])

        assert started(simulator) == Counter([COPIES[0].name])


async def test_a_cancelled_post_of_a_run_that_was_ended_too_is_unknown_at_once(tmp_path: Path) -> None:
    """A run was ended while its POST was under way, whose task is then cancelled: its row is no intent any more."""
    async with slow_to_answer(1) as (simulator, all_there):
        async with (
            AsanaClient("t", base_url=simulator.base_url) as client,
            Ledger.open(tmp_path / "a.ledger") as ledger,
        ):
            run = client.run_all(COPIES[:1], ledger=ledger)
            reading = asyncio.ensure_future(anext(run))
            await all_there.wait()
            reading.cancel()
            await asyncio.sleep(UNDER_WAY / 6)
            (post,) = posting()
            post.cancel()
            await asyncio.wait([reading])
            (row,) = ledger.rows()

        assert row.state is LedgerState.UNKNOWN
        assert "the task that sent it was ended before the answer came" in (row.error or "")
        assert [type(outcome.error) for outcome in run.unfinished] == [OutcomeUnknownError]


async def test_a_cancelled_post_that_went_out_is_unknown_without_a_ledger_too() -> None:
    """The task of a POST that went out is cancelled by a stranger: whoever waits for the job is told what is known."""
    async with (
        slow_to_answer(1) as (simulator, all_there),
        AsanaClient("t", base_url=simulator.base_url) as client,
    ):
        running = asyncio.create_task(client.run(COPIES[0]))
        await all_there.wait()
        (post,) = posting()
        post.cancel()

        with pytest.raises(
            OutcomeUnknownError, match="the task that sent it was ended before the answer came"
        ):
            await running

        assert started(simulator) == Counter([COPIES[0].name])


async def test_a_post_cancelled_before_it_is_sent_is_sent_by_another_task(tmp_path: Path) -> None:
    """The task of a POST that waits for its token is cancelled by a stranger: nothing was sent, so another sends it."""
    path = tmp_path / "copies.ledger"
    token: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    asked = asyncio.Event()

    async def provide() -> str:
        asked.set()
        return await asyncio.shield(token)

    async with AsanaSimulator(durations=Fixed(1), limits=SimulatorLimits.unlimited()) as simulator:
        async with AsanaClient(provide, base_url=simulator.base_url) as client, Ledger.open(path) as ledger:
            run = client.run_all(COPIES[:1], ledger=ledger)
            reading = asyncio.ensure_future(anext(run))
            await asyncio.wait_for(asked.wait(), 60)
            (post,) = posting()
            post.cancel()
            await asyncio.sleep(0.1)
            token.set_result("t")
            outcome = await reading
            await run.aclose()

        assert outcome.succeeded
        assert started(simulator) == Counter([COPIES[0].name])


@pytest.mark.parametrize("recorded", [False, True])
async def test_a_post_cancelled_after_its_answer_is_not_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recorded: bool
) -> None:
    """Its task is cancelled while the job's gid is written down, before or after: the job is watched, and is the only one."""
    record = Ledger.started

    async def record_and_cancel(self: Ledger, *arguments: Any) -> None:
        if recorded:
            await record(self, *arguments)
        (post,) = posting()
        post.cancel()
        await asyncio.sleep(0)

    monkeypatch.setattr(Ledger, "started", record_and_cancel)
    path = tmp_path / "copies.ledger"
    async with AsanaSimulator(durations=Fixed(1), limits=SimulatorLimits.unlimited()) as simulator:
        async with AsanaClient("t", base_url=simulator.base_url) as client, Ledger.open(path) as ledger:
            (outcome,) = [one async for one in client.run_all(COPIES[:1], ledger=ledger)]

        assert outcome.succeeded
        assert started(simulator) == Counter([COPIES[0].name])
        assert [(row.state, row.gid) for row in rows(path)] == [
            (LedgerState.SUCCEEDED, simulator.started[0].gid)
        ]


async def test_a_transport_that_breaks_amid_a_post_leaves_it_unknown(tmp_path: Path) -> None:
    """Nobody knows what it has sent before: what broke is told, and nothing is taken back."""
    path = tmp_path / "copies.ledger"
    transport = ScriptedTransport(ZeroDivisionError("a bug"))
    async with AsanaClient("t", transport=transport) as client, Ledger.open(path) as ledger:
        (outcome,) = [one async for one in client.run_all(COPIES[:1], ledger=ledger)]

    assert isinstance(outcome.error, OutcomeUnknownError)
    assert str(outcome.error.__cause__) == "a bug"
    assert str(outcome.error).startswith(
        "duplicate_project of 1203 may or may not have been started: POST /projects/1203/duplicate: ZeroDivisionError: a bug. It "
    )
    assert len(transport.requests) == 1
    assert [row.state for row in rows(path)] == [LedgerState.UNKNOWN]


async def test_a_post_cancelled_before_its_task_begins_leaves_no_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every task is cancelled right after the claim: the POST's task never began, and the intent is taken back."""
    claim = Ledger.claim
    me = asyncio.current_task()

    async def claim_and_cancel_all(self: Ledger, *arguments: Any, **options: Any) -> Any:
        claimed = await claim(self, *arguments, **options)

        def cancel() -> None:
            for task in asyncio.all_tasks() - {me}:
                if "run" in repr(task) or "_post" in repr(task):
                    task.cancel()

        asyncio.get_running_loop().call_soon(cancel)
        return claimed

    monkeypatch.setattr(Ledger, "claim", claim_and_cancel_all)
    async with slow_to_answer(0) as (simulator, _), AsanaClient("t", base_url=simulator.base_url) as client:
        async with Ledger.open(tmp_path / "copies.ledger") as ledger:
            run = client.run_all(COPIES[:1], ledger=ledger)
            with pytest.raises(RuntimeError, match="cancelled by somebody else"):
                await anext(run)

            assert list(ledger.rows()) == []
        assert len(simulator.requests) == 0


async def test_a_lost_answer_is_unknown_although_the_run_was_ended_meanwhile(tmp_path: Path) -> None:
    """A run that is ended while a POST is under way, whose answer is lost, has written down that nobody knows."""
    sent, may_fail = asyncio.Event(), asyncio.Event()

    async def lose(request: Request) -> ScriptedAnswer:
        sent.set()
        await may_fail.wait()
        raise TransportError("reset", method="POST", path=request.path)

    transport = ScriptedTransport(lose)
    async with AsanaClient("t", transport=transport) as client, Ledger.open(tmp_path / "a.ledger") as ledger:
        run = client.run_all(COPIES[:1], ledger=ledger)
        reading = asyncio.ensure_future(anext(run))
        await sent.wait()
        reading.cancel()
        asyncio.get_running_loop().call_later(0.5, may_fail.set)
        await asyncio.wait([reading])

        assert [row.state for row in ledger.rows()] == [LedgerState.UNKNOWN]
        assert [type(outcome.error) for outcome in run.unfinished] == [OutcomeUnknownError]


if __name__ == "__main__":
    asyncio.run(work(*sys.argv[1:]))
