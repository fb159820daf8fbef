"""The file of a ledger and its thread: cancellation, every trouble a file can have, older schemas."""

import asyncio
import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ledger_samples import COPY, ENDED, LOST, REFUSAL, RUNNING, WallClock, of_the_first_schema, posix, verdict

from asana_jobs import DuplicateProject
from asana_jobs._client.bulk import ledger_sql, ledger_store
from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_owner import (
    LEASE,
)
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict, LedgerSummary
from asana_jobs._client.bulk.ledger_store import (
    RENEWAL,
    _patiently,  # pyright: ignore[reportPrivateUsage]
    explained,
    mounted_at,
    network_file_system,
    open_file,
    pragma,
)
from asana_jobs.errors import LedgerError
from asana_jobs.models import Job


# --- Writing to the disk


async def test_asking_for_a_finished_row_writes_nothing(
    ledger: Ledger, path: Path, wall_clock: WallClock
) -> None:
    """Within a second of the last renewal, a claim that changes nothing leaves the disk alone."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    await ledger.finished("a", ENDED)
    with closing(sqlite3.connect(path)) as reader:
        before = reader.execute("PRAGMA data_version").fetchone()
        wall_clock.pass_time(0.9)
        assert (await ledger.claim("a", COPY)).verdict is ClaimVerdict.DONE
        assert reader.execute("PRAGMA data_version").fetchone() == before

        wall_clock.pass_time(0.2)
        await ledger.claim("a", COPY)
        assert reader.execute("PRAGMA data_version").fetchone() != before


def until(path: Path) -> float:
    """When the leases of the one owner in the file end."""
    with closing(sqlite3.connect(path)) as reader:
        (found,) = reader.execute("SELECT until FROM owners")
    return float(found[0])


@pytest.mark.parametrize(("seconds", "renewed"), [(0.0, False), (0.999, False), (1.0, True), (-0.001, True)])
async def test_leases_are_renewed_by_what_is_recorded_a_second_later(
    ledger: Ledger, path: Path, wall_clock: WallClock, seconds: float, renewed: bool
) -> None:
    """Whatever else is recorded within a second leaves them; after one, or by a clock that was set back, they are longer."""
    await ledger.claim("a", COPY)
    before = until(path)
    wall_clock.pass_time(seconds)
    await ledger.started("a", RUNNING)

    assert (RENEWAL.total_seconds(), before) == (1, (wall_clock.time.timestamp() - seconds) + LEASE)
    assert (until(path) == wall_clock.time.timestamp() + LEASE) == (renewed or not seconds)
    assert (until(path) == before) is not renewed


def test_an_intent_survives_a_power_cut(path: Path) -> None:
    """The settings that make it so, and those by which processes share the file and threads the connection."""
    connection = open_file(path, busy_timeout=7.0, allow_network_file_system=False)
    asked = ("synchronous", "fullfsync", "journal_mode", "busy_timeout")

    answers: list[object] = []
    other = threading.Thread(target=lambda: answers.extend(pragma(connection, name) for name in asked))
    other.start()
    other.join()

    assert answers == [2, 1, "wal", 7000]
    assert (connection.isolation_level, connection.row_factory) == (None, sqlite3.Row)
    connection.close()


async def test_one_thread_works_on_a_ledger(ledger: Ledger) -> None:
    """However much is asked of it at once, and its name says what it is for."""
    await asyncio.gather(*(ledger.claim(key, COPY) for key in "abcdef"))

    names = [thread.name for thread in threading.enumerate() if "ledger" in thread.name]
    assert names == ["asana-jobs-ledger_0"]


# --- Cancellation


async def cancel(task: asyncio.Task[object]) -> None:
    """Cancel *task* and wait until it has ended so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_claim_cancelled_in_line_takes_nothing(ledger: Ledger, wall_clock: WallClock) -> None:
    """A claim that is cancelled before its turn takes nothing."""
    wall_clock.hold()
    renewing = asyncio.create_task(ledger.renew())
    await asyncio.to_thread(wall_clock.asked.wait)
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)

    await cancel(claiming)
    wall_clock.may_go_on.set()
    await renewing

    assert ledger.summary() == LedgerSummary()


