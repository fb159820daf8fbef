"""One look for queue workers, with when to come back."""

from __future__ import annotations

from typing import Final

import attrs

from asana_jobs._wait import Wait
from asana_jobs.errors import AsanaJobsError
from asana_jobs.models import Job, Makes, R_co


#: Seconds a check waits for the pause after a 429 to end. Beyond, it gives its worker back and looks later.
PATIENCE: Final = 1.0


@attrs.frozen(kw_only=True)
class Check(Makes[R_co]):
    """What one look at a job came to.

    Attributes:
        job: The job as last seen, or ``None`` if it never was. ``done``: whether it has finished.
        retry_in: Seconds until the next look is due; ``None`` when the job has finished.
        continuation_token: Hand it to the next ``check_job``, here or on another machine.
        error: Transient trouble that spoiled this look, or ``None``.
    """

    job: Job[R_co] | None
    done: bool
    retry_in: float | None
    continuation_token: str
    error: AsanaJobsError | None = None


async def check(wait: Wait) -> Check:
    """Look once at the job of *wait*; trouble that may pass is reported, not raised."""
    await wait.begin()
    retry_in, error = (None, None) if wait.done else await _look(wait)
    return Check(
        job=wait.job, done=wait.done, retry_in=retry_in, continuation_token=wait.token(), error=error
    )


async def _look(wait: Wait) -> tuple[float | None, AsanaJobsError | None]:
    paused = wait.poller.exchange.gate.snapshot().paused_for
    if paused > PATIENCE:
        return paused, None
    error = await wait.step()
    return (None if wait.done else wait.retry_in()), error
