"""The ledger's file: opened or refused as a whole, written in transactions, its troubles put into words."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeVar

from asana_jobs.errors import LedgerError


#: "AsJL": what ``PRAGMA application_id`` says of our files, and of no other's.
APPLICATION: Final = int.from_bytes(b"AsJL", "big")
SCHEMA: Final = 1

T = TypeVar("T")

_TABLES: Final = (
    # "earlier" is the state that a withdrawn intent goes back to; a row without one goes away.
    """
    CREATE TABLE operations (
        seq INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        content TEXT NOT NULL,
        state TEXT NOT NULL,
        earlier TEXT,
        gid TEXT,
        job TEXT,
        continuation_token TEXT,
        error TEXT,
        error_type TEXT,
        attempts INTEGER NOT NULL,
        owner TEXT,
        created_at TEXT NOT NULL,
        changed_at TEXT NOT NULL
    )
    """,
    # A lease belongs to an owner, not to a row: renewing all of them is one small write.
    """
    CREATE TABLE owners (
        id TEXT PRIMARY KEY,
        host TEXT NOT NULL,
        machine TEXT NOT NULL,
        pid INTEGER NOT NULL,
        born TEXT NOT NULL,
        until REAL NOT NULL
    )
    """,
    "CREATE INDEX operations_by_state ON operations (state, owner)",
    "CREATE INDEX operations_held ON operations (owner) WHERE owner IS NOT NULL",
)


_LOCKED: Final = (
    "the ledger {path} was locked by another process for too long: end that process, or give each run its own "
    "ledger. Nothing was changed."
)
_EXPLANATIONS: Final[Mapping[int | None, str]] = {
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_READONLY: (
        "the ledger {path} cannot be written: make the file and its folder writable, or work on a copy "
        "elsewhere. Nothing was changed."
    ),
    sqlite3.SQLITE_FULL: (
        "no space is left for the ledger {path}: free some and run again. What was recorded is kept."
    ),
    sqlite3.SQLITE_IOERR: (
        "the disk refused the ledger {path} ({error}): check its space, its quota and its health, then run "
        "again. What was recorded is kept."
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "the ledger {path} cannot be opened: check that it and its folder may be read and written."
    ),
    sqlite3.SQLITE_NOTADB: "{path} is not a ledger: choose another path. The file was left as it is.",
}


def open_file(path: Path, *, busy_timeout: float) -> sqlite3.Connection:
    """Open or make the ledger at *path*. What cannot be used is left as it was.

    Raises:
        LedgerError: it cannot be used; the message says why and what to do.
    """
    try:
        is_folder, has_folder = path.is_dir(), path.parent.is_dir()
    except OSError as error:
        raise LedgerError(
            f"the ledger {path} cannot be reached: {error.strerror}. Check its folders."
        ) from error
    if is_folder:
        raise LedgerError(
            f"{path} is a folder, not a ledger: name a file in it, such as {path / 'run.ledger'}"
        )
    if not has_folder:
        raise LedgerError(
            f"the ledger {path} cannot be made: there is no folder {path.parent}. Make it first."
        )
    if path.is_symlink() and path.resolve().parent != path.parent.resolve():
        raise LedgerError(
            f"the ledger {path} is a link to {path.resolve()}, in another folder: name that file itself, if it "
            f"was you who laid the link. Nothing was changed."
        )
    # Asked before SQLite opens the file, which would leave two more files next to it. Opening and closing it
    # here to find out would end the locks of this process's other ledgers on it (sqlite.org, How To Corrupt).
    if path.exists() and not os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise LedgerError(_EXPLANATIONS[sqlite3.SQLITE_READONLY].format(path=path))
    # SQLite takes a file of one byte for an empty one (os_unix.c, unixFileSize), and would write over it.
    if path.exists() and path.stat().st_size == 1:
        raise LedgerError(_EXPLANATIONS[sqlite3.SQLITE_NOTADB].format(path=path))
    with explained(path):
        connection = sqlite3.connect(
            path, timeout=busy_timeout, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, path, busy_timeout)
        except BaseException:
            connection.close()
            raise
    return connection


def _prepare(connection: sqlite3.Connection, path: Path, busy_timeout: float) -> None:
    connection.row_factory = sqlite3.Row
    # An intent must survive a power cut, or an operation would be started twice.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=ON")
    if _looks_new(connection, path):
        with transaction(connection):
            if _is_new(connection, path):  # another process may have been faster
                _make(connection)
    elif (found := pragma(connection, "quick_check(1)")) != "ok":
        # A bulk run over a damaged ledger might start things twice: look before, not in the middle.
        raise LedgerError(f"{_damaged(path)} SQLite says: {found}")
    mode = _patiently(lambda: pragma(connection, "journal_mode=WAL"), busy_timeout)
    if mode != "wal":
        raise LedgerError(
            f"the ledger {path} cannot be shared safely there: SQLite's write-ahead log does not work "
            f"(journal mode {mode}). Put it on a local disk."
        )
    with transaction(connection):
        # What may not be written shall say so now, not after the first job was started. Nothing is deleted; a
        # transaction without a writing statement would be granted on a read-only file as well.
        connection.execute("DELETE FROM owners WHERE id IS NULL")


def _looks_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Ask `_is_new` of one moment: half of the answer from before another process made the file would mislead."""
    connection.execute("BEGIN")
    try:
        is_new = _is_new(connection, path)
        if is_new and pragma(connection, "page_count"):
            raise _foreign(path)
        return is_new
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _is_new(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is still empty. Raises `LedgerError` for a file that is not ours."""
    application = pragma(connection, "application_id")
    version = pragma(connection, "user_version")
    if application == APPLICATION and version == SCHEMA:
        return False
    if application == APPLICATION:
        raise LedgerError(
            f"the ledger {path} has schema {version}, this version of asana-jobs knows {SCHEMA}: "
            f"upgrade asana-jobs. The file was left as it is."
        )
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application or version or tables:
        raise _foreign(path)
    return True


def _foreign(path: Path) -> LedgerError:
    return LedgerError(
        f"{path} is another program's SQLite file, not a ledger: choose another path. The file was left as it is."
    )


def _make(connection: sqlite3.Connection) -> None:
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={SCHEMA}")


def pragma(connection: sqlite3.Connection, name: str) -> object:
    """Ask SQLite for a setting, or for another one."""
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def _patiently(work: Callable[[], T], busy_timeout: float) -> T:
    """Do *work*, again and again while the file is locked: changing the journal mode does not wait by itself."""
    deadline = time.monotonic() + busy_timeout
    while True:
        try:
            return work()
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
        time.sleep(0.01)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Generator[None, None, None]:
    """Do a block whole or not at all, with the write lock from its beginning."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # SQLite rolls back by itself when the disk is full
            connection.execute("ROLLBACK")
        raise


@contextmanager
def explained(path: Path) -> Generator[None, None, None]:
    """Raise SQLite's errors as `LedgerError`: what happened, to which file, and what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(_explanation(path, error)) from error


def _code(error: sqlite3.Error) -> int | None:
    extended: int | None = getattr(error, "sqlite_errorcode", None)
    return None if extended is None else extended & 0xFF


def _damaged(path: Path) -> str:
    return (
        f"the ledger {path} is damaged. Keep the file and what lies next to it, save what can be read with "
        f"sqlite3 {path} .recover, and look in Asana before you start its operations again."
    )


def _explanation(path: Path, error: sqlite3.Error) -> str:
    code = _code(error)
    if code == sqlite3.SQLITE_CORRUPT:
        return _damaged(path)
    said = _EXPLANATIONS.get(code, "the ledger {path} cannot be used: {error}")
    return said.format(path=path, error=error)