async def test_claim_cancelled_under_way_takes_nothing(ledger: Ledger, wall_clock: WallClock) -> None:
    """A claim that is cancelled while the file is being written is taken back."""
    wall_clock.hold()
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.to_thread(wall_clock.asked.wait)

    await cancel(claiming)
    wall_clock.may_go_on.set()

    assert ledger.summary() == LedgerSummary()


async def test_claim_cancelled_after_its_commit_takes_nothing(ledger: Ledger) -> None:
    """A claim that is cancelled between its commit and its answer is taken back."""
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)
    assert ledger.summary() == LedgerSummary(intent=1)

    await cancel(claiming)

    assert ledger.summary() == LedgerSummary()


async def test_claim_cancelled_after_closing_is_unknown(
    ledger: Ledger, other: Ledger, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A claim whose caller is cancelled only after the ledger was closed is unknown: the safe side."""
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)
    ledger.close()

    with caplog.at_level(logging.DEBUG, "asana_jobs.ledger"):
        await cancel(claiming)

    assert other.summary() == LedgerSummary(unknown=1)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("DEBUG", f"the ledger {path} was closed before a cancelled caller's work was settled")
    ]


async def test_cancelled_report_stays_unknown(ledger: Ledger) -> None:
    """A claim on an unknown operation leaves it unknown when it is cancelled."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)
    ledger.summary()

    await cancel(claiming)

    assert ledger.summary() == LedgerSummary(unknown=1)


async def test_cancelled_resumption_lets_go(ledger: Ledger, other: Ledger) -> None:
    """A claim on a started job that is cancelled after its commit leaves the job to others."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    await ledger.release("a")
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)
    ledger.summary()

    await cancel(claiming)
    ledger.summary()

    assert await verdict(other) is ClaimVerdict.RESUME


@pytest.mark.parametrize("in_line", [False, True])
async def test_cancelled_recording_is_carried_out(
    ledger: Ledger, wall_clock: WallClock, in_line: bool
) -> None:
    """A fact is recorded even if its caller is cancelled, before or while it is written."""
    await ledger.claim("a", COPY)
    wall_clock.hold()
    ahead = [asyncio.create_task(ledger.renew())] if in_line else []
    recording = asyncio.create_task(ledger.started("a", RUNNING))
    await asyncio.to_thread(wall_clock.asked.wait)

    await cancel(recording)
    wall_clock.may_go_on.set()
    await asyncio.gather(*ahead)

    assert ledger.summary() == LedgerSummary(started=1)


def test_rows_that_cannot_be_let_go_of_are_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Closing a ledger that is locked by others says which file's rows stay leased, and for how long."""
    ledger = Ledger.open(path, busy_timeout=0)
    with closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        ledger.close()

    (record,) = caplog.records
    assert record.getMessage() == (
        f"rows of a ledger stay leased for up to {LEASE:.0f} s: the ledger {path} was locked by another process for too "
        "long: end that process, or give each run its own ledger. Nothing was changed."
    )


async def test_cancelled_recording_is_carried_out_once(
    ledger: Ledger, wall_clock: WallClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What was being recorded when its caller was cancelled is not recorded a second time."""
    await ledger.claim("a", COPY)
    wall_clock.hold()
    recording = asyncio.create_task(ledger.refused("a", REFUSAL))
    await asyncio.to_thread(wall_clock.asked.wait)

    await cancel(recording)
    wall_clock.may_go_on.set()

    assert ledger.summary() == LedgerSummary(refused=1)
    assert caplog.records == []


async def test_cancelled_closing_is_carried_out(path: Path, wall_clock: WallClock) -> None:
    """A ledger whose closing was cancelled is closed all the same, and its rows are free."""
    ledger = Ledger.open(path, clock=wall_clock)
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    closing = asyncio.create_task(ledger.aclose())
    await asyncio.sleep(0)

    await cancel(closing)

    with Ledger.open(path, clock=wall_clock) as successor:
        while await verdict(successor) is ClaimVerdict.HELD:  # noqa: ASYNC110  # a thread is closing the other one
            await asyncio.sleep(0)
        assert successor.summary() == LedgerSummary(started=1)


async def start_elsewhere(ledger: Ledger) -> None:
    """Record the start of a row that is not there."""
    await ledger.started("nowhere", RUNNING)


async def claim_another(ledger: Ledger) -> None:
    """Claim a key for another operation than it stands for."""
    await ledger.claim("a", DuplicateProject("1203", name="another"))


@pytest.mark.parametrize("call", [start_elsewhere, claim_another])
async def test_lost_failure_is_logged(
    ledger: Ledger,
    wall_clock: WallClock,
    caplog: pytest.LogCaptureFixture,
    call: Callable[[Ledger], Coroutine[Any, Any, None]],
) -> None:
    """What fails after its caller was cancelled is logged, since nobody else hears of it."""
    await ledger.claim("a", COPY)
    wall_clock.hold()
    recording = asyncio.create_task(call(ledger))
    await asyncio.to_thread(wall_clock.asked.wait)
    await cancel(recording)

    with caplog.at_level(logging.ERROR, "asana_jobs.ledger"):
        wall_clock.may_go_on.set()
        ledger.summary()

    (record,) = caplog.records
    assert record.getMessage() == "a ledger could not be written; the caller was cancelled meanwhile"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LedgerError)


async def test_waiting_for_the_file_does_not_block_the_loop(path: Path, ledger: Ledger) -> None:
    """While another process keeps the file locked, other coroutines run, and the claim is answered later."""
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not claiming.done()

    blocker.close()

    assert (await claiming).verdict is ClaimVerdict.START


async def test_the_ledger_costs_no_virtual_time(ledger: Ledger) -> None:
    """In virtual time, a timer that is pending does not go off while the file is being written."""
    async with asyncio.timeout(5):
        for number in range(20):
            await ledger.claim(str(number), COPY)

    assert asyncio.get_running_loop().time() < 0.1


# --- Making a ledger


def test_a_ledger_that_is_made_while_it_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens a new ledger in the very moment in which another process makes it does not take it for a stranger's."""
    look, looks = ledger_store.pragma, iter([True])

    def look_slowly(connection: sqlite3.Connection, name: str) -> object:
        found = look(connection, name)
        if next(looks, False):
            with suppress(LedgerError):  # it is looked at, and cannot be made just now
                Ledger.open(path, busy_timeout=0).close()
        return found

    monkeypatch.setattr(ledger_store, "pragma", look_slowly)

    with Ledger.open(path) as ledger:
        assert ledger.summary() == LedgerSummary()


# --- Files that cannot be used


def refused(path: Path, match: str) -> None:
    """Assert that *path* is refused with its name and *match*, and that nothing in its folder has changed."""
    before = {file: file.read_bytes() for file in path.parent.glob("*") if file.is_file()}
    with pytest.raises(LedgerError, match=match) as caught:
        Ledger.open(path, busy_timeout=0.02)
    assert str(path) in str(caught.value)
    assert {file: file.read_bytes() for file in path.parent.glob("*") if file.is_file()} == before


async def filled(path: Path) -> None:
    """Make a ledger of many pages."""
    async with Ledger.open(path) as ledger:
        for number in range(60):
            await ledger.claim(f"{number} {'x' * 400}", COPY)


def spoil(path: Path, damage: str) -> None:
    """Cut a file off in the middle, or overwrite a page there."""
    whole = path.read_bytes()
    middle = len(whole) // 2
    rest = b"" if damage == "cut off" else b"\xa5" * 4096 + whole[middle + 4096 :]
    path.write_bytes(whole[:middle] + rest)


def test_text_file_is_refused(path: Path) -> None:
    """A file that is no database is refused and left as it is."""
    path.write_text('{"kind": "duplicate_project"}\n' * 100)

    refused(path, "is not a ledger: choose another path")


@pytest.mark.parametrize("size", [1, 2, 15, 16, 17, 84, 99, 100, 101, 511, 512, 600, 4096])
@pytest.mark.parametrize("content", ["x", "SQLite format 3\0"], ids=["text", "beginning"])
def test_files_of_any_size_are_refused(path: Path, content: str, size: int) -> None:
    """However short a file is that is not empty and no ledger, it is refused and left as it is."""
    path.write_bytes((content.encode() + b"x" * size)[:size])

    refused(path, f"{path} is ")


def test_an_empty_database_of_others_is_refused(path: Path) -> None:
    """A database that another program has made and not filled yet is refused and left as it is."""
    foreign = sqlite3.connect(path)
    foreign.execute("PRAGMA journal_mode=WAL")
    foreign.close()

    refused(path, "another program's SQLite file")


def test_foreign_database_is_refused(path: Path) -> None:
    """Another program's database is refused and left as it is."""
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE operations (key)")
    foreign.close()

    refused(path, "another program's SQLite file")


async def test_newer_ledger_is_refused(path: Path) -> None:
    """A ledger of a newer version is refused and left as it is."""
    await filled(path)
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version=99")
    newer.close()

    refused(path, "schema 99, this version of asana-jobs knows 3: upgrade")


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
async def test_damaged_ledger_is_refused(path: Path, damage: str) -> None:
    """A ledger that is cut off or overwritten somewhere is refused and left as it is."""
    await filled(path)
    spoil(path, damage)

    refused(path, "is damaged")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("PRAGMA user_version=0", "Its schema is 0."),
        ("DROP INDEX operations_held", "Its tables are not those of schema 3."),
        ("CREATE TABLE more (thing)", "Its tables are not those of schema 3."),
        ("UPDATE operations SET state = 'gone' WHERE seq = 1", "1 row makes no sense."),
        ("UPDATE operations SET key = ''  WHERE seq = 1", "1 row makes no sense."),
        ("UPDATE operations SET attempts = 'two' WHERE seq < 4", "3 rows make no sense."),
    ],
)
async def test_what_is_damaged_is_said(path: Path, change: str, said: str) -> None:
    """A file that SQLite finds nothing wrong with may still be no ledger of which one operation can be believed."""
    async with Ledger.open(path) as ledger:
        for key in "abcd":
            await ledger.claim(key, COPY)
    with closing(sqlite3.connect(path, isolation_level=None)) as vandal:
        vandal.execute(change)

    refused(path, rf"is damaged\. Keep the file .* {re.escape(said)}$")


