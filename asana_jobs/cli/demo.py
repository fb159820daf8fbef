"""The demo: one duplication state by state, then many of them, killed half-way and resumed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import attrs
from rich.text import Text

from asana_jobs import AsanaClient, DuplicateProject, Ledger, RateLimits
from asana_jobs.cli.errors import ExitStatus
from asana_jobs.cli.events import outcome_event
from asana_jobs.cli.live_view import ProgressView, showing
from asana_jobs.cli.operations_file import FileEntry, read_file
from asana_jobs.cli.progress import Progress, running_of
from asana_jobs.cli.terminal import STYLES, format_duration, print_lines, sanitize
from asana_jobs.errors import LedgerError
from asana_jobs.models import Job
from asana_jobs.testing import AsanaSimulator, Lognormal, SimulatorLimits


if TYPE_CHECKING:
    from collections.abc import Iterable

    from asana_jobs.cli.progress import Running
    from asana_jobs.testing import SimulatedJob


_PROJECTS: Final = 60
_KIND: Final = DuplicateProject.kind
#: Real duplications take minutes. One is watched, the others are many.
_DURATIONS: Final = {
    "duplicate_portfolio": Lognormal(1.0, spread=0.2, waiting=0.4),
    _KIND: Lognormal(0.4, spread=0.4),
}
_OPERATIONS: Final = "launches.jsonl"
_LEDGER: Final = "launches.ledger"
#: Seconds to look for a good moment, and between two looks.
_PAUSE_TIMEOUT: Final = 3.0
_PAUSE_INTERVAL: Final = 0.02
_BUSY_TIMEOUT: Final = 0.05


async def demonstrate() -> ExitStatus:
    """Run the demo and return 0 if all of it succeeded."""
    async with (
        AsanaSimulator(seed=3, durations=_DURATIONS, limits=SimulatorLimits.paid()) as simulator,
        AsanaClient("a-token-for-the-demo", base_url=simulator.base_url, limits=RateLimits.paid()) as client,
    ):
        print_line(
            Text(f"A local Asana is listening at {simulator.base_url}. Nothing leaves this machine.", "dim")
        )
        await _duplicate_one(client)
        with TemporaryDirectory(prefix="asana-jobs-demo-") as folder:
            succeeded = await _BulkDemo(client, simulator, Path(folder)).duplicate()
    print_line(
        Text("\nNext: asana-jobs simulate, to try it from your own code; asana-jobs --help for the rest.")
    )
    return ExitStatus.SUCCEEDED if succeeded else ExitStatus.JOB_FAILED


async def _duplicate_one(client: AsanaClient) -> None:
    print_line(Text("\nOne portfolio is duplicated, and the job is watched:", "bold"))
    began = time.monotonic()
    started = job = await client.duplicate_portfolio("1203", name="Q3 launches")
    async for job in client.wait_for_job(started):
        status = str(job.status)
        waited = format_duration(time.monotonic() - began)
        print_line(Text.assemble(f"  {waited:>6}  ", (status, STYLES.get(status, ""))))
    if job.result is not None:
        name = sanitize(job.result.name or "")
        print_line(Text(f'  The copy is {sanitize(job.result.resource_type)} {job.result.gid}, "{name}".'))


@attrs.define
class _BulkDemo:
    """The bulk run: begun by one process, finished by another."""

    client: AsanaClient
    simulator: AsanaSimulator
    folder: Path

    async def duplicate(self) -> bool:
        """Duplicate the projects, with a crash half-way."""
        print_line(Text(f"\n{_PROJECTS} projects are duplicated, five at a time, as Asana allows:", "bold"))
        entries = [
            FileEntry(None, DuplicateProject("1203", name=f"Launch {n}")) for n in range(1, _PROJECTS + 1)
        ]
        path = self.folder / _OPERATIONS
        path.write_text("".join(entry.to_line() for entry in entries), encoding="ascii")
        began = time.monotonic()
        await self._crash()
        print_line(
            Text("\nThe ledger knows what was started. Another process, this one, goes on with it:", "bold")
        )
        await self._resume()
        seconds = time.monotonic() - began
        return self._summarize(seconds)

    async def _crash(self) -> None:
        print_line(Text(f"  $ asana-jobs run {_OPERATIONS} --ledger {_LEDGER}", "cyan"))
        progress = self._progress(self._unfinished)
        async with showing(ProgressView(progress), "auto"):
            await run_and_kill(
                self.folder / _OPERATIONS,
                self.folder / _LEDGER,
                progress,
                after=_PROJECTS // 2,
                base_url=self.simulator.base_url,
            )
        # Some have ended without anybody being told: the local Asana knows.
        started, ended = len(self._jobs), sum(job.done for job in self._jobs)
        told = f" {ended} were done, {started - ended} ran on at Asana, {_PROJECTS - started} had not been started."
        print_line(Text.assemble(("  Killed (SIGKILL)!", "bold red"), told))

    async def _resume(self) -> None:
        print_line(Text(f"  $ asana-jobs resume {_LEDGER}", "cyan"))
        operations = [entry.item for entry in read_file(str(self.folder / _OPERATIONS))]
        async with Ledger.open(self.folder / _LEDGER) as ledger:
            outcomes = self.client.run_all(operations, ledger=ledger)
            progress = self._progress(lambda: running_of(outcomes.unfinished))
            async with showing(ProgressView(progress, self.client), "auto"), outcomes:
                async for outcome in outcomes:
                    progress.take(outcome_event(outcome), time.monotonic())
        print_line(Text(f"  {progress.over} of {_PROJECTS} are done."))

    def _progress(self, running: Running) -> Progress:
        progress = Progress(time.monotonic(), expected=_PROJECTS, running=running)
        progress.kinds[_KIND] = _PROJECTS
        return progress

    def _unfinished(self) -> Iterable[tuple[str, Job]]:
        return ((_KIND, Job(job.gid, status=job.status)) for job in self._jobs if not job.done)

    @property
    def _jobs(self) -> Sequence[SimulatedJob]:
        return [job for job in self.simulator.started if job.kind == _KIND]

    def _summarize(self, seconds: float) -> bool:
        """Tell what the server saw, and return whether all went well."""
        jobs, simulator = self._jobs, self.simulator
        gids = {job.gid for job in jobs}
        looks = sum(record.path.rpartition("/")[2] in gids for record in simulator.requests)
        succeeded = sum(job.status == "succeeded" for job in jobs)
        twice = len(jobs) - len({job.result.get("name") for job in jobs})
        print_line(Text("\nWhat the local Asana saw of the two:", "bold"))
        pace = succeeded / seconds * 60
        for line in (
            f"{succeeded} of {_PROJECTS} succeeded in {format_duration(seconds)}, crash included: {pace:.0f} a minute.",
            f"{(looks + len(jobs)) / len(jobs):.1f} requests per job; {simulator.rejected} were refused by the rate limit (429).",
            f"Half of the ends were noticed within {_lag(simulator, jobs) * 1000:.0f} ms.",
            f"At most {simulator.peak_jobs_running} ran at a time; {twice} were started twice.",
        ):
            print_line(Text(f"  {line}"))
        return succeeded == _PROJECTS and twice == 0


def print_line(line: Text) -> None:
    """Print a line of the story."""
    print_lines(lambda _: [line])


async def run_and_kill(
    operations: Path, ledger: Path, progress: Progress, *, after: int, base_url: str
) -> None:
    """Let ``asana-jobs run`` work until *after* operations are over, and kill it without warning."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asana_jobs", "run", str(operations), "--ledger", str(ledger)),
        *("--output", "jsonl", "--requests-per-minute", "1500"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=DEVNULL,
        env={**os.environ, "ASANA_BASE_URL": base_url, "ASANA_ACCESS_TOKEN": "a-token-for-the-demo"},
    )
    try:
        await _follow(child, progress, after)
        await _stop_between_two_starts(child, ledger)
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()  # what it had still to say, so that its pipe is closed


