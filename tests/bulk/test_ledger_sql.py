"""Rows as they are read: in order, in the light of who is alive, and damaged."""

import os
import re
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from ledger_samples import COPY, ENDED, LOST, REFUSAL, RUNNING, WallClock, verdict

from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_owner import (
    LEASE,
)
from asana_jobs._client.bulk.ledger_rows import ClaimVerdict, LedgerState, LedgerSummary
from asana_jobs.errors import LedgerError, OutcomeUnknownError


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


async def test_held_operation_is_left_alone(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """What another living user works on is not taken, not even with retry_unknown; the claim says by whom."""
    await ledger.claim("a", COPY)

    claim = await other.claim("a", COPY, retry_unknown=True)

    assert claim.verdict is ClaimVerdict.HELD
    assert "process" in str(claim.row.holder)
    assert claim.row.held_until == wall_clock.time + timedelta(seconds=LEASE)


async def test_lapsed_intent_is_unknown(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """An intent whose lease ran out is unknown to others, and never started by them; it is told whose it was."""
    await other.claim("a", COPY)
    wall_clock.pass_time(LEASE + 1)

    claim = await ledger.claim("a", COPY)

    assert (claim.verdict, claim.row.state) == (ClaimVerdict.UNKNOWN, LedgerState.UNKNOWN)
    assert claim.row.error == (
        f"elsewhere, process {os.getpid()} was about to send the request at 2026-11-22T00:00:00.000+00:00 and recorded no "
        "answer: the job may have been started. Look in Asana before you start it again."
    )
    assert claim.row.error_type == OutcomeUnknownError.__name__
    assert ledger.find(key="a") == claim.row


@pytest.mark.parametrize("retry_unknown", [False, True])
async def test_a_living_process_keeps_what_it_has(
    ledger: Ledger, neighbour: Ledger, wall_clock: WallClock, retry_unknown: bool
) -> None:
    """On one machine the living process decides: neither a blocked loop nor a wall clock that jumps lets others in."""
    await ledger.claim("a", COPY)
    await ledger.claim("b", COPY)
    await ledger.started("b", RUNNING)
    wall_clock.pass_time(LEASE * 60)

    for key in "ab":
        claim = await neighbour.claim(key, COPY, retry_unknown=retry_unknown)
        assert (claim.verdict, claim.row.stopped) == (ClaimVerdict.HELD, False)
    assert neighbour.summary() == LedgerSummary(intent=1, started=1)


async def test_lapsed_watch_is_taken_over(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """A started operation whose lease ran out is watched on by others."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    wall_clock.pass_time(LEASE + 1)

    assert await verdict(other) is ClaimVerdict.RESUME


async def test_a_lease_holds_a_minute(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """Others wait a minute for who holds a row and does not renew it, and no longer."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)
    wall_clock.pass_time(LEASE - 0.001)
    held = await other.claim("a", COPY)
    assert (LEASE, held.verdict, held.holds) == (60, ClaimVerdict.HELD, True)
    wall_clock.pass_time(0.001)

    resumed = await other.claim("a", COPY)

    assert (resumed.verdict, resumed.row.owner != held.row.owner) == (ClaimVerdict.RESUME, True)
    assert await verdict(ledger) is ClaimVerdict.HELD


async def test_renewed_lease_holds(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """A lease that is renewed in time holds as long as it is renewed."""
    await ledger.claim("a", COPY)
    for _ in range(3):
        wall_clock.pass_time(LEASE - 1)
        await ledger.renew()

    assert await verdict(other) is ClaimVerdict.HELD


@pytest.mark.looptime(False)  # noqa: FBT003  # looptime's own way to say it
async def test_rows_come_in_order_page_by_page(ledger: Ledger) -> None:
    """Rows come in the order of their first claims, or back from the last, more than a page of them, filtered on request."""
    keys = [str(number) for number in range(450)]
    for key in keys:
        await ledger.claim(key, COPY)
    for key in keys[::2]:
        await ledger.finished(key, ENDED)

    assert [row.key for row in ledger.rows()] == keys
    assert [row.key for row in ledger.rows(LedgerState.SUCCEEDED)] == keys[::2]
    assert [row.key for row in ledger.rows(newest_first=True)] == keys[::-1]
    assert [row.key for row in ledger.rows(LedgerState.SUCCEEDED, newest_first=True)] == keys[::2][::-1]
    assert list(ledger.rows(LedgerState.UNKNOWN)) == []


async def test_damaged_row_is_named(path: Path) -> None:
    """A row that makes no sense is an error that names the row."""
    async with Ledger.open(path) as ledger:
        await ledger.claim("a", COPY)
    vandal = sqlite3.connect(path)
    vandal.execute("UPDATE operations SET content = '{'")
    vandal.commit()
    vandal.close()

    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="row 'a' is damaged"):
        list(ledger.rows())


def change(path: Path, statement: str) -> None:
    """Change the file behind everybody's back."""
    with closing(sqlite3.connect(path, isolation_level=None)) as vandal:
        vandal.execute(statement)


JOB = """'{"gid": "77", "status": "succeeded"}'"""
ODD_CELLS = [
    ("operations", "content = '[]'", "content is []"),
    ("operations", "content = '{'", "Expecting property name"),
    ("operations", "content = x'00'", "content is b'\\x00'"),
    ("operations", "gid = x'00'", "gid is b'\\x00'"),
    ("operations", "job = x'00'", "job is b'\\x00'"),
    ("operations", "job = '[]'", "content is []"),
    ("operations", "job = '{}'", "job None is not as Asana documents it"),
    ("operations", "failed_jobs = '{}'", "failed_jobs is {}"),
    ("operations", "failed_jobs = '[5]'", "expected a job, not a number"),
    ("operations", "failed_jobs = x'00'", "failed_jobs is b'\\x00'"),
    ("operations", "continuation_token = x'00'", "continuation_token is b'\\x00'"),
    ("operations", "error = x'00'", "error is b'\\x00'"),
    ("operations", "error_type = x'00'", "error_type is b'\\x00'"),
    ("operations", "owner = x'00'", "owner is b'\\x00'"),
    ("operations", "attempts = 0", "0 is no number of attempts"),
    ("operations", "attempts = 'two'", "'two' is no number of attempts"),
    ("operations", "created_at = x'00'", "created_at is b'\\x00'"),
    ("operations", "created_at = '2026-01-01'", "created_at is 2026-01-01 00:00:00 without a time zone"),
    ("operations", "changed_at = x'00'", "changed_at is b'\\x00'"),
    ("operations", "changed_at = 'soon'", "Invalid isoformat string: 'soon'"),
    ("operations", "ended_at = x'00'", "ended_at is b'\\x00'"),
    ("operations", "state = 'gone'", "'gone' is not a valid LedgerState"),
    ("operations", "gid = '77'", "gid 77 is not that of its job"),
    ("operations", f"job = {JOB}", "gid None is not that of its job"),
    ("operations", f"gid = '78', job = {JOB}", "gid 78 is not that of its job"),
    ("operations", f"gid = '77', job = {JOB}", "it is intent, and its job is Job(gid='77'"),
    ("operations", f"gid = '77', state = 'failed', job = {JOB}", "it is failed, and its job is Job(gid='77'"),
    ("operations", "state = 'started'", "it is started, and its job is None"),
    ("operations", "state = 'succeeded'", "it is succeeded, and its job is None"),
    ("operations", "state = 'failed'", "it is failed, and its job is None"),
    ("owners", "pid = 0", "0 is no process id"),
    ("owners", f"pid = {2**31}", f"{2**31} is no process id"),
    ("owners", "pid = 'init'", "'init' is no process id"),
    ("owners", "host = x'00'", "host is b'\\x00'"),
    ("owners", "machine = x'00'", "machine is b'\\x00'"),
    ("owners", "born = x'00'", "born is b'\\x00'"),
    ("owners", "until = 'soon'", "until is 'soon'"),
    ("owners", "until = 9e999", "until is inf"),
]


@pytest.mark.parametrize(("table", "cells", "why"), ODD_CELLS, ids=[cells for _, cells, _ in ODD_CELLS])
async def test_an_odd_cell_is_told_with_its_row_and_what_to_do(
    path: Path, ledger: Ledger, table: str, cells: str, why: str
) -> None:
    """Nothing that makes no sense is believed, whatever it is: the message says what, and what to keep."""
    await ledger.claim("a", COPY)
    change(path, f"UPDATE {table} SET {cells}")  # noqa: S608  # our own

    with pytest.raises(LedgerError, match=f"^row 'a' is damaged: {re.escape(why)}") as caught:
        list(ledger.rows())

    assert str(caught.value).endswith(". Keep the ledger file, and look in Asana what was started.")
    change(path, f"DELETE FROM {table}")  # noqa: S608  # our own


@pytest.mark.parametrize("cells", [f"pid = {2**31 - 1}", "pid = 1", "until = 9e300", "until = -1.0"])
async def test_a_cell_that_is_only_unusual_is_believed(path: Path, ledger: Ledger, cells: str) -> None:
    """The first and the last process id, and moments long gone, are what they are."""
    await ledger.claim("a", COPY)
    change(path, f"UPDATE owners SET {cells}")  # noqa: S608  # our own
    with Ledger.open(path) as reader:
        assert reader.summary().total == 1


async def test_totals_of_damaged_rows_are_no_totals(path: Path, ledger: Ledger) -> None:
    """One that cannot be counted is told, like one that cannot be read."""
    await ledger.claim("a", COPY)
    change(path, "UPDATE operations SET state = 'gone'")

    with pytest.raises(LedgerError) as caught:
        ledger.summary()

    assert str(caught.value) == (
        "a row is damaged: 'gone' is not a valid LedgerState. Keep the ledger file, and look in Asana what was started."
    )
    change(path, "DELETE FROM operations")


async def test_a_name_of_no_kind_is_told_with_its_template(path: Path, ledger: Ledger) -> None:
    """Names stand for dates and for roles."""
    await ledger.renew()
    change(path, "INSERT INTO template_names VALUES ('12', 'colour', 'Start', '1')")

    with pytest.raises(
        LedgerError, match=r"^a name of template 12 is damaged: 'colour'\. Keep the ledger file"
    ):
        await ledger.template_names("12")


async def test_an_intent_whose_owner_is_forgotten_is_unknown_too(path: Path, ledger: Ledger) -> None:
    """Nobody knows whose it was, and the row says so."""
    await ledger.claim("a", COPY)
    change(path, "DELETE FROM owners")

    (row,) = ledger.rows(LedgerState.UNKNOWN)

    assert (row.error or "").startswith(
        "a process was about to send the request at 2026-11-22T00:00:00.000+00:00 "
    )
    assert (row.error_type, row.holder, row.held_until) == ("OutcomeUnknownError", None, None)
