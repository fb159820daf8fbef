"""On the wire: what is sent, byte for byte, and what every way of failing is called."""

import asyncio
import json
import pickle
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, NoReturn

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver
from aioresponses_shim import mocked
from socket_server import listening
from yarl import URL

from asana_jobs import AsanaClient, __version__
from asana_jobs._client.http.connections import Connector, OneRequestEach, PublicConnector
from asana_jobs._client.http.destinations import Destinations
from asana_jobs._client.http.network import Network
from asana_jobs._client.http.protocol import Request, Safety, raw_request, read_job, start_job
from asana_jobs._client.http.secret import Secret
from asana_jobs._client.http.transport import READ_BUFFER, AiohttpDownloads, AiohttpTransport
from asana_jobs.errors import (
    ClientClosedError,
    ConnectError,
    RequestTimeoutError,
    TransportError,
)
from asana_jobs.operations import DuplicateTask, ExportGraph, RollupTask


BASE = "https://asana.example/api/1.0"
TOKEN = Secret("Bearer 2/1203/4567:hush")
LOOK = read_job("1203")
JSON = b'{"data": {"gid": "1203"}}'
OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 25\r\n\r\n" + JSON

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def saying(answer: bytes) -> Behaviour:
    """A server that says something and hangs up."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return behave


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """A server that never answers; it waits for the client to go."""
    await reader.read()


async def resetting(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that drops the connection once it has read the request."""
    writer.transport.abort()


@asynccontextmanager
async def server(behave: Behaviour) -> AsyncGenerator[tuple[str, list[bytes]]]:
    """Run a server of raw bytes on loopback; yield its base URL and the requests it read."""
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b":0"
        )
        requests.append(head + await reader.readexactly(int(length.partition(b":")[2])))
        await behave(reader, writer)

    async with listening(serve) as origin:
        yield f"{origin}/api/1.0", requests


@asynccontextmanager
async def transport(base_url: str, **options: Any) -> AsyncGenerator[AiohttpTransport]:
    """Make a transport, and close it."""
    made = AiohttpTransport(base_url, user_agent="test/1", **options)
    try:
        yield made
    finally:
        await made.close()


def authorised(**changes: Any) -> Request:
    """Make a request with a token."""
    arguments: dict[str, Any] = {"method": "GET", "path": "/jobs/1203", "gid": "1203", "authorization": TOKEN}
    return Request(**arguments | changes)


def headers_of(request: bytes) -> dict[str, str]:
    """Read the headers of a raw request."""
    lines = request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


# What is sent.


async def test_a_read_as_it_goes_out() -> None:
    """A GET carries the token, says who we are and what we take, and has no body."""
    async with server(saying(OK)) as (base, requests), transport(base) as wire:
        response = await wire.send(authorised())

    (request,) = requests
    assert request.startswith(b"GET /api/1.0/jobs/1203 HTTP/1.1\r\n")
    assert request.endswith(b"\r\n\r\n")
    headers = headers_of(request)
    assert headers["authorization"] == "Bearer 2/1203/4567:hush"
    assert (headers["accept"], headers["user-agent"]) == ("application/json", "test/1")
    assert "gzip" in headers["accept-encoding"]
    assert "content-type" not in headers
    assert "cookie" not in headers
    assert (response.status, response.body, response.json()) == (200, JSON, json.loads(JSON))


async def test_a_write_as_it_goes_out() -> None:
    """A POST carries its JSON, with its type and its length."""
    async with server(saying(OK)) as (base, requests), transport(base) as wire:
        await wire.send(start_job(DuplicateTask("12", name="ä")))

    (request,) = requests
    assert request.startswith(b"POST /api/1.0/tasks/12/duplicate HTTP/1.1\r\n")
    assert headers_of(request)["content-type"] == "application/json"
    assert json.loads(request.partition(b"\r\n\r\n")[2]) == {"data": {"name": "ä"}}


