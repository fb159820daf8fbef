"""The engine under the queue: docket, which no other file knows.

Arguments travel as cloudpickle: whoever can write to this Redis can run code in the workers. Docket keeps them twice
while a step is to be made later, so they are short; what a wait is about is in its record.

There are two dockets: however many jobs are to be looked at, what is to be started does not queue up behind them.

The fleet's time is that of Redis: a machine's own date and time are not believed, whatever becomes of them.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

import attrs
from docket import Docket, Perpetual, TaskKey, Worker

from asana_jobs.gates import SystemClock
from asana_jobs.worker._redis import Store


#: The task's name on every machine. The functions must bear it too: docket reschedules by the function's name.
STEP_NAME: Final = "asana_jobs_step"
#: Seconds for which an unfinished step of a killed worker lies idle before another one takes it.
REDELIVERY: Final = 15.0
#: Seconds between two looks for what is due. Shorter costs Redis calls, longer costs lag.
DUE_CHECK_SECONDS: Final = 0.1
#: Seconds between two looks whether a place has become free: docket sleeps for that long while none is.
PLACE_CHECK_SECONDS: Final = 0.025
#: Seconds by which a machine's clock may be off before that is said.
TOLERATED_SKEW: Final = 1.0
#: Seconds that Redis may take to say what time it is, for its answer to be worth more than what is known already.
TRUSTED_DELAY: Final = 0.25
#: A moment that has come, however wrong this machine's clock is.
_AT_ONCE: Final = datetime.fromtimestamp(0, UTC)


@attrs.frozen
class StepAgain:
    """A step that is to be made again.

    Attributes:
        delay: In so many seconds.
        returning: Whether it was told to come back then.
    """

    delay: float
    returning: bool = False


StepFunction = Callable[[str, bool], Awaitable[StepAgain | None]]


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

    def __init__(self, url: str, queue: str) -> None:
        # No queue's name holds a blank, so none is taken for the other line of another one.
        self._watches = _docket(url, f"asana-jobs-{queue}")
        self._starts = _docket(url, f"asana-jobs-{queue} starts")
        self._connections = AsyncExitStack()
        self._open = False

    async def open(self) -> None:
        """Connect."""
        if not self._open:
            for docket in (self._starts, self._watches):
                await self._connections.enter_async_context(docket)
                docket.register(asana_jobs_step)
            self._open = True

    async def close(self) -> None:
        """Let go of the connections."""
        self._open = False
        await self._connections.aclose()

    async def schedule(self, key: str, *, start: bool, anew: bool = False) -> None:
        """Have the first step of a wait made, unless it was scheduled before.

        Args:
            key: The name of the wait.
            start: It starts its job.
            anew: Whatever was scheduled or is under way for its earlier end.
        """
        docket = self._starts if start else self._watches
        step = docket.replace(STEP_NAME, when=_AT_ONCE, key=key) if anew else docket.add(STEP_NAME, key=key)
        await step()

    async def run(self, step: StepFunction, *, name: str, concurrency: int) -> None:
        """Make steps until cancelled; those under way are finished first."""
        await self.open()

        async def asana_jobs_step(
            returning: bool = False,
            key: str = TaskKey(),
            perpetual: Perpetual = Perpetual(),  # noqa: B008  # docket's way
        ) -> None:
            again = await step(key, returning)
            if again is None:
                perpetual.cancel()
            else:
                perpetual.perpetuate(*([True] if again.returning else []))
                perpetual.after(timedelta(seconds=again.delay))

        async def work(docket: Docket) -> None:
            docket.register(asana_jobs_step)
            async with Worker(
                docket,
                name=name,
                concurrency=concurrency,
                redelivery_timeout=timedelta(seconds=REDELIVERY),
                reconnection_delay=timedelta(seconds=1),
                minimum_check_interval=timedelta(seconds=PLACE_CHECK_SECONDS),
                scheduling_resolution=timedelta(seconds=DUE_CHECK_SECONDS),
                schedule_automatic_tasks=False,
            ) as worker:
                await worker.run_forever()

        try:
            async with asyncio.TaskGroup() as tasks:
                for docket in (self._starts, self._watches):
                    tasks.create_task(work(docket))
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None


#: The modules of docket that ask what time it is.
CLOCK_MODULES: Final = ("docket", "execution", "worker", "dependencies._perpetual")

_log = logging.getLogger("asana_jobs")


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


_clocks: Final[list[FleetClock]] = []


class _EngineTime(datetime):
    """The `datetime` of docket: the machine's time, unless a worker runs and knows better."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return _clocks[-1].now().astimezone(tz) if _clocks else datetime.now(tz)


@contextmanager
def engine_on(clock: FleetClock) -> Generator[None, None, None]:
    """Have docket, which schedules by the machine's time, schedule by that of *clock*."""
    for name in CLOCK_MODULES:
        module: Any = importlib.import_module(f"docket.{name}")
        module.datetime = _EngineTime
    _clocks.append(clock)
    try:
        yield
    finally:
        _clocks.remove(clock)
