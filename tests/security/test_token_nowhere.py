# nobody else is on these loops
"""A whole run, and what it leaves behind: no token in files, output, logs, events or tracebacks of any kind."""

import asyncio
import json
import traceback
from asyncio import selector_events
from collections.abc import Callable, Coroutine
from typing import Any
from unittest.mock import patch

import pytest
from raw_server import answering, says, serving
from token_traces import PART, TOKEN, shown

from asana_jobs import AsanaClient, OAuthRefresh
from asana_jobs._client.http.secret import Secret, SecretBytes
from asana_jobs.errors import AsanaJobsError, TokenError
from asana_jobs.tokens import find_token


Call = Callable[[AsanaClient], Coroutine[Any, Any, object]]


async def failing(call: Coroutine[Any, Any, object]) -> AsanaJobsError:
    """Return the error of a call that fails."""
    with pytest.raises(AsanaJobsError) as caught:
        await call
    return caught.value


CALLS: dict[str, Call] = {
    "get": lambda client: client.get_job("1203"),
    "post": lambda client: client.request("POST", "/x", json={"data": {}}),
    "bare post": lambda client: client.request("POST", "/x"),
}


@pytest.mark.parametrize("secret", [Secret(TOKEN), SecretBytes(TOKEN.encode())], ids=["text", "bytes"])
def test_no_part_of_a_secret_shows(secret: Secret | SecretBytes) -> None:
    """A slice of a secret, which is what a traceback shows of a long one, shows nothing."""
    assert PART not in repr(secret[:80])
    assert PART not in repr(secret[20:])


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_in_a_traceback_of_rich(call: Call) -> None:
    """The command line's library shows locals in a way of its own, and no token."""
    async with serving(answering(b"")) as served, AsanaClient(TOKEN, base_url=served.base_url) as client:
        error = await failing(call(client))

    assert PART not in shown(error)


@pytest.mark.parametrize("broken", ["write", "writelines", "is_closing"])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
async def test_in_a_request_that_cannot_be_written(call: Call, broken: str) -> None:
    """When the connection dies under the hands that write, their frames hold the header: they are not kept."""
    trouble: dict[str, Any] = (
        {"return_value": True} if broken == "is_closing" else {"side_effect": OSError("gone")}
    )
    async with (
        serving(answering(says(b"{}"))) as served,
        AsanaClient(TOKEN, base_url=served.base_url) as client,
    ):
        socket_transport: Any = vars(selector_events)["_SelectorSocketTransport"]
        with patch.object(socket_transport, broken, **trouble):
            task = asyncio.ensure_future(asyncio.wait_for(call(client), 20))
            (result,) = await asyncio.gather(task, return_exceptions=True)

    if isinstance(result, BaseException):
        assert PART not in shown(result)


@pytest.mark.parametrize("slash", ["/", r"\/"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
async def test_in_an_answer_that_echoes_it(status: int, slash: str) -> None:
    """A server, or a proxy that debugs, that quotes the request's headers does not bring the token into an error."""
    entry = dict.fromkeys(("message", "help", "phrase"), f"you sent Authorization: Bearer {TOKEN}, sorry")
    body = json.dumps({"errors": [entry]}).replace("/", slash).encode()
    async with (
        serving(answering(says(body, status=status))) as served,
        AsanaClient(TOKEN, base_url=served.base_url) as client,
    ):
        error = await failing(client.request("POST", "/x"))

    assert "you sent Authorization: Bearer ***, sorry" in str(error)
    assert PART not in shown(error)


async def test_in_a_refusal_that_echoes_the_refresh_token() -> None:
    """What Asana says of a refresh token that it refuses is told without the token and the app's secret."""
    secret, token = f"secret-{PART}", f"refresh-{PART}"
    body = json.dumps({"error": token, "error_description": f"{secret} {token}"}).encode()
    async with serving(answering(says(body, status=400))) as served:
        error = await failing(OAuthRefresh("app", secret, token, origin=served.origin)())

    assert "*** (*** ***)" in str(error)
    assert PART not in str(error)


@pytest.mark.parametrize("variable", ["ASANA_ACCESS_TOKEN", "ASANA_PAT", "ASANA_ACCESS_TOKEN_FILE"])
def test_in_a_traceback_about_the_environment(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """When the environment's token is none, no frame shows the environment, which holds other secrets too."""
    monkeypatch.setenv(variable, f"{TOKEN} {TOKEN}")
    monkeypatch.setenv("ANOTHER_SECRET", TOKEN)
    with pytest.raises(TokenError) as caught:
        find_token()

    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack
    assert PART not in repr([frame.locals for frame in frames if "asana_jobs" in frame.filename])
    assert PART not in str(caught.value)
