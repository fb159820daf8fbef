"""How a wait of the queue ended, as a value and as JSON."""

from __future__ import annotations

import json
from typing import Any, cast

import attrs

from asana_jobs import Job
from asana_jobs.errors import AsanaJobsError, JobFailedError, OutcomeUnknownError
from asana_jobs.operations import Operation, operation_from_dict
from asana_jobs.worker.errors import WaitEndedError


@attrs.frozen(kw_only=True)
class Result:
    """How a wait ended.

    Attributes:
        key: What names the wait. ``operation``: what was to be started, or ``None`` if a gid was watched.
        job: The job as last seen; ``None`` if none was started, or if that is not known.
        error: Why there is no succeeded job, or ``None``: `JobFailedError`, `OutcomeUnknownError` (it may have
            been started, look before starting it again), or `WaitEndedError` with the reason.
    """

    key: str
    operation: Operation | None
    job: Job | None
    error: AsanaJobsError | None

    @property
    def succeeded(self) -> bool:
        """Whether the job has succeeded."""
        return self.error is None

    @property
    def unknown(self) -> bool:
        """Whether nobody knows if the job was started."""
        return isinstance(self.error, OutcomeUnknownError)

    def raise_for_error(self) -> Job:
        """Return the succeeded job, or raise what there is instead."""
        if self.error is not None:
            raise self.error
        assert self.job is not None  # noqa: S101  # a wait without an error has a job
        return self.job


def write_result(
    key: str, operation: Operation | None, job: Job | None, error: AsanaJobsError | None = None
) -> str:
    """Write a result. The message of an error holds no secrets."""
    trouble = None if error is None else {"kind": type(error).__name__, "message": str(error)}
    found: dict[str, Any] = {
        "key": key,
        "operation": None if operation is None else operation.to_dict(),
        "job": None if job is None else job.to_dict(),
        "error": trouble,
    }
    return json.dumps(found, separators=(",", ":"))


def read_result(text: str) -> Result:
    """Read what `write_result` wrote."""
    found = cast("dict[str, Any]", json.loads(text))
    operation = None if found["operation"] is None else operation_from_dict(found["operation"])
    job = None if found["job"] is None else Job.from_dict(found["job"])
    return Result(
        key=found["key"], operation=operation, job=job, error=_error(found["error"], operation, job)
    )


def _error(
    trouble: dict[str, str] | None, operation: Operation | None, job: Job | None
) -> AsanaJobsError | None:
    if trouble is None:
        return JobFailedError(job=job) if job is not None and job.failed else None
    if trouble["kind"] == OutcomeUnknownError.__name__:
        return OutcomeUnknownError(
            trouble["message"],
            method="POST" if operation is None else operation.method,
            path="" if operation is None else operation.path,
            gid=None if operation is None else operation.gid,
            operation=operation,
        )
    return WaitEndedError(trouble["message"], reason=trouble["kind"])
