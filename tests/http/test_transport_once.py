"""What may not be sent twice: over which connection it goes, when it may have left, and what sends it."""

import asyncio
import contextlib
import re
import socket
import threading
import time
import warnings
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs
import pytest
from socket_server import listening

from asana_jobs import AsanaClient, DuplicateProject
from asana_jobs._client.http import transport as room
from asana_jobs._client.http.connections import open_session
from asana_jobs._client.http.protocol import Request, Response, read_job, start_job
from asana_jobs._client.http.transport import AiohttpTransport
from asana_jobs.errors import (
    ClientClosedError,
    ConnectError,
    LedgerError,
    OutcomeUnknownError,
)
from asana_jobs.testing._scripted_transport import ScriptedTransport


COPY = DuplicateProject("12", name="Q3")
LOOK = read_job("71")
JOB = b'{"data": {"gid": "71", "status": "in_progress"}}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(JOB), JOB)


def start(before_write: Callable[[], object] | None = None) -> Request:
    """A POST that starts a job."""
    return attrs.evolve(start_job(COPY, 5.0), before_write=before_write)


@attrs.define
class Server:
    """Where it listens, and the bytes that each of its connections has brought."""

    base_url: str
    connections: list[bytearray] = attrs.field(factory=list[bytearray])
    #: Answers wait for it.
    may_answer: asyncio.Event = attrs.field(factory=asyncio.Event)

    def requests(self, connection: int) -> list[str]:
        """The methods of the requests on one connection; one may begin right behind the body of another."""
        return [
            method.decode() for method in re.findall(rb"([A-Z]+) /\S+ HTTP/1", self.connections[connection])
        ]

    @property
    def posts(self) -> int:
        """How many POSTs came."""
        return sum(self.requests(number).count("POST") for number in range(len(self.connections)))


@asynccontextmanager
async def serving(answer: bytes = OK, *, hold: bool = False) -> AsyncGenerator[Server]:
    """Answer every request with *answer*, and keep connections open."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        brought = bytearray()
        server.connections.append(brought)
        while piece := await reader.read(2**16):
            brought += piece
            await server.may_answer.wait()
            writer.write(answer)
            if answer != OK:
                break

    async with listening(serve) as origin:
        server = Server(f"{origin}/api/1.0")
        if not hold:
            server.may_answer.set()
        yield server


@asynccontextmanager
async def transport(base_url: str, **options: Any) -> AsyncGenerator[AiohttpTransport]:
    """Make a transport, and close it."""
    made = AiohttpTransport(base_url, user_agent="test/1", **options)
    try:
        yield made
    finally:
        await made.close()


# Connections.


async def test_every_start_has_a_connection_of_its_own() -> None:
    """Looks share one, starts use none twice and none of the looks'."""
    async with serving() as server, transport(server.base_url) as wire:
        for request in (LOOK, start(), LOOK, start(), LOOK):
            await wire.send(request)

        found = [server.requests(number) for number in range(len(server.connections))]
        assert sorted(found) == [["GET", "GET", "GET"], ["POST"], ["POST"]]


async def test_a_start_leaves_no_connection_open() -> None:
    """When it is answered its connection is closed."""
    async with serving() as server, transport(server.base_url) as wire:
        await wire.send(start())
        session = wire._own_once  # pyright: ignore[reportPrivateUsage]
        assert session is not None
        assert session.connector is not None

        assert not session.connector._conns  # pyright: ignore[reportPrivateUsage]
        await wire.close()
        assert session.closed


# When something may have left.


