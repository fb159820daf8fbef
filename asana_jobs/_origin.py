"""Where a token may be sent: to one origin, in private."""

from __future__ import annotations

import os
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.request import getproxies, proxy_bypass

from yarl import URL


if TYPE_CHECKING:
    import aiohttp


_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


def check_base_url(base_url: str) -> str:
    """Return *base_url* without a trailing slash, or say why a token must not be sent there."""
    try:
        url = URL(base_url)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"base_url is not a URL: {error}") from None
    if url.user is not None or url.password is not None:
        raise ValueError("base_url must not hold a user name or password; the token goes into a header")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"base_url must start with https:// and name a host, not {base_url!r}")
    if url.scheme == "http" and url.host not in _LOOPBACK:
        raise ValueError(
            f"base_url must be https, or http to this machine only: a token would cross {url.host} in clear"
        )
    if url.query_string or url.fragment:
        raise ValueError("base_url must not have a query or a fragment")
    return str(url).rstrip("/")


def check_session(session: aiohttp.ClientSession, base_url: str) -> None:
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
