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
from asana_jobs._ranking import HELD, TIMED, WORTH, Job, Ranking
from asana_jobs.policies import PollPolicy


__all__ = ["Schedule", "gap", "next_look"]

# Groups are rid of jobs that left when there are more of them than this, and than of those who stayed.
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
    job that is taken is forgotten: it is added again when the look is over and it was still running.
    """

    def __init__(self, durations: Durations) -> None:
        self._durations = durations
        self._jobs: dict[str, Job] = {}
        self._ranking = Ranking(durations)
        self._turns = 0
        self._left_behind = 0

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
            started: When the job was started; by default *now*, if nobody knows.
            last_look: When it was last known to be running; by default when it was started.
            due: When to look at it whatever that is worth, for a first look or a strategy of the user's own.
        """
        if key in self._jobs:
            self.remove(key)
        begun = now if started is None else started
        last = begun if last_look is None else last_look
        earliest = begun + policy.initial
        when = TIMED if due is not None else HELD if earliest > last else WORTH
        name = self._durations.name(kind, source)
        group = self._ranking.group((name, age_bin(last - begun), policy.lag_price, policy.maximum, when))
        self._turns += 1
        moment = max(last, earliest) if due is None else due
        job = self._jobs[key] = Job(moment, self._turns, key, begun, last, group)
        heappush(group.jobs, job)
        if group.jobs[0] is job:
            self._ranking.changed(group)

    def take(self, now: float) -> str | None:
        """Return the due job that a look is worth most at, and watch it no longer; ``None`` if none is due."""
        group = self._ranking.best(now)
        if group is None:
            return None
        key = group.jobs[0].key
        self.remove(key)
        return key

    def due(self, key: str) -> float | None:
        """Return the moment at which a look at a job is due, others left aside; ``None`` if it is not watched."""
        job = self._jobs.get(key)
        return None if job is None else self._ranking.due_at(job)

    def next_due(self, now: float) -> float | None:
        """Return the moment at which `take` has a job, *now* or later; ``None`` if no job waits for a look."""
        return self._ranking.next_due(now)

    def remove(self, key: str) -> None:
        """Watch a job no longer; harmless if it is not watched."""
        job = self._jobs.pop(key, None)
        if job is None:
            return
        group = job.group
        # It stays in the heap of its group until it comes up, or until too many are like it.
        self._left_behind += 1
        jobs = group.jobs
        if jobs[0] is job:
            while jobs and self._jobs.get(jobs[0].key) is not jobs[0]:
                heappop(jobs)
                self._left_behind -= 1
            self._ranking.changed(group)
        elif self._left_behind > max(len(self._jobs), _LEFT_BEHIND):
            for every in self._ranking:
                every.keep(self._jobs)
            self._left_behind = 0
