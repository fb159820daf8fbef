"""What goes wrong with a call: its class, its message, and whether it was tried again."""

import json
import pickle
import socket
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest

from asana_jobs import AsanaClient, Response
from asana_jobs.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    ConnectError,
    DecodeError,
    LegalBlockError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    TransportError,
    UnprocessableError,
)
from asana_jobs.testing import AsanaSimulator, HtmlPage, Latency, NotJson, Reset, Status, Truncated
from asana_jobs.testing._scripted_transport import ScriptedTransport


# status, class, tries that a GET is given
STATUSES: list[tuple[int, type[APIError], int]] = [
    (400, BadRequestError, 1),
    (401, AuthenticationError, 1),
    (402, PaymentRequiredError, 1),
    (403, PermissionDeniedError, 1),
    (404, NotFoundError, 1),
    (409, APIError, 1),
    (422, UnprocessableError, 1),
    (429, RateLimitError, 5),
    (451, LegalBlockError, 1),
    (500, ServerError, 5),
    (502, ServerError, 5),
    (503, ServerError, 5),
    (504, ServerError, 5),
]


@pytest.mark.parametrize(("status", "kind", "tries"), STATUSES)
async def test_every_status_has_its_error(
    wired: AsanaClient, simulator: AsanaSimulator, status: int, kind: type[APIError], tries: int
) -> None:
    """Each error status is its class, with the gid, Asana's message and advice; and is tried as often as it may."""
    simulator.fail_next(Status(status, message="what Asana says"), times=None)

    with pytest.raises(kind) as caught:
        await wired.get_job("1203")

    error = caught.value
    assert type(error) is kind
    assert (error.status, error.gid, error.request) == (status, "1203", "GET /jobs/1203")
    assert error.messages == ("what Asana says",)
    assert f"GET /jobs/1203 was answered {status} {HTTPStatus(status).phrase}: what Asana says" in str(error)
    assert str(error).endswith(kind.advice)
    assert len(simulator.requests) == tries


@pytest.mark.parametrize(("status", "kind", "tries"), STATUSES)
async def test_every_error_crosses_processes(
    client: AsanaClient, transport: ScriptedTransport, status: int, kind: type[APIError], tries: int
) -> None:
    """Errors survive pickling with all they know."""
    transport.play(status)
    with pytest.raises(kind) as caught:
        await client.get_job("1203")

    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # our own bytes

    assert (str(again), vars(again)) == (str(caught.value), vars(caught.value))


