"""Which job to look at next, and when: the look that saves the most lag goes first.

A look at a job is worth ``W = H u / 2`` seconds of lag: u the time since its last look, H its hazard summed
over that time. Jobs are kept in groups of equal prospects (kind, age at the last look, price), each ordered by
last look, so that a decision compares the first of some groups and never touches the rest. A job changes its
group only when it is looked at; there is nothing to do as it ages, and no timer per job.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf, sqrt
from typing import Final

from asana_jobs._durations import Durations, age_bin
from asana_jobs._ranking import Job, Prospects, Ranking, When
from asana_jobs.policies import PollPolicy


__all__ = ["Schedule", "gap", "next_look"]

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


class Schedule:
    """The jobs being watched, and which of them to look at next.

    Every moment is in seconds of one clock that the caller reads and that never goes back; nothing here waits. A
    job is out of the running from `take` or `claim` until `looked` or `postpone` says what became of the look.
    """

    def __init__(self, durations: Durations) -> None:
        self._durations = durations
        self._jobs: dict[str, Job] = {}
        self._ranking = Ranking(durations)
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
        self._jobs[key] = job = Job(key, kind, source, policy, begun, last, started is not None)
        self._enter(job, due, begun + policy.initial)

    def take(self, now: float) -> str | None:
        """Return the due job that a look is worth most at, and take it out of the running; ``None`` if none is."""
        group = self._ranking.best(now)
        if group is None:
            return None
        job = group.first
        self._abandon(job)
        return job.key

    def claim(self, key: str) -> None:
        """Take a certain job out of the running, because it is looked at whether it is due or not."""
        self._abandon(self._jobs[key])

    def next_due(self, now: float) -> float | None:
        """Return the moment at which `take` has a job, *now* or later; ``None`` if no job waits for a look."""
        return self._ranking.next_due(now)

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

    def _enter(self, job: Job, due: float | None, not_before: float) -> None:
        self._abandon(job)
        when = When.TIMED if due is not None else When.HELD if not_before > job.last else When.WORTH
        moment = job.last if when is When.WORTH else not_before if due is None else due
        name = self._durations.name(job.kind, job.source)
        policy = job.policy
        bin_ = age_bin(job.last - job.started)
        group = job.group = self._ranking.group(Prospects(name, bin_, policy.lag_price, policy.maximum, when))
        self._places += 1
        job.place = self._places
        heappush(group.entries, (moment, job.place, job))
        if group.first is job:
            self._ranking.changed(group)

    def _abandon(self, job: Job) -> None:
        group, job.group = job.group, None
        if group is None:
            return
        job.place = 0
        # Its entry stays in the heap until it comes up, or until too many are like it.
        self._left_behind += 1
        if group.first is job:
            while group.entries and group.entries[0][1] != group.entries[0][2].place:
                heappop(group.entries)
                self._left_behind -= 1
            self._ranking.changed(group)
        elif self._left_behind > max(len(self._jobs), _LEFT_BEHIND):
            for every in self._ranking:
                every.without_those_who_left()
            self._left_behind = 0
