"""The queue of all waits of a client: whose turn it is to look, in the order of what a look is worth.

When look after look fails, whichever job it is about, there is an `Outage`, and thousands of waits learn nothing by
trying one by one. One of them looks now and then, the probe; the first answer, to whomever, lets all of them go on.
`Trouble` is the streak of failures in one wait: whether it may pass, since when it lasts, how long to stay away.
"""

from __future__ import annotations

import asyncio
import copy
import logging
from math import inf
from types import TracebackType
from typing import Final

import attrs

from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.lifetime import broken_off
from asana_jobs._client.http.protocol import LONGEST_PAUSE, transient
from asana_jobs._client.limits.gate import READ, ROUTINE, Lease
from asana_jobs._client.telemetry.log_fields import about_request
from asana_jobs._client.waiting.durations import Durations
from asana_jobs._client.waiting.schedule import TIMER_SLACK, Schedule, next_look
from asana_jobs.errors import (
    APIError,
    AsanaJobsError,
    DecodeError,
    NotFoundError,
    RateLimitError,
    RequestError,
)
from asana_jobs.policies import PollPolicy


#: Looks in a row that have to fail for an outage: fewer may be chance, or one job that Asana stumbles over.
OUTAGE_STREAK: Final = 5
#: Seconds between probes: as many as the failures have lasted, so that a hiccup is over soon, within these bounds.
#: The longest is fifteen probes a minute, and still tells within five seconds, answer included, that Asana is back.
PROBE_AFTER_AT_LEAST: Final = 1.0
PROBE_AFTER_AT_MOST: Final = 4.0
#: How many 404s in a row end a wait whose job was seen before: one may be a replica that lags behind.
NOT_FOUND_STREAK: Final = 3

_log = logging.getLogger("asana_jobs")


@attrs.frozen
class Outage:
    """The failures since the last answer.

    Attributes:
        failures: How many looks failed in a row.
        since: When the first of them did.
        ready_at: When the next probe may go; long ago while there is no outage.
        on: Whether looks are held back.
    """

    failures: int = 0
    since: float = inf
    ready_at: float = -inf
    on: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "on", self.failures >= OUTAGE_STREAK)

    def failed(self, now: float) -> Outage:
        """Take note of a look that was not answered: no connection, a lost answer, 5xx."""
        after = Outage(self.failures + 1, min(self.since, now), self.ready_at)
        return after if self.on or not after.on else after.probed(now)

    def probed(self, now: float) -> Outage:
        """Take note that a look goes out *now*; the next one waits, whether or not this one comes back."""
        if not self.on:
            return self
        return attrs.evolve(
            self, ready_at=now + min(PROBE_AFTER_AT_MOST, max(PROBE_AFTER_AT_LEAST, now - self.since))
        )


@attrs.define
class Trouble:
    """The streak of failures since the last answer to one wait.

    Attributes:
        since: When it began.
        error: The last failure.
        streak: How many failures there were.
        not_found: How many 404s came in a row at the end of it.
    """

    since: float | None = None
    error: AsanaJobsError | None = None
    streak: int = 0
    not_found: int = 0

    def meet(self, error: AsanaJobsError, now: float, *, young: bool, seen: bool) -> bool:
        """Take note of a failure, and return whether it may pass.

        Args:
            error: The failure.
            now: The moment of it.
            young: Whether the job is so young that it may not be found yet.
            seen: Whether the job was seen before.
        """
        self.not_found = self.not_found + 1 if isinstance(error, NotFoundError) else 0
        may_appear = self.not_found > 0 and (young or (seen and self.not_found < NOT_FOUND_STREAK))
        self.since = now if self.since is None else self.since
        self.error = error
        self.streak += 1
        return transient(error) or may_appear

    def clear(self) -> None:
        """End the streak: an answer came."""
        self.since, self.error, self.streak, self.not_found = None, None, 0, 0

    def set_back_since(self) -> float | None:
        """Return since when it lasts, if it is we who chose how long to stay away, and ``None`` if Asana did."""
        return self.since if self.streak and not self.asked(gated=True) else None

    def asked(self, *, gated: bool) -> float:
        """Return the seconds Asana asked to be left alone; *gated*: leave out what the gate sees to, after a 429."""
        if not isinstance(self.error, APIError) or (gated and isinstance(self.error, RateLimitError)):
            return 0.0
        return min(self.error.retry_after or 0.0, LONGEST_PAUSE)


def unanswered(error: AsanaJobsError) -> bool:
    """Return whether *error* says that nobody was there to answer, whatever was asked."""
    return transient(error) and not isinstance(error, RateLimitError)


def twin(error: AsanaJobsError) -> AsanaJobsError:
    """Return *error* for another task: one exception raised in two tasks would mix their tracebacks."""
    other = copy.copy(error)
    other.__cause__ = error.__cause__
    return other


