"""One operation of a run on its way from the input to its outcome."""

from __future__ import annotations

import attrs

from asana_jobs._ledger_rows import Claim, Verdict
from asana_jobs._outcome import Outcome
from asana_jobs._slots import Slot
from asana_jobs._wait import Wait
from asana_jobs.models import Job
from asana_jobs.operations import Operation


@attrs.define(eq=False)
class Errand:
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
    slot: Slot
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
