"""The ledger's store: a SQLite file, opened or refused as a whole, and the one thread that works on it.

The event loop never waits for the disk, and cancellation never cuts a decision in half: what a cancelled caller
asked for is either carried out all the same (`LedgerThread.carry_out`) or taken back (`LedgerThread.grant`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Generic, TypeVar

from asana_jobs._client.bulk.ledger_keys import rename_keys
from asana_jobs._client.bulk.ledger_owner import LEASE, Instant, this_process
from asana_jobs._client.bulk.ledger_sql import APPLICATION, ODD_ROWS, SCHEMA, SCHEMA_VERSIONS, LedgerSession
from asana_jobs._client.bulk.ledger_transitions import release_all, renew
from asana_jobs._client.clock import Clock
from asana_jobs._client.http.lifetime import PROGRAM_ENDS
from asana_jobs.errors import LedgerError
from asana_jobs.parameters import is_key


T = TypeVar("T")
_log = logging.getLogger("asana_jobs.ledger")

#: How long leases go without being renewed by what else is recorded: a small part of `LEASE`.
RENEWAL: Final = timedelta(seconds=1)

#: Types of file systems on which write-ahead logs of two machines do not see each other's locks.
_NETWORK: Final = re.compile(
    r"nfs4?|cifs|smb3|smbfs|afs|9p|ceph|lustre|gpfs|glusterfs|beegfs|ncpfs|vboxsf|ocfs2|gfs2|pvfs2|orangefs"
    r"|fuse\.(sshfs|glusterfs|s3fs|rclone|gcsfuse|ceph|davfs2|mfs|juicefs)"
)

_FILE_LOCKED: Final = (
    "the ledger {path} was locked by another process for too long: end that process, or give each run its own "
    "ledger. Nothing was changed."
)
_EXPLANATIONS: Final[Mapping[int | None, str]] = {
    sqlite3.SQLITE_BUSY: _FILE_LOCKED,
    sqlite3.SQLITE_LOCKED: _FILE_LOCKED,
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


class LedgerThread:
    """One open ledger file and the thread that works on it.

    Attributes:
        closed: Whether it was closed.
    """

    def __init__(
        self, path: Path, clock: Clock, *, busy_timeout: float, allow_network_file_system: bool
    ) -> None:
        self._path = path
        self._name = str(path)
        self._clock = clock
        self._owner = this_process()
        self.closed: bool = False
        self._renewed_at: datetime | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="asana-jobs-ledger")
        try:
            opening = self._executor.submit(
                open_file,
                path,
                busy_timeout=busy_timeout,
                allow_network_file_system=allow_network_file_system,
            )
            self._connection = opening.result()
        except BaseException:
            self._executor.shutdown()
            raise
        self._opened_at = clock.now()
        self._file = identity(str(path))

    async def carry_out(self, work: Callable[[LedgerSession], T]) -> T:
        """Do *work* in a transaction, even if the caller is cancelled meanwhile."""
        self._check_open()
        return await self._certainly(_Task(lambda: self._write(work)))

    async def grant(
        self, work: Callable[[LedgerSession], T], undo: Callable[[LedgerSession, T], object]
    ) -> T:
        """Do *work* in a transaction; if the caller is cancelled meanwhile, it is as if it had not been done."""
        self._check_open()
        task = _Task(lambda: self._write(work))
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, task)
        except (asyncio.CancelledError, *PROGRAM_ENDS):
            task.deserted = True

            def take_back() -> None:
                if task.results:  # it was not cancelled before its turn came
                    self._write(lambda session: undo(session, task.results[0]))

            self._afterwards(_Task(take_back))
            raise
        return task.results[0]

    def read(self, work: Callable[[LedgerSession], T]) -> T:
        """Do *work* without a transaction and wait for it, whether there is an event loop or not."""
        self._check_open()
        return self._executor.submit(self._read, work).result()

    def close(self) -> None:
        """Release what is ours and close the file, waiting for it."""
        if self.closed:
            return
        self.closed = True
        if self._forked():
            return  # the file, and the thread that works on it, are the parent's
        ending = self._executor.submit(self._end)
        self._executor.shutdown()
        ending.result()

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop."""
        if self.closed:
            return
        self.closed = True
        if self._forked():
            return
        try:
            await self._certainly(_Task(self._end))
        finally:
            self._executor.shutdown(wait=False)

    async def _certainly(self, task: _Task[T]) -> T:
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, task)
        except asyncio.CancelledError:
            # If it was still waiting for its session, the cancellation took it out of the line.
            self._afterwards(task)
            raise
        return task.results[0]

    def _afterwards(self, task: _Task[T]) -> None:
        """Have *task* done by and by; a failure is logged, since nobody waits for it."""
        task.deserted = True
        try:
            self._executor.submit(task)
        except RuntimeError:  # closed meanwhile: closing has left every row in a safe state
            _log.debug("the ledger %s was closed before a cancelled caller's work was settled", self._path)

    def _check_open(self) -> None:
        if self.closed:
            raise LedgerError(f"the ledger {self._path} is closed: use it inside its with block")
        if self._forked():
            raise LedgerError(
                f"the ledger {self._path} was opened by process {self._owner.pid}, from which this one was forked: "
                f"open it anew in each process."
            )

    def _forked(self) -> bool:
        return os.getpid() != self._owner.pid

    def _check_file(self) -> None:
        if identity(self._name) != self._file:
            raise LedgerError(
                f"the ledger {self._path} was deleted or replaced while it was used: put the old one back, with the "
                f"files beside it, and run again; without it nobody knows what was started. Nothing was recorded."
            )

    def _write(self, work: Callable[[LedgerSession], T]) -> T:
        with explained(self._path), transaction(self._connection):
            self._check_file()
            session = self._session()
            # Not each time: what changes nothing, such as a look at a finished row, then needs no write to the disk.
            stale = self._renewed_at is None or not timedelta() <= session.now - self._renewed_at < RENEWAL
            if stale:
                renew(session)
            result = work(session)
        if stale:
            self._renewed_at = session.now
        return result

    def _read(self, work: Callable[[LedgerSession], T]) -> T:
        with explained(self._path):
            return work(self._session())

    def _session(self) -> LedgerSession:
        taken_at = Instant.now()
        return LedgerSession(self._connection, self._owner, self._clock.now(), taken_at, self._opened_at)

    def _end(self) -> None:
        try:
            with explained(self._path), transaction(self._connection):
                self._check_file()
                release_all(self._session())
        except LedgerError as error:
            # Not raised: it would hide why the run ends, and the leases end by themselves.
            _log.warning("rows of a ledger stay leased for up to %.0f s: %s", LEASE, error)
        finally:
            self._connection.close()


