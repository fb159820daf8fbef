"""The ledger's schema, and its rows as they are read: in the light of who is still alive."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import isfinite
from typing import Final, cast

import attrs

from asana_jobs._client.bulk.ledger_owner import Instant, Life, Owner, see_life
from asana_jobs._client.bulk.ledger_rows import LedgerRow, LedgerState, LedgerSummary
from asana_jobs._client.http.decode import decode
from asana_jobs.errors import DecodeError, LedgerError, OutcomeUnknownError
from asana_jobs.models import DateVariableCompact, Job, ProjectTemplate, TemplateRole
from asana_jobs.parameters import check_gid, check_key


#: "AsJL": what ``PRAGMA application_id`` says of our files, and of no other's.
APPLICATION: Final = int.from_bytes(b"AsJL", "big")
#: States that a row may be in, as SQL: the names of `LedgerState`.
_STATE_NAMES: Final = "('intent', 'started', 'succeeded', 'failed', 'refused', 'unknown', 'accepted')"

#: What each version of the schema added to the one before it; a new ledger is made by all of them.
SCHEMA_VERSIONS: Final[Sequence[Sequence[str]]] = (
    (
        # "earlier" is the state that a withdrawn intent goes back to; a row without one goes away.
        """
        CREATE TABLE operations (
            seq INTEGER PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            content TEXT NOT NULL,
            state TEXT NOT NULL,
            earlier TEXT,
            gid TEXT,
            job TEXT,
            continuation_token TEXT,
            error TEXT,
            error_type TEXT,
            attempts INTEGER NOT NULL,
            owner TEXT,
            created_at TEXT NOT NULL,
            changed_at TEXT NOT NULL
        )
        """,
        # A lease belongs to an owner, not to a row: renewing all of them is one small write.
        """
        CREATE TABLE owners (
            id TEXT PRIMARY KEY,
            host TEXT NOT NULL,
            machine TEXT NOT NULL,
            pid INTEGER NOT NULL,
            born TEXT NOT NULL,
            until REAL NOT NULL
        )
        """,
        "CREATE INDEX operations_by_state ON operations (state, owner)",
        "CREATE INDEX operations_held ON operations (owner) WHERE owner IS NOT NULL",
    ),
    (
        # The jobs of earlier attempts that failed, as a JSON list; when the job was seen to end; and what named the
        # operation before its caller gave it a key.
        "ALTER TABLE operations ADD COLUMN failed_jobs TEXT",
        "ALTER TABLE operations ADD COLUMN ended_at TEXT",
        "ALTER TABLE operations ADD COLUMN earlier_key TEXT",
        "CREATE UNIQUE INDEX operations_by_earlier_key ON operations (earlier_key) WHERE earlier_key IS NOT NULL",
    ),
    (
        # What names of a template's dates and roles stood for when they were first used.
        """
        CREATE TABLE template_names (
            template TEXT NOT NULL,
            kind TEXT NOT NULL,
            name TEXT NOT NULL,
            gid TEXT NOT NULL,
            PRIMARY KEY (template, kind, name)
        ) WITHOUT ROWID
        """,
    ),
)
SCHEMA: Final = len(SCHEMA_VERSIONS)

#: Rows of which nothing can be believed. They are looked for when a ledger is opened, since a row under a damaged key
#: would be taken for one that is missing, and its operation for one that was never started.
ODD_ROWS: Final = f"""
    SELECT count(*) FROM operations WHERE NOT is_key(key) OR typeof(content) <> 'text' OR state NOT IN {_STATE_NAMES}
    OR typeof(state) <> 'text' OR coalesce(earlier, state) NOT IN {_STATE_NAMES} OR typeof(attempts) <> 'integer'
    OR NOT (earlier_key IS NULL OR is_key(earlier_key))
"""  # noqa: S608  # constants

#: Positions before the first row and behind the last.
FIRST: Final = 0
LAST: Final = 2**63 - 1
_ROWS_A_PAGE: Final = 200
_SELECT_ROWS: Final = """
    SELECT operations.*, owners.id AS owner_id, host, machine, pid, born, until
    FROM operations LEFT JOIN owners ON owners.id = operations.owner
"""


@attrs.frozen
class LedgerSession:
    """One transaction or reading of the open file.

    Attributes:
        connection: The open file.
        owner: The open ledger that asks.
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


def find(session: LedgerSession, key: str) -> LedgerRow | None:
    """Return the row of *key*, or ``None``."""
    return _first(session, "WHERE key = ?", key) or _first(session, "WHERE earlier_key = ?", key)


def find_job(session: LedgerSession, gid: str) -> LedgerRow | None:
    """Return the row whose job is *gid*, or ``None``; of several, which only exports share, the last one."""
    return _first(session, "WHERE gid = ? ORDER BY seq DESC LIMIT 1", gid)


def _first(session: LedgerSession, where: str, value: str) -> LedgerRow | None:
    record: sqlite3.Row | None = session.execute(f"{_SELECT_ROWS} {where}", value).fetchone()
    return None if record is None else _row(session, record)


def require(session: LedgerSession, key: str) -> LedgerRow:
    """Return the row of *key*, or raise `LedgerError`."""
    row = find(session, key)
    if row is None:
        raise LedgerError(f"there is no row {key!r}: claim it before recording what came of it")
    return row


