"""`RedisGate`: one token's budget, shared by any number of processes and machines.

`PreacquiredGate` hands over a lease which was acquired before, where waiting for it cost no place in a worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Final, Never, Self
from uuid import uuid4

import attrs

from asana_jobs.gates import (
    Clock,
    Gate,
    GateSnapshot,
    JobPlace,
    Lease,
    LocalGate,
    Priority,
    SystemClock,
    Traffic,
    quota_numbers,
)
from asana_jobs.policies import Duration, RateLimits, seconds
from asana_jobs.tokens import find_token
from asana_jobs.worker._budget_client import AwayFromRedis, BudgetClient
from asana_jobs.worker._budget_protocol import budget_name, keys_of, limits_for
from asana_jobs.worker._leases import ComeBack, FleetPermit, Found, RedisLease, Waiter, WaiterKind, name_of
from asana_jobs.worker._redis import Store


#: Share of the limits at which looks go on while Redis is away, if nothing else was said.
AWAY_SHARE: Final = 0.25


class RedisGate:
    """One token's budget in Redis or Valkey: pace, requests in flight, running jobs, and the pause after a 429.

    ::

        async with RedisGate("redis://localhost/0") as gate, AsanaClient(gate=gate) as asana:
            ...

    Every process that uses the same token hands the same Redis to its clients, and together they stay within
    the limits. Nothing is decided on a process' own clock. What a killed process held is free again after 15
    seconds. While Redis is away, looks at jobs go on at ``away_share``, and whatever starts or changes
    something waits for ``patience`` seconds and then raises `BudgetUnavailableError`, unsent.

    Jobs that ``run``, ``run_all`` and a `JobQueue` start are counted: all processes together have no more of them
    running than ``RateLimits.jobs_running``. Those of a process that was killed, or has stopped watching, count
    for another minute, or for as long as another one watches them.

    Args:
        url: Such as ``redis://:password@host:6379/0``, ``rediss://`` for TLS, ``redis+cluster://`` for a cluster.
        token: The token that the budget belongs to; only a fingerprint of it gets to Redis. ``None`` reads the
            environment as `AsanaClient` does.
        budget: A name instead of the token, for tokens that are renewed.
        limits: What the token may do, all processes together. They should be told the same.
        away_share: Share of the limits at which this process looks while Redis is away: one by the number of
            processes.
        patience: How long everything else waits for Redis, in seconds or as a `timedelta`.

    Raises:
        TokenError: there is neither a token nor the name of a budget.
        ValueError: an argument is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        budget: str | None = None,
        limits: RateLimits | None = None,
        away_share: float = AWAY_SHARE,
        patience: Duration = 30.0,
    ) -> None:
        limits = limits or RateLimits()
        if token is None and budget is None:
            token = find_token()[0]
        self.name: str = budget_name(token, budget)
        clock: Clock = SystemClock()
        self._store = Store(url)
        self._share = limits.share
        self._static = LocalGate(attrs.evolve(limits, share=limits.share * away_share), clock)
        self._patience = seconds(patience, "patience")
        self._letting_go = False
        self._idle: GateSnapshot | None = None  # of the static share, until that was used
        self._was_away = False
        self._floor = quota_numbers(limits)["floor"]
        self._budget_client = BudgetClient(
            store=self._store,
            keys=keys_of(self.name),
            limits=limits_for(limits),
            process=uuid4().hex[:12],
            clock=clock,
            patience=self._patience,
        )

    def __repr__(self) -> str:
        return f"<RedisGate {self.name} at {self._store.address}, {len(self._budget_client.waiters)} waiting>"

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not

        @property
        def __enter__(self) -> Never:
            raise AttributeError(
                "a gate is opened with `async with RedisGate(url, token=...) as gate`, inside of `async def`"
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give everything back to the budget, and let go of the connection."""
        await self._budget_client.close()
        await self._store.close()

    async def acquire(self, traffic: Traffic, priority: Priority) -> Lease:
        """Wait for the turn of one request, by its *traffic* and its *priority*. Cancelling gives the place back.

        Raises:
            BudgetUnavailableError: Redis could not be asked in time, and this is not a mere look.
        """
        found = await self._ask(WaiterKind(priority, traffic))
        assert not isinstance(found, ComeBack | FleetPermit)  # noqa: S101  # nobody has asked for these
        return found

    async def acquire_look(
        self, *, returning: bool = False, first: bool = False, urgent: bool = False
    ) -> Lease | ComeBack:
        """Return the right to look at a job now, or when to come back.

        For queue workers, where waiting would take up a place: who comes back says that it is *returning*.

        Args:
            returning: It was told to come back now.
            first: Nobody has looked at the job yet. These wait here: to be told when to come back would cost another
                step each, and while there are many, their looks are the ones to be sent.
            urgent: The job keeps the next one from starting: this look does not queue up behind the others.
        """
        priority = Priority.FOREGROUND if urgent else Priority.ROUTINE
        if first and not urgent:
            if self._letting_go:
                return ComeBack(0.0)
            kind = WaiterKind(priority, Traffic.READ, first=True)
        else:
            kind = WaiterKind(priority, Traffic.READ, queue=True, returning=returning)
        found = await self._ask(kind)
        assert not isinstance(found, FleetPermit)  # noqa: S101  # nobody has asked for it
        return found

    async def reserve_look(self, delay: float) -> ComeBack:
        """Return when to come back for a look that is due in *delay* seconds, later if others queue by then.

        For queue workers: it saves the step in which that would be told.

        Args:
            delay: Seconds from now.
        """
        return await self._budget_client.reserve(delay)

    def make_way(self, first_looks: int) -> None:
        """Have looks that return make way for those at waits that nobody has looked at yet.

        Args:
            first_looks: How many there are, about.
        """
        self._budget_client.first_looks = first_looks

    def let_go(self) -> None:
        """Have those who wait here for a first look come back elsewhere: this worker ends."""
        self._letting_go = True
        for waiter in self._budget_client.waiters.everybody():
            if waiter.kind.first:
                self._budget_client.waiters.leave(waiter)
                if not waiter.future.done():
                    waiter.future.set_result(ComeBack(0.0))

    async def acquire_start(self, name: str) -> Lease | None:
        """Wait for the turn of the request that starts the job *name*, and take its place among running jobs.

        Returns:
            ``None`` if as many jobs are running as may. The place is kept for a minute, in which it is to be
            written down for good.
        """
        found = await self._ask(WaiterKind(Priority.START, Traffic.WRITE, running=name))
        assert not isinstance(found, FleetPermit)  # noqa: S101  # nobody has asked for it alone
        return None if isinstance(found, ComeBack) else found

    async def acquire_place(self) -> JobPlace:
        """Wait until one more job may run, all processes together. Cancelling gives the place back.

        Raises:
            BudgetUnavailableError: Redis could not be asked in time.
        """
        found = await self._ask(WaiterKind(Priority.START, Traffic.WRITE, place=True))
        assert isinstance(found, FleetPermit)  # noqa: S101  # nobody has asked for anything else
        return found

    def hold_place(self, gid: str) -> JobPlace:
        """Count a job that runs already, room or not; counted before under this gid, it counts once."""
        place = FleetPermit(name_of(gid), self._budget_client)
        self._budget_client.hold(place)
        return place

    def snapshot(self) -> GateSnapshot:
        """Return the budget as it was when Redis was last asked, and who waits here at this moment."""
        reply = self._budget_client.reply
        if self._was_away or self._idle is None:
            self._idle = self._static.snapshot()
        static = self._idle
        waiting = {priority: self._budget_client.waiters.waiting(priority) for priority in Priority}
        if reply is None or self._budget_client.away:
            return attrs.evolve(static, waiting={p: n + static.waiting[p] for p, n in waiting.items()})
        return GateSnapshot(
            quota=reply.quota,
            quota_known=static.quota_known,
            pace=reply.pace,
            used=reply.used,
            reads_in_flight=reply.reads,
            writes_in_flight=reply.writes,
            waiting=waiting,
            paused_for=max(0.0, reply.paused_for - self._budget_client.age_of_reply),
            reopening=reply.reopening,
            rejected=reply.rejected + static.rejected,
            expected=max(reply.quota, self._floor) / self._share
            if reply.found and not static.quota_known
            else None,
        )

    async def _by_itself(self, kind: WaiterKind) -> Lease:
        self._was_away = True
        return await self._static.acquire(kind.traffic, kind.priority)

    async def _ask(self, kind: WaiterKind) -> Found:
        if self._budget_client.away and kind.open_ended:
            return await self._by_itself(kind)
        future: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        waiter = Waiter(kind, future, asyncio.get_running_loop().time())
        self._budget_client.join(waiter)
        try:
            return await future
        except AwayFromRedis:
            return await self._by_itself(kind)
        except BaseException:
            self._budget_client.waiters.leave(waiter)
            if future.done() and not future.cancelled() and future.exception() is None:
                found = (
                    future.result()
                )  # its turn came in the very turn of the loop in which it was cancelled
                if isinstance(found, FleetPermit):
                    found.release()
                elif not isinstance(found, ComeBack):
                    found.release(answered=False)
            raise


@attrs.define(eq=False)
class CheckedLease(Lease):
    """A lease whose request leaves only if a check allows it, when its connection stands."""

    _lease: Lease
    _check: Callable[[], None]

    def before_write(self) -> None:
        """Raise if the request must not leave."""
        self._check()

    def release(self, *, answered: bool = True) -> None:
        """Give it back."""
        self._lease.release(answered=answered)

    def penalise(self, retry_after: float | None) -> None:
        """Take note of a 429."""
        self._lease.penalise(retry_after)


@attrs.frozen
class _Handed:
    leases: list[Lease]
    check: Callable[[], None] | None


_handed: ContextVar[_Handed | None] = ContextVar("asana_jobs_handed_lease", default=None)


@attrs.frozen
class PreacquiredGate:
    """The gate of a worker's client: the lease at hand goes to the next request, others ask the shared budget."""

    gate: Gate

    @contextmanager
    def hand(self, lease: Lease, check: Callable[[], None] | None = None) -> Generator[None, None, None]:
        """Have *lease* go to the next request of this task; unused, it is given back.

        Args:
            lease: The right to one request.
            check: Called before each request of this task that may not be sent twice, repetitions too, when its
                connection stands; if it raises nothing is sent.
        """
        handed = _Handed([lease], check)
        before = _handed.set(handed)
        try:
            yield
        finally:
            _handed.reset(before)
            for unused in handed.leases:
                if isinstance(unused, RedisLease):
                    unused.discard()
                else:
                    unused.release(answered=False)

    async def acquire(self, traffic: Traffic, priority: Priority) -> Lease:
        """Return the lease at hand, or wait for one."""
        handed = _handed.get()
        if handed is None:
            return await self.gate.acquire(traffic, priority)
        lease = handed.leases.pop() if handed.leases else await self.gate.acquire(traffic, priority)
        return lease if handed.check is None else CheckedLease(lease, handed.check)

    def snapshot(self) -> GateSnapshot:
        """Return the budget as it is at this moment."""
        return self.gate.snapshot()


def ask_over(store: Store, gate: RedisGate) -> None:
    """Have the budget of *gate* asked over *store*, together with what else is asked there, from the beginning on.

    Args:
        store: The same Redis, which is closed later than the gate.
        gate: A gate that was not used yet.
    """
    # A method would show a private class to everybody.
    gate._budget_client.store = store  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
