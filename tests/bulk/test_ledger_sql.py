"""Rows as they are read: in order, in the light of who is alive, and damaged."""

import sqlite3
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
    """An intent whose lease ran out is unknown to others, and never started by them."""
    await ledger.claim("a", COPY)
    wall_clock.pass_time(LEASE + 1)

    claim = await other.claim("a", COPY)

    assert (claim.verdict, claim.row.state) == (ClaimVerdict.UNKNOWN, LedgerState.UNKNOWN)
    assert "recorded no answer" in str(claim.row.error)
    assert claim.row.error_type == OutcomeUnknownError.__name__


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
    wall_clock.pass_time(59.9)
    assert await verdict(other) is ClaimVerdict.HELD
    wall_clock.pass_time(0.2)

    assert await verdict(other) is ClaimVerdict.RESUME


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
