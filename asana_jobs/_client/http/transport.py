"""The network: requests to Asana, and downloads of export files. The only file that knows the HTTP library, aiohttp.

`Transport` and `Downloads` are what another library has to offer; `AiohttpTransport` and `AiohttpDownloads` offer it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import aiohttp
import attrs
from aiohttp.connector import Connection
from multidict import CIMultiDict
from yarl import URL

from asana_jobs._client.http.destinations import Destinations, ForbiddenDestinationError
from asana_jobs._client.http.lifetime import SharedTimeout, warn_unclosed
from asana_jobs._client.http.origin import check_base_url
from asana_jobs._client.http.protocol import Request, Response, Safety, title_of
from asana_jobs._client.http.secret import without_frames
from asana_jobs.errors import ClientClosedError, ConnectError, RequestTimeoutError, TransportError


#: Seconds for making a connection: its failure is certain to have sent nothing, so it may be repeated.
CONNECT_TIMEOUT: Final = 10.0
#: The part of a request's time that making a connection may take.
CONNECT_SHARE: Final = 0.8

#: Bytes that aiohttp reads ahead: half of what it forgets when a connection breaks, and what is fetched twice.
READ_BUFFER: Final = 2**15

#: Bytes that one answer may have, unpacked: a page of a hundred objects has some per cent of it. JSON can take forty
#: times its length in memory, and is read on the event loop.
LONGEST_BODY: Final = 2**24

#: What happens before there is a connection, a proxy that does not let us through included.
_NO_CONNECTION: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ServerFingerprintMismatch,
    ssl.SSLCertVerificationError,
)
#: What OpenSSL calls an answer that is no TLS, such as plain http's.
_NO_TLS: Final = {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "RECORD_LAYER_FAILURE"}

_TRUST_ADVICE: Final = (
    "Set SSL_CERT_FILE to a file that holds the certificate of the authority that signed it, such as your company's; "
    "asana-jobs doctor shows which file is used."
)
_NO_TLS_ADVICE: Final = (
    "Check ASANA_BASE_URL and HTTPS_PROXY: is https:// written there where http:// is meant?"
)
_PROXY_LOGIN_ADVICE: Final = "Write the user name and the password of the proxy into HTTPS_PROXY, as in http://user:password@proxy.example:3128."

_log = logging.getLogger("asana_jobs")


class Transport(Protocol):
    """The carrier of requests. Hand in your own to test without a socket; see `asana_jobs.testing`."""

    async def send(self, request: Request) -> Response:
        """Send one request and read its whole answer.

        A transport that says ``calls_before_write = True`` of itself calls ``request.before_write``, if there is one,
        once, after the connection stands and before the first byte; what that raises is raised, and nothing was sent.
        For any other transport the client calls it before `send`.

        Raises:
            ConnectError: nothing was sent.
            RequestTimeoutError: no whole answer within ``request.timeout`` seconds.
            TransportError: anything else that left us without an answer.
        """
        ...

    async def close(self) -> None:
        """Let go of connections. Sending again opens new ones."""
        ...


@attrs.define
class _Writing:
    """One request that may not be sent twice, on its way to the wire.

    Attributes:
        announce: `Request.before_write`.
        begun: Whether the connection stands, so that something may have left.
    """

    announce: Callable[[], object] | None
    begun: bool = False

    def begin(self) -> None:
        """Announce that the connection stands; what the announcement raises is raised."""
        if self.announce is not None:
            self.announce()
        self.begun = True


_writing: ContextVar[_Writing] = ContextVar("asana_jobs_writing")


class _OneRequestEach(aiohttp.TCPConnector):
    """Connections that carry one request each: none can have been closed, or hold another's answer, beforehand."""

    def __init__(self) -> None:
        # aiohttp leaves some of its arguments without types.
        super().__init__(limit=0, limit_per_host=0, force_close=True)  # pyright: ignore[reportUnknownMemberType]

    async def connect(self, *args: Any, **options: Any) -> Connection:
        """Make a connection, a proxy's tunnel included, and say that it stands."""
        connection = await super().connect(*args, **options)
        try:
            _writing.get().begin()
        except BaseException:
            connection.close()
            raise
        return connection


