"""`run_all` on a ledger: a second run does only what is missing, and nothing is started that is not recorded."""

import asyncio
import json
import logging
import sqlite3
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from asana_jobs import (
    AsanaClient,
    DuplicateProject,
    InstantiateProject,
    Job,
    Ledger,
    Outcome,
    PollPolicy,
    RateLimits,
)
from asana_jobs._client.bulk.ledger_owner import LEASE, Instant
from asana_jobs._client.bulk.ledger_rows import LedgerRow, LedgerState
from asana_jobs._client.limits.running_jobs import RunningJobPermits
from asana_jobs.errors import (
    BadRequestError,
    JobFailedError,
    JobTimeoutError,
    LedgerBusyError,
    LedgerError,
    OutcomeUnknownError,
    PermissionDeniedError,
)
from asana_jobs.testing import AsanaSimulator, Fixed, Latency, Lognormal, Reset, SimulatorLimits


def copies(count: int) -> list[DuplicateProject]:
    """Return *count* different operations."""
    return [DuplicateProject("1203", name=f"Copy {number}") for number in range(count)]


@asynccontextmanager
async def open_both(**options: Any) -> AsyncGenerator[tuple[AsanaClient, AsanaSimulator], None]:
    """Open a simulator and a client for it."""
    poll = options.pop("poll", PollPolicy())
    options = {"durations": Lognormal(2, spread=0.4), "limits": SimulatorLimits.unlimited(), **options}
    async with (
        AsanaSimulator(**options) as simulator,
        AsanaClient("t", base_url=simulator.base_url, limits=RateLimits.paid(), poll=poll) as client,
    ):
        yield client, simulator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the ledger is."""
    return tmp_path / "copies.ledger"


def slots(client: AsanaClient) -> RunningJobPermits:
    """The client's running-job slots."""
    return client._budget.running_jobs  # pyright: ignore[reportPrivateUsage]


def names(simulator: AsanaSimulator) -> list[str]:
    """The names of what was started, in order."""
    return [job.result["name"] for job in simulator.started]


def rows(path: Path) -> list[LedgerRow]:
    """What the ledger holds, read by somebody else."""
    with Ledger.open(path) as ledger:
        return list(ledger.rows())


async def run(client: AsanaClient, path: Path, operations: Any, **options: Any) -> list[Outcome]:
    """Run *operations* on the ledger."""
    async with Ledger.open(path) as ledger:
        return [outcome async for outcome in client.run_all(operations, ledger=ledger, **options)]


# --- What is recorded


async def test_everything_is_recorded(path: Path) -> None:
    """After a run the ledger has every operation with its job's gid and its end."""
    async with open_both() as (client, simulator):
        outcomes = await run(client, path, copies(8))

        found = rows(path)
        assert {row.gid for row in found} == {job.gid for job in simulator.started}
        assert {row.state for row in found} == {LedgerState.SUCCEEDED}
        assert {row.key for row in found} == {outcome.key for outcome in outcomes}


async def test_the_intent_is_on_disk_before_the_request(path: Path) -> None:
    """When a POST arrives at Asana, its row is an intent on disk; when a job is looked at, its gid is."""
    seen: list[tuple[str, LedgerState, bool]] = []

    def note(record: Any) -> bool:
        connection = sqlite3.connect(path)
        if record.method == "POST":
            name = record.body["data"]["name"]
            query = "SELECT state, gid FROM operations WHERE json_extract(content, '$.name') = ?"
            state, gid = connection.execute(query, (name,)).fetchone()
        else:
            query = "SELECT state, gid FROM operations WHERE gid = ?"
            state, gid = connection.execute(query, (record.path.rpartition("/")[2],)).fetchone()
        connection.close()
        seen.append((record.method, LedgerState(state), gid is not None))
        return False

    async with open_both() as (client, simulator):
        simulator.fail_next(500, times=None, when=note)
        await run(client, path, copies(6))

    assert set(seen) == {("POST", LedgerState.INTENT, False), ("GET", LedgerState.STARTED, True)}


