"""A token is in no text, log, pickle or traceback of anything, whatever goes wrong."""

import asyncio
import copy
import logging
import pickle
import socket
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from asana_jobs import AsanaClient, DuplicateProject, OAuthRefresh
from asana_jobs._client.http.secret import Secret
from asana_jobs.errors import AsanaJobsError, TokenError
from asana_jobs.testing import AsanaSimulator, HtmlPage, Latency, NotJson, Reset, Status, Truncated
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport
from asana_jobs.testing.simulator.faults import Fault


TOKEN = "1/77:d15t1nct1ve0d15t1nct1ve0d15t1nct"
PART = "d15t1nct1ve"


def told(error: BaseException) -> str:
    """Everything an error says, with the locals of every frame, of its causes and contexts too."""
    seen: list[str] = []
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop()
        if current is None:
            continue
        shown = traceback.TracebackException.from_exception(current, capture_locals=True)
        seen += [str(current), repr(current), *shown.format(), repr(vars(current))]
        if isinstance(current, AsanaJobsError):
            seen.append(repr(pickle.dumps(current)))
        queue += [current.__cause__, current.__context__]
    return "\n".join(seen)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], str]]:
    """Everything that was logged by anybody, at DEBUG."""
    loggers = [logging.getLogger(name) for name in ("", "asana_jobs", "aiohttp", "aiohttp.client", "asyncio")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.DEBUG)
    caplog.handler.setLevel(logging.DEBUG)

    def text() -> str:
        return "".join(
            f"{record.getMessage()} {record.__dict__!r} {record.exc_text}" for record in caplog.records
        )

    yield text
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


FAULTS: dict[str, Fault] = {
    "400": Status(400),
    "401": Status(401),
    "403": Status(403),
    "404": Status(404),
    "429": Status(429, retry_after=1),
    "500": Status(500),
    "reset": Reset(),
    "timeout": Latency(1000),
    "truncated": Truncated(),
    "not JSON": NotJson(),
    "page": HtmlPage(502),
}