def page(
    session: LedgerSession, after: int, states: Collection[LedgerState], *, backwards: bool = False
) -> tuple[int, list[LedgerRow]] | None:
    """Return the rows of one page and the position behind it, or ``None`` at the end.

    Args:
        session: The reading.
        after: The position behind the page before it; for the first one `FIRST`, or `LAST` backwards.
        states: The states of the rows that are wanted; none for all.
        backwards: Whether to go from the last row to the first.
    """
    # An abandoned intent is stored as an intent and counts as unknown.
    stored = {*states, LedgerState.INTENT} if LedgerState.UNKNOWN in states else set(states)
    chosen = f"AND state IN ({', '.join('?' * len(stored))})" if stored else ""
    beyond, order = ("<", "DESC") if backwards else (">", "ASC")
    records = session.execute(
        f"{_SELECT_ROWS} WHERE seq {beyond} ? {chosen} ORDER BY seq {order} LIMIT {_ROWS_A_PAGE}",
        after,
        *stored,
    ).fetchall()
    if not records:
        return None
    rows = [_row(session, record) for record in records]
    return records[-1]["seq"], [row for row in rows if not states or row.state in states]


def each(session: LedgerSession, states: Collection[LedgerState]) -> Iterator[LedgerRow]:
    """Go through the rows in *states*, which may be changed on the way."""
    position = 0
    while found := page(session, position, states):
        position, rows = found
        yield from rows


def summarize(session: LedgerSession) -> LedgerSummary:
    """Count the rows."""
    counts = dict.fromkeys(LedgerState, 0)
    for record in session.execute(
        "SELECT state, count(*) AS times, owners.id AS owner_id, host, machine, pid, born, until "
        "FROM operations LEFT JOIN owners ON owners.id = operations.owner GROUP BY state, owner"
    ):
        with _damage_explained("a row"):
            counts[_state(record, _holder(session, record))] += record["times"]
    return LedgerSummary(**{state.value: count for state, count in counts.items()})


def names_of(session: LedgerSession, template: str) -> ProjectTemplate:
    """Return the dates and roles of *template* that were given by name, with the gids that they had."""
    found: dict[str, dict[str, str]] = {"date": {}, "role": {}}
    with _damage_explained(f"a name of template {template}"):
        for record in session.execute("SELECT * FROM template_names WHERE template = ?", template):
            found[_text(record, "kind")][_text(record, "name")] = check_gid(record["gid"])
    return ProjectTemplate(
        template,
        requested_dates=tuple(DateVariableCompact(gid=gid, name=name) for name, gid in found["date"].items()),
        requested_roles=tuple(TemplateRole(gid=gid, name=name) for name, gid in found["role"].items()),
    )


def stamp(moment: datetime) -> str:
    """Return *moment* as the ledger keeps it."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def no_answer(holder: str, since: datetime) -> dict[str, str | None]:
    """Return the error columns of an intent that nobody answers for."""
    said = (
        f"{holder} was about to send the request at {stamp(since)} and recorded no answer: the job may have "
        f"been started. Look in Asana before you start it again."
    )
    return {"error": said, "error_type": OutcomeUnknownError.__name__}


def _holder(session: LedgerSession, record: sqlite3.Row) -> tuple[Owner, Life] | None:
    """Return the holder of the row, unless its process is gone, or cannot be seen and its lease has run out."""
    if record["owner_id"] is None:
        return None
    owner, until = _owner(record), _number(record, "until")
    if owner.id == session.owner.id:
        return owner, Life.LIVES
    life = see_life(owner, session.owner)
    if life is Life.GONE or (life is Life.UNSEEN and until <= session.now.timestamp()):
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


def _state(record: sqlite3.Row, holder: object) -> LedgerState:
    state = LedgerState(record["state"])
    return LedgerState.UNKNOWN if state is LedgerState.INTENT and holder is None else state


def _row(session: LedgerSession, record: sqlite3.Row) -> LedgerRow:
    with _damage_explained(f"row {record['key']!r}"):
        held = _holder(session, record)
        holder = None if held is None else str(held[0])
        changed_at = _moment(record, "changed_at")
        state = _state(record, held)
        said = {name: _text_or_none(record, name) for name in ("error", "error_type")}
        if state is LedgerState.UNKNOWN and record["state"] == LedgerState.INTENT:
            said = no_answer(str(_owner(record)) if record["owner_id"] else "a process", changed_at)
        attempts = record["attempts"]
        if type(attempts) is not int or attempts < 1:
            raise ValueError(f"{attempts!r} is no number of attempts")
        row = LedgerRow(
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
        _check_job(LedgerState(record["state"]), row)
    return row


def _check_job(state: LedgerState, row: LedgerRow) -> None:
    """Raise `ValueError` for a job that does not fit the state."""
    if row.gid != (row.job and row.job.gid):
        raise ValueError(f"gid {row.gid} is not that of its job")
    if row.gid is not None:
        check_gid(row.gid)
    job = row.job
    fits = {
        LedgerState.INTENT: job is None,
        LedgerState.STARTED: job is not None,
        LedgerState.SUCCEEDED: job is not None and job.succeeded,
        LedgerState.FAILED: job is not None and job.failed,
    }
    if not fits.get(state, True):
        raise ValueError(f"it is {state}, and its job is {job}")


@contextmanager
def _damage_explained(what: str) -> Generator[None, None, None]:
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
    return None if text is None else decode(Job, _object(text))


def _jobs(text: str | None) -> tuple[Job, ...]:
    found: object = [] if text is None else json.loads(text)
    if not isinstance(found, list):
        raise TypeError(f"failed_jobs is {text:.60}")
    return tuple(decode(Job, job) for job in cast("list[object]", found))
