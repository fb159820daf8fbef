"""From gids to an exit status: what `wait` does, and what ``--wait`` adds to the commands that start jobs.

Watching many jobs at once: the one place that knows how. Everything above it sees a stream of news.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeAlias

import attrs

from asana_jobs.cli.connection import first_look
from asana_jobs.cli.errors import ExitStatus, complain, gravest, say, status_of
from asana_jobs.cli.job_arguments import Subject
from asana_jobs.cli.json_events import Summary
from asana_jobs.cli.live_view import TallyView, budget_line, showing
from asana_jobs.cli.next_command import resume_wait
from asana_jobs.cli.progress import Tally
from asana_jobs.cli.reports import Report, make_report
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
    client: AsanaClient, subjects: Sequence[Subject], *, seconds: float | None
) -> AsyncGenerator[News, None]:
    """Yield every change of every job, until all have finished, *seconds* have passed, or watching is impossible.

    Close it (`contextlib.aclosing`) when you leave it early.
    """
    told: asyncio.Queue[_Told] = asyncio.Queue()

    async def follow(subject: Subject) -> None:
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
class Watch:
    """One command's wait for its jobs."""

    client: AsanaClient
    output: OutputFormat
    timeout: float | None = None
    tally: Tally = attrs.field(factory=lambda: Tally(time.monotonic()))
    report: Report = attrs.field(
        default=attrs.Factory(lambda self: make_report(self.output), takes_self=True)
    )
    _statuses: set[ExitStatus] = attrs.field(factory=set[ExitStatus], init=False)
    _seen: bool = attrs.field(default=False, init=False)
    _subjects: dict[str, Subject] = attrs.field(factory=dict[str, Subject], init=False)

    async def run(self, subjects: Sequence[Subject], *, reached: bool = False) -> ExitStatus:
        """Watch *subjects* to their ends, and report.

        Args:
            subjects: The jobs. ``reached``: whether Asana is known to answer already.
        """
        self._subjects = {subject.gid: subject for subject in subjects}
        self.tally.expect((subject.gid for subject in subjects), self.tally.began)
        try:
            view = TallyView(self.tally, lambda: budget_line(self.client))
            async with showing(view, self.output):
                await self._watch(subjects, reached=reached)
        except asyncio.CancelledError:
            return self.finish(ExitStatus.INTERRUPTED)
        except AsanaJobsError as error:
            self.report.broke(error)
            return self.finish(status_of(error))
        return self.finish(gravest(self._statuses))

    async def _watch(self, subjects: Sequence[Subject], *, reached: bool) -> None:
        if not reached and self.timeout != 0:
            subjects = [await self._reach(subjects[0]), *subjects[1:]]
        async with aclosing(watch_jobs(self.client, subjects, seconds=self._left())) as stream:
            async for news in stream:
                self._take(news)

    async def _reach(self, subject: Subject) -> Subject:
        """Look at the first job within the time there is; what was seen is where its wait begins."""
        try:
            async with asyncio.timeout(self.timeout):
                job = await first_look(self.client, subject.gid)
        except TimeoutError:
            return subject
        # A continuation token knows more than what was seen now.
        return Subject(subject.gid, job) if job is not None and subject.handle == subject.gid else subject

    def _left(self) -> float | None:
        return (
            None if self.timeout is None else max(0.0, self.timeout - (time.monotonic() - self.tally.began))
        )

    def _take(self, news: News) -> None:
        now = time.monotonic()
        if news.job is not None:
            self._seen = True
            track = self.tally.saw(news.job, now)
            self.report.state(track)
            if news.job.done:
                self._statuses.add(ExitStatus.JOB_FAILED if news.job.failed else ExitStatus.SUCCEEDED)
            return
        error = news.error
        if isinstance(error, JobTimeoutError):
            if not self._seen and isinstance(error.__cause__, TransportError):
                raise error.__cause__  # it was not the jobs that took too long
            self._statuses.add(ExitStatus.TIMED_OUT)
            self.report.timed_out(self.tally.tracks[news.gid], error)
        elif isinstance(error, AuthenticationError | ClientClosedError):
            raise error  # no job can be watched any more
        elif error is not None:
            self._statuses.add(status_of(error))
            self.report.lost(self.tally.lost(news.gid, error, now), error)

    def finish(self, status: ExitStatus) -> ExitStatus:
        """Report how it ended, and say how to go on if something goes on; return the exit status."""
        unfinished = self.tally.unfinished()
        if status is ExitStatus.INTERRUPTED and not unfinished:
            status = gravest(self._statuses)
        resume = resume_wait([self._argument(gid) for gid in unfinished])
        states = self.tally.states
        summary = Summary(
            total=len(self.tally.tracks),
            succeeded=states["succeeded"],
            failed=states["failed"],
            unfinished=len(unfinished),
            unknown=len(self.tally.tracks) - states["succeeded"] - states["failed"] - len(unfinished),
            seconds=round(time.monotonic() - self.tally.began, 3),
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
        job = self.tally.tracks[gid].job
        return Subject(gid, job).to_argument() if job is not None else self._subjects[gid].to_argument()


def _count(gids: Sequence[str]) -> str:
    return "1 job had" if len(gids) == 1 else f"{len(gids)} jobs had"
