"""A network that can be reached through a proxy only: the proxy, and Asana and a server of files behind it, by TLS."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
from authority import certified
from socket_server import listening


#: Names that only the proxy can look up.
API = "asana.example"
FILES = "files.example"
BASE_URL = f"https://{API}/api/1.0"
ARCHIVE = gzip.compress(b'{"gid":"1"}\n' * 1000, mtime=0)


@attrs.define(eq=False)
class Behind:
    """Asana, whose jobs have all succeeded as exports, and the server of their file.

    Attributes:
        connections: How often somebody connected.
        requests: The host, the method and the path of each request, with the heads as they came.
    """

    connections: int = 0
    requests: list[tuple[str, str, str]] = attrs.field(factory=list[tuple[str, str, str]])
    heads: list[str] = attrs.field(factory=list[str])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            fields = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
            }
            await reader.readexactly(int(fields.get("content-length", "0")))
            method, path, _ = head.split(" ", 2)
            self.requests.append((fields["host"], method, path))
            self.heads.append(head)
            status, kind, body = self._answer(fields["host"], method, path)
            writer.write(
                f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                + body
            )
            await writer.drain()

    def _answer(self, host: str, method: str, path: str) -> tuple[str, str, bytes]:
        if host == FILES:
            return "200 OK", "application/gzip", ARCHIVE
        if path == "/-/oauth_token":
            return "200 OK", "application/json", b'{"access_token": "fresh"}'
        gid = path.rpartition("/")[2] if method == "GET" else str(7000 + len(self.requests))
        export = {"gid": "9", "download_url": f"https://{FILES}/e.gz?signature=5"}
        job = {"gid": gid, "status": "succeeded", "new_graph_export": export}
        return (
            "201 Created" if method == "POST" else "200 OK",
            "application/json",
            json.dumps({"data": job}).encode(),
        )


@attrs.define(eq=False)
class ConnectProxy:
    """A proxy that makes tunnels to what is behind it, and counts.

    Attributes:
        url: Where it is.
        port: The port behind it, to which all names lead.
        answer: What it says instead of making a tunnel; empty to hang up.
        silent: Whether it says nothing at all.
        asked: What each tunnel was to lead to.
        logins: The login that came with each.
        plain: Requests that were no tunnels.
    """

    url: str = ""
    port: int = 0
    answer: bytes | None = None
    silent: bool = False
    asked: list[str] = attrs.field(factory=list[str])
    logins: list[str | None] = attrs.field(factory=list["str | None"], repr=False)
    plain: list[str] = attrs.field(factory=list[str])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Make one tunnel."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        if method != "CONNECT":
            self.plain.append(head)
            return
        login = next(
            (
                line.partition(":")[2].strip()
                for line in head.split("\r\n")
                if line.startswith("Proxy-Authorization:")
            ),
            None,
        )
        self.asked.append(target)
        self.logins.append(login)
        if self.silent:
            await reader.read()
        elif self.answer is not None:
            writer.write(self.answer)
            await writer.drain()
        else:
            await self._make_tunnel(reader, writer)

    async def _make_tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_there, to_there = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pipe(reader, to_there))
                group.create_task(_pipe(from_there, writer))
        finally:
            to_there.close()


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(2**16):
        writer.write(piece)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def network_behind_proxy() -> AsyncGenerator[tuple[ConnectProxy, Behind]]:
    """Run a proxy, and what is behind it."""
    proxy, behind = ConnectProxy(), Behind()
    async with (
        listening(behind.serve, tls=certified(API, FILES)) as origin,
        listening(proxy.serve) as proxy.url,
    ):
        proxy.port = int(origin.rpartition(":")[2])
        yield proxy, behind
