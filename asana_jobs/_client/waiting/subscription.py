"""`Subscription`: the interest of one waiter, or of one entry of a monitor, in a watched job.

By which policy or strategy to look, until when, and what it was told; and the statistics and the token of a wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from contextvars import Context, copy_context
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast
from weakref import ref

import attrs

from asana_jobs._client.clock import NO_LOOP
from asana_jobs._client.http.lifetime import wait_shielded
from asana_jobs._client.http.retrying import Polling, WaitStrategy
from asana_jobs._client.waiting.deadlines import CLOCK_RESOLUTION
from asana_jobs._client.waiting.job_reference import JobReference
from asana_jobs._client.waiting.schedule import next_look
from asana_jobs._client.waiting.trouble import FailureStreak, copy_exception, passes
from asana_jobs._client.waiting.watched_job import WatchedJob, read_body
from asana_jobs.errors import AsanaJobsError, JobTimeoutError
from asana_jobs.models import Job, has_changed
from asana_jobs.policies import PollPolicy


if TYPE_CHECKING:
    from asana_jobs._client.telemetry.telemetry import WaitSpan
    from asana_jobs._client.waiting.monitor import MonitorEntries
    from asana_jobs._client.waiting.poller import Poller
    from asana_jobs.events import WaitEnded


#: Seconds by which looks may outlast a deadline: one that begins at it, or shortly before, must have a chance.
LAST_LOOK: Final = 5.0
#: The least of them, for waits of less than that.
SHORTEST_LAST_LOOK: Final = 1.0
#: Seconds for which what another waiter saw counts as a look of one's own.
FRESH: Final = 1.0


#: What a subscription may want to be told of.
Wants: TypeAlias = Literal[0, 1, 2, 3]

END: Final = 0
CHANGE: Final = 1
ANSWER: Final = 2
LOOK: Final = 3  # answers, and trouble that may pass too


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


@attrs.frozen(kw_only=True)
class Eta:
    """When a job is expected to have ended, by what was learned of its kind and by its age.

    Attributes:
        likely: The median: as many end earlier as later.
        latest: The moment by which nine of ten have ended.
    """

    likely: datetime
    latest: datetime


@attrs.define(eq=False, kw_only=True)
class Subscription:
    """The interest of one waiter, or of one entry of a monitor, in a job.

    Nothing is asked of the network or the clock before `begin`.

    Attributes:
        gid: The gid of the job.
        reference: The job as it was handed in; once it has begun, only if it goes on from an earlier process.
        poller: The client's.
        policy: What a look is worth, and how long trouble may last.
        strategy: When to look, instead of what the policy says.
        timeout: Seconds from the first use on.
        opt_fields: The fields to ask for.
        looks: The looks that it was told of, and those of earlier processes.
        monitor: Who is told; ``None`` for a waiter, which awaits `future`.
        observed: Whether its begin and end are told to the client's listeners.
        after: Called at the end of each use, to close what only this wait has.
        wants: What it is told of.
        future: What its waiter awaits, while it does.
        told: What its reader was told last, or the answer that was read from.
        paused: Whether it wants no look: there is something new that its monitor's reader has no room for yet.
        watched: The job; from `begin` on.
        deadline: When its time is over.
        ticket: The name of its deadline among all of them.
        is_last: Whether its deadline has come, so that the next answer is the last.
        done: Whether the job is known to have finished.
        at_once: Whether it wants the next look as soon as there is room for it.
        driver: The task that waits.
    """

    gid: str
    reference: JobReference | None
    poller: Poller
    policy: PollPolicy
    strategy: WaitStrategy | None = None
    timeout: float | None = None
    opt_fields: str | None = None
    looks: int = 0
    monitor: MonitorEntries | None = None
    observed: bool = True
    after: Callable[[], Awaitable[object]] | None = None

    wants: Wants = attrs.field(default=END, init=False)
    future: asyncio.Future[Job | AsanaJobsError] | None = attrs.field(default=None, init=False)
    told: Job | bytes | None = attrs.field(default=None, init=False)
    paused: bool = attrs.field(default=False, init=False)
    watched: WatchedJob = attrs.field(init=False)  # from the beginning on
    context: Context | None = attrs.field(default=None, init=False)
    deadline: float | None = attrs.field(default=None, init=False)
    ticket: int = attrs.field(default=0, init=False)
    is_last: bool = attrs.field(default=False, init=False)
    done: bool = attrs.field(default=False, init=False)
    at_once: bool = attrs.field(default=False, init=False)
    _began: float | None = attrs.field(default=None, init=False)
    # The job, or the answer it was told of last.
    _last: Job | bytes | None = attrs.field(default=None, init=False)
    _unread: bool = attrs.field(default=False, init=False)  # its reader may not have been told of that
    _heard: int = attrs.field(default=0, init=False)  # looks at the job, up to the one it was told of last
    _heard_before: int = attrs.field(default=0, init=False)  # as it was when its patience began
    _patient_since: float = attrs.field(default=0.0, init=False)
    _trouble_since: float | None = attrs.field(default=None, init=False)  # from an earlier process on
    _wants_new_patience: bool = attrs.field(default=False, init=False)  # it gave up
    _polling: Polling | None = attrs.field(default=None, init=False)  # for a strategy
    _unfinished_at: float | None = attrs.field(default=None, init=False)
    _looked_at: float | None = attrs.field(default=None, init=False)
    # When the job's end was seen, or the time was over.
    _over_at: float | None = attrs.field(default=None, init=False)
    _span: WaitSpan | None = attrs.field(default=None, init=False)
    driver: asyncio.Task[object] | None = attrs.field(default=None, init=False)

    def begin(self) -> None:
        """Start the clock of this wait, once: at first use, not when it was made."""
        if self._began is not None:
            if self.observed and self._span is None and self._over_at is None:
                self._tell_begin()
            return
        poller = self.poller
        poller.exchange.lifetime.check()
        now = self._began = self._patient_since = poller.now()
        self.deadline = None if self.timeout is None else now + self.timeout
        assert self.reference is not None  # noqa: S101  # it has not begun
        reference = poller.memory.enrich(self.reference)
        self.reference = None if reference.looked_at is None else reference
        watched = self.watched = poller.watch(reference, self.opt_fields)
        self._heard = self._heard_before = watched.looks
        if self.strategy is not None:
            # Resumed, it is asked for the gap after the last look of the earlier process.
            looks = self.looks - (reference.looked_at is not None)
            self._polling = Polling(self.strategy, poller.exchange.clock, looks)
        if self.observed:
            self._tell_begin()
        elif self.context is None:
            self.context = copy_context()
        self._go_on(reference, now)

    def _go_on(self, reference: JobReference, now: float) -> None:
        """Have the next look a gap after what is known of the job, or at once."""
        watched, memory = self.watched, self.poller.memory
        known = memory.finished.get(watched.key) or reference.job
        if known is not None:  # what the POST answered is look number zero, which cost nothing
            self._last, self._unread = known, True
            if known.done:
                self._finish(now)
                return
            seen_at, running_at = now, watched.born
            self._unfinished_at = watched.started  # unless we started it, nobody knows when it was like that
        elif reference.looked_at is not None:
            known = Job(self.gid, status=reference.last_status)
            seen_at = running_at = self._unfinished_at = memory.moment(reference.looked_at)
            if reference.trouble_since is not None:
                self._trouble_since = memory.moment(reference.trouble_since)
        elif watched.body is not None and watched.streak is None and now - watched.seen_at <= FRESH:
            self._heard -= 1  # what another waiter has just seen is the first look
            return
        else:
            self.at_once = True
            return
        watched.running_at = max(watched.running_at, running_at)
        if self._polling is not None:
            self._polling.saw(known, seen_at)

    @property
    def job(self) -> Job | None:
        """The job as it was last seen, as far as this wait was told."""
        return _read(self._last, self.watched) if isinstance(self._last, bytes) else self._last

    # Waiting, by a waiter.

    async def finish(self) -> Job:
        """Wait until the job has finished, and return it; raises what `wait` does."""
        return cast("Job", await self.wait())

    async def wait(self, wants: Wants = END) -> Job | AsanaJobsError:
        """Wait for what is wanted, the job's end unless told otherwise, and return it.

        A wait that is parked is this coroutine and little more, so what it awaits is not in one of its own.

        Raises:
            StopAsyncIteration: changes are wanted, and there are no more.
            JobTimeoutError: the time of this wait is over, or was.
            ClientClosedError: the client was closed.
            AsanaJobsError: watching is impossible, or trouble lasted too long.
            RuntimeError: another task waits.
        """
        self.driver, self.wants = self.running_task(), wants
        try:
            if self._began is None or self.observed:
                self.begin()
            outcome: Job | AsanaJobsError | None = self._at_hand()
            if outcome is None:
                self.future = asyncio.get_running_loop().create_future()
                self.poller.subscribe(self)
                outcome = await self.future
        except (StopAsyncIteration, GeneratorExit):
            self.abandon()  # if it was closed, perhaps by the garbage collector, in any thread and amid anything
            raise
        except BaseException as error:
            await self._break_off(error)
            raise
        else:
            if CHANGE <= wants <= ANSWER:
                self.told, self._unread = cast("Job", outcome), False
            return outcome
        finally:
            self.future = None
            try:
                if self.after is not None:
                    await self.after()
            finally:
                self.driver = None

    def running_task(self) -> asyncio.Task[object] | None:
        """Return the task that is running, unless another one waits."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            raise RuntimeError(NO_LOOP) from None
        if self.driver not in {None, task}:
            raise RuntimeError(
                f"two tasks use one waiter for job {self.gid}: call wait_for_job once for each; they will share their "
                "looks"
            )
        return task

    async def _break_off(self, error: BaseException) -> None:
        if self._began is None:
            return
        look = self.poller.leave(self)
        self.tell_end(error)
        if look is not None and isinstance(error, asyncio.CancelledError):
            await until_ended(look)

    def _at_hand(self) -> Job | None:
        """Return what is wanted, if it is known without another look."""
        reads = CHANGE <= self.wants <= ANSWER
        if reads and self._unread:
            before, job = self.tell(), self.job
            if job is not None and has_changed(job, before):
                return job
        if self.done:
            if reads:
                raise StopAsyncIteration
            return self.job
        if self._over_at is not None:
            raise self._time_out()
        watched = self.watched
        if self._wants_new_patience:
            self._wants_new_patience = False
            self._patient_since, self._heard_before = self.poller.now(), watched.looks
        if watched.looks == self._heard or watched.streak is not None or watched.body is None:
            return None
        self._note_answer(watched.job)  # others have looked meanwhile
        return self._at_hand() if self._unread or self.done else watched.job if self.wants == ANSWER else None

    # Hearing of a look, from the poller.

    def hear(self, job: Job | None, now: float) -> None:
        """Take note of what a look showed, *now*, and tell who waits; ``None``: what the one before did, to the letter."""
        watched = self.watched
        unchanged = self._last is watched.body
        if job is None and (not unchanged or self.wants >= ANSWER or self.strategy is not None):
            job = watched.job if watched.reading is None else watched.reading() or watched.job
        self._note_answer(job)
        if job is not None and (
            self.done
            or self.wants >= ANSWER
            or (self.wants == CHANGE and not unchanged and has_changed(job, _read(self.told, watched)))
        ):
            self._deliver(job)
            if self.done:
                return
        elif self.monitor is not None and not self.paused:
            self.told = watched.body  # the same in other words: one of the two is enough
        if self.deadline is not None and self._is_over(now):
            if self.future is None and self.monitor is None:
                self._over_at = now  # the next use is told
            else:
                self.fail(self._time_out())

    def hear_trouble(self, streak: FailureStreak, now: float) -> None:
        """Take note of why a look has failed, *now*, and tell who waits if that is its end."""
        error = streak.error
        self._heard, self._looked_at, self.at_once = self.watched.looks, self.watched.look_began, False
        self.looks += 1
        if not self._may_pass(streak, now):
            self.give_up(error)
            return
        if self._polling is not None:
            self._polling.saw(copy_exception(error), now)
        if self.wants == LOOK:
            self._deliver(copy_exception(error))
        elif self._is_over(now):
            self.fail(self._time_out(error))

    def _note_answer(self, job: Job | None) -> None:
        watched = self.watched
        self._heard, self._looked_at, self.at_once = watched.looks, watched.look_began, False
        self.looks += 1
        self._trouble_since = None
        if self._polling is not None and job is not None:
            self._polling.saw(job, watched.answered_at)
        if self._last is not watched.body:
            self._last, self._unread = watched.body, True
            if job is not None and job.done:
                self._last = job
                self._finish(watched.answered_at)
                return
        self._unfinished_at = watched.asked_at

    def _is_over(self, now: float) -> bool:
        return self.deadline is not None and now >= self.deadline - CLOCK_RESOLUTION

    def _may_pass(self, streak: FailureStreak, now: float) -> bool:
        """Return whether this wait goes on in spite of the trouble."""
        watched = self.watched
        if not self._is_over(now) and self.patience_left(streak.since, streak.error, now) <= 0:
            return False
        seen = self._last is not None or watched.body is not None
        seen = seen or (self.reference is not None and self.reference.last_status is not None)
        young = now - watched.born < self.policy.not_found_grace
        return passes(streak.error, not_found=self._not_found(streak), young=young, seen=seen)

    def _not_found(self, streak: FailureStreak) -> int:
        """Return how many 404s in a row this wait has met, in earlier processes too."""
        looks = self._heard - self._heard_before
        if streak.not_found < looks:
            return streak.not_found
        return looks + (self.reference.not_found if self.reference and self._trouble_since is not None else 0)

    def patience_left(self, since: float, error: AsanaJobsError, now: float) -> float:
        """Return the seconds from *now* for which trouble may go on that began *since* and came to *error*."""
        policy, began = self.policy, self.watched.look_began
        contact = self.poller.exchange.contact
        unreached = contact.patience(error, policy.first_contact, policy.give_up_after)
        # Trouble of an earlier process says nothing about the connections of this one, and one look says little.
        here = max(since, self._began or 0.0)
        here = now if self.wants == LOOK else here if began is None else min(here, began)
        return min(self.trouble_since(since) + policy.give_up_after, here + unreached) - now

    def trouble_since(self, since: float) -> float:
        """Return since when this wait has trouble, if the job has it *since* a moment."""
        return max(since, self._patient_since) if self._trouble_since is None else self._trouble_since

    def next_due(self) -> float | None:
        """Return when to look next; ``None`` if that is when a look is worth its price.

        Raises:
            Exception: what the strategy raises, or a `ValueError` about what it answers.
        """
        streak = self.watched.streak
        if self._polling is None:
            return None if streak is None else streak.due
        due = self._polling.due()
        return due if streak is None else max(due, self.watched.answered_at + streak.asked_pause)

    def wants_what(self, other: Subscription) -> bool:
        """Return whether it wants the next look when another one does, for sure; of thousands, not all are compared."""
        mine = self.policy is other.policy and self.strategy is None and other.strategy is None
        return mine and not (self.at_once or other.at_once or self.paused or other.paused)

    def retry_in(self) -> float:
        """Return the seconds until the next look is due, for who comes back without a gate of its own."""
        watched, due = self.watched, self.next_due()
        wait = (self.due_by_worth() if due is None else due) - self.poller.now()
        return max(0.0, wait, 0.0 if watched.streak is None else watched.streak.retry_after)

    def due_by_worth(self) -> float:
        """Return when a look is worth its price."""
        return self.watched.running_at + next_look(self.watched, self.policy, self.poller.durations)

    # Telling who waits.

    def _deliver(self, outcome: Job | AsanaJobsError) -> None:
        if self.monitor is not None:
            if isinstance(outcome, Job):
                self.monitor.changed(self, outcome)
            if self.done:
                self.poller.leave(self)
                self.monitor.ended(self, None)
            return
        future, self.future = self.future, None
        self.poller.leave(self)
        if future is not None and not future.done():  # else it was cancelled, and is about to leave
            if isinstance(outcome, Job):
                self.watched.reading = ref(outcome)
            future.set_result(outcome)

    def tell(self) -> Job | None:
        """Take note that its reader is told what is new; return the job as it was told before."""
        before = _read(self.told, self.watched)
        self.told, self._unread, self.paused = self._last, False, False
        return before

    def changed_at(self) -> datetime:
        """Return when what is new was seen."""
        return self._at(max(self.watched.answered_at, self._began or 0.0))

    def fail(self, error: Exception) -> None:
        """End this wait with an error; of its waiter's, who can use it again, until then only."""
        future, self.at_once = self.future, True
        self.poller.leave(self)
        self.tell_end(error)
        if self.monitor is not None:
            self.monitor.ended(self, error)
        elif future is not None and not future.done():
            future.set_exception(error)

    def give_up(self, error: AsanaJobsError) -> None:
        """End this wait with an error of the job's, of which others get copies of their own."""
        self._wants_new_patience, self._trouble_since = True, None
        self.fail(copy_exception(error))

    def time_out(self) -> None:
        """End this wait: its time is over, and that of its last look."""
        streak = self.watched.streak
        if self.watched.look is not None:
            self.looks += 1  # it came to nothing
        self.fail(self._time_out(None if streak is None else streak.error))

    def _time_out(self, trouble: AsanaJobsError | None = None) -> JobTimeoutError:
        if self._over_at is None:
            self._over_at = self.poller.now()
        error = JobTimeoutError(
            gid=self.gid,
            job=self.job,
            waited=self._waited(),
            continuation_token=self.token(),
            trouble=trouble,
        )
        error.__cause__ = None if trouble is None else copy_exception(trouble)
        return error

    def _finish(self, now: float) -> None:
        self._over_at, self.done = now, True
        self.tell_end(None)

    # What there is to know of it.

    def token(self) -> str:
        """Write the continuation token."""
        reference = self.reference
        if self._began is None and reference is not None:
            return self.poller.memory.enrich(reference).to_token()
        watched, job, since = self.watched, self.job, self._trouble_since
        if watched.streak is not None:
            since = self.trouble_since(watched.streak.since)
        return JobReference(
            gid=self.gid,
            collection=watched.collection,
            kind=watched.kind,
            source=watched.source,
            started_at=self._wall(watched.born),
            first_seen=not watched.known_start,
            last_status=job.status if job else reference.last_status if reference else None,
            looks=self.looks,
            looked_at=self._wall(self._unfinished_at if self._looked_at is None else self._looked_at),
            trouble_since=self._wall(since),
            not_found=0 if watched.streak is None else self._not_found(watched.streak),
        ).to_token()

    @property
    def statistics(self) -> WaitStatistics:
        """Looks, seconds waited, and between which moments the job finished."""
        return WaitStatistics(
            looks=self.looks,
            waited=self._waited(),
            finished_after=self._wall(self._unfinished_at),
            finished_before=self._wall(self._over_at if self.done else None),
        )

    def eta(self) -> Eta | None:
        """Return when the job is expected to have ended; ``None`` if it has, or too little was learned to say."""
        if self._began is None or self.done:
            return None
        watched = self.watched
        age = max(0.0, watched.running_at - watched.born)
        likely, latest = (
            self.poller.durations.end_age(
                watched.kind, share, age=age, source=watched.source, known_start=watched.known_start
            )
            for share in (0.5, 0.9)
        )
        if likely is None or latest is None:
            return None
        now = self.poller.now() - watched.born  # what should have been seen by now may be seen at any moment
        return Eta(
            likely=self._at(watched.born + max(likely, now)), latest=self._at(watched.born + max(latest, now))
        )

    def _waited(self) -> float:
        end = self.poller.now() if self._over_at is None else self._over_at
        return 0.0 if self._began is None else end - self._began

    def _wall(self, moment: float | None) -> datetime | None:
        return None if moment is None else self._at(moment)

    def _at(self, moment: float) -> datetime:
        return self.poller.exchange.clock.now() - timedelta(seconds=self.poller.now() - moment)

    # Telling the client's listeners, if it has any.

    def _tell_begin(self) -> None:
        telemetry = self.poller.exchange.telemetry
        self._span = telemetry.wait_began(self.gid, self.watched.kind, self.timeout)
        with self._span or nullcontext():
            self.context = copy_context()

    def tell_end(self, error: BaseException | None) -> None:
        """Tell how this wait has ended, if its begin was told, and its end was not."""
        span, self._span = self._span, None
        if span is not None:
            self.poller.exchange.telemetry.wait_ended(span, self.ended(error))

    def ended(self, error: BaseException | None) -> WaitEnded:
        """Return the event of this wait's end; *error* ended it, unless the job did, or nobody goes on with it."""
        from asana_jobs.events import WaitEnded, outcome_of  # noqa: PLC0415  # only for those who listen

        job, statistics = self.job, self.statistics
        return WaitEnded(
            at=self.poller.exchange.clock.now(),
            gid=self.gid,
            kind=self.watched.kind,
            outcome=outcome_of(job, error),
            error=error if isinstance(error, Exception) else None,
            status=None if job is None else job.status,
            waited=statistics.waited,
            looks=self.looks,
            lag_bound=statistics.lag_bound if self.done else None,
        )

    def abandon(self) -> None:
        """Have it taken note of that nobody goes on with this wait; called from any thread, amid anything."""
        loop = self.poller.loop
        if loop is not None and not loop.is_closed() and (self._span is not None or self.future is not None):
            loop.call_soon_threadsafe(self._abandoned, self.future)

    def _abandoned(self, future: asyncio.Future[Job | AsanaJobsError] | None) -> None:
        if self.future is None or self.future is future:  # else it is being waited for again
            self.poller.leave(self)
            self.tell_end(None)


def _read(told: Job | bytes | None, watched: WatchedJob) -> Job | None:
    """Return what a reader was told."""
    if not isinstance(told, bytes):
        return told
    return watched.job if told is watched.body else read_body(told, watched.collection)


async def until_ended(*looks: asyncio.Task[None]) -> None:
    """Wait until looks that were cancelled have let go of their connections, even if cancelled meanwhile."""
    await wait_shielded(asyncio.gather(*looks, return_exceptions=True))
