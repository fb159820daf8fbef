"""`run_worker`: a process that does the work of a `JobQueue`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Final
from uuid import uuid4

import attrs

from asana_jobs import AsanaClient, PollPolicy, RateLimits
from asana_jobs.policies import check_policy
from asana_jobs.tokens import find_token
from asana_jobs.worker._budget_protocol import budget_name, keys_of
from asana_jobs.worker._engine import Engine, FleetClock, fleet_clock
from asana_jobs.worker._records import FleetDurations, RunningPlaces, WaitRecords
from asana_jobs.worker._redis import AwayError, Store
from asana_jobs.worker._redis_gate import AWAY_SHARE, PreacquiredGate, RedisGate
from asana_jobs.worker._steps import ResultHandler, Steps
from asana_jobs.worker.errors import QueueError


#: Seconds between two exchanges of learned durations, and two questions what time it is.
EXCHANGE_SECONDS: Final = 10.0
#: A second of lag at the end of a job that the queue started is a second in which its place stands empty.
EAGERNESS: Final = 0.2
_log = logging.getLogger("asana_jobs")


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
        concurrency: Places for looks, and as many for first looks and for starts.
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
    store, engine = Store(url), Engine(url, name, connections=6 * concurrency)
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
                    work = engine.run(
                        steps.step, name=worker, concurrency=concurrency, store=store, clock=clock
                    )
                    await _until_told(work, gate.let_go)
    finally:
        with contextlib.suppress(AwayError, QueueError):
            await engine.forget_worker(worker, store)
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


async def _until_told(work: Coroutine[object, object, None], let_go: Callable[[], None]) -> None:
    task = asyncio.ensure_future(work)

    def stop() -> None:
        task.cancel()
        let_go()

    loop = asyncio.get_running_loop()
    told = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        told.append(signal.SIGHUP)  # the terminal was closed, and nobody has said `nohup`
    for number in told:
        # Where the loop is not the main thread's, or knows no signals, cancelling is the way.
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        stop()
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
        yield
    finally:
        over.set()
        await asyncio.wait([task])
        with contextlib.suppress(AwayError, QueueError):
            await durations.exchange()
