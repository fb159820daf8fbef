"""Any number of waiters on one job cost one poll, and what is known is not asked for again."""

import asyncio
import gc
import logging
from datetime import UTC, datetime, timedelta

import pytest
from tenacity import wait_fixed

from asana_jobs import AsanaClient, Job, PollPolicy, RateLimits
from asana_jobs._client.http.protocol import Request
from asana_jobs._client.waiting.durations import Durations
from asana_jobs._client.waiting.job_reference import JobReference, read_subject
from asana_jobs.errors import ClientClosedError, JobTimeoutError, PermissionDeniedError
from asana_jobs.testing import AsanaSimulator, Latency
from asana_jobs.testing._fake_clock import FakeClock
from asana_jobs.testing._scripted_transport import ScriptedTransport


SCRIPT = ["not_started", "in_progress", "in_progress", "in_progress", "succeeded"]


@pytest.fixture
def slow(clock: FakeClock, transport: ScriptedTransport) -> ScriptedTransport:
    """The transport, with every answer taking two seconds."""
    transport.latency = 2.0
    return transport


def held(client: AsanaClient) -> tuple[int, int]:
    """How many jobs a client keeps in mind, and how many it has waiting for a look."""
    poller = client._poller  # pyright: ignore[reportPrivateUsage]
    return len(poller._others), len(poller.watched)  # pyright: ignore[reportPrivateUsage]


# look number zero


