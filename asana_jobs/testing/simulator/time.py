"""The simulator's two clocks: the event loop's seconds, and a calendar that moves with them."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from attrs import define, field


@define
class SimulatorTime:
    """Time as the simulator sees it, all of it derived from the loop so that virtual time works.

    Attributes:
        calendar_start: what the calendar said when the simulator started.
        skew: seconds by which the server's calendar is wrong; may be changed at any time.
    """

    calendar_start: datetime = field(factory=lambda: datetime.now(UTC))
    skew: float = 0.0
    _loop: asyncio.AbstractEventLoop | None = None
    _loop_start: float = 0.0
    _last_seen: float = 0.0

    def start(self) -> None:
        """Begin counting on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._loop_start = self._last_seen = self._loop.time()

    def elapsed(self) -> float:
        """Return the seconds since the simulator started; 0.0 before that."""
        if self._loop is None:
            return 0.0
        now = self._loop.time()
        if now < self._last_seen:
            # looptime turns virtual time on for the test alone: a simulator from a fixture sees the
            # loop's clock jump back to zero, and goes on from where it was.
            self._loop_start -= self._last_seen - now
        self._last_seen = now
        return max(0.0, now - self._loop_start)  # the sums above round

    def loop_time(self) -> float:
        """Return the seconds on the loop's own clock."""
        # Every look at the clock takes notice of a jump.
        self.elapsed()
        return self._last_seen

    def calendar(self, elapsed: float | None = None) -> datetime:
        """Return the calendar, now or at `elapsed` seconds after the start."""
        moment = self.elapsed() if elapsed is None else elapsed
        return self.calendar_start + timedelta(seconds=moment + self.skew)


def api_date_time(moment: datetime) -> str:
    """Return a date-time as the API writes it: `2012-02-22T02:06:58.147Z`, UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def http_date(moment: datetime) -> str:
    """Return a date as HTTP headers write it, whole seconds: `Wed, 22 Feb 2012 02:06:58 GMT`."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)
