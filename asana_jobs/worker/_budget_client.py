"""`BudgetClient`: the one task of a process that talks to the shared budget, for everybody who waits in that process."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Any, Final

import attrs

from asana_jobs.gates import BUDGET_NUMBERS, Clock, Priority
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
#: Seconds for which what was given back may lie about while nobody waits for it, and while somebody does: what happens
#: meanwhile is told in the same call.
IDLE_SECONDS: Final = 0.05
BUNCH_SECONDS: Final = 0.01
#: Seconds for which routine looks wait for others that want to go, and those that were made to be told when to return.
LOOKS_BUNCH_SECONDS: Final = 0.015
#: Reservations that are asked for at once.
MOST_RESERVED: Final = 200
#: Seconds on the way after which a grant is not used: it would bunch with those of others.
STALE_SECONDS: Final = BUNCHING_SECONDS / 3
#: Seconds at most by which a process may ask later than it could, so that others get their turn.
MOST_STAGGER: Final = 0.1

SETTLE_SCRIPT: Final = Script("settle", numbers=BUDGET_NUMBERS)
_log = logging.getLogger("asana_jobs")


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
        first_looks: Waits of the queue that nobody has looked at yet, about: looks that return make way for them.
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
    first_looks: int = attrs.field(default=0, init=False)
    _reservations: deque[tuple[float, asyncio.Future[ComeBack]]] = attrs.field(
        factory=deque[tuple[float, "asyncio.Future[ComeBack]"]], init=False
    )
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

    async def reserve(self, delay: float) -> ComeBack:
        """Return when a look comes back that is due in *delay* seconds: later if others queue by then."""
        reply = self.reply
        if self._closing or self.away or (reply is not None and reply.queued_for - self.age_of_reply < delay):
            return ComeBack(delay, returning=False)
        future: asyncio.Future[ComeBack] = asyncio.get_running_loop().create_future()
        self._reservations.append((delay, future))
        self.wake()
        return await future

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
            self._task.add_done_callback(self._ended)
        elif self._woken is not None:
            self._woken.set()

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Go on where the task was cancelled by a stranger; where it failed, leave nobody waiting for it."""
        if task is not self._task or self._closing:
            return
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            _log.error("the budget's task ended in an error: %r", error, exc_info=error)
            self._refuse_all(error)
        elif self.waiters or self._reservations:
            self.wake()

    async def close(self) -> None:
        """Tell the budget what is left to be told, once, and end."""
        self._closing = True
        for waiter in self.waiters.everybody():
            self.waiters.leave(waiter)
            if not waiter.future.done():
                waiter.future.set_exception(BudgetUnavailableError("the budget was closed meanwhile"))
        self._answer_reservations()
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
        return bool(self.waiters or self.pending or self._held or self._reservations)

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
            full = self.reply is None or self.reply.reads >= self.limits["reads"]
            at_once = self._closing or self.pending.refusals or self.pending.urgent or (full and self.waiters)
            due = min(due, 0.0 if at_once else (BUNCH_SECONDS if self.waiters else IDLE_SECONDS) - since)
        if self._reservations:
            due = min(due, LOOKS_BUNCH_SECONDS - since)
        for kind in self.waiters.kinds:
            bunched = LOOKS_BUNCH_SECONDS - since if kind.priority is Priority.ROUTINE else 0.0
            due = min(due, max(bunched, self._ready_at.get(kind, 0.0) - now))
        return due

    async def _settle(self) -> None:
        pending, self.pending = self.pending, PendingReport()
        kinds = self.waiters.in_order()
        reservations = [
            self._reservations.popleft() for _ in range(min(len(self._reservations), MOST_RESERVED))
        ]
        asked_at = self._now()
        expected = None if self.reply is None else self.reply.at + self.age_of_reply
        message = write_message(
            process=self.process,
            limits=self.limits,
            pending=pending,
            held=[{"id": lease.id, "lane": lease.lane} for lease in self._held.values()],
            asks=[kind.ask(count) for kind, count in kinds],
            reservations=[delay for delay, _ in reservations],
            first_looks=self.first_looks,
            expected=expected,
            recovering=self._recovering,
        )
        try:
            text = await self.store.run(SETTLE_SCRIPT, self.keys, message)
        except AwayError as error:
            self.pending.put_back(pending)
            self._reservations.extendleft(reversed(reservations))
            self._lose(error)
        except QueueError as error:
            self._reservations.extendleft(reversed(reservations))
            self._refuse_all(error)
        except BaseException:
            self.pending.put_back(pending)
            self._reservations.extendleft(reversed(reservations))
            raise
        else:
            reply = read_reply(text)
            for (delay, future), wait in zip(reservations, reply.reserved, strict=True):
                if not future.done():
                    future.set_result(ComeBack(delay, returning=False) if wait < 0 else ComeBack(wait))
            self._deliver(kinds, reply, stale=self._now() - asked_at > STALE_SECONDS)

    def _deliver(self, kinds: list[tuple[WaiterKind, int]], reply: Reply, *, stale: bool) -> None:
        self.reply, self._replied_at = reply, self._now()
        self._away_until = self._lost_at = None
        self._recovering = False
        self._ready_at = {}
        for (kind, _), answer in zip(kinds, reply.answers, strict=True):
            for granted in answer.granted:
                name, taken, look_taken = granted
                if kind.place:
                    self._place(name, kind)
                    continue
                waiter = None if stale else self.waiters.next(kind)
                waited = waiter is not None and waiter.asked
                lease = self._lease(name, kind, reply, taken, look_taken, waited=waited)
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

    def _lease(
        self, name: str, kind: WaiterKind, reply: Reply, taken: float, look_taken: float, *, waited: bool
    ) -> RedisLease:
        lease = RedisLease(
            name,
            kind.traffic.value,
            kind.ask(1).routine,
            reply.event,
            reply.at,
            reply.at + taken,
            reply.at + look_taken,
            waited,
            self.returned,
            self.refuse,
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
        self._answer_reservations()
        for waiter in self.waiters.everybody():
            if waiter.kind.open_ended:
                self._tell(waiter, AwayFromRedis())
            elif now - waiter.since >= self.patience:
                self._tell(
                    waiter, BudgetUnavailableError(f"not sent, since the budget cannot be asked: {error}")
                )

    def _answer_reservations(self) -> None:
        """Let those who have just looked come back when they want to: whether others queue by then is not known."""
        while self._reservations:
            delay, future = self._reservations.popleft()
            if not future.done():
                future.set_result(ComeBack(delay, returning=False))

    def _refuse_all(self, error: Exception) -> None:
        self.pending = PendingReport()
        self._answer_reservations()
        self._held.clear()
        told = str(error) if isinstance(error, QueueError) else repr(error)
        for waiter in self.waiters.everybody():
            self._tell(waiter, BudgetUnavailableError(f"not sent, since the budget cannot be asked: {told}"))

    def _tell(self, waiter: Waiter, error: Exception) -> None:
        self.waiters.leave(waiter)
        if not waiter.future.done():
            waiter.future.set_exception(error)

    def _now(self) -> float:
        return self.clock.monotonic()
