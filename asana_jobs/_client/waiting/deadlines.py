"""The deadlines of all who wait, in one heap: one timer is enough for them, and a wait that ends leaves nothing behind."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import Final, Generic, TypeVar


#: Seconds: event loops wake a timer up to their clock's resolution early.
CLOCK_RESOLUTION: Final = 1e-3
# The heap is rebuilt when it has more places than this, and more than half of them are dead.
_PLACES: Final = 100

W = TypeVar("W")


class Deadlines(Generic[W]):
    """The moments at which those who wait are to be told that their time is over.

    Attributes:
        waiting: Who is due, by ticket.
        heap: Moments and tickets, dead ones too; where it is empty, there is no need to ask.
    """

    def __init__(self) -> None:
        self.heap: list[tuple[float, int]] = []
        self.waiting: dict[int, W] = {}
        self._tickets = 0

    def add(self, waiting: W, moment: float) -> int:
        """Have *waiting* due at a moment; return the ticket to `discard` that with."""
        self._tickets += 1
        self.waiting[self._tickets] = waiting
        heappush(self.heap, (moment, self._tickets))
        return self._tickets

    def discard(self, ticket: int) -> None:
        """Forget a deadline; harmless if it is over."""
        self.waiting.pop(ticket, None)
        if len(self.heap) > max(2 * len(self.waiting), _PLACES):
            self.heap = [place for place in self.heap if place[1] in self.waiting]
            heapify(self.heap)

    @property
    def next(self) -> float:
        """The earliest moment; infinity while there is none."""
        while self.heap and self.heap[0][1] not in self.waiting:
            heappop(self.heap)
        return self.heap[0][0] if self.heap else inf

    def take(self, now: float) -> W | None:
        """Return somebody whose time is over, who is not due any more; ``None`` if nobody's is."""
        if self.next > now + CLOCK_RESOLUTION:
            return None
        return self.waiting.pop(heappop(self.heap)[1])
