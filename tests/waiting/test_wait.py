"""One wait: its clock, its steps, its continuation token, its statistics."""

import json
from datetime import UTC, datetime

import pytest
from tenacity import wait_fixed

from asana_jobs import AsanaClient, Job
from asana_jobs._client.waiting.wait import Wait
from asana_jobs._client.waiting.waiter import make_wait
from asana_jobs.errors import ServerError
from asana_jobs.policies import PollPolicy
from asana_jobs.testing import FakeClock, ScriptedTransport


POLICY = PollPolicy()


def wait_of(client: AsanaClient, *, timeout: float | None = None) -> Wait:
    """Return a wait for job 1203."""
    return make_wait(client._poller, POLICY, "1203", timeout=timeout)  # pyright: ignore[reportPrivateUsage]


async def test_the_clock_of_a_wait_starts_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Seconds before the first use do not count, and a wait that is begun again does not begin anew."""
    transport.play("in_progress", "succeeded")
    wait = wait_of(client)
    await clock.sleep(50)
    await wait.begin()
    await clock.sleep(7)

    await wait.begin()

    assert wait.statistics.waited == 7
    assert transport.requests == []


async def test_a_step_looks_at_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A step does not wait for its turn, and says in how many seconds the next look is due."""
    transport.play("in_progress")
    wait = wait_of(client)
    await wait.begin()
    before = clock.monotonic()

    assert await wait.step() is None
    assert clock.monotonic() == before
    assert not wait.done
    assert wait.retry_in() == pytest.approx(POLICY.initial, abs=0.5)


async def test_a_step_returns_trouble_that_may_pass(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A 500 is returned, not raised, and the next look is due the later the longer the streak."""
    transport.play(500)
    wait = wait_of(client)
    await wait.begin()

    first, gap = await wait.step(), wait.retry_in()
    second, longer = await wait.step(), wait.retry_in()

    assert isinstance(first, ServerError)
    assert isinstance(second, ServerError)
    assert longer == 2 * gap > 0


async def test_a_token_carries_what_was_seen(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A continuation token has the gid, the looks and the status; unused, that of a wait has the gid alone."""
    transport.play("in_progress")
    wait = wait_of(client)
    unused = json.loads(wait.token())
    await wait.begin()
    await wait.step()

    used = json.loads(wait.token())

    assert (unused["gid"], unused["looks"], unused["status"]) == ("1203", 0, None)
    assert (used["gid"], used["looks"], used["status"]) == ("1203", 1, "in_progress")


async def test_a_streak_of_trouble_is_in_the_token(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A continuation token says since when nothing was answered, and an answer ends that."""
    transport.play(500, "in_progress")
    wait = wait_of(client)
    await wait.begin()
    start = clock.now()
    await wait.step()
    troubled = json.loads(wait.token())
    await wait.step()

    assert datetime.fromisoformat(troubled["trouble_since"]) == start
    assert json.loads(wait.token())["trouble_since"] is None


# Statistics.


async def test_statistics(client: AsanaClient, clock: FakeClock, transport: ScriptedTransport) -> None:
    """The statistics say how many looks, how long, and between which moments the job finished."""
    transport.play("in_progress", "in_progress", "succeeded")
    waiter = client.wait_for_job("1203", poll=wait_fixed(10))
    start = clock.now()
    await waiter
    await clock.sleep(100)

    statistics = waiter.statistics

    assert (statistics.looks, statistics.waited) == (3, 20)
    assert statistics.finished_after is not None
    assert statistics.finished_before is not None
    assert (statistics.finished_after - start).total_seconds() == pytest.approx(10)
    assert (statistics.finished_before - start).total_seconds() == pytest.approx(20)
    assert statistics.lag_bound == pytest.approx(10)


async def test_statistics_of_a_job_finished_at_the_first_look(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """What was waited does not grow any more once the job has finished."""
    transport.play("succeeded")
    waiter = client.wait_for_job("1203")
    await waiter
    await clock.sleep(100)

    assert waiter.statistics.waited == 0


async def test_statistics_of_a_job_started_here(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A job that its start showed running is known to have finished after that, though no look saw it running."""
    transport.play("in_progress", "succeeded")
    job = await client.duplicate_project("77", name="Q3")
    waiter = client.wait_for_job(job)

    await waiter

    assert waiter.statistics.looks == 1
    assert waiter.statistics.finished_after == datetime(2026, 1, 1, tzinfo=UTC)


async def test_statistics_before_the_first_use(client: AsanaClient) -> None:
    """An unused waiter has no looks and has not waited."""
    waiter = client.wait_for_job("1203")
    statistics = waiter.statistics
    waiter.close()

    assert (statistics.looks, statistics.waited, statistics.lag_bound) == (0, 0.0, None)


async def test_a_job_of_unknown_age_says_nothing_about_when_it_ran(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A Job handed in was seen at an unknown moment: it does not bound the lag."""
    transport.play("succeeded")
    waiter = client.wait_for_job(Job("1203", status="in_progress"))
    await waiter

    assert waiter.statistics.finished_after is None
