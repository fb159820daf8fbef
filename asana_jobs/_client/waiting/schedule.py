"""The schedule of looks: which job to look at next, and when. The look that saves the most lag goes first.

A look at a job is worth ``W = H u / 2`` seconds of lag: u the time since its last look, H its hazard summed
over that time. Jobs are kept in groups of equal prospects (kind, age at the last look, price), each ordered by
last look, so that a decision compares the first of some groups and never touches the rest. A job changes its
group only when it is looked at; there is nothing to do as it ages, and no timer per job.

Groups wait in one heap for the moment at which they are due. When more are due than there is room for looks, a
look gets dearer: only groups where it is worth the going price are compared, and the others stay in the heap until
it is worth that. So a decision weighs about a hundred groups at most, however many there are.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush, nlargest
from math import inf
from operator import methodcaller
from typing import TYPE_CHECKING, Final, TypeAlias

import attrs

from asana_jobs._client.waiting.durations import Curve, Durations, age_bin
from asana_jobs.policies import PollPolicy


if TYPE_CHECKING:
    from asana_jobs._client.waiting.watched_job import WatchedJob


#: Seconds: a timer set for the moment a job is due may wake a rounding error early.
TIMER_SLACK: Final = 1e-6
# A look gets dearer when more than `_MANY` groups are compared, and cheaper when none is left; then `_FEW` are.
# Between 100 and 2,000 groups, decisions take equally long with half and with twice as many.
_FEW: Final = 16
_MANY: Final = 64
# The heap is rebuilt when it has more places than this, and more than two for each group.
_PLACES: Final = 100
# Groups are rid of jobs that left when there are more of them than this, and than of those who stayed.
_LEFT_BEHIND: Final = 100


# The reasons for which the jobs of a group become due, which are also their order.
WORTH: Final = 0  # once a look is worth its price; ordered by last look
HELD: Final = 1  # the same, but not before a moment; ordered by that
TIMED: Final = 2  # at a moment, whatever a look is worth; ordered by that

#: What the jobs of a group have in common: the key of their `Curve`, the bin of age at the last look, the price of a
#: look, the longest gap, and the reason for which they become due. A plain tuple, which is made in a moment.
Prospects: TypeAlias = tuple[str, int, float, float, int]


#: A job that waits for a look, as it stands in its group: the moment by which these are ordered, its turn among equal
#: ones, its key, when it was started, its last look, and its prospects. Plain tuples of these are compared in a moment,
#: and the garbage collector lets go of them: of 10,000 objects it would make a pause.
ScheduledJob: TypeAlias = tuple[float, int, str, float, float, Prospects]


@attrs.define(eq=False, weakref_slot=False)
class Group:
    """Jobs of equal prospects, in a heap, first whose turn it is. Those who left stay in it, but never as the first.

    Attributes:
        prospects: What its jobs have in common.
        curve: How long they are expected to last.
        jobs: Its jobs, in a heap.
        due: When a look at the first job is due.
        started: When that was started.
        last: Its last look.
        risk: The hazard summed up until then.
        ticket: Its place in the heap of groups; 0 for none.
    """

    prospects: Prospects
    curve: Curve
    jobs: list[ScheduledJob] = attrs.field(factory=list[ScheduledJob])
    due: float = inf
    started: float = 0.0
    last: float = 0.0
    risk: float = 0.0
    ticket: int = 0

    def weigh(self) -> None:
        """Work out when a look at the first job is due, and what its `worth` depends on."""
        moment, _, _, self.started, self.last, _ = self.jobs[0]
        _, _, price, longest, when = self.prospects
        age = self.last - self.started
        self.risk = self.curve.risk(age)
        self.due = moment
        if when is not TIMED:
            self.due = max(moment, self.started + self.curve.age_worth(price, age, age + longest))

    def worth(self, now: float) -> float:
        """Return the seconds of lag that a look at the first job is expected to save.

        This is ``h u^2 / 2`` with the mean hazard of the time since its last look: the hazard at its end would favour
        jobs that are about to finish over those that may have finished already.
        """
        if now <= self.last:
            return 0.0
        return (self.curve.risk(now - self.started) - self.risk) * (now - self.last) / 2


def next_look(job: WatchedJob, policy: PollPolicy, durations: Durations) -> float:
    """Return the seconds until the next look at a *job* watched alone that was looked at now.

    Args:
        job: Its kind, its source, and its age when it was last known to be running.
        policy: The price of a request (`lag_price`), the earliest look (`initial`), the longest gap (`maximum`).
        durations: What was learned.
    """
    age = max(0.0, job.running_at - job.born)
    curve = durations.curve(durations.key_for(job.kind, job.source, known_start=job.known_start))
    wait = curve.age_worth(policy.lag_price, age, age + policy.maximum) - age
    return max(min(wait, policy.maximum), policy.initial - age)


class Schedule:
    """The jobs being watched, and which of them to look at next.

    Every moment is in seconds of one clock that the caller reads and that never goes back; nothing here waits. A
    job that is taken is forgotten: it is added again when the look is over and it was still running.

    Attributes:
        jobs: Those that wait for a look, by key.
    """

    def __init__(self, durations: Durations) -> None:
        self._durations = durations
        self._revision = durations.revision
        self.jobs: dict[str, ScheduledJob] = {}
        self._groups: dict[Prospects, Group] = {}
        self._alike: dict[str, dict[Group, None]] = {}  # groups by the key of their curve
        # To be ranked anew; a dict, because its order is the same each time.
        self._changed: dict[Group, None] = {}
        self._compared: dict[Group, None] = {}  # due, and worth the going price
        self._heap: list[tuple[float, int, Group]] = []
        self._price = 0.0
        self._turns = self._tickets = self._left_behind = 0

    def add(self, watched: WatchedJob, policy: PollPolicy, due: float | None = None) -> None:
        """Wait for the moment to look at a job; one that waits already is set anew.

        Args:
            watched: The job.
            policy: Its `lag_price`, `initial` and `maximum`.
            due: When to look at it whatever that is worth, for a first look or a strategy of the user's own.
        """
        key, begun = watched.key, watched.born
        if key in self.jobs:
            self.remove(key)
        last = max(begun, watched.running_at)
        earliest = begun + policy.initial
        when = TIMED if due is not None else HELD if earliest > last else WORTH
        name = self._durations.key_for(watched.kind, watched.source, known_start=watched.known_start)
        prospects = (name, age_bin(last - begun), policy.lag_price, policy.maximum, when)
        group = self._groups.get(prospects)
        if group is None:
            group = self._groups[prospects] = Group(prospects, self._durations.curve(name))
            self._alike.setdefault(name, {})[group] = None
        self._turns += 1
        moment = max(last, earliest) if due is None else due
        job = self.jobs[key] = (moment, self._turns, key, begun, last, group.prospects)
        heappush(group.jobs, job)
        if group.jobs[0] is job:
            self._changed[group] = None

    def take(self, now: float) -> str | None:
        """Return the due job that a look is worth most at, and watch it no longer; ``None`` if none is due."""
        self._settle(now)
        if not self._compared:
            return None
        group = next(iter(self._compared))
        if len(self._compared) > 1:
            group = max(self._compared, key=methodcaller("worth", now))
        key = heappop(group.jobs)[2]
        del self.jobs[key]
        self._tidy(group)
        return key

    def next_due(self, now: float) -> float:
        """Return the moment at which `take` has a job, *now* or later; infinity if no job waits for a look."""
        self._settle(now)
        if self._compared:
            return now
        return self._heap[0][0] if self._heap else inf

    def remove(self, key: str) -> None:
        """Watch a job no longer; harmless if it is not watched."""
        job = self.jobs.pop(key, None)
        if job is None:
            return
        # It stays in the heap of its group until it comes up, or until too many are like it.
        self._left_behind += 1
        group = self._groups[job[5]]
        if group.jobs[0] is job:
            self._tidy(group)
        elif self._left_behind > max(len(self.jobs), _LEFT_BEHIND):
            for group in self._groups.values():
                group.jobs = [job for job in group.jobs if self.jobs.get(job[2]) is job]
                heapify(group.jobs)
            self._left_behind = 0

    # Groups, and when they are to be compared.

    def _tidy(self, group: Group) -> None:
        """Have a group begin with a job that is watched, whose first one left; forget it if it has no more."""
        jobs = group.jobs
        while jobs and self.jobs.get(jobs[0][2]) is not jobs[0]:
            heappop(jobs)
            self._left_behind -= 1
        if jobs:
            self._changed[group] = None
            return
        name = group.prospects[0]
        del self._groups[group.prospects], self._alike[name][group]
        if not self._alike[name]:
            del self._alike[name]
        self._changed.pop(group, None)
        self._compared.pop(group, None)
        group.ticket = 0

    def _settle(self, now: float) -> None:
        """Compare those that are due and worth it, and only those."""
        if self._revision != self._durations.revision:
            self._revision = self._durations.revision
            self._notice_curves()
        if self._changed:
            for group in self._changed:
                group.weigh()
                self._rank(group, now)
            self._changed.clear()
            if len(self._heap) > max(2 * len(self._groups), _PLACES):
                self._heap = [place for place in self._heap if place[1] == place[2].ticket]
                heapify(self._heap)
        heap = self._heap
        while heap and (heap[0][0] <= now + TIMER_SLACK or heap[0][1] != heap[0][2].ticket):
            _, ticket, group = heappop(heap)
            if ticket == group.ticket:
                self._rank(group, now)
        if len(self._compared) > _MANY:
            self._price_anew(list(self._compared), now)
        elif not self._compared and self._price > 0:
            due = [group for group in self._groups.values() if group.due <= now + TIMER_SLACK]
            self._price_anew(due, now)

    def _notice_curves(self) -> None:
        """Rank anew those of whom something was learned."""
        for name, groups in self._alike.items():
            curve = self._durations.curve(name)
            for group in groups:
                if group.curve is not curve:
                    group.curve, self._changed[group] = curve, None

    def _price_anew(self, groups: list[Group], now: float) -> None:
        """Set the price so that a few of *groups*, which are due, are worth it; all others are worth less."""
        most = nlargest(_FEW, (group.worth(now) for group in groups))
        self._price = most[-1] if len(most) == _FEW else 0.0
        for group in groups:
            self._rank(group, now)

    def _rank(self, group: Group, now: float) -> None:
        """Have a group compared, or wait in the heap until it can be."""
        moment = group.due
        if self._price > 0 and moment <= now + TIMER_SLACK and group.worth(now) < self._price:
            moment = group.started + group.curve.age_worth(self._price, group.last - group.started, inf)
        if moment <= now + TIMER_SLACK:
            self._compared[group] = None
            group.ticket = 0
        else:
            self._compared.pop(group, None)
            self._tickets += 1
            group.ticket = self._tickets
            heappush(self._heap, (moment, group.ticket, group))
