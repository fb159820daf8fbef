"""The state file of a simulator in a terminal: jobs survive a restart, and grow older meanwhile."""

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from asana_jobs.testing._answers import record_of
from asana_jobs.testing._durations import Looks, Schedule, Timeline
from asana_jobs.testing._jobs import SimulatedJob


if TYPE_CHECKING:
    from asana_jobs.testing._simulator import AsanaSimulator

_VERSION = 1
_PLAIN = (
    "gid", "kind", "subtype", "creator", "slot", "result", "result_shown", "subject", "extra", "lines", "looks",
)  # fmt: skip


def save(simulator: "AsanaSimulator", path: Path) -> None:
    """Write everything that exists; the file is replaced as a whole or not at all."""
    domain = simulator.domain
    document = {
        "version": _VERSION,
        "objects": domain.objects,
        "results_named": domain.results_named,
        "jobs": [_job_document(simulator, job) for job in domain.jobs.values()],
        "started": [job.gid for job in domain.started],
        "organization_exports": [
            _job_document(simulator, job) for job in domain.organization_exports.values()
        ],
    }
    beside = path.with_name(f"{path.name}.new")
    beside.write_text(json.dumps(document, indent=1), encoding="utf-8")
    beside.replace(path)


def load(simulator: "AsanaSimulator", path: Path) -> None:
    """Read what an earlier simulator wrote; a ValueError if the file is something else."""
    document = record_of(json.loads(path.read_text(encoding="utf-8")))
    if document.get("version") != _VERSION:
        raise ValueError(f"{path} is not a state file of this simulator")
    domain = simulator.domain
    domain.objects.update(document["objects"])
    domain.results_named = document["results_named"]
    for described in document["jobs"]:
        domain.add_job(_job(simulator, described))
    for gid in document["started"]:
        domain.note_started(domain.jobs[gid])
    for described in document["organization_exports"]:
        export = _job(simulator, described)
        domain.organization_exports[export.gid] = export


def _job_document(simulator: "AsanaSimulator", job: SimulatedJob) -> dict[str, Any]:
    schedule: dict[str, Any] = (
        {"looks": job.schedule.states}
        if isinstance(job.schedule, Looks)
        else {"timeline": job.schedule.steps}
    )
    return {
        **{name: getattr(job, name) for name in _PLAIN},
        "schedule": schedule,
        "created": simulator.time.calendar(job.created).isoformat(),
    }


def _job(simulator: "AsanaSimulator", document: dict[str, Any]) -> SimulatedJob:
    # Ages go on while the simulator is away: a job begun before the start has a negative moment.
    created = datetime.fromisoformat(document["created"]) - simulator.time.calendar(0.0)
    plain = {name: document[name] for name in _PLAIN}
    return SimulatedJob(
        **plain,
        schedule=_schedule(document["schedule"]),
        time=simulator.time,
        created=created.total_seconds(),
        link=simulator.domain.link_to,
    )


def _schedule(document: dict[str, Any]) -> Schedule:
    if "looks" in document:
        return Looks(document["looks"])
    return Timeline((float(second), str(state)) for second, state in document["timeline"])
