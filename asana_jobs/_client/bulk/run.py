"""Many operations, a few at a time, each started once: ``run_all``, and ``run`` for one of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager
from functools import partial
from inspect import isawaitable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Never, Self, TypeAlias, cast, final

import attrs

from asana_jobs._client.bulk.outcome import Outcome
from asana_jobs._client.bulk.runner import CANCELLED, Runner
from asana_jobs._client.bulk.starting import JobStarter
from asana_jobs._client.bulk.template_names import TemplateNames
from asana_jobs._client.http.lifetime import PROGRAM_ENDS, broken_off
from asana_jobs._client.limits.running_jobs import RunningJobPermit, RunningJobPermits
from asana_jobs._client.misuse import Instead, MisuseError, no_attribute
from asana_jobs._client.waiting.poller import Poller
from asana_jobs._client.waiting.waiter import make_wait
from asana_jobs.errors import ClientClosedError
from asana_jobs.models import Job, R, R_co
from asana_jobs.operations import Operation, check_operation, no_operation
from asana_jobs.parameters import check_key, check_many
from asana_jobs.policies import Duration, PollPolicy, seconds


if TYPE_CHECKING:
    from asana_jobs._client.bulk.ledger import Ledger
    from asana_jobs._client.bulk.ledger_keys import Keys


#: What ``run_all`` takes: operations, or pairs of a key and an operation; from a list, a generator, or an async one.
Operations: TypeAlias = (
    Iterable[Operation[R_co] | tuple[str, Operation[R_co]]]
    | AsyncIterable[Operation[R_co] | tuple[str, Operation[R_co]]]
)

#: In a bulk run a second of lag is a second in which a permit is not used, so looks are worth more: the part of
#: ``lag_price`` that one may cost. With 3 s jobs 0.2 reached 0.949 of the clairvoyant bound at 8.0 requests a job,
#: 0.1 0.957 at 9.6, 0.05 no more, since by then looks use all of a ``poll_share`` of one half (benchmarks/bulk.py).
BULK_EAGERNESS: Final = 0.1
_ITERATE_RUN: Final = "`async for outcome in asana.run_all(...)`"


@final
class Run(AsyncIterator[Outcome[R_co]]):
    """A bulk run: iterate it for the outcomes, in the order in which they come.

    ::

        async with asana.run_all(operations) as outcomes:
            async for outcome in outcomes:
                print(outcome.operation, outcome.job or outcome.error)

    Nothing is started before it is iterated. It works ahead of its reader by as many outcomes as jobs may run.

    ``break`` ends it when the block of ``async with`` does, or, without one, when the run is dropped: at once
    in ``async for outcome in asana.run_all(operations)``. Cancelling the reader, `aclose` and closing the client
    end it as well. Nothing more is started then, and requests that are under way are answered first, so that no
    job is started without its gid being known. What runs on at Asana is in `unfinished`, and in the ledger if
    there is one.

    If the iterable of operations raises, that is raised when what is running has ended and was delivered.

    You get one from ``run_all``; do not make it yourself.
    """

    def __init__(self, runner: Runner, operations: Operations[R_co]) -> None:
        self._supervisor: asyncio.Task[None] | None = None
        self._runner = runner
        self._outcomes = _OutcomeQueue(runner.permits.max_cap)
        self._operations: Operations | None = check_operations(operations)

    def __repr__(self) -> str:
        return f"<Run: {self._runner!r}>"

    @property
    def unfinished(self) -> list[Outcome[R_co]]:
        """The operations whose jobs run, or may run, as far as is known: most with continuation tokens.

        Those without one have an `OutcomeUnknownError`: their start was not answered.
        """
        return cast("list[Outcome[R_co]]", self._runner.unfinished())

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not
        __enter__ = Instead(
            "a run is opened with `async with asana.run_all(...) as outcomes`, inside of `async def`"
        )
        # Iteration falls back on this, while nobody takes for an iterable what has no ``__iter__``.
        __getitem__ = Instead(f"a run is iterated with {_ITERATE_RUN}")

        def __getattr__(self, name: str) -> Never:
            raise no_attribute(self, name, Outcome, f"iterate it, {_ITERATE_RUN}")

        def __await__(self) -> Never:
            raise MisuseError(f"a run is not awaited but iterated: {_ITERATE_RUN}; run(operation) is awaited")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome[R_co]:
        if self._operations is not None:
            self._runner.lifetime.check()
            source = OperationInput(
                self._operations, self._runner.names, derive_keys=self._runner.ledger is not None
            )
            self._operations = None
            # Neither the task nor what it starts holds this object, so that dropping it ends them.
            self._supervisor = self._runner.lifetime.spawn(
                _supervise(self._runner, source, self._outcomes), "asana_jobs run"
            )
            came = self._outcomes.came
            self._supervisor.add_done_callback(lambda _: came.set())
        try:
            return cast("Outcome[R_co]", await self._outcomes.next(self._supervisor))
        except StopAsyncIteration:
            raise
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Start nothing more, let requests under way be answered, and stop watching."""
        self._operations = None
        self._outcomes.left = True
        if self._supervisor is not None:
            self._supervisor.cancel()
            await asyncio.wait([self._supervisor])

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        supervisor = self._supervisor
        if supervisor is not None and not supervisor.done() and not supervisor.get_loop().is_closed():
            # Garbage is collected in whatever thread is running, the ledger's included.
            supervisor.get_loop().call_soon_threadsafe(supervisor.cancel)


