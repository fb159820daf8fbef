"""What the demo's simulator saw of a bulk run: the numbers that tell whether it was done well."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING

import attrs


if TYPE_CHECKING:
    from asana_jobs.testing import AsanaSimulator, SimulatedJob


@attrs.frozen
class Figures:
    """Numbers from the server's side.

    Attributes:
        lag: Seconds from the end of a job to the look that saw it, in the median.
        twice: Operations that were started more than once.
    """

    succeeded: int
    requests_per_job: float
    lag: float
    rejected: int
    twice: int
    most_running: int


def measure(simulator: AsanaSimulator, kind: str) -> Figures:
    """Return the numbers for the jobs of *kind*."""
    jobs = [job for job in simulator.started if job.kind == kind]
    gids = {job.gid for job in jobs}
    looks = [record for record in simulator.requests if record.path.rpartition("/")[2] in gids]
    names = [job.result.get("name") for job in jobs]
    return Figures(
        succeeded=sum(job.status == "succeeded" for job in jobs),
        requests_per_job=(len(looks) + len(jobs)) / len(jobs),
        lag=_lag(simulator, jobs),
        rejected=simulator.rejected,
        twice=len(names) - len(set(names)),
        most_running=simulator.peak_jobs_running,
    )


def _lag(simulator: AsanaSimulator, jobs: Sequence[SimulatedJob]) -> float:
    # Requests are timed on the loop's clock, jobs from the simulator's start.
    start = asyncio.get_running_loop().time() - simulator.time.elapsed()
    ends = {f"/jobs/{job.gid}": start + job.ended for job in jobs}
    seen: dict[str, float] = {}
    for record in simulator.requests:
        end = ends.get(record.path)
        if end is not None and record.answered is not None and record.answered >= end:
            seen.setdefault(record.path, record.answered - end)
    return median(seen.values())
