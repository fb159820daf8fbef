"""Who is next: queues by rank and lane, first come first served inside a rank, nobody passed over for ever."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

import attrs


PATIENCE = 9
"""Grants to higher ranks that a rank with somebody ready lets pass before it takes one."""

Lane = TypeVar("Lane", bound=Hashable)
Waiter = TypeVar("Waiter")


@attrs.frozen
class Ticket(Generic[Lane]):
    """A place in the queue."""

    rank: int
    lane: Lane
    number: int


class Turns(Generic[Lane, Waiter]):
    """Waiters of several ranks, the lowest rank first. All operations take the same time however many wait.

    Args:
        ranks: The ranks there are. ``lanes``: what may be blocked on its own; one that is does not hold up others.
    """

    def __init__(self, ranks: Iterable[int], lanes: Iterable[Lane]) -> None:
        self._ranks = tuple(sorted(ranks))
        self._lanes = tuple(lanes)
        # An ordered dict, because a cancelled waiter leaves from the middle and must not be found there later.
        self._queues: dict[tuple[int, Lane], OrderedDict[int, Waiter]] = {
            (rank, lane): OrderedDict() for rank in self._ranks for lane in self._lanes
        }
        self._passed = dict.fromkeys(self._ranks, 0)
        self._issued = 0
        self.size = 0  # how many wait; a plain number, since every request asks for it

    def waiting(self, rank: int) -> int:
        """Return how many wait in *rank*."""
        return sum(len(self._queues[rank, lane]) for lane in self._lanes)

    def join(self, rank: int, lane: Lane, waiter: Waiter) -> Ticket[Lane]:
        """Queue *waiter* up, and return its place."""
        self._issued += 1
        self.size += 1
        self._queues[rank, lane][self._issued] = waiter
        return Ticket(rank, lane, self._issued)

    def leave(self, ticket: Ticket[Lane]) -> None:
        """Give a place up; harmless when it was its turn before."""
        if self._queues[ticket.rank, ticket.lane].pop(ticket.number, None) is not None:
            self.size -= 1

    def places(self) -> list[tuple[int, Lane]]:
        """Return every rank and lane in which somebody waits."""
        return [place for place, queue in self._queues.items() if queue]

    def pop(self, may_go: Callable[[int, Lane], bool]) -> tuple[int, Lane, Waiter] | None:
        """Take out the waiter whose turn it is among those who *may_go*, or return ``None``."""
        ready: dict[int, Lane] = {}
        for rank in self._ranks:
            heads = [
                (next(iter(queue)), lane)
                for lane in self._lanes
                if (queue := self._queues[rank, lane]) and may_go(rank, lane)
            ]
            if heads:
                ready[rank] = min(heads, key=lambda head: head[0])[1]
        if not ready:
            return None
        chosen = next((rank for rank in ready if self._passed[rank] >= PATIENCE), min(ready))
        for rank in ready:
            if rank > chosen:
                self._passed[rank] += 1
        self._passed[chosen] = 0
        _, waiter = self._queues[chosen, ready[chosen]].popitem(last=False)
        self.size -= 1
        return chosen, ready[chosen], waiter
