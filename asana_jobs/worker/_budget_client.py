"""`BudgetClient`: the one task of a process that talks to the shared budget, for everybody who waits in that process."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import attrs

from asana_jobs.gates import Clock
from asana_jobs.worker._budget_protocol import (
    BUNCHING_SECONDS,
    LEASE_SECONDS,
    PendingReport,
    RefusedRequest,
    Reply,
    ReturnedLease,
    read_reply,
    write_message,
)
from asana_jobs.worker._leases import ComeBack, FleetPermit, RedisLease, Waiter, WaiterKind, Waiters
from asana_jobs.worker._redis import AwayError, Script, Store
from asana_jobs.worker.errors import BudgetUnavailableError, QueueError


#: Seconds between two attempts to reach Redis.
RECONNECT_SECONDS: Final = 0.5
#: Seconds for which what was given back may lie about while nobody waits for it.
IDLE_SECONDS: Final = 0.05
#: Seconds on the way after which a grant is not used: it would bunch with those of others.
STALE_SECONDS: Final = BUNCHING_SECONDS / 3
#: Seconds at most by which a process may ask later than it could, so that others get their turn.
MOST_STAGGER: Final = 0.1

SETTLE_SCRIPT: Final = Script("settle")


class AwayFromRedis(Exception):  # noqa: N818  # it is no error: the looker goes on by itself
    """Redis is away, and this waiter may go on at a static share."""


@attrs.define(eq=False)
class BudgetClient:
    """Asks the budget for those who wait here, and tells it what was given back. It runs while there is need.

    Attributes:
        store: The Redis of the budget.
        keys: The keys of the budget.
        limits: The limits, as the script reads them.
        process: A name for this process.
        clock: The clock of this process.
        patience: Seconds for which a request that may not go by itself waits while Redis is away.
        waiters: Those who wait.
        pending: What the budget is to be told next.
        reply: Its last reply.
    """

    store: Store
    keys: list[str]
    limits: dict[str, Any]
    process: str
    clock: Clock
    patience: float

    waiters: Waiters = attrs.field(factory=Waiters, init=False)
    pending: PendingReport = attrs.field(factory=PendingReport, init=False)
    reply: Reply | None = attrs.field(default=None, init=False)
    _away_until: float | None = attrs.field(default=None, init=False)
    _lost_at: float | None = attrs.field(default=None, init=False)
    _recovering: bool = attrs.field(default=False, init=False)
    _replied_at: float = attrs.field(default=0.0, init=False)
    _held: dict[str, RedisLease | FleetPermit] = attrs.field(
        factory=dict[str, "RedisLease | FleetPermit"], init=False
    )
    _woken: asyncio.Event | None = attrs.field(default=None, init=False)
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _ready_at: dict[WaiterKind, float] = attrs.field(factory=dict[WaiterKind, float], init=False)
    _closing: bool = attrs.field(default=False, init=False)

    @property
    def away(self) -> bool:
        """Whether Redis was not there a moment ago."""
        return self._away_until is not None and self._now() < self._away_until

    @property
    def age_of_reply(self) -> float:
        """Seconds since the budget last said something."""
        return self._now() - self._replied_at

    def join(self, waiter: Waiter) -> None:
        """Wait in line."""
        if self._closing:
            raise BudgetUnavailableError("the budget was closed: keep it open for as long as its clients are")
        if self._task is not None and self._task.get_loop() is not asyncio.get_running_loop():
            raise RuntimeError("this budget belongs to another event loop: use one gate per loop")
        self.waiters.join(waiter)
        self.wake()

    def returned(self, lease: RedisLease, note: ReturnedLease) -> None:
        """Take note of a lease that was given back."""
        if self._held.pop(lease.id, None) is not None:
            self.pending.releases.append(note)
            self.wake()

    def hold(self, place: FleetPermit) -> None:
        """Count *place* for as long as it is held; Redis is told at once."""
        if not self._closing:
            self._held[place.id] = place
            self.pending.urgent = True
            self.wake()

    def renamed(self, place: FleetPermit, before: str) -> None:
        """Take note of a place's new name."""
        if self._held.pop(before, None) is not None:
            self.pending.releases.append(ReturnedLease(before, place.lane))
            self.hold(place)

    def released(self, place: FleetPermit, *, at_once: bool) -> None:
        """Take note that a place is held no longer: it is free *at once*, or when its lease is over."""
        if self._held.get(place.id) is place:
            del self._held[place.id]
            if at_once:
                self.pending.releases.append(ReturnedLease(place.id, place.lane))
            else:
                self.pending.left.append(place.id)
            self.wake()

    def refuse(self, lease: RedisLease, retry_after: float | None) -> None:
        """Take note of a 429."""
        asked = -1.0 if retry_after is None else max(0.0, min(retry_after, 86400.0))
        self.pending.refusals.append(RefusedRequest(lease.id, lease.event, asked, self.clock.random()))
        self.wake()

    def wake(self) -> None:
        """Have the task run, and look at what is new."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # nobody is left to be told: what is held here expires
        if self._task is None or self._task.done():
            self._woken = asyncio.Event()
            self._task = loop.create_task(self._run(self._woken), name="asana_jobs budget")
        elif self._woken is not None:
            self._woken.set()

    async def close(self) -> None:
        """Tell the budget what is left to be told, once, and end."""
        self._closing = True
        for waiter in self.waiters.everybody():
            self.waiters.leave(waiter)
            if not waiter.future.done():
                waiter.future.set_exception(BudgetUnavailableError("the budget was closed meanwhile"))
        for held in list(self._held.values()):
            if isinstance(held, FleetPermit):
                held.leave()
            else:
                held.release(answered=False)
        if self._task is not None and not self._task.done():
            self.wake()
            await asyncio.wait([self._task])

    async def _run(self, woken: asyncio.Event) -> None:
        while self._needed:
            woken.clear()
            if self._is_due():
                await self._settle()
                if self._closing and self._lost_at is not None:
                    return  # what is held here expires by itself
            pause = self._pause()
            if pause > 0 and self._needed:
                try:
                    async with asyncio.timeout(pause):
                        await woken.wait()
                except TimeoutError:
                    pass
                else:
                    await asyncio.sleep(0)  # others of the same turn of the loop come along

    @property
    def _needed(self) -> bool:
        return bool(self.waiters or self.pending or self._held)

    def _is_due(self) -> bool:
        return self._pause() <= 0

    def _pause(self) -> float:
        """Return the seconds until the budget is to be asked or told next."""
        now = self._now()
        since = now - self._replied_at
        if self._away_until is not None:
            return 0.0 if self._closing else self._away_until - now
        due = LEASE_SECONDS / 3 - since if self._held else 3600.0
        if self.pending:
            at_once = self._closing or self.pending.refusals or self.pending.urgent or self.waiters
            due = min(due, 0.0 if at_once else IDLE_SECONDS - since)
        for kind, _ in self.waiters.kinds():
            due = min(due, self._ready_at.get(kind, 0.0) - now)
        return due

    async def _settle(self) -> None:
        pending, self.pending = self.pending, PendingReport()
        kinds = self.waiters.kinds()
        asked_at = self._now()
        message = write_message(
            process=self.process,
            limits=self.limits,
            pending=pending,
            held=[{"id": lease.id, "lane": lease.lane} for lease in self._held.values()],
            asks=[kind.ask(count) for kind, count in kinds],
            recovering=self._recovering,
        )
        try:
            text = await self.store.run(SETTLE_SCRIPT, self.keys, message)
        except AwayError as error:
            self.pending.put_back(pending)
            self._lose(error)
        except QueueError as error:
            self.pending.put_back(pending)
            self._refuse_all(error)
        except BaseException:
            self.pending.put_back(pending)
            raise
        else:
            self._deliver(kinds, read_reply(text), stale=self._now() - asked_at > STALE_SECONDS)

    def _deliver(self, kinds: list[tuple[WaiterKind, int]], reply: Reply, *, stale: bool) -> None:
        self.reply, self._replied_at = reply, self._now()
        self._away_until = self._lost_at = None
        self._recovering = False
        self._ready_at = {}
        for (kind, _), answer in zip(kinds, reply.answers, strict=True):
            for granted in answer.granted:
                if kind.place:
                    self._place(granted, kind)
                    continue
                waiter = None if stale else self.waiters.next(kind)
                lease = self._lease(granted, kind, reply, waited=waiter is not None and waiter.asked)
                if waiter is None:
                    lease.discard()
                else:
                    waiter.future.set_result(lease)
            for ticket in answer.tickets or [answer.wait] * (answer.wait < 0):
                waiter = self.waiters.next(kind)
                if waiter is not None:
                    waiter.future.set_result(ComeBack(float(ticket)))
            if answer.wait > 0:
                # Everybody's turn comes at the same moment: chance decides who asks first, and nobody always does.
                evenly = self.clock.random() * min(MOST_STAGGER, 60 / reply.pace)
                self._ready_at[kind] = self._now() + answer.wait + evenly
        for waiter in self.waiters.everybody():
            waiter.asked = True

    def _lease(self, name: str, kind: WaiterKind, reply: Reply, *, waited: bool) -> RedisLease:
        routine = kind.ask(1).routine
        lease = RedisLease(
            name, kind.traffic.value, routine, reply.event, reply.at, waited, self.returned, self.refuse
        )
        self._held[name] = lease
        return lease

    def _place(self, name: str, kind: WaiterKind) -> None:
        place = FleetPermit(name, self)
        self._held[name] = place
        waiter = self.waiters.next(kind)
        if waiter is None:
            place.release()
        else:
            waiter.future.set_result(place)

    def _lose(self, error: AwayError) -> None:
        """Let those go who may go on by themselves while Redis is away, and the others wait for a while."""
        now = self._now()
        if self._lost_at is None:
            self._lost_at = now
        elif now - self._lost_at > LEASE_SECONDS:
            # Leases have expired. Places are counted again when it is back: their jobs run on.
            self._held = {name: held for name, held in self._held.items() if isinstance(held, FleetPermit)}
            self.pending.releases = [returned for returned in self.pending.releases if returned.lane == "job"]
        self._recovering, self._away_until = True, now + RECONNECT_SECONDS
        for waiter in self.waiters.everybody():
            if waiter.kind.open_ended:
                self._tell(waiter, AwayFromRedis())
            elif now - waiter.since >= self.patience:
                self._tell(
                    waiter, BudgetUnavailableError(f"not sent, since the budget cannot be asked: {error}")
                )

    def _refuse_all(self, error: QueueError) -> None:
        self.pending = PendingReport()
        self._held.clear()
        for waiter in self.waiters.everybody():
            self._tell(waiter, BudgetUnavailableError(f"not sent, since the budget cannot be asked: {error}"))

    def _tell(self, waiter: Waiter, error: Exception) -> None:
        self.waiters.leave(waiter)
        if not waiter.future.done():
            waiter.future.set_exception(error)

    def _now(self) -> float:
        return self.clock.monotonic()
