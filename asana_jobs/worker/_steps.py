"""`Steps`: what is done for a wait of a queue, one step at a time, whichever engine says when.

One step starts the wait's job, or looks at it once. Nothing is waited for in a worker's place.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack
from random import sample, uniform
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self, TypeAlias
from uuid import uuid4

import attrs

from asana_jobs import AsanaClient, Job, PollPolicy, RateLimits
from asana_jobs.errors import (
    AsanaJobsError,
    AuthenticationError,
    ClientClosedError,
    ConnectError,
    NotFoundError,
    OutcomeUnknownError,
    PermissionDeniedError,
    RateLimitError,
    TokenError,
)
from asana_jobs.operations import Operation
from asana_jobs.policies import Duration, check_policy, seconds
from asana_jobs.tokens import TokenProvider, find_token
from asana_jobs.worker._budget_protocol import budget_name, limits_for
from asana_jobs.worker._engine import Again, FleetClock, Noting, fleet_clock
from asana_jobs.worker._fence import Attempt, Fence, StaleIntentError
from asana_jobs.worker._handlers import Handlers, ResultHandler
from asana_jobs.worker._leases import ComeBack
from asana_jobs.worker._queue import WaitSpec, read_spec
from asana_jobs.worker._records import (
    RECORD_VERSION,
    UNKNOWN_PLACE_SECONDS,
    RunningPlaces,
    WaitRecord,
    WaitRecords,
)
from asana_jobs.worker._redis import GATHERING_SECONDS, AwayError, Store, surely
from asana_jobs.worker._redis_gate import AWAY_SHARE, PreacquiredGate, RedisGate, ask_over
from asana_jobs.worker._results import outcome_of, write_result
from asana_jobs.worker._status import live_budgets
from asana_jobs.worker.errors import BudgetUnavailableError, QueueError, WaitEndedError


if TYPE_CHECKING:
    from collections.abc import Callable

    from asana_jobs.events import Event

#: Seconds for which an intent without an answer may still be somebody's who is slow, not dead.
DOUBT_SECONDS: Final = 45.0
#: Seconds until a start is tried again that Asana or the network refused.
RESTART_SECONDS: Final = 3.0
#: Unexpected failures of a wait's steps in a row after which it is given up.
MOST_FAILURES: Final = 10
#: Seconds between two of them at most; the first come after 1, 2, 4, ...: in all some nine minutes.
LONGEST_BACKOFF: Final = 300.0
#: Seconds until a step is tried again that Redis was away for.
AWAY_SECONDS: Final = 1.0
#: Seconds until a look is tried again for which no connection could be made, for as long as a wait has patience.
NOT_CONNECTED_SECONDS: Final = 15.0
#: Seconds until what another token's worker is to do is handed on once more, if there is one, and if there is none.
HAND_ON_SECONDS: Final = 1.0
NOBODY_SECONDS: Final = 30.0
#: Seconds until what only a later version can do is handed on once more.
NEWER_SECONDS: Final = 30.0
#: A second of lag at the end of a job that the queue started is a second in which its place stands empty.
EAGERNESS: Final = 0.2
#: Seconds that a handler may take.
HANDLER_TIMEOUT: Final = 300.0

Tokens: TypeAlias = str | TokenProvider | Mapping[str, str | TokenProvider] | None
_log = logging.getLogger("asana_jobs")


@attrs.frozen(eq=False)
class Account:
    """One token of a worker: its budget, and the client that keeps to it.

    Attributes:
        budget: The name of the budget.
        gate: The shared budget.
        handed: The gate of the client, to which leases at hand are given.
        client: Sends the requests.
        places: The places of running jobs.
    """

    budget: str
    gate: RedisGate
    handed: PreacquiredGate
    client: AsanaClient
    places: RunningPlaces


@attrs.define
class StepCounts:
    """What was done since the worker began.

    Attributes:
        looks: Looks at jobs.
        starts: Jobs started.
        ended: Waits that ended.
        failures: Steps that went wrong in an unexpected way.
    """

    looks: int = 0
    starts: int = 0
    ended: int = 0
    failures: int = 0


class Steps:
    """Makes the steps of a queue's waits, for engines other than ours; `run_worker` is it with an engine.

    ::

        async with Steps("redis://localhost/0") as steps:
            again = await steps.step(key)
            if again is not None:
                ...  # have it made again in again.delay seconds, with returning=again.returning

    The engine says when, and keeps that; what a wait is about, its intent, its job and its end are in Redis, as is the
    budget. That is why nothing is started twice, whatever an engine repeats: a step made twice, or by two processes
    at once, is harmless. The engine's part is to lose no step: it is to make one again whose process was killed.

    Put waits in with ``JobQueue(url, scheduler=...)``, whose `Scheduler` tells the engine of first steps.

    Args:
        url: The Redis of the queue, which must be trusted: see `JobQueue`.
        queue: The queue's name.
        token: As for `run_worker`, like all that follow.
        budget: A name for the token's budget.
        base_url: Another address of Asana's.
        proxy: A proxy.
        limits: The limits of the token.
        poll: When to look.
        away_share: The share of the limits while Redis is away.
        on_finished: The handler of what succeeded.
        on_failed: The handler of what did not.
        handler_timeout: How long one call of these may take, in seconds or as a `timedelta`.
        on_event: Called with each event.
        allow_eviction: Take a Redis that throws keys away.

    Raises:
        TokenError: there is no token, or it cannot be one.
        ValueError: an argument is wrong.
    """

    def __init__(
        self,
        url: str,
        *,
        queue: str = "default",
        token: Tokens = None,
        budget: str | None = None,
        base_url: str | None = None,
        proxy: str | None = None,
        limits: RateLimits | None = None,
        poll: PollPolicy | None = None,
        away_share: float = AWAY_SHARE,
        on_finished: ResultHandler | None = None,
        on_failed: ResultHandler | None = None,
        handler_timeout: Duration = HANDLER_TIMEOUT,
        on_event: Callable[[Event], object] | None = None,
        allow_eviction: bool = False,
    ) -> None:
        self.queue: str = budget_name(None, queue, "queue")
        #: The name of this worker.
        self.name: str = f"{socket.gethostname()}#{os.getpid()}#{uuid4().hex[:6]}"
        self.counts: StepCounts = StepCounts()
        self.store: Store = Store(url, gathering=GATHERING_SECONDS)
        self.records: WaitRecords = WaitRecords(self.store, self.queue)
        self.accounts: dict[str, Account] = {}
        self.handlers: Handlers = Handlers(
            self.name, self.records, on_finished, on_failed, seconds(handler_timeout, "handler_timeout")
        )
        self.fence: Fence = Fence(self.records, self.name)
        self._url = url
        self._tokens = _named_tokens(token, budget)
        self._base_url, self._proxy = base_url, proxy
        self._limits = limits
        #: Jobs of one token that may run at once, all workers together.
        self.jobs_running: int = int(limits_for(limits or RateLimits())["running"])
        poll = PollPolicy() if poll is None else check_policy(poll)
        self._poll = attrs.evolve(
            poll, first_contact=poll.give_up_after
        )  # nobody looks on, and no wait is lost
        self._eager = attrs.evolve(self._poll, lag_price=self._poll.lag_price * EAGERNESS)
        self._away_share = away_share
        self._on_event = on_event
        self._allow_eviction = allow_eviction
        self._open = AsyncExitStack()
        self._clock: FleetClock | None = None
        self._told: set[str] = set()

    def __repr__(self) -> str:
        return f"<Steps of {self.queue} at {self.store.address}: {', '.join(self._tokens)}>"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def clock(self) -> FleetClock:
        """The clock of Redis."""
        assert self._clock is not None, "open the steps first: async with Steps(url) as steps"  # noqa: S101
        return self._clock

    async def open(self) -> None:
        """Connect.

        Raises:
            QueueError: Redis is not there, is full, or refuses us.
        """
        self._open.push_async_callback(self.store.close)
        try:
            self._clock = await self._reach()
            durations = None
            for budget, token in self._tokens.items():
                gate = RedisGate(self._url, budget=budget, limits=self._limits, away_share=self._away_share)
                ask_over(self.store, gate)
                await self._open.enter_async_context(gate)
                handed = PreacquiredGate(gate)
                client = AsanaClient(
                    token,
                    base_url=self._base_url,
                    proxy=self._proxy,
                    limits=self._limits,
                    poll=self._poll,
                    gate=handed,
                    clock=self._clock,
                    durations=durations,
                    on_event=self._on_event,
                )
                await self._open.enter_async_context(client)
                durations = client.durations
                self.accounts[budget] = Account(budget, gate, handed, client, self._places(budget))
        except BaseException:
            await self._open.aclose()
            raise

    async def close(self) -> None:
        """Wait for the handlers at work, give everything back, and let go of the connections."""
        try:
            await self.handlers.finish()
        finally:
            await self._open.aclose()

    async def step(self, key: str, *, returning: bool = False) -> Again | None:
        """Make one step of the wait *key*; ``None`` when it has ended.

        What goes wrong in an unexpected way is logged, counted, and tried again later, ten times in all; then the
        wait is given up, which is its result.

        Args:
            key: The name of the wait.
            returning: Whether the step was made before, and answered that it is returning.

        Raises:
            AuthenticationError: Asana refuses the token. Nothing was lost: stop, and have the step made elsewhere.
            TokenError: the token cannot be had, likewise.
        """
        again = await self.make(key, returning=returning)
        try:
            if again is None and not await self.records.is_over(key):
                return Again(0.0)  # forgotten and put in anew meanwhile, it had this step, and got no other
            if isinstance(again, Noting):
                await self.records.note(key, *again.note)
        except (AwayError, QueueError) as error:
            _log.debug("the step of %r could not be written down: %s", key, error)
            again = again or Again(_jittered(AWAY_SECONDS))
        return None if again is None else Again(again.delay, again.returning)

    async def make(self, key: str, *, returning: bool = False) -> Again | None:
        """Make one step as `step` does it, and leave the rest to the caller.

        That is to write down what `Noting` says, and to see whether what has ended was put in anew meanwhile.
        """
        record = None
        try:
            record = await self.records.read(key)
            again = await self._step(key, record, returning=returning)
            if record.failures:
                await self.records.recover(key)
        except (AuthenticationError, TokenError):
            raise
        except (AwayError, BudgetUnavailableError, ClientClosedError, QueueError) as error:
            _log.debug("the step of %r is put off: %s", key, error)
            return Again(_jittered(AWAY_SECONDS))
        except Exception as error:  # noqa: BLE001  # whatever it is, it is counted, and ends as a result
            return await self._failed(key, record, error)
        return again

    async def _step(self, key: str, record: WaitRecord, *, returning: bool) -> Again | None:  # noqa: PLR0911  # the states of a wait
        if record.version > RECORD_VERSION:
            return self._leave_to_newer(key)
        if record.again:
            await self.records.renew(key, start=read_spec(record.spec or "{}").operation is not None)
            return Again(0.0)
        if record.result is not None:
            return None if record.handled else await self.handlers.hand(key, record.result)
        if record.spec is None:
            if not await self.records.drop(key):
                _log.error(
                    "nothing is known any more of the wait %r, and it is dropped: Redis has lost its record, or somebody"
                    " has deleted it; put it in again under this key",
                    key,
                )
            for account in self.accounts.values():  # whichever it had; another worker's is free before long
                await account.places.give_back(key)
            return None
        about = read_spec(record.spec)
        if record.token is None and about.subject is None:
            assert about.operation is not None  # noqa: S101  # there is one or the other
            return await self._start(key, record, about.operation)
        if record.only is not None and record.only not in self.accounts:
            alive = record.only in await live_budgets(self.store, self.queue)
            return Again(_jittered(HAND_ON_SECONDS if alive else NOBODY_SECONDS))
        return await self._look(key, about, record, returning=returning)

    def _leave_to_newer(self, key: str) -> Again:
        self._say_once(
            "later version",
            f"waits of the queue {self.queue!r} were put in by a later version of asana_jobs, such as {key!r}: they are"
            " left to its workers; upgrade this one",
        )
        return Again(_jittered(NEWER_SECONDS))

    # Starting.

    async def _start(self, key: str, record: WaitRecord, operation: Operation) -> Again | None:
        # Whichever token has room: each is asked in turn, and those who wait for a place are spread over them.
        for account in sample(list(self.accounts.values()), len(self.accounts)):
            lease = await account.gate.acquire_start(account.places.name(key))
            if lease is not None:
                attempt = self.fence.attempt(key, account.budget, record.spec or "")
                with account.handed.hand(lease, attempt.check):
                    return await self._begin(account, attempt, operation, record.mark)
        return Again(await self.records.retry_in())

    async def _begin(
        self, account: Account, attempt: Attempt, operation: Operation, mark: str
    ) -> Again | None:
        key = attempt.key
        try:
            begun = await self.records.begin(key, attempt.name, account.budget, attempt.spec)
            if begun.word == "begin":
                attempt.at = begun.token
                await account.places.keep(key)
        except AwayError:
            await self._withdraw(account, attempt)  # it may have arrived, and nothing was sent
            raise
        if begun.word == "begin":
            return await self._post(account, attempt, operation)
        self.fence.forget(attempt)
        if begun.word == "moved":
            await account.places.give_back(key)
            return Again(begun.since + uniform(0, 1))  # noqa: S311  # no secret
        if begun.word == "intent":
            if begun.since < DOUBT_SECONDS:
                return Again(DOUBT_SECONDS - begun.since + 1.0)
            return await self._end(account.budget, key, mark, operation, _lost(operation))
        if begun.word == "ended":
            await account.places.give_back(key)
        return Again(0.0)

    async def _post(self, account: Account, attempt: Attempt, operation: Operation) -> Again | None:
        key = attempt.key
        try:
            job = await account.client.start(operation)
        except (AuthenticationError, TokenError):  # nothing was started, and it is not this wait's trouble
            self._say_refused(account)
            await self._withdraw(account, attempt)
            raise
        except (RateLimitError, ConnectError, StaleIntentError) as error:  # nothing was started, for certain
            _log.info("%r was not started yet: %s", key, error)
            await self._withdraw(account, attempt)
            return Again(_jittered(RESTART_SECONDS))
        except ClientClosedError:  # this worker ends: what was sent is in doubt, as if it had been killed
            raise
        except AsanaJobsError as error:
            return await self._end(account.budget, key, attempt.name, operation, error)
        waiter = account.client.wait_for_job(job)
        attempt.token = waiter.continuation_token()
        waiter.close()  # others wait
        self.counts.starts += 1
        try:
            written = await surely(lambda: self.fence.write(attempt))
        except BaseException:
            _log.error(
                "the job of %r was started, and its gid could not be written down: %s. The wait will end as unknown, unless"
                " it was; JobQueue.watch(%r) watches the job",
                key,
                job.gid,
                job.gid,
            )
            raise
        if written == "late":
            return Again(0.0)
        if job.done:
            return await self._end(account.budget, key, attempt.token, operation, job)
        return Again(0.0)

    async def _withdraw(self, account: Account, attempt: Attempt) -> None:
        await self.records.withdraw(attempt.key, attempt.name)
        self.fence.forget(attempt)
        await account.places.give_back(attempt.key)

    # Looking.

    async def _look(  # noqa: PLR0911  # the answers of Asana
        self, key: str, about: WaitSpec, record: WaitRecord, *, returning: bool
    ) -> Again | None:
        subject = record.token or about.subject
        assert subject is not None  # noqa: S101  # it was started, or is watched
        account = self.accounts.get(record.budget or "") or next(iter(self.accounts.values()))
        budget, mark = record.budget or account.budget, record.mark
        # While a job that we started is not seen to have finished, it takes the place of the next one.
        urgent = about.operation is not None
        found = await account.gate.acquire_look(
            returning=returning, first=record.token is None, urgent=urgent
        )
        if isinstance(found, ComeBack):
            return Again(found.seconds, returning=True)
        try:
            with account.handed.hand(found):
                check = await account.client.check_job(subject, poll=self._eager if urgent else None)
        except (AuthenticationError, TokenError):  # not this wait's trouble
            self._say_refused(account)
            raise
        except ClientClosedError:  # nor is this
            raise
        except ConnectError as error:  # nor this: it cannot be reached from here, or is not who it should be
            what = f"Asana cannot be looked at from this worker: {error}"
            self._say_once(type(error).__name__, what)
            return Again(_jittered(NOT_CONNECTED_SECONDS))
        except (PermissionDeniedError, NotFoundError) as error:
            if record.budget in {None, account.budget}:
                return await self._end(budget, key, mark, about.operation, error)
            return self._leave(account, key, mark, budget, error)
        except AsanaJobsError as error:
            return await self._end(budget, key, mark, about.operation, error)
        self.counts.looks += 1
        if check.done:
            return await self._end(budget, key, mark, about.operation, check.job)
        back = await self._come_back(account, key, budget if urgent else None, check.retry_in or 0.0)
        return Noting(back.delay, back.returning, ("token", check.continuation_token, mark))

    async def _come_back(self, account: Account, key: str, place_of: str | None, delay: float) -> Again:
        if (
            place_of is not None
        ):  # its job is in the way of the next one: it keeps its place, and does not queue up
            await self._places(place_of).keep(key)
            return Again(delay)
        back = await account.gate.reserve_look(delay)
        return Again(back.seconds, returning=back.returning)

    def _leave(self, account: Account, key: str, mark: str, owner: str, error: AsanaJobsError) -> Again:
        _log.warning(
            "%r is left to a worker with the token of the budget %s, which has started its job: the token of %s may not"
            " look at it (%s)",
            key,
            owner,
            account.budget,
            error,
        )
        return Noting(HAND_ON_SECONDS, note=("only", owner, mark))

    # Ending.

    async def _end(
        self, budget: str, key: str, mark: str, operation: Operation | None, how: Job | AsanaJobsError | None
    ) -> Again | None:
        if operation is not None:
            places, unknown = self._places(budget), isinstance(how, OutcomeUnknownError)
            # A job that may run counts for a while; its place is not lost for ever.
            await (places.keep(key, UNKNOWN_PLACE_SECONDS) if unknown else places.give_back(key))
        return await self._finish(key, mark, operation, how)

    async def _finish(
        self,
        key: str,
        mark: str,
        operation: Operation | None,
        how: Job | AsanaJobsError | None,
        outcome: str | None = None,
    ) -> Again | None:
        job, error = (None, how) if isinstance(how, AsanaJobsError) else (how, None)
        outcome = outcome or outcome_of(job, error)
        text = write_result(key, operation, job, error, outcome)
        handled = self.handlers.handler(succeeded=outcome == "succeeded") is None
        by = self.name if not handled and self.handlers.has_room(key) else ""
        word = await self.records.finish(key, text, outcome, mark=mark, handled=handled, by=by)
        if word not in {"done", "claimed"}:
            # Somebody else did, or cancelled it, or forgot it: what is there is to be handled.
            return Again(0.0)
        self.counts.ended += 1
        if handled:
            return None
        return await self.handlers.hand(key, text, claimed=word == "claimed")

    async def _failed(self, key: str, record: WaitRecord | None, error: Exception) -> Again | None:
        self.counts.failures += 1
        failure = f"{type(error).__name__}: {error}"
        what = f"a step failed in an unexpected way: {type(error).__name__}"
        self._say_once(what, what, error)
        try:
            count = await self.records.fail(key, failure[:500])
            if count == 1:
                _log.warning("the step of %r failed, and is tried again: %s", key, failure)
            has_ended = record is not None and record.result is not None
            if count < MOST_FAILURES or has_ended:
                return Again(min(2.0 ** (count - 1), LONGEST_BACKOFF) * uniform(0.8, 1.2))  # noqa: S311  # no secret
            _log.error("%r is given up after %d failures in a row: %s", key, count, failure)
            message = (
                f"{key!r} was given up after {count} failures in a row of its steps, the last one: {failure}. Nothing is"
                " lost: once the cause is removed, `asana-jobs queue retry` or JobQueue.retry begins it anew."
            )
            dead = WaitEndedError(message, reason=type(error).__name__)
            mark = "" if record is None else record.mark
            return await self._finish(key, mark, _operation(record), dead, "given_up")
        except (AwayError, QueueError):
            return Again(_jittered(AWAY_SECONDS))

    def _say_refused(self, account: Account) -> None:
        what = f"Asana refuses the token of the budget {account.budget}: what it was at is left to others"
        self._say_once(what, what)

    def _say_once(self, what: str, message: str, error: Exception | None = None) -> None:
        if what not in self._told:
            self._told.add(what)
            _log.warning("%s", message, exc_info=error)

    def _places(self, budget: str) -> RunningPlaces:
        return RunningPlaces(self.store, budget, self.queue)

    async def _reach(self) -> FleetClock:
        try:
            # A full Redis answers, and takes nothing.
            await self.store("SET", f"asana-jobs:{{{self.queue}}}:writable", 1, "EX", 60)
            await self.store.check(allow_eviction=self._allow_eviction)
            await self.fence.watch()
            return await fleet_clock(self.store)
        except AwayError as error:
            raise QueueError(str(error)) from error


def _named_tokens(token: Tokens, budget: str | None) -> dict[str, str | TokenProvider]:
    """Return each token under the name of its budget."""
    if token is not None and not isinstance(token, str) and not callable(token):
        if budget is not None or not token:
            raise ValueError(
                "give a mapping of names of budgets to tokens, one or more, and no budget beside it"
            )
        return {budget_name(None, name): one for name, one in token.items()}
    if token is None:
        token = find_token()[0]
    if budget is not None:
        return {budget_name(None, budget): token}
    if callable(token):
        raise ValueError(
            'a token that is renewed needs a name for its budget, which all workers of the token share: budget="..."'
        )
    return {budget_name(token, None): token}


def _jittered(seconds: float) -> float:
    """Return once to twice as many seconds: steps that end together do not return together."""
    return uniform(1, 2) * seconds  # noqa: S311  # no secret


def _operation(record: WaitRecord | None) -> Operation | None:
    try:
        return None if record is None or record.spec is None else read_spec(record.spec).operation
    except ValueError:
        return None


def _lost(operation: Operation) -> OutcomeUnknownError:
    return OutcomeUnknownError(
        f"{operation.kind} of {operation.gid} may or may not have been started by a worker that was killed before"
        f" the answer was stored. It was not repeated; look in Asana, then call retry_unknown.",
        method=operation.method,
        path=operation.path,
        gid=operation.gid,
        operation=operation,
    )
