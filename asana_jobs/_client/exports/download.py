"""An export file to disk: one block is written and checked while the next one comes.

The half-made file beside its destination: written, checked and renamed off the event loop.

Blocking work in threads that nobody leaves behind.
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
from typing import Any, BinaryIO, Final, ParamSpec, TypeAlias, TypeVar, cast

from asana_jobs._client.exports.gzip_stream import Inflate
from asana_jobs._client.exports.stream import ExportStream
from asana_jobs.errors import DownloadError
from asana_jobs.models import Job


if sys.platform != "win32":
    import fcntl


#: The permissions of what is made: an export holds what only the token's user may see.
PRIVATE: Final = 0o600
#: Bytes of a note.
LONGEST_NOTE: Final = 4096
#: Bytes written, and read again, at a time.
BLOCK: Final = 2**20

#: Neither through a link that somebody laid there, nor waiting for somebody at the other end of a pipe.
_AS_IT_IS: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_FORBIDDEN: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_MISSING: Final = {errno.ENOENT, errno.ENOTDIR}


class PartialFile:
    """Holds what has been downloaded so far, and knows which version of which file it is of.

    Beside ``export.json.gz`` stand ``.export.json.gz.1203.part`` and a note of what it is a part of; both are
    gone when the file is there. Whoever has it open holds a lock on it (not on Windows), so that two downloads
    never write the same one. Every method blocks, and raises `DownloadError` with what to do about it: call
    them in a thread.

    Attributes:
        size: Bytes it holds. ``etag``: the version of the file they are of.
    """

    def __init__(self, destination: str | PathLike[str], gid: str) -> None:
        self.destination = Path(destination).absolute()
        self.path = self.destination.with_name(f".{self.destination.name}.{gid}.part")
        self.size = 0
        self.etag: str | None = None
        self._gid = gid
        self._note = self.path.with_name(f"{self.path.name}.json")
        self._file: BinaryIO | None = None
        self._inflate = Inflate()

    def open(self) -> None:
        """Open it, made or found, for this download alone. What is found has to be `recheck`-ed."""
        with self._explained():
            if self.destination.exists() and not self.destination.is_file():
                raise DownloadError(
                    f"{self.destination} is no regular file: name a file to write the export of job {self._gid} to."
                )
            self._file = self._open_alone()
            self.etag = self._read_note()
            if self.etag is None:
                self._file.truncate(0)

    def recheck(self) -> bool:
        """Read the next block of what was found, as if it had just come; ``False`` when there is no more."""
        with self._explained():
            block = self._opened.read(BLOCK)
            try:
                self._take_in(block)
            except zlib.error:
                self.restart()  # a power cut can leave a hole: what is there is no use
                return False
            return bool(block)

    def begin(self, etag: str | None) -> None:
        """Note which version of the file is being written. Without one, the next call starts over."""
        with self._explained():
            self.etag = etag
            if etag is None:
                self._note.unlink(missing_ok=True)
            else:
                self._note.unlink(missing_ok=True)
                with os.fdopen(_private(self._note, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as note:
                    json.dump({"v": 1, "etag": etag}, note)

    def write(self, *pieces: bytes) -> None:
        """Append, and check."""
        with self._explained():
            for piece in pieces:
                rest = memoryview(piece)
                while rest:
                    # Unbuffered: nothing is left to be written when it is closed, on a disk that may be full.
                    rest = rest[self._opened.write(rest) :]
                try:
                    self._take_in(piece)
                except zlib.error as error:
                    raise self._damaged(str(error)) from error

    def restart(self) -> None:
        """Forget what there is."""
        with self._explained():
            self._opened.seek(0)
            self._opened.truncate()
            # After the bytes: a note without bytes does no harm, another version's bytes under it would.
            self._note.unlink(missing_ok=True)
            self.size, self.etag, self._inflate = 0, None, Inflate()

    def finish(self) -> None:
        """Put the whole file where it belongs, or say what is wrong with it."""
        with self._explained():
            if not self._inflate.whole:
                raise self._damaged("it ends in the middle" if self.size else "it is empty")
            self._keep_mode()
            os.fsync(self._opened.fileno())
            if sys.platform == "win32":
                self.close()  # an open file cannot be renamed there; elsewhere the lock is held to the end
            self.path.replace(self.destination)
            self._note.unlink(missing_ok=True)
            _sync_folder(self.destination.parent)

    def close(self) -> None:
        """Keep what there is for the next call: nothing, if nothing came."""
        if self._file is not None:
            if not self._file.closed and not os.fstat(self._file.fileno()).st_size:
                with contextlib.suppress(DownloadError):
                    self.discard()
            self._file.close()

    def discard(self) -> None:
        """Throw it away, under its lock where that can be."""
        with self._explained():
            if sys.platform == "win32":
                self.close()
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)

    def _open_alone(self) -> BinaryIO:
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0)
        while True:
            file = os.fdopen(_private(self.path, flags), "r+b", buffering=0)
            try:
                self._check_ours(file)
                self._lock(file)
                # It may have been finished, and renamed, between opening and locking.
                if _is_at(file, self.path):
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
                    os.fchmod(self._opened.fileno(), mode & 0o666)

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
        for _ in self._inflate.feed(block):
            pass

    def _damaged(self, reason: str) -> DownloadError:
        self.discard()
        return DownloadError(
            f"the archive of the export of job {self._gid} is damaged ({reason}); what was downloaded has been "
            f"thrown away. Download it again, and if that does not help, start the export again."
        )

    def _read_note(self) -> str | None:
        try:
            with os.fdopen(_private(self._note, os.O_RDONLY), "rb") as file:
                note = json.loads(file.read(LONGEST_NOTE))
        except (OSError, ValueError):
            return None
        etag = cast("dict[str, Any]", note).get("etag") if isinstance(note, dict) else None
        return etag if isinstance(etag, str) and etag.isascii() and etag.isprintable() else None

    @property
    def _opened(self) -> BinaryIO:
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
        if error.errno in _FULL:
            return f"the disk is full ({reason}). {kept or 'Then '}make room and call again."
        if error.errno in _FORBIDDEN:
            return f"{folder} does not let us ({reason}). Choose another place, or change its permissions."
        if error.errno in _MISSING:
            return f"there is no folder {folder} ({reason}). Make it, or choose another place."
        return f"{reason}. {kept}call again, or choose another place."


def _private(path: Path, flags: int) -> int:
    return os.open(path, flags | _AS_IT_IS, PRIVATE)


def _is_at(file: Any, path: Path) -> bool:
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


P = ParamSpec("P")
T = TypeVar("T")


def start_off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
    """Run *work* in a thread. Unlike a task, what is returned is not cancelled when the loop is shut down."""
    return asyncio.get_running_loop().run_in_executor(None, lambda: work(*args, **kwargs))


async def off_loop(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run *work* in a thread; see `outlast`."""
    return await outlast(start_off_loop(work, *args, **kwargs))


async def outlast(running: asyncio.Future[T]) -> T:
    """Wait for a thread's work, to its end even if cancelled: afterwards, what it works on may be closed."""
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        running.exception()  # asked for, so that asyncio does not report it as forgotten
        raise cancelled
    return running.result()


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
