"""What a wait of the queue is about, as it travels between machines."""

from __future__ import annotations

import json
from typing import Any, cast

import attrs

from asana_jobs.operations import Operation, operation_from_dict
from asana_jobs.subjects import JobLike, read_subject


@attrs.frozen(kw_only=True)
class Spec:
    """What a wait is about.

    Attributes:
        operation: What is to be started, or was. ``subject``: the gid or continuation token of what is watched.
    """

    operation: Operation | None = None
    subject: str | None = None

    def write(self) -> str:
        """Write it as JSON."""
        found: dict[str, Any] = {}
        if self.operation is not None:
            found["operation"] = self.operation.to_dict()
        if self.subject is not None:
            found["subject"] = self.subject
        return json.dumps(found, separators=(",", ":"))


def read_spec(text: str) -> Spec:
    """Read what `Spec.write` wrote."""
    found = cast("dict[str, Any]", json.loads(text))
    operation = found.get("operation")
    return Spec(
        operation=None if operation is None else operation_from_dict(operation), subject=found.get("subject")
    )


def gid_of(job: JobLike) -> tuple[str, str]:
    """Return the gid of what is to be watched, and the gid or token to hand to a client.

    Raises:
        ValueError: it is neither a job, nor a gid, nor a continuation token.
    """
    gid = read_subject(job).gid
    return gid, job if isinstance(job, str) else gid
