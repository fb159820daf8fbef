"""Starting a job once: what is repeated, what is waited out, what is reported, all counted by the simulator."""

import asyncio
import pickle
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import attrs
import pytest

from asana_jobs import (
    AsanaClient,
    DuplicateProject,
    ExportGraph,
    ExportResource,
    InstantiateProject,
    Job,
    Ledger,
    Outcome,
    PollPolicy,
    RateLimits,
    Response,
    RetryPolicy,
)
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict, LedgerClaim, LedgerRow
from asana_jobs._client.bulk.runner import CANCELLED, _known_error  # pyright: ignore[reportPrivateUsage]
from asana_jobs._client.http.protocol import Request
from asana_jobs._client.limits.running_jobs import JOBS_BEFORE_RAISE, RunningJobPermits
from asana_jobs._client.waiting.job_reference import JobReference
from asana_jobs.errors import (
    AuthenticationError,
    ConnectError,
    ExportBusyError,
    JobFailedError,
    JobTimeoutError,
    LedgerBusyError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from asana_jobs.operations import Operation
from asana_jobs.testing import (
    AsanaSimulator,
    Fault,
    Fixed,
    HtmlPage,
    Latency,
    Lognormal,
    NotJson,
    Reset,
    SimulatorLimits,
    SlowDrip,
    Status,
    Truncated,
)
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


COPY = DuplicateProject("1203", name="Q3 launch")
EXPORT = ExportGraph("1203")


def copies(count: int) -> list[DuplicateProject]:
    """Return *count* different operations."""
    return [DuplicateProject("1203", name=f"Copy {number}") for number in range(count)]


@asynccontextmanager
async def open_both(**options: Any) -> AsyncGenerator[tuple[AsanaClient, AsanaSimulator], None]:
    """Open a simulator and a client for it, without jitter."""
    limits: RateLimits = options.pop("limits", RateLimits.paid())
    poll: PollPolicy = options.pop("poll", PollPolicy())
    options["limits"] = options.pop("server_limits", SimulatorLimits.unlimited())
    options.setdefault("durations", Fixed(2))
    async with (
        AsanaSimulator(**options) as simulator,
        AsanaClient(
            "t", base_url=simulator.base_url, retry=RetryPolicy(jitter=0), limits=limits, poll=poll
        ) as client,
    ):
        yield client, simulator


def slots(client: AsanaClient) -> RunningJobPermits:
    """The client's running-job slots."""
    return client._budget.running_jobs  # pyright: ignore[reportPrivateUsage]


async def outcomes_of(client: AsanaClient, operations: list[Any]) -> list[Outcome]:
    """Run *operations* to their end."""
    return [outcome async for outcome in client.run_all(operations)]


def posts(simulator: AsanaSimulator) -> int:
    """How many requests to start a job arrived."""
    return len(simulator.requests.where(method="POST"))


def now() -> float:
    """The loop's virtual time."""
    return asyncio.get_running_loop().time()


# --- run


async def test_run_returns_the_finished_job() -> None:
    """``run`` starts one job, waits for it and returns it succeeded."""
    async with open_both() as (client, simulator):
        job = await client.run(COPY)

        assert job.succeeded
        assert [started.gid for started in simulator.started] == [job.gid]
        assert slots(client).taken == 0


async def test_run_raises_for_a_failed_job() -> None:
    """``run`` promises a finished object, so a failed job is a JobFailedError with the job."""
    async with open_both(durations=Fixed(1, outcome="failed")) as (client, _):
        with pytest.raises(JobFailedError) as caught:
            await client.run(COPY)

        assert caught.value.job.failed
        assert slots(client).taken == 0


async def test_run_raises_when_time_is_up() -> None:
    """``run`` with a timeout is a JobTimeoutError that can be resumed, and gives its slot back."""
    async with open_both(durations=Fixed(50)) as (client, _):
        with pytest.raises(JobTimeoutError) as caught:
            await client.run(COPY, timeout=timedelta(seconds=5))

        assert slots(client).taken == 0
        assert (await client.wait_for_job(caught.value.continuation_token)).succeeded


async def test_run_takes_an_operation() -> None:
    """``run`` of anything but an operation is a ValueError before any request."""
    async with open_both() as (client, simulator):
        with pytest.raises(ValueError, match="operation must be"):
            await client.run("1203")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

        assert len(simulator.requests) == 0
        assert slots(client).taken == 0


# --- What may be repeated

DOUBTFUL: list[Fault] = [
    Reset(effect=True),
    Reset(effect=False),
    Status(500, effect=True),
    Status(500),
    Status(502, effect=True),
    Status(503),
    Status(504, effect=True),
    HtmlPage(502, effect=True),
    HtmlPage(200, effect=True),
    NotJson(),
    Truncated(),
    Latency(after=3600),
    Latency(3600),
    SlowDrip(seconds=60),
]


@pytest.mark.parametrize("fault", DOUBTFUL, ids=repr)
async def test_a_lost_answer_is_never_repeated(fault: Fault) -> None:
    """After a reset, a timeout, a 5xx or an answer that cannot be read, nothing is sent again."""
    async with open_both() as (client, simulator):
        simulator.fail_next(fault, method="POST")

        (outcome,) = await outcomes_of(client, [COPY])

        assert isinstance(outcome.error, OutcomeUnknownError)
        assert outcome.job is None
        assert posts(simulator) == 1
        assert len(simulator.started) <= 1
        assert slots(client).taken == 0


async def test_doubt_says_what_is_known() -> None:
    """An OutcomeUnknownError carries the operation, the time, the cause, and what a person can look at."""
    async with open_both() as (client, simulator):
        simulator.fail_next(Reset(effect=True), method="POST")

        (outcome,) = await outcomes_of(client, [COPY])

    error = outcome.error
    assert isinstance(error, OutcomeUnknownError)
    assert error.operation == COPY
    assert error.sent_at is not None
    assert abs(error.sent_at - datetime.now(UTC)) < timedelta(minutes=5)
    assert error.__cause__ is not None
    assert "Q3 launch" in error.check
    assert error.gid == "1203"


@pytest.mark.parametrize("fault", [*DOUBTFUL[:2], Truncated(), Status(503, effect=True)], ids=repr)
async def test_a_graph_export_is_repeated(fault: Fault) -> None:
    """A graph export whose answer was lost is asked for again: the same job comes back, one is started."""
    async with open_both() as (client, simulator):
        simulator.fail_next(fault, method="POST")

        (outcome,) = await outcomes_of(client, [EXPORT])

        assert outcome.succeeded
        assert posts(simulator) == 2
        assert len(simulator.started) == 1


async def test_a_graph_export_that_stays_lost_is_doubtful() -> None:
    """A graph export whose answers are lost for longer than anybody has patience is reported as unknown."""
    async with open_both(poll=PollPolicy(give_up_after=60)) as (client, simulator):
        simulator.fail_next(Reset(effect=True), method="POST", times=None)

        (outcome,) = await outcomes_of(client, [EXPORT])

        assert isinstance(outcome.error, OutcomeUnknownError)
        assert now() < 120


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 451])
async def test_a_refusal_is_final(status: int) -> None:
    """A 4xx other than 429 started nothing and is not repeated."""
    async with open_both() as (client, simulator):
        simulator.fail_next(status, method="POST")

        (outcome,) = await outcomes_of(client, [COPY])

        assert getattr(outcome.error, "status", None) == status
        assert not isinstance(outcome.error, OutcomeUnknownError)
        assert posts(simulator) == 1
        assert simulator.started == []


