"""From the arguments of ``wait_for_job`` to a wait; wrong ones are a `ValueError` before anything is asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from asana_jobs._backoff import WaitStrategy, check_strategy
from asana_jobs._poller import Poller
from asana_jobs._sansio import Fields, check_fields
from asana_jobs._subjects import JOBS, JobLike, read_subject
from asana_jobs._wait import Wait
from asana_jobs.policies import Duration, PollPolicy, seconds


if TYPE_CHECKING:
    from asana_jobs._telemetry import Telemetry


def make_wait(
    poller: Poller,
    policy: PollPolicy,
    job: JobLike,
    *,
    timeout: Duration | None = None,
    poll: PollPolicy | WaitStrategy | None = None,
    opt_fields: Fields | None = None,
    observed: bool = True,
) -> Wait:
    """Make the wait that a user's arguments ask for, or raise `ValueError` for wrong ones.

    One step of a wait is not *observed*: it neither begins nor ends here.
    """
    fields = check_fields(opt_fields)
    subject = read_subject(job)
    status = "status" if subject.collection == JOBS else "state"
    if fields is not None and status not in fields.split(","):
        fields = f"{fields},{status}"
    strategy = read_strategy(poll)
    telemetry = poller.exchange.telemetry if observed else None
    return _maker(telemetry)(
        subject=subject,
        poller=poller,
        policy=poll if isinstance(poll, PollPolicy) else policy,
        strategy=strategy,
        timeout=None if timeout is None else seconds(timeout, "timeout"),
        opt_fields=fields,
    )


def read_strategy(poll: PollPolicy | WaitStrategy | None) -> WaitStrategy | None:
    """Return the strategy that *poll* is, ``None`` if it is a policy or nothing, or raise `ValueError`."""
    return None if poll is None or isinstance(poll, PollPolicy) else check_strategy(poll)


def _maker(telemetry: Telemetry | None) -> Callable[..., Wait]:
    if telemetry is None:
        return Wait
    from asana_jobs._observed_wait import ObservedWait  # noqa: PLC0415  # only for those who listen

    return partial(ObservedWait, telemetry=telemetry)
