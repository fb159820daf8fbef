"""How results reach standard output: as events, as one document, or as a table for people."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from asana_jobs.cli.complaint import complain_of
from asana_jobs.cli.events import (
    Event,
    Summary,
    error_event,
    job_event,
    summary_event,
    timeout_event,
    to_line,
)
from asana_jobs.cli.stdout import emit
from asana_jobs.cli.terminal import is_terminal


if TYPE_CHECKING:
    from asana_jobs import AsanaJobsError
    from asana_jobs.cli.commands.options import OutputFormat
    from asana_jobs.cli.tally import Track
    from asana_jobs.errors import JobTimeoutError


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
    from asana_jobs.cli.table import Table  # noqa: PLC0415  # rich is not needed for JSON

    return Table(whole=output == "table" or not is_terminal(sys.stdout))