async def test_an_expired_token_is_renewed_once() -> None:
    """After a 401 a token provider is asked for a fresh token, and the job is started with it, once."""
    tokens = iter(["old", "new", "newer"])

    async def provide() -> str:
        return next(tokens)

    async with (
        AsanaSimulator(tokens=["new"]) as simulator,
        AsanaClient(provide, base_url=simulator.base_url) as client,
    ):
        (outcome,) = await outcomes_of(client, [COPY])

        assert outcome.succeeded
        assert len(simulator.started) == 1
        assert next(tokens) == "newer"


async def test_a_token_that_stays_refused_is_an_outcome() -> None:
    """With a bad token every operation has an AuthenticationError, and nothing was started."""
    async with (
        AsanaSimulator(tokens=["good"]) as simulator,
        AsanaClient("bad", base_url=simulator.base_url) as client,
    ):
        outcomes = await outcomes_of(client, copies(7))

        assert [type(outcome.error) for outcome in outcomes] == [AuthenticationError] * 7
        assert simulator.started == []


async def test_somebody_elses_transport_may_break() -> None:
    """Whatever a foreign transport raises once the request is out leaves the outcome unknown; nothing is repeated."""

    class Broken(ScriptedTransport):
        async def send(self, request: Request) -> Response:
            await super().send(request)
            raise RuntimeError("out of order")

    transport = Broken("in_progress")
    async with AsanaClient("t", transport=transport, clock=FakeClock()) as client:
        (outcome,) = await outcomes_of(client, [COPY])

    assert isinstance(outcome.error, OutcomeUnknownError)
    assert "RuntimeError: out of order" in str(outcome.error)
    error = outcome.error
    assert (error.method, error.path, error.gid) == ("POST", COPY.path, COPY.gid)
    assert len(transport.requests) == 1