async def test_headers_are_spelled_as_everybody_spells_them() -> None:
    """Their case does not count, and gateways that think it does are met all the same; there are no others."""
    async with server(saying(OK)) as (base, requests), transport(base) as wire:
        for request in (
            authorised(headers={"Asana-Enable": "a,b"}),
            authorised(method="POST", body=b"{}", safety=Safety.ONCE),
        ):
            await wire.send(request)

    ours = {
        "Host: " + base.removeprefix("http://").partition("/")[0],
        "Authorization: Bearer 2/1203/4567:hush",
        "Accept: application/json",
        "User-Agent: test/1",
    }
    heads = [set(request.partition(b"\r\n\r\n")[0].decode().split("\r\n")[1:]) for request in requests]
    for head in heads:
        head -= {line for line in head if line.startswith("Accept-Encoding: ")}  # as many as are installed
    assert heads == [
        ours | {"Asana-Enable: a,b"},
        ours | {"Content-Type: application/json", "Content-Length: 2", "Connection: close"},
    ]


async def test_a_post_without_a_body_sends_none() -> None:
    """A rollup has nothing to say, and says so by its length."""
    async with server(saying(OK)) as (base, requests), transport(base) as wire:
        await wire.send(start_job(RollupTask("12")))

    assert requests[0].endswith(b"\r\n\r\n")
    assert headers_of(requests[0])["content-length"] == "0"


async def test_a_post_without_a_body_has_no_content_type() -> None:
    """Nothing is declared to be of a type that Asana does not take."""
    async with server(saying(OK)) as (base, requests), transport(base) as wire:
        await wire.send(start_job(RollupTask("12")))

    assert "content-type" not in headers_of(requests[0])


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (read_job("1", "status,new_task.name"), b"GET /api/1.0/jobs/1?opt_fields=status,new_task.name HTTP/1.1"),
        (raw_request("GET", "/a", {"q": "a b&c=ä"}, None, 5), b"GET /api/1.0/a?q=a+b%26c%3D%C3%A4 HTTP/1.1"),
        (raw_request("DELETE", "/a/~b", None, None, 5), b"DELETE /api/1.0/a/~b HTTP/1.1"),
        (raw_request("GET", "/a", {"t": "2026-01-01T00:00:00+01:00"}, None, 5), b"GET /api/1.0/a?t=2026-01-01T00%3A00%3A00%2B01%3A00 HTTP/1.1"),
    ],
)  # fmt: skip
async def test_the_encoding_is_ours(request_: Request, line: bytes) -> None:
    """The target reaches the server as it was written: nothing is encoded twice or decoded on the way."""
    async with server(saying(OK)) as (base, requests), transport(base) as wire:
        await wire.send(request_)

    assert requests[0].partition(b"\r\n")[0] == line


@pytest.mark.parametrize("query", ["", "opt_fields=a%2Cb"])
async def test_what_is_encoded_in_a_base_url_stays_so(query: str) -> None:
    """A gateway may keep the API under a path with signs in it: nothing of it is encoded twice."""
    async with (
        server(saying(OK)) as (base, requests),
        transport(base.replace("/api/", "/an%20api%2Fv/")) as wire,
    ):
        await wire.send(authorised(query=query))

    target = "/an%20api%2Fv/1.0/jobs/1203" + (f"?{query}" if query else "")
    assert requests[0].startswith(f"GET {target} HTTP/1.1\r\n".encode())


async def test_header_names_of_an_answer_are_in_lower_case() -> None:
    """``Retry-After`` is found whatever way a server spells it."""
    answer = b"HTTP/1.1 429 Too Many\r\nRETRY-After: 30\r\nContent-Length: 2\r\n\r\n{}"
    async with server(saying(answer)) as (base, _), transport(base) as wire:
        response = await wire.send(LOOK)

    assert (response.status, response.headers["retry-after"], response.body) == (429, "30", b"{}")


async def test_a_token_does_not_follow_a_redirect() -> None:
    """A redirect is an answer like any other: nothing is sent to where it points."""
    with mocked() as web:
        web.get(f"{BASE}/jobs/1203", status=302, headers={"Location": "https://evil.example/x"})
        web.get("https://evil.example/x", payload={"data": {"gid": "1203"}})
        async with transport(BASE) as wire:
            response = await wire.send(authorised())

        assert response.status == 302
        assert [url.host for _, url in web.requests] == ["asana.example"]


async def test_an_error_status_is_an_answer() -> None:
    """No status is an exception at this level."""
    with mocked() as web:
        web.get(f"{BASE}/jobs/1203", status=503, body=b"<html>", content_type="text/html")
        async with transport(BASE) as wire:
            response = await wire.send(LOOK)

    assert (response.status, response.headers["content-type"], response.body) == (503, "text/html", b"<html>")


