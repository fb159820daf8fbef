"""An Asana that only knows jobs in progress, as fast as Python gets, in a process and on a core of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Final, Self

from payloads import GID_LENGTH, PAYLOADS, around_gid
from processes import SERVER_CORE, settle


_END: Final = b"\r\n\r\n"


def _answers() -> dict[bytes, tuple[bytes, bytes]]:
    answers: dict[bytes, tuple[bytes, bytes]] = {}
    for name, body in PAYLOADS.items():
        before, after = around_gid(name)
        head = (
            f"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: {len(body)}\r\n"
            "Date: Sun, 22 Nov 2026 12:00:00 GMT\r\nX-Asana-Api-Version: 1.1\r\n\r\n"
        )
        answers[name.encode()] = (head.encode() + before, after)
    return answers


class Tally:
    """How many jobs were looked at."""

    looks = 0


class JobsProtocol(asyncio.Protocol):
    """One connection: ``GET /<payload>/jobs/<gid>``, answered from canned bytes; ``GET /looks`` tells how many."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._answers = _answers()
        self._rest = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what answers are written to."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101  # TCP
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        assert self._transport is not None  # noqa: S101  # the connection was made
        *requests, self._rest = (self._rest + data).split(_END)
        for request in requests:
            payload, _, path = request[5 : request.index(b" ", 5)].partition(b"/jobs/")
            if payload == b"looks":
                self._transport.write(b"%d\n" % self._tally.looks)
                continue
            before, after = self._answers[payload]
            self._tally.looks += 1
            self._transport.write(before + path[:GID_LENGTH] + after)


def _serve(parent: Connection) -> None:
    settle(SERVER_CORE)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        orphaned = asyncio.Event()
        # The other end is closed by the parent, or by its death.
        loop.add_reader(parent.fileno(), orphaned.set)
        tally = Tally()
        server = await loop.create_server(lambda: JobsProtocol(tally), "127.0.0.1", 0, backlog=4096)
        parent.send(server.sockets[0].getsockname()[1])
        await orphaned.wait()

    asyncio.run(main())


class Looks:
    """Asks the server how many jobs were looked at so far, over a connection of its own."""

    def __init__(self, origin: str) -> None:
        self._port = int(origin.rpartition(":")[2])

    async def __aenter__(self) -> Self:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        await self._writer.wait_closed()

    async def count(self) -> int:
        """Return the number."""
        self._writer.write(b"GET /looks HTTP/1.1\r\n\r\n")
        return int(await self._reader.readline())

    async def until(self, count: int) -> int:
        """Wait until there are *count* of them; return how many there are then."""
        while True:
            now = await self.count()
            if now >= count:
                return now
            await asyncio.sleep(0.05)


@contextmanager
def local_asana() -> Generator[str]:
    """Run the server; give its origin."""
    ours, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=_serve, args=(theirs,), daemon=True)
    process.start()
    theirs.close()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        ours.close()
        process.join(2)
        process.kill()
        process.join()
