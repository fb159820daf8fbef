"""What a ledger tells about itself: its rows, its verdicts on claims, its totals. Frozen values, without any I/O."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

import attrs

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
    #: Leave it: ``row.holder`` is at work on it, at least until ``row.held_until``.
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
        created_at: When it was first claimed. ``changed_at``: when it changed last.
        holder: Who is at work on it, such as ``"host, process 4711"``, and ``held_until`` when, unless renewed.
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
    created_at: datetime
    changed_at: datetime
    holder: str | None
    held_until: datetime | None
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
            "created_at": self.created_at.isoformat(),
            "changed_at": self.changed_at.isoformat(),
        }


@attrs.frozen
class Claim:
    """The answer to a claim: what to do, and the row as it is now."""

    verdict: Verdict
    row: Row


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
