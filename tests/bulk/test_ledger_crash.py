"""What a ledger survives: SIGKILL at any instant, company, and every trouble a file can have.

Run as a program, this module is the process that is killed: it forks children that work on a ledger, so that
Python starts once and not a hundred times.
"""

import asyncio
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from asana_jobs._client.bulk import ledger_owner as _ledger_owner
from asana_jobs._client.bulk import ledger_store as _ledger_file
from asana_jobs._client.bulk.ledger import Keys, Ledger, State, Summary, Verdict
from asana_jobs._client.bulk.ledger_owner import (
    Life,
    _born,  # pyright: ignore[reportPrivateUsage]
    look,
    this_process,
)
from asana_jobs._client.bulk.ledger_store import _patiently, mounted_at  # pyright: ignore[reportPrivateUsage]
from asana_jobs.errors import LedgerError
from asana_jobs.models import Job
from asana_jobs.operations import DuplicateProject


COPY = DuplicateProject("1203", name="Q3")
OPERATIONS = [DuplicateProject("1203", name=f"Copy {number % 30}") for number in range(40)]

DICE = random.SystemRandom()

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX processes and permissions")


# --- The process that is killed


async def work(ledger: Path, asana: Path, *, statements: int | None) -> None:
    """Start and finish every operation, eight at a time, against an Asana that only writes down what it gets.

    With *statements*, the process kills itself as SQLite begins so many statements after the opening.
    """
    countdown = iter(range(statements or 10**9))

    def die(_: str) -> None:
        if next(countdown, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    received = os.open(asana, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    turns = asyncio.Semaphore(8)

    async def do(key: str, operation: DuplicateProject) -> None:
        async with turns:
            claim = await ledger_.claim(key, operation)
            while claim.verdict is Verdict.HELD:  # by another process
                await asyncio.sleep(0.001)
                claim = await ledger_.claim(key, operation)
            job = Job(str(abs(hash(key))), status="in_progress")
            if claim.verdict is Verdict.START:
                await asyncio.sleep(DICE.uniform(0, 0.002))
                os.write(received, f"{key}\n".encode())
                await asyncio.sleep(DICE.uniform(0, 0.002))
                await ledger_.started(key, job, "token")
            elif claim.verdict is Verdict.RESUME:
                job = Job(claim.row.gid or "", status="in_progress")
            if claim.verdict in {Verdict.START, Verdict.RESUME}:
                await asyncio.sleep(DICE.uniform(0, 0.002))
                await ledger_.finished(key, attrs.evolve(job, status="succeeded"))

    async with Ledger.open(ledger) as ledger_, asyncio.TaskGroup() as group:
        ledger_._thread._connection.set_trace_callback(die)  # pyright: ignore[reportPrivateUsage]
        with Keys() as keys:
            for operation in OPERATIONS:
                group.create_task(do(keys.key_of(operation), operation))


def fork(ledger: Path, asana: Path, *, statements: int | None = None) -> int:
    """Start a child that does the work; its exit status is 0 when all is done."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            asyncio.run(work(ledger, asana, statements=statements))
            status = 0
        except BaseException:  # noqa: BLE001  # the process ends here
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    return child


def kill_until_done(ledger: Path, asana: Path) -> int:
    """Kill the work at random instants and statements, then let a child come through; return the kills."""
    kills = 0
    for attempt in range(30):
        child = fork(ledger, asana, statements=DICE.randrange(60) + 1 if attempt % 3 else None)
        if attempt % 3 == 0:
            time.sleep(DICE.uniform(0, 0.1))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        kills += os.WIFSIGNALED(status)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    _, status = os.waitpid(fork(ledger, asana), 0)
    assert status == 0
    return kills


def work_together(ledger: Path, asana: Path) -> int:
    """Let four children do the same work at the same time."""
    children = [fork(ledger, asana) for _ in range(4)]
    return sum(os.waitpid(child, 0)[1] for child in children)


def leave_behind(ledger: Path, asana: Path) -> int:
    """Die with one operation started and the request of another under way."""

    async def begin() -> None:
        opened = Ledger.open(ledger)
        await opened.claim("started", COPY)
        await opened.started("started", Job("77", status="in_progress"))
        await opened.claim("intent", COPY)
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(begin())
    return 0


PROGRAMS: dict[str, Callable[[Path, Path], int]] = {
    program.__name__: program for program in (kill_until_done, work_together, leave_behind)
}


def run(program: Callable[[Path, Path], int], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one of the programs above in a process of its own."""
    return subprocess.run(
        [sys.executable, __file__, program.__name__, str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def received(folder: Path) -> Counter[str]:
    """How often Asana received each operation."""
    return Counter((folder / "asana").read_text().split())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "ledger"


@posix
def test_killed_at_random_instants(tmp_path: Path, path: Path) -> None:
    """Killed at random until it is through, a run starts nothing twice, loses nothing, and says what is unknown."""
    ended = run(kill_until_done, tmp_path)
    assert ended.returncode == 0, ended.stderr
    kills = int(ended.stdout)

    with Ledger.open(path) as ledger:
        states = {row.key: row.state for row in ledger.rows()}

    sent = received(tmp_path)
    assert kills > 0
    assert len(states) == len(OPERATIONS)
    assert set(states.values()) <= {State.SUCCEEDED, State.UNKNOWN}
    assert set(sent.values()) == {1}
    assert {key for key, state in states.items() if state is State.SUCCEEDED} <= set(sent)


@posix
def test_several_processes_share_a_ledger(tmp_path: Path, path: Path) -> None:
    """Four processes that open a new ledger at once do every operation exactly once."""
    ended = run(work_together, tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr

    with Ledger.open(path) as ledger:
        assert ledger.summary() == Summary(succeeded=len(OPERATIONS))
    assert sorted(received(tmp_path).values()) == [1] * len(OPERATIONS)


def test_a_ledger_that_is_made_while_it_is_looked_at(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who opens a new ledger in the very moment in which another process makes it does not take it for a stranger's."""
    look, looks = _ledger_file.pragma, iter([True])

    def look_slowly(connection: sqlite3.Connection, name: str) -> object:
        found = look(connection, name)
        if next(looks, False):
            with suppress(LedgerError):  # it is looked at, and cannot be made just now
                Ledger.open(path, busy_timeout=0).close()
        return found

    monkeypatch.setattr(_ledger_file, "pragma", look_slowly)

    with Ledger.open(path) as ledger:
        assert ledger.summary() == Summary()


@posix
async def test_killed_process_is_succeeded_at_once(tmp_path: Path, path: Path) -> None:
    """What a killed process held is free at once: its jobs are watched, its intents are unknown."""
    assert run(leave_behind, tmp_path).returncode == -signal.SIGKILL

    with Ledger.open(path) as ledger:
        assert ledger.summary() == Summary(started=1, unknown=1)
        assert (await ledger.claim("started", COPY)).verdict is Verdict.RESUME
        assert (await ledger.claim("intent", COPY)).verdict is Verdict.UNKNOWN


# --- Who is alive


def test_the_living_are_not_gone() -> None:
    """A process that exists is not gone."""
    assert look(this_process(), this_process()) is Life.LIVES


def test_an_owner_is_told_by_host_and_process() -> None:
    """People read where a process runs, and its id; to the file, each opening is somebody else."""
    one, another = this_process(), this_process()

    assert str(one) == f"{socket.gethostname()}, process {os.getpid()}"
    assert one.id != another.id
    assert attrs.evolve(one, id="") == attrs.evolve(another, id="")


@posix
def test_a_reused_process_id_is_gone() -> None:
    """A process whose id belongs to a younger process now is gone."""
    assert look(attrs.evolve(this_process(), born="1"), this_process()) is Life.GONE


def test_other_machines_cannot_be_seen() -> None:
    """Nobody can say that a process of another machine, or container, is gone."""
    assert look(attrs.evolve(this_process(), machine="elsewhere", born="1"), this_process()) is Life.UNSEEN


@posix
def test_a_killed_child_nobody_waited_for_is_gone() -> None:
    """A killed process is gone even while its parent has not looked after it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = attrs.evolve(this_process(), pid=child.pid, born=_born(child.pid)[0])
        assert look(owner, this_process()) is Life.LIVES
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert look(owner, this_process()) is Life.GONE


@posix
def test_a_stopped_process_lives() -> None:
    """A process that was stopped, by Ctrl-Z say, lives, and is seen to be stopped, until it is continued."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = attrs.evolve(this_process(), pid=child.pid, born=_born(child.pid)[0])
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        assert look(owner, this_process()) is Life.STOPPED
        child.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, child.pid, os.WCONTINUED)
        assert look(owner, this_process()) is Life.LIVES
        child.kill()


@posix
@pytest.mark.parametrize(("born", "life"), [("own", Life.LIVES), ("1", Life.GONE)])
def test_processes_of_other_users_are_seen(monkeypatch: pytest.MonkeyPatch, born: str, life: Life) -> None:
    """A process that one may not signal is told by its birth all the same."""
    observer = this_process()

    def refuse(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)

    owner = observer if born == "own" else attrs.evolve(observer, born=born)
    assert look(owner, observer) is life


def test_on_windows_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where asking after a process would end it, nobody is asked, and nobody is gone."""
    observer = this_process()

    def refuse(_pid: int, _signal: int) -> None:
        pytest.fail("a process was asked")

    monkeypatch.setattr(_ledger_owner, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(os, "kill", refuse)

    assert look(attrs.evolve(observer, born="1"), observer) is Life.UNSEEN


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc that says what a test wants, and that it is about this process."""

    def elsewhere(name: str) -> Path:
        return tmp_path / name.lstrip("/")

    monkeypatch.setattr(_ledger_owner, "Path", elsewhere)
    (tmp_path / "proc/sys/kernel/random").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/random/boot_id").write_text("first-boot\n")
    (tmp_path / "proc/self/ns").mkdir(parents=True)
    (tmp_path / "proc/self/ns/pid").symlink_to("pid:[4026531836]")
    (tmp_path / f"proc/{os.getpid()}").mkdir()
    return tmp_path / "proc"


def _born_at(proc: Path, moment: int, *, name: str = "python", state: str = "S") -> None:
    stat = proc / str(os.getpid()) / "stat"
    fields = [str(field) for field in range(4, 22)]
    line = f"{os.getpid()} ({name}) {state} {' '.join(fields)} {moment} 23 24\n"
    stat.write_bytes(line.encode(errors="surrogateescape"))


@posix
@pytest.mark.parametrize("other", ["boot", "namespace"])
def test_only_processes_of_one_boot_and_namespace_are_compared(proc: Path, other: str) -> None:
    """Process ids mean nothing after a reboot or in another container: nobody there is known to be gone."""
    _born_at(proc, 100)
    owner = this_process()
    assert owner.machine == f"{socket.gethostname()} first-boot pid:[4026531836]"
    if other == "boot":
        (proc / "sys/kernel/random/boot_id").write_text("second-boot\n")
    else:
        (proc / "self/ns/pid").unlink()
        (proc / "self/ns/pid").symlink_to("pid:[1]")

    assert look(attrs.evolve(owner, born="1"), this_process()) is Life.UNSEEN


@posix
@pytest.mark.parametrize("name", ["python", "tmux: server", "a) b (c", ") Z 1 2 3", "\udcff"])
def test_the_birth_is_read_behind_any_name(proc: Path, name: str) -> None:
    """A process whose name holds blanks and brackets is told from another one with its id; some are no text."""
    _born_at(proc, 4711, name=name)
    owner = this_process()
    assert owner.born == "4711"
    assert look(owner, this_process()) is Life.LIVES

    _born_at(proc, 4712, name=name)
    assert look(owner, this_process()) is Life.GONE


@posix
@pytest.mark.parametrize("state", ["Z", "X"])
def test_the_dead_have_no_birth(proc: Path, state: str) -> None:
    """A process that ended, and only waits to be looked after, is gone."""
    _born_at(proc, 4711)
    owner = this_process()
    _born_at(proc, 4711, state=state)

    assert look(owner, this_process()) is Life.GONE
    assert _born(os.getpid()) == ("", state)


@posix
def test_without_proc_the_process_id_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc, a process is gone when its id is free; of another one its lease decides."""

    def elsewhere(name: str) -> Path:
        return tmp_path / name.lstrip("/")

    monkeypatch.setattr(_ledger_owner, "Path", elsewhere)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    observer = this_process()

    assert (observer.machine, observer.born) == (f"{socket.gethostname()}  ", "")
    assert look(observer, observer) is Life.UNSEEN
    assert look(attrs.evolve(observer, pid=child.pid), observer) is Life.GONE


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

    refused(path, "schema 99, this version of asana-jobs knows 2: upgrade")


@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
async def test_damaged_ledger_is_refused(path: Path, damage: str) -> None:
    """A ledger that is cut off or overwritten somewhere is refused and left as it is."""
    await filled(path)
    spoil(path, damage)

    refused(path, "is damaged")


async def test_damaged_row_is_named(path: Path) -> None:
    """A row that makes no sense is an error that names the row."""
    async with Ledger.open(path) as ledger:
        await ledger.claim("a", COPY)
    vandal = sqlite3.connect(path)
    vandal.execute("UPDATE operations SET content = '{'")
    vandal.commit()
    vandal.close()

    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="row 'a' is damaged"):
        list(ledger.rows())


async def test_operation_of_a_newer_version_is_named(path: Path) -> None:
    """A row with an operation that this version does not know says so when it is asked for it."""
    async with Ledger.open(path) as ledger:
        await ledger.claim("a", COPY)
    newer = sqlite3.connect(path)
    newer.execute("""UPDATE operations SET content = '{"kind": "invite_martians"}'""")
    newer.commit()
    newer.close()

    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="'a' holds an operation this version"):
        _ = next(ledger.rows()).operation


def test_folder_is_refused(tmp_path: Path) -> None:
    """A path that is a folder is refused with a better one."""
    refused(tmp_path, "is a folder, not a ledger")


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    """A path in a folder that does not exist is refused, and the folder is named."""
    refused(tmp_path / "no" / "ledger", f"there is no folder {tmp_path / 'no'}")


def test_folder_without_write_ahead_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where SQLite's write-ahead log does not work, as on network folders, the ledger is refused."""
    from asana_jobs._client.bulk import ledger_store as _ledger_file

    ask = _ledger_file.pragma

    def answer(connection: sqlite3.Connection, name: str) -> object:
        return "delete" if name == "journal_mode=WAL" else ask(connection, name)

    monkeypatch.setattr(_ledger_file, "pragma", answer)

    with pytest.raises(LedgerError, match="Put it on a local disk"):
        Ledger.open(path)


def test_empty_file_becomes_a_ledger(path: Path) -> None:
    """A file without content, such as a crash during the making leaves, becomes a ledger."""
    path.touch()

    with Ledger.open(path) as ledger:
        assert ledger.summary() == Summary()


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
        assert (await ledger.claim("a", COPY)).verdict is Verdict.START


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
        assert ledger.summary() == Summary(
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
        assert ledger.summary() == Summary(unknown=int(taken))


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
    assert ledger.summary() == Summary(intent=1)  # it is still ours
    ledger.close()


# --- Older schemas


def of_the_first_schema(path: Path, rows: Sequence[tuple[str, Mapping[str, object], str]]) -> None:
    """Make a ledger as the first version did, of keys, contents and states."""
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for statement in _ledger_file._VERSIONS[0]:  # pyright: ignore[reportPrivateUsage]
            old.execute(statement)
        old.execute(f"PRAGMA application_id={_ledger_file.APPLICATION}")
        old.execute("PRAGMA user_version=1")
        job = '{"gid": "77", "status": "STATE"}'
        for key, content, state in rows:
            old.execute(
                "INSERT INTO operations (key, content, state, gid, job, attempts, created_at, changed_at) "
                "VALUES (?, ?, ?, '77', ?, 1, '2026-11-22T00:00:00.000+00:00', '2026-11-22T00:00:00.000+00:00')",
                (
                    key,
                    json.dumps(content, sort_keys=True, separators=(",", ":")),
                    state,
                    job.replace("STATE", state),
                ),
            )


def first_key(content: Mapping[str, object], turn: int) -> str:
    """The key that the first version derived."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{hashlib.sha256(text.encode()).hexdigest()[:16]}#{turn}"


async def test_a_ledger_of_the_first_schema_is_migrated(path: Path) -> None:
    """An older ledger is brought up to date as it is opened, once; its rows are what they were."""
    of_the_first_schema(path, [("mine", COPY.to_dict(), "succeeded"), ("its", COPY.to_dict(), "failed")])

    for _ in range(2):
        with Ledger.open(path) as ledger:
            assert ledger.summary() == Summary(succeeded=1, failed=1)
            assert (await ledger.claim("mine", COPY)).verdict is Verdict.DONE
            assert [row.failed_jobs for row in ledger.rows()] == [(), ()]
    with Ledger.open(path) as ledger:
        assert (await ledger.claim("its", COPY, retry_failed=True)).verdict is Verdict.START
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("PRAGMA user_version").fetchone() == (2,)


async def test_keys_of_the_first_schema_are_found(path: Path) -> None:
    """Rows whose keys told the order of ``include`` apart are found by the keys of today, each once."""
    spelled = [COPY.to_dict() | {"include": words} for words in (["notes", "members"], ["members", "notes"])]
    keys = [first_key(spelled[0], 0), first_key(spelled[1], 0), first_key(spelled[0], 1)]
    rows = [(key, spelled[number % 2], "succeeded") for number, key in enumerate(keys)]
    of_the_first_schema(path, [*rows, ("mine", spelled[0], "succeeded")])

    operation = DuplicateProject("1203", name="Q3", include=["members", "notes"])
    with Ledger.open(path) as ledger, Keys() as derived:
        verdicts = [(await ledger.claim(derived.key_of(operation), operation)).verdict for _ in range(4)]
        assert (await ledger.claim("mine", operation)).verdict is Verdict.DONE

    assert verdicts == [*[Verdict.DONE] * 3, Verdict.START]


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is done whole or not at all."""
    of_the_first_schema(path, [("mine", COPY.to_dict(), "succeeded")])
    broken = (*_ledger_file._VERSIONS[:1], (*_ledger_file._VERSIONS[1], "CREATE"))  # pyright: ignore[reportPrivateUsage]
    with monkeypatch.context() as patched:
        patched.setattr(_ledger_file, "_VERSIONS", broken)
        with pytest.raises(LedgerError, match="cannot be used"):
            Ledger.open(path)

    with Ledger.open(path) as ledger:
        assert ledger.summary() == Summary(succeeded=1)


# --- Network file systems

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
23 22 0:40 / /srv rw - nfs4 server:/srv rw
24 22 0:41 / /srv/local rw shared:7 - xfs /dev/vdb rw
25 22 0:42 / /mnt/with\\040blank rw - cifs //server/share rw
26 23 0:43 / /srv rw - tmpfs none rw
""".splitlines()


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/home/me", "ext4"),
        ("/srvant", "ext4"),
        ("/srv/local/x", "xfs"),
        ("/srv/shared", "tmpfs"),
        ("/mnt/with blank/x", "cifs"),
    ],
)
def test_the_file_system_of_a_folder(folder: str, kind: str) -> None:
    """A folder is on what is mounted nearest above it, the last one where two are on the same folder."""
    assert mounted_at(Path(folder), MOUNTS) == kind


def test_network_file_systems_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network file system a ledger is refused, and made only where somebody says that it is safe."""

    def on_nfs(_: Path, __: object) -> str:
        return "nfs4"

    monkeypatch.setattr(_ledger_file, "mounted_at", on_nfs)

    refused(path, r"on a network file system \(nfs4\).*put it on a local disk")
    Ledger.open(path, allow_network_file_system=True).close()


if __name__ == "__main__":
    chosen, folder = PROGRAMS[sys.argv[1]], Path(sys.argv[2])
    sys.stdout.write(f"{chosen(folder / 'ledger', folder / 'asana')}\n")
