"""Nothing waits for the garbage collector: a process that watches many jobs may switch it off."""

import asyncio
import gc
from collections import Counter
from collections.abc import Iterator

import pytest

from asana_jobs import AsanaClient, RateLimits
from asana_jobs._client.http.protocol import Request
from asana_jobs.testing import ScriptedTransport
from asana_jobs.testing._fake_clock import FakeClock


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No automatic garbage collection."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def each(*answers: str | int) -> ScriptedTransport:
    """Play the same answers to each job."""
    looks = Counter[str | None]()

    def answer(request: Request) -> str | int:
        looks[request.gid] += 1
        return answers[min(looks[request.gid], len(answers)) - 1]

    return ScriptedTransport(answer)


async def garbage_of(transport: ScriptedTransport) -> int:
    """Wait for fifty jobs, and return how many objects only a garbage collector would find."""
    async with AsanaClient(
        "test-token", transport=transport, clock=FakeClock(), limits=RateLimits(requests_per_minute=60_000)
    ) as client:
        for first in "12":
            gc.collect()  # what is left behind once and for all
            waits = (client.wait_for_job(f"{first}{number}") for number in range(50))
            await asyncio.gather(*waits, return_exceptions=True)
            del waits
        return gc.collect()


@pytest.mark.usefixtures("uncollected")
async def test_a_wait_leaves_no_garbage() -> None:
    """Waits, their looks and their answers are freed as soon as they are over."""
    assert await garbage_of(each("not_started", *["in_progress"] * 20, "succeeded")) == 0


@pytest.mark.usefixtures("uncollected")
async def test_trouble_leaves_no_garbage() -> None:
    """Nor do errors that are looked past, with the tracebacks they bring."""
    assert await garbage_of(each("in_progress", 503, "in_progress", 404, 500, "failed")) == 0


@pytest.mark.usefixtures("uncollected")
async def test_a_wait_that_ends_in_an_error_leaves_no_garbage() -> None:
    """What is raised holds on to nothing that holds on to it."""
    assert await garbage_of(each("in_progress", 403)) == 0
