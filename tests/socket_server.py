"""A socket on loopback for servers that say what no HTTP library would: whoever hangs up, or is cut off, ends quietly."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]],
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncGenerator[str]:
    """Hand each connection to *serve* until the block is left, and yield the origin. No task is left behind."""
    connections: set[asyncio.Task[object]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            writer.close()
            connections.discard(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    async with server:
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            # Since Python 3.12, leaving waits for whoever is still being served.
            for task in list(connections):
                task.cancel()
            if connections:
                await asyncio.wait(connections)
