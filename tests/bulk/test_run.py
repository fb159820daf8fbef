"""`run_all` as its reader sees it, and what it promises about jobs running at Asana, from the simulator's side."""

import asyncio
import gc
import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from asana_jobs import (
    AsanaClient,
    DuplicateProject,
    DuplicateTask,
    InstantiateProject,
    Ledger,
    Outcome,
    PollPolicy,
    RateLimits,
    RetryPolicy,
)
from asana_jobs._client.bulk.run import (
    Item,
    OperationInput,
    _OutcomeQueue,  # pyright: ignore[reportPrivateUsage]
)
from asana_jobs._client.bulk.runner import CANCELLED
from asana_jobs._client.limits.running_jobs import JOBS_BEFORE_RAISE, RunningJobPermits
from asana_jobs.errors import ClientClosedError, JobFailedError, JobTimeoutError, NotFoundError
from asana_jobs.operations import Operation
from asana_jobs.testing import (
    AsanaSimulator,
    FakeClock,
    Fixed,
    Lognormal,
    ScriptedTransport,
    SimulatorLimits,
    Stuck,
)


def copies(count: int) -> list[DuplicateProject]:
    """Return *count* different operations."""
    return [DuplicateProject("1203", name=f"Copy {number}") for number in range(count)]


def names(simulator: AsanaSimulator) -> list[str]:
    """The names of what was started, in order."""
    return [job.result["name"] for job in simulator.started]


@asynccontextmanager
async def open_both(
    *, jobs_running: int = 5, **options: Any
) -> AsyncGenerator[tuple[AsanaClient, AsanaSimulator], None]:
    """Open a simulator that refuses nothing, so that only the client keeps to the cap, and a client for it."""
    options = {"limits": SimulatorLimits.unlimited(), "durations": Lognormal(2, spread=0.4), **options}
    async with AsanaSimulator(**options) as simulator:
        limits = RateLimits(requests_per_minute=1500, jobs_running=jobs_running)
        async with AsanaClient(
            "t", base_url=simulator.base_url, limits=limits, retry=RetryPolicy(jitter=0)
        ) as client:
            yield client, simulator


def slots(client: AsanaClient) -> RunningJobPermits:
    """The client's running-job slots."""
    return client._budget.running_jobs  # pyright: ignore[reportPrivateUsage]


def now() -> float:
    """The loop's virtual time."""
    return asyncio.get_running_loop().time()


# --- Outcomes


async def test_every_operation_has_one_outcome() -> None:
    """Each operation is started once and has one outcome, with its succeeded job."""
    async with open_both() as (client, simulator):
        outcomes = [outcome async for outcome in client.run_all(copies(20))]

        assert sorted(names(simulator)) == sorted(copy.name for copy in copies(20))
        assert {outcome.operation for outcome in outcomes} == set(copies(20))
        for outcome in outcomes:
            assert outcome.succeeded
            assert outcome.error is None
            assert outcome.job is not None
            assert cast("Any", outcome.job.result).name == cast("DuplicateProject", outcome.operation).name


async def test_outcomes_come_in_order_of_completion() -> None:
    """What finishes first comes first, whatever was started first."""
    durations = {"duplicate_project": Fixed(9), "duplicate_task": Fixed(2)}
    operations: list[Operation] = [DuplicateProject("1", name="slow"), DuplicateTask("2", name="fast")]
    async with open_both(durations=durations) as (client, _):
        outcomes = [outcome async for outcome in client.run_all(operations)]

    assert [outcome.operation for outcome in outcomes] == operations[::-1]


async def test_outcomes_come_while_others_run() -> None:
    """An outcome is there when its job is seen to finish, not when the others have finished too."""
    durations = {"duplicate_project": Fixed(600), "duplicate_task": Fixed(2)}
    operations: list[Operation] = [DuplicateProject("1", name="slow"), DuplicateTask("2", name="fast")]
    async with open_both(durations=durations) as (client, _), client.run_all(operations) as run:
        await anext(run)

        assert now() < 10


async def test_no_operations_no_outcomes() -> None:
    """An empty input ends at once without a request."""
    async with open_both() as (client, simulator):
        assert [outcome async for outcome in client.run_all([])] == []
        assert len(simulator.requests) == 0


async def test_equal_operations_are_started_each() -> None:
    """Three equal operations are three wishes: three jobs, under three keys."""
    async with open_both() as (client, simulator):
        outcomes = [outcome async for outcome in client.run_all(copies(1) * 3)]

        assert len(simulator.started) == 3
        assert len({outcome.key for outcome in outcomes}) == 3


