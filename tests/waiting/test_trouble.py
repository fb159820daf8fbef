"""The trouble of one job, and that of all; what an outage does to waits is in tests/campaign/test_outage.py."""

import pytest

from asana_jobs._client.http.protocol import LONGEST_PAUSE
from asana_jobs._client.waiting.trouble import (
    NOT_FOUND_STREAK,
    OUTAGE_STREAK,
    FailureStreak,
    Outage,
    copy_exception,
    passes,
    unanswered,
)
from asana_jobs.errors import (
    APIError,
    AsanaJobsError,
    DecodeError,
    JobTimeoutError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
)


def refusal(kind: type[APIError], status: int, retry_after: float | None = None) -> APIError:
    """An answer of that status."""
    return kind(
        f"answered {status}",
        method="GET",
        path="/jobs/1",
        gid="1",
        status=status,
        readable=True,
        retry_after=retry_after,
    )


NOT_FOUND = refusal(NotFoundError, 404)
AWAY = refusal(ServerError, 503)
LOST = TransportError("lost", method="GET", path="/jobs/1", gid="1")
BUSY = refusal(RateLimitError, 429, 30.0)


def test_a_streak_counts_and_keeps_the_last_error_without_its_traceback() -> None:
    """A streak knows since when it lasts, how many failures it had, and what the last one said."""
    streak = FailureStreak(5.0, AWAY)
    try:
        raise LOST
    except TransportError as error:
        streak.record(error)
    streak.record(AWAY)

    assert (streak.since, streak.failures, str(streak.error)) == (5.0, 2, str(AWAY))
    assert streak.error is not AWAY
    assert streak.error.__traceback__ is None


def test_404s_count_while_nothing_else_comes_between() -> None:
    """A 404 after other trouble is the first of its kind."""
    streak = FailureStreak(0.0, AWAY)
    counts: list[int] = []
    for error in (NOT_FOUND, NOT_FOUND, AWAY, NOT_FOUND):
        streak.record(error)
        counts.append(streak.not_found)

    assert counts == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("error", "pause"),
    [(AWAY, 0.0), (refusal(ServerError, 503, 40.0), 40.0), (BUSY, 0.0), (LOST, 0.0)],
)
def test_asana_may_ask_for_a_pause(error: AsanaJobsError, pause: float) -> None:
    """A Retry-After moves the next look, except after a 429, for which the gate pauses everybody."""
    streak = FailureStreak(0.0, error)
    streak.record(error)

    assert streak.asked_pause == pause


@pytest.mark.parametrize(
    ("error", "pause"),
    [(AWAY, 0.0), (refusal(ServerError, 503, 40.0), 40.0), (BUSY, 30.0), (LOST, 0.0)],
)
def test_who_has_no_gate_keeps_the_pause_of_a_429_too(error: AsanaJobsError, pause: float) -> None:
    """What is told to somebody who comes back later has every pause in it that Asana asked for."""
    assert FailureStreak(0.0, error).retry_after == pause


def test_no_pause_that_asana_asks_for_lasts_for_ever() -> None:
    """A Retry-After of a year is cut to the longest pause."""
    assert FailureStreak(0.0, refusal(ServerError, 503, 3e7)).asked_pause == LONGEST_PAUSE


@pytest.mark.parametrize(
    ("error", "not_found", "young", "seen", "may_pass"),
    [
        (AWAY, 0, False, False, True),
        (LOST, 0, False, False, True),
        (BUSY, 0, False, False, True),
        (NOT_FOUND, 1, True, False, True),
        (NOT_FOUND, 9, True, False, True),
        (NOT_FOUND, 1, False, False, False),
        (NOT_FOUND, NOT_FOUND_STREAK - 1, False, True, True),
        (NOT_FOUND, NOT_FOUND_STREAK, False, True, False),
        (refusal(PermissionDeniedError, 403), 0, True, True, False),
        (DecodeError("no job", gid="1"), 0, True, True, False),
    ],
)
def test_what_may_pass(
    error: AsanaJobsError, not_found: int, young: bool, seen: bool, may_pass: bool
) -> None:
    """Lost answers, 429 and 5xx pass; a 404 does of a young job, and a few times of one that was seen."""
    assert passes(error, not_found=not_found, young=young, seen=seen) is may_pass


def test_a_429_is_an_answer() -> None:
    """Somebody is there who says 429: that is no outage."""
    assert [unanswered(error) for error in (AWAY, LOST, BUSY, NOT_FOUND)] == [True, True, False, False]


def test_an_outage_begins_with_a_streak_and_is_probed() -> None:
    """After enough failures in a row looks are held back until the next probe is due."""
    outage = Outage()
    for number in range(OUTAGE_STREAK - 1):
        assert not outage.failed(AWAY, float(number))
        assert not outage.on

    assert outage.failed(LOST, 5.0)
    assert (outage.on, outage.since, str(outage.error)) == (True, 0.0, str(LOST))
    assert not outage.failed(LOST, 6.0)
    outage.probed(10.0)
    assert outage.ready_at > 10.0


def test_a_copy_keeps_the_cause_and_drops_the_rest() -> None:
    """What one task raises does not grow tracebacks of another's, and says the same."""

    def fail() -> None:
        raise JobTimeoutError(
            gid="1", job=None, waited=5.0, continuation_token="{}", trouble=None
        ) from ValueError("first")

    with pytest.raises(JobTimeoutError) as caught:
        fail()
    original = caught.value
    other = copy_exception(original)

    assert isinstance(other, JobTimeoutError)
    assert (str(other), other.gid, other.waited) == (str(original), "1", 5.0)
    assert other.__cause__ is original.__cause__
    assert (other.__context__, other.__traceback__) == (None, None)


def test_what_cannot_be_copied_is_raised_itself() -> None:
    """An exception of somebody else's that refuses to be copied still reaches everybody."""

    class StubbornError(Exception):
        def __reduce__(self) -> str:
            raise TypeError("no copies")

    error = StubbornError()

    assert copy_exception(error) is error
