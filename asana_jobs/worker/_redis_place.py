"""The right to have one unfinished job, given by a budget in Redis to those who start jobs without a queue."""

from __future__ import annotations

from typing import Protocol

import attrs


class PlaceKeeper(Protocol):
    """What renews places for as long as they are held."""

    def renamed(self, place: RedisPlace, before: str) -> None:
        """Take note of a place's new name."""
        ...

    def released(self, place: RedisPlace, *, at_once: bool) -> None:
        """Take note that a place is held no longer: it is free *at once*, or when its lease is over."""
        ...


@attrs.define(eq=False)
class RedisPlace:
    """A place among the running jobs of a token. Its job's name is its own, so that a job counts once."""

    id: str
    _keeper: PlaceKeeper = attrs.field(repr=False)

    @property
    def lane(self) -> str:
        """Where it counts."""
        return "job"

    def started(self, gid: str) -> None:
        """Take note that it is the place of this job from now on, whoever watches it later."""
        before, self.id = self.id, name_of(gid)
        self._keeper.renamed(self, before)

    def release(self) -> None:
        """Give it back: its job has finished, or was never started. Harmless when it is gone."""
        self._keeper.released(self, at_once=True)

    def leave(self) -> None:
        """Have it end by itself after a while: its job may run on, and is watched by nobody here any more."""
        self._keeper.released(self, at_once=False)


def name_of(gid: str) -> str:
    """Return the name of a job's place. The names of a queue's waits and of leases are other ones."""
    return f"job {gid}"