@pytest.mark.parametrize("begun", [False, True])
async def test_an_operation_whose_task_somebody_else_ends_has_an_outcome(begun: bool) -> None:
    """Whether its task had begun or not, the reader is told of it, and all others run on."""

    def end_the_first() -> None:
        for task in asyncio.all_tasks():
            if task.get_name() == "asana_jobs operation 0":
                task.cancel()

    def source() -> Iterator[DuplicateProject]:
        for copy in copies(3):
            yield copy
            if not begun:
                end_the_first()

    async with open_both(durations=Fixed(30)) as (client, _):
        if begun:
            asyncio.get_running_loop().call_later(10, end_the_first)
        outcomes = {outcome.key: outcome async for outcome in client.run_all(source())}

        assert sorted(outcomes) == ["0", "1", "2"]
        ended = outcomes.pop("0")
        assert ended.operation == copies(1)[0]
        assert isinstance(ended.error, RuntimeError)
        assert "was cancelled by somebody else" in str(ended.error)
        assert (ended.job is not None) == (ended.continuation_token is not None) == begun
        assert all(outcome.succeeded for outcome in outcomes.values())


# --- 429


@pytest.mark.parametrize("retry_after", [20, None], ids=["20 s", "no header"])
async def test_a_429_is_waited_out(retry_after: float | None) -> None:
    """A POST that is answered 429 is sent again when the pause that all share is over, and starts one job."""
    async with open_both() as (client, simulator):
        simulator.fail_next(429, retry_after=retry_after, method="POST")

        (outcome,) = await outcomes_of(client, [COPY])

        first, second = simulator.requests.where(method="POST")
        assert outcome.succeeded
        assert second.time - first.time >= (retry_after or 1)
        assert len(simulator.started) == 1


async def test_a_429_stops_everybody() -> None:
    """While a 429 to a POST is waited out nobody else asks Asana anything."""
    async with open_both(durations=Lognormal(4)) as (client, simulator):
        simulator.fail_next(429, retry_after=25, method="POST", when=lambda record: record.number == 4)

        await outcomes_of(client, copies(8))

        refused = next(request for request in simulator.requests if request.status == 429)
        during = [r for r in simulator.requests if refused.time + 0.1 < r.time < refused.time + 24.9]
        assert during == []
        assert len(simulator.started) == 8


async def test_429s_without_end_are_an_outcome() -> None:
    """429s for longer than ``give_up_after`` end in a RateLimitError; nothing was started."""
    async with open_both(poll=PollPolicy(give_up_after=300)) as (client, simulator):
        simulator.fail_next(429, retry_after=10, method="POST", times=None)

        outcomes = await outcomes_of(client, copies(2))

        assert [type(outcome.error) for outcome in outcomes] == [RateLimitError] * 2
        assert 300 <= now() < 700
        assert simulator.started == []


async def test_the_cap_shrinks_to_what_asana_lets_run() -> None:
    """Where only three jobs may run, the fourth is refused a few times, then three run, and everything is done."""
    limits = SimulatorLimits(jobs_running=3)
    async with open_both(server_limits=limits, durations=Lognormal(3, spread=0.3)) as (client, simulator):
        outcomes = await outcomes_of(client, copies(40))

        assert all(outcome.succeeded for outcome in outcomes)
        assert len(simulator.started) == 40
        assert simulator.peak_jobs_running == 3
        assert simulator.rejected <= 5


