"""What ``on_event`` is told: which events, in which order, and what they say."""

import asyncio
import gc
import typing
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta

import attrs
import pytest

from asana_jobs import (
    AsanaClient,
    DuplicateProject,
    ExportGraph,
    Ledger,
    RateLimits,
    Response,
    RetryPolicy,
    events,
)
from asana_jobs._client.http.protocol import Request
from asana_jobs._client.waiting.job_reference import JobReference
from asana_jobs.errors import (
    AsanaJobsError,
    BadRequestError,
    JobTimeoutError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
)
from asana_jobs.events import (
    Event,
    JobChanged,
    JobFinished,
    JobLooked,
    JobStarted,
    RequestRejected,
    RequestRepeated,
    StartDoubted,
    StartFailed,
    WaitBegan,
    WaitEnded,
    WaitOutcome,
)
from asana_jobs.testing import FakeClock, ScriptedTransport


START = datetime(2026, 1, 1, tzinfo=UTC)
COPY = DuplicateProject("77", name="Q3 launch")
TOKEN = "1/77:d15t1nct1ve0d15t1nct1ve0d15t1nct"


@pytest.fixture
def told() -> list[Event]:
    """What the client has told."""
    return []


@pytest.fixture
async def client(
    clock: FakeClock, transport: ScriptedTransport, told: list[Event]
) -> AsyncIterator[AsanaClient]:
    """A client whose events are kept in `told`."""
    async with AsanaClient(
        TOKEN,
        transport=transport,
        clock=clock,
        limits=RateLimits.paid(),
        retry=RetryPolicy(jitter=0),
        on_event=told.append,
    ) as client:
        yield client


def names(told: Sequence[Event]) -> list[str]:
    """The kinds of events, in order."""
    return [type(event).__name__ for event in told]


def lost(request: Request) -> RequestTimeoutError:
    """An answer that does not come."""
    return RequestTimeoutError("no answer within 30 s", method=request.method, path=request.path, gid="77")


# One wait.


async def test_one_wait(client: AsanaClient, transport: ScriptedTransport, told: list[Event]) -> None:
    """A wait begins, each look is told before what it showed, and the job's end before the wait's."""
    transport.play("not_started", "in_progress", "in_progress", "succeeded")

    await client.wait_for_job("1203")

    looks = ["JobLooked", "JobChanged", "JobLooked", "JobChanged", "JobLooked", "JobLooked", "JobChanged"]
    assert names(told) == ["WaitBegan", *looks, "JobFinished", "WaitEnded"]
    assert {event.gid for event in told if not isinstance(event, StartFailed | StartDoubted)} == {"1203"}


