"""What names an operation in a ledger when its caller gives it no key: its content, and its turn among equals."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from types import TracebackType
from typing import Final, Self

from asana_jobs.operations import Operation


LONGEST_KEY: Final = 500


def check_key(key: object) -> str:
    """Return *key* if it can name a row, or raise `ValueError`."""
    if not isinstance(key, str):
        raise ValueError(f"key must be a string, not {key!r} ({type(key).__name__})")
    # Half a surrogate pair cannot be stored, and a line break would split a line of the export.
    if not key.strip() or not key.isprintable() or len(key) > LONGEST_KEY:
        raise ValueError(f"key must be 1 to {LONGEST_KEY} printable characters, not {key[:60]!r}")
    return key


def canonical(operation: Operation) -> str:
    """Return the content of *operation* as JSON that is the same text for equal operations."""
    return json.dumps(operation.to_dict(), sort_keys=True, separators=(",", ":"))


class Keys:
    """Derives the keys of one input, operation by operation: ``"<hash of the content>#<turn among equals>"``.

    The same input gives the same keys each time, whatever was inserted, removed or moved meanwhile::

        with Keys() as keys:
            for operation in operations:
                key = keys.key_of(operation)

    What was seen is kept in a private temporary SQLite file of which two megabytes are cached, so that an
    input of any length costs no memory.
    """

    def __init__(self) -> None:
        self._seen = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._seen.execute("PRAGMA journal_mode=OFF")
        self._seen.execute("PRAGMA synchronous=OFF")
        self._seen.execute(
            "CREATE TABLE seen (digest BLOB PRIMARY KEY, times INTEGER NOT NULL) WITHOUT ROWID"
        )

    def key_of(self, operation: Operation) -> str:
        """Return the key of the next operation of the input."""
        # 64 bits: in a million operations two different ones share a hash once in forty million inputs, and
        # a claim compares the content as well.
        digest = hashlib.sha256(canonical(operation).encode()).digest()[:8]
        found = self._seen.execute("SELECT times FROM seen WHERE digest = ?", (digest,)).fetchone()
        times: int = found[0] if found else 0
        self._seen.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (digest, times + 1))
        return f"{digest.hex()}#{times}"

    def close(self) -> None:
        """Drop the temporary file. Harmless when repeated."""
        self._seen.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