class _Task(Generic[T]):
    """A piece of work that is done at most once, however often it is handed to the thread.

    Attributes:
        results: The result, when it was done.
        deserted: Whether nobody waits for it any more.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._begun = False
        self.results: list[T] = []
        self.deserted = False

    def __call__(self) -> None:
        if self._begun:
            return
        self._begun = True
        try:
            self.results.append(self._work())
        except Exception:
            if self.deserted:
                _log.exception("a ledger could not be written; the caller was cancelled meanwhile")
            raise


def open_file(path: Path, *, busy_timeout: float, allow_network_file_system: bool) -> sqlite3.Connection:
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
    if not allow_network_file_system and (kind := network_file_system(path.parent.resolve())):
        raise LedgerError(
            f"the ledger {path} is on a network file system ({kind}), where processes of two machines do not see "
            f"each other's locks: put it on a local disk, or, if only one machine ever uses it, say so with "
            f"allow_network_file_system (--allow-network-file-system). Nothing was changed."
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
                _apply_schema(connection)
    else:
        # A bulk run over a damaged ledger might start things twice: look before, not in the middle.
        _check_whole(connection, path)
        _migrate(connection, path)
    _check_content(connection, path)
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
    """Ask `_is_new` within one transaction: another process may be making the file meanwhile."""
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
    if application == APPLICATION:
        if isinstance(version, int) and version > SCHEMA:
            raise LedgerError(
                f"the ledger {path} has schema {version}, this version of asana-jobs knows {SCHEMA}: "
                f"upgrade asana-jobs. The file was left as it is."
            )
        if not isinstance(version, int) or version < 1:
            raise LedgerError(f"{_damaged(path)} Its schema is {version}.")
        return False
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application or version or tables:
        raise _foreign(path)
    return True


def _foreign(path: Path) -> LedgerError:
    return LedgerError(
        f"{path} is another program's SQLite file, not a ledger: choose another path. The file was left as it is."
    )


def _apply_schema(connection: sqlite3.Connection, version: int = 0) -> None:
    """Bring a file of an older *version*, or an empty one, to today's."""
    for statements in SCHEMA_VERSIONS[version:]:
        for statement in statements:
            connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION}")
    connection.execute(f"PRAGMA user_version={SCHEMA}")


