"""The errors that this library raises on purpose.

```text
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
```

Wrong arguments are a plain `ValueError`, raised before any request. Every message says what happened to which gid, and
every class has `advice`: one line on what to do next. Every one pickles. No message, repr or pickle ever holds a token.
What a message means is looked up in `asana_jobs.guides.troubleshooting`.

Those that are caught most are at the top level too (`from asana_jobs import NotFoundError`).

| error | means |
| --- | --- |
| `ConnectError` | nothing was sent |
| `OutcomeUnknownError` | the answer to a job-starting request was lost; the job may run; it is not repeated; `.check` says what to look for |
| `AuthenticationError`, `PermissionDeniedError`, `NotFoundError`, ... | Asana answered 401, 403, 404, ... |
| `RateLimitError` | 429 after the repetitions of `RetryPolicy`; `.retry_after` in seconds |
| `RequestTimeoutError`, `ServerError` | no answer in time, or 5xx, after the repetitions of `RetryPolicy`, of which a token has 35 in a row |
| `JobFailedError` | from `raise_for_status()`, `expect_result()` and `run` only |
| `NoResultError` | from `expect_result()` only: the job has not finished, or names nothing that it made |
| `JobTimeoutError` | you stopped waiting; `.job` and `.continuation_token` say where |
| `DecodeError` | Asana's answer changed shape; `.problems` has a line for each field |
| `TokenError` | no token was found, or it cannot be one, or it cannot be renewed |
| `ClientClosedError` | the client was closed while you waited |
| `DownloadError` | an export's file cannot be had; what has come is kept for the next call |
| `LedgerError`, `LedgerBusyError` | the ledger's file cannot be used; another process is at work on this operation |

A job that has failed raises nothing by itself, since it is a result. `run` raises, because it promises what is finished:

```python
import asyncio

from asana_jobs import (
    AsanaClient,
    AsanaJobsError,
    DuplicateProject,
    JobFailedError,
    JobTimeoutError,
    OutcomeUnknownError,
)


async def main() -> None:
    async with AsanaClient() as asana:
        try:
            job = await asana.run(DuplicateProject("1203", name="Q3 launch"), timeout=300)
        except JobFailedError as error:
            print("look at what is half made:", error.job.result)
        except JobTimeoutError as error:
            print("it goes on; wait again with", error.continuation_token)
        except OutcomeUnknownError as error:
            print("nobody knows whether it was started:", error.check)
        except AsanaJobsError as error:
            print("nothing was started:", error.advice)
        else:
            print(job.status, job.expect_result().name)


asyncio.run(main())
```
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final
from unicodedata import category


if TYPE_CHECKING:
    from asana_jobs.models import Job
    from asana_jobs.operations import Operation


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


def one_line(text: str) -> str:
    """Return *text* in one line, with everything that cannot be seen escaped: an answer must not forge a line of a log.

    Line ends, escape sequences and marks that turn the direction of writing come out as ``repr`` shows them.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable()
        else " "
        if category(character) == "Zs"
        else character.encode("unicode_escape").decode()
        for character in text
    )


def rounded(seconds: float) -> str:
    """Return *seconds* as people write them in a message: ``300``, ``12.5``, ``0.25``, and never 0 for what took time."""
    if seconds >= 100:
        return f"{seconds:.0f}"
    return (
        f"{seconds:.1f}".removesuffix(".0") if seconds >= 1 or seconds == 0 else f"{max(seconds, 0.001):.2g}"
    )