async def test_a_large_body_is_read_whole() -> None:
    """Two hundred kilobytes arrive as they are."""
    body = b"x" * 200_000
    with mocked() as web:
        web.get(f"{BASE}/jobs/1203", body=body)
        async with transport(BASE) as wire:
            assert (await wire.send(LOOK)).body == body


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_body_is_bounded(monkeypatch: pytest.MonkeyPatch, at_once: bool) -> None:
    """What is longer than any answer of Asana's is refused, in pieces or at once; what is as long is read."""

    async def in_pieces(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in (OK[:-10], OK[-10:-5], OK[-5:]):
            writer.write(piece)
            await asyncio.sleep(0.001)

    async with server(saying(OK) if at_once else in_pieces) as (base, _), transport(base) as wire:
        for longest in (25, 24):
            monkeypatch.setattr("asana_jobs._client.http.transport.LONGEST_BODY", longest)
            if longest == len(JSON):
                assert (await wire.send(LOOK)).body == JSON
                continue
            with pytest.raises(TransportError, match="which no answer of Asana's has") as caught:
                await wire.send(LOOK)

    assert str(caught.value) == (
        "GET /jobs/1203 was answered 200 with more than 0 MiB, which no answer of Asana's has; the rest was not read. "
        "Is base_url Asana's API?"
    )
    assert (caught.value.method, caught.value.path, caught.value.gid) == ("GET", "/jobs/1203", "1203")


async def test_each_token_has_its_own_header() -> None:
    """A token that was renewed is sent in the place of the one before, and back again if need be."""
    renewed = Secret("Bearer 2/1203/89ab:rush")
    async with server(saying(OK)) as (base, requests), transport(base) as wire:
        for secret in (TOKEN, TOKEN, renewed, TOKEN):
            await wire.send(authorised(authorization=secret))

    assert [headers_of(request)["authorization"] for request in requests] == [TOKEN, TOKEN, renewed, TOKEN]


async def test_cookies_are_not_kept() -> None:
    """A cookie that a gateway sets is not sent back: two users of one client stay apart."""
    answer = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: session=1; Path=/\r\n\r\n", 1)
    async with (
        server(saying(answer)) as (base, requests),
        transport(base.replace("127.0.0.1", "localhost")) as wire,  # of addresses, nobody keeps cookies
    ):
        start = start_job(DuplicateTask("12", name="b"))
        for request in (LOOK, LOOK, start, start):
            await wire.send(request)

    assert ["cookie" in headers_of(request) for request in requests] == [False] * 4


async def test_the_client_says_who_it_is() -> None:
    """The User-Agent names this library with its version, after the product that uses it."""
    async with (
        server(saying(OK)) as (base, requests),
        AsanaClient("test-token", base_url=base, user_agent="shop/7") as client,
    ):
        await client.get_job("1203")

    assert headers_of(requests[0])["user-agent"].startswith(f"shop/7 asana_jobs/{__version__} python/3.")


# Files.


@asynccontextmanager
async def downloads(base_url: str) -> AsyncGenerator[AiohttpDownloads]:
    """Make what fetches the files of an API, and close it."""
    made = AiohttpDownloads(user_agent="test/1", destinations=Destinations.of(base_url))
    try:
        yield made
    finally:
        await made.close()


async def test_a_file_is_asked_for_by_its_link_as_it_is() -> None:
    """A signature holds for these bytes only; the answer is not to be packed, and is seen in pieces."""
    link = "/a%2Fb/%7Ec?X-Sig=%2B%2f/=&x=a%20b"
    async with server(saying(OK)) as (base, requests), downloads(base) as files:
        stream = await files.open(base.removesuffix("/api/1.0") + link, {"Range": "bytes=5-"}, 3.0)
        assert (stream.status, stream.headers["content-length"]) == (200, "25")
        pieces = [await stream.read(), await stream.read()]
        stream.close()

    (request,) = requests
    assert request.startswith(f"GET {link} HTTP/1.1\r\n".encode())
    head = request.decode().split("\r\n")
    assert {"User-Agent: test/1", "Accept-Encoding: identity", "Range: bytes=5-"} < set(head)
    assert not headers_of(request).keys() & {"authorization", "cookie"}
    assert pieces == [JSON, b""]


async def test_files_have_a_session_of_their_own() -> None:
    """It keeps no cookies, unpacks nothing and reads little ahead; with connections that were handed in or its own."""
    files = AiohttpDownloads(user_agent="test/1", destinations=Destinations.of(BASE))
    async with aiohttp.ClientSession(trust_env=True) as given:
        others = AiohttpDownloads(user_agent="test/1", destinations=Destinations.of(BASE), session=given)
        for downloads_, owner in ((files, True), (others, False)):
            session = downloads_._open_session()  # pyright: ignore[reportPrivateUsage]
            assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
            assert (session.auto_decompress, session._read_bufsize) == (False, READ_BUFFER)  # pyright: ignore[reportPrivateUsage]
            assert (session.connector_owner, session.trust_env) == (owner, not owner)
            assert (session.connector is given.connector, type(session.connector) is PublicConnector) == (
                not owner,
                owner,
            )
            await session.close()
            assert given.closed is False


def asked_in_vain(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Have every GET of aiohttp fail; return the options that each is given."""
    asked: list[dict[str, Any]] = []

    async def get(_: object, __: object, **options: Any) -> NoReturn:
        asked.append(options)
        raise aiohttp.ServerDisconnectedError

    monkeypatch.setattr(aiohttp.ClientSession, "get", get)
    return asked


async def test_a_file_is_bounded_by_its_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connecting has ten seconds, each piece its own, the whole has none; nothing is rounded, no redirect followed."""
    asked = asked_in_vain(monkeypatch)
    async with downloads(BASE) as files:
        with pytest.raises(TransportError):
            await files.open(f"{BASE}/a", {}, 3.0)

    (options,) = asked
    assert options["timeout"] == aiohttp.ClientTimeout(
        total=None, connect=10.0, sock_read=3.0, ceil_threshold=1e9
    )
    assert (options["allow_redirects"], options.keys() & {"proxy", "proxy_headers"}) == (False, set())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_file_is_asked_for_with_the_login_of_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose connections it takes: what that says to its proxy, this says too."""
    asked = asked_in_vain(monkeypatch)
    login = aiohttp.BasicAuth("me", "hush")
    async with aiohttp.ClientSession(proxy="http://proxy.example", proxy_auth=login) as given:
        files = AiohttpDownloads(user_agent="test/1", destinations=Destinations.of(BASE), session=given)
        with pytest.raises(TransportError):
            await files.open(f"{BASE}/a", {}, 3.0)
        await files.close()

    assert asked[0]["proxy_headers"] == {"Proxy-Authorization": login.encode()}


async def test_the_proxy_that_a_file_could_not_be_reached_through_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it is for Asana: who reads it looks there first."""

    async def get(*_: object, **__: object) -> NoReturn:
        raise aiohttp.ConnectionTimeoutError

    monkeypatch.setattr(aiohttp.ClientSession, "get", get)
    network = Network(proxy=Secret("http://proxy.example:8080"))
    files = AiohttpDownloads(user_agent="test/1", destinations=Destinations.of(BASE), network=network)
    with pytest.raises(ConnectError, match=r"through the proxy http://proxy\.example:8080 "):
        await files.open("https://files.example/a", {}, 3.0)
    await files.close()


@pytest.mark.parametrize(("seconds", "connect"), [(30.0, 10.0), (12.5, 10.0), (5.0, 4.0)])
async def test_connecting_is_bounded_by_a_part_of_the_whole(seconds: float, connect: float) -> None:
    """By four fifths of it, and by ten seconds; the rest is up to the one timer of all requests."""
    async with transport(BASE) as wire:
        deadlines, bounds = wire._bound(seconds)  # pyright: ignore[reportPrivateUsage]
        assert wire._bounds[seconds] == (deadlines, bounds)  # pyright: ignore[reportPrivateUsage]

    assert deadlines.seconds == seconds
    assert bounds == aiohttp.ClientTimeout(total=None, connect=connect, ceil_threshold=1e9)


async def faltering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that begins its answer, and says no more."""
    writer.write(OK[:-5])
    await reader.read()


@pytest.mark.parametrize("behave", [saying(OK[:-5]), saying(b""), silent, faltering])
async def test_a_file_that_does_not_come_is_told_without_its_signature(behave: Behaviour) -> None:
    """Lost or late, it is named by the path of its link; the rest of that is a secret."""
    late = behave in {silent, faltering}
    async with server(behave) as (base, _), downloads(base) as files:
        with pytest.raises(TransportError) as caught:
            stream = await files.open(f"{base}/a%2Fb?X-Sig=hush", {}, 3.0)
            await stream.read()
            await stream.read()

    assert (caught.value.method, caught.value.path, caught.value.gid) == ("GET", "/api/1.0/a/b", None)
    assert isinstance(caught.value, RequestTimeoutError) == late
    assert ("no answer within 3 s" in str(caught.value)) == late
    assert "hush" not in str(caught.value)


# What failing is called.

KEY: Any = SimpleNamespace(host="asana.example", port=443, ssl=True, is_ssl=True)
NOT_SENT: list[Exception] = [
    aiohttp.ClientConnectorError(KEY, OSError(111, "Connection refused")),
    aiohttp.ClientConnectorDNSError(KEY, OSError(-2, "Name or service not known")),
    aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError("self-signed")),
    aiohttp.ClientConnectorSSLError(KEY, OSError(1, "wrong version number")),
    aiohttp.ConnectionTimeoutError("Connection timeout to host"),
]
LOST: list[Exception] = [
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientPayloadError("Response payload is not completed"),
    aiohttp.ClientOSError(104, "Connection reset by peer"),
    aiohttp.ClientConnectionResetError("Cannot write to closing transport"),
    aiohttp.ClientConnectionError(),
    ConnectionResetError(104, "Connection reset by peer"),
    BrokenPipeError(32, "Broken pipe"),
]
LATE: list[Exception] = [TimeoutError(), aiohttp.SocketTimeoutError("Timeout on reading data from socket")]
FAILURES = [
    *(pytest.param(error, ConnectError, id=type(error).__name__) for error in NOT_SENT),
    *(pytest.param(error, TransportError, id=type(error).__name__) for error in LOST),
    *(pytest.param(error, RequestTimeoutError, id=type(error).__name__) for error in LATE),
]


@pytest.mark.parametrize(("error", "kind"), FAILURES)
async def test_each_failure_has_its_error(error: Exception, kind: type[TransportError]) -> None:
    """Never sent, too late, or lost: aiohttp's error is translated, kept as the cause, and names the gid."""
    with mocked() as web:
        web.get(f"{BASE}/jobs/1203", exception=error)
        async with transport(BASE) as wire:
            with pytest.raises(TransportError) as caught:
                await wire.send(LOOK)

    assert type(caught.value) is kind
    assert caught.value.__cause__ is error
    assert (caught.value.method, caught.value.path, caught.value.gid) == ("GET", "/jobs/1203", "1203")
    assert str(caught.value).startswith("GET /jobs/1203: ")
    assert str(caught.value).endswith(caught.value.advice)


async def test_a_failure_names_a_gid_that_is_not_in_the_path() -> None:
    """The subject of an export is in its body only, and still in the message."""
    with mocked() as web:
        web.post(f"{BASE}/exports/graph", exception=aiohttp.ServerDisconnectedError())
        async with transport(BASE) as wire:
            with pytest.raises(TransportError, match="POST /exports/graph for 77: "):
                await wire.send(start_job(ExportGraph("77")))


SAID = [
    "asana.example:443: Connection refused",
    "the name asana.example cannot be resolved: Name or service not known",
    "the certificate of asana.example is not trusted: ('self-signed',)",
    "asana.example:443: wrong version number",
    "it took too long",
    "Server disconnected",
    "Response payload is not completed",
    "[Errno 104] Connection reset by peer",
    "Cannot write to closing transport",
    "ClientConnectionError",
    "[Errno 104] Connection reset by peer",
    "[Errno 32] Broken pipe",
]


@pytest.mark.parametrize(("error", "said"), list(zip([*NOT_SENT, *LOST], SAID, strict=True)))
async def test_a_connection_says_what_became_of_it(error: Exception, said: str) -> None:
    """Why there was none, which is safe to repeat, or why it broke; an error without a text is told by its name."""
    with mocked() as web:
        web.get(f"{BASE}/jobs/1203", exception=error)
        async with transport(BASE) as wire:
            with pytest.raises(TransportError) as caught:
                await wire.send(LOOK)

    unsent = isinstance(caught.value, ConnectError)
    assert f"({said})" in str(caught.value)
    assert ("; nothing was sent. " in str(caught.value)) == unsent == (error in NOT_SENT)


async def test_a_refused_connection_is_a_connect_error() -> None:
    """Nobody listens: nothing was sent."""
    async with server(silent) as (base, _):
        pass
    async with transport(base) as wire:
        with pytest.raises(ConnectError, match="no connection could be made"):
            await wire.send(LOOK)


class Resolver(AbstractResolver):
    """A name server that fails, or never answers."""

    def __init__(self, *, hang: bool = False) -> None:
        self._hang = hang

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> NoReturn:
        """Look a name up in vain."""
        if self._hang:
            await asyncio.Event().wait()
        raise OSError(-2, "Name or service not known")

    async def close(self) -> None:
        """Nothing to close."""


@asynccontextmanager
async def resolving(resolver: AbstractResolver) -> AsyncGenerator[AiohttpTransport]:
    """Make a transport that looks names up with a resolver of ours."""
    connector = aiohttp.TCPConnector(resolver=resolver)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        transport(BASE, session=session) as wire,
    ):
        yield wire


async def test_an_unknown_host_is_a_connect_error() -> None:
    """A name that does not resolve: nothing was sent."""
    async with resolving(Resolver()) as wire:
        with pytest.raises(ConnectError, match="nothing was sent"):
            await wire.send(LOOK)


async def test_a_name_lookup_that_hangs_is_a_connect_error() -> None:
    """A name server that never answers: nothing was sent, so a job-starting POST may be repeated."""
    async with resolving(Resolver(hang=True)) as wire:
        with pytest.raises(ConnectError):
            await wire.send(start_job(DuplicateTask("12")))


async def test_no_answer_in_time_is_a_request_timeout() -> None:
    """A server that is silent is given up after the request's own time, which the message names."""
    loop = asyncio.get_running_loop()
    async with server(silent) as (base, requests), transport(base) as wire:
        started = loop.time()
        with pytest.raises(RequestTimeoutError, match="no answer within 7 s") as caught:
            await wire.send(authorised(timeout=7.0))
        waited = loop.time() - started

    assert isinstance(caught.value, TimeoutError)
    assert waited == pytest.approx(7, abs=0.5)
    assert len(requests) == 1


async def test_a_reset_is_a_transport_error() -> None:
    """A connection dropped after the request is lost, not unsent: the job may be running."""
    async with server(resetting) as (base, requests), transport(base) as wire:
        with pytest.raises(TransportError) as caught:
            await wire.send(start_job(DuplicateTask("12")))

    assert type(caught.value) is TransportError
    assert caught.value.gid == "12"
    assert len(requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        OK[:-5],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Header\x00: x\r\n\r\n",
    ],
)
async def test_a_broken_answer_is_a_transport_error(answer: bytes) -> None:
    """Whatever a server says instead of a whole answer, the answer is lost, and no token is shown for it."""
    async with server(saying(answer)) as (base, _), transport(base) as wire:
        with pytest.raises(TransportError, match="GET /jobs/1203: the connection broke") as caught:
            await wire.send(authorised())

    assert type(caught.value) is TransportError
    assert (
        "hush" not in f"{caught.value} {caught.value!r} {caught.value.__cause__} {caught.value.__cause__!r}"
    )
    assert b"hush" not in pickle.dumps(caught.value)


