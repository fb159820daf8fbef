"""Starting a job so that it is never started twice: the intent before the POST, the answer after it, on disk.

A POST that went out is answered before anything else happens, whoever was cancelled meanwhile, and its result is
recorded at once. It is repeated only if it is certain that nothing was started. Whoever cancels even the task of the
POST, or ends the event loop under it, leaves an intent or an unknown outcome: from the moment at which it may have
left, nothing takes the intent back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from asana_jobs._client.bulk.ledger_rows import ClaimVerdict, LedgerClaim
from asana_jobs._client.bulk.outcome import Outcome
from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.lifetime import broken_off
from asana_jobs._client.http.protocol import error_about, may_repeat
from asana_jobs._client.limits.running_jobs import RunningJobPermit
from asana_jobs._client.telemetry.log_fields import about_row
from asana_jobs._client.waiting.job_reference import JobLike
from asana_jobs._client.waiting.poller import Poller
from asana_jobs._client.waiting.subscription import Subscription
from asana_jobs.errors import (
    AsanaJobsError,
    ClientClosedError,
    ConnectError,
    LedgerError,
    OutcomeUnknownError,
    RateLimitError,
    TransportError,
)
from asana_jobs.models import Job
from asana_jobs.operations import Operation
from asana_jobs.policies import PollPolicy


if TYPE_CHECKING:
    from asana_jobs._client.bulk.ledger import Ledger


#: Share of the known quota from which on a 429 to a POST is taken for the quota's, not for one job too many.
NEARLY_USED: Final = 0.8

_log = logging.getLogger("asana_jobs")


@attrs.define(eq=False)
class OperationRun:
    """One operation of a run on its way from the input to its outcome.

    Attributes:
        key: The caller's, or the one that was derived.
        operation: The operation itself, as it is sent and recorded.
        permit: The right to have an unfinished job.
        given: The operation as its caller gave it, if that was another: with names where gids are sent.
        derived_key: The key that a ledger would give it, if the caller gave it one.
        opt_fields: The fields that the answer to its start is asked for.
        intent: Whether the ledger holds the intent to start it, and nothing about what came of that.
        job: The job as its start answered, or as the ledger knew it.
        wait: The wait for the job.
        doubt: Why it is not known whether its job was started.
        claim: What the ledger said last.
    """

    key: str
    operation: Operation
    permit: RunningJobPermit
    given: Operation | None = None
    derived_key: str | None = None
    opt_fields: str | None = None
    intent: bool = False
    job: Job | None = None
    wait: Subscription | None = None
    doubt: Exception | None = None
    claim: LedgerClaim | None = None

    def note_claim(self, claim: LedgerClaim) -> LedgerClaim:
        """Note what the ledger says, and return it."""
        self.claim = claim
        self.intent = claim.verdict is ClaimVerdict.START
        return claim

    @property
    def unfinished(self) -> bool:
        """Whether there is, or may be, a job that is not known to have finished."""
        return self.doubt is not None or (self.wait is not None and not self.wait.done)

    def outcome(self, error: Exception | None, *, from_ledger: bool = False) -> Outcome:
        """Return how the operation ended, or where it stands."""
        job, token = self.job, None
        if self.wait is not None:
            job = self.wait.job or job
            token = None if self.wait.done else self.wait.token()
        return Outcome(
            self.given or self.operation,
            job,
            error,
            self.key,
            continuation_token=token,
            from_ledger=from_ledger,
            attempt=1 if self.claim is None else 1 + len(self.claim.row.failed_jobs),
        )


@attrs.define(eq=False, kw_only=True)
class JobStarter:
    """Takes operations to the point where their job runs.

    Attributes:
        poller: Learns of each job that was started, and holds the client's `ApiSession`.
        make_wait: Makes the wait for a job.
        ledger: Where intents and answers are recorded, if anywhere.
        retry_unknown: Whether to start again what the ledger holds as unknown.
        retry_failed: Whether to start again what had failed when the ledger was opened.
        policy: How long unbroken trouble (429, no connection) may last before a start fails.
    """

    poller: Poller
    make_wait: Callable[[JobLike], Subscription]
    ledger: Ledger | None = None
    retry_unknown: bool = False
    retry_failed: bool = False
    policy: PollPolicy = attrs.field(factory=PollPolicy)

    _session: ApiSession = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._session = self.poller.exchange

    async def start(self, run: OperationRun) -> LedgerClaim | None:
        """Start the job of *run*, waiting out what can be waited out.

        Args:
            run: The operation; its job and the wait for it are noted there.

        Returns:
            ``None`` when the job runs, or what the ledger says if there is nothing to start.

        Raises:
            AsanaJobsError: it was not started, or, `OutcomeUnknownError`, perhaps.
        """
        failures = _FailedStarts(self._session, run, self.policy)
        try:
            return await self._session.outlasting(failures.may_repeat, failures.sleep)(self._attempt, run)
        except AsanaJobsError as error:
            if isinstance(error, ClientClosedError | LedgerError):
                raise
            final = self._session.judge(error, run.operation)
            if isinstance(final, OutcomeUnknownError) and run.doubt is None:
                await self._settle(run, final)  # it was to be repeated; all else its attempt has recorded
            if final is error:
                raise
            raise final from error.__cause__

    async def _attempt(self, run: OperationRun) -> LedgerClaim | None:
        if self.ledger is None or run.intent:
            if not run.permit.has_place:
                await self._acquire_place(run)
        elif (claim := await self._claim(run, self.ledger)).verdict is not ClaimVerdict.START:
            return claim
        sending = asyncio.Event()
        name = f"asana_jobs {run.operation.kind} {run.operation.gid}"
        post = self._session.lifetime.spawn(self._post(run, sending), name)
        await self._ended(run, post, sending)
        if not broken_off(post):
            return post.result()
        # By a stranger, and we were not.
        if run.doubt is not None:
            raise run.doubt
        return None if run.job is not None else await self._attempt(run)

    async def _ended(
        self, run: OperationRun, post: asyncio.Task[LedgerClaim | None], sending: asyncio.Event
    ) -> None:
        """Wait for the end of *post*, cancelled or not, and record what it could not."""
        cancelled: asyncio.CancelledError | None = None
        while not post.done():
            try:
                await asyncio.wait([post])
            except asyncio.CancelledError as error:
                # What went out is answered first, within one request's timeout.
                cancelled = error
                if not sending.is_set():
                    post.cancel()
        if sending.is_set() and broken_off(post) and run.job is None and run.doubt is None:
            await self._record_interruption(run)  # the end of the program came, and the task could not do it
        if cancelled is not None:
            if not sending.is_set():
                await self._withdraw(run)  # not by the task, if that had not even begun
            raise cancelled

    async def _claim(self, run: OperationRun, ledger: Ledger) -> LedgerClaim:
        claim = run.note_claim(
            await ledger.claim(
                run.key,
                run.operation,
                derived_key=run.derived_key,
                retry_unknown=self.retry_unknown,
                retry_failed=self.retry_failed,
            )
        )
        if run.intent and not run.permit.has_place:
            # Nobody waits for others with an intent on disk: killed meanwhile, it would be reported as unknown.
            await self._withdraw(run)
            await self._acquire_place(run)
            return await self._claim(run, ledger)
        return claim

    async def _acquire_place(self, run: OperationRun) -> None:
        with self._session.lifetime.guard():
            await run.permit.acquire_place()

    async def _post(self, run: OperationRun, sending: asyncio.Event) -> LedgerClaim | None:
        """Send the POST and record what came of it, in a task of its own that ends in its own time."""

        def before_sending() -> None:
            # The wait for the gate may have been long, and the machine asleep or this process stopped meanwhile.
            if run.intent and run.claim is not None and not run.claim.holds:
                raise _ClaimTooOldError
            sending.set()

        operation = run.operation
        asked_at = self._session.clock.monotonic()
        try:
            job = await self._session.start_once(operation, before_sending, run.opt_fields)
        except _ClaimTooOldError:
            assert self.ledger is not None  # noqa: S101  # it was claimed
            run.intent = False  # cancelled, the claim is taken back
            claim = run.note_claim(await self.ledger.claim(run.key, run.operation, once_more=True))
            return await self._post(run, sending) if claim.verdict is ClaimVerdict.START else claim
        except AsanaJobsError as error:
            await self._record_failure(run, error, sent=sending.is_set())
            raise
        except Exception as error:
            if not sending.is_set():
                await self._withdraw(run)
                raise
            # A transport of somebody else's that broke: nobody knows what it has sent before.
            broken = _transport_error(operation, f"{type(error).__name__}: {error}")
            await self._record_failure(run, broken, sent=True)
            raise broken from error
        except asyncio.CancelledError:
            if sending.is_set():
                await self._record_interruption(run)
            else:
                await self._withdraw(run)
            raise
        # Any other end, of the event loop or of the program, leaves the intent. Who still waits writes down that it is
        # unknown; else the next run finds it so.
        self.poller.born(job, operation, asked_at, run.opt_fields)
        run.permit.started(job.gid)
        run.job, run.wait = job, self.make_wait(job)
        if self.ledger is not None:
            await self._record_start(run, self.ledger, job, run.wait)
        return None

    async def _record_start(self, run: OperationRun, ledger: Ledger, job: Job, wait: Subscription) -> None:
        run.intent = False  # it is recorded, or the next record of this row will tell
        try:
            await ledger.started(run.key, job, wait.token())
        except LedgerError as error:
            # The job runs: it is watched all the same, and its end is recorded together with its gid.
            _log.warning("%s", error, extra=about_row(run.key, error))

    async def _record_interruption(self, run: OperationRun) -> None:
        """Record that somebody has ended the task of a POST that may have left."""
        interrupted = _transport_error(
            run.operation, "the task that sent it was ended before the answer came."
        )
        run.doubt = final = self._session.judge(interrupted, run.operation)
        if self.ledger is not None and not self.ledger.closed:  # closing it has left the row unknown
            await self._settle(run, final)

    async def _record_failure(self, run: OperationRun, error: AsanaJobsError, *, sent: bool) -> None:
        """Record at once what is certain after a failed attempt."""
        if isinstance(error, ClientClosedError) or not (sent or isinstance(error, ConnectError)):
            await self._withdraw(run)
            return
        final = self._session.judge(error, run.operation)
        if not isinstance(final, OutcomeUnknownError):
            await self._settle(run, final)
        elif not may_repeat(error, run.operation):
            run.doubt = final
            await self._settle(run, final)

    async def _settle(self, run: OperationRun, final: AsanaJobsError) -> None:
        """Write down that nothing was started, or that nobody knows."""
        if self.ledger is None or not run.intent:
            return
        record = self.ledger.unknown if isinstance(final, OutcomeUnknownError) else self.ledger.refused
        try:
            await record(run.key, final)
        except LedgerError as error:
            # The intent stays, which the next run reports as unknown: the safe side.
            _log.warning("%s; not recorded: %s", final, error, extra=about_row(run.key, error))
        else:
            run.intent = False

    async def _withdraw(self, run: OperationRun) -> None:
        if self.ledger is None or not run.intent:
            return
        try:
            await self.ledger.withdraw(run.key)
        except LedgerError as error:
            text = "%r was not started, but is not recorded as that: %s"
            _log.warning(text, run.key, error, extra=about_row(run.key, error))
        else:
            run.intent = False


class _ClaimTooOldError(Exception):
    """Others may have taken the row meanwhile. Nothing was sent."""


class _FailedStarts:
    """Failed attempts to start one job: whether to try again, and when."""

    def __init__(self, session: ApiSession, run: OperationRun, policy: PollPolicy) -> None:
        self._session = session
        self._run = run
        self._policy = policy
        self._since: float | None = None
        self._left = 0.0
        self._limited = 0

    def may_repeat(self, error: BaseException) -> bool:
        """Whether it is certain that nothing was started, and not yet time to give up."""
        if not isinstance(error, AsanaJobsError) or not may_repeat(error, self._run.operation):
            return False
        now = self._session.clock.monotonic()
        self._since = now if self._since is None else self._since
        self._limited = self._limited + 1 if isinstance(error, RateLimitError) else 0
        policy = self._policy
        unreached = self._session.contact.patience(error, policy.first_contact, policy.give_up_after)
        self._left = self._since + min(policy.give_up_after, unreached) - now
        return self._left > 0

    async def sleep(self, delay: float) -> None:
        """Wait until there is a point in trying again."""
        gate = self._session.gate.snapshot()
        # Asana does not say which limit was hit. A quota that was nearly used up explains one refusal.
        one_too_many = self._limited > 1 or gate.used < NEARLY_USED
        if self._limited and one_too_many and self._run.permit.refused():
            with self._session.lifetime.guard():
                await self._run.permit.acquire()
            self._since = None  # waiting for one's turn is no trouble
        await self._session.sleep(max(min(delay, self._left), self._session.gate.snapshot().paused_for))


def _transport_error(operation: Operation, what: str) -> TransportError:
    return error_about(TransportError, operation, f"{operation.method} {operation.path}: {what}")
