"""How connections are made, and what is said of those that could not be; beside `transport`, all that knows aiohttp.

Connectors of our own, what must be true of a session that is handed in, and errors in our words.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any, Final
from urllib.request import getproxies, proxy_bypass

import aiohttp
import attrs
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from yarl import URL

from asana_jobs._client.http.destinations import Destinations, ForbiddenDestinationError
from asana_jobs._client.http.network import Proxy
from asana_jobs._client.http.protocol import Request, error_about, title_of
from asana_jobs._client.http.secret import Secret, masked_text
from asana_jobs.errors import ClientClosedError, ConnectError, RequestTimeoutError, TransportError, rounded


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


@attrs.define
class Writing:
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


#: What `OneRequestEach` announces.
under_way: ContextVar[Writing] = ContextVar("asana_jobs_writing")


class _TunnelError(aiohttp.ClientError):
    """Something went wrong before a connection stood, such as what a proxy said, which was no HTTP."""


class Connector(aiohttp.TCPConnector):
    """Connections that tell what fails before they stand, a proxy's tunnel included, from what fails afterwards."""

    def __init__(self, certificates: ssl.SSLContext | None, **options: Any) -> None:
        # The gate holds the caps on requests in flight; a second cap here would only hide them.
        # aiohttp leaves some of its arguments without types.
        super().__init__(limit=0, limit_per_host=0, ssl=certificates or True, **options)  # pyright: ignore[reportUnknownMemberType]

    async def _create_connection(self, *args: Any, **options: Any) -> ResponseHandler:
        try:
            return await super()._create_connection(*args, **options)
        except (*_NO_CONNECTION, TimeoutError):
            raise
        except (aiohttp.ClientError, OSError) as error:
            raise _TunnelError from error


class OneRequestEach(Connector):
    """Connections that carry one request each: none can have been closed, or hold another's answer, beforehand."""

    def __init__(self, certificates: ssl.SSLContext | None) -> None:
        super().__init__(certificates, force_close=True)

    async def connect(self, *args: Any, **options: Any) -> Connection:
        """Make a connection, a proxy's tunnel included, and say that it stands."""
        connection = await super().connect(*args, **options)
        try:
            under_way.get().begin()
        except BaseException:
            connection.close()
            raise
        return connection


@attrs.define
class _Connecting:
    """One connection being made to the host of a file.

    Attributes:
        host: The name that was looked up.
        refused: Why an address of it was not connected to.
    """

    host: str
    refused: ForbiddenDestinationError | None = None


_connecting: ContextVar[_Connecting | None] = ContextVar("asana_jobs_connecting", default=None)


class PublicConnector(Connector):
    """Connections to places that files may be fetched from.

    Each address is looked at when a socket is made for it, so that no name can lead elsewhere in between. A proxy, which
    looks names up itself, may be anywhere.
    """

    def __init__(self, destinations: Destinations, certificates: ssl.SSLContext | None) -> None:
        self._destinations = destinations
        super().__init__(certificates, socket_factory=self._make_socket)

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
                raise OSError from error  # what this library expects: it tries the next address
        return socket.socket(family, kind, protocol)


def open_session(connector: aiohttp.TCPConnector, headers: Mapping[str, str]) -> aiohttp.ClientSession:
    """Return a session that keeps no cookies, and whose requests have these *headers*."""
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), headers=headers)


def through(proxy: Proxy | None) -> dict[str, Any]:
    """Return the options of a request that goes through *proxy*."""
    return {} if proxy is None else {"proxy": proxy.url, "proxy_headers": proxy.headers}