async def test_the_cap_recovers_when_asana_lets_more_run() -> None:
    """When others no longer use the token's jobs, the cap rises again to jobs_running, within the same run."""
    async with open_both(
        server_limits=SimulatorLimits(jobs_running=2), durations=Lognormal(3, spread=0.3)
    ) as (client, simulator):
        seen = 0
        async for outcome in client.run_all(copies(10 + 5 * JOBS_BEFORE_RAISE)):
            assert outcome.succeeded
            seen += 1
            if seen == 10:
                assert slots(client).cap == 2
                simulator.limiter.limits = SimulatorLimits.unlimited()

        assert slots(client).cap == 5
        assert simulator.peak_jobs_running == 5


async def test_jobs_of_others_are_waited_for() -> None:
    """When others fill Asana's cap, a job of ours that is refused alone waits for room, however often."""
    async with open_both(server_limits=SimulatorLimits(jobs_running=1), durations=Fixed(100)) as (
        client,
        simulator,
    ):
        await client.start(COPY)  # not in bulk, so that no slot knows of it

        (outcome,) = await outcomes_of(client, [COPY])

        assert outcome.succeeded
        assert slots(client).cap == 5
        assert now() >= 200
        assert len(simulator.started) == 2


async def test_waiting_for_a_slot_is_no_trouble() -> None:
    """A refused job may wait for its turn far longer than ``give_up_after`` without failing."""
    async with open_both(
        server_limits=SimulatorLimits(jobs_running=1),
        limits=RateLimits(requests_per_minute=1500, jobs_running=2),
        durations=Fixed(1000),
        poll=PollPolicy(give_up_after=120),
    ) as (client, _):
        outcomes = await outcomes_of(client, copies(3))

        assert all(outcome.succeeded for outcome in outcomes)


# --- Outages


@pytest.mark.parametrize("minutes", [1, 10])
async def test_an_outage_is_survived(minutes: int) -> None:
    """When no connection can be made for minutes, everything is done afterwards, once."""
    async with open_both(durations=Lognormal(5)) as (client, simulator):
        outcomes: list[Outcome] = []
        async for outcome in client.run_all(copies(30)):
            outcomes.append(outcome)
            if len(outcomes) == 10:
                await simulator.refuse_connections(60 * minutes)

        sent = [outcome for outcome in outcomes if isinstance(outcome.error, OutcomeUnknownError)]
        assert all(outcome.succeeded for outcome in outcomes if outcome not in sent)
        assert len({job.result["name"] for job in simulator.started}) == len(simulator.started)
        assert len(sent) <= 5  # those that were on the wire when the line was cut
        assert len(outcomes) == 30


async def test_an_outage_without_end_is_an_outcome() -> None:
    """When no connection can be made for longer than ``give_up_after``, operations end in a ConnectError."""
    async with open_both(poll=PollPolicy(give_up_after=200)) as (client, simulator):
        await simulator.refuse_connections(100_000)

        outcomes = await outcomes_of(client, copies(6))

        assert [type(outcome.error) for outcome in outcomes] == [ConnectError] * 6
        assert now() < 600


async def test_looks_that_fail_for_long_end_an_operation() -> None:
    """When a started job cannot be looked at for longer than ``give_up_after``, its outcome has a token."""
    async with open_both(poll=PollPolicy(give_up_after=100)) as (client, simulator):
        simulator.fail_next(503, method="GET", times=None)

        (outcome,) = await outcomes_of(client, [COPY])

        assert isinstance(outcome.error, ServerError)
        assert outcome.continuation_token is not None
        assert outcome.job is not None
        simulator.heal()
        assert (await client.wait_for_job(outcome.continuation_token)).succeeded


# --- A resource export while one runs


def resource_export() -> ExportResource:
    """Return an export of tasks of workspace 1199."""
    return ExportResource("1199", parameters=[{"resource_type": "task"}])


async def test_a_busy_workspace_is_no_matter_of_permission() -> None:
    """An export that is refused because one runs is an ExportBusyError whose message says so and what to do."""
    async with open_both() as (client, _):
        first, second = await outcomes_of(client, [resource_export(), resource_export()])

    error = first.error or second.error
    assert isinstance(error, ExportBusyError)
    assert error.status == 403
    assert "already running in this workspace" in str(error)
    assert "wait for it" in str(error)
    assert isinstance(pickle.loads(pickle.dumps(error)), ExportBusyError)  # noqa: S301
    assert first.succeeded != second.succeeded


