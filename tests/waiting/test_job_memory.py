"""What a client remembers of jobs when nobody waits for them."""

from datetime import timedelta

import pytest

from asana_jobs import DuplicateProject, Job
from asana_jobs._client.waiting import job_memory
from asana_jobs._client.waiting.job_memory import JobMemory
from asana_jobs._client.waiting.job_reference import JobReference, read_subject
from asana_jobs._client.waiting.watched_job import WatchedJob
from asana_jobs.testing import FakeClock


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

    assert (again.first_seen, again.teaches, first.teaches) == (first.first_seen, False, True)


def test_the_oldest_is_forgotten_first(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered is bounded; whatever is remembered again is the newest."""
    monkeypatch.setattr(job_memory, "REMEMBERED_JOBS", 2)
    memory = JobMemory(clock)
    for gid in ("1", "2", "1", "3"):
        memory.finished[gid] = Job(gid, status="succeeded")

    assert list(memory.finished) == ["1", "3"]