async def test_pairs_bring_their_own_keys() -> None:
    """A pair of key and operation has an outcome with that key, and numbers make keys as well."""
    pairs = [("first", copies(1)[0]), *enumerate(copies(2), start=7)]
    async with open_both() as (client, _):
        outcomes = [outcome async for outcome in client.run_all(cast("Any", pairs))]

    assert {outcome.key for outcome in outcomes} == {"first", "7", "8"}


async def test_a_key_given_twice_needs_a_ledger_to_matter() -> None:
    """Without a ledger keys are only labels: both operations of one key are done."""
    pairs = [("same", copy) for copy in copies(4)]
    async with open_both() as (client, simulator):
        outcomes = [outcome async for outcome in client.run_all(pairs)]

        assert all(outcome.succeeded for outcome in outcomes)
        assert len(simulator.started) == 4


# --- One bad item


@pytest.mark.parametrize(
    "bad", [None, 5, "1203", (), ("key",), ("a", "b", "c"), ("key", "1203"), {"gid": "1"}, object], ids=repr
)
async def test_what_is_no_operation_is_an_outcome(bad: object) -> None:
    """An item that is no operation has an outcome with a ValueError; the others are done."""
    first, second = copies(2)
    async with open_both() as (client, simulator):
        outcomes = [outcome async for outcome in client.run_all(cast("Any", [first, bad, second]))]

        assert len(simulator.started) == 2
    assert [type(outcome.error) for outcome in outcomes if outcome.error] == [ValueError]


async def test_refused_operations_are_outcomes() -> None:
    """An operation that Asana refuses has an outcome with the error; the others are done."""
    async with open_both(strict=True) as (client, simulator):
        simulator.add_object("project", "1203")
        operations = [*copies(2), DuplicateProject("404", name="lost"), *copies(2)]

        outcomes = [outcome async for outcome in client.run_all(operations)]

    errors = [outcome for outcome in outcomes if outcome.error is not None]
    assert [type(outcome.error) for outcome in errors] == [NotFoundError]
    assert errors[0].job is None
    assert sum(outcome.succeeded for outcome in outcomes) == 4


async def test_failed_jobs_are_outcomes() -> None:
    """A job that failed has an outcome with the job and a JobFailedError."""
    async with open_both(durations=Fixed(1, outcome="failed")) as (client, _):
        (outcome,) = [outcome async for outcome in client.run_all(copies(1))]

    assert isinstance(outcome.error, JobFailedError)
    assert outcome.job is not None
    assert outcome.job.failed
    assert outcome.continuation_token is None
    with pytest.raises(JobFailedError):
        outcome.raise_for_error()


async def test_a_broken_token_provider_is_an_outcome() -> None:
    """An error of the user's token provider is in the outcomes, and no slot is lost to it."""

    async def provide() -> str:
        raise KeyError("vault")

    async with AsanaSimulator() as simulator, AsanaClient(provide, base_url=simulator.base_url) as client:
        outcomes = [outcome async for outcome in client.run_all(copies(8))]

        assert [type(outcome.error) for outcome in outcomes] == [KeyError] * 8
        assert slots(client).taken == 0
        assert len(simulator.requests) == 0


# --- The input


class Endless:
    """Operations without end, which count how many were taken."""

    def __init__(self) -> None:
        self.taken = 0
        self.closed = False

    def plain(self) -> Iterator[DuplicateProject]:
        """Give them from a generator."""
        try:
            while True:
                self.taken += 1
                yield DuplicateProject("1203", name=f"Copy {self.taken}")
        finally:
            self.closed = True

    async def asynchronous(self) -> AsyncIterator[DuplicateProject]:
        """Give them from an async generator."""
        try:
            while True:
                await asyncio.sleep(0)
                self.taken += 1
                yield DuplicateProject("1203", name=f"Copy {self.taken}")
        finally:
            self.closed = True


@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
async def test_operations_are_taken_lazily(kind: str) -> None:
    """Of an endless input, no more is taken than what ran, what runs, and the one that is next."""
    endless = Endless()
    async with open_both() as (client, _):
        seen = 0
        async with client.run_all(getattr(endless, kind)()) as run:
            async for _outcome in run:
                seen += 1
                assert endless.taken <= seen + 2 * 5 + 1
                if seen == 30:
                    break

    gc.collect()
    assert endless.closed


