"""From JSON text that comes in pieces to the objects in it: lines, or one list, however it is laid out. No I/O."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, Final, TypeAlias


#: One object of an export.
Record: TypeAlias = dict[str, Any]

#: Characters of one record above which it is none: memory has an end.
LONGEST_RECORD: Final = 2**25
#: Characters of a record above which it is not tried with every piece.
LONG_RECORD: Final = 2**16

_BETWEEN: Final = re.compile(r"[ \t\r\n,\[\]]*")


class JsonRecords:
    """Finds the records in JSON lines, in one list of objects, or in objects that follow each other.

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
        """Give the next piece; returns the records that end in it."""
        self._rest += self._decoder.decode(content)
        # A long record is tried again when twice as much of it is there: so the work stays in proportion to its
        # length.
        if len(self._rest) < 2 * self._tried:
            return []
        records = self._find()
        self._tried = len(self._rest) if len(self._rest) > LONG_RECORD else 0
        if len(self._rest) > LONGEST_RECORD:
            raise ValueError(f"a record is longer than {LONGEST_RECORD} characters")
        return records

    def end(self) -> list[Record]:
        """Say that this was all; returns the last records."""
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
        found = _BETWEEN.match(text, position)
        between = found[0].strip() if found else ""
        for mark in "".join(between.split()):
            if (mark == "[") is self._in_list and mark != ",":
                raise ValueError(f"unexpected {mark!r} between records")
            if mark == "," and not self._in_list:
                raise ValueError("unexpected ',' between records")
            if mark != ",":
                self._in_list = mark == "["
        return found.end() if found else position