async def _follow(child: Process, progress: Progress, after: int) -> None:
    assert child.stdout is not None  # noqa: S101  # it is a pipe
    while progress.over < after and (line := await child.stdout.readline()):
        progress.take(json.loads(line), time.monotonic())


async def _stop_between_two_starts(child: Process, ledger: Path) -> None:
    """Hold the process where no start is unanswered.

    One that is would be left as unknown, for a person to decide, and the demo is to run by itself. A program that
    is killed does not choose its moment; what it leaves as unknown is never started twice either.
    """
    if not hasattr(signal, "SIGSTOP"):
        return
    deadline = time.monotonic() + _PAUSE_TIMEOUT
    while child.returncode is None and time.monotonic() < deadline:
        child.send_signal(signal.SIGSTOP)
        if _nothing_is_being_started(ledger):
            return
        child.send_signal(signal.SIGCONT)
        await asyncio.sleep(_PAUSE_INTERVAL)


def _nothing_is_being_started(path: Path) -> bool:
    try:
        with Ledger.open(path, busy_timeout=_BUSY_TIMEOUT) as ledger:
            return ledger.summary().intent == 0
    except LedgerError:
        return False  # stopped while it was writing


def _lag(simulator: AsanaSimulator, jobs: Sequence[SimulatedJob]) -> float:
    """Return the seconds from the end of a job to the look that saw it, in the median."""
    # Requests are timed on the loop's clock, jobs from the simulator's start.
    start = asyncio.get_running_loop().time() - simulator.time.elapsed()
    ends = {f"/jobs/{job.gid}": start + job.ended for job in jobs}
    seen: dict[str, float] = {}
    for record in simulator.requests:
        end = ends.get(record.path)
        if end is not None and record.answered is not None and record.answered >= end:
            seen.setdefault(record.path, record.answered - end)
    return median(seen.values())
