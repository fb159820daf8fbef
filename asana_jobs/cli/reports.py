"""The three forms in which a stream of events reaches standard output: JSON lines, one JSON document, a table.

A command tells a `Report` what happens, in order, and last of all the summary. Which form that takes is the user's
``--output``; what a document and a table look like is the command's `Layout`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

import attrs
from rich.console import Console
from rich.text import Text

from asana_jobs.cli.errors import complain, complain_of, message_of
from asana_jobs.cli.json_events import (
    Diagnosis,
    Event,
    JobsSummary,
    OperationsSummary,
    error_event,
    event,
    job_event,
    outcome_event,
    summary_event,
    timeout_event,
    to_line,
)
from asana_jobs.cli.options import format_duration
from asana_jobs.cli.progress import ACCEPTED, SUCCEEDED, UNKNOWN, Track, state_of
from asana_jobs.cli.terminal import STYLES, emit, format_size, is_terminal, make_console, sanitize
from asana_jobs.errors import AsanaJobsError, JobFailedError, JobTimeoutError


if TYPE_CHECKING:
    from asana_jobs import Outcome
    from asana_jobs.cli.options import OutputFormat
    from asana_jobs.operations import Operation


#: More jobs or operations than this are not listed on a terminal, only those that went wrong.
_LISTED: Final = 20
_HEADINGS: Final = ("JOB", "STATUS", "TIME", "KIND", "RESULT")
_ALL: Final = (0, 1, 2, 3, 4)
_WITHOUT_KIND: Final = (0, 1, 2, 4)
_GAP: Final = "  "
#: A result of so many characters shows its type, its gid and the beginning of its name.
_LONG_ENOUGH: Final = 40
#: Columns that the words of an outcome have at least.
_NARROWEST: Final = 20


@attrs.frozen
class ReportItem:
    """One event of a command.

    Attributes:
        fields: The event in JSON.
        key: What it is about; a later event about the same takes its place in a table.
        row: What a table shows of it, if it shows it.
        error: What went wrong, for standard error.
        prefix: The beginning of that complaint.
    """

    fields: Event
    key: Hashable = None
    row: object = None
    error: AsanaJobsError | None = None
    prefix: str = ""


def job_state(track: Track) -> ReportItem:
    """Return that a job is in a new state."""
    return ReportItem(job_event(track, time.monotonic()), track.gid, track)


def job_timed_out(track: Track, error: JobTimeoutError) -> ReportItem:
    """Return that waiting was over before a job was: its last state, and how to go on."""
    return ReportItem(timeout_event(track, error, time.monotonic()), track.gid, track)


def job_lost(track: Track, error: AsanaJobsError) -> ReportItem:
    """Return that a job cannot be watched."""
    return ReportItem(error_event(error, track.gid), track.gid, track, error, f"job {track.gid}: ")


def broken(error: AsanaJobsError) -> ReportItem:
    """Return that nothing can go on."""
    return ReportItem(error_event(error), error=error)


def operation_ended(outcome: Outcome) -> ReportItem:
    """Return that an operation of a bulk run has ended."""
    return ReportItem(outcome_event(outcome, state_of(outcome)), outcome.key, outcome)


def downloaded(gid: str, path: Path, size: int) -> ReportItem:
    """Return that the file of an export is on the disk."""
    return ReportItem(
        event("download", gid=gid, path=str(path), bytes=size), path, f"{sanitize(path)}: {format_size(size)}"
    )


Fold: TypeAlias = Callable[[Sequence[Event], Event], Event]


class PrintTable(Protocol):
    """Function that prints rows and a summary."""

    def __call__(self, console: Console, rows: Sequence[Any], summary: Any, /, *, whole: bool) -> None:
        """Print *rows*; all of them if *whole*."""
        ...


@attrs.frozen
class Layout:
    """Form of one command's document and table.

    Attributes:
        fold: Makes the document of the events and the summary.
        print: Prints the table.
        matters: Whether a row is kept for a table that is not whole.
    """

    fold: Fold
    print: PrintTable
    matters: Callable[[Any], bool] = lambda _: True


class Report(Protocol):
    """Receiver of a command's events."""

    def add(self, item: ReportItem) -> None:
        """Take the next event."""
        ...

    def end(self, summary: JobsSummary | Diagnosis) -> None:
        """Take the summary, after which nothing comes."""
        ...


