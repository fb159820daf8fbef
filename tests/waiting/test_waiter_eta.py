"""When a job is expected to end, by what was learned of its kind, and when it is overdue."""

import logging
from datetime import timedelta

import pytest
from tenacity import wait_fixed

from asana_jobs import AsanaClient, JobWaiter
from asana_jobs._client.waiting.durations import Durations
from asana_jobs._client.waiting.job_reference import JobReference
from asana_jobs.errors import rounded
from asana_jobs.events import Event, JobOverdue
from asana_jobs.testing import FakeClock, ScriptedTransport


KIND = "duplicate_project"


def teach(durations: Durations, ends: int, *, seconds: float = 60.0, kind: str = KIND) -> None:
    """Have seen so many jobs of a kind end at about that age."""
    for number in range(ends):
        end = seconds * (0.8 + 0.4 * number / ends)
        durations.observe(kind, 0.0, end, finished=False)
        durations.observe(kind, end, end + 0.1, finished=True)


def job(clock: FakeClock, gid: str = "1203", *, kind: str | None = KIND, age: float = 0.0) -> str:
    """A job of a known age."""
    now = clock.now()
    return JobReference(
        gid=gid,
        kind=kind,
        started_at=now - timedelta(seconds=age),
        looked_at=now,
        looks=1,
        last_status="in_progress",
    ).to_token()


async def begun(waiter: JobWaiter) -> JobWaiter:
    """Look once."""
    await anext(waiter)
    return waiter


# Eta.


async def test_a_job_is_expected_to_end_as_its_kind_did(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """The median and the 90 % moment are those of the ends that were seen, as aware moments."""
    transport.play("in_progress")
    teach(client.durations, 200)
    start = clock.now()
    waiter = await begun(client.wait_for_job(job(clock), poll=wait_fixed(1)))

    eta = waiter.eta()

    assert eta is not None
    assert (eta.likely - start).total_seconds() == pytest.approx(60, rel=0.25)
    assert (eta.latest - start).total_seconds() == pytest.approx(72, rel=0.3)
    assert eta.likely < eta.latest
    assert eta.likely.tzinfo is not None


async def test_an_older_job_is_expected_later(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """What a job has outlived already is not expected any more, and no moment has passed."""
    await clock.sleep(10_000)  # how long the machine has run says nothing of a job's age
    transport.play("in_progress")
    teach(client.durations, 200)
    young = await begun(client.wait_for_job(job(clock, "1"), poll=wait_fixed(1)))
    old = await begun(client.wait_for_job(job(clock, "2", age=65), poll=wait_fixed(1)))
    ancient = await begun(client.wait_for_job(job(clock, "3", age=5000), poll=wait_fixed(1)))
    etas = [waiter.eta() for waiter in (young, old, ancient)]

    assert all(eta is not None and clock.now() <= eta.likely <= eta.latest for eta in etas)
    assert etas[0] is not None
    assert etas[1] is not None
    assert (etas[1].likely - clock.now()) < (etas[0].likely - clock.now())
    assert (etas[1].likely + timedelta(seconds=65)) > etas[0].likely


@pytest.mark.parametrize(("ends", "known"), [(19, False), (20, True)])
async def test_an_eta_needs_twenty_ends(
    ends: int, known: bool, client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Of a kind of which fewer were seen to end, nothing is promised."""
    transport.play("in_progress")
    teach(client.durations, ends)
    waiter = await begun(client.wait_for_job(job(clock), poll=wait_fixed(1)))

    assert (waiter.eta() is not None) is known


async def test_there_is_no_eta_before_the_first_use_and_after_the_end(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A wait that has not begun promises nothing, and a job that has ended ends no more."""
    transport.play("in_progress", "succeeded")
    teach(client.durations, 50)
    waiter = client.wait_for_job(job(clock))
    assert waiter.eta() is None
    await anext(waiter)
    assert waiter.eta() is not None

    await waiter

    assert waiter.eta() is None


async def test_a_monitor_expects_the_last_of_its_jobs(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """All have ended when the slowest has; while one is of a kind nobody knows, that cannot be said."""
    states = {"1": "in_progress", "2": "in_progress", "3": "in_progress"}
    transport.play(lambda request: states[request.gid or ""])
    teach(client.durations, 50)
    teach(client.durations, 50, seconds=600, kind="export_graph")
    jobs = [job(clock, "1"), job(clock, "2", kind="export_graph")]
    async with client.monitor_jobs(jobs, poll=wait_fixed(5)) as monitor:
        await clock.sleep(1)
        eta = monitor.eta()
        assert eta is not None
        assert (eta.likely - clock.now()).total_seconds() == pytest.approx(600, rel=0.3)
        monitor.add(job(clock, "3", kind="never_seen"))
        await clock.sleep(1)
        assert monitor.eta() is None
        states["3"] = states["2"] = "succeeded"
        await clock.sleep(10)
        eta = monitor.eta()
        assert eta is not None
        assert (eta.likely - clock.now()).total_seconds() < 100
        states["1"] = "succeeded"
        await clock.sleep(10)
        assert monitor.eta() is None


# Overdue.


async def watch(ends: int, seconds: float, *, waits: int = 1) -> list[JobOverdue]:
    """Wait for a job that runs so long, of a kind that ends within seconds, and return what was told of it."""
    told: list[Event] = []
    clock = FakeClock()
    transport = ScriptedTransport(
        lambda _: "succeeded" if clock.monotonic() >= seconds else "in_progress", clock=clock
    )
    async with AsanaClient("test-token", transport=transport, clock=clock, on_event=told.append) as client:
        teach(client.durations, ends, seconds=10)
        waiters = [client.wait_for_job(job(clock), poll=wait_fixed(1)) for _ in range(waits)]
        for waiter in waiters[1:]:
            await anext(waiter)
        await waiters[0]
    return [event for event in told if isinstance(event, JobOverdue)]


@pytest.mark.parametrize("waits", [1, 3])
async def test_a_job_that_outlives_its_kind_is_told_once(
    waits: int, caplog: pytest.LogCaptureFixture
) -> None:
    """One event and one record say which job, how old it is and what is usual, however many wait and look on."""
    with caplog.at_level(logging.INFO, "asana_jobs"):
        (overdue,) = await watch(150, 300.0, waits=waits)

    assert (overdue.gid, overdue.kind) == ("1203", KIND)
    assert 10 < overdue.usual < overdue.age < overdue.usual * 1.5**2 * 1.1
    records = [record.getMessage() for record in caplog.records if "overdue" in record.getMessage()]
    text = "job 1203 is overdue: it runs for {} s, and 99 of 100 of its kind, {}, end within {} s"
    assert records == [text.format(rounded(overdue.age), KIND, rounded(overdue.usual))]


@pytest.mark.parametrize(("ends", "seconds"), [(150, 9.0), (60, 300.0)])
async def test_a_job_is_not_overdue_in_time_or_where_little_is_known(ends: int, seconds: float) -> None:
    """A job that ends as its kind does is not told of, nor any of a kind of which fewer than a hundred were seen."""
    assert await watch(ends, seconds) == []