class AiohttpTransport:
    """Requests over aiohttp.

    What may not be sent twice goes out over connections of its own, one each; in a session that was handed in it
    shares the connections of that, so that one which the other side has closed meanwhile leaves its outcome unknown.

    Args:
        base_url: The API; nothing is sent anywhere else.
        user_agent: The User-Agent header.
        session: What to send with, instead of sessions of our own. It is never closed.
        allow_middlewares: Take a session that may send a request several times by itself.
    """

    calls_before_write = True
    _own: aiohttp.ClientSession | None = None
    _own_once: aiohttp.ClientSession | None = None

    def __init__(
        self,
        base_url: str,
        *,
        user_agent: str,
        session: aiohttp.ClientSession | None = None,
        allow_middlewares: bool = False,
    ) -> None:
        #: How many requests are on their way in our session, and in those that are not trusted any more.
        self._in_flight = 0
        self._distrusted: dict[aiohttp.ClientSession, int] = {}
        self._base_url = check_base_url(base_url)
        if session is not None:
            _check_that_it_sends_our_token(session, self._base_url)
            if not allow_middlewares:
                _check_that_it_sends_once(session)
        self._root = URL(self._base_url, encoded=True)
        self._root_path = self._root.raw_path.rstrip("/")
        self._given = session
        self._headers = CIMultiDict({"Accept": "application/json", "User-Agent": user_agent})
        #: By seconds: what bounds a whole request, and what bounds its connecting.
        self._bounds: dict[float, tuple[SharedTimeout, aiohttp.ClientTimeout]] = {}

    def __repr__(self) -> str:
        return f"<AiohttpTransport {self._base_url}>"

    def __del__(self) -> None:
        for session in (self._own, self._own_once, *self._distrusted):
            warn_unclosed(self, session)

    async def send(self, request: Request) -> Response:
        """Send *request* below the base URL; redirects are not followed, so a token stays where it belongs."""
        if request.safety is not Safety.IDEMPOTENT:
            return await self._send_once(request)
        session = self._own
        if session is None:
            if self._given is not None:
                return await self._carry(request, self._open_given(self._given))
            session = await self._open()
        self._in_flight += 1
        try:
            return await self._carry(request, session)
        finally:
            if session is self._own:
                self._in_flight -= 1
            else:
                await self._left(session)

    async def _send_once(self, request: Request) -> Response:
        if self._given is not None:
            session = self._open_given(self._given)
            if request.before_write is not None:
                request.before_write()
            return await self._carry(request, session)
        if self._own_once is None:
            self._own_once = _session(_OneRequestEach())
        writing = _Writing(request.before_write)
        reset = _writing.set(writing)
        try:
            return await self._carry(request, self._own_once, writing)
        finally:
            _writing.reset(reset)

    async def _carry(
        self, request: Request, session: aiohttp.ClientSession, writing: _Writing | None = None
    ) -> Response:
        headers = self._headers.copy()
        if request.authorization is not None:
            headers["Authorization"] = request.authorization
        if request.body is not None:
            headers["Content-Type"] = request.content_type
        skip = ("Content-Type",) if request.body is None and request.method != "GET" else None
        if request.query:
            url = URL(self._base_url + request.target, encoded=True)
        else:
            url = self._root.with_path(
                self._root_path + request.path, encoded=True
            )  # 3 us less: 1.5 % of a request
        deadlines, timeout = self._bounds.get(request.timeout) or self._bound(request.timeout)
        options = {} if request.safety is Safety.IDEMPOTENT else _nothing_between(session)
        try:
            with deadlines.bound():
                answer = await session.request(
                    request.method,
                    url,
                    data=request.body,
                    headers=headers,
                    skip_auto_headers=skip,
                    timeout=timeout,
                    allow_redirects=False,
                    raise_for_status=False,
                    **options,
                )
                # Read to its end, it gives its connection back by itself; left before, it must be closed.
                content = answer.content
                try:
                    body = content.read_nowait() if content.is_eof() else await _read(answer, request)
                    if len(body) > LONGEST_BODY:
                        raise _too_long(answer.status, request)
                finally:
                    if not answer.closed:
                        answer.close()
        except (aiohttp.ClientError, OSError) as error:
            sent = writing is None or writing.begun
            raise _translate(error, request, sent=sent) from without_frames(error)
        return Response(answer.status, answer.headers, body)

    def distrust(self) -> None:
        """Take note that an answer belonged to another request: no connection that is open now carries a later one.

        Those of ours are left, and closed when their last request has ended. In a session that was handed in they
        are asked to close after each request from now on.
        """
        if self._given is not None:
            if "Connection" not in self._headers:
                _log.warning(
                    "an answer belonged to another request; from now on each connection of the session that was handed "
                    "in carries one request. Is there a proxy that mixes answers up?"
                )
                self._headers["Connection"] = "close"
            return
        session, self._own = self._own, None
        if session is not None:
            _log.warning("an answer belonged to another request; all connections are made anew")
            self._distrusted[session] = self._in_flight
            self._in_flight = 0

    async def _left(self, session: aiohttp.ClientSession) -> None:
        """Count one request less in *session*, which is not trusted, and close it after the last one."""
        if session in self._distrusted:
            self._distrusted[session] -= 1
            if not self._distrusted[session]:
                del self._distrusted[session]
                await session.close()

    def _bound(self, seconds: float) -> tuple[SharedTimeout, aiohttp.ClientTimeout]:
        # Connecting, the name lookup included, has less time than the whole: when it fails, nothing was sent.
        connect = min(CONNECT_TIMEOUT, seconds * CONNECT_SHARE)
        timeout = aiohttp.ClientTimeout(total=None, connect=connect, ceil_threshold=1e9)
        bounds = self._bounds[seconds] = (SharedTimeout(seconds), timeout)
        return bounds

    async def close(self) -> None:
        """Close the session if we made it."""
        for deadlines, _ in self._bounds.values():
            deadlines.close()
        sessions = [self._own, self._own_once, *self._distrusted]
        self._own = self._own_once = None
        self._in_flight = 0
        self._distrusted.clear()
        for session in sessions:
            if session is not None:
                await session.close()

    async def _open(self) -> aiohttp.ClientSession:
        # The gate holds the caps on requests in flight; a second cap here would only hide them.
        session = self._own = _session(aiohttp.TCPConnector(limit=0, limit_per_host=0))
        for old in [old for old, in_flight in self._distrusted.items() if not in_flight]:
            del self._distrusted[old]
            await old.close()
        return session

    @staticmethod
    def _open_given(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
        if session.closed:
            raise ClientClosedError("the aiohttp session handed to this client is closed; keep it open")
        return session


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _check_that_it_sends_our_token(session: aiohttp.ClientSession, base_url: str) -> None:
    """Raise `ValueError` if *session* would send another authorization, or the token to somebody else in clear."""
    if session.auth is not None:
        raise ValueError("session has an auth of its own, in the place of the token: hand in one without")
    url = URL(base_url)
    if session.trust_env and _in_netrc(url.host or ""):
        raise ValueError(
            f"session takes an auth for {url.host} from netrc, in the place of the token: hand in one without "
            f"trust_env, or remove that entry"
        )
    if (
        session.trust_env
        and url.scheme == "http"
        and "http" in getproxies()
        and not proxy_bypass(url.host or "")
    ):
        raise ValueError(
            f"session takes its proxy from the environment: the token for {base_url} would go there in clear. Hand "
            f"in one without trust_env, or add {url.host} to NO_PROXY"
        )


def _in_netrc(host: str) -> bool:
    try:
        return netrc(os.environ.get("NETRC") or Path.home() / ".netrc").authenticators(host) is not None
    except (OSError, RuntimeError, NetrcParseError):
        return False


def _check_that_it_sends_once(session: aiohttp.ClientSession) -> None:
    """Raise `ValueError` if *session* may send a request again by itself: then a job could be started twice."""
    what = "has middlewares" if getattr(session, "_middlewares", ()) else None
    kind: type = type(session)
    overridden = [
        name
        for name in ("request", "_request")
        if getattr(kind, name, None) is not getattr(aiohttp.ClientSession, name)
    ]
    if issubclass(kind, aiohttp.ClientSession) and overridden:
        what = f"is a {kind.__name__}, which has its own way to send"
    if what is not None:
        raise ValueError(
            f"session {what}, and may send one request several times: hand in a plain aiohttp.ClientSession, or say "
            f"allow_middlewares=True, if it never repeats a POST"
        )


def _nothing_between(session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the options that leave out the middlewares of *session*."""
    return {"middlewares": ()} if getattr(session, "_middlewares", ()) else {}


async def _read(answer: aiohttp.ClientResponse, request: Request) -> bytes:
    """Read a body that comes in pieces, and never more of it than `LONGEST_BODY`."""
    content, pieces, length = answer.content, list[bytes](), 0
    while piece := await content.readany():
        pieces.append(piece)
        length += len(piece)
        if length > LONGEST_BODY:
            raise _too_long(answer.status, request)
        if content.at_eof():
            break
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _too_long(status: int, request: Request) -> TransportError:
    return TransportError(
        f"{request.what} was answered {status} with more than {LONGEST_BODY >> 20} MiB, which no answer of Asana's"
        " has; the rest was not read. Is base_url Asana's API?",
        method=request.method,
        path=request.path,
        gid=request.gid,
    )


class Stream(Protocol):
    """One file from where Asana keeps export files, read piece by piece.

    Attributes:
        status: Of HTTP, such as 206.
        headers: By name, in lower case.
    """

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """Return the next piece as it came, still compressed; empty at the end."""
        ...

    def close(self) -> None:
        """Drop the connection; harmless when it was dropped before."""
        ...


class Downloads(Protocol):
    """The carrier of export files. It never sees a token."""

    async def open(self, url: str, headers: Mapping[str, str], idle_timeout: float) -> Stream:
        """Ask for a file; raises as `Transport.send` does. No piece may take longer than *idle_timeout* seconds."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class _Connecting:
    """One connection being made to the host of a file.

    Attributes:
        host: The name that was looked up.
        refused: Why an address of it was not connected to.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.refused: ForbiddenDestinationError | None = None


_connecting: ContextVar[_Connecting | None] = ContextVar("asana_jobs_connecting", default=None)


class _PublicConnector(aiohttp.TCPConnector):
    """Connections to places that files may be fetched from.

    Each address is looked at when a socket is made for it, so that no name can lead elsewhere in between. A proxy, which
    looks names up itself, may be anywhere.
    """

    def __init__(self, destinations: Destinations) -> None:
        self._destinations = destinations
        # aiohttp leaves some of its arguments without types.
        super().__init__(limit=0, socket_factory=self._make_socket)  # pyright: ignore[reportUnknownMemberType]

    async def connect(self, req: aiohttp.ClientRequest, *args: Any, **options: Any) -> Connection:
        """Make a connection, or raise `ForbiddenDestinationError`."""
        connecting = None if req.proxy else _Connecting(req.url.host or "")
        reset = _connecting.set(connecting)
        try:
            return await super().connect(req, *args, **options)
        except aiohttp.ClientConnectorError:
            if connecting is not None and connecting.refused is not None:
                raise connecting.refused from None
            raise
        finally:
            _connecting.reset(reset)

    def _make_socket(self, found: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = found
        connecting = _connecting.get()
        if connecting is not None:
            try:
                self._destinations.check_address(address[0], connecting.host)
            except ForbiddenDestinationError as error:
                connecting.refused = error
                raise OSError("refused") from error  # what this library expects: it tries the next address
        return socket.socket(family, kind, protocol)


class AiohttpDownloads:
    """Export files over aiohttp, with a session of its own: none of anybody's default headers, no cookies.

    Args:
        user_agent: The User-Agent header.
        destinations: Where files may be fetched from.
    """

    def __init__(self, *, user_agent: str, destinations: Destinations) -> None:
        self._user_agent = user_agent
        self._destinations = destinations
        self._session: aiohttp.ClientSession | None = None
        self._streams: WeakSet[AiohttpStream] = WeakSet()

    def __del__(self) -> None:
        warn_unclosed(self, self._session)

    async def open(self, url: str, headers: Mapping[str, str], idle_timeout: float) -> Stream:
        """Ask for a file. The signed URL is sent byte for byte; redirects are for the caller to judge.

        Raises:
            ForbiddenDestinationError: the name in it leads to where no file may be fetched from.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_PublicConnector(self._destinations),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,  # the gzip is the file, not a transfer encoding
                read_bufsize=READ_BUFFER,
            )
        timeout = aiohttp.ClientTimeout(
            total=None, connect=CONNECT_TIMEOUT, sock_read=idle_timeout, ceil_threshold=1e9
        )
        try:
            response = await self._session.get(
                URL(url, encoded=True),
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity", **headers},
                timeout=timeout,
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError) as error:
            trouble = error
        else:
            stream = AiohttpStream(response, _file_request(url, idle_timeout))
            self._streams.add(stream)
            return stream
        # Outside of the block, so that the error carries nothing that knows the signed link.
        raise _translate(trouble, _file_request(url, idle_timeout))

    async def close(self) -> None:
        """Drop every connection, those that are being read too."""
        for stream in list(self._streams):
            stream.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()


class AiohttpStream:
    """One file being read."""

    def __init__(self, response: aiohttp.ClientResponse, request: Request) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in response.headers.items()}
        self._response = response
        self._request = request

    async def read(self) -> bytes:
        """Return the next piece."""
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            trouble = error
        raise _translate(trouble, self._request)

    def close(self) -> None:
        """Drop the connection."""
        self._response.close()