async def test_nothing_happens_before_it_is_iterated() -> None:
    """A run that nobody iterates takes nothing and asks nothing."""
    endless = Endless()
    async with open_both() as (client, simulator):
        async with client.run_all(endless.plain()):
            await asyncio.sleep(60)

        assert (endless.taken, len(simulator.requests)) == (0, 0)


async def test_a_slow_reader_holds_the_run_up() -> None:
    """A reader that is away finds no more outcomes waiting than jobs may run, and those that ran meanwhile."""
    async with open_both() as (client, simulator), client.run_all(Endless().plain()) as run:
        await anext(run)
        await asyncio.sleep(3600)

        assert len(simulator.started) <= 1 + 2 * 5


async def test_a_slow_input_holds_no_slot() -> None:
    """While an input has nothing to offer, every slot is there for others."""

    async def quiet() -> AsyncIterator[DuplicateProject]:
        yield copies(1)[0]
        await asyncio.sleep(10_000)
        yield copies(1)[0]

    async with open_both(jobs_running=1) as (client, _), client.run_all(quiet()) as run:
        await anext(run)
        waiting = asyncio.create_task(anext(run))
        await asyncio.sleep(1)

        await client.run(copies(1)[0])

        assert now() < 60
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
async def test_the_inputs_own_error_comes_last(kind: str) -> None:
    """What the input raises is raised after the outcomes of everything that was running, once."""

    def plain() -> Iterator[DuplicateProject]:
        yield from copies(3)
        raise LookupError("row 4")

    async def asynchronous() -> AsyncIterator[DuplicateProject]:
        for copy in plain():
            yield copy

    outcomes: list[Outcome] = []
    async with open_both() as (client, simulator):
        run = client.run_all(plain() if kind == "plain" else asynchronous())
        with pytest.raises(LookupError, match="row 4"):
            async for outcome in run:
                outcomes.append(outcome)  # noqa: PERF401  # what was collected before it raises is the point
        with pytest.raises(StopAsyncIteration):
            await anext(run)

        assert all(job.status == "succeeded" for job in simulator.started)
    assert len(outcomes) == 3


async def test_an_input_that_cannot_be_closed_says_so() -> None:
    """What closing an async generator raises reaches whoever ends the run, and nothing hangs."""

    async def stubborn() -> AsyncIterator[DuplicateProject]:
        try:
            for copy in copies(100):
                yield copy
        finally:
            raise LookupError("cannot close")

    async with open_both() as (client, _):
        run = client.run_all(stubborn())
        await anext(run)
        await run.aclose()

        with pytest.raises(LookupError, match="cannot close"):
            [outcome async for outcome in run]
        assert slots(client).taken == 0


class Broken:
    """An iterable that cannot even begin."""

    def __iter__(self) -> Iterator[Operation]:
        raise LookupError("no rows")


async def test_an_input_that_cannot_begin() -> None:
    """An error of the iterable's ``__iter__`` is raised to the reader."""
    async with open_both() as (client, _):
        with pytest.raises(LookupError, match="no rows"):
            await anext(client.run_all(cast("Iterable[Operation]", Broken())))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        *((wrong, "run_all takes an iterable of operations") for wrong in (5, None, "1203", b"1203")),
        (copies(1)[0], "not one operation: write run_all([operation])"),
        (("k", copies(1)[0]), "not one pair of a key and an operation: write run_all([(key, operation)])"),
        ({"k": copies(1)[0]}, "not a mapping: write run_all("),
    ],
)
async def test_what_cannot_be_iterated_is_refused_at_once(wrong: object, said: str) -> None:
    """An input that is no iterable of operations is a ValueError where run_all is called, and says what to write."""
    async with open_both() as (client, _):
        with pytest.raises(ValueError, match=re.escape(said)):
            client.run_all(cast("Any", wrong))


async def test_two_operations_are_no_pair() -> None:
    """A tuple may hold many as well as a list."""
    first, second = copies(2)
    async with open_both() as (client, _):
        outcomes = [outcome async for outcome in client.run_all((first, second))]

    assert [outcome.succeeded for outcome in outcomes] == [True, True]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"timeout": -1}, "timeout must be a finite number of seconds, at least 0, not -1"),
        (
            {"timeout": "1"},
            "timeout must be seconds or a timedelta, such as 300 or timedelta(minutes=5), not '1'",
        ),
        ({"ledger": "copies"}, "ledger must be a Ledger, such as Ledger.open(path), not 'copies'"),
    ],
)
async def test_wrong_options_are_refused_at_once(
    client: AsanaClient, options: dict[str, Any], said: str
) -> None:
    """A wrong timeout or ledger is a ValueError where run_all is called."""
    with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
        client.run_all(copies(1), **options)


