import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import aiohttp
import pytest
from simulator_session import bare_session

from asana_jobs.testing import AsanaSimulator, SimulatorLimits, Stuck


# pytest finds fixtures among a module's names.
session = bare_session


async def status_of(session: aiohttp.ClientSession, url: str, method: str = "GET") -> int:
    """The status of one request."""
    async with session.request(method, url) as response:
        return response.status


async def burst(session: aiohttp.ClientSession, url: str, count: int, method: str = "GET") -> list[int]:
    """The statuses of so many requests at once."""
    return await asyncio.gather(*(status_of(session, url, method) for _ in range(count)))


async def series(session: aiohttp.ClientSession, url: str, count: int) -> list[int]:
    """The statuses of so many requests one after the other."""
    return [await status_of(session, url) for _ in range(count)]


async def test_reads_in_flight(session: aiohttp.ClientSession) -> None:
    """The fifty-first GET in flight is a 429."""
    async with AsanaSimulator(latency=1.0) as simulator:
        statuses = await burst(session, f"{simulator.base_url}/jobs/1", 53)

        assert statuses.count(429) == simulator.rejected == 3
        assert simulator.peak_reads_in_flight == 50
        assert await burst(session, f"{simulator.base_url}/jobs/1", 50) == [200] * 50


async def test_writes_in_flight(session: aiohttp.ClientSession) -> None:
    """The sixteenth writing request in flight is a 429; reads do not count."""
    limits = SimulatorLimits(jobs_running=None)
    async with AsanaSimulator(latency=1.0, limits=limits) as simulator:
        reads, writes = await asyncio.gather(
            burst(session, f"{simulator.base_url}/jobs/1", 30),
            burst(session, f"{simulator.base_url}/tasks/1/rollup", 20, "POST"),
        )

    assert reads.count(429) == 0
    assert writes.count(429) == 5
    assert simulator.peak_writes_in_flight == 15


async def test_jobs_running(session: aiohttp.ClientSession) -> None:
    """A sixth running job is a 429, until one has ended."""
    async with AsanaSimulator(durations=10) as simulator:
        url = f"{simulator.base_url}/tasks/1/rollup"
        assert [await status_of(session, url, "POST") for _ in range(6)] == [201] * 5 + [429]
        async with session.post(url) as response:
            assert 9 <= int(response.headers["Retry-After"]) <= 10
        await asyncio.sleep(11)
        assert await status_of(session, url, "POST") == 201
        assert simulator.peak_jobs_running == 5
        assert len(simulator.started) == 6


async def test_jobs_of_other_users_do_not_count(session: aiohttp.ClientSession) -> None:
    """Every user has five jobs."""
    async with AsanaSimulator(durations=Stuck()) as simulator:
        url = f"{simulator.base_url}/tasks/1/rollup"
        assert await burst(session, url, 5, "POST") == [201] * 5
        async with session.post(url, headers={"Authorization": "Bearer another"}) as response:
            assert response.status == 201


async def test_sliding_minute(session: aiohttp.ClientSession) -> None:
    """Model A: a minute's worth at once, then nothing for a minute; rejected requests count too."""
    limits = SimulatorLimits(requests_per_minute=20, model="A")
    async with AsanaSimulator(limits=limits) as simulator:
        url = f"{simulator.base_url}/jobs/1"
        assert (await series(session, url, 22)).count(429) == 2
        await asyncio.sleep(30)
        assert await status_of(session, url) == 429
        await asyncio.sleep(31)
        # The rejected one of half a minute ago takes one place of the new minute.
        assert (await series(session, url, 20)).count(429) == 1
        assert simulator.rejected == 4
        assert simulator.busiest_minute == 23


async def test_bucket_with_free_rejects(session: aiohttp.ClientSession) -> None:
    """Model B: fifteen seconds' worth at once, then as fast as the bucket fills."""
    async with AsanaSimulator(limits=SimulatorLimits(requests_per_minute=60, model="B")) as simulator:
        url = f"{simulator.base_url}/jobs/1"
        assert (await series(session, url, 40)).count(200) == 15
        await asyncio.sleep(5.1)
        assert (await series(session, url, 10)).count(200) == 5


async def test_bucket_with_charged_rejects(session: aiohttp.ClientSession) -> None:
    """Model C: rejected requests are charged, down to thirty seconds of debt."""
    async with AsanaSimulator(limits=SimulatorLimits(requests_per_minute=60, model="C")) as simulator:
        url = f"{simulator.base_url}/jobs/1"
        assert (await series(session, url, 100)).count(200) == 15
        async with session.get(url) as response:
            assert int(response.headers["Retry-After"]) == 31
        await asyncio.sleep(31.1)
        assert await status_of(session, url) == 200


@pytest.mark.parametrize("model", ["A", "B", "C"])
async def test_retry_after_is_enough(session: aiohttp.ClientSession, model: str) -> None:
    """Who waits as long as `Retry-After` says gets in."""
    limits = SimulatorLimits(requests_per_minute=30, model=model)  # type: ignore[arg-type]  # parametrized
    async with AsanaSimulator(limits=limits) as simulator:
        url = f"{simulator.base_url}/jobs/1"
        while True:
            async with session.get(url) as response:
                if response.status == 429:
                    break
        await asyncio.sleep(int(response.headers["Retry-After"]))
        assert await status_of(session, url) == 200


async def test_tokens_are_independent(session: aiohttp.ClientSession) -> None:
    """Every token has a quota of its own."""
    async with AsanaSimulator(limits=SimulatorLimits(requests_per_minute=5)) as simulator:
        url = f"{simulator.base_url}/jobs/1"
        assert (await series(session, url, 6)).count(429) == 1
        async with session.get(url, headers={"Authorization": "Bearer another"}) as response:
            assert response.status == 200


async def test_retry_after_as_date(session: aiohttp.ClientSession) -> None:
    """`Retry-After` may come as a date, on the server's calendar."""
    start = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
    limits = SimulatorLimits(requests_per_minute=1, retry_after="date")
    async with AsanaSimulator(limits=limits, calendar_start=start) as simulator:
        await series(session, f"{simulator.base_url}/jobs/1", 1)
        async with session.get(f"{simulator.base_url}/jobs/1") as response:
            date = parsedate_to_datetime(response.headers["Retry-After"])

    assert timedelta(seconds=60) <= date - start <= timedelta(seconds=122)


async def test_retry_after_missing(session: aiohttp.ClientSession) -> None:
    """`Retry-After` may be missing."""
    limits = SimulatorLimits(requests_per_minute=1, retry_after="missing")
    async with AsanaSimulator(limits=limits) as simulator:
        await series(session, f"{simulator.base_url}/jobs/1", 1)
        async with session.get(f"{simulator.base_url}/jobs/1") as response:
            assert response.status == 429
            assert "Retry-After" not in response.headers


def test_limits_are_checked() -> None:
    """Limits that make no sense are refused."""
    with pytest.raises(ValueError, match="requests_per_minute must be more than 0"):
        SimulatorLimits(requests_per_minute=0)
    with pytest.raises(ValueError, match="model must be one of A, B, C, not 'D'"):
        SimulatorLimits(model="D")  # type: ignore[arg-type]  # what a user without a type checker may do