async def test_a_refusal_is_recorded_and_tried_again(path: Path) -> None:
    """What Asana refused is recorded as that, and the next run tries it again."""
    async with open_both() as (client, simulator):
        simulator.fail_next(403, method="POST")
        (first,) = await run(client, path, copies(1))
        assert isinstance(first.error, PermissionDeniedError)
        assert [(row.state, row.error_type) for row in rows(path)] == [
            (LedgerState.REFUSED, "PermissionDeniedError")
        ]

        (second,) = await run(client, path, copies(1))

        assert second.succeeded
        assert len(simulator.started) == 1


async def test_a_failed_job_is_recorded_and_not_repeated(path: Path) -> None:
    """A job that failed has ended: the next run reports it from the ledger without a request."""
    async with open_both(durations=Fixed(1, outcome="failed")) as (client, simulator):
        await run(client, path, copies(1))
        count = len(simulator.requests)

        (outcome,) = await run(client, path, copies(1))

        assert isinstance(outcome.error, JobFailedError)
        assert outcome.from_ledger
        assert len(simulator.requests) == count


# --- Run again


async def test_a_second_run_does_nothing(path: Path) -> None:
    """The same input on the same ledger again makes no request, and has the same outcomes."""
    async with open_both() as (client, simulator):
        first = await run(client, path, copies(8))
        count = len(simulator.requests)

        second = await run(client, path, copies(8))

        assert len(simulator.requests) == count
        assert all(outcome.from_ledger and outcome.succeeded for outcome in second)
        assert not any(outcome.from_ledger for outcome in first)
        assert {(o.key, o.job.gid) for o in second if o.job} == {(o.key, o.job.gid) for o in first if o.job}


async def test_only_what_is_missing_is_done(path: Path) -> None:
    """An input that grew and was shuffled starts only what is new."""
    async with open_both() as (client, simulator):
        await run(client, path, copies(5))

        await run(client, path, copies(9)[::-1])

        assert Counter(names(simulator)) == Counter(copy.name for copy in copies(9))


async def test_what_runs_is_watched_not_started(path: Path) -> None:
    """A run that was left early is taken up where it was: jobs that run are watched to their end."""
    async with open_both(durations=Fixed(20)) as (client, simulator):
        async with Ledger.open(path) as ledger, client.run_all(copies(5), ledger=ledger) as left:
            reading = asyncio.ensure_future(anext(left))
            await asyncio.sleep(5)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        assert {(row.state, row.holder) for row in rows(path)} == {(LedgerState.STARTED, None)}

        outcomes = await run(client, path, copies(5))

        assert all(outcome.succeeded and not outcome.from_ledger for outcome in outcomes)
        assert len(simulator.started) == 5


async def test_equal_operations_are_distinct(path: Path) -> None:
    """Three equal operations are three rows, and in the next run none of them is missing."""
    async with open_both() as (client, simulator):
        await run(client, path, copies(1) * 3)
        await run(client, path, copies(1) * 4)

        assert len(simulator.started) == 4
        assert len(rows(path)) == 4


async def test_keys_of_the_callers_own(path: Path) -> None:
    """Under a caller's key an operation is done once, wherever in the input it is."""
    async with open_both() as (client, simulator):
        await run(client, path, [("a", copies(2)[0]), ("b", copies(2)[1])])
        outcomes = await run(client, path, [("b", copies(2)[1]), ("a", copies(2)[0])])

        assert len(simulator.started) == 2
        assert all(outcome.from_ledger for outcome in outcomes)
        assert {row.key for row in rows(path)} == {"a", "b"}


async def test_a_key_for_something_else(path: Path) -> None:
    """A key that stands for another operation in the ledger starts nothing and says so."""
    async with open_both() as (client, simulator):
        await run(client, path, [("a", copies(2)[0])])
        (outcome,) = await run(client, path, [("a", copies(2)[1])])

        assert isinstance(outcome.error, LedgerError)
        assert "another operation" in str(outcome.error)
        assert len(simulator.started) == 1


async def test_a_key_given_twice_is_started_once(path: Path) -> None:
    """One key for two operations under way is an error for the second, which says so and is not started."""
    async with open_both() as (client, simulator):
        outcomes = await run(client, path, [("a", copies(1)[0]), ("a", copies(1)[0])])

        errors = [str(outcome.error) for outcome in outcomes if outcome.error]
        assert len(errors) == 1
        assert "given twice" in errors[0]
        assert len(simulator.started) == 1