async def test_an_export_without_permission_is_not_busy() -> None:
    """A 403 to an export for any other reason stays a PermissionDeniedError."""
    async with open_both() as (client, simulator):
        simulator.fail_next(Status(403, message="You must use a service account."), method="POST")

        (outcome,) = await outcomes_of(client, [resource_export()])

    assert type(outcome.error) is PermissionDeniedError


async def test_only_exports_can_be_busy() -> None:
    """A 403 to another operation is about permission, whatever words are in it."""
    async with open_both() as (client, simulator):
        simulator.fail_next(Status(403, message="already running"), method="POST")

        (outcome,) = await outcomes_of(client, [COPY])

    assert type(outcome.error) is PermissionDeniedError


# --- Kinds of operations


async def test_all_kinds_share_the_cap() -> None:
    """Copies, instantiations and exports count together."""
    operations: list[Operation] = [
        kind for number in range(6) for kind in (*copies(2), ExportGraph(str(number + 1)))
    ]
    async with open_both(durations=Lognormal(3)) as (client, simulator):
        outcomes = await outcomes_of(client, operations)

        assert all(outcome.succeeded for outcome in outcomes)
        assert simulator.peak_jobs_running == 5


async def test_a_429_when_the_quota_is_nearly_used_up_is_the_quotas() -> None:
    """One 429 to a POST while the minute's quota is nearly used up does not lower how many jobs may run."""
    async with open_both(limits=RateLimits(requests_per_minute=60), durations=Fixed(30)) as (
        client,
        simulator,
    ):
        while client.budget.used < 0.85:
            await client.get_job("1")
        simulator.fail_next(429, retry_after=1, method="POST", when=_second_post())

        outcomes = await outcomes_of(client, copies(2))

        assert [outcome.succeeded for outcome in outcomes] == [True] * 2
        assert posts(simulator) == 3
        assert slots(client).cap == slots(client).max_cap


async def test_waiting_for_ones_turn_is_no_trouble() -> None:
    """Who was refused as one job too many, and waits for longer than the patience, begins its patience anew."""
    poll = PollPolicy(give_up_after=60)
    async with open_both(poll=poll, durations=Fixed(300)) as (client, simulator):
        simulator.fail_next(429, retry_after=1, method="POST", times=2, when=_second_post())

        outcomes = await outcomes_of(client, copies(2))

        assert [outcome.error for outcome in outcomes] == [None] * 2
        assert posts(simulator) == 4


def _second_post() -> Callable[[Any], bool]:
    """Match every POST after the first."""
    seen = count(1)
    return lambda record: record.method == "POST" and next(seen) > 1