class AsanaJobsError(Exception):
    """The root: ``except AsanaJobsError`` catches everything this library raises on purpose."""

    advice: str = "Read the message; if it does not help, report it with the time it happened."

    def __init__(self, message: str = "") -> None:
        # The one place that every message passes, whatever it quotes.
        super().__init__(one_line(message))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by state, so that errors cross process borders whatever their constructor asks for."""
        return _rebuild, (type(self), self.args), self.__dict__


def without_advice(error: AsanaJobsError) -> str:
    """Return what *error* says has happened. Its advice is for whoever made that request, and not for what it meant."""
    return str(error).removesuffix(error.advice).rstrip(" .")


def _rebuild(kind: type[AsanaJobsError], args: tuple[object, ...]) -> AsanaJobsError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class RequestError(AsanaJobsError):
    """An error about one request, of the transport or of the API.

    Attributes:
        method: ``GET``, ``POST``, ...
        path: The path below the base URL, such as ``/jobs/1203``.
        gid: The gid the request was about, or ``None``.
    """

    def __init__(self, message: str, *, method: str, path: str, gid: str | None = None) -> None:
        super().__init__(message)
        self.method = method
        self.path = path
        self.gid = gid

    @property
    def request(self) -> str:
        """The request in one line, such as ``GET /jobs/1203``."""
        return f"{self.method} {self.path}"


class TransportError(RequestError):
    """No usable HTTP answer: a reset, a broken body, an answer that is not JSON. ``__cause__`` says why."""

    advice = "Check the network and https://status.asana.com, then try again."


class ConnectError(TransportError):
    """The connection was never made (name lookup, refused, proxy, TLS): nothing was sent, repeating is safe.

    Attributes:
        permanent: Whether it does not pass by itself: a certificate that is not trusted, or TLS spoken to plain http.
    """

    advice = "Check the network, the proxy and ASANA_BASE_URL."

    def __init__(
        self, message: str, *, method: str, path: str, gid: str | None = None, permanent: bool = False
    ) -> None:
        super().__init__(message, method=method, path=path, gid=gid)
        self.permanent = permanent


class RequestTimeoutError(TransportError, TimeoutError):
    """No answer within the time one request may take."""

    advice = "Asana or the network is slow: raise the client's timeout, or try again later."


#: The advice where to look for what may have been started, if no name tells it from others.
LOOK_IN_ASANA: Final = "look in Asana at what this token's user made at about this time"


class OutcomeUnknownError(TransportError):
    """A job-starting POST was sent and its answer was lost: the job may be running. It was not repeated.

    Asana's OpenAPI document has neither an idempotency key nor a list of jobs, so only a person can
    tell; ``check`` says where to look.

    Attributes:
        operation: The operation whose outcome is unknown, or ``None`` for a raw request.
        sent_at: When the request was sent.
        check: What a person can look at to find out.
    """

    advice = "Look in Asana whether the copy exists before starting it again."

    def __init__(
        self,
        message: str,
        *,
        method: str,
        path: str,
        gid: str | None = None,
        operation: Operation | None = None,
        sent_at: datetime | None = None,
        check: str = LOOK_IN_ASANA,
    ) -> None:
        super().__init__(message, method=method, path=path, gid=gid)
        self.operation = operation
        self.sent_at = sent_at
        self.check = check


class APIError(RequestError):
    """Asana answered with an error status.

    Attributes:
        status: The HTTP status.
        messages: Every message of the answer; most answers have one.
        help: Asana's pointer to its documentation.
        phrase: The words to quote to Asana's support, in answers of 500 only.
        retry_after: Seconds Asana asks us to wait, or ``None``.
        readable: Whether the body was the documented JSON. A gateway's HTML page is not.
    """

    advice = "Read Asana's message; it names what it objects to."

    def __init__(
        self,
        message: str,
        *,
        status: int,
        method: str,
        path: str,
        gid: str | None = None,
        messages: tuple[str, ...] = (),
        help: str | None = None,  # noqa: A002  # the name Asana gives it
        phrase: str | None = None,
        retry_after: float | None = None,
        readable: bool = True,
    ) -> None:
        super().__init__(message, method=method, path=path, gid=gid)
        self.status = status
        self.messages = messages
        self.help = help
        self.phrase = phrase
        self.retry_after = retry_after
        self.readable = readable


class BadRequestError(APIError):
    """400: a parameter is missing or malformed."""

    advice = "Correct what Asana's message names; nothing was started."


class AuthenticationError(APIError):
    """401: no token, a wrong one, or an expired one."""

    advice = (
        "Check the access token: it is wrong, expired or revoked. asana-jobs doctor shows which one is used."
    )


class PaymentRequiredError(APIError):
    """402: the feature needs a paid plan."""

    advice = "The domain's plan does not include this feature."


class PermissionDeniedError(APIError):
    """403: no access. Only the user who started a job may read it."""

    advice = "Use the token that started the job, and check its scopes (jobs:read) and the object's sharing."


class ExportBusyError(PermissionDeniedError):
    """403 to ``export_resource``: an export is already running in this workspace, whoever started it."""

    advice = "An export is already running in this workspace: wait for it to end, then start this one again."


class NotFoundError(APIError):
    """404: no such object for this token, or no such path."""

    advice = "Check the gid: nothing has it, or this token's user may not see it; a job is shown to who started it only."


class UnprocessableError(APIError):
    """422: the request is well-formed but cannot be carried out, such as a template date that is missing."""

    advice = "Give a value for every date and role of the template, or is_strict=False."


class RateLimitError(APIError):
    """429: a rate limit, the concurrency limit or the limit of running jobs. ``retry_after`` is in seconds."""

    advice = "Wait, or give this token fewer callers; see RateLimits."


class LegalBlockError(APIError):
    """451: blocked for legal reasons, such as an embargoed address."""

    advice = "Asana refuses this address or account for legal reasons; contact Asana."


class ServerError(APIError):
    """5xx: Asana or a gateway failed. Quote ``phrase`` and the time to Asana's support."""

    advice = "Asana's side failed: try again later; quote the phrase to Asana's support."


class TokenError(AsanaJobsError):
    """No access token was found, or a token provider could not give one."""

    advice = "Set ASANA_ACCESS_TOKEN, or ASANA_ACCESS_TOKEN_FILE to a file that holds the token."


class DecodeError(AsanaJobsError):
    """JSON that is not what the API promises.

    Attributes:
        problems: One line for each field: what was expected, where, and what came.
        gid: The gid the answer was asked for, or ``None``.
    """

    advice = "Asana's answer changed shape, or base_url is not Asana: report it with the problems listed."

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), gid: str | None = None) -> None:
        super().__init__(message)
        self.problems = problems
        self.gid = gid


class JobError(AsanaJobsError):
    """An error about a job, not about HTTP.

    Attributes:
        job: The job as last seen, or ``None`` if it never was.
    """

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
    """The result of a job was asked for with ``expect_result()``, and is not there, or not yet."""

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
        gid: The job's gid.
        waited: Seconds waited.
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
            seen += f"; last trouble: {without_advice(trouble)}"
        super().__init__(
            f"job {gid} had not finished after {rounded(waited)} s ({seen}); it may still finish. "
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

    advice = "Do what the message says; download_export goes on where it stopped."


class LedgerError(AsanaJobsError):
    """A ledger file cannot be used."""

    advice = "Do what the message says of the file or of the key; the file was left as it is."


class LedgerBusyError(LedgerError):
    """Another process is at work on this operation, under the same key of the same ledger: it is left to it."""

    advice = "Run again when that process has ended: what it finished is not done a second time."


for _name in __all__:
    # Tracebacks and pickles name the module that users import from.
    globals()[_name].__module__ = __name__
