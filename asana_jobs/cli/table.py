"""Results for people: a table of the jobs, or of what matters when there are many, and a summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.text import Text

from asana_jobs.cli.complaint import complain_of
from asana_jobs.cli.plain import plain
from asana_jobs.cli.report import Report
from asana_jobs.cli.spans import show_span
from asana_jobs.cli.stdout import emit
from asana_jobs.cli.tally import UNKNOWN
from asana_jobs.cli.terminal import make_console
from asana_jobs.cli.view import STYLES


if TYPE_CHECKING:
    from asana_jobs import AsanaJobsError
    from asana_jobs.cli.events import Summary
    from asana_jobs.cli.tally import Track
    from asana_jobs.errors import JobTimeoutError

#: More jobs than this are not listed on a terminal, only those that went wrong.
_LISTED = 20
_HEADINGS = ("JOB", "STATUS", "TIME", "KIND", "RESULT")
_ALL = (0, 1, 2, 3, 4)
_WITHOUT_KIND = (0, 1, 2, 4)
_GAP = "  "
#: A result of so many characters shows its type, its gid and the beginning of its name.
_LONG_ENOUGH = 40


class Table(Report):
    """A table at the end; the live view shows the way there."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._tracks: dict[str, Track] = {}
        # Said at the end: a line in the middle would tear the live view apart.
        self._complaints: list[tuple[AsanaJobsError, str]] = []

    def state(self, track: Track) -> None:
        """Keep it for the table."""
        self._tracks[track.gid] = track

    def timed_out(self, track: Track, error: JobTimeoutError) -> None:
        """Keep it for the table: its state says that it goes on."""
        del error
        self._tracks[track.gid] = track

    def lost(self, track: Track, error: AsanaJobsError) -> None:
        """Keep it for the table, and why."""
        self._tracks[track.gid] = track
        self._complaints.append((error, f"job {track.gid}: "))

    def broke(self, error: AsanaJobsError) -> None:
        """Keep why."""
        self._complaints.append((error, ""))

    def end(self, summary: Summary) -> None:
        """Print the table and the summary."""
        tracks = list(self._tracks.values())
        left_out = 0
        if not self._whole and len(tracks) > _LISTED:
            bad = [track for track in tracks if track.state in {"failed", UNKNOWN}]
            left_out = len(bad) - _LISTED
            tracks = bad[:_LISTED]
        now = time.monotonic()
        console = make_console(sys.stdout)
        with console.capture() as captured:
            for line in job_lines(tracks, now, console.width):
                console.print(line, no_wrap=True, overflow="ellipsis")
            if left_out > 0:
                console.print(Text(f"and {left_out} more like these; --output table lists all jobs"))
            console.print(summary_line(summary))
        emit(captured.get())
        for error, prefix in self._complaints:
            complain_of(error, prefix)


def summary_line(summary: Summary) -> Text:
    """Return how it ended, in a sentence's length."""
    counts = [
        ("succeeded", summary.succeeded),
        ("failed", summary.failed),
        ("unknown", summary.unknown),
        ("not finished yet", summary.unfinished),
    ]
    said = [Text(f"{count} {word}", STYLES.get(word, "")) for word, count in counts if count]
    jobs = "1 job" if summary.total == 1 else f"{summary.total} jobs"
    return Text.assemble(
        f"{jobs}: ", Text(", ").join(said or [Text("none started")]), f", {show_span(summary.seconds)}"
    )


def job_lines(tracks: Sequence[Track], now: float, width: int) -> list[Text]:
    """Return a line per job with headings; without the kinds, or with a few lines per job, where that is too wide."""
    if not tracks:
        return []
    rows = [_cells(track, now) for track in tracks]
    for columns in (_ALL, _WITHOUT_KIND):
        widths = [max(len(row[column]) for row in [_HEADINGS, *rows]) for column in columns]
        # A long name may be cut; a gid may not.
        if sum(widths[:-1]) + min(widths[-1], _LONG_ENOUGH) + len(_GAP) * (len(columns) - 1) <= width:
            lines = [_side_by_side(row, columns, widths) for row in [_HEADINGS, *rows]]
            lines[0].stylize("dim")
            return lines
    return [line for row in rows for line in _stacked(row)]


def _cells(track: Track, now: float) -> tuple[str, ...]:
    return (
        track.gid,
        plain(track.state),
        show_span(track.seconds(now)),
        plain(track.kind or "-"),
        result_words(track),
    )


def result_words(track: Track) -> str:
    """Return what a job makes, such as ``project 1207 Q3 launch``."""
    result = track.job.result if track.job is not None else None
    if result is None:
        return "-"
    words = [result.resource_type or "object", result.gid, getattr(result, "name", None) or ""]
    return plain(" ".join(words))


def _side_by_side(row: Sequence[str], columns: Sequence[int], widths: Sequence[int]) -> Text:
    cells = [
        Text(row[column].ljust(width), STYLES.get(row[column], ""))
        for column, width in zip(columns, widths, strict=True)
    ]
    cells[-1].rstrip()
    return Text(_GAP).join(cells)


def _stacked(row: Sequence[str]) -> list[Text]:
    gid, state, took, kind, result = row
    head = Text.assemble(f"{gid}  ", (state, STYLES.get(state, "")), f"  {took}")
    return [head, Text(f"  {kind}", "dim"), Text(f"  {result}")]
