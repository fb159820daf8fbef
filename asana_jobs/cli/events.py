"""The events of a command: what it tells, in the words of ``--output json`` and ``jsonl``.

The fields of a version never change their meaning. Every object has ``"v": 1`` and an ``"event"``:

- ``job``: a state of a job: ``gid``, ``kind``, ``status``, ``done``, ``result`` (what the job makes: ``gid``,
  ``resource_type``, ``name``), ``seconds`` (watched so far), and ``progress`` for a project roll-up.
- ``timeout``: waiting was over before the job was: ``gid``, ``status``, ``seconds``, ``continuation_token``.
- ``error``: ``error`` (the class), ``message``, ``advice``, and ``gid`` if it is about one job.
- ``outcome``: how an operation of a bulk run ended: ``key``, ``state`` (succeeded, failed, refused, unknown,
  accepted, timed out, left), ``operation``, ``job`` (``gid``, ``status``, ``result``) or null, ``error`` (as above)
  or null, ``from_ledger`` (an earlier run saw it end), ``attempt`` (2 if it failed once and was started again),
  ``continuation_token``.
- ``download``: bytes of an export that are on the disk: ``gid``, ``path``, ``bytes``.
- ``template``: what a template asks for: ``gid``, ``kind`` (project_template, task_template), ``template`` (as Asana
  answered it).
- ``finding``: of ``doctor``: ``subject``, ``verdict`` (good, odd, bad), ``message``, ``advice`` or null.
- ``summary``, always last: ``total``, ``succeeded``, ``failed``, ``unfinished``, ``unknown``, ``seconds``,
  ``exit_status``, ``resume`` (the command that goes on, or null). Of a bulk run also ``refused``, ``accepted``,
  ``retried`` (started again after they had failed in an earlier run), ``retry_failed`` (the command that starts the
  failed ones again, or null) and ``ledger`` (the ledger's own counts, which hold earlier runs as well).

New fields and new events may come with any release; readers skip what they do not know.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from asana_jobs.cli.errors import message_of
from asana_jobs.errors import (
    AsanaJobsError,
    JobFailedError,
    JobTimeoutError,
    LedgerError,
    OutcomeUnknownError,
)


if TYPE_CHECKING:
    from asana_jobs import Job, Outcome


#: One event, ready to be written.
Event: TypeAlias = dict[str, Any]

SUCCEEDED: Final = "succeeded"
FAILED: Final = "failed"
#: Nothing was started; the next run tries again.
REFUSED: Final = "refused"
#: Nobody knows how it ended, or whether it was started.
UNKNOWN: Final = "unknown"
#: Unknown once; a person has settled it.
ACCEPTED: Final = "accepted"
#: It runs on at Asana.
TIMED_OUT: Final = "timed out"
#: Another process is at work on it, or the ledger could not be written.
LEFT: Final = "left"


def event(name: str, **fields: object) -> Event:
    """Return an event of this version."""
    return {"v": 1, "event": name, **fields}


def job_event(job: Job, *, kind: str | None, seconds: float) -> Event:
    """Return the state of a job that was watched for so many *seconds*."""
    fields = event(
        "job",
        gid=job.gid,
        kind=kind,
        status=job.status,
        done=job.done,
        result=_result(job),
        seconds=round(seconds, 3),
    )
    if job.dates_rollup_progress is not None:
        fields["progress"] = attrs.asdict(job.dates_rollup_progress)
    return fields


def _result(job: Job) -> Event | None:
    # Not the whole object: an export's holds a signed download link, which has no place in a log.
    result = job.result
    if result is None:
        return None
    return {"gid": result.gid, "resource_type": result.resource_type, "name": getattr(result, "name", None)}


def outcome_event(outcome: Outcome) -> Event:
    """Return how an operation of a bulk run ended."""
    job, error = outcome.job, outcome.error
    return event(
        "outcome",
        key=outcome.key,
        state=_state_of(outcome),
        operation=outcome.operation.to_dict(),
        job=None if job is None else {"gid": job.gid, "status": job.status, "result": _result(job)},
        error=None if error is None else _error_fields(error),
        from_ledger=outcome.from_ledger,
        attempt=outcome.attempt,
        continuation_token=outcome.continuation_token,
    )


def _state_of(outcome: Outcome) -> str:
    match outcome.error:
        case None:
            return SUCCEEDED if outcome.job is not None else ACCEPTED
        case JobFailedError():
            return FAILED
        case JobTimeoutError():
            return TIMED_OUT
        case OutcomeUnknownError():
            return UNKNOWN
        case LedgerError():
            return LEFT
        case _:
            # A job that was started and could not be watched to its end is not refused: it may run.
            return LEFT if outcome.continuation_token is not None else REFUSED


def error_event(error: Exception, gid: str | None = None) -> Event:
    """Return what went wrong, and what to do about it."""
    return event("error", gid=gid or getattr(error, "gid", None), **_error_fields(error))


def _error_fields(error: Exception) -> Event:
    message, advice = str(error), None
    if isinstance(error, AsanaJobsError):
        message, advice = message_of(error), error.advice
    return {"error": type(error).__name__, "message": message, "advice": advice}


def to_line(fields: Mapping[str, object]) -> str:
    """Write an event in one line of ASCII, which every pipe and locale takes."""
    return json.dumps(fields, separators=(",", ":"), ensure_ascii=True) + "\n"
