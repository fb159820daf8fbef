"""An export file to disk: one block is written and checked while the next one comes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from asana_jobs._export_file import BLOCK, PartialFile
from asana_jobs._export_stream import ExportStream
from asana_jobs._off_loop import off_loop, outlast, start_off_loop
from asana_jobs.errors import DownloadError
from asana_jobs.models import Job


#: Called with the bytes done and the bytes in all, ``None`` while that is not known.
Progress: TypeAlias = Callable[[int, int | None], object]


def link_of(job: Job) -> str | None:
    """Return the link to a job's file, ``None`` if it has none yet, or say why it never will."""
    export = job.new_graph_export or job.new_resource_export or job.organization_export
    if job.failed:
        raise DownloadError(f"job {job.gid} failed, there is no file. Start the export again.")
    if not job.done:
        raise DownloadError(
            f"job {job.gid} is {job.status}, there is no file yet. Wait for it with wait_for_job."
        )
    if export is None:
        raise DownloadError(f"job {job.gid} is no export: it has no file.")
    return export.download_url


async def download(
    open_stream: Callable[[int, str | None], ExportStream], partial: PartialFile, progress: Progress | None
) -> Path:
    """Write an export's file to where *partial* belongs; see `AsanaClient.download_export`."""
    try:
        await off_loop(partial.open)
        while await off_loop(partial.recheck):
            pass
        stream = open_stream(partial.size, partial.etag)
        try:
            await _copy(stream, partial, progress)
        except DownloadError:
            if stream.lost:
                await off_loop(partial.discard)
            raise
        finally:
            stream.close()
        await off_loop(partial.finish)
    finally:
        partial.close()
    return partial.destination


async def _copy(stream: ExportStream, partial: PartialFile, progress: Progress | None) -> None:
    await stream.start()
    if stream.position < partial.size:
        await off_loop(partial.restart)
    if stream.etag != partial.etag:
        await off_loop(partial.begin, stream.etag)
    writer = _Writer(partial)
    try:
        if progress is not None:
            progress(stream.position, stream.total)
        while piece := await stream.read():
            await writer.add(piece)
            if progress is not None:
                progress(stream.position, stream.total)
    except BaseException:
        with contextlib.suppress(DownloadError):
            await writer.flush()  # what has come is kept
        raise
    await writer.flush()


class _Writer:
    """Writes one block in a thread while the next one is gathered."""

    def __init__(self, partial: PartialFile) -> None:
        self._partial = partial
        self._pieces: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Future[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Take a piece; waits while a whole block is ahead of the disk."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= BLOCK:
            await self._hand_over()

    async def flush(self) -> None:
        """Write the rest, and wait until it is written."""
        await self._hand_over()
        await self._settle()

    async def _hand_over(self) -> None:
        await self._settle()
        if self._pieces:
            # The pieces as they are: putting them together would cost as much as checking them.
            self._writing = start_off_loop(self._partial.write, *self._pieces)
            self._forget()

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            await outlast(writing)
        finally:
            if writing.exception() is not None:
                self._forget()  # what comes next must not be written behind a gap

    def _forget(self) -> None:
        self._pieces, self._size = [], 0
