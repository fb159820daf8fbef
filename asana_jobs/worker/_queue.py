"""`JobQueue`: operations and gids go in, results come out, whoever does the work.

`Result` and `WaitSpec` are the two ends of a wait, each with its form as JSON.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Never, Self, cast
from uuid import uuid4

import attrs

from asana_jobs import Job
from asana_jobs.errors import AsanaJobsError, JobFailedError, OutcomeUnknownError
from asana_jobs.operations import Operation, check_operation, operation_from_dict
from asana_jobs.subjects import JobLike, read_subject
from asana_jobs.worker._budget_protocol import budget_name
from asana_jobs.worker._engine import Engine
from asana_jobs.worker._records import WaitRecords
from asana_jobs.worker._redis import AwayError, Store
from asana_jobs.worker.errors import QueueError, WaitEndedError


#: Seconds for which a reader that has died keeps the result it was reading from others.
RECLAIM_SECONDS: Final = 30.0
#: Seconds for which one request waits for results.
BLOCK_SECONDS: Final = 1.0


@attrs.frozen(kw_only=True)
class Result:
    """How a wait ended.

    Attributes:
        key: The name of the wait.
        operation: The operation that was to be started, or ``None`` if a gid was watched.
        job: The job as last seen; ``None`` if none was started, or if that is not known.
        error: Why there is no succeeded job, or ``None``: `JobFailedError`, `OutcomeUnknownError` (it may have
            been started, look before starting it again), or `WaitEndedError` with the reason.
    """

    key: str
    operation: Operation | None
    job: Job | None
    error: AsanaJobsError | None

    @property
    def succeeded(self) -> bool:
        """Whether the job has succeeded."""
        return self.error is None

    @property
    def unknown(self) -> bool:
        """Whether nobody knows if the job was started."""
        return isinstance(self.error, OutcomeUnknownError)

    def raise_for_error(self) -> Job:
        """Return the succeeded job, or raise what there is instead."""
        if self.error is not None:
            raise self.error
        assert self.job is not None  # noqa: S101  # a wait without an error has a job
        return self.job


def write_result(
    key: str, operation: Operation | None, job: Job | None, error: AsanaJobsError | None = None
) -> str:
    """Write a result. The message of an error holds no secrets."""
    trouble = None if error is None else {"kind": type(error).__name__, "message": str(error)}
    found: dict[str, Any] = {
        "key": key,
        "operation": None if operation is None else operation.to_dict(),
        "job": None if job is None else job.to_dict(),
        "error": trouble,
    }
    return json.dumps(found, separators=(",", ":"))


def read_result(text: str) -> Result:
    """Read what `write_result` wrote."""
    found = cast("dict[str, Any]", json.loads(text))
    operation = None if found["operation"] is None else operation_from_dict(found["operation"])
    job = None if found["job"] is None else Job.from_dict(found["job"])
    return Result(
        key=found["key"], operation=operation, job=job, error=_error(found["error"], operation, job)
    )


def _error(
    trouble: dict[str, str] | None, operation: Operation | None, job: Job | None
) -> AsanaJobsError | None:
    if trouble is None:
        return JobFailedError(job=job) if job is not None and job.failed else None
    if trouble["kind"] == OutcomeUnknownError.__name__:
        return OutcomeUnknownError(
            trouble["message"],
            method="POST" if operation is None else operation.method,
            path="" if operation is None else operation.path,
            gid=None if operation is None else operation.gid,
            operation=operation,
        )
    return WaitEndedError(trouble["message"], reason=trouble["kind"])


@attrs.frozen(kw_only=True)
class WaitSpec:
    """The subject of a wait, as it travels between machines.

    Attributes:
        operation: The operation that is to be started, or was.
        subject: The gid or continuation token of the job that is watched.
    """

    operation: Operation | None = None
    subject: str | None = None

    def write(self) -> str:
        """Write it as JSON."""
        found: dict[str, Any] = {}
        if self.operation is not None:
            found["operation"] = self.operation.to_dict()
        if self.subject is not None:
            found["subject"] = self.subject
        return json.dumps(found, separators=(",", ":"))


def read_spec(text: str) -> WaitSpec:
    """Read what `WaitSpec.write` wrote."""
    found = cast("dict[str, Any]", json.loads(text))
    operation = found.get("operation")
    return WaitSpec(
        operation=None if operation is None else operation_from_dict(operation), subject=found.get("subject")
    )


def gid_of(job: JobLike) -> tuple[str, str]:
    """Return the gid of what is to be watched, and the gid or token to hand to a client.

    Raises:
        ValueError: it is neither a job, nor a gid, nor a continuation token.
    """
    gid = read_subject(job).gid
    return gid, job if isinstance(job, str) else gid


class JobQueue:
    """Waits and starts that outlive every process, kept in Redis or Valkey.

    ::

        async with JobQueue("redis://localhost/0") as queue:
            await queue.enqueue(DuplicateProject("1203", name="Q3 launch"), key="order-17")
            async for result in queue.results():
                print(result.key, result.job or result.error)

    Any number of processes put in and read; any number of workers (`run_worker`) do the work. A process that
    only uses the queue needs no Asana token. Every wait ends with exactly one result.

    The Redis must be trusted: arguments travel as pickles, so who can write to it can run code in the workers.

    Args:
        url: Such as ``redis://:password@host:6379/0``, ``rediss://`` for TLS, ``redis+cluster://`` for a cluster.
            Turn its append-only file on, or a restart loses waits.
        queue: The name of the queue, for several on one Redis.
    """

    def __init__(self, url: str, *, queue: str = "default") -> None:
        self.name = budget_name(None, queue)
        self._store = Store(url)
        self._records = WaitRecords(self._store, self.name)
        self._engine = Engine(url, self.name)

    def __repr__(self) -> str:
        return f"<JobQueue {self.name} at {self._store.address}>"

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not

        @property
        def __enter__(self) -> Never:
            raise AttributeError(
                "a queue is opened with `async with JobQueue(url) as queue`, inside of `async def`"
            )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Connect.

        Raises:
            QueueError: Redis is not there, or refuses us.
        """
        await self._ask("PING")
        await self._engine.open()

    async def close(self) -> None:
        """Let go of the connections; what is in the queue stays."""
        await self._engine.close()
        await self._store.close()

    async def enqueue(self, operation: Operation, key: str | None = None) -> str:
        """Have the job of *operation* started once, and watched to its end; return what names the wait.

        Args:
            operation: One of `asana_jobs.operations`.
            key: A name of your own, such as an order's number: enqueued twice under it, it is started once.

        Raises:
            ValueError: the operation is none, or the key cannot be one.
            QueueError: Redis could not be asked; enqueue it again under the same key.
        """
        check_operation(operation, many="enqueue each of them")
        return await self._schedule(uuid4().hex if key is None else _key(key), WaitSpec(operation=operation))

    async def watch(self, job: Job | str, key: str | None = None) -> str:
        """Have a job watched to its end; return what names the wait, by default the job's gid.

        Args:
            job: A `Job`, a gid, or a continuation token.
            key: A name of your own instead.

        Raises:
            ValueError: the job is none, or the key cannot be one.
            QueueError: Redis could not be asked.
        """
        gid, subject = gid_of(job)
        return await self._schedule(gid if key is None else _key(key), WaitSpec(subject=subject))

    async def result(self, key: str) -> Result | None:
        """Return how the wait *key* ended, for a week after; ``None`` if it has not ended, or never began.

        Raises:
            ValueError: the key cannot be one.
            QueueError: Redis could not be asked.
        """
        text = await self._ask("HGET", self._records.key(_key(key)), "result")
        return None if text is None else read_result(text)

    async def results(self, readers: str = "readers") -> AsyncIterator[Result]:
        """Yield results as they come, for ever.

        Args:
            readers: Processes that read under the same name share the results between them. A result counts as
                read when the next one is asked for; that of a reader that died is given to another.

        Raises:
            ValueError: the readers have no name.
            QueueError: Redis could not be asked.
        """
        if not isinstance(readers, str):
            raise ValueError(f"readers must be one name, which processes share, not {readers!r:.60}")
        stream, reader = self._records.results, uuid4().hex[:12]
        try:
            await self._ask("XGROUP", "CREATE", stream, readers, "0", "MKSTREAM")
        except QueueError as error:
            if "BUSYGROUP" not in str(error):
                raise
        while True:
            for entry, fields in await self._next(stream, readers, reader):
                yield read_result(fields["result"])
                await self._ask("XACK", stream, readers, entry)

    async def retry_unknown(self, key: str) -> None:
        """Start again what may have been started: ask for it only after a look in Asana.

        Args:
            key: The name of the wait.

        Raises:
            QueueError: the wait *key* has not ended as unknown.
        """
        result = await self.result(key)
        if result is None or not result.unknown or result.operation is None:
            raise QueueError(f"{key!r} has not ended as unknown: there is nothing to retry")
        # What it was about is written down beside its end, which a worker forgets only when it begins anew: until
        # then, who is killed here can ask again.
        try:
            ended = await self._records.repeat(key, WaitSpec(operation=result.operation).write())
            if ended:
                await self._engine.schedule(key, start=True, anew=True)
        except Exception as error:
            raise self._not_scheduled(key, error) from error
        if not ended:
            raise QueueError(f"{key!r} is being repeated already")

    async def _schedule(self, key: str, spec: WaitSpec) -> str:
        try:
            about = read_spec(await self._records.describe(key, spec.write()))
            await self._engine.schedule(key, start=about.operation is not None)
        except Exception as error:
            raise self._not_scheduled(key, error) from error
        return key

    def _not_scheduled(self, key: str, error: Exception) -> QueueError:
        return QueueError(f"{key!r} could not be put into the queue at {self._store.address}: {error}")

    async def _next(self, stream: str, readers: str, reader: str) -> list[tuple[str, dict[str, str]]]:
        claimed = await self._ask(
            "XAUTOCLAIM", stream, readers, reader, int(RECLAIM_SECONDS * 1000), "0-0", "COUNT", 1
        )
        entries = [_entry(entry) for entry in claimed[1] if entry[1]]
        if not entries:
            block = int(BLOCK_SECONDS * 1000)
            found = await self._ask(
                "XREADGROUP", "GROUP", readers, reader, "COUNT", 1, "BLOCK", block, "STREAMS", stream, ">"
            )
            # A mapping or a list of pairs, as the protocol in use has it; one stream was asked for.
            pairs = list(cast("dict[str, Any]", found).items()) if hasattr(found, "items") else found or []
            entries = [_entry(entry) for _, listed in pairs for entry in listed]
        return entries

    async def _ask(self, command: str, *arguments: Any) -> Any:
        try:
            return await self._store(command, *arguments)
        except AwayError as error:
            raise QueueError(str(error)) from error


def _entry(entry: Any) -> tuple[str, dict[str, str]]:
    name, fields = entry[0] if isinstance(entry[0], list) else entry  # RESP3 nests one level more
    return str(name), dict(fields)


def _key(key: object) -> str:
    if not isinstance(key, str) or not key or len(key) > 200 or not key.isprintable():
        raise ValueError(f"key must be a short text, not {key!r:.60}")
    return key
