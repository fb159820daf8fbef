"""A gate that hands over a lease which was acquired before, where waiting for it cost no place in a worker."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

import attrs

from asana_jobs.gates import Gate, GateSnapshot, Lease, Priority, Traffic
from asana_jobs.worker._redis_lease import RedisLease


_handed: ContextVar[list[Lease] | None] = ContextVar("asana_jobs_handed_lease", default=None)


@attrs.frozen
class HandedGate:
    """The gate of a worker's client: the lease at hand goes to the next request, others ask the shared budget."""

    gate: Gate

    @contextmanager
    def hand(self, lease: Lease) -> Generator[None, None, None]:
        """Have *lease* go to the next request of this task; unused, it is given back."""
        leases = [lease]
        before = _handed.set(leases)
        try:
            yield
        finally:
            _handed.reset(before)
            for unused in leases:
                if isinstance(unused, RedisLease):
                    unused.discard()
                else:
                    unused.release(answered=False)

    async def acquire(self, traffic: Traffic, priority: Priority) -> Lease:
        """Return the lease at hand, or wait for one."""
        leases = _handed.get()
        return leases.pop() if leases else await self.gate.acquire(traffic, priority)

    def penalise(self, retry_after: float | None) -> None:
        """Take note of a 429."""
        self.gate.penalise(retry_after)

    def snapshot(self) -> GateSnapshot:
        """Return the budget as it is at this moment."""
        return self.gate.snapshot()