def _file_request(url: str, timeout: float) -> Request:
    # Without the query: a signed link is a secret for as long as it lives.
    return Request(method="GET", path=URL(url, encoded=True).path, timeout=timeout)


def _translate(error: Exception, request: Request, *, sent: bool = True) -> TransportError:
    kind: type[TransportError]
    if not sent or isinstance(error, _NO_CONNECTION):
        return _unconnected(error, request)
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        kind, message = RequestTimeoutError, f"{request.what}: no answer within {request.timeout:g} s"
    else:
        kind, message = (
            TransportError,
            f"{request.what}: the connection broke before the whole answer was read ({_reason(error)})",
        )
    return kind(f"{message}. {kind.advice}", method=request.method, path=request.path, gid=request.gid)


def _unconnected(error: Exception, request: Request) -> ConnectError:
    """Return the error that says why there was no connection, whether that can pass, and what to do about it."""
    reason, advice, permanent = _reason(error), ConnectError.advice, False
    cause: Exception = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        reason, permanent = (
            f"the certificate of {error.host} has another fingerprint than the session asks for",
            True,
        )
    elif isinstance(cause, ssl.CertificateError):
        host = f"of {error.host} " if isinstance(error, aiohttp.ClientConnectorError) else ""
        reason = f"the certificate {host}is not trusted: {cause.verify_message or cause}"
        advice, permanent = _TRUST_ADVICE, True
    elif isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
        host = (
            f"{error.host}:{error.port}" if isinstance(error, aiohttp.ClientConnectorError) else "the server"
        )
        reason, advice, permanent = f"{host} does not speak TLS", _NO_TLS_ADVICE, True
    elif isinstance(error, aiohttp.ClientConnectorDNSError):
        reason = f"the name {error.host} cannot be resolved: {error.os_error.strerror or error.os_error}"
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        reason = f"the proxy answered {error.status} {title_of(error.status)}"
        advice = _PROXY_LOGIN_ADVICE if error.status == 407 else advice
    elif isinstance(error, TimeoutError):
        reason = "it took too long"
    unsent = ConnectError(
        f"{request.what}: no connection could be made ({reason}); nothing was sent. {advice}",
        method=request.method,
        path=request.path,
        gid=request.gid,
        permanent=permanent,
    )
    if advice != ConnectError.advice:
        unsent.advice = advice
    return unsent


def _reason(error: Exception) -> str:
    # The text of such an error would hold the whole URL. Either may quote what came.
    text = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{error.status}, {error.message}"
    return " ".join(text.split())[:300]
