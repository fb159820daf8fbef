"""The wait for many jobs, from gids to an exit status: `wait`, and ``--wait`` of the commands that start jobs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

import attrs

from asana_jobs.cli.connection import first_look
from asana_jobs.cli.errors import ExitStatus, complain, say, status_of, worst_status
from asana_jobs.cli.job_arguments import JobArgument
from asana_jobs.cli.json_events import JobsSummary
from asana_jobs.cli.live_view import ProgressView, budget_line, showing
from asana_jobs.cli.next_command import resume_wait
from asana_jobs.cli.progress import Progress
from asana_jobs.cli.reports import JOBS, Report, broken, job_lost, job_state, job_timed_out, make_report
from asana_jobs.errors import (
    AsanaJobsError,
    AuthenticationError,
    ClientClosedError,
    JobTimeoutError,
    TransportError,
)


if TYPE_CHECKING:
    from asana_jobs import AsanaClient, Job
    from asana_jobs.cli.options import OutputFormat


@attrs.frozen
class News:
    """One thing learned about one job: a state, or that no more will be learned."""

    gid: str
    job: Job | None = None
    error: AsanaJobsError | None = None


_Told: TypeAlias = "News | BaseException | None"


async def watch_jobs(
    client: AsanaClient, subjects: Sequence[JobArgument], *, seconds: float | None
) -> AsyncGenerator[News, None]:
    """Yield every change of every job, until all have finished, *seconds* have passed, or watching is impossible.

    Close it (`contextlib.aclosing`) when you leave it early.
    """
    told: asyncio.Queue[_Told] = asyncio.Queue()

    async def follow(subject: JobArgument) -> None:
        try:
            async for job in client.wait_for_job(subject.handle, timeout=seconds):
                told.put_nowait(News(subject.gid, job=job))
        except AsanaJobsError as error:
            told.put_nowait(News(subject.gid, error=error))

    async def follow_all() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for subject in subjects:
                    group.create_task(follow(subject))
        except* Exception as group_of_bugs:  # noqa: BLE001  # handed over, and raised where the news is read
            told.put_nowait(group_of_bugs.exceptions[0])
        finally:
            told.put_nowait(None)

    following = asyncio.create_task(follow_all())
    try:
        while (news := await told.get()) is not None:
            if isinstance(news, BaseException):
                raise news
            yield news
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@attrs.define(eq=False)
class WaitRun:
    """One command's wait for its jobs."""

    client: AsanaClient
    output: OutputFormat
    timeout: float | None = None
    progress: Progress = attrs.field(factory=lambda: Progress(time.monotonic()))
    report: Report = attrs.field(
        default=attrs.Factory(lambda self: make_report(self.output, JOBS), takes_self=True)
    )
    _statuses: set[ExitStatus] = attrs.field(factory=set[ExitStatus], init=False)
    _seen: bool = attrs.field(default=False, init=False)
    _subjects: dict[str, JobArgument] = attrs.field(factory=dict[str, JobArgument], init=False)

    async def run(self, subjects: Sequence[JobArgument], *, reached: bool = False) -> ExitStatus:
        """Watch *subjects* to their ends, and report.

        Args:
            subjects: The jobs.
            reached: Whether Asana is known to answer already.
        """
        self._subjects = {subject.gid: subject for subject in subjects}
        self.progress.expect((subject.gid for subject in subjects), self.progress.began)
        try:
            view = ProgressView(self.progress, lambda: budget_line(self.client))
            async with showing(view, self.output):
                await self._watch(subjects, reached=reached)
        except asyncio.CancelledError:
            return self.finish(ExitStatus.INTERRUPTED)
        except AsanaJobsError as error:
            self.report.add(broken(error))
            return self.finish(status_of(error))
        return self.finish(worst_status(self._statuses))

    async def _watch(self, subjects: Sequence[JobArgument], *, reached: bool) -> None:
        if not reached and self.timeout != 0:
            subjects = [await self._check_access(subjects[0]), *subjects[1:]]
        async with aclosing(watch_jobs(self.client, subjects, seconds=self._left())) as stream:
            async for news in stream:
                self._record(news)

    async def _check_access(self, subject: JobArgument) -> JobArgument:
        """Look at the first job within the time there is; what was seen is where its wait begins."""
        try:
            async with asyncio.timeout(self.timeout):
                job = await first_look(self.client, subject.gid)
        except TimeoutError:
            return subject
        # A continuation token knows more than what was seen now.
        return JobArgument(subject.gid, job) if job is not None and subject.handle == subject.gid else subject

    def _left(self) -> float | None:
        return (
            None
            if self.timeout is None
            else max(0.0, self.timeout - (time.monotonic() - self.progress.began))
        )

    def _record(self, news: News) -> None:
        now = time.monotonic()
        if news.job is not None:
            self._seen = True
            self.report.add(job_state(self.progress.record_job(news.job, now)))
            if news.job.done:
                self._statuses.add(ExitStatus.JOB_FAILED if news.job.failed else ExitStatus.SUCCEEDED)
            return
        error = news.error
        if isinstance(error, JobTimeoutError):
            if not self._seen and isinstance(error.__cause__, TransportError):
                raise error.__cause__  # it was not the jobs that took too long
            self._statuses.add(ExitStatus.TIMED_OUT)
            self.report.add(job_timed_out(self.progress.tracks[news.gid], error))
        elif isinstance(error, AuthenticationError | ClientClosedError):
            raise error  # no job can be watched any more
        elif error is not None:
            self._statuses.add(status_of(error))
            self.report.add(job_lost(self.progress.record_lost(news.gid, error, now), error))

    def finish(self, status: ExitStatus) -> ExitStatus:
        """Report how it ended, and say how to go on if something goes on; return the exit status."""
        unfinished = self.progress.unfinished()
        if status is ExitStatus.INTERRUPTED and not unfinished:
            status = worst_status(self._statuses)
        resume = resume_wait([self._argument(gid) for gid in unfinished])
        states = self.progress.states
        summary = JobsSummary(
            total=len(self.progress.tracks),
            succeeded=states["succeeded"],
            failed=states["failed"],
            unfinished=len(unfinished),
            unknown=len(self.progress.tracks) - states["succeeded"] - states["failed"] - len(unfinished),
            seconds=round(time.monotonic() - self.progress.began, 3),
            exit_status=status,
            resume=resume,
        )
        self.report.end(summary)
        if status is ExitStatus.TIMED_OUT:
            complain(f"waiting was over before {_count(unfinished)} finished", JobTimeoutError.advice)
        if resume is not None:
            say(f"To go on:\n  {resume}\n")
        return status

    def _argument(self, gid: str) -> str:
        job = self.progress.tracks[gid].job
        return JobArgument(gid, job).to_argument() if job is not None else self._subjects[gid].to_argument()


def _count(gids: Sequence[str]) -> str:
    return "1 job had" if len(gids) == 1 else f"{len(gids)} jobs had"
