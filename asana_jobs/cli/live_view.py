"""The live view on standard error, while results go to standard output.

It shows totals, the time left and the slowest few, never a row per job, in a block that is drawn again and again.
Where nothing can be drawn it is a line a minute.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs
from rich.text import Text

from asana_jobs.cli.errors import counted, say
from asana_jobs.cli.events import ACCEPTED, FAILED, LEFT, REFUSED, SUCCEEDED, TIMED_OUT, UNKNOWN
from asana_jobs.cli.progress import UNSEEN, WAITING, Progress, Track
from asana_jobs.cli.terminal import (
    STYLES,
    can_redraw,
    format_duration,
    format_size,
    make_console,
    sanitize,
    shorten,
)


if TYPE_CHECKING:
    from rich.console import Console

    from asana_jobs import AsanaClient


#: Seconds between two redraws: four a second look alive, and cost next to nothing.
BETWEEN_REDRAWS: Final = 0.25
#: Seconds between two lines where nothing can be redrawn: often enough for a CI system that ends silent steps.
BETWEEN_LINES: Final = 60.0
#: Seconds a notice stays in the live view.
_NOTICE_STAYS: Final = 15.0
#: Seconds of trouble that are worth a line.
_LASTING: Final = 5.0


class Notices(logging.Handler):
    """The library's latest remark: trouble it looks past, a pause it keeps."""

    def __init__(self, *, tell: bool) -> None:
        super().__init__(logging.INFO)
        self._tell = tell
        self._latest = ""
        self._at = self._since = self._told = float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the remark; where no live view shows it, say it if the trouble lasts, and not a thousand times."""
        now = time.monotonic()
        if now - self._at >= _NOTICE_STAYS:
            self._since = now
        self._latest, self._at = record.getMessage(), now
        if self._tell and now - self._since >= _LASTING and now - self._told >= BETWEEN_LINES:
            self._told = now
            say(f"asana-jobs: {sanitize(self._latest)}\n")

    @property
    def current(self) -> str | None:
        """The remark that is still worth showing."""
        return self._latest if time.monotonic() - self._at < _NOTICE_STAYS else None


@attrs.frozen
class ProgressView:
    """View of the jobs and of the budget, of a client if there is one."""

    progress: Progress
    client: AsanaClient | None = None

    def lines(self, now: float, width: int, notice: str | None) -> list[Text]:
        """Return totals, the time left, and the slowest few."""
        self.progress.refresh(now)
        return view_lines(self.progress, now, width, budget=self._budget(), notice=notice)

    def words(self, now: float) -> str:
        """Return how many are over, and since when."""
        self.progress.refresh(now)
        states = ", ".join(f"{count} {state}" for state, count in _states(self.progress))
        return f"{_count(self.progress)} after {format_duration(now - self.progress.began)}: {states}"

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the rest is probably over."""
        return self.progress.seconds_left(now)

    def _budget(self) -> str | None:
        """Return how much of the budget is used, and whether Asana has asked for a pause."""
        if self.client is None:
            return None
        now = self.client.budget
        known = "" if now.quota_known else " to begin with" if now.expected is None else ", found out"
        line = f"budget: {now.used:.0%} used of {now.quota:.0f} requests a minute{known}"
        return f"{line}, paused for {format_duration(now.paused_for)}" if now.paused_for > 0 else line


@asynccontextmanager
async def showing(view: View, output: str) -> AsyncGenerator[None, None]:
    """Show what *view* sees, until the block ends."""
    live = can_redraw(output)
    notices = Notices(tell=not live)
    log = logging.getLogger("asana_jobs")
    level = log.level
    log.addHandler(notices)
    log.setLevel(logging.INFO)
    telling = _redraw(view, notices) if live else _tell_each_minute(view)
    drawing = asyncio.create_task(telling, name="asana_jobs live view")
    try:
        yield
    finally:
        drawing.cancel()
        with suppress(asyncio.CancelledError):
            await drawing
        log.removeHandler(notices)
        log.setLevel(level)


async def _redraw(view: View, notices: Notices) -> None:
    screen = Screen(make_console(sys.stderr))
    try:
        while True:
            screen.draw(view.lines(time.monotonic(), screen.width, notices.current))
            await asyncio.sleep(BETWEEN_REDRAWS)
    finally:
        screen.clear()


async def _tell_each_minute(view: View) -> None:
    while True:
        await asyncio.sleep(BETWEEN_LINES)
        say(f"asana-jobs: {sentence(view, time.monotonic())}\n")


