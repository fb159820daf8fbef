"""What operators are told of a queue: its waits by state, its workers and their budgets, and its readers.

Workers report about themselves every few seconds; who has said nothing for half a minute is taken to be gone.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from asana_jobs.operations import Operation
from asana_jobs.worker._budget_protocol import keys_of
from asana_jobs.worker._records import WaitRecord, WaitRecords
from asana_jobs.worker._redis import Store
from asana_jobs.worker._results import Result, read_result
from asana_jobs.worker.errors import QueueError


if TYPE_CHECKING:
    from asana_jobs.worker._engine import Engine
    from asana_jobs.worker._queue import WaitSpec

#: Seconds after which a worker that has said nothing is taken to be gone.
SILENT_SECONDS: Final = 30.0
#: Waits that are read with one call.
PAGE: Final = 500


@attrs.frozen(kw_only=True)
class PendingWait:
    """A wait that has not ended.

    Attributes:
        key: Its name.
        state: ``starting``, its job is to be started; ``watching``, its job is watched.
        since: When it came into this state.
        operation: The operation, or ``None`` if a gid is watched, or if it cannot be read here.
        gid: The gid of the job, once that is known.
        budget: The name of the budget whose token has started the job, or may alone look at it.
        failures: How often in a row its step has gone wrong in an unexpected way; after ten it is given up.
        failure: How the last of them went wrong.
    """

    key: str
    state: str
    since: datetime
    operation: Operation | None
    gid: str | None
    budget: str | None
    failures: int
    failure: str | None


@attrs.frozen(kw_only=True)
class BudgetStatus:
    """One token's budget, as its last worker has reported it.

    Attributes:
        name: Its name, or the fingerprint of its token.
        quota: Requests a minute that the token is taken to have.
        used: The share of them that was used in the last minute, from 0 to 1.
        paused_for: Seconds for which nothing is sent, after a 429.
        places: The names of what holds a place among the running jobs: ``wait QUEUE NAME``, or ``job GID``.
        jobs_running: How many may.
    """

    name: str
    quota: float
    used: float
    paused_for: float
    places: tuple[str, ...]
    jobs_running: int


@attrs.frozen(kw_only=True)
class WorkerStatus:
    """A worker, as it has reported itself.

    Attributes:
        name: Its name: host, process and a random part.
        since: When it began.
        budgets: The names of its budgets.
        looks: Looks that it has made.
        starts: Jobs that it has started.
        ended: Waits that it has ended.
        failures: Steps that went wrong in an unexpected way.
        handling: Handlers at work.
    """

    name: str
    since: datetime
    budgets: tuple[str, ...]
    looks: int
    starts: int
    ended: int
    failures: int
    handling: int


@attrs.frozen(kw_only=True)
class ReadersStatus:
    """A group of readers of the results.

    Attributes:
        name: Its name.
        readers: How many have said something within the last hour.
        unread: Results that none of them has got; ``None`` where Redis cannot say (before 7.0).
        reading: Results that they are at work on.
    """

    name: str
    readers: int
    unread: int | None
    reading: int


@attrs.frozen(kw_only=True)
class QueueStatus:
    """A queue at one moment.

    Attributes:
        queue: Its name.
        at: When this was, by the clock of Redis.
        starting: Waits whose job is to be started.
        watching: Waits whose job is watched.
        ended: Waits that have ended, by how they did, see `Result.outcome`; since the queue was first used.
        oldest: When the oldest wait that has not ended came into its state, or ``None``.
        next_step_in: Seconds until the next step is due, 0 if one is; ``None`` if there is none.
        due: Steps that are due, or under way.
        workers: Those at work.
        budgets: Their budgets.
        readers: The groups of readers.
    """

    queue: str
    at: datetime
    starting: int
    watching: int
    ended: dict[str, int]
    oldest: datetime | None
    next_step_in: float | None
    due: int
    workers: tuple[WorkerStatus, ...]
    budgets: tuple[BudgetStatus, ...]
    readers: tuple[ReadersStatus, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return attrs.asdict(
            self,
            value_serializer=lambda _, __, value: value.isoformat() if isinstance(value, datetime) else value,
        )


def workers_key(queue: str) -> str:
    """Return the key of the reports of a queue's workers."""
    return f"asana-jobs:{{{queue}}}:workers"


async def report(store: Store, queue: str, name: str, words: dict[str, Any]) -> None:
    """Say that a worker is at work, and what it has done."""
    at, _ = await store("TIME")
    await store("HSET", workers_key(queue), name, json.dumps({"at": int(at), **words}))


async def sign_off(store: Store, queue: str, name: str) -> None:
    """Say that a worker is at work no more, and forget those that have said nothing for long."""
    await store("HDEL", workers_key(queue), name)
    await _reports(store, queue)


async def _reports(store: Store, queue: str) -> dict[str, dict[str, Any]]:
    now = int((await store("TIME"))[0])
    told = cast("dict[str, str]", await store("HGETALL", workers_key(queue)))
    found = {name: cast("dict[str, Any]", json.loads(text)) for name, text in told.items()}
    silent = [name for name, words in found.items() if abs(now - words["at"]) > SILENT_SECONDS]
    if silent:
        await store("HDEL", workers_key(queue), *silent)
    return {name: words for name, words in sorted(found.items()) if name not in silent}


