"""Every way to Asana through a proxy, by a proxy that counts; and what is said of proxies that do not do."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import pickle
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from authority import trusting, written
from connect_proxy import API, ARCHIVE, BASE_URL, FILES, Behind, ConnectProxy, network_behind_proxy
from socket_server import listening

from asana_jobs import (
    AsanaClient,
    DuplicateTask,
    Ledger,
    OAuthRefresh,
    OutcomeUnknownError,
    PollPolicy,
    RetryPolicy,
    wait_for_job,
)
from asana_jobs.errors import ConnectError


PASSWORD = "p@ss:w/rd"
LOGIN = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
real_time = pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it


@pytest.fixture(autouse=True)
def _trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names the certificate of what is behind the proxy."""
    monkeypatch.setenv("SSL_CERT_FILE", str(written(tmp_path)))


@pytest.fixture
async def network() -> AsyncIterator[tuple[ConnectProxy, Behind]]:
    """A network that can be reached through a proxy only."""
    async with network_behind_proxy() as both:
        yield both


@pytest.fixture
def proxy(network: tuple[ConnectProxy, Behind]) -> ConnectProxy:
    """The proxy."""
    return network[0]


@pytest.fixture
def behind(network: tuple[ConnectProxy, Behind]) -> Behind:
    """Asana, and the server of files."""
    return network[1]


def with_login(url: str) -> str:
    """The address of a proxy that wants to know who asks."""
    return url.replace("http://", "http://me:p%40ss%3Aw%2Frd@")


async def use_everything(client: AsanaClient, folder: Path) -> None:
    """Make each kind of call once."""
    assert (await client.get_job("1203")).succeeded
    assert (await client.wait_for_job("1204")).succeeded
    assert (await client.request("GET", "/users/me")).status == 200
    assert (await client.duplicate_task("12")).succeeded
    assert (await client.run(DuplicateTask("13"))).succeeded
    with Ledger.open(folder / "ledger") as ledger:
        outcomes = [outcome async for outcome in client.run_all([DuplicateTask("14")], ledger=ledger)]
    assert [outcome.error for outcome in outcomes] == [None]
    path = await client.download_export("1203", folder / "e.gz")
    assert path.read_bytes() == ARCHIVE
    assert [record["gid"] async for record in client.iter_export("1203")][:1] == ["1"]
    assert (await client.with_token("another").get_job("1205")).succeeded


def check_that_all_went_through(proxy: ConnectProxy, behind: Behind) -> None:
    """Count: nobody came by another way, both hosts were reached, and nothing was asked of the proxy itself."""
    assert behind.connections == len(proxy.asked)
    assert set(proxy.asked) == {f"{API}:443", f"{FILES}:443"}
    assert {host for host, _, _ in behind.requests} == {API, FILES}
    assert len([method for _, method, _ in behind.requests if method == "POST"]) == 3
    assert proxy.plain == []
    assert not any("proxy-authorization" in head.lower() for head in behind.heads)