@pytest.mark.parametrize("key", ["", "  ", "a\nb", "x" * 501], ids=["empty", "blank", "two lines", "long"])
async def test_keys_that_cannot_be(path: Path, key: str) -> None:
    """A key that cannot name a row is an outcome with a ValueError; nothing is started for it."""
    async with open_both() as (client, simulator):
        outcomes = await run(client, path, [(key, copies(2)[0]), ("b", copies(2)[1])])

        assert sorted(type(outcome.error).__name__ for outcome in outcomes) == ["NoneType", "ValueError"]
        assert len(simulator.started) == 1


async def test_a_time_out_is_taken_up(path: Path) -> None:
    """A job that timed out is watched on in the next run, and not started again."""
    async with open_both(durations=Fixed(30)) as (client, simulator):
        (first,) = await run(client, path, copies(1), timeout=5)
        assert isinstance(first.error, JobTimeoutError)

        (second,) = await run(client, path, copies(1))

        assert second.succeeded
        assert len(simulator.started) == 1


async def test_a_time_out_is_noted_with_where_its_wait_goes_on(path: Path) -> None:
    """The row of a job that was given up on says why, and holds the token of the wait, not that of its start."""
    async with open_both(durations=Fixed(30)) as (client, _):
        (outcome,) = await run(client, path, copies(1), timeout=5)

        (row,) = rows(path)
        assert (row.state, row.error_type) == (LedgerState.STARTED, JobTimeoutError.__name__)
        assert row.error == str(outcome.error)
        assert json.loads(row.continuation_token or "")["looks"] > 0


# --- What is not known


async def lose_one(client: AsanaClient, simulator: AsanaSimulator, path: Path) -> None:
    """Start one operation whose answer is lost."""
    simulator.fail_next(Reset(effect=True), method="POST")
    (outcome,) = await run(client, path, copies(1))
    assert isinstance(outcome.error, OutcomeUnknownError)


async def test_doubt_is_recorded_and_never_repeated(path: Path) -> None:
    """An operation whose answer was lost is reported as unknown in each later run, without a request."""
    async with open_both() as (client, simulator):
        await lose_one(client, simulator, path)
        count = len(simulator.requests)

        for _ in range(3):
            (outcome,) = await run(client, path, copies(1))
            assert isinstance(outcome.error, OutcomeUnknownError)
            assert outcome.from_ledger
            assert outcome.error.operation == copies(1)[0]
            assert "retry_unknown" in str(outcome.error)
            assert outcome.error.sent_at == rows(path)[0].changed_at

        assert len(simulator.requests) == count
        assert [row.state for row in rows(path)] == [LedgerState.UNKNOWN]


async def test_doubt_is_repeated_on_demand(path: Path) -> None:
    """With ``retry_unknown`` what is unknown is started again, once."""
    async with open_both() as (client, simulator):
        await lose_one(client, simulator, path)

        (outcome,) = await run(client, path, copies(1), retry_unknown=True)
        await run(client, path, copies(1), retry_unknown=True)

        assert outcome.succeeded
        assert len(simulator.started) == 2


async def test_doubt_that_was_accepted_is_settled(path: Path) -> None:
    """After ``accept_unknown`` an operation has an outcome without error or job, and is never started."""
    async with open_both() as (client, simulator):
        await lose_one(client, simulator, path)
        async with Ledger.open(path) as ledger:
            assert await ledger.accept_unknown() == 1

        (outcome,) = await run(client, path, copies(1), retry_unknown=True)

        assert (outcome.error, outcome.job, outcome.from_ledger) == (None, None, True)
        with pytest.raises(ValueError, match="settled by hand"):
            outcome.raise_for_error()
        assert len(simulator.started) == 1


# --- What failed is started again on demand


