"""What a command tells: one stream of events, counted for the live view and written in the form of ``--output``.

That is a line of JSON for each, one JSON document at the end, or a table at the end.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs
from rich.text import Text

from asana_jobs.cli.errors import ExitStatus, complain, counted, lost_output, status_of, worst_status
from asana_jobs.cli.events import (
    ACCEPTED,
    FAILED,
    REFUSED,
    SUCCEEDED,
    TIMED_OUT,
    UNKNOWN,
    Event,
    error_event,
    event,
    job_event,
    to_line,
)
from asana_jobs.cli.live_view import ProgressView, showing
from asana_jobs.cli.progress import Progress, Track
from asana_jobs.cli.terminal import (
    STYLES,
    emit,
    for_people,
    format_duration,
    format_size,
    is_terminal,
    print_beside,
    print_lines,
    sanitize,
)
from asana_jobs.errors import AsanaJobsError, JobFailedError
from asana_jobs.events import JobOverdue


if TYPE_CHECKING:
    from asana_jobs import AsanaClient, Job
    from asana_jobs.cli.options import OutputFormat


#: What a command is about, which decides what its document and its table look like.
Subject: TypeAlias = Literal["jobs", "operations", "export", "findings"]

#: More jobs or operations than this are not listed on a terminal, only those that went wrong.
_LISTED: Final = 20
_HEADINGS: Final = ("JOB", "STATUS", "TIME", "KIND", "RESULT")
_ALL: Final = (0, 1, 2, 3, 4)
_WITHOUT_KIND: Final = (0, 1, 2, 4)
_GAP: Final = "  "
#: A result of so many characters shows its type, its gid and the beginning of its name.
_LONG_ENOUGH: Final = 40
_MARKS: Final = {"good": ("ok", "green"), "odd": ("look", "yellow"), "bad": ("BAD", "bold red")}


@attrs.define(eq=False)
class Report:
    """What one command tells.

    Attributes:
        subject: What it is about.
        output: The user's ``--output``.
        progress: The counts so far.
        statuses: What each end so far means for the exit status.
    """

    subject: Subject
    output: OutputFormat
    progress: Progress = attrs.field(factory=lambda: Progress(time.monotonic()))
    statuses: set[ExitStatus] = attrs.field(factory=set[ExitStatus], init=False)
    _table: bool = attrs.field(init=False)
    _whole: bool = attrs.field(init=False)
    _lost: bool = attrs.field(default=False, init=False)
    _events: list[Event] = attrs.field(factory=list[Event], init=False)

    def __attrs_post_init__(self) -> None:
        self._table = for_people(self.output)
        # On a terminal only what went wrong is listed where there is much.
        self._whole = self.output == "table" or not is_terminal(sys.stdout)

    def tell(self, fields: Event) -> None:
        """Count an event and write it."""
        self.progress.take(fields, time.monotonic())
        self._write(fields)

    def _write(self, fields: Event) -> None:
        """Write an event, or keep it for the end; with the summary, write what was kept."""
        what = fields["event"]
        if self._lost:
            return
        if what == "error" and not self._table:
            _complain(fields)
        if what == "finding" and self._table:  # there is no live view that a line could tear apart
            _print_finding(fields)
        if not self._table and self.output != "json":
            emit(to_line(fields))
        elif what == "summary":
            if self._table:
                self._print(fields)
            else:
                emit(to_line(self._document(fields)))
        elif not self._table or self._is_listed(fields):
            self._events.append(fields)

    def _is_listed(self, fields: Event) -> bool:
        """Whether a table shows an event: the live view shows the others, on the way there."""
        if fields["event"] == "outcome":
            return self._whole or fields["state"] not in {SUCCEEDED, ACCEPTED}
        return fields["event"] in {"error", "download", "finding"}

    def _document(self, summary: Event) -> Event:
        events = self._events
        match self.subject:
            case "jobs":
                last = list({fields["gid"]: fields for fields in events}.values())
                jobs = [fields for fields in last if fields["event"] != "error"]
                return {**summary, "jobs": jobs, "errors": _named(last, "error")}
            case "operations":
                return {**summary, "outcomes": _named(events, "outcome"), "errors": _named(events, "error")}
            case "export":
                last_of = {fields["event"]: fields for fields in events}
                return {"job": None, "download": None, "error": None, **last_of, **summary}
            case "findings":
                return {**summary, "findings": events}

    def _print(self, summary: Event) -> None:
        match self.subject:
            case "jobs":
                _print_jobs([*self.progress.tracks.values()], summary, whole=self._whole)
            case "operations":
                _print_outcomes(_named(self._events, "outcome"), summary, whole=self._whole)
            case "export":
                _print_export(self._events, self.progress, summary)
            case "findings":
                emit(f"\n{_verdict(self._events)}\n")
        for trouble in _named(self._events, "error"):
            _complain(trouble)

    def tell_job(self, job: Job, kind: str | None = None) -> None:
        """Tell that a job is in a new state."""
        track = self.progress.track(job.gid, time.monotonic())
        kind = track.kind or kind or job.resource_subtype
        self.tell(job_event(job, kind=kind, seconds=track.seconds(time.monotonic())))
        if job.done:
            self.statuses.add(ExitStatus.JOB_FAILED if job.failed else ExitStatus.SUCCEEDED)

    def hear(self, news: object) -> None:
        """Take note of an event of the client's that people are shown: a job is overdue."""
        if isinstance(news, JobOverdue):
            self.progress.overdue.add(news.gid)

    def tell_lost(self, gid: str, error: Exception) -> None:
        """Tell that a job cannot be watched."""
        self.progress.lose(gid, time.monotonic())
        self.statuses.add(status_of(error))
        self.tell(error_event(error, gid))

    def tell_broken(self, error: AsanaJobsError) -> ExitStatus:
        """Tell that nothing can go on, and return what that means."""
        self.tell(error_event(error))
        return status_of(error)

    async def follow(self, client: AsanaClient, work: Awaitable[None]) -> ExitStatus:
        """Wait for *work*, which tells of itself, while people are shown how it goes; return what it came to."""
        try:
            async with self.live(client):
                await work
        except asyncio.CancelledError:
            return ExitStatus.INTERRUPTED
        except AsanaJobsError as error:
            return self.tell_broken(error)
        except OSError as error:
            return self.lose(error)
        return worst_status(self.statuses)

    def lose(self, error: OSError) -> ExitStatus:
        """Tell nothing more, as that cannot be written, and return what that means."""
        self._lost = True
        return lost_output(error)

    def live(self, client: AsanaClient) -> AbstractAsyncContextManager[None]:
        """Return a block in which people are shown how it goes."""
        return showing(ProgressView(self.progress, client), self.output)

    def end(self, status: ExitStatus, **counts: object) -> ExitStatus:
        """Tell the summary, after which nothing comes, and return *status*, or what it means that none of it is told."""
        seconds = round(time.monotonic() - self.progress.began, 3)
        try:
            self._write(event("summary", **{**counts, "seconds": seconds, "exit_status": status}))
        except OSError as error:
            return self.lose(error)
        return status