class Lines:
    """One event per line, as it happens."""

    def add(self, item: ReportItem) -> None:
        """Write the event, and what went wrong for people as well."""
        if item.error is not None:
            complain_of(item.error, item.prefix)
        self.write(item.fields)

    def end(self, summary: JobsSummary | Diagnosis) -> None:
        """Write the last line."""
        emit(to_line(summary_event(summary)))

    def write(self, fields: Event) -> None:
        """Write one line."""
        emit(to_line(fields))


class Document(Lines):
    """One JSON object at the end: the summary, with the events in it.

    Args:
        fold: Returns the document of the events and the summary.
    """

    def __init__(self, fold: Fold) -> None:
        self._fold = fold
        self._events: list[Event] = []

    def write(self, fields: Event) -> None:
        """Keep the event."""
        self._events.append(fields)

    def end(self, summary: JobsSummary | Diagnosis) -> None:
        """Write the document."""
        emit(to_line(self._fold(self._events, summary_event(summary))))


class Table:
    """A table at the end; the live view shows the way there.

    Args:
        layout: The command's.
        whole: Whether all is listed, or what matters where there is much.
    """

    def __init__(self, layout: Layout, *, whole: bool) -> None:
        self._layout = layout
        self._whole = whole
        self._rows: dict[Hashable, object] = {}
        # Said at the end: a line in the middle would tear the live view apart.
        self._complaints: list[tuple[AsanaJobsError, str]] = []

    def add(self, item: ReportItem) -> None:
        """Keep the event's row and its complaint."""
        if item.row is not None and (self._whole or self._layout.matters(item.row)):
            self._rows[item.key] = item.row
        if item.error is not None:
            self._complaints.append((item.error, item.prefix))

    def end(self, summary: JobsSummary | Diagnosis) -> None:
        """Print the table, the summary and the complaints."""
        console = make_console(sys.stdout)
        with console.capture() as captured:
            self._layout.print(console, list(self._rows.values()), summary, whole=self._whole)
        emit(captured.get())
        for error, prefix in self._complaints:
            complain_of(error, prefix)


def make_report(output: OutputFormat, layout: Layout) -> Report:
    """Return the report that ``--output`` asks for."""
    if output == "json":
        return Document(layout.fold)
    if output == "jsonl" or (output == "auto" and not sys.stdout.isatty()):
        return Lines()
    return Table(layout, whole=output == "table" or not is_terminal(sys.stdout))


def _named(events: Sequence[Event], name: str) -> list[Event]:
    return [fields for fields in events if fields["event"] == name]


# The jobs of `wait` and `start`


def _fold_jobs(events: Sequence[Event], summary: Event) -> Event:
    last = list({fields["gid"]: fields for fields in events}.values())
    jobs = [fields for fields in last if fields["event"] != "error"]
    return {**summary, "jobs": jobs, "errors": _named(last, "error")}


def _print_jobs(console: Console, tracks: Sequence[Track], summary: JobsSummary, /, *, whole: bool) -> None:
    left_out = 0
    if not whole and len(tracks) > _LISTED:
        bad = [track for track in tracks if track.state in {"failed", UNKNOWN}]
        left_out = len(bad) - _LISTED
        tracks = bad[:_LISTED]
    for line in job_lines(tracks, time.monotonic(), console.width):
        console.print(line, no_wrap=True, overflow="ellipsis")
    if left_out > 0:
        console.print(Text(f"and {left_out} more like these; --output table lists all jobs"))
    console.print(summary_line(summary))


def summary_line(summary: JobsSummary) -> Text:
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
        f"{jobs}: ", Text(", ").join(said or [Text("none started")]), f", {format_duration(summary.seconds)}"
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
        sanitize(track.state),
        format_duration(track.seconds(now)),
        sanitize(track.kind or "-"),
        result_words(track),
    )


def result_words(track: Track) -> str:
    """Return what a job makes, such as ``project 1207 Q3 launch``."""
    result = track.job.result if track.job is not None else None
    if result is None:
        return "-"
    words = [result.resource_type or "object", result.gid, getattr(result, "name", None) or ""]
    return sanitize(" ".join(words))


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


# The outcomes of `run` and `resume`


def _fold_outcomes(events: Sequence[Event], summary: Event) -> Event:
    return {**summary, "outcomes": _named(events, "outcome"), "errors": _named(events, "error")}


