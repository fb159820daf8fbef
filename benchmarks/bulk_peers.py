"""Other ways to start many jobs, five at a time, for `bulk.py`: what people write, and the official client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

import aiohttp

from asana_jobs import AsanaClient, DuplicateProject, RateLimits
from asana_jobs.testing import AsanaSimulator


SLOTS = 5
#: Starts a number of jobs on a simulator and waits for all of them.
Peer = Callable[[AsanaSimulator, int], Awaitable[None]]


def copies(count: int) -> Iterator[DuplicateProject]:
    """Give the operations, one at a time."""
    return (DuplicateProject("1203", name=f"Copy {number}") for number in range(count))


async def one_after_the_other(simulator: AsanaSimulator, count: int) -> None:
    """Await each job before the next is started, with our client."""
    async with AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid()) as client:
        for operation in copies(count):
            await client.run(operation)


def naive(gaps: Callable[[], Iterator[float]]) -> Peer:
    """Five loops over one queue, each with its own sleeps between looks, on bare aiohttp."""

    async def work(
        session: aiohttp.ClientSession, base_url: str, operations: Iterator[DuplicateProject]
    ) -> None:
        for operation in operations:
            url = f"{base_url}/projects/{operation.gid}/duplicate"
            async with session.post(url, json={"data": {"name": operation.name}}) as answer:
                answer.raise_for_status()
                job = (await answer.json())["data"]
            for gap in gaps():
                await asyncio.sleep(gap)
                async with session.get(f"{base_url}/jobs/{job['gid']}") as answer:
                    answer.raise_for_status()
                    if (await answer.json())["data"]["status"] in {"succeeded", "failed"}:
                        break

    async def run(simulator: AsanaSimulator, count: int) -> None:
        operations = copies(count)
        headers = {"Authorization": "Bearer t"}
        async with aiohttp.ClientSession(headers=headers) as session, asyncio.TaskGroup() as group:
            for _ in range(SLOTS):
                group.create_task(work(session, simulator.base_url, operations))

    return run


def every_second() -> Iterator[float]:
    """One second between looks."""
    while True:
        yield 1.0


def exponential() -> Iterator[float]:
    """1, 2, 4, ... at most 30 seconds between looks."""
    gap = 1.0
    while True:
        yield gap
        gap = min(30.0, 2 * gap)


#: In virtual time.
PEERS: dict[str, Peer] = {
    "one after the other": one_after_the_other,
    "five loops, 1 s": naive(every_second),
    "five loops, exponential": naive(exponential),
}


def official_client() -> str | None:
    """Return the version of the official ``asana`` package, or ``None`` if it is not installed."""
    try:
        import_module("asana")
    except ImportError:
        return None
    from importlib.metadata import version  # noqa: PLC0415  # only where it is wanted

    return version("asana")


async def official(simulator: AsanaSimulator, count: int) -> None:
    """Five threads with the official client, a look each second. In real time: its threads know no other."""
    asana: Any = import_module("asana")
    configuration = asana.Configuration()
    configuration.access_token = "t"  # noqa: S105  # the simulator takes any
    configuration.host = simulator.base_url
    client = asana.ApiClient(configuration)
    projects, jobs = asana.ProjectsApi(client), asana.JobsApi(client)

    def run(operation: DuplicateProject) -> None:
        body = {"data": {"name": operation.name}}
        job = projects.duplicate_project(operation.gid, {"body": body})
        while job["status"] not in {"succeeded", "failed"}:
            time.sleep(1)
            job = jobs.get_job(job["gid"], {})

    with ThreadPoolExecutor(SLOTS) as threads:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(threads, run, operation) for operation in copies(count)))
