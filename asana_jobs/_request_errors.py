"""The errors of requests, and the root of all errors. They are part of `asana_jobs.errors`: import them from there."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, Final


if TYPE_CHECKING:
    from asana_jobs.operations import Operation


class AsanaJobsError(Exception):
    """The root: ``except AsanaJobsError`` catches everything this library raises on purpose."""

    advice: ClassVar[str] = "Read the message; if it does not help, report it with the time it happened."

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by state, so that errors cross process borders whatever their constructor asks for."""
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(kind: type[AsanaJobsError], args: tuple[object, ...]) -> AsanaJobsError:
    error = kind.__new__(kind, *args)
    error.args = args
    return error


class RequestError(AsanaJobsError):
    """What transport and API errors share: the request they belong to.

    Attributes:
        method: ``GET`` or ``POST``, ... ; ``path``: below the base URL, such as ``/jobs/1203``.
        gid: the gid the request was about, or ``None``.
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
    """The connection was never made (name lookup, refused, TLS): nothing was sent, repeating is safe."""

    advice = "Check the network, the proxy and ASANA_BASE_URL."


class RequestTimeoutError(TransportError, TimeoutError):
    """No answer within the time one request may take."""

    advice = "Asana or the network is slow: raise the client's timeout, or try again later."


#: Where to look for what may have been started, if no name tells it from others.
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
        status: The HTTP status. ``messages``: every message of the answer, most answers have one.
        help: Asana's pointer to its documentation. ``phrase``: what Asana's support asks for, 500 only.
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
