"""One wait: when to look, what to look past, when to stop. `JobWaiter` is how people hold it."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

import attrs

from asana_jobs._client.http.retrying import Polling, WaitStrategy, delay, gap_after
from asana_jobs._client.limits.gate import Lease
from asana_jobs._client.telemetry.log_fields import about_job
from asana_jobs._client.waiting.dispatcher import LookTurn, Trouble
from asana_jobs._client.waiting.job_reference import JobReference
from asana_jobs._client.waiting.poller import FRESH, Poller, Watch
from asana_jobs._client.waiting.schedule import next_look
from asana_jobs.errors import AsanaJobsError, JobTimeoutError
from asana_jobs.models import Job
from asana_jobs.policies import PollPolicy


if TYPE_CHECKING:
    from asana_jobs.events import WaitEnded, WaitOutcome

#: Seconds by which looks may outlast the deadline: one that begins at it, or shortly before, must have a chance.
LAST_LOOK: Final = 5.0
#: Seconds: event loops wake a timer up to their clock's resolution early.
CLOCK_RESOLUTION: Final = 1e-3

_log = logging.getLogger("asana_jobs")


@attrs.frozen(kw_only=True)
class WaitStatistics:
    """The numbers of a wait so far.

    Attributes:
        looks: Requests that were answered or failed, those of other waiters on the same job included.
        waited: Seconds since the wait was first used.
        finished_after: The last moment at which the job is known to have been unfinished, if any.
        finished_before: The first moment at which it is known to have finished; ``None`` while it runs.
    """

    looks: int
    waited: float
    finished_after: datetime | None
    finished_before: datetime | None

    @property
    def lag_bound(self) -> float | None:
        """The most seconds that can have passed between the job's end and our knowing it."""
        if self.finished_after is None or self.finished_before is None:
            return None
        return (self.finished_before - self.finished_after) / timedelta(seconds=1)