@attrs.define  # never changed, but not frozen: one is made for each look
class Plan:
    """The next look at a job, as one of its waiters wants it.

    Attributes:
        policy: What a look is worth.
        kind: What the job's duration is expected from, if known.
        source: The gid of what is copied or instantiated, for the same purpose.
        started: When the job started, or is taken to have started.
        last_look: When it was last seen running.
        due: The moment of the next look, whatever it is worth, instead of the policy's.
        trouble_since: Since when nothing was answered to this wait, if that is why it waits until ``due``.
        known_start: Whether ``started`` is when it was started, and not when it was first asked for.
    """

    policy: PollPolicy
    kind: str | None
    source: str | None
    started: float
    last_look: float
    due: float | None = None
    trouble_since: float | None = None
    known_start: bool = True


@attrs.define(eq=False, weakref_slot=False)
class _Parked:
    """The turns of all who wait for a look at one job."""

    key: str
    waiting: list[LookTurn]


@attrs.define(eq=False, weakref_slot=False)
class LookTurn:
    """A place in the line, for ``with``; what it gives is awaited inside.

    Attributes:
        granted: The right to send the request, or ``None`` when somebody else has looked meanwhile.
        since: Since when this wait is without an answer.
        patience: The most seconds without an answer, while nobody gets one.
    """

    granted: asyncio.Future[Lease | None]
    since: float
    patience: float
    _dispatcher: Dispatcher
    _parked: _Parked

    def __enter__(self) -> asyncio.Future[Lease | None]:
        return self.granted

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._dispatcher.leave(self, self._parked, unused=error is not None)


