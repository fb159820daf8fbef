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
    _certify(context, (by or authority()).issue_cert(*names, not_after=until, not_before=since))
    return context


def recertify(context: ssl.SSLContext, *names: str, by: trustme.CA | None = None) -> None:
    """Give a server another certificate, for the connections that it takes from now on."""
    _certify(context, (by or authority()).issue_cert(*names))


def _certify(context: ssl.SSLContext, certificate: trustme.LeafCert) -> None:
    certificate.configure_cert(context)  # pyright: ignore[reportUnknownMemberType]  # another TLS library may be missing


def trusting() -> ssl.SSLContext:
    """What a client needs that trusts the authority, and nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority().cert_pem.bytes().decode())
    return context


def written(folder: Path) -> Path:
    """The file that SSL_CERT_FILE names."""
    path = folder / "authority.pem"
    authority().cert_pem.write_to_path(path)
    return path
