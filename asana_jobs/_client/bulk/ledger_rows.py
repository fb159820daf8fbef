"""The rows of a ledger, its verdicts on claims and its totals: frozen values, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import attrs

from asana_jobs._client.bulk.ledger_owner import CLAIM_HOLDS, Instant
from asana_jobs.errors import LedgerError
from asana_jobs.models import Job
from asana_jobs.operations import Operation, operation_from_dict


class LedgerState(StrEnum):
    """Where an operation stands."""

    #: The request that starts the job is about to be sent, or is under way.
    INTENT = "intent"
    #: Asana named the job; it is not known to have finished.
    STARTED = "started"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: It is certain that nothing was started. The next run tries again.
    REFUSED = "refused"
    #: The request may or may not have started a job. Only a person can tell.
    UNKNOWN = "unknown"
    #: A person has looked at an unknown one and settled it. Never started again.
    ACCEPTED = "accepted"


FINISHED_STATES: Final = frozenset({LedgerState.SUCCEEDED, LedgerState.FAILED})


class ClaimVerdict(StrEnum):
    """The answer to a claim: what to do with the operation."""

    #: Send the request: the intent is on disk and the row is ours.
    START = "start"
    #: Watch the job of ``row.resume_from``: it was started before, and the row is ours.
    RESUME = "resume"
    #: Nothing: ``row.job`` has finished.
    DONE = "done"
    #: Report it: whether a job was started is not known, so it is not started again.
    UNKNOWN = "unknown"
    #: Nothing: a person has settled it.
    ACCEPTED = "accepted"
    #: Leave it: ``row.holder`` has it. On another machine, where nobody can see whether it lives, until
    #: ``row.held_until`` unless it renews that.
    HELD = "held"


@attrs.frozen(kw_only=True)
class LedgerRow:
    """One operation of a ledger. You get one from `Ledger.rows`.

    Attributes:
        key: Its name.
        content: The operation as JSON.
        state: Where it stands.
        gid: The job's gid.
        job: The job as last seen, without download links.
        continuation_token: Where the wait for the job can go on.
        error: The last error, in words.
        error_type: The name of that error's class.
        attempts: How often the request that starts it was about to be sent.
        failed_jobs: The jobs of earlier attempts, which failed and were started again on request.
        created_at: When it was first claimed.
        changed_at: When it changed last.
        ended_at: When its job was seen to end.
        holder: The process that has it, such as ``"host, process 4711"``.
        held_until: When its lease ends, unless renewed. It counts where the holder's process cannot be seen.
        stopped: Whether the holder is stopped: it lives, and does nothing until it is continued.
        owner: The id of the open ledger that claimed it.
    """

    key: str
    content: Mapping[str, object]
    state: LedgerState
    gid: str | None
    job: Job | None
    continuation_token: str | None
    error: str | None
    error_type: str | None
    attempts: int
    failed_jobs: tuple[Job, ...]
    created_at: datetime
    changed_at: datetime
    ended_at: datetime | None
    holder: str | None
    held_until: datetime | None
    stopped: bool
    owner: str | None = attrs.field(repr=False)

    @property
    def operation(self) -> Operation:
        """The operation itself.

        Raises:
            LedgerError: this version does not know it.
        """
        try:
            return operation_from_dict(self.content)
        except ValueError as error:
            raise LedgerError(
                f"row {self.key!r} holds an operation this version does not know: {error}. Upgrade asana-jobs."
            ) from None

    @property
    def resume_from(self) -> str | None:
        """The argument for ``wait_for_job`` with which the wait goes on: the continuation token, or else the gid."""
        return self.continuation_token or self.gid

    def to_dict(self) -> dict[str, object]:
        """Return the row as JSON would hold it."""
        return {
            "key": self.key,
            "state": self.state.value,
            "operation": dict(self.content),
            "gid": self.gid,
            "job": self.job and self.job.to_dict(),
            "continuation_token": self.continuation_token,
            "error": self.error,
            "error_type": self.error_type,
            "attempts": self.attempts,
            "failed_jobs": [job.to_dict() for job in self.failed_jobs],
            "created_at": self.created_at.isoformat(),
            "changed_at": self.changed_at.isoformat(),
            "ended_at": self.ended_at and self.ended_at.isoformat(),
        }


@attrs.frozen
class LedgerClaim:
    """The answer to a claim. You get one from `Ledger.claim`.

    Attributes:
        verdict: What to do with the operation.
        row: The row as it is now.
        taken_at: When it was taken.
    """

    verdict: ClaimVerdict
    row: LedgerRow
    taken_at: Instant = attrs.field(repr=False)

    @property
    def holds(self) -> bool:
        """Whether it is certain that nobody else has taken the row; if not, claim it once more before sending."""
        return self.taken_at.age() < CLAIM_HOLDS


@attrs.frozen(kw_only=True)
class LedgerSummary:
    """The number of operations in each `LedgerState`.

    Attributes:
        intent: Those about to be started.
        started: Those whose job is not known to have finished.
        succeeded: Those whose job has succeeded.
        failed: Those whose job has failed.
        refused: Those of which it is certain that nothing was started.
        unknown: Those of which only a person can tell whether a job was started.
        accepted: Those that were unknown and that a person has settled.
    """

    intent: int = 0
    started: int = 0
    succeeded: int = 0
    failed: int = 0
    refused: int = 0
    unknown: int = 0
    accepted: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(attrs.astuple(self))

    def __str__(self) -> str:
        counts = [
            f"{count} {state}{_HINTS.get(LedgerState(state), '')}"
            for state, count in attrs.asdict(self).items()
            if count
        ]
        return ", ".join(counts) or "nothing yet"


_HINTS: Final = {
    LedgerState.FAILED: " (retry_failed=True starts them again)",
    LedgerState.UNKNOWN: " (look in Asana; then retry_unknown=True starts them again, accept_unknown() leaves them)",
}
