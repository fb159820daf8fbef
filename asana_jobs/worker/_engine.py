"""The engine under the queue: docket, which no other file knows.

Arguments travel as cloudpickle: whoever can write to this Redis can run code in the workers. Docket keeps them twice
while a step is to be made later, so they are short; what a wait is about is in its record.

There are three dockets, or lines: however many jobs are to be looked at, what is to be started does not queue up
behind them; and however many jobs were never looked at, looks that return on time do not queue up behind these.

The fleet's time is that of Redis: a machine's own date and time are not believed, whatever becomes of them.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Protocol

import attrs
from docket import Docket, Execution, Worker
from docket.instrumentation import TASK_DURATION, TASKS_COMPLETED, TASKS_RUNNING, TASKS_STARTED
from redis.exceptions import RedisError

from asana_jobs.gates import SystemClock
from asana_jobs.worker._redis import AwayError, Script, Store
from asana_jobs.worker.errors import QueueError


#: The task's name on every machine.
STEP_NAME: Final = "asana_jobs_step"
#: Put before a wait's name: docket keeps its own data at names such as ``queue`` beside those of its tasks.
KEY_PREFIX: Final = "wait "
#: Seconds for which an unfinished step of a killed worker lies idle before another one takes it.
REDELIVERY: Final = 15.0
#: Seconds between two looks for what is due. Shorter costs Redis calls, longer costs lag.
DUE_CHECK_SECONDS: Final = 0.1
#: Steps that become due in one call: so long is Redis held up, some 5 ms.
MOST_DUE_AT_ONCE: Final = 1000
#: Seconds between two looks whether a place has become free: docket sleeps for that long while none is.
PLACE_CHECK_SECONDS: Final = 0.025
#: Seconds for which one call waits for a step while there are places: it is answered as soon as there is one.
READ_SECONDS: Final = 1.0
#: Seconds by which a machine's clock may be off before that is said.
TOLERATED_SKEW: Final = 1.0
#: Seconds that Redis may take to say what time it is, for its answer to be worth more than what is known already.
TRUSTED_DELAY: Final = 0.25
#: Connections that scheduling may use at once; others wait for one of them.
MOST_SCHEDULING: Final = 32
#: Connections of a docket beside those of its steps: for its loops, and for what is scheduled.
SPARE_CONNECTIONS: Final = 100
#: Seconds after which the name that a killed worker has in docket's stream is removed, if nothing is left there.
FORGOTTEN_WORKER_SECONDS: Final = 3600

#: Beginnings of URLs whose parameters go to a pool of connections.
_WITH_POOLS: Final = ("redis://", "rediss://", "unix://", "redis+sentinel://", "rediss+sentinel://")

ADD_SCRIPT: Final = Script("add")
AGAIN_SCRIPT: Final = Script("as_read", "again")
DUE_SCRIPT: Final = Script("due")
#: Seconds after which what was cancelled, and goes on, is cancelled once more.
CANCEL_AGAIN_SECONDS: Final = 0.5
#: The arguments of a step that returns, of another one, and the named ones, as docket reads them.
RETURNING: Final = pickle.dumps((True,))
FIRST: Final = pickle.dumps(())
NAMED: Final = pickle.dumps({})
#: Seconds until a step is made again that raised, which none should.
RAISED_SECONDS: Final = 30.0
_FORGET_CONSUMER: Final = """
local gone = 0
local told, consumers = pcall(redis.call, 'XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if not told or consumers.err then return 0 end
for _, consumer in ipairs(consumers) do
  local c = {}
  for place = 1, #consumer, 2 do c[consumer[place]] = consumer[place + 1] end
  if c.pending == 0 and (c.name == ARGV[2] or c.idle > tonumber(ARGV[3]) * 1000) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c.name)
    gone = gone + 1
  end