@attrs.define(eq=False, kw_only=True)
class Wait:
    """The state of one wait. Nothing is asked of the network or the clock before `begin`."""

    subject: JobReference
    poller: Poller
    policy: PollPolicy
    strategy: WaitStrategy | None = None
    timeout: float | None = None
    opt_fields: str | None = None

    job: Job | None = attrs.field(default=None, init=False)
    looks: int = attrs.field(default=0, init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _watch: Watch = attrs.field(init=False)  # from the beginning on
    _polling: Polling | None = attrs.field(default=None, init=False)  # for a strategy
    #: What the last look came to, which the next turn follows.
    _outcome: Job | AsanaJobsError | None = attrs.field(default=None, init=False)
    _began: float = attrs.field(default=0.0, init=False)
    _deadline: float | None = attrs.field(default=None, init=False)
    _last_look: float = attrs.field(default=0.0, init=False)
    _waiting: bool = attrs.field(default=False, init=False)
    _due: float | None = attrs.field(default=None, init=False)
    _lease: Lease | None = attrs.field(default=None, init=False)
    _version: int = attrs.field(default=0, init=False)
    _looked_at: float | None = attrs.field(default=None, init=False)
    _answered_at: float = attrs.field(default=0.0, init=False)
    _unfinished_at: float | None = attrs.field(default=None, init=False)
    _finished_at: float | None = attrs.field(default=None, init=False)
    _trouble: Trouble = attrs.field(factory=Trouble, init=False)
    _expired_after: float | None = attrs.field(default=None, init=False)

    async def begin(self) -> None:
        """Start the clock of this wait, once: at first use, not when it was made."""
        if self._begun:
            return
        now = self._began = self._answered_at = self.now()
        self._deadline = None if self.timeout is None else now + self.timeout
        self.subject = self.poller.enrich(self.subject)
        watch = self._watch = self.poller.watch(self.subject, self.opt_fields)
        self._version, self.looks = watch.version, self.subject.looks
        self._polling = None if self.strategy is None else Polling(self.poller.exchange.clock, self.looks)
        self.job = self.poller.finished(self.subject.gid, self.opt_fields) or self.subject.job
        self._begun = True
        if self.job is not None:
            # What the POST answered is look number zero: it cost nothing, and the next look is due after a gap.
            # Unless we started it, nobody knows when it was like that.
            self._note(self.job, watch.born, watch.started)
            self._outcome = self.job
        elif watch.job is not None and now - watch.seen_at <= FRESH:
            self._version -= 1  # what another waiter has just seen is the first look
        elif self.subject.looked_at is not None:
            await self._resume(self.subject.looked_at, now)

    async def _resume(self, looked_at: datetime, now: float) -> None:
        wall = self.poller.exchange.clock.now()
        ago = max(0.0, (wall - looked_at).total_seconds())
        self._unfinished_at = self._last_look = self._answered_at = now - ago
        if self.strategy is None:
            self._waiting = True
        else:
            # The strategy is asked for the gap after the last look of the earlier process.
            self._polling = Polling(self.poller.exchange.clock, self.looks - 1)
            self._outcome = Job(self.subject.gid, status=self.subject.last_status)
        if self.subject.trouble_since is not None:
            self._trouble.since = now - max(0.0, (wall - self.subject.trouble_since).total_seconds())
            self._trouble.not_found = self.subject.not_found

    @property
    def done(self) -> bool:
        """Whether the job is known to have finished."""
        return self.job is not None and self.job.done

    async def look(self) -> Job:
        """Wait for the next turn, look, and return what was seen; transient trouble is looked past."""
        # A parked wait is this coroutine and little more, so what it awaits is not in one of its own.
        while True:
            if self._expired_after is not None or self._is_last(self._looked_at):
                raise self._time_out()
            self._next_turn()
            turn, end = self._line_up(), self._deadline
            try:
                if turn is not None:
                    with turn as granted:
                        self._lease = await (granted if end is None else self._in_time(granted, end))
                self._waiting = False
            except AsanaJobsError:
                if self._expired_after is None:  # nobody was answered for long
                    self._trouble.clear()
                raise
            if await self._try() is None and self.job is not None:
                return self.job

    async def step(self) -> AsanaJobsError | None:
        """Look once without waiting for a turn; return the trouble that spoiled it, if it may pass."""
        self._next_turn()
        return await self._try()

    async def _try(self) -> AsanaJobsError | None:
        try:
            self._outcome = await self._look_now()
        except AsanaJobsError as error:
            self._outlive(error)
            self._outcome = error
            return error
        return None

    async def _look_now(self) -> Job:
        """Look once, without waiting for a turn. A deadline bounds it."""
        started = self.now()
        priority = self.poller.priority(first=not self.looks, last=self._is_last(started))
        lease, self._lease = self._lease, None
        look = self.poller.look(self._watch, self._version, priority, lease)
        try:
            if (end := self._deadline) is None:
                job = await look
            else:
                late = max(0.0, started - end)
                chance = LAST_LOOK - late if late < LAST_LOOK else LAST_LOOK
                async with self.poller.exchange.clock.timeout(max(end - started, chance)):
                    job = await look
        except AsanaJobsError:
            self._looked(started)
            raise
        except TimeoutError:
            if not self._is_last(self.now()):
                raise  # not ours: a token provider's
            self._looked(started)
            raise self._time_out() from None
        self._looked(started)
        self._trouble.clear()
        self._note(job, started, self._watch.asked_at)
        return job

    def _looked(self, started: float) -> None:
        self.looks += 1
        self._version = self._watch.version
        self._answered_at = self._watch.answered_at
        # What others saw a while ago does not count as a look made now.
        self._looked_at = started if started - self._answered_at <= FRESH else self._answered_at

    def _note(self, job: Job, started: float, asked_at: float | None) -> None:
        self.job = job
        if job.done:
            self._finished_at = self.now()
        else:
            self._last_look, self._unfinished_at = started, asked_at

    def _outlive(self, error: AsanaJobsError) -> None:
        """Look past *error*, or raise what ends the wait."""
        gid, now, trouble = self.subject.gid, self.now(), self._trouble
        young = now - self._watch.born < self.policy.not_found_grace
        seen = self.job is not None or self.subject.last_status is not None
        if not trouble.meet(error, now, young=young, seen=seen):
            trouble.clear()
            raise error
        if trouble.streak == 1:
            _log.info("job %s: trouble, waiting on: %s", gid, error, extra=about_job(gid, error=error))
        if self._is_last(now):
            raise self._time_out() from error
        if trouble.since is not None and now - trouble.since >= self.policy.give_up_after:
            trouble.clear()
            raise error

    def _gap(self) -> float:
        if self.strategy is not None and self._polling is not None and self._outcome is not None:
            gap = gap_after(self.strategy, self._polling.after(self._outcome))
        else:  # without trouble, a look is due when it is worth it, which is found out where it lines up
            gap = self._next_gap() if self._trouble.streak else 0.0
        return max(gap, self._trouble.asked(gated=True))

    def retry_in(self) -> float:
        """Return the seconds until the next look is due, for who comes back without a gate of its own."""
        gap = self._next_gap() if self.strategy is None else self._gap()
        return max(gap, self._trouble.asked(gated=False))

    def _next_gap(self) -> float:
        if self._trouble.streak:
            exchange = self.poller.exchange
            return delay(exchange.retry, self._trouble.streak, exchange.clock.random())
        age = max(0.0, self._last_look - self._watch.born)
        watch, durations = self._watch, self.poller.durations
        known_start = watch.started is not None
        gap = next_look(self.policy, durations, watch.kind, age, watch.source, known_start=known_start)
        return max(0.0, self._last_look + gap - self.now())

    def _next_turn(self) -> None:
        # The first is due at once; one that was cancelled before it came to anything is taken again.
        if self._outcome is not None:
            gap = self._gap()
            self._outcome, self._waiting = None, True
            if self._polling is not None:
                self._polling.rest(gap)
            by_worth = self.strategy is None and not self._trouble.streak
            # From the last answer, not from now: what its reader did with it meanwhile does not count.
            self._due = None if by_worth else self._answered_at + max(0.0, gap)

    def _line_up(self) -> LookTurn | None:
        # What is waited for is kept, so that a wait that is cancelled meanwhile goes on waiting for the same.
        if self._lease is not None or not (self._waiting or self.poller.away):
            return None
        if not self._waiting:
            self._due, self._waiting = self.now(), True
        due, end = self._due, self._deadline
        due = due if due is None or end is None else min(due, end)
        since = self._trouble.set_back_since() if self.strategy is None else None
        return self.poller.turn(self._watch, self._version, self.policy, self._last_look, due, since=since)

    async def _in_time(self, granted: asyncio.Future[Lease | None], deadline: float) -> Lease | None:
        """Wait for the grant until the deadline at most, which may bring it: the last look does not wait for its turn."""
        try:
            async with self.poller.exchange.clock.timeout(max(0.0, deadline - self.now())):
                return await granted
        except AsanaJobsError:
            raise  # it may be a request's timeout, which is no deadline
        except TimeoutError:
            if self.poller.exchange.gate.snapshot().paused_for > LAST_LOOK:
                raise self._time_out() from self._trouble.error
        return granted.result() if granted.done() and not granted.cancelled() else None

    def _is_last(self, started: float | None) -> bool:
        if self._deadline is None or started is None:
            return False
        return started >= self._deadline - CLOCK_RESOLUTION

    def _time_out(self) -> JobTimeoutError:
        if self._expired_after is None:
            self._expired_after = self.now() - self._began
        gid, after, token, trouble = self.subject.gid, self._expired_after, self.token(), self._trouble.error
        return JobTimeoutError(gid=gid, job=self.job, waited=after, continuation_token=token, trouble=trouble)

    def token(self) -> str:
        """Write the continuation token."""
        if not self._begun:
            return self.poller.enrich(self.subject).to_token()
        return attrs.evolve(
            self.subject,
            started_at=self._wall(self._watch.born),
            first_seen=self._watch.started is None,
            last_status=self.job.status if self.job else self.subject.last_status,
            looks=self.looks,
            looked_at=self._wall(self._unfinished_at if self._looked_at is None else self._looked_at),
            trouble_since=self._wall(self._trouble.since),
            not_found=self._trouble.not_found,
        ).to_token()

    @property
    def statistics(self) -> WaitStatistics:
        """Looks, seconds waited, and between which moments the job finished."""
        if not self._begun:
            return WaitStatistics(
                looks=self.subject.looks, waited=0.0, finished_after=None, finished_before=None
            )
        return WaitStatistics(
            looks=self.looks,
            waited=(self.now() if self._finished_at is None else self._finished_at) - self._began,
            finished_after=self._wall(self._unfinished_at),
            finished_before=self._wall(self._finished_at),
        )

    def _wall(self, moment: float | None) -> datetime | None:
        clock = self.poller.exchange.clock
        return None if moment is None else clock.now() - timedelta(seconds=self.now() - moment)

    def ended(
        self, outcome: WaitOutcome, *, error: Exception | None = None, waited: float | None = None
    ) -> WaitEnded:
        """Return the event of this wait's end.

        Args:
            outcome: How it ended.
            error: What ended it, unless the job did.
            waited: The seconds until it ended, if that was not now.
        """
        from asana_jobs.events import WaitEnded  # noqa: PLC0415  # only for those who listen

        return WaitEnded(
            at=self.wall_now(),
            gid=self.subject.gid,
            kind=self.kind,
            outcome=outcome,
            error=error,
            status=self.job.status if self.job else None,
            waited=self.statistics.waited if waited is None else waited,
            looks=self.looks,
            lag_bound=self.statistics.lag_bound if self.done else None,
        )

    @property
    def kind(self) -> str | None:
        """The operation, or the job's ``resource_subtype``, if known."""
        return self._watch.kind if self._begun else self.subject.kind

    def wall_now(self) -> datetime:
        """Return the moment to put on an event."""
        return self.poller.exchange.clock.now()

    def now(self) -> float:
        """Return the client's time."""
        return self.poller.exchange.clock.monotonic()
