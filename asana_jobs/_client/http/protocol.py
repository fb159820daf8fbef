"""Asana's HTTP: what a request is, which one may be repeated, and how answers and errors of every shape are read.

Nothing here waits, and nothing touches the network.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import urlencode

import attrs

from asana_jobs import errors
from asana_jobs._client.http.decode import loads
from asana_jobs._client.http.secret import Authorization, Secret, masked, masked_text
from asana_jobs._client.telemetry.log_fields import Addressed
from asana_jobs.errors import (
    APIError,
    AsanaJobsError,
    ConnectError,
    OutcomeUnknownError,
    RequestError,
    ServerError,
    TransportError,
)
from asana_jobs.operations import OPERATIONS, Operation
from asana_jobs.parameters import check_gid, check_many, check_whole


class Safety(Enum):
    """What a second copy of a request would do."""

    #: GET, HEAD, PUT, DELETE: the same as one.
    IDEMPOTENT = "idempotent"
    #: A POST that would start a second job, or that we know nothing about.
    ONCE = "once"
    #: A POST that gives the same job back while the first one runs.
    SAME_JOB = "same job"


class Failure(Enum):
    """How a request failed, as far as repeating it is concerned."""

    NOT_SENT = "the connection was never made"
    LIMITED = "429"
    UNAUTHORIZED = "401"
    LOST = "timeout, reset, or an answer that cannot be read"
    SERVER = "5xx"
    REFUSED = "4xx with Asana's own errors"
    UNCLEAR = "any other status: a redirect, a gateway's page, a 408"


class Verdict(Enum):
    """What to do about a failure."""

    REPEAT = "send it again"
    REFRESH = "send it once more with a fresh token"
    UNKNOWN = "stop: it may have started a job"
    RAISE = "stop"


#: The one table of what may be repeated, since Asana has no idempotency key and no list of jobs: for each failure the
#: verdicts on a request that is `Safety.IDEMPOTENT`, one that gives the `Safety.SAME_JOB`, and one that goes `Safety.ONCE`.
REPEAT_TABLE: Final[Mapping[Failure, tuple[Verdict, Verdict, Verdict]]] = {
    Failure.NOT_SENT: (Verdict.REPEAT, Verdict.REPEAT, Verdict.REPEAT),
    Failure.LIMITED: (Verdict.REPEAT, Verdict.REPEAT, Verdict.REPEAT),
    Failure.UNAUTHORIZED: (Verdict.REFRESH, Verdict.REFRESH, Verdict.REFRESH),
    Failure.LOST: (Verdict.REPEAT, Verdict.REPEAT, Verdict.UNKNOWN),
    Failure.SERVER: (Verdict.REPEAT, Verdict.REPEAT, Verdict.UNKNOWN),
    Failure.REFUSED: (Verdict.RAISE, Verdict.RAISE, Verdict.RAISE),
    Failure.UNCLEAR: (Verdict.RAISE, Verdict.REPEAT, Verdict.UNKNOWN),
}
_COLUMNS: Final = (Safety.IDEMPOTENT, Safety.SAME_JOB, Safety.ONCE)

#: Refusals whatever their body: gateways say them before they forward anything.
_FAILURES: Final[Mapping[int, Failure]] = {401: Failure.UNAUTHORIZED, 429: Failure.LIMITED}

#: 4xx that say nothing of whether the request was carried out, whoever says them: it took too long (408, 460, 499),
#: it met another one (409), it may come again (425).
_SAY_NOTHING: Final = frozenset({408, 409, 425, 460, 499})

#: Characters that are kept of one message of a server's: some ten times Asana's.
LONGEST_MESSAGE: Final = 2000
#: Messages that are kept of one answer: some ten times Asana's.
MOST_MESSAGES: Final = 20
#: Seconds for which one ``Retry-After`` keeps us away: then it is asked again, however long it said.
LONGEST_PAUSE: Final = 3600.0

_ERRORS: Final[Mapping[int, type[APIError]]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    422: errors.UnprocessableError,
    429: errors.RateLimitError,
    451: errors.LegalBlockError,
}

#: The `resource_subtype` of the jobs of a kind, where Asana's documents or answers show one.
_SUBTYPES: Final = {
    "duplicate_task": "duplicate_task",
    "duplicate_project": "duplicate_project",
    "export_graph": "graph_export_request",
    "export_resource": "export_request",
}
_KNOWN_SUBTYPES: Final = frozenset({*_SUBTYPES.values(), *OPERATIONS})

Fields: TypeAlias = str | Iterable[str]
Params: TypeAlias = Mapping[str, str | int | float | bool]
E = TypeVar("E", bound=RequestError)

_NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


# Not frozen, since the session puts the token on it.
@attrs.define(unsafe_hash=True)
class Request:
    """One request, below the base URL.

    You get one from a client, if you are its `Transport`.

    Attributes:
        method: ``GET``, ``POST``, ...
        path: Below the base URL, such as ``/jobs/1203``.
        query: What follows the question mark, encoded.
        gid: What the request is about.
        timeout: Seconds that it may take.
        authorization: The header that holds the token, put on it when it is sent. Never shown.
        headers: What else the client puts into its header, such as ``Asana-Enable``.
        body: What is sent with it. Not shown: a token request's holds secrets.
        content_type: What *body* is.
        safety: What a second copy of it would do.
        before_write: Called once, after the connection stands and before the first byte, or, where nobody can tell,
            before anything is done. It may raise: then nothing was sent.
    """

    method: str
    path: str
    query: str = ""
    gid: str | None = None
    timeout: float = 30.0
    authorization: Secret | None = attrs.field(default=None, repr=False)
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, eq=False, repr=False, kw_only=True)
    body: bytes | None = attrs.field(default=None, repr=False, kw_only=True)
    content_type: str = attrs.field(default="application/json", kw_only=True)
    safety: Safety = attrs.field(default=Safety.IDEMPOTENT, kw_only=True)
    before_write: Callable[[], object] | None = attrs.field(default=None, repr=False, eq=False, kw_only=True)

    @property
    def target(self) -> str:
        """The path with its query, encoded."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def what(self) -> str:
        """The name of the request in messages: with its gid where the path does not hold it."""
        line = f"{self.method} {self.path}"
        return line if self.gid is None or self.gid in self.path.split("/") else f"{line} for {self.gid}"


