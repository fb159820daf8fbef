"""Everything this library raises on purpose.

::

    AsanaJobsError
    ├── TokenError                      no token was found, or it cannot be refreshed
    ├── RequestError                    about one request: .method, .path, .gid
    │   ├── TransportError              no usable HTTP answer; __cause__ says why
    │   │   ├── ConnectError            the connection was never made: nothing was sent
    │   │   ├── RequestTimeoutError     no answer in time; also a TimeoutError
    │   │   └── OutcomeUnknownError     a POST may or may not have started its job
    │   └── APIError                    Asana answered 4xx or 5xx
    │       ├── BadRequestError         400
    │       ├── AuthenticationError     401
    │       ├── PaymentRequiredError    402
    │       ├── PermissionDeniedError   403
    │       │   └── ExportBusyError     an export is already running in this workspace
    │       ├── NotFoundError           404
    │       ├── UnprocessableError      422
    │       ├── RateLimitError          429, with .retry_after in seconds
    │       ├── LegalBlockError         451
    │       └── ServerError             5xx, with .phrase for Asana's support
    ├── DecodeError                     JSON that is not what the API promises: .problems, one line a field
    ├── JobError                        about a job, not about HTTP: .job
    │   ├── JobFailedError              the job ended as failed
    │   ├── NoResultError               what the job makes was asked for, and is not there, or not yet
    │   └── JobTimeoutError             we stopped waiting; the job may still finish; also a TimeoutError
    ├── ClientClosedError               the client was closed meanwhile, or before
    ├── DownloadError                   an export file could not be fetched
    └── LedgerError                     a ledger file cannot be used
        └── LedgerBusyError             another process is at work on this very operation

Wrong arguments are a plain `ValueError`, raised before any request. Every class pickles, and every one has
``advice``: one line on what to do next. No message, repr or pickle ever holds a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from asana_jobs._request_errors import (
    APIError,
    AsanaJobsError,
    AuthenticationError,
    BadRequestError,
    ConnectError,
    ExportBusyError,
    LegalBlockError,
    NotFoundError,
    OutcomeUnknownError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RequestError,
    RequestTimeoutError,
    ServerError,
    TransportError,
    UnprocessableError,
)


if TYPE_CHECKING:
    from asana_jobs.models import Job


__all__ = [
    "APIError",
    "AsanaJobsError",
    "AuthenticationError",
    "BadRequestError",
    "ClientClosedError",
    "ConnectError",
    "DecodeError",
    "DownloadError",
    "ExportBusyError",
    "JobError",
    "JobFailedError",
    "JobTimeoutError",
    "LedgerBusyError",
    "LedgerError",
    "LegalBlockError",
    "NoResultError",
    "NotFoundError",
    "OutcomeUnknownError",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "RateLimitError",
    "RequestError",
    "RequestTimeoutError",
    "ServerError",
    "TokenError",
    "TransportError",
    "UnprocessableError",
]


class TokenError(AsanaJobsError):
    """No access token was found, or a token provider could not give one."""

    advice = "Set ASANA_ACCESS_TOKEN, or ASANA_ACCESS_TOKEN_FILE to a file that holds the token."


class DecodeError(AsanaJobsError):
    """JSON that is not what the API promises.

    Attributes:
        problems: One line for each field: what was expected, where, and what came.
    """

    advice = "Asana's answer changed shape, or base_url is not Asana: report it with the problems listed."

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), gid: str | None = None) -> None:
        super().__init__(message)
        self.problems = problems
        self.gid = gid


class JobError(AsanaJobsError):
    """About a job, not about HTTP. ``job`` is the last state seen, or ``None`` if none was."""

    def __init__(self, message: str, *, job: Job | None) -> None:
        super().__init__(message)
        self.job = job


class JobFailedError(JobError):
    """The job ended as failed. Raised only where success was asked for."""

    advice = "Asana gives no reason; look for a half-made copy, then start the job again."
    job: Job

    def __init__(self, *, job: Job) -> None:
        kind = f" ({job.resource_subtype})" if job.resource_subtype else ""
        half_made = f"; {job.result.gid} may be half made" if job.result else ""
        super().__init__(
            f"job {job.gid}{kind} failed: Asana gives no reason{half_made}. "
            f"Look at what is there before you start it again.",
            job=job,
        )


class NoResultError(JobError):
    """What the job makes was asked for with ``expect_result()``, and is not there, or not yet."""

    advice = "Await wait_for_job(job) first; job.result has what is named so far, or None."
    job: Job

    def __init__(self, *, job: Job) -> None:
        kind = f" ({job.resource_subtype})" if job.resource_subtype else ""
        if job.done:
            why = (
                "has succeeded, but its answer names nothing that it made: a roll-up makes nothing, and opt_fields "
                "leave out what they do not name"
            )
        else:
            state = f"is {job.status}" if job.status else "has no status in its answer"
            named = f" ({job.result.gid} is provisional)" if job.result else ""
            why = f"{state}: there is no result before it has succeeded{named}"
        super().__init__(f"job {job.gid}{kind} {why}.", job=job)


class JobTimeoutError(JobError, TimeoutError):
    """We stopped waiting; the job may still finish.

    Attributes:
        waited: Seconds waited. ``gid``: the job's gid.
        continuation_token: Hand it to ``wait_for_job`` to go on waiting where this wait stopped.

    The message names the *trouble* that was met last, if no answer came after it.
    """

    advice = "The job may still finish: wait again with a longer timeout, or with the continuation token."

    def __init__(
        self,
        *,
        gid: str,
        job: Job | None,
        waited: float,
        continuation_token: str,
        trouble: AsanaJobsError | None = None,
    ) -> None:
        seen = f"last seen {job.status or 'without a status'}" if job else "never seen"
        if trouble is not None:
            seen += f"; last trouble: {str(trouble).removesuffix(trouble.advice).rstrip(' .')}"
        super().__init__(
            f"job {gid} had not finished after {waited:g} s ({seen}); it may still finish. "
            f"Wait again with a longer timeout, or resume with .continuation_token.",
            job=job,
        )
        self.gid = gid
        self.waited = waited
        self.continuation_token = continuation_token


class ClientClosedError(AsanaJobsError):
    """The client was closed while this call was under way, or before it."""

    advice = "Keep the client open (async with AsanaClient() as asana: ...) for as long as you use it."


class DownloadError(AsanaJobsError):
    """An export file could not be fetched or written."""

    advice = "Call download_export again: it goes on where it stopped."


class LedgerError(AsanaJobsError):
    """A ledger file cannot be used."""

    advice = "Check the path, the permissions and the free space; the file was left as it is."


class LedgerBusyError(LedgerError):
    """Another process is at work on this operation, under the same key of the same ledger: it is left to it."""

    advice = "Run again when that process has ended: what it finished is not done a second time."


for _name in __all__:
    # Tracebacks and pickles name the room that users know.
    globals()[_name].__module__ = __name__
