"""Which job to look at next, and when: the look that saves the most lag goes first.

A look at a job is worth ``W = H u / 2`` seconds of lag: u the time since its last look, H its hazard summed
over that time. Jobs are kept in groups of equal prospects (kind, age at the last look, price), each ordered by
last look, so that a decision compares the first of each group and never touches the rest. A job changes its
group only when it is looked at; there is nothing to do as it ages, and no timer per job.
"""

from __future__ import annotations

from enum import Enum
from heapq import heapify, heappop, heappush
from math import inf, sqrt
from typing import Final, NamedTuple, TypeAlias

import attrs

from asana_jobs._durations import Curve, Durations, age_bin
from asana_jobs.policies import PollPolicy


__all__ = ["Schedule", "gap", "next_look"]

# A timer set for the moment a job is due may wake a rounding error early.
_SLACK: Final = 1e-6
# Heaps are rebuilt when more than this many places, and more than there are jobs, belong to jobs that left.
_LEFT_BEHIND: Final = 100


def gap(policy: PollPolicy, age: float, hazard: float | None = None) -> float:
    """Return the seconds until the next look at a job watched alone that was looked at now, *age* seconds old.

    Args:
        policy: The price of a request (`lag_price`), the earliest look (`initial`), the longest gap (`maximum`).
        age: Seconds since the job was started.
        hazard: Completions per second expected of it; ``None`` knows nothing of the job.
    """
    if hazard is None:
        return next_look(policy, Durations(), None, age)
    wait = sqrt(2 * policy.lag_price / hazard) if hazard > 0 else inf
    return max(min(wait, policy.maximum), policy.initial - age)


def next_look(
    policy: PollPolicy, durations: Durations, kind: str | None, age: float, source: str | None = None
) -> float:
    """Return the same as `gap` for a job of a *kind* whose durations were learned."""
    curve = durations.curve(durations.name(kind, source))
    wait = curve.age_worth(policy.lag_price, age, age + policy.maximum) - age
    return max(min(wait, policy.maximum), policy.initial - age)


class _When(Enum):
    """What makes a job of a group due, and with it what the group is ordered by."""

    WORTH = "once a look is worth its price; ordered by last look"
    HELD = "the same, but not before a moment; ordered by that"
    TIMED = "at a moment, whatever a look is worth; ordered by that"


class _Group(NamedTuple):
    name: str
    bin: int
    price: float
    maximum: float
    when: _When


@attrs.define(eq=False, weakref_slot=False)
class _Job:
    key: str
    kind: str | None
    source: str | None
    policy: PollPolicy
    started: float
    last: float
    aged: bool
    place: int = 0  # its entry in a group's heap; 0 while it is taken


_Entry: TypeAlias = tuple[float, int, _Job]


