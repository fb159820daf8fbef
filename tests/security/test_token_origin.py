"""A token goes to the configured origin, and to nobody else."""

import asyncio
from pathlib import Path

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_server import Served, answering, says, serving
from yarl import URL

from asana_jobs import AsanaClient
from asana_jobs._client.exports.stream import check_link
from asana_jobs._client.http.destinations import Destinations
from asana_jobs._client.http.origin import check_base_url
from asana_jobs._client.http.transport import AiohttpTransport
from asana_jobs.errors import APIError, AsanaJobsError, DownloadError
from asana_jobs.testing._scripted_transport import ScriptedTransport


TOKEN = "1/d15t1nct1ve"
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
JOB = b'{"data": {"gid": "1203", "resource_type": "job", "status": "succeeded"}}'

_SCRAPS = (
    "http https : // / \\ @ localhost 127.0.0.1 ::1 [ ] [::1] evil.example # ? %2f %00 . .. 0x7f.1 2130706433 user 80 "
    "99999 é 。 xn-- * - _ % ftp HTTP LOCALHOST [::ffff:1.2.3.4] [v1.a]"
)
SCRAPS = st.sampled_from([*_SCRAPS.split(), "\t", "\n", " ", "a" * 70])
ADDRESSES = st.one_of(
    st.text(),
    st.lists(SCRAPS, max_size=9).map("".join),
    st.lists(SCRAPS, max_size=7).map(lambda scraps: f"http://{''.join(scraps)}"),
    st.lists(SCRAPS, max_size=7).map(lambda scraps: f"https://{''.join(scraps)}"),
)
open_ended = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@open_ended
@given(ADDRESSES)
def test_any_base_url_is_safe_or_refused(text: str) -> None:
    """Whatever is configured is refused, or is https (or this machine), without a user, with our path at its end."""
    try:
        base_url = check_base_url(text)
    except ValueError:
        return
    url = URL(f"{base_url}/jobs/1203", encoded=True)

    assert url.scheme == "https" or url.host in LOOPBACK
    assert (url.user, url.password, url.query_string, url.fragment) == (None, None, "", "")
    assert url.path.endswith("/jobs/1203")


@open_ended
@pytest.mark.parametrize("base_url", ["https://app.asana.com/api/1.0", "http://127.0.0.1/api/1.0"])
@given(text=ADDRESSES)
def test_any_link_is_safe_or_refused(base_url: str, text: str) -> None:
    """A link is refused, or what fetches it reads the same safe host in it as the check did."""
    local = base_url.startswith("http:")
    try:
        link = check_link(text, "the export", Destinations.of(base_url))
    except DownloadError:
        return
    url = URL(link, encoded=True)

    assert url.scheme == "https" or (local and url.scheme == "http" and url.host in LOOPBACK)
    assert local or url.host not in LOOPBACK
    assert (url.user, url.password) == (None, None)
    assert (url.host or "").isascii()


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.1:1/x",
        "https://evil.example/x",
        "//evil.example/x",
        "/api/1.0/jobs/1204",
        "\\\\evil",
        "",
        "@evil",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int, location: str) -> None:
    """A redirect is an error that says so, and is not asked for, not even on the same origin."""
    answer = says(b"", status=status, headers={"Location": location})
    async with (
        serving(answering(answer)) as served,
        AsanaClient(TOKEN, base_url=served.base_url) as client,
    ):
        with pytest.raises(APIError, match=str(status)):
            await client.get_job("1203")

    assert len(served.heads) == 1


def _netrc(folder: Path, monkeypatch: pytest.MonkeyPatch, entry: str = "machine 127.0.0.1") -> None:
    path = folder / "netrc"
    path.write_text(f"{entry} login other password other\n", "ascii")
    path.chmod(0o600)
    monkeypatch.setenv("NETRC", str(path))


