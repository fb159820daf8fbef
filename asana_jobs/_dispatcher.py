"""Whose turn it is to look: all waits of a client in one queue, served in the order of what a look is worth."""

from __future__ import annotations

import asyncio
from typing import Final

import attrs

from asana_jobs._durations import Durations
from asana_jobs._exchange import Exchange
from asana_jobs._gate import Lease, Priority, Traffic
from asana_jobs._schedule import Schedule, next_look
from asana_jobs.policies import PollPolicy


#: Event loops wake a timer up to their clock's resolution early.
RESOLUTION: Final = 1e-6


@attrs.frozen(kw_only=True)
class Plan:
    """When the next look at a job is wanted.

    Attributes:
        policy: What a look is worth. ``due``: a moment instead, whatever it is worth.
        started: When the job started, or is taken to have started. ``last_look``: when it was last seen running.
    """

    policy: PollPolicy
    kind: str | None
    source: str | None
    started: float
    last_look: float
    due: float | None = None


class Dispatcher:
    """Wakes the waiter whose look is worth most whenever the budget has room for one.

    One task and one timer, whatever the number of waits; there is no task while nobody waits.
    """

    def __init__(self, exchange: Exchange, durations: Durations) -> None:
        self._exchange = exchange
        self._durations = durations
        self._schedule = Schedule(durations)
        self._parked: dict[str, set[asyncio.Future[Lease | None]]] = {}
        self._due: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._nudge: asyncio.Future[None] | None = None
        self._wakes_at = 0.0

    def __len__(self) -> int:
        """How many jobs wait for a look."""
        return len(self._parked)

    async def turn(self, key: str, plan: Plan) -> Lease | None:
        """Wait until it is time to look at *key*.

        Returns:
            The right to send the request, or ``None`` when somebody else has looked meanwhile.
        """
        future: asyncio.Future[Lease | None] = asyncio.get_running_loop().create_future()
        parked = self._parked.setdefault(key, set())
        parked.add(future)
        self._line_up(key, plan)
        try:
            async with self._exchange.lifetime.guard():
                return await future
        except BaseException:
            if future.done() and not future.cancelled() and future.exception() is None:
                self._hand_on(key, future.result())
            raise
        finally:
            parked.discard(future)
            if not parked and self._parked.get(key) is parked:
                del self._parked[key]
                self._due.pop(key, None)
                self._schedule.remove(key)
            if not self._parked:
                self._stop()

    def wake(self, key: str) -> None:
        """Somebody has looked at *key*, or given up looking: everybody waiting for it goes on."""
        for future in self._parked.get(key, ()):
            if not future.done():
                future.set_result(None)

    def _line_up(self, key: str, plan: Plan) -> None:
        now = self._exchange.clock.monotonic()
        due = plan.due
        if due is None:
            age = max(0.0, plan.last_look - plan.started)
            gap = next_look(plan.policy, self._durations, plan.kind, age, plan.source)
            expected = plan.last_look + gap
        else:
            expected = due
        if key in self._due and self._due[key] <= expected:
            return  # another waiter on this job looks earlier
        self._due[key] = expected
        self._schedule.add(
            key,
            now,
            policy=plan.policy,
            kind=plan.kind,
            source=plan.source,
            started=plan.started,
            last_look=plan.last_look,
            due=due,
        )
        if self._task is None:
            self._task = self._exchange.lifetime.spawn(self._dispatch())
        elif self._nudge is not None and expected < self._wakes_at and not self._nudge.done():
            self._nudge.set_result(None)

    def _hand_on(self, key: str, lease: Lease | None) -> None:
        """Give back a turn that was granted to a waiter in the very moment in which it was cancelled."""
        if lease is not None:
            lease.release(answered=False)
            self.wake(key)  # somebody else waiting for this job takes the look over

    def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _dispatch(self) -> None:
        try:
            while (due := self._schedule.next_due(self._now())) is not None:
                if due > self._now() + RESOLUTION:
                    await self._rest_until(due)
                    continue
                lease = await self._exchange.gate.acquire(Traffic.READ, Priority.ROUTINE)
                key = self._schedule.take(self._now())
                if key is None or not self._grant(key, lease):
                    lease.release(answered=False)
        except Exception as error:  # noqa: BLE001  # a budget that cannot be asked: everybody waiting is told
            self._fail(error)
        finally:
            if self._task is asyncio.current_task():
                self._task = None

    def _fail(self, error: Exception) -> None:
        for parked in self._parked.values():
            for future in parked:
                if not future.done():
                    future.set_exception(error)

    def _grant(self, key: str, lease: Lease) -> bool:
        self._due.pop(key, None)
        for future in self._parked.get(key, ()):
            if not future.done():
                future.set_result(lease)
                return True
        return False

    async def _rest_until(self, due: float) -> None:
        nudge = self._nudge = asyncio.get_running_loop().create_future()
        self._wakes_at = due
        timer = self._exchange.clock.call_later(due - self._now(), self._wake_up)
        try:
            await nudge
        finally:
            timer.cancel()
            if self._nudge is nudge:
                self._nudge = None

    def _wake_up(self) -> None:
        if self._nudge is not None and not self._nudge.done():
            self._nudge.set_result(None)

    def _now(self) -> float:
        return self._exchange.clock.monotonic()
