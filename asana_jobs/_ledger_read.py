"""The ledger's readings: rows as they are stored, seen in the light of who is still alive."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Final

import attrs

from asana_jobs._decode import decode_job
from asana_jobs._ledger_owner import Owner, is_gone
from asana_jobs._ledger_rows import Row, State, Summary
from asana_jobs.errors import DecodeError, LedgerError, OutcomeUnknownError


_PAGE: Final = 200
_SELECT: Final = """
    SELECT operations.*, owners.id AS owner_id, host, machine, pid, born, until
    FROM operations LEFT JOIN owners ON owners.id = operations.owner
"""


@attrs.frozen
class Turn:
    """One transaction or reading: the connection, who asks, and when."""

    connection: sqlite3.Connection
    owner: Owner
    now: datetime

    def execute(self, statement: str, *values: object, **named: object) -> sqlite3.Cursor:
        """Run one statement."""
        return self.connection.execute(statement, named or values)


def find(turn: Turn, key: str) -> Row | None:
    """Return the row of *key*, or ``None``."""
    record: sqlite3.Row | None = turn.execute(f"{_SELECT} WHERE key = ?", key).fetchone()
    return None if record is None else _row(turn, record)


def require(turn: Turn, key: str) -> Row:
    """Return the row of *key*, or raise `LedgerError`."""
    row = find(turn, key)
    if row is None:
        raise LedgerError(f"there is no row {key!r}: claim it before recording what came of it")
    return row


def page(turn: Turn, after: int, states: Collection[State]) -> tuple[int, list[Row]] | None:
    """Return some rows behind the position *after*, and the next position; ``None`` at the end."""
    # An abandoned intent is stored as an intent and counts as unknown.
    stored = {*states, State.INTENT} if State.UNKNOWN in states else set(states)
    chosen = f"AND state IN ({', '.join('?' * len(stored))})" if stored else ""
    records = turn.execute(
        f"{_SELECT} WHERE seq > ? {chosen} ORDER BY seq LIMIT {_PAGE}", after, *stored
    ).fetchall()
    if not records:
        return None
    rows = [_row(turn, record) for record in records]
    return records[-1]["seq"], [row for row in rows if not states or row.state in states]


def each(turn: Turn, states: Collection[State]) -> Iterator[Row]:
    """Go through the rows in *states*, which may be changed on the way."""
    position = 0
    while found := page(turn, position, states):
        position, rows = found
        yield from rows


def summarize(turn: Turn) -> Summary:
    """Count the rows."""
    counts = dict.fromkeys(State, 0)
    for record in turn.execute(
        "SELECT state, count(*) AS times, owners.id AS owner_id, host, machine, pid, born, until "
        "FROM operations LEFT JOIN owners ON owners.id = operations.owner GROUP BY state, owner"
    ):
        counts[_state(record, _holder(turn, record))] += record["times"]
    return Summary(**{state.value: count for state, count in counts.items()})


def stamp(moment: datetime) -> str:
    """Write a time down."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def no_answer(holder: str, since: datetime) -> dict[str, str | None]:
    """Return the error columns of an intent that nobody answers for."""
    said = (
        f"{holder} was about to send the request at {stamp(since)} and recorded no answer: the job may have "
        f"been started. Look in Asana before you start it again."
    )
    return {"error": said, "error_type": OutcomeUnknownError.__name__}


def _holder(turn: Turn, record: sqlite3.Row) -> Owner | None:
    """Return who holds the row, unless the lease has run out or its process is gone."""
    if record["owner_id"] is None:
        return None
    owner = _owner(record)
    if owner.id == turn.owner.id:
        return owner
    lapsed = record["until"] <= turn.now.timestamp()
    return None if lapsed or is_gone(owner, turn.owner) else owner


def _owner(record: sqlite3.Row) -> Owner:
    return Owner(
        id=record["owner_id"],
        host=record["host"],
        machine=record["machine"],
        pid=record["pid"],
        born=record["born"],
    )


def _state(record: sqlite3.Row, holder: Owner | None) -> State:
    state = State(record["state"])
    return State.UNKNOWN if state is State.INTENT and holder is None else state


def _row(turn: Turn, record: sqlite3.Row) -> Row:
    holder = _holder(turn, record)
    try:
        changed_at = datetime.fromisoformat(record["changed_at"])
        state = _state(record, holder)
        said = {"error": record["error"], "error_type": record["error_type"]}
        if state is State.UNKNOWN and record["state"] == State.INTENT:
            said = no_answer(str(_owner(record)) if record["owner_id"] else "a process", changed_at)
        return Row(
            key=record["key"],
            content=json.loads(record["content"]),
            state=state,
            gid=record["gid"],
            job=None if record["job"] is None else decode_job(json.loads(record["job"])),
            continuation_token=record["continuation_token"],
            error=said["error"],
            error_type=said["error_type"],
            attempts=record["attempts"],
            created_at=datetime.fromisoformat(record["created_at"]),
            changed_at=changed_at,
            holder=None if holder is None else str(holder),
            held_until=None if holder is None else datetime.fromtimestamp(record["until"], UTC),
            owner=record["owner"],
        )
    except (ValueError, TypeError, DecodeError) as error:
        raise LedgerError(
            f"row {record['key']!r} is damaged: {error}. Keep the ledger file, and look in Asana what was started."
        ) from error
