"""`asana_jobs.wait_for_job`: a wait without a client at hand, which leaves nothing open."""

import asyncio
import gc
import threading
from collections.abc import Iterator

import pytest
from asgiref.sync import async_to_sync
from tenacity import wait_fixed

import asana_jobs
from asana_jobs import Job, JobWaiter
from asana_jobs._client.http.transport import AiohttpTransport
from asana_jobs.errors import JobTimeoutError, PermissionDeniedError, TokenError
from asana_jobs.testing import AsanaSimulator, Latency


class Elsewhere(threading.Thread):
    """A simulator in a thread of its own, for what brings its own event loop."""

    def __init__(self) -> None:
        super().__init__()
        self.base_url = ""
        self.ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()

    def run(self) -> None:
        """Serve until told to stop."""
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with AsanaSimulator() as simulator:
            simulator.add_job("1203", ["succeeded"])
            simulator.add_job("1204", ["in_progress"])
            simulator.fail_next(403, path="/jobs/1205", times=None)
            self.base_url = simulator.base_url
            self.ready.set()
            await self._over.wait()

    def stop(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(300)


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    """A server in another thread, to which the environment points."""
    server = Elsewhere()
    server.start()
    assert server.ready.wait(300)
    monkeypatch.setenv("ASANA_BASE_URL", server.base_url)
    monkeypatch.setenv("ASANA_ACCESS_TOKEN", "test-token")
    yield server
    server.stop()


@pytest.fixture
def here(simulator: AsanaSimulator, monkeypatch: pytest.MonkeyPatch) -> AsanaSimulator:
    """A simulator in this loop, to which the environment points."""
    monkeypatch.setenv("ASANA_BASE_URL", simulator.base_url)
    monkeypatch.setenv("ASANA_ACCESS_TOKEN", "test-token")
    return simulator


def session_of(waiter: JobWaiter) -> object:
    """The aiohttp session that a waiter holds, if it holds one."""
    transport = waiter._subscription.poller.exchange.transport  # pyright: ignore[reportPrivateUsage]
    assert isinstance(transport, AiohttpTransport)
    return transport._own  # pyright: ignore[reportPrivateUsage]


# in a script


def test_in_a_script(elsewhere: Elsewhere) -> None:
    """`asyncio.run(wait_for_job(gid))` gives the finished job, and leaves nothing that warns."""
    job = asyncio.run(asana_jobs.wait_for_job("1203"))
    gc.collect()

    assert job.succeeded


def test_twice_in_a_script(elsewhere: Elsewhere) -> None:
    """Each call in a script stands alone, with an event loop of its own."""
    jobs = [asyncio.run(asana_jobs.wait_for_job("1203")) for _ in range(2)]
    gc.collect()

    assert [job.status for job in jobs] == ["succeeded"] * 2


def test_a_timeout_in_a_script(elsewhere: Elsewhere) -> None:
    """A wait that runs out of time leaves nothing that warns either."""
    with pytest.raises(JobTimeoutError):
        asyncio.run(asana_jobs.wait_for_job("1204", timeout=0))
    gc.collect()


def test_an_error_in_a_script(elsewhere: Elsewhere) -> None:
    """Nor does one that is refused."""
    with pytest.raises(PermissionDeniedError):
        asyncio.run(asana_jobs.wait_for_job("1205"))
    gc.collect()


def test_breaking_off_in_a_script(elsewhere: Elsewhere) -> None:
    """Nor does a loop that is left."""

    async def first() -> Job | None:
        async for job in asana_jobs.wait_for_job("1204"):
            return job
        return None

    job = asyncio.run(first())
    gc.collect()

    assert job is not None
    assert job.status == "in_progress"


def test_a_cancelled_wait_in_a_script(elsewhere: Elsewhere) -> None:
    """Nor does a wait that is cancelled."""

    async def hurry() -> None:
        async with asyncio.timeout(0.2):
            await asana_jobs.wait_for_job("1204")

    with pytest.raises(TimeoutError):
        asyncio.run(hurry())
    gc.collect()


def test_in_a_script_of_django(elsewhere: Elsewhere) -> None:
    """`async_to_sync`, where no loop runs, opens one for it, without a warning of its own or at the end."""
    job = async_to_sync(asana_jobs.wait_for_job)("1203")
    gc.collect()

    assert job.succeeded


# in an app


async def test_it_watches_to_the_end(here: AsanaSimulator) -> None:
    """It looks until the job has finished, under the token of the environment."""
    here.add_job("1203", ["not_started", "in_progress", "succeeded"])

    job = await asana_jobs.wait_for_job("1203", poll=wait_fixed(5))

    assert job.succeeded
    assert len(here.requests.where(token="test-token")) == 3


async def test_it_yields_states(here: AsanaSimulator) -> None:
    """Iterated, it yields the states between."""
    here.add_job("1203", ["not_started", "in_progress", "in_progress", "succeeded"])

    seen = [job.status async for job in asana_jobs.wait_for_job("1203")]

    assert seen == ["not_started", "in_progress", "succeeded"]


async def test_breaking_off_leaves_no_connection(here: AsanaSimulator) -> None:
    """Between two states no session is open, so that leaving the loop leaves nothing."""
    here.add_job("1203", ["not_started", "in_progress", "succeeded"])
    waiter = asana_jobs.wait_for_job("1203")

    async for _ in waiter:
        assert session_of(waiter) is None
        break


async def test_break_then_await(here: AsanaSimulator) -> None:
    """After break it goes on where it stopped, like any waiter, and closes again."""
    here.add_job("1203", ["not_started", "in_progress", "succeeded"])
    waiter = asana_jobs.wait_for_job("1203")
    async for _ in waiter:
        break

    job = await waiter

    assert job.succeeded
    assert len(here.requests) == 3
    assert session_of(waiter) is None


async def test_it_is_a_waiter(here: AsanaSimulator) -> None:
    """It is the same kind of waiter that a client gives."""
    waiter = asana_jobs.wait_for_job("1203")

    assert isinstance(waiter, JobWaiter)
    assert isinstance(await asyncio.create_task(waiter), Job)


async def test_a_token_can_be_given(here: AsanaSimulator) -> None:
    """Token and base URL can be given instead of set in the environment."""
    here.add_job("1203", ["succeeded"])

    await asana_jobs.wait_for_job("1203", token="other-token", base_url=here.base_url)

    assert len(here.requests.where(token="other-token")) == 1


async def test_its_deadline(here: AsanaSimulator) -> None:
    """It takes a timeout like any waiter."""
    here.add_job("1203", ["in_progress"])

    with pytest.raises(JobTimeoutError):
        await asana_jobs.wait_for_job("1203", timeout=20)

    assert asyncio.get_running_loop().time() == pytest.approx(20, abs=0.2)


async def test_a_deadline_leaves_no_task(here: AsanaSimulator) -> None:
    """After its deadline nothing of it runs on."""
    here.add_job("1203", ["in_progress"])
    before = asyncio.all_tasks()

    with pytest.raises(JobTimeoutError):
        await asana_jobs.wait_for_job("1203", timeout=200)
    await asyncio.sleep(0.01)

    assert {task for task in asyncio.all_tasks() if "Dispatcher" in repr(task)} == set()
    assert before <= asyncio.all_tasks()


def test_no_token_says_so_at_once() -> None:
    """Without a token the call itself is a TokenError."""
    with pytest.raises(TokenError, match="no access token"):
        asana_jobs.wait_for_job("1203")


def test_wrong_arguments_say_so_at_once() -> None:
    """A wrong argument is a ValueError of the call itself."""
    with pytest.raises(ValueError, match="gid"):
        asana_jobs.wait_for_job("abc", token="test-token")
    with pytest.raises(ValueError, match="timeout"):
        asana_jobs.wait_for_job("1203", token="test-token", timeout=-1)


async def test_dropped_unused_warns() -> None:
    """A wait that was made and forgotten gives a RuntimeWarning."""
    with pytest.warns(RuntimeWarning, match="was never awaited"):
        asana_jobs.wait_for_job("1203", token="test-token")


async def test_a_second_task_does_not_disturb_the_first(simulator: AsanaSimulator) -> None:
    """Whoever uses a wait that another task uses is told so, and the other one's connections stay."""
    simulator.add_job("1203", ["in_progress", "succeeded"])
    simulator.fail_next(Latency(2), times=None)
    waiter = asana_jobs.wait_for_job("1203", token="test-token", base_url=simulator.base_url)

    async def use() -> Job:
        return await waiter

    first = asyncio.create_task(use())
    await asyncio.sleep(1)
    with pytest.raises(RuntimeError, match="two tasks use one waiter"):
        await use()

    assert (await first).succeeded
    assert len(simulator.requests) == 2
