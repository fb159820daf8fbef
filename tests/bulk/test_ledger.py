"""What a ledger decides: who starts what, who watches what, and what is never done twice."""

import asyncio
import json
import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import attrs
import pytest

from asana_jobs._client.bulk import ledger_store as _ledger_thread
from asana_jobs._client.bulk.ledger import LEASE, Keys, Ledger, State, Summary, Verdict
from asana_jobs._client.bulk.ledger_owner import CLAIM_HOLDS, Instant, Owner, this_process
from asana_jobs._client.clock import SystemClock
from asana_jobs.errors import BadRequestError, LedgerError, OutcomeUnknownError
from asana_jobs.models import GraphExportCompact, Job, JobStatus, ProjectCompact
from asana_jobs.operations import DuplicateProject, DuplicateTask, ExportGraph


COPY = DuplicateProject("1203", name="Q3", include=["members", "notes"])
RUNNING = Job("77", status=JobStatus.IN_PROGRESS, new_project=ProjectCompact(gid="88", name="Q3"))
ENDED = Job("77", status=JobStatus.SUCCEEDED, new_project=ProjectCompact(gid="88", name="Q3"))
BROKEN = Job("77", status=JobStatus.FAILED)
REFUSAL = BadRequestError("name: Missing input", status=400, method="POST", path="/projects/1203/duplicate")
LOST = OutcomeUnknownError("reset after the request", method="POST", path="/x", operation=COPY)


class WallClock(SystemClock):
    """A clock whose time of day is set by the test, and whose thread can be held up while it asks for it."""

    def __init__(self) -> None:
        super().__init__()
        self.time = datetime(2026, 11, 22, tzinfo=UTC)
        self.asked = threading.Event()
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def now(self) -> datetime:
        """Return the time of day, as soon as it may."""
        self.asked.set()
        assert self.may_go_on.wait(10)
        return self.time

    def pass_time(self, seconds: float) -> None:
        """Move the time of day on."""
        self.time += timedelta(seconds=seconds)

    def hold(self) -> None:
        """Hold up whoever asks for the time from now on."""
        self.asked.clear()
        self.may_go_on.clear()


@pytest.fixture
def clock() -> WallClock:
    """The time of day of all ledgers of a test."""
    return WallClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "run.ledger"


@pytest.fixture
def ledger(path: Path, clock: WallClock) -> Iterator[Ledger]:
    """An open ledger."""
    with Ledger.open(path, clock=clock) as ledger:
        yield ledger


@pytest.fixture
def neighbour(path: Path, clock: WallClock) -> Iterator[Ledger]:
    """Another living user of the same file on this machine."""
    with Ledger.open(path, clock=clock) as ledger:
        yield ledger