class Dispatcher:
    """Wakes the waiter whose look is worth most whenever the budget has room for one.

    One task and one timer, whatever the number of waits; there is no task while nobody waits.
    """

    def __init__(self, exchange: ApiSession, durations: Durations) -> None:
        self._exchange = exchange
        self._now = exchange.clock.monotonic
        self._durations = durations
        self._schedule = Schedule(durations)
        self._parked: dict[str, _Parked] = {}
        self._outage = Outage()
        self._unanswered: AsanaJobsError | None = None
        self._set_back: dict[str, Plan] = {}  # parked because of trouble, the longest first
        self._task: asyncio.Task[None] | None = None
        self._nudge: asyncio.Future[None] | None = None
        self._wakes_at = 0.0

    def __len__(self) -> int:
        """Return how many jobs wait for a look."""
        return len(self._parked)

    def turn(self, key: str, plan: Plan) -> LookTurn:
        """Line *key* up at once; what the turn grants is awaited until it is time to look.

        Awaiting it raises:
            ClientClosedError: the client was closed.
            Exception: the budget cannot be asked.
            AsanaJobsError: nothing was answered to anybody for longer than the policy has patience.
        """
        future: asyncio.Future[Lease | None] = asyncio.get_running_loop().create_future()
        parked = self._parked.get(key)
        if parked is None:
            parked = self._parked[key] = _Parked(key, [])
        now = self._now()
        since = now if plan.trouble_since is None else plan.trouble_since
        turn = LookTurn(future, since, plan.policy.give_up_after, self, parked)
        parked.waiting.append(turn)
        self._line_up(key, plan, now)
        return turn

    def leave(self, turn: LookTurn, parked: _Parked, *, unused: bool) -> None:
        """Give a place up. What it was granted *unused* goes to somebody else waiting for this job."""
        future = turn.granted
        if unused and future.done() and not future.cancelled() and future.exception() is None:
            self._hand_on(parked, future.result())  # cancelled in the very moment of the grant
        parked.waiting.remove(turn)
        if not parked.waiting:
            self._leave(parked)

    def wake(self, key: str) -> None:
        """Let everybody go on who waits for *key*: somebody has looked at it, or given up looking."""
        parked = self._parked.pop(key, None)
        if parked is not None:
            self._forget(key)
            for turn in parked.waiting:
                if not turn.granted.done():
                    turn.granted.set_result(None)

    @property
    def away(self) -> bool:
        """Whether Asana answers nobody, so that one wait looks for all."""
        return self._outage.on

    def met(self, error: AsanaJobsError | None) -> None:
        """Take note of how a look ended, whoever looked: in *error*, or well."""
        was = self._outage
        if isinstance(error, RequestError) and unanswered(error):
            self._outage, self._unanswered = was.failed(self._now()), error
            if self._outage.on and not was.on:
                extra = about_request(error, error=error)
                _log.warning("look after look fails, one wait looks for all now: %s", error, extra=extra)
        elif was.failures and (error is None or isinstance(error, APIError | DecodeError)):
            self._outage, self._unanswered = Outage(), None
            if was.on:
                _log.info("looks are answered again, after %.0f s", self._now() - was.since)
                for key in list(self._set_back):
                    self._hurry(key)
                self._wake_up()

    def _line_up(self, key: str, plan: Plan, now: float) -> None:
        due = self._schedule.due(key)
        if due is None or due > self._wanted_at(plan):  # else another waiter on this job looks earlier
            self._enter(key, plan, now)
            self._set_back.pop(key, None)
            if plan.trouble_since is not None:
                self._set_back[key] = plan
        # Whoever looks earlier may have been told just now that the task has ended.
        if self._task is None or self._task.done():
            self._begin()
        elif self._nudge is not None and (self._outage.on or self._comes_first(now)):
            self._wake_up()

    def _begin(self) -> None:
        self._task = self._exchange.lifetime.spawn(self._dispatch())
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task is self._task and broken_off(task) and self._parked:
            self._begin()  # by somebody else, while others wait for their turn

    def _wanted_at(self, plan: Plan) -> float:
        if plan.due is not None:
            return plan.due
        age = max(0.0, plan.last_look - plan.started)
        return plan.last_look + next_look(
            plan.policy, self._durations, plan.kind, age, plan.source, known_start=plan.known_start
        )

    def _comes_first(self, now: float) -> bool:
        due = self._schedule.next_due(now)
        return due is not None and due < self._wakes_at

    def _enter(self, key: str, plan: Plan, now: float) -> None:
        self._schedule.add(
            key,
            now,
            policy=plan.policy,
            kind=plan.kind,
            source=plan.source,
            started=plan.started,
            last_look=plan.last_look,
            due=plan.due,
            known_start=plan.known_start,
        )

    def _hurry(self, key: str) -> None:
        """Have somebody who was set back look at once."""
        plan, now = self._set_back.pop(key), self._now()
        self._enter(key, attrs.evolve(plan, due=now), now)

    def _forget(self, key: str) -> None:
        self._schedule.remove(key)
        self._set_back.pop(key, None)

    def _leave(self, parked: _Parked) -> None:
        if self._parked.get(parked.key) is parked:
            del self._parked[parked.key]
            self._forget(parked.key)
        if not self._parked and self._task is not None:
            task, self._task = self._task, None
            task.cancel()

    def _hand_on(self, parked: _Parked, lease: Lease | None) -> None:
        if lease is not None and not _give(parked, lease):
            lease.release(answered=False)

    async def _dispatch(self) -> None:
        try:
            # One guard for all: whoever is parked is told when the client is closed.
            with self._exchange.lifetime.guard():
                while (due := self._next_due(now := self._now())) is not None:
                    if due > now + TIMER_SLACK:
                        await self._rest_until(due)
                        continue
                    lease = await self._exchange.gate.acquire(READ, ROUTINE)
                    key = self._take()
                    if key is None or not self._grant(key, lease):
                        lease.release(answered=False)
        except Exception as error:  # noqa: BLE001  # a budget that cannot be asked: everybody waiting is told
            self._fail(error)

    def _next_due(self, now: float) -> float | None:
        due = self._schedule.next_due(now)
        if due is None or not self._outage.on:
            return due
        if self._set_back:
            due = now  # for want of others, one of those looks earlier than it would alone
        return max(due, self._outage.ready_at)

    def _take(self) -> str | None:
        """Return the job to look at now; ``None`` if, since the budget was asked, there is none any more."""
        now = self._now()
        if not self._outage.on:
            return self._schedule.take(now)
        if now < self._outage.ready_at - TIMER_SLACK:
            return None
        key = self._schedule.take(now)
        if key is None and self._set_back:
            self._hurry(next(iter(self._set_back)))
            key = self._schedule.take(now)
        if key is not None:
            self._outage = self._outage.probed(now)
            self._lose_patience(now, key)
        return key

    def _lose_patience(self, now: float, looking: str) -> None:
        """Tell those for whom it has lasted too long, but not who is about to see for himself."""
        for key, parked in self._parked.items():
            for turn in parked.waiting if key != looking else ():
                impatient = now - max(turn.since, self._outage.since) >= turn.patience
                if impatient and self._unanswered is not None and not turn.granted.done():
                    turn.granted.set_exception(twin(self._unanswered))

    def _grant(self, key: str, lease: Lease) -> bool:
        self._set_back.pop(key, None)
        return _give(self._parked[key], lease)

    def _fail(self, error: Exception) -> None:
        for parked in self._parked.values():
            for turn in parked.waiting:
                if not turn.granted.done():
                    turn.granted.set_exception(twin(error) if isinstance(error, AsanaJobsError) else error)

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


def _give(parked: _Parked, lease: Lease) -> bool:
    """Give *lease* to the first who waits, and say whether there is one."""
    for turn in parked.waiting:
        if not turn.granted.done():
            turn.granted.set_result(lease)
            return True
    return False
