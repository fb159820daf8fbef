"""Export files: to disk, or record by record."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, cast, final

from asana_jobs._export_file import BLOCK, PartialFile
from asana_jobs._export_stream import ExportStream
from asana_jobs._inflate import Inflate
from asana_jobs.errors import DownloadError
from asana_jobs.models import Job


#: Called with the bytes done and the bytes in all, ``None`` while that is not known.
Progress: TypeAlias = Callable[[int, int | None], object]
#: One line of an export.
Record: TypeAlias = dict[str, Any]

#: Characters of a line above which it is no line of an export.
LONGEST_LINE: Final = 2**28


def link_of(job: Job) -> str:
    """Return the link to a job's file, or say why there is none."""
    export = job.new_graph_export or job.new_resource_export or job.organization_export
    if job.failed:
        raise DownloadError(f"job {job.gid} failed, there is no file. Start the export again.")
    if not job.done:
        raise DownloadError(
            f"job {job.gid} is {job.status}, there is no file yet. Wait for it with wait_for_job."
        )
    if export is None:
        raise DownloadError(f"job {job.gid} is no export: it has no file.")
    if export.download_url is None:
        raise DownloadError(f"job {job.gid} has succeeded but names no file yet. Try again in a moment.")
    return export.download_url


async def download(
    stream_from: Callable[[int, str | None], ExportStream],
    gid: str,
    destination: str | PathLike[str],
    progress: Progress | None,
) -> Path:
    """Write an export's file to *destination*; see `AsanaClient.download_export`."""
    partial = await asyncio.to_thread(PartialFile.beside, destination, gid)
    target = partial.destination
    try:
        position, etag = await asyncio.to_thread(partial.open)
        stream = stream_from(position, etag)
        try:
            await _copy(stream, partial, progress)
        finally:
            stream.close()
        await asyncio.to_thread(partial.finish)
    except OSError as error:
        raise DownloadError(
            f"the export of job {gid} could not be written to {target}: {error.strerror or error}. "
            f"What has been downloaded is kept beside it; make room or choose another place, then call again."
        ) from error
    finally:
        partial.close()
    return target


async def _copy(stream: ExportStream, partial: PartialFile, progress: Progress | None) -> None:
    writing: asyncio.Future[None] | None = None
    block = bytearray()
    noted = stream.etag
    try:
        while True:
            piece = await stream.read()
            if stream.restarted:
                # What came before is of another version: nothing of it may stay.
                stream.restarted = False
                await _finish(writing)
                writing = None
                block.clear()
                await asyncio.to_thread(partial.restart)
            if stream.etag != noted:
                noted = stream.etag
                await asyncio.to_thread(partial.begin, noted)
            block += piece
            if len(block) >= BLOCK or not piece:
                # One block is written while the next one is read.
                await _finish(writing)
                writing = asyncio.ensure_future(asyncio.to_thread(partial.write, bytes(block)))
                block.clear()
            if progress is not None:
                progress(stream.position, stream.total)
            if not piece:
                return
    finally:
        await _finish(writing)


async def _finish(writing: asyncio.Future[None] | None) -> None:
    if writing is None:
        return
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        # The thread cannot be stopped, and the file must not be closed under it.
        await asyncio.wait([writing])
        raise


@final
class ExportRecords(AsyncIterator[Record]):
    """The records of an export, one by one, straight from the stream; memory does not grow with the file.

    ::

        async for record in asana.iter_export(job):
            print(record["resource_type"], record["gid"])

    Use it in ``async with`` if you may leave the loop early; otherwise the connection is closed when it is dropped.

    Raises, from the loop:
        DownloadError: the file cannot be had, is damaged, truncated, or changed while it was read.
    """

    def __init__(self, open_stream: Callable[[], ExportStream], gid: str) -> None:
        self._open_stream = open_stream
        self._gid = gid
        self._stream: ExportStream | None = None
        self._records: Iterator[Record] = iter(())
        self._lines = _Lines()
        self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        while True:
            for record in self._records:
                return record
            if self._over:
                raise StopAsyncIteration
            try:
                self._records = iter(await self._next_records())
            except zlib.error as error:
                raise DownloadError(
                    f"the export of job {self._gid} is damaged: {error}. Start it again."
                ) from error
            except ValueError as error:
                raise DownloadError(
                    f"the export of job {self._gid} holds a line that is not JSON: {error}"
                ) from error

    async def _next_records(self) -> list[Record]:
        if self._stream is None:
            self._stream = self._open_stream()
        piece = await self._stream.read()
        if self._stream.restarted:
            raise DownloadError(
                f"the export of job {self._gid} changed while it was read. Read it from the start."
            )
        if not piece:
            self._over = True
            await self.aclose()
            if not self._lines.whole:
                raise DownloadError(f"the export of job {self._gid} ends in the middle. Read it again.")
        # Inflating and parsing hold the interpreter for long: not on the event loop.
        return await asyncio.to_thread(self._lines.feed, piece)

    async def aclose(self) -> None:
        """Close the connection."""
        if self._stream is not None:
            self._stream.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._over = True
        await self.aclose()

    def __del__(self) -> None:
        if self._stream is not None:
            self._stream.close()


class _Lines:
    """From compressed pieces to records: JSON lines, or one JSON document, which is then one line or a list."""

    def __init__(self) -> None:
        self._inflate = Inflate()
        self._rest = b""

    @property
    def whole(self) -> bool:
        return self._inflate.whole

    def feed(self, data: bytes) -> list[Record]:
        records: list[Record] = []
        for content in self._inflate.feed(data) if data else ():
            *lines, self._rest = (self._rest + content).split(b"\n")
            for line in lines:
                records += _parse(line)
            if len(self._rest) > LONGEST_LINE:
                raise ValueError(f"a line is longer than {LONGEST_LINE} bytes")
        if not data:
            records += _parse(self._rest)
            self._rest = b""
        return records


def _parse(line: bytes) -> list[Record]:
    if not line.strip():
        return []
    value: object = json.loads(line)
    found = cast("list[object]", value) if isinstance(value, list) else [value]
    for record in found:
        if not isinstance(record, dict):
            raise ValueError(f"expected an object, not {type(record).__name__}")
    return cast("list[Record]", found)