end
return gone
"""
_log = logging.getLogger("asana_jobs")


@attrs.frozen
class Again:
    """A step that is to be made again.

    Attributes:
        delay: In so many seconds.
        returning: Whether it was told to come back then; to be handed to that step.
    """

    delay: float
    returning: bool = False


@attrs.frozen
class Noting(Again):
    """One before which something is to be written into the wait's record, with the call that schedules it.

    Attributes:
        note: The field, its value, and the mark that the record must have, see `WaitRecord.mark`.
    """

    note: tuple[str, str, str] | tuple[()] = ()


class Scheduler(Protocol):
    """What has the steps of waits made: the engine of a queue."""

    async def schedule(self, key: str, *, delay: float = 0.0, returning: bool = False) -> None:
        """Have the step of the wait *key* made in *delay* seconds, once, in some process.

        Args:
            key: The name of the wait.
            delay: Seconds from now.
            returning: To be handed to the step.
        """
        ...


StepFunction = Callable[[str, bool], Awaitable[Again | None]]


class _Later(datetime):
    """A moment of the fleet's time. Docket asks whether it has come by the machine's clock, which is not believed."""

    def __le__(self, other: date) -> bool:
        return False


def _docket(url: str, name: str) -> Docket:
    return Docket(
        name=name,
        url=url,
        heartbeat_interval=timedelta(seconds=2),
        execution_ttl=timedelta(minutes=1),
    )


async def asana_jobs_step(returning: bool = False) -> None:
    """Stand for the step where it is only enqueued."""
    raise NotImplementedError(returning)


class Engine:
    """Schedules steps, and runs them in a worker."""

    def __init__(self, url: str, queue: str, *, connections: int = 0) -> None:
        url = _with_connections(url, connections + SPARE_CONNECTIONS)
        # No queue's name holds a blank, so none is taken for another line of another one.
        self._watches = _docket(url, f"asana-jobs-{queue}")
        self._first_looks = _docket(url, f"asana-jobs-{queue} first-looks")
        self._starts = _docket(url, f"asana-jobs-{queue} starts")
        self._connections = AsyncExitStack()
        self._scheduling = asyncio.Semaphore(MOST_SCHEDULING)
        self._open = False

    async def open(self) -> None:
        """Connect."""
        if not self._open:
            with _docket_reaching_redis():
                for docket in (self._starts, self._first_looks, self._watches):
                    await self._connections.enter_async_context(docket)
                    docket.register(asana_jobs_step)
            self._open = True

    async def close(self) -> None:
        """Let go of the connections."""
        self._open = False
        closing = asyncio.create_task(self._connections.aclose(), name="asana_jobs engine's end")
        try:
            while not closing.done():
                await asyncio.wait([closing], timeout=CANCEL_AGAIN_SECONDS)
                self._cancel_again()
        finally:
            closing.cancel()
        closing.result()

    def _cancel_again(self) -> None:
        """Cancel what was cancelled and has not heard of it: docket waits for its end, for as long as that takes.

        Redis' client sends with Python 3.11's ``asyncio.wait_for``, which swallows a cancellation that comes with the answer.
        """
        ours = {
            f"{docket.name} - strike monitor" for docket in (self._starts, self._first_looks, self._watches)
        }
        for task in asyncio.all_tasks():
            if task.cancelling() and task.get_name() in ours:
                task.cancel()

    async def schedule(self, key: str, *, start: bool, anew: bool = False) -> None:
        """Have the first step of a wait made, unless it was scheduled before.

        Args:
            key: The name of the wait.
            start: It starts its job.
            anew: Whatever was scheduled or is under way for its earlier end.
        """
        docket, name = self._starts if start else self._first_looks, KEY_PREFIX + key
        now = datetime.now(UTC)
        step = docket.replace(STEP_NAME, when=now, key=name) if anew else docket.add(STEP_NAME, key=name)
        async with self._scheduling:
            with _docket_reaching_redis():
                await step()

    async def schedule_many(self, keys: Sequence[str], *, start: bool, store: Store) -> None:
        """Have the first steps of many waits made, except for those that were scheduled before.

        Args:
            keys: The names of the waits, a thousand or so.
            start: They start their jobs.
            store: The Redis of the queue.
        """
        docket, now = self._starts if start else self._first_looks, datetime.now(UTC)
        what = (docket.prefix, f"{now.timestamp():.6f}", now.isoformat(), STEP_NAME, FIRST, NAMED)
        await store.run(ADD_SCRIPT, [docket.stream_key], *what, *(KEY_PREFIX + key for key in keys))

    async def run(
        self,
        step: StepFunction,
        *,
        name: str,
        concurrency: int,
        store: Store,
        clock: FleetClock,
        record: Callable[[str], str],
    ) -> None:
        """Make steps until cancelled; those under way are finished first.

        Args:
            step: Makes one.
            name: The name of the worker.
            concurrency: Steps of each line that are made at once.
            store: The Redis of the queue.
            clock: Its clock.
            record: Returns where the record of a wait is.
        """
        await self.open()

        async def work(docket: Docket) -> None:
            async with _FleetWorker(
                docket,
                name=name,
                concurrency=concurrency,
                redelivery_timeout=timedelta(seconds=REDELIVERY),
                reconnection_delay=timedelta(seconds=1),
                schedule_automatic_tasks=False,
            ) as worker:
                worker.store, worker.clock, worker.step, worker.record = store, clock, step, record
                worker.then = self._watches if docket is self._first_looks else docket
                await worker.run_forever()

        # No group of tasks: cancelled a second time, it would not pass that on.
        tasks = [
            asyncio.create_task(work(docket), name=f"asana_jobs line {docket.name}")
            for docket in (self._starts, self._first_looks, self._watches)
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await ended(*tasks)
        for task in tasks:
            if not task.cancelled():
                task.result()

    async def backlog(self, store: Store) -> tuple[int, float | None]:
        """Return how many steps are due or under way, and when the next one is, in seconds of Redis' clock."""
        due, moments = 0, list[float]()
        for docket in (self._starts, self._first_looks, self._watches):
            due += int(await store("XLEN", docket.stream_key))
            if first := await store("ZRANGE", docket.queue_key, 0, 0, "WITHSCORES"):
                moments.append(float(first[0][1] if isinstance(first[0], list) else first[1]))
        return due, min(moments, default=None)

    async def first_looks(self, store: Store) -> int:
        """Return how many waits nobody has looked at yet."""
        return int(await store("XLEN", self._first_looks.stream_key))

    async def forget_worker(self, name: str, store: Store) -> None:
        """Remove the name of a worker that has ended from docket's streams, and those of workers killed long ago."""
        for docket in (self._starts, self._first_looks, self._watches):
            await store(
                "EVAL",
                _FORGET_CONSUMER,
                1,
                docket.stream_key,
                docket.worker_group_name,
                name,
                FORGOTTEN_WORKER_SECONDS,
            )