def _print_outcomes(
    console: Console, outcomes: Sequence[Outcome], summary: OperationsSummary, /, *, whole: bool
) -> None:
    listed = outcomes if whole else outcomes[:_LISTED]
    states = [state_of(outcome) for outcome in listed]
    width = max(map(len, states), default=0)
    for state, outcome in zip(states, listed, strict=True):
        words = operation_words(outcome.operation) + _result_words(outcome)
        for line in _outcome_lines(state, words, _outcome_reason(outcome), width, console.width):
            console.print(line)
    if len(listed) < len(outcomes):
        left_out = len(outcomes) - len(listed)
        console.print(Text(f"and {left_out} more like these; --output table lists all operations"))
    console.print(bulk_summary_line(summary))


def _outcome_lines(state: str, words: str, reason: str | None, width: int, columns: int) -> list[Text]:
    """Return one outcome: its state, and beside it the operation and the reason, each broken where it must be."""
    indent = width + 2
    room = max(_NARROWEST, columns - indent)
    console = Console(width=room)
    beside = [*Text(words).wrap(console, room)]
    if reason:
        beside += Text(reason, "dim").wrap(console, room)
    head = Text(state.ljust(indent), STYLES.get(state, ""))
    return [Text.assemble(head if place == 0 else " " * indent, line) for place, line in enumerate(beside)]


def operation_words(operation: Operation) -> str:
    """Return what an operation is, such as ``duplicate_project 1203 "Q3 launch"``."""
    name = getattr(operation, "name", None)
    words = f"{operation.kind} {operation.gid}"
    return sanitize(f'{words} "{name}"' if name else words)


def _result_words(outcome: Outcome) -> str:
    job, attempt = outcome.job, f", attempt {outcome.attempt}" if outcome.attempt > 1 else ""
    if job is None:
        return attempt
    if outcome.succeeded and job.result is not None:
        return sanitize(f": {job.result.resource_type or 'object'} {job.result.gid}{attempt}")
    return f": job {job.gid}{attempt}"


def _outcome_reason(outcome: Outcome) -> str | None:
    error = outcome.error
    if isinstance(error, JobFailedError):
        result = error.job.result
        return (
            f"look at {sanitize(result.resource_type or 'object')} {result.gid}, which may be half made"
            if result
            else None
        )
    if error is None or isinstance(error, JobTimeoutError):
        return None
    return sanitize(message_of(error) if isinstance(error, AsanaJobsError) else error)


def bulk_summary_line(summary: OperationsSummary) -> Text:
    """Return how it ended, in a sentence's length."""
    counts = [
        ("succeeded", summary.succeeded),
        ("failed", summary.failed),
        ("refused", summary.refused),
        ("unknown", summary.unknown),
        ("accepted", summary.accepted),
        ("not finished yet", summary.unfinished),
    ]
    said = [Text(f"{count} {word}", STYLES.get(word, "")) for word, count in counts if count]
    operations = "1 operation" if summary.total == 1 else f"{summary.total} operations"
    if summary.retried:
        said.append(Text(f"{summary.retried} of them at another attempt"))
    return Text.assemble(f"{operations}: ", Text(", ").join(said), f", {format_duration(summary.seconds)}")


# The file of `export`


def _fold_export(events: Sequence[Event], summary: Event) -> Event:
    last = {cast("str", fields["event"]): fields for fields in events}
    return {"job": None, "download": None, "error": None, **last, **summary}


def _print_export(_: Console, rows: Sequence[Track | str], summary: JobsSummary, /, *, whole: bool) -> None:
    """Say where the file is, or that there is none because Asana has failed; the live view shows the way there."""
    del whole
    for row in rows:
        if isinstance(row, str):
            emit(f"{row}\n")
        elif summary.failed:
            complain(f"export job {row.gid} failed: Asana gives no reason", JobFailedError.advice)


JOBS: Final = Layout(_fold_jobs, _print_jobs)
#: Only what went wrong is kept where not all is listed, so that a run of any length takes the same room.
OUTCOMES: Final = Layout(
    _fold_outcomes, _print_outcomes, lambda outcome: state_of(outcome) not in {SUCCEEDED, ACCEPTED}
)
EXPORT: Final = Layout(_fold_export, _print_export)
