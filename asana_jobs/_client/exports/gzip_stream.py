"""Gzip, piece by piece: a stream is inflated, and a whole archive told from a truncated one. No I/O."""

from __future__ import annotations

import zlib
from collections.abc import Generator, Iterator
from typing import Final


#: Bytes of content produced at a time, whatever the ratio: an archive cannot blow up in memory.
MAX_CONTENT_PIECE: Final = 2**18
#: Bytes given to zlib at a time: what it leaves over is copied, once for each piece of content and each member.
MAX_FED_PIECE: Final = 2**16

_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP_WINDOW_BITS: Final = 31


def begins_archive(data: bytes) -> bool:
    """Return whether *data*, the first bytes of a file, are the beginning of gzip, as far as they go."""
    return _GZIP_MAGIC.startswith(data[: len(_GZIP_MAGIC)])


class GzipStream:
    """An inflater of gzip of any number of members; data that is not gzip is passed through as it is.

    Raises, from `feed`:
        zlib.error: the archive is damaged.
    """

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None  # pyright: ignore[reportPrivateUsage]  # it has no public name
        self._members = 0
        self._head = b""
        self._plain = False

    @property
    def packed(self) -> bool:
        """Whether what was fed is gzip, as far as it can be told."""
        return not self._plain

    @property
    def whole(self) -> bool:
        """Whether what was fed ends where an archive does, or is no archive. Nothing at all is not whole."""
        return self._plain or (self._members > 0 and self._member is None and not self._head)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the content of compressed *data* in pieces; the data is taken in when they are exhausted."""
        for start in range(0, len(data), MAX_FED_PIECE):
            yield from self._feed(data[start : start + MAX_FED_PIECE])

    def _feed(self, data: bytes) -> Iterator[bytes]:
        rest, self._head = self._head + data, b""
        while rest and not self._plain:
            member = self._member
            if member is None:
                rest, member = self._begin_member(rest)
            if member is not None:
                rest = yield from self._inflate(member, rest)
        if rest:
            yield rest

    def _begin_member(self, data: bytes) -> tuple[bytes, zlib._Decompress | None]:  # pyright: ignore[reportPrivateUsage]
        if self._members:
            data = data.lstrip(b"\0")  # zeros may pad an archive, as tape drives did
        if data.startswith(_GZIP_MAGIC):
            self._members += 1
            self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)
            return data, self._member
        if _GZIP_MAGIC.startswith(data):
            self._head = data  # half of the magic number, or nothing
            return b"", None
        if self._members:
            raise zlib.error("something that is not gzip follows the archive")
        self._plain = True
        return data, None

    def _inflate(self, member: zlib._Decompress, data: bytes) -> Generator[bytes, None, bytes]:  # pyright: ignore[reportPrivateUsage]
        """Yield content until *data* is used up or the member ends; return what follows it."""
        while True:
            content = member.decompress(data, MAX_CONTENT_PIECE)
            if content:
                yield content
            if member.eof:
                self._member = None
                return member.unused_data
            data = member.unconsumed_tail
            if not data and len(content) < MAX_CONTENT_PIECE:
                return b""
