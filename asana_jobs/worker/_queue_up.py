"""Who in this process waits for the shared budget, in the order in which they are asked for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, TypeAlias

import attrs

from asana_jobs.gates import Lease, Priority, Traffic
from asana_jobs.worker._redis_place import RedisPlace
from asana_jobs.worker._settlement import Ask


#: Calls after which the order is turned round once, so that nobody is passed over for ever.
PATIENCE: Final = 10
#: Askers of one kind that are asked for at once.
MOST: Final = 100


@attrs.frozen
class Kind:
    """What a waiter waits for; those of one kind go first come, first served.

    Attributes:
        queue: It goes away and comes back when told, instead of waiting. ``returning``: it was told, and is back.
        running: The name of the job it will start. ``place``: it wants a place among the running jobs, and sends
            nothing yet.
    """

    priority: Priority
    traffic: Traffic
    queue: bool = False
    returning: bool = False
    running: str | None = None
    place: bool = False

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """Lower goes first."""
        return self.priority, self.queue, not self.returning

    @property
    def open_ended(self) -> bool:
        """Whether it may go at a static share while the budget cannot be asked: looks harm nobody."""
        return self.traffic is Traffic.READ and self.priority is not Priority.START

    def ask(self, count: int) -> Ask:
        """Write it for the budget."""
        return Ask(
            lane="job" if self.place else self.traffic.value,
            routine=self.priority is Priority.ROUTINE,
            count=min(count, MOST),
            queue=self.queue,
            returning=self.returning,
            running=self.running,
        )


@attrs.frozen
class ComeBack:
    """Not now: come back in so many seconds; negative when as many jobs are running as may."""

    seconds: float


Found: TypeAlias = Lease | RedisPlace | ComeBack


@attrs.define(eq=False)
class Waiter:
    """Somebody who waits: its future holds a lease, a place, or when to come back."""

    kind: Kind
    future: asyncio.Future[Found]
    since: float
    asked: bool = False


@attrs.define
class Line:
    """The waiters of one process."""

    _kinds: dict[Kind, OrderedDict[Waiter, None]] = attrs.field(factory=dict[Kind, OrderedDict[Waiter, None]])
    _calls: int = 0

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self._kinds.values())

    def waiting(self, priority: Priority) -> int:
        """Return how many wait with *priority*."""
        return sum(len(waiters) for kind, waiters in self._kinds.items() if kind.priority is priority)

    def join(self, waiter: Waiter) -> None:
        """Queue *waiter* up."""
        self._kinds.setdefault(waiter.kind, OrderedDict())[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Take *waiter* out; harmless when it is gone."""
        waiters = self._kinds.get(waiter.kind)
        if waiters is not None and waiter in waiters:
            del waiters[waiter]
            if not waiters:
                del self._kinds[waiter.kind]

    def next(self, kind: Kind) -> Waiter | None:
        """Take out the first of *kind* that still waits."""
        while waiters := self._kinds.get(kind):
            waiter = next(iter(waiters))
            self.leave(waiter)
            if not waiter.future.done():
                return waiter
        return None

    def everybody(self) -> list[Waiter]:
        """Return all of them."""
        return [waiter for waiters in self._kinds.values() for waiter in waiters]

    def kinds(self) -> list[tuple[Kind, int]]:
        """Return what is waited for, the most urgent first, and by how many."""
        self._calls += 1
        order = sorted(self._kinds, key=lambda kind: kind.rank, reverse=self._calls % PATIENCE == 0)
        return [(kind, len(self._kinds[kind])) for kind in order]
