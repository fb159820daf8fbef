"""The fleet's time is Redis': a machine whose clock is wrong is corrected, not believed."""

from __future__ import annotations

import importlib
import logging
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final

from asana_jobs.gates import SystemClock
from asana_jobs.worker._store import Store


#: Seconds by which a clock may be off before that matters.
TOLERATED: Final = 1.0
#: The rooms of docket that ask what time it is.
ASKING: Final = ("docket", "execution", "worker", "dependencies._perpetual")

_log = logging.getLogger("asana_jobs")


class FleetClock(SystemClock):
    """The event loop's clock, with the fleet's date and time."""

    def __init__(self, ahead: float) -> None:
        super().__init__()
        self.ahead = ahead

    def now(self) -> datetime:
        """Return the fleet's date and time, in UTC."""
        return super().now() + timedelta(seconds=self.ahead)


async def fleet_clock(store: Store) -> FleetClock:
    """Compare this machine's clock with Redis', and correct the engine's if it is wrong."""
    seconds, microseconds = await store("TIME")
    redis = datetime.fromtimestamp(int(seconds), UTC) + timedelta(microseconds=int(microseconds))
    ahead = (redis - SystemClock().now()).total_seconds()
    if abs(ahead) <= TOLERATED:
        return FleetClock(0.0)
    _log.warning("this machine's clock is %+.1f s off; the time of Redis is used", -ahead)
    correct_engine(ahead)
    return FleetClock(ahead)


def correct_engine(ahead: float) -> None:
    """Have docket, which schedules by the machine's clock, go *ahead* of it by so many seconds."""
    for room in ASKING:
        module: Any = importlib.import_module(f"docket.{room}")
        module.datetime = _shifted(module.datetime, ahead)


def _shifted(base: type[datetime], ahead: float) -> type[datetime]:
    class Shifted(base):  # type: ignore[valid-type,misc]
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return base.now(tz) + timedelta(seconds=ahead)

    return Shifted
