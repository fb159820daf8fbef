"""A wait that tells its begin and its end; more of what is told is in test_events.py."""

from collections.abc import AsyncIterator

import pytest

from asana_jobs import AsanaClient, JobTimeoutError, PermissionDeniedError
from asana_jobs._client.waiting.observed_wait import ObservedWait
from asana_jobs._client.waiting.wait import Wait
from asana_jobs._client.waiting.waiter import make_wait
from asana_jobs.events import Event, WaitBegan, WaitEnded, WaitOutcome
from asana_jobs.policies import PollPolicy
from asana_jobs.testing import FakeClock, ScriptedTransport


@pytest.fixture
def told() -> list[WaitBegan | WaitEnded]:
    """The begins and ends that the client tells."""
    return []


@pytest.fixture
async def client(
    clock: FakeClock, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> AsyncIterator[AsanaClient]:
    """A client whose waits are listened to."""

    def note(event: Event) -> None:
        if isinstance(event, WaitBegan | WaitEnded):
            told.append(event)

    async with AsanaClient("test-token", transport=transport, clock=clock, on_event=note) as client:
        yield client


def wait_of(client: AsanaClient, *, timeout: float | None = None, observed: bool = True) -> Wait:
    """Return a wait for job 1203."""
    poller = client._poller  # pyright: ignore[reportPrivateUsage]
    return make_wait(poller, PollPolicy(), "1203", timeout=timeout, observed=observed)


async def test_only_waits_that_are_listened_to_are_observed(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Without a listener, and for one step of a queue worker, a wait is a plain one."""
    async with AsanaClient("test-token", transport=transport, clock=clock) as unheard:
        assert type(wait_of(unheard)) is Wait
    assert type(wait_of(client, observed=False)) is Wait
    assert type(wait_of(client)) is ObservedWait


async def test_a_begin_and_an_end_are_told_once(
    client: AsanaClient, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> None:
    """However many looks a wait makes, it begins at the first use and ends with the job."""
    transport.play("in_progress", "succeeded")
    wait = wait_of(client, timeout=60)
    await wait.begin()
    await wait.begin()
    await wait.look()
    assert told == [WaitBegan(at=told[0].at, gid="1203", kind=None, timeout=60)]

    await wait.look()

    assert isinstance(told[1], WaitEnded)
    assert (told[1].outcome, told[1].looks, len(told)) == (WaitOutcome.SUCCEEDED, 2, 2)


async def test_the_end_names_the_kind_that_a_look_showed(
    client: AsanaClient, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> None:
    """Of a gid alone no kind is known when a wait begins; Asana's answer has it."""
    transport.play({"gid": "1203", "status": "failed", "resource_subtype": "duplicate_project"})

    await client.wait_for_job("1203")

    assert [event.kind for event in told] == [None, "duplicate_project"]
    assert isinstance(told[1], WaitEnded)
    assert told[1].outcome is WaitOutcome.FAILED


async def test_a_timeout_is_told_once(
    client: AsanaClient, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> None:
    """A wait whose time is over raises on every later use, and tells of it the first time only."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203", timeout=5)

    for _ in range(3):
        with pytest.raises(JobTimeoutError):
            await waiter

    assert [getattr(event, "outcome", "began") for event in told] == ["began", WaitOutcome.TIMED_OUT]


async def test_a_wait_that_ended_in_an_error_begins_again(
    client: AsanaClient, transport: ScriptedTransport, told: list[WaitBegan | WaitEnded]
) -> None:
    """A wait that was refused has ended with that error; used again, it begins again."""
    transport.play(403, "succeeded")
    wait = wait_of(client)
    await wait.begin()
    with pytest.raises(PermissionDeniedError) as refused:
        await wait.look()
    assert isinstance(told[1], WaitEnded)
    assert told[1].error is refused.value

    await wait.look()

    assert [type(event) for event in told[2:]] == [WaitBegan, WaitEnded]