@pytest.fixture
def other(path: Path, clock: WallClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """A user of the same file on another machine, which sees leases and no processes."""

    def elsewhere() -> Owner:
        return attrs.evolve(this_process(), host="elsewhere", machine="elsewhere")

    with monkeypatch.context() as patched:
        patched.setattr(_ledger_thread, "this_process", elsewhere)
        ledger = Ledger.open(path, clock=clock)
    with ledger:
        yield ledger


async def verdict(ledger: Ledger, key: str = "a", *, retry_unknown: bool = False) -> Verdict:
    """Claim *key* and return what to do with it."""
    return (await ledger.claim(key, COPY, retry_unknown=retry_unknown)).verdict


# --- What a claim answers


async def test_new_operation_is_to_be_started(ledger: Ledger, path: Path) -> None:
    """A claim on a new operation says start, and its intent is in the file by then."""
    claim = await ledger.claim("a", COPY)

    with sqlite3.connect(path) as reader:
        stored = reader.execute("SELECT key, state, content FROM operations").fetchall()
    reader.close()
    assert claim.verdict is Verdict.START
    assert [(key, state, json.loads(content)) for key, state, content in stored] == [
        ("a", "intent", COPY.to_dict())
    ]


async def test_started_operation_is_to_be_watched(ledger: Ledger, other: Ledger) -> None:
    """A started operation that nobody holds is watched on from its continuation token."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING, "token 1")
    await ledger.release("a", continuation_token="token 2")

    claim = await other.claim("a", COPY)

    assert (claim.verdict, claim.row.resume_from, claim.row.job) == (Verdict.RESUME, "token 2", RUNNING)


async def test_without_a_token_the_gid_is_watched(ledger: Ledger) -> None:
    """A started operation without a continuation token is watched on by its gid."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)

    assert next(ledger.rows()).resume_from == "77"


@pytest.mark.parametrize("end", [ENDED, BROKEN])
async def test_finished_operation_is_done(ledger: Ledger, end: Job) -> None:
    """An operation whose job has ended, either way, is done, and the claim holds the job."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    await ledger.finished("a", end)

    claim = await ledger.claim("a", COPY)

    assert (claim.verdict, claim.row.job) == (Verdict.DONE, end)


async def test_answer_that_is_the_end_needs_no_start(ledger: Ledger) -> None:
    """A job that is finished in the POST's answer can be recorded right after the intent."""
    await ledger.claim("a", COPY)

    await ledger.finished("a", ENDED)

    assert ledger.summary() == Summary(succeeded=1)


async def test_unfinished_end_is_refused(ledger: Ledger) -> None:
    """A job that still runs cannot be recorded as finished."""
    await ledger.claim("a", COPY)

    with pytest.raises(ValueError, match="77 has not finished"):
        await ledger.finished("a", RUNNING)


async def test_refused_operation_is_tried_again(ledger: Ledger) -> None:
    """An operation of which it is certain that it did not start is started by the next claim."""
    await ledger.claim("a", COPY)
    await ledger.refused("a", REFUSAL)
    assert ledger.summary() == Summary(refused=1)

    claim = await ledger.claim("a", COPY)

    assert (claim.verdict, claim.row.attempts) == (Verdict.START, 2)


async def test_start_after_a_refusal_forgets_the_refusal(ledger: Ledger) -> None:
    """A row whose operation was started after all tells of no error any more."""
    await ledger.claim("a", COPY)
    await ledger.refused("a", REFUSAL)
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)

    (row,) = ledger.rows()

    assert (row.state, row.error, row.error_type) == (State.STARTED, None, None)


async def test_what_is_over_is_held_by_nobody(ledger: Ledger) -> None:
    """A row that was refused, is unknown, was settled or has finished shows no holder while the ledger is open."""
    for key in ("refused", "unknown", "accepted", "succeeded"):
        await ledger.claim(key, COPY)
    await ledger.refused("refused", REFUSAL)
    await ledger.unknown("unknown", LOST)
    await ledger.unknown("accepted", LOST)
    await ledger.accept_unknown("accepted")
    await ledger.finished("succeeded", ENDED)

    assert [(row.key, row.holder) for row in ledger.rows() if row.key == row.state.value] == [
        ("refused", None),
        ("unknown", None),
        ("accepted", None),
        ("succeeded", None),
    ]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (LedgerError("half a pair: \ud800"), "half a pair: ?"),
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

    assert claim.verdict is Verdict.UNKNOWN
    assert (claim.row.error, claim.row.error_type) == ("reset after the request", "OutcomeUnknownError")