# --- The cap of running jobs


@pytest.mark.parametrize("cap", [1, 2, 5])
async def test_no_more_jobs_run_than_may(cap: int) -> None:
    """At any moment no more jobs of ours are unfinished at Asana than jobs_running, and as many as that."""
    async with open_both(jobs_running=cap, latency=(0.01, 0.3)) as (client, simulator):
        async for outcome in client.run_all(copies(25)):
            assert outcome.succeeded

        assert simulator.peak_jobs_running == cap


async def test_a_share_of_the_limits_is_a_share_of_the_jobs() -> None:
    """With ``share=2/5`` of the limits two jobs run at once."""
    async with AsanaSimulator(limits=SimulatorLimits.unlimited()) as simulator:
        limits = RateLimits(requests_per_minute=1500, share=2 / 5)
        async with AsanaClient("t", base_url=simulator.base_url, limits=limits) as client:
            assert len([outcome async for outcome in client.run_all(copies(10))]) == 10

        assert simulator.peak_jobs_running == 2


async def test_everything_of_one_client_shares_the_cap() -> None:
    """Two runs and single operations of one client together keep to jobs_running, and none of them starves."""
    async with open_both() as (client, simulator):

        async def drain() -> int:
            return len([outcome async for outcome in client.run_all(copies(20))])

        counts = await asyncio.gather(drain(), drain(), *(client.run(copy) for copy in copies(10)))

        assert counts[:2] == [20, 20]
        assert simulator.peak_jobs_running == 5
        assert slots(client).taken == 0


async def test_the_next_one_starts_at_once() -> None:
    """The next POST goes out the moment the answer is there that one job has finished."""
    async with open_both(jobs_running=1, latency=0.1) as (client, simulator):
        async for _ in client.run_all(copies(12)):
            await asyncio.sleep(0.5)  # a reader that takes its time

        requests = list(simulator.requests)
        posts = [number for number, request in enumerate(requests) if request.method == "POST"]
        for post in posts[1:]:
            before = requests[post - 1].answered
            assert before is not None
            assert requests[post].time - before < 0.01


async def test_a_job_finished_at_once_costs_no_look() -> None:
    """A job whose start is answered as succeeded is not looked at."""
    async with open_both(durations=0) as (client, simulator):
        assert len([outcome async for outcome in client.run_all(copies(12))]) == 12

        assert [request.method for request in simulator.requests] == ["POST"] * 12


# --- Time out


async def test_a_timeout_is_an_outcome_that_can_be_resumed() -> None:
    """A job that takes too long has a JobTimeoutError and a token with which it can be waited for."""
    async with open_both(durations=Fixed(60)) as (client, simulator):
        (outcome,) = [outcome async for outcome in client.run_all(copies(1), timeout=10)]

        assert isinstance(outcome.error, JobTimeoutError)
        assert outcome.continuation_token is not None
        assert now() < 20
        assert (await client.wait_for_job(outcome.continuation_token)).succeeded
        assert len(simulator.started) == 1


async def test_jobs_that_timed_out_count_until_they_end() -> None:
    """A job that was given up on runs on at Asana: until it is seen to end, no other takes its slot."""
    async with open_both(durations=Lognormal(10, spread=0.5)) as (client, simulator):
        outcomes = [outcome async for outcome in client.run_all(copies(20), timeout=8)]

        assert len(outcomes) == len(simulator.started) == 20
        assert any(isinstance(outcome.error, JobTimeoutError) for outcome in outcomes)
        assert simulator.peak_jobs_running == 5
        assert slots(client).taken == 0


@pytest.mark.parametrize(("durations", "cap"), [(Fixed(9), 5), (Stuck(), 4)])
async def test_jobs_that_timed_out_and_end_speak_for_a_higher_cap(durations: Fixed | Stuck, cap: int) -> None:
    """They were fitting in all the same; one that is never seen to end says nothing."""
    async with open_both(durations=durations) as (client, _):
        slots(client).cap = 4  # as after a refusal
        outcomes = [outcome async for outcome in client.run_all(copies(JOBS_BEFORE_RAISE + 10), timeout=5)]

        assert {type(outcome.error) for outcome in outcomes} == {JobTimeoutError}
        assert slots(client).cap == cap


