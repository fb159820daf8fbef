import asyncio
import gc
import os
import random
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from simulator_session import bare_session
from yarl import URL

from asana_jobs.testing import (
    AsanaSimulator,
    Fault,
    Fixed,
    HiddenJob,
    HtmlPage,
    Latency,
    Lognormal,
    NewStatus,
    NotJson,
    RequestLog,
    Reset,
    SimulatorLimits,
    SlowDrip,
    Status,
    Truncated,
    UnknownFields,
    WrongContentType,
)


# pytest finds fixtures among a module's names.
session = bare_session


def others() -> set[asyncio.Task[Any]]:
    """Every task but the test's own."""
    return asyncio.all_tasks() - {asyncio.current_task()}


async def arrived(log: RequestLog, count: int) -> None:
    """Wait until so many requests are on record; on a busy machine virtual time may outrun the sockets."""
    while len(log) < count:  # noqa: ASYNC110 - a log has no event to wait for
        await asyncio.sleep(0.1)


def hello(url: str) -> bytes:
    """A GET request as bytes."""
    parts = URL(url)
    lines = [f"GET {parts.path} HTTP/1.1", f"Host: {parts.host}", "Authorization: Bearer x", "", ""]
    return "\r\n".join(lines).encode()


async def test_closes_while_handlers_sleep(session: aiohttp.ClientSession) -> None:
    """Leaving the simulator ends requests that would have taken for ever, and leaves no task."""
    before = others()
    async with AsanaSimulator() as simulator:
        simulator.fail_next(Latency(1e9), times=2)
        simulator.fail_next(SlowDrip(1e9), times=2)
        waiting = [asyncio.create_task(session.get(f"{simulator.base_url}/jobs/{n}")) for n in range(1, 5)]
        await arrived(simulator.requests, 4)
    assert others() - before <= set(waiting)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_closes_under_open_connections() -> None:
    """Connections that clients left open, read or not, do not outlive the simulator."""
    async with AsanaSimulator(export_lines=50_000) as simulator:
        simulator.add_job("1", ["succeeded"], kind="export_graph")
        idle = await _connect(simulator.origin)
        reader, writer = await _connect(simulator.origin)
        writer.write(hello(f"{simulator.base_url}/jobs/1"))
        answer = await reader.readuntil(b"}}}")
        link = URL(answer.split(b'"download_url":"')[1].split(b'"')[0].decode(), encoded=True)
        deaf = await _connect(str(link.origin()))
        # Megabytes are on their way to somebody who never reads them.
        deaf[1].write(f"GET {link.raw_path_qs} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await arrived(simulator.downloads, 1)
    for _, open_writer in (idle, (reader, writer), deaf):
        open_writer.close()
    gc.collect()
    # Any socket or transport left over is a ResourceWarning, which is an error here.
    assert simulator.jobs["1"].looks == 1


async def _connect(origin: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = URL(origin)
    return await asyncio.open_connection(parts.host, parts.port)


AGES = 1e6
FAULTS: list[Fault | None] = [
    None,
    Latency(AGES),
    Latency(after=AGES),
    SlowDrip(AGES),
    Status(503, effect=True),
    Reset(),
    Reset(effect=True),
    HtmlPage(),
    NotJson(),
    Truncated(),
    WrongContentType(),
    NewStatus(),
    UnknownFields(),
    HiddenJob(AGES),
]
HANG_UPS: list[Callable[[asyncio.StreamWriter], None]] = [
    lambda writer: writer.close(),
    lambda writer: writer.transport.abort(),
]
POST = b"""POST /api/1.0/projects/7/duplicate HTTP/1.1\r
Host: x\r
Authorization: Bearer x\r
Content-Type: application/json\r
Content-Length: 26\r
\r
{"data":{"name":"A copy"}}"""


def timers() -> list[asyncio.TimerHandle]:
    """What the loop is still to call at some time."""
    scheduled: list[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled")  # noqa: B009
    return [timer for timer in scheduled if not timer.cancelled()]


def open_files() -> set[str]:
    """The file descriptors of this process."""
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are enough


@pytest.mark.parametrize("hang_up", HANG_UPS, ids=["FIN", "RST"])
@pytest.mark.parametrize("latency", [0.0, 2 * AGES], ids=["at once", "slow"])
@pytest.mark.parametrize("fault", FAULTS, ids=repr)
async def test_nothing_is_left_of_requests_whose_client_hung_up(
    fault: Fault | None, latency: float, hang_up: Callable[[asyncio.StreamWriter], None]
) -> None:
    """Whatever a request was waiting for when its client went away ends with the simulator."""
    tasks, times, files = others(), timers(), open_files()
    async with AsanaSimulator(latency=latency) as simulator:
        if fault is not None:
            simulator.fail_next(fault)
        _, writer = await _connect(simulator.origin)
        writer.write(POST)
        await arrived(simulator.requests, 1)
        hang_up(writer)
        with suppress(ConnectionError):
            await writer.wait_closed()
        await asyncio.sleep(1)

    assert (others() - tasks, timers(), open_files()) == (set(), times, files)
    started = len(simulator.started)
    await asyncio.sleep(2 * AGES)
    assert len(simulator.started) == started


@pytest.mark.parametrize("sent", [0, 10, len(POST) - 10, len(POST)], ids=["0", "head", "body", "all"])
async def test_nothing_is_left_of_requests_that_were_not_read_to_their_end(sent: int) -> None:
    """A client that goes away while it sends, or in the moment in which the simulator closes, leaves nothing."""
    tasks, times, files = others(), timers(), open_files()
    for turns in range(8):
        async with AsanaSimulator(latency=AGES) as simulator:
            _, writer = await _connect(simulator.origin)
            writer.write(POST[:sent])
            for _ in range(turns):
                await asyncio.sleep(0)
            writer.transport.abort()
        for _ in range(2):
            await asyncio.sleep(0)

        assert (others() - tasks, timers(), open_files()) == (set(), times, files), turns


@pytest.mark.parametrize("fault", [None, SlowDrip(AGES), Latency(AGES), Latency(after=AGES)], ids=repr)
async def test_nothing_is_left_of_downloads_whose_reader_went_away(fault: Fault | None) -> None:
    """Megabytes on their way to somebody who went away end with the simulator."""
    tasks, times, files = others(), timers(), open_files()
    async with AsanaSimulator(export_lines=50_000) as simulator:
        simulator.add_job("1", ["succeeded"], kind="export_graph")
        link = await _link(simulator)
        if fault is not None:
            simulator.fail_next(fault, path="*")
        _, writer = await _connect(str(link.origin()))
        writer.write(f"GET {link.raw_path_qs} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await arrived(simulator.downloads, 1)
        await asyncio.sleep(1)
        writer.transport.abort()
        await asyncio.sleep(1)

    assert (others() - tasks, timers(), open_files()) == (set(), times, files)


async def test_nothing_is_left_of_an_oauth_request_whose_client_hung_up() -> None:
    """The token's endpoint is no exception."""
    tasks, times, files = others(), timers(), open_files()
    async with AsanaSimulator() as simulator:
        simulator.fail_next(Latency(AGES), path="/-/*")
        _, writer = await _connect(simulator.origin)
        writer.write(b"POST /-/oauth_token HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await arrived(simulator.token_requests, 1)
        writer.close()
        await asyncio.sleep(1)

    assert (others() - tasks, timers(), open_files()) == (set(), times, files)


LEFT_OUTSIDE_PYTEST = """
import asyncio, os
from asana_jobs.testing import AsanaSimulator, Latency, SlowDrip

async def hang_up(fault):
    async with AsanaSimulator() as simulator:
        simulator.fail_next(fault)
        host, port = simulator.origin.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /api/1.0/jobs/1 HTTP/1.1\\r\\nHost: x\\r\\nAuthorization: Bearer x\\r\\n\\r\\n")
        while not simulator.requests:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.01)
    print(len(asyncio.all_tasks()) - 1, len(os.listdir("/proc/self/fd")) - before)

async def main():
    global before
    before = len(os.listdir("/proc/self/fd"))
    for fault in (Latency(3600), Latency(after=3600), SlowDrip(3600)):
        await hang_up(fault)

asyncio.run(main())
"""


def test_nothing_is_left_outside_pytest() -> None:
    """On a loop with a real clock nothing is left behind either."""
    command = [sys.executable, "-W", "error", "-c", LEFT_OUTSIDE_PYTEST]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("0 0\n" * 3, "")


@pytest.mark.parametrize("hang_up", HANG_UPS, ids=["FIN", "RST"])
@pytest.mark.parametrize(
    ("fault", "latency"), [(Latency(5), 0.0), (Latency(5, after=60), 0.0), (None, 10.0), (Latency(2), 6.0)]
)
async def test_a_job_starts_when_it_was_to_start_although_its_client_hung_up(
    fault: Fault | None, latency: float, hang_up: Callable[[asyncio.StreamWriter], None]
) -> None:
    """A request that arrived takes effect in its moment, whether or not anybody is left to hear of it."""
    async with AsanaSimulator(latency=latency, durations=Fixed(3)) as simulator:
        if fault is not None:
            simulator.fail_next(fault)
        _, writer = await _connect(simulator.origin)
        writer.write(POST)
        await arrived(simulator.requests, 1)
        hang_up(writer)

        await asyncio.sleep(4.8)
        assert simulator.started == []
        await asyncio.sleep(0.4)
        (job,) = simulator.started
        assert job.created == pytest.approx(5, abs=0.2)
        assert simulator.requests[0].started is None or simulator.requests[0].started == job.gid
        await asyncio.sleep(3)
        assert job.status == "succeeded"


async def _link(simulator: AsanaSimulator) -> URL:
    """The download link of the finished export 1."""
    reader, writer = await _connect(simulator.origin)
    writer.write(hello(f"{simulator.base_url}/jobs/1"))
    answer = await reader.readuntil(b"}}}")
    writer.close()
    return URL(answer.split(b'"download_url":"')[1].split(b'"')[0].decode(), encoded=True)


async def test_port_is_free_afterwards() -> None:
    """A port can be chosen, and taken again by the next simulator."""
    async with AsanaSimulator() as simulator:
        port = URL(simulator.base_url).port or 0
    for _ in range(2):
        async with AsanaSimulator(port=port) as simulator:
            assert simulator.base_url == f"http://127.0.0.1:{port}/api/1.0"


async def test_closes_while_it_refuses_connections() -> None:
    """A simulator that is away may be left for good."""
    before = others()
    async with AsanaSimulator() as simulator:
        await simulator.refuse_connections(1e9)
    assert others() == before


async def test_taken_port() -> None:
    """A port that is taken is an error that leaves nothing behind."""
    async with AsanaSimulator() as simulator:
        port = URL(simulator.base_url).port or 0
        with pytest.raises(OSError, match="in use"):
            await AsanaSimulator(port=port).__aenter__()


async def test_not_started() -> None:
    """A simulator that has not been started says so."""
    simulator = AsanaSimulator()
    assert "not started" in repr(simulator)
    with pytest.raises(RuntimeError, match="async with AsanaSimulator"):
        _ = simulator.base_url


async def test_jobs_added_before_the_start(session: aiohttp.ClientSession) -> None:
    """Jobs may be added before the simulator runs: they begin with it."""
    simulator = AsanaSimulator()
    simulator.add_job("1", [(0, "in_progress"), (5, "succeeded")])
    await asyncio.sleep(100)
    async with simulator, session.get(f"{simulator.base_url}/jobs/1") as response:
        assert (await response.json())["data"]["status"] == "in_progress"


async def test_request_log(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """The log holds every request with all a test may ask for, and no token."""
    body = {"data": {"name": "Copy"}}
    async with session.post(f"{simulator.base_url}/projects/7/duplicate?opt_fields=status", json=body):
        pass
    async with session.get(f"{simulator.base_url}/jobs/x", headers={"Authorization": "Bearer other"}):
        pass
    first, second = simulator.requests

    assert (first.method, first.path, first.query) == (
        "POST",
        "/projects/7/duplicate",
        {"opt_fields": "status"},
    )
    assert (first.body, first.status, first.started) == (body, 201, simulator.started[0].gid)
    assert first.headers["authorization"] == "Bearer ***"
    assert first.token is not None
    assert second.token not in {None, first.token}
    assert simulator.requests.where(token="test-token")[0] is first
    assert list(simulator.requests.where(method="get", path="/jobs/*", status=400)) == [second]
    assert simulator.requests[1:][0] is second
    assert repr(simulator.requests) == "<RequestLog: 2 requests: 1 x 201, 1 x 400>"
    everything = f"{simulator!r}{simulator.requests}{first!r}{simulator.jobs}"
    assert "test-token" not in everything


async def test_repr(simulator: AsanaSimulator) -> None:
    """The simulator says where it is and how much it has seen."""
    assert repr(simulator) == f"<AsanaSimulator {simulator.origin}: 0 jobs, 0 requests>"


async def _watch(session: aiohttp.ClientSession, url: str, pauses: random.Random) -> None:
    while True:
        async with session.get(url) as response:
            if response.status == 200 and (await response.json())["data"]["status"] == "succeeded":
                return
        await asyncio.sleep(pauses.uniform(100, 300))


async def _hour(seed: int) -> list[str]:
    """The request log of 500 jobs that are watched for most of an hour of virtual time."""
    limits = SimulatorLimits(requests_per_minute=1500, model="B")
    duration = Lognormal(1500, spread=0.3)
    async with (
        AsanaSimulator(seed=seed, durations=duration, limits=limits) as simulator,
        aiohttp.ClientSession(
            headers={"Authorization": "Bearer x"}, connector=aiohttp.TCPConnector(limit=40)
        ) as session,
    ):
        loop = asyncio.get_running_loop()
        began = loop.time()
        simulator.fail_next(503, times=None, probability=0.02)
        async with asyncio.TaskGroup() as group:
            for number in range(500):
                url = f"{simulator.base_url}/jobs/{number + 1}"
                pauses = random.Random(f"{seed}/{number}")  # noqa: S311 - no secrets
                group.create_task(_watch(session, url, pauses))
        assert loop.time() - began > 3000
        return [f"{record.path} {record.status}" for record in simulator.requests]


# Fewer idle turns of the loop before time moves: thousands of moments pass here.
@pytest.mark.long
@pytest.mark.looptime(noop_cycles=20)
async def test_an_hour_of_virtual_time() -> None:
    """Five hundred watched jobs over real sockets cost seconds, and give the same log every time."""
    first, second = await _hour(5), await _hour(5)

    assert len(first) > 3_000
    assert first == second