async def test_what_failed_is_started_again_on_demand(path: Path) -> None:
    """With ``retry_failed`` a job that had failed is started again, once in a run; the old gid stays in the row."""
    async with open_both(durations=Fixed(1, outcome="failed")) as (client, simulator):
        await run(client, path, copies(2))
        async with Ledger.open(path) as ledger:
            for _ in range(2):
                outcomes = [o async for o in client.run_all(copies(2), ledger=ledger, retry_failed=True)]
                assert [(o.attempt, type(o.error)) for o in outcomes] == [(2, JobFailedError)] * 2
            assert str(ledger.summary()) == "2 failed (retry_failed=True starts them again)"
        assert len(simulator.started) == 4

        await run(client, path, copies(2), retry_failed=True)

        gids = {
            name: [j.gid for j in simulator.started if j.result["name"] == name] for name in names(simulator)
        }
        for row in rows(path):
            assert [*(job.gid for job in row.failed_jobs), row.gid] == gids[str(row.content["name"])]
            assert row.to_dict()["failed_jobs"] == [job.to_dict() for job in row.failed_jobs]


async def test_what_succeeded_is_not_started_again_with_what_failed(path: Path) -> None:
    """``retry_failed`` changes nothing for what succeeded, or is unknown."""
    async with open_both() as (client, simulator):
        simulator.fail_next(Reset(effect=True), method="POST")
        await run(client, path, copies(3))

        outcomes = await run(client, path, copies(3), retry_failed=True)

        assert all(outcome.from_ledger for outcome in outcomes)
        assert len(simulator.started) == 3


async def test_a_second_attempt_whose_answer_is_lost_is_unknown(path: Path) -> None:
    """A failed operation that is started again and gets no answer is unknown, and remembers the job that failed."""
    async with open_both(durations=Fixed(1, outcome="failed")) as (client, simulator):
        await run(client, path, copies(1))
        simulator.fail_next(Reset(effect=True), method="POST")

        (outcome,) = await run(client, path, copies(1), retry_failed=True)

        (row,) = rows(path)
        assert isinstance(outcome.error, OutcomeUnknownError)
        assert (row.state, row.gid, row.failed_jobs[0].gid) == (
            LedgerState.UNKNOWN,
            None,
            simulator.started[0].gid,
        )


async def test_a_second_attempt_that_is_not_sent_is_as_failed_as_before(path: Path) -> None:
    """A second attempt that is cancelled before its request goes out leaves the row as it was."""
    async with open_both(durations=Fixed(1, outcome="failed")) as (client, simulator):
        await run(client, path, copies(1))
        (before,) = rows(path)
        async with Ledger.open(path) as ledger:
            await ledger.claim(before.key, copies(1)[0], retry_failed=True)
            await ledger.withdraw(before.key)
            assert (await ledger.claim(before.key, copies(1)[0], retry_failed=True)).verdict == "start"
            await ledger.withdraw(before.key)

        (after,) = rows(path)
        assert (after.state, after.gid, after.job, after.failed_jobs, after.attempts) == (
            LedgerState.FAILED,
            simulator.started[0].gid,
            before.job,
            (),
            1,
        )


# --- One operation, however it is written


async def test_another_spelling_is_the_same_operation(path: Path) -> None:
    """Another order of ``include``, of dates and of roles, and dates written otherwise, start nothing again."""
    first = [
        DuplicateProject("1203", name="a", include=["members", "notes"]),
        InstantiateProject("5", name="b", requested_dates={"1": "2026-12-01", "2": "2026-12-24"}),
        InstantiateProject("5", name="c", requested_roles={"1": "me", "2": "7"}),
    ]
    second = [
        DuplicateProject("1203", name="a", include="notes,members"),
        InstantiateProject("5", name="b", requested_dates={"2": date(2026, 12, 24), "1": date(2026, 12, 1)}),
        InstantiateProject("5", name="c", requested_roles={"2": "7", "1": "me"}),
    ]
    async with open_both() as (client, simulator):
        await run(client, path, first)
        outcomes = await run(client, path, second)
        keyed = await run(client, path, list(zip("abc", second, strict=True)))

        assert all(outcome.from_ledger for outcome in outcomes + keyed)
        assert len(simulator.started) == 3


