"""The ledger's transitions: each function is the content of one transaction that changes rows.

Who may change a row: an intent, only the owner that claimed it. That a job was started, or has finished, is a
fact, and recorded whoever holds the row by then, unless it contradicts what is there.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Final, cast

import attrs

from asana_jobs._client.bulk.ledger_keys import canonical
from asana_jobs._client.bulk.ledger_owner import LEASE
from asana_jobs._client.bulk.ledger_rows import (
    FINISHED_STATES,
    ClaimVerdict,
    LedgerClaim,
    LedgerRow,
    LedgerState,
)
from asana_jobs._client.bulk.ledger_sql import LedgerSession, each, find, names_of, no_answer, require, stamp
from asana_jobs.errors import AsanaJobsError, LedgerError
from asana_jobs.models import Job, ProjectTemplate


_LONGEST_ERROR_TEXT: Final = 2000


def renew(session: LedgerSession) -> None:
    """Let all leases of the owner end a full lease from now."""
    session.execute(
        "INSERT INTO owners (id, host, machine, pid, born, until) "
        "VALUES (:id, :host, :machine, :pid, :born, :until) "
        "ON CONFLICT (id) DO UPDATE SET until = excluded.until",
        **attrs.asdict(session.owner),
        until=session.now.timestamp() + LEASE,
    )


def claim(
    session: LedgerSession,
    *,
    key: str,
    content: str,
    derived_key: str | None = None,
    once_more: bool = False,
    retry_unknown: bool = False,
    retry_failed: bool = False,
) -> LedgerClaim:
    """Take the row of *key* for the operation whose JSON is *content*, or say why not; see `Ledger.claim`."""
    row = find(session, key) or _adopt(session, key, content, derived_key)
    if row is None:
        session.execute(
            "INSERT INTO operations (key, content, state, attempts, owner, created_at, changed_at) "
            "VALUES (:key, :content, :state, 1, :owner, :now, :now)",
            key=key,
            content=content,
            state=LedgerState.INTENT,
            owner=session.owner.id,
            now=stamp(session.now),
        )
        return _answer(session, ClaimVerdict.START, key)
    if not _same(row.content, content):
        raise LedgerError(
            f"key {key!r} stands for another operation in this ledger: {json.dumps(row.content)}, "
            f"not {content}. Use another key or another ledger."
        )
    failed_before = row.ended_at is None or row.ended_at < session.opened_at
    starts = {
        LedgerState.REFUSED: True,
        LedgerState.UNKNOWN: retry_unknown,
        LedgerState.FAILED: retry_failed and failed_before,
        LedgerState.INTENT: once_more and row.owner == session.owner.id,
    }
    verdict = ClaimVerdict.START if starts.get(row.state, False) else _verdict_on(row)
    if verdict is ClaimVerdict.START and row.state is LedgerState.INTENT:
        renew(session)  # claimed once more
    elif verdict is ClaimVerdict.START:
        _start(session, row)
    elif verdict is ClaimVerdict.RESUME:
        _change(session, row.key, owner=session.owner.id)
    elif verdict is ClaimVerdict.UNKNOWN and row.owner is not None:
        _settle(session, row, error=row.error, error_type=row.error_type)
    else:
        return LedgerClaim(verdict, row, session.taken_at)  # nothing was changed
    return _answer(session, verdict, row.key)


def _answer(session: LedgerSession, verdict: ClaimVerdict, key: str) -> LedgerClaim:
    return LedgerClaim(verdict, require(session, key), session.taken_at)


def _adopt(session: LedgerSession, key: str, content: str, derived_key: str | None) -> LedgerRow | None:
    """Give the row that this operation had under its derived key the new *key*; return it if there is one."""
    if derived_key is None or derived_key == key:
        return None
    row = find(session, derived_key)
    if row is None or row.key != derived_key or not _same(row.content, content):
        return None
    session.execute("UPDATE operations SET key = ?, earlier_key = key WHERE key = ?", key, row.key)
    return require(session, key)


def _same(content: Mapping[str, object], wanted: str) -> bool:
    """Whether Asana would do the same for both."""
    other = json.loads(wanted)
    return content == other or canonical(content) == canonical(other)


def _start(session: LedgerSession, row: LedgerRow) -> None:
    failed = row.failed_jobs
    if row.state is LedgerState.FAILED and row.job is not None:
        failed = (*failed, row.job)
    _change(
        session,
        row.key,
        state=LedgerState.INTENT,
        earlier=row.state,
        owner=session.owner.id,
        attempts=row.attempts + 1,
        gid=None,
        job=None,
        continuation_token=None,
        failed_jobs=_jobs_text(failed),
    )


def _verdict_on(row: LedgerRow) -> ClaimVerdict:
    """Return what to do with the operation of a *row* that is not to be started."""
    if row.state in FINISHED_STATES:
        return ClaimVerdict.DONE
    if row.state is LedgerState.STARTED and row.holder is None:
        return ClaimVerdict.RESUME
    return {LedgerState.UNKNOWN: ClaimVerdict.UNKNOWN, LedgerState.ACCEPTED: ClaimVerdict.ACCEPTED}.get(
        row.state, ClaimVerdict.HELD
    )


def template_names(session: LedgerSession, template: str, found: ProjectTemplate | None) -> ProjectTemplate:
    """Remember the names that were *found*, unless they are remembered, and return all that are."""
    if found is not None:
        for kind, asked in (("date", found.requested_dates), ("role", found.requested_roles)):
            for one in asked:
                session.execute(
                    "INSERT OR IGNORE INTO template_names (template, kind, name, gid) VALUES (?, ?, ?, ?)",
                    template,
                    kind,
                    one.name,
                    one.gid,
                )
    return names_of(session, template)


def undo(session: LedgerSession, claimed: LedgerClaim) -> None:
    """Take back a claim whose answer reached nobody, so that nothing was sent."""
    if claimed.verdict is ClaimVerdict.START:
        withdraw(session, claimed.row.key)
    elif claimed.verdict is ClaimVerdict.RESUME:
        release(session, claimed.row.key)


def started(session: LedgerSession, key: str, job: Job, continuation_token: str | None) -> None:
    """Record that *job* was started."""
    row = _admit(session, key, job)
    if row.state not in FINISHED_STATES:
        _change(
            session,
            row.key,
            state=LedgerState.STARTED,
            owner=session.owner.id,
            gid=job.gid,
            job=_job_text(job),
            continuation_token=continuation_token,
            error=None,
            error_type=None,
            ended_at=None,
        )


def finished(session: LedgerSession, key: str, job: Job) -> None:
    """Record the end of *job*."""
    row = _admit(session, key, job)
    state = LedgerState.SUCCEEDED if job.succeeded else LedgerState.FAILED
    _change(
        session,
        row.key,
        state=state,
        owner=None,
        gid=job.gid,
        job=_job_text(job),
        error=None,
        error_type=None,
        ended_at=stamp(session.now),
    )


def refused(session: LedgerSession, key: str, error: BaseException) -> None:
    """Record that nothing was started, for certain."""
    row = _own_intent(session, key)
    _change(session, row.key, state=LedgerState.REFUSED, owner=None, **_error_text(error))


def unknown(session: LedgerSession, key: str, error: BaseException) -> None:
    """Record that a job may have been started."""
    row = require(session, key)
    if row.state is not LedgerState.UNKNOWN:  # others may have come to the same conclusion
        _own_intent(session, key)
    _change(session, row.key, state=LedgerState.UNKNOWN, owner=None, **_error_text(error))


def withdraw(session: LedgerSession, key: str) -> None:
    """Put back what was there before an intent of which nothing was sent."""
    row = _own_intent(session, key)
    earlier = session.execute("SELECT earlier FROM operations WHERE key = ?", row.key).fetchone()["earlier"]
    if earlier is None:
        session.execute("DELETE FROM operations WHERE key = ?", row.key)
        return
    columns: dict[str, str | int | None] = {"state": earlier, "attempts": row.attempts - 1, "owner": None}
    if earlier == LedgerState.FAILED and row.failed_jobs:
        *others, last = row.failed_jobs
        columns |= {"gid": last.gid, "job": _job_text(last), "failed_jobs": _jobs_text(others)}
    _change(session, row.key, **columns)


def release(
    session: LedgerSession,
    key: str,
    error: BaseException | None = None,
    continuation_token: str | None = None,
) -> None:
    """Let go of a row of ours before its end is known; an intent becomes unknown."""
    row = find(session, key)
    if row is None or row.owner != session.owner.id:
        return
    noted = _error_text(error) if error else {}
    if row.state is LedgerState.INTENT:
        _settle(session, row, **noted)
    else:
        if continuation_token is not None:
            noted["continuation_token"] = continuation_token
        _change(session, row.key, owner=None, **noted)


def release_all(session: LedgerSession) -> None:
    """Let go of everything that is ours, and forget the owners that hold nothing any more."""
    mine = session.execute("SELECT key FROM operations WHERE owner = ?", session.owner.id).fetchall()
    for record in mine:
        release(session, record["key"])
    session.execute(
        "DELETE FROM owners WHERE (id = ? OR until < ?) AND id NOT IN "
        "(SELECT owner FROM operations WHERE owner IS NOT NULL)",
        session.owner.id,
        session.now.timestamp(),
    )


def accept_unknown(session: LedgerSession, keys: Collection[str]) -> int:
    """Settle the unknown rows among *keys*, or all of them; return how many."""
    accepted = 0
    for row in (find(session, key) for key in keys) if keys else each(session, {LedgerState.UNKNOWN}):
        if row is not None and row.state is LedgerState.UNKNOWN:
            _change(
                session,
                row.key,
                state=LedgerState.ACCEPTED,
                owner=None,
                error=row.error,
                error_type=row.error_type,
            )
            accepted += 1
    return accepted


def _admit(session: LedgerSession, key: str, job: Job) -> LedgerRow:
    """Return the row of *key* if *job* can be its job."""
    row = require(session, key)
    foreign = row.state is LedgerState.INTENT and row.owner != session.owner.id
    if foreign or row.gid not in {None, job.gid}:
        instead = f"it is job {row.gid}" if row.gid else f"{row.holder} may be starting another"
        raise LedgerError(
            f"job {job.gid} was started for {key!r}, but by now {instead}: this process did not renew its "
            f"lease in time. Look at both jobs in Asana."
        )
    return row


def _own_intent(session: LedgerSession, key: str) -> LedgerRow:
    row = require(session, key)
    if row.state is not LedgerState.INTENT or row.owner != session.owner.id:
        raise LedgerError(
            f"{key!r} is no intent of this process (any more), but {row.state}: either its answer was "
            f"recorded already, or its lease ran out. Nothing was changed."
        )
    return row


def _settle(session: LedgerSession, row: LedgerRow, **noted: str | None) -> None:
    """Write down that nobody knows what came of an intent."""
    _change(
        session,
        row.key,
        state=LedgerState.UNKNOWN,
        owner=None,
        **(noted or no_answer(str(session.owner), row.changed_at)),
    )


def _change(session: LedgerSession, key: str, **columns: str | int | None) -> None:
    columns["changed_at"] = stamp(session.now)
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    statement = f"UPDATE operations SET {assignments} WHERE key = :key"  # noqa: S608  # the names are our own
    session.execute(statement, key=key, **columns)


def _error_text(error: BaseException) -> dict[str, str | None]:
    # The errors of this library hold no token; nobody vouches for the texts of others.
    text = str(error)[:_LONGEST_ERROR_TEXT] if isinstance(error, AsanaJobsError) else ""
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
