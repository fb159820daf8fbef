"""What a ledger survives: SIGKILL at any instant, and company.

Run as a program, this module is the process that is killed: it forks children that work on a ledger, so that
Python starts once and not a hundred times.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from ledger_samples import COPY, posix

from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_keys import Keys
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict, LedgerState, LedgerSummary
from asana_jobs.models import Job
from asana_jobs.operations import DuplicateProject


OPERATIONS = [DuplicateProject("1203", name=f"Copy {number % 30}") for number in range(40)]


DICE = random.SystemRandom()


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
            while claim.verdict is ClaimVerdict.HELD:  # by another process
                await asyncio.sleep(0.001)
                claim = await ledger_.claim(key, operation)
            job = Job(str(abs(hash(key))), status="in_progress")
            if claim.verdict is ClaimVerdict.START:
                await asyncio.sleep(DICE.uniform(0, 0.002))
                os.write(received, f"{key}\n".encode())
                await asyncio.sleep(DICE.uniform(0, 0.002))
                await ledger_.started(key, job, "token")
            elif claim.verdict is ClaimVerdict.RESUME:
                job = Job(claim.row.gid or "", status="in_progress")
            if claim.verdict in {ClaimVerdict.START, ClaimVerdict.RESUME}:
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
        timeout=300,
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
    assert set(states.values()) <= {LedgerState.SUCCEEDED, LedgerState.UNKNOWN}
    assert set(sent.values()) == {1}
    assert {key for key, state in states.items() if state is LedgerState.SUCCEEDED} <= set(sent)


@posix
def test_several_processes_share_a_ledger(tmp_path: Path, path: Path) -> None:
    """Four processes that open a new ledger at once do every operation exactly once."""
    ended = run(work_together, tmp_path)
    assert (ended.returncode, ended.stdout) == (0, "0\n"), ended.stderr

    with Ledger.open(path) as ledger:
        assert ledger.summary() == LedgerSummary(succeeded=len(OPERATIONS))
    assert sorted(received(tmp_path).values()) == [1] * len(OPERATIONS)


@posix
async def test_killed_process_is_succeeded_at_once(tmp_path: Path, path: Path) -> None:
    """What a killed process held is free at once: its jobs are watched, its intents are unknown."""
    assert run(leave_behind, tmp_path).returncode == -signal.SIGKILL

    with Ledger.open(path) as ledger:
        assert ledger.summary() == LedgerSummary(started=1, unknown=1)
        assert (await ledger.claim("started", COPY)).verdict is ClaimVerdict.RESUME
        assert (await ledger.claim("intent", COPY)).verdict is ClaimVerdict.UNKNOWN


if __name__ == "__main__":
    chosen, folder = PROGRAMS[sys.argv[1]], Path(sys.argv[2])
    sys.stdout.write(f"{chosen(folder / 'ledger', folder / 'asana')}\n")
