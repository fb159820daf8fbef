"""Files are fetched from the public network, and from this machine where the API is on it."""

import pytest

from asana_jobs._client.http.destinations import Destinations, ForbiddenDestinationError


ASANAS = Destinations.of("https://app.asana.com/api/1.0")
LOCAL = Destinations.of("http://localhost:8080/api/1.0")

THIS_MACHINE = [
    "127.0.0.1",
    "127.8.9.10",
    "0.0.0.0",  # noqa: S104  # refused
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
]
PRIVATE = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.2.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "fe80::1",
    "fe80::1%eth0",
    "fd00:ec2::254",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::a00:1",
    "64:ff9b:1::808:808",
    "2002:a00:1::",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
]
PUBLIC = ["8.8.8.8", "52.216.0.1", "2600:1f18::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::"]
ODD = ["127.1", "0x7f000001", "0x7f.1", "2130706433", "017700000001", "0177.0.0.1", "10.1", "0", "134744072"]
LOCAL_NAMES = ["localhost", "LOCALHOST", "localhost.", "a.localhost", "a.b.localhost."]


@pytest.mark.parametrize("address", [*THIS_MACHINE, *PRIVATE])
def test_addresses_of_this_machine_and_of_private_networks_are_refused(address: str) -> None:
    """In every form: as the host of a link, and as what a name leads to."""
    with pytest.raises(
        ForbiddenDestinationError,
        match=r"^files\.example, which is \S+, is (on this machine|in a private network), and no link of Asana's leads there$",
    ):
        ASANAS.check_address(address, "files.example")
    if "%" not in address:  # no link has an interface in it
        with pytest.raises(ForbiddenDestinationError):
            ASANAS.check_host(address)


def test_a_refusal_names_the_host_and_where_it_leads() -> None:
    """A name with its address; an address by itself once."""
    nowhere = "and no link of Asana's leads there"
    with pytest.raises(ForbiddenDestinationError) as named:
        ASANAS.check_address("::ffff:10.0.0.5", "files.example")
    with pytest.raises(ForbiddenDestinationError) as bare:
        ASANAS.check_host("127.0.0.1")
    with pytest.raises(ForbiddenDestinationError) as odd:
        ASANAS.check_host("127.1")

    assert str(named.value) == f"files.example, which is 10.0.0.5, is in a private network, {nowhere}"
    assert str(bare.value) == f"127.0.0.1 is on this machine, {nowhere}"
    assert str(odd.value) == "127.1, which is 127.0.0.1 in a form that no link of Asana's has"


@pytest.mark.parametrize(
    ("base_url", "host", "plain_http", "on_this_machine"),
    [
        ("https://app.asana.com/api/1.0", "app.asana.com", False, False),
        ("http://simulator:8080/api/1.0", "simulator", True, False),
        ("http://127.0.0.1:8080/api/1.0", "127.0.0.1", True, True),
        ("https://localhost/api/1.0", "localhost", False, True),
    ],
)
def test_the_base_url_says_where_the_api_is(
    base_url: str, host: str, plain_http: bool, on_this_machine: bool
) -> None:
    """Its host, whether it is spoken to in clear, and whether it is on this machine."""
    assert Destinations.of(base_url) == Destinations(host, plain_http, on_this_machine)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_taken(address: str) -> None:
    """Addresses that only look alike are no reason."""
    ASANAS.check_address(address, "files.example")
    ASANAS.check_host(address)


@pytest.mark.parametrize(
    "host", ["files.example", "localhost.example", "127.0.0.1.example", "asana.com", "a0x7f"]
)
def test_names_are_taken_until_they_are_looked_up(host: str) -> None:
    """A name says nothing of where it leads."""
    ASANAS.check_host(host)


@pytest.mark.parametrize("host", [*LOCAL_NAMES, *ODD])
def test_names_of_this_machine_and_odd_forms_are_refused(host: str) -> None:
    """A name for this machine needs no lookup, and an address that is not written as one is none of Asana's."""
    with pytest.raises(ForbiddenDestinationError):
        ASANAS.check_host(host)


def test_a_local_api_has_its_files_on_this_machine() -> None:
    """Where base_url is on this machine, loopback is, in clear too; private networks are as forbidden as ever."""
    for host in ("127.0.0.1", "::1", "localhost", "127.0.0.2"):
        LOCAL.check_host(host)
        assert LOCAL.allow_plain_http(host)
    LOCAL.check_address("127.0.0.1", "files.example")
    for host in (*PRIVATE[:4], *ODD, "0.0.0.0"):  # noqa: S104  # refused
        with pytest.raises(ForbiddenDestinationError):
            LOCAL.check_host(host)
    assert not LOCAL.allow_plain_http("files.example")
    assert not ASANAS.allow_plain_http("127.0.0.1")


def test_the_host_of_the_api_is_trusted_with_its_files() -> None:
    """The host that the token goes to may be anywhere, and in clear if the API is spoken to so."""
    beside = Destinations("simulator", plain_http=True, on_this_machine=False)
    beside.check_address("172.18.0.2", "simulator")
    assert beside.allow_plain_http("simulator")

    with pytest.raises(ForbiddenDestinationError):
        beside.check_address("172.18.0.2", "redis")
    assert not beside.allow_plain_http("redis")
