"""No job-starting POST is ever sent twice unless it is certain that nothing was started."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from asana_jobs import AsanaClient, DuplicateProject, Job, Response
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