@pytest.mark.parametrize("entry", ["machine 127.0.0.1", "default"])
async def test_a_session_that_reads_another_auth_from_netrc_is_refused(
    entry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would stand where the token has to, which aiohttp refuses at each request; here it is told at once."""
    _netrc(tmp_path, monkeypatch, entry)
    async with aiohttp.ClientSession(trust_env=True) as session:
        with pytest.raises(ValueError, match="from netrc, in the place of the token"):
            AsanaClient(TOKEN, base_url="http://127.0.0.1:1", session=session)


async def test_the_netrc_of_the_home_folder_counts_where_the_environment_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what aiohttp reads then."""
    _netrc(tmp_path, monkeypatch)
    (tmp_path / "netrc").rename(tmp_path / ".netrc")
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    async with aiohttp.ClientSession(trust_env=True) as session:
        with pytest.raises(ValueError, match=r"an auth for 127\.0\.0\.1 from netrc"):
            AsanaClient(TOKEN, base_url="http://127.0.0.1:1", session=session)


@pytest.mark.parametrize(
    "content", ["", "machine other.example login a password b\n", "machine machine machine", "\x00"]
)
async def test_any_other_netrc_does_no_harm(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that trusts the environment sends the token, whatever the file says of other hosts."""
    (tmp_path / "netrc").write_text(content, "ascii")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with (
        serving(answering(says(JOB))) as served,
        aiohttp.ClientSession(trust_env=True) as session,
        AsanaClient(TOKEN, base_url=served.base_url, session=session) as client,
    ):
        await client.get_job("1203")

    assert served.heads[0].lower().count(b"authorization:") == 1
    assert f"Authorization: Bearer {TOKEN}".encode() in served.heads[0]


async def test_our_own_session_ignores_proxies_and_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing in the environment sends a request of ours anywhere else."""
    _netrc(tmp_path, monkeypatch)
    async with serving(answering(says(JOB))) as proxy, serving(answering(says(JOB))) as served:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.origin)
        async with AsanaClient(TOKEN, base_url=served.base_url) as client:
            await client.get_job("1203")

    assert (len(proxy.heads), len(served.heads)) == (0, 1)


async def test_a_session_that_would_send_the_token_to_a_proxy_in_clear_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plain http is for this machine: a proxy would read the token."""
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    async with aiohttp.ClientSession(trust_env=True) as session:
        with pytest.raises(
            ValueError,
            match=r"the token for http://127\.0\.0\.1:1 would go there in clear.* add 127\.0\.0\.1 to NO_PROXY",
        ):
            AsanaClient(TOKEN, base_url="http://127.0.0.1:1", session=session)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        AsanaClient(TOKEN, base_url="http://127.0.0.1:1", session=session)
        AsanaClient(TOKEN, base_url="https://asana.example", session=session)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_session_with_an_auth_of_its_own_is_refused() -> None:
    """It would stand where the token has to."""
    async with aiohttp.ClientSession(auth=aiohttp.BasicAuth("me", "hush")) as session:
        with pytest.raises(ValueError, match="auth of its own") as caught:
            AsanaClient(TOKEN, session=session)

    assert "hush" not in str(caught.value)


async def test_our_own_session_verifies_certificates() -> None:
    """No argument and no variable of ours turns that off; only a session that is handed in can."""
    async with (
        serving(answering(says(JOB))) as served,
        AsanaClient(TOKEN, base_url=served.base_url) as client,
    ):
        await client.get_job("1203")
        transport = client._exchange.transport  # pyright: ignore[reportPrivateUsage]
        assert isinstance(transport, AiohttpTransport)
        session = transport._own  # pyright: ignore[reportPrivateUsage]
        assert session is not None
        assert vars(session.connector)["_ssl"] is True


def finished(link: str) -> ScriptedTransport:
    """An Asana whose export is at *link*."""
    export = {"gid": "9", "resource_type": "graph_export", "download_url": link}
    job = {"gid": "1203", "resource_type": "job", "status": "succeeded", "new_graph_export": export}
    return ScriptedTransport(job)


async def _download(link: str, path: Path, served: Served) -> Path:
    async with AsanaClient(TOKEN, base_url=served.base_url, transport=finished(link)) as client:
        return await asyncio.wait_for(client.download_export("1203", path), 100)


async def test_a_link_to_the_apis_own_origin_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signed link is its own authorization, wherever it leads; a netrc adds nothing."""
    _netrc(tmp_path, monkeypatch)
    async with serving(answering(says(b"{}\n"))) as served:
        await _download(f"{served.base_url}/jobs/1203", tmp_path / "export", served)

    assert b"authorization" not in served.heads[0].lower()
    assert b"cookie" not in served.heads[0].lower()


@pytest.mark.parametrize(
    "link",
    [
        "http://files.example/x",
        "http://169.254.169.254/latest/meta-data",
        "http://10.0.0.1/x",
        "http://127.0.0.1.evil.example/x",
        "http://localhost@evil.example/x",
        "http://evil.example\\@localhost/x",
        "http://0x7f.1/x",
        "https://user:hush@files.example/x",
        "https://files.example:99999/x",
        "https://[::1/x",
        "https://[v1.a]/x",
        f"https://{'a' * 64}.example/x",
        "https://files.example/a b",
        "https://files.example/\r\nX-Evil: 1",
        "//files.example/x",
        "ftp://files.example/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "files.example",
        "",
    ],
)
async def test_a_link_that_is_not_safe_is_refused_at_once(link: str, tmp_path: Path) -> None:
    """Nothing is fetched, nothing is tried again, and the error shows no password."""
    async with serving(answering(says(b"{}"))) as served:
        began = asyncio.get_running_loop().time()
        with pytest.raises(DownloadError) as caught:
            await _download(link, tmp_path / "export", served)

    assert asyncio.get_running_loop().time() - began < 1
    assert "hush" not in str(caught.value)
    assert served.heads == []


@pytest.mark.parametrize(
    "location",
    [
        "https://files.example/x",
        "http://evil.example/x",
        "//evil.example/x",
        "http://user:a@127.0.0.1/x",
        "ftp://127.0.0.1/",
    ],
)
async def test_a_redirect_of_a_file_stays_safe(location: str, tmp_path: Path) -> None:
    """A file's redirect to another scheme, in clear to another host, or with a password is refused."""
    answer = says(b"", status=302, headers={"Location": location})
    async with serving(answering(answer)) as served:
        with pytest.raises(AsanaJobsError, match="refused"):
            await _download(f"{served.origin}/x", tmp_path / "export", served)

    assert len(served.heads) == 1
