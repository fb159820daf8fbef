"""One operation from claim to end, behind the cap of running jobs: the heart of ``run`` and ``run_all``."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from asana_jobs._client.bulk.ledger_owner import LEASE
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict, LedgerClaim, LedgerRow
from asana_jobs._client.bulk.outcome import Outcome
from asana_jobs._client.bulk.starting import JobStarter, OperationRun
from asana_jobs._client.bulk.template_names import TemplateNames
from asana_jobs._client.http.lifetime import Lifetime
from asana_jobs._client.http.protocol import error_about
from asana_jobs._client.limits.running_jobs import RunningJobPermit, RunningJobPermits
from asana_jobs._client.telemetry.listeners import ObservedStart
from asana_jobs._client.telemetry.log_fields import about_row
from asana_jobs._client.waiting.poller import Poller
from asana_jobs._client.waiting.subscription import Subscription
from asana_jobs.errors import (
    ClientClosedError,
    JobFailedError,
    JobTimeoutError,
    LedgerBusyError,
    LedgerError,
    OutcomeUnknownError,
)
from asana_jobs.models import Job
from asana_jobs.operations import Operation


if TYPE_CHECKING:
    from asana_jobs._client.bulk.ledger import Ledger


#: What a reader is told whose run somebody else has ended.
CANCELLED: Final = (
    "a task of this run was cancelled by somebody else, such as `for task in asyncio.all_tasks(): task.cancel()`: cancel "
    "the task that iterates the run instead; run again with the same ledger, or go on from `unfinished`"
)

_log = logging.getLogger("asana_jobs")


@attrs.define(eq=False, kw_only=True)
class Runner:
    """The shared state of all operations of one run.

    Attributes:
        starter: Starts the jobs, each at most once.
        permits: The rights to have an unfinished job.
        make_wait: Makes the wait for a job, with a *timeout* in seconds or ``None``.
        names: Finds the gids of what operations name.
        timeout: Seconds to wait for each job.
        poller: The client's.
        ledger: What the starter records in.
        lifetime: The client's.
    """

    starter: JobStarter
    permits: RunningJobPermits
    make_wait: Callable[..., Subscription]
    names: TemplateNames = attrs.field(init=False)
    timeout: float | None = None
    poller: Poller = attrs.field(init=False)
    ledger: Ledger | None = attrs.field(init=False)
    lifetime: Lifetime = attrs.field(init=False)

    _taken: int = attrs.field(default=0, init=False)
    _under_way: set[OperationRun] = attrs.field(factory=set[OperationRun], init=False)
    _lingering: dict[asyncio.Task[Job], RunningJobPermit] = attrs.field(
        factory=dict["asyncio.Task[Job]", RunningJobPermit], init=False
    )

    def __attrs_post_init__(self) -> None:
        self.poller = self.starter.poller
        self.ledger = self.starter.ledger
        self.lifetime = self.poller.exchange.lifetime
        self.names = TemplateNames(self.poller.exchange, self.starter.policy, self.ledger)

    def __repr__(self) -> str:
        return f"{self._taken} taken, {len(self._under_way)} under way"

    def unfinished(self) -> list[Outcome]:
        """Return the operations whose job was, or may have been, started and is not known to have finished."""
        return [run.outcome(run.doubt) for run in self._under_way if run.unfinished]

    async def run(
        self,
        key: str,
        operation: Operation,
        permit: RunningJobPermit,
        *,
        deliver: Callable[[Outcome], object],
        given: Operation | None = None,
        derived_key: str | None = None,
    ) -> None:
        """Take one operation to its end; whatever goes wrong with it is in the outcome.

        Args:
            key: Its name in the ledger and in the outcome.
            operation: What to start.
            permit: The right to have an unfinished job. It is for the caller to give it back.
            deliver: Called with the outcome.
            given: What the caller gave, if it was another than *operation*.
            derived_key: The key that a ledger would give it, if the caller gave it one.

        Raises:
            ClientClosedError: the client was closed: there is no point in going on.
        """
        self._taken += 1
        run = OperationRun(key, operation, permit, given, derived_key)
        self._under_way.add(run)
        try:
            started = await self._start(run)
            if isinstance(started, Outcome):
                outcome = started
            else:
                await started.finish()
                outcome = await self._finish(run, started)
        except (ClientClosedError, asyncio.CancelledError):
            await self._release(run, None)
            raise
        except Exception as error:  # noqa: BLE001  # one bad item does not end a run
            await self._release(run, error)
            if isinstance(error, JobTimeoutError) and run.wait is not None:
                self._linger(permit, run.wait)
            outcome = run.outcome(error)
        finally:
            if run.unfinished:
                permit.leave()
        self._under_way.discard(run)
        deliver(outcome)

    async def start(
        self,
        key: str,
        operation: Operation,
        permit: RunningJobPermit,
        *,
        derived_key: str,
        opt_fields: str | None = None,
    ) -> Job:
        """Start the job of one operation and let go of its row, or return the job that the row names.

        The arguments are as for `run`; *opt_fields* are those that the answer to the start is asked for.

        Raises:
            OutcomeUnknownError: it may have been started, now or earlier.
            LedgerError: another process is about to start it, or a person has settled it without a job.
            AsanaJobsError: it was not started.
        """
        run = OperationRun(key, operation, permit, derived_key=derived_key, opt_fields=opt_fields)
        try:
            if (claim := await self._find_or_start(run)) is None:
                assert run.job is not None  # noqa: S101  # started
                return run.job
            if claim.verdict is ClaimVerdict.RESUME:
                run.wait = self._resume(claim.row)
        finally:
            await self._release(run, None)
            permit.leave()
        row = claim.row
        if row.job is not None and claim.verdict is not ClaimVerdict.UNKNOWN:
            return row.job
        if claim.verdict is ClaimVerdict.HELD:
            raise self._held(run, claim)
        if error := _known_error(claim, operation):
            raise error
        raise LedgerError(
            f"{key!r} was settled by a person who found no job or did not say which: it is never started again. "
            f"Start the operation under another key if it is to be started"
        )

    def interrupted(self, key: str, operation: Operation, permit: RunningJobPermit) -> Outcome:
        """Return where the operation that holds *permit* stands, whose task was cancelled by a stranger."""
        run = next((one for one in self._under_way if one.permit is permit), None)
        if run is None:
            return Outcome(operation, None, RuntimeError(CANCELLED), key)
        return run.outcome(run.doubt or RuntimeError(CANCELLED))

    async def keep_leases(self) -> None:
        """Keep the ledger's rows ours, for as long as this runs."""
        warned = False
        while self.ledger is not None:
            with self.lifetime.guard():
                await self.poller.exchange.clock.sleep(LEASE / 3)
            try:
                await self.ledger.renew()
                warned = False
            except LedgerError as error:
                # They last a minute, and whatever is recorded meanwhile renews them as well.
                if not warned:
                    _log.warning("the ledger's leases could not be renewed: %s", error)
                warned = True

    async def close(self) -> None:
        """Stop watching the jobs that were given up on."""
        lingering = list(self._lingering)
        for task in lingering:
            task.cancel()
        if lingering:
            await asyncio.wait(lingering)

    async def _start(self, run: OperationRun) -> Subscription | Outcome:
        """Start the job of *run*, or find it in the ledger; return the wait for it, or the outcome that is known."""
        claim = await self._find_or_start(run)
        if claim is None:
            assert run.wait is not None  # noqa: S101  # started
            return run.wait
        run.job = claim.row.job
        if claim.verdict is ClaimVerdict.HELD:
            raise self._held(run, claim)
        if claim.verdict is not ClaimVerdict.RESUME:
            return run.outcome(_known_error(claim, run.operation), from_ledger=True)
        run.wait = wait = self._resume(claim.row)
        run.permit.started(wait.gid)
        return wait

    async def _find_or_start(self, run: OperationRun) -> LedgerClaim | None:
        with ObservedStart(self.poller.exchange.telemetry, run.operation) as start:
            claim = await self.starter.start(run)
            if claim is not None:
                start.discard()
        return claim

    def _held(self, run: OperationRun, claim: LedgerClaim) -> LedgerError:
        if any(other.key == run.key and other is not run for other in self._under_way):
            return LedgerError(f"key {run.key!r} is given twice in this run: each operation needs its own")
        row = claim.row
        if row.stopped:
            return LedgerBusyError(
                f"{run.key!r} is held by {row.holder}, which is stopped: continue it or end it"
            )
        return LedgerBusyError(
            f"{run.key!r} is left to {row.holder}, which is at work on it. {LedgerBusyError.advice}"
        )

    def _resume(self, row: LedgerRow) -> Subscription:
        try:
            return self.make_wait(row.resume_from or "", timeout=self.timeout)
        except ValueError:  # a token of a newer version: the job as it was answered is enough
            return self.make_wait(row.job or row.gid or "", timeout=self.timeout)

    async def _finish(self, run: OperationRun, wait: Subscription) -> Outcome:
        job = wait.job
        assert job is not None  # noqa: S101  # it is done
        run.permit.release(finished=True)  # the next one starts now, not when this one is written down
        if self.ledger is not None:
            await self.ledger.finished(run.key, job)
        return run.outcome(JobFailedError(job=job) if job.failed else None)

    async def _release(self, run: OperationRun, error: Exception | None) -> None:
        """Let others watch a job that we watch no longer."""
        if self.ledger is None or run.wait is None or run.wait.done:
            return
        try:
            await self.ledger.release(run.key, error=error, continuation_token=run.wait.token())
        except LedgerError as trouble:
            # Not raised: it would hide why the wait ended, and the lease ends by itself.
            text = "%r stays leased for up to %.0f s: %s"
            _log.warning(text, run.key, LEASE, trouble, extra=about_row(run.key, trouble))

    # A job that was given up on runs on at Asana, and counts there. It keeps its permit until it is seen to finish,
    # for as long as the run lasts; but the last permit is not left to such jobs, which may be stuck for ever.

    def _linger(self, permit: RunningJobPermit, wait: Subscription) -> None:
        kept = permit.hand_over()
        task = self.lifetime.spawn(
            self.make_wait(wait.token(), timeout=None).finish(), f"asana-job-{wait.gid}"
        )
        self._lingering[task] = kept
        task.add_done_callback(self._seen_out)
        waiting = [task for task in self._lingering if not task.cancelling()]
        if len(waiting) >= self.permits.cap:
            waiting[0].cancel()

    def _seen_out(self, task: asyncio.Task[Job]) -> None:
        finished = not task.cancelled() and task.exception() is None
        permit = self._lingering.pop(task)
        if not finished:
            permit.leave()
        permit.release(finished=finished)


def _known_error(claim: LedgerClaim, operation: Operation) -> Exception | None:
    row = claim.row
    if claim.verdict is ClaimVerdict.UNKNOWN:
        return error_about(
            OutcomeUnknownError,
            operation,
            f"{operation.kind} of {operation.gid} may or may not have been started in an earlier run"
            f" ({row.error or 'which was killed before the answer was stored'}). It was not repeated; look in Asana,"
            f" then run again with retry_unknown=True or settle it with accept_unknown.",
            operation=operation,
            sent_at=row.changed_at,
        )
    if row.job is not None and row.job.failed:
        return JobFailedError(job=row.job)
    return None
