"""Progress of a command, counted from its events: jobs by state and kind, the slowest, the time left."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from asana_jobs.cli.events import UNKNOWN, Event


if TYPE_CHECKING:
    from asana_jobs import Eta, Job, Outcome


#: Finishes that the estimate of the time left looks back on.
_RECENT: Final = 50
#: Fewer finishes than this, or than this part of all jobs, say nothing about the rest.
_ENOUGH: Final = 5
_ENOUGH_PART: Final = 0.1
UNSEEN: Final = "not seen yet"
WAITING: Final = "waiting"

#: The jobs that run, each with the kind of its operation.
Running: TypeAlias = Callable[[], "Iterable[tuple[str, Job]]"]


@attrs.define(eq=False)
class Track:
    """One job as far as it is known. Times are seconds on the caller's clock.

    Attributes:
        state: The state to count it under.
        result: What it makes, as in an event.
    """

    gid: str
    began: float
    kind: str | None = None
    state: str = UNSEEN
    result: Event | None = None
    ended: float | None = None

    def seconds(self, now: float) -> float:
        """Return how long it was watched."""
        return (now if self.ended is None else self.ended) - self.began


def running_of(unfinished: Iterable[Outcome]) -> Iterable[tuple[str, Job]]:
    """Return the jobs that are known to run, each with the kind of its operation."""
    return [(outcome.operation.kind, outcome.job) for outcome in unfinished if outcome.job is not None]


@attrs.define(eq=False)
class Progress:
    """What the live view shows.

    Attributes:
        began: The time at which the command began.
        expected: How many jobs there will be; those that are not known yet included. 0 if nobody knows.
        running: Asks a bulk run for its jobs when they are about to be shown: of those that are over only counts are
            held, so that a run of any length takes the same room.
        tracks: The jobs; of a bulk run those that run.
        kinds: Jobs by kind.
        finished: Those that are over, by state.
        finished_kinds: The same, by kind.
        eta: Asks when the last of the jobs has probably ended, by what was learned of such jobs.
        wall: Tells the time that this is compared with.
        ask: Asks others what they know now, when it is about to be shown.
        overdue: The gids of those that run for longer than nearly all of their kind.
    """

    began: float
    expected: int = 0
    running: Running | None = None
    eta: Callable[[], Eta | None] = lambda: None
    wall: Callable[[], datetime] = lambda: datetime.now(UTC)
    ask: Callable[[Progress, float], None] | None = None
    overdue: set[str] = attrs.field(factory=set[str])
    tracks: dict[str, Track] = attrs.field(factory=dict[str, Track])
    kinds: Counter[str] = attrs.field(factory=Counter[str])
    finished: Counter[str] = attrs.field(factory=Counter[str])
    finished_kinds: Counter[str] = attrs.field(factory=Counter[str])
    _recent: deque[float] = attrs.field(factory=lambda: deque[float](maxlen=_RECENT))

    def expect(self, gids: Iterable[str], now: float) -> None:
        """Begin to watch *gids*."""
        for gid in gids:
            self.tracks.setdefault(gid, Track(gid, now))
        self.expected = max(self.expected, len(self.tracks))

    def track(self, gid: str, now: float) -> Track:
        """Return what is known of a job."""
        self.expect([gid], now)
        return self.tracks[gid]

    def take(self, fields: Event, now: float) -> None:
        """Count an event: a state of a job, or the outcome of an operation."""
        if fields["event"] == "job":
            track = self.track(fields["gid"], now)
            if track.kind is None and (kind := fields["kind"]) is not None:
                track.kind = kind
                self.kinds[kind] += 1
            track.state, track.result = str(fields["status"] or UNSEEN), fields["result"]
            if fields["done"]:
                self._close(track, now)
        elif fields["event"] == "outcome":
            self._count(fields["state"], fields["operation"].get("kind"))
            if not fields["from_ledger"]:  # what an earlier run saw end says nothing about the pace
                self._recent.append(now)

    def lose(self, gid: str, now: float, state: str = UNKNOWN) -> None:
        """Count that no more will be learned about a job."""
        track = self.track(gid, now)
        track.state = state
        self._close(track, now)

    def _close(self, track: Track, now: float) -> None:
        if track.ended is None:
            track.ended = now
            self._count(track.state, track.kind)
            self._recent.append(now)

    def _count(self, state: str, kind: str | None) -> None:
        self.finished[state] += 1
        if kind is not None:
            self.finished_kinds[kind] += 1

    @property
    def over(self) -> int:
        """How many are over."""
        return self.finished.total()

    def unfinished(self) -> list[Track]:
        """Return the jobs that are worth waiting for again: not finished, and not refused."""
        return [track for track in self.tracks.values() if track.ended is None]

    def refresh(self, now: float) -> None:
        """Look at what runs, before it is shown."""
        if self.ask is not None:
            self.ask(self, now)
        if self.running is None:
            return
        known, self.tracks = self.tracks, {}
        for kind, job in self.running():
            track = self.tracks[job.gid] = known.get(job.gid) or Track(job.gid, now, kind)
            track.state = str(job.status or UNSEEN)
            if job.done:
                track.ended = now

    def states(self) -> Counter[str]:
        """Return how many are in each state, as of the last `refresh`."""
        now = Counter(track.state for track in self.unfinished())
        if self.running is not None:
            now[WAITING] = max(0, self.expected - self.over - len(self.tracks))
        return now + self.finished

    def slowest(self, count: int) -> list[Track]:
        """Return the jobs that have been watched longest and are not over."""
        return heapq.nsmallest(count, self.unfinished(), key=lambda track: track.began)

    def seconds_left(self, now: float) -> float | None:
        """Return the seconds until the rest is over, by what was learned or else at the pace of late; ``None`` if unknown."""
        eta = self.eta()
        if eta is not None:
            return max(0.0, (eta.likely - self.wall()).total_seconds())
        left = self.expected - self.over
        if left <= 0 or self.over < max(_ENOUGH, _ENOUGH_PART * self.expected):
            return None
        pace = self.pace(now)
        return left / pace if pace else None

    def pace(self, now: float) -> float | None:
        """Return the finishes a second as of late, or ``None`` while there are few."""
        if len(self._recent) < _ENOUGH:
            return None
        since = self.began if len(self._recent) < _RECENT else self._recent[0]
        return len(self._recent) / (now - since) if now > since else None
