"""Closing a client ends everything of it at once, leaves nothing, and takes nothing that was handed in."""

import asyncio
import gc
import pickle
import re
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NoReturn

import aiohttp
import pytest
from tenacity import wait_fixed

from asana_jobs import AsanaClient, Job, RateLimits, Response
from asana_jobs._client.clock import NO_LOOP
from asana_jobs._client.http.destinations import Destinations
from asana_jobs._client.http.lifetime import Lifetime
from asana_jobs._client.http.transport import AiohttpDownloads, AiohttpTransport
from asana_jobs.errors import ClientClosedError, TransportError
from asana_jobs.gates import LocalGate, SystemClock
from asana_jobs.testing import AsanaSimulator, Latency
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


Call = Callable[[AsanaClient], Awaitable[object]]

CALLS: dict[str, Call] = {
    "get_job": lambda client: client.get_job("1203"),
    "wait_for_job": lambda client: client.wait_for_job("1203"),
    "wait_for_job, iterated": lambda client: anext(client.wait_for_job("1203")),
    "check_job": lambda client: client.check_job("1203"),
    "duplicate_project": lambda client: client.duplicate_project("77", name="Q3"),
    "request": lambda client: client.request("GET", "/users/me"),
}


def session_of(client: AsanaClient) -> aiohttp.ClientSession | None:
    """The aiohttp session that a client opened, if it did."""
    transport = client._exchange.transport  # pyright: ignore[reportPrivateUsage]
    assert isinstance(transport, AiohttpTransport)
    return transport._own  # pyright: ignore[reportPrivateUsage]


@pytest.fixture
async def live(transport: ScriptedTransport) -> AsyncIterator[AsanaClient]:
    """A client of `transport` on the loop's own clock, which is virtual here too."""
    async with AsanaClient("test-token", transport=transport) as client:
        yield client


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_a_closed_client_refuses(client: AsanaClient, transport: ScriptedTransport, call: Call) -> None:
    """Every call of a closed client is a ClientClosedError that says what to do, and sends nothing."""
    await client.close()

    with pytest.raises(
        ClientClosedError, match=rf"^this client is closed\. {re.escape(ClientClosedError.advice)}$"
    ):
        await call(client)

    assert transport.requests == []


async def test_a_closed_client_cannot_be_entered(client: AsanaClient) -> None:
    """`async with` on a closed client is refused."""
    await client.close()

    with pytest.raises(ClientClosedError):
        async with client:
            pass


async def test_closing_ends_a_wait_in_its_sleep(live: AsanaClient, transport: ScriptedTransport) -> None:
    """A wait that sleeps between looks ends with ClientClosedError when its client is closed."""
    transport.play("in_progress")
    task = asyncio.create_task(live.wait_for_job("1203"))
    await asyncio.sleep(0.01)

    await live.close()

    with pytest.raises(
        ClientClosedError,
        match=rf"^the client was closed while this call was under way\. {re.escape(ClientClosedError.advice)}$",
    ):
        await task


async def test_closing_takes_no_time(transport: ScriptedTransport) -> None:
    """Waits end at the moment of closing, however long their sleeps are; close itself returns at once."""
    transport.play("in_progress")
    client = AsanaClient("test-token", transport=transport)
    waits = [asyncio.create_task(client.wait_for_job(gid, poll=wait_fixed(1000))) for gid in ("1", "2", "3")]
    await asyncio.sleep(1)
    loop = asyncio.get_running_loop()
    began = loop.time()

    await client.close()
    await asyncio.wait(waits)

    assert loop.time() - began < 0.1
    assert all(isinstance(wait.exception(), ClientClosedError) for wait in waits)


