"""How `doctor` writes down what it finds."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from rich.text import Text

from asana_jobs.cli.events import Event, event, to_line
from asana_jobs.cli.plain import plain
from asana_jobs.cli.stdout import emit
from asana_jobs.cli.terminal import make_console


if TYPE_CHECKING:
    from asana_jobs.cli.commands.options import OutputFormat
    from asana_jobs.cli.examination import Finding
    from asana_jobs.cli.exit_status import ExitStatus

_MARKS = {"good": ("ok", "green"), "odd": ("look", "yellow"), "bad": ("BAD", "bold red")}


class Sheet(ABC):
    """Where findings are written."""

    @abstractmethod
    def add(self, finding: Finding) -> None:
        """Write one down."""

    @abstractmethod
    def end(self, status: ExitStatus) -> None:
        """Write what it comes to."""


class Words(Sheet):
    """A few lines for people."""

    def __init__(self) -> None:
        self._odd = 0

    def add(self, finding: Finding) -> None:
        """Print the finding, and below it what to do."""
        self._odd += finding.verdict == "odd"
        mark, style = _MARKS[finding.verdict]
        self._print(Text.assemble((f"{mark:<6}", style), f"{finding.subject:<10}"), finding.words)
        if finding.advice is not None:
            self._print(Text(" " * 16), f"what to do: {finding.advice}")

    def _print(self, head: Text, words: str) -> None:
        console = make_console(sys.stdout)
        lines = Text(plain(words)).wrap(console, max(20, console.width - head.cell_len))
        with console.capture() as captured:
            for number, line in enumerate(lines):
                console.print(Text.assemble(head if number == 0 else " " * head.cell_len, line))
        emit(captured.get())

    def end(self, status: ExitStatus) -> None:
        """Say whether it works."""
        if status:
            words = "It does not work yet: see BAD above."
        elif self._odd:
            words = "It works; see what is marked look."
        else:
            words = "All is well."
        emit(f"\n{words}\n")


class Events(Sheet):
    """One JSON event per finding, and a summary; or all in one document."""

    def __init__(self, *, one_document: bool) -> None:
        self._one_document = one_document
        self._findings: list[Event] = []

    def add(self, finding: Finding) -> None:
        """Write or keep the finding."""
        fields = event(
            "finding",
            subject=finding.subject,
            verdict=finding.verdict,
            message=finding.words,
            advice=finding.advice,
        )
        if self._one_document:
            self._findings.append(fields)
        else:
            emit(to_line(fields))

    def end(self, status: ExitStatus) -> None:
        """Write the summary."""
        summary = event("summary", exit_status=status)
        if self._one_document:
            summary["findings"] = self._findings
        emit(to_line(summary))


def make_sheet(output: OutputFormat) -> Sheet:
    """Return the sheet that ``--output`` asks for."""
    if output == "table" or (output == "auto" and sys.stdout.isatty()):
        return Words()
    return Events(one_document=output == "json")
