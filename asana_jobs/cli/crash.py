"""The crash in the demo: a bulk run in a process of its own, killed half-way."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from asana_jobs import Ledger
from asana_jobs.errors import LedgerError


if TYPE_CHECKING:
    from asana_jobs.cli.bulk_tally import BulkTally

#: Seconds to look for a good moment, and between two looks.
_PATIENCE: Final = 3.0
_BETWEEN: Final = 0.02
_LOCKED: Final = 0.05


async def run_and_kill(
    operations: Path, ledger: Path, tally: BulkTally, *, after: int, base_url: str
) -> None:
    """Let ``asana-jobs run`` work until *after* operations are over, and kill it without warning."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "asana_jobs", "run", str(operations), "--ledger", str(ledger)),
        *("--output", "jsonl", "--requests-per-minute", "1500"),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=DEVNULL,
        env={**os.environ, "ASANA_BASE_URL": base_url, "ASANA_ACCESS_TOKEN": "a-token-for-the-demo"},
    )
    try:
        await _follow(child, tally, after)
        await _stop_between_two_starts(child, ledger)
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()  # what it had still to say, so that its pipe is closed


async def _follow(child: Process, tally: BulkTally, after: int) -> None:
    assert child.stdout is not None  # noqa: S101  # it is a pipe
    while tally.over < after and (line := await child.stdout.readline()):
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "outcome":
            tally.count(event["state"], event["operation"]["kind"], time.monotonic())


async def _stop_between_two_starts(child: Process, ledger: Path) -> None:
    """Hold the process where no start is unanswered.

    One that is would be left as unknown, for a person to decide, and the demo is to run by itself. A program that
    is killed does not choose its moment; what it leaves as unknown is never started twice either.
    """
    if not hasattr(signal, "SIGSTOP"):
        return
    deadline = time.monotonic() + _PATIENCE
    while child.returncode is None and time.monotonic() < deadline:
        child.send_signal(signal.SIGSTOP)
        if _nothing_is_being_started(ledger):
            return
        child.send_signal(signal.SIGCONT)
        await asyncio.sleep(_BETWEEN)


def _nothing_is_being_started(path: Path) -> bool:
    try:
        with Ledger.open(path, busy_timeout=_LOCKED) as ledger:
            return ledger.summary().intent == 0
    except LedgerError:
        return False  # stopped while it was writing