class Schedule:
    """The jobs being watched, and which of them to look at next.

    Every moment is in seconds of one clock that the caller reads; nothing here waits. A job is out of the
    running from `take` or `claim` until `looked` or `postpone` says what became of the look.
    """

    def __init__(self, durations: Durations) -> None:
        self._durations = durations
        self._jobs: dict[str, _Job] = {}
        self._groups: dict[_Group, list[_Entry]] = {}
        self._places = 0
        self._left_behind = 0

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, key: object) -> bool:
        return key in self._jobs

    def add(
        self,
        key: str,
        now: float,
        *,
        policy: PollPolicy,
        kind: str | None = None,
        source: str | None = None,
        started: float | None = None,
        last_look: float | None = None,
        due: float | None = None,
    ) -> None:
        """Watch a job; one that is watched already is set anew.

        Args:
            key: The job's gid. ``kind``, ``source``: what its duration is expected from, if known.
            now: The present moment.
            policy: Its `lag_price`, `initial` and `maximum`.
            started: When the job was started; ``None`` if nobody knows, and then nothing is learned from it.
            last_look: When it was last known to be running; by default when it was started.
            due: When to look at it whatever that is worth, for a first look or a strategy of the user's own.
        """
        self.remove(key)
        begun = now if started is None else started
        last = begun if last_look is None else last_look
        self._jobs[key] = job = _Job(key, kind, source, policy, begun, last, started is not None)
        self._enter(job, due, begun + policy.initial)

    def take(self, now: float) -> str | None:
        """Return the due job that a look is worth most at, and take it out of the running; ``None`` if none is."""
        best: _Group | None = None
        most = -1.0
        for group, (moment, _, job) in self._heads():
            curve = self._durations.curve(group.name)
            worth = curve.worth(job.last - job.started, now - job.started) if now > job.last else 0.0
            if worth > most and _due(group, moment, job, curve) <= now + _SLACK:
                best, most = group, worth
        if best is None:
            return None
        job = self._leave(best)
        job.place = 0
        return job.key

    def claim(self, key: str) -> None:
        """Take a certain job out of the running, because it is looked at whether it is due or not."""
        self._abandon(self._jobs[key])

    def next_due(self, now: float) -> float | None:
        """Return the moment at which `take` has a job, *now* or later; ``None`` if no job waits for a look."""
        moments = [
            _due(group, moment, job, self._durations.curve(group.name))
            for group, (moment, _, job) in self._heads()
        ]
        return max(now, min(moments)) if moments else None

    def looked(self, key: str, at: float, *, kind: str | None = None, due: float | None = None) -> None:
        """Take note that a job was still running when it was looked at, and line it up again.

        Args:
            key: The job's gid.
            at: When Asana saw it running: about the middle between request and answer.
            kind: What kind of job it turned out to be.
            due: As for `add`.
        """
        job = self._jobs[key]
        job.kind = kind or job.kind
        if job.aged:
            self._durations.survived(job.kind, job.last - job.started, at - job.started, job.source)
        job.last = max(job.last, at)
        self._enter(job, due, job.started + job.policy.initial)

    def finished(self, key: str, at: float, *, kind: str | None = None) -> None:
        """Take note that a job was seen finished, and watch it no longer. Arguments as for `looked`."""
        job = self._jobs[key]
        if job.aged:
            kind = kind or job.kind
            self._durations.finished(kind, job.last - job.started, at - job.started, job.source)
        self.remove(key)

    def postpone(self, key: str, until: float, *, due: bool = False) -> None:
        """Do not look at a job before *until*: the look told nothing. With *due*, look exactly then."""
        self._enter(self._jobs[key], until if due else None, until)

    def remove(self, key: str) -> None:
        """Watch a job no longer; harmless if it is not watched."""
        job = self._jobs.pop(key, None)
        if job is not None:
            self._abandon(job)

    def _enter(self, job: _Job, due: float | None, not_before: float) -> None:
        self._abandon(job)
        when = _When.TIMED if due is not None else _When.HELD if not_before > job.last else _When.WORTH
        moment = job.last if when is _When.WORTH else not_before if due is None else due
        name = self._durations.name(job.kind, job.source)
        policy = job.policy
        group = _Group(name, age_bin(job.last - job.started), policy.lag_price, policy.maximum, when)
        self._places += 1
        job.place = self._places
        heappush(self._groups.setdefault(group, []), (moment, job.place, job))

    def _abandon(self, job: _Job) -> None:
        # Its entry stays in the heap until it comes up, or until too many are like it.
        if job.place:
            job.place = 0
            self._left_behind += 1
            if self._left_behind > max(len(self._jobs), _LEFT_BEHIND):
                self._rebuild()

    def _rebuild(self) -> None:
        for group in list(self._groups):
            entries = [entry for entry in self._groups.pop(group) if entry[1] == entry[2].place]
            heapify(entries)
            if entries:
                self._groups[group] = entries
        self._left_behind = 0

    def _heads(self) -> list[tuple[_Group, _Entry]]:
        """Return the first job of every group."""
        heads: list[tuple[_Group, _Entry]] = []
        for group in list(self._groups):
            entries = self._groups[group]
            while entries and entries[0][1] != entries[0][2].place:
                heappop(entries)
                self._left_behind -= 1
            if entries:
                heads.append((group, entries[0]))
            else:
                del self._groups[group]
        return heads

    def _leave(self, group: _Group) -> _Job:
        entries = self._groups[group]
        job = heappop(entries)[2]
        if not entries:
            del self._groups[group]
        return job


def _due(group: _Group, moment: float, job: _Job, curve: Curve) -> float:
    if group.when is _When.TIMED:
        return moment
    age = job.last - job.started
    due = job.started + curve.age_worth(group.price, age, age + group.maximum)
    return max(due, moment)
