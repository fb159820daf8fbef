"""What the worker's tests start from: a Redis, and a name for a budget that nobody else uses."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from redis_process import RedisProcess, require_redis


#: Read before the tests' environment is emptied.
GIVEN = os.environ.get("ASANA_JOBS_TEST_REDIS")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Redis that the environment names, or one of our own."""
    if GIVEN:
        yield GIVEN
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