async def test_a_lost_post_is_not_sent_again_by_aiohttp() -> None:
    """A POST whose connection is dropped goes out once: aiohttp's own retry is for idempotent methods only."""
    async with server(resetting) as (base, requests), transport(base) as wire:
        for _ in range(3):
            with pytest.raises(TransportError):
                await wire.send(start_job(DuplicateTask("12")))

    assert len(requests) == 3


async def test_a_post_on_a_kept_connection_that_has_died_is_not_sent_again() -> None:
    """A keep-alive connection that dies at the second request: in somebody else's session that POST went out once."""
    async with (
        server(answering_once) as (base, requests),
        aiohttp.ClientSession() as session,
        transport(base, session=session) as wire,
    ):
        await wire.send(LOOK)
        with pytest.raises(TransportError):
            await wire.send(start_job(DuplicateTask("12")))

    assert len([request for request in requests if request.startswith(b"POST")]) <= 1


async def test_no_post_meets_a_kept_connection_that_has_died() -> None:
    """In a session of ours it has a connection of its own."""
    async with server(answering_once) as (base, requests), transport(base) as wire:
        await wire.send(LOOK)
        for _ in range(3):
            answer = await wire.send(start_job(DuplicateTask("12")))
            assert answer.status == 200

    assert len([request for request in requests if request.startswith(b"POST")]) == 3