def make_runner(
    poller: Poller,
    permits: RunningJobPermits,
    policy: PollPolicy,
    *,
    timeout: Duration | None = None,
    ledger: Ledger | None = None,
    retry_unknown: bool = False,
    retry_failed: bool = False,
) -> Runner:
    """Make the runner of a run, or raise `ValueError` for wrong arguments."""
    limit = None if timeout is None else seconds(timeout, "timeout")
    if ledger is not None:
        from asana_jobs._client.bulk.ledger import Ledger  # noqa: PLC0415  # its SQLite costs those without a ledger

        if not isinstance(ledger, Ledger):
            raise ValueError(f"ledger must be a Ledger, such as Ledger.open(path), not {ledger!r}")
        # Such a run goes on wherever it is resumed.
        policy = attrs.evolve(policy, first_contact=policy.give_up_after)
    make = partial(make_wait, poller, attrs.evolve(policy, lag_price=policy.lag_price * BULK_EAGERNESS))
    starter = JobStarter(
        poller=poller,
        make_wait=partial(make, timeout=limit),
        ledger=ledger,
        retry_unknown=retry_unknown,
        retry_failed=retry_failed,
        policy=policy,
    )
    return Runner(starter=starter, permits=permits, make_wait=make, timeout=limit)


async def run_one(runner: Runner, operation: Operation[R]) -> Job[R]:
    """Take one operation to its end behind the cap of running jobs; return its succeeded job or raise."""
    check_operation(operation, many="run_all takes them all")
    outcomes: list[Outcome] = []
    with runner.lifetime.guard():
        by_gid = await runner.names.by_gid(operation)
        permit = await runner.permits.acquire()
    try:
        await runner.run("0", by_gid, permit, deliver=outcomes.append, given=operation)
    finally:
        permit.release()
        await runner.close()
    return cast("Job[R]", outcomes[0].raise_for_error())


async def start_one(
    runner: Runner, operation: Operation[R], key: str | None, opt_fields: str | None = None
) -> Job[R]:
    """Start one operation that a ledger remembers, or return the job of the row of its *key*."""
    from asana_jobs._client.bulk.ledger_keys import Keys  # noqa: PLC0415  # loaded with the ledger

    if key is not None:
        check_key(key)
    with runner.lifetime.guard():
        by_gid = await runner.names.by_gid(operation)
        with Keys() as keys:
            derived = keys.key_of(by_gid)
        permit = await runner.permits.acquire()
    try:
        job = await runner.start(key or derived, by_gid, permit, derived_key=derived, opt_fields=opt_fields)
        return cast("Job[R]", job)
    finally:
        permit.release()