@pytest.mark.parametrize("given", [False, True])
async def test_it_is_said_once_before_anything_is_written(given: bool) -> None:
    """Before the first byte `before_write` is called, once; with our own session the connection stands by then."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving())
        session = await stack.enter_async_context(aiohttp.ClientSession()) if given else None
        wire = await stack.enter_async_context(transport(server.base_url, session=session))
        seen: list[tuple[int, int]] = []

        def note() -> None:
            own = wire._own_once  # pyright: ignore[reportPrivateUsage]
            standing = 0 if own is None or own.connector is None else len(own.connector._acquired)  # pyright: ignore[reportPrivateUsage]
            seen.append((standing, sum(map(len, server.connections))))

        await wire.send(start(note))

        assert seen == [(0 if given else 1, 0)]
        assert server.posts == 1


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    "error", [LedgerError("the lease is gone"), RuntimeError("x"), KeyError("x"), asyncio.CancelledError()]
)
async def test_what_it_raises_is_raised_and_nothing_is_sent(given: bool, error: BaseException) -> None:
    """Whoever finds that nothing may be sent any more raises, and not a byte has left."""

    def refuse() -> None:
        raise error

    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving())
        session = await stack.enter_async_context(aiohttp.ClientSession()) if given else None
        wire = await stack.enter_async_context(transport(server.base_url, session=session))

        with pytest.raises(type(error)) as caught:
            await wire.send(start(refuse))
        await asyncio.sleep(0.01)

        assert caught.value is error
        assert server.posts == 0
        assert not any(server.connections)
        await wire.send(start())
        assert server.posts == 1


async def test_it_is_not_said_while_there_is_no_connection() -> None:
    """Where nobody listens nothing may have left."""
    async with serving() as server:
        base = server.base_url
    said: list[str] = []
    async with transport(base) as wire:
        with pytest.raises(ConnectError):
            await wire.send(start(lambda: said.append("said")))

    assert said == []


async def test_a_client_closed_while_it_connects_has_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing the client before the connection stands ends a start with `ClientClosedError`: nothing is unknown."""
    connecting = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        connecting.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", hang)
    client = AsanaClient("t", base_url="http://127.0.0.1:9/api/1.0")
    starting = asyncio.ensure_future(client.start(COPY))
    await connecting.wait()

    await client.close()

    with pytest.raises(ClientClosedError):
        await starting


async def test_a_client_closed_while_it_is_answered_does_not_know() -> None:
    """Closing it after that leaves the start unknown."""
    async with serving(hold=True) as server:
        client = AsanaClient("t", base_url=server.base_url)
        starting = asyncio.ensure_future(client.start(COPY))
        while not server.posts:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0.001)

        await client.close()

        with pytest.raises(OutcomeUnknownError):
            await starting


