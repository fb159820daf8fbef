"""The network: requests to Asana, and downloads of export files, over the HTTP library, aiohttp; see `connections` too.

`Transport` and `Downloads` are what another library has to offer; `AiohttpTransport` and `AiohttpDownloads` offer it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol
from weakref import WeakSet

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from asana_jobs._client.http.connections import (
    Connector,
    OneRequestEach,
    PublicConnector,
    Writing,
    check_that_it_sends_once,
    check_that_it_sends_our_token,
    echoes,
    login_of,
    nothing_between,
    open_given,
    open_session,
    through,
    translate,
    under_way,
    way_of,
)
from asana_jobs._client.http.destinations import Destinations
from asana_jobs._client.http.lifetime import SharedTimeout, warn_unclosed
from asana_jobs._client.http.network import Network
from asana_jobs._client.http.origin import check_base_url
from asana_jobs._client.http.protocol import Request, Response, Safety, error_about
from asana_jobs._client.http.secret import without_frames
from asana_jobs.errors import TransportError


#: Seconds for making a connection: its failure is certain to have sent nothing, so it may be repeated.
CONNECT_TIMEOUT: Final = 10.0
#: The part of a request's time that making a connection may take.
CONNECT_SHARE: Final = 0.8

#: Bytes that aiohttp reads ahead: half of what it forgets when a connection breaks, and what is fetched twice.
READ_BUFFER: Final = 2**15

#: Bytes that one answer may have, unpacked: a page of a hundred objects has some per cent of it. JSON can take forty
#: times its length in memory, and is read on the event loop.
LONGEST_BODY: Final = 2**24


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


class AiohttpTransport:
    """Requests over aiohttp.

    What may not be sent twice goes out over connections of its own, one each; in a session that was handed in it
    shares the connections of that, so that one which the other side has closed meanwhile leaves its outcome unknown.

    Args:
        base_url: The API; nothing is sent anywhere else.
        user_agent: The User-Agent header.
        session: What to send with, instead of sessions of our own. It is never closed.
        allow_middlewares: Take a session that may send a request several times by itself.
        network: The way of sessions of our own.
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
        network: Network | None = None,
    ) -> None:
        #: How many requests are on their way in our session, and in those that are not trusted any more.
        self._in_flight = 0
        self._distrusted: dict[aiohttp.ClientSession, int] = {}
        network = network or Network()
        self._base_url = check_base_url(base_url, plain_http=network.plain_http)
        if session is not None:
            check_that_it_sends_our_token(session, self._base_url)
            if not allow_middlewares:
                check_that_it_sends_once(session)
        self._root = URL(self._base_url, encoded=True)
        self._root_path = self._root.raw_path.rstrip("/")
        self._given = session
        #: The proxy that everything goes through, if there is one.
        self.proxy = network.proxy_for(self._root)
        self._certificates = network.certificates() if self._root.scheme == "https" else None
        self._through = through(self.proxy)
        #: What every request says: our own sessions say it by themselves.
        self._said = {"Accept": "application/json", "User-Agent": user_agent}
        self._headers = CIMultiDict(self._said if session is not None else ())
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
                return await self._carry(request, open_given(self._given))
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
            session = open_given(self._given)
            if request.before_write is not None:
                request.before_write()
            return await self._carry(request, session)
        if self._own_once is None:
            self._own_once = open_session(OneRequestEach(self._certificates), self._said)
        writing = Writing(request.before_write)
        reset = under_way.set(writing)
        try:
            return await self._carry(request, self._own_once, writing)
        finally:
            under_way.reset(reset)

    async def _carry(
        self, request: Request, session: aiohttp.ClientSession, writing: Writing | None = None
    ) -> Response:
        headers = self._headers.copy()
        if request.authorization is not None:
            headers["Authorization"] = request.authorization
        if request.headers:
            headers.update(request.headers)
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
        options = self._through
        if request.safety is not Safety.IDEMPOTENT:
            options = options | nothing_between(session)
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
            failure = translate(error, request, sent=sent, proxy=self.proxy)
            failure.__cause__ = None if echoes(error, request) else without_frames(error)
        else:
            return Response(answer.status, answer.headers, body)
        # Outside of the block, so that it carries nothing that quotes the token; nor does it hold itself.
        try:
            raise failure
        finally:
            del failure

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
        session = self._own = open_session(Connector(self._certificates), self._said)
        for old in [old for old, in_flight in self._distrusted.items() if not in_flight]:
            del self._distrusted[old]
            await old.close()
        return session


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
    return error_about(
        TransportError,
        request,
        f"{request.what} was answered {status} with more than {LONGEST_BODY >> 20} MiB, which no answer of Asana's"
        " has; the rest was not read. Is base_url Asana's API?",
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


class AiohttpDownloads:
    """Export files over aiohttp, with a session of its own: none of anybody's default headers, no cookies.

    Args:
        user_agent: The User-Agent header.
        destinations: Where files may be fetched from.
        network: The way to the servers of files.
        session: A session that was handed in: its connections, and its proxy, are used. What names lead to is its
            own business then.
    """

    def __init__(
        self,
        *,
        user_agent: str,
        destinations: Destinations,
        network: Network | None = None,
        session: aiohttp.ClientSession | None = None,
    ) -> None:
        self._user_agent = user_agent
        self._destinations = destinations
        self._network = network or Network()
        self._given = session if isinstance(session, aiohttp.ClientSession) else None
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
            self._session = self._open_session()
        address = URL(url, encoded=True)
        proxy = self._network.proxy_for(address)
        timeout = aiohttp.ClientTimeout(
            total=None, connect=CONNECT_TIMEOUT, sock_read=idle_timeout, ceil_threshold=1e9
        )
        try:
            response = await self._session.get(
                address,
                headers={"User-Agent": self._user_agent, "Accept-Encoding": "identity", **headers},
                timeout=timeout,
                allow_redirects=False,
                **(through(proxy) if self._given is None else login_of(self._given)),
            )
        except (aiohttp.ClientError, OSError) as error:
            trouble = error
        else:
            stream = AiohttpStream(response, _file_request(url, idle_timeout))
            self._streams.add(stream)
            return stream
        # Outside of the block, so that the error carries nothing that knows the signed link.
        raise translate(trouble, _file_request(url, idle_timeout), proxy=proxy)

    def _open_session(self) -> aiohttp.ClientSession:
        options: dict[str, Any]
        if self._given is None:
            certificates = self._network.certificates()
            options = {"connector": PublicConnector(self._destinations, certificates)}
        else:
            connector = open_given(self._given).connector
            options = {"connector": connector, "connector_owner": False, **way_of(self._given)}
        return aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,  # the gzip is the file, not a transfer encoding
            read_bufsize=READ_BUFFER,
            **options,
        )

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
        raise translate(trouble, self._request)

    def close(self) -> None:
        """Drop the connection."""
        self._response.close()


def _file_request(url: str, timeout: float) -> Request:
    # Without the query: a signed link is a secret for as long as it lives.
    return Request(method="GET", path=URL(url, encoded=True).path, timeout=timeout)