def error_about(kind: Callable[..., E], request: Addressed | Operation, message: str, **facts: Any) -> E:
    """Return a *kind* of error about *request*, with the *facts* that this kind has besides."""
    return kind(message, method=request.method, path=request.path, gid=request.gid, **facts)


def _names(headers: Mapping[str, str]) -> str:
    return str(list(headers))  # their values may hold anything, such as a token that is echoed


@attrs.define
class Response:
    """One answer.

    Attributes:
        status: Of HTTP, such as 200.
        headers: By name, in lower case or in any.
        body: The bytes as they came, unpacked.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=_names)
    body: bytes = attrs.field(default=b"", repr=False)

    def json(self) -> Any:
        """Parse the body; `ValueError` if it is not JSON."""
        return loads(self.body)


def check_fields(fields: Fields | None) -> str | None:
    """Return ``opt_fields`` as one comma-separated string. Unknown paths are passed on, as Asana adds fields."""
    if fields is None:
        return None
    given = fields.split(",") if isinstance(fields, str) else fields
    names: list[str] = []
    for name in check_many(
        given,
        "opt_fields must be field paths or one comma-separated string",
        write="opt_fields=[{}]",
        name="'new_project.name'",
    ):
        if not isinstance(name, str) or not re.fullmatch(r"[\w.|()]+", name.strip(), re.ASCII):
            raise ValueError(f"opt_fields must hold field paths such as 'new_project.name', not {name!r}")
        names.append(name.strip())
    return ",".join(dict.fromkeys(names)) or None


def _query(opt_fields: str, *, opt_pretty: bool = False) -> str:
    options = {"opt_fields": opt_fields} if opt_fields else {}
    if opt_pretty:
        options["opt_pretty"] = "true"
    return urlencode(options, safe=",.|()")


def read_job(
    gid: str,
    opt_fields: str | None = None,
    *,
    collection: str = "jobs",
    opt_pretty: bool = False,
    timeout: float = 30.0,
    what: str = "job gid",
) -> Request:
    """Return ``GET /jobs/{job_gid}``, or the same for another *collection*; *what* names the gid in messages."""
    check_gid(gid, what)
    query = _query(opt_fields or "", opt_pretty=opt_pretty) if opt_fields or opt_pretty else ""
    return Request("GET", f"/{collection}/{gid}", query, gid, timeout)


#: What a start needs of its answer, whatever its caller asks for: never twice stands on it. The gid always comes.
_NEEDED: Final = ("resource_type", "resource_subtype", "status")


def fields_of_start(operation: Operation, opt_fields: Fields | None) -> str | None:
    """Return the ``opt_fields`` of a start, with those that it cannot do without."""
    fields = check_fields(opt_fields)
    if fields is None:
        return None
    needed = ("resource_type", "state") if operation.kind == "export_organization" else _NEEDED
    return ",".join(dict.fromkeys([*fields.split(","), *needed]))


def start_job(operation: Operation, timeout: float = 30.0, opt_fields: str | None = None) -> Request:
    """Return the POST of one of the eleven operations."""
    body = operation.body
    return Request(
        method=operation.method,
        path=operation.path,
        query=_query(opt_fields) if opt_fields else "",
        body=None if body is None else json.dumps({"data": body}).encode(),
        safety=_safety(operation),
        gid=operation.gid,
        timeout=timeout,
    )


def raw_request(method: str, path: str, params: Params | None, data: object, timeout: float) -> Request:
    """Return any other call below the base URL. A path that could leave it is a `ValueError`."""
    verb = str(method).upper()
    if verb not in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}:
        raise ValueError(f"method must be GET, HEAD, POST, PUT, PATCH or DELETE, not {method!r}")
    if not _stays_below(path):
        raise ValueError(
            f"path must be like '/users/me', below the base URL and without a query, not {path!r:.80}"
        )
    if params is not None and not isinstance(params, Mapping):
        raise ValueError(f"params must be a mapping such as {{'limit': 5}}, not {params!r:.60}")
    for key, value in (params or {}).items():
        if not isinstance(value, str | int | float):
            raise ValueError(f"params must hold text, numbers or booleans: {key} is {value!r:.60}")
        _check_texts({key: value}, "params")
    written = {
        key: str(value).lower() if isinstance(value, bool) else value for key, value in (params or {}).items()
    }
    return Request(
        method=verb,
        path=path,
        query=urlencode(written, safe=",.|()"),
        body=None if data is None else _dump(data),
        safety=Safety.ONCE if verb in {"POST", "PATCH"} else Safety.IDEMPOTENT,
        timeout=timeout,
    )


def _stays_below(path: object) -> bool:
    return (
        isinstance(path, str)
        and len(path) <= 2048
        and re.fullmatch(r"(/[\w.~-]+)+", path, re.ASCII) is not None
        and re.search(r"/\.{1,2}(/|$)", path) is None
    )


def _dump(data: object) -> bytes:
    try:
        body = json.dumps(data, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"json must be what JSON can hold: {error}") from None
    if b"\\ud" in body:
        _check_texts(data, "json")
    return body


def _check_texts(data: object, place: str) -> None:
    """Raise `ValueError` if a text in *data*, which is at *place*, holds half an emoji."""
    if isinstance(data, str):
        check_whole(data, place)
    elif isinstance(data, Mapping):
        for key, value in cast("Mapping[object, object]", data).items():
            _check_texts(key, f"a key of {place}")
            _check_texts(value, f"{place}[{key!r}]")
    elif isinstance(data, list | tuple):
        for number, value in enumerate(cast("Iterable[object]", data)):
            _check_texts(value, f"{place}[{number}]")


def failure(error: AsanaJobsError) -> Failure | None:
    """Return how a request failed, or ``None`` if *error* is not about one request."""
    if isinstance(error, ConnectError):
        return Failure.NOT_SENT
    if isinstance(error, TransportError):
        return Failure.LOST
    if not isinstance(error, APIError):
        return None
    if error.status in _FAILURES or error.status >= 500:
        return _FAILURES.get(error.status, Failure.SERVER)
    # Gateways answer in the name of Asana: only what Asana itself refuses in its own words was not carried out.
    refused = error.status >= 400 and error.status not in _SAY_NOTHING and error.messages
    return Failure.REFUSED if refused else Failure.UNCLEAR


def verdict(error: AsanaJobsError, safety: Safety) -> Verdict:
    """Look the failure up in `REPEAT_TABLE`."""
    how = failure(error)
    return Verdict.RAISE if how is None else REPEAT_TABLE[how][_COLUMNS.index(safety)]


def may_repeat(error: AsanaJobsError, operation: Operation) -> bool:
    """Return whether the POST of *operation* may be sent again after *error*."""
    return verdict(error, _safety(operation)) is Verdict.REPEAT


def _safety(operation: Operation) -> Safety:
    return Safety.SAME_JOB if operation.same_job_while_running else Safety.ONCE


def transient(error: BaseException) -> bool:
    """Return whether a *wait* outlives this error: 429, 5xx, lost or unreadable answers whatever their status."""
    if isinstance(error, OutcomeUnknownError):
        return False
    if isinstance(error, TransportError):
        return True
    return isinstance(error, APIError) and (error.status == 429 or error.status >= 500 or not error.readable)


def read_data(request: Request, response: Response, now: Callable[[], datetime]) -> object:
    """Return the content of the ``data`` envelope of a 2xx answer.

    Raises:
        APIError: any other status; the subclass, the messages, the phrase and ``Retry-After`` are filled in.
        TransportError: a 2xx whose body is not JSON: truncated, or some gateway's page.
        DecodeError: JSON without a ``data`` envelope.
    """
    if not 200 <= response.status < 300:
        raise read_error(request, response, now())
    try:
        answer = loads(response.body)
    except ValueError as error:
        raise error_about(
            TransportError,
            request,
            f"{request.what} was answered {response.status} with a body that is not JSON"
            f" ({describe(response)}): {error}. Try again.",
        ) from None
    try:
        return answer["data"]
    except (TypeError, KeyError):
        raise errors.DecodeError(
            f"{request.what} was answered {response.status} without a 'data' envelope: "
            f"is base_url Asana's API?",
            problems=("required field missing @ $.data",),
            gid=request.gid,
        ) from None


def describe(response: Response) -> str:
    """Return the kind and the length of a body, without showing it."""
    return f"{response.headers.get('content-type', 'no content type')}, {len(response.body)} bytes"


#: What to do where Asana has no such path, which is not the gid's fault.
_NO_ROUTE: Final = "Check the path, and that base_url (ASANA_BASE_URL) ends with /api/1.0."

#: What else a gid may be that is looked for among the jobs.
_NO_JOB: Final = (
    " (what a job makes is no job; nor is an organization export: hand in the Job that export_organization returned, or its "
    "continuation token)"
)


def read_error(request: Request, response: Response, now: datetime) -> APIError:
    """Turn an error answer of any shape into the error that stands for its status."""
    entries = _entries(response)
    entries = entries and entries[:MOST_MESSAGES]
    messages = tuple(text for entry in entries or () if (text := _text(entry, "message")))
    kind = _ERRORS.get(response.status) or (ServerError if response.status >= 500 else APIError)
    if kind is errors.PermissionDeniedError and _is_busy(request, messages):
        kind = errors.ExportBusyError
    phrase = next((text for entry in entries or () if (text := _text(entry, "phrase"))), None)
    said = "; ".join(messages).rstrip(".") or f"no message ({describe(response)})"
    lost = response.status == 404 and "no matching route" in said.lower()
    advice = _NO_ROUTE if lost else kind.advice
    title = title_of(response.status)
    hint = f" (phrase for Asana's support: {phrase})" if phrase else ""
    if response.status == 404 and not lost and request.path.startswith("/jobs/"):
        hint += _NO_JOB
    error = error_about(
        kind,
        request,
        f"{request.what} was answered {response.status} {title}: {said}{hint}. {advice}",
        status=response.status,
        messages=messages,
        help=next((text for entry in entries or () if (text := _text(entry, "help"))), None),
        phrase=phrase,
        retry_after=retry_after(response.headers, now),
        readable=entries is not None,
    )
    if advice != kind.advice:
        error.advice = advice
    return error


def _is_busy(request: Request, messages: tuple[str, ...]) -> bool:
    """Return whether a 403 is Asana's way to say that the workspace has an export running (``POST /exports/resource``)."""
    if (request.method, request.path) != ("POST", "/exports/resource"):
        return False
    return any(re.search(r"already|in progress|running", message, re.IGNORECASE) for message in messages)


