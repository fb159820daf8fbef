"""The network as the environment describes it: proxies and certificates, read as curl reads them.

Only https goes through a proxy, to whatever host ``NO_PROXY`` does not name; this machine is no exception. ``.netrc`` and
the settings of desktops are not read.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Final, cast

import attrs
from yarl import URL

from asana_jobs._client.http.secret import Secret, copied_along, variable


#: Where a proxy is looked for, in this order.
PROXY_VARIABLES: Final = ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
#: Hosts that are reached without one.
NO_PROXY_VARIABLES: Final = ("no_proxy", "NO_PROXY")
#: A file and a folder of certificates to trust.
CERTIFICATE_FILE_VARIABLE: Final = "SSL_CERT_FILE"
CERTIFICATE_FOLDER_VARIABLE: Final = "SSL_CERT_DIR"

#: Says that a token may be sent in clear to another host than this one.
PLAIN_HTTP_VARIABLE: Final = "ASANA_ALLOW_PLAIN_HTTP"
_YES: Final = {"1", "true", "yes", "on"}
_NO: Final = {"", "0", "false", "no", "off"}

#: The port of a proxy whose address has none.
_PORTS: Final = {"http": 1080, "https": 443}
_EXAMPLE: Final = "write http://proxy.example:3128"


@attrs.frozen
class Proxy:
    """A proxy that makes tunnels.

    Attributes:
        url: Its address, without a password.
        headers: What is sent to it, and to nobody else.
    """

    url: URL
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)


@attrs.frozen
class Network:
    """The way to other hosts. Without arguments: straight, with the certificates that Python trusts.

    What is wrong with it is said when it is needed: plain http to a simulator needs neither proxy nor certificates.

    Attributes:
        proxy: The address that https goes through, as it was written; empty if there is none.
        proxy_source: The variable, or the argument, that it was found in.
        exceptions: The hosts to which https goes straight.
        certificate_file: A file of certificates to trust; empty if there is none.
        certificate_folder: A folder of them, likewise.
        plain_http: Whether a token may be sent in clear to another host than this one.
    """

    proxy: Secret = Secret("")  # noqa: RUF009  # a string
    proxy_source: str = "proxy"
    exceptions: tuple[str, ...] = ()
    certificate_file: str = ""
    certificate_folder: str = ""
    plain_http: bool = False

    def proxy_for(self, url: URL) -> Proxy | None:
        """Return the proxy through which a request to *url* goes, or ``None``.

        Raises:
            ValueError: it is no address of one. The message does not show it, since it may hold a password.
        """
        host = (url.host or "").rstrip(".").lower()
        excepted = any(entry == "*" or _covers(entry, host) for entry in self.exceptions)
        if not self.proxy or url.scheme != "https" or excepted:
            return None
        return _read_proxy(self.proxy, self.proxy_source)

    def certificates(self) -> ssl.SSLContext | None:
        """Return what trusts the certificates that the environment names; ``None`` if it names none.

        Raises:
            ValueError: they cannot be read.
        """
        file, folder = self.certificate_file, self.certificate_folder
        if not file and not folder:
            return None  # what Python trusts is loaded already
        try:
            return _load_certificates(file, folder, Path(file).stat().st_mtime_ns if file else 0)
        except OSError as error:  # an ssl.SSLError is one
            reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else f"{error.strerror}"
            raise ValueError(
                f"{CERTIFICATE_FILE_VARIABLE} names {file!r}, which cannot be used: {reason}"
            ) from None


def find_network(proxy: str | None = None, *, allow_plain_http: bool = False) -> Network:
    """Return the way to other hosts that the environment describes.

    Args:
        proxy: The proxy to take instead of that of the environment; ``""`` takes none.
        allow_plain_http: Whether a token may be sent in clear to another host, whatever the environment says.

    Raises:
        ValueError: an argument is wrong.
    """
    if proxy is not None and not isinstance(cast("object", proxy), str):
        raise ValueError(f"proxy must be the address of one, not {type(proxy).__name__}: {_EXAMPLE}")
    found, source = _look_up(PROXY_VARIABLES) if proxy is None else (Secret(proxy), "proxy")
    return Network(
        proxy=found,
        proxy_source=source,
        exceptions=tuple(_look_up(NO_PROXY_VARIABLES)[0].lower().replace(",", " ").split()),
        certificate_file=str(variable(CERTIFICATE_FILE_VARIABLE)),
        certificate_folder=str(variable(CERTIFICATE_FOLDER_VARIABLE)),
        plain_http=plain_http_allowed(allow_plain_http),
    )


def plain_http_allowed(given: object = False) -> bool:
    """Return whether a token may be sent in clear to another host than this one: the argument or the environment says so.

    Raises:
        ValueError: neither yes nor no.
    """
    if not isinstance(given, bool):
        raise ValueError(f"allow_plain_http must be True or False, not {type(given).__name__}")
    word = variable(PLAIN_HTTP_VARIABLE).lower()
    if word not in _YES | _NO:
        raise ValueError(f"{PLAIN_HTTP_VARIABLE} must be 1 or 0")
    return given or word in _YES


def _look_up(names: tuple[str, ...]) -> tuple[Secret, str]:
    """Return the first value that is not empty, and its name."""
    return next(((value, name) for name in names if (value := variable(name))), (Secret(""), names[0]))


def _read_proxy(text: Secret, name: str) -> Proxy:
    if around := copied_along(text):
        raise ValueError(f"{name} has {around}")
    try:
        url = URL(text if "://" in text else f"http://{text}")
        headers = _login(url.user, url.password)
        url = url.with_user(None)
    except (ValueError, IndexError):
        raise ValueError(f"{name} is no address of a proxy: {_EXAMPLE}") from None
    if url.scheme.startswith("socks"):
        raise ValueError(
            f"{name} names a proxy that speaks SOCKS, and only those of http are supported: {_EXAMPLE}, add the host to "
            f"NO_PROXY, or hand in a session that can do it"
        )
    if url.scheme not in _PORTS or not url.host:
        raise ValueError(f"{name} is no address of a proxy: {_EXAMPLE}")
    port = url.explicit_port or _PORTS[url.scheme]
    return Proxy(URL.build(scheme=url.scheme, host=url.host, port=port), headers)


def _login(user: str | None, password: str | None) -> dict[str, str]:
    if user is None and password is None:
        return {}
    word = b64encode(f"{user or ''}:{password or ''}".encode()).decode()
    return {"Proxy-Authorization": Secret(f"Basic {word}")}


def _covers(entry: str, host: str) -> bool:
    """Return whether *entry* of NO_PROXY names *host*: itself, a domain above it, or a network that it is in."""
    try:
        address = ip_address(host)
    except ValueError:
        domain = entry.removeprefix(".").rstrip(".")
        return bool(domain) and f".{host}".endswith(f".{domain}")
    try:
        return address in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False


@lru_cache(maxsize=4)
def _load_certificates(file: str, folder: str, written: int) -> ssl.SSLContext:
    """Return what trusts these; loading them takes as long as a hundred requests."""
    del written  # a file that was changed is loaded again
    context = (
        ssl.create_default_context()
    )  # OpenSSL reads both variables, and takes its own in the place of one
    context.load_verify_locations(cafile=file or None, capath=folder or None)
    context.set_alpn_protocols(["http/1.1"])
    return context
