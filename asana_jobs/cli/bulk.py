"""A bulk run on a ledger, from operations to an exit status: `run` and `resume`."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

from asana_jobs.cli.errors import ExitStatus, complain, say, status_of, worst_status
from asana_jobs.cli.json_events import OperationsSummary
from asana_jobs.cli.live_view import ProgressView, budget_line, showing
from asana_jobs.cli.next_command import resume_run
from asana_jobs.cli.progress import (
    ACCEPTED,
    FAILED,
    REFUSED,
    SUCCEEDED,
    UNKNOWN,
    BulkProgress,
    exit_status_of,
    running_of,
)
from asana_jobs.cli.reports import OUTCOMES, Report, broken, make_report, operation_ended
from asana_jobs.errors import APIError, AsanaJobsError, AuthenticationError, JobTimeoutError


if TYPE_CHECKING:
    from asana_jobs import AsanaClient, Ledger, Outcome
    from asana_jobs.cli.options import OutputFormat
    from asana_jobs.operations import Operation

#: An operation, or a pair of its key and it.
Item: TypeAlias = "Operation | tuple[str, Operation]"


@attrs.define(eq=False, kw_only=True)
class BulkRun:
    """One command's bulk run on a ledger."""

    client: AsanaClient
    ledger: Ledger
    output: OutputFormat
    timeout: float | None = None
    retry_unknown: bool = False
    retry_failed: bool = False
    progress: BulkProgress = attrs.field(factory=lambda: BulkProgress(time.monotonic()))
    report: Report = attrs.field(
        default=attrs.Factory(lambda self: make_report(self.output, OUTCOMES), takes_self=True)
    )
    _statuses: set[ExitStatus] = attrs.field(factory=set[ExitStatus], init=False)
    _retried: int = attrs.field(default=0, init=False)
    _keys: set[str] = attrs.field(factory=set[str], init=False)

    async def run(self, items: Sequence[Item]) -> ExitStatus:
        """Take *items* to their ends, and what else the ledger knows to be running; report."""
        self._expect(items)
        try:
            async with showing(ProgressView(self.progress, lambda: budget_line(self.client)), self.output):
                await self._check_access()
                await self._run(items)
                await self._run(self._others_running())
        except asyncio.CancelledError:
            return self.finish(ExitStatus.INTERRUPTED)
        except AsanaJobsError as error:
            self.report.add(broken(error))
            return self.finish(status_of(error))
        return self.finish(worst_status(self._statuses))

    def _expect(self, items: Iterable[Item]) -> None:
        operations = [item[1] if isinstance(item, tuple) else item for item in items]
        self.progress.expected += len(operations)
        self.progress.kinds += Counter(operation.kind for operation in operations)

    async def _check_access(self) -> None:
        """Learn whether Asana can be reached and takes the token, before a run waits out a quarter of an hour."""
        try:
            await self.client.request("GET", "/users/me")
        except AuthenticationError:
            raise
        except APIError:
            return  # it answers: let each operation find out for itself

    async def _run(self, items: Sequence[Item]) -> None:
        if not items:
            return
        outcomes = self.client.run_all(
            items,
            ledger=self.ledger,
            timeout=self.timeout,
            retry_unknown=self.retry_unknown,
            retry_failed=self.retry_failed,
        )
        self.progress.running = lambda: running_of(outcomes)
        async with outcomes:
            async for outcome in outcomes:
                self._record(outcome)

    def _others_running(self) -> list[Item]:
        """Return what an earlier run of another list of operations has left running: a ledger is finished whole."""
        if self.ledger.summary().started == 0:
            return []  # the usual case, without reading each row
        rows = [
            (row.key, row.operation)
            for row in self.ledger.rows()
            if row.state == "started" and row.holder is None and row.key not in self._keys
        ]
        self._expect(rows)
        return [*rows]

    def _record(self, outcome: Outcome) -> None:
        self._keys.add(outcome.key)
        self._statuses.add(exit_status_of(outcome))
        self._retried += outcome.attempt > 1 and not outcome.from_ledger
        self.progress.count_outcome(outcome, time.monotonic())
        self.report.add(operation_ended(outcome))
        if isinstance(outcome.error, AuthenticationError):
            raise outcome.error  # no job can be started any more

    def finish(self, status: ExitStatus) -> ExitStatus:
        """Report how it ended, and say how to go on if something is left; return the exit status."""
        states, total = self.progress.states, self.progress.expected
        ended = sum(states[state] for state in (SUCCEEDED, FAILED, REFUSED, UNKNOWN, ACCEPTED))
        if status is ExitStatus.INTERRUPTED and ended == total:
            status = worst_status(self._statuses)
        left = ended < total or states[REFUSED] or states[UNKNOWN]
        summary = OperationsSummary(
            total=total,
            succeeded=states[SUCCEEDED],
            failed=states[FAILED],
            refused=states[REFUSED],
            unknown=states[UNKNOWN],
            accepted=states[ACCEPTED],
            retried=self._retried,
            retry_failed=f"{resume_run(self.ledger.path)} --retry-failed" if states[FAILED] else None,
            unfinished=total - ended,
            seconds=round(time.monotonic() - self.progress.began, 3),
            exit_status=status,
            resume=resume_run(self.ledger.path) if left else None,
            ledger=attrs.asdict(self.ledger.summary()),
        )
        self.report.end(summary)
        _advise(summary)
        return status


def _advise(summary: OperationsSummary) -> None:
    if summary.exit_status == ExitStatus.TIMED_OUT:
        jobs = "1 job" if summary.unfinished == 1 else f"{summary.unfinished} jobs"
        complain(f"waiting was over before {jobs} had finished", JobTimeoutError.advice)
    if summary.unknown:
        operations = "1 operation" if summary.unknown == 1 else f"{summary.unknown} operations"
        complain(
            f"{operations} may or may not have been started; nothing was repeated",
            "look in Asana; then go on with --accept-unknown to leave them as they are, or with --retry-unknown to "
            "start them again",
        )
    if summary.retry_failed is not None:
        jobs = "1 job has" if summary.failed == 1 else f"{summary.failed} jobs have"
        complain(
            f"{jobs} failed", f"see why, remove what is half made; start again with: {summary.retry_failed}"
        )
    if summary.resume is not None:
        say(f"To go on:\n  {summary.resume}\n")
