"""The rows and totals that a ledger shows."""

import json
import sqlite3
from pathlib import Path

import pytest
from ledger_samples import BROKEN, COPY, ENDED, LOST, REFUSAL, RUNNING, WallClock

from asana_jobs._client.bulk.ledger import Ledger
from asana_jobs._client.bulk.ledger_owner import LEASE
from asana_jobs._client.bulk.ledger_rows import LedgerSummary
from asana_jobs.errors import LedgerError


async def test_without_a_token_the_gid_is_watched(ledger: Ledger) -> None:
    """A started operation without a continuation token is watched on by its gid."""
    await ledger.claim("a", COPY)
    await ledger.started("a", RUNNING)

    assert next(ledger.rows()).resume_from == "77"


async def test_summary_counts_each_state(ledger: Ledger, other: Ledger, wall_clock: WallClock) -> None:
    """The summary counts the rows of each state, an abandoned intent as unknown."""
    await ledger.claim("abandoned", COPY)
    wall_clock.pass_time(LEASE + 1)
    for key in ("intent", "started", "succeeded", "failed", "refused", "unknown"):
        await other.claim(key, COPY)
    await other.started("started", RUNNING)
    await other.finished("succeeded", ENDED)
    await other.finished("failed", BROKEN)
    await other.refused("refused", REFUSAL)
    await other.unknown("unknown", LOST)

    summary = other.summary()

    assert summary == LedgerSummary(intent=1, started=1, succeeded=1, failed=1, refused=1, unknown=2)
    assert summary.total == 7
    assert str(summary) == (
        "1 intent, 1 started, 1 succeeded, 1 failed (retry_failed=True starts them again), 1 refused, 2 unknown (look in"
        " Asana; then retry_unknown=True starts them again, accept_unknown() leaves them)"
    )


async def test_rows_hold_the_operation(ledger: Ledger) -> None:
    """A row gives back an operation equal to the one that was claimed."""
    await ledger.claim("a", COPY)

    assert next(ledger.rows()).operation == COPY


async def test_export_is_json(ledger: Ledger, wall_clock: WallClock) -> None:
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
        "created_at": wall_clock.time.isoformat(),
        "changed_at": wall_clock.time.isoformat(),
        "ended_at": wall_clock.time.isoformat(),
    }


async def test_operation_of_a_newer_version_is_named(path: Path) -> None:
    """A row with an operation that this version does not know says so when it is asked for it."""
    async with Ledger.open(path) as ledger:
        await ledger.claim("a", COPY)
    newer = sqlite3.connect(path)
    newer.execute("""UPDATE operations SET content = '{"kind": "invite_martians"}'""")
    newer.commit()
    newer.close()

    with Ledger.open(path) as ledger, pytest.raises(LedgerError, match="'a' holds an operation this version"):
        _ = next(ledger.rows()).operation
