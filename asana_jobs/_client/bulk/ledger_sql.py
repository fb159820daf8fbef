"""The ledger's decisions: each function is the content of one transaction.

Who may change a row: an intent, only the owner that claimed it. That a job was started, or has finished, is a
fact, and recorded whoever holds the row by then, unless it contradicts what is there.

The ledger's readings: rows as they are stored, seen in the light of who is still alive.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from math import isfinite
from typing import Final, cast

import attrs

from asana_jobs._client.bulk.ledger_keys import canonical, check_key
from asana_jobs._client.bulk.ledger_owner import LEASE, Instant, Life, Owner, look
from asana_jobs._client.bulk.ledger_rows import FINISHED, Claim, Row, State, Summary, Verdict
from asana_jobs._client.http.decode import decode_job
from asana_jobs.errors import AsanaJobsError, DecodeError, LedgerError, OutcomeUnknownError
from asana_jobs.models import Job
from asana_jobs.parameters import check_gid


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


_LONGEST_ERROR: Final = 2000


@attrs.frozen(kw_only=True)
class Wanted:
    """What a claim is for.

    Attributes:
        content: The operation as JSON.
        derived_key: What would name it if its caller had not.
        once_more: Whether it is our intent already, and only to be confirmed.
        retry_unknown: Whether to start it again if it is not known whether it was started.
        retry_failed: Whether to start it again if its job had failed when the ledger was opened.
    """

    content: str
    derived_key: str | None = None
    once_more: bool = False
    retry_unknown: bool = False
    retry_failed: bool = False


def renew(turn: Turn) -> None:
    """Let all leases of the owner end a full lease from now."""
    turn.execute(
        "INSERT INTO owners (id, host, machine, pid, born, until) "
        "VALUES (:id, :host, :machine, :pid, :born, :until) "
        "ON CONFLICT (id) DO UPDATE SET until = excluded.until",
        **attrs.asdict(turn.owner),
        until=turn.now.timestamp() + LEASE,
    )


def claim(turn: Turn, key: str, wanted: Wanted) -> Claim:
    """Take the row of *key*, or say why not."""
    row = find(turn, key) or _adopt(turn, key, wanted)
    if row is None:
        turn.execute(
            "INSERT INTO operations (key, content, state, attempts, owner, created_at, changed_at) "
            "VALUES (:key, :content, :state, 1, :owner, :now, :now)",
            key=key,
            content=wanted.content,
            state=State.INTENT,
            owner=turn.owner.id,
            now=stamp(turn.now),
        )
        return _answer(turn, Verdict.START, key)
    if not _same(row.content, wanted.content):
        raise LedgerError(
            f"key {key!r} stands for another operation in this ledger: {json.dumps(row.content)}, "
            f"not {wanted.content}. Use another key or another ledger."
        )
    verdict = _judge(turn, row, wanted)
    if verdict is Verdict.START and row.state is State.INTENT:
        renew(turn)  # claimed once more
    elif verdict is Verdict.START:
        _start(turn, row)
    elif verdict is Verdict.RESUME:
        _change(turn, row.key, owner=turn.owner.id)
    elif verdict is Verdict.UNKNOWN and row.owner is not None:
        _settle(turn, row, error=row.error, error_type=row.error_type)
    else:
        return Claim(verdict, row, turn.taken_at)  # nothing was changed
    return _answer(turn, verdict, row.key)


def _answer(turn: Turn, verdict: Verdict, key: str) -> Claim:
    return Claim(verdict, require(turn, key), turn.taken_at)


def _adopt(turn: Turn, key: str, wanted: Wanted) -> Row | None:
    """Return the row that this operation had before its caller gave it a *key*, under the new one, if there is one."""
    if wanted.derived_key is None or wanted.derived_key == key:
        return None
    row = find(turn, wanted.derived_key)
    if row is None or row.key != wanted.derived_key or not _same(row.content, wanted.content):
        return None
    turn.execute("UPDATE operations SET key = ?, earlier_key = key WHERE key = ?", key, row.key)
    return require(turn, key)


def _same(content: Mapping[str, object], wanted: str) -> bool:
    """Whether Asana would do the same."""
    other = json.loads(wanted)
    return content == other or canonical(content) == canonical(other)


def _start(turn: Turn, row: Row) -> None:
    failed = row.failed_jobs
    if row.state is State.FAILED and row.job is not None:
        failed = (*failed, row.job)
    _change(
        turn,
        row.key,
        state=State.INTENT,
        earlier=row.state,
        owner=turn.owner.id,
        attempts=row.attempts + 1,
        gid=None,
        job=None,
        continuation_token=None,
        failed_jobs=_jobs_text(failed),
    )


def _judge(turn: Turn, row: Row, wanted: Wanted) -> Verdict:
    failed_before = row.ended_at is None or row.ended_at < turn.opened_at
    starts = {
        State.REFUSED: True,
        State.UNKNOWN: wanted.retry_unknown,
        State.FAILED: wanted.retry_failed and failed_before,
        State.INTENT: wanted.once_more and row.owner == turn.owner.id,
    }
    if starts.get(row.state, False):
        return Verdict.START
    if row.state in FINISHED:
        return Verdict.DONE
    if row.state is State.STARTED and row.holder is None:
        return Verdict.RESUME
    return {State.UNKNOWN: Verdict.UNKNOWN, State.ACCEPTED: Verdict.ACCEPTED}.get(row.state, Verdict.HELD)


def undo(turn: Turn, claimed: Claim) -> None:
    """Take back a claim whose answer reached nobody: nothing was sent."""
    if claimed.verdict is Verdict.START:
        withdraw(turn, claimed.row.key)
    elif claimed.verdict is Verdict.RESUME:
        release(turn, claimed.row.key)


def started(turn: Turn, key: str, job: Job, continuation_token: str | None) -> None:
    """Record that *job* was started."""
    row = _admit(turn, key, job)
    if row.state not in FINISHED:
        _change(
            turn,
            row.key,
            state=State.STARTED,
            owner=turn.owner.id,
            gid=job.gid,
            job=_job_text(job),
            continuation_token=continuation_token,
            error=None,
            error_type=None,
            ended_at=None,
        )


def finished(turn: Turn, key: str, job: Job) -> None:
    """Record the end of *job*."""
    row = _admit(turn, key, job)
    state = State.SUCCEEDED if job.succeeded else State.FAILED
    _change(
        turn,
        row.key,
        state=state,
        owner=None,
        gid=job.gid,
        job=_job_text(job),
        error=None,
        error_type=None,
        ended_at=stamp(turn.now),
    )


def refused(turn: Turn, key: str, error: BaseException) -> None:
    """Record that nothing was started, for certain."""
    row = _own_intent(turn, key)
    _change(turn, row.key, state=State.REFUSED, owner=None, **_error_text(error))


def unknown(turn: Turn, key: str, error: BaseException) -> None:
    """Record that a job may have been started."""
    row = require(turn, key)
    if row.state is not State.UNKNOWN:  # others may have come to the same conclusion
        _own_intent(turn, key)
    _change(turn, row.key, state=State.UNKNOWN, owner=None, **_error_text(error))


def withdraw(turn: Turn, key: str) -> None:
    """Put an intent back to what was there before it: nothing was sent."""
    row = _own_intent(turn, key)
    earlier = turn.execute("SELECT earlier FROM operations WHERE key = ?", row.key).fetchone()["earlier"]
    if earlier is None:
        turn.execute("DELETE FROM operations WHERE key = ?", row.key)
        return
    columns: dict[str, str | int | None] = {"state": earlier, "attempts": row.attempts - 1, "owner": None}
    if earlier == State.FAILED and row.failed_jobs:
        *others, last = row.failed_jobs
        columns |= {"gid": last.gid, "job": _job_text(last), "failed_jobs": _jobs_text(others)}
    _change(turn, row.key, **columns)


def release(
    turn: Turn, key: str, error: BaseException | None = None, continuation_token: str | None = None
) -> None:
    """Let go of a row of ours, whatever comes of it."""
    row = find(turn, key)
    if row is None or row.owner != turn.owner.id:
        return
    noted = _error_text(error) if error else {}
    if row.state is State.INTENT:
        _settle(turn, row, **noted)
    else:
        if continuation_token is not None:
            noted["continuation_token"] = continuation_token
        _change(turn, row.key, owner=None, **noted)


def release_all(turn: Turn) -> None:
    """Let go of everything that is ours, and forget the owners that hold nothing any more."""
    mine = turn.execute("SELECT key FROM operations WHERE owner = ?", turn.owner.id).fetchall()
    for record in mine:
        release(turn, record["key"])
    turn.execute(
        "DELETE FROM owners WHERE (id = ? OR until < ?) AND id NOT IN "
        "(SELECT owner FROM operations WHERE owner IS NOT NULL)",
        turn.owner.id,
        turn.now.timestamp(),
    )


def accept_unknown(turn: Turn, keys: Collection[str]) -> int:
    """Settle the unknown rows among *keys*, or all of them; return how many."""
    accepted = 0
    for row in (find(turn, key) for key in keys) if keys else each(turn, {State.UNKNOWN}):
        if row is not None and row.state is State.UNKNOWN:
            _change(
                turn, row.key, state=State.ACCEPTED, owner=None, error=row.error, error_type=row.error_type
            )
            accepted += 1
    return accepted


def _admit(turn: Turn, key: str, job: Job) -> Row:
    """Return the row of *key* if *job* can be its job."""
    row = require(turn, key)
    foreign = row.state is State.INTENT and row.owner != turn.owner.id
    if foreign or row.gid not in {None, job.gid}:
        instead = f"it is job {row.gid}" if row.gid else f"{row.holder} may be starting another"
        raise LedgerError(
            f"job {job.gid} was started for {key!r}, but by now {instead}: this process did not renew its "
            f"lease in time. Look at both jobs in Asana."
        )
    return row


def _own_intent(turn: Turn, key: str) -> Row:
    row = require(turn, key)
    if row.state is not State.INTENT or row.owner != turn.owner.id:
        raise LedgerError(
            f"{key!r} is no intent of this process (any more), but {row.state}: either its answer was "
            f"recorded already, or its lease ran out. Nothing was changed."
        )
    return row


def _settle(turn: Turn, row: Row, **noted: str | None) -> None:
    """Write down that nobody knows what came of an intent."""
    _change(
        turn,
        row.key,
        state=State.UNKNOWN,
        owner=None,
        **(noted or no_answer(str(turn.owner), row.changed_at)),
    )


def _change(turn: Turn, key: str, **columns: str | int | None) -> None:
    columns["changed_at"] = stamp(turn.now)
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    statement = f"UPDATE operations SET {assignments} WHERE key = :key"  # noqa: S608  # the names are our own
    turn.execute(statement, key=key, **columns)


def _error_text(error: BaseException) -> dict[str, str | None]:
    # The errors of this library hold no token; nobody vouches for the texts of others.
    text = str(error) if isinstance(error, AsanaJobsError) else ""
    # Half a surrogate pair, from a name in an operation, cannot be stored.
    text = text[:_LONGEST_ERROR].encode(errors="replace").decode()
    return {"error": text or type(error).__name__, "error_type": type(error).__name__}


def _jobs_text(jobs: Sequence[Job]) -> str | None:
    return json.dumps([_without_links(job.to_dict()) for job in jobs]) if jobs else None


def _job_text(job: Job) -> str:
    return json.dumps(_without_links(job.to_dict()))


def _without_links(value: object) -> object:
    """Drop download links, which are secrets: whoever has one can fetch the file."""
    if isinstance(value, dict):
        fields = cast("dict[str, object]", value)
        return {name: _without_links(below) for name, below in fields.items() if name != "download_url"}
    if isinstance(value, list):
        return [_without_links(item) for item in cast("list[object]", value)]
    return value