@pytest.mark.parametrize("cap", [1, 5])
async def test_stuck_jobs_do_not_stop_a_run(cap: int) -> None:
    """When every job that runs has been given up on, the others are started all the same."""
    async with open_both(durations=Stuck(), jobs_running=cap) as (client, simulator):
        outcomes = [outcome async for outcome in client.run_all(copies(12), timeout=5)]

        assert [type(outcome.error) for outcome in outcomes] == [JobTimeoutError] * 12
        assert len(simulator.started) == 12
        assert slots(client).taken == 0


# --- Company


async def test_two_readers_share_the_outcomes() -> None:
    """Two tasks that iterate one run get every outcome once between them."""
    async with open_both() as (client, _):
        run = client.run_all(copies(20))

        async def read() -> list[str]:
            return [outcome.key async for outcome in run]

        first, second = await asyncio.gather(read(), read())

    assert sorted([*first, *second], key=int) == [str(number) for number in range(20)]


async def test_a_closed_client_runs_nothing() -> None:
    """A run of a client that was closed before is a ClientClosedError, and takes nothing from its input."""
    endless = Endless()
    async with open_both() as (client, _):
        await client.close()
        with pytest.raises(ClientClosedError):
            await anext(client.run_all(endless.plain()))

    assert endless.taken == 0


# --- Its parts


async def items_of(client: AsanaClient, operations: Any, *, derive_keys: bool = False) -> list[Item]:
    """What an input makes of *operations*."""
    names = client._runner().names  # pyright: ignore[reportPrivateUsage]
    source = OperationInput(operations, names, derive_keys=derive_keys)
    items: list[Item] = []
    try:
        while (item := await source.next()) is not None:
            items.append(item)
        source.raise_error()
    finally:
        await source.close()
    return items


async def test_an_item_has_the_callers_key_or_its_position(client: AsanaClient) -> None:
    """Numbers are written as text; the position counts what is no operation too, and the message names it."""
    first, second = copies(2)

    items = await items_of(client, [first, 5, ("row 7", second), (8, first)])

    assert [item.key for item in items] == ["0", "1", "row 7", "8"]
    assert [item.operation for item in items] == [first, 5, second, first]
    assert [item.given for item in items] == [first, None, second, first]
    assert {item.derived_key for item in items} == {None}
    assert [item.problem and str(item.problem) for item in items] == [
        None,
        "item 1 must be an operation such as DuplicateProject, or a pair of a key and an operation, not 5",
        None,
        None,
    ]


async def test_an_item_for_a_ledger_has_a_key_of_its_content_too(client: AsanaClient) -> None:
    """Which is its name, if its caller has none for it; equal ones have one each."""
    (copy,) = copies(1)

    alone, again, given = await items_of(client, [copy, copy, ("mine", copy)], derive_keys=True)

    assert (alone.key, again.key, given.key) == (alone.derived_key, again.derived_key, "mine")
    keys = [item.derived_key or "" for item in (alone, again, given)]
    assert [key.partition("#")[2] for key in keys] == ["0", "1", "2"]
    assert len({key.partition("#")[0] for key in keys}) == 1


async def test_an_operation_with_names_is_an_item_with_gids(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """What the caller gave is kept beside it: its outcome is about that."""
    transport.play({"gid": "12", "requested_dates": [{"gid": "1", "name": "Start"}]})
    given = InstantiateProject("12", name="Q3", requested_dates={"Start": "2026-01-01"})

    (item,) = await items_of(client, [given])

    assert item.given is given
    assert isinstance(item.operation, InstantiateProject)
    assert [date.gid for date in item.operation.requested_dates] == ["1"]


async def _raise(error: BaseException | None) -> None:
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("error", "left", "raised"),
    [
        (None, False, None),
        (None, True, None),
        (LookupError("row 4"), False, LookupError),
        (LookupError("row 4"), True, LookupError),
        (asyncio.CancelledError(), False, RuntimeError),
        (asyncio.CancelledError(), True, None),
    ],
)
async def test_what_ended_a_run_is_raised_once_and_after_its_outcomes(
    error: BaseException | None, left: bool, raised: type[Exception] | None
) -> None:
    """An error of the input always, a cancellation unless it was the reader's own; then there are no more outcomes."""
    queue = _OutcomeQueue(1)
    outcome = Outcome(copies(1)[0], None, None, "0")
    queue.deliver(outcome)
    queue.left = left
    supervisor = asyncio.create_task(_raise(error))
    await asyncio.wait([supervisor])

    assert await queue.next(supervisor) is outcome
    if raised is not None:
        with pytest.raises(raised, match=f"^{'row 4' if raised is LookupError else re.escape(CANCELLED)}$"):
            await queue.next(supervisor)
    for _ in range(2):
        with pytest.raises(StopAsyncIteration):
            await queue.next(supervisor)
    with pytest.raises(StopAsyncIteration):
        await queue.next(None)