async def test_unknown_operation_is_started_on_request(ledger: Ledger) -> None:
    """With retry_unknown, an operation with an unknown outcome is started once more."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)

    assert await verdict(ledger, retry_unknown=True) is Verdict.START


async def test_held_operation_is_left_alone(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """What another living user works on is not taken, not even with retry_unknown; the claim says by whom."""
    await ledger.claim("a", COPY)

    claim = await other.claim("a", COPY, retry_unknown=True)

    assert claim.verdict is Verdict.HELD
    assert "process" in str(claim.row.holder)
    assert claim.row.held_until == clock.time + timedelta(seconds=LEASE)


async def test_key_twice_in_one_run_is_held(ledger: Ledger) -> None:
    """A key that is claimed twice by one run is started once."""
    await ledger.claim("a", COPY)

    assert await verdict(ledger) is Verdict.HELD


async def test_key_of_another_operation_is_an_error(ledger: Ledger) -> None:
    """A key that stands for another operation raises an error that shows both, and changes nothing."""
    await ledger.claim("a", COPY)
    await ledger.finished("a", ENDED)

    with pytest.raises(
        LedgerError, match=r"key 'a' stands for another operation.*duplicate_project.*duplicate_task"
    ):
        await ledger.claim("a", DuplicateTask("5"))

    assert ledger.summary() == Summary(succeeded=1)


@pytest.mark.parametrize("key", ["", " ", "a\nb", "\ud800", "x" * 501, 7])
async def test_useless_key_is_refused(ledger: Ledger, key: str) -> None:
    """A key that cannot name a row is a ValueError."""
    with pytest.raises(ValueError, match="key must be"):
        await ledger.claim(key, COPY)


async def test_longest_key_is_taken(ledger: Ledger) -> None:
    """A key may have 500 characters."""
    assert await verdict(ledger, "x" * 500) is Verdict.START


# --- Leases


async def test_lapsed_intent_is_unknown(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """An intent whose lease ran out is unknown to others, and never started by them."""
    await ledger.claim("a", COPY)
    clock.pass_time(LEASE + 1)

    claim = await other.claim("a", COPY)

    assert (claim.verdict, claim.row.state) == (Verdict.UNKNOWN, State.UNKNOWN)
    assert "recorded no answer" in str(claim.row.error)
    assert claim.row.error_type == OutcomeUnknownError.__name__


@pytest.mark.parametrize("retry_unknown", [False, True])
async def test_a_living_process_keeps_what_it_has(
    ledger: Ledger, neighbour: Ledger, clock: WallClock, retry_unknown: bool
) -> None:
    """On one machine the living process decides: neither a blocked loop nor a wall clock that jumps lets others in."""
    await ledger.claim("a", COPY)
    await ledger.claim("b", COPY)
    await ledger.started("b", RUNNING)
    clock.pass_time(LEASE * 60)

    for key in "ab":
        claim = await neighbour.claim(key, COPY, retry_unknown=retry_unknown)
        assert (claim.verdict, claim.row.stopped) == (Verdict.HELD, False)
    assert neighbour.summary() == Summary(intent=1, started=1)


async def test_an_intent_is_confirmed(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """An intent that is claimed once more is the same attempt, with a new lease."""
    await ledger.claim("a", COPY)
    clock.pass_time(LEASE - 1)

    claim = await ledger.claim("a", COPY, once_more=True)
    clock.pass_time(LEASE - 1)

    assert (claim.verdict, claim.row.attempts) == (Verdict.START, 1)
    assert await verdict(other) is Verdict.HELD


@pytest.mark.parametrize(
    ("retry_unknown", "then"), [(False, Verdict.UNKNOWN), (True, Verdict.HELD)], ids=["told", "started again"]
)
async def test_an_intent_that_others_took_is_not_confirmed(
    ledger: Ledger, other: Ledger, clock: WallClock, retry_unknown: bool, then: Verdict
) -> None:
    """An intent whose lease ran out, and that others have taken or told of since, is not ours to send any more."""
    await ledger.claim("a", COPY)
    clock.pass_time(LEASE + 1)
    await other.claim("a", COPY, retry_unknown=retry_unknown)

    assert (await ledger.claim("a", COPY, once_more=True)).verdict is then


@pytest.mark.parametrize("which", range(len(Instant.now().readings)))
def test_a_claim_is_as_old_as_the_clock_says_that_counted_most(which: int) -> None:
    """Sleep stops some clocks, and others can be set back: the age is the largest difference of all."""
    readings = [reading + 1000 for reading in Instant.now().readings]
    readings[which] -= 1000 + CLAIM_HOLDS

    assert CLAIM_HOLDS <= Instant(tuple(readings)).age() < CLAIM_HOLDS + 5


async def test_lapsed_watch_is_taken_over(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """A started operation whose lease ran out is watched on by others."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    clock.pass_time(LEASE + 1)

    assert await verdict(other) is Verdict.RESUME


