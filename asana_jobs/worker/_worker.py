"""`run_worker`: a process that does the work of a `JobQueue`, and says how it is.

It ends in order when it is told to, within the seconds that it has for that, whatever hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from asana_jobs import PollPolicy, RateLimits
from asana_jobs.errors import AuthenticationError, TokenError
from asana_jobs.policies import Duration, seconds
from asana_jobs.worker._engine import CANCEL_AGAIN_SECONDS, Again, Engine, ended
from asana_jobs.worker._handlers import ResultHandler
from asana_jobs.worker._records import FleetDurations
from asana_jobs.worker._redis import AwayError
from asana_jobs.worker._redis_gate import AWAY_SHARE
from asana_jobs.worker._status import report, sign_off
from asana_jobs.worker._steps import HANDLER_TIMEOUT, StepCounts, Steps, Tokens
from asana_jobs.worker.errors import QueueError


if TYPE_CHECKING:
    from asana_jobs.events import Event

#: Seconds between two reports of a worker, two questions what time it is, and two exchanges of learned durations.
REPORT_SECONDS: Final = 5.0
#: Seconds between two looks whether Redis is the server it was.
WATCH_SECONDS: Final = 1.0
#: Seconds between two lines of the log that say what was done.
LINE_SECONDS: Final = 60.0
#: Seconds until the steps of a worker whose token is refused are others'.
REFUSED_SECONDS: Final = 0.5
#: Seconds that a worker has to finish what it is at. Kubernetes and Docker kill after 30 and 10.
DRAIN_SECONDS: Final = 25.0
#: Seconds of the time to end, half of it at most, that are left for what has to be cancelled.
CANCELLING_SECONDS: Final = 5.0
_log = logging.getLogger("asana_jobs")


async def run_worker(
    url: str,
    *,
    queue: str = "default",
    token: Tokens = None,
    budget: str | None = None,
    base_url: str | None = None,
    proxy: str | None = None,
    limits: RateLimits | None = None,
    poll: PollPolicy | None = None,
    concurrency: int = 10,
    away_share: float = AWAY_SHARE,
    on_finished: ResultHandler | None = None,
    on_failed: ResultHandler | None = None,
    handler_timeout: Duration = HANDLER_TIMEOUT,
    on_event: Callable[[Event], object] | None = None,
    drain: Duration = DRAIN_SECONDS,
    health_file: str | os.PathLike[str] | None = None,
    allow_eviction: bool = False,
) -> None:
    """Do the work of a `JobQueue` until cancelled, or told to stop by SIGTERM, or SIGHUP (unless that is ignored).

    Ctrl-C is Python's, as everywhere: `asyncio.run` cancels the worker, and raises ``KeyboardInterrupt`` when that has
    ended in order. What is in flight then is finished, within *drain* seconds, and its share of the budget given back.

    A wait takes up one of the *concurrency* places only while a request for it is on its way, so a few carry hundreds of
    waits. Starts have as many places of their own, and do not queue up behind looks; handlers need none.

    Nothing is started twice, whoever is killed, stopped, slow or cut off. A Redis that lost its last writes, as it does when it
    is killed without ``appendfsync always`` or when a replica takes its place, is told again by the workers what they have
    started. What that cannot save: a start of the last second whose worker was lost together with Redis' writes; with
    ``appendfsync always`` and without failovers even that is safe. Waits that were put in in that second are lost, and can be
    put in again under the same names. A process that is stopped in the very moment between the last look at its intent
    and the first byte of its POST sends that when it is continued.

    It logs, as INFO to the logger ``asana_jobs``, what it is ready to do, and each minute what it has done.

    Args:
        url: The Redis of the queue, which must be trusted: see `JobQueue`.
        queue: The queue's name.
        token: An access token, or an async callable that returns one, such as an `OAuthRefresh`; ``None`` reads the
            environment as `AsanaClient` does. A mapping of names of budgets to such tokens serves several of them: a job
            is watched with the token that started it.
        budget: A name for the token's budget, which all workers of the token share; a callable token needs one.
        base_url: As for `AsanaClient`.
        proxy: As for `AsanaClient`, for all requests to Asana.
        limits: As for `AsanaClient`, all workers of a token together, which must be told the same.
        poll: As for `AsanaClient`.
        concurrency: Places for looks, and as many for first looks and for starts.
        away_share: Share of the limits at which looks go on while Redis is away, see `RedisGate`.
        on_finished: Called with each `Result` that succeeded, at least once: a worker that is killed meanwhile leaves it
            to another one to call it again.
        on_failed: Called with each other `Result`, likewise.
        handler_timeout: How long one call of these may take, in seconds or as a `timedelta`; one that takes longer is
            cancelled, logged, and not called again.
        on_event: As for `AsanaClient`.
        drain: How long it may take to end, in seconds or as a `timedelta`. What has not ended then is cancelled, and
            is another worker's: a start whose answer was awaited is ``unknown``.
        health_file: A file that is written every five seconds while Redis answers, and removed at the end: a worker
            whose file is older than half a minute is not well.
        allow_eviction: Take a Redis that throws keys away when its memory is full, and with them waits.

    Raises:
        TokenError: there is no token, it cannot be one, or it cannot be renewed.
        AuthenticationError: Asana refuses the token. Everything was given back: the waits are for other workers.
        QueueError: Redis is not there when the worker starts, is full, or refuses it. What happens to it later is
            waited out.
        ValueError: an argument is wrong.
    """
    _check_count(concurrency)
    drain = seconds(drain, "drain")
    steps = Steps(
        url,
        queue=queue,
        token=token,
        budget=budget,
        base_url=base_url,
        proxy=proxy,
        limits=limits,
        poll=poll,
        away_share=away_share,
        on_finished=on_finished,
        on_failed=on_failed,
        handler_timeout=handler_timeout,
        on_event=on_event,
        allow_eviction=allow_eviction,
    )
    engine = Engine(url, steps.queue, connections=6 * concurrency)
    worker = Worker(steps, engine, concurrency, None if health_file is None else Path(health_file))
    try:
        await _until_told(worker.work(), drain)
    except AwayError as error:
        raise QueueError(str(error)) from error


def _check_count(concurrency: object) -> None:
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"concurrency must be a whole number of at least 1, not {concurrency!r}")


@attrs.define(eq=False)
class Worker:
    """Steps with an engine, and what is said of them.

    Attributes:
        steps: What is done.
        engine: What says when.
        concurrency: Places for looks, and as many for starts.
        health_file: The file that says that the worker is well.
    """

    steps: Steps
    engine: Engine
    concurrency: int
    health_file: Path | None
    _began: float = attrs.field(default=0.0, init=False)
    _line_at: float = attrs.field(default=0.0, init=False)
    _line_counts: StepCounts = attrs.field(factory=StepCounts, init=False)

    def __attrs_post_init__(self) -> None:
        self.steps.fence.reschedule = partial(self.engine.schedule_many, start=True, store=self.steps.store)

    async def work(self) -> None:
        """Do the work of the queue until cancelled, or until Asana refuses a token."""
        async with contextlib.AsyncExitStack() as ending:
            ending.push_async_callback(self.engine.close)
            await ending.enter_async_context(self.steps)
            ending.push_async_callback(self._sign_off)
            if self.health_file is not None:
                self.health_file.touch()  # a wrong path is said at once
            self._say_ready()
            # It is told to end, not cancelled: a cancellation amid a request of Redis' client may get lost.
            over = asyncio.Event()
            telling = asyncio.create_task(self._tell(over), name="asana_jobs worker's reports")
            watching = asyncio.create_task(self._watch(over), name="asana_jobs worker's watch over Redis")
            working = asyncio.create_task(self._work(), name="asana_jobs worker's steps")
            try:
                await asyncio.wait([telling, watching, working], return_when=asyncio.FIRST_COMPLETED)
            finally:
                working.cancel()
                over.set()
                await ended(working, telling, watching)
            for task in (working, telling, watching):
                if not task.cancelled():
                    task.result()

    async def _work(self) -> None:
        refused: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        # The engine does the rest of a step, but where the records are on other nodes than its keys.
        make = self.steps.step if self.steps.store.cluster else self.steps.make

        async def step(key: str, returning: bool) -> Again | None:
            if refused.done():
                return Again(REFUSED_SECONDS)
            try:
                return await make(key, returning=returning)
            except (AuthenticationError, TokenError) as error:
                if not refused.done():
                    refused.set_exception(error)
                return Again(REFUSED_SECONDS)

        working = asyncio.create_task(
            self.engine.run(
                step,
                name=self.steps.name,
                concurrency=self.concurrency,
                store=self.steps.store,
                clock=self.steps.clock,
                record=self.steps.records.key,
            ),
            name="asana_jobs worker's engine",
        )
        try:
            await asyncio.wait([working, refused], return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            for account in self.steps.accounts.values():
                account.gate.let_go()  # those who wait for the budget need not go any more
            await ended(working)
            if not refused.done():
                refused.cancel()
        if not refused.cancelled():
            refused.result()
        if not working.cancelled():
            working.result()

    async def _watch(self, over: asyncio.Event) -> None:
        """See when Redis is gone, back, or another one, and how many waits were never looked at."""
        gone_at: float | None = None
        while not over.is_set():
            try:
                await self.steps.fence.watch()
                waiting = await self.engine.first_looks(self.steps.store)
                for account in self.steps.accounts.values():
                    account.gate.make_way(waiting)
            except (AwayError, QueueError) as error:
                if gone_at is None:
                    gone_at = self.steps.clock.monotonic()
                    _log.warning(
                        "%s. Until it is back nothing is started, and jobs are looked at less often; then all goes on by"
                        " itself: see to Redis, the worker needs nothing",
                        str(error).rstrip("."),
                    )
            else:
                if gone_at is not None:
                    away = self.steps.clock.monotonic() - gone_at
                    _log.warning("Redis at %s is back after %.0f s", self.steps.store.address, away)
                gone_at = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await over.wait()

    async def _tell(self, over: asyncio.Event) -> None:
        durations = [
            FleetDurations(self.steps.store, f"asana-jobs:{{{self.steps.queue}}}:durations", account.client)
            for account in list(self.steps.accounts.values())[:1]  # the others share them
        ]
        while not over.is_set():
            with contextlib.suppress(AwayError, QueueError):
                await self.steps.clock.ask(self.steps.store)
                for learned in durations:
                    await learned.exchange()
                await self._report()
            if self.steps.clock.monotonic() - self._line_at >= LINE_SECONDS:
                self._say_line()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REPORT_SECONDS):
                    await over.wait()

    async def _report(self) -> None:
        words: dict[str, Any] = {
            "since": self._began,
            "handling": len(self.steps.handlers),
            "budgets": {name: self._budget(name) for name in self.steps.accounts},
            **attrs.asdict(self.steps.counts),
        }
        await report(self.steps.store, self.steps.queue, self.steps.name, words)
        if self.health_file is not None:
            text = json.dumps({"worker": self.steps.name, "queue": self.steps.queue, **words})
            try:
                self.health_file.write_text(f"{text}\n", "utf-8")
            except OSError as error:
                _log.error("the worker works, but its health file cannot be written: %s", error)

    def _budget(self, name: str) -> dict[str, float]:
        told = self.steps.accounts[name].gate.snapshot()
        return {
            "quota": told.quota,
            "used": told.used,
            "paused_for": told.paused_for,
            "jobs_running": self.steps.jobs_running,
        }

    def _say_ready(self) -> None:
        self._began = self.steps.clock.now().timestamp()
        self._line_at = self.steps.clock.monotonic()
        budgets = ", ".join(self.steps.accounts)
        _log.info(
            "worker %s is ready: queue %r at %s, %d places for looks and for starts, budget %s",
            self.steps.name,
            self.steps.queue,
            self.steps.store.address,
            self.concurrency,
            budgets,
        )

    def _say_line(self) -> None:
        now, before = attrs.evolve(self.steps.counts), self._line_counts
        self._line_at, self._line_counts = self.steps.clock.monotonic(), now
        used = [
            f"{told['used']:.0%} of {told['quota']:.0f} requests a minute"
            for told in map(self._budget, self.steps.accounts)
        ]
        _log.info(
            "worker %s in the last minute: %d looks, %d starts, %d waits ended, %d failures, %d handlers at work; %s",
            self.steps.name,
            now.looks - before.looks,
            now.starts - before.starts,
            now.ended - before.ended,
            now.failures - before.failures,
            len(self.steps.handlers),
            "; ".join(used),
        )

    async def _sign_off(self) -> None:
        if self.health_file is not None:
            self.health_file.unlink(missing_ok=True)
        with contextlib.suppress(AwayError, QueueError):
            await self.engine.forget_worker(self.steps.name, self.steps.store)
            await sign_off(self.steps.store, self.steps.queue, self.steps.name)
        _log.info("worker %s has ended", self.steps.name)


async def _until_told(work: Coroutine[object, object, None], drain: float) -> None:
    """Do *work* until it ends, this task is cancelled, or a signal comes; then end it within *drain* seconds."""
    task = asyncio.create_task(work, name="asana_jobs worker")
    told = asyncio.Event()
    telling = asyncio.create_task(told.wait(), name="asana_jobs worker's signals")
    cancelled, hard = False, min(CANCELLING_SECONDS, drain / 2)
    loop = asyncio.get_running_loop()
    with _signals(lambda: loop.call_soon_threadsafe(told.set)):
        try:
            await asyncio.wait([task, telling], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            cancelled = True
        if not task.done():
            _log.info(
                "the worker is told to end: what is under way has %g s; what it is killed amid is left to other workers,"
                " and a start amid its POST is unknown",
                drain,
            )
            task.cancel()
        over = loop.time() + drain - hard
        for at_once in (cancelled, True):  # cancelled a second time, it ends at once
            try:
                await asyncio.wait([task], timeout=over - loop.time())
                break
            except asyncio.CancelledError:
                cancelled = True
                if at_once:
                    break
        telling.cancel()
        await _cancel_hard(task, hard)
    if cancelled:
        if task.done() and not task.cancelled():
            task.exception()
        raise asyncio.CancelledError
    if task.done() and not task.cancelled():
        task.result()


async def _cancel_hard(task: asyncio.Task[None], patience: float) -> None:
    tries = max(1, int(patience / CANCEL_AGAIN_SECONDS))
    while not task.done() and tries:
        tries -= 1
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_SECONDS)
    if not task.done():
        _log.error("the worker does not end, and is left as it is; its waits are for other workers")


#: The workers of this process that a signal ends, and what it did before they came.
_heard: Final[list[Callable[[], object]]] = []
_before: Final[dict[signal.Signals, Any]] = {}


@contextmanager
def _signals(stop: Callable[[], object]) -> Generator[None, None, None]:
    """Have *stop* called when SIGTERM comes, or SIGHUP; for several workers in one process, that of each."""
    loop = asyncio.get_running_loop()
    _heard.append(stop)
    try:
        if not _before:
            for number in _ending_signals():
                before = signal.getsignal(number)
                # Where the loop is not the main thread's, or knows no signals, cancelling is the way.
                with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                    loop.add_signal_handler(number, _tell_all)
                    _before[number] = before
        yield
    finally:
        _heard.remove(stop)
        if not _heard:
            for number, before in _before.items():
                loop.remove_signal_handler(number)
                signal.signal(number, before)
            _before.clear()


def _ending_signals() -> list[signal.Signals]:
    numbers = [signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)  # the terminal was closed, and nobody has said `nohup`
    return numbers


def _tell_all() -> None:
    for stop in _heard:
        stop()
