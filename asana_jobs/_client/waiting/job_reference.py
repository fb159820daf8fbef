"""References to jobs: whatever a user hands to ``wait_for_job``, read once into one value."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
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
#: The fields of a token, beside its version and the gid, and what they must be.
_TOKEN_FIELDS: Final = {
    "collection": JOBS,
    "kind": "text",
    "source": "text",
    "started_at": "a date-time with a zone",
    "first_seen": "true or false",
    "status": "text",
    "looks": "a count",
    "looked_at": "a date-time with a zone",
    "trouble_since": "a date-time with a zone",
    "not_found": "a count",
}
#: Where they are kept, if not under their own name.
_ATTRIBUTES: Final = {"status": "last_status"}
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
        fields = {name: getattr(self, _ATTRIBUTES.get(name, name)) for name in ("gid", *_TOKEN_FIELDS)}
        return json.dumps({"v": TOKEN_VERSION, **fields}, default=_write, separators=(",", ":"))


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
    name, text = type(thing).__name__, as_text(thing)
    if isinstance(thing, type):
        return f"the class {thing.__name__} itself"
    if isinstance(text, str):
        return f"{thing!r:.60}: a gid is text, {text!r:.60}"
    if isinstance(thing, list | tuple | set | frozenset):
        return f"{thing!r:.60}, which is several: monitor_jobs takes them all"
    if advice := _advice(thing):
        return f"{'an' if name[:1] in 'AEIOU' else 'a'} {name}: {advice}"
    return f"{thing!r:.60}"


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
    gid = check_gid(fields.get("gid"), "the continuation token's gid")
    # Older tokens have fewer fields.
    read = {name: _read_field(name, fields[name]) for name in _TOKEN_FIELDS if name in fields}
    return JobReference(gid=gid, **{_ATTRIBUTES.get(name, name): value for name, value in read.items()})


def _read_field(name: str, value: object) -> Any:
    match _TOKEN_FIELDS[name], value:
        case ("text", str() | None) | ("jobs", "jobs" | "organization_exports") | ("true or false", bool()):
            return value
        case "a count", int() if not isinstance(value, bool) and 0 <= value < 10**9:
            return value
        case "a date-time with a zone", None:
            return None
        case "a date-time with a zone", str():
            with suppress(ValueError):
                moment = datetime.fromisoformat(value)
                if moment.tzinfo is not None and moment.year >= 1970:  # so that no sum leaves the calendar
                    return moment
        case _:
            pass
    raise ValueError(f"the continuation token's {name} must be {_TOKEN_FIELDS[name]}, not {value!r:.60}")


def _write(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds")
