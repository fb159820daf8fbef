"""Which links to a file are safe to follow. No I/O."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin, urlsplit

from asana_jobs.errors import DownloadError


#: A host as links have it, with its port: what is written in another way, libraries read in different ways.
_LABEL: Final = r"(?!xn--)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_PLACE: Final = rf"(?:{_LABEL}(?:\.{_LABEL}){{0,30}}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::\d{{1,5}})?"
_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


def check_link(link: str, what: str) -> str:
    """Return *link* if a file may be fetched from it: https, or http on this machine, without a password."""
    try:
        parts = urlsplit(link)
        scheme, host, user = parts.scheme, parts.hostname or "", parts.username or parts.password
        place = parts.netloc
        _ = parts.port  # a ValueError if it is none
    except ValueError:
        scheme, host, user, place = "", "", None, ""
    if scheme not in {"", "https"} and not (scheme == "http" and host in _LOOPBACK):
        raise DownloadError(
            f"{what}: refused to fetch it from {scheme}://{host}: only https is safe. Nothing was fetched."
        )
    if not scheme or not host or not link.isprintable() or " " in link:
        raise DownloadError(f"{what}: its link is no address. Nothing was fetched. {DownloadError.advice}")
    if user is not None:
        # It would be sent as an Authorization header, beside the signature.
        raise DownloadError(f"{what}: refused to fetch it from {host}: its link holds a user name.")
    if re.fullmatch(_PLACE, place) is None:
        raise DownloadError(f"{what}: its link names no host. Nothing was fetched. {DownloadError.advice}")
    return link


def follow_link(link: str, location: str, what: str) -> str:
    """Return where a redirect from *link* leads, if it may be followed: never to another scheme."""
    try:
        target = urljoin(link, location)
    except ValueError:
        target = ""
    scheme, other = urlsplit(link).scheme, urlsplit(check_link(target, what)).scheme
    if scheme != other:
        raise DownloadError(f"{what}: refused a redirect from {scheme} to {other}. Nothing was fetched.")
    return target
