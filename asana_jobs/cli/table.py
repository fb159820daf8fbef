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


class Table(Report):
    """A table at the end; the live view shows the way there."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._tracks: dict[str, Track] = {}

    def state(self, track: Track) -> None:
        """Keep it for the table."""
        self._tracks[track.gid] = track

    def timed_out(self, track: Track, error: JobTimeoutError) -> None:
        """Keep it for the table: its state says that it goes on."""
        del error
        self._tracks[track.gid] = track

    def lost(self, track: Track, error: AsanaJobsError) -> None:
        """Say why."""
        self._tracks[track.gid] = track
        complain_of(error, f"job {track.gid}: ")

    def broke(self, error: AsanaJobsError) -> None:
        """Say why."""
        complain_of(error)

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
    """Return a line per job with headings, or two lines per job where a line is too narrow."""
    if not tracks:
        return []
    rows = [_cells(track, now) for track in tracks]
    widths = [max(len(row[column]) for row in [_HEADINGS, *rows]) for column in range(4)]
    if sum(widths) + 2 * len(widths) + 20 > width:
        return [line for row in rows for line in _stacked(row)]
    lines = [_side_by_side(_HEADINGS, widths, "dim")]
    return lines + [_side_by_side(row, widths) for row in rows]


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


def _side_by_side(row: Sequence[str], widths: Sequence[int], style: str = "") -> Text:
    line = Text(style=style)
    for column, width in enumerate(widths):
        line.append(row[column].ljust(width), STYLES.get(row[column], "")).append("  ")
    return line.append(row[-1])


def _stacked(row: Sequence[str]) -> list[Text]:
    gid, state, took, kind, result = row
    head = Text.assemble(f"{gid}  ", (state, STYLES.get(state, "")), f"  {took}")
    return [head, Text(f"  {kind}", "dim"), Text(f"  {result}")]
