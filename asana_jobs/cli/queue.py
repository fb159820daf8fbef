"""What operators see of a queue in Redis, and do to it.

With ``--output json`` and ``jsonl`` these are events beside those of `asana_jobs.cli.events`:

- ``queue``: a queue at one moment, with the fields of `asana_jobs.worker.QueueStatus`.
- ``wait``: a wait that has not ended: ``key``, ``state`` (starting, watching), ``since``, ``operation``, ``gid``,
  ``budget``, ``failures`` (in a row, of its steps), ``failure`` (the last of them).
- ``result``: a wait that has ended without a succeeded job: ``key``, ``outcome`` (failed, unknown, refused, cancelled,
  given_up), ``operation``, ``gid``, ``message``.
- ``changed``: what was done to a wait: ``key``, ``action`` (retry, cancel, forget), ``done``, and ``message`` if it was not.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterable, Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeVar

import attrs
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from asana_jobs.cli.errors import ExitStatus, complain
from asana_jobs.cli.events import event, to_line
from asana_jobs.cli.terminal import (
    STYLES,
    emit,
    for_people,
    format_duration,
    is_terminal,
    make_console,
    sanitize,
    shorten,
)


if TYPE_CHECKING:
    from rich.console import RenderableType

    from asana_jobs.cli.events import Event
    from asana_jobs.operations import Operation
    from asana_jobs.worker import JobQueue, PendingWait, QueueStatus, Result


T = TypeVar("T")
#: Seconds between two looks of the live page.
_BETWEEN_LOOKS: Final = 2.0
#: Characters of a message in a table.
_MESSAGE_COLUMNS: Final = 80


async def show_status(queue: JobQueue, output: str) -> ExitStatus:
    """Show how a queue is; on a terminal again and again, until Ctrl-C."""
    if output == "auto" and is_terminal(sys.stdout):
        with Live(console=make_console(sys.stdout), auto_refresh=False, transient=False) as page:
            while True:
                page.update(_page(await queue.status()), refresh=True)
                await asyncio.sleep(_BETWEEN_LOOKS)
    status = await queue.status()
    if output == "table":
        make_console(sys.stdout).print(_page(status))
    else:
        _write([event("queue", **status.to_dict())], output)
    return ExitStatus.SUCCEEDED


async def show_pending(queue: JobQueue, output: str, limit: int) -> ExitStatus:
    """List the waits that have not ended."""
    found = await _first(queue.pending(), limit)
    if not for_people(output):
        _write(map(_wait_event, found), output)
        return ExitStatus.SUCCEEDED
    now = (await queue.status()).at
    rows = [
        (wait.key, wait.state, _age(wait.since, now), _about(wait.operation), wait.gid or "", _failures(wait))
        for wait in found
    ]
    _print_table(("wait", "state", "for", "operation", "job", "failures"), rows, limit)
    return ExitStatus.SUCCEEDED


async def show_failed(queue: JobQueue, output: str, limit: int) -> ExitStatus:
    """List the waits of the last week that ended without a succeeded job; 1 if there are any."""
    found = await _first(queue.failed(), limit)
    if for_people(output):
        rows = [
            (
                result.key,
                result.outcome,
                _about(result.operation),
                result.job.gid if result.job else "",
                shorten(str(result.error), _MESSAGE_COLUMNS),
            )
            for result in found
        ]
        _print_table(("wait", "outcome", "operation", "job", "message"), rows, limit)
    else:
        _write(map(_result_event, found), output)
    return ExitStatus.JOB_FAILED if found else ExitStatus.SUCCEEDED


async def change(
    queue: JobQueue, action: str, keys: Iterable[str], output: str, *, unknown: bool
) -> ExitStatus:
    """Retry, cancel or forget waits, each by itself; 1 if one of them was not."""
    from asana_jobs.worker import QueueError  # noqa: PLC0415  # it needs the extra

    done = {"retry": "begun anew", "cancel": "cancelled", "forget": "forgotten"}[action]
    events: list[Event] = []
    for key in keys:
        message = None
        try:
            if action == "cancel":
                message = None if await queue.cancel(key) else "it is not under way"
            elif action == "forget":
                message = None if await queue.forget(key) else "nothing is known of it"
            else:
                await _retry(queue, key, unknown=unknown)
        except (QueueError, ValueError) as error:
            message = str(error)
        events.append(event("changed", key=key, action=action, done=message is None, message=message))
        if for_people(output):
            if message is None:
                emit(f"{sanitize(key)}: {done}\n")
            else:
                complain(f"{key}: not {done}: {message}")
    if not for_people(output):
        _write(events, output)
    return ExitStatus.SUCCEEDED if all(one["done"] for one in events) else ExitStatus.JOB_FAILED


async def every_failed(queue: JobQueue, *, unknown: bool) -> list[str]:
    """Return the names of the waits that can be retried."""
    return [result.key async for result in queue.failed() if result.unknown <= unknown]


async def _retry(queue: JobQueue, key: str, *, unknown: bool) -> None:
    result = await queue.result(key)
    if unknown and result is not None and result.unknown:
        await queue.retry_unknown(key)
    else:
        await queue.retry(key)


async def _first(found: AsyncIterable[T], limit: int) -> list[T]:
    first: list[T] = []
    async for one in found:
        if len(first) == limit:
            break
        first.append(one)
    return first


def _write(events: Iterable[Event], output: str) -> None:
    if output == "json":
        emit(f"{json.dumps(list(events), indent=2)}\n")
    else:
        for one in events:
            emit(to_line(one))


def _wait_event(wait: PendingWait) -> Event:
    operation = None if wait.operation is None else wait.operation.to_dict()
    fields = attrs.asdict(wait, recurse=False)
    return event("wait", **fields | {"since": wait.since.isoformat(), "operation": operation})


def _result_event(result: Result) -> Event:
    return event(
        "result",
        key=result.key,
        outcome=result.outcome,
        operation=None if result.operation is None else result.operation.to_dict(),
        gid=None if result.job is None else result.job.gid,
        message=str(result.error),
    )


def _page(status: QueueStatus) -> RenderableType:
    ended = [
        (f"  {outcome.replace('_', ' ')} {count:,}", STYLES.get(outcome, "yellow"))
        for outcome, count in status.ended.items()
    ]
    oldest = "" if status.oldest is None else f"   the oldest for {_age(status.oldest, status.at)}"
    steps = f"{status.due:,} due or under way"
    if status.next_step_in is not None and not status.due:
        steps += f", the next in {format_duration(status.next_step_in)}"
    lines = [
        Text.assemble(
            ("queue ", "bold"), (sanitize(status.queue), "bold"), f"   {status.at:%Y-%m-%d %H:%M:%S} UTC"
        ),
        Text(f"waits    starting {status.starting:,}  watching {status.watching:,}{oldest}"),
        Text.assemble("ended   ", *(ended or [("  none", "dim")])),
        Text(f"steps    {steps}"),
    ]
    return Group(*lines, *chain.from_iterable(_sections(status)))


def _sections(status: QueueStatus) -> Iterable[list[RenderableType]]:
    if status.budgets:
        table = _table("budget", "used of it", "requests/min", "pause", "running jobs", "whose")
        for budget in status.budgets:
            pause = format_duration(budget.paused_for) if budget.paused_for else ""
            table.add_row(
                *map(sanitize, (budget.name, f"{budget.used:.0%}", f"{budget.quota:.0f}", pause)),
                f"{len(budget.places)} of {budget.jobs_running}",
                sanitize(shorten(", ".join(budget.places), _MESSAGE_COLUMNS)),
            )
        yield [Text(), table]
    if status.workers:
        table = _table("worker", "for", "looks", "starts", "ended", "failures", "handlers")
        for worker in status.workers:
            numbers = (worker.looks, worker.starts, worker.ended, worker.failures, worker.handling)
            table.add_row(
                sanitize(worker.name), _age(worker.since, status.at), *(f"{number:,}" for number in numbers)
            )
        yield [Text(), table]
    else:
        yield [Text(), Text("no worker has said anything for half a minute", "yellow")]
    if status.readers:
        table = _table("readers", "how many", "unread", "being read")
        for group in status.readers:
            unread = "?" if group.unread is None else f"{group.unread:,}"
            table.add_row(sanitize(group.name), f"{group.readers:,}", unread, f"{group.reading:,}")
        yield [Text(), table]


def _print_table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], limit: int) -> None:
    table = _table(*columns)
    for row in rows:
        table.add_row(*(Text(sanitize(cell), STYLES.get(cell, "")) for cell in row))
    make_console(sys.stdout).print(table)
    if len(rows) == limit:
        emit(f"the first {limit}; --limit shows more\n")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _about(operation: Operation | None) -> str:
    return "" if operation is None else f"{operation.kind} {operation.gid}"


def _failures(wait: PendingWait) -> str:
    if not wait.failures:
        return ""
    return f"{wait.failures}: {shorten(wait.failure or '', _MESSAGE_COLUMNS)}"


def _age(since: datetime, now: datetime) -> str:
    return format_duration(max(0.0, (now - since).total_seconds()))