def title_of(status: int) -> str:
    """Return the words that HTTP has for a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(not a standard status)"


def _entries(response: Response) -> list[Mapping[str, object]] | None:
    """Return the entries of ``errors``, or ``None`` if the body is not JSON at all."""
    try:
        answer = response.json()
    except ValueError:
        return None
    listed = cast("dict[str, object]", answer).get("errors") if isinstance(answer, dict) else None
    if not isinstance(listed, list):
        return []
    items = cast("list[object]", listed)
    return [cast("Mapping[str, object]", item) for item in items if isinstance(item, Mapping)]


def _text(entry: Mapping[str, object], key: str) -> str | None:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        return None
    return value if len(value) <= LONGEST_MESSAGE else f"{value[:LONGEST_MESSAGE]}..."


def without(authorization: Authorization, response: Response) -> Response:
    """Return an answer without the token, which a proxy that debugs may echo: what is read goes into logs and files."""
    headers = {name.lower(): masked_text(value, authorization) for name, value in response.headers.items()}
    return attrs.evolve(response, headers=headers, body=masked(response.body, authorization))


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Read ``Retry-After``: seconds, or an HTTP date. ``None`` if it is missing or makes no sense.

    Args:
        headers: Those of the answer. A date is read by the clock of the server, which ``Date`` shows.
        now: The time by our clock, where there is no ``Date``.
    """
    value = headers.get("retry-after")
    if value is None:
        return None
    if re.fullmatch(r"\d{1,9}(\.\d{0,9})?", value.strip(), re.ASCII):
        return float(value)
    until = _http_date(value)
    try:
        theirs = _http_date(headers.get("date", "")) or now
        return None if until is None else max(0.0, (until - theirs).total_seconds())
    except OverflowError:
        return None


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value.strip())
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_of_another_kind(subtype: str | None, operation: Operation) -> bool:
    """Return whether *subtype* says that a job is not one of *operation*'s: words that Asana may add say nothing."""
    ours = _SUBTYPES.get(operation.kind)
    return ours is not None and subtype != ours and subtype in _KNOWN_SUBTYPES
