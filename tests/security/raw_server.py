"""A server that says whatever it is told to, on loopback, and counts what it was asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import attrs
from socket_server import listening


Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@attrs.define
class Served:
    """Where it listens, and the heads of the requests it has read."""

    origin: str
    heads: list[bytes] = attrs.field(factory=list[bytes])

    @property
    def base_url(self) -> str:
        """The API's place on it."""
        return f"{self.origin}/api/1.0"


def says(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> bytes:
    """A whole answer."""
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode("utf-8", "surrogateescape") + body


def answering(answer: bytes) -> Behaviour:
    """A server that says the same to everybody."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()

    return behave


def endless(head: bytes, piece: bytes) -> Behaviour:
    """A server that says *head*, and *piece* for as long as anybody listens."""

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.1)  # time passes, though nobody waits for it

    return behave


@asynccontextmanager
async def serving(behave: Behaviour) -> AsyncGenerator[Served]:
    """Listen until the block is left."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.heads.append(await reader.readuntil(b"\r\n\r\n"))
        await behave(reader, writer)

    async with listening(serve) as origin:
        served = Served(origin)
        yield served
