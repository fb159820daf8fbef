"""The events of ``--output json`` and ``jsonl``. The fields of a version never change their meaning.

Every object has ``"v": 1`` and an ``"event"``:

- ``job``: a state of a job: ``gid``, ``kind``, ``status``, ``done``, ``result`` (what the job makes: ``gid``,
  ``resource_type``, ``name``), ``seconds`` (watched so far), and ``progress`` for a project roll-up.
- ``timeout``: waiting was over before the job was: ``gid``, ``status``, ``seconds``, ``continuation_token``.
- ``error``: ``error`` (the class), ``message``, ``advice``, and ``gid`` if it is about one job.
- ``outcome``: how an operation of a bulk run ended: ``key``, ``state`` (succeeded, failed, refused, unknown,
  accepted, timed out, left), ``operation``, ``job`` (``gid``, ``status``, ``result``) or null, ``error`` (as below)
  or null, ``from_ledger`` (an earlier run saw it end), ``attempt`` (2 if it failed once and was started again),
  ``continuation_token``.
- ``download``: bytes of an export that are on the disk: ``gid``, ``path``, ``bytes``.
- ``summary``, always last: ``total``, ``succeeded``, ``failed``, ``unfinished``, ``unknown``, ``seconds``,
  ``exit_status``, ``resume`` (the command that goes on, or null). Of a bulk run also ``refused``, ``accepted``,
  ``retried`` (started again after they had failed in an earlier run), ``retry_failed`` (the command that starts the
  failed ones again, or null) and ``ledger`` (the ledger's own counts, which hold earlier runs as well).

New fields and new events may come with any release; readers skip what they do not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

import asana_jobs
from asana_jobs.cli.errors import message_of


if TYPE_CHECKING:
    from asana_jobs import AsanaJobsError, Job, Outcome
    from asana_jobs.cli.progress import Track
    from asana_jobs.errors import JobTimeoutError


VERSION: Final = 1
Event: TypeAlias = dict[str, object]


@attrs.frozen(kw_only=True)
class JobsSummary:
    """Counts of a wait, of a start or of an export, at its end."""

    total: int
    succeeded: int
    failed: int
    unfinished: int
    unknown: int
    seconds: float
    exit_status: int
    resume: str | None = None


@attrs.frozen
class Diagnosis:
    """Result of `doctor`."""

    exit_status: int


@attrs.frozen(kw_only=True)
class OperationsSummary(JobsSummary):
    """Counts of a bulk run, at its end."""

    refused: int
    accepted: int
    retried: int
    retry_failed: str | None
    ledger: Mapping[str, int]


def event(name: str, **fields: object) -> Event:
    """Return an event of this version."""
    return {"v": VERSION, "event": name, **fields}


def job_event(track: Track, now: float) -> Event:
    """Return the state of a job."""
    job = track.job
    fields = event(
        "job",
        gid=track.gid,
        kind=track.kind,
        status=job.status if job else None,
        done=job.done if job else False,
        result=_result(job),
        seconds=round(track.seconds(now), 3),
    )
    if job is not None and job.dates_rollup_progress is not None:
        fields["progress"] = attrs.asdict(job.dates_rollup_progress)
    return fields


def _result(job: Job | None) -> Event | None:
    # Not the whole object: an export's holds a signed download link, which has no place in a log.
    result = job.result if job is not None else None
    if result is None:
        return None
    return {
        "gid": result.gid,
        "resource_type": result.resource_type,
        "name": getattr(result, "name", None),
    }


def outcome_event(outcome: Outcome, state: str) -> Event:
    """Return how an operation of a bulk run ended."""
    job, error = outcome.job, outcome.error
    return event(
        "outcome",
        key=outcome.key,
        state=state,
        operation=outcome.operation.to_dict(),
        job=None if job is None else {"gid": job.gid, "status": job.status, "result": _result(job)},
        error=None if error is None else _error_fields(error),
        from_ledger=outcome.from_ledger,
        attempt=outcome.attempt,
        continuation_token=outcome.continuation_token,
    )


def _error_fields(error: Exception) -> Event:
    advice = error.advice if isinstance(error, asana_jobs.AsanaJobsError) else None
    message = message_of(error) if isinstance(error, asana_jobs.AsanaJobsError) else str(error)
    return {"error": type(error).__name__, "message": message, "advice": advice}


def timeout_event(track: Track, error: JobTimeoutError, now: float) -> Event:
    """Return that a job was still running when waiting was over."""
    status = track.job.status if track.job else None
    return event(
        "timeout",
        gid=track.gid,
        status=status,
        seconds=round(track.seconds(now), 3),
        continuation_token=error.continuation_token,
    )


def error_event(error: AsanaJobsError, gid: str | None = None) -> Event:
    """Return what went wrong, and what to do about it."""
    about = gid or getattr(error, "gid", None)
    return event("error", gid=about, **_error_fields(error))


def summary_event(summary: JobsSummary | Diagnosis) -> Event:
    """Return how it all ended."""
    return event("summary", **attrs.asdict(summary))


def to_line(fields: Mapping[str, object]) -> str:
    """Write an event in one line of ASCII, which every pipe and locale takes."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=True) + "\n"
