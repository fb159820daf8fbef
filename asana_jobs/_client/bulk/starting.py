"""Starting a job so that it is never started twice: the intent before the POST, the answer after it, on disk.

A POST that went out is answered before anything else happens, whoever was cancelled meanwhile, and what came of it
is recorded in the same breath. It is repeated only if it is certain that nothing was started. Whoever cancels even
the task of the POST, or ends the event loop under it, leaves an intent or an unknown outcome: from the moment at
which it may have left, nothing takes the intent back.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Final

import attrs

from asana_jobs._client.bulk.ledger import Claim, Ledger, Verdict
from asana_jobs._client.bulk.operation_run import OperationRun
from asana_jobs._client.http.exchange import ApiSession
from asana_jobs._client.http.protocol import may_repeat
from asana_jobs._client.http.retrying import retrying
from asana_jobs._client.telemetry.log_fields import about_row
from asana_jobs._client.waiting.job_reference import JobLike
from asana_jobs._client.waiting.poller import Poller
from asana_jobs._client.waiting.wait import Wait
from asana_jobs.errors import (
    AsanaJobsError,
    ClientClosedError,
    ConnectError,
    LedgerError,
    OutcomeUnknownError,
    RateLimitError,
    RequestError,
    TransportError,
)


#: Share of the known quota from which on a 429 to a POST is taken for the quota's, not for one job too many.
BUSY: Final = 0.8

_log = logging.getLogger("asana_jobs")


@attrs.define(eq=False, kw_only=True)
class JobStarter:
    """Takes errands to the point where their job runs.

    Attributes:
        patience: Seconds of unbroken trouble (429, no connection) after which an errand fails.
    """

    poller: Poller
    make_wait: Callable[[JobLike], Wait]
    ledger: Ledger | None = None
    retry_unknown: bool = False
    retry_failed: bool = False
    patience: float = 900.0

    @property
    def _exchange(self) -> ApiSession:
        return self.poller.exchange

    async def launch(self, errand: OperationRun) -> Claim | None:
        """Start the job of *errand*, waiting out what can be waited out.

        Returns:
            ``None`` when the job runs, or what the ledger says if there is nothing to start.

        Raises:
            AsanaJobsError: it was not started, or, `OutcomeUnknownError`, perhaps.
        """
        exchange = self._exchange
        trouble = _Trouble(self, errand)
        # A bulk run outlives an outage: what limits the repetitions is time, not their number.
        patient = attrs.evolve(exchange.retry, attempts=sys.maxsize)
        engine = retrying(
            patient, again=trouble.again, tell=trouble.tell, sleep=trouble.sleep, random=exchange.clock.random
        )
        try:
            return await engine(self._attempt, errand)
        except AsanaJobsError as error:
            if isinstance(error, ClientClosedError | LedgerError):
                raise
            final = exchange.judge(error, errand.operation)
            if errand.intent:
                await self._settle(errand, final)
            if final is error:
                raise
            raise final from error.__cause__

    async def _attempt(self, errand: OperationRun) -> Claim | None:
        if self.ledger is None or errand.intent:
            await self._find_place(errand)
        elif (claim := await self._claim(errand, self.ledger)).verdict is not Verdict.START:
            return claim
        sending = asyncio.Event()
        post = self._exchange.lifetime.spawn(self._post(errand, sending))
        cancelled: asyncio.CancelledError | None = None
        while not post.done():
            try:
                await asyncio.wait([post])
            except asyncio.CancelledError as error:
                # What went out is answered first, within one request's timeout.
                cancelled = error
                if not sending.is_set():
                    post.cancel()
        if cancelled is not None:
            if not sending.is_set():
                await self._withdraw(errand)  # not by the task, if that had not even begun
            raise cancelled
        if not post.cancelled():
            return post.result()
        # Cancelled by a stranger, and we were not.
        if errand.doubt is not None:
            raise errand.doubt
        return None if errand.job is not None else await self._attempt(errand)

    async def _claim(self, errand: OperationRun, ledger: Ledger) -> Claim:
        claim = await ledger.claim(
            errand.key,
            errand.operation,
            derived_key=errand.derived_key,
            retry_unknown=self.retry_unknown,
            retry_failed=self.retry_failed,
        )
        errand.took(claim)
        if errand.intent and not errand.slot.has_place:
            # Nobody waits for others with an intent on disk: killed meanwhile, it would be reported as unknown.
            await self._withdraw(errand)
            await self._find_place(errand)
            return await self._claim(errand, ledger)
        return claim

    async def _claim_once_more(self, errand: OperationRun, ledger: Ledger) -> Claim:
        """Ask whether an intent is still ours that was about to be sent too late. Cancelled, it is withdrawn."""
        errand.intent = False
        claim = await ledger.claim(errand.key, errand.operation, once_more=True)
        errand.took(claim)
        return claim

    async def _find_place(self, errand: OperationRun) -> None:
        if not errand.slot.has_place:
            with self._exchange.lifetime.guard():
                await errand.slot.acquire_place()

    async def _post(self, errand: OperationRun, sending: asyncio.Event) -> Claim | None:
        """Send the POST and record what came of it, in a task of its own that ends in its own time."""

        def before_sending() -> None:
            # The wait for the gate may have been long, and the machine asleep or this process stopped meanwhile.
            if errand.intent and errand.claim is not None and not errand.claim.holds:
                raise _ClaimTooOldError
            sending.set()

        asked_at = self._exchange.clock.monotonic()
        try:
            job = await self._exchange.start_once(errand.operation, before_sending)
        except _ClaimTooOldError:
            assert self.ledger is not None  # noqa: S101  # it was claimed
            claim = await self._claim_once_more(errand, self.ledger)
            return await self._post(errand, sending) if claim.verdict is Verdict.START else claim
        except AsanaJobsError as error:
            await self._failed(errand, error, sent=sending.is_set())
            raise
        except Exception as error:
            if not sending.is_set():
                await self._withdraw(errand)
                raise
            # A transport of somebody else's that broke: nobody knows what it has sent before.
            broken = TransportError(
                f"{errand.operation.method} {errand.operation.path}: {type(error).__name__}: {error}",
                method=errand.operation.method,
                path=errand.operation.path,
                gid=errand.operation.gid,
            )
            await self._failed(errand, broken, sent=True)
            raise broken from error
        except asyncio.CancelledError:
            if sending.is_set():
                await self._interrupted(errand)
            else:
                await self._withdraw(errand)
            raise
        # Any other end, of the event loop or of the program, leaves the intent, which the next run finds unknown.
        self.poller.born(job, errand.operation, asked_at)
        errand.slot.started(job.gid)
        errand.job, errand.wait = job, self.make_wait(job)
        await self._started(errand, errand.wait)
        return None

    async def _interrupted(self, errand: OperationRun) -> None:
        """Record that somebody has cancelled the task of a POST that may have left."""
        operation = errand.operation
        interrupted = TransportError(
            f"{operation.method} {operation.path}: the task that sent it was cancelled before the answer came.",
            method=operation.method,
            path=operation.path,
            gid=operation.gid,
        )
        final = self._exchange.judge(interrupted, operation)
        errand.doubt = final
        if self.ledger is not None and not self.ledger.closed:  # closing it has left the row unknown
            await self._settle(errand, final)

    async def _started(self, errand: OperationRun, wait: Wait) -> None:
        if self.ledger is None or errand.job is None:
            return
        errand.intent = False  # it is recorded, or the next record of this row will tell
        try:
            await self.ledger.started(errand.key, errand.job, wait.token())
        except LedgerError as error:
            # The job runs: it is watched all the same, and its end is recorded together with its gid.
            _log.warning("%s", error, extra=about_row(errand.key, error))

    async def _failed(self, errand: OperationRun, error: AsanaJobsError, *, sent: bool) -> None:
        """Record at once what is certain after a failed attempt."""
        if isinstance(error, ClientClosedError) or not (sent or isinstance(error, ConnectError)):
            await self._withdraw(errand)
            return
        final = self._exchange.judge(error, errand.operation)
        if not isinstance(final, OutcomeUnknownError):
            await self._settle(errand, final)
        elif not may_repeat(error, errand.operation):
            errand.doubt = final
            await self._settle(errand, final)

    async def _settle(self, errand: OperationRun, final: AsanaJobsError) -> None:
        """Write down that nothing was started, or that nobody knows."""
        if self.ledger is None or not errand.intent:
            return
        record = self.ledger.unknown if isinstance(final, OutcomeUnknownError) else self.ledger.refused
        try:
            await record(errand.key, final)
        except LedgerError as error:
            # The intent stays, which the next run reports as unknown: the safe side.
            _log.warning("%s; not recorded: %s", final, error, extra=about_row(errand.key, error))
        else:
            errand.intent = False

    async def _withdraw(self, errand: OperationRun) -> None:
        if self.ledger is None or not errand.intent:
            return
        try:
            await self.ledger.withdraw(errand.key)
        except LedgerError as error:
            text = "%r was not started, but is not recorded as that: %s"
            _log.warning(text, errand.key, error, extra=about_row(errand.key, error))
        else:
            errand.intent = False


class _ClaimTooOldError(Exception):
    """Others may have taken the row meanwhile. Nothing was sent."""


class _Trouble:
    """What keeps one errand from being started: whether to try again, and when."""

    def __init__(self, launcher: JobStarter, errand: OperationRun) -> None:
        self._launcher = launcher
        self._errand = errand
        self._exchange = launcher.poller.exchange
        self._since: float | None = None
        self._limited = 0

    def again(self, error: BaseException) -> bool:
        """Whether nothing was started for certain, and there is patience left."""
        if not isinstance(error, AsanaJobsError) or not may_repeat(error, self._errand.operation):
            return False
        now = self._exchange.clock.monotonic()
        self._since = now if self._since is None else self._since
        self._limited = self._limited + 1 if isinstance(error, RateLimitError) else 0
        return now - self._since < self._launcher.patience

    def tell(self, error: BaseException) -> None:
        """It is tried again."""
        if isinstance(error, RequestError):
            self._exchange.note_repetition(error, error)

    async def sleep(self, delay: float) -> None:
        """Wait until there is a point in trying again."""
        gate = self._exchange.gate.snapshot()
        # Asana does not say which limit was hit. A quota that was nearly used up explains one refusal.
        one_too_many = self._limited > 1 or gate.used < BUSY
        if self._limited and one_too_many and self._errand.slot.refused():
            with self._exchange.lifetime.guard():
                await self._errand.slot.acquire()
            self._since = None  # waiting for one's turn is no trouble
        await self._exchange.sleep(max(delay, self._exchange.gate.snapshot().paused_for))
