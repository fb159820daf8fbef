"""Servers that are there at once: a process that has loaded ``asana-jobs mcp`` forks one for each connection.

A test talks to one as older clients do, line by line, and may end it at any moment.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import attrs


HANDSHAKE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


# --- The process that forks


def fork_servers(address: str) -> None:
    """Fork a server for each connection, or answer how one has ended."""
    from asana_jobs.cli.program import run

    for module in ("asana_jobs.mcp", "asana_jobs.cli.learned", "asana_jobs._client.bulk.run"):
        import_module(module)  # what takes long is loaded once
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        sys.stdout.write("listening\n")
        sys.stdout.flush()
        while True:
            connection, _ = listener.accept()
            with connection:
                wanted = json.loads(read_line(connection))
                if wanted == "end":
                    return
                if isinstance(wanted, int):
                    _, status = os.waitpid(wanted, 0)
                    connection.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())
                    continue
                child = os.fork()
                if child == 0:
                    os._exit(serve(connection, wanted, run))
                connection.sendall(f"{child}\n".encode())


def read_line(connection: socket.socket) -> bytes:
    """Read one line and nothing after it."""
    line = b""
    while not line.endswith(b"\n"):
        line += connection.recv(1)
    return line


def serve(connection: socket.socket, wanted: dict[str, Any], run: Any) -> int:
    """Be a server whose standard input and output are *connection*."""
    os.environ.update(wanted["environment"])
    for descriptor in (0, 1):
        os.dup2(connection.fileno(), descriptor)
    log = os.open(wanted["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    connection.close()
    status: int = run(["mcp", *wanted["options"]])
    sys.stderr.flush()
    return status


# --- The process that tests


class GoneError(Exception):
    """The server has ended before it answered."""


@attrs.define
class Server:
    """A server that was forked.

    Attributes:
        pid: Its process.
    """

    pid: int
    _forks: Forks
    _reader: asyncio.StreamReader
    _writer: asyncio.StreamWriter
    _numbers: itertools.count[int] = attrs.field(factory=itertools.count)

    async def send(self, method: str, **params: Any) -> int:
        """Send a request, and return its id."""
        number = next(self._numbers)
        self._write({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        return number

    async def receive(self, number: int) -> dict[str, Any]:
        """Return the result of the request *number*."""
        while True:
            try:
                line = await self._reader.readline()
            except ConnectionError:
                line = b""
            if not line:
                raise GoneError
            answer = json.loads(line)
            if answer.get("id") == number:
                result: dict[str, Any] = answer["result"]
                return result

    async def greet(self) -> None:
        """Shake hands as older clients do."""
        assert (await self.receive(await self.send("initialize", **HANDSHAKE)))["serverInfo"]
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool; an error is a text under ``error``."""
        answer = await self.receive(await self.send("tools/call", name=tool, arguments=arguments))
        if answer.get("isError"):
            return {"error": answer["content"][0]["text"]}
        structured: dict[str, Any] = answer["structuredContent"]
        return structured

    def hang_up(self) -> None:
        """Close its standard input, as a client does that ends."""
        self._writer.write_eof()

    def stop_reading(self) -> None:
        """Read nothing more of what it writes, as a client does that has crashed."""
        self._writer.get_extra_info("socket").shutdown(socket.SHUT_RD)

    async def rest(self) -> bytes:
        """Return what it still writes until it has ended."""
        written = b""
        with suppress(
            ConnectionResetError
        ):  # how a socket closes, unlike a pipe, if something in it was not read
            while line := await self._reader.readline():
                written += line
        return written

    async def ended(self) -> int:
        """Wait until it has ended, and return its exit status, less than 0 for a signal."""
        self._writer.close()
        return int(await self._forks.ask(self.pid))

    def _write(self, message: dict[str, Any]) -> None:
        self._writer.write(f"{json.dumps(message)}\n".encode())


@attrs.define
class Forks:
    """The process that forks servers."""

    address: str
    log: Path

    @asynccontextmanager
    async def server(self, environment: dict[str, str], *options: str) -> AsyncGenerator[Server]:
        """A server, from its handshake on; whoever asks for it waits for its end too."""
        reader, writer = await asyncio.open_unix_connection(self.address, limit=2**20)
        wanted = {"environment": environment, "options": options, "log": str(self.log)}
        writer.write(f"{json.dumps(wanted)}\n".encode())
        server = Server(int(await reader.readline()), self, reader, writer)
        try:
            await server.greet()
            yield server
        finally:
            writer.close()

    async def ask(self, wanted: object) -> bytes:
        """Send one line, and return the line that it is answered with."""
        reader, writer = await asyncio.open_unix_connection(self.address)
        writer.write(f"{json.dumps(wanted)}\n".encode())
        answer = await reader.readline()
        writer.close()
        return answer


@contextmanager
def forking_process(folder: Path) -> Generator[str, None, None]:
    """The process that forks servers, for as long as it is wanted: its address."""
    address = str(folder / "forks")
    with subprocess.Popen([sys.executable, __file__, address], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"listening\n"
        try:
            yield address
        finally:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(address)
                connection.sendall(b'"end"\n')


if __name__ == "__main__":
    fork_servers(sys.argv[1])
