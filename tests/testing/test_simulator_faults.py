import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
from simulator_session import bare_session
from yarl import URL

from asana_jobs.testing import (
    AsanaSimulator,
    HiddenJob,
    HtmlPage,
    Latency,
    NewStatus,
    NotJson,
    Reset,
    SlowDrip,
    Status,
    Truncated,
    UnknownFields,
    WrongContentType,
)


# pytest finds fixtures among a module's names.
session = bare_session


COPY = {"data": {"name": "Copy"}}


async def statuses(session: aiohttp.ClientSession, url: str, count: int) -> list[int]:
    """The statuses of so many reads, one after the other."""
    seen: list[int] = []
    for _ in range(count):
        async with session.get(url) as response:
            seen.append(response.status)
    return seen


async def test_status_by_count(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A status fault strikes as often as it was told to, with the API's body and header."""
    simulator.fail_next(429, retry_after=2, times=2)
    url = f"{simulator.base_url}/jobs/1"
    async with session.get(url) as response:
        error = (await response.json())["errors"][0]
        assert response.headers["Retry-After"] == "2"
        assert error["message"].startswith("You've made too many requests")

    assert response.status == 429
    assert await statuses(session, url, 2) == [429, 200]


async def test_status_with_date(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """`Retry-After` may be a date."""
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=90)
    simulator.fail_next(503, retry_after=later)
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        assert response.status == 503
        assert parsedate_to_datetime(response.headers["Retry-After"]) == later


async def test_phrase_on_500_only(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A 500 carries a phrase for the support, other errors do not."""
    simulator.fail_next(500)
    simulator.fail_next(503)
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        error = (await response.json())["errors"][0]
        assert error["message"] == "Server Error"
        assert len(error["phrase"].split()) == 5
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        assert "phrase" not in (await response.json())["errors"][0]


async def test_status_after_the_effect(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A 504 may hide a job that was started all the same."""
    simulator.fail_next(Status(504, effect=True))
    async with session.post(f"{simulator.base_url}/projects/1/duplicate", json=COPY) as response:
        assert response.status == 504

    assert len(simulator.started) == 1
    assert simulator.requests[0].started == simulator.started[0].gid


@pytest.mark.parametrize(("effect", "started"), [(False, 0), (True, 1)])
async def test_reset(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, effect: bool, started: int
) -> None:
    """A reset is a real one, before or after the job was started."""
    simulator.fail_next(Reset(effect=effect))
    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await session.post(f"{simulator.base_url}/projects/1/duplicate", json=COPY)

    assert len(simulator.started) == started
    assert simulator.requests[0].status is None


async def test_latency_before_and_after(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A request may be late to take effect, and its answer later still."""
    loop = asyncio.get_running_loop()
    simulator.fail_next(Latency(5, after=7))
    began = loop.time()
    async with session.post(f"{simulator.base_url}/projects/1/duplicate", json=COPY) as response:
        assert response.status == 201

    assert loop.time() - began == pytest.approx(12, abs=0.1)
    assert simulator.started[0].created == pytest.approx(5, abs=0.1)


async def test_client_timeout_during_latency(
    simulator: AsanaSimulator, session: aiohttp.ClientSession
) -> None:
    """A client that gives up does not undo what it asked for."""
    simulator.fail_next(Latency(after=60))
    with pytest.raises(TimeoutError):
        await session.post(
            f"{simulator.base_url}/projects/1/duplicate", json=COPY, timeout=aiohttp.ClientTimeout(total=5)
        )

    assert len(simulator.started) == 1


async def test_html_page(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A gateway answers with a page instead of JSON."""
    simulator.fail_next(HtmlPage(502))
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        assert (response.status, response.content_type) == (502, "text/html")
        assert "502 Bad Gateway" in await response.text()


async def test_not_json(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A body that claims to be JSON may not be."""
    simulator.fail_next(NotJson())
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        with pytest.raises(ValueError):
            await response.json()


async def test_truncated(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A body may end before its announced length."""
    simulator.fail_next(Truncated())
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_slow_drip(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A body may come in small pieces with pauses."""
    loop = asyncio.get_running_loop()
    simulator.fail_next(SlowDrip(1.0, piece=50))
    began = loop.time()
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        body = await response.read()

    assert loop.time() - began == pytest.approx(-(-len(body) // 50), abs=0.1)


@pytest.mark.parametrize("origin", ["api", "file"])
async def test_a_client_that_goes_away_is_no_error(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, origin: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer whose reader has gone in the middle of it ends without a complaint in the log."""
    simulator.add_job("1203", ["succeeded"], kind="export_graph")
    async with session.get(f"{simulator.base_url}/jobs/1203") as response:
        link = (await response.json())["data"]["new_graph_export"]["download_url"]
    simulator.fail_next(SlowDrip(1.0, piece=20), path="*")
    url = URL(f"{simulator.base_url}/jobs/1203" if origin == "api" else link, encoded=True)
    async with aiohttp.ClientSession(headers=session.headers if origin == "api" else None) as reader:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3), reader.get(url) as response:
                await response.read()
        await asyncio.sleep(600)

    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_wrong_content_type(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """The right body may come under the wrong type."""
    simulator.fail_next(WrongContentType("text/plain"))
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        assert response.content_type == "text/plain"
        assert (await response.json(content_type=None))["data"]["gid"] == "1"


async def test_new_status(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A job may be in a state nobody has heard of."""
    simulator.fail_next(NewStatus("paused"))
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        assert (await response.json())["data"]["status"] == "paused"


async def test_unknown_fields(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A job may have fields nobody has heard of."""
    simulator.fail_next(UnknownFields({"mood": "good"}))
    async with session.get(f"{simulator.base_url}/jobs/1") as response:
        assert (await response.json())["data"]["mood"] == "good"


async def test_hidden_job(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A job just started may be a 404 for a while."""
    simulator.fail_next(HiddenJob(3.0))
    async with session.post(f"{simulator.base_url}/projects/1/duplicate", json=COPY) as response:
        url = f"{simulator.base_url}/jobs/{(await response.json())['data']['gid']}"

    assert await statuses(session, url, 1) == [404]
    await asyncio.sleep(3.1)
    assert await statuses(session, url, 1) == [200]


async def test_refused_connections(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """The server may be gone for a while, and come back on the same port."""
    url = f"{simulator.base_url}/jobs/1"
    assert await statuses(session, url, 1) == [200]
    await simulator.refuse_connections(30)
    with pytest.raises(aiohttp.ClientConnectorError):
        await session.get(url)
    await asyncio.sleep(31)
    assert await statuses(session, url, 1) == [200]


async def test_clock_skew(session: aiohttp.ClientSession) -> None:
    """The server's calendar may be wrong."""
    async with (
        AsanaSimulator(clock_skew=3600) as simulator,
        session.get(f"{simulator.base_url}/jobs/1") as response,
    ):
        date = parsedate_to_datetime(response.headers["Date"])

    # The calendar starts as the machine's: this test compares with that.
    assert date.timestamp() - time.time() == pytest.approx(3600, abs=120)


async def test_expired_token(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A token may end in the middle of the work."""
    url = f"{simulator.base_url}/jobs/1"
    assert await statuses(session, url, 1) == [200]
    simulator.expire_token("test-token")
    assert await statuses(session, url, 1) == [401]


async def test_fault_for_a_path_and_method(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A fault may be meant for some paths and one method only."""
    simulator.fail_next(500, path="/jobs/2")
    simulator.fail_next(503, method="POST")

    assert await statuses(session, f"{simulator.base_url}/jobs/1", 1) == [200]
    assert await statuses(session, f"{simulator.base_url}/jobs/2", 2) == [500, 200]
    async with session.post(f"{simulator.base_url}/tasks/1/rollup") as response:
        assert response.status == 503


async def test_fault_by_predicate(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A fault may be meant for requests a function says yes to."""
    rule = simulator.fail_next(500, times=None, when=lambda record: record.number % 2 == 1)

    assert await statuses(session, f"{simulator.base_url}/jobs/1", 4) == [200, 500, 200, 500]
    assert rule.applied == 2
    simulator.heal()
    assert await statuses(session, f"{simulator.base_url}/jobs/1", 2) == [200, 200]


async def test_fault_at_random(session: aiohttp.ClientSession) -> None:
    """A fault may strike at random, the same way for the same seed."""
    runs: list[Any] = []
    for seed in (1, 1, 2):
        async with AsanaSimulator(seed=seed) as simulator:
            simulator.fail_next(500, times=None, probability=0.3)
            runs.append(await statuses(session, f"{simulator.base_url}/jobs/1", 60))

    assert runs[0] == runs[1] != runs[2]
    assert 5 < runs[0].count(500) < 35