async def test_jobs_that_finish_raise_what_had_been_lowered(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """After as many as it takes without a refusal, one more may run."""
    slots(client).cap = 2
    transport.play("succeeded")

    outcomes = await outcomes_of(client, list(copies(JOBS_BEFORE_RAISE)))

    assert [outcome.succeeded for outcome in outcomes] == [True] * JOBS_BEFORE_RAISE
    assert slots(client).cap == 3


async def test_an_outcome_is_about_what_was_given(client: AsanaClient, transport: ScriptedTransport) -> None:
    """With its names, though gids were sent; in a run of one, too, if it fails."""
    template = {"gid": "12", "requested_dates": [{"gid": "1", "name": "Start"}]}
    given = InstantiateProject("12", name="Q3", requested_dates={"Start": "2026-01-01"})
    transport.play(template, {"gid": "77", "status": "succeeded"})

    (outcome,) = await outcomes_of(client, [given])

    assert outcome.succeeded
    assert outcome.operation is given
    transport.play(template, {"gid": "78", "status": "failed"})
    with pytest.raises(JobFailedError):
        await client.run(given)
    assert b'"gid": "1"' in (transport.requests[-1].body or b"")


# --- What it knows


async def test_a_run_counts_what_it_has_taken_and_what_is_under_way() -> None:
    """Its repr says so, amid it and at its end."""
    async with open_both() as (client, _), client.run_all(copies(3)) as run:
        said = [repr(run)]
        await anext(run)
        said.append(repr(run))
        assert [outcome.succeeded async for outcome in run] == [True, True]
        said.append(repr(run))

    assert said[0] == "<Run: 0 taken, 0 under way>"
    assert said[1].startswith("<Run: 3 taken, ")
    assert said[2] == "<Run: 3 taken, 0 under way>"


@pytest.fixture
async def row(tmp_path: Path) -> LedgerRow:
    """A row of a started job."""
    async with Ledger.open(tmp_path / "ledger") as ledger:
        await ledger.claim("k", COPY)
        await ledger.started("k", Job("77", status="in_progress"), "a token that nobody can read")
        found = ledger.find(key="k")
    assert found is not None
    return found


async def test_a_wait_goes_on_from_what_a_row_knows(client: AsanaClient, row: LedgerRow) -> None:
    """From its token, from its gid, or, with a token of a newer version, from its job or its gid; each with its time."""
    runner = client._runner(timeout=7)  # pyright: ignore[reportPrivateUsage]
    rows = [
        row,
        attrs.evolve(row, job=None),
        attrs.evolve(row, continuation_token=None, gid="78"),
        attrs.evolve(row, continuation_token=JobReference(gid="79").to_token()),
    ]

    waits = [runner._resume(one) for one in rows]  # pyright: ignore[reportPrivateUsage]

    assert [(wait.gid, wait.timeout) for wait in waits] == [("77", 7), ("77", 7), ("78", 7), ("79", 7)]
    assert [wait.reference and wait.reference.job for wait in waits] == [row.job, None, None, None]
    with pytest.raises(ValueError, match=r"^job gid must"):
        runner._resume(attrs.evolve(row, continuation_token=None, gid=None, job=None))  # pyright: ignore[reportPrivateUsage]


def test_what_the_ledger_knows_of_an_end_is_an_error_in_a_sentence(row: LedgerRow) -> None:
    """A doubt says what was noted of it, and what to do; a failed job is told by itself; any other end is none."""

    def known(verdict: ClaimVerdict, **changes: Any) -> Exception | None:
        return _known_error(LedgerClaim(verdict, attrs.evolve(row, **changes), taken_at=None), COPY)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]

    for noted, said in (("reset", "reset"), (None, "which was killed before the answer was stored")):
        doubt = known(ClaimVerdict.UNKNOWN, error=noted)
        assert isinstance(doubt, OutcomeUnknownError)
        assert str(doubt) == (
            f"duplicate_project of 1203 may or may not have been started in an earlier run ({said}). It was not repeated; "
            "look in Asana, then run again with retry_unknown=True or settle it with accept_unknown."
        )
        assert (doubt.operation, doubt.sent_at, doubt.gid) == (COPY, row.changed_at, "1203")
    failed = known(ClaimVerdict.DONE, job=Job("77", status="failed"))
    assert isinstance(failed, JobFailedError)
    assert failed.job.gid == "77"
    assert known(ClaimVerdict.DONE, job=Job("77", status="succeeded")) is None
    assert known(ClaimVerdict.ACCEPTED, job=None) is None


async def test_an_operation_that_a_stranger_ended_is_told_as_that(client: AsanaClient) -> None:
    """Even if it had not begun: what was given, under its key, without a job."""
    runner = client._runner()  # pyright: ignore[reportPrivateUsage]
    permit = await runner.permits.acquire()

    outcome = runner.interrupted("k", COPY, permit)
    permit.release()

    assert (outcome.operation, outcome.job, outcome.key) == (COPY, None, "k")
    assert isinstance(outcome.error, RuntimeError)
    assert str(outcome.error) == CANCELLED
    assert CANCELLED.startswith("a task of this run was cancelled by somebody else, such as ")


async def test_a_row_that_is_held_is_told_in_a_sentence(client: AsanaClient, row: LedgerRow) -> None:
    """By whom, and what to do; one that is stopped does nothing by itself."""
    runner = client._runner()  # pyright: ignore[reportPrivateUsage]
    held = attrs.evolve(row, holder="here, process 7")
    said: list[str] = []
    for stopped in (False, True):
        claim: Any = attrs.evolve(held, stopped=stopped)
        error = runner._held(_Named("k"), _Claim(claim))  # type: ignore[arg-type]  # pyright: ignore[reportPrivateUsage, reportArgumentType]
        assert isinstance(error, LedgerBusyError)
        said.append(str(error))

    assert said == [
        f"'k' is left to here, process 7, which is at work on it. {LedgerBusyError.advice}",
        "'k' is held by here, process 7, which is stopped: continue it or end it",
    ]


@attrs.frozen
class _Named:
    key: str


@attrs.frozen
class _Claim:
    row: LedgerRow
