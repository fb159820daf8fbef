"""The wait for many jobs, from gids to an exit status: `wait`, and ``--wait`` of the commands that start jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs

from asana_jobs.cli.errors import ExitStatus, complain, counted, say_how_to_go_on, worst_status
from asana_jobs.cli.events import FAILED, SUCCEEDED, event
from asana_jobs.cli.job_arguments import JobArgument
from asana_jobs.cli.next_command import resume_wait
from asana_jobs.cli.progress import UNSEEN, Track
from asana_jobs.cli.report import Report
from asana_jobs.errors import (
    AsanaJobsError,
    AuthenticationError,
    ConnectError,
    JobTimeoutError,
    TransportError,
)
from asana_jobs.events import JobChanged


if TYPE_CHECKING:
    from asana_jobs import AsanaClient


@attrs.define(eq=False)
class WaitRun:
    """One command's wait for its jobs.

    Attributes:
        kind: What the jobs are, if the command has started them.
    """

    client: AsanaClient
    report: Report
    timeout: float | None = None
    kind: str | None = None
    _subjects: dict[str, JobArgument] = attrs.field(factory=dict[str, JobArgument], init=False)

    async def run(self, subjects: Sequence[JobArgument]) -> ExitStatus:
        """Watch *subjects* to their ends, and report."""
        self._subjects = {subject.gid: subject for subject in subjects}
        self.report.progress.expect(self._subjects, self.report.progress.began)
        return self.finish(await self.report.follow(self.client, self._watch()))

    async def _watch(self) -> None:
        jobs = [subject.handle for subject in self._subjects.values()]
        async with self.client.monitor_jobs(jobs, timeout=self.timeout) as monitor:
            self.report.progress.eta = monitor.eta
            async for news in monitor.events():
                if isinstance(news, JobChanged):
                    self.report.tell_job(news.job, self.kind)
                elif news.error is not None:
                    self._tell_end(news.gid, news.error)

    def _tell_end(self, gid: str, error: Exception) -> None:
        if isinstance(error, AuthenticationError | ConnectError) or not isinstance(error, AsanaJobsError):
            raise error  # no job can be watched any more
        if not isinstance(error, JobTimeoutError):
            self.report.tell_lost(gid, error)
            return
        tracks = self.report.progress.tracks
        if isinstance(error.__cause__, TransportError) and {t.state for t in tracks.values()} == {UNSEEN}:
            raise error.__cause__  # it was not the jobs that took too long
        self.report.statuses.add(ExitStatus.TIMED_OUT)
        self.report.tell(
            event(
                "timeout",
                gid=gid,
                status=None if error.job is None else error.job.status,
                seconds=round(tracks[gid].seconds(time.monotonic()), 3),
                continuation_token=error.continuation_token,
            )
        )

    def finish(self, status: ExitStatus) -> ExitStatus:
        """Report how it ended, and say how to go on if something goes on; return the exit status."""
        progress = self.report.progress
        unfinished = progress.unfinished()
        if status is ExitStatus.INTERRUPTED and not unfinished:
            status = worst_status(self.report.statuses)
        resume = resume_wait([self._argument(track) for track in unfinished])
        succeeded, failed = progress.finished[SUCCEEDED], progress.finished[FAILED]
        status = self.report.end(
            status,
            total=len(progress.tracks),
            succeeded=succeeded,
            failed=failed,
            unfinished=len(unfinished),
            unknown=progress.over - succeeded - failed,
            resume=resume,
        )
        if status is ExitStatus.TIMED_OUT:
            complain(
                f"waiting was over before {counted(len(unfinished), 'job')} had finished",
                JobTimeoutError.advice,
            )
        if self.kind is not None or status is not ExitStatus.PIPE_CLOSED:
            say_how_to_go_on(resume)
        return status

    def _argument(self, track: Track) -> str:
        if track.state == UNSEEN:
            return self._subjects[track.gid].to_argument()
        return JobArgument.of(track.gid, track.result).to_argument()