def test_a_ledger_in_another_encoding_is_refused(path: Path) -> None:
    """Its texts could not be compared with those that are asked for."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA encoding='UTF-16'")
        for statement in [one for version in ledger_sql.SCHEMA_VERSIONS for one in version]:
            other.execute(statement)
        other.execute(f"PRAGMA application_id={ledger_sql.APPLICATION}")
        other.execute(f"PRAGMA user_version={ledger_sql.SCHEMA}")

    refused(path, r"is damaged\. .* Its texts are not UTF-8\.$")


def test_folder_is_refused(tmp_path: Path) -> None:
    """A path that is a folder is refused with a better one."""
    better = f"{tmp_path} is a folder, not a ledger: name a file in it, such as {tmp_path / 'run.ledger'}"
    refused(tmp_path, f"^{re.escape(better)}$")


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    """A path in a folder that does not exist is refused, and the folder is named."""
    refused(tmp_path / "no" / "ledger", f"there is no folder {tmp_path / 'no'}")


def test_folder_without_write_ahead_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite's write-ahead log does not work, as on network folders, the ledger is refused."""
    from asana_jobs._client.bulk import ledger_store

    ask = ledger_store.pragma

    def answer(connection: sqlite3.Connection, name: str) -> object:
        return "delete" if name == "journal_mode=WAL" else ask(connection, name)

    monkeypatch.setattr(ledger_store, "pragma", answer)

    with pytest.raises(LedgerError, match="Put it on a local disk"):
        Ledger.open(path)


