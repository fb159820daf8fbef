"""A bulk run on a ledger, from operations to an exit status: `run` and `resume`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import attrs

from asana_jobs.cli.errors import ExitStatus, complain, counted, say_how_to_go_on, status_of, worst_status
from asana_jobs.cli.events import ACCEPTED, FAILED, REFUSED, SUCCEEDED, UNKNOWN, Event, outcome_event
from asana_jobs.cli.next_command import resume_run
from asana_jobs.cli.progress import running_of
from asana_jobs.cli.report import Report
from asana_jobs.errors import APIError, AuthenticationError, JobTimeoutError, LedgerError


if TYPE_CHECKING:
    from asana_jobs import AsanaClient, Ledger, Outcome
    from asana_jobs.cli.options import RunOptions
    from asana_jobs.operations import Operation

#: An operation, or a pair of its key and it.
Item: TypeAlias = "Operation | tuple[str, Operation]"


@attrs.define(eq=False)
class BulkRun:
    """One command's bulk run on a ledger."""

    client: AsanaClient
    ledger: Ledger
    options: RunOptions
    report: Report
    _retried: int = attrs.field(default=0, init=False)
    _keys: set[str] = attrs.field(factory=set[str], init=False)

    async def run(self, items: Sequence[Item]) -> ExitStatus:
        """Take *items* to their ends, and what else the ledger knows to be running; report."""
        self._expect(items)
        return self._finish(await self.report.follow(self.client, self._run_whole(items)))

    def _expect(self, items: Iterable[Item]) -> None:
        operations = [item[1] if isinstance(item, tuple) else item for item in items]
        self.report.progress.expected += len(operations)
        self.report.progress.kinds += Counter(operation.kind for operation in operations)

    async def _run_whole(self, items: Sequence[Item]) -> None:
        await self._check_access()
        await self._run(items)
        await self._run(self._others_running())

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
            timeout=self.options.timeout,
            retry_unknown=self.options.retry_unknown,
            retry_failed=self.options.retry_failed,
        )
        self.report.progress.running = lambda: running_of(outcomes.unfinished)
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
        self._retried += outcome.attempt > 1 and not outcome.from_ledger
        error = outcome.error
        if error is not None:
            # In the middle of a run a ledger that cannot be written is no wrong usage any more.
            self.report.statuses.add(ExitStatus.API if isinstance(error, LedgerError) else status_of(error))
        self.report.tell(outcome_event(outcome))
        if isinstance(error, AuthenticationError):
            raise error  # no job can be started any more

    def _finish(self, status: ExitStatus) -> ExitStatus:
        """Report how it ended, and say how to go on if something is left; return the exit status."""
        states, total = self.report.progress.finished, self.report.progress.expected
        counts = {state: states[state] for state in (SUCCEEDED, FAILED, REFUSED, UNKNOWN, ACCEPTED)}
        unfinished = total - sum(counts.values())
        if status is ExitStatus.INTERRUPTED and not unfinished:
            status = worst_status(self.report.statuses)
        go_on = resume_run(self.ledger.path)
        summary = {
            "total": total,
            **counts,
            "unfinished": unfinished,
            "resume": go_on if unfinished or counts[REFUSED] or counts[UNKNOWN] else None,
            "retried": self._retried,
            "retry_failed": f"{go_on} --retry-failed" if counts[FAILED] else None,
            "ledger": attrs.asdict(self.ledger.summary()),
        }
        status = self.report.end(status, **summary)
        if status is not ExitStatus.PIPE_CLOSED:
            _advise(status, summary)
        return status


def _advise(status: ExitStatus, summary: Event) -> None:
    if status is ExitStatus.TIMED_OUT:
        jobs = counted(summary["unfinished"], "job")
        complain(f"waiting was over before {jobs} had finished", JobTimeoutError.advice)
    if summary[UNKNOWN]:
        complain(
            f"{counted(summary[UNKNOWN], 'operation')} may or may not have been started; nothing was repeated",
            "look in Asana; then go on with --accept-unknown to leave them as they are, or with --retry-unknown to "
            "start them again",
        )
    if summary["retry_failed"] is not None:
        jobs = "1 job has" if summary[FAILED] == 1 else f"{summary[FAILED]} jobs have"
        again = f"see why, remove what is half made; start again with: {summary['retry_failed']}"
        complain(f"{jobs} failed", again)
    say_how_to_go_on(summary["resume"])
