"""What a ledger tells about itself: its rows, its verdicts on claims, its totals. Frozen values, without any I/O."""

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


class State(StrEnum):
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


FINISHED: Final = frozenset({State.SUCCEEDED, State.FAILED})


class Verdict(StrEnum):
    """What to do with an operation that was claimed."""

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
class Row:
    """One operation of a ledger.

    Attributes:
        key: What names it. ``content``: the operation as JSON. ``state``: where it stands.
        gid: The job's gid. ``job``: its last known state, without download links.
        continuation_token: Where the wait for the job can go on. ``resume_from``: it, or else the gid.
        error: What went wrong last, in words. ``error_type``: the name of its class.
        attempts: How often the request that starts it was about to be sent.
        failed_jobs: The jobs of earlier attempts, which failed and were started again on request.
        created_at: When it was first claimed. ``changed_at``: when it changed last.
        ended_at: When its job was seen to end.
        holder: Who has it, such as ``"host, process 4711"``.
        held_until: When its lease ends, unless renewed. It counts where the holder's process cannot be seen.
        stopped: Whether the holder is stopped: it lives, and does nothing until it is continued.
        owner: The id of the open ledger that claimed it.
    """

    key: str
    content: Mapping[str, object]
    state: State
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
        """What to hand to ``wait_for_job``: the continuation token, or else the job's gid."""
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
class Claim:
    """The answer to a claim: what to do, the row as it is now, and when it was taken."""

    verdict: Verdict
    row: Row
    taken_at: Instant

    @property
    def holds(self) -> bool:
        """Whether nobody else can have taken the row since. If not, claim it once more before anything is sent."""
        return self.taken_at.age() < CLAIM_HOLDS


@attrs.frozen(kw_only=True)
class Summary:
    """How many operations of a ledger stand where.

    ``intent``, ``started``, ``succeeded``, ``failed``, ``refused``, ``unknown``, ``accepted``: as in `State`.
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
            f"{count} {state}{_HINTS.get(State(state), '')}"
            for state, count in attrs.asdict(self).items()
            if count
        ]
        return ", ".join(counts) or "nothing yet"


_HINTS: Final = {
    State.FAILED: " (retry_failed=True starts them again)",
    State.UNKNOWN: " (look in Asana; then retry_unknown=True starts them again, accept_unknown() leaves them)",
}
