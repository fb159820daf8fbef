"""A watched job: who is interested in it, and what is kept of it."""

import gc
from weakref import ref

from asana_jobs import AsanaClient, Job, PollPolicy
from asana_jobs._client.waiting.subscription import Subscription
from asana_jobs._client.waiting.waiter import make_wait
from asana_jobs._client.waiting.watched_job import WatchedJob


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


def test_a_job_is_born_when_it_started_if_that_is_known() -> None:
    """Without a known start, a job is taken to have started when it was first asked for."""
    watched = watched_job()
    assert watched.born == 5.0
    watched.started = 2.0
    assert watched.born == 2.0
