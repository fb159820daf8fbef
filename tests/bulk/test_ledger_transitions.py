"""The decisions of a ledger: who starts what, who watches what, and what is never done twice."""

import json
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from ledger_samples import BROKEN, COPY, ENDED, LOST, REFUSAL, RUNNING, WallClock, verdict

from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_owner import LEASE
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict, LedgerState, LedgerSummary
from asana_jobs.errors import JobTimeoutError, LedgerError, OutcomeUnknownError
from asana_jobs.models import GraphExportCompact, Job
from asana_jobs.operations import DuplicateTask, ExportGraph


Record = Callable[[Ledger], Awaitable[None]]
#: What is recorded of an intent that came to nothing.
TOO_LATE: dict[str, Record] = {
    "refused": lambda ledger: ledger.refused("a", REFUSAL),
    "unknown": lambda ledger: ledger.unknown("a", LOST),
    "withdrawn": lambda ledger: ledger.withdraw("a"),
}


# --- What a claim answers


async def test_new_operation_is_to_be_started(ledger: Ledger, path: Path) -> None:
    """A claim on a new operation says start, and its intent is in the file by then."""
    claim = await ledger.claim("a", COPY)

    with sqlite3.connect(path) as reader:
        stored = reader.execute("SELECT key, state, content FROM operations").fetchall()
    reader.close()
    assert claim.verdict is ClaimVerdict.START
    assert [(key, state, json.loads(content)) for key, state, content in stored] == [
        ("a", "intent", COPY.to_dict())
    ]


async def test_started_operation_is_to_be_watched(ledger: Ledger, other: Ledger) -> None:
    """A started operation that nobody holds is watched on from its continuation token."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING, "token 1")
    await ledger.release("a", continuation_token="token 2")

    claim = await other.claim("a", COPY)

    assert (claim.verdict, claim.row.resume_from, claim.row.job) == (ClaimVerdict.RESUME, "token 2", RUNNING)


@pytest.mark.parametrize("end", [ENDED, BROKEN])
async def test_finished_operation_is_done(ledger: Ledger, end: Job) -> None:
    """An operation whose job has ended, either way, is done, and the claim holds the job."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    await ledger.finished("a", end)

    claim = await ledger.claim("a", COPY)

    assert (claim.verdict, claim.row.job) == (ClaimVerdict.DONE, end)


async def test_answer_that_is_the_end_needs_no_start(ledger: Ledger) -> None:
    """A job that is finished in the POST's answer can be recorded right after the intent."""
    await ledger.claim("a", COPY)

    await ledger.finished("a", ENDED)

    assert ledger.summary() == LedgerSummary(succeeded=1)


async def test_refused_operation_is_tried_again(ledger: Ledger) -> None:
    """An operation of which it is certain that it did not start is started by the next claim."""
    await ledger.claim("a", COPY)
    await ledger.refused("a", REFUSAL)
    assert ledger.summary() == LedgerSummary(refused=1)

    claim = await ledger.claim("a", COPY)

    assert (claim.verdict, claim.row.attempts) == (ClaimVerdict.START, 2)


async def test_start_after_a_refusal_forgets_the_refusal(ledger: Ledger) -> None:
    """A row whose operation was started after all tells of no error any more."""
    await ledger.claim("a", COPY)
    await ledger.refused("a", REFUSAL)
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)

    (row,) = ledger.rows()

    assert (row.state, row.error, row.error_type) == (LedgerState.STARTED, None, None)


