"""No job-starting POST is ever sent twice unless it is certain that nothing was started."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import attrs
import pytest

from asana_jobs import AsanaClient, DuplicateProject, ExportGraph, Job, PollPolicy, RateLimits, Response
from asana_jobs._client.assembly import make_session
from asana_jobs._client.bulk.starting import (
    NEARLY_USED,
    OperationRun,
    _FailedStarts,  # pyright: ignore[reportPrivateUsage]
)
from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.limits.gate import GateSnapshot, LocalGate
from asana_jobs.errors import (
    ClientClosedError,
    ConnectError,
    OutcomeUnknownError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TransportError,
)
from asana_jobs.testing import AsanaSimulator, HtmlPage, Latency, NotJson, Reset, Status, Truncated
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport
from asana_jobs.testing.simulator.faults import Fault


Call = Callable[[AsanaClient], Awaitable[Job]]

ONCE: dict[str, Call] = {
    "duplicate_task": lambda client: client.duplicate_task("11", name="Q3"),
    "duplicate_project": lambda client: client.duplicate_project("11", name="Q3"),
    "duplicate_portfolio": lambda client: client.duplicate_portfolio("11", name="Q3"),
    "save_project_as_template": lambda client: client.save_project_as_template(
        "11", name="Q3", public=False, team="5"
    ),
    "instantiate_project": lambda client: client.instantiate_project("11", name="Q3"),
    "instantiate_task": lambda client: client.instantiate_task("11", name="Q3"),
    "rollup_task": lambda client: client.rollup_task("11"),
    "rollup_project": lambda client: client.rollup_project("11"),
    "export_organization": lambda client: client.export_organization("11"),
    "export_resource": lambda client: client.export_resource("11", parameters=[{"resource_type": "task"}]),
}

# The fault, and how many jobs it leaves running at the server.
LOST: dict[str, tuple[Fault, int]] = {
    "reset before": (Reset(), 0),
    "reset after": (Reset(effect=True), 1),
    "timeout before": (Latency(100), 0),
    "timeout after": (Latency(after=100), 1),
    "500": (Status(500), 0),
    "502": (Status(502), 0),
    "503 with retry-after": (Status(503, retry_after="1"), 0),
    "504 after": (Status(504, effect=True), 1),
    "gateway page": (HtmlPage(502, effect=True), 1),
    "page instead of 201": (HtmlPage(201, effect=True), 1),
    "truncated": (Truncated(), 1),
    "not JSON": (NotJson(), 1),
}


@pytest.mark.parametrize("call", ONCE.values(), ids=ONCE)
@pytest.mark.parametrize(("fault", "running"), LOST.values(), ids=LOST)
async def test_a_post_whose_answer_is_lost_is_not_repeated(
    wired: AsanaClient, simulator: AsanaSimulator, call: Call, fault: Fault, running: int
) -> None:
    """After a timeout, a reset, a 5xx or a 201 that cannot be read there is one POST, and an OutcomeUnknownError."""
    simulator.fail_next(fault, times=None)

    with pytest.raises(OutcomeUnknownError):
        await call(wired)

    # A request that is reset is in the log although it was not answered.
    assert len(simulator.requests) == 1
    assert len(simulator.started) <= running


async def test_what_an_unknown_outcome_knows(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """OutcomeUnknownError has the operation, what to look for, and the error that hid the outcome."""
    simulator.fail_next(Reset(effect=True))

    with pytest.raises(OutcomeUnknownError) as caught:
        await wired.duplicate_project("11", name="Q3 launch")

    error = caught.value
    assert error.operation == DuplicateProject("11", name="Q3 launch")
    assert (error.gid, error.request) == ("11", "POST /projects/11/duplicate")
    assert error.check == "look in Asana for 'Q3 launch', made by this token's user at about this time"
    assert str(error).startswith("duplicate_project of 11 may or may not have been started: ")
    assert "It was not repeated" in str(error)
    assert isinstance(error.__cause__, TransportError)


async def test_sent_at_is_when_it_was_sent(clock: FakeClock) -> None:
    """`sent_at` is the moment at which the request went out, not the one at which we gave up on it."""
    transport = ScriptedTransport("not_started", clock=clock, latency=100)
    async with AsanaClient("test-token", transport=transport, clock=clock) as client:
        await clock.sleep(5)
        start = clock.now()

        with pytest.raises(OutcomeUnknownError) as caught:
            await client.duplicate_project("11", name="Q3")

    assert clock.now() - start == timedelta(seconds=30)
    assert caught.value.sent_at == start


async def test_the_cause_is_kept(client: AsanaClient, transport: ScriptedTransport) -> None:
    """What happened to the request is the cause, be it a timeout or a 5xx."""
    transport.play(RequestTimeoutError("no answer", method="POST", path="/x"))
    with pytest.raises(OutcomeUnknownError) as late:
        await client.duplicate_task("11")
    transport.play(503)
    with pytest.raises(OutcomeUnknownError) as failed:
        await client.duplicate_task("11")

    assert isinstance(late.value.__cause__, RequestTimeoutError)
    assert isinstance(failed.value.__cause__, ServerError)


async def test_a_201_without_a_gid_is_unknown(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A job was started, but its gid cannot be read."""
    transport.play({"gid": 12, "status": "in_progress"})

    with pytest.raises(OutcomeUnknownError, match="the job's gid cannot be read"):
        await client.duplicate_task("11")

    assert len(transport.requests) == 1