async def test_a_finished_post_costs_no_look(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A job whose POST answered that it has succeeded is not looked at."""
    transport.play("succeeded")
    job = await client.duplicate_project("77", name="Q3")

    assert await client.wait_for_job(job) is job
    assert [request.method for request in transport.requests] == ["POST"]


async def test_a_post_is_the_first_state(client: AsanaClient, transport: ScriptedTransport) -> None:
    """The loop over a started job yields what the POST answered first, without a request."""
    transport.play("not_started")
    job = await client.duplicate_project("77", name="Q3")
    waiter = client.wait_for_job(job)

    first = await anext(waiter)
    waiter.close()

    assert first is job
    assert len(transport.requests) == 1


async def test_the_first_look_after_a_post_waits(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The POST was look zero: the next look comes after the first gap."""
    transport.play("not_started", "succeeded")
    job = await client.duplicate_project("77", name="Q3")

    await client.wait_for_job(job, poll=wait_fixed(5))

    assert clock.sleeps == [5]


async def test_a_gid_that_was_posted_here_is_remembered(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Waiting for the gid of a job that this client started, and that was finished at once, sends nothing."""
    transport.play("succeeded")
    job = await client.duplicate_project("77", name="Q3")

    assert (await client.wait_for_job(job.gid)).succeeded
    assert len(transport.requests) == 1


# one poll for all


async def count_looks(client: AsanaClient, transport: ScriptedTransport, waiters: int, gid: str) -> int:
    """How many requests so many waiters cost together."""
    transport.play(*SCRIPT)
    before = len(transport.requests)
    jobs = await asyncio.gather(*(client.wait_for_job(gid) for _ in range(waiters)))
    assert all(job.succeeded for job in jobs)
    return len(transport.requests) - before


async def test_fifty_waiters_cost_what_one_does(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Fifty waiters on one job send exactly as many requests as one waiter."""
    alone = await count_looks(client, transport, 1, "1")

    together = await count_looks(client, transport, 50, "2")

    assert together == alone == len(SCRIPT)


async def test_fifty_waiters_on_a_slow_server(client: AsanaClient, slow: ScriptedTransport) -> None:
    """Waiters that come while a look is under way share its answer."""
    assert await count_looks(client, slow, 50, "1") == len(SCRIPT)


async def test_fifty_waiters_over_http(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """Over real HTTP, too, the server sees the looks of one."""
    simulator.add_job("1203", SCRIPT)
    simulator.fail_next(Latency(0.2), times=None)

    await asyncio.gather(*(wired.wait_for_job("1203") for _ in range(50)))

    assert len(simulator.requests) == len(SCRIPT)


async def test_all_of_many_waiters_see_every_change(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Each of several loops on one job yields each change."""
    transport.play(*SCRIPT)

    async def states() -> list[str | None]:
        return [job.status async for job in client.wait_for_job("1203")]

    seen = await asyncio.gather(*(states() for _ in range(5)))

    assert seen == [["not_started", "in_progress", "succeeded"]] * 5


async def test_waiters_with_different_strategies_share_looks(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The eager one of two waiters pays for both."""
    transport.play(*["in_progress"] * 10, "succeeded")

    await asyncio.gather(
        client.wait_for_job("1203", poll=wait_fixed(1)), client.wait_for_job("1203", poll=wait_fixed(100))
    )

    assert clock.monotonic() == 10
    assert len(transport.requests) == 11


async def test_a_look_just_made_is_shared(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A waiter that comes a moment after another one's look takes that look for its first."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203")
    first = await anext(waiter)

    second = await anext(client.wait_for_job("1203"))

    assert second is first
    assert len(transport.requests) == 1


async def test_a_look_of_some_time_ago_is_not_shared(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A waiter that comes later looks itself."""
    transport.play("not_started", "in_progress")
    waiter = client.wait_for_job("1203")
    await anext(waiter)
    await clock.sleep(2)

    second = await anext(client.wait_for_job("1203"))

    assert second.status == "in_progress"


async def test_the_same_answer_is_the_same_job(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A look that sees to the letter what the one before saw gives the very same job; any other is read anew."""
    transport.play("in_progress", "in_progress", "not_started", "in_progress", "succeeded")

    seen = [job async for job in client.wait_for_job("1203", every_poll=True)]

    assert [job.status for job in seen] == [
        "in_progress",
        "in_progress",
        "not_started",
        "in_progress",
        "succeeded",
    ]
    assert seen[0] is seen[1]
    assert seen[3] is not seen[0]


async def test_other_fields_are_another_look(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Waiters that ask for different fields do not share answers."""
    transport.play("succeeded")

    await asyncio.gather(client.wait_for_job("1203"), client.wait_for_job("1203", opt_fields="new_project"))

    assert [request.query for request in transport.requests] == ["", "opt_fields=new_project,status"]


async def test_an_earlier_look_does_not_bound_the_lag(clock: FakeClock) -> None:
    """Who joins a look late claims nothing about when the job was running that the look could not see."""
    transport = ScriptedTransport("in_progress", "succeeded", clock=clock, latency=8)
    async with AsanaClient("test-token", transport=transport, clock=clock) as client:
        first = client.wait_for_job("1203", poll=wait_fixed(1))
        late = client.wait_for_job("1203", poll=wait_fixed(1))
        start = clock.now()
        async with asyncio.TaskGroup() as group:
            group.create_task(first)
            await clock.sleep(7)
            group.create_task(late)

    # The one look that showed it running was sent at 0: all that is known is that it ran then.
    assert late.statistics.finished_after is not None
    assert (late.statistics.finished_after - start).total_seconds() <= 4


# leaders and those who join


@pytest.mark.parametrize("cancelled", [0, 1], ids=["leader", "joiner"])
async def test_a_cancelled_waiter_leaves_the_look_to_others(
    client: AsanaClient, clock: FakeClock, slow: ScriptedTransport, cancelled: int
) -> None:
    """When the waiter whose moment caused a look is cancelled, or one who shares it, it goes on for the other one."""
    slow.play("succeeded")
    waits = [asyncio.create_task(client.wait_for_job("1203")) for _ in range(2)]
    await clock.sleep(1)

    waits[cancelled].cancel()

    assert (await waits[1 - cancelled]).succeeded
    assert waits[cancelled].cancelled()
    assert len(slow.requests) == 1


async def test_the_look_goes_on_for_any_number_of_others(
    client: AsanaClient, clock: FakeClock, slow: ScriptedTransport
) -> None:
    """When most of many waiters are cancelled, the look under way is left alone, and all others are told."""
    slow.play("succeeded")
    waits = [asyncio.create_task(client.wait_for_job("1203")) for _ in range(50)]
    await clock.sleep(1)

    for wait in (*waits[:20], *waits[21:]):
        wait.cancel()

    assert (await waits[20]).succeeded
    assert len(slow.requests) == 1


async def test_a_waiter_out_of_time_leaves_its_look_to_others(
    client: AsanaClient, clock: FakeClock, slow: ScriptedTransport
) -> None:
    """A waiter whose deadline passes in the middle of the look that it caused leaves the others to go on."""
    slow.latency = 20.0
    slow.play("succeeded")
    hasty = asyncio.create_task(client.wait_for_job("1203", timeout=10))
    patient = asyncio.create_task(client.wait_for_job("1203"))

    assert (await patient).succeeded
    with pytest.raises(JobTimeoutError):
        await hasty


async def test_the_error_of_a_look_reaches_all(client: AsanaClient, slow: ScriptedTransport) -> None:
    """All waiters on one job get the error that its look ended in, each an exception of its own."""
    slow.play(403)

    errors = await asyncio.gather(*(client.wait_for_job("1203") for _ in range(3)), return_exceptions=True)

    assert [type(error) for error in errors] == [PermissionDeniedError] * 3
    assert len({id(error) for error in errors}) == 3
    assert len(slow.requests) == 1


async def test_a_joiner_cancelled_as_the_look_fails(
    client: AsanaClient, clock: FakeClock, slow: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """A waiter cancelled in the very moment in which a shared look fails leaves nothing unretrieved."""
    joiner: asyncio.Task[Job] | None = None

    async def refuse(_: Request) -> int:
        await clock.sleep(1)
        assert joiner is not None
        asyncio.get_running_loop().call_soon(joiner.cancel)
        return 403

    slow.play(refuse)
    leader = asyncio.create_task(client.wait_for_job("1203"))
    joiner = asyncio.create_task(client.wait_for_job("1203"))
    await asyncio.wait([leader, joiner])
    assert leader.exception() is not None
    assert joiner.cancelled() or joiner.exception() is not None
    del leader
    joiner = None
    with caplog.at_level(logging.ERROR, "asyncio"):
        gc.collect()
        await asyncio.sleep(0)

    assert caplog.records == []


async def test_trouble_is_shared_too(client: AsanaClient, slow: ScriptedTransport) -> None:
    """Fifty waiters during an outage send the requests of one."""
    slow.play(503, 503, 503, "succeeded")

    await asyncio.gather(*(client.wait_for_job("1203") for _ in range(50)))

    assert len(slow.requests) == 4


async def test_an_error_that_is_not_ours_reaches_all(client: AsanaClient, slow: ScriptedTransport) -> None:
    """A transport that breaks its promise is not papered over, and nobody hangs."""
    slow.play(ZeroDivisionError("a bug of the transport"))

    errors = await asyncio.gather(*(client.wait_for_job("1203") for _ in range(3)), return_exceptions=True)

    assert [type(error) for error in errors] == [ZeroDivisionError] * 3


# what is remembered


async def test_a_finished_job_is_remembered(client: AsanaClient, transport: ScriptedTransport) -> None:
    """A job once seen finished is not asked for again, by whatever waiter of the client."""
    transport.play("in_progress", "succeeded")
    first = await client.wait_for_job("1203")

    second = await client.wait_for_job("1203")

    assert second is first
    assert len(transport.requests) == 2


async def test_an_unfinished_job_is_not_remembered(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """What was seen of a job whose waiters are gone is forgotten."""
    transport.play("in_progress")
    with pytest.raises(JobTimeoutError):
        await client.wait_for_job("1203", timeout=0)
    await asyncio.sleep(0)
    gc.collect()

    assert held(client) == (0, 0)


async def test_nothing_is_kept_of_jobs_that_are_over(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """After many waits nothing is parked, and no task or timer of theirs is left."""
    transport.play("in_progress", "succeeded")
    for gid in range(100, 120):
        transport.play("in_progress", "succeeded")
        await client.wait_for_job(str(gid))
    await asyncio.sleep(0)
    gc.collect()

    assert held(client) == (0, 0)


async def test_a_job_grows_old_across_waiters(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A second waiter on a job started here goes on with the schedule of its age, not from the start."""
    transport.play("in_progress")
    job = await client.duplicate_project("77", name="Q3")
    await clock.sleep(600)
    transport.play("in_progress", "succeeded")
    began = clock.monotonic()

    await client.wait_for_job(job.gid, poll=PollPolicy())

    assert clock.monotonic() - began > 5


async def test_many_jobs_are_one_timer(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A hundred waits in their sleep hold one timer and one task between them."""
    transport.play("in_progress")
    waits = [asyncio.create_task(client.wait_for_job(str(gid), poll=wait_fixed(50))) for gid in range(1, 101)]
    await clock.sleep(30)

    queue = clock._scheduled  # pyright: ignore[reportPrivateUsage]
    alive = [timer for _, _, timer in queue if not timer.cancelled]
    others = asyncio.all_tasks() - {*waits, asyncio.current_task()}

    assert len(alive) <= 1
    assert len(others) <= 1
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)


@pytest.mark.parametrize("rounds", range(6))
async def test_a_wait_begun_while_the_client_closes_ends(
    client: AsanaClient, transport: ScriptedTransport, rounds: int
) -> None:
    """A second wait on a job that is told of the closing, begun in any round of the loop, is told of it too."""
    transport.play("in_progress")

    async def wait() -> Job:
        return await client.wait_for_job("1203")

    first = asyncio.create_task(wait())
    for _ in range(30):  # it has looked once, and is parked
        await asyncio.sleep(0)
    closing = asyncio.create_task(client.close())
    for _ in range(rounds):
        await asyncio.sleep(0)
    second = asyncio.create_task(wait())
    await asyncio.wait([first, second, closing], timeout=60)
    ended = [task.done() for task in (first, second)]
    second.cancel()

    assert ended == [True, True]
    assert isinstance(first.exception(), ClientClosedError)
    assert isinstance(second.exception(), ClientClosedError)


# what looks teach about durations


def counts(client: AsanaClient, kind: str) -> tuple[float, float]:
    """The ends and the seconds of running that were counted of a kind."""
    counted = client.durations.to_dict()["kinds"].get(kind, {"events": [0.0], "exposure": [0.0]})
    return sum(counted["events"]), sum(counted["exposure"])


async def test_a_bare_gid_teaches_by_the_time_since_it_was_first_asked_for(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A job whose start nobody knows counts once it was seen running, in counts of its own."""
    transport.play(*["in_progress"] * 5, "succeeded")

    await client.wait_for_job("1203", poll=wait_fixed(10))

    assert counts(client, "?*") == pytest.approx((1, 45), rel=0.05)
    assert counts(client, "*") == (0, 0)


async def test_what_ended_before_the_first_look_teaches_nothing(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A bare gid that is finished when it is first looked at may have ended long ago."""
    transport.play("succeeded")

    await client.wait_for_job("1203")

    assert client.durations.to_dict()["kinds"] == {}


async def test_a_gid_that_was_watched_before_is_not_learned_from_again(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The second wait for a bare gid knows how old it is at least, and teaches nothing: looks are missing."""
    transport.play(*["in_progress"] * 2)
    with pytest.raises(JobTimeoutError):
        await client.wait_for_job("1203", timeout=40, poll=wait_fixed(30))
    await clock.advance(60)  # past all timers, which keep what they would have called
    gc.collect()
    before = client.durations.to_dict()
    waiter = client.wait_for_job("1203", poll=wait_fixed(30))
    await anext(waiter)
    started = read_subject(waiter.continuation_token()).started_at
    transport.play("in_progress", "in_progress", "succeeded")
    await waiter

    assert client.durations.to_dict() == before
    assert started is not None
    assert (clock.now() - started).total_seconds() > 90


async def test_a_job_started_here_teaches_by_its_age(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A job whose start this client knows is counted by its age, under its source too, and not as of unknown start."""
    transport.play(*["in_progress"] * 6, "succeeded")
    job = await client.duplicate_project("77", name="Q3")

    await client.wait_for_job(job.gid, poll=wait_fixed(10))

    assert counts(client, "duplicate_project") == pytest.approx((1, 45), rel=0.05)
    assert counts(client, "duplicate_project/77") == pytest.approx((1, 45), rel=0.05)
    assert counts(client, "?*") == (0, 0)


@pytest.mark.parametrize("known_start", [True, False])
async def test_looks_in_many_processes_teach_what_looks_in_one_do(
    clock: FakeClock, transport: ScriptedTransport, known_start: bool
) -> None:
    """A job that is looked at once by each of many workers was watched once, not once by each."""
    met: list[tuple[float, float]] = []
    for everywhere in (False, True):
        client = AsanaClient("t", transport=transport, clock=clock, limits=RateLimits.paid())
        subject = "1203"
        if known_start:
            subject = JobReference(gid="1203", kind="duplicate_project", started_at=clock.now()).to_token()
        async with client:
            learned = client.durations
            transport.play(*["in_progress"] * 40, "succeeded")
            check = await client.check_job(subject, poll=wait_fixed(3))
            while not check.done:
                await clock.sleep(3)
                if everywhere:
                    client = AsanaClient(
                        "t", transport=transport, clock=clock, limits=RateLimits.paid(), durations=learned
                    )
                check = await client.check_job(check.continuation_token, poll=wait_fixed(3))
            met.append(counts(client, "duplicate_project" if known_start else "?*"))

    assert met[0] == met[1]
    assert met[0] == pytest.approx((1, 120), rel=0.05)


# a machine that was booted a moment ago


@pytest.mark.parametrize("looks", [1, 3])
async def test_what_an_earlier_process_saw_is_as_old_on_a_young_machine(looks: int) -> None:
    """Where the clock says less than the job's age, looks come as late and durations are learned as elsewhere."""
    now = datetime(2026, 1, 1, 12, tzinfo=UTC)
    token = JobReference(
        gid="1203",
        kind="duplicate_project",
        started_at=now - timedelta(hours=2),
        looks=30,
        looked_at=now - timedelta(minutes=50),
        last_status="in_progress",
    ).to_token()
    met: list[tuple[list[float], list[float]]] = []
    for seconds_since_boot in (0.0, 1e6):
        clock = FakeClock(start=now - timedelta(seconds=seconds_since_boot))
        await clock.advance(seconds_since_boot)
        transport = ScriptedTransport(*["in_progress"] * (looks - 1), "succeeded", clock=clock)
        async with AsanaClient("t", transport=transport, clock=clock, limits=RateLimits.paid()) as client:
            assert (await client.wait_for_job(token)).succeeded
            learned = Durations.from_dict(client.durations.to_dict())
            hazards = learned.curve(learned.key_for("duplicate_project")).rates
            met.append(
                ([round(slept, 3) for slept in clock.sleeps], [round(hazard, 6) for hazard in hazards])
            )

    young, old = met
    assert young == old


async def test_a_start_is_in_the_log(
    client: AsanaClient, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG a record says what was started, for what, and as which job, and has the same in its fields."""
    transport.play("in_progress")
    with caplog.at_level(logging.DEBUG, "asana_jobs"):
        job = await client.duplicate_project("77", name="Q3")

    (record,) = (record for record in caplog.records if "started job" in record.getMessage())
    assert record.getMessage() == f"duplicate_project of 77 started job {job.gid}"
    fields = {name: value for name, value in vars(record).items() if name.startswith("asana_")}
    assert fields == {"asana_gid": job.gid, "asana_status": job.status, "asana_kind": "duplicate_project"}


async def test_each_change_of_a_job_is_in_the_log_once(
    client: AsanaClient, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """At DEBUG a record for each state says which job is in it, however often that was seen."""
    transport.play("in_progress", "in_progress", "succeeded")
    with caplog.at_level(logging.DEBUG, "asana_jobs"):
        await client.wait_for_job("1203")

    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith("job 1203")]
    assert said == ["job 1203: in_progress", "job 1203: succeeded"]
