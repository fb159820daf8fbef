"""The keys of operations in a ledger; without one of its caller's, an operation is named by its content and its turn."""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import Final, Self, cast

from asana_jobs.operations import Operation


#: Arguments whose items Asana takes in any order: words, and values for variables that each have a gid.
_UNORDERED: Final = {"include", "requested_dates", "requested_roles"}

#: 64 bits: in a million operations two different ones share a hash once in forty million inputs, and a claim
#: compares the content as well.
_DIGEST_BYTES: Final = 8
_DERIVED_KEY: Final = re.compile(r"([0-9a-f]{16})#([0-9]+)")


class Keys:
    """The derived keys of one input, operation by operation: ``"<hash of the content>#<turn among equals>"``.

    The same input gives the same keys each time, whatever was inserted, removed or moved meanwhile, and however its
    operations are spelled::

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
        digest = _digest(canonical(operation.to_dict()))
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


def as_text(operation: Operation) -> str:
    """Return *operation* as the JSON that a ledger keeps."""
    return json.dumps(operation.to_dict(), sort_keys=True, separators=(",", ":"))


def canonical(content: Mapping[str, object]) -> str:
    """Return the *content* of an operation as JSON that is the same text for operations that Asana would do alike."""
    return json.dumps(_in_order(content), sort_keys=True, separators=(",", ":"))


def _in_order(content: Mapping[str, object]) -> Mapping[str, object]:
    ordered = dict(content)
    for name in _UNORDERED & content.keys():
        if isinstance(items := content[name], list):
            ordered[name] = sorted(cast("list[object]", items), key=partial(json.dumps, sort_keys=True))
    return ordered


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:_DIGEST_BYTES]


def rename_keys(connection: sqlite3.Connection) -> None:
    """Bring keys of the first schema, in which the order of ``include`` made a difference, to those of today.

    Rows that Asana would do alike get successive turns, in the order in which they were claimed.
    """
    groups: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for seq, key, text in connection.execute("SELECT seq, key, content FROM operations ORDER BY seq"):
        derived = _DERIVED_KEY.fullmatch(key)
        if derived is None or _digest(text).hex() != derived[1]:
            continue  # a caller's own
        try:
            digest = _digest(canonical(json.loads(text))).hex()
        except (ValueError, TypeError, AttributeError, RecursionError):
            continue  # a damaged row, which says so when it is read
        groups[digest].append((int(derived[2]), seq, key))
    renamed: list[tuple[str, int]] = []
    for digest, rows in groups.items():
        if any(not key.startswith(digest) for _, _, key in rows):
            renamed += [(f"{digest}#{turn}", seq) for turn, (_, seq, _) in enumerate(sorted(rows))]
    # In two steps, since the new key of one may be the old key of another.
    connection.executemany("UPDATE operations SET key = 'renamed ' || ? WHERE seq = ?", renamed)
    connection.executemany("UPDATE operations SET key = ? WHERE seq = ?", renamed)
