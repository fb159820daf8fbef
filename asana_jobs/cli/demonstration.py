"""What `demo` shows: one duplication state by state, then many of them inside the limits."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING

from rich.text import Text

from asana_jobs import AsanaClient, DuplicateProject, RateLimits
from asana_jobs.cli.budget import budget_line
from asana_jobs.cli.exit_status import ExitStatus
from asana_jobs.cli.plain import plain
from asana_jobs.cli.progress import showing
from asana_jobs.cli.spans import show_span
from asana_jobs.cli.stdout import emit
from asana_jobs.cli.tally import Tally
from asana_jobs.cli.terminal import make_console
from asana_jobs.cli.view import STYLES
from asana_jobs.testing import AsanaSimulator, Lognormal, SimulatorLimits


if TYPE_CHECKING:
    from collections.abc import Iterator

    from asana_jobs import Job

_PROJECTS = 20
_AT_A_TIME = 5
#: Real duplications take minutes; these take a second or two.
_DURATION = Lognormal(1.0, spread=0.4, waiting=0.4)


async def demonstrate() -> ExitStatus:
    """Run the demo and return 0 if all of it succeeded."""
    limits = SimulatorLimits.paid()
    async with (
        AsanaSimulator(seed=3, durations=_DURATION, limits=limits) as simulator,
        AsanaClient("a-token-for-the-demo", base_url=simulator.base_url, limits=RateLimits.paid()) as client,
    ):
        tell(Text(f"A local Asana is listening at {simulator.base_url}. Nothing leaves this machine.", "dim"))
        succeeded = await _duplicate_one(client)
        succeeded = await _duplicate_many(client, simulator) and succeeded
    tell(Text("\nNext: asana-jobs simulate, to try it from your own code; asana-jobs --help for the rest."))
    return ExitStatus.SUCCEEDED if succeeded else ExitStatus.JOB_FAILED


async def _duplicate_one(client: AsanaClient) -> bool:
    tell(Text("\nOne project is duplicated, and the job is watched:", "bold"))
    began = time.monotonic()
    started = await client.duplicate_project("1203", name="Q3 launch")
    job = started
    async for job in client.wait_for_job(started):
        tell(_state_line(job, time.monotonic() - began))
    if job.result is not None:
        tell(Text(f"  The copy is {plain(job.result.resource_type)} {job.result.gid}, {_name_of(job)}."))
    return job.succeeded


def _state_line(job: Job, seconds: float) -> Text:
    status = str(job.status)
    return Text.assemble(f"  {show_span(seconds):>6}  ", (status, STYLES.get(status, "")))


def _name_of(job: Job) -> str:
    return f'"{plain(getattr(job.result, "name", None) or "")}"'


async def _duplicate_many(client: AsanaClient, simulator: AsanaSimulator) -> bool:
    tell(Text(f"\n{_PROJECTS} projects are duplicated, {_AT_A_TIME} at a time, as Asana allows:", "bold"))
    tally = Tally(time.monotonic(), expected=_PROJECTS)
    before = len(simulator.requests)
    operations = (DuplicateProject("1203", name=f"Launch {number}") for number in range(1, _PROJECTS + 1))
    async with showing(tally, "auto", lambda: budget_line(client)), asyncio.TaskGroup() as group:
        for _ in range(_AT_A_TIME):
            group.create_task(_work(client, operations, tally))
    seconds = time.monotonic() - tally.began
    succeeded = tally.states["succeeded"]
    requests = (len(simulator.requests) - before) / _PROJECTS
    names = [job.result.get("name") for job in simulator.started]
    for line in (
        f"{succeeded} of {_PROJECTS} succeeded in {show_span(seconds)}: {succeeded / seconds * 60:.0f} a minute.",
        f"{requests:.1f} requests per job; {simulator.rejected} were refused by the rate limit.",
        f"At most {simulator.peak_jobs_running} ran at a time; {len(names) - len(set(names))} were started twice.",
    ):
        tell(Text(f"  {line}"))
    return succeeded == _PROJECTS


async def _work(client: AsanaClient, operations: Iterator[DuplicateProject], tally: Tally) -> None:
    for operation in operations:
        async for job in client.wait_for_job(await client.start(operation)):
            tally.saw(job, time.monotonic(), operation.kind)


def tell(line: Text) -> None:
    """Print a line of the story."""
    console = make_console(sys.stdout)
    with console.capture() as captured:
        console.print(line)
    emit(captured.get())
