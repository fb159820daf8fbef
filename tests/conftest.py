"""What most tests start from: a clock that jumps, a scripted server, the simulator, and clients for them."""

import asyncio
import gc
import inspect
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis_process import RedisProcess, require_redis

from asana_jobs import AsanaClient, PollPolicy, RateLimits, RetryPolicy
from asana_jobs.testing import AsanaSimulator
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


def pytest_configure() -> None:
    """Keep looptime's plugin from making an event loop that nobody closes, when a sync test comes first."""
    asyncio.set_event_loop(None)


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The log of one test: what the tasks that others have left behind have to say is said before it."""
    gc.collect()
    return caplog


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run what the command line names in this process, without waiting for others to start; all else in parallel.

    There is a process more than there are processors, since tests of other programs wait for these.
    """
    return 0 if config.args_source is pytest.Config.ArgsSource.ARGS else (os.cpu_count() or 1) + 1


#: The Redis that the environment names, read before the tests' environment is emptied.
GIVEN_REDIS = os.environ.get("ASANA_JOBS_TEST_REDIS")
#: Turns of the loop that connections and servers may take to go away once they were closed.
TURNS_TO_CLOSE = 25


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the tokens, proxies and certificates of whoever runs it."""
    for name in list(os.environ):
        if name.startswith(("ASANA_", "SSL_CERT_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _tidy(request: pytest.FixtureRequest) -> None:
    """Every async test leaves no task behind."""
    function = getattr(request, "function", None)
    if inspect.iscoroutinefunction(function):
        request.getfixturevalue("_no_task_left")


@pytest.fixture
async def _no_task_left() -> AsyncIterator[None]:
    yield
    left: set[asyncio.Task[object]] = set()
    for _ in range(TURNS_TO_CLOSE):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return
        await asyncio.sleep(0)
    pytest.fail(f"tasks left behind: {left}")


@pytest.fixture
def clock() -> FakeClock:
    """Virtual time that jumps whenever everybody waits."""
    return FakeClock()


@pytest.fixture
def transport(clock: FakeClock) -> ScriptedTransport:
    """A server without a socket; tell it what to `play`."""
    return ScriptedTransport(clock=clock)


@pytest.fixture
async def client(clock: FakeClock, transport: ScriptedTransport) -> AsyncIterator[AsanaClient]:
    """A client of `transport` on `clock`, without jitter, and with room enough to show its own schedule."""
    async with AsanaClient(
        "test-token",
        transport=transport,
        clock=clock,
        limits=RateLimits.paid(),
        poll=PollPolicy(),
        retry=RetryPolicy(jitter=0),
    ) as client:
        yield client


@pytest.fixture
async def simulator() -> AsyncIterator[AsanaSimulator]:
    """A local Asana over real HTTP, in the test's own loop."""
    async with AsanaSimulator() as simulator:
        yield simulator


@pytest.fixture
async def wired(simulator: AsanaSimulator) -> AsyncIterator[AsanaClient]:
    """A client of `simulator`, without jitter."""
    async with AsanaClient(
        "test-token",
        base_url=simulator.base_url,
        poll=PollPolicy(),
        retry=RetryPolicy(jitter=0),
    ) as client:
        yield client


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Redis that the environment names, or one of our own."""
    if GIVEN_REDIS:
        yield GIVEN_REDIS
        return
    require_redis()
    server = RedisProcess(tmp_path_factory.mktemp("redis")).start()
    yield server.url
    server.stop()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis that a test may do anything to."""
    require_redis()
    server = RedisProcess(tmp_path / "redis").start()
    yield server
    server.stop()


@pytest.fixture
def budget() -> str:
    """The name of a budget that no other test uses."""
    return f"test-{uuid4().hex}"
