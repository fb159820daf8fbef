"""The machines of `distributed.py`: a Redis to be killed, and workers in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from asana_jobs import RateLimits
from asana_jobs.worker import Result, run_worker


TOKEN: Final = "1/1201234567890123:0123456789abcdef0123456789abcdef"  # noqa: S105  # the simulator takes any
PER_MINUTE: Final = 1500
#: For what is not about the pace.
UNLIMITED: Final = 60_000


class Redis:
    """A redis-server with its append-only file on, to be killed."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.folder = tempfile.mkdtemp(prefix="fleet-redis-")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, on what it had written before."""
        self.process = subprocess.Popen(  # noqa: S603  # our own server
            [
                *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder),
                *("--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0"),
            ],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def dump(self) -> str:
        """Return all that was ever written."""
        files = (path for path in Path(self.folder).rglob("*") if path.is_file())
        return self.command("KEYS *") + "".join(path.read_bytes().decode(errors="replace") for path in files)

    def used_memory(self) -> int:
        """Return the bytes it uses for its data."""
        lines = self.command("INFO memory").splitlines()
        return int(next(line for line in lines if line.startswith("used_memory:")).partition(":")[2])

    def command(self, *words: str) -> str:
        """Send one command over a plain socket."""
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.sendall((" ".join(words) + "\r\n").encode())
            connection.settimeout(0.3)
            answer = b""
            with contextlib.suppress(TimeoutError):
                while chunk := connection.recv(1 << 20):
                    answer += chunk
        return answer.decode(errors="replace")


Workers = list[subprocess.Popen[bytes]]


@asynccontextmanager
async def machines(
    redis: Redis, base_url: str, count: int, *, concurrency: int = 4, per_minute: int = PER_MINUTE
) -> AsyncGenerator[Workers, None]:
    """Run workers in processes of their own, and end those that are left."""
    arguments = [redis.url, base_url, "--concurrency", str(concurrency), "--per-minute", str(per_minute)]
    workers = [
        subprocess.Popen(  # noqa: S603, ASYNC220  # ourselves
            [sys.executable, __file__, *arguments], env={**os.environ, "ASANA_ACCESS_TOKEN": TOKEN}
        )
        for _ in range(count)
    ]
    try:
        yield workers
        for worker in workers:
            worker.terminate()
        for worker in workers:
            await asyncio.to_thread(worker.wait, 20)  # the simulator answers meanwhile
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.kill()


async def main() -> None:
    """Be a worker."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("base_url")
    parser.add_argument("--concurrency", type=int)
    parser.add_argument("--per-minute", type=int)
    options = parser.parse_args()
    logging.getLogger("docket").setLevel(logging.CRITICAL)  # it shows every attempt to reach Redis

    async def nothing(_: Result) -> None:
        """Stand for a user's handler."""

    await run_worker(
        options.url,
        base_url=options.base_url,
        limits=RateLimits(requests_per_minute=options.per_minute),
        concurrency=options.concurrency,
        on_finished=nothing,
    )


if __name__ == "__main__":
    asyncio.run(main())
