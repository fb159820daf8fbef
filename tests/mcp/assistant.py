"""An assistant as the official client: it calls tools, and counts its calls."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest

from asana_jobs._client.clock import SystemClock
from asana_jobs.testing import AsanaSimulator


pytest.importorskip("mcp", reason="needs the extra mcp")

from mcp.client import Client
from mcp.client.extension import ClientExtension
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.server.mcpserver import MCPServer
from mcp_types import TextContent


REAL_TIME = pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it

Progress = tuple[float, float | None, str | None]


class LoopClock(SystemClock):
    """A clock whose time of day goes as the loop's: what a ledger tells of a job's age holds in virtual time, too."""

    def __init__(self) -> None:
        super().__init__()
        self._midnight = datetime.now(UTC) - timedelta(seconds=self.monotonic())

    def now(self) -> datetime:
        """The time of day."""
        return self._midnight + timedelta(seconds=self.monotonic())


class RefusedError(Exception):
    """A tool has answered with an error: its text."""


@attrs.define
class Assistant:
    """Calls tools through the official client.

    Attributes:
        client: The client.
        calls: How many calls were made.
        progress: What was told while they ran.
    """

    client: Client
    calls: int = 0
    progress: list[Progress] = attrs.field(factory=list[Progress])

    async def call(self, tool: str, /, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return what it answers; an error is raised."""
        self.calls += 1
        result = await self.client.call_tool(tool, arguments, progress_callback=self._hear)
        if result.is_error:
            raise RefusedError(*[part.text for part in result.content if isinstance(part, TextContent)])
        answer: dict[str, Any] = result.structured_content or {}
        assert answer, "an answer is an object"
        return answer

    async def refused(self, tool: str, /, **arguments: Any) -> str:
        """Call a tool that refuses, and return what it says."""
        with pytest.raises(RefusedError) as caught:
            await self.call(tool, **arguments)
        (text,) = caught.value.args
        assert isinstance(text, str)
        return text

    async def wait(self, job: str) -> dict[str, Any]:
        """Call ``wait_for_job`` until it is done, as the instructions say."""
        while not (answer := await self.call("wait_for_job", job=job))["done"]:
            assert answer["retry_in"] == 0 or "expected_end" in answer
        return answer

    async def _hear(self, progress: float, total: float | None, message: str | None) -> None:
        self.progress.append((progress, total, message))


def variables(simulator: AsanaSimulator, folder: Path) -> dict[str, str]:
    """The environment of a server that works for an assistant at a simulator."""
    return {
        "ASANA_BASE_URL": simulator.base_url,
        "ASANA_ACCESS_TOKEN": "good-token",
        "XDG_DATA_HOME": str(folder),
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }


@asynccontextmanager
async def child(environment: Mapping[str, str], *options: str, log: Path) -> AsyncGenerator[Assistant]:
    """An assistant whose server is ``asana-jobs mcp`` in a process of its own; what it logs is in *log*."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "asana_jobs", "mcp", *options], env=dict(environment)
    )
    with log.open("a", encoding="utf-8") as errors:
        async with Client(stdio_client(server, errlog=errors)) as client:
            yield Assistant(client)


@asynccontextmanager
async def in_this_process(
    make: Callable[[], MCPServer[None]], *extensions: ClientExtension
) -> AsyncGenerator[Assistant]:
    """An assistant whose server runs in the loop of the test, in a task that opens and closes it."""
    ready = asyncio.Event()
    over = asyncio.Event()
    opened: list[Assistant] = []

    async def live() -> None:
        try:
            async with Client(make(), extensions=extensions) as client:
                opened.append(Assistant(client))
                ready.set()
                await over.wait()
        finally:
            ready.set()

    living = asyncio.create_task(live())
    try:
        await ready.wait()
        if not opened:
            await living  # it has failed
        yield opened[0]
    finally:
        over.set()
        await living
