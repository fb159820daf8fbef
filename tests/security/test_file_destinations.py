# ruff: noqa: ASYNC240  # nobody else is on these loops
"""No link, name or redirect leads to this machine or to its private networks, where Asana is elsewhere."""

import asyncio
import socket
from asyncio import selector_events
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from file_server import FileServer, exports
from raw_server import answering, says, serving

from asana_jobs import AsanaClient
from asana_jobs._client.http.connections import PublicConnector
from asana_jobs._client.http.destinations import Destinations, ForbiddenDestinationError
from asana_jobs._client.http.origin import DEFAULT_BASE_URL
from asana_jobs._client.http.transport import AiohttpDownloads
from asana_jobs.errors import ConnectError, DownloadError
from asana_jobs.testing._scripted_transport import ScriptedTransport


FILE = b'{"gid":"1"}\n'


@asynccontextmanager
async def client_of_asana(link: str) -> AsyncGenerator[AsanaClient]:
    """A client with Asana's base URL, whose export 1203 has this link."""
    export = {"gid": "9", "resource_type": "graph_export", "download_url": link}
    job = {"gid": "1203", "resource_type": "job", "status": "succeeded", "new_graph_export": export}
    async with AsanaClient("test-token", transport=ScriptedTransport(job)) as client:
        yield client


@pytest.fixture
def resolved(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, list[str]]], None]:
    """Makes names lead to addresses, as whoever owns them can; a list is gone through, one lookup after the other."""

    def lead(names: dict[str, list[str]]) -> None:
        answers: dict[str, Iterator[str]] = {name: iter(addresses) for name, addresses in names.items()}

        async def look_up(_: Any, host: str, port: int, **__: Any) -> list[tuple[Any, ...]]:
            addresses = next(answers[host]).split()
            return [
                (
                    socket.AF_INET6 if ":" in address else socket.AF_INET,
                    socket.SOCK_STREAM,
                    6,
                    "",
                    (address, port, 0, 0) if ":" in address else (address, port),
                )
                for address in addresses
            ]

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", look_up)

    return lead


@pytest.mark.parametrize("reading", ["download_export", "iter_export"])
@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1 127.0.0.1", "10.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"]
)
async def test_a_name_that_leads_to_this_machine_is_refused_at_once(
    reading: str, address: str, resolved: Callable[[dict[str, list[str]]], None], tmp_path: Path
) -> None:
    """No socket is made for it, and nothing is tried again."""
    resolved({"files.example": [address]})
    async with (
        serving(answering(says(FILE))) as served,
        client_of_asana(f"https://files.example:{served.origin.rsplit(':', 1)[1]}/x") as client,
    ):
        with pytest.raises(
            DownloadError, match=r"refused to fetch it from files\.example, which is "
        ) as raised:
            if reading == "iter_export":
                await anext(client.iter_export("1203"))
            else:
                await client.download_export("1203", tmp_path / "export")

    assert "Nothing was fetched" in str(raised.value)
    assert (served.heads, list(tmp_path.iterdir())) == ([], [])


async def test_what_is_connected_to_is_what_was_checked(
    resolved: Callable[[dict[str, list[str]]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads elsewhere at each lookup, or to two places at once, leads to no private place."""
    tried: list[str] = []

    async def refuse(_: Any, __: Any, address: tuple[Any, ...]) -> None:
        tried.append(address[0])
        raise ConnectionRefusedError("nobody is there")

    monkeypatch.setattr(selector_events.BaseSelectorEventLoop, "sock_connect", refuse)
    resolved({"files.example": ["198.41.0.4", "127.0.0.1", "10.0.0.1 198.41.0.4 ::1"]})
    downloads = AiohttpDownloads(user_agent="test", destinations=Destinations.of(DEFAULT_BASE_URL))
    try:
        with pytest.raises(ConnectError):
            await downloads.open("https://files.example:1/x", {}, 5)
        for port in (2, 3):
            with pytest.raises(ForbiddenDestinationError):
                await downloads.open(f"https://files.example:{port}/x", {}, 5)
    finally:
        await downloads.close()

    assert set(tried) == {"198.41.0.4"}


async def test_a_proxy_may_be_anywhere(resolved: Callable[[dict[str, list[str]]], None]) -> None:
    """What looks names up itself is no destination: only what its links say is looked at."""
    resolved({"proxy.example": ["127.0.0.1"]})
    connector = PublicConnector(Destinations.of(DEFAULT_BASE_URL), None)
    async with (
        serving(answering(says(FILE))) as served,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        port = served.origin.rsplit(":", 1)[1]
        async with session.get("http://files.example/x", proxy=f"http://proxy.example:{port}") as answer:
            assert await answer.read() == FILE


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0x7f000001", "10.0.0.1"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_link_to_this_machine_is_refused(host: str, scheme: str, tmp_path: Path) -> None:
    """With Asana's base URL no link leads here, whatever its scheme and however it is written."""
    async with client_of_asana(f"{scheme}://{host}:1/x") as client:
        with pytest.raises(DownloadError, match="refused to fetch it from"):
            await client.download_export("1203", tmp_path / "export")


@pytest.mark.parametrize(
    "target", ["https://127.0.0.1/x", "https://10.0.0.1/x", "https://localhost/x", "//[::1]/x"]
)
async def test_a_redirect_to_this_machine_is_refused(target: str, tmp_path: Path) -> None:
    """Each step of the way is checked, not only the first."""
    server, transport = FileServer(), ScriptedTransport()
    exports(transport)
    server.script = [(302, {"Location": "https://other.example/x"}, b""), (302, {"Location": target}, b"")]
    async with AsanaClient("test-token", transport=transport) as client:
        client._downloads = server  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(DownloadError, match="refused to fetch it from"):
            await client.download_export("1203", tmp_path / "export")

    assert len(server.asked) == 2


async def test_a_local_api_leads_to_local_files(tmp_path: Path) -> None:
    """With a base_url on this machine a file of this machine is fetched."""
    async with serving(answering(says(FILE))) as served:
        export = {"gid": "9", "download_url": f"{served.origin}/x"}
        transport = ScriptedTransport({"gid": "1203", "status": "succeeded", "new_graph_export": export})
        async with AsanaClient("test-token", base_url=served.base_url, transport=transport) as client:
            path = await client.download_export("1203", tmp_path / "export")

    assert path.read_bytes() == FILE
