"""The outcomes of a bulk run for people: what went wrong, and how many did not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from rich.text import Text

from asana_jobs.cli.bulk_report import BulkReport
from asana_jobs.cli.bulk_tally import ACCEPTED, SUCCEEDED, state_of
from asana_jobs.cli.complaint import complain_of, message_of
from asana_jobs.cli.plain import plain
from asana_jobs.cli.spans import show_span
from asana_jobs.cli.stdout import emit
from asana_jobs.cli.terminal import make_console
from asana_jobs.cli.view import STYLES
from asana_jobs.errors import AsanaJobsError, JobFailedError, JobTimeoutError


if TYPE_CHECKING:
    from asana_jobs import Outcome
    from asana_jobs.cli.events import BulkSummary
    from asana_jobs.operations import Operation

#: More than this are not listed on a terminal.
_LISTED: Final = 20
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
        rows = self._rows if self._whole else self._rows[:_LISTED]
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
    from rich.console import Console  # noqa: PLC0415  # beside its only use

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
