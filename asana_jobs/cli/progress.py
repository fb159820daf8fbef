"""Progress of a command: jobs by state and kind, the slowest, the time left; of a bulk run also what still waits."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Protocol, TypeAlias

import attrs

from asana_jobs.cli.errors import ExitStatus, status_of
from asana_jobs.errors import (
    JobFailedError,
    JobTimeoutError,
    LedgerError,
    OutcomeUnknownError,
)


if TYPE_CHECKING:
    from asana_jobs import AsanaJobsError, Job, Outcome


#: Finishes that the estimate of the time left looks back on.
_RECENT = 50
#: Fewer finishes than this, or than this part of all jobs, say nothing about the rest.
_ENOUGH = 5
_ENOUGH_PART = 0.1
UNSEEN = "not seen yet"
UNKNOWN = "unknown"


@attrs.define(eq=False)
class Track:
    """One job as far as it is known. Times are seconds on the caller's clock."""

    gid: str
    began: float
    kind: str | None = None
    job: Job | None = None
    error: AsanaJobsError | None = None
    ended: float | None = None

    @property
    def state(self) -> str:
        """The state to count it under."""
        if self.error is not None:
            return UNKNOWN
        return str(self.job.status) if self.job is not None and self.job.status is not None else UNSEEN

    def seconds(self, now: float) -> float:
        """Return how long it was watched."""
        return (now if self.ended is None else self.ended) - self.began


@attrs.define(eq=False)
class Progress:
    """Counters kept up to date as news comes, so that showing them costs the same for 3 jobs as for 5000.

    Attributes:
        expected: How many jobs there will be; those that are not known yet included.
        kinds: Jobs by kind.
        finished_kinds: Those of them that are over.
    """

    began: float
    expected: int = 0
    tracks: dict[str, Track] = attrs.field(factory=dict[str, Track])
    states: Counter[str] = attrs.field(factory=Counter[str])
    kinds: Counter[str] = attrs.field(factory=Counter[str])
    finished_kinds: Counter[str] = attrs.field(factory=Counter[str])
    over: int = 0
    _recent: deque[float] = attrs.field(factory=lambda: deque[float](maxlen=_RECENT))

    def expect(self, gids: Iterable[str], now: float) -> None:
        """Begin to watch *gids*."""
        for gid in gids:
            if gid not in self.tracks:
                self.tracks[gid] = Track(gid, now)
                self.states[UNSEEN] += 1
        self.expected = max(self.expected, len(self.tracks))

    def record_job(self, job: Job, now: float, kind: str | None = None) -> Track:
        """Record a job's state."""
        track = self._track(job.gid, now)
        self.states[track.state] -= 1
        track.job = job
        self.states[track.state] += 1
        if track.kind is None:
            track.kind = kind or job.resource_subtype
            if track.kind is not None:
                self.kinds[track.kind] += 1
        if job.done:
            self._close(track, now)
        return track

    def record_lost(self, gid: str, error: AsanaJobsError, now: float) -> Track:
        """Record that no more will be learned about a job."""
        track = self._track(gid, now)
        self.states[track.state] -= 1
        track.error = error
        self.states[track.state] += 1
        self._close(track, now)
        return track

    def refresh(self, now: float) -> None:
        """Bring it up to date before it is shown; here it always is."""

    def _track(self, gid: str, now: float) -> Track:
        self.expect([gid], now)
        return self.tracks[gid]

    def _close(self, track: Track, now: float) -> None:
        if track.ended is None:
            track.ended = now
            self.over += 1
            self._recent.append(now)
            if track.kind is not None:
                self.finished_kinds[track.kind] += 1

    def unfinished(self) -> list[str]:
        """Return the gids of the jobs that are worth waiting for again: not finished, and not refused."""
        return [track.gid for track in self.tracks.values() if track.ended is None]

    def slowest(self, count: int) -> list[Track]:
        """Return the jobs that have been watched longest and are not over."""
        waiting = (track for track in self.tracks.values() if track.ended is None)
        return heapq.nsmallest(count, waiting, key=lambda track: track.began)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the rest is over at the pace of late, or ``None`` while that cannot be said."""
        left = self.expected - self.over
        if left == 0 or self.over < max(_ENOUGH, _ENOUGH_PART * self.expected):
            return None
        pace = self.pace(now)
        return left / pace if pace else None

    def pace(self, now: float) -> float | None:
        """Return the finishes a second as of late, or ``None`` while there are few."""
        if len(self._recent) < _ENOUGH:
            return None
        since = self.began if len(self._recent) < _RECENT else self._recent[0]
        return len(self._recent) / (now - since) if now > since else None


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
        """Operations that run, or may run."""
        ...


def running_of(run: Unfinished) -> Iterable[tuple[str, Job]]:
    """Return the jobs of *run* that are known to run."""
    return [(outcome.operation.kind, outcome.job) for outcome in run.unfinished if outcome.job is not None]


@attrs.define(eq=False)
class BulkProgress(Progress):
    """Counters of outcomes; only what runs is held, so that a run of any length takes the same room.

    ``expected`` and ``kinds`` are set by who knows the plan.

    Attributes:
        running: Asks for the jobs that run, when it is about to be shown.
    """

    running: Running = attrs.field(default=lambda: ())

    def count_outcome(self, outcome: Outcome, now: float) -> None:
        """Count an outcome."""
        kind = getattr(outcome.operation, "kind", None)
        self.count(state_of(outcome), kind, now, earlier=outcome.from_ledger)

    def count(self, state: str, kind: str | None, now: float, *, earlier: bool = False) -> None:
        """Count something as over, in *state*; what was over *earlier* says nothing about the pace."""
        self.states[state] += 1
        self.over += 1
        if kind is not None:
            self.finished_kinds[kind] += 1
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