def sentence(view: View, now: float) -> str:
    """Return what runs, for how long, and when it is probably over."""
    left = view.seconds_left(now)
    end = "" if left is None else f"; probably over at {clock_time(left)}"
    return f"{sanitize(view.words(now))}{end}"


def clock_time(seconds: float) -> str:
    """Return the local time in so many *seconds*, with the date if it is not today's."""
    now = datetime.now().astimezone()
    moment = now + timedelta(seconds=seconds)
    return f"{moment:%H:%M}" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M}"


_ORDER: Final = (
    SUCCEEDED,
    FAILED,
    REFUSED,
    UNKNOWN,
    TIMED_OUT,
    LEFT,
    ACCEPTED,
    "in_progress",
    "not_started",
)
_LAST: Final = (UNSEEN, WAITING)
_SLOWEST: Final = 5
#: Seconds after which a job that runs is worth a row.
_WORTH_A_ROW: Final = 1.0
_NARROW: Final = 60
#: Columns for the time and what follows it: the bar keeps its width whatever they say.
_TIME_ROOM: Final = 41


def view_lines(
    progress: Progress, now: float, width: int, *, budget: str | None = None, notice: str | None = None
) -> list[Text]:
    """Return the lines to draw for a terminal of *width* columns."""
    lines = [*_headline(progress, now, width)]
    lines += flow(
        [Text(f"{state} {count}", STYLES.get(state, "")) for state, count in _states(progress)], width
    )
    if len(progress.kinds) > 1:
        lines += flow([Text(kind, "dim") for kind in _kinds(progress)], width)
    slowest = [track for track in progress.slowest(_SLOWEST) if track.seconds(now) >= _WORTH_A_ROW]
    if slowest:
        lines.append(
            Text("slowest:" if progress.expected - progress.over > _SLOWEST else "waiting for:", "dim")
        )
        lines += [_row(track, now, width, overdue=track.gid in progress.overdue) for track in slowest]
    if budget:
        lines.append(Text(budget, "dim"))
    if notice:
        lines.append(Text(sanitize(notice), "yellow"))
    return lines


def _headline(progress: Progress, now: float, width: int) -> list[Text]:
    count = Text(_count(progress), "bold")
    time = Text(format_duration(now - progress.began))
    pace = progress.pace(now)
    if pace is not None:
        time.append(f", {pace * 60:.0f} a minute")
    left = progress.seconds_left(now)
    if left is not None:
        time.append(f", about {format_duration(left)} left")
    if width < _NARROW:
        return flow([count, time], width)
    room = min(30, width - count.cell_len - _TIME_ROOM - 4)
    if not progress.expected:
        return [Text("  ").join([count, time])]
    done, total = progress.over, progress.expected
    if total == 1 and left is not None:  # one job is not a half done, but half of its time may be over
        done, total = round(100 * (now - progress.began)), round(100 * (now - progress.began + left))
    return [Text("  ").join([count, bar(done, total, room), time])]


def _count(progress: Progress) -> str:
    total = progress.expected
    if not total:
        return f"{counted(progress.over, 'job')} finished"
    # As wide at the begin as at the end.
    return f"{progress.over:>{len(str(total))}} of {counted(total, 'job')} finished"


def bar(done: int, total: int, width: int) -> Text:
    """Return a bar of *width* cells."""
    filled = width if total == 0 else width * done // total
    return Text.assemble(("━" * filled, "green"), ("─" * (width - filled), "dim"))


def _states(progress: Progress) -> list[tuple[str, int]]:
    states = progress.states()
    others = sorted(states.keys() - {*_ORDER, *_LAST})
    return [(sanitize(state), states[state]) for state in [*_ORDER, *others, *_LAST] if states[state]]


def _kinds(progress: Progress) -> list[str]:
    return [
        f"{sanitize(kind)} {progress.finished_kinds[kind]}/{count}"
        for kind, count in sorted(progress.kinds.items())
    ]


def _row(track: Track, now: float, width: int, *, overdue: bool) -> Text:
    row = Text(f"  {track.gid}  ")
    if width >= _NARROW and track.kind is not None:
        row.append(f"{shorten(track.kind, 25)}  ", "dim")
    row.append(sanitize(track.state), STYLES.get(track.state, ""))
    row.append(f"  {format_duration(track.seconds(now))}")
    if overdue:
        row.append("  overdue", "yellow")
    return row


