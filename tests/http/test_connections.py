"""Servers that no connection can be made to: what is said, how soon, and that nothing was sent."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import aiohttp
import attrs
import pytest
import trustme
from authority import certified, recertify, trusting
from socket_server import listening

from asana_jobs import AsanaClient, DuplicateTask
from asana_jobs.errors import ConnectError


JOB = b'{"data": {"gid": "1203", "status": "succeeded"}}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(JOB),
    JOB,
)
LAST_YEAR = datetime(2020, 12, 31, tzinfo=UTC)


@attrs.define
class Listener:
    """A server on loopback that answers one request a connection, and counts.

    Attributes:
        base_url: Where it is.
        connections: How often somebody connected.
        requests: What arrived.
    """

    base_url: str = ""
    connections: int = 0
    requests: list[bytes] = attrs.field(factory=list[bytes])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        self.connections += 1
        self.requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(ANSWER)
        await writer.drain()


async def plain_http(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server of plain http that does not like what it reads."""
    writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


def _say_nothing(loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
    """Leave out a server's own words about clients that do not trust it."""
    del loop, context


@asynccontextmanager
async def server(tls: ssl.SSLContext) -> AsyncGenerator[Listener]:
    """Run a `Listener`."""
    listener = Listener()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_say_nothing)
    async with listening(listener.serve, tls=tls) as origin:
        listener.base_url = f"{origin}/api/1.0"
        yield listener


@asynccontextmanager
async def client_of(base_url: str) -> AsyncGenerator[AsanaClient]:
    """A client that trusts the authority."""
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusting())) as session,
        AsanaClient("t", base_url=base_url, session=session) as client,
    ):
        yield client


CERTIFICATES: dict[str, tuple[Callable[[], ssl.SSLContext], str]] = {
    "unknown": (
        lambda: certified("127.0.0.1", by=trustme.CA()),
        "certificate of 127.0.0.1 is not trusted: unable to get local issuer certificate",
    ),
    "expired": (
        lambda: certified("127.0.0.1", until=LAST_YEAR),
        "certificate of 127.0.0.1 is not trusted: certificate has expired",
    ),
    "another host's": (
        lambda: certified("other.example", "10.0.0.1"),
        "certificate of 127.0.0.1 is not trusted: IP address mismatch, certificate is not valid for '127.0.0.1'",
    ),
}


@pytest.mark.parametrize("name", CERTIFICATES)
@pytest.mark.parametrize("call", ["wait", "get", "start"])
async def test_a_certificate_that_does_not_do_is_said_at_once(name: str, call: str) -> None:
    """One connection, no request, and what to set."""
    make, words = CERTIFICATES[name]
    async with server(make()) as listener, client_of(listener.base_url) as client:
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "wait": lambda: client.wait_for_job("1203"),
            "get": lambda: client.get_job("1203"),
            "start": lambda: client.start(DuplicateTask("1203")),
        }
        before = asyncio.get_running_loop().time()
        with pytest.raises(ConnectError, match="SSL_CERT_FILE") as raised:
            await calls[call]()
        lasted = asyncio.get_running_loop().time() - before

    assert words in str(raised.value)
    assert raised.value.permanent
    assert str(raised.value).endswith(raised.value.advice)
    assert lasted < 1
    assert listener.requests == []


async def test_an_authority_that_is_trusted_does() -> None:
    """The same server, with the certificate it should have."""
    async with server(certified("127.0.0.1")) as listener, client_of(listener.base_url) as client:
        assert (await client.wait_for_job("1203")).succeeded
    assert len(listener.requests) == 1


async def test_tls_spoken_to_plain_http_is_said_at_once() -> None:
    """``https://`` written where ``http://`` is meant does not pass."""
    async with listening(plain_http) as origin:
        base_url = f"{origin.replace('http:', 'https:')}/api/1.0"
        async with AsanaClient("t", base_url=base_url) as client:
            before = asyncio.get_running_loop().time()
            with pytest.raises(ConnectError, match=r"does not speak TLS.*ASANA_BASE_URL") as raised:
                await client.wait_for_job("1203")
            assert asyncio.get_running_loop().time() - before < 1
    assert raised.value.permanent


async def test_a_certificate_that_is_replaced_later_is_waited_for() -> None:
    """Once there was an answer, one that is not trusted may pass: a hotel's network until somebody has logged in."""
    tls = certified("127.0.0.1")
    async with server(tls) as listener, client_of(listener.base_url) as client:
        await client.get_job("1203")
        recertify(tls, "127.0.0.1", by=trustme.CA())
        asyncio.get_running_loop().call_later(600, recertify, tls, "127.0.0.1")

        assert (await client.wait_for_job("1203")).succeeded
    assert len(listener.requests) == 2
    assert listener.connections == 2  # no handshake of those between was finished
