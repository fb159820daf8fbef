"""Progress on standard error, while results go to standard output."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from asana_jobs.cli.complaint import say
from asana_jobs.cli.plain import plain
from asana_jobs.cli.spans import show_span
from asana_jobs.cli.terminal import can_redraw, make_console


if TYPE_CHECKING:
    from rich.text import Text

    from asana_jobs.cli.tally import Tally

#: Seconds between two redraws: four a second look alive, and cost next to nothing.
_BETWEEN_REDRAWS: Final = 0.25
#: Seconds between two lines where nothing can be redrawn: often enough for a CI system that ends silent jobs.
_BETWEEN_LINES: Final = 30.0
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
        if self._tell and now - self._since >= _LASTING and now - self._told >= _BETWEEN_LINES:
            self._told = now
            say(f"asana-jobs: {plain(self._latest)}\n")

    @property
    def current(self) -> str | None:
        """What is still worth showing."""
        return self._latest if time.monotonic() - self._at < _NOTICE_STAYS else None


class View(Protocol):
    """What is shown of something under way."""

    def lines(self, now: float, width: int, notice: str | None) -> list[Text]:
        """Return the lines to draw on *width* columns, with the library's latest remark."""
        ...

    def words(self, now: float) -> str:
        """Return the same in half a line, for where nothing can be drawn."""
        ...


@attrs.frozen
class TallyView:
    """Shows how a tally grows, and how much of the budget is used."""

    tally: Tally
    budget: Callable[[], str | None] = lambda: None

    def lines(self, now: float, width: int, notice: str | None) -> list[Text]:
        """Return totals, the time left, and the slowest few."""
        from asana_jobs.cli.view import view_lines  # noqa: PLC0415  # rich is not needed for JSON

        self.tally.refresh(now)
        return view_lines(self.tally, now, width, budget=self.budget(), notice=notice)

    def words(self, now: float) -> str:
        """Return how many are over."""
        return f"{self.tally.over} of {self.tally.expected} jobs finished after {show_span(now - self.tally.began)}"


@asynccontextmanager
async def showing(view: View, output: str) -> AsyncGenerator[None, None]:
    """Show what *view* sees, until the block ends."""
    live = can_redraw(output)
    notices = Notices(tell=not live)
    log = logging.getLogger("asana_jobs")
    level = log.level
    log.addHandler(notices)
    log.setLevel(logging.INFO)
    drawing = asyncio.create_task(_redraw(view, notices) if live else _tell_now_and_then(view, output))
    try:
        yield
    finally:
        drawing.cancel()
        with suppress(asyncio.CancelledError):
            await drawing
        log.removeHandler(notices)
        log.setLevel(level)


async def _redraw(view: View, notices: Notices) -> None:
    from asana_jobs.cli.screen import Screen  # noqa: PLC0415  # rich is not needed for JSON

    screen = Screen(make_console(sys.stderr))
    try:
        while True:
            screen.draw(view.lines(time.monotonic(), screen.width, notices.current))
            await asyncio.sleep(_BETWEEN_REDRAWS)
    finally:
        screen.clear()


async def _tell_now_and_then(view: View, output: str) -> None:
    while True:
        await asyncio.sleep(_BETWEEN_LINES)
        if output in {"json", "table"} or sys.stderr.isatty():
            say(f"{view.words(time.monotonic())}\n")