class _FleetWorker(Worker):
    """Docket's worker, which takes steps from its stream, and those of killed workers. A few things are done otherwise.

    What has become due is for Redis to say, a thousand at a time. A step ends with one call: docket needs three, and keeps
    a record of each that nobody reads. Nothing is asked forty times a second while there is nothing to do, and nobody
    cancels a step by docket's way.
    """

    store: Store
    clock: FleetClock
    step: StepFunction
    #: Returns where the record of a wait is.
    record: Callable[[str], str]
    #: Those of its metrics; every task is a step.
    all_labels: Mapping[str, str] | None = None
    #: The line in which steps go on.
    then: Docket

    @property
    def minimum_check_interval(self) -> timedelta:
        """For how long docket waits for a step, or for a place."""
        full = len(self._tasks_by_key) >= self.concurrency
        return timedelta(seconds=PLACE_CHECK_SECONDS if full else READ_SECONDS)

    @minimum_check_interval.setter
    def minimum_check_interval(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, _: timedelta
    ) -> None: ...

    async def _cancellation_listener(self) -> None:
        session = self._processing_session
        if session is not None:
            session.cancellation_ready.set()
            await session.stopping.wait()

    async def _execute(self, execution: Execution, session: object) -> None:
        del session
        labels = self.all_labels = self.all_labels or {**self.labels(), **execution.general_labels()}
        began = self.clock.monotonic()
        TASKS_STARTED.add(1, labels)
        TASKS_RUNNING.add(1, labels)
        # Docket is to add nothing. What is not ended here is made again: it is taken for a killed worker's.
        execution._acked = True  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # no other way to say so
        try:
            # Steps that an older version scheduled have their wait's name alone.
            again = await self._made(execution.key.removeprefix(KEY_PREFIX), any(execution.args))
            await self._go_on(execution, again)
        except (AwayError, QueueError, RedisError) as error:
            _log.debug("the step of %r is made again: %s", execution.key, error)
        finally:
            TASKS_RUNNING.add(-1, labels)
            TASKS_COMPLETED.add(1, labels)
            TASK_DURATION.record(self.clock.monotonic() - began, labels)

    async def _made(self, key: str, returning: bool) -> Again | None:
        try:
            return await self.step(key, returning)
        except Exception:  # noqa: BLE001  # a step that is not scheduled would be lost
            _log.exception("the step of %r raised, and is made again in %g s", key, RAISED_SECONDS)
            return Again(RAISED_SECONDS)

    async def _go_on(self, execution: Execution, again: Again | None) -> None:
        docket, then, key = self.docket, self.then, execution.key
        record = [self.record(key.removeprefix(KEY_PREFIX))]
        if self.store.cluster:  # each line's keys are on a node of their own, and the record on another one
            if again is not None and then is not docket:
                arguments = [True] if again.returning else []
                await then.add(STEP_NAME, when=_moment(self.clock, again.delay), key=key)(*arguments)
                # Killed here, another worker makes the step again, and this is done already.
                again = None
            then, record = docket, []
        when = _moment(self.clock, 0.0 if again is None else again.delay)
        due = "never" if again is None else "later" if again.delay > 0 else "now"
        await self.store.run(
            AGAIN_SCRIPT,
            [
                *(docket.stream_key, docket.runs_key(key)),
                *(then.stream_key, then.queue_key, then.parked_task_key(key), then.runs_key(key)),
                *record,
            ],
            *(docket.worker_group_name, execution.message_id or b"", execution.generation),
            *(f"{when.timestamp():.6f}", when.isoformat(), due),
            *(key, STEP_NAME, RETURNING if again is not None and again.returning else FIRST, NAMED),
            *(again.note if isinstance(again, Noting) else ()),
        )

    async def _scheduler_loop(self, redis: Any) -> None:
        del redis
        session, docket = self._processing_session, self.docket
        keys = [docket.queue_key, docket.stream_key, docket.key("asana-jobs clock")]
        # What goes on in another line is not put off in this one.
        pause = DUE_CHECK_SECONDS if self.then is docket else READ_SECONDS
        while session is not None and not session.stopping.is_set():
            moved = 0
            try:
                moved = int(await self.store.run(DUE_SCRIPT, keys, docket.prefix, MOST_DUE_AT_ONCE))
            except (AwayError, QueueError) as error:
                _log.debug("what is due could not be asked: %s", error)
            if moved < MOST_DUE_AT_ONCE:
                try:
                    async with asyncio.timeout(pause):
                        await session.stopping.wait()
                except TimeoutError:
                    pass


