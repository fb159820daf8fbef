"""The content of an export file: gzip members made when they are wanted, so size costs no memory.

Lines are numbered and of fixed width and members are stored without compression, so every member but
the last has the same length and any range of bytes is found by division.
"""

import hashlib
import zlib
from collections.abc import Iterator
from functools import cached_property

from attrs import field, frozen


_LINES_PER_MEMBER = 500
_STORED = 0
_GZIP_FORMAT = 31
_NOTES = "Exported by the simulator of asana-jobs, one object a line, in no particular order."


@frozen(slots=False)
class ExportFile:
    """A gzipped export with a number of objects.

    Args:
        gid: the export's gid; files of different exports differ.
        lines: how many objects it holds.
        one_document: whether it is one JSON list, as organization exports are, instead of JSON Lines.
    """

    gid: str
    lines: int
    one_document: bool = field(default=False)

    def _line(self, number: int) -> bytes:
        # The type depends on the place within the member: places have a width, members are alike.
        resource_type = {0: "project", 1: "section"}.get(number % _LINES_PER_MEMBER, "task")
        first, end = ("[" if number == 0 else " ", "]" if number == self.lines - 1 else ",")
        before, after = (first, end) if self.one_document else ("", "")
        text = (
            f'{before}{{"gid":"13{number:014d}","resource_type":"{resource_type}",'
            f'"name":"{resource_type.capitalize()} {number:010d}","export":"{self.gid}","notes":"{_NOTES}"}}{after}\n'
        )
        return text.encode()

    def _member(self, index: int) -> bytes:
        start = index * _LINES_PER_MEMBER
        stop = min(start + _LINES_PER_MEMBER, self.lines)
        empty = b"[]\n" if self.one_document else b""
        content = b"".join(self._line(number) for number in range(start, stop)) or empty
        stream = zlib.compressobj(_STORED, zlib.DEFLATED, _GZIP_FORMAT)
        return stream.compress(content) + stream.flush()

    @cached_property
    def _last_index(self) -> int:
        return max(0, (self.lines - 1) // _LINES_PER_MEMBER)

    @cached_property
    def _member_size(self) -> int:
        return len(self._member(0))

    @cached_property
    def size(self) -> int:
        """Its length in bytes."""
        return self._last_index * self._member_size + len(self._member(self._last_index))

    @property
    def etag(self) -> str:
        """Its ETag, quoted."""
        name = f"{self.gid}/{self.lines}/{self.one_document}"
        return f'"{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"'

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """The bytes from `start` up to `stop`, in pieces."""
        position = start
        while position < stop:
            index = min(position // self._member_size, self._last_index)
            base = index * self._member_size
            piece = self._member(index)[position - base : stop - base]
            yield piece
            position += len(piece)
