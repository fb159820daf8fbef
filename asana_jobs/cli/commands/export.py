"""``asana-jobs export``.

Where an export may be written, asked before one is started that nobody could save.

A download under way: how much has come, how fast, and how long it will take.

What `export` does: start the export, wait for it, and bring its file to the disk.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path  # cyclopts reads it at run time
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import attrs
from cyclopts import Parameter

from asana_jobs.cli.connection import first_look
from asana_jobs.cli.errors import ExitStatus, UsageError, complain, say, status_of
from asana_jobs.cli.job_arguments import organization_export
from asana_jobs.cli.json_events import Summary
from asana_jobs.cli.live_view import TallyView, budget_line, showing
from asana_jobs.cli.next_command import resume_export
from asana_jobs.cli.options import (
    ALL_OF_IT,
    Budget,
    Output,
    Parameters,
    Timeout,
    make_operation,
    read_parameters,
    show_span,
)
from asana_jobs.cli.progress import Tally, Track
from asana_jobs.cli.reports import ExportReport, make_export_report, show_size
from asana_jobs.cli.terminal import plain, shortened
from asana_jobs.errors import AsanaJobsError, JobTimeoutError, OutcomeUnknownError


if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.text import Text

    from asana_jobs import AsanaClient, Job
    from asana_jobs.cli.options import OutputFormat
    from asana_jobs.operations import Operation


What: TypeAlias = Literal["graph", "resource", "organization"]


def export(
    what: Annotated[
        What,
        Parameter(
            help="graph for what hangs below a goal, project, portfolio or team; resource for tasks, teams or "
            "messages of a workspace; organization for all of it. Example: graph"
        ),
    ],
    gid: Annotated[str, Parameter(help="What is exported. Example: 1203")],
    /,
    *,
    to: Annotated[
        Path,
        Parameter(
            name=["--output-file", "-o"],
            metavar="FILE",
            help="Where the file goes; one that is there is replaced once the new one is whole. It is gzip, as "
            "Asana serves it. Example: --output-file launch.jsonl.gz",
        ),
    ],
    parameters: Parameters = None,
    job: Annotated[
        str | None,
        Parameter(
            metavar="GID",
            help="Go on with this export job of an earlier call instead of starting one; what has been downloaded "
            "is kept. Example: --job 1209",
        ),
    ] = None,
    timeout: Timeout = None,
    output: Output = "auto",
    budget: Budget = ALL_OF_IT,
) -> ExitStatus:
    """Export to a file: start it, wait for it, download it.

    When it is interrupted, it prints the command that goes on, at the same byte.

    For example:

      asana-jobs export graph 1203 -o launch.jsonl.gz
      asana-jobs export resource 1207 -o tasks.gz --parameters "$(cat tasks.json)"
      asana-jobs export organization 1199 -o all.json.gz --timeout 12h
    """
    from asana_jobs.cli.job_arguments import check_gid  # noqa: PLC0415  # the same
    from asana_jobs.cli.program import run_async  # noqa: PLC0415  # the same

    if what == "resource" and parameters is None and job is None:
        raise UsageError("""resource needs --parameters, such as '[{"resource_type": "task"}]'""")
    operation = make_operation(f"export_{what}", gid, parameters=read_parameters(parameters))
    destination = check_destination(str(to))
    known = None if job is None else check_gid(job, "--job")

    async def main() -> ExitStatus:
        from asana_jobs.cli.connection import open_client  # noqa: PLC0415  # the same

        async with open_client(budget) as client:
            return await Export(
                client=client,
                what=what,
                gid=gid,
                operation=operation,
                destination=destination,
                job=known,
                output=output,
                timeout=timeout,
            ).run()

    return run_async(main)


def check_destination(name: str) -> Path:
    """Return where the file goes.

    Raises:
        UsageError: it cannot be written there.
    """
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{name} is a folder: name a file in it, such as {path / 'export.jsonl.gz'}")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"the folder {path.parent} cannot be written")
    return path


_LONGEST_NAME = 30
_BAR = 30
_ROOM = 16


@attrs.define
class DownloadView:
    """What is shown of a download.

    Attributes:
        done: Bytes that have come, those of an earlier call included. ``total``: in all, if known.
    """

    name: str
    began: float
    done: int = 0
    total: int | None = None
    _at_first: int | None = None

    def progress(self, done: int, total: int | None) -> None:
        """Take note of what has come."""
        if self._at_first is None:
            self._at_first = done  # an earlier call's part says nothing about the pace
        self.done, self.total = done, total

    def lines(self, now: float, width: int, notice: str | None) -> list[Text]:
        """Return the bar with the sizes, and the pace."""
        from rich.text import Text  # noqa: PLC0415  # rich is not needed for JSON

        from asana_jobs.cli.live_view import bar, flow  # noqa: PLC0415  # the same

        name = Text(shortened(self.name, min(_LONGEST_NAME, max(8, width // 2))), "bold")
        sizes = Text(show_size(self.done) + (f" of {show_size(self.total)}" if self.total else ""))
        fields = [name, sizes, Text(self._pace(now))]
        if self.total and width - _ROOM > 0:
            room = width - sum(field.cell_len + 3 for field in fields)
            shown = min(_BAR, room if room >= 10 else width)
            fields.insert(1, bar(self.done, self.total, shown))
        lines = flow([field for field in fields if field.plain], width)
        return [*lines, Text(plain(notice), "yellow")] if notice else lines

    def words(self, now: float) -> str:
        """Return how much has come."""
        of_all = f" of {show_size(self.total)}" if self.total else ""
        return f"{plain(self.name)}: {show_size(self.done)}{of_all} after {show_span(now - self.began)}"

    def _pace(self, now: float) -> str:
        came, seconds = self.done - (self._at_first or 0), now - self.began
        if came <= 0 or seconds <= 0:
            return ""
        pace = came / seconds
        left = f", about {show_span((self.total - self.done) / pace)} left" if self.total else ""
        return f"{show_size(pace)}/s{left}"


@attrs.define(eq=False, kw_only=True)
class Export:
    """One export, from its start to its file.

    Attributes:
        what: graph, resource or organization. ``gid``: what is exported.
        operation: What starts it. ``job``: the gid of the job of an earlier call, which is gone on with instead.
    """

    client: AsanaClient
    what: str
    gid: str
    operation: Operation
    destination: Path
    job: str | None
    output: OutputFormat
    timeout: float | None
    tally: Tally = attrs.field(factory=lambda: Tally(time.monotonic()))
    report: ExportReport = attrs.field(
        default=attrs.Factory(lambda self: make_export_report(self.output), takes_self=True)
    )
    _track: Track | None = attrs.field(default=None, init=False)

    async def run(self) -> ExitStatus:
        """Do it, and report."""
        try:
            subject = await self._start() if self.job is None else self._known(self.job)
            job = await self._wait(subject)
            if job.failed:
                return self._finish(ExitStatus.JOB_FAILED)
            await self._download(job)
        except asyncio.CancelledError:
            return self._interrupted()
        except JobTimeoutError as error:
            complain("waiting was over before the export had finished", error.advice)
            return self._finish(ExitStatus.TIMED_OUT)
        except AsanaJobsError as error:
            self.report.broke(error)
            return self._finish(status_of(error))
        return self._finish(ExitStatus.SUCCEEDED)

    async def _start(self) -> Job:
        job = await self.client.start(self.operation)
        self.job = job.gid
        # Said at once: who kills this program from outside gets no later word from it.
        say(f"Asana has begun, job {job.gid}. If this is interrupted, go on with:\n  {self._command}\n")
        return job

    def _known(self, gid: str) -> str | Mapping[str, object]:
        return organization_export(gid) if self.what == "organization" else gid

    async def _wait(self, subject: Job | str | Mapping[str, object]) -> Job:
        async with showing(TallyView(self.tally, lambda: budget_line(self.client)), self.output):
            if isinstance(subject, str) and self.timeout != 0:
                subject = await first_look(self.client, subject) or subject
            async for job in self.client.wait_for_job(subject, timeout=self.timeout):
                self._track = self.tally.saw(job, time.monotonic(), self.operation.kind)
                self.report.state(self._track)
        assert self._track is not None  # noqa: S101  # a wait yields at least its end
        assert self._track.job is not None  # noqa: S101  # the same
        return self._track.job

    async def _download(self, job: Job) -> None:
        view = DownloadView(self.destination.name, time.monotonic())
        async with showing(view, self.output):
            path = await self.client.download_export(job, self.destination, progress=view.progress)
        self.report.downloaded(job.gid, path, path.stat().st_size)

    def _interrupted(self) -> ExitStatus:
        if self.job is not None:
            return self._finish(ExitStatus.INTERRUPTED)
        complain(
            "stopped while Asana was asked to start the export: it may be running", OutcomeUnknownError.advice
        )
        return ExitStatus.LEFT

    @property
    def _command(self) -> str:
        return resume_export(self.what, self.gid, self.destination, self.job or "")

    def _finish(self, status: ExitStatus) -> ExitStatus:
        done = status is ExitStatus.SUCCEEDED
        failed = status is ExitStatus.JOB_FAILED
        resume = self._command if self.job is not None and not done and not failed else None
        self.report.end(
            Summary(
                total=0 if self.job is None else 1,
                succeeded=int(done),
                failed=int(failed),
                unfinished=int(resume is not None),
                unknown=0,
                seconds=round(time.monotonic() - self.tally.began, 3),
                exit_status=status,
                resume=resume,
            )
        )
        if resume is not None:
            say(f"To go on:\n  {resume}\n")
        return status