def test_empty_file_becomes_a_ledger(path: Path) -> None:
    """A file without content, such as a crash during the making leaves, becomes a ledger."""
    path.touch()

    with Ledger.open(path) as ledger:
        assert ledger.summary() == LedgerSummary()


@contextmanager
def nobody() -> Generator[Path, None, None]:
    """Be a user without special rights for a while, with a folder of one's own."""
    folder = Path(tempfile.mkdtemp())
    root = os.geteuid() == 0
    try:
        if root:
            os.chown(folder, 65534, 65534)
            os.seteuid(65534)
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o700)
        shutil.rmtree(folder)


@posix
def test_read_only_folder_is_refused() -> None:
    """A folder that may not be written is refused, for new ledgers."""
    with nobody() as folder:
        folder.chmod(0o500)
        refused(folder / "ledger", "cannot be opened: check that it and its folder")


@posix
async def test_read_only_file_is_refused() -> None:
    """A ledger that may not be written is refused at once, and left as it is."""
    with nobody() as folder:
        await filled(folder / "ledger")
        (folder / "ledger").chmod(0o400)
        refused(folder / "ledger", "cannot be written")


@posix
def test_unreachable_folder_is_refused() -> None:
    """A folder that may not be entered is refused."""
    with nobody() as folder:
        folder.chmod(0)
        with pytest.raises(LedgerError, match="cannot be reached: Permission denied"):
            Ledger.open(folder / "ledger")


