"""`JobWaiter`, the wait that people hold: await it for the finished job, or iterate it to see every state on the way.

`check` is one look for queue workers, with when to come back. `make_wait` makes both from the arguments of
``wait_for_job``; wrong ones are a `ValueError` before anything is asked.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Never, Self, TypeVar, cast, final

import attrs

from asana_jobs._client.http.protocol import Fields, check_fields
from asana_jobs._client.http.retrying import WaitStrategy, check_strategy, policy_in
from asana_jobs._client.misuse import Instead, no_attribute
from asana_jobs._client.waiting.job_reference import JOBS, JobLike, read_subject
from asana_jobs._client.waiting.poller import Poller
from asana_jobs._client.waiting.subscription import ANSWER, CHANGE, LOOK, Eta, Subscription, WaitStatistics
from asana_jobs.errors import AsanaJobsError
from asana_jobs.models import Job, Makes, R_co, html_table, job_rows
from asana_jobs.policies import Duration, PollPolicy, seconds


#: Seconds a check waits for the pause after a 429 to end. Beyond, it gives its worker back and looks later.
LONGEST_CHECK_PAUSE: Final = 1.0

_Call = TypeVar("_Call", bound=Callable[..., Coroutine[Any, Any, Job]])


def coroutine_function(call: _Call) -> _Call:
    """Mark *call*, which returns a coroutine, as a coroutine function, without which frameworks do not await it.

    ``inspect.iscoroutinefunction`` says so from Python 3.12, ``asyncio.iscoroutinefunction`` in every version.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(call)
    # What asyncio.iscoroutinefunction looks for there; inspect's knows ``async def`` only.
    call._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]  # noqa: SLF001
    return call


@final
class JobWaiter(Coroutine[Any, Any, Job[R_co]], AsyncIterator[Job[R_co]]):
    """A wait for one job: await it, iterate it, or hand it to asyncio as the coroutine it is.

    ::

        job = await waiter                      # the finished job, succeeded or failed

        async for job in waiter:                # every change, the finished job last
            print(job.status)

        task = asyncio.create_task(waiter)      # also TaskGroup, gather, as_completed, wait_for, asyncio.run

    One stream: after ``break``, ``await waiter`` goes on where the loop stopped, with the same schedule and the
    same deadline, and awaiting it again gives the same job without a request. A failed job is a result; ask for
    an exception with ``job.raise_for_status()``. The timeout counts from the first use.

    Raises, from every form of use:
        JobTimeoutError: the timeout passed; the job may still finish. Again on every later use.
        AsanaJobsError: watching is impossible (403, a 404 that stays, ...), or trouble outlasted
            ``PollPolicy.give_up_after``, or ``first_contact`` before anything was answered. Using the waiter again
            looks again.
        ClientClosedError: the client was closed.
        RuntimeError: two tasks use one waiter at a time.

    You get one from ``wait_for_job``; do not make it yourself.
    """

    __slots__ = ("__weakref__", "_coroutine", "_every_poll", "_subscription", "_used")

    def __init__(self, subscription: Subscription, *, every_poll: bool = False) -> None:
        self._subscription = subscription
        self._used = not isinstance(subscription, Subscription)
        if self._used:
            raise TypeError(f"do not make a JobWaiter: write asana.wait_for_job({subscription!r:.60})")
        self._every_poll = every_poll
        self._coroutine: Coroutine[Any, Any, Job[R_co]] | None = None

    def __repr__(self) -> str:
        wait = self._subscription
        state = "not seen yet" if wait.job is None else wait.job.status
        return f"<JobWaiter job {wait.gid}: {state}, {wait.looks} looks>"

    def continuation_token(self) -> str:
        """Return versioned JSON text without secrets; ``wait_for_job(token)`` goes on from here, anywhere."""
        return self._subscription.token()

    @property
    def statistics(self) -> WaitStatistics:
        """Looks, seconds waited, and between which moments the job finished."""
        return self._subscription.statistics

    def eta(self) -> Eta | None:
        """Return when the job is expected to have ended, from the durations of twenty or more of its kind.

        ``None`` before the first use, when it has ended, and while too little was learned.
        """
        return self._subscription.eta()

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not
        # Iteration falls back on this, while nobody takes for an iterable what has no ``__iter__``.
        __getitem__ = Instead(
            "a wait is iterated with `async for job in waiter`, or awaited: `job = await waiter`"
        )
        __enter__ = __aenter__ = Instead("a wait is no context manager: `job = await waiter`")

        def __getattr__(self, name: str) -> Never:
            advice = "await it first, `job = await waiter`, or iterate it, `async for job in waiter`"
            raise no_attribute(self, name, Job, advice)

    # The user writes: async for job in waiter

    def __aiter__(self) -> Self:
        self._used = True
        return self

    def __anext__(self) -> Coroutine[Any, Any, Job[R_co]]:
        self._used = True
        return cast(
            "Coroutine[Any, Any, Job[R_co]]", self._subscription.wait(ANSWER if self._every_poll else CHANGE)
        )

    # The user writes: job = await waiter

    def __await__(self) -> Generator[Any, Any, Job[R_co]]:
        return self._end().__await__()

    def _end(self) -> Coroutine[Any, Any, Job[R_co]]:
        """Return the coroutine that waits for the job's end."""
        self._used = True
        return cast("Coroutine[Any, Any, Job[R_co]]", self._subscription.wait())

    # asyncio.create_task(waiter): a task sends, throws and closes

    def send(self, value: Any, /) -> Any:
        """Advance the wait, as a task does."""
        return self._step("send", value)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        traceback: TracebackType | None = None,  # noqa: ARG002  # the protocol's
        /,
    ) -> Any:
        """Throw into the wait, as a task does to cancel it."""
        try:
            return self._step("throw", value if isinstance(value, BaseException) else kind)
        finally:
            del kind, value  # the traceback of what is thrown refers to this frame

    def close(self) -> None:
        """End the coroutine without running it further."""
        self._used = True
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is not None:
            coroutine.close()

    def _step(self, how: Literal["send", "throw"], what: object) -> Any:
        if self._subscription.driver is not None:
            self._subscription.running_task()
        if self._coroutine is None:
            self._coroutine = self._end()
        try:
            return getattr(self._coroutine, how)(what)
        except BaseException:
            self._coroutine = None  # it has ended; the waiter can be used again
            raise
        finally:
            del what

    def __del__(self) -> None:
        if isinstance(self._subscription, Subscription):  # else it was not made in order
            self._subscription.abandon()
        if not self._used:
            text = f"wait_for_job({self._subscription.gid!r}) was never awaited or iterated"
            warnings.warn(text, RuntimeWarning, stacklevel=2, source=self)


