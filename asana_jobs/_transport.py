"""The whole network: ``send(request) -> response``. The only room of the client that knows aiohttp."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final, Protocol
from weakref import WeakSet

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from asana_jobs._lifetime import warn_unclosed
from asana_jobs._origin import check_base_url, check_session
from asana_jobs._sansio import Request, Response
from asana_jobs._scope import Deadlines
from asana_jobs._secret import Secret, without_frames
from asana_jobs.errors import ClientClosedError, ConnectError, RequestTimeoutError, TransportError


#: Seconds for making a connection: its failure is certain to have sent nothing, so it may be repeated.
CONNECT_TIMEOUT: Final = 10.0

#: Bytes that aiohttp reads ahead: half of what it forgets when a connection breaks, and what is fetched twice.
READ_BUFFER: Final = 2**15
CONNECT_SHARE: Final = 0.8

#: Bytes that one answer may have, unpacked: a page of a hundred objects has some per cent of it. JSON can take forty
#: times its length in memory, and is read on the event loop.
LONGEST_BODY: Final = 2**24


class Transport(Protocol):
    """What carries requests. Hand in your own to test without a socket; see `asana_jobs.testing`."""

    async def send(self, request: Request) -> Response:
        """Send one request and read its whole answer.

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
    """Requests over aiohttp. A session that was handed in is used and never closed."""

    _own: aiohttp.ClientSession | None = None

    def __init__(
        self, base_url: str, *, user_agent: str, session: aiohttp.ClientSession | None = None
    ) -> None:
        self._base_url = check_base_url(base_url)
        if session is not None:
            check_session(session, self._base_url)
        self._root = URL(self._base_url, encoded=True)
        self._root_path = self._root.raw_path.rstrip("/")
        self._given = session
        self._headers = CIMultiDict({"Accept": "application/json", "User-Agent": user_agent})
        #: The headers of the last request that had no body, and whose authorization they hold.
        self._authorized = self._headers
        self._authorized_with: Secret | None = None
        self._bounds: dict[float, tuple[Deadlines, aiohttp.ClientTimeout]] = {}

    def __repr__(self) -> str:
        return f"<AiohttpTransport {self._base_url}>"

    def __del__(self) -> None:
        warn_unclosed(self, self._own)

    async def send(self, request: Request) -> Response:
        """Send *request* below the base URL; redirects are not followed, so a token stays where it belongs."""
        # All but a few requests have the same headers, and are answered in one piece: that goes the short way.
        alike = request.body is None and request.authorization is self._authorized_with
        headers = self._authorized if alike else self._headers_of(request)
        skip = ("Content-Type",) if request.body is None and request.method != "GET" else None
        if request.query:
            url = URL(self._base_url + request.target, encoded=True)
        else:
            url = self._root.with_path(self._root_path + request.path, encoded=True)  # three times as fast
        deadlines, timeout = self._bounds.get(request.timeout) or self._bound(request.timeout)
        try:
            with deadlines.bound():
                answer = await (self._own or self._session()).request(
                    request.method,
                    url,
                    data=request.body,
                    headers=headers,
                    skip_auto_headers=skip,
                    timeout=timeout,
                    allow_redirects=False,
                    raise_for_status=False,
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
            raise _translate(error, request) from without_frames(error)
        return Response(answer.status, answer.headers, body)

    def _headers_of(self, request: Request) -> CIMultiDict[str]:
        headers = self._headers.copy()
        if request.authorization is not None:
            headers["Authorization"] = request.authorization
        if request.body is None:
            self._authorized, self._authorized_with = headers, request.authorization
        else:
            headers["Content-Type"] = request.content_type
        return headers

    def _bound(self, seconds: float) -> tuple[Deadlines, aiohttp.ClientTimeout]:
        # Connecting, the name lookup included, has less time than the whole: when it fails, nothing was sent.
        connect = min(CONNECT_TIMEOUT, seconds * CONNECT_SHARE)
        timeout = aiohttp.ClientTimeout(total=None, connect=connect, ceil_threshold=1e9)
        bounds = self._bounds[seconds] = (Deadlines(seconds), timeout)
        return bounds

    async def close(self) -> None:
        """Close the session if we made it."""
        for deadlines, _ in self._bounds.values():
            deadlines.close()
        session, self._own = self._own, None
        if session is not None:
            await session.close()

    def _session(self) -> aiohttp.ClientSession:
        if self._given is None:
            # The gate holds the caps on requests in flight; a second cap here would only hide them.
            connector = aiohttp.TCPConnector(limit=0, limit_per_host=0)
            self._own = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
            return self._own
        if self._given.closed:
            raise ClientClosedError("the aiohttp session handed to this client is closed; keep it open")
        return self._given


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
    """One answer of the second kind of origin: a file, read piece by piece."""

    status: int
    headers: Mapping[str, str]

    async def read(self) -> bytes:
        """Return the next piece as it came, still compressed; empty at the end."""
        ...

    def close(self) -> None:
        """Drop the connection; harmless when it was dropped before."""
        ...


class Downloads(Protocol):
    """What fetches export files. It never sees a token."""

    async def open(self, url: str, headers: Mapping[str, str], idle_timeout: float) -> Stream:
        """Ask for a file; raises as `Transport.send` does. No piece may take longer than *idle_timeout* seconds."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class AiohttpDownloads:
    """Export files over aiohttp, with a session of its own: none of anybody's default headers, no cookies."""

    def __init__(self, *, user_agent: str) -> None:
        self._user_agent = user_agent
        self._session: aiohttp.ClientSession | None = None
        self._streams: WeakSet[AiohttpStream] = WeakSet()

    def __del__(self) -> None:
        warn_unclosed(self, self._session)

    async def open(self, url: str, headers: Mapping[str, str], idle_timeout: float) -> Stream:
        """Ask for a file. The signed URL is sent byte for byte; redirects are for the caller to judge."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
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


def _translate(error: Exception, request: Request) -> TransportError:
    kind: type[TransportError]
    if isinstance(
        error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | ssl.SSLCertVerificationError
    ):
        kind, message = (
            ConnectError,
            f"{request.what}: no connection could be made ({_reason(error)}); nothing was sent",
        )
    elif isinstance(error, TimeoutError | asyncio.TimeoutError):
        kind, message = RequestTimeoutError, f"{request.what}: no answer within {request.timeout:g} s"
    else:
        kind, message = (
            TransportError,
            f"{request.what}: the connection broke before the whole answer was read ({_reason(error)})",
        )
    return kind(f"{message}. {kind.advice}", method=request.method, path=request.path, gid=request.gid)


def _reason(error: Exception) -> str:
    # The text of such an error would hold the whole URL. Either may quote what came.
    text = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{error.status}, {error.message}"
    return " ".join(text.split())[:300]