async def live_budgets(store: Store, queue: str) -> set[str]:
    """Return the names of the budgets whose workers are at work."""
    return {name for words in (await _reports(store, queue)).values() for name in words["budgets"]}


async def queue_status(store: Store, records: WaitRecords, engine: Engine | None) -> QueueStatus:
    """Return how a queue is."""
    seconds, microseconds = await store("TIME")
    now = int(seconds) + int(microseconds) / 1e6
    starting, watching = (
        int(await store("ZCARD", records.starting)),
        int(await store("ZCARD", records.watching)),
    )
    oldest = [
        float(pairs[0][1] if isinstance(pairs[0], list) else pairs[1])
        for line in (records.starting, records.watching)
        if (pairs := await store("ZRANGE", line, 0, 0, "WITHSCORES"))
    ]
    ended = cast("dict[str, str]", await store("HGETALL", records.counts))
    due, next_at = (0, None) if engine is None else await engine.backlog(store)
    reports = await _reports(store, records.queue)
    return QueueStatus(
        queue=records.queue,
        at=_moment(now),
        starting=starting,
        watching=watching,
        ended={outcome: int(count) for outcome, count in sorted(ended.items())},
        oldest=_moment(min(oldest)) if oldest else None,
        next_step_in=0.0 if due else None if next_at is None else max(0.0, next_at - now),
        due=due,
        workers=tuple(_worker(name, words) for name, words in reports.items()),
        budgets=tuple([await _budget(store, *found) for found in sorted(_budgets(reports).items())]),
        readers=tuple(await _readers(store, records.results)),
    )


async def pending_waits(
    records: WaitRecords, read_spec: Callable[[str], WaitSpec]
) -> AsyncIterator[PendingWait]:
    """Yield the waits of a queue that have not ended."""
    for state, line in (("starting", records.starting), ("watching", records.watching)):
        async for name, since, record in _listed(records, line):
            if record.spec is not None and record.result is None:
                yield _pending(name, state, since, record, read_spec)


async def stored_results(records: WaitRecords) -> AsyncIterator[Result]:
    """Yield the results of the waits that ended without a succeeded job."""
    async for _, _, record in _listed(records, records.failed):
        if record.result is not None:
            yield read_result(record.result)


async def _listed(records: WaitRecords, line: str) -> AsyncIterator[tuple[str, float, WaitRecord]]:
    # By place: what leaves the line meanwhile may hide another one, as a list of what is in motion does.
    place = 0
    while flat := cast(
        "list[Any]", await records.store("ZRANGE", line, place, place + PAGE - 1, "WITHSCORES")
    ):
        pairs = flat if isinstance(flat[0], list) else list(zip(flat[::2], flat[1::2], strict=True))
        found = await records.read_many([name for name, _ in pairs])
        for (name, since), record in zip(pairs, found, strict=True):
            yield name, float(since), record
        place += PAGE


def _pending(
    name: str, state: str, since: float, record: WaitRecord, read_spec: Callable[[str], WaitSpec]
) -> PendingWait:
    operation, subject = None, record.token
    with contextlib.suppress(ValueError):
        spec = read_spec(record.spec or "")
        operation, subject = spec.operation, record.token or spec.subject
    if subject is not None and subject.startswith("{"):
        subject = str(json.loads(subject).get("gid"))
    return PendingWait(
        key=name,
        state=state,
        since=_moment(since),
        operation=operation,
        gid=subject,
        budget=record.only or record.budget,
        failures=record.failures,
        failure=record.failure,
    )


def _worker(name: str, words: dict[str, Any]) -> WorkerStatus:
    return WorkerStatus(
        name=name,
        since=_moment(words["since"]),
        budgets=tuple(words["budgets"]),
        **{count: int(words[count]) for count in ("looks", "starts", "ended", "failures", "handling")},
    )


def _budgets(reports: dict[str, dict[str, Any]]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for words in sorted(reports.values(), key=lambda words: words["at"]):
        found |= words["budgets"]
    return found


async def _budget(store: Store, name: str, told: dict[str, float]) -> BudgetStatus:
    places = cast("list[str]", await store("ZRANGE", keys_of(name)[3], 0, -1))
    return BudgetStatus(
        name=name,
        quota=told["quota"],
        used=told["used"],
        paused_for=told["paused_for"],
        places=tuple(places),
        jobs_running=int(told["jobs_running"]),
    )


async def _readers(store: Store, stream: str) -> list[ReadersStatus]:
    try:
        groups = cast("list[Any]", await store("XINFO", "GROUPS", stream))
    except QueueError as error:
        if "no such key" in str(error):
            return []
        raise
    found: list[dict[str, Any]] = [
        cast("dict[str, Any]", group)
        if isinstance(group, dict)
        else dict(zip(group[::2], group[1::2], strict=True))
        for group in groups
    ]
    return [
        ReadersStatus(
            name=str(group["name"]),
            readers=int(group["consumers"]),
            unread=None if group.get("lag") is None else int(group["lag"]),
            reading=int(group["pending"]),
        )
        for group in found
    ]


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
