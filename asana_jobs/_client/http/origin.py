"""Where a token may be sent: to one origin, in private."""

from __future__ import annotations

import re
from typing import Final

from yarl import URL

from asana_jobs._client.http.secret import copied_along, variable


DEFAULT_BASE_URL: Final = "https://app.asana.com/api/1.0"
BASE_URL_VARIABLE: Final = "ASANA_BASE_URL"

#: The hosts to which plain http does not leave this machine.
LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


def find_base_url(base_url: str | None, *, plain_http: bool = False) -> str:
    """Return the address of the API: *base_url*, that of the environment, or Asana's.

    Args:
        base_url: Where the API is; ``None`` if the environment says it, or nobody.
        plain_http: Whether a token may be sent there in clear.

    Raises:
        ValueError: a token must not be sent there, or it is Asana's without the path of the API.
    """
    name = "base_url"
    if base_url is None and (base_url := str(variable(BASE_URL_VARIABLE)) or None):
        name = f"base_url (of {BASE_URL_VARIABLE})"
    found = check_base_url(DEFAULT_BASE_URL if base_url is None else base_url, name, plain_http=plain_http)
    url = URL(found)
    if at_asana(url) and not re.fullmatch(r"/api/[0-9.]+", url.path):
        raise ValueError(
            f"{name} must end with the path of Asana's API: write {DEFAULT_BASE_URL}, not {found}"
        )
    return found


def at_asana(url: URL) -> bool:
    """Return whether *url* is at a host of Asana's."""
    return f".{url.host}".endswith(".asana.com")


def crosses_in_clear(url: URL) -> bool:
    """Return whether what is sent to *url* can be read on its way."""
    return url.scheme == "http" and url.host not in LOOPBACK


def check_base_url(base_url: str, name: str = "base_url", *, plain_http: bool = False) -> str:
    """Return *base_url* without a trailing slash.

    Args:
        base_url: Where a token is to be sent.
        name: The argument in the message.
        plain_http: Whether a token may be sent there in clear.

    Raises:
        ValueError: a token must not be sent there; the message says why.
    """
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
    if crosses_in_clear(url) and not plain_http:
        raise ValueError(
            f"{name} must be https, or http to this machine only: a token would go to {url.host} in clear. For a server "
            f"of your own, such as a simulator, say allow_plain_http=True (ASANA_ALLOW_PLAIN_HTTP=1)"
        )
    if url.query_string or url.fragment:
        raise ValueError(f"{name} must not have a query or a fragment")
    return str(url).rstrip("/")
