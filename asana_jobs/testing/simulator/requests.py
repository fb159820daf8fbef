"""The log of every request the simulator got."""

import hashlib
from collections import Counter, UserList, defaultdict, deque
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from attrs import define, field


_WINDOW = 60.0


def token_label(token: str) -> str:
    """Return a name for a token that does not give it away: the start of its SHA-256."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


@define(eq=False)
class RequestRecord:
    """One request and what became of it.

    Attributes:
        number: position in the log, from 0.
        time: seconds on the loop's clock when it arrived.
        method: ``GET``, ``POST``, ...
        path: below the API's root, such as `/jobs/1203`.
        query: the query parameters.
        headers: the headers, names in lower case, the token in `authorization` replaced by `***`.
        body: the parsed JSON or form, the text when it was neither, None without a body.
        token: label of the bearer token, the same for the same token; None when none was sent.
        cost: requests it counts as: 1, and for a batch the number of its actions.
        status: the status answered; None while it is being answered or when nothing was.
        answered: seconds on the loop's clock when the answer was ready.
        all_started: gids of all jobs it started.
        fault: the fault it met.
    """

    number: int
    time: float
    method: str
    path: str
    query: Mapping[str, str] = field(factory=dict[str, str])
    headers: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    body: Any = None
    token: str | None = None
    cost: int = 1
    status: int | None = None
    answered: float | None = None
    all_started: tuple[str, ...] = ()
    fault: object | None = None

    @property
    def started(self) -> str | None:
        """Gid of the job it started, of the first one for a batch; None when it started none."""
        return self.all_started[0] if self.all_started else None

    @property
    def authorized(self) -> bool:
        """Whether a bearer token was sent."""
        return self.token is not None

    def matches(
        self, *, method: str | None = None, path: str | None = None, status: int | None = None
    ) -> bool:
        """Return whether the request has this method, a path like this pattern (`/jobs/*`), this status."""
        return (
            (method is None or self.method == method.upper())
            and (path is None or fnmatchcase(self.path, path))
            and (status is None or self.status == status)
        )

    def __str__(self) -> str:
        fault = "" if self.fault is None else f" ({self.fault})"
        started = "" if self.started is None else f" started {self.started}"
        return f"{self.time:.3f} {self.method} {self.path} -> {self.status or 'no answer'}{started}{fault}"


class RequestLog(UserList[RequestRecord]):
    """Requests in the order of their arrival: a list that can be searched. You get one from a simulator."""

    def where(
        self,
        *,
        method: str | None = None,
        path: str | None = None,
        status: int | None = None,
        token: str | None = None,
    ) -> "RequestLog":
        """Return the requests with this method, path pattern (such as `/jobs/*`), status and token."""
        label = None if token is None else token_label(token)
        return RequestLog(
            [
                record
                for record in self.data
                if record.matches(method=method, path=path, status=status)
                and (label is None or record.token == label)
            ]
        )

    def __str__(self) -> str:
        return "\n".join(str(record) for record in self.data)

    def __repr__(self) -> str:
        statuses = Counter(record.status for record in self.data)
        parts = [f"{count} x {status or 'no answer'}" for status, count in statuses.items()]
        return f"<RequestLog: {len(self)} requests{': ' if parts else ''}{', '.join(parts)}>"


def busiest_minute(records: Iterable[RequestRecord]) -> int:
    """Return the most requests of one token in any 60 seconds, rejected ones included."""
    windows: dict[str, deque[tuple[float, int]]] = defaultdict(deque)
    sums: dict[str, int] = defaultdict(int)
    busiest = 0
    for record in records:
        if record.token is None:
            continue
        window = windows[record.token]
        window.append((record.time, record.cost))
        sums[record.token] += record.cost
        while window[0][0] <= record.time - _WINDOW:
            sums[record.token] -= window.popleft()[1]
        busiest = max(busiest, sums[record.token])
    return busiest
