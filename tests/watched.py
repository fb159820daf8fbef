"""Watched jobs for tests of the schedule, which nobody has to look at."""

from math import inf

from asana_jobs._client.waiting.durations import Durations
from asana_jobs._client.waiting.schedule import Schedule, next_look
from asana_jobs._client.waiting.watched_job import WatchedJob
from asana_jobs.policies import PollPolicy


def add(
    schedule: Schedule,
    key: str,
    now: float,
    *,
    policy: PollPolicy,
    kind: str | None = None,
    source: str | None = None,
    started: float | None = None,
    last_look: float = -inf,
    due: float | None = None,
    known_start: bool = True,
) -> None:
    """Have a schedule wait for the moment to look at a job, which was started *now* if nothing else is said."""
    born = now if started is None else started
    job = WatchedJob(key, None, "jobs", key, born, kind, source, known_start, running_at=last_look)
    schedule.add(job, policy, due)


def gap_at(
    age: float, policy: PollPolicy, durations: Durations, kind: str | None = None, source: str | None = None
) -> float:
    """Return the seconds until the next look at a job of this age that is watched alone."""
    job = WatchedJob("1203", None, "jobs", "1203", 0.0, kind, source, known_start=True, running_at=age)
    return next_look(job, policy, durations)
