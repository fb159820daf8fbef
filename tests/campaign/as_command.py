"""Runs a part of the campaign outside of pytest, in virtual time as there."""

import asyncio
import logging
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import looptime


def print_lines(lines: Callable[[Path], AsyncIterator[str]]) -> None:
    """Print what *lines* finds out, as it comes; it is given an empty folder."""

    async def go_through(folder: Path) -> None:
        async for line in lines(folder):
            print(line, flush=True)  # noqa: T201  # a command prints

    logging.disable(logging.CRITICAL)
    with (
        tempfile.TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0, noop_cycles=42)) as runner,
    ):
        runner.run(go_through(Path(folder)))