async def test_locked_ledger_is_refused(path: Path) -> None:
    """A ledger that stays locked for longer than the busy timeout is an error that says what to do."""
    async with Ledger.open(path, busy_timeout=0.02) as ledger:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")

        with pytest.raises(LedgerError, match="locked by another process for too long"):
            await ledger.claim("a", COPY)
        with pytest.raises(LedgerError, match="locked by another process for too long"):
            Ledger.open(path, busy_timeout=0.02)

        blocker.close()
        assert (await ledger.claim("a", COPY)).verdict is ClaimVerdict.START


async def test_locked_journal_is_waited_for(path: Path) -> None:
    """A file that cannot be put into write-ahead mode because it is read is waited for, up to the busy timeout."""
    await filled(path)
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("PRAGMA journal_mode=DELETE")
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM operations").fetchone()

    with pytest.raises(LedgerError, match="locked by another process for too long"):
        Ledger.open(path, busy_timeout=0.05)
    opening = asyncio.create_task(asyncio.to_thread(Ledger.open, path))
    await asyncio.sleep(0)
    reader.close()

    (await opening).close()


def test_busy_journal_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite says at once that a file is locked, as to two who open it together, that is tried again soon."""
    naps: list[float] = []
    monkeypatch.setattr("asana_jobs._client.bulk.ledger_store.time.sleep", naps.append)
    locked = sqlite3.OperationalError("database is locked")
    locked.sqlite_errorcode = sqlite3.SQLITE_BUSY
    answers: Iterator[Exception | str] = iter([locked, locked, "wal"])

    def change() -> str:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert _patiently(change, busy_timeout=30) == "wal"
    assert naps == [0.01, 0.01]


async def test_full_disk_loses_nothing(path: Path) -> None:
    """On a full disk a claim fails and takes nothing, and what was recorded before is still there."""

    def fill_up(turn: Any) -> None:
        turn.execute("PRAGMA max_page_count=1")  # of all pages in use at least: no more room

    async with Ledger.open(path) as ledger:
        await ledger.claim("a", COPY)
        ledger._thread.read(fill_up)  # pyright: ignore[reportPrivateUsage]
        with pytest.raises(LedgerError, match="no space is left"):
            for number in range(100):
                await ledger.claim(f"{number} {'x' * 400}", COPY)
        taken = ledger.summary().intent
    with Ledger.open(path) as ledger:
        assert ledger.summary() == LedgerSummary(
            intent=taken
        )  # leased by this living process, which could not let go


@posix
def test_refused_write_loses_nothing(path: Path) -> None:
    """When the system refuses to write on, the error says so, and what was recorded before is still there."""
    program = f"""
import asyncio, resource
from pathlib import Path
from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs.errors import LedgerError
from asana_jobs.operations import DuplicateProject

async def main():
    taken = 0
    ledger = Ledger.open({str(path)!r})
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    try:
        while True:
            await ledger.claim(str(taken), DuplicateProject("1203", name="Q3"))
            taken += 1
    except LedgerError as error:
        print(taken, error)

asyncio.run(main())
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False).stdout
    taken, _, error = said.partition(" ")

    assert "the disk refused the ledger" in error
    with Ledger.open(path) as ledger:
        assert ledger.summary() == LedgerSummary(unknown=int(taken))


