"""The records of an export, straight from its stream: JSON lines, or one list, however it is laid out."""

from __future__ import annotations

import asyncio
import codecs
import json
import re
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, Never, Self, TypeAlias, final

from asana_jobs._client.clock import running_loop
from asana_jobs._client.exports.gzip_stream import GzipStream
from asana_jobs._client.exports.stream import ExportStream
from asana_jobs._client.http.lifetime import start_in_thread
from asana_jobs._client.misuse import Instead, MisuseError
from asana_jobs.errors import DownloadError


#: One object of an export.
Record: TypeAlias = dict[str, Any]

#: Characters of the longest record that is read: memory has an end.
MAX_RECORD_LENGTH: Final = 2**25
#: Characters of a record above which it is not tried with every piece.
LONG_RECORD_LENGTH: Final = 2**16

_BETWEEN_RECORDS: Final = re.compile(r"[ \t\r\n,\[\]]*")

#: Bytes of blanks before the first record that are looked at.
MAX_HEAD_SIZE: Final = 2**16
_PERHAPS_RECORDS: Final = re.compile(rb"(\xef(\xbb(\xbf)?)?)?\s*(\[\s*)?(\{\s*)?")
_RECORDS: Final = re.compile(rb"(\xef\xbb\xbf)?\s*(\[\s*\]|(\[\s*)?\{\s*[\"}])")
_PAGE: Final = re.compile(rb"(\xef\xbb\xbf)?\s*<")

_ITERATE_RECORDS: Final = "`async for record in asana.iter_export(job)`"


def begins_export(head: bytes, *, packed: bool) -> bool | None:
    """Return whether content that begins with *head* may be that of an export; ``None`` while that cannot be told.

    JSON lines or a list of objects may. Of what was *packed*, anything may that is no page of the web.
    """
    if _PERHAPS_RECORDS.fullmatch(head):
        return None if len(head) < MAX_HEAD_SIZE else packed
    return not _PAGE.match(head) if packed else _RECORDS.match(head) is not None


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
        self._batches = _RecordBatches()
        self._parsing: asyncio.Future[list[Record] | None] | None = None
        self._records: Iterator[Record] = iter(())
        self._over = self._busy = False

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not
        __enter__ = Instead("records are opened with `async with asana.iter_export(job) as records`")
        # Iteration falls back on this, while nobody takes for an iterable what has no ``__iter__``.
        __getitem__ = Instead(f"records are iterated with {_ITERATE_RECORDS}")

        def __await__(self) -> Never:
            raise MisuseError(f"records are not awaited but iterated: {_ITERATE_RECORDS}")

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
            if self._stream is None:
                self._loop = running_loop()
                self._stream = self._open_stream()
            while (batch := await self._parse()) is None and not self._batches.over:
                self._batches.feed(await self._stream.read())
        except BaseException:
            self._close_stream()  # now, not when the traceback is forgotten
            raise
        else:
            return batch
        finally:
            self._busy = False

    async def _parse(self) -> list[Record] | None:
        # Inflating and parsing take the processor for long: not on the event loop. A cancelled call leaves the
        # thread's work to the next one, so that ``asyncio.wait_for(anext(records), 5)`` loses nothing.
        if self._parsing is None:
            self._parsing = start_in_thread(self._batches.next)
            self._parsing.add_done_callback(_silence)
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


def _silence(parsing: asyncio.Future[list[Record] | None]) -> None:
    # What a thread found that nobody waits for any more is not worth asyncio's complaint.
    if not parsing.cancelled():
        parsing.exception()


class _RecordBatches:
    """Records of compressed pieces, a batch at a time; used by one thread after the other.

    Attributes:
        over: Whether there are no more.
    """

    def __init__(self) -> None:
        self.over = False
        self._archive = GzipStream()
        self._json = JsonRecords()
        self._contents: Iterator[bytes] = iter(())
        self._ended = False

    def feed(self, piece: bytes) -> None:
        """Take the next compressed piece, empty at the end, when `next` has no more of the last one."""
        self._contents = self._archive.feed(piece)
        self._ended = not piece

    def next(self) -> list[Record] | None:
        """Return the next records, or ``None`` if there are none left in what was fed."""
        for content in self._contents:
            if records := self._json.feed(content):
                return records
        if not self._ended or self.over:
            return None
        self.over = True
        if not self._archive.whole:
            raise zlib.error("it ends in the middle")
        return self._json.end()


class JsonRecords:
    """A parser of JSON lines, of one list of objects, or of objects that follow each other. No I/O.

    Memory grows with the longest record, not with the text.

    Raises, from `feed` and `end`:
        ValueError: it is none of these; what was found before is lost with it.
    """

    def __init__(self) -> None:
        # Some writers begin UTF-8 with a byte order mark.
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder().raw_decode
        self._rest = ""
        self._tried = 0
        self._in_list = False

    def feed(self, content: bytes) -> list[Record]:
        """Return the records that end in the next piece of *content*."""
        self._rest += self._decoder.decode(content)
        # A long record is tried again when twice as much of it is there: so the work stays in proportion to its
        # length.
        if len(self._rest) < 2 * self._tried:
            return []
        records = self._find()
        self._tried = len(self._rest) if len(self._rest) > LONG_RECORD_LENGTH else 0
        if len(self._rest) > MAX_RECORD_LENGTH:
            raise ValueError(f"a record is longer than {MAX_RECORD_LENGTH} characters")
        return records

    def end(self) -> list[Record]:
        """Return the last records: there is no more content."""
        self._rest += self._decoder.decode(b"", final=True)
        records = self._find()
        if self._rest:
            self._scan(self._rest)  # it raises what is wrong
        if self._in_list:
            raise ValueError("the list is never closed")
        return records

    def _find(self) -> list[Record]:
        records: list[Record] = []
        text, position = self._rest, 0
        while (position := self._skip(text, position)) < len(text):
            try:
                record, position = self._scan(text, position)
            except json.JSONDecodeError:
                break  # as far as can be told, its end has not come yet
            except RecursionError:
                raise ValueError("it is nested too deep") from None
            if not isinstance(record, dict):
                raise ValueError(f"expected an object, not {type(record).__name__}")
            records.append(record)  # pyright: ignore[reportUnknownArgumentType]  # JSON is anything
        self._rest = text[position:]
        return records

    def _skip(self, text: str, position: int) -> int:
        """Skip what stands between records, and note whether that opens or closes a list."""
        found = _BETWEEN_RECORDS.match(text, position)
        between = found[0].strip() if found else ""
        for mark in "".join(between.split()):
            if (mark == "[") is self._in_list and mark != ",":
                raise ValueError(f"unexpected {mark!r} between records")
            if mark == "," and not self._in_list:
                raise ValueError("unexpected ',' between records")
            if mark != ",":
                self._in_list = mark == "["
        return found.end() if found else position
