"""Every public call, ready to be made: what the fault matrix and the cancellation harness go through."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

import asana_jobs
from asana_jobs import AsanaClient, DuplicateProject, ExportGraph, Ledger


class Family(Enum):
    """Calls of one family end in the same way."""

    READ = "reads one thing, and repeats that"
    RAW = "the same, and takes any body for an answer"
    START = "starts a job, once"
    SAME_JOB = "starts a job, or is given the one that runs"
    RUN = "starts jobs and sees them finish"
    WAIT = "waits for a job"
    CHECK = "looks once"
    FILE = "reads a job, and then a file"
    CLOSE = "closes the client"


@attrs.frozen(kw_only=True)
class Place:
    """What a call needs.

    Attributes:
        gid: Of the job that is read, waited for or downloaded, or of what is duplicated.
        folder: An empty one, for files. ``base_url``, ``token``: for a call that makes a client of its own.
    """

    client: AsanaClient
    gid: str
    folder: Path
    base_url: str = ""
    token: str = "token"


@attrs.frozen
class Call:
    """One way to use the library, of which every error comes out."""

    family: Family
    make: Callable[[Place], Awaitable[object]]


async def _iterate(waiter: asana_jobs.JobWaiter) -> list[object]:
    return [job.status async for job in waiter]


async def _monitor(place: Place) -> list[object]:
    async with place.client.monitor_jobs([place.gid]) as monitor:
        return [job.status async for job in monitor]


def _copies(place: Place) -> list[DuplicateProject]:
    return [DuplicateProject(place.gid, name=f"Copy {number} of {place.gid}") for number in range(3)]


async def _run_all(place: Place, ledger: Ledger | None = None) -> list[asana_jobs.Outcome]:
    async with place.client.run_all(_copies(place), ledger=ledger) as run:
        return [outcome async for outcome in run]


async def _run_all_with_ledger(place: Place) -> list[asana_jobs.Outcome]:
    async with Ledger.open(place.folder / "ledger") as ledger:
        return await _run_all(place, ledger)


async def _records(place: Place) -> int:
    async with place.client.iter_export(place.gid) as records:
        return len([record async for record in records])


async def _with_token(place: Place) -> object:
    async with place.client.with_token(place.token) as sibling:
        return await sibling.get_job(place.gid)


def _wait_alone(place: Place) -> asana_jobs.JobWaiter:
    patient = asana_jobs.PollPolicy(first_contact=60)  # a client of its own was never answered before
    return asana_jobs.wait_for_job(place.gid, token=place.token, base_url=place.base_url, poll=patient)


def _call(family: Family) -> Callable[[Callable[[Place], Awaitable[object]]], Call]:
    return lambda make: Call(family, make)


_start, _read, _wait = _call(Family.START), _call(Family.READ), _call(Family.WAIT)
_TASKS: Final[Any] = [{"resource_type": "task"}]

#: By the name of the method; what follows a comma is a way to use it.
CALLS: Final[dict[str, Call]] = {
    "get_job": _read(lambda at: at.client.get_job(at.gid)),
    "with_token": _read(_with_token),
    "project_template": _read(lambda at: at.client.project_template(at.gid)),
    "task_template": _read(lambda at: at.client.task_template(at.gid)),
    "request, GET": Call(Family.RAW, lambda at: at.client.request("GET", f"/jobs/{at.gid}")),
    "start": _start(lambda at: at.client.start(DuplicateProject(at.gid, name="Q3"))),
    "duplicate_task": _start(lambda at: at.client.duplicate_task(at.gid, name="Q3")),
    "duplicate_project": _start(lambda at: at.client.duplicate_project(at.gid, name="Q3")),
    "duplicate_portfolio": _start(lambda at: at.client.duplicate_portfolio(at.gid, name="Q3")),
    "save_project_as_template": _start(
        lambda at: at.client.save_project_as_template(at.gid, name="Q3", public=False, team="15")
    ),
    "instantiate_project": _start(lambda at: at.client.instantiate_project(at.gid, name="Q3", team="15")),
    "instantiate_task": _start(lambda at: at.client.instantiate_task(at.gid, name="Q3")),
    "rollup_task": _start(lambda at: at.client.rollup_task(at.gid)),
    "rollup_project": _start(lambda at: at.client.rollup_project(at.gid)),
    "export_graph": Call(Family.SAME_JOB, lambda at: at.client.export_graph(at.gid)),
    "export_resource": _start(lambda at: at.client.export_resource(at.gid, parameters=_TASKS)),
    "export_organization": _start(lambda at: at.client.export_organization(at.gid)),
    "run": Call(Family.RUN, lambda at: at.client.run(DuplicateProject(at.gid, name="Q3"))),
    "run_all": Call(Family.RUN, _run_all),
    "run_all, ledger": Call(Family.RUN, _run_all_with_ledger),
    "check_job": Call(Family.CHECK, lambda at: at.client.check_job(at.gid)),
    "wait_for_job": _wait(lambda at: at.client.wait_for_job(at.gid)),
    "wait_for_job, timeout": _wait(lambda at: at.client.wait_for_job(at.gid, timeout=300)),
    "wait_for_job, iterated": _wait(lambda at: _iterate(at.client.wait_for_job(at.gid))),
    "asana_jobs.wait_for_job": _wait(_wait_alone),
    "monitor_jobs": _wait(_monitor),
    "download_export": Call(
        Family.FILE, lambda at: at.client.download_export(at.gid, at.folder / f"{at.gid}.json.gz")
    ),
    "iter_export": Call(Family.FILE, _records),
    "close": Call(Family.CLOSE, lambda at: at.client.close()),
}

#: What is public on a client and is no call.
NO_CALLS: Final = {"base_url", "budget", "durations", "proxy"}


def representatives(calls: Mapping[str, Call]) -> list[str]:
    """Return one call of every family."""
    return list({call.family: name for name, call in calls.items()}.values())


def briefly(calls: Mapping[str, Call]) -> list[object]:
    """Return the calls as parameters of a test: one of every family always, the others where long attacks are run."""
    always = representatives(calls)
    return [name if name in always else pytest.param(name, marks=pytest.mark.long) for name in calls]


def uncovered() -> set[str]:
    """Return the public methods that `CALLS` does not make."""
    public = {name for name in dir(AsanaClient) if not name.startswith("_")} | {"asana_jobs.wait_for_job"}
    return public - NO_CALLS - {name.partition(",")[0] for name in CALLS}


async def wait_for_all(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    """Return how every task ended, errors included."""
    return await asyncio.gather(*tasks, return_exceptions=True)


#: A job-starting call in the words of an operation, for what runs beside a call.
EXPORT: Final = ExportGraph("77")