class Foreign:
    """Somebody's transport, which knows nothing of `before_write`."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def send(self, request: Request) -> Response:
        """Answer with a job."""
        self.requests.append(request)
        return Response(status=201, body=JOB)

    async def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("kind", [Foreign, lambda: ScriptedTransport("in_progress")])
async def test_before_a_foreign_transport_is_asked_it_is_said(kind: Callable[[], Any]) -> None:
    """A transport that says nothing of when it writes is told nothing, and the moment is the one before it is asked."""
    foreign = kind()
    said: list[int] = []
    async with AsanaClient("t", transport=foreign) as client:
        exchange = client._exchange  # pyright: ignore[reportPrivateUsage]
        await exchange.start_once(COPY, lambda: said.append(len(foreign.requests)))

        def refuse() -> None:
            raise LedgerError("the lease is gone")

        with pytest.raises(LedgerError):
            await exchange.start_once(COPY, refuse)

    assert said == [0]
    assert [request.before_write for request in foreign.requests] == [None]


# What sends it.


async def through(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """A middleware that sends everything three times."""
    for _ in range(2):
        (await handler(request)).close()
    return await handler(request)


with warnings.catch_warnings():
    warnings.simplefilter(
        "ignore", DeprecationWarning
    )  # aiohttp's, of subclasses: people make them all the same

    class Retrying(aiohttp.ClientSession):
        """A session with its own way to send."""

        async def _request(self, *args: Any, **options: Any) -> aiohttp.ClientResponse:
            return await super()._request(*args, **options)

    class Wrapping(aiohttp.ClientSession):
        """Another one."""

        def request(self, *args: Any, **options: Any) -> Any:
            """Send."""
            return super().request(*args, **options)


SESSIONS: dict[str, Callable[[], aiohttp.ClientSession]] = {
    "middlewares": lambda: aiohttp.ClientSession(middlewares=(through,)),
    "_request": Retrying,
    "request": Wrapping,
}


@pytest.mark.parametrize("make", SESSIONS.values(), ids=SESSIONS)
async def test_a_session_that_may_send_twice_is_refused(make: Callable[[], aiohttp.ClientSession]) -> None:
    """Nothing below us repeats: such a session is a ValueError that says what to do, unless it is wanted."""
    async with serving() as server, make() as session:
        with pytest.raises(
            ValueError, match=r"^session (has middlewares|is a \w+, which).*allow_middlewares=True"
        ):
            AsanaClient("t", base_url=server.base_url, session=session)

        async with AsanaClient(
            "t", base_url=server.base_url, session=session, allow_middlewares=True
        ) as client:
            assert (await client.start(COPY)).gid == "71"

        assert server.posts == 1


async def test_looks_go_through_the_middlewares_that_are_wanted() -> None:
    """What may be sent twice is left to them."""
    async with (
        serving() as server,
        aiohttp.ClientSession(middlewares=(through,)) as session,
        AsanaClient("t", base_url=server.base_url, session=session, allow_middlewares=True) as client,
    ):
        await client.get_job("71")

        assert sum(len(server.requests(number)) for number in range(len(server.connections))) == 3


# Proxies.

PROXIES: dict[str, bytes] = {
    "407": b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
    "502": b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
    "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    "hangs up": b"",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
    "a tunnel to nowhere": b"HTTP/1.1 200 Connection established\r\n\r\n",
    "a tunnel to no TLS": b"HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
}


@pytest.mark.parametrize("answer", PROXIES.values(), ids=PROXIES)
async def test_what_fails_before_a_tunnel_stands_has_sent_nothing(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a proxy does before it lets us through, a start is a `ConnectError`."""
    async with serving(answer) as proxy:

        def behind_proxy(connector: aiohttp.TCPConnector, headers: dict[str, str]) -> aiohttp.ClientSession:
            session = open_session(connector, headers)
            session._default_proxy = proxy.base_url.removesuffix("/api/1.0")  # pyright: ignore[reportPrivateUsage]
            return session

        monkeypatch.setattr(room, "open_session", behind_proxy)
        async with transport("https://asana.example/api/1.0") as wire:
            with pytest.raises(ConnectError, match="nothing was sent"):
                await wire.send(start())

        assert bytes(proxy.connections[0]).startswith(b"CONNECT asana.example:443 ")


@pytest.mark.parametrize("name", ["407", "502", "403"])
async def test_the_proxy_of_a_session_that_was_handed_in(name: str) -> None:
    """What a proxy answers instead of a tunnel is recognised there too."""
    async with (
        serving(PROXIES[name]) as proxy,
        aiohttp.ClientSession(proxy=proxy.base_url.removesuffix("/api/1.0")) as session,
        transport("https://asana.example/api/1.0", session=session) as wire,
    ):
        with pytest.raises(ConnectError, match=f"{name}.*nothing was sent"):
            await wire.send(start())


# An answer that belonged to another request.


async def test_connections_that_are_not_trusted_carry_no_later_request() -> None:
    """Later requests have new ones; an old one is closed when its last request has ended."""
    async with serving(hold=True) as server, transport(server.base_url) as wire:
        before = asyncio.ensure_future(wire.send(LOOK))
        while not server.connections or not server.connections[0]:  # noqa: ASYNC110  # the server has no event for it
            await asyncio.sleep(0.001)
        old = wire._own  # pyright: ignore[reportPrivateUsage]
        assert old is not None

        wire.distrust()
        after = asyncio.ensure_future(wire.send(LOOK))
        while len(server.connections) < 2 or not server.connections[1]:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.001)
        assert not old.closed
        server.may_answer.set()
        await asyncio.gather(before, after)

        assert old.closed
        await wire.send(LOOK)
        assert [server.requests(0), server.requests(1)] == [["GET"], ["GET", "GET"]]


