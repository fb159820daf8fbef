import asyncio
import gc
import random
from typing import Any

import aiohttp
import pytest
from simulator_session import bare_session
from yarl import URL

from asana_jobs.testing import AsanaSimulator, Latency, Lognormal, RequestLog, SimulatorLimits, SlowDrip


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
@pytest.mark.looptime(noop_cycles=20)
async def test_an_hour_of_virtual_time() -> None:
    """Five hundred watched jobs over real sockets cost seconds, and give the same log every time."""
    first, second = await _hour(5), await _hour(5)

    assert len(first) > 3_000
    assert first == second
