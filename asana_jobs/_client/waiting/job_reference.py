"""References to jobs: whatever a user hands to ``wait_for_job``, read once into one value."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterable, Mapping
from datetime import datetime
from inspect import isawaitable
from typing import Any, Final, TypeAlias, cast

import attrs

from asana_jobs._client.http.decode import ORGANIZATION_EXPORT
from asana_jobs._client.http.protocol import Response
from asana_jobs.errors import DecodeError
from asana_jobs.models import Job, JobResult
from asana_jobs.operations import OPERATIONS, Operation
from asana_jobs.parameters import as_text, check_gid, check_many


#: A `Job`, a gid, a continuation token, or a mapping: an answer about a job, of the official SDK or a whole one.
JobLike: TypeAlias = Job | str | Mapping[str, Any]

TOKEN_VERSION: Final = 1
JOBS: Final = "jobs"
ORGANIZATION_EXPORTS: Final = "organization_exports"
#: The values of ``resource_type`` that can be waited for.
_WAITED_FOR: Final = ("job", ORGANIZATION_EXPORT)


@attrs.frozen(kw_only=True)
class JobReference:
    """A job to wait for, and what is known about it before the first look.

    Attributes:
        gid: The job's gid.
        collection: Where Asana keeps it: organization exports are kept outside its jobs.
        kind: What durations are learned by: the operation's kind, or the job's ``resource_subtype``.
        source: The gid the operation was about, for finer durations.
        started_at: When the job is known or taken to have started; ``None`` is now.
        first_seen: Whether that is only when it was first asked for: nobody knows when it started.
        job: What the POST answered: look number zero.
        last_status: The status last seen by an earlier process.
        looks: How many looks earlier processes made.
        looked_at: When the last of them was.
        trouble_since: When the streak of transient errors began that is not over yet.
        not_found: How many 404s it ended in.
    """

    gid: str
    collection: str = JOBS
    kind: str | None = None
    source: str | None = None
    started_at: datetime | None = None
    first_seen: bool = False
    job: Job | None = None
    last_status: str | None = None
    looks: int = 0
    looked_at: datetime | None = None
    trouble_since: datetime | None = None
    not_found: int = 0

    def to_token(self) -> str:
        """Write the continuation token: versioned JSON without secrets."""
        return json.dumps(
            {
                "v": TOKEN_VERSION,
                "gid": self.gid,
                "collection": self.collection,
                "kind": self.kind,
                "source": self.source,
                "started_at": _write(self.started_at),
                "first_seen": self.first_seen,
                "status": self.last_status,
                "looks": self.looks,
                "looked_at": _write(self.looked_at),
                "trouble_since": _write(self.trouble_since),
                "not_found": self.not_found,
            },
            separators=(",", ":"),
        )


def read_subject(job: JobLike) -> JobReference:
    """Read what a user handed in.

    Raises:
        ValueError: it is none of the things a wait can be about; the message says what it is instead.
    """
    if isinstance(job, Job):
        check_gid(job.gid, "job gid")
        return _of_job(job)
    if isinstance(job, Mapping):
        return _of_answer(job)
    if not isinstance(job, str):
        raise ValueError(
            f"a job is a Job, a gid, a mapping with a gid or a continuation token, not {_described(job)}"
        )
    if job.lstrip().startswith("{"):
        return _of_token(job)
    return JobReference(gid=check_gid(job, "job gid"))


def check_jobs(jobs: object, call: str) -> Iterable[JobLike]:
    """Return *jobs* if they are many, or raise a `ValueError` that shows the list to hand to *call*."""
    what = f"{call} takes a list of jobs"
    if isinstance(jobs, Operation):
        raise ValueError(f"{what}, not an operation: run_all([operation]) starts its job and watches it")
    if isawaitable(jobs):
        raise ValueError(f"{what}, not {_described(jobs)}, and write {call}([job])")
    return cast("Iterable[JobLike]", check_many(jobs, what, write=f"{call}([{{}}])", name="job"))


def _of_answer(answer: Mapping[str, Any]) -> JobReference:
    inside: object = answer.get("data")
    if "gid" not in answer and isinstance(inside, Mapping):
        answer = cast("Mapping[str, Any]", inside)
    if problem := _about_something_else(answer):
        raise ValueError(f"not a job's answer: {problem}")
    kind = answer.get("resource_type")
    if isinstance(kind, str) and kind not in _WAITED_FOR:
        raise ValueError(
            f"this is a {kind:.60} (gid {answer.get('gid')!r:.60}), not a job: hand in the job that the starting call"
            " returned, which has a gid of its own"
        )
    try:
        return _of_job(Job.from_dict(answer))
    except DecodeError as error:
        raise ValueError(f"not a job's answer: {error}") from None


def _about_something_else(answer: Mapping[str, Any]) -> str | None:
    kind: object = answer.get("kind")
    if isinstance(kind, str) and kind in OPERATIONS and "status" not in answer:
        return f"it is an operation, {kind!r}: start it first, and hand in the job that is returned"
    if "gid" in answer:
        return None
    if answer.get("errors"):
        return f"it says what went wrong, {answer['errors']!r:.100}"
    if isinstance(answer.get("data"), list):
        return "its data are a list; hand in one of them"
    return None


def _described(thing: object) -> str:
    name = type(thing).__name__
    if isinstance(thing, type):
        return f"the class {thing.__name__} itself"
    if isinstance(as_text(thing), str):
        return f"{thing!r:.60}: a gid is text, {as_text(thing)!r:.60}"
    if isinstance(thing, list | tuple | set | frozenset):
        return f"{thing!r:.60}, which is several: monitor_jobs takes them all"
    advice = _advice(thing)
    return f"{thing!r:.60}" if advice is None else f"{_article(name)} {name}: {advice}"


#: What has to do with a job and is none, and what to hand in instead.
_NEIGHBOURS: Final = (
    (Awaitable, "await it first"),
    (Operation, "start it first, and hand in the job that start(operation) returns"),
    (Response, "hand in its json()"),
    (JobResult, "that is what a job makes; hand in the job, which has a gid of its own"),
)


def _advice(thing: object) -> str | None:
    """Say what to do with something that has to do with a job, or ``None`` for everything else."""
    for neighbour, advice in _NEIGHBOURS:
        if isinstance(thing, neighbour):
            return advice
    for attribute, kind in (("continuation_token", str), ("job", Job)):
        if isinstance(getattr(thing, attribute, None), kind):
            return f"hand in its {attribute}"
    if callable(getattr(thing, "get", None)) and callable(getattr(thing, "ready", None)):
        return "call its get() first"  # the official SDK's async_req=True
    if isinstance(getattr(thing, "gid", None), str) and callable(getattr(thing, "to_dict", None)):
        return "hand in its to_dict()"
    return None


def _article(name: str) -> str:
    return "an" if name[:1] in "AEIOU" else "a"


def _of_job(job: Job) -> JobReference:
    seen = job if job.status is not None else None
    collection = JOBS if job.organization_export is None else ORGANIZATION_EXPORTS
    return JobReference(
        gid=job.gid, collection=collection, kind=job.resource_subtype, job=seen, last_status=job.status
    )


def _of_token(text: str) -> JobReference:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("not a continuation token: it is not whole JSON; was it cut short?") from None
    fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    version = fields.get("v")
    if isinstance(version, int) and version > TOKEN_VERSION:
        raise ValueError(
            f"this continuation token (version {version}) was made by a newer asana_jobs: upgrade"
        )
    if version != TOKEN_VERSION:
        raise ValueError("not a continuation token: it has no version this asana_jobs knows")
    return JobReference(
        gid=check_gid(fields.get("gid"), "the continuation token's gid"),
        collection=_collection(fields),
        kind=_text(fields, "kind"),
        source=_text(fields, "source"),
        started_at=_moment(fields, "started_at"),
        first_seen=_flag(fields, "first_seen"),
        last_status=_text(fields, "status"),
        looks=_count(fields, "looks"),
        looked_at=_moment(fields, "looked_at"),
        trouble_since=_moment(fields, "trouble_since"),
        not_found=_count(fields, "not_found"),
    )


def _text(fields: Mapping[str, object], name: str) -> str | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"the continuation token's {name} must be text, not {value!r:.60}")
    return value


def _collection(fields: Mapping[str, object]) -> str:
    value = _text(fields, "collection") or JOBS
    if value not in {JOBS, ORGANIZATION_EXPORTS}:
        raise ValueError(f"the continuation token's collection must be {JOBS}, not {value!r:.60}")
    return value


def _count(fields: Mapping[str, object], name: str) -> int:
    value = fields.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 10**9:
        raise ValueError(f"the continuation token's {name} must be a count, not {value!r:.60}")
    return value


def _flag(fields: Mapping[str, object], name: str) -> bool:
    value = fields.get(name, False)  # older tokens have none
    if not isinstance(value, bool):
        raise ValueError(f"the continuation token's {name} must be true or false, not {value!r:.60}")
    return value


def _moment(fields: Mapping[str, object], name: str) -> datetime | None:
    text = _text(fields, name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year < 1970:  # so that no sum leaves the calendar
        raise ValueError(f"the continuation token's {name} must be a date-time with a zone, not {text!r:.60}")
    return moment


def _write(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="milliseconds") if moment else None
