"""The records of an export, straight from its stream."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Final, Never, Self, final

from asana_jobs._clock import running_loop
from asana_jobs._export_stream import ExportStream
from asana_jobs._inflate import Inflate
from asana_jobs._json_records import JsonRecords, Record
from asana_jobs._lifetime import Instead, MisuseError
from asana_jobs._off_loop import start_off_loop
from asana_jobs.errors import DownloadError


_ITERATE: Final = "`async for record in asana.iter_export(job)`"


@final
class ExportRecords(AsyncIterator[Record]):
    """The records of an export, one by one, straight from the stream; memory does not grow with the file.

    ::

        async for record in asana.iter_export(job):
            print(record["resource_type"], record["gid"])

    Leaving the loop early drops the connection, unless you hold on to the iterator: then use it in ``async with``,
    or call `aclose`. Records are decompressed and parsed in a thread, some hundred KiB of them at a time.

    Raises, from the loop:
        DownloadError: the file cannot be had, is damaged, truncated, or changed while it was read.
        AsanaJobsError: reading the job failed.

    You get one from ``iter_export``; do not make it yourself.
    """

    def __init__(self, open_stream: Callable[[], ExportStream], gid: str) -> None:
        self._open_stream = open_stream
        self._what = f"the export of job {gid}"
        self._stream: ExportStream | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._batches = _Batches()
        self._parsing: asyncio.Future[list[Record] | None] | None = None
        self._records: Iterator[Record] = iter(())
        self._over = self._busy = False

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not
        __enter__ = Instead("records are opened with `async with asana.iter_export(job) as records`")
        # Iteration falls back on this, while nobody takes for an iterable what has no ``__iter__``.
        __getitem__ = Instead(f"records are iterated with {_ITERATE}")

        def __await__(self) -> Never:
            raise MisuseError(f"records are not awaited but iterated: {_ITERATE}")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        while not self._over:
            for record in self._records:
                return record
            batch = await self._next_batch()
            if batch is None:
                await self.aclose()
            else:
                self._records = iter(batch)
        raise StopAsyncIteration

    async def _next_batch(self) -> list[Record] | None:
        """Return the next records; ``None`` when there are no more."""
        if self._busy:
            raise RuntimeError("these records are being iterated by another task")
        self._busy = True
        try:
            return await self._read_batch()
        except BaseException:
            self._close_stream()  # now, not when the traceback is forgotten
            raise
        finally:
            self._busy = False

    async def _read_batch(self) -> list[Record] | None:
        if self._stream is None:
            self._loop = running_loop()
            self._stream = self._open_stream()
        while True:
            batch = await self._parse()
            if batch is not None:
                return batch
            if self._batches.over:
                return None
            self._batches.feed(await self._stream.read())

    async def _parse(self) -> list[Record] | None:
        # Inflating and parsing take the processor for long: not on the event loop. A cancelled call leaves the
        # thread's work to the next one, so that ``asyncio.wait_for(anext(records), 5)`` loses nothing.
        if self._parsing is None:
            self._parsing = start_off_loop(self._batches.next)
            self._parsing.add_done_callback(_look_at)
        await asyncio.wait([self._parsing])
        parsing, self._parsing = self._parsing, None
        try:
            return parsing.result()
        except zlib.error as error:
            self._over = True
            raise DownloadError(f"{self._what} is damaged: {error}. Start the export again.") from error
        except ValueError as error:
            self._over = True
            raise DownloadError(
                f"{self._what} is neither JSON lines nor a list of objects: {error}. Write it to disk with "
                f"download_export, and look at it."
            ) from error

    async def aclose(self) -> None:
        """Drop the connection, and end the iteration."""
        self._over = True
        self._close_stream()

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        loop = self._loop
        if loop is None or loop.is_closed():
            return
        try:
            ours = asyncio.get_running_loop() is loop
        except RuntimeError:
            ours = False
        if ours:
            self._close_stream()
        elif self._stream is not None:
            # Garbage is collected in whatever thread makes it; connections belong to the loop's.
            loop.call_soon_threadsafe(self._stream.close)


class _Batches:
    """From compressed pieces to records, a batch at a time; one thread after the other."""

    def __init__(self) -> None:
        self.over = False
        self._inflate = Inflate()
        self._json = JsonRecords()
        self._contents: Iterator[bytes] = iter(())
        self._ended = False

    def feed(self, piece: bytes) -> None:
        """Give the next compressed piece when `next` has no more of the last one; empty at the end."""
        self._contents = self._inflate.feed(piece)
        self._ended = not piece

    def next(self) -> list[Record] | None:
        """Return the next records, or ``None`` if there are none left in what was fed."""
        for content in self._contents:
            if records := self._json.feed(content):
                return records
        if not self._ended or self.over:
            return None
        self.over = True
        if not self._inflate.whole:
            raise zlib.error("it ends in the middle")
        return self._json.end()


def _look_at(parsing: asyncio.Future[list[Record] | None]) -> None:
    # What a thread found that nobody waits for any more is not worth asyncio's complaint.
    if not parsing.cancelled():
        parsing.exception()
