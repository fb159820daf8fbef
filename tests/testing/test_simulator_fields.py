import json
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from simulator_session import bare_session

from asana_jobs.testing import AsanaSimulator


# pytest finds fixtures among a module's names.
session = bare_session


USER = {"gid": "7", "resource_type": "user"}
TASK = {"gid": "9", "name": "Q3", "created_by": USER, "resource_subtype": "milestone"}
COMPACT = {"gid": "9", "resource_type": "task", "resource_subtype": "milestone", "name": "Q3"}


@pytest_asyncio.fixture
async def url(simulator: AsanaSimulator) -> str:
    """The address of a job with a task."""
    simulator.add_job("1203", ["succeeded"], new_task=TASK)
    return f"{simulator.base_url}/jobs/1203"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ("status", {"gid": "1203", "status": "succeeded"}),
        ("gid", {"gid": "1203"}),
        ("new_task", {"gid": "1203", "new_task": COMPACT}),
        ("new_task.name", {"gid": "1203", "new_task": {"gid": "9", "name": "Q3"}}),
        ("new_task.created_by", {"gid": "1203", "new_task": {"gid": "9", "created_by": USER}}),
        ("new_task.created_by.gid", {"gid": "1203", "new_task": {"gid": "9", "created_by": {"gid": "7"}}}),
        ("new_task,new_task.created_by", {"gid": "1203", "new_task": {**COMPACT, "created_by": USER}}),
        ("this.status,this.new_task.gid", {"gid": "1203", "status": "succeeded", "new_task": {"gid": "9"}}),
        ("(status|resource_type)", {"gid": "1203", "status": "succeeded", "resource_type": "job"}),
        (
            "new_task.(name|resource_subtype)",
            {"gid": "1203", "new_task": {"gid": "9", "name": "Q3", "resource_subtype": "milestone"}},
        ),
        ("(status", {"gid": "1203"}),
        ("nonsense,new_project.name", {"gid": "1203"}),
    ],
)
async def test_exactly_the_fields_asked_for(
    session: aiohttp.ClientSession, url: str, fields: str, expected: Any
) -> None:
    """The answer holds the named fields and gid at every level, and nothing else."""
    async with session.get(url, params={"opt_fields": fields}) as response:
        assert (await response.json())["data"] == expected


async def test_everything_without_fields(session: aiohttp.ClientSession, url: str) -> None:
    """Without `opt_fields` the whole job comes with compact slots, and without the opt-in leaf."""
    async with session.get(url) as response:
        assert (await response.json())["data"] == {
            "gid": "1203",
            "resource_type": "job",
            "resource_subtype": "duplicate_task",
            "status": "succeeded",
            "new_task": COMPACT,
        }


async def test_fields_of_a_started_job(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A POST takes its output options in the query or in the body."""
    url = f"{simulator.base_url}/projects/1/duplicate"
    body: dict[str, Any] = {"data": {"name": "Copy"}}
    async with session.post(url, params={"opt_fields": "status"}, json=body) as response:
        assert set((await response.json())["data"]) == {"gid", "status"}
    async with session.post(url, json={**body, "options": {"fields": ["new_project.name"]}}) as response:
        assert set((await response.json())["data"]) == {"gid", "new_project"}


@pytest.mark.parametrize(("query", "pretty"), [("opt_pretty", True), ("opt_pretty=true", True), ("", False)])
async def test_pretty(session: aiohttp.ClientSession, url: str, query: str, pretty: bool) -> None:
    """`opt_pretty`, with or without a value, breaks the answer into lines."""
    async with session.get(f"{url}?{query}") as response:
        text = await response.text()

    assert ("\n" in text) is pretty
    assert json.loads(text)["data"]["gid"] == "1203"


async def test_bad_options(session: aiohttp.ClientSession, url: str) -> None:
    """Options that make no sense are a 400."""
    async with session.get(f"{url}?opt_pretty=perhaps") as response:
        assert response.status == 400


async def test_bad_options_start_nothing(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A POST whose options are refused has no effect."""
    async with session.post(f"{simulator.base_url}/tasks/1/rollup?opt_pretty=perhaps") as response:
        assert response.status == 400
    async with session.post(
        f"{simulator.base_url}/tasks/1/rollup", json={"options": {"fields": 5}}
    ) as response:
        assert response.status == 400
    assert not simulator.started


async def test_me(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """`/users/me` shows the user of the token."""
    async with session.get(f"{simulator.base_url}/users/me") as response:
        user = (await response.json())["data"]

    assert user["resource_type"] == "user"
    assert user["email"].endswith("@example.com")
    assert user["workspaces"][0]["resource_type"] == "workspace"


async def test_headers_of_an_answer(session: aiohttp.ClientSession) -> None:
    """Answers carry the API's headers, and those the simulator was given."""
    notice = "name=teamless_projects;info=https://forum.asana.com/t/929205"
    async with (
        AsanaSimulator(headers={"Asana-Change": notice}) as simulator,
        session.get(f"{simulator.base_url}/jobs/1") as response,
    ):
        assert response.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert response.headers["X-Asana-Api-Version"] == "1.1"
        assert response.headers["Asana-Change"] == notice
