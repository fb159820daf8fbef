"""An answer is believed only for what was asked: jobs do not finish, and do not start, by somebody else's answer."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import aiohttp
import attrs
import pytest
from socket_server import listening

from asana_jobs import AsanaClient, DuplicateProject, ExportGraph, Job, PollPolicy, Response, RetryPolicy
from asana_jobs._client.http.api_session import MOST_SEEN_GIDS, SeenGids
from asana_jobs._client.http.protocol import Request
from asana_jobs.errors import OutcomeUnknownError, TransportError
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


COPY = DuplicateProject("12", name="Q3")


def says(gid: str, status: str = "succeeded", **fields: str) -> bytes:
    """The answer that is about one job."""
    body = json.dumps({"data": {"gid": gid, "status": status, **fields}}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@attrs.define
class Server:
    """A server on kept-alive connections: what it answers, by connection and request, and what it was asked."""

    base_url: str
    asked: list[list[str]] = attrs.field(factory=list[list[str]])
    writers: list[asyncio.StreamWriter] = attrs.field(factory=list[asyncio.StreamWriter])

    @property
    def lines(self) -> list[str]:
        """Everything that it was asked."""
        return [line for connection in self.asked for line in connection]


@asynccontextmanager
async def serving(answer: Callable[[Server, str], bytes]) -> AsyncGenerator[Server]:
    """Answer each request, given as ``GET /jobs/5``, with what *answer* returns."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = list[str]()
        server.asked.append(asked)
        server.writers.append(writer)
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            method, path = head.split(" ")[:2]
            if method == "POST":
                length = head.lower().partition("content-length: ")[2].split("\r\n")[0]
                await reader.readexactly(int(length or 0))
            asked.append(f"{method} {path.removeprefix('/api/1.0').partition('?')[0]}")
            writer.write(answer(server, asked[-1]))
            await writer.drain()

    async with listening(serve) as origin:
        server = Server(f"{origin}/api/1.0")
        yield server


def right(_: Server, line: str) -> bytes:
    """What was asked for."""
    return says(line.rpartition("/")[2])


def first_wrong(times: int) -> Callable[[Server, str], bytes]:
    """Job 6 at first, whatever was asked for."""
    return lambda server, line: says("6") if len(server.lines) <= times else right(server, line)


async def wait(client: AsanaClient) -> Job:
    """Wait for the job."""
    return await client.wait_for_job("5", timeout=60)


async def monitor(client: AsanaClient) -> Job:
    """Watch it among others."""
    async with client.monitor_jobs(["5"], timeout=60) as jobs:
        return [job async for job in jobs][-1]


async def get(client: AsanaClient) -> Job:
    """Read it once."""
    return await client.get_job("5")


@pytest.mark.parametrize("call", [wait, monitor, get])
async def test_a_job_that_was_not_asked_for_is_trouble_that_passes(
    call: Callable[[AsanaClient], "asyncio.Future[Job]"],
) -> None:
    """``GET /jobs/5`` answered with job 6, succeeded: it is asked again, each time over new connections."""
    async with serving(first_wrong(2)) as server, AsanaClient("t", base_url=server.base_url) as client:
        job = await call(client)

    assert (job.gid, job.status) == ("5", "succeeded")
    assert server.asked == [["GET /jobs/5"]] * 3


async def test_a_job_that_was_not_asked_for_stays_an_error() -> None:
    """Whoever reads a job is told after the repetitions, and a check says that it saw nothing."""
    retry = RetryPolicy(attempts=3, initial=0.01)
    async with (
        serving(lambda _, __: says("6")) as server,
        AsanaClient("t", base_url=server.base_url, retry=retry) as client,
    ):
        with pytest.raises(
            TransportError, match=r"GET /jobs/5 was answered with job 6: the answer belongs to another"
        ) as caught:
            await client.get_job("5")
        assert len(server.lines) == 3
        found = await client.check_job("5")

    assert not found.done
    assert isinstance(found.error, TransportError)
    assert {(error.method, error.path, error.gid) for error in (caught.value, found.error)} == {
        ("GET", "/jobs/5", "5")
    }


