from typing import Any

import aiohttp
import pytest
from simulator_session import bare_session

from asana_jobs.testing import AsanaSimulator


# pytest finds fixtures among a module's names.
session = bare_session


PROJECT = "/projects/1/duplicate"
TEMPLATE = "/project_templates/1/instantiateProject"
DATES = {"should_skip_weekends": True, "start_on": "2026-12-01"}


async def refused(session: aiohttp.ClientSession, method: str, url: str, **options: Any) -> tuple[int, str]:
    """The status and message of an error, whose envelope must be the API's."""
    async with session.request(method, url, **options) as response:
        document = await response.json()
        (error,) = document["errors"]
        assert response.content_type == "application/json"
        assert error["help"].endswith("https://developers.asana.com/docs/errors")
        return response.status, error["message"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/jobs"),
        ("POST", "/jobs/1"),
        ("DELETE", "/jobs/1"),
        ("GET", "/projects/1/duplicate"),
        ("GET", "/nonsense"),
        ("POST", "/projects/1/2/duplicate"),
        ("GET", "/jobs/1/"),
        ("GET", ""),
    ],
)
async def test_unknown_route_or_method(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, method: str, path: str
) -> None:
    """An unknown path and a method the path does not know are the same 404."""
    answer = await refused(session, method, simulator.base_url + path)

    assert answer == (404, "No matching route for request")


async def test_outside_the_api(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """Paths beside the API's root are 404 as well."""
    assert (await refused(session, "GET", f"{simulator.origin}/api/1.1/jobs/1"))[0] == 404


@pytest.mark.parametrize("gid", ["abc", "12a", "-1", "1.5", "%D9%A3"])
async def test_not_a_gid(simulator: AsanaSimulator, session: aiohttp.ClientSession, gid: str) -> None:
    """A gid in a path is made of ASCII digits."""
    status, message = await refused(session, "GET", f"{simulator.base_url}/jobs/{gid}")

    assert status == 400
    assert message.startswith("job_gid: Not a recognized ID: ")


@pytest.mark.parametrize("authorization", [None, "Basic eDp5", "Bearer", "Bearer "])
async def test_no_token(simulator: AsanaSimulator, authorization: str | None) -> None:
    """Without a bearer token everything is 401."""
    headers = {} if authorization is None else {"Authorization": authorization}
    async with aiohttp.ClientSession(headers=headers) as session:
        answer = await refused(session, "GET", f"{simulator.base_url}/jobs/1")

    assert answer == (401, "Not Authorized")
    assert not simulator.requests[0].authorized


async def test_known_tokens(session: aiohttp.ClientSession) -> None:
    """With a set of tokens every other one is 401."""
    async with AsanaSimulator(tokens={"another-token"}) as simulator:
        assert (await refused(session, "GET", f"{simulator.base_url}/jobs/1"))[0] == 401
        headers = {"Authorization": "Bearer another-token"}
        async with session.get(f"{simulator.base_url}/jobs/1", headers=headers) as response:
            assert response.status == 200


async def test_job_of_somebody_else(session: aiohttp.ClientSession) -> None:
    """Where only creators may read, another user gets a 403."""
    tokens = {"test-token": "Ada", "second-token": "Ada", "stranger": "Bob"}
    async with AsanaSimulator(creator_only=True, tokens=tokens) as simulator:
        async with session.post(f"{simulator.base_url}/tasks/1/rollup") as response:
            url = f"{simulator.base_url}/jobs/{(await response.json())['data']['gid']}"
        async with session.get(url, headers={"Authorization": "Bearer second-token"}) as response:
            assert response.status == 200
        answer = await refused(session, "GET", url, headers={"Authorization": "Bearer stranger"})

    assert answer == (403, "You do not have access to this job.")


async def test_added_job_of_somebody_else(session: aiohttp.ClientSession) -> None:
    """A job that was added may belong to a token."""
    async with AsanaSimulator(strict=True) as simulator:
        simulator.add_job("1", token="owner")
        assert (await refused(session, "GET", f"{simulator.base_url}/jobs/1"))[0] == 403


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{", "Could not parse request data, invalid JSON"),
        ("[1]", "Request body must be a JSON object with a data field"),
        (
            '{"name": "x"}',
            "Unrecognized request field name. Allowed top-level request fields: data, options.",
        ),
        ('{"data": [1]}', "data: Value is not an object: [1]"),
        ("{}", "name: Missing input"),
        ("", "name: Missing input"),
        ('{"data": {"name": null}}', "name: Missing input"),
        ('{"data": {"name": 5}}', "name: Value is not a string: 5"),
        ('{"data": {"name": "x", "include": 5}}', "include: Value is not a list: 5"),
        ('{"data": {"name": "x", "include": [5]}}', "include[0]: Value is not a string: 5"),
    ],
)
async def test_bad_bodies(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, body: str, expected: str
) -> None:
    """A body that cannot be used is a 400 that names the field."""
    headers = {"Content-Type": "application/json"}
    answer = await refused(session, "POST", simulator.base_url + PROJECT, data=body, headers=headers)

    assert answer == (400, expected)
    assert not simulator.started


