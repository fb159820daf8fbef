"""How waits end: `Result`, and those who read them.

A result counts as read when the next one is asked for. Until then its reader tells Redis again and again that it is at
work on it; what a reader that died was reading is given to another one, so that every result is read at least once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from uuid import uuid4

import attrs

from asana_jobs import Job
from asana_jobs.errors import AsanaJobsError, JobFailedError, OutcomeUnknownError
from asana_jobs.operations import Operation, operation_from_dict
from asana_jobs.worker._redis import AwayError, Store
from asana_jobs.worker.errors import QueueError, WaitEndedError


#: Seconds after which what a reader that says nothing more was reading is given to another one.
RECLAIM_SECONDS: Final = 30.0
#: Seconds between two signs of life of a reader that is at work on a result.
HEARTBEAT_SECONDS: Final = 10.0
#: Seconds for which one request waits for results.
BLOCK_SECONDS: Final = 1.0
#: Seconds after which the name of a reader that was killed is removed, if it was reading nothing.
FORGOTTEN_READER_SECONDS: Final = 3600

#: Has others get at once what a reader leaves unread, and removes its name.
_LEAVE: Final = """
local left = redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 100, ARGV[2])
for _, entry in ipairs(left) do
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, entry[1], 'IDLE', 86400000, 'JUSTID')
end
if #left == 0 then redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2]) end
return #left
"""
#: Says that a reader is at work on an entry, unless it is another one's by now.
_KEEP: Final = """
if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2]) == 0 then return 0 end
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'IDLE', 0, 'JUSTID')
return 1
"""
_FORGET_READERS: Final = """
for _, consumer in ipairs(redis.call('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])) do
  local c = {}
  for place = 1, #consumer, 2 do c[consumer[place]] = consumer[place + 1] end
  if c.pending == 0 and c.idle > tonumber(ARGV[2]) * 1000 then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], c.name)
  end
end
"""
_log = logging.getLogger("asana_jobs")


@attrs.frozen(kw_only=True)
class Result:
    """How a wait ended.

    Attributes:
        key: The name of the wait.
        operation: The operation that was to be started, or ``None`` if a gid was watched.
        job: The job as last seen; ``None`` if none was started, or if that is not known.
        error: Why there is no succeeded job, or ``None``: `JobFailedError`, `OutcomeUnknownError` (it may have
            been started, look before starting it again), or `WaitEndedError` with the reason.
        outcome: How it ended in a word: ``succeeded``; ``failed``, the job did; ``unknown``, it may have been started;
            ``refused``, by Asana, its reason is the error; ``cancelled``; ``given_up``, since its steps went wrong again
            and again in a way that nobody expected.
    """

    key: str
    operation: Operation | None
    job: Job | None
    error: AsanaJobsError | None
    outcome: str

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


def outcome_of(job: Job | None, error: AsanaJobsError | None) -> str:
    """Return how a wait has ended, in a word."""
    if isinstance(error, OutcomeUnknownError):
        return "unknown"
    if error is not None:
        return "refused"
    return "failed" if job is not None and job.failed else "succeeded"


def write_result(
    key: str, operation: Operation | None, job: Job | None, error: AsanaJobsError | None, outcome: str
) -> str:
    """Write a result. The message of an error holds no secrets."""
    trouble = None
    if error is not None:
        kind = error.reason if isinstance(error, WaitEndedError) else type(error).__name__
        trouble = {"kind": kind, "message": str(error)}
    found: dict[str, Any] = {
        "key": key,
        "operation": None if operation is None else operation.to_dict(),
        "job": None if job is None else job.to_dict(),
        "error": trouble,
        "outcome": outcome,
    }
    return json.dumps(found, separators=(",", ":"))


def read_result(text: str) -> Result:
    """Read what `write_result` wrote."""
    found = cast("dict[str, Any]", json.loads(text))
    operation = _operation(found["operation"])
    job = None if found["job"] is None else Job.from_dict(found["job"])
    error = _error(found["error"], operation, job)
    outcome = found.get("outcome") or outcome_of(job, None if isinstance(error, JobFailedError) else error)
    return Result(key=found["key"], operation=operation, job=job, error=error, outcome=outcome)


def _operation(found: dict[str, Any] | None) -> Operation | None:
    try:
        return None if found is None else operation_from_dict(found)
    except ValueError as error:
        # One that a later version knows: the result is worth reading all the same.
        _log.warning("the operation of a result is left out, as it cannot be read: %s", error)
        return None


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


class ResultReader:
    """One of those who read the results of a queue, and share them with others of the same name."""

    def __init__(self, store: Store, stream: str, readers: str) -> None:
        self._store = store
        self._stream = stream
        self._readers = readers
        self._name = uuid4().hex[:12]

    async def join(self) -> None:
        """Make the group of readers, unless it is there, and forget those that were killed long ago."""
        try:
            await self._ask("XGROUP", "CREATE", self._stream, self._readers, "0", "MKSTREAM")
        except QueueError as error:
            if "BUSYGROUP" not in str(error):
                raise
        await self._ask("EVAL", _FORGET_READERS, 1, self._stream, self._readers, FORGOTTEN_READER_SECONDS)

    async def next(self) -> tuple[str, Result]:
        """Wait for a result; return the name of its entry, and it."""
        while True:
            claimed = await self._ask(
                *("XAUTOCLAIM", self._stream, self._readers, self._name, int(RECLAIM_SECONDS * 1000), "0-0"),
                *("COUNT", 1),
            )
            entries = [_entry(entry) for entry in claimed[1] if entry and entry[1]]
            if not entries:
                block = int(BLOCK_SECONDS * 1000)
                found = await _asking(
                    self._store.alone(
                        *("XREADGROUP", "GROUP", self._readers, self._name, "COUNT", 1),
                        *("BLOCK", block, "STREAMS", self._stream, ">"),
                        takes=BLOCK_SECONDS,
                    )
                )
                # A mapping or a list of pairs, as the protocol in use has it; one stream was asked for.
                pairs = (
                    list(cast("dict[str, Any]", found).items()) if hasattr(found, "items") else found or []
                )
                entries = [_entry(entry) for _, listed in pairs for entry in listed]
            for entry, fields in entries:
                return entry, read_result(fields["result"])

    @asynccontextmanager
    async def keeping(self, entry: str) -> AsyncGenerator[None, None]:
        """Keep an entry from other readers for as long as this lasts."""
        task = asyncio.create_task(self._keep(entry), name="asana_jobs reader")
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def read(self, entry: str) -> None:
        """Take note that an entry was read."""
        await self._ask("XACK", self._stream, self._readers, entry)

    async def leave(self) -> None:
        """Read no more: what was not read is for others."""
        with contextlib.suppress(QueueError):
            await self._ask("EVAL", _LEAVE, 1, self._stream, self._readers, self._name)

    async def _keep(self, entry: str) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            with contextlib.suppress(QueueError):  # it is tried again
                await self._ask("EVAL", _KEEP, 1, self._stream, self._readers, self._name, entry)

    async def _ask(self, command: str, *arguments: Any) -> Any:
        return await _asking(self._store(command, *arguments))


async def _asking(question: Awaitable[Any]) -> Any:
    try:
        return await question
    except AwayError as error:
        raise QueueError(str(error)) from error


def _entry(entry: Any) -> tuple[str, dict[str, str]]:
    name, fields = entry[0] if isinstance(entry[0], list) else entry  # RESP3 nests one level more
    return str(name), dict(fields)
