"""An export file to disk: one block is written and checked while the next one comes.

What has come stands in a `PartialFile` beside the destination, which gets its name when it is whole.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import stat
import sys
import zlib
from collections.abc import Callable, Generator
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeAlias, cast

from asana_jobs._client.exports.gzip_stream import GzipStream
from asana_jobs._client.exports.records import MAX_HEAD_SIZE, begins_export
from asana_jobs._client.exports.stream import ExportStream
from asana_jobs._client.http.lifetime import run_in_thread, start_in_thread, wait_shielded
from asana_jobs.errors import DownloadError
from asana_jobs.models import Job


if sys.platform != "win32":
    import fcntl


#: The permissions of what is made: an export holds what only the token's user may see.
PRIVATE_MODE: Final = 0o600
#: Bytes of a note.
MAX_NOTE_SIZE: Final = 4096
#: Bytes written, and read again, at a time.
BLOCK_SIZE: Final = 2**20

#: Neither through a link that somebody laid there, nor waiting for somebody at the other end of a pipe.
_NO_LINK_NO_PIPE: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_DISK_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_NOT_PERMITTED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_FOLDER: Final = {errno.ENOENT, errno.ENOTDIR}

#: Called with the bytes done and the bytes in all, ``None`` while that is not known.
Progress: TypeAlias = Callable[[int, int | None], object]


def link_of(job: Job) -> str | None:
    """Return the link to a job's file, or ``None`` if it has none yet.

    Raises:
        DownloadError: there is none and will be none; the message says why.
    """
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
    """Write the file of an export, and return where it is; see `AsanaClient.download_export`.

    Args:
        open_stream: Opens the file from a byte on, as a part of the version that is given.
        partial: The half-made file.
        progress: Called with the bytes done and in all.
    """
    try:
        await run_in_thread(partial.open)
        while await run_in_thread(partial.recheck):
            pass
        await _read(open_stream, partial, progress)
        await run_in_thread(partial.finish)
    finally:
        partial.close()
    return partial.destination


async def _read(
    open_stream: Callable[[int, str | None], ExportStream],
    partial: PartialFile,
    progress: Progress | None,
    *,
    again: bool = True,
) -> None:
    stream = open_stream(partial.size, partial.etag)
    try:
        return await _copy(stream, partial, progress)
    except DownloadError:
        if not (stream.changed and again):
            if stream.lost:
                await run_in_thread(partial.discard)
            raise
    finally:
        stream.close()
    await run_in_thread(partial.restart)
    return await _read(open_stream, partial, progress, again=False)


async def _copy(stream: ExportStream, partial: PartialFile, progress: Progress | None) -> None:
    await stream.start()
    if stream.position < partial.size:
        await run_in_thread(partial.restart)
    if stream.etag != partial.etag:
        await run_in_thread(partial.begin, stream.etag)
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
    """A writer of blocks: one is written in a thread while the next one is gathered."""

    def __init__(self, partial: PartialFile) -> None:
        self._partial = partial
        self._pieces: list[bytes] = []
        self._size = 0
        self._writing: asyncio.Future[None] | None = None

    async def add(self, piece: bytes) -> None:
        """Take a piece, waiting while a whole block is ahead of the disk."""
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size >= BLOCK_SIZE:
            await self._begin_block()

    async def flush(self) -> None:
        """Write the rest, and wait until it is written."""
        await self._begin_block()
        await self._settle()

    async def _begin_block(self) -> None:
        await self._settle()
        if self._pieces:
            # The pieces as they are: putting them together would cost as much as checking them.
            self._writing = start_in_thread(self._partial.write, *self._pieces)
            self._pieces, self._size = [], 0

    async def _settle(self) -> None:
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            await wait_shielded(writing)
        finally:
            if writing.exception() is not None:
                self._pieces, self._size = [], 0  # what comes next must not be written behind a gap


class PartialFile:
    """The half-made file of a download, with a note of the version that it is a part of.

    Beside ``export.json.gz`` stand ``.export.json.gz.1203.part`` and a note of what it is a part of; both are
    gone when the file is there. Whoever has it open holds a lock on it (not on Windows), so that two downloads
    never write the same one. Every method blocks, and raises `DownloadError` with what to do about it: call
    them in a thread.

    Attributes:
        destination: Where the whole file gets its name.
        path: Where the half-made file is.
        size: Bytes it holds.
        etag: The version of the file that these bytes are of.
    """

    def __init__(self, destination: str | PathLike[str], gid: str) -> None:
        self.destination = Path(destination).absolute()
        self.path = self.destination.with_name(f".{self.destination.name}.{gid}.part")
        self.size = 0
        self.etag: str | None = None
        self._gid = gid
        self._note = self.path.with_name(f"{self.path.name}.json")
        self._file: BinaryIO | None = None
        self._begin()

    def _begin(self) -> None:
        self._archive = GzipStream()
        #: The beginning of what it holds, until that is known to be an export's.
        self._head: bytes | None = b""

    def open(self) -> None:
        """Open the file, made or found, for this download alone. `recheck` what was found."""
        with self._explained():
            if self.destination.exists() and not self.destination.is_file():
                raise DownloadError(
                    f"{self.destination} is no regular file: name a file to write the export of job {self._gid} to."
                )
            self._file = self._open_locked()
            self.etag = self._read_note()
            if self.etag is None:
                self._file.truncate(0)

    def recheck(self) -> bool:
        """Read the next block of what was found, as if it had just come; ``False`` when there is no more."""
        with self._explained():
            block = self._open_file.read(BLOCK_SIZE)
            try:
                self._take_in(block)
            except (zlib.error, _NoExportError):
                self.restart()  # a power cut can leave a hole: what is there is no use
                return False
            return bool(block)

    def begin(self, etag: str | None) -> None:
        """Note the version of the file that is being written. Without one, the next download starts over."""
        with self._explained():
            self.etag = etag
            self._note.unlink(missing_ok=True)
            if etag is not None:
                with os.fdopen(_private(self._note, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as note:
                    json.dump({"v": 1, "etag": etag}, note)

    def write(self, *pieces: bytes) -> None:
        """Append *pieces*, and check them."""
        with self._explained():
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    # Unbuffered: nothing is left to be written when it is closed, on a disk that may be full.
                    rest = rest[self._open_file.write(rest) :]
                try:
                    self._take_in(piece)
                except zlib.error as error:
                    raise self._damaged(str(error)) from error
                except _NoExportError as error:
                    raise self._no_export(str(error)) from None

    def restart(self) -> None:
        """Begin again with an empty file."""
        with self._explained():
            self._open_file.seek(0)
            self._open_file.truncate()
            # After the bytes: a note without bytes does no harm, another version's bytes under it would.
            self._note.unlink(missing_ok=True)
            self.size, self.etag = 0, None
            self._begin()

    def finish(self) -> None:
        """Give the whole file its name, or raise what is wrong with it."""
        with self._explained():
            if not self._archive.whole:
                raise self._damaged("it ends in the middle" if self.size else "it is empty")
            if self._head is not None and not self._archive.packed:
                raise self._no_export("it ends before the first record")
            self._keep_mode()
            os.fsync(self._open_file.fileno())
            if sys.platform == "win32":
                self.close()  # an open file cannot be renamed there; elsewhere the lock is held to the end
            self.path.replace(self.destination)
            self._note.unlink(missing_ok=True)
            _sync_folder(self.destination.parent)

    def close(self) -> None:
        """Close the file and keep it for the next download; remove it if it is empty."""
        if self._file is not None:
            if not self._file.closed and not os.fstat(self._file.fileno()).st_size:
                with contextlib.suppress(DownloadError):
                    self.discard()
            self._file.close()

    def discard(self) -> None:
        """Remove the file, under its lock where that can be."""
        with self._explained():
            if sys.platform == "win32":
                self.close()
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def _open_locked(self) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        while True:
            file = os.fdopen(_private(self.path, flags), "r+b", buffering=0)
            try:
                self._check_ours(file)
                self._lock(file)
                # It may have been finished, and renamed, between opening and locking.
                if _is_named(file, self.path):
                    return cast("BinaryIO", file)
            except BaseException:
                file.close()
                raise
            file.close()

    def _check_ours(self, file: Any) -> None:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise DownloadError(
                f"the export of job {self._gid} is not written to {self.path}: it is no regular file, or has "
                f"another name elsewhere. Remove it."
            )

    def _keep_mode(self) -> None:
        # Whoever could read the file that is replaced can read the new one, and nobody else.
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                mode = self.destination.lstat().st_mode
                if stat.S_ISREG(mode):
                    os.fchmod(self._open_file.fileno(), mode & 0o666)

    def _lock(self, file: Any) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DownloadError(
                f"the export of job {self._gid} is being downloaded to {self.destination} already: wait for that, "
                f"or choose another place."
            ) from error
        except OSError as error:
            # Some network file systems have no locks. A download is better than none.
            if error.errno not in {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}:
                raise

    def _take_in(self, block: bytes) -> None:
        self.size += len(block)
        for content in self._archive.feed(block):
            if self._head is not None:
                self._check_head(self._head + content[:MAX_HEAD_SIZE])

    def _check_head(self, head: bytes) -> None:
        begins = begins_export(head, packed=self._archive.packed)
        if begins is False:
            raise _NoExportError(f"it begins with {head[:40].decode(errors='replace')!r}")
        self._head = None if begins else head

    def _damaged(self, reason: str) -> DownloadError:
        self.discard()
        return DownloadError(
            f"the archive of the export of job {self._gid} is damaged ({reason}); what was downloaded has been "
            f"thrown away. Download it again, and if that does not help, start the export again."
        )

    def _no_export(self, reason: str) -> DownloadError:
        self.discard()
        return DownloadError(
            f"what came for the export of job {self._gid} is no export: {reason}, and is neither gzip nor JSON. Is it "
            f"the page of a proxy or of a login? It has been thrown away, and {self.destination} is as it was. Look at "
            f"what stands between this machine and the file's server, and download it again."
        )

    def _read_note(self) -> str | None:
        try:
            with os.fdopen(_private(self._note, os.O_RDONLY), "rb") as file:
                note = json.loads(file.read(MAX_NOTE_SIZE))
        except (OSError, ValueError):
            return None
        etag = cast("dict[str, Any]", note).get("etag") if isinstance(note, dict) else None
        return etag if isinstance(etag, str) and etag.isascii() and etag.isprintable() else None

    @property
    def _open_file(self) -> BinaryIO:
        assert self._file is not None  # noqa: S101  # open() comes first
        return self._file

    @contextlib.contextmanager
    def _explained(self) -> Generator[None, None, None]:
        try:
            yield
        except OSError as error:
            raise DownloadError(
                f"the export of job {self._gid} cannot be written to {self.destination}: {self._advice(error)}"
            ) from error

    def _advice(self, error: OSError) -> str:
        reason, folder = error.strerror or str(error), self.destination.parent
        kept = f"The {self.size} bytes that have come are kept in {self.path}; " if self.size else ""
        if error.errno in _DISK_FULL:
            return f"the disk is full ({reason}). {kept or 'Then '}make room and call again."
        if error.errno in _NOT_PERMITTED:
            return f"{folder} does not let us ({reason}). Choose another place, or change its permissions."
        if error.errno in _NO_FOLDER:
            return f"there is no folder {folder} ({reason}). Make it, or choose another place."
        return f"{reason}. {kept}call again, or choose another place."


class _NoExportError(Exception):
    """What came is something else: the page of a proxy or of a login."""


def _private(path: Path, flags: int) -> int:
    return os.open(path, flags | _NO_LINK_NO_PIPE, PRIVATE_MODE)


def _is_named(file: Any, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.lstat())
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    # Makes the rename itself survive a power cut, where the system can do that.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
