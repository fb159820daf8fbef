"""One operation from claim to end, behind the cap of running jobs: what ``run`` and ``run_all`` are made of."""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

import attrs

from asana_jobs._client.bulk.ledger import LEASE, Claim, Ledger, Row, Verdict
from asana_jobs._client.bulk.operation_run import OperationRun, Outcome
from asana_jobs._client.bulk.starting import JobStarter
from asana_jobs._client.http.lifetime import Lifetime
from asana_jobs._client.limits.running_jobs import RunningJobPermit, RunningJobPermits
from asana_jobs._client.telemetry.listeners import start_span
from asana_jobs._client.telemetry.log_fields import about_row
from asana_jobs._client.waiting.job_reference import JobLike
from asana_jobs._client.waiting.poller import Poller
from asana_jobs._client.waiting.wait import Wait
from asana_jobs.errors import (
    ClientClosedError,
    JobFailedError,
    JobTimeoutError,
    LedgerBusyError,
    LedgerError,
    OutcomeUnknownError,
)
from asana_jobs.operations import Operation


_log = logging.getLogger("asana_jobs")


class MakeWait(Protocol):
    """Makes the wait for a job of the run."""

    def __call__(self, job: JobLike, *, timeout: float | None) -> Wait: ...


@attrs.define(eq=False, kw_only=True)
class Runner:
    """What the tasks of one run share.

    Attributes:
        timeout: Seconds to wait for each job. ``patience``: as for `JobStarter`.
    """

    poller: Poller
    slots: RunningJobPermits
    make_wait: MakeWait
    timeout: float | None = None
    ledger: Ledger | None = None
    retry_unknown: bool = False
    retry_failed: bool = False
    patience: float = 900.0

    _taken: int = attrs.field(default=0, init=False)
    _errands: set[OperationRun] = attrs.field(factory=set[OperationRun], init=False)
    _lingering: dict[asyncio.Task[None], RunningJobPermit] = attrs.field(
        factory=dict["asyncio.Task[None]", RunningJobPermit], init=False
    )
    _launcher: JobStarter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._launcher = JobStarter(
            poller=self.poller,
            make_wait=self._wait_for,
            ledger=self.ledger,
            retry_unknown=self.retry_unknown,
            retry_failed=self.retry_failed,
            patience=self.patience,
        )

    def __repr__(self) -> str:
        return f"{self._taken} taken, {len(self._errands)} under way"

    @property
    def lifetime(self) -> Lifetime:
        """The client's."""
        return self.poller.exchange.lifetime

    def unfinished(self) -> list[Outcome]:
        """What was, or may have been, started and is not known to have finished."""
        return [errand.outcome(errand.doubt) for errand in self._errands if errand.unfinished]

    async def run(
        self, key: str, operation: Operation, slot: RunningJobPermit, *, derived_key: str | None = None
    ) -> Outcome:
        """Take one operation to its end; whatever goes wrong with it is in the outcome.

        Raises:
            ClientClosedError: the client was closed: there is no point in going on.
        """
        self._taken += 1
        errand = OperationRun(key, operation, slot, derived_key=derived_key)
        self._errands.add(errand)
        try:
            outcome = await self._carry_out(errand)
        except (ClientClosedError, asyncio.CancelledError):
            await self._release(errand, None)
            raise
        except Exception as error:  # noqa: BLE001  # one bad item does not end a run
            outcome = errand.outcome(error)
        finally:
            if errand.unfinished:
                errand.slot.leave()
        self._errands.discard(errand)
        return outcome

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
        """Watch nothing any more."""
        lingering = list(self._lingering)
        for task in lingering:
            task.cancel()
        if lingering:
            await asyncio.wait(lingering)

    def _wait_for(self, job: JobLike) -> Wait:
        return self.make_wait(job, timeout=self.timeout)

    async def _carry_out(self, errand: OperationRun) -> Outcome:
        with start_span(self.poller.exchange.telemetry, errand.operation) as start:
            claim = await self._launcher.launch(errand)
            if claim is not None:
                start.discard()
        if claim is not None:
            errand.job = claim.row.job
            if claim.verdict is Verdict.HELD:
                raise self._held(errand, claim)
            if claim.verdict is not Verdict.RESUME:
                error = _known_error(claim.verdict, claim.row, errand.operation)
                return attrs.evolve(errand.outcome(error), from_ledger=True)
            errand.wait = self._resume(claim.row)
            errand.slot.started(errand.wait.subject.gid)
        assert errand.wait is not None  # noqa: S101  # launched or resumed
        return await self._watch(errand, errand.wait)

    def _held(self, errand: OperationRun, claim: Claim) -> LedgerError:
        if any(other.key == errand.key and other is not errand for other in self._errands):
            return LedgerError(f"key {errand.key!r} is given twice in this run: each operation needs its own")
        row = claim.row
        if row.stopped:
            return LedgerBusyError(
                f"{errand.key!r} is held by {row.holder}, which is stopped: continue it or end it"
            )
        return LedgerBusyError(
            f"{errand.key!r} is left to {row.holder}, which is at work on it. {LedgerBusyError.advice}"
        )

    def _resume(self, row: Row) -> Wait:
        try:
            return self._wait_for(row.resume_from or "")
        except ValueError:  # a token of a newer version: the job as it was answered is enough
            return self._wait_for(row.job or row.gid or "")

    async def _watch(self, errand: OperationRun, wait: Wait) -> Outcome:
        try:
            await wait.begin()
            while not wait.done:
                await wait.look()
        except ClientClosedError:
            raise
        except Exception as error:
            await self._release(errand, error)
            if isinstance(error, JobTimeoutError):
                self._linger(errand.slot, wait)
            raise
        errand.slot.release(finished=True)  # the next one starts now, not when this one is written down
        job = wait.job
        assert job is not None  # noqa: S101  # it is done
        if self.ledger is not None:
            await self.ledger.finished(errand.key, job)
        return errand.outcome(JobFailedError(job=job) if job.failed else None)

    async def _release(self, errand: OperationRun, error: Exception | None) -> None:
        """Let others watch a job that we watch no longer."""
        if self.ledger is None or errand.wait is None or errand.wait.done:
            return
        try:
            await self.ledger.release(errand.key, error=error, continuation_token=errand.wait.token())
        except LedgerError as trouble:
            # Not raised: it would hide why the wait ended, and the lease ends by itself.
            text = "%r stays leased for up to %.0f s: %s"
            _log.warning(text, errand.key, LEASE, trouble, extra=about_row(errand.key, trouble))

    # A job that was given up on runs on at Asana, and counts there. It keeps its slot until it is seen to finish,
    # for as long as the run lasts; but the last slot is not left to such jobs, which may be stuck for ever.

    def _linger(self, slot: RunningJobPermit, wait: Wait) -> None:
        kept = slot.hand_over()
        task = self.lifetime.spawn(self._see_out(wait.token()))
        self._lingering[task] = kept
        task.add_done_callback(self._seen_out)
        waiting = [task for task in self._lingering if not task.cancelling()]
        if len(waiting) >= self.slots.cap:
            waiting[0].cancel()

    async def _see_out(self, token: str) -> None:
        wait = self.make_wait(token, timeout=None)
        await wait.begin()
        while not wait.done:
            await wait.look()

    def _seen_out(self, task: asyncio.Task[None]) -> None:
        finished = not task.cancelled() and task.exception() is None
        slot = self._lingering.pop(task)
        if not finished:
            slot.leave()
        slot.release(finished=finished)


def _known_error(verdict: Verdict, row: Row, operation: Operation) -> Exception | None:
    if verdict is Verdict.UNKNOWN:
        return OutcomeUnknownError(
            f"{operation.kind} of {operation.gid} may or may not have been started in an earlier run"
            f" ({row.error or 'which was killed before the answer was stored'}). It was not repeated; look in Asana,"
            f" then run again with retry_unknown=True or settle it with accept_unknown.",
            method=operation.method,
            path=operation.path,
            gid=operation.gid,
            operation=operation,
            sent_at=row.changed_at,
        )
    if row.job is not None and row.job.failed:
        return JobFailedError(job=row.job)
    return None