def _named(events: Sequence[Event], name: str) -> list[Event]:
    return [fields for fields in events if fields["event"] == name]


def _complain(fields: Event) -> None:
    gid, message = fields["gid"], str(fields["message"])
    complain(message if gid is None or gid in message else f"job {gid}: {message}", fields["advice"])


# The jobs of `wait` and `start`


def _print_jobs(tracks: Sequence[Track], summary: Event, *, whole: bool) -> None:
    left_out = 0
    if not whole and len(tracks) > _LISTED:
        bad = [track for track in tracks if track.state in {FAILED, UNKNOWN}]
        left_out = len(bad) - _LISTED
        tracks = bad[:_LISTED]
    now = time.monotonic()
    print_lines(lambda width: job_lines(tracks, now, width), cut=True)
    if left_out > 0:
        emit(f"and {left_out} more like these; --output table lists all jobs\n")
    print_lines(lambda _: [_summary_line("job", summary)])


def _summary_line(noun: str, summary: Event) -> Text:
    """Return how it ended, in a sentence's length."""
    states = (SUCCEEDED, FAILED, REFUSED, UNKNOWN, ACCEPTED)
    counts = [
        *((state, summary.get(state, 0)) for state in states),
        ("not finished yet", summary["unfinished"]),
    ]
    said = [Text(f"{count} {word}", STYLES.get(word, "")) for word, count in counts if count]
    if summary.get("retried"):
        said.append(Text(f"{summary['retried']} of them at another attempt"))
    return Text.assemble(
        f"{counted(summary['total'], noun)}: ",
        Text(", ").join(said or [Text("none started")]),
        f", {format_duration(summary['seconds'])}",
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
    took = format_duration(track.seconds(now))
    return (track.gid, sanitize(track.state), took, sanitize(track.kind or "-"), _result_words(track.result))


def _result_words(result: Event | None) -> str:
    """Return what a job makes, such as ``project 1207 Q3 launch``."""
    if result is None:
        return "-"
    return sanitize(f"{result['resource_type'] or 'object'} {result['gid']} {result['name'] or ''}")


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


def _print_outcomes(outcomes: Sequence[Event], summary: Event, *, whole: bool) -> None:
    listed = outcomes if whole else outcomes[:_LISTED]
    width = max((len(fields["state"]) for fields in listed), default=0)
    for fields in listed:
        state = fields["state"]
        head = Text(state.ljust(width + 2), STYLES.get(state, ""))
        words = Text(_operation_words(fields["operation"]) + _outcome_words(fields))
        print_beside(head, [words, *(Text(reason, "dim") for reason in _reasons(fields))])
    if len(listed) < len(outcomes):
        emit(f"and {len(outcomes) - len(listed)} more like these; --output table lists all operations\n")
    print_lines(lambda _: [_summary_line("operation", summary)])


def _operation_words(operation: Event) -> str:
    """Return what an operation is, such as ``duplicate_project 1203 "Q3 launch"``."""
    words, name = f"{operation['kind']} {operation['gid']}", operation.get("name")
    return sanitize(f'{words} "{name}"' if name else words)


def _outcome_words(fields: Event) -> str:
    job, attempt = fields["job"], f", attempt {fields['attempt']}" if fields["attempt"] > 1 else ""
    if job is None:
        return attempt
    result: Event | None = job["result"]
    if fields["state"] == SUCCEEDED and result is not None:
        return sanitize(f": {result['resource_type'] or 'object'} {result['gid']}{attempt}")
    return f": job {job['gid']}{attempt}"


def _reasons(fields: Event) -> Iterable[str]:
    error: Event | None = fields["error"]
    if fields["state"] == FAILED:
        result: dict[str, Any] | None = fields["job"] and fields["job"]["result"]
        if result is not None:
            what = sanitize(f"{result['resource_type'] or 'object'} {result['gid']}")
            yield f"look at {what}, which may be half made"
    elif error is not None and fields["state"] != TIMED_OUT:
        yield sanitize(error["message"])


# The file of `export`


def _print_export(events: Sequence[Event], progress: Progress, summary: Event) -> None:
    """Say where the file is, or that there is none because Asana has failed; the live view shows the way there."""
    for fields in _named(events, "download"):
        emit(f"{sanitize(fields['path'])}: {format_size(fields['bytes'])}\n")
    if summary["exit_status"] == ExitStatus.JOB_FAILED:
        complain(
            f"export job {next(iter(progress.tracks))} failed: Asana gives no reason", JobFailedError.advice
        )


# The findings of `doctor`


def _print_finding(fields: Event) -> None:
    mark, style = _MARKS[fields["verdict"]]
    head = Text.assemble((f"{mark:<6}", style), f"{fields['subject']:<10}")
    print_beside(head, [Text(sanitize(fields["message"]))])
    if fields["advice"] is not None:
        print_beside(Text(" " * head.cell_len), [Text(sanitize(f"what to do: {fields['advice']}"))])


def _verdict(findings: Sequence[Event]) -> str:
    verdicts = {fields["verdict"] for fields in findings}
    if "bad" in verdicts:
        return "It does not work yet: see BAD above."
    return "It works; see what is marked look." if "odd" in verdicts else "All is well."