EXPLANATIONS: list[tuple[int | None, str, str]] = [
    *(
        (
            code,
            "locked",
            (
                "the ledger {path} was locked by another process for too long: end that process, or give each run its own "
                "ledger. Nothing was changed."
            ),
        )
        for code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_BUSY_SNAPSHOT, sqlite3.SQLITE_LOCKED)
    ),
    (
        sqlite3.SQLITE_READONLY_DIRECTORY,
        "read only",
        (
            "the ledger {path} cannot be written: make the file and its folder writable, or work on a copy elsewhere. "
            "Nothing was changed."
        ),
    ),
    (
        sqlite3.SQLITE_FULL,
        "full",
        "no space is left for the ledger {path}: free some and run again. What was recorded is kept.",
    ),
    (
        sqlite3.SQLITE_IOERR_WRITE,
        "disk I/O error",
        (
            "the disk refused the ledger {path} (disk I/O error): check its space, its quota and its health, then run again. "
            "What was recorded is kept."
        ),
    ),
    (
        sqlite3.SQLITE_CANTOPEN,
        "unable to open",
        "the ledger {path} cannot be opened: check that it and its folder may be read and written.",
    ),
    (
        sqlite3.SQLITE_NOTADB,
        "file is not a database",
        "{path} is not a ledger: choose another path. The file was left as it is.",
    ),
    (sqlite3.SQLITE_MISMATCH, "datatype mismatch", "the ledger {path} cannot be used: datatype mismatch"),
    (None, "of Python's own", "the ledger {path} cannot be used: of Python's own"),
    *(
        (
            code,
            said,
            (
                "the ledger {path} is damaged. Keep the file and what lies next to it, save what can be read with sqlite3 "
                "{path} .recover, and look in Asana before you start its operations again."
            ),
        )
        for code, said in (
            (sqlite3.SQLITE_CORRUPT, "malformed"),
            (sqlite3.SQLITE_CORRUPT_INDEX, "malformed"),
            (None, "Could not decode to UTF-8 column 'key'"),
        )
    ),
]


@pytest.mark.parametrize(("code", "said", "sentence"), EXPLANATIONS)
def test_each_trouble_of_sqlites_is_a_sentence(
    path: Path, code: int | None, said: str, sentence: str
) -> None:
    """What happened to which file, and what to do; the library's own error is kept behind it."""
    error = sqlite3.OperationalError(said)
    if code is not None:
        error.sqlite_errorcode = code

    with pytest.raises(LedgerError) as caught, explained(path):
        raise error

    assert str(caught.value) == sentence.format(path=path)
    assert caught.value.__cause__ is error


def test_a_text_that_is_none_is_damage(path: Path) -> None:
    """SQLite's own message may quote what it found."""
    with pytest.raises(LedgerError, match=f"^the ledger {re.escape(str(path))} is damaged"), explained(path):
        b"\xff".decode()


# --- Files that are changed under us


def take_away(path: Path, how: str) -> None:
    """Delete a ledger that is in use, or put another one in its place."""
    log = path.with_name(f"{path.name}-wal")
    if how == "its log deleted":
        log.unlink()
        return
    whole = path.read_bytes()
    path.unlink()
    if how == "replaced by a copy":
        path.write_bytes(whole)
    elif how == "replaced by a new one":
        log.unlink()
        Ledger.open(path).close()


@pytest.mark.parametrize("how", ["deleted", "replaced by a copy", "replaced by a new one", "its log deleted"])
async def test_a_ledger_that_goes_away_is_noticed(path: Path, how: str) -> None:
    """A ledger that is deleted or replaced while it is used is an error at the next claim, and nothing is started."""
    ledger = Ledger.open(path)
    await ledger.claim("a", COPY)
    take_away(path, how)

    with pytest.raises(LedgerError, match="was deleted or replaced while it was used"):
        await ledger.claim("b", COPY)
    with pytest.raises(LedgerError, match=r"job 77 of 'a' was started but not recorded: .* was deleted"):
        await ledger.started("a", Job("77", status="in_progress"))
    ledger.close()


def said_in_a_child(ledger: Ledger) -> str:
    """Use and close a ledger in a child that is forked now; return its error."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            ledger.summary()
        except LedgerError as error:
            os.write(writing, str(error).encode())
        ledger.close()
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@posix
async def test_a_ledger_of_before_a_fork_says_so(path: Path) -> None:
    """In a child that was forked, a ledger of the parent's is an error at once, and is closed without a word."""
    ledger = Ledger.open(path)
    await ledger.claim("a", COPY)

    assert f"was opened by process {os.getpid()}, from which this one was forked" in said_in_a_child(ledger)
    assert ledger.summary() == LedgerSummary(intent=1)  # it is still ours
    ledger.close()


# --- Older schemas