async def answering_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that answers, reads the next request on the same connection, and drops it."""
    writer.write(OK)
    await writer.drain()
    await reader.read(1)
    writer.transport.abort()


async def test_cancellation_passes_through() -> None:
    """A cancelled request is cancelled, not translated."""
    asked = asyncio.Event()

    async def behave(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    async with server(behave) as (base, _), transport(base) as wire:
        task = asyncio.create_task(wire.send(LOOK))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# Whose session.


async def test_a_session_that_was_handed_in_is_used_and_left_open() -> None:
    """Closing the transport leaves the caller's session to the caller, headers of theirs included."""
    async with (
        server(saying(OK)) as (base, requests),
        aiohttp.ClientSession(headers={"X-Team": "7"}) as session,
    ):
        wire = AiohttpTransport(base, user_agent="test/1", session=session)
        await wire.send(LOOK)
        await wire.close()

        assert not session.closed

    assert headers_of(requests[0])["x-team"] == "7"


async def test_a_handed_in_session_that_raises_for_status_does_not_here() -> None:
    """An option of the caller's session does not turn an answer into an aiohttp error."""
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
    async with (
        server(saying(answer)) as (base, _),
        aiohttp.ClientSession(raise_for_status=True) as session,
        transport(base, session=session) as wire,
    ):
        assert (await wire.send(LOOK)).status == 404


