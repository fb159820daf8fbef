"""A download under way: how much has come, how fast, and how long it will take."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from asana_jobs.cli.export_report import show_size
from asana_jobs.cli.plain import plain, shortened
from asana_jobs.cli.spans import show_span


if TYPE_CHECKING:
    from rich.text import Text

_LONGEST_NAME = 30
_BAR = 30
_ROOM = 16


@attrs.define
class DownloadView:
    """What is shown of a download.

    Attributes:
        done: Bytes that have come, those of an earlier call included. ``total``: in all, if known.
    """

    name: str
    began: float
    done: int = 0
    total: int | None = None
    _at_first: int | None = None

    def progress(self, done: int, total: int | None) -> None:
        """Take note of what has come."""
        if self._at_first is None:
            self._at_first = done  # an earlier call's part says nothing about the pace
        self.done, self.total = done, total

    def lines(self, now: float, width: int, notice: str | None) -> list[Text]:
        """Return the bar with the sizes, and the pace."""
        from rich.text import Text  # noqa: PLC0415  # rich is not needed for JSON

        from asana_jobs.cli.view import bar, flow  # noqa: PLC0415  # the same

        name = Text(shortened(self.name, min(_LONGEST_NAME, max(8, width // 2))), "bold")
        sizes = Text(show_size(self.done) + (f" of {show_size(self.total)}" if self.total else ""))
        fields = [name, sizes, Text(self._pace(now))]
        if self.total and width - _ROOM > 0:
            room = width - sum(field.cell_len + 3 for field in fields)
            shown = min(_BAR, room if room >= 10 else width)
            fields.insert(1, bar(self.done, self.total, shown))
        lines = flow([field for field in fields if field.plain], width)
        return [*lines, Text(plain(notice), "yellow")] if notice else lines

    def words(self, now: float) -> str:
        """Return how much has come."""
        of_all = f" of {show_size(self.total)}" if self.total else ""
        return f"{plain(self.name)}: {show_size(self.done)}{of_all} after {show_span(now - self.began)}"

    def _pace(self, now: float) -> str:
        came, seconds = self.done - (self._at_first or 0), now - self.began
        if came <= 0 or seconds <= 0:
            return ""
        pace = came / seconds
        left = f", about {show_span((self.total - self.done) / pace)} left" if self.total else ""
        return f"{show_size(pace)}/s{left}"
