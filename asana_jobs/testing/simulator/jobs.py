"""A job of the simulator: its states, its result, and what a read of it shows.

An organization export runs like a job inside the simulator, but is none to the outside: it has a path, a `state` field
and four words of its own. Source: the public OpenAPI document.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias

from attrs import define, field

from asana_jobs.testing.simulator.durations import SUCCEEDED, TERMINAL, JobSchedule, Looks, Timeline
from asana_jobs.testing.simulator.operations import EXPORT_SLOTS
from asana_jobs.testing.simulator.time import SimulatorTime, api_date_time


ResultShown: TypeAlias = Literal["at_once", "in_progress", "succeeded"]
#: The words of organization exports for the states of jobs.
_EXPORT_STATES = {
    "not_started": "pending",
    "in_progress": "started",
    "succeeded": "finished",
    "failed": "error",
}


@define(eq=False)
class SimulatedJob:
    """One job the simulator knows.

    Attributes:
        gid: the job's gid, a string of digits.
        kind: which operation it belongs to, such as `duplicate_project`.
        subtype: its `resource_subtype`.
        schedule: which states it passes, and when.
        time: the simulator's clock.
        creator: the user who started it; None when anybody may read it.
        created: seconds after the simulator's start at which it began.
        slot: the field that holds the result, such as `new_project`; None when there is none.
        result: the result object, without what depends on time.
        result_shown: the first state in which reads show the slot.
        subject: gid of what was duplicated, instantiated or exported; None when unknown.
        extra: further fields of the job, shown as they are.
        lines: lines in the export file, for exports.
        link: makes a download link for a finished export; None while there is no place for one.
        looks: how often the job was read (the answer to the POST counts).
        hidden_until: seconds after the simulator's start until which reads answer 404.
    """

    gid: str
    kind: str
    subtype: str
    schedule: JobSchedule = field(repr=False)
    time: SimulatorTime = field(repr=False)
    creator: str | None = None
    created: float = 0.0
    slot: str | None = None
    result: dict[str, Any] = field(factory=dict[str, Any])
    result_shown: ResultShown = "at_once"
    subject: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], repr=False)
    lines: int = field(default=0, repr=False)
    link: "Callable[[SimulatedJob], str | None] | None" = field(default=None, repr=False)
    looks: int = 0
    hidden_until: float = field(default=0.0, repr=False)
    _ended: float | None = field(default=None, repr=False)

    @property
    def age(self) -> float:
        """Seconds since the job began."""
        return self.time.elapsed() - self.created

    @property
    def status(self) -> str:
        """The state the job is in; for a job scripted by looks, the one last shown."""
        return self._status_at(max(self.looks - 1, 0))

    def _status_at(self, look: int) -> str:
        if isinstance(self.schedule, Looks):
            return self.schedule.state_at(look)
        return self.schedule.state_at(self.age)

    @property
    def done(self) -> bool:
        """Whether the job has ended, well or badly."""
        return self.status in TERMINAL

    @property
    def ended(self) -> float:
        """Seconds after the simulator's start at which the job ended or will; infinite if unknown."""
        if isinstance(self.schedule, Timeline):
            return self.created + self.schedule.end
        return math.inf if self._ended is None else self._ended

    def finish(self, status: str = SUCCEEDED) -> None:
        """End the job now in the state `status`, whatever its schedule says."""
        self.schedule = Timeline([(0.0, self.status), (self.age, status)])

    def look(self) -> dict[str, Any]:
        """Read the job once: count the look and give the whole object."""
        status = self._status_at(self.looks)
        self.looks += 1
        if self._ended is None and status in TERMINAL:
            self._ended = min(self.ended, self.time.elapsed())
        return self._document(status)

    def _document(self, status: str) -> dict[str, Any]:
        document: dict[str, Any] = {
            "gid": self.gid,
            "resource_type": "job",
            "resource_subtype": self.subtype,
            "status": status,
        }
        if self.slot is not None and self._shows_result(status):
            document[self.slot] = self._result_at(status)
        if self.kind == "rollup_project":
            document["dates_rollup_progress"] = self._progress()
        return {**document, **self.extra}

    def _shows_result(self, status: str) -> bool:
        if self.result_shown == "at_once":
            return True
        if self.result_shown == "in_progress":
            return status != "not_started"
        return status == SUCCEEDED

    def _result_at(self, status: str) -> dict[str, Any]:
        if self.slot not in EXPORT_SLOTS:
            return self.result
        finished = status == SUCCEEDED
        completed = (
            api_date_time(self.time.calendar(min(self.ended, self.time.elapsed()))) if finished else None
        )
        stamps = {
            "created_at": api_date_time(self.time.calendar(self.created)),
            "download_url": self.link(self) if finished and self.link is not None else None,
            "completed_at": completed,
        }
        return {**stamps, **self.result}

    def _progress(self) -> dict[str, int]:
        """Return the tasks found and updated so far: nothing at first, then a total that grows while it runs."""
        total = int(self.result.get("tasks", 40))
        share = self._share()
        if share < 0.1:
            return {}
        return {
            "total_tasks": math.ceil(total * min(1.0, 0.5 + share)),
            "updated_tasks": math.floor(total * share),
        }

    def _share(self) -> float:
        if self.done:
            return 1.0
        if isinstance(self.schedule, Looks):
            return min(1.0, self.looks / len(self.schedule.states))
        if math.isinf(self.schedule.end):
            return self.age / (self.age + 10.0)
        return min(1.0, self.age / self.schedule.end)


def as_organization_export(document: dict[str, Any]) -> dict[str, Any]:
    """Turn what a read of a job shows into what a read of its organization export shows."""
    export = document["organization_export"]
    return {
        "gid": document["gid"],
        "resource_type": "organization_export",
        "created_at": export["created_at"],
        "download_url": export["download_url"],
        "state": _EXPORT_STATES.get(document["status"], document["status"]),
        "organization": export["organization"],
    }


def peak_running(jobs: Iterable[SimulatedJob]) -> int:
    """Return the most jobs of one user that ran at one time."""
    events: dict[str | None, list[tuple[float, int]]] = defaultdict(list)
    for job in jobs:
        # At one moment ends come before starts: a place given back may be taken at once.
        events[job.creator] += [(job.created, 1), (job.ended, -1)]
    peak = 0
    for changes in events.values():
        running = 0
        for _, change in sorted(changes):
            running += change
            peak = max(peak, running)
    return peak
