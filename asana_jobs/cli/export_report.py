"""How an export reaches standard output: as the events of a wait, and one for the file."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from asana_jobs.cli.complaint import complain, complain_of
from asana_jobs.cli.events import Event, Summary, error_event, event, job_event, summary_event, to_line
from asana_jobs.cli.plain import plain
from asana_jobs.cli.stdout import emit
from asana_jobs.errors import JobFailedError


if TYPE_CHECKING:
    from asana_jobs import AsanaJobsError
    from asana_jobs.cli.commands.options import OutputFormat
    from asana_jobs.cli.tally import Track

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


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


def show_size(size: float) -> str:
    """Return a number of bytes as ``812 bytes`` or ``1.2 MB``."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            return f"{size:.0f} {unit}" if unit == _UNITS[0] else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError
