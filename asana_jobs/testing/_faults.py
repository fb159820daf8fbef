"""Things that go wrong, as frozen values: what the simulator does to a request on demand."""

from datetime import datetime
from typing import Any, TypeAlias

from attrs import Attribute, field, frozen

from asana_jobs.testing._time import http_date


RetryAfterLike: TypeAlias = float | str | datetime | None


def _retry_after_text(value: RetryAfterLike) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return http_date(value)
    return str(int(value)) if float(value).is_integer() else str(value)


def _is_status(_: object, attribute: "Attribute[int]", value: int) -> None:
    if not 200 <= value <= 599:
        raise ValueError(f"{attribute.name} must be between 200 and 599, not {value!r}")


@frozen
class Status:
    """Answer with an HTTP error instead.

    Args:
        status: the status code, such as 429 or 503.
        message: the error's message; each status has a default.
        retry_after: the `Retry-After` header: seconds, an aware datetime, or text sent as it is.
        effect: whether the request takes effect all the same: the job is started, the answer lost.
    """

    status: int = field(validator=_is_status)
    message: str | None = None
    retry_after: str | None = field(default=None, converter=_retry_after_text)
    effect: bool = False


@frozen
class Reset:
    """Reset the TCP connection instead of answering.

    Args:
        effect: whether the request takes effect first: the job is started, nobody hears of it.
    """

    effect: bool = False


@frozen
class Latency:
    """Answer, but late.

    Args:
        seconds: how long the request waits before it takes effect.
        after: seconds the answer waits after the request took effect.
    """

    seconds: float = 0.0
    after: float = 0.0


@frozen
class HtmlPage:
    """Answer with a gateway's HTML page.

    Args:
        status: the status code.
        effect: whether the request takes effect all the same.
    """

    status: int = field(default=502, validator=_is_status)
    effect: bool = False


@frozen
class NotJson:
    """Answer with a body that claims to be JSON and is not.

    Args:
        status: the status code; None for the one the request deserves.
        text: the body.
    """

    status: int | None = None
    text: str = '{"data": {"gid": "12'


@frozen
class Truncated:
    """Announce the whole body, send a part of it and close the connection.

    Args:
        share: part of the body that is sent, between 0 and 1.
    """

    share: float = 0.5


@frozen
class SlowDrip:
    """Send the right answer in small pieces with pauses.

    Args:
        seconds: pause before each piece.
        piece: bytes per piece.
    """

    seconds: float = 1.0
    piece: int = 16


@frozen
class WrongContentType:
    """Send the right answer under another content type.

    Args:
        content_type: what the header says.
    """

    content_type: str = "text/plain; charset=utf-8"


@frozen
class NewStatus:
    """Answer with a job status nobody has heard of.

    Args:
        status: the word in the job's `status` field.
    """

    status: str = "paused"


@frozen
class UnknownFields:
    """Answer with further fields in `data`, as an API does that grows.

    Args:
        fields: names and values to add.
    """

    fields: dict[str, Any] = field(factory=lambda: {"percent_done": 42, "new_whiteboard": {"gid": "77"}})


@frozen
class HiddenJob:
    """Start the job, but answer 404 to reads of it for a while, as a lagging replica would.

    Args:
        seconds: how long.
    """

    seconds: float = 1.0


#: What can happen to a request.
Fault: TypeAlias = (
    Status
    | Reset
    | Latency
    | HtmlPage
    | NotJson
    | Truncated
    | SlowDrip
    | WrongContentType
    | NewStatus
    | UnknownFields
    | HiddenJob
)
