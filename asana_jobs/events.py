"""Events: what happens to jobs, waits and requests, as values; and what is logged and measured.

```text
JobStarted         a request to start a job was answered with one
StartFailed        a job was not started
StartDoubted       a job may or may not have been started; look in Asana
JobLooked          a look at a job was answered, or failed
JobChanged         it showed another status, progress or result than was known before
JobFinished        it showed that the job has succeeded or failed
JobOverdue         it showed a job running that is older than nearly all of its kind become
WaitBegan          somebody began to wait for a job
WaitEnded          that wait is over: the job finished, or the wait did
RequestRejected    Asana answered 429; nobody sends for a while
RequestRepeated    a request failed in a way that may pass, and is sent again
ChangeAnnounced    an answer says that Asana changes its API in a way that affects this client
```

Any number of waits for a job share its looks: each wait begins and ends, and the job changes and finishes once (for
each set of `opt_fields` that is asked for).
Every event has `at`, an aware `datetime`, and what it is about; spans of time are seconds. No event holds a token.

Nothing on this page costs anything until it is asked for.

## Hearing them

`AsanaClient(on_event=...)` calls a plain function with each event, as it happens. The function is called on the event loop,
so it must not block; what it raises is logged once and breaks nothing.

```python
import asyncio

from asana_jobs import AsanaClient
from asana_jobs.events import Event, RequestRejected, WaitEnded


def watch(event: Event) -> None:
    match event:
        case WaitEnded(gid=gid, outcome=outcome, waited=waited):
            print(f"job {gid} {outcome} after {waited:.1f} s")
        case RequestRejected(path=path, paused_for=seconds):
            print(f"429 for {path}: nobody sends for {seconds:.0f} s")
        case _:
            pass


async def main() -> None:
    async with AsanaClient(on_event=watch) as asana:
        await asana.wait_for_job("1205")


asyncio.run(main())
```

## Logging

One logger, `asana_jobs`, of the standard library. Beside its text a record has fields, for formatters that
write JSON:

| level | told | fields |
| --- | --- | --- |
| DEBUG | a request was answered | `asana_method`, `asana_path`, `asana_gid`, `asana_status_code` |
| DEBUG | a job was started, or changed | `asana_gid`, `asana_status` (the job's), `asana_kind` (the operation's) |
| INFO | 429 | as for a request, and `asana_retry_after` in seconds |
| INFO | a request is repeated, a wait looks past trouble | what it is about, and `asana_error`, the error's class |
| INFO | a job runs that is older than nearly all of its kind become, once | `asana_gid`, `asana_kind` |
| INFO | looks are answered again | |
| WARNING | nobody is answered, one wait looks for all | as for a request, and `asana_error` |
| WARNING | a status unknown to this version, once | `asana_gid`, `asana_status` |
| WARNING | a field of an answer cannot be read, once a field | |
| WARNING | the token goes to another host in clear, since that is allowed | |
| WARNING | a ledger cannot be written | `asana_key`, the operation's, and `asana_error` |
| ERROR | `on_event` raised, once, with its traceback | `asana_event`, the event's class |

## OpenTelemetry

A client that is made after your application has set OpenTelemetry up records spans and metrics by
itself; there is nothing to call. (The extra `otel` names the versions of its API that this works with; the SDK, here with
`pip install opentelemetry-sdk`, is the application's.) Where it is not set up it is not even imported.

```python
import asyncio

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

from asana_jobs import AsanaClient


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)


async def main() -> None:
    async with AsanaClient() as asana:
        await asana.wait_for_job(await asana.duplicate_project("1203", name="Q3 launch"))


asyncio.run(main())  # prints the spans asana.job.start and asana.job.wait, the second linked to the first
```

Spans hang below your own, and those of an instrumented aiohttp below ours. They end whatever happens: a failed job, a
deadline or an error is the span's error; a cancelled wait has `asana.wait.outcome` `cancelled`. Gids are attributes of
spans, and never of metrics:

| metric | of |
| --- | --- |
| `asana_jobs.wait.duration` | seconds waited, by outcome and kind |
| `asana_jobs.detection.lag` | seconds after its end in which a job was seen to have finished, at most |
| `asana_jobs.waits.active` | waits under way |
| `asana_jobs.starts` | jobs started, failed and doubted |
| `asana_jobs.looks` | looks at jobs, by error |
| `asana_jobs.rejections` | answers 429 |
| `asana_jobs.budget.utilization` | share of the minute's requests used, of the fullest budget in the process |
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

import attrs

from asana_jobs.errors import AsanaJobsError, JobTimeoutError, OutcomeUnknownError
from asana_jobs.models import Job


__all__ = [
    "ChangeAnnounced",
    "Event",
    "JobChanged",
    "JobFinished",
    "JobLooked",
    "JobOverdue",
    "JobStarted",
    "RequestRejected",
    "RequestRepeated",
    "StartDoubted",
    "StartFailed",
    "WaitBegan",
    "WaitEnded",
    "WaitOutcome",
]


class WaitOutcome(StrEnum):
    """The ways in which a wait ends."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    ERROR = "error"
    CANCELLED = "cancelled"
    #: Iteration was left, and nobody went on with it.
    ABANDONED = "abandoned"


