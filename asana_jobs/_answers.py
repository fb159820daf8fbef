"""How Asana answers: data, errors of every shape, and ``Retry-After`` in both forms. Nothing here waits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final, cast

import attrs

from asana_jobs import errors
from asana_jobs._sansio import Request, Response, loads
from asana_jobs._secret import Secret
from asana_jobs.errors import APIError, ServerError, TransportError
from asana_jobs.operations import OPERATIONS, Operation


#: Characters of one message of a server's, and messages, that are kept: both are some ten times Asana's.
LONGEST_MESSAGE: Final = 2000
MOST_MESSAGES: Final = 20
#: Seconds for which one ``Retry-After`` keeps us away: then it is asked again, however long it said.
LONGEST_PAUSE: Final = 3600.0
#: Characters from which on a token is masked in messages: what is shorter is no secret, and is found in any word.
SHORTEST_SECRET: Final = 8

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


def read_data(request: Request, response: Response, now: Callable[[], datetime]) -> object:
    """Return what is in the ``data`` envelope of a 2xx answer.

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
        raise TransportError(
            f"{request.what} was answered {response.status} with a body that is not JSON"
            f" ({describe(response)}): {error}. Try again.",
            method=request.method,
            path=request.path,
            gid=request.gid,
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
    """Say what a body is, without showing it."""
    return f"{response.headers.get('content-type', 'no content type')}, {len(response.body)} bytes"


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
    title = _title(response.status)
    hint = f" (phrase for Asana's support: {phrase})" if phrase else ""
    return kind(
        f"{request.what} was answered {response.status} {title}: {said}{hint}. {kind.advice}",
        status=response.status,
        method=request.method,
        path=request.path,
        gid=request.gid,
        messages=messages,
        help=next((text for entry in entries or () if (text := _text(entry, "help"))), None),
        phrase=phrase,
        retry_after=retry_after(response.headers.get("retry-after"), now),
        readable=entries is not None,
    )


def _is_busy(request: Request, messages: tuple[str, ...]) -> bool:
    """Whether a 403 is Asana's way to say that the workspace has an export running (``POST /exports/resource``)."""
    if (request.method, request.path) != ("POST", "/exports/resource"):
        return False
    return any(re.search(r"already|in progress|running", message, re.IGNORECASE) for message in messages)


def _title(status: int) -> str:
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


def without(authorization: Secret, response: Response) -> Response:
    """Return an error answer without the token, which a proxy that debugs may echo: messages go into logs and files."""
    token = authorization.rpartition(" ")[2].encode()
    if len(token) < SHORTEST_SECRET:
        return response
    body = response.body.replace(token, b"***").replace(token.replace(b"/", b"\\/"), b"***")
    return response if body == response.body else attrs.evolve(response, body=body)


def retry_after(value: str | None, now: datetime) -> float | None:
    """Read ``Retry-After``: seconds, or an HTTP date. ``None`` if it is missing or makes no sense."""
    if value is None:
        return None
    text = value.strip()
    if re.fullmatch(r"\d{1,9}(\.\d{0,9})?", text, re.ASCII):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        return max(0.0, (aware - now).total_seconds())
    except OverflowError:
        return None


#: Gids that are remembered, the oldest forgotten first: some two hours of a paid quota.
REMEMBERED: Final = 2**15

#: The `resource_subtype` of the jobs of a kind, where Asana's documents or answers show one.
_SUBTYPES: Final = {
    "duplicate_task": "duplicate_task",
    "duplicate_project": "duplicate_project",
    "export_graph": "graph_export_request",
    "export_resource": "export_request",
}
_KNOWN_SUBTYPES: Final = frozenset({*_SUBTYPES.values(), *OPERATIONS})


def is_of_another_kind(subtype: str | None, operation: Operation) -> bool:
    """Whether *subtype* says that a job is not one of *operation*'s: words that Asana may add say nothing."""
    ours = _SUBTYPES.get(operation.kind)
    return ours is not None and subtype != ours and subtype in _KNOWN_SUBTYPES


@attrs.frozen
class _Sighting:
    """When a gid was first seen, as the number of those before it, and what started it, if that was one of ours."""

    number: int
    kind: str | None
    subject: str | None


class SeenGids:
    """The gids that one family of clients, which share their connections, has asked for or been answered."""

    def __init__(self) -> None:
        self.count = 0
        self._seen: dict[str, _Sighting] = {}

    def note(self, gid: str, operation: Operation | None = None) -> None:
        """Take note of a gid, and of the *operation* that started its job."""
        if gid in self._seen:
            return
        kind, subject = (None, None) if operation is None else (operation.kind, operation.gid)
        self._seen[gid] = _Sighting(self.count, kind, subject)
        self.count += 1
        if len(self._seen) > REMEMBERED:
            del self._seen[next(iter(self._seen))]

    def before(self, gid: str, count: int, operation: Operation) -> bool:
        """Whether *gid* was among the first *count*, so that a POST of *operation* sent after them did not start it."""
        sighting = self._seen.get(gid)
        if sighting is None or sighting.number >= count:
            return False
        # The same job comes back while it runs, whoever has started it, and for the same subject only.
        same = sighting.kind is None or (sighting.kind, sighting.subject) == (operation.kind, operation.gid)
        return not (operation.same_job_while_running and same)