async def test_a_lease_holds_a_minute(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """Others wait a minute for who holds a row and does not renew it, and no longer."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    clock.pass_time(59.9)
    assert await verdict(other) is Verdict.HELD
    clock.pass_time(0.2)

    assert await verdict(other) is Verdict.RESUME


async def test_renewed_lease_holds(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """A lease that is renewed in time holds as long as it is renewed."""
    await ledger.claim("a", COPY)
    for _ in range(3):
        clock.pass_time(LEASE - 1)
        await ledger.renew()

    assert await verdict(other) is Verdict.HELD


async def test_asking_for_a_finished_row_writes_nothing(ledger: Ledger, path: Path, clock: WallClock) -> None:
    """Within a second of the last renewal, a claim that changes nothing leaves the disk alone."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    await ledger.finished("a", ENDED)
    with closing(sqlite3.connect(path)) as reader:
        before = reader.execute("PRAGMA data_version").fetchone()
        clock.pass_time(0.9)
        assert (await ledger.claim("a", COPY)).verdict is Verdict.DONE
        assert reader.execute("PRAGMA data_version").fetchone() == before

        clock.pass_time(0.2)
        await ledger.claim("a", COPY)
        assert reader.execute("PRAGMA data_version").fetchone() != before


async def test_late_answer_settles_an_unknown(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """An answer that comes after the lease ran out is recorded all the same."""
    await ledger.claim("a", COPY)
    clock.pass_time(LEASE + 1)
    await other.claim("a", COPY)

    await ledger.started("a", RUNNING)

    assert ledger.summary() == Summary(started=1)


async def test_second_job_of_an_operation_is_an_error(
    ledger: Ledger, other: Ledger, clock: WallClock
) -> None:
    """A late answer that contradicts another process's names both jobs instead of overwriting one."""
    await ledger.claim("a", COPY)
    clock.pass_time(LEASE + 1)
    await other.claim("a", COPY, retry_unknown=True)
    await other.started("a", Job("78", status="in_progress"))

    with pytest.raises(LedgerError, match=r"job 77 .*by now it is job 78"):
        await ledger.started("a", RUNNING)


async def test_late_answer_during_another_start_is_an_error(
    ledger: Ledger, other: Ledger, clock: WallClock
) -> None:
    """A late answer to an operation that another process is starting again says so."""
    await ledger.claim("a", COPY)
    clock.pass_time(LEASE + 1)
    await other.claim("a", COPY, retry_unknown=True)

    with pytest.raises(LedgerError, match=r"job 77 .* may be starting another"):
        await ledger.started("a", RUNNING)


async def test_end_is_recorded_whoever_sees_it(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """The end of a job is recorded even by a process that has lost the row, and stays."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    clock.pass_time(LEASE + 1)
    await other.claim("a", COPY)

    await ledger.finished("a", ENDED)
    await other.started("a", RUNNING)

    assert ledger.summary() == Summary(succeeded=1)


async def test_end_of_another_job_is_an_error(ledger: Ledger) -> None:
    """The end of a job that is not the operation's is refused, and both jobs are named."""
    await ledger.claim("a", COPY)
    await ledger.started("a", Job("78", status="in_progress"))

    with pytest.raises(LedgerError, match=r"job 77 of 'a' succeeded but is not recorded: .* it is job 78"):
        await ledger.finished("a", ENDED)


async def test_lost_intent_cannot_be_refused(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """A refusal that comes after the lease ran out does not make an unknown operation startable."""
    await ledger.claim("a", COPY)
    clock.pass_time(LEASE + 1)
    await other.claim("a", COPY)

    with pytest.raises(LedgerError, match="'a' is no intent of this process"):
        await ledger.refused("a", REFUSAL)


async def test_recording_needs_a_claim(ledger: Ledger) -> None:
    """What was never claimed cannot be recorded; the error names the job, which is known nowhere else."""
    with pytest.raises(LedgerError, match="job 77 of 'a' was started but not recorded: there is no row 'a'"):
        await ledger.started("a", RUNNING)


# --- Letting go


async def test_withdrawn_operation_was_never_there(ledger: Ledger) -> None:
    """Withdrawing the intent of a new operation leaves no row."""
    await ledger.claim("a", COPY)

    await ledger.withdraw("a")

    assert ledger.summary() == Summary()


async def test_withdrawn_retry_is_as_unknown_as_before(ledger: Ledger) -> None:
    """Withdrawing the second start of an unknown operation leaves it unknown, with its first error."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)
    await ledger.claim("a", COPY, retry_unknown=True)

    await ledger.withdraw("a")

    row = next(ledger.rows())
    assert (row.state, row.error, row.attempts) == (State.UNKNOWN, "reset after the request", 1)


async def test_released_intent_is_unknown(ledger: Ledger) -> None:
    """Letting go of an intent makes it unknown, with the reason that is given."""
    await ledger.claim("a", COPY)

    await ledger.release("a", error=LOST)

    assert [(row.state, row.error) for row in ledger.rows()] == [(State.UNKNOWN, "reset after the request")]


async def test_given_up_watch_keeps_its_reason(ledger: Ledger) -> None:
    """Letting go of a started operation keeps why, and the next claim watches it."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING, "token")

    await ledger.release("a", error=REFUSAL)

    claim = await ledger.claim("a", COPY)
    assert claim.verdict is Verdict.RESUME
    assert (claim.row.error_type, claim.row.resume_from) == ("BadRequestError", "token")


async def test_release_of_anothers_row_does_nothing(ledger: Ledger, other: Ledger) -> None:
    """What belongs to another process cannot be let go of."""
    await ledger.claim("a", COPY)

    await other.release("a")

    assert await verdict(other) is Verdict.HELD


async def test_closing_lets_go_of_everything(path: Path, other: Ledger) -> None:
    """Closing a ledger lets others watch what it watched, and makes its open intents unknown."""
    async with Ledger.open(path) as ledger:
        await ledger.claim("a", COPY)
        await ledger.claim("b", COPY)
        await ledger.started("b", RUNNING)

    assert [await verdict(other, "a"), await verdict(other, "b")] == [Verdict.UNKNOWN, Verdict.RESUME]


async def test_ledger_closed_in_a_coroutine_says_so(path: Path) -> None:
    """A ledger that was closed without blocking the loop is as closed as any, and its thread has ended."""
    before = set(threading.enumerate())
    ledger = Ledger.open(path)
    (thread,) = (each for each in set(threading.enumerate()) - before if "ledger" in each.name)
    await ledger.aclose()
    await ledger.aclose()
    ledger.close()

    with pytest.raises(LedgerError, match="is closed"):
        await ledger.renew()
    thread.join(1)
    assert not thread.is_alive()


async def test_closing_leaves_no_owner_behind(path: Path, clock: WallClock) -> None:
    """A ledger that is opened again and again keeps none of its earlier owners, nor those killed long ago."""
    for _ in range(3):
        async with Ledger.open(path, clock=clock) as ledger:
            await ledger.renew()
    with closing(sqlite3.connect(path)) as reader:
        assert reader.execute("SELECT count(*) FROM owners").fetchone() == (0,)


def test_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger that was opened by a relative path knows where it is."""
    monkeypatch.chdir(tmp_path)

    with Ledger.open("run.ledger") as ledger:
        assert ledger.path == tmp_path / "run.ledger"


async def test_closed_ledger_says_so(path: Path) -> None:
    """A closed ledger may be closed again, and says that it is closed to everything else."""
    ledger = Ledger.open(path)
    ledger.close()
    ledger.close()
    await ledger.aclose()

    with pytest.raises(LedgerError, match="is closed"):
        await ledger.renew()
    with pytest.raises(LedgerError, match="is closed"):
        ledger.summary()


# --- Unknown rows are settled by people


async def test_accepted_operation_is_never_started(ledger: Ledger) -> None:
    """An unknown operation that was accepted is neither reported nor started, not even on request."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)

    assert await ledger.accept_unknown() == 1
    assert await verdict(ledger, retry_unknown=True) is Verdict.ACCEPTED


async def test_accepting_covers_abandoned_intents(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """Accepting settles intents whose owner is gone, and leaves those of the living alone."""
    await ledger.claim("gone", COPY)
    clock.pass_time(LEASE + 1)
    await other.claim("living", COPY)

    assert await other.accept_unknown() == 1
    assert other.summary() == Summary(intent=1, accepted=1)
    await ledger.renew()  # its owner is back: what was settled is not its any more
    (settled,) = other.rows(State.ACCEPTED)
    assert "recorded no answer" in str(settled.error)
    assert (settled.error_type, settled.holder) == (OutcomeUnknownError.__name__, None)


async def test_accepting_by_key(ledger: Ledger) -> None:
    """Accepting by key settles only what was named and is unknown."""
    for key in "abc":
        await ledger.claim(key, COPY)
    for key in "ab":
        await ledger.unknown(key, LOST)

    assert await ledger.accept_unknown("a", "c", "nowhere") == 1
    assert ledger.summary() == Summary(intent=1, unknown=1, accepted=1)


# --- What it tells


async def test_summary_counts_each_state(ledger: Ledger, other: Ledger, clock: WallClock) -> None:
    """The summary counts the rows of each state, an abandoned intent as unknown."""
    await ledger.claim("abandoned", COPY)
    clock.pass_time(LEASE + 1)
    for key in ("intent", "started", "succeeded", "failed", "refused", "unknown"):
        await other.claim(key, COPY)
    await other.started("started", RUNNING)
    await other.finished("succeeded", ENDED)
    await other.finished("failed", BROKEN)
    await other.refused("refused", REFUSAL)
    await other.unknown("unknown", LOST)

    summary = other.summary()

    assert summary == Summary(intent=1, started=1, succeeded=1, failed=1, refused=1, unknown=2)
    assert summary.total == 7


@pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it
async def test_rows_come_in_order_page_by_page(ledger: Ledger) -> None:
    """Rows come in the order of their first claims, more than a page of them, and filtered on request."""
    keys = [str(number) for number in range(450)]
    for key in keys:
        await ledger.claim(key, COPY)
    for key in keys[::2]:
        await ledger.finished(key, ENDED)

    assert [row.key for row in ledger.rows()] == keys
    assert [row.key for row in ledger.rows(State.SUCCEEDED)] == keys[::2]
    assert list(ledger.rows(State.UNKNOWN)) == []


async def test_rows_hold_the_operation(ledger: Ledger) -> None:
    """A row gives back an operation equal to the one that was claimed."""
    await ledger.claim("a", COPY)

    assert next(ledger.rows()).operation == COPY


async def test_export_is_json(ledger: Ledger, clock: WallClock) -> None:
    """The export holds every fact of a row as JSON."""
    await ledger.claim("a", COPY)
    await ledger.finished("a", ENDED)

    (line,) = [json.loads(json.dumps(row)) for row in ledger.export()]

    assert line == {
        "key": "a",
        "state": "succeeded",
        "operation": COPY.to_dict(),
        "gid": "77",
        "job": ENDED.to_dict(),
        "continuation_token": None,
        "error": None,
        "error_type": None,
        "attempts": 1,
        "failed_jobs": [],
        "created_at": clock.time.isoformat(),
        "changed_at": clock.time.isoformat(),
        "ended_at": clock.time.isoformat(),
    }


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


# --- Cancellation


async def cancel(task: asyncio.Task[object]) -> None:
    """Cancel *task* and wait until it has ended so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_claim_cancelled_in_line_takes_nothing(ledger: Ledger, clock: WallClock) -> None:
    """A claim that is cancelled before its turn takes nothing."""
    clock.hold()
    renewing = asyncio.create_task(ledger.renew())
    await asyncio.to_thread(clock.asked.wait)
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)

    await cancel(claiming)
    clock.may_go_on.set()
    await renewing

    assert ledger.summary() == Summary()


async def test_claim_cancelled_under_way_takes_nothing(ledger: Ledger, clock: WallClock) -> None:
    """A claim that is cancelled while the file is being written is taken back."""
    clock.hold()
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.to_thread(clock.asked.wait)

    await cancel(claiming)
    clock.may_go_on.set()

    assert ledger.summary() == Summary()


async def test_claim_cancelled_after_its_commit_takes_nothing(ledger: Ledger) -> None:
    """A claim that is cancelled between its commit and its answer is taken back."""
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)
    assert ledger.summary() == Summary(intent=1)

    await cancel(claiming)

    assert ledger.summary() == Summary()


async def test_claim_cancelled_after_closing_is_unknown(ledger: Ledger, other: Ledger) -> None:
    """A claim whose caller is cancelled only after the ledger was closed is unknown: the safe side."""
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)
    ledger.close()

    await cancel(claiming)

    assert other.summary() == Summary(unknown=1)


async def test_cancelled_report_stays_unknown(ledger: Ledger) -> None:
    """A claim on an unknown operation leaves it unknown when it is cancelled."""
    await ledger.claim("a", COPY)
    await ledger.unknown("a", LOST)
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)
    ledger.summary()

    await cancel(claiming)

    assert ledger.summary() == Summary(unknown=1)


async def test_cancelled_resumption_lets_go(ledger: Ledger, other: Ledger) -> None:
    """A claim on a started job that is cancelled after its commit leaves the job to others."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    await ledger.release("a")
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    await asyncio.sleep(0)
    ledger.summary()

    await cancel(claiming)
    ledger.summary()

    assert await verdict(other) is Verdict.RESUME


@pytest.mark.parametrize("in_line", [False, True])
async def test_cancelled_recording_is_carried_out(ledger: Ledger, clock: WallClock, in_line: bool) -> None:
    """A fact is recorded even if its caller is cancelled, before or while it is written."""
    await ledger.claim("a", COPY)
    clock.hold()
    ahead = [asyncio.create_task(ledger.renew())] if in_line else []
    recording = asyncio.create_task(ledger.started("a", RUNNING))
    await asyncio.to_thread(clock.asked.wait)

    await cancel(recording)
    clock.may_go_on.set()
    await asyncio.gather(*ahead)

    assert ledger.summary() == Summary(started=1)


def test_rows_that_cannot_be_let_go_of_are_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Closing a ledger that is locked by others says which file's rows stay leased, and for how long."""
    ledger = Ledger.open(path, busy_timeout=0)
    with closing(sqlite3.connect(path, isolation_level=None)) as blocker:
        blocker.execute("BEGIN IMMEDIATE")
        ledger.close()

    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"rows of a ledger stay leased for up to {LEASE:.0f} s: the ledger {path} was locked"
    )


async def test_cancelled_recording_is_carried_out_once(
    ledger: Ledger, clock: WallClock, caplog: pytest.LogCaptureFixture
) -> None:
    """What was being recorded when its caller was cancelled is not recorded a second time."""
    await ledger.claim("a", COPY)
    clock.hold()
    recording = asyncio.create_task(ledger.refused("a", REFUSAL))
    await asyncio.to_thread(clock.asked.wait)

    await cancel(recording)
    clock.may_go_on.set()

    assert ledger.summary() == Summary(refused=1)
    assert caplog.records == []


async def test_cancelled_closing_is_carried_out(path: Path, clock: WallClock) -> None:
    """A ledger whose closing was cancelled is closed all the same, and its rows are free."""
    ledger = Ledger.open(path, clock=clock)
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    closing = asyncio.create_task(ledger.aclose())
    await asyncio.sleep(0)

    await cancel(closing)

    with Ledger.open(path, clock=clock) as successor:
        while await verdict(successor) is Verdict.HELD:  # noqa: ASYNC110  # a thread is closing the other one
            await asyncio.sleep(0)
        assert successor.summary() == Summary(started=1)


async def test_lost_failure_is_logged(
    ledger: Ledger, clock: WallClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A recording that fails after its caller was cancelled is logged, since nobody else hears of it."""
    clock.hold()
    recording = asyncio.create_task(ledger.started("nowhere", RUNNING))
    await asyncio.to_thread(clock.asked.wait)
    await cancel(recording)

    with caplog.at_level(logging.ERROR, "asana_jobs.ledger"):
        clock.may_go_on.set()
        ledger.summary()

    assert "the caller was cancelled" in caplog.text


async def test_waiting_for_the_file_does_not_block_the_loop(path: Path, ledger: Ledger) -> None:
    """While another process keeps the file locked, other coroutines run, and the claim is answered later."""
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    claiming = asyncio.create_task(ledger.claim("a", COPY))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not claiming.done()

    blocker.close()

    assert (await claiming).verdict is Verdict.START


async def test_the_ledger_costs_no_virtual_time(ledger: Ledger) -> None:
    """In virtual time, a timer that is pending does not go off while the file is being written."""
    async with asyncio.timeout(5):
        for number in range(20):
            await ledger.claim(str(number), COPY)

    assert asyncio.get_running_loop().time() < 0.1


# --- Keys


def test_equal_operations_have_different_keys() -> None:
    """Equal operations of one input are told apart by their turn among equals."""
    with Keys() as keys:
        named = [keys.key_of(operation) for operation in (COPY, DuplicateTask("5"), COPY)]

    assert len(set(named)) == 3
    assert named[0].removesuffix("#0") == named[2].removesuffix("#1")


def test_keys_survive_edits_of_the_input() -> None:
    """An operation keeps its key when others are put before it or taken away."""
    with Keys() as before, Keys() as after:
        key = before.key_of(COPY)
        after.key_of(DuplicateTask("5"))

        assert after.key_of(COPY) == key


def test_keys_are_the_same_in_every_version() -> None:
    """The key of a known operation is the one of the first release: or old ledgers would start all again."""
    with Keys() as keys:
        assert keys.key_of(COPY) == "27057af77cfa1940#0"


async def test_keys_of_another_thread() -> None:
    """The keys of one input may be asked for in another thread than the one that began."""
    with Keys() as keys:
        first = keys.key_of(COPY)
        second = await asyncio.to_thread(keys.key_of, COPY)

    assert first.removesuffix("#0") == second.removesuffix("#1")


def test_closed_keys_are_gone() -> None:
    """What was seen of an input is dropped at the end of the block, and may be dropped again."""
    with Keys() as keys:
        keys.key_of(COPY)

    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        keys.key_of(COPY)
    keys.close()