@contextmanager
def _docket_reaching_redis() -> Generator[None, None, None]:
    """Raise what docket is told of Redis as what it means."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise AwayError(f"Redis cannot be reached: {error}") from error


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Wait until *tasks*, which were cancelled, have ended. Cancelled itself, it cancels them once more."""
    cancelled = False
    while not all(task.done() for task in tasks):
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            cancelled = True
            for task in tasks:
                task.cancel()
    if cancelled:
        raise asyncio.CancelledError


def _moment(clock: FleetClock, delay: float) -> datetime:
    if delay <= 0:
        return datetime.now(UTC)  # docket takes what has come to be for now
    return _Later.fromtimestamp(clock.now().timestamp() + delay, UTC)


def _with_connections(url: str, count: int) -> str:
    """Return *url* with room for *count* connections: docket's pool refuses a hundred and first one."""
    if not url.startswith(_WITH_POOLS) or "max_connections=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}max_connections={count}"


class FleetClock(SystemClock):
    """The event loop's clock, with the date and time of Redis when it was last asked, and what has passed since.

    The machine's own date and time may be wrong, or be put right while a worker runs: that makes no difference.
    """

    def __init__(self) -> None:
        super().__init__()
        self._said: datetime | None = None
        self._said_at = 0.0

    def now(self) -> datetime:
        """Return the fleet's date and time, in UTC."""
        if self._said is None:
            return super().now()
        return self._said + timedelta(seconds=self.monotonic() - self._said_at)

    async def ask(self, store: Store) -> None:
        """Ask Redis what time it is.

        Raises:
            AwayError: it does not answer.
            QueueError: it refuses to.
        """
        asked_at = self.monotonic()
        seconds, microseconds = await store("TIME")
        took = self.monotonic() - asked_at
        if self._said is None or took < TRUSTED_DELAY:
            told = datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds))
            self._said, self._said_at = told, asked_at + took / 2


async def fleet_clock(store: Store) -> FleetClock:
    """Return the clock of Redis, and say so if this machine's is another one."""
    clock = FleetClock()
    await clock.ask(store)
    wrong = (SystemClock().now() - clock.now()).total_seconds()
    if abs(wrong) > TOLERATED_SKEW:
        _log.warning("this machine's clock is %+.1f s off; the time of Redis is used", wrong)
    return clock
