"""The ledger's readings: rows as they are stored, seen in the light of who is still alive."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from math import isfinite
from typing import Final, cast

import attrs

from asana_jobs._decode import decode_job
from asana_jobs._gids import check_gid
from asana_jobs._ledger_keys import check_key
from asana_jobs._ledger_owner import Instant, Life, Owner, look
from asana_jobs._ledger_rows import Row, State, Summary
from asana_jobs.errors import DecodeError, LedgerError, OutcomeUnknownError
from asana_jobs.models import Job


_PAGE: Final = 200
_SELECT: Final = """
    SELECT operations.*, owners.id AS owner_id, host, machine, pid, born, until
    FROM operations LEFT JOIN owners ON owners.id = operations.owner
"""


@attrs.frozen
class Turn:
    """One transaction or reading.

    Attributes:
        connection: The open file.
        owner: Who asks.
        now: The time of day.
        taken_at: The same moment by the clocks of the machine.
        opened_at: The time of day at which the ledger was opened.
    """

    connection: sqlite3.Connection
    owner: Owner
    now: datetime
    taken_at: Instant
    opened_at: datetime

    def execute(self, statement: str, *values: object, **named: object) -> sqlite3.Cursor:
        """Run one statement."""
        return self.connection.execute(statement, named or values)


def find(turn: Turn, key: str) -> Row | None:
    """Return the row of *key*, or ``None``."""
    record: sqlite3.Row | None = turn.execute(f"{_SELECT} WHERE key = ?", key).fetchone()
    if record is None:
        record = turn.execute(f"{_SELECT} WHERE earlier_key = ?", key).fetchone()
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
        with _making_sense("a row"):
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


def _holder(turn: Turn, record: sqlite3.Row) -> tuple[Owner, Life] | None:
    """Return who holds the row, unless its process is gone, or cannot be seen and its lease has run out."""
    if record["owner_id"] is None:
        return None
    owner, until = _owner(record), _number(record, "until")
    if owner.id == turn.owner.id:
        return owner, Life.LIVES
    life = look(owner, turn.owner)
    if life is Life.GONE or (life is Life.UNSEEN and until <= turn.now.timestamp()):
        return None
    return owner, life


def _owner(record: sqlite3.Row) -> Owner:
    pid = record["pid"]
    if type(pid) is not int or not 0 < pid < 2**31:
        raise ValueError(f"{pid!r} is no process id")
    return Owner(
        id=_text(record, "owner_id"),
        host=_text(record, "host"),
        machine=_text(record, "machine"),
        pid=pid,
        born=_text(record, "born"),
    )


def _state(record: sqlite3.Row, holder: object) -> State:
    state = State(record["state"])
    return State.UNKNOWN if state is State.INTENT and holder is None else state


def _row(turn: Turn, record: sqlite3.Row) -> Row:
    with _making_sense(f"row {record['key']!r}"):
        held = _holder(turn, record)
        holder = None if held is None else str(held[0])
        changed_at = _moment(record, "changed_at")
        state = _state(record, held)
        said = {name: _text_or_none(record, name) for name in ("error", "error_type")}
        if state is State.UNKNOWN and record["state"] == State.INTENT:
            said = no_answer(str(_owner(record)) if record["owner_id"] else "a process", changed_at)
        attempts = record["attempts"]
        if type(attempts) is not int or attempts < 1:
            raise ValueError(f"{attempts!r} is no number of attempts")
        row = Row(
            key=check_key(record["key"]),
            content=_object(_text(record, "content")),
            state=state,
            gid=_text_or_none(record, "gid"),
            job=_job(_text_or_none(record, "job")),
            continuation_token=_text_or_none(record, "continuation_token"),
            error=said["error"],
            error_type=said["error_type"],
            attempts=attempts,
            failed_jobs=_jobs(_text_or_none(record, "failed_jobs")),
            created_at=_moment(record, "created_at"),
            changed_at=changed_at,
            ended_at=None if record["ended_at"] is None else _moment(record, "ended_at"),
            holder=holder,
            held_until=None if held is None else datetime.fromtimestamp(_number(record, "until"), UTC),
            stopped=held is not None and held[1] is Life.STOPPED,
            owner=_text_or_none(record, "owner"),
        )
        _check_job(State(record["state"]), row)
    return row


def _check_job(state: State, row: Row) -> None:
    """Raise `ValueError` for a job that does not fit the state."""
    if row.gid != (row.job and row.job.gid):
        raise ValueError(f"gid {row.gid} is not that of its job")
    if row.gid is not None:
        check_gid(row.gid)
    job = row.job
    fits = {
        State.INTENT: job is None,
        State.STARTED: job is not None,
        State.SUCCEEDED: job is not None and job.succeeded,
        State.FAILED: job is not None and job.failed,
    }
    if not fits.get(state, True):
        raise ValueError(f"it is {state}, and its job is {job}")


@contextmanager
def _making_sense(what: str) -> Generator[None, None, None]:
    """Raise `LedgerError` for cells that make no sense."""
    try:
        yield
    except (
        ValueError,
        TypeError,
        ArithmeticError,
        OSError,
        LookupError,
        RecursionError,
        DecodeError,
    ) as error:
        raise LedgerError(
            f"{what} is damaged: {error}. Keep the ledger file, and look in Asana what was started."
        ) from error


def _text(record: sqlite3.Row, column: str) -> str:
    value = record[column]
    if not isinstance(value, str):
        raise TypeError(f"{column} is {value!r:.60}")
    return value


def _text_or_none(record: sqlite3.Row, column: str) -> str | None:
    return None if record[column] is None else _text(record, column)


def _number(record: sqlite3.Row, column: str) -> float:
    value = record[column]
    if not isinstance(value, float) or not isfinite(value):
        raise TypeError(f"{column} is {value!r:.60}")
    return value


def _moment(record: sqlite3.Row, column: str) -> datetime:
    moment = datetime.fromisoformat(_text(record, column))
    if moment.tzinfo is None:
        raise ValueError(f"{column} is {moment} without a time zone")
    return moment


def _object(text: str) -> dict[str, object]:
    found: object = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError(f"content is {text:.60}")
    return cast("dict[str, object]", found)


def _job(text: str | None) -> Job | None:
    return None if text is None else decode_job(_object(text))


def _jobs(text: str | None) -> tuple[Job, ...]:
    found: object = [] if text is None else json.loads(text)
    if not isinstance(found, list):
        raise TypeError(f"failed_jobs is {text:.60}")
    return tuple(decode_job(job) for job in cast("list[object]", found))
