"""What is known about a bulk run: how its operations ended, what is running, what is still waiting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from asana_jobs.cli.exit_status import ExitStatus, status_of
from asana_jobs.cli.tally import UNKNOWN, Tally, Track
from asana_jobs.errors import (
    JobFailedError,
    JobTimeoutError,
    LedgerError,
    OutcomeUnknownError,
)


if TYPE_CHECKING:
    from asana_jobs import Job, Outcome

SUCCEEDED = "succeeded"
FAILED = "failed"
#: Nothing was started; the next run tries again.
REFUSED = "refused"
#: Unknown once; a person has settled it.
ACCEPTED = "accepted"
#: It runs on at Asana.
TIMED_OUT = "timed out"
#: Another process is at work on it, or the ledger could not be written.
LEFT = "left"
WAITING = "waiting"
_FINAL = frozenset({SUCCEEDED, FAILED, REFUSED, ACCEPTED, UNKNOWN})

#: The jobs that run, each with the kind of its operation.
Running: TypeAlias = Callable[[], "Iterable[tuple[str, Job]]"]


def state_of(outcome: Outcome) -> str:
    """Return the state to count an outcome under."""
    error = outcome.error
    if error is None:
        return SUCCEEDED if outcome.job is not None else ACCEPTED
    if isinstance(error, JobFailedError):
        return FAILED
    if isinstance(error, JobTimeoutError):
        return TIMED_OUT
    if isinstance(error, OutcomeUnknownError):
        return UNKNOWN
    if isinstance(error, LedgerError):
        return LEFT
    # A job that was started and could not be watched to its end is not refused: it may run.
    return LEFT if outcome.continuation_token is not None else REFUSED


def exit_status_of(outcome: Outcome) -> ExitStatus:
    """Return what an outcome means for the exit status."""
    if outcome.error is None:
        return ExitStatus.SUCCEEDED
    # In the middle of a run a ledger that cannot be written is no wrong usage any more.
    return ExitStatus.API if isinstance(outcome.error, LedgerError) else status_of(outcome.error)


class Unfinished(Protocol):
    """A bulk run that says what is unfinished."""

    @property
    def unfinished(self) -> list[Outcome]:
        """What runs, or may run."""
        ...


def running_of(run: Unfinished) -> Iterable[tuple[str, Job]]:
    """Return the jobs of *run* that are known to run."""
    return [(outcome.operation.kind, outcome.job) for outcome in run.unfinished if outcome.job is not None]


@attrs.define(eq=False)
class BulkTally(Tally):
    """Counts outcomes; only what runs is held, so that a run of any length takes the same room.

    ``expected`` and ``kinds`` are set by who knows the plan.

    Attributes:
        running: Asks for the jobs that run, when it is about to be shown.
    """

    running: Running = attrs.field(default=lambda: ())

    def took(self, outcome: Outcome, now: float) -> None:
        """Count an outcome."""
        kind = getattr(outcome.operation, "kind", None)
        self.count(state_of(outcome), kind, now, earlier=outcome.from_ledger)

    def count(self, state: str, kind: str | None, now: float, *, earlier: bool = False) -> None:
        """Count something as over, in *state*; what was over *earlier* says nothing about the pace."""
        self.states[state] += 1
        self.over += 1
        if kind is not None:
            self.kinds_over[kind] += 1
        if not earlier:
            self._recent.append(now)

    def refresh(self, now: float) -> None:
        """Look at what runs."""
        known, self.tracks = self.tracks, {}
        for state in {track.state for track in known.values()} | {WAITING}:
            if state not in _FINAL:
                del self.states[state]
        for kind, job in self.running():
            track = known.get(job.gid) or Track(job.gid, now, kind)
            track.job = job
            self.tracks[job.gid] = track
            if not job.done:
                self.states[track.state] += 1
        self.states[WAITING] = max(0, self.expected - self.over - len(self.tracks))