@pytest.mark.parametrize(("end", "state"), [(ENDED, LedgerState.SUCCEEDED), (BROKEN, LedgerState.FAILED)])
async def test_the_end_of_a_job_forgets_why_an_earlier_wait_was_given_up(
    ledger: Ledger, end: Job, state: LedgerState
) -> None:
    """A row whose job has ended, either way, tells of no timeout any more."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    await ledger.release(
        "a", error=JobTimeoutError(gid="77", job=RUNNING, waited=60.0, continuation_token="token")
    )
    (given_up,) = ledger.rows()
    assert given_up.error_type == JobTimeoutError.__name__
    await ledger.claim("a", COPY)
    await ledger.finished("a", end)

    (row,) = ledger.rows()

    assert (row.state, row.error, row.error_type) == (state, None, None)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LedgerError("half a pair: \ud800"), "half a pair: \\ud800"),
        (LedgerError("long " * 1000), ("long " * 1000)[:2000]),
        (OSError("token"), "OSError"),
    ],
    ids=["surrogate", "long", "foreign"],
)
async def test_noted_errors_can_be_stored(ledger: Ledger, error: Exception, text: str) -> None:
    """What went wrong is noted as far as it can be stored, and by its kind alone where nobody vouches for its text."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", error)

    (row,) = ledger.rows()

    assert (row.error, row.error_type) == (text, type(error).__name__)


async def test_unknown_operation_is_not_started_again(ledger: Ledger) -> None:
    """An operation with an unknown outcome is reported with its error and not started."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)

    claim = await ledger.claim("a", COPY)

    assert claim.verdict is ClaimVerdict.UNKNOWN
    assert (claim.row.error, claim.row.error_type) == ("reset after the request", "OutcomeUnknownError")


async def test_unknown_operation_is_started_on_request(ledger: Ledger) -> None:
    """With retry_unknown, an operation with an unknown outcome is started once more."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)

    assert await verdict(ledger, retry_unknown=True) is ClaimVerdict.START


async def test_key_twice_in_one_run_is_held(ledger: Ledger) -> None:
    """A key that is claimed twice by one run is started once."""
    await ledger.claim("a", COPY)

    assert await verdict(ledger) is ClaimVerdict.HELD


async def test_key_of_another_operation_is_an_error(ledger: Ledger) -> None:
    """A key that stands for another operation raises an error that shows both, and changes nothing."""
    await ledger.claim("a", COPY)
    await ledger.finished("a", ENDED)

    with pytest.raises(
        LedgerError, match=r"key 'a' stands for another operation.*duplicate_project.*duplicate_task"
    ) as caught:
        await ledger.claim("a", DuplicateTask("5"))

    assert "the key" in caught.value.advice
    assert "permissions" not in caught.value.advice

    assert ledger.summary() == LedgerSummary(succeeded=1)


# --- Leases


