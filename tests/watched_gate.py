"""A budget that is looked at while others use it."""

import attrs

from asana_jobs import RateLimits
from asana_jobs._client.limits.gate import Lease, LocalGate, Priority, Traffic
from asana_jobs.testing import FakeClock


class WatchedGate(LocalGate):
    """A budget that notes what it was asked for, and how it was given back."""

    def __init__(self, clock: FakeClock, limits: RateLimits | None = None) -> None:
        super().__init__(limits or RateLimits.paid(), clock)
        self.asked: list[tuple[Traffic, Priority]] = []
        self.given_back: list[bool] = []

    async def acquire(self, traffic: Traffic, priority: Priority) -> Lease:  # type: ignore[override]  # a lease around it
        """Note who asks."""
        self.asked.append((traffic, priority))
        return WatchedLease(await super().acquire(traffic, priority), self.given_back)


@attrs.define
class WatchedLease(Lease):
    """A lease that notes the first time it is given back."""

    inner: Lease
    given_back: list[bool]
    _open: bool = True

    def release(self, *, answered: bool = True) -> None:
        """Note whether it was answered."""
        if self._open:
            self._open = False
            self.given_back.append(answered)
        self.inner.release(answered=answered)

    def penalise(self, retry_after: float | None) -> None:
        """Pass a 429 on."""
        self.inner.penalise(retry_after)
