"""The fleet's time is Redis': a machine's own date and time are not believed, whatever becomes of them."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from asana_jobs.gates import SystemClock
from asana_jobs.worker._store import Store


#: Seconds by which a machine's clock may be off before that is said.
TOLERATED: Final = 1.0
#: Seconds that Redis may take to say what time it is, for its answer to be worth more than what is known already.
TRUSTED: Final = 0.25
#: The rooms of docket that ask what time it is.
ASKING: Final = ("docket", "execution", "worker", "dependencies._perpetual")

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
            AwayError: it does not answer. QueueError: it refuses to.
        """
        asked_at = self.monotonic()
        seconds, microseconds = await store("TIME")
        took = self.monotonic() - asked_at
        if self._said is None or took < TRUSTED:
            told = datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds))
            self._said, self._said_at = told, asked_at + took / 2


async def fleet_clock(store: Store) -> FleetClock:
    """Return the clock of Redis, and say so if this machine's is another one."""
    clock = FleetClock()
    await clock.ask(store)
    wrong = (SystemClock().now() - clock.now()).total_seconds()
    if abs(wrong) > TOLERATED:
        _log.warning("this machine's clock is %+.1f s off; the time of Redis is used", wrong)
    return clock


_clocks: Final[list[FleetClock]] = []


class _EngineTime(datetime):
    """What docket takes for `datetime`: the machine's time, unless a worker runs and knows better."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return _clocks[-1].now().astimezone(tz) if _clocks else datetime.now(tz)


@contextmanager
def engine_on(clock: FleetClock) -> Generator[None, None, None]:
    """Have docket, which schedules by the machine's time, schedule by that of *clock*."""
    for room in ASKING:
        module: Any = importlib.import_module(f"docket.{room}")
        module.datetime = _EngineTime
    _clocks.append(clock)
    try:
        yield
    finally:
        _clocks.remove(clock)