async def test_a_wait_for_an_organization_export_compares_gids_too(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """What Asana keeps outside its jobs is told apart by its gid as well."""
    export = {"resource_type": "organization_export", "state": "finished"}
    transport.play({"gid": "6", **export}, {"gid": "5", **export})
    waiting = client.wait_for_job({"gid": "5", **export, "state": "started"})

    assert (await waiting).gid == "5"


async def test_a_stray_answer_on_an_idle_connection_is_nobodys() -> None:
    """An answer that lies in a kept-alive connection before anything is asked does not put the later ones off by one."""
    async with (
        serving(right) as server,
        AsanaClient("t", base_url=server.base_url) as client,
        client.with_token("other") as sibling,
    ):
        await client.get_job("4")
        server.writers[0].write(says("6"))
        await asyncio.sleep(0.05)

        jobs = [
            await sibling.get_job("5"),
            await client.get_job("7"),
            await sibling.wait_for_job("8", timeout=60),
        ]

    assert [job.gid for job in jobs] == ["5", "7", "8"]
    assert len(server.asked) >= 2


async def test_connections_that_are_handed_in_are_closed_after_each_request() -> None:
    """In somebody else's session what follows asks for the connection to be closed."""
    async with (
        serving(first_wrong(1)) as server,
        aiohttp.ClientSession() as session,
        AsanaClient("t", base_url=server.base_url, session=session) as client,
    ):
        assert (await client.wait_for_job("5", timeout=60)).gid == "5"
        assert not session.closed


# Starts.


async def test_a_start_answered_with_a_job_that_was_there_before_is_unknown() -> None:
    """A POST whose answer names a job that this client, or a sibling on its connections, knew before started another."""
    async with (
        serving(lambda server, line: says("6") if line.startswith("POST") else right(server, line)) as server,
        AsanaClient("t", base_url=server.base_url) as client,
        client.with_token("other") as sibling,
    ):
        await sibling.get_job("6")

        with pytest.raises(
            OutcomeUnknownError, match=r"answered with job 6, which was there before it was sent"
        ):
            await client.start(COPY)

    assert [line for line in server.lines if line.startswith("POST")] == ["POST /projects/12/duplicate"]


async def test_two_starts_answered_with_one_job_are_one_and_one_unknown() -> None:
    """Two operations do not make one job."""

    def six(*_: object) -> bytes:
        return says("6")

    async with serving(six) as server, AsanaClient("t", base_url=server.base_url) as client:
        assert (await client.start(COPY)).gid == "6"
        with pytest.raises(OutcomeUnknownError):
            await client.start(COPY)


async def test_a_job_that_somebody_sees_before_its_start_is_answered_is_its_job(clock: FakeClock) -> None:
    """What counts is what was seen before the POST was sent."""
    answered = asyncio.Event()

    async def answer(request: Request) -> Response:
        if request.method == "POST":
            await answered.wait()
        return Response(status=200, body=says("6").partition(b"\r\n\r\n")[2])

    transport = ScriptedTransport(answer)
    async with AsanaClient("t", transport=transport, clock=clock) as client:
        starting = asyncio.ensure_future(client.start(COPY))
        while not transport.requests:  # noqa: ASYNC110  # the transport has no event for it
            await asyncio.sleep(0)
        await client.get_job("6")
        answered.set()

        assert (await starting).gid == "6"


async def test_a_graph_export_is_the_same_job_for_the_same_subject_only(clock: FakeClock) -> None:
    """The job of a graph export may be there before; that of another operation's may not, and is asked for again."""
    transport = ScriptedTransport({"gid": "6", "status": "in_progress"}, clock=clock)
    async with AsanaClient("t", transport=transport, clock=clock, retry=RetryPolicy(jitter=0)) as client:
        await client.get_job("6")
        assert (await client.start(ExportGraph("12"))).gid == "6"
        assert (await client.start(ExportGraph("12"))).gid == "6"

        transport.play({"gid": "7", "status": "in_progress"})
        await client.start(ExportGraph("13"))
        transport.play({"gid": "7", "status": "in_progress"}, {"gid": "6", "status": "in_progress"})

        assert (await client.start(ExportGraph("12"))).gid == "6"


@pytest.mark.parametrize(
    "subtype", ["duplicate_task", "export_request", "graph_export_request", "instantiate_project"]
)
async def test_a_start_answered_with_a_job_of_another_kind_is_unknown(
    client: AsanaClient, transport: ScriptedTransport, subtype: str
) -> None:
    """A project is not copied by a job that says that it does something else."""
    transport.play({"gid": "6", "status": "in_progress", "resource_subtype": subtype})

    with pytest.raises(OutcomeUnknownError, match=f"job 6, a {subtype}"):
        await client.start(COPY)


@pytest.mark.parametrize("subtype", ["duplicate_project", None, "", "duplicate_project_v2"])
async def test_words_that_asana_may_add_say_nothing(
    client: AsanaClient, transport: ScriptedTransport, subtype: str | None
) -> None:
    """A kind of jobs that this version does not know is no reason to lose a job whose gid is there."""
    transport.play({"gid": "6", "status": "in_progress", "resource_subtype": subtype})

    assert (await client.start(COPY)).gid == "6"


def test_only_so_many_gids_are_remembered() -> None:
    """The oldest are forgotten."""
    seen = SeenGids()
    for number in range(MOST_SEEN_GIDS + 10):
        seen.note(str(number))

    assert not seen.before("9", seen.count, COPY)
    assert seen.before("10", seen.count, COPY)
    assert not seen.before("10", 10, COPY)


async def test_a_streak_of_strays_ends_a_wait_like_any_trouble(
    clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Trouble that lasts ends a wait with the error that says what it is."""
    transport.play({"gid": "6", "status": "succeeded"})
    async with AsanaClient(
        "t", transport=transport, clock=clock, poll=PollPolicy(give_up_after=30)
    ) as client:
        with pytest.raises(TransportError, match="belongs to another request"):
            await client.wait_for_job("5")
