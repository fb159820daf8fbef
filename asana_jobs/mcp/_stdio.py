"""The server on standard input and output, which ends when its client closes them, or when it is told to."""

from __future__ import annotations

import asyncio
import io
import os
import select
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from os import PathLike
from typing import TYPE_CHECKING

from asana_jobs import AsanaClient
from asana_jobs.mcp._server import LONGEST_CALL, make_server


if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


async def serve(
    make_client: Callable[[], AbstractAsyncContextManager[AsanaClient]] = AsanaClient,
    *,
    ledger: str | PathLike[str] | None = None,
    longest_call: float = LONGEST_CALL,
) -> None:
    """Run the server until its client closes standard input or reads no more. Cancelled, it ends as it does then.

    Args:
        make_client: As for `make_server`.
        ledger: As for `make_server`.
        longest_call: Seconds, as for `make_server`.

    Raises:
        ValueError: *longest_call* is no time.
    """
    server = make_server(make_client, ledger=ledger, longest_call=longest_call)
    if sys.platform == "win32":  # where only sockets can be selected
        await server.run_stdio_async()
        return
    with _stoppable_input() as source:
        serving = asyncio.create_task(server.run_stdio_async(), name="asana-jobs-mcp")
        try:
            await asyncio.wait([serving])
        finally:
            # Its thread that reads cannot be cancelled.
            source.stop()
            await asyncio.wait([serving])
    try:
        serving.result()
    except* (BrokenPipeError, ConnectionResetError):
        pass  # its client reads no more, which is an end like any other


class _StoppableInput(io.RawIOBase):
    """Standard input that can be made to end while somebody reads from it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._stopped, self._stop = os.pipe()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        ready, _, _ = select.select([self._descriptor, self._stopped], [], [])
        if self._stopped in ready:
            return 0
        return os.readv(self._descriptor, [buffer])

    def stop(self) -> None:
        """Have it end, now and for good."""
        os.write(self._stop, b"!")

    def close(self) -> None:
        if not self.closed:
            os.close(self._stopped)
            os.close(self._stop)
        super().close()


@contextmanager
def _stoppable_input() -> Generator[_StoppableInput, None, None]:
    """Put an input that can be stopped in the place of standard input, where the server looks for it."""
    before = sys.stdin
    source = _StoppableInput(0 if before is None else before.fileno())
    sys.stdin = io.TextIOWrapper(io.BufferedReader(source), "utf-8")
    try:
        yield source
    finally:
        sys.stdin = before
        source.close()
