"""The one task of a process that talks to the shared budget, for everybody who waits in that process."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import attrs

from asana_jobs.gates import Clock
from asana_jobs.worker._budget_protocol import (
    LEASE_SECONDS,
    SLACK,
    Notes,
    Refusal,
    Reply,
    Return,
    read_reply,
    write_message,
)
from asana_jobs.worker._leases import ComeBack, Kind, RedisLease, RedisPlace, Waiter, Waiters
from asana_jobs.worker._redis import AwayError, Script, Store
from asana_jobs.worker.errors import BudgetUnavailableError, QueueError


#: Seconds between two attempts to reach Redis.
AGAIN: Final = 0.5
#: Seconds for which what was given back may lie about while nobody waits for it.
IDLE: Final = 0.05
#: Seconds on the way after which a grant is not used: it would bunch with those of others.
STALE: Final = SLACK / 3
#: Seconds at most by which a process may ask later than it could, so that others get their turn.
UNEVEN: Final = 0.1

SETTLE: Final = Script("settle")


class AwayFromRedis(Exception):  # noqa: N818  # it is no error: the looker goes on by itself
    """Told to those who may go on at a static share."""


@attrs.define(eq=False)
class BudgetClient:
    """Asks the budget for those who wait here, and tells it what was given back. It runs while there is need."""

    store: Store
    keys: list[str]
    limits: dict[str, Any]
    process: str
    clock: Clock
    patience: float

    line: Waiters = attrs.field(factory=Waiters, init=False)
    notes: Notes = attrs.field(factory=Notes, init=False)
    reply: Reply | None = attrs.field(default=None, init=False)
    _away_until: float | None = attrs.field(default=None, init=False)
    _lost_at: float | None = attrs.field(default=None, init=False)
    _recovering: bool = attrs.field(default=False, init=False)
    _replied_at: float = attrs.field(default=0.0, init=False)
    _held: dict[str, RedisLease | RedisPlace] = attrs.field(
        factory=dict[str, "RedisLease | RedisPlace"], init=False
    )
    _woken: asyncio.Event | None = attrs.field(default=None, init=False)
    _task: asyncio.Task[None] | None = attrs.field(default=None, init=False)
    _ready_at: dict[Kind, float] = attrs.field(factory=dict[Kind, float], init=False)
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
        self.line.join(waiter)
        self.wake()

    def returned(self, lease: RedisLease, note: Return) -> None:
        """Take note of a lease that was given back."""
        if self._held.pop(lease.id, None) is not None:
            self.notes.releases.append(note)
            self.wake()

    def hold(self, place: RedisPlace) -> None:
        """Count *place* for as long as it is held; Redis is told at once."""
        if not self._closing:
            self._held[place.id] = place
            self.notes.urgent = True
            self.wake()

    def renamed(self, place: RedisPlace, before: str) -> None:
        """Take note of a place's new name."""
        if self._held.pop(before, None) is not None:
            self.notes.releases.append(Return(before, place.lane))
            self.hold(place)

    def released(self, place: RedisPlace, *, at_once: bool) -> None:
        """Take note that a place is held no longer: it is free *at once*, or when its lease is over."""
        if self._held.get(place.id) is place:
            del self._held[place.id]
            if at_once:
                self.notes.releases.append(Return(place.id, place.lane))
            else:
                self.notes.left.append(place.id)
            self.wake()

    def refuse(self, lease: RedisLease, retry_after: float | None) -> None:
        """Take note of a 429."""
        asked = -1.0 if retry_after is None else max(0.0, min(retry_after, 86400.0))
        self.notes.refusals.append(Refusal(lease.id, lease.event, asked, self.clock.random()))
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
        for waiter in self.line.everybody():
            self.line.leave(waiter)
            if not waiter.future.done():
                waiter.future.set_exception(BudgetUnavailableError("the budget was closed meanwhile"))
        for held in list(self._held.values()):
            if isinstance(held, RedisPlace):
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
        return bool(self.line or self.notes or self._held)

    def _is_due(self) -> bool:
        return self._pause() <= 0

    def _pause(self) -> float:
        """Return the seconds until the budget is to be asked or told next."""
        now = self._now()
        since = now - self._replied_at
        if self._away_until is not None:
            return 0.0 if self._closing else self._away_until - now
        due = LEASE_SECONDS / 3 - since if self._held else 3600.0
        if self.notes:
            at_once = self._closing or self.notes.refusals or self.notes.urgent or self.line
            due = min(due, 0.0 if at_once else IDLE - since)
        for kind, _ in self.line.kinds():
            due = min(due, self._ready_at.get(kind, 0.0) - now)
        return due

    async def _settle(self) -> None:
        notes, self.notes = self.notes, Notes()
        kinds = self.line.kinds()
        asked_at = self._now()
        message = write_message(
            process=self.process,
            limits=self.limits,
            notes=notes,
            held=[{"id": lease.id, "lane": lease.lane} for lease in self._held.values()],
            asks=[kind.ask(count) for kind, count in kinds],
            recovering=self._recovering,
        )
        try:
            text = await self.store.run(SETTLE, self.keys, message)
        except AwayError as error:
            self.notes.put_back(notes)
            self._lose(error)
        except QueueError as error:
            self.notes.put_back(notes)
            self._refuse_all(error)
        except BaseException:
            self.notes.put_back(notes)
            raise
        else:
            self._deliver(kinds, read_reply(text), stale=self._now() - asked_at > STALE)

    def _deliver(self, kinds: list[tuple[Kind, int]], reply: Reply, *, stale: bool) -> None:
        self.reply, self._replied_at = reply, self._now()
        self._away_until = self._lost_at = None
        self._recovering = False
        self._ready_at = {}
        for (kind, _), answer in zip(kinds, reply.answers, strict=True):
            for granted in answer.granted:
                if kind.place:
                    self._place(granted, kind)
                    continue
                waiter = None if stale else self.line.next(kind)
                lease = self._lease(granted, kind, reply, waited=waiter is not None and waiter.asked)
                if waiter is None:
                    lease.discard()
                else:
                    waiter.future.set_result(lease)
            for ticket in answer.tickets or [answer.wait] * (answer.wait < 0):
                waiter = self.line.next(kind)
                if waiter is not None:
                    waiter.future.set_result(ComeBack(float(ticket)))
            if answer.wait > 0:
                # Everybody's turn comes at the same moment: chance decides who asks first, and nobody always does.
                evenly = self.clock.random() * min(UNEVEN, 60 / reply.pace)
                self._ready_at[kind] = self._now() + answer.wait + evenly
        for waiter in self.line.everybody():
            waiter.asked = True

    def _lease(self, name: str, kind: Kind, reply: Reply, *, waited: bool) -> RedisLease:
        routine = kind.ask(1).routine
        lease = RedisLease(
            name, kind.traffic.value, routine, reply.event, reply.at, waited, self.returned, self.refuse
        )
        self._held[name] = lease
        return lease

    def _place(self, name: str, kind: Kind) -> None:
        place = RedisPlace(name, self)
        self._held[name] = place
        waiter = self.line.next(kind)
        if waiter is None:
            place.release()
        else:
            waiter.future.set_result(place)

    def _lose(self, error: AwayError) -> None:
        """Redis is away: let those go who may go on by themselves, and the others wait for a while."""
        now = self._now()
        if self._lost_at is None:
            self._lost_at = now
        elif now - self._lost_at > LEASE_SECONDS:
            # Leases have expired. Places are counted again when it is back: their jobs run on.
            self._held = {name: held for name, held in self._held.items() if isinstance(held, RedisPlace)}
            self.notes.releases = [note for note in self.notes.releases if note.lane == "job"]
        self._recovering, self._away_until = True, now + AGAIN
        for waiter in self.line.everybody():
            if waiter.kind.open_ended:
                self._tell(waiter, AwayFromRedis())
            elif now - waiter.since >= self.patience:
                self._tell(
                    waiter, BudgetUnavailableError(f"not sent, since the budget cannot be asked: {error}")
                )

    def _refuse_all(self, error: QueueError) -> None:
        self.notes = Notes()
        self._held.clear()
        for waiter in self.line.everybody():
            self._tell(waiter, BudgetUnavailableError(f"not sent, since the budget cannot be asked: {error}"))

    def _tell(self, waiter: Waiter, error: Exception) -> None:
        self.line.leave(waiter)
        if not waiter.future.done():
            waiter.future.set_exception(error)

    def _now(self) -> float:
        return self.clock.monotonic()