def _check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `LedgerError` unless every page, every index and the encoding are as SQLite wrote them."""
    if (found := pragma(connection, "integrity_check(1)")) != "ok":
        raise LedgerError(f"{_damaged(path)} SQLite says: {found}")
    if pragma(connection, "encoding") != "UTF-8":
        raise LedgerError(f"{_damaged(path)} Its texts are not UTF-8.")


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring an older ledger to this version's schema, whole or not at all."""
    if pragma(connection, "user_version") == SCHEMA:
        return
    with transaction(connection):
        _is_new(connection, path)
        version = pragma(connection, "user_version")
        assert isinstance(version, int)  # noqa: S101  # it was checked
        _apply_schema(connection, version)
        if version < 2:
            rename_keys(connection)


def _check_content(connection: sqlite3.Connection, path: Path) -> None:
    """Raise `LedgerError` unless the tables are ours and no row is odd."""
    with closing(sqlite3.connect(":memory:")) as new:
        _apply_schema(new)
        expected = _tables_of(new)
    if _tables_of(connection) != expected:
        raise LedgerError(f"{_damaged(path)} Its tables are not those of schema {SCHEMA}.")
    connection.create_function("is_key", 1, is_key, deterministic=True)
    if odd := connection.execute(ODD_ROWS).fetchone()[0]:
        rows = "1 row makes" if odd == 1 else f"{odd} rows make"
        raise LedgerError(f"{_damaged(path)} {rows} no sense.")


def _tables_of(connection: sqlite3.Connection) -> dict[str, list[str]]:
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%'")
    return {str(name): str(sql).split() for name, sql in found}


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
    except UnicodeError as error:  # an error message of SQLite's that quotes what it found
        raise LedgerError(_damaged(path)) from error


def identity(path: str) -> tuple[object, ...]:
    """Return the identity of the ledger's file and of its log, which others under the same name do not have."""
    return _file_id(path), _file_id(f"{path}-wal")


def _file_id(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116  # at each claim, and five times as fast as a Path's
    except OSError:
        return None
    return found.st_dev, found.st_ino


def network_file_system(folder: Path) -> str | None:
    """Return the type of the network file system that *folder* is on, or ``None`` if it is on none, or nobody knows."""
    if str(folder).startswith("\\\\"):
        return "UNC path"
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    kind = mounted_at(folder, lines)
    return kind if kind is not None and _NETWORK.fullmatch(kind) else None


def mounted_at(folder: Path, lines: Iterable[str]) -> str | None:
    """Return the type of the file system that *folder* is on, by the *lines* of mountinfo."""
    # proc(5): "36 35 98:0 /root /mount options optional... - type source options", with blanks in octal.
    found, longest = None, -1
    for line in lines:
        before, _, after = line.partition(" - ")
        mount = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), before.split(" ")[4]))
        # The last one of two on the same folder covers the other.
        if folder.is_relative_to(mount) and len(mount.parts) >= longest:
            found, longest = after.partition(" ")[0], len(mount.parts)
    return found


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
    # Texts that cannot be decoded are an error of Python's, and have no code of SQLite's.
    if code == sqlite3.SQLITE_CORRUPT or (code is None and "decode" in str(error)):
        return _damaged(path)
    said = _EXPLANATIONS.get(code, "the ledger {path} cannot be used: {error}")
    return said.format(path=path, error=error)
