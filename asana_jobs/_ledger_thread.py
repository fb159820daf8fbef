"""The ledger's one thread: all work on the file, in the order in which it was asked for.

The event loop never waits for the disk, and cancellation never cuts a decision in half: what a cancelled caller
asked for is either carried out all the same (`LedgerThread.carry_out`) or taken back (`LedgerThread.grant`).
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, Generic, TypeVar

from asana_jobs._clock import Clock
from asana_jobs._ledger_file import explained, identity, open_file, transaction
from asana_jobs._ledger_owner import LEASE, Instant, this_process
from asana_jobs._ledger_read import Turn
from asana_jobs._ledger_write import release_all, renew
from asana_jobs.errors import LedgerError


#: How long leases go without being renewed by what else is recorded: a small part of `LEASE`.
RENEWAL: Final = timedelta(seconds=1)

T = TypeVar("T")

_log = logging.getLogger("asana_jobs.ledger")


class _Task(Generic[T]):
    """A piece of work that is done at most once, however often it is handed to the thread."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._begun = False
        self.results: list[T] = []
        self.deserted = False

    def __call__(self) -> None:
        if self._begun:
            return
        self._begun = True
        try:
            self.results.append(self._work())
        except Exception:
            if self.deserted:
                _log.exception("a ledger could not be written; the caller was cancelled meanwhile")
            raise


class LedgerThread:
    """One open ledger file and the thread that works on it."""

    def __init__(
        self, path: Path, clock: Clock, *, busy_timeout: float, allow_network_file_system: bool
    ) -> None:
        self._path = path
        self._name = str(path)
        self._clock = clock
        self._owner = this_process()
        self.closed = False
        self._renewed_at: datetime | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="asana-jobs-ledger")
        try:
            opening = self._executor.submit(
                open_file,
                path,
                busy_timeout=busy_timeout,
                allow_network_file_system=allow_network_file_system,
            )
            self._connection = opening.result()
        except BaseException:
            self._executor.shutdown()
            raise
        self._opened_at = clock.now()
        self._file = identity(str(path))

    async def carry_out(self, work: Callable[[Turn], T]) -> T:
        """Do *work* in a transaction, even if the caller is cancelled meanwhile."""
        self._check_open()
        return await self._certainly(_Task(lambda: self._write(work)))

    async def grant(self, work: Callable[[Turn], T], undo: Callable[[Turn, T], object]) -> T:
        """Do *work* in a transaction; if the caller is cancelled meanwhile, it is as if it had not been done."""
        self._check_open()
        task = _Task(lambda: self._write(work))
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, task)
        except asyncio.CancelledError:
            task.deserted = True
            self._afterwards(_Task(lambda: self._take_back(task, undo)))
            raise
        return task.results[0]

    def read(self, work: Callable[[Turn], T]) -> T:
        """Do *work* without a transaction and wait for it, whether there is an event loop or not."""
        self._check_open()
        return self._executor.submit(self._read, work).result()

    def close(self) -> None:
        """Release what is ours and close the file, waiting for it."""
        if self.closed:
            return
        self.closed = True
        if self._forked():
            return  # the file, and the thread that works on it, are the parent's
        ending = self._executor.submit(self._end)
        self._executor.shutdown()
        ending.result()

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop."""
        if self.closed:
            return
        self.closed = True
        if self._forked():
            return
        try:
            await self._certainly(_Task(self._end))
        finally:
            self._executor.shutdown(wait=False)

    async def _certainly(self, task: _Task[T]) -> T:
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, task)
        except asyncio.CancelledError:
            # If it was still waiting for its turn, the cancellation took it out of the line.
            self._afterwards(task)
            raise
        return task.results[0]

    def _afterwards(self, task: _Task[T]) -> None:
        """Have *task* done by and by; a failure is logged, since nobody waits for it."""
        task.deserted = True
        try:
            self._executor.submit(task)
        except RuntimeError:  # closed meanwhile: closing has left every row in a safe state
            _log.debug("the ledger %s was closed before a cancelled caller's work was settled", self._path)

    def _check_open(self) -> None:
        if self.closed:
            raise LedgerError(f"the ledger {self._path} is closed: use it inside its with block")
        if self._forked():
            raise LedgerError(
                f"the ledger {self._path} was opened by process {self._owner.pid}, from which this one was forked: "
                f"open it anew in each process."
            )

    def _forked(self) -> bool:
        return os.getpid() != self._owner.pid

    def _check_file(self) -> None:
        if identity(self._name) != self._file:
            raise LedgerError(
                f"the ledger {self._path} was deleted or replaced while it was used: put the old one back, with the "
                f"files beside it, and run again; without it nobody knows what was started. Nothing was recorded."
            )

    def _write(self, work: Callable[[Turn], T]) -> T:
        with explained(self._path), transaction(self._connection):
            self._check_file()
            turn = self._turn()
            # Not each time: what changes nothing, such as a look at a finished row, then needs no write to the disk.
            stale = self._renewed_at is None or not timedelta() <= turn.now - self._renewed_at < RENEWAL
            if stale:
                renew(turn)
            result = work(turn)
        if stale:
            self._renewed_at = turn.now
        return result

    def _read(self, work: Callable[[Turn], T]) -> T:
        with explained(self._path):
            return work(self._turn())

    def _turn(self) -> Turn:
        taken_at = Instant.now()
        return Turn(self._connection, self._owner, self._clock.now(), taken_at, self._opened_at)

    def _take_back(self, task: _Task[T], undo: Callable[[Turn, T], object]) -> None:
        if task.results:  # it was not cancelled before its turn came
            self._write(lambda turn: undo(turn, task.results[0]))

    def _end(self) -> None:
        try:
            with explained(self._path), transaction(self._connection):
                self._check_file()
                release_all(self._turn())
        except LedgerError as error:
            # Not raised: it would hide why the run ends, and the leases end by themselves.
            _log.warning("rows of a ledger stay leased for up to %.0f s: %s", LEASE, error)
        finally:
            self._connection.close()