@pytest.mark.parametrize(
    ("path", "data", "expected"),
    [
        (
            "/projects/1/saveAsTemplate",
            {"name": "x"},
            "public: Missing input",
        ),
        (
            "/projects/1/saveAsTemplate",
            {"name": "x", "public": True, "team": "me"},
            "team: Not a recognized ID: me",
        ),
        ("/exports/graph", {}, "parent: Missing input"),
        ("/exports/graph", {"parent": 5}, "parent: Not a recognized ID: 5"),
        ("/exports/resource", {"workspace": "1"}, "export_request_parameters: Missing input"),
        (
            "/exports/resource",
            {"workspace": "1", "export_request_parameters": [{"resource_type": "goal"}]},
            "export_request_parameters[0].resource_type: Value is not one of task, team, message: goal",
        ),
        (
            TEMPLATE,
            {"name": "x", "privacy_setting": "secret"},
            "privacy_setting: Value is not one of public_to_workspace, private_to_team, private: secret",
        ),
        (
            PROJECT,
            {"name": "x", "schedule_dates": DATES},
            "schedule_dates: Requires task_dates in include",
        ),
        (
            PROJECT,
            {"name": "x", "include": "task_dates", "schedule_dates": {"start_on": "2026-12-01"}},
            "schedule_dates.should_skip_weekends: Missing input",
        ),
        (
            PROJECT,
            {"name": "x", "include": "task_dates", "schedule_dates": {"should_skip_weekends": True}},
            "schedule_dates: One of start_on and due_on is required",
        ),
        (
            PROJECT,
            {"name": "x", "include": "task_dates", "schedule_dates": {**DATES, "due_on": "2026-12-02"}},
            "schedule_dates: Only one of start_on and due_on is allowed",
        ),
        (
            PROJECT,
            {"name": "x", "include": "task_dates", "schedule_dates": {**DATES, "start_on": "1.12.26"}},
            "schedule_dates.start_on: Not a valid date: 1.12.26",
        ),
    ],
)
async def test_rules_of_the_operations(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, path: str, data: Any, expected: str
) -> None:
    """Every operation checks its own fields."""
    answer = await refused(session, "POST", simulator.base_url + path, json={"data": data})

    assert answer == (400, expected)


@pytest.mark.parametrize("include", ["members,task_dates", ["members", "task_dates"]])
async def test_include_as_text_or_list(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, include: object
) -> None:
    """`include` may be one string or a list, as the real API takes both."""
    data = {"name": "x", "include": include, "schedule_dates": DATES}
    async with session.post(simulator.base_url + PROJECT, json={"data": data}) as response:
        assert response.status == 201


