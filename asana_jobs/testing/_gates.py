"""The limits at work: who may pass, who gets a 429, and what was counted."""

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta

from attrs import define, field

from asana_jobs.testing._answers import RATE_LIMIT_MESSAGE, ApiError
from asana_jobs.testing._jobs import SimulatedJob
from asana_jobs.testing._limits import Bucket, SimulatorLimits, SlidingLog, minute_quota
from asana_jobs.testing._time import SimulatorTime, http_date


_LONGEST_JOB_WAIT = 30.0


@define
class TokenGate:
    """What one token has going on."""

    quota: SlidingLog | Bucket | None
    reads: int = 0
    writes: int = 0


@define
class Gates:
    """The gates of all tokens, and counters over all of them.

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
    tokens: dict[str, TokenGate] = field(factory=dict[str, TokenGate])

    def enter(self, token: str, *, reads: int, writes: int) -> TokenGate:
        """Let so many reads and writes of a token in, all of them or none (429)."""
        gate = self.tokens.get(token)
        if gate is None:
            gate = self.tokens[token] = TokenGate(minute_quota(self.limits))
        wait = 0.0 if gate.quota is None else gate.quota.take(reads + writes, self.time.elapsed())
        if wait > 0:
            raise self._too_many(wait)
        if _over(gate.reads + reads, self.limits.reads_in_flight) and reads:
            raise self._too_many(1.0)
        if _over(gate.writes + writes, self.limits.writes_in_flight) and writes:
            raise self._too_many(1.0)
        gate.reads += reads
        gate.writes += writes
        self.peak_reads = max(self.peak_reads, gate.reads)
        self.peak_writes = max(self.peak_writes, gate.writes)
        return gate

    @staticmethod
    def leave(gate: TokenGate, *, reads: int, writes: int) -> None:
        """So many reads and writes have been answered."""
        gate.reads -= reads
        gate.writes -= writes

    def admit_jobs(self, running: Sequence[SimulatedJob], count: int = 1) -> None:
        """Refuse so many further jobs with a 429 when that would be too many."""
        if not count or not _over(len(running) + count, self.limits.jobs_running):
            return
        now = self.time.elapsed()
        first_end = min((job.ended for job in running), default=now)
        raise self._too_many(min(max(first_end - now, 0.0), _LONGEST_JOB_WAIT))

    def _too_many(self, seconds: float) -> ApiError:
        self.rejected += 1
        return ApiError(429, RATE_LIMIT_MESSAGE, self._retry_after(seconds))

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
