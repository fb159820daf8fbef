"""The right to have one request in flight, given by a budget in Redis."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from asana_jobs.gates import Lease
from asana_jobs.worker._settlement import Return


@attrs.define(eq=False)
class RedisLease(Lease):
    """The right to have one request in flight. Give it back with `release`, or by leaving ``with``."""

    id: str
    lane: str
    routine: bool
    event: int
    at: float
    waited: bool
    _returned: Callable[[RedisLease, Return], None] = attrs.field(repr=False)
    _refused_by: Callable[[RedisLease, float | None], None] = attrs.field(repr=False)
    _over: bool = attrs.field(default=False, init=False)
    _refused: bool = attrs.field(default=False, init=False)

    def release(self, *, answered: bool = True) -> None:
        """Give it back; harmless when it was given back before. Say so if it was cancelled without an answer."""
        self._give_back(answered=answered and not self._refused, unsent=False)

    def discard(self) -> None:
        """Give it back unused: nothing was sent."""
        self._give_back(answered=False, unsent=True)

    def penalise(self, retry_after: float | None) -> None:
        """Take note of a 429 to this very request."""
        self._refused = True
        self._refused_by(self, retry_after)

    def _give_back(self, *, answered: bool, unsent: bool) -> None:
        if not self._over:
            self._over = True
            self._returned(
                self,
                Return(
                    id=self.id,
                    lane=self.lane,
                    routine=self.routine,
                    answered=answered,
                    unsent=unsent,
                    waited=self.waited,
                    at=self.at,
                ),
            )
