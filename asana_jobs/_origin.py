"""Where a token may be sent: to one origin, in private."""

from __future__ import annotations

import os
import re
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from asana_jobs._secret import copied_along, variable


if TYPE_CHECKING:
    import aiohttp


DEFAULT_BASE_URL: Final = "https://app.asana.com/api/1.0"
BASE_URL_VARIABLE: Final = "ASANA_BASE_URL"

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


def find_base_url(base_url: str | None) -> str:
    """Return where the API is: the argument, the environment's, or Asana's; or say what is wrong with it."""
    name = "base_url"
    if base_url is None and (base_url := str(variable(BASE_URL_VARIABLE)) or None):
        name = f"base_url (of {BASE_URL_VARIABLE})"
    found = check_base_url(DEFAULT_BASE_URL if base_url is None else base_url, name)
    url = URL(found)
    if at_asana(url) and not re.fullmatch(r"/api/[0-9.]+", url.path):
        raise ValueError(
            f"{name} must end with the path of Asana's API: write {DEFAULT_BASE_URL}, not {found}"
        )
    return found


def at_asana(url: URL) -> bool:
    """Whether *url* is at a host of Asana's."""
    return f".{url.host}".endswith(".asana.com")


def check_base_url(base_url: str, name: str = "base_url") -> str:
    """Return *base_url* without a trailing slash, or say why a token must not be sent there; *name* is what to call it."""
    if isinstance(base_url, str):
        copied = copied_along(base_url) or ("blanks in it" if re.search(r"\s", base_url) else None)
        if copied is not None:
            raise ValueError(f"{name} has {copied}")
    try:
        url = URL(base_url)
    except (TypeError, ValueError, IndexError) as error:
        raise ValueError(f"{name} is not a URL: {error}") from None
    if url.user is not None or url.password is not None:
        raise ValueError(f"{name} must not hold a user name or password; the token goes into a header")
    if url.scheme not in {"http", "https"} or not url.host:
        raise ValueError(f"{name} must start with https:// and name a host, not {base_url!r}")
    if url.scheme == "http" and url.host not in _LOOPBACK:
        raise ValueError(
            f"{name} must be https, or http to this machine only: a token would cross {url.host} in clear"
        )
    if url.query_string or url.fragment:
        raise ValueError(f"{name} must not have a query or a fragment")
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
