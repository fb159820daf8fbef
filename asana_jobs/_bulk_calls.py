"""The calls about many jobs: start them, or watch them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from asana_jobs._arguments import make_wait, read_strategy
from asana_jobs._backoff import WaitStrategy
from asana_jobs._exchange import Exchange
from asana_jobs._monitor import JobMonitor
from asana_jobs._poller import Poller
from asana_jobs._slots import Slots
from asana_jobs._subjects import JobLike
from asana_jobs.models import Job, R
from asana_jobs.operations import Operation
from asana_jobs.policies import Duration, PollPolicy, seconds


# What a bulk run needs, SQLite among it, is loaded by the first one: most programs start without.
if TYPE_CHECKING:
    from asana_jobs._ledger import Ledger
    from asana_jobs._run import Operations, Run
    from asana_jobs._runner import Runner


class BulkCalls:
    """What a client does with many jobs at once."""

    _exchange: Exchange
    _poller: Poller
    _poll: PollPolicy
    _slots: Slots

    async def run(self, operation: Operation[R], *, timeout: Duration | None = None) -> Job[R]:  # noqa: ASYNC109  # it looks once more
        """Start the job of *operation*, wait for it, and return it succeeded.

        Waits for one of the token's running-job slots first.

        Args:
            operation: Such as ``DuplicateProject("1203", name="Q3 launch")``.
            timeout: Seconds (or a `timedelta`) to wait for the job once it was started.

        Raises:
            JobFailedError: the job failed. JobTimeoutError: it had not finished in time.
            AsanaJobsError: what starting and waiting raise.
        """
        from asana_jobs._run import run_one  # noqa: PLC0415  # see above

        return await run_one(self._runner(None, timeout), operation)

    def run_all(
        self,
        operations: Operations[R],
        *,
        ledger: Ledger | None = None,
        timeout: Duration | None = None,
        retry_unknown: bool = False,
        retry_failed: bool = False,
    ) -> Run[R]:
        """Start many jobs, a few at a time, and iterate their outcomes as they come.

        Args:
            operations: Operations, or pairs of your key and an operation; a list, a generator, or an async one.
                They are taken lazily: at most ``RateLimits.jobs_running`` are unfinished at Asana, and the
                next is started the moment one is seen to finish.
            ledger: Makes the run one that can be killed and started again, see `Ledger`.
            timeout: Seconds (or a `timedelta`) to wait for each job.
            retry_unknown: Start again what a ledger holds as unknown. It may make a second copy.
            retry_failed: Start again, once, what a ledger holds as failed from earlier runs. What a failed job has
                made is not removed.

        Returns:
            A `Run`: an async iterator of `Outcome`. One bad operation does not end it.
        """
        from asana_jobs._run import Run  # noqa: PLC0415  # see above

        runner = self._runner(ledger, timeout, retry_unknown=retry_unknown, retry_failed=retry_failed)
        return Run(runner, operations)

    def _runner(
        self,
        ledger: Ledger | None,
        timeout: Duration | None,
        *,
        retry_unknown: bool = False,
        retry_failed: bool = False,
    ) -> Runner:
        from asana_jobs._run import make_runner  # noqa: PLC0415  # see above

        return make_runner(
            self._poller,
            self._slots,
            self._poll,
            timeout=timeout,
            ledger=ledger,
            retry_unknown=retry_unknown,
            retry_failed=retry_failed,
        )

    def monitor_jobs(
        self,
        jobs: Iterable[JobLike] = (),
        *,
        timeout: Duration | None = None,
        poll: PollPolicy | WaitStrategy | None = None,
    ) -> JobMonitor:
        """Watch many jobs at once; see `JobMonitor`.

        Args:
            jobs: Each a `Job`, a gid, an answer of the official SDK or a continuation token.
            timeout: Seconds (or a `timedelta`) to wait for each job, from when it is added.
            poll: As for `wait_for_job`.

        Raises:
            ValueError: at once, if an argument is wrong.
        """
        read_strategy(poll)  # also if there is no job yet
        if timeout is not None:
            timeout = seconds(timeout, "timeout")
        waits = partial(make_wait, self._poller, self._poll, timeout=timeout, poll=poll)
        return JobMonitor(waits, self._exchange.lifetime, jobs)
