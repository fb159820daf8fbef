"""The rights that a budget in Redis gives, and those in this process who wait for them.

A `RedisLease` is for one request in flight, a `FleetPermit` for one unfinished job.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

import attrs

from asana_jobs.gates import Lease, Priority, Traffic
from asana_jobs.worker._budget_protocol import AskGroup, ReturnedLease


#: After so many calls the order is turned round once, so that nobody is passed over for ever.
REVERSE_EVERY: Final = 10
#: Waiters of one kind for whom the budget is asked at once.
MOST_ASKED_FOR: Final = 100


@attrs.define(eq=False)
class RedisLease(Lease):
    """The right to have one request in flight. Give it back with `release`, or by leaving ``with``.

    Attributes:
        id: Its name in Redis.
        lane: ``read`` or ``write``.
        routine: Whether it is for a routine look.
        event: The number of the last 429 when it was granted.
        at: When it was granted, in seconds of the budget's clock.
        taken: When the next request might go right after that.
        look_taken: When the next routine look might.
        waited: Whether it had to be waited for.
    """

    id: str
    lane: str
    routine: bool
    event: int
    at: float
    taken: float
    look_taken: float
    waited: bool
    _returned: Callable[[RedisLease, ReturnedLease], None] = attrs.field(repr=False)
    _refused_by: Callable[[RedisLease, float | None], None] = attrs.field(repr=False)
    _over: bool = attrs.field(default=False, init=False)
    _refused: bool = attrs.field(default=False, init=False)

    def release(self, *, answered: bool = True) -> None:
        """Give it back; harmless when it was given back before. Say so if it was cancelled without an answer."""
        self._give_back(answered=answered and not self._refused, unsent=False)

    def discard(self) -> None:
        """Give it back unused: nothing was sent."""
        self._give_back(answered=False, unsent=True)

    def penalise(self, retry_after: float | None) -> None:
        """Take note of a 429 to this very request."""
        self._refused = True
        self._refused_by(self, retry_after)

    def _give_back(self, *, answered: bool, unsent: bool) -> None:
        if not self._over:
            self._over = True
            self._returned(
                self,
                ReturnedLease(
                    id=self.id,
                    lane=self.lane,
                    routine=self.routine,
                    answered=answered,
                    unsent=unsent,
                    waited=self.waited,
                    at=self.at,
                    taken=self.taken,
                    look_taken=self.look_taken,
                ),
            )


class PermitKeeper(Protocol):
    """The one who renews places for as long as they are held: a `BudgetClient`."""

    def renamed(self, place: FleetPermit, before: str) -> None:
        """Take note of a place's new name."""
        ...

    def released(self, place: FleetPermit, *, at_once: bool) -> None:
        """Take note that a place is held no longer: it is free *at once*, or when its lease is over."""
        ...


@attrs.define(eq=False)
class FleetPermit:
    """A place among the running jobs of a token. Its job's name is its own, so that a job counts once."""

    id: str
    _keeper: PermitKeeper = attrs.field(repr=False)

    @property
    def lane(self) -> str:
        """The lane it counts in."""
        return "job"

    def started(self, gid: str) -> None:
        """Take note that it is the place of this job from now on, whoever watches it later."""
        before, self.id = self.id, name_of(gid)
        self._keeper.renamed(self, before)

    def release(self) -> None:
        """Give it back: its job has finished, or was never started. Harmless when it is gone."""
        self._keeper.released(self, at_once=True)

    def leave(self) -> None:
        """Have it end by itself after a while: its job may run on, and is watched by nobody here any more."""
        self._keeper.released(self, at_once=False)


def name_of(gid: str) -> str:
    """Return the name of a job's place. The names of a queue's waits and of leases are other ones."""
    return f"job {gid}"


@attrs.frozen(cache_hash=True)
class WaiterKind:
    """The right that a waiter wants; waiters of one kind go first come, first served.

    Attributes:
        priority: How urgent it is.
        traffic: Whether it reads or writes.
        queue: It goes away and comes back when told, instead of waiting.
        returning: It was told, and is back.
        running: The name of the job it will start.
        place: It wants a place among the running jobs, and sends nothing yet.
        first: It is for a first look, and waits in the place of a worker.
    """

    priority: Priority
    traffic: Traffic
    queue: bool = False
    returning: bool = False
    running: str | None = None
    place: bool = False
    first: bool = False

    @property
    def rank(self) -> tuple[int, bool, bool]:
        """Lower goes first."""
        return self.priority, self.queue, not self.returning

    @property
    def open_ended(self) -> bool:
        """Whether it may go at a static share while the budget cannot be asked: looks harm nobody."""
        return self.traffic is Traffic.READ and self.priority is not Priority.START

    def ask(self, count: int) -> AskGroup:
        """Write it for the budget."""
        return AskGroup(
            lane="job" if self.place else self.traffic.value,
            routine=self.priority is Priority.ROUTINE,
            count=min(count, MOST_ASKED_FOR),
            queue=self.queue,
            returning=self.returning,
            running=self.running,
        )


@attrs.frozen
class ComeBack:
    """Not now: come back later.

    Attributes:
        seconds: In so many seconds; negative when as many jobs are running as may.
        returning: Whether a turn is kept for who comes back then, and says that it is returning.
    """

    seconds: float
    returning: bool = True


Found: TypeAlias = Lease | FleetPermit | ComeBack


@attrs.define(eq=False)
class Waiter:
    """One task that waits.

    Attributes:
        kind: The right it wants.
        future: Holds a lease, a place, or when to come back.
        since: When it began to wait, on the clock of its process.
        asked: Whether the budget was asked for it before.
    """

    kind: WaiterKind
    future: asyncio.Future[Found]
    since: float
    asked: bool = False


@attrs.define
class Waiters:
    """The waiters of one process.

    Attributes:
        kinds: Those of each kind that somebody waits for.
    """

    kinds: dict[WaiterKind, OrderedDict[Waiter, None]] = attrs.field(
        factory=dict[WaiterKind, OrderedDict[Waiter, None]]
    )
    _calls: int = 0

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self.kinds.values())

    def waiting(self, priority: Priority) -> int:
        """Return how many wait with *priority*."""
        return sum(len(waiters) for kind, waiters in self.kinds.items() if kind.priority is priority)

    def join(self, waiter: Waiter) -> None:
        """Queue *waiter* up."""
        self.kinds.setdefault(waiter.kind, OrderedDict())[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Take *waiter* out; harmless when it is gone."""
        waiters = self.kinds.get(waiter.kind)
        if waiters is not None and waiter in waiters:
            del waiters[waiter]
            if not waiters:
                del self.kinds[waiter.kind]

    def next(self, kind: WaiterKind) -> Waiter | None:
        """Take out the first of *kind* that still waits."""
        while waiters := self.kinds.get(kind):
            waiter = next(iter(waiters))
            self.leave(waiter)
            if not waiter.future.done():
                return waiter
        return None

    def everybody(self) -> list[Waiter]:
        """Return all of them."""
        return [waiter for waiters in self.kinds.values() for waiter in waiters]

    def in_order(self) -> list[tuple[WaiterKind, int]]:
        """Return what is waited for, the most urgent first, and by how many."""
        self._calls += 1
        order = sorted(self.kinds, key=lambda kind: kind.rank, reverse=self._calls % REVERSE_EVERY == 0)
        return [(kind, len(self.kinds[kind])) for kind in order]
