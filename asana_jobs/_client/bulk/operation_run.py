"""How one operation of a bulk run ended.

One operation of a run on its way from the input to its outcome.
"""

from __future__ import annotations

import attrs

from asana_jobs._client.bulk.ledger_rows import Claim, Verdict
from asana_jobs._client.limits.running_jobs import RunningJobPermit
from asana_jobs._client.waiting.wait import Wait
from asana_jobs.models import Job, Makes, R_co
from asana_jobs.operations import Operation


@attrs.frozen
class Outcome(Makes[R_co]):
    """How one operation of a bulk run ended.

    Attributes:
        operation: The operation, or the item of the input that was none. ``key``: the caller's, or what names it
            in the ledger, or without one its position as text.
        job: The job as last seen; ``None`` if none was started, or if that is not known.
        error: Why there is no succeeded job, or ``None``: `JobFailedError`, `JobTimeoutError`,
            `OutcomeUnknownError` (it may have been started, look before starting it again), an `APIError`, a
            `LedgerError` (another process has it, or it could not be recorded), a `ValueError`, ...
        continuation_token: For a job that was started and is not known to have finished.
        from_ledger: The ledger knew the end from an earlier run; no request was made.
        attempt: 2 if its job failed once and was started again with *retry_failed*, and so on.
    """

    operation: Operation[R_co]
    job: Job[R_co] | None
    error: Exception | None
    key: str
    continuation_token: str | None = attrs.field(default=None, kw_only=True)
    from_ledger: bool = attrs.field(default=False, kw_only=True)
    attempt: int = attrs.field(default=1, kw_only=True)

    @property
    def succeeded(self) -> bool:
        """Whether the job has succeeded."""
        return self.job is not None and self.job.succeeded

    def raise_for_error(self) -> Job[R_co]:
        """Return the succeeded job, or raise what there is instead."""
        if self.error is not None:
            raise self.error
        if self.job is None:
            raise ValueError(f"{self.key}: settled by hand in the ledger, there is no job")
        return self.job


@attrs.define(eq=False)
class OperationRun:
    """One operation on its way.

    Attributes:
        key: What names it. ``derived_key``: what would, if its caller had not.
        slot: Its right to have an unfinished job.
        intent: Whether the ledger holds the intent to start it, and nothing about what came of that.
        job: The job as its start answered, or as the ledger knew it. ``wait``: the wait for it.
        doubt: Why it is not known whether its job was started.
        claim: What the ledger said last.
    """

    key: str
    operation: Operation
    slot: RunningJobPermit
    intent: bool = False
    job: Job | None = None
    wait: Wait | None = None
    doubt: Exception | None = None
    derived_key: str | None = None
    claim: Claim | None = None

    def took(self, claim: Claim) -> None:
        """Take note of what the ledger says."""
        self.claim = claim
        self.intent = claim.verdict is Verdict.START

    @property
    def unfinished(self) -> bool:
        """Whether there is, or may be, a job that is not known to have finished."""
        return self.doubt is not None or (self.wait is not None and not self.wait.done)

    def outcome(self, error: Exception | None) -> Outcome:
        """Return how it ended, or where it stands."""
        attempt = 1 if self.claim is None else 1 + len(self.claim.row.failed_jobs)
        if self.wait is None:
            return Outcome(self.operation, self.job, error, self.key, attempt=attempt)
        token = None if self.wait.done else self.wait.token()
        job = self.wait.job or self.job
        return Outcome(self.operation, job, error, self.key, continuation_token=token, attempt=attempt)
