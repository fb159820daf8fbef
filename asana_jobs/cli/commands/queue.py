"""``asana-jobs queue``."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from cyclopts import Parameter

from asana_jobs.cli.commands.worker import QueueName, RedisUrl
from asana_jobs.cli.errors import ExitStatus, UsageError, checking_arguments
from asana_jobs.cli.options import FLAG, NUMBER, Output
from asana_jobs.cli.program import run_async


Action: TypeAlias = Literal["status", "list", "failed", "retry", "cancel", "forget"]


def queue(
    action: Annotated[Action, Parameter(metavar="ACTION")],
    /,
    *keys: Annotated[str, Parameter(metavar="KEY")],
    redis: RedisUrl,
    queue: QueueName = "default",
    every: Annotated[bool, FLAG] = False,
    unknown: Annotated[bool, FLAG] = False,
    limit: Annotated[int, NUMBER] = 100,
    output: Output = "auto",
) -> ExitStatus:
    """Look into a queue in Redis; retry, cancel or forget its waits.

    On a terminal, status is a page that is kept up to date until Ctrl-C. No token is needed.

    cancel ends a wait; a job that was started goes on at Asana. forget frees the name of a wait that has ended.

    For example:

      asana-jobs queue status --redis redis://localhost:6379/0

      asana-jobs queue retry order-17 --redis redis://localhost:6379/0

    Args:
        action: status shows the waits by state, the workers, their budgets and the readers; list shows the waits that
            have not ended; failed those of the last week that ended without a succeeded job. Example: queue status
        keys: The waits to retry, cancel or forget. Example: queue retry order-17 order-18
        every: Retry all that ended without a succeeded job. Example: queue retry --every
        unknown: Retry also what may have been started: look in Asana first, or there may be two.
            Example: queue retry order-17 --unknown
        limit: How many list and failed show at most. Example: queue list --limit 1000
    """
    from asana_jobs.cli.queue import change, every_failed, show_failed, show_pending, show_status

    try:
        from asana_jobs.worker import JobQueue
    except ImportError as error:
        raise UsageError(str(error)) from error
    shows = action in {"status", "list", "failed"}
    if shows and (keys or every or unknown):
        raise UsageError(f"queue {action} takes no keys, no --every and no --unknown")
    if every and action != "retry":
        raise UsageError("--every is for queue retry")
    if not shows and bool(keys) == every:
        raise UsageError(
            f"queue {action} takes the keys of waits{', or --every' if action == 'retry' else ''}"
        )
    if limit < 1:
        raise UsageError("--limit must be at least 1")

    with checking_arguments():
        waits = JobQueue(redis.strip(), queue=queue)

    async def look() -> ExitStatus:
        async with waits as opened:
            if action == "status":
                return await show_status(opened, output)
            if action == "list":
                return await show_pending(opened, output, limit)
            if action == "failed":
                return await show_failed(opened, output, limit)
            chosen = await every_failed(opened, unknown=unknown) if every else keys
            return await change(opened, action, chosen, output, unknown=unknown)

    return run_async(look)
