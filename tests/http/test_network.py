"""What the environment says about proxies and certificates, read as curl reads it."""

from __future__ import annotations

import logging
from pathlib import Path

import aiohttp
import pytest
import trustme
from authority import authority, written
from yarl import URL

import asana_jobs
from asana_jobs import AsanaClient, OAuthRefresh
from asana_jobs._client.http.network import Network, find_network, plain_http_allowed
from asana_jobs.testing._scripted_transport import ScriptedTransport


API = URL("https://app.asana.com/api/1.0")


def proxy_of(monkeypatch: pytest.MonkeyPatch, url: str = str(API), **variables: str) -> str | None:
    """The proxy through which a request to *url* goes."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = find_network().proxy_for(URL(url))
    return None if proxy is None else str(proxy.url)


@pytest.mark.parametrize(
    ("variables", "proxy"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://a.example:3128"}, "http://a.example:3128"),
        ({"https_proxy": "http://a.example:3128"}, "http://a.example:3128"),
        ({"https_proxy": "http://a.example:1", "HTTPS_PROXY": "http://b.example:2"}, "http://a.example:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://b.example:2"}, "http://b.example:2"),
        ({"ALL_PROXY": "http://a.example:3128"}, "http://a.example:3128"),
        ({"all_proxy": "http://a.example:1", "HTTPS_PROXY": "http://b.example:2"}, "http://b.example:2"),
        ({"HTTP_PROXY": "http://a.example:3128", "http_proxy": "http://a.example:3128"}, None),
        ({"HTTPS_PROXY": "a.example:3128"}, "http://a.example:3128"),
        ({"HTTPS_PROXY": "a.example"}, "http://a.example:1080"),
        ({"HTTPS_PROXY": "https://a.example"}, "https://a.example"),
        ({"HTTPS_PROXY": "https://a.example:8443/"}, "https://a.example:8443"),
        ({"HTTPS_PROXY": " http://me:secret@a.example:3128/path \n"}, "http://a.example:3128"),
        ({"HTTPS_PROXY": "http://[::1]:3128"}, "http://[::1]:3128"),
        ({"HTTPS_PROXY": "http://10.0.0.1:3128"}, "http://10.0.0.1:3128"),
        ({"HTTPS_PROXY": "socks5://a.example", "NO_PROXY": "app.asana.com"}, None),
    ],
)
def test_the_proxy_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], proxy: str | None
) -> None:
    """Small letters first, the one for https before that for all, an empty one is none, that for http does not count."""
    assert proxy_of(monkeypatch, **variables) == proxy


@pytest.mark.parametrize(
    ("entries", "host", "straight"),
    [
        ("app.asana.com", "app.asana.com", True),
        ("asana.com", "app.asana.com", True),
        (".asana.com", "app.asana.com", True),
        (".asana.com", "asana.com", True),
        ("ASANA.com.", "App.Asana.com", True),
        ("a.example,asana.com", "app.asana.com", True),
        (" a.example , asana.com ", "app.asana.com", True),
        ("a.example asana.com", "app.asana.com", True),
        ("sana.com", "app.asana.com", False),
        ("app.asana.com.evil.example", "app.asana.com", False),
        ("com.", "app.asana.com", True),
        ("*", "app.asana.com", True),
        ("*.asana.com", "app.asana.com", False),
        ("", "app.asana.com", False),
        (",", "app.asana.com", False),
        (".", "app.asana.com", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.0/8", "127.0.0.1", True),
        ("10.0.0.0/8", "127.0.0.1", False),
        ("127.0.0.1/8", "127.3.4.5", True),
        ("localhost", "127.0.0.1", False),
        ("localhost", "localhost", True),
        ("::1", "[::1]", True),
        ("[::1]", "[::1]", True),
        ("fe80::/10", "[fe80::1]", True),
        ("0.0.1", "127.0.0.1", False),
        ("other", "localhost", False),
    ],
)
def test_hosts_that_are_reached_without_it(
    monkeypatch: pytest.MonkeyPatch, entries: str, host: str, straight: bool
) -> None:
    """Names and domains above them, addresses and networks; this machine is reached straight only if it is named."""
    found = proxy_of(monkeypatch, f"https://{host}/x", HTTPS_PROXY="http://a.example:1", NO_PROXY=entries)
    assert (found is None) == straight


def test_small_letters_come_first_for_exceptions_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """``no_proxy`` is read, and ``NO_PROXY`` then is not."""
    found = proxy_of(monkeypatch, HTTPS_PROXY="http://a.example:1", no_proxy="x.example", NO_PROXY="*")
    assert found == "http://a.example:1"


def test_plain_http_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator on this machine is reached, whatever the environment says for https, be it wrong."""
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9050")
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    client = AsanaClient("t", base_url="http://127.0.0.1:8123/api/1.0")
    assert client.proxy is None


