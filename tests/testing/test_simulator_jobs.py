import asyncio
from typing import Any

import aiohttp
import pytest
from simulator_session import bare_session

from asana_jobs.testing import AsanaSimulator, DurationLike, Fixed, Lognormal, Mixture, Stuck


# pytest finds fixtures among a module's names.
session = bare_session


Body = dict[str, Any]

# path, data, the slot of the result, the resource type of the result
STARTS: list[tuple[str, Body | None, str | None, str]] = [
    ("/tasks/11/duplicate", {"name": "Copy", "include": "notes,tags"}, "new_task", "task"),
    ("/projects/11/duplicate", {"name": "Copy"}, "new_project", "project"),
    ("/portfolios/11/duplicate", {"name": "Copy"}, "new_portfolio", "portfolio"),
    (
        "/projects/11/saveAsTemplate",
        {"name": "Copy", "public": True},
        "new_project_template",
        "project_template",
    ),
    ("/project_templates/11/instantiateProject", {"name": "Copy"}, "new_project", "project"),
    ("/task_templates/11/instantiateTask", {"name": "Copy"}, "new_task", "task"),
    ("/tasks/11/rollup", None, None, ""),
    ("/projects/11/rollup", None, None, ""),
    ("/exports/graph", {"parent": "11"}, "new_graph_export", "graph_export"),
    (
        "/exports/resource",
        {"workspace": "11", "export_request_parameters": [{"resource_type": "task"}]},
        "new_resource_export",
        "export_request",
    ),
]


async def get(session: aiohttp.ClientSession, url: str) -> Any:
    """Read one object."""
    async with session.get(url) as response:
        assert response.status == 200, await response.text()
        return (await response.json())["data"]


async def start(session: aiohttp.ClientSession, url: str, data: Body | None = None) -> Any:
    """Start a job."""
    body = None if data is None else {"data": data}
    async with session.post(url, json=body) as response:
        assert response.status == 201, await response.text()
        return (await response.json())["data"]


@pytest.mark.parametrize("call", STARTS)
async def test_every_start_answers_with_a_job(
    simulator: AsanaSimulator,
    session: aiohttp.ClientSession,
    call: tuple[str, Body | None, str | None, str],
) -> None:
    """Each call that answers with a job answers 201 with a job whose slot already names the result."""
    path, data, slot, resource_type = call
    job = await start(session, simulator.base_url + path, data)

    assert job["resource_type"] == "job"
    assert job["status"] == "in_progress"
    assert [name for name in job if name.startswith("new_")] == ([slot] if slot else [])
    if slot is not None:
        assert job[slot]["resource_type"] == resource_type
        assert job[slot].get("name", "Copy") == "Copy"
    assert simulator.started[0].gid == job["gid"]


@pytest.mark.parametrize("call", STARTS)
async def test_every_job_ends(
    simulator: AsanaSimulator,
    session: aiohttp.ClientSession,
    call: tuple[str, Body | None, str | None, str],
) -> None:
    """A started job succeeds after a second or two, with the result it was started with."""
    path, data, slot, _ = call
    job = await start(session, simulator.base_url + path, data)
    await asyncio.sleep(5)
    ended = await get(session, f"{simulator.base_url}/jobs/{job['gid']}")

    assert ended["status"] == "succeeded"
    assert 0.5 < simulator.started[0].ended < 5
    if slot is not None:
        assert ended[slot]["gid"] == job[slot]["gid"]