@attrs.frozen(kw_only=True)
class Check(Makes[R_co]):
    """The result of one look at a job.

    Attributes:
        job: The job as last seen, or ``None`` if it never was.
        done: Whether it has finished.
        retry_in: Seconds until the next look is due; ``None`` when the job has finished.
        continuation_token: Hand it to the next ``check_job``, here or on another machine.
        error: Transient trouble that spoiled this look, or ``None``.
    """

    job: Job[R_co] | None
    done: bool
    retry_in: float | None
    continuation_token: str
    error: AsanaJobsError | None = None

    def _repr_html_(self) -> str:
        seconds = self.retry_in
        return html_table(
            {
                **job_rows(self.job),
                "look again": "never" if seconds is None else f"in {seconds:.1f} s",
                "trouble": self.error,
            }
        )


async def check(wait: Subscription) -> Check:
    """Look once at the job of *wait*, or join a look; trouble that may pass is reported, not raised."""
    wait.begin()
    wait.at_once = True
    retry_in: float | None = None
    error: AsanaJobsError | None = None
    if not wait.done:
        paused = wait.poller.exchange.gate.snapshot().paused_for
        if paused > LONGEST_CHECK_PAUSE:
            retry_in = paused
        else:
            wait.next_due()  # a strategy counts the gap after the last look of an earlier process
            seen = await wait.wait(LOOK)
            error = seen if isinstance(seen, AsanaJobsError) else None
            retry_in = None if isinstance(seen, Job) and seen.done else wait.retry_in()
    return Check(
        job=wait.job, done=wait.done, retry_in=retry_in, continuation_token=wait.token(), error=error
    )


def make_wait(
    poller: Poller,
    policy: PollPolicy,
    job: JobLike,
    *,
    timeout: Duration | None = None,
    poll: PollPolicy | WaitStrategy | None = None,
    opt_fields: Fields | None = None,
    observed: bool = True,
    after: Callable[[], Awaitable[object]] | None = None,
) -> Subscription:
    """Make the wait that a user's arguments ask for.

    Args:
        poller: The client's.
        policy: The client's, unless *poll* is one.
        job: The job to wait for.
        timeout: Seconds from the first use on; ``None`` has no end.
        poll: A policy or a strategy of tenacity's.
        opt_fields: The fields to ask for; the status is always one of them.
        observed: Whether to tell of its begin and end; not those of one step, which neither begins nor ends here.
        after: Called at the end of each use.

    Raises:
        ValueError: one of the arguments is wrong.
    """
    fields = check_fields(opt_fields)
    reference = read_subject(job)
    status = "status" if reference.collection == JOBS else "state"
    if fields is not None and status not in fields.split(","):
        fields = f"{fields},{status}"
    return Subscription(
        gid=reference.gid,
        reference=reference,
        poller=poller,
        policy=policy_in(poll) or policy,
        strategy=read_strategy(poll),
        timeout=None if timeout is None else seconds(timeout, "timeout"),
        opt_fields=fields,
        looks=reference.looks,
        observed=observed and poller.exchange.telemetry.listening,
        after=after,
    )


def read_strategy(poll: PollPolicy | WaitStrategy | None) -> WaitStrategy | None:
    """Return the strategy that *poll* is, ``None`` if it is a policy or nothing, or raise `ValueError`."""
    return None if poll is None or isinstance(poll, PollPolicy) else check_strategy(poll)