async def test_an_intent_is_confirmed(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """An intent that is claimed once more is the same attempt, with a new lease."""
    await ledger.claim("a", COPY)
    wall_clock.pass_time(LEASE - 1)

    claim = await ledger.claim("a", COPY, once_more=True)
    wall_clock.pass_time(LEASE - 1)

    assert (claim.verdict, claim.row.attempts) == (ClaimVerdict.START, 1)
    assert await verdict(other) is ClaimVerdict.HELD


@pytest.mark.parametrize(
    ("retry_unknown", "then"),
    [(False, ClaimVerdict.UNKNOWN), (True, ClaimVerdict.HELD)],
    ids=["told", "started again"],
)
async def test_an_intent_that_others_took_is_not_confirmed(
    ledger: Ledger, other: Ledger, wall_clock: WallClock, retry_unknown: bool, then: ClaimVerdict
) -> None:
    """An intent whose lease ran out, and that others have taken or told of since, is not ours to send any more."""
    await ledger.claim("a", COPY)
    wall_clock.pass_time(LEASE + 1)
    await other.claim("a", COPY, retry_unknown=retry_unknown)

    assert (await ledger.claim("a", COPY, once_more=True)).verdict is then


async def test_late_answer_settles_an_unknown(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """An answer that comes after the lease ran out is recorded all the same."""
    await ledger.claim("a", COPY)
    wall_clock.pass_time(LEASE + 1)
    await other.claim("a", COPY)

    await ledger.started("a", RUNNING)

    assert ledger.summary() == LedgerSummary(started=1)


async def test_second_job_of_an_operation_is_an_error(
    ledger: Ledger, other: Ledger, wall_clock: WallClock
) -> None:
    """A late answer that contradicts another process's names both jobs instead of overwriting one."""
    await ledger.claim("a", COPY)
    wall_clock.pass_time(LEASE + 1)
    await other.claim("a", COPY, retry_unknown=True)
    await other.started("a", Job("78", status="in_progress"))

    with pytest.raises(LedgerError, match=r"job 77 .*by now it is job 78"):
        await ledger.started("a", RUNNING)


async def test_late_answer_during_another_start_is_an_error(
    ledger: Ledger, other: Ledger, wall_clock: WallClock
) -> None:
    """A late answer to an operation that another process is starting again says so."""
    await ledger.claim("a", COPY)
    wall_clock.pass_time(LEASE + 1)
    await other.claim("a", COPY, retry_unknown=True)

    with pytest.raises(LedgerError, match=r"job 77 .* may be starting another"):
        await ledger.started("a", RUNNING)


async def test_end_is_recorded_whoever_sees_it(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """The end of a job is recorded even by a process that has lost the row, and stays."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    wall_clock.pass_time(LEASE + 1)
    await other.claim("a", COPY)

    await ledger.finished("a", ENDED)
    await other.started("a", RUNNING)

    assert ledger.summary() == LedgerSummary(succeeded=1)


async def test_end_of_another_job_is_an_error(ledger: Ledger) -> None:
    """The end of a job that is not the operation's is refused, and both jobs are named."""
    await ledger.claim("a", COPY)
    await ledger.started("a", Job("78", status="in_progress"))

    with pytest.raises(LedgerError, match=r"job 77 of 'a' succeeded but is not recorded: .* it is job 78"):
        await ledger.finished("a", ENDED)


async def test_lost_intent_cannot_be_refused(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """A refusal that comes after the lease ran out does not make an unknown operation startable."""
    await ledger.claim("a", COPY)
    wall_clock.pass_time(LEASE + 1)
    await other.claim("a", COPY)

    with pytest.raises(LedgerError, match="'a' is no intent of this process"):
        await ledger.refused("a", REFUSAL)


@pytest.mark.parametrize("record", TOO_LATE.values(), ids=TOO_LATE)
async def test_a_started_job_stays_started(record: Record, ledger: Ledger) -> None:
    """Whoever comes too late to say that it was not started, or may not have been, changes nothing."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING, "token")

    with pytest.raises(LedgerError, match="'a' is no intent of this process"):
        await record(ledger)

    assert [(row.state, row.gid) for row in ledger.rows()] == [(LedgerState.STARTED, RUNNING.gid)]


@pytest.mark.parametrize("record", TOO_LATE.values(), ids=TOO_LATE)
async def test_the_intent_of_another_stays_his(
    record: Record, ledger: Ledger, other: Ledger, wall_clock: WallClock
) -> None:
    """Who took a row over is about to start it: the one who had it before cannot put it back."""
    await ledger.claim("a", COPY)
    wall_clock.pass_time(LEASE + 1)
    assert (await other.claim("a", COPY, retry_unknown=True)).verdict is ClaimVerdict.START

    with pytest.raises(LedgerError, match="'a' is no intent of this process"):
        await record(ledger)

    assert [row.state for row in ledger.rows()] == [LedgerState.INTENT]


async def test_recording_needs_a_claim(ledger: Ledger) -> None:
    """What was never claimed cannot be recorded; the error names the job, which is known nowhere else."""
    with pytest.raises(LedgerError, match="job 77 of 'a' was started but not recorded: there is no row 'a'"):
        await ledger.started("a", RUNNING)


# --- Letting go


async def test_withdrawn_operation_was_never_there(ledger: Ledger) -> None:
    """Withdrawing the intent of a new operation leaves no row."""
    await ledger.claim("a", COPY)

    await ledger.withdraw("a")

    assert ledger.summary() == LedgerSummary()


async def test_withdrawn_retry_is_as_unknown_as_before(ledger: Ledger) -> None:
    """Withdrawing the second start of an unknown operation leaves it unknown, with its first error."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)
    await ledger.claim("a", COPY, retry_unknown=True)

    await ledger.withdraw("a")

    row = next(ledger.rows())
    assert (row.state, row.error, row.attempts) == (LedgerState.UNKNOWN, "reset after the request", 1)


async def test_released_intent_is_unknown(ledger: Ledger) -> None:
    """Letting go of an intent makes it unknown, with the reason that is given."""
    await ledger.claim("a", COPY)

    await ledger.release("a", error=LOST)

    assert [(row.state, row.error) for row in ledger.rows()] == [
        (LedgerState.UNKNOWN, "reset after the request")
    ]


async def test_given_up_watch_keeps_its_reason(ledger: Ledger) -> None:
    """Letting go of a started operation keeps why, and the next claim watches it."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING, "token")

    await ledger.release("a", error=REFUSAL)

    claim = await ledger.claim("a", COPY)
    assert claim.verdict is ClaimVerdict.RESUME
    assert (claim.row.error_type, claim.row.resume_from) == ("BadRequestError", "token")


async def test_release_of_anothers_row_does_nothing(ledger: Ledger, other: Ledger) -> None:
    """What belongs to another process cannot be let go of."""
    await ledger.claim("a", COPY)

    await other.release("a")

    assert await verdict(other) is ClaimVerdict.HELD


# --- Unknown rows are settled by people


async def test_accepted_operation_is_never_started(ledger: Ledger) -> None:
    """An unknown operation that was accepted is neither reported nor started, not even on request."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)

    assert await ledger.accept_unknown() == 1
    assert await verdict(ledger, retry_unknown=True) is ClaimVerdict.ACCEPTED


async def test_accepting_covers_abandoned_intents(
    ledger: Ledger, other: Ledger, wall_clock: WallClock
) -> None:
    """Accepting settles intents whose owner is gone, and leaves those of the living alone."""
    await ledger.claim("gone", COPY)
    wall_clock.pass_time(LEASE + 1)
    await other.claim("living", COPY)

    assert await other.accept_unknown() == 1
    assert other.summary() == LedgerSummary(intent=1, accepted=1)
    await ledger.renew()  # its owner is back: what was settled is not its any more
    (settled,) = other.rows(LedgerState.ACCEPTED)
    assert "recorded no answer" in str(settled.error)
    assert (settled.error_type, settled.holder) == (OutcomeUnknownError.__name__, None)


async def test_accepting_by_key(ledger: Ledger) -> None:
    """Accepting by key settles only what was named and is unknown."""
    for key in "abc":
        await ledger.claim(key, COPY)
    for key in "ab":
        await ledger.unknown(key, LOST)

    assert await ledger.accept_unknown("a", "c", "nowhere") == 1
    assert ledger.summary() == LedgerSummary(intent=1, unknown=1, accepted=1)


# --- What is written down


async def test_secrets_stay_out(path: Path) -> None:
    """No download link and no text of a foreign exception reaches the disk."""
    export = GraphExportCompact(gid="9", download_url="https://s3/secret-1")
    job = Job("77", status="succeeded", new_graph_export=export, raw={"more": [{"download_url": "secret-2"}]})
    async with Ledger.open(path) as ledger:
        await ledger.claim("a", ExportGraph("1"))
        await ledger.finished("a", job)
        await ledger.claim("b", COPY)
        await ledger.refused("b", RuntimeError("Authorization: Bearer secret-3"))
        stored = b"".join(file.read_bytes() for file in path.parent.iterdir())

    assert b"new_graph_export" in stored
    assert b"RuntimeError" in stored
    assert b"secret" not in stored
