"""`ScriptedTransport`: a server from a list or a function, without a socket."""

import asyncio

import pytest

from asana_jobs import AsanaClient, Response
from asana_jobs._client.http.protocol import Request
from asana_jobs.errors import RequestTimeoutError, TransportError
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


GET = Request(method="GET", path="/jobs/1203", gid="1203", timeout=30)
POST = Request(method="POST", path="/projects/77/duplicate", gid="77")


async def test_a_state_is_a_job() -> None:
    """Text is a 200 answer with the job that was asked for in that state."""
    response = await ScriptedTransport("in_progress").send(GET)

    assert response.status == 200
    assert response.json() == {"data": {"gid": "1203", "resource_type": "job", "status": "in_progress"}}


async def test_a_post_is_answered_201() -> None:
    """A POST is answered 201."""
    assert (await ScriptedTransport("not_started").send(POST)).status == 201


async def test_a_number_is_a_status() -> None:
    """A number is that status with an error body as Asana writes it."""
    response = await ScriptedTransport(503).send(GET)

    assert response.status == 503
    assert response.json() == {"errors": [{"message": "scripted 503"}]}


async def test_a_dict_is_the_data() -> None:
    """A dict is the data of a 200 answer."""
    response = await ScriptedTransport({"gid": "9"}).send(GET)

    assert response.json() == {"data": {"gid": "9"}}


async def test_a_response_is_itself() -> None:
    """A response is answered as it is."""
    answer = Response(status=418)

    assert await ScriptedTransport(answer).send(GET) is answer


async def test_an_error_is_raised() -> None:
    """An exception is raised."""
    error = TransportError("reset", method="GET", path="/")

    with pytest.raises(TransportError, match="reset"):
        await ScriptedTransport(error).send(GET)


async def test_the_last_answer_repeats() -> None:
    """The last answer is given for ever."""
    transport = ScriptedTransport(500, 200)

    assert [(await transport.send(GET)).status for _ in range(4)] == [500, 200, 200, 200]


async def test_a_function_answers() -> None:
    """A function gets the request and returns the answer."""
    transport = ScriptedTransport(lambda request: "succeeded" if request.gid == "1203" else 404)

    assert (await transport.send(GET)).status == 200
    assert (await transport.send(POST)).status == 404


async def test_a_coroutine_function_answers() -> None:
    """A function may be async."""

    async def answer(_: Request) -> str:
        await asyncio.sleep(1)
        return "succeeded"

    assert (await ScriptedTransport(answer).send(GET)).status == 200


async def test_play_replaces_the_rest() -> None:
    """`play` replaces what is left of a script, and a function."""
    transport = ScriptedTransport(500, 501, 502)
    await transport.send(GET)

    transport.play(404)

    assert (await transport.send(GET)).status == 404


async def test_an_empty_script_says_so(transport: ScriptedTransport) -> None:
    """A request without an answer is an AssertionError that says what to do."""
    with pytest.raises(AssertionError, match=r"play\(\) some"):
        await transport.send(GET)


async def test_an_empty_script_fails_the_wait(client: AsanaClient) -> None:
    """A wait on an empty script fails; it does not look for ever."""
    with pytest.raises(AssertionError, match=r"play\(\) some"):
        await client.wait_for_job("1203")


async def test_requests_are_kept() -> None:
    """Every request is kept, also one that ended in an error."""
    transport = ScriptedTransport(TransportError("reset", method="GET", path="/"))

    with pytest.raises(TransportError):
        await transport.send(GET)

    assert transport.requests == [GET]


async def test_latency(clock: FakeClock) -> None:
    """Each answer takes its latency on the clock."""
    transport = ScriptedTransport("succeeded", clock=clock, latency=7)

    await transport.send(GET)

    assert clock.monotonic() == 7


async def test_latency_beyond_the_timeout(clock: FakeClock) -> None:
    """A latency above the request's timeout is a RequestTimeoutError when the timeout is over."""
    transport = ScriptedTransport("succeeded", clock=clock, latency=70)

    with pytest.raises(RequestTimeoutError, match="no answer within 30 s"):
        await transport.send(GET)

    assert clock.monotonic() == 30


async def test_close_is_noted() -> None:
    """`closed` tells whether it was closed."""
    transport = ScriptedTransport("succeeded")
    assert not transport.closed

    await transport.close()

    assert transport.closed


def test_repr() -> None:
    """The repr counts requests and answers left."""
    assert repr(ScriptedTransport(500, 200)) == "<ScriptedTransport 0 requests, 2 answers left>"


async def test_each_start_has_a_job_of_its_own(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A state that answers POSTs about one gid is about another job each time; a graph export's is the same."""
    transport.play(429, "in_progress")

    copies = [await client.duplicate_project("12", name=f"Copy {number}") for number in range(3)]
    exports = [await client.export_graph("13") for _ in range(2)]

    assert [job.gid for job in copies] == ["12", "122", "123"]
    assert [job.gid for job in exports] == ["13", "13"]
    assert (await client.get_job("122")).gid == "122"
