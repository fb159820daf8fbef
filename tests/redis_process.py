"""A Redis of one's own, from the system's package: to be killed, restarted, filled up and locked."""

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest


PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")


def require_redis() -> str:
    """Return the server program; without it, fail where it must be there and skip elsewhere."""
    if PROGRAM is None:
        missing = "redis-server is not installed (apt-get install redis-server)"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return PROGRAM


def free_port() -> int:
    """Return a port that nobody uses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class RedisProcess:
    """One server on a port of its own, with its own folder."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = folder
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "RedisProcess":
        """Start it, or start it again on what it had written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._process = subprocess.Popen(
            [
                *(
                    require_redis(),
                    "--port",
                    str(self.port),
                    "--bind",
                    "127.0.0.1",
                    "--dir",
                    str(self.folder),
                ),
                *("--appendonly", "yes", "--save", "", "--daemonize", "no", *self._options),
            ],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    probe.sendall(b"PING\r\n")
                    if not probe.recv(64).startswith(b"-LOADING"):
                        return self
            time.sleep(0.025)
        raise TimeoutError("redis-server did not come up")

    def kill(self) -> None:
        """End it without warning."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    stop = kill

    def freeze(self) -> None:
        """Have it answer nobody, and break no connection: as a network that swallows everything."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Have it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def command(self, *words: str) -> str:
        """Send one command over a plain socket, and return the raw answer: no client library is trusted here."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            lines = [f"*{len(words)}", *(part for word in words for part in (f"${len(word.encode())}", word))]
            connection.sendall(("\r\n".join(lines) + "\r\n").encode())
            connection.settimeout(0.2)
            answer = b""
            try:
                while chunk := connection.recv(65536):
                    answer += chunk
            except (TimeoutError, ConnectionResetError):  # it ends its connections when it becomes a master
                pass
        return answer.decode(errors="replace")
