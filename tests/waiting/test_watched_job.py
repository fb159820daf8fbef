"""A watched job: who is interested in it, and what is kept of it; and what a client remembers when nobody waits for it."""

import gc
from datetime import timedelta
from weakref import ref

import pytest

from asana_jobs import AsanaClient, DuplicateProject, Job, PollPolicy
from asana_jobs._client.waiting import watched_job as watched_job_module
from asana_jobs._client.waiting.job_reference import JobReference, read_subject
from asana_jobs._client.waiting.subscription import Subscription
from asana_jobs._client.waiting.waiter import make_wait
from asana_jobs._client.waiting.watched_job import JobMemory, WatchedJob
from asana_jobs.testing import FakeClock


def wait_of(client: AsanaClient, gid: str) -> Subscription:
    """Return a wait for a job."""
    return make_wait(client._poller, PollPolicy(), gid)  # pyright: ignore[reportPrivateUsage]


def watched_job() -> WatchedJob:
    """Return a job that nobody is interested in."""
    return WatchedJob("1203", None, "jobs", "1203", 5.0)


async def test_those_interested_are_kept_in_the_order_in_which_they_came(client: AsanaClient) -> None:
    """However they come and leave, the others keep their order; leaving twice is harmless."""
    watched = watched_job()
    waits = [wait_of(client, str(gid)) for gid in range(4)]
    for wait in waits:
        watched.join(wait)
    assert list(watched.subscriptions) == waits

    assert watched.leave(waits[0])
    assert watched.leave(waits[2])
    assert not watched.leave(waits[2])
    assert list(watched.subscriptions) == [waits[1], waits[3]]
    watched.join(waits[0])
    assert list(watched.subscriptions) == [waits[1], waits[3], waits[0]]
    for wait in waits:
        watched.leave(wait)
    assert (list(watched.subscriptions), watched.first, watched.others) == ([], None, None)


def test_a_job_is_kept_as_its_answer() -> None:
    """The job is read again from the answer when nobody holds it, and is the same object while somebody does."""
    watched = watched_job()
    assert watched.job is None
    held = Job("1203", status="in_progress")
    watched.body = b'{"data": {"gid": "1203", "status": "in_progress"}}'
    watched.reading = ref(held)
    assert watched.job is held

    del held
    gc.collect()

    assert watched.job == Job("1203", status="in_progress")


def test_the_start_of_a_job_is_known_or_not() -> None:
    """Without a known start, a job is taken to have started when it was first asked for."""
    watched = watched_job()
    assert (watched.born, watched.started) == (5.0, None)
    watched.born, watched.known_start = 2.0, True
    assert watched.started == 2.0


# What is remembered.


OPERATION = DuplicateProject("7", name="Q3 launch")


def watched_now(gid: str, clock: FakeClock) -> WatchedJob:
    """Return a job that is asked for now."""
    return WatchedJob(gid, None, "jobs", gid, clock.monotonic())


async def test_the_start_of_a_job_is_remembered(clock: FakeClock) -> None:
    """Who waits later for a job that this client started is told its kind, its source and when that was."""
    memory = JobMemory(clock)
    memory.started(Job("1203"), OPERATION)
    began = clock.monotonic()
    await clock.sleep(30)

    known = memory.enrich(read_subject("1203"))

    assert (known.kind, known.source, known.first_seen) == ("duplicate_project", "7", False)
    assert known.started_at is not None
    assert memory.moment(known.started_at) == pytest.approx(began)


def test_a_start_is_better_known_than_when_a_job_was_first_seen(clock: FakeClock) -> None:
    """A token of an earlier process that did not know the start is put right by the client that made it."""
    memory = JobMemory(clock)
    memory.started(Job("1203"), OPERATION)
    seen_later = JobReference(gid="1203", started_at=clock.now() + timedelta(seconds=9), first_seen=True)

    known = memory.enrich(seen_later)

    assert (known.started_at, known.first_seen) == (clock.now(), False)


def test_nothing_is_added_to_a_job_that_somebody_else_started(clock: FakeClock) -> None:
    """Of another job nothing is known but what it was handed over with."""
    reference = read_subject("1203")

    assert JobMemory(clock).enrich(reference) is reference


def test_a_job_that_had_finished_when_it_was_started_is_known_to_have(clock: FakeClock) -> None:
    """The answer to the POST is look number zero."""
    memory, job = JobMemory(clock), Job("1203", status="succeeded")
    memory.started(job, OPERATION)

    assert memory.finished["1203"] is job
    assert "1204" not in memory.finished


async def test_a_job_that_is_met_again_keeps_its_age_and_teaches_nothing(clock: FakeClock) -> None:
    """The looks since it was first asked for are not known any more."""
    memory, reference = JobMemory(clock), read_subject("1203")
    first = watched_now("1203", clock)
    memory.meet(first, reference)
    await clock.sleep(30)

    again = watched_now("1203", clock)
    memory.meet(again, reference)

    assert (again.born, again.teaches, first.teaches) == (first.born, False, True)


def test_the_oldest_is_forgotten_first(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded; whatever is remembered again is the newest."""
    monkeypatch.setattr(watched_job_module, "REMEMBERED_JOBS", 2)
    memory = JobMemory(clock)
    for gid in ("1", "2", "1", "3"):
        memory.finished[gid] = Job(gid, status="succeeded")

    assert list(memory.finished) == ["1", "3"]