async def test_a_key_given_later(path: Path) -> None:
    """An operation that had no key is the same one under the key that it gets, and without it again."""
    twice = copies(1) * 2
    async with open_both() as (client, simulator):
        await run(client, path, twice)
        keyed = await run(client, path, [("a", twice[0]), ("b", twice[1])])
        again = await run(client, path, twice)

        assert all(outcome.from_ledger for outcome in keyed + again)
        assert [row.key for row in rows(path)] == ["a", "b"]
        assert len(simulator.started) == 2

        await run(client, path, [("a", twice[0]), ("b", twice[1]), ("c", twice[0])])
        await run(client, path, [("d", twice[0])])

        assert len(simulator.started) == 4


# --- Claims that became old before they were sent


def make_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the first claim that is about to be sent be too old, as after a night's sleep or Ctrl-Z."""
    ages = iter([3600.0])

    def age(_: Instant) -> float:
        return next(ages, 0.0)

    monkeypatch.setattr(Instant, "age", age)


async def test_an_old_claim_is_confirmed_before_it_is_sent(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A claim that became old while it waited is asked for once more, and then sent: once."""
    make_old(monkeypatch)
    async with open_both() as (client, simulator):
        (outcome,) = await run(client, path, copies(1))

        assert outcome.succeeded
        assert [row.attempts for row in rows(path)] == [1]
        assert len(simulator.started) == 1


async def test_a_lost_lease_sends_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A claim whose row others have taken meanwhile sends nothing, and its outcome says how it stands there."""
    make_old(monkeypatch)
    claim = Ledger.claim

    async def lose(ledger: Ledger, key: str, operation: Any, **options: Any) -> Any:
        if options.get("once_more"):
            with closing(sqlite3.connect(path, isolation_level=None)) as another_machine:
                another_machine.execute("UPDATE operations SET state = 'unknown', owner = NULL")
        return await claim(ledger, key, operation, **options)

    monkeypatch.setattr(Ledger, "claim", lose)
    async with open_both() as (client, simulator):
        (outcome,) = await run(client, path, copies(1))

        assert isinstance(outcome.error, OutcomeUnknownError)
        assert simulator.started == []


# --- Company


async def test_two_runs_share_a_ledger(path: Path) -> None:
    """Two clients that run the same input on one ledger do each row once; neither reports a job of its own twice."""
    async with open_both() as (client, simulator):
        limits = RateLimits(requests_per_minute=1500, jobs_running=3)
        async with AsanaClient("other", base_url=simulator.base_url, limits=limits) as other:
            results = await asyncio.gather(run(client, path, copies(30)), run(other, path, copies(30)))

        assert Counter(names(simulator)) == Counter(copy.name for copy in copies(30))
        done = [
            outcome.key
            for result in results
            for outcome in result
            if outcome.succeeded and not outcome.from_ledger
        ]
        assert len(done) == len(set(done)) == 30
        for result in results:
            for outcome in result:
                assert outcome.succeeded or isinstance(outcome.error, LedgerBusyError)


async def test_a_row_of_somebody_else_is_left(path: Path) -> None:
    """A row that another open ledger holds is an outcome that names its holder; it is not started."""
    async with open_both() as (client, simulator):
        async with Ledger.open(path) as other:
            await other.claim("a", copies(1)[0])
            (outcome,) = await run(client, path, [("a", copies(1)[0])])

        assert isinstance(outcome.error, LedgerBusyError)
        assert "process" in str(outcome.error)
        assert len(simulator.requests) == 0


async def test_leases_are_renewed_during_long_waits(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While a job takes minutes, the rows of the run are renewed three times per lease."""
    renewed: list[float] = []
    renew = Ledger.renew

    async def spy(ledger: Ledger) -> None:
        renewed.append(asyncio.get_running_loop().time())
        await renew(ledger)

    monkeypatch.setattr(Ledger, "renew", spy)
    async with open_both(durations=Fixed(600)) as (client, _):
        await run(client, path, copies(2))

    gaps = [later - earlier for earlier, later in pairwise(renewed)]
    assert len(renewed) >= 600 // (LEASE / 3) - 1
    assert gaps == pytest.approx([LEASE / 3] * len(gaps), abs=0.5)


async def test_a_failed_renewal_is_not_the_last(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A renewal that fails is logged once and tried again; the run goes on."""
    tries = 0

    async def fail(_: Ledger) -> None:
        nonlocal tries
        tries += 1
        raise LedgerError("no space")

    monkeypatch.setattr(Ledger, "renew", fail)
    with caplog.at_level(logging.WARNING, "asana_jobs"):
        async with open_both(durations=Fixed(300)) as (client, _):
            (outcome,) = await run(client, path, copies(1))

    assert outcome.succeeded
    assert tries > 5
    assert [record.getMessage() for record in caplog.records] == [
        "the ledger's leases could not be renewed: no space"
    ]


async def test_renewals_that_fail_again_are_told_again(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a renewal that worked, the next one that fails is logged as well."""
    answers = iter([LedgerError("no space"), None, LedgerError("no space")])

    async def renew(_: Ledger) -> None:
        if (answer := next(answers, None)) is not None:
            raise answer

    monkeypatch.setattr(Ledger, "renew", renew)
    with caplog.at_level(logging.WARNING, "asana_jobs"):
        async with open_both(durations=Fixed(120)) as (client, _):
            await run(client, path, copies(1))

    assert caplog.text.count("leases could not be renewed") == 2


# --- Trouble with the file


def break_method(monkeypatch: pytest.MonkeyPatch, name: str) -> list[int]:
    """Have every call of a method of ledgers fail as on a full disk; the list it returns switches that off."""
    broken = [1]
    method = getattr(Ledger, name)

    async def fail(ledger: Ledger, *args: Any, **options: Any) -> Any:
        if broken:
            raise LedgerError("no space is left for the ledger")
        return await method(ledger, *args, **options)

    monkeypatch.setattr(Ledger, name, fail)
    return broken


async def test_nothing_unrecorded_is_started(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When intents cannot be recorded, every operation has a LedgerError and no request is made."""
    break_method(monkeypatch, "claim")
    async with open_both() as (client, simulator):
        outcomes = await run(client, path, copies(8))

        assert [type(outcome.error) for outcome in outcomes] == [LedgerError] * 8
        assert len(simulator.requests) == 0
        assert slots(client).taken == 0


async def test_a_job_whose_gid_could_not_be_recorded_is_watched(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job whose start could not be recorded is watched all the same, and recorded with its end."""
    break_method(monkeypatch, "started")
    async with open_both() as (client, simulator):
        (outcome,) = await run(client, path, copies(1))

        assert outcome.succeeded
        assert [(row.state, row.gid) for row in rows(path)] == [
            (LedgerState.SUCCEEDED, simulator.started[0].gid)
        ]


async def test_an_end_that_cannot_be_recorded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job whose end could not be recorded is an outcome with the job and a LedgerError; the next run finds it."""
    broken = break_method(monkeypatch, "finished")
    async with open_both() as (client, simulator):
        (outcome,) = await run(client, path, copies(1))
        assert isinstance(outcome.error, LedgerError)
        assert outcome.job is not None
        assert outcome.job.succeeded

        broken.clear()
        (again,) = await run(client, path, copies(1))

        assert again.succeeded
        assert len(simulator.started) == 1


@pytest.mark.parametrize("method", ["refused", "unknown", "withdraw", "release"])
async def test_what_cannot_be_noted_hides_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """When what went wrong cannot be recorded, the outcome still says what went wrong."""
    break_method(monkeypatch, method)
    async with open_both(durations=Fixed(60)) as (client, simulator):
        simulator.fail_next(400, method="POST")
        simulator.fail_next(Reset(effect=True), method="POST")

        outcomes = await run(client, path, copies(3), timeout=5)

        assert sorted(type(outcome.error).__name__ for outcome in outcomes) == [
            BadRequestError.__name__,
            JobTimeoutError.__name__,
            OutcomeUnknownError.__name__,
        ]
        assert slots(client).taken == 0


async def test_a_row_that_cannot_be_let_go_of_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When a row stays leased because its release could not be recorded, one warning says which, and for how long."""
    break_method(monkeypatch, "release")
    with caplog.at_level(logging.WARNING, "asana_jobs"):
        async with open_both(durations=Fixed(60)) as (client, _):
            (outcome,) = await run(client, path, copies(1), timeout=5)

    (record,) = caplog.records
    assert record.getMessage() == (
        f"{outcome.key!r} stays leased for up to {LEASE:.0f} s: no space is left for the ledger"
    )
    assert vars(record).items() >= {"asana_key": outcome.key, "asana_error": "LedgerError"}.items()


async def test_a_ledger_that_is_closed_meanwhile(path: Path) -> None:
    """When a ledger is closed under a run, nothing more is started."""
    async with open_both(durations=Fixed(5)) as (client, simulator):
        ledger = Ledger.open(path)
        outcomes: list[Outcome] = []
        async for outcome in client.run_all(copies(30), ledger=ledger):
            outcomes.append(outcome)
            if len(outcomes) == 1:
                ledger.close()

        assert len(outcomes) == 30
        assert len(simulator.started) <= 11
        assert sum(isinstance(outcome.error, LedgerError) for outcome in outcomes) >= 19


# --- Waiting holds no intent


async def test_waiting_out_a_429_holds_no_intent(path: Path) -> None:
    """While a refused POST waits, its row is no intent: killed then, it would not be in doubt."""
    async with open_both() as (client, simulator), Ledger.open(path) as ledger:
        simulator.fail_next(429, retry_after=100, method="POST")
        run = client.run_all(copies(1), ledger=ledger)
        reading = asyncio.ensure_future(anext(run))
        await asyncio.sleep(50)

        assert [row.state for row in ledger.rows()] == [LedgerState.REFUSED]
        assert (await reading).succeeded
        await run.aclose()
        assert [row.attempts for row in ledger.rows()] == [2]


async def test_an_outage_holds_no_intent(path: Path) -> None:
    """While no connection can be made, the rows that wait are no intents."""
    async with open_both() as (client, simulator), Ledger.open(path) as ledger:
        await simulator.refuse_connections(300)
        run = client.run_all(copies(4), ledger=ledger)
        reading = asyncio.ensure_future(anext(run))
        await asyncio.sleep(120.5)

        assert {row.state for row in ledger.rows()} == {LedgerState.REFUSED}
        await reading
        await run.aclose()


async def test_cancelled_before_it_was_sent(path: Path) -> None:
    """An operation that was cancelled before its request went out leaves no trace in the ledger."""
    async with open_both() as (client, simulator), Ledger.open(path) as ledger:
        await client.get_job("1")
        simulator.fail_next(429, retry_after=100, method="GET")
        looking = asyncio.create_task(client.get_job("2"))
        await asyncio.sleep(5)  # the gate is shut
        run = client.run_all(copies(3), ledger=ledger)
        reading = asyncio.ensure_future(anext(run))
        await asyncio.sleep(5)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

        assert list(ledger.rows()) == []
        looking.cancel()


async def test_cancelled_while_it_was_sent(path: Path) -> None:
    """An operation that was cancelled while its POST was under way is in the ledger with its gid."""
    async with open_both() as (client, simulator), Ledger.open(path) as ledger:
        simulator.fail_next(Latency(2, after=2), method="POST", times=None)
        run = client.run_all(copies(3), ledger=ledger)
        reading = asyncio.ensure_future(anext(run))
        await asyncio.sleep(1)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

        assert {row.gid for row in ledger.rows()} == {job.gid for job in simulator.started}
        assert {(row.state, row.holder) for row in ledger.rows()} == {(LedgerState.STARTED, None)}


async def test_a_token_of_a_newer_version(path: Path) -> None:
    """A row whose continuation token cannot be read is taken up by its gid."""
    async with open_both() as (client, simulator):
        simulator.add_job("77", ["in_progress", "succeeded"])
        async with Ledger.open(path) as ledger:
            await ledger.claim("a", copies(1)[0])
            await ledger.started("a", Job("77", status="in_progress"), '{"v": 99, "gid": "77"}')

        (outcome,) = await run(client, path, [("a", copies(1)[0])])

        assert outcome.succeeded
        assert simulator.started == []