WRONG = {
    **dict.fromkeys(
        ("socks5://me:hush@127.0.0.1:9050", "socks5h://127.0.0.1"),
        "names a proxy that speaks SOCKS, and only those of http are supported: write http://proxy.example:3128, add the "
        "host to NO_PROXY, or hand in a session that can do it",
    ),
    **dict.fromkeys(
        (
            "ftp://me:hush@a.example",
            "http://",
            "http://me:hush@",
            "http://me:hush@a.example:99999",
            "http://[hush",
        ),
        "is no address of a proxy: write http://proxy.example:3128",
    ),
    '"http://me:hush@a.example:1"': "has quotation marks around it: write it without them",
}


@pytest.mark.parametrize("value", WRONG)
def test_a_proxy_that_cannot_be_one_is_refused_without_being_shown(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """It may hold a password: the name of the variable or the argument has to do."""
    with pytest.raises(ValueError, match=f"^proxy {WRONG[value]}$") as given:
        AsanaClient("t", proxy=value)
    with pytest.raises(ValueError, match=f"^proxy {WRONG[value]}$"):
        asana_jobs.wait_for_job("1203", token="t", proxy=value)
    monkeypatch.setenv("HTTPS_PROXY", value)
    with pytest.raises(ValueError, match=f"^HTTPS_PROXY {WRONG[value]}$") as found:
        AsanaClient("t")
    assert "hush" not in str(given.value) + str(found.value)
    assert AsanaClient("t", proxy="").proxy is None


async def test_a_proxy_is_given_to_one_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A session and a transport have their own, plain http none, and other things are none."""
    proxy = "http://a.example:1"
    with pytest.raises(ValueError, match="give proxy or transport"):
        AsanaClient("t", proxy=proxy, transport=ScriptedTransport("succeeded"))
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ValueError, match=r"write session=aiohttp.ClientSession\(proxy=...\)"):
            AsanaClient("t", proxy=proxy, session=session)
        monkeypatch.setenv("HTTPS_PROXY", "socks5://x")
        assert AsanaClient("t", session=session).proxy is None
    with pytest.raises(
        ValueError, match="only https goes through a proxy: leave proxy out to reach http://127"
    ):
        AsanaClient("t", proxy=proxy, base_url="http://127.0.0.1:1/api/1.0")
    with pytest.raises(
        ValueError, match=r"^proxy must be the address of one, not int: write http://proxy.example:3128$"
    ):
        AsanaClient("t", proxy=3128)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_the_login_is_for_the_proxy_and_not_shown() -> None:
    """A name, a password, both with signs in them, or a name alone."""
    logins = {
        "http://me:secret@a.example": "Basic bWU6c2VjcmV0",
        "http://me%40corp:p%3Aw@a.example": "Basic bWVAY29ycDpwOnc=",
        "http://me@a.example": "Basic bWU6",
        "http://:secret@a.example": "Basic OnNlY3JldA==",
    }
    for url, login in logins.items():
        network = find_network(url)
        proxy = network.proxy_for(API)
        assert proxy is not None
        assert proxy.headers == {"Proxy-Authorization": login}
        assert "secret" not in repr(network) + repr(proxy) + repr(proxy.headers)
        assert str(proxy.url) == "http://a.example:1080"
    assert find_network("http://a.example").proxy_for(API).headers == {}  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]


# Certificates.


def test_certificates_of_the_environment_are_read_when_a_client_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not when Python starts; a file that was changed is read again, one that was not is not."""
    assert find_network().certificates() is None
    path = written(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", f" {path}\n")
    context = find_network().certificates()
    assert context is not None
    assert find_network().certificates() is context
    subject = {str(certificate["subject"]) for certificate in context.get_ca_certs()}
    assert len(subject) == 1

    path.write_bytes(authority().cert_pem.bytes() + trustme.CA(organization_name="another").cert_pem.bytes())
    context = find_network().certificates()
    assert context is not None
    assert len(context.get_ca_certs()) == 2


def test_a_folder_of_certificates_does_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """``SSL_CERT_DIR``: they are looked up when they are needed, as OpenSSL does it."""
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert find_network().certificates() is not None


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "No such file or directory"),
        (b"", "it holds no certificate"),
        (b"-----BEGIN", "it holds no certificate"),
    ],
)
def test_a_certificate_file_that_cannot_be_used_is_said_before_any_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, reason: str
) -> None:
    """OpenSSL says nothing of it, and trusts nobody."""
    path = tmp_path / "authority.pem"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ValueError, match=f"^SSL_CERT_FILE names '{path}', which cannot be used: {reason}$"):
        AsanaClient("t")