@pytest.mark.parametrize("provider", [False, True], ids=["fixed", "provider"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
async def test_against_failing_servers(
    simulator: AsanaSimulator, logged: Callable[[], str], fault: Fault, provider: bool
) -> None:
    """No call against a failing server shows the token in its error, its traceback with locals, or a log."""

    async def provide() -> str:
        return TOKEN

    simulator.fail_next(fault, times=None)
    errors: list[BaseException] = []
    async with AsanaClient(provide if provider else TOKEN, base_url=simulator.base_url, timeout=5) as client:
        waiter = client.wait_for_job("1203", timeout=60)
        shown = [repr(client), repr(waiter), waiter.continuation_token()]
        for call in (
            client.get_job("1203"),
            waiter,
            client.check_job("1203"),
            client.duplicate_project("77", name="Q3"),
            client.export_graph("77"),
            client.run(DuplicateProject("77", name="Q3")),
            client.request("GET", "/users/me"),
            client.request("POST", "/tasks", json={"data": {}}),
        ):
            try:
                shown.append(repr(await call))
            except AsanaJobsError as error:
                errors.append(error)
        exchange = client._exchange  # pyright: ignore[reportPrivateUsage]
        shown += [repr(waiter), waiter.continuation_token(), repr(exchange), repr(client.budget)]

    assert errors
    assert simulator.requests[0].token is not None
    for text in (*shown, *(told(error) for error in errors), logged()):
        assert PART not in text


async def test_when_nobody_listens(logged: Callable[[], str]) -> None:
    """A connection that is refused does not show the token."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        base_url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with AsanaClient(TOKEN, base_url=base_url) as client:
            with pytest.raises(AsanaJobsError) as caught:
                await client.duplicate_project("77", name="Q3")

    assert PART not in told(caught.value)
    assert PART not in logged()


async def test_in_a_cancelled_call(simulator: AsanaSimulator) -> None:
    """The traceback of a call that was cancelled amid its request does not show the token."""
    simulator.fail_next(Latency(1000), times=None)
    async with AsanaClient(TOKEN, base_url=simulator.base_url) as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(1):
                await client.get_job("1203")

    assert PART not in told(caught.value)


async def test_in_what_a_transport_gets(clock: FakeClock) -> None:
    """A request shows no token in its repr, is not pickled with one, and its copies show none either."""
    transport = ScriptedTransport("succeeded")
    async with AsanaClient(TOKEN, transport=transport, clock=clock) as client:
        await client.get_job("1203")
    (request,) = transport.requests

    assert str(request.authorization) == f"Bearer {TOKEN}"
    assert PART not in repr(request)
    assert PART not in repr(request.authorization)
    with pytest.raises(TypeError, match="a token is not pickled"):
        pickle.dumps(request)
    for twin in (copy.copy(request), copy.deepcopy(request)):
        assert (twin == request, PART in repr(twin)) == (True, False)
        assert isinstance(twin.authorization, Secret)


@pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy support:DeprecationWarning")  # of itertools
async def test_a_client_is_not_pickled(clock: FakeClock, transport: ScriptedTransport) -> None:
    """A client, and so its token, is not pickled."""
    client = AsanaClient(TOKEN, transport=transport, clock=clock)

    with pytest.raises(TypeError):
        pickle.dumps(client)


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": 0},
        {"base_url": "http://asana.example"},
        {"user_agent": "\n"},
        {"session": object(), "transport": object()},
    ],
)
def test_in_a_constructor_that_raises(arguments: dict[str, Any]) -> None:
    """The traceback of a client that could not be made does not show its token in our frames."""
    with pytest.raises(ValueError) as caught:  # whichever
        AsanaClient(TOKEN, **arguments)

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "asana_jobs/_" in frame.filename]
    assert ours
    assert PART not in repr([frame.locals for frame in ours])


@pytest.mark.parametrize("token", [f"{TOKEN} {TOKEN}", f"{TOKEN}\n", f"\u2026{TOKEN}", f"Bearer {TOKEN}"])
def test_in_a_token_that_is_none(token: str) -> None:
    """A TokenError about a token does not show it, nor do our frames."""
    with pytest.raises(TokenError) as caught:
        AsanaClient(token)

    shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    ours = [frame for frame in shown.stack if "asana_jobs/_" in frame.filename]
    assert PART not in str(caught.value)
    assert PART not in repr([frame.locals for frame in ours])


async def test_in_a_provider_that_gives_none(client: AsanaClient) -> None:
    """A provider's answer that cannot be a token is not shown."""

    async def provide() -> str:
        return f"{TOKEN} {TOKEN}"

    with pytest.raises(TokenError) as caught:
        await client.with_token(provide).get_job("1203")

    assert PART not in told(caught.value)


@pytest.mark.parametrize("fault", [Status(400), Status(500), Reset(), NotJson(), Latency(1000)])
async def test_in_a_refresh_that_fails(
    simulator: AsanaSimulator, fault: Fault, logged: Callable[[], str]
) -> None:
    """A refresh that fails shows neither the app's secret nor the refresh token."""
    simulator.fail_next(fault, times=None, path="*")
    origin = simulator.base_url.removesuffix("/api/1.0")
    provider = OAuthRefresh("app", f"secret-{PART}", f"refresh-{PART}", origin=origin, timeout=5)

    with pytest.raises(AsanaJobsError) as caught:
        await provider()

    assert PART not in repr(provider)
    assert PART not in str(caught.value)
    assert PART not in logged()


async def test_in_the_traceback_of_a_refresh_that_fails(simulator: AsanaSimulator) -> None:
    """The traceback with locals of a refresh that could not be sent shows no secret either."""
    simulator.fail_next(Reset(), times=None, path="*")
    origin = simulator.base_url.removesuffix("/api/1.0")

    with pytest.raises(AsanaJobsError) as caught:
        await OAuthRefresh("app", f"secret-{PART}", f"refresh-{PART}", origin=origin)()

    assert PART not in told(caught.value)


def test_in_a_refresh_provider() -> None:
    """An OAuthRefresh is not pickled with its secrets."""
    with pytest.raises(TypeError, match="a token is not pickled"):
        pickle.dumps(OAuthRefresh("app", "secret", "refresh"))
