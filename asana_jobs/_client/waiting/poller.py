"""The poller of a client: it looks at every watched job, whoever waits for it, whenever that is worth a request.

One task spends the budget for looks, while there is one to be made; a look is a short-lived task of its own, in the
context of the subscription that wants it. Between looks there is one timer, for the next look and the next deadline.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from math import inf
from sys import intern
from typing import Final
from weakref import WeakValueDictionary

from asana_jobs._client.clock import Timer
from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.decode import decode
from asana_jobs._client.http.lifetime import closed_error
from asana_jobs._client.http.protocol import Request, Response, read_data, read_error, read_job
from asana_jobs._client.http.retrying import delay
from asana_jobs._client.limits.gate import FOREGROUND, READ, ROUTINE, Lease
from asana_jobs._client.telemetry.log_fields import about_job, about_request
from asana_jobs._client.waiting.deadlines import Deadlines
from asana_jobs._client.waiting.durations import EDGES, Durations
from asana_jobs._client.waiting.job_reference import ORGANIZATION_EXPORTS, JobReference
from asana_jobs._client.waiting.schedule import TIMER_SLACK, Schedule
from asana_jobs._client.waiting.subscription import LAST_LOOK, LOOK, SHORTEST_LAST_LOOK, Subscription
from asana_jobs._client.waiting.trouble import FailureStreak, Outage, copy_exception, unanswered
from asana_jobs._client.waiting.watched_job import JobMemory, WatchedJob, mark_export
from asana_jobs.errors import APIError, AsanaJobsError, DecodeError, RequestError, rounded
from asana_jobs.models import Job, JobStatus, has_changed
from asana_jobs.operations import Operation


#: Unknown states that are logged, so that a server which invents one with each answer does not fill log and memory.
LOGGED_STATES: Final = 100
#: Seconds for which a monitor's first look waits at most, once first looks were seen to be of little use.
FIRST_LOOK_WITHIN: Final = 2.0
#: First looks from which on it is said what they are of use, and after which the past counts half.
FIRST_LOOKS_TOLD, FIRST_LOOKS_KEPT = 20, 400
#: The share of the jobs of a kind that have ended when the others are overdue.
USUAL: Final = 0.99

_log = logging.getLogger("asana_jobs")


def key_of(gid: str, opt_fields: str | None) -> str:
    """Return the name in the schedule of a job that is asked for these fields."""
    return gid if opt_fields is None else f"{gid}?{opt_fields}"


class Poller:
    """All looks of one client.

    Attributes:
        exchange: The way of a request.
        durations: How long jobs took.
        memory: What is remembered of jobs.
        watched: Those in which somebody is interested.
        now: Returns the client's time in seconds.
        loop: The loop that it runs on, once it does.
    """

    def __init__(self, exchange: ApiSession, durations: Durations) -> None:
        self.exchange = exchange
        self.durations = durations
        self.now: Callable[[], float] = exchange.clock.monotonic
        self.loop: asyncio.AbstractEventLoop | None = None
        # Timers that nobody is made to wait for by are not noted by a test's clock.
        self._call_later = getattr(exchange.clock, "schedule", exchange.clock.call_later)
        self.watched: dict[str, WatchedJob] = {}
        # Others, as long as somebody holds them.
        self._others: WeakValueDictionary[str, WatchedJob] = WeakValueDictionary()
        self._fields: set[str] = set()  # that are asked for instead of all, by anybody
        self.memory: JobMemory = JobMemory(exchange.clock)
        self._unknown_states: set[str] = set()
        # First looks at jobs of which nothing was known, and how many of these had finished.
        self._first_looks = self._found_finished = 0
        self._schedule = Schedule(durations)
        # To be looked at before the schedule, in the order in which they came. The first of a plain dictionary would be
        # looked for past all that have left it, at every look.
        self._line: OrderedDict[str, None] = OrderedDict()
        self._urgent: WatchedJob | None = None  # the one whose first look waits for the budget by itself
        self._deadlines: Deadlines[Subscription] = Deadlines()
        self._outage = Outage()
        self._set_back: dict[WatchedJob, None] = {}  # not due yet because of trouble, the longest first
        self._looks: dict[asyncio.Task[None], tuple[WatchedJob, Lease | None]] = {}
        self._asker: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._timer_for = inf, False  # when, and whether for a look

    # What is known of jobs.

    def watch(self, reference: JobReference, opt_fields: str | None) -> WatchedJob:
        """Return the one watched job of this gid with these fields."""
        key = key_of(reference.gid, opt_fields)
        watched = self.watched.get(key) or self._others.get(key)
        started_at = None if reference.first_seen else reference.started_at
        if watched is None:
            watched = WatchedJob(reference.gid, opt_fields, reference.collection, key, self.now())
            self._others[key] = watched
            if reference.looked_at is not None and reference.trouble_since is None:
                watched.seen_at = self.memory.moment(reference.looked_at)  # it was running then
            if started_at is None:
                self.memory.meet(watched, reference)
        watched.kind = watched.kind or reference.kind
        watched.source = watched.source or reference.source
        if started_at is not None and not watched.known_start:
            watched.born, watched.known_start = self.memory.moment(started_at), True
        if self.exchange.telemetry.listening:
            watched.known = watched.known or reference.job or reference.last_status
        return watched

    def born(self, job: Job, operation: Operation, asked_at: float, opt_fields: str | None = None) -> None:
        """Take note of how a job was started, and of the job if the answer had all of its fields."""
        self.memory.started(job, operation, whole=opt_fields is None)
        took = self.now() - asked_at
        if _log.isEnabledFor(logging.DEBUG):
            extra = about_job(job.gid, job.status, kind=operation.kind)
            _log.debug("%s of %s started job %s", operation.kind, operation.gid, job.gid, extra=extra)
        self.exchange.telemetry.started(job, operation, took)
        if job.done:
            self.durations.observe(operation.kind, 0.0, took, operation.gid, finished=True)

    def read(self, request: Request, response: Response, needed: tuple[str, ...] = ("gid",)) -> Job:
        """Return the job that an answer is about, if it is the one that was asked for; *needed*: see `decode`."""
        if response.status != 200:
            raise read_error(request, response, self.exchange.clock.now())
        data = read_data(request, response, self.exchange.clock.now)
        try:
            if request.path.startswith(f"/{ORGANIZATION_EXPORTS}/"):
                data = mark_export(data)
            job = decode(Job, data, needed=needed)
        except DecodeError as error:
            error.gid = request.gid  # what was asked for, whatever can be read of the answer
            raise
        if job.gid != request.gid:
            raise self.exchange.refuse_stray(request, job.gid)
        return job

    # Who is interested.

    def subscribe(self, subscription: Subscription) -> None:
        """Have a job looked at for a subscription, until it is told what it wants, or leaves.

        Raises:
            ClientClosedError: the client is closed.
        """
        loop = asyncio.get_running_loop()
        if self.exchange.lifetime.closed or self.loop is not loop:
            self.exchange.lifetime.check()
            self.loop = loop
        watched, now = subscription.watched, self.now()
        first = watched.first
        if first is None:
            if not self.watched:
                self.exchange.lifetime.guards[self] = None
            self.watched[watched.key] = watched
            self._others.pop(watched.key, None)
            if watched.opt_fields is not None:
                self._fields.add(watched.opt_fields)
            watched.first = subscription
        else:
            watched.join(subscription)
        subscription.is_last = False
        if subscription.deadline is not None:
            if subscription.deadline <= now:
                self._expire(subscription, now, in_time=False)
                return
            subscription.ticket = self._deadlines.add(subscription, subscription.deadline)
        if first is None or watched.key not in self._schedule.jobs or not subscription.wants_what(first):
            self.line_up(watched, now)
        if subscription.ticket:
            self._arm(now)

    def leave(self, subscription: Subscription) -> asyncio.Task[None] | None:
        """Take a subscription out; return the look that is cancelled since nobody is interested any more."""
        watched = subscription.watched
        if watched.first is subscription and watched.others is None:
            watched.first = None
        elif not watched.leave(subscription):
            return None
        if subscription.ticket:
            self._deadlines.discard(subscription.ticket)
            subscription.ticket = 0
        if watched.first is None:
            return self._forget(watched)
        if watched.context is subscription.context and watched.key in self._schedule.jobs:
            if watched.first.wants_what(subscription):
                watched.context = watched.first.context
            else:
                self.line_up(watched, self.now())  # the others may want the next look later
        return None

    def _forget(self, watched: WatchedJob) -> asyncio.Task[None] | None:
        """Let go of a job in which nobody is interested any more."""
        del self.watched[watched.key]
        self._others[watched.key] = watched
        if self._line or watched.key in self._schedule.jobs:
            self._withdraw(watched)
        if self._urgent is watched:
            self._urgent = None
        watched.context = None
        look, watched.look = watched.look, None
        if look is not None:
            look.cancel()
        if not self.watched:
            self.exchange.lifetime.guards.pop(self, None)
            self._fields.clear()
            if self._asker is not None:
                self._asker.cancel()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        return look

    def cancel(self) -> None:
        """End everything, for the client is closed."""
        for watched in list(self.watched.values()):
            for subscription in watched.subscriptions:
                subscription.fail(closed_error())

    # When to look.

    def line_up(self, watched: WatchedJob, now: float) -> None:
        """Have a job looked at when the first of its subscriptions wants that, unless a look is under way."""
        wanting, due = watched.first, None
        if watched.look is not None or wanting is None:
            return
        if watched.others or watched.streak or wanting.strategy is not None or wanting.paused:
            wanting, due = self._first_due(watched)
        if wanting is None:
            self._withdraw(watched)
            return
        watched.context = wanting.context
        if wanting.at_once:
            due = self._first_look_at(watched, wanting)
            if due <= now:
                self._look_at_once(watched, wanting, now)
                return
        self._schedule.add(watched, wanting.policy, due)
        streak = watched.streak
        if due is not None and wanting.strategy is None and streak is not None and not streak.asked_pause:
            self._set_back[watched] = None
        if self._asker is None:
            self._arm(now)

    @staticmethod
    def _first_due(watched: WatchedJob) -> tuple[Subscription | None, float | None]:
        """Return who wants the next look, and when; ``None`` for when it is worth its price."""
        first, first_at, first_due = None, inf, None
        for subscription in watched.subscriptions:
            if subscription.paused or (first is not None and subscription.wants_what(first)):
                continue
            if subscription.at_once:
                return subscription, None
            try:
                due = subscription.next_due()
            except Exception as error:  # noqa: BLE001  # the user's strategy: it ends what is his
                subscription.fail(error)
                continue
            at = subscription.due_by_worth() if due is None else due
            if first is None or at < first_at:
                first, first_at, first_due = subscription, at, due
        return first, first_due

    def _withdraw(self, watched: WatchedJob) -> None:
        self._schedule.remove(watched.key)
        self._line.pop(watched.key, None)
        if not self._line:
            self._line.clear()  # room for thousands, which were there at once
        self._set_back.pop(watched, None)

    def _hurry(self, watched: WatchedJob) -> None:
        """Have a job looked at as soon as there is room."""
        if watched.look is None and not all(subscription.paused for subscription in watched.subscriptions):
            self._withdraw(watched)
            self._line[watched.key] = None
            self._arm(self.now())

    def _look_at_once(self, watched: WatchedJob, subscription: Subscription, now: float) -> None:
        if subscription.is_last or subscription.wants == LOOK:
            self._start(watched, None, now)
        elif not self._outage.on and (self._urgent is None or self._urgent.look_began is not None):
            # Only one is urgent: the first looks of a fleet would keep everybody's own calls waiting for minutes.
            self._urgent = watched
            self._start(watched, None, now)
        else:
            self._line[watched.key] = None
            self._arm(now)

    def _first_look_at(self, watched: WatchedJob, subscription: Subscription) -> float:
        """Return when the first look at a monitor's job is worth its price, if nothing is known of the job.

        A look at once only tells whether it had finished before. Where jobs are handed over as they start, that is
        one request of each for nothing, in a free domain one of five.
        """
        known = watched.known_start or watched.running_at > -inf or self._first_looks < FIRST_LOOKS_TOLD
        if known or watched.others or subscription.monitor is None or subscription.is_last or self._outage.on:
            return -inf
        chance = (self._found_finished + 1) / (self._first_looks + 2)
        return watched.born + min(FIRST_LOOK_WITHIN, subscription.policy.lag_price / chance)

    def _arm(self, now: float) -> None:
        """See to it that somebody asks for the budget when a look is due, and that deadlines are kept."""
        due = inf if self._asker is not None else self._next_due(now)
        if due <= now + TIMER_SLACK:
            self._begin_asking(now)
            due = inf
        moment, noted = min(due, self._deadlines.next if self._deadlines.heap else inf), due < inf
        if self._timer is not None:
            if (moment, noted) == self._timer_for:
                return
            self._timer.cancel()
            self._timer = None
        if moment < inf:
            call_later = self.exchange.clock.call_later if noted else self._call_later
            self._timer_for = moment, noted
            self._timer = call_later(moment - now, self._on_timer)

    def _begin_asking(self, now: float) -> None:
        assert self.loop is not None  # noqa: S101  # somebody has subscribed
        self._asker = task = self.loop.create_task(self._ask(now), name="asana_jobs poller")
        self.exchange.lifetime.tasks.add(task)
        task.add_done_callback(self._asker_ended)

    def _on_timer(self) -> None:
        self._timer = None
        if self._deadlines.heap:
            now = self.now()
            while (subscription := self._deadlines.take(now)) is not None:
                self._expire(subscription, now)
            self._arm(now)
        elif self._asker is None:
            self._begin_asking(self._timer_for[0])  # even if it seems a hair too early: clocks round

    def _next_due(self, now: float) -> float:
        due = now if self._line else self._schedule.next_due(now)
        if self._outage.on:
            # For want of others, one of those that are set back looks earlier than it would alone.
            due = max(now if self._set_back else due, self._outage.ready_at)
        return due

    async def _ask(self, now: float) -> None:
        """Ask for the budget as long as a look is due, and hand it on."""
        try:
            while (self._schedule.jobs or self._line) and self._next_due(now) <= now + TIMER_SLACK:
                lease = await self.exchange.gate.acquire(READ, ROUTINE)
                now = max(now, self.now())
                watched = self._take(now)
                if watched is None:
                    lease.release(answered=False)
                else:
                    self._start(watched, lease, now)
        except Exception as error:  # noqa: BLE001  # a budget that cannot be asked: everybody waiting is told
            for watched in list(self.watched.values()):
                if watched.look is None:
                    self._end(watched, error)

    def _asker_ended(self, task: asyncio.Task[None]) -> None:
        self.exchange.lifetime.tasks.discard(task)
        self._asker = None
        if self._schedule.jobs or self._line:
            self._arm(self.now())

    def _take(self, now: float) -> WatchedJob | None:
        """Return the job to look at now; ``None`` if, since the budget was asked, there is none any more."""
        if self._outage.on and now < self._outage.ready_at - TIMER_SLACK:
            return None
        key = next(iter(self._line), None) or self._schedule.take(now)
        watched = None if key is None else self.watched[key]
        if self._outage.on:
            if watched is None:
                watched = next(iter(self._set_back), None)
            if watched is not None:
                self._outage.probed(now)
                self._lose_patience(now, watched)
        return watched

    def _lose_patience(self, now: float, probed: WatchedJob) -> None:
        """Tell those for whom it has lasted too long, but not who is about to see for himself."""
        error, began = self._outage.error, self._outage.since
        for watched in list(self.watched.values()):
            if watched is probed or watched.look is not None or error is None:
                continue
            since = began if watched.streak is None else watched.streak.since
            for subscription in watched.subscriptions:
                if subscription.patience_left(max(since, began), error, now) <= 0:
                    subscription.give_up(error)

    def _expire(self, subscription: Subscription, now: float, *, in_time: bool = True) -> None:
        """Make the last look for a subscription, or tell it that there was none; *in_time*: it waited till now."""
        watched, subscription.ticket = subscription.watched, 0
        if subscription.is_last:
            subscription.time_out()
            return
        subscription.is_last = True
        longest = min(LAST_LOOK, max(SHORTEST_LAST_LOOK, subscription.timeout or LAST_LOOK))
        end = now + longest
        if watched.look is not None:
            if in_time and watched.look_began is not None:
                # A look that was sent long before has had its chance.
                end = min(end, watched.look_began + LAST_LOOK)
        elif self.exchange.gate.snapshot().paused_for > longest:
            end = now
        else:
            watched.context = subscription.context
            self._start(watched, None, now)
        if end <= now:
            subscription.time_out()
        elif subscription.is_last:  # else the look has ended already
            subscription.ticket = self._deadlines.add(subscription, end)
            self._arm(now)

    # Looking.

    def _start(self, watched: WatchedJob, lease: Lease | None, now: float) -> None:
        """Begin a look, with a *lease* or with one that it asks for by itself, ahead of routine ones."""
        if lease is None or self._line or watched in self._set_back or watched.key in self._schedule.jobs:
            self._withdraw(watched)
        watched.look_began = None
        assert self.loop is not None and watched.context is not None  # noqa: PT018, S101  # somebody has subscribed
        # In a copy, since a context cannot be entered twice; and task factories of older days take no context.
        look = self._look(watched, lease, now)
        task = watched.context.copy().run(self.loop.create_task, look, name=f"asana-job-{watched.gid}")
        if not task.done():  # it may be, where tasks are eager
            watched.look = task
            self._looks[task] = watched, lease
            self.exchange.lifetime.tasks.add(task)
            task.add_done_callback(self._broken_off)

    def _broken_off(self, task: asyncio.Task[None]) -> None:
        """Take note that a look was ended from outside, perhaps before its first step."""
        watched, lease = self._looks.pop(task)
        self.exchange.lifetime.tasks.discard(task)
        if lease is not None and task.cancelled():
            lease.release(answered=False)  # cancelled before its first step, it has not used it
        if watched.look is task:  # ended from outside: the job is due again, at once
            watched.look = None
            self.line_up(watched, self.now())

    async def _look(self, watched: WatchedJob, lease: Lease | None, asked_at: float) -> None:
        session = self.exchange
        try:
            if lease is None:
                urgent = any(one.is_last or one.wants == LOOK for one in watched.subscriptions)
                first = urgent or not session.gate.snapshot().waiting[FOREGROUND]
                lease = await session.gate.acquire(READ, FOREGROUND if first else ROUTINE)
                asked_at = self.now()
            watched.look_began = asked_at
            # Made for each look, since a watched job keeps no more than it needs.
            path, fields = f"/{watched.collection}/{watched.gid}", watched.opt_fields
            query = "" if fields is None else read_job(watched.gid, fields).query
            request = Request("GET", path, query, watched.gid, session.timeout)
            try:
                response = await session.look(request, lease)
                # Most looks see what the one before saw, to the letter: that is read once, and kept once.
                job = None
                if response.body != watched.body or response.status != 200:
                    job = self.read(request, response, needed=("gid", "status"))
            except AsanaJobsError as error:
                self._failed(watched, error, asked_at)
            else:
                self._answered(watched, job, response.body, asked_at)
        except Exception as error:  # noqa: BLE001  # a transport that breaks its promise, or a mistake of ours
            self._end(watched, error)

    def _come_back(self, watched: WatchedJob) -> None:
        """Take note that a look ends by itself: to be called back for that takes a twentieth of its time."""
        look, watched.look = watched.look, None
        if look is not None and self._looks.pop(look, None) is not None:
            look.remove_done_callback(self._broken_off)
            self.exchange.lifetime.tasks.discard(look)

    def _end(self, watched: WatchedJob, error: Exception) -> None:
        """End the waits for a job with an error that is nobody's answer, so that nobody hangs."""
        self._come_back(watched)
        for subscription in watched.subscriptions:
            subscription.fail(copy_exception(error))

    def _failed(self, watched: WatchedJob, error: AsanaJobsError, asked_at: float) -> None:
        session, now = self.exchange, self.now()
        watched.looks += 1
        watched.answered_at = now
        streak = watched.streak = watched.streak or FailureStreak(now, error)
        streak.record(error)
        pause = delay(session.retry, streak.failures, session.clock.random())
        streak.due = now + max(pause, streak.asked_pause)
        self._met(error)
        session.telemetry.looked(watched.gid, now - asked_at, error)
        self._come_back(watched)
        for subscription in watched.subscriptions:
            subscription.hear_trouble(streak, now)
        if not session.contact.made:
            left = [one.patience_left(streak.since, error, now) for one in watched.subscriptions]
            streak.due = min(streak.due, now + min(left, default=inf))
        if watched.first is not None:
            if streak.failures == 1:
                extra = about_job(watched.gid, error=error)
                _log.info("job %s: trouble, waiting on: %s", watched.gid, error, extra=extra)
            self.line_up(watched, now)

    def _answered(self, watched: WatchedJob, job: Job | None, body: bytes, asked_at: float) -> None:
        now = self.now()
        if self._outage.failures:
            self._met(None)
        if self.exchange.telemetry.listening and (seen := job or watched.job) is not None:
            self.exchange.telemetry.saw(watched, seen, asked_at)
        if job is not None:
            self._note_change(watched, job)
            watched.body, watched.reading = body, None
        if watched.running_at == -inf and not watched.known_start:
            if self._first_looks >= FIRST_LOOKS_KEPT:
                self._first_looks, self._found_finished = self._first_looks // 2, self._found_finished // 2
            self._first_looks += 1
            self._found_finished += job is not None and job.done
        watched.looks += 1
        watched.streak = None
        watched.asked_at, watched.answered_at = asked_at, now
        # Asana saw the job at some moment between; the middle is the best guess.
        seen_at = (asked_at + now) / 2
        done = job is not None and job.done
        if done or seen_at >= watched.learn_at:
            self._learn(watched, seen_at, done=done)
        watched.running_at = watched.seen_at = seen_at
        self._come_back(watched)
        for subscription in (watched.first,) if watched.others is None else watched.subscriptions:
            if subscription is not None:
                subscription.hear(job, now)
        if watched.first is not None:
            self.line_up(watched, now)

    def _note_change(self, watched: WatchedJob, job: Job) -> None:
        if _log.isEnabledFor(logging.DEBUG) and has_changed(job, watched.job):
            _log.debug("job %s: %s", job.gid, job.status, extra=about_job(job.gid, job.status))
        if watched.kind is None and job.resource_subtype is not None:
            watched.kind = intern(job.resource_subtype)  # thousands of jobs are of one kind
        if job.done:
            self.memory.finished[watched.key] = job
            # Whoever asks for other fields is to see it too.
            for fields in (None, *self._fields):
                other = self.watched.get(key_of(watched.gid, fields))
                if other is not None and other is not watched:
                    self._hurry(other)
        elif isinstance(job.status, JobStatus | None) or job.status in self._unknown_states:
            return
        elif len(self._unknown_states) < LOGGED_STATES:
            self._unknown_states.add(job.status)
            text = "job %s is in state %r, unknown to this version: taken as not finished"
            _log.warning(text, job.gid, job.status, extra=about_job(job.gid, job.status))

    def _learn(self, watched: WatchedJob, seen_at: float, *, done: bool) -> None:
        """Note that a job has grown into another bin of age, or has ended; the looks in between tell nothing more."""
        born, known_start = watched.born, watched.known_start
        kind, source, age = watched.kind, watched.source, seen_at - born
        following = bisect_right(EDGES, age)
        if not known_start and watched.seen_at == -inf:
            watched.watched_from = seen_at  # the job may have ended at any moment before
        elif known_start or watched.teaches:
            after, since = watched.seen_at - born, watched.watched_from - born
            self.durations.observe(
                kind, after, age, source, finished=done, known_start=known_start, since=since
            )
        if done:
            return
        watched.learn_at = born + EDGES[following] if following < len(EDGES) else inf
        if watched.was_overdue:
            return
        usual = self.durations.end_age(kind, USUAL, source=source, known_start=known_start)
        # Of a bin of age that jobs are still in, only the ends are known: it must be behind.
        if usual is not None and following >= min(bisect_right(EDGES, usual) + 2, len(EDGES)):
            watched.was_overdue = True
            text = "job %s is overdue: it runs for %s s, and 99 of 100 of its kind, %s, end within %s s"
            extra = about_job(watched.gid, kind=kind)
            _log.info(text, watched.gid, rounded(age), kind, rounded(usual), extra=extra)
            self.exchange.telemetry.overdue(watched.gid, kind, age, usual)

    def _met(self, error: AsanaJobsError | None) -> None:
        """Take note of how a look ended, at whichever job: in *error*, or well."""
        outage = self._outage
        if isinstance(error, RequestError) and unanswered(error):
            if outage.failed(error, self.now()):
                extra = about_request(error, error=error)
                _log.warning("look after look fails, one wait looks for all now: %s", error, extra=extra)
        elif outage.failures and (error is None or isinstance(error, APIError | DecodeError)):
            self._outage = Outage()
            if outage.on:
                _log.info("looks are answered again, after %s s", rounded(self.now() - outage.since))
                for watched in list(self._set_back):
                    self._hurry(watched)
