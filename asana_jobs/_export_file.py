"""The half-made file beside its destination: written, checked and renamed off the event loop."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, Final, Self, cast

from asana_jobs._inflate import Inflate
from asana_jobs.errors import DownloadError


BLOCK: Final = 2**20


class PartialFile:
    """Holds what has been downloaded so far, and knows which version of which file it is of.

    Beside ``export.json.gz`` stand ``.export.json.gz.1203.part`` and a note of what it is a part of; both are
    gone when the file is there. Every method blocks: call them in a thread.
    """

    def __init__(self, destination: Path, gid: str) -> None:
        self.destination = destination
        self.path = destination.with_name(f".{destination.name}.{gid}.part")
        self._note = self.path.with_name(f"{self.path.name}.json")
        self._file: BinaryIO | None = None
        self._inflate = Inflate()
        self._damage: zlib.error | None = None

    @classmethod
    def beside(cls, destination: str | PathLike[str], gid: str) -> Self:
        """Make the one for *destination*; nothing is opened yet."""
        return cls(Path(destination).absolute(), gid)

    def open(self) -> tuple[int, str | None]:
        """Open it, made or found; return its length and the version it is of. What was found is read again."""
        if self.destination.is_dir():
            raise IsADirectoryError(f"{self.destination} is a folder: name a file in it")
        etag = self._read_note()
        self._file = self.path.open("r+b" if etag and self.path.exists() else "w+b")
        while block := self._file.read(BLOCK):
            self._check(block)
        return self._file.tell(), etag

    def begin(self, etag: str | None) -> None:
        """Note which version of the file is being written."""
        if etag is None:
            self._note.unlink(missing_ok=True)
        else:
            self._note.write_text(json.dumps({"v": 1, "etag": etag}), "utf-8")

    def write(self, block: bytes) -> None:
        """Append."""
        self._opened.write(block)
        self._check(block)

    def restart(self) -> None:
        """Forget what there is: the file at the other end has changed."""
        self._opened.seek(0)
        self._opened.truncate()
        self._inflate, self._damage = Inflate(), None

    def finish(self) -> None:
        """Put the whole file where it belongs, or say what is wrong with it."""
        if self._damage is not None or not self._inflate.whole:
            self.discard()
            reason = self._damage or "it ends in the middle"
            raise DownloadError(
                f"the archive for {self.destination} is damaged ({reason}); it was thrown away. Download it again."
            )
        file = self._opened
        file.flush()
        os.fsync(file.fileno())
        file.close()
        self.path.replace(self.destination)
        self._note.unlink(missing_ok=True)
        _sync_folder(self.destination.parent)

    def close(self) -> None:
        """Keep what there is for the next call."""
        if self._file is not None:
            self._file.close()

    def discard(self) -> None:
        """Throw it away."""
        self.close()
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _check(self, block: bytes) -> None:
        if self._damage is None:
            try:
                for _ in self._inflate.feed(block):
                    pass
            except zlib.error as error:
                self._damage = error

    def _read_note(self) -> str | None:
        try:
            note = json.loads(self._note.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        etag = cast("dict[str, Any]", note).get("etag") if isinstance(note, dict) else None
        return etag if isinstance(etag, str) else None

    @property
    def _opened(self) -> BinaryIO:
        assert self._file is not None  # noqa: S101  # open() comes first
        return self._file


def _sync_folder(folder: Path) -> None:
    # Makes the rename itself survive a power cut, where the system can do that.
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
