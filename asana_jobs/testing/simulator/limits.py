"""The limits that a token meets, and the counters of those who met them.

Source: developers.asana.com, "Rate limits"; numbers of 2026.
"""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, TypeAlias, get_args

from attrs import Attribute, define, field, frozen

from asana_jobs.testing.simulator.bodies import MESSAGES, ApiError
from asana_jobs.testing.simulator.jobs import SimulatedJob
from asana_jobs.testing.simulator.time import SimulatorTime, http_date


QuotaModel: TypeAlias = Literal["A", "B", "C"]
RetryAfter: TypeAlias = Literal["seconds", "date", "missing"]
_MINUTE = 60.0
_BUCKET_DEPTH = 15.0
_LARGEST_DEBT = 30.0
_MOST_JOB_WAIT = 30.0
_ROUNDING = 1e-9


def _positive(_: object, attribute: "Attribute[Any]", value: int | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{attribute.name} must be more than 0 or None, not {value!r}")


def _is_word(_: object, attribute: "Attribute[Any]", value: str) -> None:
    words = get_args(attribute.type)
    if value not in words:
        raise ValueError(f"{attribute.name} must be one of {', '.join(words)}, not {value!r}")


@frozen(kw_only=True)
class SimulatorLimits:
    """The limits of one token; None switches a limit off.

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
    model: QuotaModel = field(default="A", validator=_is_word)
    reads_in_flight: int | None = field(default=50, validator=_positive)
    writes_in_flight: int | None = field(default=15, validator=_positive)
    jobs_running: int | None = field(default=5, validator=_positive)
    retry_after: RetryAfter = field(default="seconds", validator=_is_word)

    @classmethod
    def free(cls) -> "SimulatorLimits":
        """Return the limits of a free domain."""
        return cls(requests_per_minute=150)

    @classmethod
    def paid(cls) -> "SimulatorLimits":
        """Return the limits of a paid domain."""
        return cls(requests_per_minute=1500)

    @classmethod
    def unlimited(cls) -> "SimulatorLimits":
        """Return limits that forbid nothing."""
        return cls(reads_in_flight=None, writes_in_flight=None, jobs_running=None)


@define
class SlidingLog:
    """Model A: what arrived within the last 60 seconds, rejected or not."""

    limit: int
    arrivals: deque[float] = field(factory=deque[float])

    def take(self, cost: int, now: float) -> float:
        """Record `cost` requests; 0.0 when they pass, else the seconds after which they would."""
        while self.arrivals and self.arrivals[0] <= now - _MINUTE:
            self.arrivals.popleft()
        before = len(self.arrivals)
        self.arrivals.extend([now] * cost)
        if before + cost <= self.limit:
            return 0.0
        # Room for them comes when enough of what is on record now is a minute old.
        leaving = min(len(self.arrivals) - self.limit + cost, len(self.arrivals))
        return self.arrivals[leaving - 1] + _MINUTE - now


@define
class Bucket:
    """Models B and C: tokens that flow in steadily, 15 seconds' worth at most."""

    limit: int
    charges_rejects: bool
    tokens: float = 0.0
    filled: float = -math.inf

    def take(self, cost: int, now: float) -> float:
        """Take `cost` tokens; 0.0 when they pass, else the seconds after which they would."""
        rate = self.limit / _MINUTE
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
    """Return the minute quota of one token, None when there is none."""
    if limits.requests_per_minute is None:
        return None
    if limits.model == "A":
        return SlidingLog(limits.requests_per_minute)
    return Bucket(limits.requests_per_minute, charges_rejects=limits.model == "C")


@define
class TokenUse:
    """The state of one token: its quota, and what it has in flight."""

    quota: SlidingLog | Bucket | None
    reads: int = 0
    writes: int = 0


@define
class RequestLimiter:
    """The limits of all tokens at work, and counters over all of them.

    Attributes:
        rejected: requests answered with a 429 because of a limit.
        peak_reads: most GET requests of one token in flight at one time.
        peak_writes: the same for writing requests.
    """

    limits: SimulatorLimits
    time: SimulatorTime
    rejected: int = 0
    peak_reads: int = 0
    peak_writes: int = 0
    tokens: dict[str, TokenUse] = field(factory=dict[str, TokenUse])

    def enter(self, token: str, *, reads: int, writes: int) -> TokenUse:
        """Let so many reads and writes of a token in, all of them or none (429)."""
        use = self.tokens.get(token)
        if use is None:
            use = self.tokens[token] = TokenUse(minute_quota(self.limits))
        wait = 0.0 if use.quota is None else use.quota.take(reads + writes, self.time.elapsed())
        if wait > 0:
            raise self._too_many(wait)
        if _over(use.reads + reads, self.limits.reads_in_flight) and reads:
            raise self._too_many(1.0)
        if _over(use.writes + writes, self.limits.writes_in_flight) and writes:
            raise self._too_many(1.0)
        use.reads += reads
        use.writes += writes
        self.peak_reads = max(self.peak_reads, use.reads)
        self.peak_writes = max(self.peak_writes, use.writes)
        return use

    @staticmethod
    def leave(use: TokenUse, *, reads: int, writes: int) -> None:
        """Note that so many reads and writes have been answered."""
        use.reads -= reads
        use.writes -= writes

    def admit_jobs(self, running: Sequence[SimulatedJob], count: int = 1) -> None:
        """Refuse so many further jobs with a 429 when that would be too many."""
        if not count or not _over(len(running) + count, self.limits.jobs_running):
            return
        now = self.time.elapsed()
        first_end = min((job.ended for job in running), default=now)
        raise self._too_many(min(max(first_end - now, 0.0), _MOST_JOB_WAIT))

    def _too_many(self, seconds: float) -> ApiError:
        self.rejected += 1
        return ApiError(429, MESSAGES[429], self._retry_after(seconds))

    def _retry_after(self, seconds: float) -> Mapping[str, str]:
        whole = max(1, math.ceil(seconds))
        if self.limits.retry_after == "missing":
            return {}
        if self.limits.retry_after == "date":
            # Dates have whole seconds: rounding down would invite the client back too early.
            return {
                "Retry-After": http_date(
                    self.time.calendar() + timedelta(seconds=whole, microseconds=999_999)
                )
            }
        return {"Retry-After": str(whole)}


def _over(count: int, limit: int | None) -> bool:
    return limit is not None and count > limit
