"""The command line as a child process, or in this one, against a local Asana in a thread of its own."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import attrs

from asana_jobs.cli.program import run
from asana_jobs.testing import AsanaSimulator, SimulatorLimits


#: So quick that a test waits for milliseconds, and still in progress at the first look.
QUICK = 0.1


@attrs.frozen
class Ended:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """Standard output, read as JSON lines."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def summary(self) -> dict[str, Any]:
        """The last line of standard output."""
        return self.events[-1]


@attrs.define
class LocalAsana:
    """A simulator whose loop runs in another thread, so that a test may wait for a child process."""

    simulator: AsanaSimulator
    loop: asyncio.AbstractEventLoop

    @property
    def variables(self) -> dict[str, str]:
        """What points a command at it."""
        return {"ASANA_BASE_URL": self.simulator.base_url, "ASANA_ACCESS_TOKEN": "good-token"}

    def do(self, action: Callable[[AsanaSimulator], object]) -> None:
        """Change the simulator, in its own thread."""
        done = threading.Event()

        def act() -> None:
            action(self.simulator)
            done.set()

        self.loop.call_soon_threadsafe(act)
        assert done.wait(300)

    def add_job(self, gid: str, states: Any, **fields: Any) -> None:
        """Make a job exist."""
        self.do(lambda simulator: simulator.add_job(gid, states, **fields))

    def posts(self) -> list[tuple[str, Any]]:
        """The path and the body of each POST."""
        sent = [record for record in self.simulator.requests if record.method == "POST"]
        return [(record.path, record.body["data"] if record.body else None) for record in sent]

    def wait_for_a_request(self) -> None:
        """Wait until something was asked."""
        deadline = time.monotonic() + 30
        while not self.simulator.requests and time.monotonic() < deadline:
            time.sleep(0.01)


@contextmanager
def local_asana(**options: Any) -> Generator[LocalAsana, None, None]:
    """A local Asana that knows every gid, and whose jobs are over at once."""
    listening = threading.Event()
    served: list[LocalAsana] = []
    stop: list[asyncio.Event] = []
    chosen: dict[str, Any] = {"durations": QUICK, "limits": SimulatorLimits.unlimited(), **options}

    async def serve() -> None:
        async with AsanaSimulator(**chosen) as simulator:
            stop.append(asyncio.Event())
            served.append(LocalAsana(simulator, asyncio.get_running_loop()))
            listening.set()
            await stop[0].wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert listening.wait(300)
    try:
        yield served[0]
    finally:
        served[0].loop.call_soon_threadsafe(stop[0].set)
        thread.join(300)


def environment(asana: LocalAsana | None = None, **variables: str) -> dict[str, str]:
    """The environment of a command: nothing of Asana's that the test did not put there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ASANA_")}
    return {**kept, "COLUMNS": "80", "TERM": "xterm", **(asana.variables if asana else {}), **variables}


def command(*arguments: str) -> list[str]:
    """The words that start a child process."""
    return [sys.executable, "-m", "asana_jobs", *arguments]


def run_child(
    *arguments: str, asana: LocalAsana | None = None, stdin: str = "", variables: dict[str, str] | None = None
) -> Ended:
    """Run a command to its end in a process of its own."""
    ended = subprocess.run(
        command(*arguments),
        input=stdin,
        env=environment(asana, **(variables or {})),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Ended(ended.returncode, ended.stdout, ended.stderr)


def modules_after(*arguments: str) -> set[str]:
    """The modules that are imported once a command has run in a process of its own, which it must do well."""
    code = (
        "import sys; from asana_jobs.cli.program import run; "
        f"status = run({[*arguments]}); print(*sys.modules, file=sys.stderr); sys.exit(status)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    modules = set(ended.stderr.split())
    assert "asana_jobs.cli.program" in modules
    return modules


def start_child(
    *arguments: str, asana: LocalAsana | None = None, stdout: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start a command in a process of its own, to be interrupted or read from while it runs."""
    return subprocess.Popen(
        command(*arguments),
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=environment(asana),
        text=True,
    )


def end_of(child: subprocess.Popen[str], already_read: str = "") -> Ended:
    """Wait until a child has ended."""
    stdout, stderr = child.communicate(timeout=300)
    return Ended(child.returncode, already_read + (stdout or ""), stderr or "")


def run_here(
    *arguments: str,
    asana: LocalAsana | None = None,
    stdin: str = "",
    variables: dict[str, str] | None = None,
) -> Ended:
    """Run a command in this process, which takes a tenth of the time of a child."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    source = io.TextIOWrapper(io.BytesIO(stdin.encode()), "utf-8")
    with (
        patch.dict(os.environ, environment(asana, **(variables or {})), clear=True),
        patch.object(sys, "stdin", source),
        patch.object(sys, "stdout", streams[0]),
        patch.object(sys, "stderr", streams[1]),
    ):
        status = run(arguments)
    return Ended(status, *(_text(stream) for stream in streams))


def _text(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()
