"""Gzip, piece by piece: inflating a stream, and telling a whole archive from a truncated one. No I/O."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final


#: Bytes of content produced at a time, whatever the ratio: an archive cannot blow up in memory.
MOST_AT_ONCE: Final = 2**20

_MAGIC: Final = b"\x1f\x8b"
_GZIP: Final = 31


class Inflate:
    """Inflates gzip of any number of members; data that is not gzip is passed through as it is.

    Raises, from `feed`:
        zlib.error: the archive is damaged.
    """

    def __init__(self) -> None:
        self._member: zlib._Decompress | None = None  # pyright: ignore[reportPrivateUsage]  # it has no public name
        self._head = b""
        self._plain = False
        self.fed = 0

    @property
    def whole(self) -> bool:
        """Whether what was fed ends where an archive does, or is no archive."""
        return self._plain or (self._member is None and not self._head)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give compressed *data*; yields its content in pieces."""
        self.fed += len(data)
        if self._plain:
            yield data
            return
        data, self._head = self._head + data, b""
        pending = bool(data)
        while pending:
            if self._member is None:
                if len(data) < len(_MAGIC):
                    self._head = data
                    return
                if not data.startswith(_MAGIC):
                    yield from self._pass_through(data)
                    return
                self._member = zlib.decompressobj(_GZIP)
            piece = self._member.decompress(data, MOST_AT_ONCE)
            if piece:
                yield piece
            data = self._member.unconsumed_tail
            pending = bool(data) or len(piece) >= MOST_AT_ONCE
            if self._member.eof:
                data, self._member = self._member.unused_data, None
                pending = bool(data)

    def _pass_through(self, data: bytes) -> Iterator[bytes]:
        if self.fed > len(data):
            # Zeros may pad an archive; anything else after it is damage.
            if data.strip(b"\0"):
                raise zlib.error("something that is not gzip follows the archive")
            return
        self._plain = True
        yield data
