"""`Steps`: what is done for a wait of a queue, one step at a time, whichever engine says when.

One step starts the wait's job, or looks at it once. Nothing is waited for in a worker's place.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from random import uniform
from typing import Final

import attrs

from asana_jobs import AsanaClient, Job, PollPolicy
from asana_jobs.errors import (
    AsanaJobsError,
    ConnectError,
    OutcomeUnknownError,
    RateLimitError,
)
from asana_jobs.operations import Operation
from asana_jobs.worker._engine import Again
from asana_jobs.worker._leases import ComeBack
from asana_jobs.worker._queue import Result, read_result, read_spec, write_result
from asana_jobs.worker._records import RunningPlaces, WaitRecords
from asana_jobs.worker._redis import AwayError
from asana_jobs.worker._redis_gate import PreacquiredGate, RedisGate


#: Seconds for which an intent without an answer may still be somebody's who is slow, not dead.
DOUBT_SECONDS: Final = 45.0
#: Seconds until a start is tried again that Asana or the network refused.
RESTART_SECONDS: Final = 3.0

ResultHandler = Callable[[Result], Awaitable[object]]
_log = logging.getLogger("asana_jobs")


@attrs.define(eq=False, kw_only=True)
class Steps:
    """Makes the steps of one worker.

    Attributes:
        name: The name of the worker.
        client: Sends the requests.
        eager: When to look at jobs that the queue started: they are in the way of the next ones.
        gate: The shared budget.
        handed: The gate of the client, to which leases at hand are given.
        records: The records of the waits.
        places: The places of running jobs.
        on_finished: Called with each result that succeeded.
        on_failed: Called with each other one.
    """

    name: str
    client: AsanaClient
    eager: PollPolicy
    gate: RedisGate
    handed: PreacquiredGate
    records: WaitRecords
    places: RunningPlaces
    on_finished: ResultHandler | None = None
    on_failed: ResultHandler | None = None

    async def step(self, key: str, returning: bool) -> Again | None:
        """Make one step of the wait *key*; ``None`` when it has ended."""
        record = await self.records.read(key)
        if record.again:
            await self.records.renew(key)
            return Again(0.0)
        if record.result is not None:
            if not record.handled:
                await self._handle(key, read_result(record.result))
            return None
        if record.spec is None:
            _log.error("nothing is known any more of the wait %r: was its record deleted?", key)
            return None
        about = read_spec(record.spec)
        subject = record.token or about.subject
        if subject is not None:
            first = record.token is None
            return await self._look(key, about.operation, subject, returning=returning, first=first)
        assert about.operation is not None  # noqa: S101  # there is one or the other
        return await self._start(key, about.operation)

    # Starting.

    async def _start(self, key: str, operation: Operation) -> Again | None:
        lease = await self.gate.acquire_start(key)
        if lease is None:
            return Again(await self.places.wait(key))
        with self.handed.hand(lease):
            try:
                begun = await self.records.begin(key, self.name)
            except AwayError:
                await self.records.withdraw(key, self.name)  # it may have arrived, and nothing was sent
                raise
            if begun.word in {"started", "ended"}:
                return Again(0.0)
            if begun.word == "intent":
                if begun.since < DOUBT_SECONDS:
                    return Again(DOUBT_SECONDS - begun.since + 1.0)
                await self._end(key, operation, None, _lost(operation))
                return None
            try:
                await self.places.keep(key)
            except AwayError:
                await self.records.withdraw(key, self.name)  # nothing was sent
                raise
            return await self._post(key, operation)

    async def _post(self, key: str, operation: Operation) -> Again | None:
        try:
            job = await self.client.start(operation)
        except (RateLimitError, ConnectError) as error:  # nothing was started, for certain
            _log.info("%r was not started yet: %s", key, error)
            await self.records.withdraw(key, self.name)
            await self.places.give_back(key)
            return Again(uniform(1, 2) * RESTART_SECONDS)  # noqa: S311  # no secret
        except AsanaJobsError as error:
            await self._end(key, operation, None, error)
            return None
        waiter = self.client.wait_for_job(job)
        token = waiter.continuation_token()
        waiter.close()  # others wait
        await self.records.started(key, token)
        if job.done:
            await self._end(key, operation, job)
            return None
        return Again(0.0)

    # Looking.

    async def _look(
        self, key: str, operation: Operation | None, subject: str, *, returning: bool, first: bool
    ) -> Again | None:
        # While a job that we started is not seen to have finished, it takes the place of the next one.
        urgent = operation is not None
        found = await self.gate.acquire_look(returning=returning, first=first, urgent=urgent)
        if isinstance(found, ComeBack):
            return Again(found.seconds, returning=True)
        try:
            with self.handed.hand(found):
                check = await self.client.check_job(subject, poll=self.eager if urgent else None)
        except AsanaJobsError as error:
            await self._end(key, operation, None, error)
            return None
        if check.done:
            await self._end(key, operation, check.job)
            return None
        await self.records.looked(key, check.continuation_token)
        return Again(check.retry_in or 0.0)

    # Ending.

    async def _end(
        self, key: str, operation: Operation | None, job: Job | None, error: AsanaJobsError | None = None
    ) -> None:
        text = write_result(key, operation, job, error)
        if operation is not None:
            unknown = isinstance(error, OutcomeUnknownError)
            # A job that may run counts for a while; its place is not lost for ever.
            await (self.places.keep_for_a_while if unknown else self.places.give_back)(key)
        if await self.records.finish(key, text):
            await self._handle(key, read_result(text))

    async def _handle(self, key: str, result: Result) -> None:
        handler = self.on_finished if result.succeeded else self.on_failed
        if handler is not None:
            try:
                await handler(result)
            except Exception:  # noqa: BLE001  # a user's mistake does not end the worker
                _log.exception("the handler of %r raised; it is not called again", key)
        await self.records.handled(key)


def _lost(operation: Operation) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"{operation.kind} of {operation.gid} may or may not have been started by a worker that was killed before"
        f" the answer was stored. It was not repeated; look in Asana, then call retry_unknown.",
        method=operation.method,
        path=operation.path,
        gid=operation.gid,
        operation=operation,
    )