# Plain http.

ELSEWHERE = "http://simulator:8123/api/1.0"


@pytest.mark.parametrize("word", ["1", "true", "YES", " on "])
def test_plain_http_to_another_host_can_be_allowed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, word: str
) -> None:
    """By argument or environment, for the client, its siblings, a wait and OAuth; once in the log."""
    with pytest.raises(ValueError, match=r"allow_plain_http=True \(ASANA_ALLOW_PLAIN_HTTP=1\)"):
        AsanaClient("t", base_url=ELSEWHERE)
    with caplog.at_level(logging.WARNING):
        client = AsanaClient("t", base_url=ELSEWHERE, allow_plain_http=True)
        assert client.with_token("another").base_url == ELSEWHERE
    assert [record.getMessage() for record in caplog.records] == [
        f"the token is sent to {ELSEWHERE} in clear, since plain http is allowed"
    ]
    asana_jobs.wait_for_job("1203", token="t", base_url=ELSEWHERE, allow_plain_http=True).close()

    monkeypatch.setenv("ASANA_ALLOW_PLAIN_HTTP", word)
    monkeypatch.setenv("ASANA_BASE_URL", ELSEWHERE)
    assert AsanaClient("t").base_url == ELSEWHERE
    asana_jobs.wait_for_job("1203", token="t").close()
    OAuthRefresh("id", "secret", "refresh", origin="http://simulator:8123")


@pytest.mark.parametrize("word", ["0", "false", "no", "", "off"])
def test_a_no_is_no(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    """As is nothing."""
    monkeypatch.setenv("ASANA_ALLOW_PLAIN_HTTP", word)
    assert not plain_http_allowed()
    assert plain_http_allowed(given=True)


def test_what_is_neither_yes_nor_no_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing mistake does not send a token in clear."""
    with pytest.raises(ValueError, match=r"^allow_plain_http must be True or False, not str$"):
        AsanaClient("t", allow_plain_http="yes")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    monkeypatch.setenv("ASANA_ALLOW_PLAIN_HTTP", "maybe")
    with pytest.raises(ValueError, match=r"^ASANA_ALLOW_PLAIN_HTTP must be 1 or 0$"):
        AsanaClient("t")


def test_this_machine_and_tls_need_no_leave(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged of them."""
    AsanaClient("t", base_url="http://localhost:8123/api/1.0")
    AsanaClient("t")
    assert caplog.records == []


def test_without_an_environment_the_way_is_straight() -> None:
    """`Network()` is what tests start from."""
    assert Network().proxy_for(API) is None
    assert Network().certificates() is None
