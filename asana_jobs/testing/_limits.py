"""The limits a token meets. Source: developers.asana.com, "Rate limits"; numbers of 2026."""

import math
from collections import deque
from typing import Any, Literal, TypeAlias

from attrs import Attribute, define, field, frozen


QuotaModel: TypeAlias = Literal["A", "B", "C"]
RetryAfter: TypeAlias = Literal["seconds", "date", "missing"]
_WINDOW = 60.0
_BUCKET_DEPTH = 15.0
_LARGEST_DEBT = 30.0
_ROUNDING = 1e-9


def _positive(_: object, attribute: "Attribute[Any]", value: int | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{attribute.name} must be more than 0 or None, not {value!r}")


def _one_of_models(_: object, __: object, value: str) -> None:
    if value not in {"A", "B", "C"}:
        raise ValueError(f'model must be "A", "B" or "C", not {value!r}')


def _one_of_headers(_: object, __: object, value: str) -> None:
    if value not in {"seconds", "date", "missing"}:
        raise ValueError(f'retry_after must be "seconds", "date" or "missing", not {value!r}')


@frozen(kw_only=True)
class SimulatorLimits:
    """What one token may do; None switches a limit off.

    Asana documents the numbers, not how the minute is measured; three readings are on offer.

    Args:
        requests_per_minute: 150 on free domains, 1500 on paid ones; no quota by default.
        model: "A": at most that many in any 60 seconds, rejected requests count too. "B": a bucket
            that holds 15 seconds' worth, rejected requests are free. "C": the same bucket,
            rejected requests are charged, down to 30 seconds' worth of debt.
        reads_in_flight: GET requests being answered at one time.
        writes_in_flight: POST, PUT, PATCH and DELETE requests being answered at one time.
        jobs_running: jobs a user has running at one time.
        retry_after: how a 429 says when to come back: "seconds", "date" or "missing".
    """

    requests_per_minute: int | None = field(default=None, validator=_positive)
    model: QuotaModel = field(default="A", validator=_one_of_models)
    reads_in_flight: int | None = field(default=50, validator=_positive)
    writes_in_flight: int | None = field(default=15, validator=_positive)
    jobs_running: int | None = field(default=5, validator=_positive)
    retry_after: RetryAfter = field(default="seconds", validator=_one_of_headers)

    @classmethod
    def free(cls) -> "SimulatorLimits":
        """The limits of a free domain."""
        return cls(requests_per_minute=150)

    @classmethod
    def paid(cls) -> "SimulatorLimits":
        """The limits of a paid domain."""
        return cls(requests_per_minute=1500)

    @classmethod
    def unlimited(cls) -> "SimulatorLimits":
        """No limit at all."""
        return cls(reads_in_flight=None, writes_in_flight=None, jobs_running=None)


@define
class SlidingLog:
    """Model A: what arrived within the last 60 seconds, rejected or not."""

    limit: int
    arrivals: deque[float] = field(factory=deque[float])

    def take(self, cost: int, now: float) -> float:
        """Record `cost` requests; 0.0 when they pass, else the seconds after which they would."""
        while self.arrivals and self.arrivals[0] <= now - _WINDOW:
            self.arrivals.popleft()
        before = len(self.arrivals)
        self.arrivals.extend([now] * cost)
        if before + cost <= self.limit:
            return 0.0
        # Room for them comes when enough of what is on record now is a minute old.
        leaving = min(len(self.arrivals) - self.limit + cost, len(self.arrivals))
        return self.arrivals[leaving - 1] + _WINDOW - now


@define
class Bucket:
    """Models B and C: tokens that flow in steadily, 15 seconds' worth at most."""

    limit: int
    charges_rejects: bool
    tokens: float = 0.0
    filled: float = -math.inf

    def take(self, cost: int, now: float) -> float:
        """Take `cost` tokens; 0.0 when they pass, else the seconds after which they would."""
        rate = self.limit / _WINDOW
        depth = max(1.0, rate * _BUCKET_DEPTH)
        self.tokens = min(depth, self.tokens + (now - self.filled) * rate)
        self.filled = now
        if self.tokens >= cost - _ROUNDING:
            self.tokens -= cost
            return 0.0
        if self.charges_rejects:
            self.tokens = max(-rate * _LARGEST_DEBT, self.tokens - cost)
        return (cost - self.tokens) / rate


def minute_quota(limits: SimulatorLimits) -> "SlidingLog | Bucket | None":
    """The minute quota of one token, None when there is none."""
    if limits.requests_per_minute is None:
        return None
    if limits.model == "A":
        return SlidingLog(limits.requests_per_minute)
    return Bucket(limits.requests_per_minute, charges_rejects=limits.model == "C")