def outcome_of(job: Job | None, error: BaseException | None) -> WaitOutcome:
    """Return how a wait has ended that was ended by *error*, or by its *job*, or by nobody's going on with it."""
    if isinstance(error, JobTimeoutError):
        return WaitOutcome.TIMED_OUT
    if error is not None:
        return WaitOutcome.ERROR if isinstance(error, Exception) else WaitOutcome.CANCELLED
    if job is None or not job.done:
        return WaitOutcome.ABANDONED
    return WaitOutcome.SUCCEEDED if job.succeeded else WaitOutcome.FAILED


@attrs.frozen(kw_only=True)
class _Event:
    at: datetime


@attrs.frozen(kw_only=True)
class _JobEvent(_Event):
    gid: str


@attrs.frozen(kw_only=True)
class JobStarted(_JobEvent):
    """A request to start a job was answered with one.

    Attributes:
        gid: The job.
        status: The status that the answer has.
        kind: The operation, such as ``duplicate_project``.
        subject: The gid of what it is about.
        took: Seconds that the request took, its wait for the budget included.
    """

    status: str | None
    kind: str
    subject: str
    took: float


@attrs.frozen(kw_only=True)
class StartFailed(_Event):
    """A job was not started, and will not be by this call.

    Attributes:
        kind: The operation, such as ``duplicate_project``.
        subject: The gid of what it is about.
        error: Why.
    """

    kind: str
    subject: str
    error: AsanaJobsError


@attrs.frozen(kw_only=True)
class StartDoubted(_Event):
    """The answer to a request that starts a job was lost: the job may run. It is not started again.

    Attributes:
        kind: The operation, such as ``duplicate_project``.
        subject: The gid of what it is about.
        error: Why, and in its ``check`` where to look.
    """

    kind: str
    subject: str
    error: OutcomeUnknownError


@attrs.frozen(kw_only=True)
class JobLooked(_JobEvent):
    """A look at a job was answered, or failed. One request, whatever the number of waits for the job.

    Attributes:
        gid: The job.
        status: The status that it showed, or ``None``.
        took: Seconds that the request took.
        error: Why it was not answered, or ``None``. Most such trouble passes: see `WaitEnded` for what does not.
    """

    status: str | None
    took: float
    error: AsanaJobsError | None = None


@attrs.frozen(kw_only=True)
class JobChanged(_JobEvent):
    """A look at a job showed another status, progress or result than was known before.

    What was known is what the look before it showed, or the answer that started it, or a continuation token; the first
    look at a job of which nothing was known is a change.

    Attributes:
        gid: The job.
        job: All that is known of it.
        before: The status that was known before, or ``None``.
    """

    job: Job
    before: str | None


