"""The cap on started jobs that are unfinished: it shrinks when Asana refuses, and recovers after."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final, Protocol, runtime_checkable


#: Jobs that have to finish without a refusal before one more is tried beyond what was refused. Each time that is
#: refused in turn doubles it, up to the second number: others may use the token for good.
JOBS_BEFORE_RAISE: Final = 20
MAX_JOBS_BEFORE_RAISE: Final = 320


class JobPlace(Protocol):
    """The right to have one unfinished job, counted together with the jobs of other processes."""

    def started(self, gid: str) -> None:
        """Take note that it is the place of the job *gid* from now on, whoever watches it later."""
        ...

    def release(self) -> None:
        """Give it back: its job has finished, or was never started. Harmless when it is gone."""
        ...

    def leave(self) -> None:
        """Have it end by itself after a while: its job may run on, and is watched by nobody here any more."""
        ...


@runtime_checkable
class JobPlaces(Protocol):
    """A count of the running jobs of every process on a token, which a `Gate` may offer besides."""

    async def acquire_place(self) -> JobPlace:
        """Wait until one more job may run. Cancelling gives the place back."""
        ...

    def hold_place(self, gid: str) -> JobPlace:
        """Count a job that runs already, room or not; counted before under this gid, it counts once."""
        ...


class RunningJobPermits:
    """The running jobs of one client, shared by everything that starts jobs in bulk.

    Asana allows one token five unfinished jobs (developers.asana.com, rate limits); what a sixth one gets is not
    documented, so a refusal lowers the cap to what works, and quiet times raise it again.

    Args:
        cap: How many jobs may be unfinished when nothing is refused.
        gate: The client's gate. Where it offers `JobPlaces`, a job that is started needs one of these places besides
            its permit.

    Attributes:
        max_cap: The most jobs that may be unfinished when nothing is refused.
        cap: The most jobs that may be unfinished now.
        taken: The jobs that are unfinished now.
    """

    def __init__(self, cap: int, gate: object = None) -> None:
        self.places: JobPlaces | None = gate if isinstance(gate, JobPlaces) else None
        self.max_cap: int = cap
        self.cap: int = cap
        self.taken: int = 0
        self._finished = 0  # jobs since the last change of the cap
        self._needed = JOBS_BEFORE_RAISE
        self._raised = False  # since the last refusal
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<RunningJobPermits {self.taken} of {self.cap} taken, {len(self._waiting)} waiting>"

    async def acquire(self) -> RunningJobPermit:
        """Wait for a permit. Cancelling gives the place in the queue back."""
        permit = RunningJobPermit(self)
        await permit.acquire()
        return permit

    async def take(self) -> None:
        """Wait until there is room for one more job, and count it; `RunningJobPermit` calls this."""
        if self.taken < self.cap and not self._waiting:
            self.taken += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except BaseException:
            if future.done() and not future.cancelled():
                self.give_back()  # granted in the very turn in which we were cancelled
            elif future in self._waiting:
                self._waiting.remove(future)
            raise

    def give_back(self, *, finished: bool = False) -> None:
        """Count one job less, which may have *finished*; `RunningJobPermit` calls this."""
        self.taken -= 1
        if finished:
            self._recover()
        while self._waiting and self.taken < self.cap:
            future = self._waiting.popleft()
            if not future.done():
                self.taken += 1
                future.set_result(None)

    def _recover(self) -> None:
        self._finished += 1
        if self._finished < self._needed:
            return
        self._finished = 0
        if self._raised:
            self._needed = JOBS_BEFORE_RAISE  # the last attempt has lasted
        if self.cap < self.max_cap:
            self.cap, self._raised = self.cap + 1, True

    def refused(self) -> bool:
        """Take note that a job of ours was refused as one too many; return whether the cap is smaller now."""
        others = self.taken - 1
        if others < 1:
            return False  # not our own jobs: somebody else's, or another limit
        self._finished = 0
        self.cap = min(self.cap, others)
        if self._raised:
            self._needed, self._raised = min(2 * self._needed, MAX_JOBS_BEFORE_RAISE), False
        return True


class RunningJobPermit:
    """The right to have one unfinished job."""

    __slots__ = ("_held", "_permits", "_place")

    def __init__(self, permits: RunningJobPermits) -> None:
        self._permits = permits
        self._held = False
        self._place: JobPlace | None = None

    @property
    def has_place(self) -> bool:
        """True if a job may be started with it: other processes count it, or need not."""
        return self._place is not None or self._permits.places is None

    async def acquire(self) -> None:
        """Wait for it, unless it is held."""
        if not self._held:
            await self._permits.take()
            self._held = True

    async def acquire_place(self) -> None:
        """Wait until other processes leave room for its job as well.

        Raises:
            ConnectError: it could not be asked for. Nothing was sent.
        """
        if self._place is None and self._permits.places is not None:
            self._place = await self._permits.places.acquire_place()

    def started(self, gid: str) -> None:
        """Take note of the job that runs with it, started now or by an earlier run."""
        if self._place is not None:
            self._place.started(gid)
        elif self._permits.places is not None:
            self._place = self._permits.places.hold_place(gid)

    def leave(self) -> None:
        """Have other processes count its job for a while: it may run on, and is watched no longer."""
        if self._place is not None:
            self._place.leave()
            self._place = None

    def release(self, *, finished: bool = False) -> None:
        """Give it back, its job perhaps seen to have *finished*; harmless when it was given back before."""
        if self._place is not None:
            self._place.release()
            self._place = None
        if self._held:
            self._held = False
            self._permits.give_back(finished=finished)

    def hand_over(self) -> RunningJobPermit:
        """Return it as another object; releasing this one does nothing any more."""
        heir = RunningJobPermit(self._permits)
        heir._held, self._held = self._held, False
        heir._place, self._place = self._place, None
        return heir

    def refused(self) -> bool:
        """Take note that its job was refused as one too many: release it, to `acquire` it at the end of the queue.

        Returns:
            Whether that was done. With no other job of ours running, it is kept: ours are not what is too many.
        """
        smaller = self._permits.refused()
        if smaller:
            self.release()
        return smaller
