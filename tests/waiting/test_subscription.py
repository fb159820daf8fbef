"""The subscription of one who waits: clock, token, statistics, and what listeners are told."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from tenacity import wait_fixed

from asana_jobs import AsanaClient, Job, JobTimeoutError, PermissionDeniedError
from asana_jobs._client.waiting.subscription import LOOK, Subscription
from asana_jobs._client.waiting.waiter import make_wait
from asana_jobs.errors import AsanaJobsError, ServerError
from asana_jobs.events import Event, WaitBegan, WaitEnded, WaitOutcome
from asana_jobs.policies import PollPolicy
from asana_jobs.testing import FakeClock, ScriptedTransport


POLICY = PollPolicy()


def wait_of(client: AsanaClient, gid: str = "1203", *, timeout: float | None = None) -> Subscription:
    """Return a wait for a job."""
    return make_wait(client._poller, POLICY, gid, timeout=timeout)  # pyright: ignore[reportPrivateUsage]


async def look(wait: Subscription) -> Job | AsanaJobsError:
    """Look once, at once."""
    wait.begin()
    wait.at_once = True
    return await wait.wait(LOOK)


# A subscription.


async def test_the_clock_of_a_wait_starts_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Seconds before the first use do not count, and a wait that is begun again does not begin anew."""
    wait = wait_of(client)
    await clock.sleep(50)
    wait.begin()
    await clock.sleep(7)

    wait.begin()

    assert wait.statistics.waited == 7
    assert transport.requests == []


async def test_a_wait_goes_to_its_end(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Whoever only wants the end is told of nothing else, and gets it again without a request."""
    transport.play("not_started", "in_progress", "succeeded")
    wait = wait_of(client)

    assert await wait.finish() is await wait.finish()
    assert (wait.looks, wait.done, len(transport.requests)) == (3, True, 3)


async def test_a_look_is_made_at_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Who wants a look now does not wait for a turn, and is told in how many seconds the next one is due."""
    transport.play("in_progress")
    wait = wait_of(client)

    assert isinstance(await look(wait), Job)
    assert clock.monotonic() == 0
    assert not wait.done
    assert wait.retry_in() == pytest.approx(POLICY.initial, abs=0.5)


async def test_trouble_that_may_pass_is_told_to_who_asks(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A 500 is returned, not raised, and the next look is due the later the longer the streak."""
    transport.play(500)
    wait, gaps = wait_of(client), list[float]()

    for _ in range(2):
        assert isinstance(await look(wait), ServerError)
        gaps.append(wait.retry_in())

    assert gaps[1] > gaps[0] > 0


async def test_a_token_carries_what_was_seen(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A continuation token has the gid, the looks and the status; unused, that of a wait has the gid alone."""
    transport.play("in_progress")
    wait = wait_of(client)
    unused = json.loads(wait.token())
    await look(wait)

    used = json.loads(wait.token())

    assert (unused["gid"], unused["looks"], unused["status"]) == ("1203", 0, None)
    assert (used["gid"], used["looks"], used["status"]) == ("1203", 1, "in_progress")


async def test_a_streak_of_trouble_is_in_the_token(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A continuation token says since when nothing was answered, and an answer ends that."""
    transport.play(500, "in_progress")
    wait = wait_of(client)
    start = clock.now()
    await look(wait)
    troubled = json.loads(wait.token())
    await look(wait)

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


# What listeners are told; more of it is in test_events.py.


@pytest.fixture
def told() -> list[WaitBegan | WaitEnded]:
    """The begins and ends that the client tells."""
    return []


@pytest.fixture
async def heard(
    clock: FakeClock, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> AsyncIterator[AsanaClient]:
    """A client whose waits are listened to."""

    def note(event: Event) -> None:
        if isinstance(event, WaitBegan | WaitEnded):
            told.append(event)

    async with AsanaClient("test-token", transport=transport, clock=clock, on_event=note) as client:
        yield client


async def test_a_begin_and_an_end_are_told_once(
    heard: AsanaClient, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> None:
    """However many looks a wait makes, it begins at the first use and ends with the job."""
    transport.play("in_progress", "succeeded")
    wait = wait_of(heard, timeout=60)
    await look(wait)
    assert told == [WaitBegan(at=told[0].at, gid="1203", kind=None, timeout=60)]

    await look(wait)

    assert isinstance(told[1], WaitEnded)
    assert (told[1].outcome, told[1].looks, len(told)) == (WaitOutcome.SUCCEEDED, 2, 2)


async def test_one_step_neither_begins_nor_ends(
    heard: AsanaClient, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> None:
    """A check of a queue worker tells of no wait."""
    transport.play("succeeded")

    assert (await heard.check_job("1203")).done
    assert told == []


async def test_the_end_names_the_kind_that_a_look_showed(
    heard: AsanaClient, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> None:
    """Of a gid alone no kind is known when a wait begins; Asana's answer has it."""
    transport.play({"gid": "1203", "status": "failed", "resource_subtype": "duplicate_project"})

    await heard.wait_for_job("1203")

    assert [event.kind for event in told] == [None, "duplicate_project"]
    assert isinstance(told[1], WaitEnded)
    assert told[1].outcome is WaitOutcome.FAILED


async def test_a_timeout_is_told_once(
    heard: AsanaClient, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> None:
    """A wait whose time is over raises on every later use, and tells of it the first time only."""
    transport.play("in_progress")
    waiter = heard.wait_for_job("1203", timeout=5)

    for _ in range(3):
        with pytest.raises(JobTimeoutError):
            await waiter

    assert [getattr(event, "outcome", "began") for event in told] == ["began", WaitOutcome.TIMED_OUT]


async def test_a_wait_that_ended_in_an_error_begins_again(
    heard: AsanaClient, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> None:
    """A wait that was refused has ended with that error; used again, it begins again."""
    transport.play(403, "succeeded")
    wait = wait_of(heard)
    with pytest.raises(PermissionDeniedError) as refused:
        await wait.finish()
    assert isinstance(told[1], WaitEnded)
    assert told[1].error is refused.value

    await wait.finish()

    assert [type(event) for event in told[2:]] == [WaitBegan, WaitEnded]