def open_given(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Return a *session* that was handed in, if it is still open."""
    if session.closed:
        raise ClientClosedError("the aiohttp session handed to this client is closed; keep it open")
    return session


def way_of(session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the options by which another session takes the same proxy as *session*."""
    return {"proxy": getattr(session, "_default_proxy", None), "trust_env": session.trust_env}


def login_of(session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the options by which a request of another session says the same to the proxy as *session*."""
    login: aiohttp.BasicAuth | None = getattr(session, "_default_proxy_auth", None)
    return {} if login is None else {"proxy_headers": {"Proxy-Authorization": Secret(login.encode())}}


def check_that_it_sends_our_token(session: aiohttp.ClientSession, base_url: str) -> None:
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


def check_that_it_sends_once(session: aiohttp.ClientSession) -> None:
    """Raise `ValueError` if *session* may send a request again by itself: then a job could be started twice."""
    what = "has middlewares" if getattr(session, "_middlewares", ()) else None
    kind: Any = type(session)
    plain: Any = aiohttp.ClientSession
    if issubclass(kind, plain) and (kind.request, kind._request) != (plain.request, plain._request):  # noqa: SLF001
        what = f"is a {kind.__name__}, which has its own way to send"
    if what is not None:
        raise ValueError(
            f"session {what}, and may send one request several times: hand in a plain aiohttp.ClientSession, or say "
            f"allow_middlewares=True, if it never repeats a POST"
        )


def nothing_between(session: aiohttp.ClientSession) -> dict[str, Any]:
    """Return the options that leave out the middlewares of *session*."""
    return {"middlewares": ()} if getattr(session, "_middlewares", ()) else {}


def translate(
    error: Exception, request: Request, *, sent: bool = True, proxy: Proxy | None = None
) -> TransportError:
    """Return *error* of the library as one of ours; *sent* says whether something of *request* may have left."""
    kind, what = TransportError, "the connection broke before the whole answer was read"
    if not sent or isinstance(error, (*_NO_CONNECTION, _TunnelError)) or _in_tunnel(error):
        return _unconnected(error, request, proxy)
    if isinstance(error, TimeoutError):
        kind, what = RequestTimeoutError, f"no answer within {rounded(request.timeout)} s"
    else:
        what += f" ({_reason(error, request.authorization)})"
    return error_about(kind, request, f"{request.what}: {what}. {kind.advice}")


def echoes(error: Exception, request: Request) -> bool:
    """Return whether *error* quotes the token of *request*, which the other side has said."""
    token = request.authorization
    return token is not None and masked_text(str(error), token) != str(error)


def _unconnected(error: Exception, request: Request, proxy: Proxy | None) -> ConnectError:
    """Return the error that says why there was no connection, whether that can pass, and what to do about it."""
    advice, permanent = ConnectError.advice, False
    if (untrusted := _untrusted(error)) is not None:
        reason, advice = untrusted
        permanent = True
    elif isinstance(error, aiohttp.ClientHttpProxyError):
        reason = f"the proxy answered {error.status} {title_of(error.status)}"
        advice = _PROXY_LOGIN_ADVICE if error.status == 407 else advice
    else:
        reason = _obstacle(error)
    through = "" if proxy is None else f"through the proxy {proxy.url} "
    unsent = error_about(
        ConnectError,
        request,
        f"{request.what}: no connection could be made {through}({reason}); nothing was sent. {advice}",
        permanent=permanent,
    )
    if advice != ConnectError.advice:
        unsent.advice = advice
    return unsent


def _untrusted(error: Exception) -> tuple[str, str] | None:
    """Return why the other side is not who it should be, and what to do; ``None`` if that is not what *error* says."""
    cause: BaseException = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    host = getattr(error, "host", "the server")
    if isinstance(error, aiohttp.ServerFingerprintMismatch):
        return f"the certificate of {host} has another fingerprint than the session wants", _TRUST_ADVICE
    if isinstance(cause, ssl.CertificateError):
        reason = getattr(cause, "verify_message", None) or cause
        return f"the certificate of {host} is not trusted: {reason}", _TRUST_ADVICE
    if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
        return f"{host} does not speak TLS at this port", _NO_TLS_ADVICE
    return None


def _obstacle(error: Exception) -> str:
    """Return what kept us from connecting, and may pass."""
    if isinstance(error, aiohttp.ClientConnectorError):
        said = error.os_error.strerror or error.os_error
        if isinstance(error, aiohttp.ClientConnectorDNSError):
            return f"the name {error.host} cannot be resolved: {said}"
        return f"{error.host}:{error.port}: {said}"
    if isinstance(error, TimeoutError):
        return "it took too long"
    if isinstance(error, _TunnelError) and not _in_tunnel(error.__cause__):
        return "it was closed again by the other side"
    if isinstance(error, _TunnelError) or _in_tunnel(error):
        return "what the proxy says is no HTTP"
    return _reason(error)


def _in_tunnel(error: BaseException | None) -> bool:
    """Return whether *error* is about what a proxy said when it was asked for a tunnel."""
    return isinstance(error, aiohttp.ClientResponseError) and error.request_info.method == "CONNECT"


def _reason(error: Exception, token: Secret | None = None) -> str:
    # The text of such an error would hold the whole URL. Either may quote what came.
    text = str(error) or type(error).__name__
    if isinstance(error, aiohttp.ClientResponseError):
        text = f"{error.status}, {error.message}"
    if token is not None:
        text = masked_text(text, token)
    return " ".join(text.split())[:300]
