"""`JobQueue`: operations and gids go in, results come out, whoever does the work.

`WaitSpec` says what a wait is about, with its form as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Never, Self, TypeVar, cast
from uuid import uuid4
from weakref import WeakSet

import attrs

from asana_jobs import Job
from asana_jobs.operations import InstantiateProject, Operation, check_operation, operation_from_dict
from asana_jobs.subjects import JobLike, read_subject
from asana_jobs.worker._budget_protocol import budget_name
from asana_jobs.worker._engine import Engine, Scheduler
from asana_jobs.worker._records import Described, WaitRecords
from asana_jobs.worker._redis import AwayError, Store
from asana_jobs.worker._results import Result, ResultReader, read_result, write_result
from asana_jobs.worker._status import PendingWait, QueueStatus, pending_waits, queue_status, stored_results
from asana_jobs.worker.errors import KeyInUseError, QueueError, WaitEndedError


#: Waits that are put in with one call of Redis.
MOST_AT_ONCE: Final = 1000
#: Seconds that a replica needs at least to take a Redis' place.
TAKEOVER_SECONDS: Final = 0.2
#: Seconds between two looks whether a wait has ended, at first and at last.
FIRST_LOOK_SECONDS: Final = 0.1
LAST_LOOK_SECONDS: Final = 1.0
#: Seconds that readers have to say that they read no more.
LEAVE_SECONDS: Final = 3.0

T = TypeVar("T")


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

    def is_like(self, text: str) -> bool:
        """Return whether Asana would do the same for what was written as *text*."""
        try:
            other = read_spec(text)
        except ValueError:
            return False
        if self.operation is not None and other.operation is not None:
            return _content(self.operation) == _content(other.operation)
        if self.subject is None or other.subject is None:
            return False
        return gid_of(self.subject)[0] == gid_of(other.subject)[0]


def read_spec(text: str) -> WaitSpec:
    """Read what `WaitSpec.write` wrote.

    Raises:
        ValueError: it is something else, or a later version's.
    """
    found: Any = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"what a wait is about must be a mapping, not {text:.60}")
    found = cast("dict[str, Any]", found)
    operation = found.get("operation")
    return WaitSpec(
        operation=None if operation is None else operation_from_dict(operation), subject=found.get("subject")
    )


def _content(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = dict(operation.to_dict())
    if content.get("include"):
        content["include"] = sorted(content["include"])  # in any order, Asana does the same
    return content


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
    only uses the queue needs no Asana token. Every wait ends with exactly one result, which is read at least once
    by each group of readers.

    A wait's name is remembered for seven days after its end: until then, the same operation under it is the same
    wait, and another one is a `KeyInUseError`. After that, or after `forget`, the name is free, and what is put in
    under it is started.

    The Redis must be trusted: arguments travel as pickles, so who can write to it can run code in the workers.

    Args:
        url: Such as ``redis://:password@host:6379/0``, ``rediss://`` for TLS, ``redis+cluster://`` for a cluster,
            ``redis+sentinel://host:26379,host:26379/name-of-the-master/0`` for sentinels. Turn its append-only file on,
            or a restart loses waits.
        queue: The name of the queue, for several on one Redis.
        scheduler: What has the steps made instead of `run_worker`, see `Steps`; everybody who uses the queue needs it.
        allow_eviction: Put waits into a Redis that throws keys away when its memory is full, and them as well.
    """

    def __init__(
        self,
        url: str,
        *,
        queue: str = "default",
        scheduler: Scheduler | None = None,
        allow_eviction: bool = False,
    ) -> None:
        self.name: str = budget_name(None, queue, "queue")
        self._store = Store(url)
        self._records = WaitRecords(self._store, self.name)
        self._engine = Engine(url, self.name) if scheduler is None else None
        self._scheduler = scheduler
        self._reading: WeakSet[AsyncGenerator[Result, None]] = WeakSet()
        self._readers: set[_Reading] = set()
        self._failing = False
        self._allow_eviction = allow_eviction
        self._checked = False

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
        # What was being read when an error went through here is for others.
        self._failing = error is not None
        await self.close()

    async def open(self) -> None:
        """Connect.

        Raises:
            QueueError: Redis is not there, or refuses us.
        """
        await self._ask("PING")
        if self._engine is not None:
            await self._asking(self._engine.open())

    async def close(self) -> None:
        """Let go of the connections; what is in the queue stays."""
        for results in list(self._reading):
            # One that was left by `break` may be ending by itself, in a task of the event loop's.
            with contextlib.suppress(RuntimeError):
                await results.aclose()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                for reader in list(self._readers):
                    await reader.gone.wait()
        if self._engine is not None:
            await self._engine.close()
        await self._store.close()

    async def enqueue(self, operation: Operation, key: str | None = None) -> str:
        """Have the job of *operation* started once, and watched to its end; return what names the wait.

        Args:
            operation: One of `asana_jobs.operations`.
            key: A name of your own, any printable text of at most 200 characters, such as an order's number: enqueued
                twice under it, it is started once. The name is remembered for seven days after the wait's end.

        Raises:
            ValueError: the operation is none, or the key cannot be one.
            KeyInUseError: another operation was put in under this name.
            QueueError: Redis could not be asked, enqueue it again under the same key; or it cannot be trusted with waits,
                as it throws keys away or is too old.
        """
        spec = _spec(operation, many="enqueue_many takes them all")
        key = uuid4().hex if key is None else _key(key)
        await self._put({key: spec}, start=True)
        return key

    async def enqueue_many(self, operations: Iterable[Operation] | Mapping[str, Operation]) -> list[str]:
        """Have the jobs of many operations started once each; return what names their waits, in their order.

        A hundred thousand take some seconds. Where it fails midway, some are in the queue and some are not: with names
        of your own, do it again.

        Args:
            operations: Some of `asana_jobs.operations`; a mapping has names of your own for them, as for `enqueue`.

        Raises:
            ValueError: one of them is no operation, or its name cannot be one; those before it are in the queue.
            KeyInUseError: another operation was put in under one of the names; all others of that thousand are in.
            QueueError: Redis could not be asked.
        """
        if isinstance(operations, Operation):
            raise ValueError("operations must be many: write enqueue_many([operation]), or enqueue takes one")
        if isinstance(operations, Mapping):
            named = cast("Mapping[str, Operation]", operations)
            specs = ((_key(key), _spec(operation)) for key, operation in named.items())
        else:
            specs = ((uuid4().hex, _spec(operation)) for operation in operations)
        return [key async for key in self._put_many(specs, start=True)]

    async def watch(self, job: Job | str, key: str | None = None) -> str:
        """Have a job watched to its end; return what names the wait, by default the job's gid.

        Args:
            job: A `Job`, a gid, or a continuation token.
            key: A name of your own instead, as for `enqueue`.

        Raises:
            ValueError: the job is none, or the key cannot be one.
            KeyInUseError: another job is watched under this name, or an operation was put in under it.
            QueueError: Redis could not be asked.
        """
        gid, subject = gid_of(job)
        key = gid if key is None else _key(key)
        await self._put({key: WaitSpec(subject=subject)}, start=False)
        return key

    async def watch_many(self, jobs: Iterable[Job | str]) -> list[str]:
        """Have many jobs watched to their ends; return what names the waits, their gids, in their order.

        Args:
            jobs: Each a `Job`, a gid, or a continuation token.

        Raises:
            ValueError: one of them is no job; those before it are in the queue.
            KeyInUseError: something else is under way under one of the gids; all others of that thousand are in.
            QueueError: Redis could not be asked.
        """
        if isinstance(jobs, str | Job):
            raise ValueError(f"jobs must be many: write watch_many([{jobs!r:.60}]), or watch takes one")
        found = (gid_of(job) for job in jobs)
        specs = ((gid, WaitSpec(subject=subject)) for gid, subject in found)
        return [key async for key in self._put_many(specs, start=False)]

    async def result(self, key: str) -> Result | None:
        """Return how the wait *key* ended, for a week after; ``None`` if it has not ended, or never began.

        Raises:
            ValueError: the key cannot be one.
            QueueError: Redis could not be asked.
        """
        text = await self._ask("HGET", self._records.key(_key(key)), "result")
        return None if text is None else read_result(text)

    async def wait(self, key: str) -> Result:
        """Wait until the wait *key* has ended; return how. Cancelling, or a timeout of yours, ends this only.

        Readers of `results` get it all the same.

        Args:
            key: The name of the wait.

        Raises:
            ValueError: the key cannot be one.
            QueueError: nothing is known of it, or Redis could not be asked.
        """
        pause = FIRST_LOOK_SECONDS
        while True:
            record = await self._asking(self._records.read(_key(key)))
            if record.result is not None and not record.again:
                return read_result(record.result)
            if record.result is None and record.spec is None:
                raise QueueError(
                    f"nothing is known of the wait {key!r}: it was never put in, was forgotten, or its week is over"
                )
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, LAST_LOOK_SECONDS)

    def results(self, readers: str = "readers") -> AsyncGenerator[Result, None]:
        """Yield results as they come, for ever.

        Each is read at least once by every group of readers: do twice what comes twice, under its ``key``. It counts
        as read when the next one is asked for, or the loop is left, unless an error goes through ``async with queue``.
        While the loop's body runs it is kept from others, however long that takes; that of a reader that died is given
        to another one within half a minute. What nobody has read within seven days is gone.

        Args:
            readers: Processes that read under the same name share the results between them.

        Raises:
            ValueError: the readers have no name.
            QueueError: Redis could not be asked.
        """
        results = self._results(_Reading(ResultReader(self._store, self._records.results, _name(readers))))
        self._reading.add(results)
        return results

    async def pending(self) -> AsyncIterator[PendingWait]:
        """Yield the waits that have not ended, those that were put in first before the others.

        Raises:
            QueueError: Redis could not be asked.
        """
        async for wait in self._going_through(pending_waits(self._records, read_spec)):
            yield wait

    async def failed(self) -> AsyncIterator[Result]:
        """Yield the results of the last seven days other than those of succeeded jobs, the oldest first.

        Raises:
            QueueError: Redis could not be asked.
        """
        async for result in self._going_through(stored_results(self._records)):
            yield result

    async def status(self) -> QueueStatus:
        """Return how many waits there are in which state, who works on them, and who reads.

        Raises:
            QueueError: Redis could not be asked.
        """
        await self._asking(self._opened())
        return await self._asking(queue_status(self._store, self._records, self._engine))

    async def cancel(self, key: str) -> bool:
        """End the wait *key* without a finished job, as ``cancelled``; whether it was under way.

        A job that was started goes on at Asana, where nothing can stop it, and is watched no more.

        Args:
            key: The name of the wait.

        Raises:
            ValueError: the key cannot be one.
            QueueError: its job is being started at this moment, or Redis could not be asked.
        """
        record = await self._asking(self._records.read(_key(key)))
        if record.result is not None or record.spec is None:
            return False
        operation = read_spec(record.spec).operation
        going_on = "" if record.token is None else "; its job goes on at Asana"
        error = WaitEndedError(f"the wait {key!r} was cancelled{going_on}", reason="CancelledError")
        text = write_result(key, operation, None, error, "cancelled")
        done = await self._asking(self._records.finish(key, text, "cancelled"))
        if done == "busy":
            raise QueueError(f"{key!r} is being started at this moment: cancel it in a minute")
        if done == "done":
            # Its handler is to be called.
            await self._asking(self._schedule(key, start=operation is not None, anew=True))
        return done == "done"

    async def retry(self, key: str) -> None:
        """Begin a wait anew that ended without a succeeded job: what failed, was refused, cancelled or given up.

        What may have been started is left alone: `retry_unknown` is for that, after a look in Asana.

        Args:
            key: The name of the wait.

        Raises:
            ValueError: the key cannot be one.
            QueueError: the wait has not ended, or has succeeded, or is unknown; or Redis could not be asked.
        """
        result = await self.result(key)
        if result is None:
            raise QueueError(f"{key!r} has not ended: there is nothing to retry")
        if result.succeeded:
            raise QueueError(f"{key!r} has succeeded: put it in under another name to have it done once more")
        if result.unknown:
            raise QueueError(f"{key!r} may have been started: look in Asana, then call retry_unknown")
        await self._begin_anew(key)

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
        await self._begin_anew(key)

    async def forget(self, key: str) -> bool:
        """Forget a wait that has ended: its name is free again. Whether anything was known of it.

        Args:
            key: The name of the wait.

        Raises:
            ValueError: the key cannot be one.
            QueueError: it has not ended, or Redis could not be asked.
        """
        known = await self._asking(self._records.forget(_key(key)))
        if known is None:
            raise QueueError(f"{key!r} has not ended: cancel it first")
        return known

    async def _put(self, specs: Mapping[str, WaitSpec], *, start: bool) -> None:
        texts = {key: spec.write() for key, spec in specs.items()}
        name = repr(next(iter(specs))) if len(specs) == 1 else f"{len(specs)} waits"
        if not self._checked:  # who only reads need not ask
            await self._asking(self._store.check(allow_eviction=self._allow_eviction, warn=False))
            self._checked = True
        try:
            found = await self._put_whole(specs, texts, start=start)
        except Exception as error:
            raise self._not_scheduled(name, error) from error
        for key, known in found.items():
            if known.spec not in {"", texts[key]} and not specs[key].is_like(known.spec):
                raise KeyInUseError(
                    f"{key!r} is the name of another wait, which is remembered for seven days after its end:"
                    f" {known.spec:.200}; this one was not put in: {texts[key]:.200}"
                )

    async def _put_whole(
        self, specs: Mapping[str, WaitSpec], texts: Mapping[str, str], *, start: bool
    ) -> dict[str, Described]:
        """Write down what waits are about, and have their steps made; return what was known of each."""
        clock = asyncio.get_running_loop()
        while True:
            began = clock.time()
            found = await self._records.describe(texts, start=start)
            # What has ended needs no step. What is known may have lost its step with the process that put it in.
            going = [
                key
                for key, known in found.items()
                if known.word != "ended"
                and known.spec
                and (known.spec == texts[key] or specs[key].is_like(known.spec))
            ]
            await self._schedule_all(going, start=start)
            # In that time another Redis may have taken over, which has the steps, and not what they are about.
            if clock.time() - began < TAKEOVER_SECONDS or await self._known(going):
                return found

    async def _known(self, keys: Sequence[str]) -> bool:
        """Return whether something is written down of each."""
        return all(record.spec or record.result for record in await self._records.read_many(keys))

    async def _put_many(self, specs: Iterator[tuple[str, WaitSpec]], *, start: bool) -> AsyncIterator[str]:
        while chunk := dict(islice(specs, MOST_AT_ONCE)):
            await self._put(chunk, start=start)
            for key in chunk:
                yield key

    async def _schedule_all(self, keys: list[str], *, start: bool) -> None:
        if self._engine is not None and len(keys) > 1:
            await self._opened()
            await self._engine.schedule_many(keys, start=start, store=self._store)
        else:
            for key in keys:
                await self._schedule(key, start=start)

    async def _schedule(self, key: str, *, start: bool, anew: bool = False) -> None:
        if self._scheduler is not None:
            await self._scheduler.schedule(key)
        elif self._engine is not None:
            await self._opened()
            await self._engine.schedule(key, start=start, anew=anew)

    async def _opened(self) -> None:
        if self._engine is not None:
            await self._engine.open()

    async def _begin_anew(self, key: str) -> None:
        record = await self._asking(self._records.read(key))
        result = await self.result(key)
        spec = record.spec
        if spec is None and result is not None and result.operation is not None:
            spec = WaitSpec(operation=result.operation).write()  # as an older version kept it
        if spec is None:
            raise QueueError(f"nothing is known any more of what {key!r} was about: put it in again")
        # What it was about is written down beside its end, which is forgotten only when its step is scheduled: until
        # then, who is killed here can ask again.
        start = read_spec(spec).operation is not None
        try:
            ended = await self._records.repeat(key, spec)
            if ended:
                await self._schedule(key, start=start, anew=True)
                await self._records.renew(key, start=start)  # or its step does, if that comes first
        except Exception as error:
            raise self._not_scheduled(repr(key), error) from error
        if not ended:
            raise QueueError(f"{key!r} is being repeated already")

    async def _results(self, reading: _Reading) -> AsyncGenerator[Result, None]:
        reader = reading.reader
        self._readers.add(reading)
        entry = None
        try:
            await reader.join()
            while True:
                entry, result = await reader.next()
                async with reader.keeping(entry):
                    yield result
                await reader.read(entry)
                entry = None
        except GeneratorExit:
            if entry is not None and not self._failing:
                with contextlib.suppress(QueueError):
                    await reader.read(entry)
            raise
        finally:
            await reader.leave()
            self._readers.discard(reading)
            reading.gone.set()

    async def _going_through(self, found: AsyncIterator[T]) -> AsyncIterator[T]:
        try:
            async for one in found:
                yield one
        except AwayError as error:
            raise QueueError(str(error)) from error

    def _not_scheduled(self, what: str, error: Exception) -> QueueError:
        return QueueError(f"{what} could not be put into the queue at {self._store.address}: {error}")

    async def _ask(self, command: str, *arguments: Any) -> Any:
        return await self._asking(self._store(command, *arguments))

    async def _asking(self, question: Awaitable[T]) -> T:
        try:
            return await question
        except AwayError as error:
            raise QueueError(str(error)) from error


@attrs.frozen(eq=False)
class _Reading:
    """A reader, and whether it has read its last."""

    reader: ResultReader
    gone: asyncio.Event = attrs.field(factory=asyncio.Event)


def _spec(operation: Operation, many: str = "give them one by one") -> WaitSpec:
    check_operation(operation, many=many)
    if isinstance(operation, InstantiateProject) and operation.names:
        raise ValueError(
            f"a queue takes dates and roles by gid, since only a client can ask what {', '.join(map(repr, operation.names))}"
            f" stands for: write operation.by_gid(await asana.project_template({operation.gid!r}))"
        )
    return WaitSpec(operation=operation)


def _name(readers: object) -> str:
    if not isinstance(readers, str) or not readers:
        raise ValueError(f"readers must be one name, which processes share, not {readers!r:.60}")
    return readers


def _key(key: object) -> str:
    if not isinstance(key, str) or not key or len(key) > 200 or not key.isprintable():
        raise ValueError(f"key must be a short text, not {key!r:.60}")
    return key