class _OutcomeQueue:
    """Outcomes on their way from the tasks of a run to its reader.

    Args:
        most: How many there may be before more is started.

    Attributes:
        came: Set for the reader to see that there is an outcome, or that the run has ended.
        left: Whether the reader has ended the run.
        raised: What came as the end of the program in the task of an operation, if it did.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._outcomes: deque[Outcome] = deque()
        self.came = asyncio.Event()
        self._went = asyncio.Event()
        self._raised = False
        self.left = False
        self.raised: BaseException | None = None

    def deliver(self, outcome: Outcome) -> None:
        """Hand an outcome over to the reader."""
        self._outcomes.append(outcome)
        self.came.set()

    async def wait_for_room(self) -> None:
        """Wait while the reader is far behind."""
        while len(self._outcomes) >= self._most:
            self._went.clear()
            await self._went.wait()

    async def next(self, supervisor: asyncio.Task[None] | None) -> Outcome:
        """Return the next outcome; raise what ended the run, once, or `StopAsyncIteration`."""
        while not self._outcomes:
            if supervisor is None or supervisor.done():
                if supervisor is not None and not (self._raised or (self.left and broken_off(supervisor))):
                    self._raised = True
                    if broken_off(supervisor):
                        raise RuntimeError(CANCELLED)
                    supervisor.result()
                raise StopAsyncIteration
            self.came.clear()
            await self.came.wait()
        self._went.set()
        return self._outcomes.popleft()


async def _supervise(runner: Runner, source: OperationInput, outcomes: _OutcomeQueue) -> None:
    try:
        async with _kept_leases(runner), asyncio.TaskGroup() as tasks:
            with runner.lifetime.guard():
                await _feed(runner, source, outcomes, tasks)
        source.raise_error()
    except BaseExceptionGroup as group:
        # Trouble of single operations is in their outcomes: this is the client's end, or the program's.
        raise group.exceptions[0] from None
    except PROGRAM_ENDS as error:
        if error is outcomes.raised:  # the loop has raised it out of the operation's task: once is enough
            raise asyncio.CancelledError from error
        raise
    finally:
        try:
            await runner.close()
        finally:
            await source.close()


async def _feed(
    runner: Runner, source: OperationInput, outcomes: _OutcomeQueue, tasks: asyncio.TaskGroup
) -> None:
    # The next item is fetched before there is a permit for it: a slow source holds none up, and a permit that
    # becomes free is taken at once.
    while (item := await source.next()) is not None:
        await outcomes.wait_for_room()
        if item.problem is not None:
            outcomes.deliver(Outcome(item.operation, None, item.problem, item.key))
            continue
        permit = await runner.permits.acquire()
        running = runner.run(
            item.key,
            item.operation,
            permit,
            deliver=outcomes.deliver,
            given=item.given,
            derived_key=item.derived_key,
        )
        # Not in the task: one that is cancelled before it begins never gets to its finally.
        task = tasks.create_task(running, name=f"asana_jobs operation {item.key}")
        ended = partial(_ended, runner, outcomes, item, permit=permit, supervisor=asyncio.current_task())
        task.add_done_callback(ended)


def _ended(
    runner: Runner,
    outcomes: _OutcomeQueue,
    item: Item,
    task: asyncio.Task[None],
    *,
    permit: RunningJobPermit,
    supervisor: asyncio.Task[Any] | None,
) -> None:
    permit.release()
    ending = supervisor is None or supervisor.cancelling() or runner.lifetime.closed
    if not task.cancelled() and broken_off(task):
        outcomes.raised = task.exception()
    if broken_off(task) and not ending:  # by somebody else: the reader still waits for an outcome
        outcomes.deliver(runner.interrupted(item.key, item.given or item.operation, permit))


@asynccontextmanager
async def _kept_leases(runner: Runner) -> AsyncGenerator[None, None]:
    if runner.ledger is None:
        yield
        return
    over = False
    keeping: asyncio.Task[None] | None = None

    def keep(ended: asyncio.Task[None] | None = None) -> None:
        nonlocal keeping
        if ended is None or (broken_off(ended) and not over):  # again, if somebody else has ended it
            keeping = runner.lifetime.spawn(runner.keep_leases(), "asana_jobs leases of the ledger")
            keeping.add_done_callback(keep)

    keep()
    try:
        yield
    finally:
        over = True
        if keeping is not None:
            keeping.cancel()
            await asyncio.wait([keeping])


def check_operations(operations: object) -> Operations:
    """Return what can be iterated for operations, or raise a `ValueError` that shows what to write."""
    what = "run_all takes an iterable of operations"
    if isinstance(operations, Operation):
        raise ValueError(
            f"{what}, not one operation: write run_all([operation]), or run(operation), which returns its job"
        )
    if isinstance(operations, Mapping):
        instead = "[operation_from_dict(data)]" if "kind" in operations else "operations.items()"
        raise ValueError(
            f"{what}, or of pairs of a key and an operation, not a mapping: write run_all({instead})"
        )
    if _is_pair(operations):
        raise ValueError(f"{what}, not one pair of a key and an operation: write run_all([(key, operation)])")
    if isinstance(operations, AsyncIterable):
        return cast("Operations", operations)
    if isawaitable(operations):
        raise ValueError(f"{what}, not {no_operation(operations)}, and write run_all([operation])")
    return cast("Operations", check_many(operations, what, write="run_all([{}])", name="operation"))


def _is_pair(operations: object) -> bool:
    if not isinstance(operations, tuple):
        return False
    items = cast("tuple[object, ...]", operations)
    return len(items) == 2 and isinstance(items[1], Operation) and not isinstance(items[0], Operation | tuple)


@attrs.frozen
class Item:
    """One item of the input.

    Attributes:
        key: The caller's, or one that is derived.
        operation: What is to be started; what the caller gave, which may be none, if there is a problem.
        problem: What is wrong with it, if anything is.
        derived_key: What names it in a ledger if the caller does not.
        given: What the caller gave.
    """

    key: str
    operation: Operation
    problem: Exception | None = None
    derived_key: str | None = None
    given: Operation | None = None


class OperationInput:
    """The input of a run, pulled item by item.

    Args:
        operations: What the user handed in.
        names: Finds the gids of what operations name, before they are given keys.
        derive_keys: Whether items without a key are named by their content, as a ledger needs it, or else by
            their position.
    """

    def __init__(self, operations: Operations, names: TemplateNames, *, derive_keys: bool) -> None:
        self._operations: Operations | None = operations
        self._names = names
        self._iterator: Iterator[Any] | AsyncIterator[Any] = iter(())
        self._keys: Keys | None = None
        if derive_keys:
            from asana_jobs._client.bulk.ledger_keys import Keys  # noqa: PLC0415  # loaded with the ledger

            self._keys = Keys()
        self._position = 0
        self._error: Exception | None = None

    async def next(self) -> Item | None:
        """Return the next item, or ``None`` when there is none."""
        try:
            if self._operations is not None:
                operations, self._operations = self._operations, None
                self._iterator = (
                    aiter(operations) if isinstance(operations, AsyncIterable) else iter(operations)
                )
            if isinstance(self._iterator, AsyncIterator):
                item = await anext(self._iterator)
            else:
                item = next(self._iterator)
        except (StopIteration, StopAsyncIteration):
            return None
        except Exception as error:  # noqa: BLE001  # raised again when what is running has ended
            self._error = error
            return None
        self._position += 1
        return await self._read(item)

    def raise_error(self) -> None:
        """Raise what the user's iterable raised, if it did."""
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Close an async generator that was not read to its end."""
        if self._keys is not None:
            self._keys.close()
        iterator, self._iterator = self._iterator, iter(())
        close = getattr(iterator, "aclose", None)
        if close is not None:
            await close()

    async def _read(self, item: object) -> Item:
        key, derived, given, operation = str(self._position - 1), None, None, item
        try:
            if isinstance(item, tuple) and len(cast("tuple[object, ...]", item)) == 2:
                given, operation = cast("tuple[object, object]", item)
            if not isinstance(operation, Operation):
                raise ValueError(  # noqa: TRY301
                    f"item {self._position - 1} must be an operation such as DuplicateProject, or a pair of a key "
                    f"and an operation, not {no_operation(operation)}"
                )
            if given is not None:
                key = str(given)  # row numbers make good keys
            by_gid = await self._names.by_gid(cast("Operation", operation))
            if self._keys is not None:
                derived = self._keys.key_of(by_gid)
                key = derived if given is None else key
        except ClientClosedError:
            raise
        except Exception as error:  # noqa: BLE001  # one bad item does not end a run
            return Item(key, cast("Operation", operation), error)
        return Item(key, by_gid, derived_key=derived, given=cast("Operation", operation))
