"""Where export files may be fetched from: not from this machine, nor from networks that are private to it.

A link comes in an answer: who can write one must not make this machine ask its own services, or those beside it. Only
a client whose ``base_url`` is on this machine, as a simulator's is, fetches from it.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

import attrs
from yarl import URL

from asana_jobs._client.http.origin import LOOPBACK


Address: TypeAlias = IPv4Address | IPv6Address

#: Addresses of IPv6 whose last four bytes are the one of IPv4 that they lead to: a translator's, and a deprecated form.
_ENDS_IN_IPV4: Final = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
#: Private networks that `ipaddress` takes for public: those of local translators, and a deprecated form.
_ALSO_PRIVATE: Final = (IPv6Network("64:ff9b:1::/48"), IPv6Network("fec0::/10"))
_THIS_MACHINE: Final = "on this machine"


class ForbiddenDestinationError(Exception):
    """A file was not fetched from where its link leads, which the message names."""


@attrs.frozen
class Destinations:
    """The places that files may be fetched from.

    Attributes:
        host: The host of the API. Files may be there too, wherever it is.
        plain_http: Whether it is spoken to in clear.
        on_this_machine: Whether it is on this machine: then files may be there too.
    """

    host: str
    plain_http: bool
    on_this_machine: bool

    @classmethod
    def of(cls, base_url: str) -> Destinations:
        """Return the places for a client of *base_url*."""
        url = URL(base_url)
        host = url.host or ""
        return cls(host, url.scheme == "http", is_this_machine(host))

    def allow_plain_http(self, host: str) -> bool:
        """Return whether a file may come from *host* in clear."""
        at_the_api = self.plain_http and host == self.host
        return at_the_api or (self.on_this_machine and is_this_machine(host))

    def check_host(self, host: str) -> None:
        """Refuse a *host* that is no name, or the name of this machine.

        Raises:
            ForbiddenDestinationError: nothing may be fetched from there.
        """
        address = _address_of(host)
        if address is not None:
            self.check_address(host, host)
        elif (odd := _address_in_an_odd_form(host)) is not None:
            raise ForbiddenDestinationError(f"{host}, which is {odd} in a form that no link of Asana's has")
        elif is_this_machine(host) and not self.on_this_machine:
            raise _forbidden(host, _THIS_MACHINE)

    def check_address(self, address: str, host: str) -> None:
        """Refuse the *address* that *host* has.

        Raises:
            ForbiddenDestinationError: nothing may be fetched from there.
        """
        found = _innermost(ip_address(address.partition("%")[0]))  # fe80::1%eth0
        if host == self.host or (found.is_loopback and self.on_this_machine):
            return
        place = _place(found)
        if place is not None:
            raise _forbidden(host if host == str(found) else f"{host}, which is {found},", place)


def is_this_machine(host: str) -> bool:
    """Return whether *host* is this machine, by its name or its address."""
    name, address = host.rstrip(".").lower(), _address_of(host)
    return name in LOOPBACK or name.endswith(".localhost") or (address is not None and address.is_loopback)


def _address_of(host: str) -> Address | None:
    try:
        return _innermost(ip_address(host))
    except ValueError:
        return None


def _address_in_an_odd_form(host: str) -> Address | None:
    """Return what the system's library makes of 127.1, 0x7f000001, 2130706433 or 017700000001; ``None`` for a name."""
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def _innermost(address: Address) -> Address:
    """Return the address of IPv4 that one of IPv6 leads to, or *address* itself."""
    if isinstance(address, IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    if any(address in network for network in _ENDS_IN_IPV4):
        return IPv4Address(address.packed[12:])
    return address.ipv4_mapped or address.sixtofour or address


def _place(address: Address) -> str | None:
    """Return where *address* is, or ``None`` if that is the public network."""
    if address.is_loopback or address.is_unspecified:
        return _THIS_MACHINE
    private = address.is_multicast or not address.is_global
    return "in a private network" if private or any(address in net for net in _ALSO_PRIVATE) else None


def _forbidden(host: str, place: str) -> ForbiddenDestinationError:
    return ForbiddenDestinationError(f"{host} is {place}, and no link of Asana's leads there")
