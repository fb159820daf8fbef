"""Deadlines: the last look happens at the deadline, and nothing outlasts it for long."""

import asyncio
import json
from datetime import timedelta

import pytest
from tenacity import wait_exponential, wait_fixed

from asana_jobs import AsanaClient, Job, PollPolicy, RateLimits, Response
from asana_jobs.errors import JobTimeoutError
from asana_jobs.testing import AsanaSimulator, Latency
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


DOUBLING = wait_exponential(min=1)


async def expire(client: AsanaClient, after: float) -> JobTimeoutError:
    """Wait for a job that does not finish, and return the error."""
    with pytest.raises(JobTimeoutError) as caught:
        await client.wait_for_job("1203", poll=DOUBLING, timeout=after)
    return caught.value


async def test_the_deadline_cuts_the_last_sleep(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The last sleep ends at the deadline."""
    transport.play("in_progress")

    await expire(client, 20)

    assert clock.sleeps == [1, 2, 4, 8, 5]


async def test_the_default_schedule_is_cut_too(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """By the default policy, too, the last look happens at the deadline exactly."""
    transport.play("in_progress")

    with pytest.raises(JobTimeoutError):
        await client.wait_for_job("1203", timeout=33)

    assert clock.monotonic() == pytest.approx(33)


async def test_a_job_finishing_just_in_time_is_seen(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The look at the deadline sees a job that finished a moment before."""
    transport.play(lambda _: "succeeded" if clock.monotonic() >= 19.9 else "in_progress")

    job = await client.wait_for_job("1203", poll=DOUBLING, timeout=20)

    assert job.succeeded
    assert clock.monotonic() == 20


async def test_the_error_carries_the_last_state(client: AsanaClient, transport: ScriptedTransport) -> None:
    """JobTimeoutError has the job as last seen, the seconds waited, and the gid."""
    transport.play("not_started", "in_progress")

    error = await expire(client, 20)

    assert error.job == Job("1203", status="in_progress", resource_type="job")
    assert (error.gid, error.waited) == ("1203", 20)


async def test_the_error_is_a_timeout_error(client: AsanaClient, transport: ScriptedTransport) -> None:
    """JobTimeoutError is a TimeoutError, and its message says what to do."""
    transport.play("in_progress")

    error = await expire(client, 20)

    assert isinstance(error, TimeoutError)
    assert str(error) == (
        "job 1203 had not finished after 20 s (last seen in_progress); it may still finish. "
        "Wait again with a longer timeout, or resume with .continuation_token."
    )


async def test_the_error_carries_a_token_that_goes_on(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """The continuation token of the error resumes the wait."""
    transport.play("in_progress")
    error = await expire(client, 20)
    transport.play("succeeded")

    job = await client.wait_for_job(error.continuation_token)

    assert job.succeeded


async def test_every_later_await_raises_again(client: AsanaClient, transport: ScriptedTransport) -> None:
    """After the deadline each await raises JobTimeoutError again, without a request, with the same numbers."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203", poll=DOUBLING, timeout=20)
    with pytest.raises(JobTimeoutError) as first:
        await waiter
    sent = len(transport.requests)

    with pytest.raises(JobTimeoutError) as second:
        await waiter

    assert second.value.waited == first.value.waited == 20
    assert len(transport.requests) == sent


async def test_iteration_ends_with_the_error(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A loop over a wait that runs out of time yields what was seen, then raises."""
    transport.play("not_started", "in_progress")
    seen: list[str | None] = []

    with pytest.raises(JobTimeoutError):
        async for job in client.wait_for_job("1203", timeout=20):
            seen.append(job.status)  # noqa: PERF401  # it raises in the middle

    assert seen == ["not_started", "in_progress"]


async def test_timeout_zero_looks_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """With timeout=0 there is exactly one look and no sleep."""
    transport.play("in_progress")

    error = await expire(client, 0)

    assert len(transport.requests) == 1
    assert clock.sleeps == []
    assert error.job is not None


async def test_timeout_zero_gives_a_finished_job(client: AsanaClient, transport: ScriptedTransport) -> None:
    """With timeout=0 a job that has finished is returned."""
    transport.play("succeeded")

    assert (await client.wait_for_job("1203", timeout=0)).succeeded


async def test_timeout_zero_with_the_answer_of_the_post(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """With timeout=0 the job as the POST answered it is looked at once."""
    transport.play("in_progress")

    with pytest.raises(JobTimeoutError):
        await client.wait_for_job(Job("1203", status="not_started"), timeout=0)

    assert len(transport.requests) == 1


async def test_timeout_zero_shares_a_look(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Two waiters with timeout=0 at one time cost one look."""
    transport.play("in_progress")

    await asyncio.gather(*(expire(client, 0) for _ in range(2)))

    assert len(transport.requests) == 1


async def test_a_hanging_request_is_cut_at_the_deadline(clock: FakeClock) -> None:
    """A request that hangs from long before the deadline ends with it."""
    transport = ScriptedTransport("in_progress", clock=clock, latency=100)
    async with AsanaClient("test-token", transport=transport, clock=clock, timeout=200) as client:
        error = await expire(client, 20)

    assert clock.monotonic() == 20
    assert (error.waited, error.job) == (20, None)
    assert "never seen" in str(error)
    assert json.loads(error.continuation_token)["looks"] == 1


async def test_a_deadline_names_the_trouble(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A wait that saw nothing but 404s until its deadline says so."""
    transport.play(404)
    error = await expire(client, 1)

    assert "never seen; last trouble: GET /jobs/1203 was answered 404" in str(error)


async def test_the_last_look_has_a_chance(clock: FakeClock) -> None:
    """The look at the deadline may take some seconds: one that is answered after a second counts."""
    transport = ScriptedTransport("in_progress", "succeeded", clock=clock, latency=1)
    async with AsanaClient("test-token", transport=transport, clock=clock) as client:
        job = await client.wait_for_job("1203", poll=wait_fixed(60), timeout=20)

    assert job.succeeded
    assert clock.monotonic() == 21


@pytest.mark.parametrize(("after", "ended"), [(0.5, 1.5), (1, 2), (3, 6), (20, 25)])
async def test_the_last_look_does_not_hang(clock: FakeClock, after: float, ended: float) -> None:
    """The look at the deadline is given up after five seconds, and after as many as the wait had, if that is less."""

    async def answer(_: object) -> str:
        if clock.monotonic() > 0:
            await clock.sleep(1000)
        return "in_progress"

    transport = ScriptedTransport(answer)
    async with AsanaClient("test-token", transport=transport, clock=clock) as client:
        with pytest.raises(JobTimeoutError) as caught:
            await client.wait_for_job("1203", poll=wait_fixed(60), timeout=after)

    assert clock.monotonic() == ended
    assert caught.value.job is not None


async def test_a_slow_server_is_not_looked_at_again_after_the_deadline(clock: FakeClock) -> None:
    """A look that is answered after the deadline was the last one."""
    transport = ScriptedTransport("in_progress", clock=clock, latency=4)
    async with AsanaClient("test-token", transport=transport, clock=clock) as client:
        with pytest.raises(JobTimeoutError):
            await client.wait_for_job("1203", poll=wait_fixed(5), timeout=10)

    assert clock.monotonic() <= 15


async def test_a_closed_gate_does_not_outlast_the_deadline(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A Retry-After beyond the deadline ends the wait at the deadline, not when it is over."""
    transport.play("in_progress", Response(status=429, headers={"retry-after": "600"}))

    error = await expire(client, 20)

    assert clock.monotonic() == 20
    assert error.waited == 20


async def test_a_gate_that_closes_near_the_deadline(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A gate that closes shortly before the deadline is not waited at beyond it: there is no look to wait for."""
    body = json.dumps({"errors": [{"message": "slow down"}]}).encode()
    limited = Response(status=429, headers={"retry-after": "600"}, body=body)
    transport.play(*["in_progress"] * 4, limited)

    await expire(client, 16)

    assert clock.monotonic() <= 16 + 5


async def test_trouble_at_the_deadline_is_the_cause(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A wait whose last look fails raises JobTimeoutError from that failure."""
    transport.play(503)

    error = await expire(client, 5)

    assert "503" in str(error.__cause__)


async def test_the_timeout_counts_from_first_use(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Time that passes before a waiter is used is not taken from its timeout."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203", poll=DOUBLING, timeout=20)
    await clock.sleep(100)

    with pytest.raises(JobTimeoutError) as caught:
        await waiter

    assert clock.monotonic() == 120
    assert caught.value.waited == 20


async def test_a_timedelta_is_a_timeout(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A timeout may be a timedelta."""
    transport.play("in_progress")

    with pytest.raises(JobTimeoutError):
        await client.wait_for_job("1203", timeout=timedelta(minutes=1))

    assert clock.monotonic() == pytest.approx(60)


async def test_without_a_timeout_a_wait_has_no_end(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Without a timeout a job that runs for a day is waited for."""
    transport.play(lambda _: "succeeded" if clock.monotonic() >= 86400 else "in_progress")

    job = await client.wait_for_job("1203", poll=PollPolicy(maximum=600))

    assert job.succeeded


async def test_a_late_reader_gets_one_last_look(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Who comes back after the deadline gets one look, not none."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203", timeout=20)
    await anext(waiter)
    await clock.sleep(100)

    assert (await waiter).succeeded


async def test_a_shared_look_of_long_ago_is_not_the_last(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Who comes back after the deadline looks, even if another waiter looked some time before."""
    states = {0: "in_progress", 10: "in_progress"}
    transport.play(lambda _: states.get(int(clock.monotonic()), "succeeded"))
    waiter = client.wait_for_job("1203", timeout=15)
    await anext(waiter)
    other = client.wait_for_job("1203", poll=wait_fixed(10), every_poll=True)
    await anext(other)
    await anext(other)
    await clock.sleep(20)

    assert (await waiter).succeeded


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), True, "5", timedelta(seconds=-1)])
def test_a_timeout_that_is_none(client: AsanaClient, timeout: float) -> None:
    """What is no finite number of seconds from 0 up is a ValueError at once."""
    with pytest.raises(ValueError, match="timeout"):
        client.wait_for_job("1203", timeout=timeout)


async def test_a_grant_at_the_deadline_gives_its_lease_back() -> None:
    """Nothing is in flight after waits whose readers let the deadline pass, in whose round the last look is granted."""
    async with AsanaClient(
        "test-token",
        transport=ScriptedTransport("in_progress"),
        limits=RateLimits(requests_per_minute=1_500),
        poll=PollPolicy(initial=0.0, lag_price=0.0),
    ) as client:
        for gid in ("1203", "1204", "1205"):
            with pytest.raises(JobTimeoutError):
                async for _ in client.wait_for_job(gid, timeout=5, every_poll=True):
                    await asyncio.sleep(7)

        assert client.budget.reads_in_flight == 0


async def test_over_http(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """Over real HTTP, too, a hanging server does not outlast the deadline."""
    simulator.add_job("1203", ["in_progress"])
    simulator.fail_next(Latency(1000), times=None)
    loop = asyncio.get_running_loop()
    start = loop.time()

    with pytest.raises(JobTimeoutError):
        await wired.wait_for_job("1203", timeout=20)

    assert loop.time() - start == pytest.approx(20, abs=0.2)