async def test_changes_say_from_what_to_what(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A change has the job as it is and the status that the look before showed, none for the first."""
    transport.play("not_started", "in_progress", "succeeded")

    await client.wait_for_job("1203")

    changes = [(event.before, event.job.status) for event in told if isinstance(event, JobChanged)]
    assert changes == [(None, "not_started"), ("not_started", "in_progress"), ("in_progress", "succeeded")]


async def test_the_end_of_a_wait_sums_it_up(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, told: list[Event]
) -> None:
    """The last event has how long was waited, how often was looked, and how late the end was seen at most."""
    transport.play("in_progress", "in_progress", "succeeded")
    waiter = client.wait_for_job("1203")

    await waiter

    (ended,) = (event for event in told if isinstance(event, WaitEnded))
    assert (ended.outcome, ended.status, ended.error) == (WaitOutcome.SUCCEEDED, "succeeded", None)
    assert ended.looks == 3
    assert ended.waited == pytest.approx(clock.monotonic())
    assert ended.lag_bound == waiter.statistics.lag_bound == pytest.approx(clock.sleeps[-1])


async def test_when_and_how_long(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, told: list[Event]
) -> None:
    """Moments are aware and in order on the client's clock; a look took as long as its answer."""
    transport.play("in_progress", "succeeded")
    transport.latency = 0.25

    await client.wait_for_job("1203")

    moments = [event.at for event in told]
    assert moments[0] == START
    assert moments == sorted(moments)
    assert moments[-1] - START == timedelta(seconds=clock.monotonic())
    assert [event.took for event in told if isinstance(event, JobLooked)] == pytest.approx([0.25, 0.25])


async def test_iterating_tells_the_same(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A wait that is iterated tells what an awaited one does, once, also when it is awaited afterwards."""
    transport.play("in_progress", "succeeded")
    waiter = client.wait_for_job("1203")

    async for _ in waiter:
        pass
    await waiter

    looks = ["JobLooked", "JobChanged", "JobLooked", "JobChanged"]
    assert names(told) == ["WaitBegan", *looks, "JobFinished", "WaitEnded"]


async def test_waits_share_what_happens_to_a_job(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """Three waits for one job begin and end three times; the job is looked at, changes and finishes once."""
    transport.play("in_progress", "succeeded")

    await asyncio.gather(*(client.wait_for_job("1203") for _ in range(3)))

    counts = {kind: names(told).count(kind) for kind in set(names(told))}
    assert counts == {"WaitBegan": 3, "WaitEnded": 3, "JobLooked": 2, "JobChanged": 2, "JobFinished": 1}


async def test_a_job_known_to_be_finished(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A wait for a job that is known to be finished begins and ends without a look."""
    transport.play("succeeded")
    await client.wait_for_job("1203")
    told.clear()

    await client.wait_for_job("1203")

    assert names(told) == ["WaitBegan", "WaitEnded"]


async def test_a_failed_job(client: AsanaClient, transport: ScriptedTransport, told: list[Event]) -> None:
    """A failed job finishes, and its wait ends as failed without an error, since none is raised."""
    transport.play("in_progress", "failed")

    await client.wait_for_job("1203")

    finished, ended = told[-2:]
    assert isinstance(finished, JobFinished)
    assert finished.job.failed
    assert isinstance(ended, WaitEnded)
    assert (ended.outcome, ended.error) == (WaitOutcome.FAILED, None)


async def test_trouble_that_passes(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A look that fails has its error; the wait goes on."""
    transport.play("in_progress", 503, "succeeded")

    await client.wait_for_job("1203")

    looks = [event for event in told if isinstance(event, JobLooked)]
    assert [(event.status, type(event.error)) for event in looks] == [
        ("in_progress", type(None)),
        (None, ServerError),
        ("succeeded", type(None)),
    ]
    assert names(told)[-1] == "WaitEnded"


async def test_watching_is_impossible(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """The error that ends a wait is in its last event."""
    transport.play("in_progress", 403)

    with pytest.raises(PermissionDeniedError) as caught:
        await client.wait_for_job("1203")

    ended = told[-1]
    assert isinstance(ended, WaitEnded)
    assert (ended.outcome, ended.error, ended.status) == (WaitOutcome.ERROR, caught.value, "in_progress")


async def test_a_deadline(client: AsanaClient, transport: ScriptedTransport, told: list[Event]) -> None:
    """A wait that runs out of time ends as timed out, once, however often it is asked again."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203", timeout=10)

    for _ in range(3):
        with pytest.raises(JobTimeoutError):
            await waiter

    assert isinstance(told[0], WaitBegan)
    assert told[0].timeout == 10
    (ended,) = (event for event in told if isinstance(event, WaitEnded))
    assert ended.outcome is WaitOutcome.TIMED_OUT
    assert ended.waited == pytest.approx(10)
    assert isinstance(ended.error, JobTimeoutError)


async def test_cancellation(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A cancelled wait has ended; when it is awaited again it begins again."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203")
    with pytest.raises(TimeoutError):
        async with clock.timeout(5):
            await waiter

    assert isinstance(told[-1], WaitEnded)
    assert (told[-1].outcome, told[-1].error) == (WaitOutcome.CANCELLED, None)
    transport.play("succeeded")
    told.clear()
    await waiter
    assert names(told) == ["WaitBegan", "JobLooked", "JobChanged", "JobFinished", "WaitEnded"]


async def test_a_wait_that_nobody_goes_on_with(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """Leaving a loop ends nothing, since the wait can be gone on with; dropping it does."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203")
    await anext(waiter)
    assert names(told)[-1] == "JobChanged"

    del waiter
    gc.collect()
    await asyncio.sleep(0)

    assert isinstance(told[-1], WaitEnded)
    assert told[-1].outcome is WaitOutcome.ABANDONED


async def test_a_wait_that_is_closed(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """Closing the coroutine that a waiter is ends its wait as abandoned."""
    transport.play("in_progress")
    waiter = client.wait_for_job("1203")
    waiter.send(None)

    waiter.close()
    await asyncio.sleep(0)

    assert names(told) == ["WaitBegan", "JobLooked", "JobChanged", "WaitEnded"]
    assert isinstance(told[-1], WaitEnded)
    assert told[-1].outcome is WaitOutcome.ABANDONED


async def test_a_waiter_that_was_never_used(client: AsanaClient, told: list[Event]) -> None:
    """A wait that never began tells nothing."""
    waiters = [client.wait_for_job("1203")]

    with pytest.warns(RuntimeWarning, match="never awaited"):
        waiters.clear()

    gc.collect()
    await asyncio.sleep(0)
    assert told == []


async def test_one_look(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, told: list[Event]
) -> None:
    """Steps of a wait tell what they see of the job, and what is new; they are no waits that begin or end."""
    running = {"gid": "1203", "status": "in_progress", "new_project": {"gid": "5"}}
    transport.play(running, running, "succeeded")

    check = await client.check_job("1203")
    for _ in range(2):
        gc.collect()  # as if on another machine
        await clock.sleep(5)
        check = await client.check_job(check.continuation_token)

    expected = ["JobLooked", "JobChanged", "JobLooked", "JobLooked", "JobChanged", "JobFinished"]
    assert names(told) == expected


async def test_a_monitor(client: AsanaClient, transport: ScriptedTransport, told: list[Event]) -> None:
    """A monitor waits for each of its jobs."""
    transport.play("in_progress", "in_progress", "succeeded")

    async with client.monitor_jobs(["1205", "1206"]) as monitor:
        async for _ in monitor:
            pass

    ended = {(event.gid, event.outcome.value) for event in told if isinstance(event, WaitEnded)}
    assert ended == {("1205", "succeeded"), ("1206", "succeeded")}


async def test_a_client_that_is_closed(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """Closing the client ends its waits, and they say so."""
    transport.play("in_progress")
    waiting = asyncio.create_task(client.wait_for_job("1203"))
    await asyncio.sleep(0)

    await client.close()
    await asyncio.wait([waiting])

    assert isinstance(told[-1], WaitEnded)
    assert (told[-1].outcome, told[-1].error) == (WaitOutcome.ERROR, waiting.exception())


# Starts.


async def test_a_start(client: AsanaClient, transport: ScriptedTransport, told: list[Event]) -> None:
    """A job that was started is told with what it is about and what starting it took."""
    transport.play({"gid": "1203", "status": "not_started"})
    transport.latency = 0.5

    await client.start(COPY)

    assert told == [
        JobStarted(
            at=START + timedelta(seconds=0.5),
            gid="1203",
            status="not_started",
            kind="duplicate_project",
            subject="77",
            took=0.5,
        )
    ]


async def test_a_start_and_its_wait(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """What this client started has a kind and an age, and changes from what the answer to its start said."""
    transport.play({"gid": "1203", "status": "not_started"}, "not_started", "succeeded")

    await client.wait_for_job(await client.start(COPY))

    looks = ["JobLooked", "JobLooked", "JobChanged"]
    assert names(told) == ["JobStarted", "WaitBegan", *looks, "JobFinished", "WaitEnded"]
    finished = told[-2]
    assert isinstance(finished, JobFinished)
    assert finished.kind == "duplicate_project"
    assert finished.age == pytest.approx((finished.at - START).total_seconds(), abs=1e-5)
    assert finished.lag_bound == pytest.approx((finished.at - told[2].at).total_seconds(), abs=1e-5)


async def test_a_job_that_is_finished_when_it_is_started(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """An answer with a finished job tells both."""
    transport.play("succeeded")

    await client.start(COPY)

    assert names(told) == ["JobStarted", "JobFinished"]


async def test_a_start_that_is_refused(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A start that Asana refuses has failed, with the error that is raised."""
    transport.play(400)

    with pytest.raises(BadRequestError) as caught:
        await client.duplicate_project("77", name="Q3 launch")

    assert told == [StartFailed(at=START, kind="duplicate_project", subject="77", error=caught.value)]


async def test_a_start_whose_answer_is_lost(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A start that may have happened is doubted, and not repeated."""
    transport.play(lost)

    with pytest.raises(OutcomeUnknownError) as caught:
        await client.start(COPY)

    assert told == [StartDoubted(at=START, kind="duplicate_project", subject="77", error=caught.value)]


# Many.


async def test_a_bulk_run(client: AsanaClient, transport: ScriptedTransport, told: list[Event]) -> None:
    """Each job of a run is started, waited for and finished, in this order."""
    started = 0

    def serve(request: Request) -> dict[str, object]:
        nonlocal started
        if request.method == "GET":
            return {"gid": request.gid, "status": "succeeded"}
        started += 1
        return {"gid": str(1200 + started), "status": "in_progress"}

    transport.play(serve)

    outcomes = [outcome async for outcome in client.run_all([COPY] * 7)]

    for gid in (outcome.job.gid for outcome in outcomes if outcome.job):
        mine = [
            event for event in told if not isinstance(event, StartFailed | StartDoubted) and event.gid == gid
        ]
        assert names(mine) == [
            "JobStarted", "WaitBegan", "JobLooked", "JobChanged", "JobFinished", "WaitEnded"
        ]  # fmt: skip
    assert len(told) == 7 * 6


async def test_a_start_of_a_run_that_is_waited_out(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A start that is rejected and tried again is told as rejected, repeated and started: it has not failed."""
    transport.play(429, "succeeded")

    await client.run(COPY)

    expected = ["RequestRejected", "RequestRepeated", "JobStarted", "JobFinished", "WaitBegan", "WaitEnded"]
    assert names(told) == expected


@pytest.mark.parametrize(("answer", "kind"), [(403, StartFailed), (lost, StartDoubted)], ids=["403", "lost"])
async def test_a_start_of_a_run_that_fails(
    client: AsanaClient,
    transport: ScriptedTransport,
    told: list[Event],
    answer: typing.Any,
    kind: type[StartFailed | StartDoubted],
) -> None:
    """A start that fails in a run is told once, with the error of its outcome."""
    transport.play(answer)

    (outcome,) = [outcome async for outcome in client.run_all([COPY])]

    (event,) = told
    assert isinstance(event, kind)
    assert event.error is outcome.error


async def test_a_run_that_is_cancelled_amid_a_start(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A request that is out is answered although the run was cancelled, and the job that it started is told."""
    transport.play("in_progress")
    transport.latency = 10
    running = asyncio.create_task(client.run(COPY))
    await clock.sleep(1)

    running.cancel()
    await asyncio.wait([running])

    assert names(told) == ["JobStarted"]


async def test_what_a_ledger_knows(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event], tmp_path: typing.Any
) -> None:
    """An operation that an earlier run has finished starts nothing and tells nothing."""
    transport.play("in_progress", "succeeded")
    with Ledger.open(tmp_path / "ledger") as ledger:
        assert [outcome.succeeded async for outcome in client.run_all([COPY], ledger=ledger)] == [True]
        told.clear()

        assert [outcome.succeeded async for outcome in client.run_all([COPY], ledger=ledger)] == [True]

    assert told == []


# Requests.


async def test_a_rejected_request(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """A 429 tells what was asked, what Asana asks for, and for how long nobody sends; then the repetition."""
    transport.play(Response(429, {"retry-after": "20"}), "succeeded")

    await client.get_job("1203")

    rejected, repeated = told
    assert isinstance(rejected, RequestRejected)
    assert (rejected.method, rejected.path, rejected.gid) == ("GET", "/jobs/1203", "1203")
    assert (rejected.retry_after, rejected.paused_for) == (20, 20)
    assert isinstance(repeated, RequestRepeated)
    assert (repeated.method, repeated.path, repeated.gid) == ("GET", "/jobs/1203", "1203")
    assert isinstance(repeated.error, RateLimitError)


async def test_a_rejected_look(client: AsanaClient, transport: ScriptedTransport, told: list[Event]) -> None:
    """A 429 to a look is told as that, and as a look that failed."""
    transport.play(429, "succeeded")

    await client.wait_for_job("1203")

    expected = [
        "WaitBegan",
        "RequestRejected",
        "JobLooked",
        "JobLooked",
        "JobChanged",
        "JobFinished",
        "WaitEnded",
    ]
    assert names(told) == expected


async def test_the_last_attempt_is_not_told_as_repeated(
    client: AsanaClient, transport: ScriptedTransport, told: list[Event]
) -> None:
    """There are as many repetitions told as there are requests after the first."""
    transport.play(503)

    with pytest.raises(ServerError):
        await client.get_job("1203")

    assert names(told) == ["RequestRepeated"] * (len(transport.requests) - 1)
    assert told


# All of them.


async def test_no_event_shows_the_token(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport, told: list[Event]
) -> None:
    """No event of any kind shows the token, in its text or in that of what it holds."""
    for answers in (("in_progress", 429, 503, "succeeded"), ("in_progress", 403), (400,), (lost,)):
        transport.play(*answers)
        for call in (client.wait_for_job("1203"), client.run(COPY), client.run(ExportGraph("5"))):
            transport.play(*answers)
            try:
                await asyncio.wait_for(call, 3600)
            except AsanaJobsError:
                pass
            except TimeoutError:
                pytest.fail("a call that does not end")

    for _ in range(120):
        client.durations.observe("duplicate_task", 1.0, 2.0, finished=True)
    transport.play("in_progress", "succeeded")
    old = JobReference(gid="9", kind="duplicate_task", started_at=clock.now() - timedelta(hours=1))
    await client.wait_for_job(old.to_token())
    change = {"asana-change": f"name={TOKEN};info=https://x/{TOKEN};affected=true"}
    transport.play(Response(status=200, headers=change, body=b'{"data": {"gid": "9"}}'))
    await client.get_job("9")

    assert {type(event) for event in told} == set(typing.get_args(Event))
    for event in told:
        held = [repr(event), repr(attrs.asdict(event)), repr(getattr(event, "error", None))]
        assert TOKEN not in "".join(held)


@pytest.mark.parametrize("kind", typing.get_args(Event), ids=lambda kind: kind.__name__)
def test_every_event_is_a_documented_value(kind: type[Event]) -> None:
    """Each event is public, frozen, has the moment, and is in the table at the top of its module."""
    assert kind.__name__ in events.__all__
    assert next(field.name for field in attrs.fields(kind)) == "at"
    assert kind.__setattr__ is not object.__setattr__
    assert f"\n{kind.__name__} " in str(events.__doc__)