@attrs.frozen(kw_only=True)
class JobFinished(_JobEvent):
    """A look at a job showed that it has succeeded or failed.

    Attributes:
        gid: The job.
        job: All that is known of it.
        kind: The operation, such as ``duplicate_project``, or the job's ``resource_subtype``, if known.
        age: Seconds since it was started, if that is known.
        lag_bound: It finished at most this many seconds ago; ``None`` if it was never seen unfinished.
    """

    job: Job
    kind: str | None
    age: float | None
    lag_bound: float | None


@attrs.frozen(kw_only=True)
class JobOverdue(_JobEvent):
    """A look showed a job running at an age by which 99 of 100 of its kind have ended. Told once.

    What ages are usual is learned from a hundred ends of that kind; before, no job is overdue.

    Attributes:
        gid: The job.
        kind: The operation, such as ``duplicate_project``, or the job's ``resource_subtype``.
        age: Seconds since it was started or, if nobody knows when that was, since it was first asked for.
        usual: The age in seconds by which 99 of 100 have ended.
    """

    kind: str | None
    age: float
    usual: float


@attrs.frozen(kw_only=True)
class WaitBegan(_JobEvent):
    """Somebody began to wait for a job, or goes on with a wait that had ended without the job's end.

    Attributes:
        gid: The job.
        kind: The operation or the job's ``resource_subtype``, as for `JobFinished`.
        timeout: Seconds after which the wait ends, counted from its first use; ``None`` if it does not by itself.
    """

    kind: str | None
    timeout: float | None


@attrs.frozen(kw_only=True)
class WaitEnded(_JobEvent):
    """A wait is over.

    Attributes:
        gid: The job.
        kind: The operation or the job's ``resource_subtype``, as for `JobFinished`.
        outcome: How it ended.
        error: The exception that is raised, if any: `JobTimeoutError`, ...; a failed job is a result, and no error.
        status: The job's as last seen, or ``None``.
        waited: Seconds since the wait was first used.
        looks: Looks so far, those shared with other waits on the same job included.
        lag_bound: The wait saw the job's end at most this many seconds late; ``None`` if it saw none, or saw the
            job finished at once.
    """

    kind: str | None
    outcome: WaitOutcome
    error: Exception | None
    status: str | None
    waited: float
    looks: int
    lag_bound: float | None


@attrs.frozen(kw_only=True)
class RequestRejected(_Event):
    """Asana answered 429: too many requests, or too many jobs.

    Attributes:
        gid: The gid that the request is about, if any.
        method: The method of the request.
        path: Its path below the base URL.
        retry_after: Seconds that Asana asks to be left alone, if it says so.
        paused_for: Seconds for which nobody sends with this token now.
    """

    gid: str | None
    method: str
    path: str
    retry_after: float | None
    paused_for: float


@attrs.frozen(kw_only=True)
class RequestRepeated(_Event):
    """A request failed in a way that may pass, and is sent again. Looks of waits are not repeated: see `JobLooked`.

    Attributes:
        gid: The gid that the request is about, if any.
        method: The method of the request.
        path: Its path below the base URL.
        error: The failure.
    """

    gid: str | None
    method: str
    path: str
    error: AsanaJobsError


@attrs.frozen(kw_only=True)
class ChangeAnnounced(_Event):
    """An answer says that Asana changes its API, and that the request would have been answered differently.

    It is told once for each name and client, and logged as a warning. ``AsanaClient(enable=[name])`` has the new behaviour
    before it is everybody's, ``disable`` puts it off.

    Attributes:
        gid: The gid that the request was about, if any.
        name: The name of the change.
        info: Where Asana describes it, an address in most cases; empty if the answer does not say.

    Source: the header ``Asana-Change``.
    """

    gid: str | None
    name: str
    info: str


#: Any event: the argument of ``on_event``.
Event: TypeAlias = (
    JobStarted
    | StartFailed
    | StartDoubted
    | JobLooked
    | JobChanged
    | JobFinished
    | JobOverdue
    | WaitBegan
    | WaitEnded
    | RequestRejected
    | RequestRepeated
    | ChangeAnnounced
)
