"""The owners of rows: who lives, who is gone, and how old a claim is."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import attrs
import pytest
from ledger_samples import posix

from asana_jobs._client.bulk import ledger_owner
from asana_jobs._client.bulk.ledger_owner import (
    CLAIM_HOLDS,
    Instant,
    Life,
    _born,  # pyright: ignore[reportPrivateUsage]
    see_life,
    this_process,
)


@pytest.mark.parametrize("which", range(len(Instant.now().readings)))
def test_a_claim_is_as_old_as_the_clock_says_that_counted_most(which: int) -> None:
    """Sleep stops some clocks, and others can be set back: the age is the largest difference of all."""
    readings = [reading + 1000 for reading in Instant.now().readings]
    readings[which] -= 1000 + CLAIM_HOLDS

    assert CLAIM_HOLDS <= Instant(tuple(readings)).age() < CLAIM_HOLDS + 5


def test_the_living_are_not_gone() -> None:
    """A process that exists is not gone."""
    assert see_life(this_process(), this_process()) is Life.LIVES


def test_an_owner_is_told_by_host_and_process() -> None:
    """People read where a process runs, and its id; to the file, each opening is somebody else."""
    one, another = this_process(), this_process()

    assert str(one) == f"{socket.gethostname()}, process {os.getpid()}"
    assert one.id != another.id
    assert {len(one.id), len(another.id)} == {16}
    assert attrs.evolve(one, id="") == attrs.evolve(another, id="")


@posix
def test_a_reused_process_id_is_gone() -> None:
    """A process whose id belongs to a younger process now is gone."""
    assert see_life(attrs.evolve(this_process(), born="1"), this_process()) is Life.GONE


def test_other_machines_cannot_be_seen() -> None:
    """Nobody can say that a process of another machine, or container, is gone."""
    assert (
        see_life(attrs.evolve(this_process(), machine="elsewhere", born="1"), this_process()) is Life.UNSEEN
    )


@posix
def test_a_killed_child_nobody_waited_for_is_gone() -> None:
    """A killed process is gone even while its parent has not looked after it."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = attrs.evolve(this_process(), pid=child.pid, born=_born(child.pid)[0])
        assert see_life(owner, this_process()) is Life.LIVES
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

        assert see_life(owner, this_process()) is Life.GONE


@posix
def test_a_stopped_process_lives() -> None:
    """A process that was stopped, by Ctrl-Z say, lives, and is seen to be stopped, until it is continued."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        owner = attrs.evolve(this_process(), pid=child.pid, born=_born(child.pid)[0])
        child.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED)
        assert see_life(owner, this_process()) is Life.STOPPED
        child.send_signal(signal.SIGCONT)
        os.waitid(os.P_PID, child.pid, os.WCONTINUED)
        assert see_life(owner, this_process()) is Life.LIVES
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
    assert see_life(owner, observer) is life


def test_on_windows_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where asking after a process would end it, nobody is asked, and nobody is gone."""
    observer = this_process()

    def refuse(_pid: int, _signal: int) -> None:
        pytest.fail("a process was asked")

    monkeypatch.setattr(ledger_owner, "sys", SimpleNamespace(platform="win32"))
    monkeypatch.setattr(os, "kill", refuse)

    assert see_life(attrs.evolve(observer, born="1"), observer) is Life.UNSEEN


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc that says what a test wants, and that it is about this process."""

    def elsewhere(name: str) -> Path:
        return tmp_path / name.lstrip("/")

    monkeypatch.setattr(ledger_owner, "Path", elsewhere)
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

    assert see_life(attrs.evolve(owner, born="1"), this_process()) is Life.UNSEEN


@posix
@pytest.mark.parametrize("name", ["python", "tmux: server", "a) b (c", ") Z 1 2 3", "\udcff"])
def test_the_birth_is_read_behind_any_name(proc: Path, name: str) -> None:
    """A process whose name holds blanks and brackets is told from another one with its id; some are no text."""
    _born_at(proc, 4711, name=name)
    owner = this_process()
    assert owner.born == "4711"
    assert see_life(owner, this_process()) is Life.LIVES

    _born_at(proc, 4712, name=name)
    assert see_life(owner, this_process()) is Life.GONE


@posix
def test_of_whom_no_birth_is_known_the_lease_decides(proc: Path) -> None:
    """A process without one noted, and one that cannot be read now, are not known to be gone."""
    _born_at(proc, 4711)
    owner = this_process()
    assert see_life(attrs.evolve(owner, born=""), owner) is Life.UNSEEN
    (proc / str(os.getpid()) / "stat").unlink()

    assert see_life(owner, owner) is Life.UNSEEN


@posix
@pytest.mark.parametrize("state", ["Z", "X"])
def test_the_dead_have_no_birth(proc: Path, state: str) -> None:
    """A process that ended, and only waits to be looked after, is gone."""
    _born_at(proc, 4711)
    owner = this_process()
    _born_at(proc, 4711, state=state)

    assert see_life(owner, this_process()) is Life.GONE
    assert _born(os.getpid()) == ("", state)


@posix
def test_without_proc_the_process_id_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no /proc, a process is gone when its id is free; of another one its lease decides."""

    def elsewhere(name: str) -> Path:
        return tmp_path / name.lstrip("/")

    monkeypatch.setattr(ledger_owner, "Path", elsewhere)
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    observer = this_process()

    assert (observer.machine, observer.born) == (f"{socket.gethostname()}  ", "")
    assert see_life(observer, observer) is Life.UNSEEN
    assert see_life(attrs.evolve(observer, pid=child.pid), observer) is Life.GONE