@pytest.mark.parametrize("closed_before", [False, True])
async def test_idle_connections_that_are_not_trusted_are_closed_with_the_next_request(
    caplog: pytest.LogCaptureFixture, closed_before: bool
) -> None:
    """If nothing is under way, nothing is left of them; it does not matter what there was before."""
    async with serving() as server, transport(server.base_url) as wire:
        if closed_before:
            under_way = asyncio.ensure_future(wire.send(LOOK))
            await asyncio.sleep(0)
            await wire.close()
            await asyncio.gather(under_way, return_exceptions=True)
            server.connections.clear()
        await wire.send(LOOK)
        old = wire._own  # pyright: ignore[reportPrivateUsage]
        assert old is not None

        wire.distrust()
        wire.distrust()
        await wire.send(LOOK)

        assert old.closed
        assert len(server.connections) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "an answer belonged to another request; all connections are made anew"
    ]


async def test_closing_closes_what_is_not_trusted() -> None:
    """A transport that is closed right after it leaves no session open."""
    async with serving() as server, transport(server.base_url) as wire:
        await wire.send(LOOK)
        old = wire._own  # pyright: ignore[reportPrivateUsage]
        assert old is not None
        wire.distrust()

        await wire.close()

        assert old.closed


async def test_a_session_that_was_handed_in_is_asked_to_close_its_connections(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its connections are somebody else's: each request asks for its connection to be closed, and one warning says so."""
    async with (
        serving() as server,
        aiohttp.ClientSession() as session,
        transport(server.base_url, session=session) as wire,
    ):
        await wire.send(LOOK)
        for _ in range(3):
            wire.distrust()
        await wire.send(LOOK)
        await wire.send(start())

        assert b"".join(server.connections).count(b"\r\nConnection: close\r\n") == 2
        assert not session.closed
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning == (
        "an answer belonged to another request; from now on each connection of the session that was handed in carries "
        "one request. Is there a proxy that mixes answers up?"
    )


# A loop that was blocked.


@pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it
async def test_an_answer_that_lies_in_the_socket_is_read_although_its_time_is_over() -> None:
    """The loop is blocked for longer than the timeout right after a POST: its answer, which came meanwhile, counts."""
    listening = socket.create_server(("127.0.0.1", 0))
    answered = threading.Event()

    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(2**16)
            connection.sendall(OK)
            answered.set()
            connection.recv(1)

    server = threading.Thread(target=answer)
    server.start()
    base_url = f"http://127.0.0.1:{listening.getsockname()[1]}/api/1.0"

    def block() -> None:
        answered.wait(10)  # the whole answer lies in the socket
        time.sleep(max(0.0, sent_at + 0.6 - time.monotonic()))

    with listening:
        async with transport(base_url) as wire:
            sent_at, loop = time.monotonic(), asyncio.get_running_loop()
            response = await wire.send(attrs.evolve(start(lambda: loop.call_later(0.05, block)), timeout=0.5))
        await asyncio.to_thread(server.join)

    assert response.body == JOB


class ClosedAsItConnects:
    """A transport whose client begins to close in the very round of the loop in which the connection stands."""

    calls_before_write = True

    def __init__(self) -> None:
        self.client: AsanaClient | None = None
        self.closing: asyncio.Task[None] | None = None
        self.written = 0

    async def send(self, request: Request) -> Response:
        """Connect, and write."""
        assert self.client is not None
        assert request.before_write is not None
        self.closing = asyncio.create_task(self.client.close())
        await asyncio.sleep(0)
        request.before_write()
        self.written += 1
        return Response(status=201, headers={}, body=JOB)

    async def close(self) -> None:
        """There is nothing to close."""


async def test_a_client_that_begins_to_close_sends_nothing_more() -> None:
    """Closed after the connection stands and before the first byte, a client does not send the POST."""
    transport = ClosedAsItConnects()
    transport.client = AsanaClient("t", transport=transport)

    with pytest.raises(ClientClosedError):
        await transport.client.start(COPY)

    assert transport.closing is not None
    await transport.closing
    assert transport.written == 0


async def test_connecting_has_less_time_than_the_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that cannot be made is given up long before the timeout, so that nothing was sent for certain."""

    async def never(*_: object, **__: object) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(aiohttp.TCPConnector, "_create_connection", never)
    loop = asyncio.get_running_loop()
    transport = AiohttpTransport("http://127.0.0.1:9/api/1.0", user_agent="t")
    before = loop.time()
    with pytest.raises(ConnectError):
        await transport.send(attrs.evolve(LOOK, timeout=8.0))
    await transport.close()

    assert loop.time() - before < 7
