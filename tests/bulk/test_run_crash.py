"""The crash campaign: real processes that run operations on a ledger are killed at any instant, and started again.

The simulator outlives them and counts what was really started. The test suite kills 15 times; for more::

    ASANA_JOBS_KILLS=200 pytest tests/test_run_crash.py
    python tests/test_run_crash.py 200                      # prints what it saw
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import attrs
import pytest

from asana_jobs import AsanaClient, DuplicateProject, Ledger, PollPolicy, RateLimits
from asana_jobs._client.bulk.ledger_rows import LedgerState
from asana_jobs.testing import AsanaSimulator, Lognormal, SimulatorLimits


KILLS = int(os.environ.get("ASANA_JOBS_KILLS", "15"))
OPERATIONS = 40

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
real_time = pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it


# --- The process that is killed


async def work(ledger: str, base_url: str) -> None:
    """Run all operations; they are named after the ledger."""
    operations = [DuplicateProject("1203", name=f"{ledger} {number}") for number in range(OPERATIONS)]
    poll = PollPolicy(initial=0.02, lag_price=0.005)
    limits = RateLimits(requests_per_minute=60_000)
    async with (
        AsanaClient("t", base_url=base_url, poll=poll, limits=limits) as client,
        Ledger.open(ledger) as opened,
    ):
        async for _ in client.run_all(operations, ledger=opened):
            pass


def serve_forks() -> None:
    """Fork processes on demand, so that Python starts once and not hundreds of times."""
    for line in sys.stdin:
        command, *arguments = line.split()
        if command == "wait":
            _, status = os.waitpid(int(arguments[0]), 0)
            sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
            sys.stdout.flush()
            continue
        child = os.fork()
        if child == 0:
            status = 1
            try:
                asyncio.run(work(*arguments))
                status = 0
            finally:
                sys.stderr.flush()
                os._exit(status)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


# --- The process that kills


@attrs.define
class Forks:
    """The process that forks others on demand."""

    process: asyncio.subprocess.Process

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncGenerator[Self, None]:
        """Start it."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, __file__, stdin=pipe, stdout=pipe)
        try:
            yield cls(process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            await process.wait()

    async def ask(self, *words: str) -> int:
        """Send a command and return the number it answers."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{' '.join(words)}\n".encode())
        return int(await stdout.readline())


@attrs.define
class Report:
    """What a campaign saw."""

    kills: int = 0
    rounds: int = 0
    lives: int = 0
    operations: int = 0
    started: int = 0
    twice: int = 0
    lost: int = 0
    unknown_received: int = 0
    unknown_not_received: int = 0
    repeated_after_acceptance: int = 0
    kinds: Counter[str] = attrs.field(factory=Counter[str])


class Campaign:
    """Kills processes at random instants until enough were killed, and checks every ledger they leave."""

    def __init__(self, simulator: AsanaSimulator, forks: Forks, folder: Path, dice: random.Random) -> None:
        self.report = Report()
        self._simulator = simulator
        self._forks = forks
        self._folder = folder
        self._dice = dice
        self._trap: Callable[[str], bool] = lambda _: False
        simulator.fail_next(500, times=None, when=lambda record: self._trap(record.method))

    async def run(self, kills: int) -> Report:
        """Kill that many times."""
        while self.report.kills < kills:
            await self._round(self._folder / f"{self.report.rounds}.ledger", kills)
            self.report.rounds += 1
        return self.report

    async def _round(self, ledger: Path, kills: int) -> None:
        while True:
            pid = await self._forks.ask("run", str(ledger), self._simulator.base_url)
            self.report.lives += 1
            kind = self._dice.choice(["time", "time", "POST", "GET"])
            killing = self._set_trap(kind, pid) if self.report.kills < kills else None
            status = await self._forks.ask("wait", str(pid))
            self._trap = lambda _: False
            if killing is not None:
                killing.cancel()
            if status == 0:
                break
            assert status == -signal.SIGKILL
            self.report.kills += 1
            self.report.kinds[kind] += 1
        await self._check(ledger)

    def _set_trap(self, kind: str, pid: int) -> asyncio.TimerHandle | None:
        """Have the process killed after some time, or as some request of it arrives."""
        if kind == "time":
            return asyncio.get_running_loop().call_later(self._dice.uniform(0, 0.7), _kill, pid)
        countdown = self._dice.randrange(12 if kind == "POST" else 60)

        def spring(method: str) -> bool:
            nonlocal countdown
            countdown -= method == kind
            if countdown < 0:
                _kill(pid)
            return False

        self._trap = spring
        return None

    async def _check(self, ledger: Path) -> None:
        report = self.report
        jobs = Counter(job.result["name"] for job in self._simulator.started)
        started = {name: count for name, count in jobs.items() if name.startswith(f"{ledger} ")}
        with Ledger.open(ledger) as opened:
            rows = {str(row.content["name"]): row for row in opened.rows()}
            await opened.accept_unknown()
        report.operations += OPERATIONS
        report.started += len(started)
        report.twice += sum(count > 1 for count in started.values())
        gids = {job.gid: job.result["name"] for job in self._simulator.started}
        for number in range(OPERATIONS):
            name = f"{ledger} {number}"
            row = rows.get(name)
            if row is not None and row.state is LedgerState.UNKNOWN:
                if name in started:
                    report.unknown_received += 1
                else:
                    report.unknown_not_received += 1
            elif row is None or row.state is not LedgerState.SUCCEEDED or gids.get(row.gid or "") != name:
                report.lost += 1
        count = len(self._simulator.started)
        pid = await self._forks.ask("run", str(ledger), self._simulator.base_url)
        assert await self._forks.ask("wait", str(pid)) == 0
        report.repeated_after_acceptance += len(self._simulator.started) - count


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):  # requests of a dead process may arrive after it
        os.kill(pid, signal.SIGKILL)


async def campaign(kills: int, folder: Path) -> Report:
    """Run a campaign in *folder*."""
    async with quick_simulator() as simulator, Forks.open() as forks:
        return await Campaign(simulator, forks, folder, random.SystemRandom()).run(kills)


def quick_simulator() -> AsanaSimulator:
    """A simulator whose jobs take a tenth of a second."""
    return AsanaSimulator(durations=Lognormal(0.06), latency=(0, 0.02), limits=SimulatorLimits.unlimited())


@posix
@real_time
@pytest.mark.timeout(60 + 4 * KILLS)
async def test_killed_at_random_instants(tmp_path: Path) -> None:
    """Killed at random instants until it is through, a run starts nothing twice, loses nothing and repeats no doubt."""
    report = await campaign(KILLS, tmp_path)

    assert report.kills == KILLS
    assert (report.twice, report.lost, report.repeated_after_acceptance) == (0, 0, 0)
    # At most the requests that were under way at each kill are in doubt.
    assert report.unknown_received + report.unknown_not_received <= 5 * report.kills
    assert report.started + report.unknown_not_received == report.operations


@posix
@real_time
async def test_processes_share_a_ledger(tmp_path: Path) -> None:
    """Three processes that run the same input on one ledger at the same time start each operation once."""
    async with quick_simulator() as simulator, Forks.open() as forks:
        ledger = tmp_path / "shared.ledger"
        pids = [await forks.ask("run", str(ledger), simulator.base_url) for _ in range(3)]
        assert [await forks.ask("wait", str(pid)) for pid in pids] == [0, 0, 0]

        with Ledger.open(ledger) as opened:
            assert opened.summary().succeeded == opened.summary().total == OPERATIONS
        assert Counter(job.result["name"] for job in simulator.started).most_common(1)[0][1] == 1
        assert len(simulator.started) == OPERATIONS


if __name__ == "__main__":
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as name:
            sys.stdout.write(f"{asyncio.run(campaign(int(sys.argv[1]), Path(name)))}\n")
    else:
        serve_forks()
