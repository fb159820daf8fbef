"""A socket that says what it is told to the first POST, and counts them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import count

import attrs
from socket_server import listening


@attrs.define
class Counting:
    """Where it listens, how many POSTs came, and the jobs that the later ones started."""

    base_url: str
    posts: int = 0
    made: list[str] = attrs.field(factory=list[str])


def _says(status: int, data: object) -> bytes:
    body = json.dumps({"data": data}).encode()
    return f"HTTP/1.1 {status} OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def counting(answer: bytes) -> AsyncGenerator[Counting]:
    """Answer the first POST with *answer* and hang up, every other one with a new job, and every look with its end."""
    gids = map(str, count(1001))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            await reader.readexactly(int(length[1]) if length else 0)
            if head.startswith(b"POST "):
                server.posts += 1
                if server.posts == 1:
                    writer.write(answer)
                    await writer.drain()
                    break
                server.made.append(next(gids))
                writer.write(_says(201, {"gid": server.made[-1], "status": "in_progress"}))
            else:
                gid = head.split()[1].rpartition(b"/")[2].split(b"?")[0].decode()
                writer.write(_says(200, {"gid": gid, "status": "succeeded"}))
            await writer.drain()

    async with listening(serve) as origin:
        server = Counting(f"{origin}/api/1.0")
        yield server
