import asyncio
from typing import Any

import aiohttp

from asana_jobs.testing import AsanaSimulator, Latency


APP = {"client_id": "1", "client_secret": "secret"}
REFRESH = {"grant_type": "refresh_token", "refresh_token": "refresh-1", **APP}


async def post(url: str, form: dict[str, str]) -> tuple[int, Any]:
    """The status and document of a form that was posted without a token."""
    async with aiohttp.ClientSession() as session, session.post(url, data=form) as response:
        return response.status, await response.json()


async def status_with(token: str, url: str) -> int:
    """The status of a read with a token."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session, session.get(url) as response:
        return response.status


async def test_access_token_lives_an_hour() -> None:
    """A refresh token gives access tokens that are good for an hour."""
    async with AsanaSimulator(tokens={"refresh-1"}) as simulator:
        status, answer = await post(simulator.oauth_token_url, REFRESH)
        assert status == 200
        assert (answer["token_type"], answer["expires_in"]) == ("bearer", 3600)
        assert "refresh_token" not in answer
        assert await status_with(answer["access_token"], f"{simulator.base_url}/jobs/1") == 200
        await asyncio.sleep(3601)
        assert await status_with(answer["access_token"], f"{simulator.base_url}/jobs/1") == 401


async def test_new_token_is_the_same_user() -> None:
    """A job started with one access token is read with the next one."""
    async with AsanaSimulator(creator_only=True) as simulator:
        _, first = await post(simulator.oauth_token_url, REFRESH)
        headers = {"Authorization": f"Bearer {first['access_token']}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.post(f"{simulator.base_url}/tasks/1/rollup") as response,
        ):
            gid = (await response.json())["data"]["gid"]
        simulator.expire_token(first["access_token"])
        _, second = await post(simulator.oauth_token_url, REFRESH)
        assert await status_with(second["access_token"], f"{simulator.base_url}/jobs/{gid}") == 200


async def test_bad_refresh_token() -> None:
    """Errors of the token endpoint have a shape of their own."""
    async with AsanaSimulator(tokens={"refresh-1"}) as simulator:
        status, answer = await post(simulator.oauth_token_url, {**REFRESH, "refresh_token": "wrong"})

    assert status == 400
    assert answer["error"] == "invalid_grant"
    assert set(answer) == {"error", "error_uri", "error_description"}


async def test_incomplete_requests(simulator: AsanaSimulator) -> None:
    """A grant that is missing or incomplete is a 400."""
    url = simulator.oauth_token_url
    assert (await post(url, {}))[1]["error"] == "unsupported_grant_type"
    assert (await post(url, {"grant_type": "refresh_token"}))[1]["error"] == "invalid_request"
    assert (await post(url, {**APP, "grant_type": "refresh_token"}))[1]["error"] == "invalid_grant"


async def test_code_exchange(simulator: AsanaSimulator) -> None:
    """A code gives an access token and a refresh token."""
    form = {"grant_type": "authorization_code", "code": "abc", **APP}
    _, answer = await post(simulator.oauth_token_url, form)

    assert answer["refresh_token"]
    assert answer["data"]["email"]


async def test_revoked_refresh_token(simulator: AsanaSimulator) -> None:
    """A revoked refresh token gives nothing any more."""
    revoke = f"{simulator.origin}/-/oauth_revoke"
    assert (await post(revoke, {**APP, "token": "refresh-1"}))[0] == 200
    assert (await post(simulator.oauth_token_url, REFRESH))[0] == 400


async def test_faults_and_log_of_the_token_endpoint(simulator: AsanaSimulator) -> None:
    """The token endpoint fails when a fault names it, and its log holds no secret."""
    simulator.fail_next(503, path="/-/oauth_token")
    simulator.fail_next(Latency(5), path="/-/oauth_token")
    assert (await post(simulator.oauth_token_url, REFRESH))[0] == 503
    assert (await post(simulator.oauth_token_url, REFRESH))[0] == 200
    assert [record.status for record in simulator.token_requests] == [503, 200]
    assert simulator.token_requests[0].body == {**REFRESH, "client_secret": "***", "refresh_token": "***"}
    assert not simulator.requests
