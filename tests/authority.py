"""A certificate authority of the tests' own, which nobody else trusts, and servers' certificates that it signs."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import trustme


@cache
def authority() -> trustme.CA:
    """The authority; making its key takes a while, and once is enough."""
    return trustme.CA()


def certified(*names: str, by: trustme.CA | None = None, until: datetime | None = None) -> ssl.SSLContext:
    """What a server of these *names* needs, signed *by* the authority, until its day."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    since = None if until is None else datetime(2020, 1, 1, tzinfo=UTC)
    (by or authority()).issue_cert(*names, not_after=until, not_before=since).configure_cert(context)
    return context


def trusting() -> ssl.SSLContext:
    """What a client needs that trusts the authority, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority().configure_trust(context)
    return context


def written(folder: Path) -> Path:
    """The file that SSL_CERT_FILE names."""
    path = folder / "authority.pem"
    authority().cert_pem.write_to_path(path)
    return path