async def test_the_phrase_of_a_500(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """The phrase for Asana's support is in the error and in its message."""
    simulator.fail_next(500, times=None)

    with pytest.raises(ServerError) as caught:
        await wired.get_job("1203")

    assert caught.value.phrase
    assert caught.value.phrase in str(caught.value)


async def test_retry_after_is_in_the_error(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """The seconds that Asana asks for are in the error."""
    simulator.fail_next(429, retry_after=17, times=None)

    with pytest.raises(RateLimitError) as caught:
        await wired.get_job("1203")

    assert caught.value.retry_after == 17


@pytest.mark.parametrize(
    ("fault", "kind", "says"),
    [
        (Reset, TransportError, "the connection broke before the whole answer was read"),
        (Truncated, TransportError, "the connection broke before the whole answer was read"),
        (NotJson, TransportError, "answered 200 with a body that is not JSON"),
        (lambda: HtmlPage(200), TransportError, "answered 200 with a body that is not JSON (text/html"),
        (lambda: HtmlPage(502), ServerError, "answered 502 Bad Gateway: no message (text/html"),
        (lambda: Latency(100), RequestTimeoutError, "no answer within 30 s"),
    ],
)
async def test_lost_answers_to_a_read(
    wired: AsanaClient,
    simulator: AsanaSimulator,
    fault: Callable[[], Reset | Truncated | NotJson | HtmlPage | Latency],
    kind: type[Exception],
    says: str,
) -> None:
    """A read whose answer is lost is tried again, and if that does not help its error says what happened."""
    simulator.fail_next(fault(), times=None)

    with pytest.raises(kind) as caught:
        await wired.get_job("1203")

    assert says in str(caught.value)
    assert "GET /jobs/1203" in str(caught.value)
    assert len(simulator.requests) >= 5


@pytest.mark.parametrize("fault", [Reset, Truncated, NotJson, lambda: 503, lambda: 429, lambda: Latency(100)])
async def test_a_read_recovers(
    wired: AsanaClient, simulator: AsanaSimulator, fault: Callable[[], Reset | int]
) -> None:
    """A read that fails in a way that may pass is tried again until it is answered."""
    simulator.fail_next(fault(), times=4)

    assert (await wired.get_job("1203")).gid == "1203"


async def test_a_server_that_is_not_there() -> None:
    """A connection that is refused is a ConnectError that says where it was tried."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with AsanaClient("test-token", base_url=f"http://127.0.0.1:{port}") as client:
            with pytest.raises(
                ConnectError, match=r"no connection could be made .*nothing was sent"
            ) as caught:
                await client.get_job("1203")

    assert str(port) in str(caught.value)
    assert caught.value.gid == "1203"
    assert isinstance(caught.value.__cause__, OSError)


async def test_json_that_is_no_job(client: AsanaClient, transport: ScriptedTransport) -> None:
    """JSON of the wrong shape is a DecodeError that names the field and the type, and is not tried again."""
    transport.play({"gid": 1203, "status": "succeeded"})

    with pytest.raises(DecodeError, match="a number") as caught:
        await client.get_job("1203")

    assert caught.value.problems == ("expected a string, not a number @ $.gid",)
    assert len(transport.requests) == 1


async def test_a_job_whose_status_cannot_be_read(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Nobody who reads a job needs its status: it is ``None``, and still in raw."""
    transport.play({"gid": "1203", "status": 7, "new_task": {"gid": 7}})

    job = await client.get_job("1203")

    assert (job.gid, job.status, job.result) == ("1203", None, None)
    assert job.raw == {"gid": "1203", "status": 7, "new_task": {"gid": 7}}


@pytest.mark.parametrize("status", [200, 204, 302, 418, 600])
async def test_a_status_nobody_expects(
    client: AsanaClient, transport: ScriptedTransport, status: int
) -> None:
    """An answer of any other status without a job is an error of ours, never a crash."""
    transport.play(Response(status=status, body=b"{}"))

    with pytest.raises((APIError, DecodeError, TransportError)):
        await client.get_job("1203")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"text"',
        b"{",
        b'{"errors": 7}',
        b'{"errors": [7]}',
        b'{"errors": [{}]}',
        b"\xff",
        b"[" * 99999,
    ],
)
async def test_error_bodies_of_any_shape(
    client: AsanaClient, transport: ScriptedTransport, body: bytes
) -> None:
    """An error answer of whatever shape is the error of its status."""
    transport.play(Response(status=400, body=body))

    with pytest.raises(BadRequestError) as caught:
        await client.get_job("1203")

    assert caught.value.messages == ()
    assert "no message" in str(caught.value)


async def test_errors_of_raw_requests(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """`request` raises error statuses as calls do."""
    simulator.fail_next(404, times=None)

    with pytest.raises(NotFoundError, match="GET /users/me was answered 404"):
        await wired.request("GET", "/users/me")


@pytest.mark.parametrize("answer", [{"gid": None}, {"status": "succeeded"}, {"gid": 5}, []])
async def test_an_answer_without_a_gid_is_about_what_was_asked_for(
    client: AsanaClient, transport: ScriptedTransport, answer: Any
) -> None:
    """The error names the job that was asked for, in a call, in a wait and for a template."""
    body = json.dumps({"data": answer}).encode()
    transport.play(lambda _: Response(status=200, body=body))

    for ask in (client.get_job, client.wait_for_job, client.project_template):
        with pytest.raises(DecodeError) as caught:
            await ask("1203")
        assert caught.value.gid == "1203"


async def test_a_404_of_a_job_says_which_gids_are_no_jobs(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """The gid of an organization export, and that of what a job makes, look like any other."""
    transport.play(404)

    with pytest.raises(
        NotFoundError, match="nor is an organization export: hand in the Job that export_organiz"
    ):
        await client.get_job("1203")
    with pytest.raises(NotFoundError) as other:
        await client.duplicate_project("1203", name="Copy")
    assert "organization" not in str(other.value)