async def test_a_reader_waits_for_outcomes_and_a_run_for_its_reader() -> None:
    """No more than so many outcomes wait; each that is taken makes room for one."""
    queue = _OutcomeQueue(2)
    first, second = (Outcome(copy, None, None, copy.name or "") for copy in copies(2))
    running = asyncio.create_task(asyncio.Event().wait())
    supervisor: Any = running
    reading = asyncio.create_task(queue.next(supervisor))
    await asyncio.sleep(0)
    queue.deliver(first)
    assert await reading is first

    queue.deliver(first)
    await asyncio.wait_for(queue.wait_for_room(), 1)
    queue.deliver(second)
    waiting = asyncio.create_task(queue.wait_for_room())
    await asyncio.sleep(1)
    assert not waiting.done()
    assert await queue.next(supervisor) is first
    await waiting
    running.cancel()


async def test_tasks_of_a_run_are_called_after_what_they_do(tmp_path: Path) -> None:
    """Who lists the tasks of a program that hangs finds the run, each operation by its key, and the leases."""
    async with (
        open_both(latency=1) as (client, _),
        Ledger.open(tmp_path / "ledger") as ledger,
        client.run_all([("row 7", copies(1)[0])], ledger=ledger) as run,
    ):
        reading = asyncio.ensure_future(anext(run))
        called: set[str] = set()
        for _ in range(100):
            await asyncio.sleep(0.02)
            called |= {task.get_name() for task in asyncio.all_tasks()}
        await reading

    assert {
        "asana_jobs run",
        "asana_jobs operation row 7",
        "asana_jobs duplicate_project 1203",
        "asana_jobs leases of the ledger",
    } <= called


async def test_a_run_looks_more_eagerly_and_with_a_ledger_more_patiently(
    transport: ScriptedTransport, clock: FakeClock, tmp_path: Path
) -> None:
    """A second of lag is a second in which nothing else runs; and a ledger is resumed where there is no network yet."""
    policy = PollPolicy(lag_price=2.0, first_contact=3.0, give_up_after=600.0)
    async with (
        AsanaClient("t", transport=transport, clock=clock, poll=policy) as client,
        Ledger.open(tmp_path / "ledger") as ledger,
    ):
        for options, first_contact in (({}, 3.0), ({"ledger": ledger}, 600.0)):
            runner = client._runner(timeout=77, **options)  # pyright: ignore[reportPrivateUsage]
            waits = (runner.starter.make_wait("1203"), runner.make_wait("1203", timeout=5))

            assert [wait.timeout for wait in waits] == [77, 5]
            assert [wait.policy.lag_price for wait in waits] == pytest.approx([0.2, 0.2])
            assert {wait.policy.first_contact for wait in waits} == {first_contact}
            assert (runner.starter.policy.first_contact, runner.starter.policy.lag_price) == (
                first_contact,
                2.0,
            )
            assert (runner.starter.retry_unknown, runner.starter.retry_failed) == (False, False)
            assert (runner.timeout, runner.ledger, runner.starter.ledger) == (
                77,
                *[options.get("ledger")] * 2,
            )


@pytest.mark.long
async def test_a_long_run_keeps_nothing() -> None:
    """After a thousand operations a client holds no more objects than after a hundred."""

    async def run(client: AsanaClient, simulator: AsanaSimulator, count: int) -> int:
        async for outcome in client.run_all(DuplicateTask("1", name=str(n)) for n in range(count)):
            assert outcome.succeeded
            if int(outcome.key) % 100 == 0:
                simulator.requests.clear()
                simulator.domain.started.clear()
        gc.collect()
        return sum(isinstance(thing, Outcome | asyncio.Future) for thing in gc.get_objects())

    async with open_both(durations=0) as (client, simulator):
        before = await run(client, simulator, 100)
        after = await run(client, simulator, 1000)

    assert after <= before + 20