@pytest.mark.parametrize(
    ("resource_type", "path", "known"),
    [
        (
            "task",
            "/tasks/1/duplicate",
            "assignee, attachments, dates, dependencies, followers, notes, parent, ",
        ),
        ("project", PROJECT, "allocations, forms, members, notes, permissions, task_assignee, "),
        ("portfolio", "/portfolios/1/duplicate", "description, members, permissions, templates, rules, "),
    ],
)
@pytest.mark.parametrize("include", ["notez", " notez ,", ["notez"]])
async def test_a_strict_simulator_refuses_words_that_asana_does_not_document(
    session: aiohttp.ClientSession, resource_type: str, path: str, known: str, include: object
) -> None:
    """A mistyped word of `include` starts no job there, however it is sent."""
    async with AsanaSimulator(strict=True) as simulator:
        simulator.add_object(resource_type, "1")
        data = {"name": "x", "include": include}
        status, message = await refused(session, "POST", simulator.base_url + path, json={"data": data})
        assert simulator.started == []

    assert status == 400
    assert message.startswith(f"include: Value is not one of {known}")
    assert message.endswith(": notez")


async def test_a_strict_simulator_takes_every_word_that_asana_documents(
    session: aiohttp.ClientSession,
) -> None:
    """What the documents list is copied along, and nothing at all is fine too."""
    async with AsanaSimulator(strict=True) as simulator:
        simulator.add_object("portfolio", "1")
        words = "description,members,permissions,templates,rules,child_projects,child_portfolios"
        for include in (words, words.split(","), ""):
            data = {"name": "x", "include": include}
            url = f"{simulator.base_url}/portfolios/1/duplicate"
            async with session.post(url, json={"data": data}) as response:
                assert response.status == 201


async def test_another_simulator_takes_words_of_tomorrow(
    simulator: AsanaSimulator, session: aiohttp.ClientSession
) -> None:
    """Asana adds words without notice: only a strict simulator knows them all."""
    data = {"name": "x", "include": "members,holograms"}
    async with session.post(simulator.base_url + PROJECT, json={"data": data}) as response:
        assert response.status == 201


async def test_missing_template_dates(session: aiohttp.ClientSession) -> None:
    """With `is_strict` a date variable without a value is a 422."""
    async with AsanaSimulator(strict=True) as simulator:
        simulator.add_object("project_template", "1", dates=["1", "2"])
        data: dict[str, Any] = {
            "name": "x",
            "is_strict": True,
            "requested_dates": [{"gid": "1", "value": "2026-12-01"}],
        }
        status, message = await refused(session, "POST", simulator.base_url + TEMPLATE, json={"data": data})
        assert (status, message) == (422, "requested_dates: Missing date for date variable 2")
        data["is_strict"] = False
        async with session.post(simulator.base_url + TEMPLATE, json={"data": data}) as response:
            assert response.status == 201


async def test_unknown_object_in_a_body(session: aiohttp.ClientSession) -> None:
    """A gid in a body that nobody knows is a 400, in a path a 404."""
    async with AsanaSimulator(strict=True) as simulator:
        url = f"{simulator.base_url}/exports/graph"
        answer = await refused(session, "POST", url, json={"data": {"parent": "9"}})

    assert answer == (400, "parent: Unknown object: 9")


async def test_form_body(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """The API takes forms as well."""
    form = {"name": "Copy", "opt_fields": "new_project.name"}
    async with session.post(simulator.base_url + PROJECT, data=form) as response:
        assert (await response.json())["data"]["new_project"]["name"] == "Copy"


async def test_values_that_make_no_sense() -> None:
    """Values the simulator does not know are refused when they are given."""
    with pytest.raises(ValueError, match="Unknown kind of job 'copy'"):
        AsanaSimulator(durations={"copy": 5})
    with pytest.raises(ValueError, match="A gid is a string of digits"):
        AsanaSimulator().add_job("12a")
