"""The simulator as a program of its own, for any language's client, with jobs that survive its restart.

Jobs are kept in a file, and grow older while the simulator is away.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from asana_jobs.testing.simulator.bodies import record_of
from asana_jobs.testing.simulator.durations import JobSchedule, Looks, Timeline
from asana_jobs.testing.simulator.jobs import SimulatedJob
from asana_jobs.testing.simulator.limits import SimulatorLimits
from asana_jobs.testing.simulator.simulator import AsanaSimulator


_VERSION = 1
_FIELDS_AS_THEY_ARE = (
    "gid", "kind", "subtype", "creator", "slot", "result", "result_shown", "subject", "extra", "lines", "looks",
)  # fmt: skip
_SECONDS_BETWEEN_SAVES = 1.0


async def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    speed: float = 1.0,
    state: Path | None = None,
    strict: bool = False,
    limits: SimulatorLimits | None = None,
    tokens: Collection[str] | None = None,
    started: Callable[[AsanaSimulator], None] | None = None,
) -> None:
    """Run a simulator until this is cancelled.

    Args:
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        seed: of everything random.
        speed: how much faster than their durations jobs run.
        state: file that keeps jobs across restarts; read if it exists, written every second and at
            the end.
        strict: know only what the state file holds.
        limits: what one token may do.
        tokens: the good tokens; None takes any.
        started: called once with the simulator when it listens.
    """
    simulator = AsanaSimulator(
        strict, host=host, port=port, seed=seed, speed=speed, limits=limits, tokens=tokens
    )
    async with keep(simulator, state):
        if started is not None:
            started(simulator)
        await asyncio.Event().wait()


@asynccontextmanager
async def keep(simulator: AsanaSimulator, state: Path | None) -> AsyncGenerator[AsanaSimulator, None]:
    """Run a simulator whose jobs are kept in a file across restarts.

    Args:
        simulator: one that does not run yet.
        state: the file; read if it exists, written every second and at the end. None keeps nothing.
    """
    if state is not None:
        load(simulator, state)
    async with simulator:
        saving: asyncio.Task[None] | None = None
        if state is not None:
            name = "asana_jobs simulator's file"
            saving = asyncio.create_task(_keep_saving(simulator, state), name=name)
        try:
            yield simulator
        finally:
            if saving is not None:
                saving.cancel()
                await asyncio.wait([saving])
                if not saving.cancelled():
                    saving.result()


async def _keep_saving(simulator: AsanaSimulator, state: Path) -> None:
    saved = 0
    try:
        while True:
            await asyncio.sleep(_SECONDS_BETWEEN_SAVES)
            # Nothing changes but by requests: without any there is nothing new to write.
            if len(simulator.requests) != saved:
                saved = len(simulator.requests)
                save(simulator, state)
    finally:
        save(simulator, state)


def connection_hints(simulator: AsanaSimulator) -> str:
    """Return the lines a person types to point a client at a simulator."""
    return (
        f"A local Asana is listening at {simulator.base_url}\n"
        f"Its status page is {simulator.origin}/ and its description {simulator.origin}/openapi.json\n\n"
        "Point a client at it:\n\n"
        f"  export ASANA_BASE_URL={simulator.base_url}\n"
        "  export ASANA_ACCESS_TOKEN=any-token-will-do\n\n"
        "Ctrl-C ends it."
    )


def save(simulator: AsanaSimulator, path: Path) -> None:
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


def load(simulator: AsanaSimulator, path: Path) -> None:
    """Read what an earlier simulator wrote, if there is a file; a ValueError if that is something else."""
    if not path.exists():
        return
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


def _job_document(simulator: AsanaSimulator, job: SimulatedJob) -> dict[str, Any]:
    schedule: dict[str, Any] = (
        {"looks": job.schedule.states}
        if isinstance(job.schedule, Looks)
        else {"timeline": job.schedule.steps}
    )
    return {
        **{name: getattr(job, name) for name in _FIELDS_AS_THEY_ARE},
        "schedule": schedule,
        "created": simulator.time.calendar(job.created).isoformat(),
    }


def _job(simulator: AsanaSimulator, document: dict[str, Any]) -> SimulatedJob:
    # Ages go on while the simulator is away: a job begun before the start has a negative moment.
    created = datetime.fromisoformat(document["created"]) - simulator.time.calendar(0.0)
    as_they_are = {name: document[name] for name in _FIELDS_AS_THEY_ARE}
    return SimulatedJob(
        **as_they_are,
        schedule=_schedule(document["schedule"]),
        time=simulator.time,
        created=created.total_seconds(),
        link=simulator.domain.link_to,
    )


def _schedule(document: dict[str, Any]) -> JobSchedule:
    if "looks" in document:
        return Looks(document["looks"])
    return Timeline((float(second), str(state)) for second, state in document["timeline"])