async def test_closing_ends_requests_under_way(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """Reads that a server does not answer end when the client is closed."""
    simulator.fail_next(Latency(1000), times=None)
    calls = [
        asyncio.ensure_future(wired.get_job("1")),
        asyncio.ensure_future(wired.wait_for_job("2")),
        asyncio.ensure_future(wired.check_job("3")),
        asyncio.ensure_future(wired.request("GET", "/users/me")),
    ]
    await asyncio.sleep(1)
    began = asyncio.get_running_loop().time()

    await wired.close()
    await asyncio.wait(calls)

    assert [type(call.exception()) for call in calls] == [ClientClosedError] * 4
    assert asyncio.get_running_loop().time() - began < 0.1


async def test_closing_ends_callers_at_the_gate(live: AsanaClient, transport: ScriptedTransport) -> None:
    """Who waits for the budget ends when the client is closed."""
    transport.play(Response(status=429, headers={"retry-after": "100"}), "succeeded")
    calls = [asyncio.create_task(live.get_job(str(gid))) for gid in range(1, 9)]
    await asyncio.sleep(1)

    await live.close()
    await asyncio.wait(calls)

    assert all(isinstance(call.exception(), ClientClosedError) for call in calls[5:])
    assert asyncio.get_running_loop().time() < 2


async def test_closing_ends_who_waits_for_a_token(transport: ScriptedTransport) -> None:
    """Who waits for a token provider ends when the client is closed."""

    async def never() -> str:
        await asyncio.Event().wait()
        return "never"

    client = AsanaClient(never, transport=transport)
    call = asyncio.create_task(client.get_job("1203"))
    await asyncio.sleep(1)

    await client.close()

    with pytest.raises(ClientClosedError):
        await call


async def test_closing_twice(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Closing a closed client does nothing."""
    await client.close()

    await client.close()

    assert repr(client) == "<AsanaClient https://app.asana.com/api/1.0 closed>"


async def test_closing_from_two_tasks(transport: ScriptedTransport) -> None:
    """A second close amid the first one, while a call takes its time to go, is harmless."""

    async def stubborn() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)
        return "never"

    client = AsanaClient(stubborn, transport=transport)
    call = asyncio.create_task(client.get_job("1203"))
    await asyncio.sleep(1)

    first = asyncio.create_task(client.close())
    await asyncio.sleep(0.5)
    await client.close()
    await first

    with pytest.raises(ClientClosedError):
        await call


async def test_leaving_the_block_closes(transport: ScriptedTransport) -> None:
    """Leaving `async with` ends the waits of tasks that outlive the block."""
    transport.play("in_progress")
    async with AsanaClient("test-token", transport=transport) as client:
        task = asyncio.create_task(client.wait_for_job("1203"))
        await asyncio.sleep(0.1)

    with pytest.raises(ClientClosedError):
        await task


async def test_a_wait_that_was_ended_stays_ended(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Awaiting a waiter of a closed client again is refused again."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203")
    await anext(waiter)
    await client.close()

    for _ in range(2):
        with pytest.raises(ClientClosedError):
            await waiter


async def test_cancellation_beats_closing(live: AsanaClient, transport: ScriptedTransport) -> None:
    """A task that is cancelled while its client is being closed is cancelled."""
    transport.play("in_progress")
    task = asyncio.create_task(live.wait_for_job("1203"))
    await asyncio.sleep(0.01)

    task.cancel()
    await live.close()
    await asyncio.wait([task])

    assert task.cancelled()


async def test_no_task_is_left_after_a_cancelled_wait(
    live: AsanaClient, transport: ScriptedTransport
) -> None:
    """Once the last wait is cancelled no task of the client goes on, although the client stays open."""
    transport.play("in_progress")
    task = asyncio.create_task(live.wait_for_job("1203", poll=wait_fixed(10_000)))
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0.01)

    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_no_task_is_left_after_a_deadline(transport: ScriptedTransport) -> None:
    """A wait that ran out of time leaves no task that sleeps on for its sake."""
    transport.play("in_progress")
    async with AsanaClient("test-token", transport=transport) as client:
        with pytest.raises(TimeoutError):
            await client.wait_for_job("1203", timeout=100)
        await asyncio.sleep(0.01)

        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_no_socket_is_left(simulator: AsanaSimulator) -> None:
    """A client leaves no connection behind, and nothing that warns when it is collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with AsanaClient("test-token", base_url=simulator.base_url) as client:
            await client.get_job("1203")
            session = session_of(client)
            assert session is not None
        assert session.closed
        del client, session
        gc.collect()


async def test_an_unused_client_needs_no_closing() -> None:
    """A client that was never used opens nothing, so that dropping it does not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        AsanaClient("test-token")
        gc.collect()


async def test_a_session_handed_in_is_not_closed(simulator: AsanaSimulator) -> None:
    """Closing a client leaves the aiohttp session of somebody else open and usable."""
    async with aiohttp.ClientSession() as session:
        async with AsanaClient("test-token", base_url=simulator.base_url, session=session) as client:
            await client.get_job("1203")

        assert not session.closed
        async with AsanaClient("test-token", base_url=simulator.base_url, session=session) as client:
            assert (await client.get_job("1203")).gid == "1203"


async def test_closing_ends_waits_on_a_session_handed_in(simulator: AsanaSimulator) -> None:
    """With somebody else's session, too, closing ends what is under way at once."""
    simulator.fail_next(Latency(1000), times=None)
    async with aiohttp.ClientSession() as session:
        client = AsanaClient("test-token", base_url=simulator.base_url, session=session)
        task = asyncio.create_task(client.wait_for_job("1203"))
        await asyncio.sleep(1)

        await client.close()

        with pytest.raises(ClientClosedError):
            await task
        assert not session.closed


async def test_a_session_that_was_closed(simulator: AsanaSimulator) -> None:
    """A client whose borrowed session was closed says that."""
    session = aiohttp.ClientSession()
    async with AsanaClient("test-token", base_url=simulator.base_url, session=session) as client:
        await session.close()

        with pytest.raises(ClientClosedError, match="the aiohttp session handed to this client is closed"):
            await client.get_job("1203")


async def test_a_post_on_a_session_that_was_closed(simulator: AsanaSimulator) -> None:
    """A POST that could not be sent, because the borrowed session is closed, is not of unknown outcome."""
    session = aiohttp.ClientSession()
    async with AsanaClient("test-token", base_url=simulator.base_url, session=session) as client:
        await session.close()

        with pytest.raises(ClientClosedError, match="the aiohttp session handed to this client is closed"):
            await client.duplicate_project("77", name="Q3")


async def test_a_transport_handed_in_is_not_closed(clock: FakeClock, transport: ScriptedTransport) -> None:
    """Closing a client leaves the transport of somebody else open."""
    async with AsanaClient("test-token", transport=transport, clock=clock):
        pass

    assert not transport.closed


async def leave_behind(client: AsanaClient) -> list[str]:
    """Use *client* and forget it, and return what is said when it goes away."""
    await client.get_job("1203")
    session = session_of(client)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        del client
        gc.collect()
    if session is not None:
        await session.close()
    return [str(warning.message) for warning in said if warning.category is ResourceWarning]


async def test_a_client_that_is_not_closed_is_told_of(simulator: AsanaSimulator) -> None:
    """Who forgets a client with open connections is warned of it, with its name and what to do."""
    [said] = await leave_behind(AsanaClient("test-token", base_url=simulator.base_url))

    assert "AsanaClient was not closed" in said
    assert "async with" in said


@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")
async def test_connections_to_servers_of_files_that_are_not_closed_are_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As those to Asana are: nobody else knows of them."""
    opened: list[aiohttp.ClientSession] = []

    async def get(self: aiohttp.ClientSession, *_: object, **__: object) -> NoReturn:
        opened.append(self)
        raise aiohttp.ServerDisconnectedError

    monkeypatch.setattr(aiohttp.ClientSession, "get", get)
    url = "https://files.example/a"
    files = AiohttpDownloads(user_agent="test/1", destinations=Destinations.of(url))
    with pytest.raises(TransportError):
        await files.open(url, {}, 3.0)

    with pytest.warns(ResourceWarning, match="an AsanaClient was not closed"):  # noqa: PT031  # it is in a cycle
        del files
        gc.collect()
    await opened[0].close()


async def test_a_client_without_connections_of_its_own_may_be_forgotten(simulator: AsanaSimulator) -> None:
    """Whoever hands a session in closes it, so forgetting the client is no mistake."""
    async with aiohttp.ClientSession() as session:
        assert (
            await leave_behind(AsanaClient("test-token", base_url=simulator.base_url, session=session)) == []
        )


def test_session_and_transport_are_one_too_many(transport: ScriptedTransport) -> None:
    """Giving both a session and a transport is a ValueError."""
    with pytest.raises(ValueError, match="session or transport, not both"):
        AsanaClient("test-token", session=object(), transport=transport)  # type: ignore[arg-type]


# siblings


async def test_a_sibling_shares_the_transport(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A client made by with_token sends through the same transport, under its own token."""
    transport.play("succeeded")

    async with client.with_token("other-token") as sibling:
        await sibling.get_job("1203")

    assert [str(request.authorization) for request in transport.requests] == ["Bearer other-token"]


async def test_a_client_with_a_gate_makes_siblings_with_one(transport: ScriptedTransport) -> None:
    """A gate that was handed in is the budget of one token: another token brings one of its own, or it is an error."""
    ours, theirs = LocalGate(RateLimits.paid(), SystemClock()), LocalGate(RateLimits.free(), SystemClock())
    transport.play("succeeded")
    async with AsanaClient("t", transport=transport, gate=ours) as client:
        with pytest.raises(ValueError, match=r"with_token\(token, gate=RedisGate\(url, token=token\)\)"):
            client.with_token("other")
        sibling = client.with_token("other", gate=theirs)
        await sibling.get_job("1203")

        assert sibling.budget.quota == 150
        assert theirs.snapshot().used > 0
        assert ours.snapshot().used == 0
        with pytest.raises(ValueError, match="give the other token one of its own"):
            sibling.with_token("third")


async def test_a_sibling_has_a_budget_of_its_own(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A 429 to one token does not hold up the sibling with another."""
    sibling = client.with_token("other-token")
    transport.play(Response(status=429, headers={"retry-after": "100"}), "succeeded")
    held_up = asyncio.create_task(client.get_job("1"))
    await asyncio.sleep(0)

    await sibling.get_job("2")

    assert clock.monotonic() == 0
    await held_up
    assert clock.monotonic() == 100


async def test_closing_a_sibling_leaves_the_other(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """A sibling that is closed ends its own waits only, and the connections stay open."""
    sibling = wired.with_token("other-token")
    await sibling.get_job("1203")

    await sibling.close()

    with pytest.raises(ClientClosedError):
        await sibling.get_job("1203")
    assert (await wired.get_job("1203")).gid == "1203"


async def test_closing_the_first_closes_its_siblings(simulator: AsanaSimulator) -> None:
    """A sibling cannot outlive the client whose connections it uses: it is closed with it, and opens none."""
    async with AsanaClient("test-token", base_url=simulator.base_url) as client:
        sibling = client.with_token("other-token")
        simulator.fail_next(Latency(1000))
        task = asyncio.create_task(sibling.wait_for_job("1203"))
        await asyncio.sleep(1)

    with pytest.raises(ClientClosedError):
        await task
    with pytest.raises(ClientClosedError):
        await sibling.get_job("1203")
    assert session_of(client) is None


async def test_ten_thousand_siblings_are_cheap(client: AsanaClient) -> None:
    """A sibling that was dropped is not kept by the client it came from."""
    for number in range(100):
        client.with_token(f"token-{number}")
    gc.collect()

    assert sum(isinstance(thing, AsanaClient) for thing in gc.get_objects()) < 50


async def test_a_sibling_has_the_same_settings(clock: FakeClock, transport: ScriptedTransport) -> None:
    """A sibling keeps limits, base URL and timeout."""
    transport.play("succeeded")
    async with AsanaClient(
        "test-token", transport=transport, clock=clock, timeout=7, limits=RateLimits.free()
    ) as client:
        sibling = client.with_token("other-token")
        await sibling.get_job("1203")

    assert transport.requests[0].timeout == 7
    assert sibling.base_url == client.base_url
    assert sibling.budget.quota == 150


# event loops


def test_another_event_loop_is_told(transport: ScriptedTransport, clock: FakeClock) -> None:
    """A client used from a second event loop says that it belongs to another one."""
    transport.play("succeeded")
    client = AsanaClient("test-token", transport=transport, clock=clock)

    async def read() -> Job:
        return await client.get_job("1203")

    asyncio.run(read())

    with pytest.raises(
        RuntimeError,
        match=r"^this client belongs to another event loop: make one client for each loop \(each asyncio\.run\)$",
    ):
        asyncio.run(read())


def test_a_client_can_be_made_outside_a_loop(transport: ScriptedTransport, clock: FakeClock) -> None:
    """Making a client, and a waiter, needs no running loop."""
    transport.play("succeeded")
    client = AsanaClient("test-token", transport=transport, clock=clock)
    waiter = client.wait_for_job("1203")

    job = asyncio.run(waiter)

    assert job.succeeded


def test_the_statistics_need_no_loop(transport: ScriptedTransport, clock: FakeClock) -> None:
    """What a finished waiter knows can be read after its loop is gone."""
    transport.play("in_progress", "succeeded")
    waiter = AsanaClient("test-token", transport=transport, clock=clock).wait_for_job("1203")
    asyncio.run(waiter)

    assert waiter.statistics.looks == 2
    assert waiter.continuation_token()


async def test_what_goes_out_in_the_round_of_the_closing_is_not_ended() -> None:
    """A call that is shielded after its end was asked for, but before that came, goes on to its end."""
    life = Lifetime()
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def call() -> str:
        with life.guard() as guard:
            await ready
            guard.shield()
            await asyncio.sleep(1)
            return "answered"

    task = asyncio.create_task(call())
    await asyncio.sleep(0)
    ready.set_result(None)
    life.close()

    assert await task == "answered"


@pytest.mark.parametrize(
    ("error", "told"), [(ZeroDivisionError("a mistake"), True), (ClientClosedError("closed"), False)]
)
async def test_a_task_that_breaks_is_told_in_the_log(
    caplog: pytest.LogCaptureFixture, error: Exception, told: bool
) -> None:
    """Nobody may wait for it; what this library raises on purpose is for those who do."""

    async def fail() -> None:
        raise error

    lifetime = Lifetime()
    task = lifetime.spawn(fail(), "a task")
    await asyncio.wait([task])
    await asyncio.sleep(0)

    assert [(record.getMessage(), record.exc_info and record.exc_info[1]) for record in caplog.records] == (
        [(f"a background task ended in an error: {error!r}", error)] if told else []
    )
    assert task.get_name() == "a task"
    assert lifetime.tasks == set()


async def test_a_lifetime_within_another_ends_with_it() -> None:
    """Or before it; one that is made of a closed one is closed. Waiting for the end of what has ended costs no time."""
    whole = Lifetime()
    early, late = whole.child(), whole.child()
    with late.guard():
        early.close()
        assert (whole.closed, early.closed, late.closed) == (False, True, False)
    ending = late.spawn(_hang(late), "a task")
    await asyncio.sleep(0)
    before = asyncio.get_running_loop().time()
    whole.close()
    await whole.settled()

    assert (whole.closed, late.closed, whole.child().closed) == (True, True, True)
    assert isinstance(ending.exception(), ClientClosedError)
    assert asyncio.get_running_loop().time() == before


def test_a_call_needs_a_loop() -> None:
    """Who calls from plain code is told how to have one."""
    with pytest.raises(RuntimeError, match=f"^{re.escape(NO_LOOP)}$"):
        Lifetime().guard()


async def _hang(lifetime: Lifetime) -> None:
    with lifetime.guard():
        await asyncio.Event().wait()


async def test_a_response_is_a_plain_value() -> None:
    """An answer to a request of one's own can be pickled, and its headers are in lower case."""
    async with AsanaSimulator() as simulator, AsanaClient("t", base_url=simulator.base_url) as live:
        answer = await live.request("GET", "/users/me")

    assert pickle.loads(pickle.dumps(answer)) == answer  # noqa: S301  # our own
    assert [name for name in answer.headers if name != name.lower()] == []
    assert dict(answer.headers)["content-type"].startswith("application/json")