def flow(fields: Sequence[Text], width: int, gap: str = "   ") -> list[Text]:
    """Lay *fields* side by side, on as many lines as they need."""
    lines: list[Text] = []
    for field in fields:
        if lines and lines[-1].cell_len + len(gap) + field.cell_len <= width:
            lines[-1] = Text.assemble(lines[-1], gap, field)
        else:
            lines.append(field.copy())
    return lines


class Screen:
    """Draws a block over the one before it.

    rich's own live display counts the lines it drew; after the window was made narrower, the terminal has broken
    them into more rows, and pieces of the old block stay. Here their widths are kept, so the rows can be counted.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._widths: list[int] = []

    @property
    def width(self) -> int:
        """Columns a line may have: one less than there are, because terminals differ about the last one."""
        return max(10, self._console.width - 1)

    def draw(self, lines: Sequence[Text]) -> None:
        """Show *lines* instead of what is shown."""
        fitting = list(lines)[: max(1, self._console.height - 1)]
        for line in fitting:
            line.no_wrap = True
            line.truncate(self.width, overflow="ellipsis")
        with self._console.capture() as captured:
            for number, line in enumerate(fitting):
                self._console.print(line, end="" if number == len(fitting) - 1 else "\n")
        # Each line erases what was longer before it; drawing in one write does not flicker.
        self._write(self._to_start() + captured.get().replace("\n", "\x1b[K\n") + "\x1b[K\x1b[J")
        self._widths = [line.cell_len for line in fitting]

    def clear(self) -> None:
        """Take the block away."""
        if self._widths:
            self._write(f"{self._to_start()}\x1b[J")
            self._widths = []

    def _to_start(self) -> str:
        if not self._widths:
            return ""
        columns = max(1, self._console.width)
        rows = sum(max(1, -(-width // columns)) for width in self._widths)
        return f"\r\x1b[{rows - 1}A" if rows > 1 else "\r"

    def _write(self, text: str) -> None:
        try:
            self._console.file.write(text)
            self._console.file.flush()
        except OSError:
            self._widths = []  # nobody is looking any more


_LONGEST_NAME: Final = 30
_BAR: Final = 30
_ROOM: Final = 16


@attrs.define
class DownloadView:
    """View of a download: how much has come, how fast, and how long it will take.

    Attributes:
        name: The file's.
        began: The time at which this call began.
        done: Bytes that have come, those of an earlier call included.
        total: Bytes in all, if known.
    """

    name: str
    began: float
    done: int = 0
    total: int | None = None
    _at_first: int | None = None

    def progress(self, done: int, total: int | None) -> None:
        """Record what has come."""
        if self._at_first is None:
            self._at_first = done  # an earlier call's part says nothing about the pace
        self.done, self.total = done, total

    def lines(self, now: float, width: int, notice: str | None) -> list[Text]:
        """Return the bar with the sizes, and the pace."""
        name = Text(shorten(self.name, min(_LONGEST_NAME, max(8, width // 2))), "bold")
        sizes = Text(format_size(self.done) + (f" of {format_size(self.total)}" if self.total else ""))
        fields = [name, sizes, Text(self._pace_words(now))]
        if self.total and width - _ROOM > 0:
            room = width - sum(field.cell_len + 3 for field in fields)
            shown = min(_BAR, room if room >= 10 else width)
            fields.insert(1, bar(self.done, self.total, shown))
        lines = flow([field for field in fields if field.plain], width)
        return [*lines, Text(sanitize(notice), "yellow")] if notice else lines

    def words(self, now: float) -> str:
        """Return how much has come."""
        of_all = f" of {format_size(self.total)}" if self.total else ""
        return f"{self.name}: {format_size(self.done)}{of_all} after {format_duration(now - self.began)}"

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the rest has come at the pace so far."""
        pace = self._pace(now)
        return (self.total - self.done) / pace if pace and self.total else None

    def _pace(self, now: float) -> float:
        """Return the bytes a second."""
        seconds = now - self.began
        return (self.done - (self._at_first or 0)) / seconds if seconds > 0 else 0.0

    def _pace_words(self, now: float) -> str:
        pace, left = self._pace(now), self.seconds_left(now)
        if not pace:
            return ""
        return f"{format_size(pace)}/s" + (f", about {format_duration(left)} left" if left else "")


#: The lines to draw on so many columns with the library's latest remark, or half a line where nothing can be drawn, and
#: the seconds until it is probably over, or ``None`` while nobody can say.
View: TypeAlias = ProgressView | DownloadView
