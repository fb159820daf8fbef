"""One token's budget, kept in this process: who may send a request, and when.

Every request of a client passes here. The gate holds the pace, the caps on requests in flight and the pause that all
callers share after a 429; cancelled callers give their place back.

Who is next: queues by rank and lane, first come first served inside a rank, nobody passed over for ever.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

import attrs

from asana_jobs._client.clock import Clock, Timer
from asana_jobs._client.limits.gate import READ, ROUTINE, GateSnapshot, Lease, Priority, Traffic
from asana_jobs._client.limits.quota import Cooldown, Debit, RateBudget
from asana_jobs.policies import RateLimits


PATIENCE = 9
"""Grants to higher ranks that a rank with somebody ready lets pass before it takes one."""

Lane = TypeVar("Lane", bound=Hashable)
Waiter = TypeVar("Waiter")


@attrs.frozen
class Ticket(Generic[Lane]):
    """A place in the queue."""

    rank: int
    lane: Lane
    number: int


class FairQueue(Generic[Lane, Waiter]):
    """Waiters of several ranks, the lowest rank first. All operations take the same time however many wait.

    Args:
        ranks: The ranks there are. ``lanes``: what may be blocked on its own; one that is does not hold up others.
    """

    def __init__(self, ranks: Iterable[int], lanes: Iterable[Lane]) -> None:
        self._ranks = tuple(sorted(ranks))
        self._lanes = tuple(lanes)
        # An ordered dict, because a cancelled waiter leaves from the middle and must not be found there later.
        self._queues: dict[tuple[int, Lane], OrderedDict[int, Waiter]] = {
            (rank, lane): OrderedDict() for rank in self._ranks for lane in self._lanes
        }
        self._passed = dict.fromkeys(self._ranks, 0)
        self._issued = 0
        self.size = 0  # how many wait; a plain number, since every request asks for it

    def waiting(self, rank: int) -> int:
        """Return how many wait in *rank*."""
        return sum(len(self._queues[rank, lane]) for lane in self._lanes)

    def join(self, rank: int, lane: Lane, waiter: Waiter) -> Ticket[Lane]:
        """Queue *waiter* up, and return its place."""
        self._issued += 1
        self.size += 1
        self._queues[rank, lane][self._issued] = waiter
        return Ticket(rank, lane, self._issued)

    def leave(self, ticket: Ticket[Lane]) -> None:
        """Give a place up; harmless when it was its turn before."""
        if self._queues[ticket.rank, ticket.lane].pop(ticket.number, None) is not None:
            self.size -= 1

    def places(self) -> list[tuple[int, Lane]]:
        """Return every rank and lane in which somebody waits."""
        return [place for place, queue in self._queues.items() if queue]

    def pop(self, may_go: Callable[[int, Lane], bool]) -> tuple[int, Lane, Waiter] | None:
        """Take out the waiter whose turn it is among those who *may_go*, or return ``None``."""
        ready: dict[int, Lane] = {}
        for rank in self._ranks:
            heads = [
                (next(iter(queue)), lane)
                for lane in self._lanes
                if (queue := self._queues[rank, lane]) and may_go(rank, lane)
            ]
            if heads:
                ready[rank] = min(heads, key=lambda head: head[0])[1]
        if not ready:
            return None
        chosen = next((rank for rank in ready if self._passed[rank] >= PATIENCE), min(ready))
        for rank in ready:
            if rank > chosen:
                self._passed[rank] += 1
        self._passed[chosen] = 0
        _, waiter = self._queues[chosen, ready[chosen]].popitem(last=False)
        self.size -= 1
        return chosen, ready[chosen], waiter


@attrs.define(eq=False)
class _Lane:
    """One of the two kinds of request, which Asana caps separately: how many may be in flight, and how many are."""

    room: int
    in_flight: int = 0


class LocalGate:
    """A budget that is kept in this process, for one event loop: the one it is first used in.

    ``limits``: what the token may do. ``clock``: where time comes from, such as a `SystemClock`.
    """

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        self._clock = clock
        self._allowance = RateBudget(limits)
        self._reads = _Lane(max(1, int(limits.reads_in_flight * limits.share)))
        self._writes = _Lane(max(1, int(limits.writes_in_flight * limits.share)))
        self._turns: FairQueue[_Lane, asyncio.Future[LocalLease]] = FairQueue(
            Priority, (self._reads, self._writes)
        )
        self._pause = Cooldown()
        self._probe: LocalLease | None = None
        self._strays = 0  # requests in flight from before the last 429
        self._rejected = 0
        self._timer: Timer | None = None
        self._due = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        state = "open" if self._pause.until is None else "reopening" if self._probe else "paused"
        return (
            f"<LocalGate {state}: {self._allowance.quota.estimate:g} requests/min"
            f"{'' if self._allowance.known else ' as found out'}, {self._reads.in_flight} reads and"
            f" {self._writes.in_flight} writes in flight, {self._turns.size} waiting, {self._rejected} 429s>"
        )

    def snapshot(self) -> GateSnapshot:
        """Return what the gate knows and does at this moment."""
        now = self._clock.monotonic()
        return GateSnapshot(
            quota=self._allowance.quota.estimate,
            quota_known=self._allowance.known,
            pace=self._allowance.per_minute,
            used=self._allowance.used(now),
            reads_in_flight=self._reads.in_flight,
            writes_in_flight=self._writes.in_flight,
            waiting={priority: self._turns.waiting(priority) for priority in Priority},
            paused_for=0.0 if self._pause.until is None else max(0.0, self._pause.until - now),
            reopening=self._probe is not None,
            rejected=self._rejected,
        )

    async def acquire(self, traffic: Traffic, priority: Priority) -> LocalLease:
        """Wait for the turn of one request; see `Gate.acquire`.

        Raises:
            RuntimeError: the budget was first used on another event loop.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None:
                raise RuntimeError("this budget belongs to another event loop: use one client per loop")
            self._loop = loop
        now = self._clock.monotonic()
        lane = self._reads if traffic is READ else self._writes
        if not self._turns.size and self._may_go(lane, priority, now):
            return self._grant(lane, priority, now)
        waiter: asyncio.Future[LocalLease] = loop.create_future()
        ticket = self._turns.join(priority, lane, waiter)
        self._settle(now)
        try:
            return waiter.result() if waiter.done() else await waiter
        except BaseException:
            self._withdraw(ticket, waiter)
            raise

    def penalise(self, retry_after: float | None) -> None:
        """Take note of a 429 to some request: pause for *retry_after* seconds, then wait for one answer."""
        # Whose it was is not known. While requests from before the last 429 are under way, it was one of theirs.
        late = self._pause.until is not None or self._strays > 0
        self._refuse(retry_after, late=late and self._probe is None)

    def refused(self, lease: LocalLease, retry_after: float | None) -> None:
        """Take note of a 429 to the request of *lease*; *retry_after* is in seconds, or ``None``."""
        late = self._pause.until is not None or lease.event < self._pause.event
        self._refuse(retry_after, late=late and lease is not self._probe)

    def returned(self, lease: LocalLease, *, answered: bool) -> None:
        """Take *lease* back, *answered* or not, and let the next caller go."""
        lease.lane.in_flight -= 1
        if lease.event < self._pause.event:
            self._strays -= 1
        if self._loop is None or not self._loop.is_running():
            return  # nobody is left to be woken
        now = self._clock.monotonic()
        if answered and not lease.refused:
            self._allowance.accept(lease.spent, now)
        if lease is self._probe:
            self._probe = None
            if answered:
                self._pause = self._pause.open()
                self._allowance.resume(now)
        if self._turns.size:
            self._settle(now)

    def _has_room(self, lane: _Lane) -> bool:
        return self._probe is None and lane.in_flight < lane.room

    def _may_go(self, lane: _Lane, priority: Priority, now: float) -> bool:
        # What `_has_room` and `_ready_at` say, in one place: every request comes by here.
        return (
            self._probe is None
            and lane.in_flight < lane.room
            and now >= self._allowance.ready_at
            and (priority is not ROUTINE or now >= self._allowance.looking_at)
            and (self._pause.until is None or now >= self._pause.until)
        )

    def _ready_at(self, priority: Priority) -> float:
        ready_at = self._allowance.ready_at
        if priority is ROUTINE:
            ready_at = max(ready_at, self._allowance.looking_at)
        return ready_at if self._pause.until is None else max(ready_at, self._pause.until)

    def _grant(self, lane: _Lane, priority: Priority, now: float, *, waited: bool = False) -> LocalLease:
        spent = self._allowance.spend(now, routine=priority is ROUTINE, waited=waited)
        lease = LocalLease(self, lane, spent, self._pause.event)
        lane.in_flight += 1
        if self._pause.until is not None:
            self._probe = lease
        return lease

    def _withdraw(self, ticket: Ticket[_Lane], waiter: asyncio.Future[LocalLease]) -> None:
        self._turns.leave(ticket)
        if waiter.done() and not waiter.cancelled():
            # Its turn came, but the caller was cancelled before it could take it: nothing was sent.
            lease = waiter.result()
            if self._loop is not None and self._loop.is_running():
                self._allowance.give_back(lease.spent, self._clock.monotonic())
            lease.release(answered=False)
        if not self._turns.size:
            self._rest()

    def _refuse(self, retry_after: float | None, *, late: bool) -> None:
        now = self._clock.monotonic()
        self._rejected += 1
        if late:
            self._pause = self._pause.extend(now, retry_after)
        else:
            # A refused probe says that the pause was too short, and nothing about the pace.
            if self._probe is None:
                self._allowance.refuse(now)
            self._probe = None
            self._pause = self._pause.shut(now, retry_after, self._clock.random())
            self._strays = self._reads.in_flight + self._writes.in_flight
        if self._pause.until is not None:
            self._allowance.drain(self._pause.until)
        if self._turns.size:
            self._settle(now)

    def _settle(self, now: float, *, waited: bool = False) -> None:
        """Let everybody go whose turn it is, and wake up when the next one's comes."""

        def may_go(rank: int, lane: _Lane) -> bool:
            return self._may_go(lane, Priority(rank), now)

        while turn := self._turns.pop(may_go):
            rank, lane, waiter = turn
            if not waiter.done():  # else it was cancelled, and is about to leave
                waiter.set_result(self._grant(lane, Priority(rank), now, waited=waited))
        places = [(Priority(rank), lane) for rank, lane in self._turns.places()]
        due = min((self._ready_at(rank) for rank, lane in places if self._has_room(lane)), default=None)
        if due is None:
            self._rest()  # what is awaited is the return of a lease
        elif self._timer is None or due < self._due:
            self._rest()
            self._due = due
            self._timer = self._clock.call_later(due - now, self._wake)

    def _wake(self) -> None:
        self._timer = None
        # Clocks round: what was due then is due now, even if it seems a hair too early.
        self._settle(max(self._clock.monotonic(), self._due), waited=True)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@attrs.define(eq=False)
class LocalLease(Lease):
    """The right to have one request in flight, given by a `LocalGate`. Its fields are the gate's bookkeeping.

    ``lane``: reads or writes. ``spent``: what it took from the budget. ``event``: the last 429 when it was given.
    ``refused``: whether it was answered 429.
    """

    _gate: LocalGate = attrs.field(repr=False)
    lane: _Lane = attrs.field(repr=False)
    spent: Debit = attrs.field(repr=False)
    event: int
    refused: bool = False
    _returned: bool = False

    def release(self, *, answered: bool = True) -> None:
        """Give it back; harmless when it was given back before. Not *answered*: it was cancelled without an answer."""
        if not self._returned:
            self._returned = True
            self._gate.returned(self, answered=answered)

    def penalise(self, retry_after: float | None) -> None:
        """Take note of a 429 to this very request; *retry_after* is in seconds, or ``None``."""
        self.refused = True
        self._gate.refused(self, retry_after)
