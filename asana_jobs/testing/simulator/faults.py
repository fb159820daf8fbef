"""Things that go wrong on demand: faults as frozen values, and the rules that say which request meets which."""

from collections.abc import Callable
from datetime import datetime
from random import Random
from typing import Any, TypeAlias

from attrs import define, field, frozen
from attrs.validators import ge, le

from asana_jobs.testing.simulator.requests import RequestRecord
from asana_jobs.testing.simulator.time import http_date


RetryAfterLike: TypeAlias = float | str | datetime | None


def _retry_after_text(value: RetryAfterLike) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, datetime):
        return http_date(value)
    return str(int(value)) if float(value).is_integer() else str(value)


_IS_STATUS = (ge(200), le(599))


@frozen
class Status:
    """Answer with an HTTP error instead.

    Args:
        status: the status code, such as 429 or 503.
        message: the error's message; each status has a default.
        retry_after: the `Retry-After` header: seconds, an aware datetime, or text sent as it is.
        effect: whether the request takes effect all the same: the job is started, the answer lost.
    """

    status: int = field(validator=_IS_STATUS)
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

    status: int = field(default=502, validator=_IS_STATUS)
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


def takes_effect(fault: Fault | None) -> bool:
    """Return whether a request that meets the fault does what it would do without it."""
    return not isinstance(fault, Status | Reset | HtmlPage) or fault.effect


@define(eq=False)
class FaultRule:
    """A fault and the requests it is meant for.

    Attributes:
        fault: what happens.
        times: how many requests are still to meet it; None for all of them.
        method: only requests with this method.
        path: only paths like this pattern, such as `/jobs/*`.
        when: only requests this function says yes to.
        probability: share of the matching requests that meet it, between 0 and 1.
        applied: how many requests met it.
    """

    fault: Fault
    times: int | None = None
    method: str | None = None
    path: str | None = None
    when: Callable[[RequestRecord], bool] | None = None
    probability: float = 1.0
    _random: Random = field(factory=Random, repr=False, alias="random")
    applied: int = 0

    def meets(self, record: RequestRecord, *, by_path: bool = False) -> bool:
        """Return whether a request meets the fault, and count it if so.

        Args:
            record: the request.
            by_path: only if this rule names a path.
        """
        if by_path and self.path is None:
            return False
        if self.times is not None and self.applied >= self.times:
            return False
        # Only a request that starts a job can have its job hidden.
        method = self.method or ("POST" if isinstance(self.fault, HiddenJob) else None)
        if not record.matches(method=method, path=self.path):
            return False
        if self.when is not None and not self.when(record):
            return False
        if self.probability < 1.0 and self._random.random() >= self.probability:
            return False
        self.applied += 1
        return True


@define
class FaultPlan:
    """The rules in the order they were made: the first that matches decides, one fault per request."""

    rules: list[FaultRule] = field(factory=list[FaultRule])

    def choose(self, record: RequestRecord, *, by_path: bool = False) -> Fault | None:
        """Return the fault this request meets, None for no fault.

        With `by_path` only rules for certain paths count: downloads and the OAuth endpoints are not
        meant unless they are named.
        """
        for rule in self.rules:
            if rule.meets(record, by_path=by_path):
                return rule.fault
        return None
