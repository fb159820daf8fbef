"""`run_worker`: a process that does the work of a `JobQueue`.

One step of a wait starts its job, or looks at it once. Nothing is waited for in a worker's place.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from random import uniform
from typing import Final
from uuid import uuid4

import attrs

from asana_jobs import AsanaClient, Job, PollPolicy, RateLimits
from asana_jobs.errors import (
    AsanaJobsError,
    ConnectError,
    OutcomeUnknownError,
    RateLimitError,
)
from asana_jobs.operations import Operation
from asana_jobs.policies import check_policy
from asana_jobs.tokens import find_token
from asana_jobs.worker._budget_protocol import budget_name, keys_of
from asana_jobs.worker._engine import Engine, FleetClock, StepAgain, engine_on, fleet_clock
from asana_jobs.worker._leases import ComeBack
from asana_jobs.worker._queue import Result, read_result, read_spec, write_result
from asana_jobs.worker._records import FleetDurations, RunningPlaces, WaitRecords
from asana_jobs.worker._redis import AwayError, Store
from asana_jobs.worker._redis_gate import AWAY_SHARE, PreacquiredGate, RedisGate
from asana_jobs.worker.errors import QueueError


#: Seconds for which an intent without an answer may still be somebody's who is slow, not dead.
DOUBT_SECONDS: Final = 45.0
#: Seconds until a start is tried again that Asana or the network refused.
RESTART_SECONDS: Final = 3.0

#: Seconds between two exchanges of learned durations, and two questions what time it is.
EXCHANGE_SECONDS: Final = 10.0
#: A second of lag at the end of a job that the queue started is a second in which its place stands empty.
EAGERNESS: Final = 0.2
ResultHandler = Callable[[Result], Awaitable[object]]
_log = logging.getLogger("asana_jobs")


@attrs.define(eq=False, kw_only=True)
class Steps:
    """Makes the steps of one worker.

    Attributes:
        name: The name of the worker.
        client: Sends the requests.
        eager: When to look at jobs that the queue started: they are in the way of the next ones.
        gate: The shared budget.
        handed: The gate of the client, to which leases at hand are given.
        records: The records of the waits.
        places: The places of running jobs.
        on_finished: Called with each result that succeeded.
        on_failed: Called with each other one.
    """

    name: str
    client: AsanaClient
    eager: PollPolicy
    gate: RedisGate
    handed: PreacquiredGate
    records: WaitRecords
    places: RunningPlaces
    on_finished: ResultHandler | None = None
    on_failed: ResultHandler | None = None

    async def step(self, key: str, returning: bool) -> StepAgain | None:
        """Make one step of the wait *key*; ``None`` when it has ended."""
        record = await self.records.read(key)
        if record.again:
            await self.records.renew(key)
            return StepAgain(0.0)
        if record.result is not None:
            if not record.handled:
                await self._handle(key, read_result(record.result))
            return None
        if record.spec is None:
            _log.error("nothing is known any more of the wait %r: was its record deleted?", key)
            return None
        about = read_spec(record.spec)
        subject = record.token or about.subject
        if subject is not None:
            return await self._look(key, about.operation, subject, returning=returning)
        assert about.operation is not None  # noqa: S101  # there is one or the other
        return await self._start(key, about.operation)

    # Starting.

    async def _start(self, key: str, operation: Operation) -> StepAgain | None:
        lease = await self.gate.acquire_start(key)
        if lease is None:
            return StepAgain(await self.places.wait(key))
        with self.handed.hand(lease):
            try:
                begun = await self.records.begin(key, self.name)
            except AwayError:
                await self.records.withdraw(key, self.name)  # it may have arrived, and nothing was sent
                raise
            if begun.word in {"started", "ended"}:
                return StepAgain(0.0)
            if begun.word == "intent":
                if begun.since < DOUBT_SECONDS:
                    return StepAgain(DOUBT_SECONDS - begun.since + 1.0)
                await self._end(key, operation, None, _lost(operation))
                return None
            try:
                await self.places.keep(key)
            except AwayError:
                await self.records.withdraw(key, self.name)  # nothing was sent
                raise
            return await self._post(key, operation)

    async def _post(self, key: str, operation: Operation) -> StepAgain | None:
        try:
            job = await self.client.start(operation)
        except (RateLimitError, ConnectError) as error:  # nothing was started, for certain
            _log.info("%r was not started yet: %s", key, error)
            await self.records.withdraw(key, self.name)
            await self.places.give_back(key)
            return StepAgain(uniform(1, 2) * RESTART_SECONDS)  # noqa: S311  # no secret
        except AsanaJobsError as error:
            await self._end(key, operation, None, error)
            return None
        waiter = self.client.wait_for_job(job)
        token = waiter.continuation_token()
        waiter.close()  # others wait
        await self.records.started(key, token)
        if job.done:
            await self._end(key, operation, job)
            return None
        return StepAgain(0.0)

    # Looking.

    async def _look(
        self, key: str, operation: Operation | None, subject: str, *, returning: bool
    ) -> StepAgain | None:
        # While a job that we started is not seen to have finished, it takes the place of the next one.
        urgent = operation is not None
        found = await self.gate.acquire_look(returning=returning, urgent=urgent)
        if isinstance(found, ComeBack):
            return StepAgain(found.seconds, returning=True)
        try:
            with self.handed.hand(found):
                check = await self.client.check_job(subject, poll=self.eager if urgent else None)
        except AsanaJobsError as error:
            await self._end(key, operation, None, error)
            return None
        if check.done:
            await self._end(key, operation, check.job)
            return None
        await self.records.looked(key, check.continuation_token)
        return StepAgain(check.retry_in or 0.0)

    # Ending.

    async def _end(
        self, key: str, operation: Operation | None, job: Job | None, error: AsanaJobsError | None = None
    ) -> None:
        text = write_result(key, operation, job, error)
        if operation is not None:
            unknown = isinstance(error, OutcomeUnknownError)
            # A job that may run counts for a while; its place is not lost for ever.
            await (self.places.keep_for_a_while if unknown else self.places.give_back)(key)
        if await self.records.finish(key, text):
            await self._handle(key, read_result(text))

    async def _handle(self, key: str, result: Result) -> None:
        handler = self.on_finished if result.succeeded else self.on_failed
        if handler is not None:
            try:
                await handler(result)
            except Exception:  # noqa: BLE001  # a user's mistake does not end the worker
                _log.exception("the handler of %r raised; it is not called again", key)
        await self.records.handled(key)


def _lost(operation: Operation) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"{operation.kind} of {operation.gid} may or may not have been started by a worker that was killed before"
        f" the answer was stored. It was not repeated; look in Asana, then call retry_unknown.",
        method=operation.method,
        path=operation.path,
        gid=operation.gid,
        operation=operation,
    )


async def run_worker(
    url: str,
    *,
    queue: str = "default",
    token: str | None = None,
    base_url: str | None = None,
    limits: RateLimits | None = None,
    poll: PollPolicy | None = None,
    concurrency: int = 10,
    away_share: float = AWAY_SHARE,
    on_finished: ResultHandler | None = None,
    on_failed: ResultHandler | None = None,
) -> None:
    """Do the work of a `JobQueue` until cancelled, or told to stop by SIGTERM, SIGINT or SIGHUP (unless that is ignored).

    What is in flight then is finished, and its share of the budget given back. A wait takes up one of the
    *concurrency* places only while a request for it is on its way, so a few carry hundreds of waits. Starts have as
    many places of their own, and do not queue up behind looks.

    Args:
        url: The Redis of the queue, which must be trusted: see `JobQueue`.
        queue: The queue's name.
        token: An access token; ``None`` reads the environment as `AsanaClient` does.
        base_url: As for `AsanaClient`.
        limits: As for `AsanaClient`, all workers together, which must be told the same.
        poll: As for `AsanaClient`.
        concurrency: Places for looks, and as many for starts.
        away_share: Share of the limits at which looks go on while Redis is away, see `RedisGate`.
        on_finished: Called with each `Result` that succeeded. A worker that is killed meanwhile leaves it to
            another one to call it again.
        on_failed: Called with each other `Result`, likewise.

    Raises:
        TokenError: there is no token, or it cannot be one.
        QueueError: Redis is not there when the worker starts, is full, or refuses it. What happens to it later is
            waited out.
    """
    _check_count(concurrency)
    token = find_token()[0] if token is None else token
    poll = PollPolicy() if poll is None else check_policy(poll)
    name = budget_name(None, queue)
    worker = f"{socket.gethostname()}#{os.getpid()}#{uuid4().hex[:6]}"
    store, engine = Store(url), Engine(url, name)
    try:
        clock = await _reach(store, name)
        async with RedisGate(url, token=token, limits=limits, away_share=away_share) as gate:
            handed = PreacquiredGate(gate)
            async with AsanaClient(
                token, base_url=base_url, limits=limits, poll=poll, gate=handed, clock=clock
            ) as client:
                tag = f"asana-jobs:{{{name}}}"
                steps = Steps(
                    name=worker,
                    client=client,
                    eager=attrs.evolve(poll, lag_price=poll.lag_price * EAGERNESS),
                    gate=gate,
                    handed=handed,
                    records=WaitRecords(store, name),
                    places=RunningPlaces(store, keys_of(gate.name)[3], f"{tag}:waiting"),
                    on_finished=on_finished,
                    on_failed=on_failed,
                )
                durations = FleetDurations(store, f"{tag}:durations", client)
                async with _exchanging(durations, clock, store):
                    await _until_told(engine.run(steps.step, name=worker, concurrency=concurrency))
    finally:
        await engine.close()
        await store.close()


def _check_count(concurrency: object) -> None:
    if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
        raise ValueError(f"concurrency must be a whole number of at least 1, not {concurrency!r}")


async def _reach(store: Store, name: str) -> FleetClock:
    try:
        # A full Redis answers, and takes nothing.
        await store("SET", f"asana-jobs:{{{name}}}:writable", 1, "EX", 60)
        return await fleet_clock(store)
    except AwayError as error:
        raise QueueError(str(error)) from error


async def _until_told(work: Coroutine[object, object, None]) -> None:
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()
    told = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        told.append(signal.SIGHUP)  # the terminal was closed, and nobody has said `nohup`
    for number in told:
        # Where the loop is not the main thread's, or knows no signals, cancelling is the way.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, task.cancel)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait([task])
        raise
    finally:
        for number in told:
            with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
                loop.remove_signal_handler(number)
    if not task.cancelled():
        task.result()


@asynccontextmanager
async def _exchanging(
    durations: FleetDurations, clock: FleetClock, store: Store
) -> AsyncGenerator[None, None]:
    over = asyncio.Event()

    async def exchange() -> None:
        # It is told to end, not cancelled: a cancellation amid a request of Redis' client may get lost.
        while not over.is_set():
            with contextlib.suppress(AwayError, QueueError):
                await clock.ask(store)
                await durations.exchange()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EXCHANGE_SECONDS):
                    await over.wait()

    task = asyncio.create_task(exchange())
    try:
        with engine_on(clock):
            yield
    finally:
        over.set()
        await asyncio.wait([task])
        with contextlib.suppress(AwayError, QueueError):
            await durations.exchange()
