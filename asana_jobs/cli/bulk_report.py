"""How the outcomes of a bulk run reach standard output: as events, as one document, or in words."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import attrs

from asana_jobs.cli.bulk_tally import state_of
from asana_jobs.cli.complaint import complain_of
from asana_jobs.cli.events import BulkSummary, Event, error_event, outcome_event, summary_event, to_line
from asana_jobs.cli.stdout import emit


if TYPE_CHECKING:
    from asana_jobs import AsanaJobsError, Outcome


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
