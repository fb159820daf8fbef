"""The places of running jobs, which the whole fleet shares, and who waits for one."""

from __future__ import annotations

from random import uniform
from typing import Final

import attrs

from asana_jobs.worker._store import Store


#: Seconds between two attempts of one waiting start, for each start that waits: so often do they ask in all.
EACH: Final = 0.05
SHORTEST: Final = 0.3
LONGEST: Final = 10.0
#: Seconds for which a job counts as running that may have been started, or not.
UNKNOWN: Final = 120

_KEEP: Final = "local t = redis.call('TIME'); return redis.call('ZADD', KEYS[1], t[1] + ARGV[1], ARGV[2])"


@attrs.frozen
class Places:
    """Who has one of the places of running jobs."""

    store: Store
    running: str
    waiting: str

    async def keep(self, name: str) -> None:
        """Keep the place of a job until it is given back."""
        await self.store("SREM", self.waiting, name)
        await self._until(name, 10**9)

    async def keep_for_a_while(self, name: str) -> None:
        """Keep the place of a job of which nobody knows whether it runs."""
        await self._until(name, UNKNOWN)

    async def give_back(self, name: str) -> None:
        """Give the place of a job back."""
        await self.store("ZREM", self.running, name)

    async def wait(self, name: str) -> float:
        """Return the seconds after which a start is to ask again for a place."""
        await self.store("SADD", self.waiting, name)
        many = int(await self.store("SCARD", self.waiting))
        return min(LONGEST, max(SHORTEST, many * EACH)) * uniform(0.5, 1.5)  # noqa: S311  # no secret

    async def _until(self, name: str, seconds: int) -> None:
        await self.store("EVAL", _KEEP, 1, self.running, seconds, name)
