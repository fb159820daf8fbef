"""Many operations, a few at a time, each started once: ``run_all``."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeAlias, final

import attrs

from asana_jobs._arguments import make_wait
from asana_jobs._ledger import Ledger
from asana_jobs._outcome import Outcome
from asana_jobs._poller import Poller
from asana_jobs._runner import Runner
from asana_jobs._slots import Slots
from asana_jobs.errors import ClientClosedError, LedgerError
from asana_jobs.models import Job
from asana_jobs.operations import Operation
from asana_jobs.policies import Duration, PollPolicy, seconds


#: What ``run_all`` takes: operations, or pairs of a key and an operation; from a list, a generator, or an async one.
Operations: TypeAlias = (
    Iterable["Operation | tuple[str, Operation]"] | AsyncIterable["Operation | tuple[str, Operation]"]
)


_log = logging.getLogger("asana_jobs")

#: In a bulk run a second of lag is a second in which a slot stands empty, so looks are worth more.
BULK_EAGERNESS: Final = 0.2


def make_runner(
    poller: Poller,
    slots: Slots,
    policy: PollPolicy,
    *,
    timeout: Duration | None,
    ledger: Ledger | None,
    retry_unknown: bool,
) -> Runner:
    """Make what carries out a run, or raise `ValueError` for wrong arguments."""
    limit = None if timeout is None else seconds(timeout, "timeout")
    if ledger is not None and not isinstance(ledger, Ledger):
        raise ValueError(f"ledger must be a Ledger, such as Ledger.open(path), not {ledger!r}")
    eager = attrs.evolve(policy, lag_price=policy.lag_price * BULK_EAGERNESS)
    return Runner(
        poller=poller,
        slots=slots,
        make_wait=partial(make_wait, poller, eager, timeout=limit),
        ledger=ledger,
        retry_unknown=retry_unknown,
        patience=policy.give_up_after,
    )


async def run_one(runner: Runner, operation: Operation) -> Job:
    """Take one operation to its end behind the cap of running jobs; return its succeeded job or raise."""
    async with runner.lifetime.guard():
        slot = await runner.slots.take()
    try:
        outcome = await runner.run(operation, slot)
    finally:
        slot.give()
    return outcome.raise_for_error()


@final
class Run(AsyncIterator[Outcome]):
    """A bulk run: iterate it for the outcomes, in the order in which they come.

    ::

        async for outcome in asana.run_all(operations):
            print(outcome.operation, outcome.job or outcome.error)

    Nothing is started before it is iterated. Leaving the loop early starts nothing more; requests that are
    under way are answered first, so that no job is started without its gid being known. Jobs that run on are
    in `unfinished`, and in the ledger if there is one. Use it in ``async with`` to be certain that it has ended
    when the block does; otherwise it ends when it is dropped, or with its client.
    """

    def __init__(self, runner: Runner, operations: Operations) -> None:
        self._state = _State(runner)
        self._operations: Operations | None = operations
        self._supervisor: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Run: {self._state.runner!r}>"

    @property
    def unfinished(self) -> list[Outcome]:
        """The operations whose jobs were started and are not known to have finished, with continuation tokens."""
        return self._state.runner.unfinished()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Outcome:
        if self._operations is not None:
            operations, self._operations = self._operations, None
            self._state.runner.lifetime.check()
            self._supervisor = self._state.runner.lifetime.spawn(_supervise(self._state, operations))
        try:
            return await self._state.next(self._supervisor)
        except StopAsyncIteration:
            raise
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        """Start nothing more, let requests under way be answered, and stop watching."""
        self._operations = None
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
            supervisor.cancel()


class _State:
    """What the tasks of a run share. They do not hold the `Run`, so that dropping it ends them."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._outcomes: deque[Outcome] = deque()
        self._came = asyncio.Event()
        self._went = asyncio.Event()

    async def deliver(self, outcome: Outcome) -> None:
        """Hand an outcome over; wait while the reader is far behind, so that nothing more is started."""
        self._outcomes.append(outcome)
        self._came.set()
        while len(self._outcomes) > self.runner.slots.cap:
            self._went.clear()
            await self._went.wait()

    async def next(self, supervisor: asyncio.Task[None] | None) -> Outcome:
        while not self._outcomes:
            if supervisor is None or supervisor.done():
                if supervisor is not None and not supervisor.cancelled():
                    supervisor.result()
                raise StopAsyncIteration
            self._came.clear()
            await self._came.wait()
        self._went.set()
        return self._outcomes.popleft()

    def ended(self) -> None:
        self._came.set()


async def _supervise(state: _State, operations: Operations) -> None:
    source = _Source(operations)
    runner = state.runner
    renewing = runner.lifetime.spawn(_renew(runner)) if runner.ledger is not None else None
    try:
        async with asyncio.TaskGroup() as workers:
            for _ in range(runner.workers):
                workers.create_task(_work(state, source))
        source.raise_error()
    except BaseExceptionGroup as group:
        raise group.exceptions[
            0
        ] from None  # workers outlive the trouble of operations: this is the client's end
    finally:
        if renewing is not None:
            renewing.cancel()
        await source.close()
        runner.close()
        state.ended()


async def _work(state: _State, source: _Source) -> None:
    runner = state.runner
    while True:
        slot = await runner.slots.take()
        try:
            item = await source.next()
            if item is None:
                return
            outcome = await runner.run(item, slot)
        finally:
            slot.give()
        await state.deliver(outcome)


async def _renew(runner: Runner) -> None:
    try:
        while True:
            await runner.renew()
    except ClientClosedError:
        return
    except LedgerError as error:
        # The leases run out in a minute; what is recorded meanwhile renews them as well.
        _log.warning("the ledger's leases could not be renewed: %s", error)


class _Source:
    """The operations, pulled one at a time whichever worker asks."""

    def __init__(self, operations: Operations) -> None:
        self._lock = asyncio.Lock()
        self._over = False
        self._error: Exception | None = None
        self._asynchronous = aiter(operations) if isinstance(operations, AsyncIterable) else None
        self._plain = iter(operations) if not isinstance(operations, AsyncIterable) else iter(())

    async def next(self) -> Any:
        """Return the next item, or ``None`` when there is none."""
        async with self._lock:
            if self._over:
                return None
            try:
                if self._asynchronous is not None:
                    return await anext(self._asynchronous)
                return next(self._plain)
            except (StopIteration, StopAsyncIteration):
                self._over = True
                return None
            except Exception as error:  # noqa: BLE001  # raised again when what is running has ended
                self._over, self._error = True, error
                return None

    def raise_error(self) -> None:
        """Raise what the user's generator raised, if it did."""
        if self._error is not None:
            raise self._error

    async def close(self) -> None:
        """Close a generator that was not read to its end."""
        self._over = True
        close = getattr(self._asynchronous, "aclose", None)
        if close is not None:
            await close()
