from typing import Any

import aiohttp
import pytest
from simulator_session import bare_session

from asana_jobs.testing import AsanaSimulator, SimulatorLimits, Stuck


# pytest finds fixtures among a module's names.
session = bare_session


def get(gid: str, **options: Any) -> dict[str, Any]:
    """The action that reads a job."""
    return {"relative_path": f"/jobs/{gid}", "method": "get", **options}


async def send(
    session: aiohttp.ClientSession, simulator: AsanaSimulator, actions: list[dict[str, Any]], query: str = ""
) -> tuple[int, Any]:
    """The status and document of a batch."""
    url = f"{simulator.base_url}/batch{query}"
    async with session.post(url, json={"data": {"actions": actions}}) as response:
        return response.status, await response.json()


async def test_answers_in_order(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """Every action has its own status and body, in the order of the actions."""
    simulator.add_job("2", ["failed"])
    rollup = {"relative_path": "tasks/5/rollup", "method": "post"}
    nonsense = {"relative_path": "/nonsense", "method": "get"}
    status, document = await send(session, simulator, [get("1"), get("2"), rollup, nonsense])
    one, two, three, four = document["data"]

    assert status == 200
    assert (one["status_code"], one["body"]["data"]["gid"]) == (200, "1")
    assert two["body"]["data"]["status"] == "failed"
    assert three["status_code"] == 201
    assert three["headers"]["location"] == f"/api/1.0/jobs/{three['body']['data']['gid']}"
    assert (four["status_code"], four["headers"]) == (404, {})
    assert four["body"]["errors"][0]["message"] == "No matching route for request"
    assert simulator.requests[0].all_started == (simulator.started[0].gid,)


async def test_options_of_an_action(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """`opt_fields` of an action is its `options.fields`; the batch's own names parts of the results."""
    _, document = await send(session, simulator, [get("1", options={"fields": ["status"]})])
    assert set(document["data"][0]["body"]["data"]) == {"gid", "status"}
    _, document = await send(session, simulator, [get("1")], "?opt_fields=status_code")
    assert document["data"] == [{"status_code": 200}]


@pytest.mark.parametrize(
    "actions", [[], [get("1")] * 11, [{"method": "get"}], [{"relative_path": "/jobs/1", "method": "look"}]]
)
async def test_bad_batches(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, actions: list[dict[str, Any]]
) -> None:
    """No action, more than ten, or one that is not well made: 400."""
    status, document = await send(session, simulator, actions)

    assert status == 400
    assert document["errors"]


@pytest.mark.parametrize("path", ["/batch", "/organization_exports/1", "/tasks/1/attachments", "/jobs/1?a=b"])
async def test_refused_actions(simulator: AsanaSimulator, session: aiohttp.ClientSession, path: str) -> None:
    """Some calls are not allowed in a batch: that action is a 400."""
    status, document = await send(session, simulator, [{"relative_path": path, "method": "post"}, get("1")])

    assert status == 200
    assert [result["status_code"] for result in document["data"]] == [400, 200]


async def test_every_action_counts(session: aiohttp.ClientSession) -> None:
    """Actions count in the minute quota one by one, and a batch that exceeds it is a 429 as a whole."""
    async with AsanaSimulator(limits=SimulatorLimits(requests_per_minute=15)) as simulator:
        first, _ = await send(session, simulator, [get("1")] * 10)
        second, _ = await send(session, simulator, [get("2")] * 10)

        assert (first, second) == (200, 429)
        assert "2" not in simulator.jobs
        assert simulator.busiest_minute == 20


async def test_actions_in_flight(session: aiohttp.ClientSession) -> None:
    """Ten writing actions are ten of the writing requests in flight."""
    limits = SimulatorLimits(writes_in_flight=3)
    rollup = {"relative_path": "/tasks/5/rollup", "method": "post"}
    async with AsanaSimulator(limits=limits) as simulator:
        assert (await send(session, simulator, [rollup] * 4))[0] == 429
        assert (await send(session, simulator, [rollup] * 3 + [get("1")]))[0] == 200


async def test_jobs_in_a_batch(session: aiohttp.ClientSession) -> None:
    """A batch that would run a sixth job is refused as a whole."""
    rollup = {"relative_path": "/tasks/5/rollup", "method": "post"}
    async with AsanaSimulator(durations=Stuck()) as simulator:
        assert (await send(session, simulator, [rollup] * 6))[0] == 429
        assert not simulator.started
        assert (await send(session, simulator, [rollup] * 5))[0] == 200
        assert len(simulator.requests[-1].all_started) == 5