async def test_a_ledger_of_the_first_schema_is_migrated(path: Path) -> None:
    """An older ledger is brought up to date as it is opened, once; its rows are what they were."""
    of_the_first_schema(path, [("mine", COPY.to_dict(), "succeeded"), ("its", COPY.to_dict(), "failed")])

    for _ in range(2):
        with Ledger.open(path) as ledger:
            assert ledger.summary() == LedgerSummary(succeeded=1, failed=1)
            assert (await ledger.claim("mine", COPY)).verdict is ClaimVerdict.DONE
            assert [row.failed_jobs for row in ledger.rows()] == [(), ()]
    with Ledger.open(path) as ledger:
        assert (await ledger.claim("its", COPY, retry_failed=True)).verdict is ClaimVerdict.START
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("PRAGMA user_version").fetchone() == (3,)


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is done whole or not at all."""
    of_the_first_schema(path, [("mine", COPY.to_dict(), "succeeded")])
    broken = (*ledger_sql.SCHEMA_VERSIONS[:1], (*ledger_sql.SCHEMA_VERSIONS[1], "CREATE"))
    with monkeypatch.context() as patched:
        patched.setattr(ledger_store, "SCHEMA_VERSIONS", broken)
        with pytest.raises(LedgerError, match="cannot be used"):
            Ledger.open(path)

    with Ledger.open(path) as ledger:
        assert ledger.summary() == LedgerSummary(succeeded=1)


# --- Network file systems


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:40 / /srv rw - nfs4 server:/srv rw
24 22 0:41 / /srv/local rw shared:7 - xfs /dev/vdb rw
25 22 0:42 / /mnt/with\\040blank rw - cifs //server/share rw
26 23 0:43 / /srv rw - tmpfs none rw
27 22 0:44 / /run/dash rw - tmpfs - rw
""".splitlines()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "ext4"),
        ("/srvant", "ext4"),
        ("/srv/local/x", "xfs"),
        ("/srv/shared", "tmpfs"),
        ("/mnt/with blank/x", "cifs"),
        ("/run/dash/x", "tmpfs"),
    ],
)
def test_the_file_system_of_a_folder(folder: str, kind: str) -> None:
    """A folder is on what is mounted nearest above it, the last one where two are on the same folder; a source may be a dash."""
    assert mounted_at(Path(folder), MOUNTS) == kind


def test_network_file_systems_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network file system a ledger is refused, and made only where somebody says that it is safe."""

    def on_nfs(_: Path, __: object) -> str:
        return "nfs4"

    monkeypatch.setattr(ledger_store, "mounted_at", on_nfs)

    refused(path, r"on a network file system \(nfs4\).*put it on a local disk")
    Ledger.open(path, allow_network_file_system=True).close()


async def test_a_claim_amid_which_the_program_ends_is_taken_back(tmp_path: Path) -> None:
    """Ctrl-C that comes while a row is claimed leaves no intent: nothing was sent."""
    async with Ledger.open(tmp_path / "ledger") as ledger:
        claiming = ledger.claim("a", COPY)
        claiming.send(None)
        with pytest.raises(KeyboardInterrupt):
            claiming.throw(KeyboardInterrupt)

        assert list(ledger.rows()) == []


async def test_a_ledger_of_the_second_schema_is_migrated(path: Path) -> None:
    """Its rows are what they were, and it remembers names from then on."""
    await filled(path)
    with closing(sqlite3.connect(path)) as old:
        old.execute("DROP TABLE template_names")
        old.execute("PRAGMA user_version=2")

    with Ledger.open(path) as ledger:
        rows = list(ledger.rows())
        names = await ledger.template_names("1204")

    assert rows
    assert (names.requested_dates, names.requested_roles) == ((), ())


def test_a_windows_share_is_a_network_file_system() -> None:
    """Its path says so."""
    assert network_file_system(Path("\\\\server\\share")) == "UNC path"


def test_what_nobody_knows_is_no_network_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder on nothing that is mounted, and one on a local file system, whatever that is called."""
    kinds = {
        "ext4": None,
        "nfs": "nfs",
        "fuse.sshfs": "fuse.sshfs",
        "fuse.other": None,
        "xnfs": None,
        "": None,
    }
    on = iter(kinds)

    def mounted(_: Path, __: object) -> str:
        return next(on)

    assert mounted_at(Path("/x"), []) is None
    assert network_file_system(Path("relative")) is None
    monkeypatch.setattr(ledger_store, "mounted_at", mounted)
    assert [network_file_system(tmp_path) for _ in kinds] == list(kinds.values())
