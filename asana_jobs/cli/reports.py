"""How results reach standard output: as events, as one document, or as a table for people.

How the outcomes of a bulk run reach standard output: as events, as one document, or in words.

Which report a bulk run's ``--output`` asks for.

How an export reaches standard output: as the events of a wait, and one for the file.

Results for people: a table of the jobs, or of what matters when there are many, and a summary.

The outcomes of a bulk run for people: what went wrong, and how many did not.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs
from rich.console import Console
from rich.text import Text

from asana_jobs.cli.errors import complain, complain_of, message_of
from asana_jobs.cli.json_events import (
    BulkSummary,
    Event,
    Summary,
    error_event,
    event,
    job_event,
    outcome_event,
    summary_event,
    timeout_event,
    to_line,
)
from asana_jobs.cli.options import show_span
from asana_jobs.cli.progress import ACCEPTED, SUCCEEDED, UNKNOWN, state_of
from asana_jobs.cli.terminal import STYLES, emit, is_terminal, make_console, plain, show_size
from asana_jobs.errors import AsanaJobsError, JobFailedError, JobTimeoutError


if TYPE_CHECKING:
    from asana_jobs import Outcome
    from asana_jobs.cli.options import OutputFormat
    from asana_jobs.cli.progress import Track
    from asana_jobs.operations import Operation


class Report(ABC):
    """Where results go."""

    @abstractmethod
    def state(self, track: Track) -> None:
        """A job is in a new state."""

    @abstractmethod
    def timed_out(self, track: Track, error: JobTimeoutError) -> None:
        """Waiting was over before a job was."""

    @abstractmethod
    def lost(self, track: Track, error: AsanaJobsError) -> None:
        """A job cannot be watched."""

    @abstractmethod
    def broke(self, error: AsanaJobsError) -> None:
        """Nothing can go on."""

    @abstractmethod
    def end(self, summary: Summary) -> None:
        """It is over."""


class Lines(Report):
    """One event per line, as it happens."""

    def state(self, track: Track) -> None:
        """Write the state."""
        self.write(job_event(track, time.monotonic()))

    def timed_out(self, track: Track, error: JobTimeoutError) -> None:
        """Write the job's last state, and how to go on."""
        self.write(timeout_event(track, error, time.monotonic()))

    def lost(self, track: Track, error: AsanaJobsError) -> None:
        """Write why, for programs and for people."""
        complain_of(error, f"job {track.gid}: ")
        self.write(error_event(error, track.gid))

    def broke(self, error: AsanaJobsError) -> None:
        """Write why, for programs and for people."""
        complain_of(error)
        self.write(error_event(error))

    def end(self, summary: Summary) -> None:
        """Write the last line."""
        self.write(summary_event(summary))

    def write(self, event: Event) -> None:
        """Write one line."""
        emit(to_line(event))


class Document(Lines):
    """One JSON object at the end: the summary, with each job's last event in it."""

    def __init__(self) -> None:
        self._last: dict[object, Event] = {}

    def write(self, event: Event) -> None:
        """Keep the event, or write all of them with the last."""
        if event["event"] != "summary":
            self._last[event["gid"]] = event
            return
        last = list(self._last.values())
        jobs = [kept for kept in last if kept["event"] != "error"]
        errors = [kept for kept in last if kept["event"] == "error"]
        emit(to_line({**event, "jobs": jobs, "errors": errors}))


def make_report(output: OutputFormat) -> Report:
    """Return the report that ``--output`` asks for."""
    if output == "json":
        return Document()
    if output == "jsonl" or (output == "auto" and not sys.stdout.isatty()):
        return Lines()

    return Table(whole=output == "table" or not is_terminal(sys.stdout))


class BulkReport(ABC):
    """Where outcomes go."""

    @abstractmethod
    def outcome(self, outcome: Outcome) -> None:
        """An operation has ended."""

    @abstractmethod
    def broke(self, error: AsanaJobsError) -> None:
        """Nothing can go on."""

    @abstractmethod
    def end(self, summary: BulkSummary) -> None:
        """It is over."""


class OutcomeLines(BulkReport):
    """One event per line, as it happens."""

    def outcome(self, outcome: Outcome) -> None:
        """Write the outcome."""
        self.write(outcome_event(outcome, state_of(outcome)))

    def broke(self, error: AsanaJobsError) -> None:
        """Write why, for programs and for people."""
        complain_of(error)
        self.write(error_event(error))

    def end(self, summary: BulkSummary) -> None:
        """Write the last line."""
        self.write(summary_event(summary))

    def write(self, event: Event) -> None:
        """Write one line."""
        emit(to_line(event))


@attrs.define
class OutcomeDocument(OutcomeLines):
    """One JSON object at the end: the summary, with all outcomes in it."""

    _events: list[Event] = attrs.field(factory=list[Event])

    def write(self, event: Event) -> None:
        """Keep the event, or write all of them with the last."""
        if event["event"] != "summary":
            self._events.append(event)
            return
        outcomes = [kept for kept in self._events if kept["event"] == "outcome"]
        errors = [kept for kept in self._events if kept["event"] == "error"]
        emit(to_line({**event, "outcomes": outcomes, "errors": errors}))


def make_bulk_report(output: OutputFormat) -> BulkReport:
    """Return the report that ``--output`` asks for."""
    if output == "json":
        return OutcomeDocument()
    if output == "jsonl" or (output == "auto" and not sys.stdout.isatty()):
        return OutcomeLines()

    return OutcomeTable(whole=output == "table" or not is_terminal(sys.stdout))


