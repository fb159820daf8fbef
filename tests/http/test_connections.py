"""Servers that no connection can be made to: what is said, how soon, and that nothing was sent."""

import asyncio
import ssl
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import attrs
import pytest
import trustme
from authority import certified, recertify, trusting
from socket_server import listening
from yarl import URL

from asana_jobs import AsanaClient, DuplicateTask
from asana_jobs._client.http.connections import (
    check_that_it_sends_once,
    check_that_it_sends_our_token,
    echoes,
    login_of,
    nothing_between,
    open_given,
    open_session,
    through,
    translate,
    way_of,
)
from asana_jobs._client.http.network import Proxy
from asana_jobs._client.http.protocol import Request, read_job
from asana_jobs._client.http.secret import Authorization, Secret
from asana_jobs.errors import ClientClosedError, ConnectError, RequestTimeoutError, TransportError


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


# Sessions that are handed in.


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # aiohttp would rather have none

    class Resending(aiohttp.ClientSession):
        """A session with a way to send of its own."""

        async def _request(self, *args: Any, **options: Any) -> Any:
            return await super()._request(*args, **options)


async def send_again(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> Any:
    """A middleware that may send twice."""
    return await handler(request)


async def test_why_a_session_is_not_taken_is_said_in_a_sentence() -> None:
    """The whole of it: what is wrong, and what to hand in instead."""
    instead = (
        ", and may send one request several times: hand in a plain aiohttp.ClientSession, or say "
        "allow_middlewares=True, if it never repeats a POST"
    )
    async with (
        aiohttp.ClientSession(middlewares=(send_again,)) as layered,
        Resending() as resending,
        aiohttp.ClientSession() as plain,
    ):
        said: list[str] = []
        for session in (layered, resending):
            with pytest.raises(ValueError, match="session") as caught:
                check_that_it_sends_once(session)
            said.append(str(caught.value))

        assert said == [
            f"session has middlewares{instead}",
            f"session is a Resending, which has its own way to send{instead}",
        ]
        check_that_it_sends_once(plain)
        assert (nothing_between(layered), nothing_between(plain)) == ({"middlewares": ()}, {})


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_why_a_session_would_not_send_our_token_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own auth, one of netrc, or a proxy in clear; without either it is taken."""
    (tmp_path / "netrc").write_text("machine asana.example login other password other\n", "ascii")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    async with (
        aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "hush")) as authorised,
        aiohttp.ClientSession(trust_env=True) as trusting_it,
        aiohttp.ClientSession() as plain,
    ):
        said: list[str] = []
        for session, base_url in (
            (authorised, "https://app.asana.com/api/1.0"),
            (trusting_it, "https://asana.example/api/1.0"),
            (trusting_it, "http://127.0.0.1:1/api/1.0"),
        ):
            with pytest.raises(ValueError, match="session") as caught:
                check_that_it_sends_our_token(session, base_url)
            said.append(str(caught.value))

        assert said == [
            "session has an auth of its own, in the place of the token: hand in one without",
            (
                "session takes an auth for asana.example from netrc, in the place of the token: hand in one without "
                "trust_env, or remove that entry"
            ),
            (
                "session takes its proxy from the environment: the token for http://127.0.0.1:1/api/1.0 would go there "
                "in clear. Hand in one without trust_env, or add 127.0.0.1 to NO_PROXY"
            ),
        ]
        for base_url in ("https://asana.example/api/1.0", "http://127.0.0.1:1/api/1.0"):
            check_that_it_sends_our_token(plain, base_url)
        check_that_it_sends_our_token(trusting_it, "https://app.asana.com/api/1.0")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        check_that_it_sends_our_token(trusting_it, "http://127.0.0.1:1/api/1.0")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_downloads_take_the_way_and_the_login_of_a_session() -> None:
    """Another session that shares its connections asks the same proxy, and says the same to it."""
    login = aiohttp.BasicAuth("me", "hush")
    async with (
        aiohttp.ClientSession(proxy="http://proxy.example", proxy_auth=login, trust_env=True) as session,
        aiohttp.ClientSession() as plain,
    ):
        assert {name: str(value) for name, value in way_of(session).items()} == {
            "proxy": "http://proxy.example",
            "trust_env": "True",
        }
        assert login_of(session) == {"proxy_headers": {"Proxy-Authorization": login.encode()}}
        assert "hush" not in repr(login_of(session))
        assert login.encode() not in repr(login_of(session))
        assert (way_of(plain), login_of(plain)) == ({"proxy": None, "trust_env": False}, {})


def test_a_session_of_another_make_needs_none_of_aiohttps_insides() -> None:
    """A double that has only what is documented is taken for one without proxy, login and middlewares."""
    double: Any = SimpleNamespace(trust_env=False, auth=None)

    assert way_of(double) == {"proxy": None, "trust_env": False}
    assert (login_of(double), nothing_between(double)) == ({}, {})
    check_that_it_sends_once(double)


def test_a_proxy_is_an_option_of_each_request() -> None:
    """Its address, and what is said to it alone."""
    headers = {"Proxy-Authorization": Secret("Basic bWU6aHVzaA==")}

    assert through(Proxy(URL("http://proxy.example:3128"), headers)) == {
        "proxy": URL("http://proxy.example:3128"),
        "proxy_headers": headers,
    }
    assert through(None) == {}


async def test_a_session_of_ours_keeps_no_cookies_and_one_that_was_closed_is_told() -> None:
    """The jar is aiohttp's dummy, and the message says whose session it was."""
    connector = aiohttp.TCPConnector()
    session = open_session(connector, {"User-Agent": "ours"})

    assert session.connector is connector
    assert isinstance(session.cookie_jar, aiohttp.DummyCookieJar)
    assert session.headers == {"User-Agent": "ours"}
    assert open_given(session) is session
    await session.close()
    with pytest.raises(ClientClosedError) as caught:
        open_given(session)
    assert str(caught.value) == "the aiohttp session handed to this client is closed; keep it open"


# What went wrong, in whole sentences.

LOOK = read_job("1203")
ENDPOINT: Any = SimpleNamespace(host="asana.example", port=443, ssl=True, is_ssl=True)
WAITED: Any = SimpleNamespace(method="CONNECT", real_url=URL("http://proxy.example"))


def certificate_error(message: str = "", *, verified: str | None = None) -> ssl.SSLCertVerificationError:
    """What OpenSSL says of a certificate."""
    error = ssl.SSLCertVerificationError(message)
    if verified is not None:
        error.verify_message = verified
    return error


def no_tls(reason: str) -> ssl.SSLError:
    """What OpenSSL says of an answer."""
    error = ssl.SSLError(1, f"[SSL: {reason}] it was that")
    error.reason = reason
    return error


def proxy_error(status: int) -> aiohttp.ClientHttpProxyError:
    """What a proxy answers instead of making a tunnel."""
    return aiohttp.ClientHttpProxyError(WAITED, (), status=status, message="no")


UNTRUSTED = (
    "Set SSL_CERT_FILE to a file that holds the certificate of the authority that signed it, such as your company's; "
    "asana-jobs doctor shows which file is used."
)
NOT_MADE: list[tuple[Exception, str, str | None, bool]] = [
    (
        aiohttp.ClientConnectorError(ENDPOINT, OSError(111, "Connection refused")),
        "asana.example:443: Connection refused",
        None,
        False,
    ),
    (
        aiohttp.ClientConnectorError(ENDPOINT, OSError("what has no number")),
        "asana.example:443: what has no number",
        None,
        False,
    ),
    (
        aiohttp.ClientConnectorCertificateError(ENDPOINT, certificate_error(verified="it has expired")),
        "the certificate of asana.example is not trusted: it has expired",
        UNTRUSTED,
        True,
    ),
    (
        certificate_error("no reason at all"),
        "the certificate of the server is not trusted: ('no reason at all',)",
        UNTRUSTED,
        True,
    ),
    (
        aiohttp.ServerFingerprintMismatch(b"1", b"2", "asana.example", 443),
        "the certificate of asana.example has another fingerprint than the session wants",
        UNTRUSTED,
        True,
    ),
    (
        aiohttp.ClientConnectorSSLError(ENDPOINT, no_tls("WRONG_VERSION_NUMBER")),
        "asana.example does not speak TLS at this port",
        "Check ASANA_BASE_URL and HTTPS_PROXY: is https:// written there where http:// is meant?",
        True,
    ),
    (
        aiohttp.ClientConnectorSSLError(ENDPOINT, no_tls("TLSV1_ALERT_INTERNAL_ERROR")),
        "asana.example:443: [SSL: TLSV1_ALERT_INTERNAL_ERROR] it was that",
        None,
        False,
    ),
    (
        proxy_error(407),
        "the proxy answered 407 Proxy Authentication Required",
        (
            "Write the user name and the password of the proxy into HTTPS_PROXY, as in "
            "http://user:password@proxy.example:3128."
        ),
        False,
    ),
    (proxy_error(408), "the proxy answered 408 Request Timeout", None, False),
    (aiohttp.ConnectionTimeoutError("slow"), "it took too long", None, False),
]


@pytest.mark.parametrize(("error", "why", "advice", "permanent"), NOT_MADE)
@pytest.mark.parametrize("proxy", [None, Proxy(URL("http://proxy.example:3128"))])
def test_why_no_connection_was_made_is_said_in_a_sentence(
    error: Exception, why: str, advice: str | None, permanent: bool, proxy: Proxy | None
) -> None:
    """Which request, through what, why, that nothing was sent, and what to do: in the error's attribute too."""
    found = translate(error, LOOK, proxy=proxy)

    way = "" if proxy is None else "through the proxy http://proxy.example:3128 "
    assert str(found) == (
        f"GET /jobs/1203: no connection could be made {way}({why}); nothing was sent. {advice or ConnectError.advice}"
    )
    assert isinstance(found, ConnectError)
    assert (found.method, found.path, found.gid) == ("GET", "/jobs/1203", "1203")
    assert (found.permanent, found.advice) == (permanent, advice or ConnectError.advice)


@pytest.mark.parametrize("sent", [False, True])
def test_what_breaks_before_anything_was_sent_is_no_connection(sent: bool) -> None:
    """One and the same error is safe to repeat, or it is not."""
    error = aiohttp.ServerDisconnectedError("gone\n away")

    found = translate(error, LOOK, sent=sent)

    assert isinstance(found, ConnectError) is not sent
    assert str(found) == (
        f"GET /jobs/1203: the connection broke before the whole answer was read (gone away). {TransportError.advice}"
        if sent
        else f"GET /jobs/1203: no connection could be made (gone away); nothing was sent. {ConnectError.advice}"
    )


def test_what_may_have_been_sent_is_taken_for_sent() -> None:
    """Nobody has said that it was not."""
    assert type(translate(aiohttp.ServerDisconnectedError(), LOOK)) is TransportError


def test_no_answer_in_time_names_the_time() -> None:
    """It is the request's own."""
    found = translate(TimeoutError(), read_job("1203", timeout=2.5))

    assert type(found) is RequestTimeoutError
    assert str(found) == f"GET /jobs/1203: no answer within 2.5 s. {RequestTimeoutError.advice}"


def test_an_error_that_quotes_the_token_is_an_echo() -> None:
    """What the other side has said is not kept as the cause, and masked in the text; what is short enough is whole."""
    request = Request("GET", "/jobs/1203", gid="1203", authorization=Authorization("0/1203:hush-hush-hush"))
    echo = aiohttp.ClientPayloadError("no header 0/1203:hush-hush-hush")
    plain = aiohttp.ClientPayloadError("x" * 400)

    assert (echoes(echo, request), echoes(plain, request), echoes(echo, LOOK)) == (True, False, False)
    assert "(no header ***)" in str(translate(echo, request))
    assert f"({'x' * 300})" in str(translate(plain, request))