@pytest.mark.parametrize("retry_after", [1, None])
async def test_a_429_is_waited_for(
    wired: AsanaClient, simulator: AsanaSimulator, retry_after: int | None
) -> None:
    """A 429 started nothing: the POST is sent again when the pause is over, and starts one job."""
    simulator.fail_next(429, retry_after=retry_after, times=3)

    await wired.duplicate_project("11", name="Q3")

    assert len(simulator.requests) == 4
    assert len(simulator.started) == 1


async def test_a_429_that_stays_started_nothing(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """A POST that is limited to the end is a RateLimitError: nothing was started."""
    simulator.fail_next(429, retry_after=1, times=None)

    with pytest.raises(RateLimitError):
        await wired.duplicate_project("11", name="Q3")

    assert len(simulator.started) == 0


async def test_a_refused_connection_is_tried_again(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """A connection that was never made sent nothing: the POST is tried again, and starts one job."""
    await simulator.refuse_connections(1)

    await wired.duplicate_project("11", name="Q3")

    assert len(simulator.started) == 1


async def test_a_server_that_stays_away_started_nothing(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A POST that never reached a server is a ConnectError."""
    transport.play(ConnectError("refused", method="POST", path="/x"))

    with pytest.raises(ConnectError):
        await client.duplicate_project("11", name="Q3")

    assert len(transport.requests) == 5


async def test_trouble_after_a_429_is_unknown(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A POST that is lost at its second try, after a 429, is not tried a third time."""
    transport.play(429, TransportError("reset", method="POST", path="/x"), "not_started")

    with pytest.raises(OutcomeUnknownError):
        await client.duplicate_project("11", name="Q3")

    assert len(transport.requests) == 2


@pytest.mark.parametrize(("fault", "running"), LOST.values(), ids=LOST)
async def test_a_graph_export_may_be_repeated(fault: Fault, running: int) -> None:
    """`export_graph` gives the same job back while it runs, so that a lost answer is asked for again."""
    async with AsanaSimulator(durations=600.0) as simulator:
        simulator.fail_next(fault, times=2)
        async with AsanaClient("test-token", base_url=simulator.base_url) as client:
            job = await client.export_graph("11")

    assert len(simulator.requests) == 3
    assert {started.gid for started in simulator.started} == {job.gid}


async def test_a_graph_export_that_stays_lost_is_unknown(
    wired: AsanaClient, simulator: AsanaSimulator
) -> None:
    """After the last try a graph export, too, is of unknown outcome."""
    simulator.fail_next(Reset(effect=True), times=None)

    with pytest.raises(OutcomeUnknownError):
        await wired.export_graph("11")

    assert len(simulator.requests) == 5


@pytest.mark.parametrize("same_job", [False, True], ids=["once", "export_graph"])
async def test_closing_amid_a_post_is_unknown(
    wired: AsanaClient, simulator: AsanaSimulator, *, same_job: bool
) -> None:
    """A POST that was under way when its client was closed may have started its job, and says so."""
    simulator.fail_next(Latency(after=10))
    post = wired.export_graph("11") if same_job else wired.duplicate_project("11", name="Q3")
    task = asyncio.ensure_future(post)
    await asyncio.sleep(1)

    await wired.close()

    with pytest.raises(OutcomeUnknownError, match="the client was closed before the answer came") as caught:
        await task

    assert caught.value.sent_at is not None


async def test_closing_before_a_post_is_sent_is_certain(transport: ScriptedTransport) -> None:
    """A POST that still waited for the budget when its client was closed was not sent."""
    transport.play(Response(status=429, headers={"retry-after": "100"}), "not_started")
    async with AsanaClient("test-token", transport=transport) as client:
        task = asyncio.ensure_future(client.duplicate_project("11", name="Q3"))
        await asyncio.sleep(1)

    with pytest.raises(ClientClosedError):
        await task
    assert len(transport.requests) == 1


async def test_a_post_that_is_cancelled_is_cancelled(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """Cancelling a POST under way is a cancellation, and it is not sent again."""
    simulator.fail_next(Latency(after=10))
    task = asyncio.ensure_future(wired.duplicate_project("11", name="Q3"))
    await asyncio.sleep(1)

    task.cancel()
    await asyncio.wait([task])

    assert task.cancelled()
    assert len(simulator.requests) == 1


@pytest.mark.parametrize(
    "error",
    [
        TransportError("the token endpoint is down", method="POST", path="/-/oauth_token"),
        RequestTimeoutError("the token endpoint is slow", method="POST", path="/-/oauth_token"),
    ],
)
async def test_a_token_that_cannot_be_renewed_started_nothing(
    client: AsanaClient, transport: ScriptedTransport, error: TransportError
) -> None:
    """A POST that was not sent for want of a token is certain to have started nothing."""

    async def provider() -> str:
        raise error

    with pytest.raises(ConnectError, match="was not sent, for want of a token") as caught:
        await client.with_token(provider).duplicate_project("11", name="Q3")

    assert (caught.value.method, caught.value.path, caught.value.gid) == (
        "POST",
        "/projects/11/duplicate",
        "11",
    )
    assert transport.requests == []


async def test_a_wait_outlives_a_token_endpoint_that_is_down(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A wait goes on when the token can be renewed again."""
    transport.play("succeeded")

    async def provider() -> str:
        if clock.monotonic() < 60:
            raise TransportError("the token endpoint is down", method="POST", path="/-/oauth_token")
        return "other-token"

    assert (await client.with_token(provider).wait_for_job("1203")).succeeded


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_raw_posts_are_not_repeated_either(
    wired: AsanaClient, simulator: AsanaSimulator, method: str
) -> None:
    """A raw POST or PATCH whose answer is lost is of unknown outcome."""
    simulator.fail_next(Reset(), times=None)

    with pytest.raises(OutcomeUnknownError) as caught:
        await wired.request(method, "/tasks/11/duplicate", json={"data": {}})

    assert caught.value.operation is None
    assert len(simulator.requests) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
async def test_raw_requests_that_may_be_repeated(
    client: AsanaClient, transport: ScriptedTransport, method: str
) -> None:
    """PUT, DELETE and GET are the same twice as once: they are repeated."""
    transport.play(503, 503, {"gid": "1"})

    await client.request(method, "/tasks/11")

    assert len(transport.requests) == 3


# Whether to try again, and when.

COPY = DuplicateProject("11", name="Q3")
WHERE: dict[str, Any] = {"method": "POST", "path": "/projects/11/duplicate", "gid": "11"}
REFUSED = ConnectError("refused", **WHERE)
LIMITED = RateLimitError("too many", status=429, **WHERE)
FAILED = ServerError("down", status=503, **WHERE)


class ShownGate(LocalGate):
    """A budget that shows what a test has set."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(RateLimits.paid(), clock)
        self.shown = attrs.evolve(super().snapshot(), used=0.0, paused_for=0.0)

    def snapshot(self) -> GateSnapshot:
        """Show it."""
        return self.shown


@attrs.define
class Permit:
    """The right to have a job, which notes that it was given up, and when it was taken again."""

    clock: FakeClock
    of_no_use: bool = False
    refusals: int = 0
    taken_at: list[float] = attrs.field(factory=list[float])

    def refused(self) -> bool:
        """Note it, and say whether that has changed anything."""
        self.refusals += 1
        return not self.of_no_use

    async def acquire(self) -> None:
        """Wait ten minutes for one's turn."""
        await self.clock.sleep(600)
        self.taken_at.append(self.clock.monotonic())


@attrs.define
class Failing:
    """The failed starts of one job."""

    clock: FakeClock
    gate: ShownGate
    permit: Permit
    session: ApiSession
    starts: _FailedStarts

    def fail(self, error: BaseException, *, used: float = 0.0, paused_for: float = 0.0) -> bool:
        """Whether to try again after an *error* at which the budget looked so."""
        self.gate.shown = attrs.evolve(self.gate.shown, used=used, paused_for=paused_for)
        return self.starts.may_repeat(error)

    async def slept(self, delay: float) -> float:
        """How long it sleeps, for one's turn included."""
        before = self.clock.monotonic()
        await self.starts.sleep(delay)
        return self.clock.monotonic() - before


@pytest.fixture
def failing(clock: FakeClock, transport: ScriptedTransport) -> Failing:
    """Those of a job whose policy is patient for a minute, and for four seconds before there was any answer."""
    gate, permit = ShownGate(clock), Permit(clock)
    session = make_session(
        "t", base_url="https://app.asana.com/api/1.0", transport=transport, clock=clock, gate=gate
    )
    run: Any = OperationRun("k", COPY, permit)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    policy = PollPolicy(give_up_after=60, first_contact=4)
    return Failing(clock, gate, permit, session, _FailedStarts(session, run, policy))


async def test_only_what_has_started_nothing_is_tried_again(failing: Failing) -> None:
    """No connection and a 429; not an answer that says nothing, and no error of anybody else's."""
    assert [failing.fail(error) for error in (REFUSED, LIMITED)] == [True, True]
    assert [failing.fail(error) for error in (FAILED, ValueError("x"), asyncio.CancelledError())] == [
        False
    ] * 3


@pytest.mark.parametrize(("made", "patience"), [(False, 4), (True, 60)])
async def test_a_start_is_given_up_after_the_time_of_its_policy(
    failing: Failing, made: bool, patience: int
) -> None:
    """Counted from its first failure: the moment at which it is over is too late, the one before it is not."""
    failing.session.contact.made = made
    await failing.clock.sleep(5)
    assert failing.fail(REFUSED)
    await failing.clock.sleep(patience - 0.5)
    assert failing.fail(REFUSED)
    assert await failing.slept(0.5) == 0.5
    assert not failing.fail(REFUSED)


async def test_a_pause_ends_with_the_patience_but_not_before_the_gates(failing: Failing) -> None:
    """The last try comes at its end; while the budget is shut there is no point in one."""
    failing.session.contact.made = True
    assert failing.fail(REFUSED)
    assert await failing.slept(20) == 20
    assert failing.fail(REFUSED)
    assert await failing.slept(50) == 40
    assert (failing.fail(LIMITED), failing.permit.refusals) == (False, 0)

    assert failing.fail(REFUSED, paused_for=30.0) is False
    assert await failing.slept(1) == 30


@pytest.mark.parametrize(
    ("errors", "used", "given_up"),
    [
        ([LIMITED], NEARLY_USED - 0.001, 1),
        ([LIMITED], NEARLY_USED, 0),
        ([LIMITED], 0.9, 0),
        ([LIMITED, LIMITED], 0.9, 1),
        ([LIMITED, REFUSED, LIMITED], 0.9, 0),
        ([REFUSED, REFUSED], 0.0, 0),
    ],
)
async def test_a_refusal_that_the_quota_does_not_explain_is_one_job_too_many(
    failing: Failing, errors: list[Exception], used: float, given_up: int
) -> None:
    """One that comes while the quota is nearly used up is the quota's; a second one in a row is not."""
    failing.session.contact.made = True
    for error in errors:
        assert failing.fail(error, used=used)
    slept = await failing.slept(1)

    assert (failing.permit.refusals, len(failing.permit.taken_at)) == (given_up, given_up)
    assert slept == 1 + 600 * given_up
    assert failing.fail(REFUSED)  # waiting for one's turn is no trouble


async def test_where_no_other_job_of_ours_runs_nobody_waits_for_ones_turn(failing: Failing) -> None:
    """What was one too many was somebody else's."""
    failing.permit.of_no_use = True
    assert failing.fail(LIMITED)

    assert await failing.slept(1) == 1
    assert (failing.permit.refusals, failing.permit.taken_at) == (1, [])


async def test_waiting_for_ones_turn_ends_with_the_client(failing: Failing) -> None:
    """It is a wait like any other."""
    assert failing.fail(LIMITED)
    sleeping = asyncio.create_task(failing.slept(1))
    await asyncio.sleep(0)
    failing.session.lifetime.close()

    with pytest.raises(ClientClosedError):
        await sleeping


def test_where_an_operation_stands_is_an_outcome() -> None:
    """Without a wait and a claim: nothing was started, at the first attempt, and what the caller gave is told."""
    permit: Any = None
    plain = OperationRun("k", COPY, permit)
    given = OperationRun("k", COPY, permit, given=ExportGraph("5"), job=Job("77"))
    error = ValueError("x")

    assert plain.outcome(error) == plain.outcome(error, from_ledger=False)
    first, second = plain.outcome(error), given.outcome(None, from_ledger=True)
    assert (first.operation, first.job, first.error, first.key, first.attempt) == (COPY, None, error, "k", 1)
    assert (second.operation, second.job, second.error) == (ExportGraph("5"), Job("77"), None)
    assert (first.continuation_token, first.from_ledger, second.from_ledger) == (None, False, True)
    assert (plain.unfinished, plain.intent, plain.opt_fields) == (False, False, None)
