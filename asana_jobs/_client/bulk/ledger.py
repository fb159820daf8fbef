"""The ledger of a bulk run: the state of each operation, on disk before it counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

from asana_jobs._client.bulk import ledger_transitions as transitions
from asana_jobs._client.bulk.ledger_keys import as_text
from asana_jobs._client.bulk.ledger_rows import LedgerClaim, LedgerRow, LedgerState, LedgerSummary
from asana_jobs._client.bulk.ledger_sql import FIRST, LAST, find, find_job, page, summarize
from asana_jobs._client.bulk.ledger_store import LedgerThread
from asana_jobs._client.clock import Clock, SystemClock
from asana_jobs.errors import LedgerError
from asana_jobs.models import Job, ProjectTemplate
from asana_jobs.operations import Operation
from asana_jobs.parameters import check_gid, check_key


class Ledger:
    """A file of the operations of a bulk run, so that the run can be killed and started again.

    ::

        with Ledger.open("copies.ledger") as ledger:
            async for outcome in asana.run_all(operations, ledger=ledger):
                ...
            print(ledger.summary())

    A row stands for one operation. It is written before the request that starts the job is sent, and again when
    the answer is known, so a run that was killed at any instant goes on where it was: what was started is
    watched, what was not is started, and a request whose answer is missing is reported as unknown and not sent
    again, because Asana cannot be asked whether it has arrived. Any number of processes of one machine may
    share a ledger; each row is taken by one of them, which has it for as long as it lives.

    A ledger that is deleted or replaced while it is used is an error at the next record, and one that was opened
    before a fork is an error in the child. **A copy that is used beside its original cannot be guarded**: neither
    knows what the other one has started.

    Every method that records something does so even if the caller is cancelled while it waits: facts are not
    lost. `claim` is the exception, because it grants something: cancelled, it has granted nothing.

    You get one from ``Ledger.open``; do not make it yourself.
    """

    if not TYPE_CHECKING:  # a type checker knows from `__init__` that nobody hands this in

        def __new__(cls, *parts: object, **named: object) -> Self:
            """Refuse what users hand in: `open` makes ledgers."""
            if not any(isinstance(part, LedgerThread) for part in (*parts, *named.values())):
                path = f"{str(parts[0])!r:.100}" if parts else "path"
                raise TypeError(f"a ledger is opened, not made: write Ledger.open({path})")
            return super().__new__(cls)

    def __init__(self, path: Path, thread: LedgerThread) -> None:
        """Use `open` instead."""
        self._path = path
        self._thread = thread

    @classmethod
    def open(
        cls,
        path: str | PathLike[str],
        *,
        clock: Clock | None = None,
        busy_timeout: float = 30.0,
        allow_network_file_system: bool = False,
    ) -> Ledger:
        """Open the ledger at *path*, or make it. It is checked as a whole: 0.3 s for 100,000 rows.

        A ledger of an older version is brought up to date, which older versions then refuse.

        Use it in ``with`` or ``async with``, or call `close` yourself.

        Args:
            path: The file. Its folder must exist, and it must not be a link into another one. It holds names and
                gids, no secrets: your umask decides who may read it.
            clock: Where the time of day comes from.
            busy_timeout: Seconds to wait for another process that keeps the file locked.
            allow_network_file_system: Open it on a network file system too, where processes of two machines do
                not see each other's locks: for a ledger that only one machine ever uses.

        Raises:
            LedgerError: the file is damaged, not a ledger, from a newer version, on a network file system or
                cannot be written; it was left as it is.
        """
        absolute = Path(path).absolute()
        thread = LedgerThread(
            absolute,
            clock or SystemClock(),
            busy_timeout=busy_timeout,
            allow_network_file_system=allow_network_file_system,
        )
        return cls(absolute, thread)

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    @property
    def closed(self) -> bool:
        """Whether it was closed: nothing of it is ours any more."""
        return self._thread.closed

    async def claim(
        self,
        key: str,
        operation: Operation,
        *,
        derived_key: str | None = None,
        once_more: bool = False,
        retry_unknown: bool = False,
        retry_failed: bool = False,
    ) -> LedgerClaim:
        """Take the row of *key* for this run; the answer says what to do with the operation.

        `ClaimVerdict.START` means that the intent is on disk: send the request while `LedgerClaim.holds` (or claim it
        *once_more*), then call `started`, `finished`, `refused` or `unknown`, or `withdraw` if it was not sent after
        all. `ClaimVerdict.RESUME` means that the job was started before: watch it and call `finished` or `release`.
        Nothing was taken otherwise.

        Cancelled, it has taken nothing: a row that was taken just then is put back before this ledger does
        anything else. (Killed just then, the intent is reported as unknown, which is the safe side.)

        Args:
            key: The operation's name, the same in each run: your own, or one of `Keys`.
            operation: The operation that is to be started.
            derived_key: The operation's name by `Keys`, if *key* is your own: the row that it had under this name
                is the one of *key* from now on.
            once_more: Confirm an intent of this ledger, which others may have taken for abandoned meanwhile.
            retry_unknown: Start it again if it is not known whether it was started.
            retry_failed: Start it again if its job had failed when this ledger was opened.

        Raises:
            LedgerError: the key stands for another operation here, or the file cannot be written. Nothing was
                taken.
        """
        work = partial(
            transitions.claim,
            key=check_key(key),
            content=as_text(operation),
            derived_key=derived_key,
            once_more=once_more,
            retry_unknown=retry_unknown,
            retry_failed=retry_failed,
        )
        return await self._thread.grant(work, transitions.undo)

    async def started(self, key: str, job: Job, continuation_token: str | None = None) -> None:
        """Record that Asana named the *job* of this operation. The row stays ours while it is watched.

        Args:
            key: The row.
            job: The job as Asana answered.
            continuation_token: Where the wait for it can go on.

        Raises:
            LedgerError: it could not be recorded, or another process has started another job meanwhile
                because our lease ran out. The message names the job.
        """
        try:
            await self._thread.carry_out(
                partial(transitions.started, key=key, job=job, continuation_token=continuation_token)
            )
        except LedgerError as error:
            raise LedgerError(f"job {job.gid} of {key!r} was started but not recorded: {error}") from error

    async def finished(self, key: str, job: Job) -> None:
        """Record how the *job* ended, and let go of the row.

        Args:
            key: The row.
            job: The finished job, succeeded or failed.

        Raises:
            ValueError: the job has not finished.
            LedgerError: it could not be recorded, or the row is about another job.
        """
        if not job.done:
            raise ValueError(f"job {job.gid} has not finished: it is {job.status}")
        try:
            await self._thread.carry_out(partial(transitions.finished, key=key, job=job))
        except LedgerError as error:
            raise LedgerError(
                f"job {job.gid} of {key!r} {job.status} but is not recorded: {error}"
            ) from error

    async def refused(self, key: str, error: BaseException) -> None:
        """Record that nothing was started, for certain, because of *error*. The next run tries again.

        Args:
            key: The row.
            error: The reason, which is noted.

        Raises:
            LedgerError: the row is not our intent any more, or it could not be recorded.
        """
        await self._thread.carry_out(partial(transitions.refused, key=key, error=error))

    async def unknown(self, key: str, error: BaseException) -> None:
        """Record that a job may have been started or not. It is not started again unless asked for.

        Args:
            key: The row.
            error: The reason, which is noted.

        Raises:
            LedgerError: the row is not our intent any more, or it could not be recorded.
        """
        await self._thread.carry_out(partial(transitions.unknown, key=key, error=error))

    async def withdraw(self, key: str) -> None:
        """Take back an intent because its request was not sent: the row is as it was before `claim`.

        Raises:
            LedgerError: the row is not our intent any more, or it could not be recorded.
        """
        await self._thread.carry_out(partial(transitions.withdraw, key=key))

    async def release(
        self, key: str, *, error: BaseException | None = None, continuation_token: str | None = None
    ) -> None:
        """Let go of a row without an end: anybody may go on watching its job.

        An intent becomes unknown. A row that is not ours is left alone.

        Args:
            key: The row.
            error: The reason, if there is one to note.
            continuation_token: Where the wait can go on.
        """
        await self._thread.carry_out(
            partial(transitions.release, key=key, error=error, continuation_token=continuation_token)
        )

    async def template_names(self, template: str, found: ProjectTemplate | None = None) -> ProjectTemplate:
        """Return the dates and roles of a project template that were given by name, with the gids they had then.

        A name keeps its gid in this ledger, so that an operation is the same one whatever is renamed meanwhile.

        Args:
            template: The template's gid.
            found: Names to remember, unless they are.

        Raises:
            LedgerError: it could not be recorded.
        """
        return await self._thread.carry_out(
            partial(transitions.template_names, template=template, found=found)
        )

    async def renew(self) -> None:
        """Keep everything that is ours for another `LEASE` seconds. Call it three times as often.

        Everything else that is recorded renews as well.
        """
        await self._thread.carry_out(transitions.renew)

    async def accept_unknown(self, *keys: str) -> int:
        """Settle what is unknown, after a person has looked: all of it, or only *keys*. Returns how many.

        A settled operation is neither reported again nor ever started.

        Raises:
            ValueError: a key cannot be one; nothing was settled.
        """
        for key in cast("tuple[object, ...]", keys):
            if isinstance(key, Iterable) and not isinstance(key, str | bytes):
                raise ValueError(
                    f"accept_unknown takes one key after the other, not {key!r:.60}: write accept_unknown(*keys)"
                )
            check_key(key)
        return await self._thread.carry_out(partial(transitions.accept_unknown, keys=keys))

    def summary(self) -> LedgerSummary:
        """Count how many operations stand where. Waits for what is being written meanwhile."""
        return self._thread.read(summarize)

    def find(self, *, key: str | None = None, gid: str | None = None) -> LedgerRow | None:
        """Return the row of an operation, by its key or by the gid of its job, or ``None`` if there is none.

        It waits for what is being written meanwhile.

        Args:
            key: The key it was claimed under.
            gid: The gid of its job; of several rows, which only exports that share a job have, it is the last one.

        Raises:
            ValueError: neither or both are given, or what is given cannot be one.
        """
        if (key is None) == (gid is None):
            raise ValueError("find takes a key or the gid of a job: find(key=key) or find(gid=gid)")
        if key is not None:
            return self._thread.read(partial(find, key=check_key(key)))
        return self._thread.read(partial(find_job, gid=check_gid(gid, "job gid")))

    def rows(self, *states: LedgerState, newest_first: bool = False) -> Iterator[LedgerRow]:
        """Go through the rows, all or those in some *states*, in the order in which they were first claimed.

        A few hundred are in memory at a time, and the ledger may be used meanwhile. Each of these pages waits for
        what is being written.

        Args:
            states: Only rows in one of these states.
            newest_first: Begin with the row that was first claimed last.

        Raises:
            ValueError: a state is none; the message names them.
        """
        for state in states:
            if state not in LedgerState.__members__.values():
                raise ValueError(
                    f"rows takes states, such as rows(LedgerState.UNKNOWN, LedgerState.FAILED), not {state!r:.60}"
                )
        return self._pages(states, newest_first=newest_first)

    def _pages(self, states: tuple[LedgerState, ...], *, newest_first: bool) -> Iterator[LedgerRow]:
        position = LAST if newest_first else FIRST
        while found := self._thread.read(
            partial(page, after=position, states=states, backwards=newest_first)
        ):
            position, rows = found
            yield from rows

    def export(self) -> Iterator[dict[str, object]]:
        """Go through the rows as JSON objects, one for each line of a JSON lines file."""
        return (row.to_dict() for row in self.rows())

    def close(self) -> None:
        """Let go of every row and close the file. Harmless when repeated.

        An intent whose answer was not recorded becomes unknown. What cannot be let go of, because the disk is
        full, say, is logged, and free as soon as this process has ended.
        """
        self._thread.close()

    async def aclose(self) -> None:
        """Do what `close` does without blocking the event loop."""
        await self._thread.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