async def test_everything_goes_through_the_proxy_that_is_given(
    proxy: ConnectProxy, behind: Behind, tmp_path: Path
) -> None:
    """Calls, waits, starts, runs, downloads of another host, siblings: all of them."""
    async with AsanaClient("t", base_url=BASE_URL, proxy=proxy.url) as client:
        assert client.proxy == proxy.url
        await use_everything(client, tmp_path)

    check_that_all_went_through(proxy, behind)
    assert set(proxy.logins) == {None}


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
async def test_everything_goes_through_the_proxy_of_the_environment(
    proxy: ConnectProxy, behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """As curl does, with the name and the password that stand there."""
    monkeypatch.setenv(name, f" {with_login(proxy.url)}\n")
    async with AsanaClient("t", base_url=BASE_URL) as client:
        await use_everything(client, tmp_path)

    check_that_all_went_through(proxy, behind)
    assert set(proxy.logins) == {LOGIN}


async def test_connections_through_a_proxy_are_kept(proxy: ConnectProxy, behind: Behind) -> None:
    """Ten reads in a row need one tunnel; each start has its own."""
    async with AsanaClient("t", base_url=BASE_URL, proxy=proxy.url) as client:
        for gid in range(1, 11):
            await client.get_job(str(gid))
        assert len(proxy.asked) == 1
        await client.duplicate_task("12")
        await client.duplicate_task("13")
    assert len(proxy.asked) == behind.connections == 3


async def test_a_wait_without_a_client_goes_through_it(
    proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``asana_jobs.wait_for_job``, with the argument and with the environment."""
    assert (await wait_for_job("1203", token="t", base_url=BASE_URL, proxy=proxy.url)).succeeded
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    assert (await wait_for_job("1203", token="t", base_url=BASE_URL)).succeeded
    assert proxy.asked == [f"{API}:443"] * 2


async def test_tokens_are_renewed_through_it(proxy: ConnectProxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """`OAuthRefresh` has connections of its own, and the same ways."""
    monkeypatch.setenv("ASANA_BASE_URL", BASE_URL)
    provider = OAuthRefresh("id", "secret" * 3, "refresh" * 3, proxy=with_login(proxy.url))
    assert await provider() == "fresh"
    assert PASSWORD not in repr(provider)
    assert "p%40ss" not in repr(provider)
    monkeypatch.setenv("HTTPS_PROXY", with_login(proxy.url))
    assert await OAuthRefresh("id", "secret" * 3, "refresh" * 3)() == "fresh"
    assert proxy.logins == [LOGIN] * 2


@pytest.mark.parametrize("login", [False, True])
async def test_a_session_of_ones_own_brings_its_proxy_and_certificates(
    proxy: ConnectProxy, behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: bool
) -> None:
    """It is used for downloads too, which went their own way before; nothing of the environment counts."""
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    connector = aiohttp.TCPConnector(ssl=trusting())
    url = with_login(proxy.url) if login else proxy.url
    async with aiohttp.ClientSession(connector=connector, proxy=url, headers={"X-Mine": "1"}) as session:
        async with AsanaClient("t", base_url=BASE_URL, session=session) as client:
            assert client.proxy is None
            await use_everything(client, tmp_path)
        assert not session.closed
        assert not connector.closed

    check_that_all_went_through(proxy, behind)
    assert set(proxy.logins) == {LOGIN if login else None}
    of_files = [head for head in behind.heads if f"Host: {FILES}" in head]
    assert not any("X-Mine" in head or "Authorization" in head for head in of_files)


async def test_a_session_that_reads_the_environment_does(
    proxy: ConnectProxy, behind: Behind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One with ``trust_env=True`` says so for downloads as well."""
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    connector = aiohttp.TCPConnector(ssl=trusting())
    async with (
        aiohttp.ClientSession(connector=connector, trust_env=True) as session,
        AsanaClient("t", base_url=BASE_URL, session=session) as client,
    ):
        await use_everything(client, tmp_path)

    check_that_all_went_through(proxy, behind)


async def test_no_proxy_names_who_is_reached_straight(
    proxy: ConnectProxy, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What NO_PROXY names does not go through, whether the proxy was given or found; an empty one is none."""
    base_url = f"https://127.0.0.1:{proxy.port}/api/1.0"
    monkeypatch.setenv("NO_PROXY", "other.example, 127.0.0.0/8")
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    for given in (None, proxy.url):
        async with AsanaClient("t", base_url=base_url, proxy=given) as client:
            assert client.proxy is None
            with pytest.raises(
                ConnectError, match=r"certificate of 127.0.0.1 is not trusted: IP address mismatch"
            ):
                await client.get_job("1203")
    monkeypatch.delenv("NO_PROXY")
    async with AsanaClient("t", base_url=base_url, proxy="") as client:
        assert client.proxy is None
    assert proxy.asked == []

    async with AsanaClient("t", base_url=base_url) as client:  # this machine is no exception by itself
        with pytest.raises(ConnectError, match=r"IP address mismatch"):
            await client.get_job("1203")
    assert proxy.asked == [f"127.0.0.1:{proxy.port}"]
    assert behind.requests == []


# Proxies that do not do.

BAD: dict[str, tuple[bytes | None, str]] = {
    "407": (
        b"HTTP/1.1 407 hush\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        "the proxy answered 407 Proxy Authentication Required",
    ),
    "502": (b"HTTP/1.1 502 Bad\r\nContent-Length: 3\r\n\r\nbad", "the proxy answered 502 Bad Gateway"),
    "403": (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "the proxy answered 403 Forbidden"),
    "302": (
        b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n",
        "the proxy answered 302 Found",
    ),
    "garbage": (b"\x16\x03\x01 what?\r\n\r\n", "what the proxy says is no HTTP"),
    "hangs up": (b"", "it was closed again by the other side"),
    "silent": (None, "it took too long"),
}
Call = Callable[[AsanaClient, Path], Awaitable[object]]
CALLS: dict[str, Call] = {
    "get": lambda client, _: client.get_job("1203"),
    "wait": lambda client, _: client.wait_for_job("1203"),
    "start": lambda client, _: client.start(DuplicateTask("1203")),
    "run": lambda client, _: client.run(DuplicateTask("1203")),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", BAD)
async def test_a_proxy_that_does_not_do_means_that_nothing_was_sent(
    proxy: ConnectProxy, behind: Behind, tmp_path: Path, name: str, call: str
) -> None:
    """Before its tunnel stands, nothing has left: said within seconds, whatever was asked, and never unknown."""
    proxy.answer, words = BAD[name]
    proxy.silent = proxy.answer is None
    loop = asyncio.get_running_loop()
    poll, retry = PollPolicy(), RetryPolicy(jitter=0)
    async with AsanaClient(
        "t", base_url=BASE_URL, proxy=with_login(proxy.url), poll=poll, retry=retry
    ) as client:
        began = loop.time()
        with pytest.raises(ConnectError, match="nothing was sent") as raised:
            await CALLS[call](client, tmp_path)
        assert loop.time() - began <= (21.5 if proxy.silent else 4.5)

    assert f"through the proxy {proxy.url} ({words}" in str(raised.value)
    assert ("user:password@" in raised.value.advice) == (name == "407")
    assert not isinstance(raised.value, OutcomeUnknownError)
    assert behind.connections == 0


@pytest.mark.parametrize("name", BAD)
async def test_a_proxy_that_recovers_is_asked_again(proxy: ConnectProxy, behind: Behind, name: str) -> None:
    """A start is safe to repeat: one job, however often the proxy failed before."""
    proxy.answer, _ = BAD[name]
    proxy.silent = proxy.answer is None

    def recover() -> None:
        proxy.answer, proxy.silent = None, False

    asyncio.get_running_loop().call_later(2, recover)
    async with AsanaClient(
        "t", base_url=BASE_URL, proxy=proxy.url, poll=PollPolicy(first_contact=60)
    ) as client:
        assert (await client.duplicate_task("12")).succeeded
    assert [method for _, method, _ in behind.requests] == ["POST"]
    assert len(proxy.asked) > 1


async def test_a_proxy_that_is_not_there_is_said(behind: Behind, unused_tcp_port: int) -> None:
    """Its address is, and how long it takes is as for any other."""
    loop = asyncio.get_running_loop()
    url = f"http://127.0.0.1:{unused_tcp_port}"
    async with AsanaClient("t", base_url=BASE_URL, proxy=url) as client:
        began = loop.time()
        with pytest.raises(
            ConnectError, match=rf"through the proxy {url} \(127.0.0.1:{unused_tcp_port}: .*nothing was sent"
        ):
            await client.wait_for_job("1203")
        assert loop.time() - began <= 4.5
    assert behind.connections == 0


async def test_a_proxy_that_is_spoken_to_by_tls_and_speaks_plain_http_is_said_at_once() -> None:
    """``https://`` before its name means that the way to it is by TLS."""

    async def plain(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with listening(plain) as origin:
        url = origin.replace("http:", "https:")
        async with AsanaClient("t", base_url=BASE_URL, proxy=url) as client:
            with pytest.raises(ConnectError, match=r"does not speak TLS.*HTTPS_PROXY") as raised:
                await client.get_job("1203")
    assert raised.value.permanent


async def test_a_download_through_a_proxy_that_fails_meanwhile_is_said(
    proxy: ConnectProxy, tmp_path: Path
) -> None:
    """The job can be read over the connection that is there, the file cannot be had."""
    async with AsanaClient("t", base_url=BASE_URL, proxy=proxy.url) as client:
        await client.get_job("1203")
        proxy.answer = BAD["502"][0]
        with pytest.raises(ConnectError, match=r"the export of job 1203: .*502 Bad Gateway"):
            await client.download_export("1203", tmp_path / "e.gz")


@pytest.mark.parametrize("name", [*BAD, "good"])
async def test_a_password_of_a_proxy_is_shown_nowhere(
    proxy: ConnectProxy, name: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Not in messages, tracebacks, logs, reprs, nor pickles, although the proxy repeats it."""
    proxy.answer, proxy.silent = BAD[name][0] if name in BAD else None, name == "silent"
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with AsanaClient("t", base_url=BASE_URL, proxy=with_login(proxy.url)) as client:
            for call in CALLS.values():
                try:
                    shown.append(repr(await call(client, tmp_path)))
                except ConnectError as error:
                    told = traceback.TracebackException.from_exception(error, capture_locals=True)
                    shown += [str(error), repr(error), error.advice, *told.format(), str(pickle.dumps(error))]
            shown += [repr(client), repr(vars(client)), str(client.proxy), repr(client._network)]  # pyright: ignore[reportPrivateUsage]
    shown.append(caplog.text)

    for secret in (PASSWORD, "p%40ss", LOGIN.removeprefix("Basic ")):
        assert not any(secret in text for text in shown), secret


# The command line.


async def run_command(*arguments: str, **variables: str) -> tuple[int, str]:
    """Run a command in a process of its own, and return its status and all that it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "asana_jobs", *arguments),
        env={**os.environ, "ASANA_BASE_URL": BASE_URL, "ASANA_ACCESS_TOKEN": "good-token", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@real_time
async def test_commands_go_through_the_proxy_of_the_environment(
    proxy: ConnectProxy, behind: Behind, tmp_path: Path
) -> None:
    """``get`` and ``export``, whose file is elsewhere, with the certificate that SSL_CERT_FILE names."""
    ended = await asyncio.gather(
        run_command("get", "1203", HTTPS_PROXY=with_login(proxy.url)),
        run_command(
            "export", "graph", "12", "--job", "1203", "-o", str(tmp_path / "e.gz"), HTTPS_PROXY=proxy.url
        ),
    )

    assert [status for status, _ in ended] == [0, 0], ended
    assert (tmp_path / "e.gz").read_bytes() == ARCHIVE
    assert set(proxy.asked) == {f"{API}:443", f"{FILES}:443"}
    assert behind.connections == len(proxy.asked)


@real_time
async def test_doctor_names_the_proxy_and_the_certificates(proxy: ConnectProxy) -> None:
    """And where they were found, without the password."""
    status, said = await run_command("doctor", "--output", "json", HTTPS_PROXY=with_login(proxy.url))
    assert status == 0, said
    assert f"{proxy.url}, from HTTPS_PROXY" in said
    assert f"{os.environ['SSL_CERT_FILE']}, from SSL_CERT_FILE" in said
    assert "p%40ss" not in said
    assert PASSWORD not in said


@real_time
async def test_a_command_says_at_once_that_a_certificate_is_not_trusted(proxy: ConnectProxy) -> None:
    """Status 6, and what to set."""
    status, said = await run_command("wait", "1203", HTTPS_PROXY=proxy.url, SSL_CERT_FILE="")
    assert status == 6
    assert "certificate of asana.example is not trusted" in said
    assert "what to do: Set SSL_CERT_FILE" in said
    assert len(proxy.asked) == 1
