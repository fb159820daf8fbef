"""One operation from claim to end, behind the cap of running jobs: what ``run`` and ``run_all`` are made of."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any, cast

import attrs

from asana_jobs._backoff import retrying
from asana_jobs._exchange import Exchange
from asana_jobs._ledger import LEASE, Keys, Ledger, Row, Verdict
from asana_jobs._lifetime import Lifetime
from asana_jobs._outcome import Outcome
from asana_jobs._poller import Poller
from asana_jobs._sansio import may_repeat
from asana_jobs._slots import Slot, Slots
from asana_jobs._subjects import JobLike
from asana_jobs._wait import Wait
from asana_jobs.errors import (
    AsanaJobsError,
    ClientClosedError,
    JobFailedError,
    LedgerError,
    OutcomeUnknownError,
    RateLimitError,
)
from asana_jobs.models import Job
from asana_jobs.operations import Operation


@attrs.define(eq=False, kw_only=True)
class Runner:
    """What the workers of one run share."""

    poller: Poller
    slots: Slots
    make_wait: Callable[[JobLike], Wait]
    ledger: Ledger | None = None
    retry_unknown: bool = False
    patience: float = 900.0

    _keys: Keys | None = attrs.field(default=None, init=False)
    _position: int = attrs.field(default=0, init=False)
    _intents: set[str] = attrs.field(factory=set[str], init=False)
    _running: dict[str, tuple[Operation, Job | None, Wait]] = attrs.field(factory=dict[Any, Any], init=False)

    def __repr__(self) -> str:
        return f"{self._position} taken, {len(self._running)} running"

    @property
    def lifetime(self) -> Lifetime:
        """The client's."""
        return self._exchange.lifetime

    @property
    def workers(self) -> int:
        """How many operations can be under way at once."""
        return self.slots.cap

    @property
    def _exchange(self) -> Exchange:
        return self.poller.exchange

    def unfinished(self) -> list[Outcome]:
        """What was started and is not known to have finished."""
        return [
            Outcome(operation, wait.job or job, None, key, continuation_token=wait.token())
            for key, (operation, job, wait) in self._running.items()
        ]

    async def renew(self) -> None:
        """Sleep a while, then keep the ledger's rows ours."""
        async with self.lifetime.guard():
            await self._exchange.clock.sleep(LEASE / 3)
        if self.ledger is not None:
            await self.ledger.renew()

    def close(self) -> None:
        """Drop what was kept to tell equal operations apart."""
        if self._keys is not None:
            self._keys.close()

    async def run(self, item: object, slot: Slot) -> Outcome:
        """Take one item to its end; whatever goes wrong with it is in the outcome.

        Raises:
            ClientClosedError: the client was closed: there is no point in going on.
        """
        self._position += 1
        key = str(self._position - 1)
        operation = cast("Operation", item)
        try:
            key, operation = self._identify(item)
            if self.ledger is None:
                return await self._begin(key, operation, slot)
            return await self._claim(self.ledger, key, operation, slot)
        except ClientClosedError:
            raise
        except (AsanaJobsError, ValueError) as error:
            return Outcome(operation, None, error, key)

    def _identify(self, item: object) -> tuple[str, Operation]:
        pair: tuple[object, ...] = (
            cast("tuple[object, ...]", item) if isinstance(item, tuple) else (None, item)
        )
        key: object = pair[0]
        operation: object = pair[-1]
        if not isinstance(operation, Operation):
            raise ValueError(
                f"expected an operation such as DuplicateProject, or a pair of key and operation, not {item!r:.100}"
            )
        if key is not None:
            return str(key), operation
        if self.ledger is None:
            return str(self._position - 1), operation
        if self._keys is None:
            self._keys = Keys()
        return self._keys.key_of(operation), operation

    async def _claim(self, ledger: Ledger, key: str, operation: Operation, slot: Slot) -> Outcome:
        claim = await ledger.claim(key, operation, retry_unknown=self.retry_unknown)
        row = claim.row
        if claim.verdict is Verdict.START:
            self._intents.add(key)
            return await self._begin(key, operation, slot)
        if claim.verdict is Verdict.RESUME:
            self._running[key] = operation, row.job, self.make_wait(row.resume_from or "")
            return await self._watch(key, slot)
        if claim.verdict is Verdict.HELD:
            raise LedgerError(
                f"{key!r} is left to {row.holder}, which is at work on it until {row.held_until}"
            )
        return Outcome(operation, row.job, _known_error(claim.verdict, row, operation), key, from_ledger=True)

    async def _begin(self, key: str, operation: Operation, slot: Slot) -> Outcome:
        await self._start(key, operation, slot)
        return await self._watch(key, slot)

    # Starting: a request under way is answered even if we are cancelled, and the ledger knows before and after.

    async def _start(self, key: str, operation: Operation, slot: Slot) -> None:
        exchange = self._exchange
        since: float | None = None
        limited = False

        def again(error: BaseException) -> bool:
            nonlocal since, limited
            if not isinstance(error, AsanaJobsError) or not may_repeat(error, operation):
                return False
            since = exchange.clock.monotonic() if since is None else since
            limited = isinstance(error, RateLimitError)
            return exchange.clock.monotonic() - since < self.patience

        async def pause(delay: float) -> None:
            if limited:
                async with self.lifetime.guard():
                    await slot.refused()
            await exchange.sleep(delay)

        # A bulk run outlives an outage: what limits the repetitions is time, not their number.
        patient = attrs.evolve(exchange.retry, attempts=sys.maxsize)
        engine = retrying(patient, again=again, sleep=pause, random=exchange.clock.random)
        try:
            await engine(self._post, key, operation)
        except (asyncio.CancelledError, ClientClosedError):
            await self._withdraw(key)
            raise
        except AsanaJobsError as error:
            final = exchange.judge(error, operation)
            await self._note(key, final)
            raise final from error.__cause__

    async def _post(self, key: str, operation: Operation) -> None:
        sending = asyncio.Event()
        post = self.lifetime.spawn(self._send(key, operation, sending))
        try:
            await asyncio.shield(post)
        except asyncio.CancelledError:
            if not sending.is_set():
                post.cancel()
            await asyncio.wait([post])
            error = None if post.cancelled() else post.exception()
            if isinstance(error, AsanaJobsError):
                await self._note(key, self._exchange.judge(error, operation))
            raise

    async def _send(self, key: str, operation: Operation, sending: asyncio.Event) -> None:
        asked_at = self._exchange.clock.monotonic()
        job = await self._exchange.start_once(operation, sending.set)
        self.poller.born(job, operation, asked_at)
        wait = self.make_wait(job)
        self._running[key] = operation, job, wait
        self._intents.discard(key)
        if self.ledger is not None:
            await self.ledger.started(key, job, wait.token())

    async def _note(self, key: str, error: AsanaJobsError) -> None:
        """Write down that an intent came to nothing, or to nobody knows what."""
        if self.ledger is None or key not in self._intents:
            return
        self._intents.discard(key)
        if isinstance(error, OutcomeUnknownError):
            await self.ledger.unknown(key, error)
        else:
            await self.ledger.refused(key, error)

    async def _withdraw(self, key: str) -> None:
        if self.ledger is not None and key in self._intents:
            self._intents.discard(key)
            await self.ledger.withdraw(key)

    # Watching.

    async def _watch(self, key: str, slot: Slot) -> Outcome:
        operation, job, wait = self._running[key]
        try:
            await wait.begin()
            while wait.job is None or not wait.job.done:
                await wait.look()
        except ClientClosedError:
            await self._release(key, wait, None)
            raise
        except AsanaJobsError as error:
            del self._running[key]
            await self._release(key, wait, error)
            return Outcome(operation, wait.job or job, error, key, continuation_token=wait.token())
        except BaseException:
            await self._release(key, wait, None)
            raise
        slot.give(finished=True)  # the next one starts now, not when this one is written down and delivered
        del self._running[key]
        if self.ledger is not None:
            await self.ledger.finished(key, wait.job)
        return Outcome(operation, wait.job, JobFailedError(job=wait.job) if wait.job.failed else None, key)

    async def _release(self, key: str, wait: Wait, error: AsanaJobsError | None) -> None:
        if self.ledger is not None:
            await self.ledger.release(key, error=error, continuation_token=wait.token())


def _known_error(verdict: Verdict, row: Row, operation: Operation) -> Exception | None:
    if verdict is Verdict.UNKNOWN:
        return OutcomeUnknownError(
            f"{operation.kind} of {operation.gid} may or may not have been started in an earlier run"
            f" ({row.error or 'which was killed before the answer was stored'}). It was not repeated; look in Asana,"
            f" then run again with retry_unknown=True or settle it with accept_unknown.",
            method=operation.method,
            path=operation.path,
            gid=operation.gid,
            operation=operation,
            sent_at=row.changed_at,
            check="look in Asana at what this token's user made at about this time",
        )
    if row.job is not None and row.job.failed:
        return JobFailedError(job=row.job)
    return None