async def test_a_handed_in_session_with_an_authorization_of_its_own_sends_ours() -> None:
    """The client's token wins over a default header of the caller's session."""
    async with (
        server(saying(OK)) as (base, requests),
        aiohttp.ClientSession(headers={"Authorization": "Bearer other"}) as session,
        transport(base, session=session) as wire,
    ):
        await wire.send(authorised())

    assert headers_of(requests[0])["authorization"] == "Bearer 2/1203/4567:hush"


async def test_a_closed_session_that_was_handed_in_is_a_client_closed_error() -> None:
    """A session closed under our hands is said to be closed, with what to do."""
    session = aiohttp.ClientSession()
    await session.close()
    wire = AiohttpTransport(BASE, user_agent="test/1", session=session)

    with pytest.raises(ClientClosedError, match="handed to this client is closed; keep it open"):
        await wire.send(LOOK)


async def test_a_session_of_our_own_is_closed() -> None:
    """Closing lets go of the connections; sending again opens new ones."""
    async with server(saying(OK)) as (base, requests), transport(base) as wire:
        await wire.send(LOOK)
        own = wire._own  # pyright: ignore[reportPrivateUsage]
        assert own is not None
        await wire.close()

        assert own.closed
        await wire.send(LOOK)

    assert len(requests) == 2


