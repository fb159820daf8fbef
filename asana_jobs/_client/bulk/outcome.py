"""The end of one operation of a bulk run: `Outcome`."""

from __future__ import annotations

import attrs

from asana_jobs.models import Job, Makes, R_co, html_table, job_rows
from asana_jobs.operations import Operation


@attrs.frozen
class Outcome(Makes[R_co]):
    """The end of one operation of a bulk run: its job, or why there is none.

    Attributes:
        operation: The operation, or the item of the input that was none.
        job: The job as last seen; ``None`` if none was started, or if that is not known.
        error: Why there is no succeeded job, or ``None``: `JobFailedError`, `JobTimeoutError`,
            `OutcomeUnknownError` (it may have been started, look before starting it again), an `APIError`, a
            `LedgerError` (another process has it, or it could not be recorded), a `ValueError`, ...
        key: The caller's, or what names it in the ledger, or without a ledger its position as text.
        continuation_token: For a job that was started and is not known to have finished.
        from_ledger: Whether the ledger knew the end from an earlier run, so that no request was made.
        attempt: 2 if its job failed once and was started again with *retry_failed*, and so on.
    """

    operation: Operation[R_co]
    job: Job[R_co] | None
    error: Exception | None
    key: str
    continuation_token: str | None = attrs.field(default=None, kw_only=True)
    from_ledger: bool = attrs.field(default=False, kw_only=True)
    attempt: int = attrs.field(default=1, kw_only=True)

    def _repr_html_(self) -> str:
        error = self.error
        return html_table(
            {
                "key": self.key,
                "operation": self.operation,
                **job_rows(self.job),
                "error": error and f"{type(error).__name__}: {error}",
            }
        )

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
