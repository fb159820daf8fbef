"""The gate that every request of a token passes: the protocol `Gate`, and `LocalGate`, which is kept in this process.

The gate holds the pace, the caps on requests in flight and the cooldown that all callers share after a 429. Callers
queue by priority; cancelled callers give their place back.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from enum import IntEnum, StrEnum
from math import inf
from types import TracebackType
from typing import Final, Generic, Protocol, Self, TypeVar, runtime_checkable

import attrs

from asana_jobs._client.clock import Clock, Timer
from asana_jobs._client.limits.quota import Cooldown, Debit, RateBudget
from asana_jobs.policies import RateLimits


#: Exceptions that end a request without an answer, as far as a lease can tell.
UNANSWERED: Final = (asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, SystemExit)

#: Grants to higher ranks that a rank in which somebody waits lets pass before it takes one.
MAX_PASSED_OVER: Final = 9


class Traffic(StrEnum):
    """The two kinds of request that Asana caps separately."""

    READ = "read"
    WRITE = "write"


class Priority(IntEnum):
    """The rank of a request when there is not room for all. Lower goes first."""

    START = 0
    FOREGROUND = 1
    ROUTINE = 2


# Members that every request asks for: Python 3.11 looks one up in its class by a call.
READ: Final = Traffic.READ
WRITE: Final = Traffic.WRITE
FOREGROUND: Final = Priority.FOREGROUND
ROUTINE: Final = Priority.ROUTINE


class Lease(Protocol):
    """The right to have one request in flight. Give it back with `release`, or by leaving ``with``."""

    __slots__ = ()

    def release(self, *, answered: bool = True) -> None:
        """Give it back; harmless when that was done before.

        Args:
            answered: Whether an answer came. ``False`` if the request was cancelled without one.
        """
        ...

    def penalise(self, retry_after: float | None) -> None:
        """Take note that this request was answered 429: nobody sends for a while. It is still to be released.

        Args:
            retry_after: Seconds that Asana asks to wait; ``None`` for a backoff of our own.
        """
        ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None:
        self.release(answered=not isinstance(error, UNANSWERED))


@runtime_checkable
class LastWord(Protocol):
    """A lease that has the last word on a request that may not be sent twice."""

    def before_write(self) -> None:
        """Raise if the request must not leave. Its connection stands, and nothing was sent."""
        ...


@attrs.frozen
class GateSnapshot:
    """A gate at one moment, for people to look at.

    Attributes:
        quota: Requests a minute that are allowed as far as is known.
        quota_known: Whether the quota was configured.
        pace: Requests a minute at which the gate lets callers through, a little less than the quota.
        used: Share of the quota that was used in the last 60 seconds.
        reads_in_flight: GET requests at this moment.
        writes_in_flight: Other requests at this moment.
        waiting: Callers waiting, by priority.
        paused_for: Seconds until a request may go again after a 429; 0 when the gate is not paused.
        reopening: Whether the pause is over and the answer of the one probe is awaited.
        rejected: 429s so far.
        expected: Requests a minute of the whole token, to be told to a later client of it as
            ``RateLimits(expected=...)``; ``None`` as long as nothing was found out, or was configured.
    """

    quota: float
    quota_known: bool
    pace: float
    used: float
    reads_in_flight: int
    writes_in_flight: int
    waiting: dict[Priority, int]
    paused_for: float
    reopening: bool
    rejected: int
    expected: float | None = None


class Gate(Protocol):
    """The budget of a token, wherever it is kept, as a client uses it."""

    async def acquire(self, traffic: Traffic, priority: Priority) -> Lease:
        """Wait for the turn of one request. Cancelling gives the place back.

        Args:
            traffic: The kind of request.
            priority: Who goes first when there is not room for all.
        """
        ...

    def snapshot(self) -> GateSnapshot:
        """Return the budget as it is at this moment."""
        ...


class LocalGate:
    """A budget that is kept in this process, for one event loop: the one it is first used in.

    Args:
        limits: What the token may do.
        clock: Where time comes from, such as a `SystemClock`.
    """

    def __init__(self, limits: RateLimits, clock: Clock) -> None:
        self._clock = clock
        self._budget = RateBudget(limits)
        self._reads = _Lane(max(1, int(limits.reads_in_flight * limits.share)))
        self._writes = _Lane(max(1, int(limits.writes_in_flight * limits.share)))
        self._queue: FairQueue[_Lane, asyncio.Future[LocalLease]] = FairQueue(
            Priority, (self._reads, self._writes)
        )
        self._cooldown = Cooldown()
        self._probe: LocalLease | None = None
        self._rejected = 0
        self._timer: Timer | None = None
        self._timer_due = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        state = "open" if self._cooldown.until is None else "reopening" if self._probe else "paused"
        return (
            f"<LocalGate {state}: {self._budget.quota.estimate:g} requests/min"
            f"{'' if self._budget.known else ' as found out'}, {self._reads.in_flight} reads and"
            f" {self._writes.in_flight} writes in flight, {self._queue.size} waiting, {self._rejected} 429s>"
        )

    def snapshot(self) -> GateSnapshot:
        """Return what the gate knows and does at this moment."""
        now = self._clock.monotonic()
        return GateSnapshot(
            quota=self._budget.quota.estimate,
            quota_known=self._budget.known,
            pace=self._budget.per_minute,
            used=self._budget.used(now),
            reads_in_flight=self._reads.in_flight,
            writes_in_flight=self._writes.in_flight,
            waiting={priority: self._queue.waiting(priority) for priority in Priority},
            paused_for=0.0 if self._cooldown.until is None else max(0.0, self._cooldown.until - now),
            reopening=self._probe is not None,
            rejected=self._rejected,
            expected=self._budget.expected,
        )

    async def acquire(self, traffic: Traffic, priority: Priority) -> LocalLease:
        """Wait for the turn of one request; see `Gate.acquire`.

        Args:
            traffic: The kind of request.
            priority: Who goes first when there is not room for all.

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
        if not self._queue.size and now >= self._ready_at(priority, lane):
            return self._grant(priority, lane, now)
        waiter: asyncio.Future[LocalLease] = loop.create_future()
        ticket = self._queue.join(priority, lane, waiter)
        self._serve(now)
        try:
            return waiter.result() if waiter.done() else await waiter
        except BaseException:
            self._withdraw(ticket, waiter)
            raise

    def refused(self, lease: LocalLease, retry_after: float | None) -> None:
        """Take note that the request of *lease* was answered 429, and pause; see `Lease.penalise`."""
        now = self._clock.monotonic()
        self._rejected += 1
        late = self._cooldown.until is not None or lease.event < self._cooldown.event
        if late and lease is not self._probe:
            self._cooldown = self._cooldown.extend(now, retry_after)
        else:
            # A refused probe says that the pause was too short, and nothing about the pace.
            if self._probe is None:
                self._budget.refuse(now)
            self._probe = None
            self._cooldown = self._cooldown.shut(now, retry_after, self._clock.random())
        if self._cooldown.until is not None:
            self._budget.drain(self._cooldown.until)
        if self._queue.size:
            self._serve(now)

    def returned(self, lease: LocalLease, *, answered: bool) -> None:
        """Take a lease back, and let the next caller go; see `Lease.release`."""
        lease.lane.in_flight -= 1
        if self._loop is None or not self._loop.is_running():
            return  # nobody is left to be woken
        now = self._clock.monotonic()
        if answered and not lease.refused:
            self._budget.accept(lease.spent, now)
        if lease is self._probe:
            self._probe = None
            if answered:
                self._cooldown = self._cooldown.open()
                self._budget.resume(now)
        if self._queue.size:
            self._serve(now)

    def _ready_at(self, rank: int, lane: _Lane) -> float:
        """Return when a request may go; infinity while it is the return of a lease that is awaited."""
        if self._probe is not None or lane.in_flight >= lane.room:
            return inf
        budget, until = self._budget, self._cooldown.until
        if until is not None:  # the probe, which needs nothing but its own turn
            return max(budget.ready_at, until)
        if rank != ROUTINE:
            return budget.ready_at
        return budget.ready_for_look(overdue=self._queue.is_overdue(ROUTINE))

    def _grant(self, rank: int, lane: _Lane, now: float, *, waited: bool = False) -> LocalLease:
        spent = self._budget.spend(now, routine=rank == ROUTINE, waited=waited)
        lease = LocalLease(self, lane, spent, self._cooldown.event)
        lane.in_flight += 1
        if self._cooldown.until is not None:
            self._probe = lease
        return lease

    def _withdraw(self, ticket: tuple[int, _Lane, int], waiter: asyncio.Future[LocalLease]) -> None:
        self._queue.leave(ticket)
        if waiter.done() and not waiter.cancelled():
            # Its turn came, but the caller was cancelled before it could take it: nothing was sent.
            lease = waiter.result()
            if self._loop is not None and self._loop.is_running():
                self._budget.give_back(lease.spent, self._clock.monotonic())
            lease.release(answered=False)
        if not self._queue.size:
            self._cancel_timer()

    def _serve(self, now: float, *, waited: bool = False) -> None:
        """Let everybody go whose turn it is, and set a timer for the next one's."""

        def may_go(rank: int, lane: _Lane) -> bool:
            return now >= self._ready_at(rank, lane)

        while turn := self._queue.pop(may_go):
            rank, lane, waiter = turn
            if not waiter.done():  # else it was cancelled, and is about to leave
                waiter.set_result(self._grant(rank, lane, now, waited=waited))
        due = min((self._ready_at(rank, lane) for rank, lane in self._queue.places()), default=inf)
        if due == inf:
            self._cancel_timer()  # the return of a lease is awaited
        elif self._timer is None or due < self._timer_due:
            self._cancel_timer()
            self._timer_due = due
            self._timer = self._clock.call_later(due - now, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        # Clocks round: what was due then is due now, even if it seems a hair too early.
        self._serve(max(self._clock.monotonic(), self._timer_due), waited=True)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


@attrs.define(eq=False)
class LocalLease(Lease):
    """The right to have one request in flight. Its attributes are the gate's bookkeeping.

    You get one from a `LocalGate`.

    Attributes:
        lane: Reads or writes.
        spent: What it took from the budget.
        event: How many times the gate had been shut when it was given.
        refused: Whether it was answered 429.
    """

    _gate: LocalGate = attrs.field(repr=False)
    lane: _Lane = attrs.field(repr=False)
    spent: Debit = attrs.field(repr=False)
    event: int
    refused: bool = False
    _returned: bool = False

    def release(self, *, answered: bool = True) -> None:
        """Give it back; harmless when that was done before.

        Args:
            answered: Whether an answer came. ``False`` if the request was cancelled without one.
        """
        if not self._returned:
            self._returned = True
            self._gate.returned(self, answered=answered)

    def penalise(self, retry_after: float | None) -> None:
        """Take note that this request was answered 429.

        Args:
            retry_after: Seconds that Asana asks to wait; ``None`` for a backoff of our own.
        """
        self.refused = True
        self._gate.refused(self, retry_after)


@attrs.define(eq=False)
class _Lane:
    """One of the two kinds of request, which Asana caps separately.

    Attributes:
        room: How many may be in flight.
        in_flight: How many are.
    """

    room: int
    in_flight: int = 0


Lane = TypeVar("Lane", bound=Hashable)
Waiter = TypeVar("Waiter")


class FairQueue(Generic[Lane, Waiter]):
    """Waiters of several ranks: the lowest rank first, and nobody passed over for ever.

    All operations take the same time however many wait.

    Args:
        ranks: The ranks there are.
        lanes: What may be blocked on its own; a lane that is blocked does not hold up the others.
    """

    def __init__(self, ranks: Iterable[int], lanes: Iterable[Lane]) -> None:
        self._ranks = tuple(sorted(ranks))
        self._lanes = tuple(lanes)
        # An ordered dict, because a cancelled waiter leaves from the middle and must not be found there later.
        self._queues: dict[tuple[int, Lane], OrderedDict[int, Waiter]] = {
            (rank, lane): OrderedDict() for rank in self._ranks for lane in self._lanes
        }
        self._passed_over = dict.fromkeys(self._ranks, 0)
        self._issued = 0
        self.size = 0

    def waiting(self, rank: int) -> int:
        """Return how many wait in *rank*."""
        return sum(len(self._queues[rank, lane]) for lane in self._lanes)

    def is_overdue(self, rank: int) -> bool:
        """Return whether somebody waits in *rank*, and the next turn at which it may go is its own, whoever else waits."""
        return self._passed_over[rank] >= MAX_PASSED_OVER and self.waiting(rank) > 0

    def join(self, rank: int, lane: Lane, waiter: Waiter) -> tuple[int, Lane, int]:
        """Queue *waiter* up, and return its place, with which it may `leave`."""
        self._issued += 1
        self.size += 1
        self._queues[rank, lane][self._issued] = waiter
        return rank, lane, self._issued

    def leave(self, ticket: tuple[int, Lane, int]) -> None:
        """Give a place up; harmless when it was its turn before."""
        rank, lane, number = ticket
        if self._queues[rank, lane].pop(number, None) is not None:
            self.size -= 1

    def places(self) -> list[tuple[int, Lane]]:
        """Return every rank and lane in which somebody waits."""
        return [place for place, queue in self._queues.items() if queue]

    def pop(self, may_go: Callable[[int, Lane], bool]) -> tuple[int, Lane, Waiter] | None:
        """Take out the waiter whose turn it is among those who *may_go*, or return ``None``."""
        ready: dict[int, Lane] = {}
        waiting: list[int] = []
        for rank in self._ranks:
            places = [(queue, lane) for lane in self._lanes if (queue := self._queues[rank, lane])]
            heads = [(next(iter(queue)), lane) for queue, lane in places if may_go(rank, lane)]
            if places:
                waiting.append(rank)
            if heads:
                ready[rank] = min(heads, key=lambda head: head[0])[1]
        if not ready:
            return None
        chosen = next((rank for rank in ready if self.is_overdue(rank)), min(ready))
        for rank in waiting:  # those too who may not go for now, as others always use what they would need
            if rank > chosen:
                self._passed_over[rank] += 1
        self._passed_over[chosen] = 0
        _, waiter = self._queues[chosen, ready[chosen]].popitem(last=False)
        self.size -= 1
        return chosen, ready[chosen], waiter