async def test_location_of_a_started_job(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """The answer to a POST says where the job is read."""
    async with session.post(f"{simulator.base_url}/tasks/1/rollup") as response:
        job = (await response.json())["data"]

    assert response.headers["Location"] == f"/api/1.0/jobs/{job['gid']}"


async def test_job_scripted_by_looks(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """Each read shows the next state, and the last one stays."""
    simulator.add_job(
        "1203", ["not_started", "in_progress", "succeeded"], new_project={"gid": "9", "name": "Q3"}
    )
    looks = [await get(session, f"{simulator.base_url}/jobs/1203") for _ in range(4)]

    assert [look["status"] for look in looks] == ["not_started", "in_progress", "succeeded", "succeeded"]
    assert looks[0]["new_project"]["name"] == "Q3"


async def test_job_scripted_by_time(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """The state depends on the seconds since the job exists."""
    simulator.add_job("1204", [(0.0, "not_started"), (1.0, "in_progress"), (5.0, "failed")])
    states = [await get(session, f"{simulator.base_url}/jobs/1204")]
    for seconds in (1.5, 4):
        await asyncio.sleep(seconds)
        states.append(await get(session, f"{simulator.base_url}/jobs/1204"))

    assert [state["status"] for state in states] == ["not_started", "in_progress", "failed"]


async def test_any_gid_is_a_job(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """An unknown gid becomes a job at first sight, which then runs and ends."""
    url = f"{simulator.base_url}/jobs/77"

    assert (await get(session, url))["status"] == "in_progress"
    await asyncio.sleep(10)
    assert (await get(session, url))["status"] == "succeeded"


async def test_strict_knows_what_was_added(session: aiohttp.ClientSession) -> None:
    """A strict simulator answers 404 to a gid that was not added."""
    async with AsanaSimulator(strict=True) as simulator:
        simulator.add_job("1203", creator=None)
        simulator.add_object("project", "5", name="Mars")

        assert (await get(session, f"{simulator.base_url}/jobs/1203"))["gid"] == "1203"
        job = await start(session, f"{simulator.base_url}/projects/5/duplicate", {"name": "Copy"})
        assert job["new_project"]["name"] == "Copy"
        async with session.get(f"{simulator.base_url}/jobs/1204") as response:
            message = (await response.json())["errors"][0]["message"]
            assert (response.status, message) == (404, "job_gid: Unknown object: 1204")
        async with session.post(
            f"{simulator.base_url}/projects/6/duplicate", json={"data": {"name": "x"}}
        ) as response:
            message = (await response.json())["errors"][0]["message"]
            assert (response.status, message) == (404, "project_gid: Unknown object: 6")


async def test_durations_by_kind(session: aiohttp.ClientSession) -> None:
    """Every kind has its own duration."""
    durations: dict[str, DurationLike] = {"duplicate_project": Fixed(3, waiting=1), "default": Stuck()}
    async with AsanaSimulator(durations=durations) as simulator:
        project = await start(session, f"{simulator.base_url}/projects/1/duplicate", {"name": "Copy"})
        task = await start(session, f"{simulator.base_url}/tasks/1/duplicate", {"name": "Copy"})
        assert project["status"] == "not_started"
        await asyncio.sleep(3.5)
        assert (await get(session, f"{simulator.base_url}/jobs/{project['gid']}"))["status"] == "succeeded"
        await asyncio.sleep(1_000_000)
        assert (await get(session, f"{simulator.base_url}/jobs/{task['gid']}"))["status"] == "in_progress"


async def test_failing_mixture(session: aiohttp.ClientSession) -> None:
    """A mixture draws every job's sort from the seed: the same seed, the same jobs."""
    mixture = Mixture([(1, Lognormal(1, failing=0.5)), (1, Fixed(2, outcome="failed"))])
    outcomes: list[list[tuple[str, float]]] = []
    for _ in range(2):
        async with AsanaSimulator(durations=mixture, seed=7) as simulator:
            for _ in range(20):
                job = await start(session, f"{simulator.base_url}/tasks/1/rollup")
                await asyncio.sleep(60)
                await get(session, f"{simulator.base_url}/jobs/{job['gid']}")
            outcomes.append([(job.status, round(job.ended - job.created, 6)) for job in simulator.started])

    assert outcomes[0] == outcomes[1]
    assert {status for status, _ in outcomes[0]} == {"succeeded", "failed"}


async def test_result_shown_late(session: aiohttp.ClientSession) -> None:
    """The result slot can be held back until the job has succeeded."""
    async with AsanaSimulator(result_shown="succeeded", durations=2) as simulator:
        job = await start(session, f"{simulator.base_url}/tasks/1/duplicate", {"name": "Copy"})
        assert "new_task" not in job
        await asyncio.sleep(3)
        assert (await get(session, f"{simulator.base_url}/jobs/{job['gid']}"))["new_task"]["name"] == "Copy"


async def test_rollup_progress_grows(session: aiohttp.ClientSession) -> None:
    """A project roll-up counts its tasks: nothing at first, then ever more, then all of them."""
    async with AsanaSimulator(durations=10) as simulator:
        simulator.add_object("project", "1", tasks=80)
        job = await start(session, f"{simulator.base_url}/projects/1/rollup")
        seen = [job["dates_rollup_progress"]]
        for _ in range(4):
            await asyncio.sleep(3)
            seen.append(
                (await get(session, f"{simulator.base_url}/jobs/{job['gid']}"))["dates_rollup_progress"]
            )

    assert seen[0] == {}
    assert seen[-1] == {"total_tasks": 80, "updated_tasks": 80}
    updated = [progress["updated_tasks"] for progress in seen[1:]]
    assert updated == sorted(updated)
    assert seen[1]["total_tasks"] < 80


async def test_same_graph_export_while_it_runs(
    simulator: AsanaSimulator, session: aiohttp.ClientSession
) -> None:
    """A graph export of the same parent is the same job until it has ended."""
    url = f"{simulator.base_url}/exports/graph"
    first = await start(session, url, {"parent": "5"})
    second = await start(session, url, {"parent": "5"})
    other = await start(session, url, {"parent": "6"})
    await asyncio.sleep(60)
    third = await start(session, url, {"parent": "5"})

    assert first["gid"] == second["gid"]
    assert len({first["gid"], other["gid"], third["gid"]}) == 3
    assert [record.started for record in simulator.requests] == [
        first["gid"],
        None,
        other["gid"],
        third["gid"],
    ]


async def test_resource_export_is_refused_while_one_runs(
    simulator: AsanaSimulator, session: aiohttp.ClientSession
) -> None:
    """A second resource export in a workspace is a 403 until the first has ended."""
    url = f"{simulator.base_url}/exports/resource"
    data = {"workspace": "5", "export_request_parameters": [{"resource_type": "task"}]}
    await start(session, url, data)
    async with session.post(url, json={"data": data}) as response:
        assert response.status == 403
    await start(session, url, {**data, "workspace": "6"})
    await asyncio.sleep(60)
    await start(session, url, data)


async def test_finished_by_hand(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A test can end a job whenever it wants to."""
    job = simulator.add_job("5", Stuck())
    assert (await get(session, f"{simulator.base_url}/jobs/5"))["status"] == "in_progress"
    job.finish("failed")
    assert (await get(session, f"{simulator.base_url}/jobs/5"))["status"] == "failed"