class ExportReport(ABC):
    """Where it goes."""

    @abstractmethod
    def state(self, track: Track) -> None:
        """The export is in a new state."""

    @abstractmethod
    def downloaded(self, gid: str, path: Path, size: int) -> None:
        """Its file is on the disk."""

    @abstractmethod
    def end(self, summary: Summary) -> None:
        """It is over."""

    def broke(self, error: AsanaJobsError) -> None:
        """It cannot go on."""
        complain_of(error)


class ExportWords(ExportReport):
    """A line for people; the live view shows the way there."""

    def __init__(self) -> None:
        self._track: Track | None = None

    def state(self, track: Track) -> None:
        """Keep it, in case that it is the last."""
        self._track = track

    def downloaded(self, gid: str, path: Path, size: int) -> None:
        """Say where the file is."""
        del gid
        emit(f"{plain(path)}: {show_size(size)}\n")

    def end(self, summary: Summary) -> None:
        """Say that there is no file, if there is none because Asana has failed."""
        if summary.failed and self._track is not None:
            complain(f"export job {self._track.gid} failed: Asana gives no reason", JobFailedError.advice)


class ExportLines(ExportReport):
    """One event per line, as it happens."""

    def state(self, track: Track) -> None:
        """Write the state."""
        self.write(job_event(track, time.monotonic()))

    def downloaded(self, gid: str, path: Path, size: int) -> None:
        """Write where the file is."""
        self.write(event("download", gid=gid, path=str(path), bytes=size))

    def broke(self, error: AsanaJobsError) -> None:
        """Write why, for programs and for people."""
        super().broke(error)
        self.write(error_event(error))

    def end(self, summary: Summary) -> None:
        """Write the last line."""
        self.write(summary_event(summary))

    def write(self, fields: Event) -> None:
        """Write one line."""
        emit(to_line(fields))


@attrs.define
class ExportDocument(ExportLines):
    """One JSON object at the end: the summary, with the last event of each name in it."""

    _last: dict[str, Event] = attrs.field(factory=dict[str, Event])

    def write(self, fields: Event) -> None:
        """Keep the event, or write all of them with the last."""
        if fields["event"] == "summary":
            emit(to_line({"job": None, "download": None, "error": None, **self._last, **fields}))
        else:
            self._last[str(fields["event"])] = fields


def make_export_report(output: OutputFormat) -> ExportReport:
    """Return the report that ``--output`` asks for."""
    if output == "json":
        return ExportDocument()
    if output == "jsonl" or (output == "auto" and not sys.stdout.isatty()):
        return ExportLines()
    return ExportWords()


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


#: More than this are not listed on a terminal.
_ROWS_LISTED: Final = 20
_NARROWEST: Final = 20


class OutcomeTable(BulkReport):
    """A list at the end; the live view shows the way there."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self._rows: list[tuple[str, str, str | None]] = []
        self._broke: AsanaJobsError | None = None

    def outcome(self, outcome: Outcome) -> None:
        """Keep it for the list, unless all is well with it and nobody asked."""
        state = state_of(outcome)
        if self._whole or state not in {SUCCEEDED, ACCEPTED}:
            self._rows.append(
                (state, operation_words(outcome.operation) + _result_words(outcome), _reason(outcome))
            )

    def broke(self, error: AsanaJobsError) -> None:
        """Keep it: it is said below the list, where it is seen."""
        self._broke = error

    def end(self, summary: BulkSummary) -> None:
        """Print the list and the summary."""
        rows = self._rows if self._whole else self._rows[:_ROWS_LISTED]
        console = make_console(sys.stdout)
        width = max((len(state) for state, _, _ in rows), default=0)
        with console.capture() as captured:
            for state, words, reason in rows:
                for line in _lines(state, words, reason, width, console.width):
                    console.print(line)
            if len(rows) < len(self._rows):
                left_out = len(self._rows) - len(rows)
                console.print(Text(f"and {left_out} more like these; --output table lists all operations"))
            console.print(bulk_summary_line(summary))
        emit(captured.get())
        if self._broke is not None:
            complain_of(self._broke)


def _lines(state: str, words: str, reason: str | None, width: int, columns: int) -> list[Text]:
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
    return plain(f'{words} "{name}"' if name else words)


def _result_words(outcome: Outcome) -> str:
    job, attempt = outcome.job, f", attempt {outcome.attempt}" if outcome.attempt > 1 else ""
    if job is None:
        return attempt
    if outcome.succeeded and job.result is not None:
        return plain(f": {job.result.resource_type or 'object'} {job.result.gid}{attempt}")
    return f": job {job.gid}{attempt}"


def _reason(outcome: Outcome) -> str | None:
    error = outcome.error
    if isinstance(error, JobFailedError):
        result = error.job.result
        return (
            f"look at {plain(result.resource_type or 'object')} {result.gid}, which may be half made"
            if result
            else None
        )
    if error is None or isinstance(error, JobTimeoutError):
        return None
    return plain(message_of(error) if isinstance(error, AsanaJobsError) else error)


def bulk_summary_line(summary: BulkSummary) -> Text:
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
    return Text.assemble(f"{operations}: ", Text(", ").join(said), f", {show_span(summary.seconds)}")
