"""Templates of the simulator, over bare HTTP: what they ask for, and what a strict one refuses."""

from typing import Any

import aiohttp
import pytest
from simulator_session import bare_session

from asana_jobs.testing import AsanaSimulator
from asana_jobs.testing.simulator.openapi import RESPONSE_SCHEMAS


# pytest finds fixtures among a module's names.
session = bare_session


async def read(session: aiohttp.ClientSession, url: str, **query: str) -> tuple[int, Any]:
    """Read a URL; return the status, and the data or the message of the refusal."""
    async with session.get(url, params=query) as response:
        document = await response.json()
    return response.status, document.get("data") or document["errors"][0]["message"]


async def instantiate(session: aiohttp.ClientSession, simulator: AsanaSimulator, **data: Any) -> Any:
    """Make a project from template 1204; return the status, and the message if it was refused."""
    url = f"{simulator.base_url}/project_templates/1204/instantiateProject"
    async with session.post(url, json={"data": {"name": "Q3", **data}}) as response:
        document = await response.json()
    return response.status if response.status == 201 else (response.status, document["errors"][0]["message"])


@pytest.mark.parametrize(
    ("path", "schema"),
    [
        ("/project_templates/1204", "ProjectTemplateResponse"),
        ("/task_templates/1204", "TaskTemplateResponse"),
    ],
)
async def test_any_gid_is_a_template_with_every_documented_field(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, path: str, schema: str
) -> None:
    """What nobody added is made up, and whole."""
    status, template = await read(session, simulator.base_url + path)

    assert status == 200
    assert set(template) == set(RESPONSE_SCHEMAS[schema]["properties"])
    assert template["gid"] == "1204"
    assert template["resource_type"] == path.split("/")[1].removesuffix("s")


async def test_a_template_that_was_made_up_asks_for_a_start_and_an_end(
    simulator: AsanaSimulator, session: aiohttp.ClientSession
) -> None:
    """They are the two dates that every project has; any dates are taken, and none is missed."""
    _, template = await read(session, f"{simulator.base_url}/project_templates/1204")

    assert [(date["gid"], date["name"]) for date in template["requested_dates"]] == [
        ("1", "Start Date"),
        ("2", "Due Date"),
    ]
    assert [role["name"] for role in template["requested_roles"]] == ["Designer"]
    dates = [{"gid": "99", "value": "2027-01-04"}]
    assert await instantiate(session, simulator, requested_dates=dates, is_strict=True) == 201


@pytest.mark.parametrize(
    "dates", [{"Launch": "5"}, [{"gid": "5", "name": "Launch"}]], ids=["mapping", "objects"]
)
async def test_an_added_template_asks_for_what_was_said(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, dates: Any
) -> None:
    """And has what else was said of it."""
    simulator.add_project_template("1204", name="Launch", requested_dates=dates, team=None)

    _, template = await read(session, f"{simulator.base_url}/project_templates/1204")

    assert template["requested_dates"] == [{"gid": "5", "name": "Launch"}]
    assert (template["requested_roles"], template["team"], template["name"]) == ([], None, "Launch")


async def test_fields_of_a_template(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """``opt_fields`` reaches into its lists."""
    simulator.add_project_template("1204", requested_roles={"Designer": "6"})
    url = f"{simulator.base_url}/project_templates/1204"

    _, template = await read(session, url, opt_fields="requested_roles.name")

    assert template == {"gid": "1204", "requested_roles": [{"gid": "6", "name": "Designer"}]}


async def test_a_strict_simulator_knows_what_was_added(session: aiohttp.ClientSession) -> None:
    """An object of another type is no template either."""
    async with AsanaSimulator(strict=True) as simulator:
        simulator.add_object("task_template", "7", name="Bug")
        task = await read(session, f"{simulator.base_url}/task_templates/7")
        other = await read(session, f"{simulator.base_url}/project_templates/7")
        unknown = await read(session, f"{simulator.base_url}/task_templates/8")

    assert task[1]["name"] == "Bug"
    assert other == (404, "project_template_gid: Unknown object: 7")
    assert unknown == (404, "task_template_gid: Unknown object: 8")


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        ({"requested_dates": [{"gid": "5", "value": "2027-01-04"}]}, 201),
        (
            {
                "requested_dates": [
                    {"gid": "5", "value": "2027-01-04"},
                    {"gid": "9", "value": "2027-01-04"},
                ]
            },
            (400, "requested_dates[1].gid: Unknown object: 9"),
        ),
        (
            {"requested_roles": [{"gid": "5", "value": "me"}]},
            (400, "requested_roles[0].gid: Unknown object: 5"),
        ),
        ({"requested_roles": [{"gid": "6", "value": "me"}]}, 201),
        ({"is_strict": True}, (422, "requested_dates: Missing date for date variable 5")),
        ({"is_strict": False}, 201),
    ],
    ids=str,
)
async def test_a_strict_simulator_refuses_dates_and_roles_that_a_template_lacks(
    session: aiohttp.ClientSession, data: dict[str, Any], answer: Any
) -> None:
    """A gid in a body that nobody knows is a 400; a date that is left out is a 422, if that is wanted."""
    async with AsanaSimulator(strict=True) as simulator:
        simulator.add_project_template(
            "1204", requested_dates={"Launch": "5"}, requested_roles={"Designer": "6"}
        )
        assert await instantiate(session, simulator, **data) == answer


async def test_a_template_gid_that_is_none(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """It is refused as every other gid is."""
    assert await read(session, f"{simulator.base_url}/project_templates/x") == (
        400,
        "project_template_gid: Not a recognized ID: x",
    )
    with pytest.raises(ValueError, match="A gid is a string of digits"):
        simulator.add_project_template("x")
