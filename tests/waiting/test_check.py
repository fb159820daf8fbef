"""`check_job`: one step of a wait, for queue workers that hold no slot between looks."""

import json
from datetime import timedelta
from email.utils import format_datetime

import pytest
from tenacity import wait_chain, wait_fixed

from asana_jobs import AsanaClient, Check, Job, PollPolicy, Response
from asana_jobs.errors import JobTimeoutError, NotFoundError, PermissionDeniedError, ServerError
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


def another(clock: FakeClock, transport: ScriptedTransport) -> AsanaClient:
    """A client on another machine."""
    return AsanaClient("test-token", transport=transport, clock=clock)


async def test_one_look(client: AsanaClient, clock: FakeClock, transport: ScriptedTransport) -> None:
    """A check sends one request and does not sleep."""
    transport.play("in_progress")

    check = await client.check_job("1203")

    assert (check.job, check.done, check.error) == (
        Job("1203", status="in_progress", resource_type="job"),
        False,
        None,
    )
    assert len(transport.requests) == 1
    assert clock.sleeps == []


async def test_a_finished_job_needs_no_further_check(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Once the job has finished there is nothing to come back for."""
    transport.play("failed")

    check = await client.check_job("1203")

    assert check.done
    assert check.retry_in is None


async def test_a_finished_job_costs_nothing(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A job that is known to be finished is not looked at."""
    check = await client.check_job(Job("1203", status="succeeded"))

    assert check.done
    assert transport.requests == []


async def test_retry_in_is_the_gap_of_the_schedule(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Who comes back after retry_in looks when a wait would have looked."""
    transport.play("in_progress", "in_progress", "succeeded")
    check = await client.check_job("1")

    await client.wait_for_job("2")

    assert [check.retry_in] == pytest.approx(clock.sleeps)


async def test_retry_in_counts_from_now(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Whatever time it is, the same gap is left to who comes back."""
    transport.play("in_progress")
    early = await client.check_job("1")
    await clock.sleep(1000)

    late = await client.check_job("2")

    assert late.retry_in == pytest.approx(early.retry_in)


async def test_retry_in_is_what_the_source_teaches(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Copies of a project whose copies took long are looked at later than those of a quick one."""
    transport.play("in_progress")
    gaps: list[float] = []
    for source, seconds in (("77", 3), ("78", 60)):
        for _ in range(100):
            client.durations.observe("duplicate_project", 0, seconds * 0.8, source, finished=False)
            client.durations.observe("duplicate_project", seconds * 0.8, seconds * 1.2, source, finished=True)

    for source in ("77", "78"):
        check = await client.check_job(await client.duplicate_project(source, name="Q3"))
        gaps.append(check.retry_in or 0)

    assert gaps[1] > 3 * gaps[0]


async def test_a_check_that_comes_early_looks_at_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A worker that comes back before it was told to is not kept waiting for its job's turn."""
    transport.play("in_progress")
    check = await client.check_job("1203", poll=PollPolicy(initial=60))
    await clock.sleep(5)

    await client.check_job(check.continuation_token, poll=PollPolicy(initial=60))

    assert len(transport.requests) == 2
    assert clock.monotonic() == 5


async def test_retry_in_comes_from_the_strategy(client: AsanaClient, transport: ScriptedTransport) -> None:
    """With a tenacity strategy retry_in is what the strategy says."""
    transport.play("in_progress")

    check = await client.check_job("1203", poll=wait_fixed(17))

    assert check.retry_in == 17


async def test_a_strategy_goes_on_from_the_token(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A strategy that counts looks goes on counting where the last check stopped."""
    transport.play("in_progress")
    chain = wait_chain(wait_fixed(1), wait_fixed(3), wait_fixed(9))
    gaps: list[float | None] = []

    task = "1203"
    for _ in range(4):
        check = await client.check_job(task, poll=chain)
        gaps.append(check.retry_in)
        task = check.continuation_token

    assert gaps == [1, 3, 9, 9]


async def test_a_token_goes_on_elsewhere(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The continuation token of a check is understood by another client, and keeps the job's age and looks."""
    transport.play("in_progress")
    first = await client.check_job("1203")
    await clock.sleep(3600)

    async with another(clock, transport) as elsewhere:
        second = await elsewhere.check_job(first.continuation_token)

    assert second.retry_in is not None
    assert first.retry_in is not None
    assert second.retry_in > 10 * first.retry_in
    assert json.loads(second.continuation_token)["looks"] == 2
    assert json.loads(second.continuation_token)["started_at"] == "2026-01-01T00:00:00.000+00:00"


async def test_a_wait_goes_on_from_a_check(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A wait for the token of a check looks when the check said, not at once."""
    transport.play("in_progress", "succeeded")
    check = await client.check_job("1203", poll=PollPolicy(initial=10))
    assert check.retry_in is not None
    await clock.sleep(1)

    async with another(clock, transport) as elsewhere:
        await elsewhere.wait_for_job(check.continuation_token, poll=PollPolicy(initial=10))

    assert clock.monotonic() == pytest.approx(check.retry_in, abs=0.01)


@pytest.mark.parametrize("meanwhile", [0, 0.5, 4])
async def test_a_wait_goes_on_with_its_strategy(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, meanwhile: float
) -> None:
    """With a strategy, too, a resumed wait looks when the strategy's gap is over, however soon it is resumed."""
    transport.play("in_progress", "succeeded")
    check = await client.check_job("1203", poll=wait_fixed(10))
    await clock.sleep(meanwhile)

    async with another(clock, transport) as elsewhere:
        await elsewhere.wait_for_job(check.continuation_token, poll=wait_fixed(10))

    assert clock.monotonic() == 10


async def test_the_token_of_a_wait_keeps_its_place(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A wait that is resumed from its own token goes on with the same gaps."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203", timeout=100)
    with pytest.raises(JobTimeoutError) as late:
        await waiter
    gap_before = clock.sleeps[-2]
    clock.sleeps.clear()
    transport.play("in_progress", "succeeded")

    async with another(clock, transport) as elsewhere:
        await elsewhere.wait_for_job(late.value.continuation_token)

    assert clock.sleeps[-1] >= gap_before * 0.9


async def test_the_token_holds_no_secret(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A continuation token is JSON text with a version and the gid, and without the access token."""
    transport.play("in_progress")

    check = await client.check_job("1203")

    assert {"v": 1, "gid": "1203"}.items() <= json.loads(check.continuation_token).items()
    assert "test-token" not in check.continuation_token


async def test_the_token_of_a_started_job_keeps_its_kind(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The token of an unused waiter for a job started here holds what is known of the job."""
    transport.play("in_progress")
    job = await client.duplicate_project("77", name="Q3")
    waiter = client.wait_for_job(job)
    token = json.loads(waiter.continuation_token())
    waiter.close()

    assert token["kind"] == "duplicate_project"
    assert token["source"] == "77"
    assert token["started_at"] == "2026-01-01T00:00:00.000+00:00"


async def test_trouble_is_reported(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Trouble that may pass is in the check's error, with a time to come back."""
    transport.play(503)

    check = await client.check_job("1203")

    assert isinstance(check.error, ServerError)
    assert not check.done
    assert check.retry_in is not None
    assert check.retry_in > 0


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_passed_on(
    client: AsanaClient, transport: ScriptedTransport, status: int
) -> None:
    """A worker is told to stay away for as long as Asana asked."""
    transport.play(Response(status=status, headers={"retry-after": "300"}))

    check = await client.check_job("1203")

    assert check.retry_in is not None
    assert check.retry_in >= 300


async def test_retry_after_as_a_date_is_passed_on(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The same for a date."""
    date = format_datetime(clock.now() + timedelta(seconds=300), usegmt=True)
    transport.play(Response(status=429, headers={"retry-after": date}))

    check = await client.check_job("1203")

    assert check.retry_in is not None
    assert check.retry_in >= 299


async def test_trouble_that_lasts_is_raised(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Trouble in every check for longer than give_up_after is raised in the end."""
    transport.play(503)
    policy = PollPolicy(give_up_after=60)
    task = "1203"

    with pytest.raises(ServerError):
        while clock.monotonic() < 100:
            check: Check = await client.check_job(task, poll=policy)
            task = check.continuation_token
            await clock.sleep(check.retry_in or 0)

    assert 60 <= clock.monotonic() < 100


async def test_refusals_are_raised(client: AsanaClient, transport: ScriptedTransport) -> None:
    """What makes watching impossible is raised."""
    transport.play(403)

    with pytest.raises(PermissionDeniedError):
        await client.check_job("1203")


async def test_a_job_that_is_gone_is_raised_soon(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A job that stays not found, check after check, is an error long before give_up_after."""
    transport.play("in_progress")
    task = (await client.check_job("1203")).continuation_token
    await clock.sleep(100)
    transport.play(404)

    with pytest.raises(NotFoundError):
        for _ in range(5):
            check = await client.check_job(task)
            task = check.continuation_token
            await clock.sleep(check.retry_in or 0)


async def test_a_check_of_a_started_job_looks(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Checking the answer of a POST looks once."""
    transport.play("not_started", "in_progress")
    job = await client.duplicate_project("77", name="Q3")

    check = await client.check_job(job)

    assert check.job is not None
    assert check.job.status == "in_progress"


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ('{"v":1,"gid":"12', "cut short"),
        ('{"v":2,"gid":"1203"}', "newer asana_jobs"),
        ('{"gid":"1203x"}', "no version"),
        ('{"v":1,"gid":"x"}', "gid"),
        ('{"v":1,"gid":"1","looks":-1}', "looks"),
        ('{"v":1,"gid":"1","looks":true}', "looks"),
        ('{"v":1,"gid":"1","started_at":"yesterday"}', "started_at"),
        ('{"v":1,"gid":"1","started_at":"2026-01-01T00:00:00"}', "started_at"),
        ('{"v":1,"gid":"1","kind":7}', "kind"),
        ("{" * 100_000, "cut short"),
    ],
)
async def test_a_broken_token(client: AsanaClient, token: str, message: str) -> None:
    """A continuation token that was damaged is a ValueError that says how."""
    with pytest.raises(ValueError, match=message):
        await client.check_job(token)


async def test_a_closed_gate_gives_the_worker_back(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """While a 429 closes the gate for long, a check says when it opens instead of waiting for it."""
    transport.play(Response(status=429, headers={"retry-after": "600"}), "in_progress")
    await client.check_job("1203")
    began = clock.monotonic()

    check = await client.check_job("1204")

    assert clock.monotonic() == began
    assert len(transport.requests) == 1
    assert not check.done
    assert check.retry_in is not None
    assert check.retry_in > 590
