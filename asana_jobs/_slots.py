"""How many started jobs may be unfinished at once: a cap that shrinks when Asana refuses and recovers after."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final


#: Jobs that have to finish without a refusal before one more is tried beyond what was refused. Each time that is
#: refused in turn doubles it, up to the second number: others may use the token for good.
CALM: Final = 20
CALMEST: Final = 320


class Slots:
    """The running jobs of one client, shared by everything that starts jobs in bulk.

    Asana allows one token five unfinished jobs (fact sheet, section 5); what a sixth one gets is not
    documented, so a refusal lowers the cap to what works, and quiet times raise it again.
    """

    def __init__(self, cap: int) -> None:
        self._most = cap
        self._cap = cap
        self._taken = 0
        self._calm = 0
        self._patience = CALM
        self._tried = False  # whether the cap was raised since the last refusal
        self._waiting: deque[asyncio.Future[None]] = deque()

    def __repr__(self) -> str:
        return f"<Slots {self._taken} of {self._cap} taken, {len(self._waiting)} waiting>"

    @property
    def most(self) -> int:
        """How many jobs may be unfinished when nothing is refused."""
        return self._most

    @property
    def cap(self) -> int:
        """How many jobs may be unfinished now."""
        return self._cap

    @property
    def taken(self) -> int:
        """How many are."""
        return self._taken

    async def take(self) -> Slot:
        """Wait for a slot. Cancelling gives the place back."""
        slot = Slot(self)
        await slot.take()
        return slot

    async def wait(self) -> None:
        """Wait until there is room, and take it; `Slot` is how others hold it."""
        if self._taken < self._cap and not self._waiting:
            self._taken += 1
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            await future
        except BaseException:
            if future.done() and not future.cancelled():
                self.give()  # granted in the very turn in which we were cancelled
            elif future in self._waiting:
                self._waiting.remove(future)
            raise

    def give(self, *, finished: bool = False) -> None:
        """Take one slot back; *finished* says that its job was seen to finish."""
        self._taken -= 1
        if finished:
            self._recover()
        while self._waiting and self._taken < self._cap:
            future = self._waiting.popleft()
            if not future.done():
                self._taken += 1
                future.set_result(None)

    def _recover(self) -> None:
        self._calm += 1
        if self._calm < self._patience:
            return
        self._calm = 0
        if self._tried:
            self._patience = CALM  # the last attempt has lasted
        if self._cap < self._most:
            self._cap, self._tried = self._cap + 1, True

    def refused(self) -> bool:
        """Take note that one of ours was refused as one job too many; whether the cap is smaller now."""
        others = self._taken - 1
        if others < 1:
            return False  # not our own jobs: somebody else's, or another limit
        self._calm = 0
        self._cap = min(self._cap, others)
        if self._tried:
            self._patience, self._tried = min(2 * self._patience, CALMEST), False
        return True


class Slot:
    """The right to have one unfinished job."""

    __slots__ = ("_held", "_slots")

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self._held = False

    async def take(self) -> None:
        """Wait for it, unless it is held."""
        if not self._held:
            await self._slots.wait()
            self._held = True

    def give(self, *, finished: bool = False) -> None:
        """Give it back; harmless when it was given back before."""
        if self._held:
            self._held = False
            self._slots.give(finished=finished)

    def hand_over(self) -> Slot:
        """Return it under another name: giving this one back does nothing any more."""
        heir = Slot(self._slots)
        heir._held, self._held = self._held, False
        return heir

    def refused(self) -> bool:
        """Starting a job was refused as one too many: give it back, to `take` it at the end of the queue.

        Returns:
            Whether that was done. With no other job of ours running, it is kept: ours are not what is too many.
        """
        smaller = self._slots.refused()
        if smaller:
            self.give()
        return smaller
