"""An export from its start to its file: what `export` does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, cast

import attrs

from asana_jobs.cli.errors import ExitStatus, complain, say, say_how_to_go_on
from asana_jobs.cli.events import event
from asana_jobs.cli.job_arguments import organization_export
from asana_jobs.cli.live_view import DownloadView, showing
from asana_jobs.cli.next_command import resume_export
from asana_jobs.cli.report import Report
from asana_jobs.errors import AsanaJobsError, JobTimeoutError, OutcomeUnknownError


if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from asana_jobs import AsanaClient, Job
    from asana_jobs.operations import Operation


@attrs.define(eq=False, kw_only=True)
class ExportRun:
    """One export, from its start to its file.

    Attributes:
        what: graph, resource or organization.
        operation: The operation that starts it.
        destination: Where the file goes.
        job: The gid of the job of an earlier call, which is gone on with instead.
    """

    client: AsanaClient
    what: str
    operation: Operation
    destination: Path
    job: str | None
    timeout: float | None
    report: Report

    async def run(self) -> ExitStatus:
        """Do it, and report."""
        try:
            job = await self._wait(await self._start() if self.job is None else self._known(self.job))
            if job.failed:
                return self._finish(ExitStatus.JOB_FAILED)
            await self._download(job)
        except asyncio.CancelledError:
            return self._interrupted()
        except JobTimeoutError as error:
            complain("waiting was over before the export had finished", error.advice)
            return self._finish(ExitStatus.TIMED_OUT)
        except AsanaJobsError as error:
            return self._finish(self.report.tell_broken(error))
        except OSError as error:
            return self._finish(self.report.lose(error))
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
        async with self.report.live(self.client):
            seen: Job | None = None
            waiter = self.client.wait_for_job(subject, timeout=self.timeout)
            self.report.progress.eta = waiter.eta
            async for seen in waiter:
                self.report.tell_job(seen, self.operation.kind)
        return cast("Job", seen)  # a wait yields at least its end

    async def _download(self, job: Job) -> None:
        view = DownloadView(self.destination.name, time.monotonic())
        async with showing(view, self.report.output):
            path = await self.client.download_export(job, self.destination, progress=view.progress)
        self.report.tell(event("download", gid=job.gid, path=str(path), bytes=path.stat().st_size))

    def _interrupted(self) -> ExitStatus:
        if self.job is not None:
            return self._finish(ExitStatus.INTERRUPTED)
        complain(
            "stopped while Asana was asked to start the export: it may be running", OutcomeUnknownError.advice
        )
        return ExitStatus.LEFT

    @property
    def _command(self) -> str:
        return resume_export(self.what, self.operation.gid, self.destination, self.job or "")

    def _finish(self, status: ExitStatus) -> ExitStatus:
        done, failed = status is ExitStatus.SUCCEEDED, status is ExitStatus.JOB_FAILED
        resume = self._command if self.job is not None and not done and not failed else None
        status = self.report.end(
            status,
            total=0 if self.job is None else 1,
            succeeded=int(done),
            failed=int(failed),
            unfinished=int(resume is not None),
            unknown=0,
            resume=resume,
        )
        if status is not ExitStatus.PIPE_CLOSED:  # it was said at the start
            say_how_to_go_on(resume)
        return status
