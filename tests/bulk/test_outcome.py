"""The outcome of one operation: its job, or what there is instead."""

from pathlib import Path

import pytest
from ledger_samples import BROKEN, COPY, ENDED, LOST, RUNNING

from asana_jobs import AsanaClient, Job, Ledger, Outcome
from asana_jobs.errors import JobFailedError, JobTimeoutError, OutcomeUnknownError


def test_a_succeeded_job_is_handed_out() -> None:
    """An outcome with a succeeded job is a success, and gives the job."""
    outcome = Outcome(COPY, ENDED, None, "a")

    assert outcome.succeeded
    assert outcome.raise_for_error() is ENDED


@pytest.mark.parametrize(
    ("job", "error"),
    [(BROKEN, JobFailedError(job=BROKEN)), (None, LOST), (None, ValueError("no operation"))],
    ids=["failed", "unknown", "no operation"],
)
def test_an_error_is_raised_as_it_is(job: Job | None, error: Exception) -> None:
    """An outcome with an error is no success, and raises the very error."""
    outcome = Outcome(COPY, job, error, "a")

    assert not outcome.succeeded
    with pytest.raises(type(error)) as caught:
        outcome.raise_for_error()
    assert caught.value is error


def test_a_notebook_shows_what_went_wrong() -> None:
    """The table of an outcome names the error and says what it says; without one it has no such row."""
    failed = Outcome(COPY, None, LOST, "a")._repr_html_()  # pyright: ignore[reportPrivateUsage]
    good = Outcome(COPY, ENDED, None, "a")._repr_html_()  # pyright: ignore[reportPrivateUsage]

    assert "OutcomeUnknownError: reset after the request" in failed
    assert "error" not in good


def test_a_job_that_was_given_up_on_is_no_success() -> None:
    """An outcome whose job was not seen to end raises the timeout, and says where the wait goes on."""
    timeout = JobTimeoutError(gid="77", job=RUNNING, waited=60.0, continuation_token="token")
    outcome = Outcome(COPY, RUNNING, timeout, "a", continuation_token="token")

    assert not outcome.succeeded
    assert outcome.continuation_token == "token"
    with pytest.raises(JobTimeoutError):
        outcome.raise_for_error()


async def test_what_was_settled_by_hand_has_no_job(client: AsanaClient, path: Path) -> None:
    """An operation that a person has settled is neither an error nor a success, and no request is made for it."""
    with Ledger.open(path) as ledger:
        await ledger.claim("a", COPY)
        await ledger.unknown("a", LOST)
        await ledger.accept_unknown("a")

        (outcome,) = [outcome async for outcome in client.run_all([("a", COPY)], ledger=ledger)]

    assert (outcome.job, outcome.error, outcome.succeeded, outcome.from_ledger) == (None, None, False, True)
    with pytest.raises(ValueError, match="a: settled by hand in the ledger, there is no job"):
        outcome.raise_for_error()


async def test_the_ledger_tells_of_an_unknown_outcome(client: AsanaClient, path: Path) -> None:
    """An operation of an earlier run that may have been started is an error which says what to do, without a request."""
    with Ledger.open(path) as ledger:
        await ledger.claim("a", COPY)
        await ledger.unknown("a", LOST)

        (outcome,) = [outcome async for outcome in client.run_all([("a", COPY)], ledger=ledger)]

    assert outcome.from_ledger
    with pytest.raises(OutcomeUnknownError, match="run again with retry_unknown=True or settle it"):
        outcome.raise_for_error()