async def test_closing_what_was_never_used_is_harmless() -> None:
    """No session is made before the first request."""
    wire = AiohttpTransport(BASE, user_agent="test/1")

    await wire.close()
    await wire.close()


async def test_connections_are_not_counted_here() -> None:
    """How many requests may be on their way is for the gate to say: a second cap would only hide it."""
    for make in (Connector, OneRequestEach):
        connector = make(None)
        assert (connector.limit, connector.limit_per_host) == (0, 0)
        await connector.close()


async def test_a_transport_can_be_printed() -> None:
    """Its repr shows where it sends, and nothing else."""
    assert repr(AiohttpTransport(BASE, user_agent="test/1")) == f"<AiohttpTransport {BASE}>"


def test_requests_of_one_go_are_marked() -> None:
    """The transport is told what may be repeated, though it repeats nothing itself."""
    assert (LOOK.safety, start_job(DuplicateTask("1")).safety) == (Safety.IDEMPOTENT, Safety.ONCE)


# Where a token may go.


def test_a_target_stays_below_the_base_url() -> None:
    """What is sent is the base URL with the target behind it, character by character."""
    target = raw_request("GET", "/users/me", {"q": "../x?y"}, None, 5).target

    assert str(URL(BASE + target, encoded=True)) == f"{BASE}/users/me?q=..%2Fx%3Fy"
