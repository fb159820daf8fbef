"""The shared memory of a queue in Redis: the record of each wait, the places of running jobs, and learned durations.

A record holds what its wait is about, the intent, the answer and the end, written in that order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import uniform
from typing import Any, Final, cast

import attrs

from asana_jobs import AsanaClient
from asana_jobs.worker._redis import AwayError, Script, Store


#: Seconds for which the result of a wait can be asked for.
RESULT_LIFETIME: Final = 7 * 86400
#: Seconds between two attempts to write down what must not be lost.
REWRITE_SECONDS: Final = 0.5

BEGIN_SCRIPT: Final = Script("begin")
FINISH_SCRIPT: Final = Script("finish")

#: Seconds between two attempts of one waiting start, for each start that waits: so often do they ask in all.
RETRY_SPACING: Final = 0.05
SHORTEST_RETRY: Final = 0.3
LONGEST_RETRY: Final = 10.0
#: Seconds for which a job counts as running that may have been started, or not.
UNKNOWN_PLACE_SECONDS: Final = 120
_KEEP: Final = "local t = redis.call('TIME'); return redis.call('ZADD', KEYS[1], t[1] + ARGV[1], ARGV[2])"
#: Numbers smaller than this are not worth a request.
LEAST_CHANGE: Final = 1e-4
_WITHDRAW: Final = """
if redis.call('HGET', KEYS[1], 'by') == ARGV[1] then redis.call('HDEL', KEYS[1], 'intent', 'by') end
"""

_REPEAT: Final = """
if redis.call('HEXISTS', KEYS[1], 'result') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'again', ARGV[1])
return 1
"""
_RENEW: Final = """
local again = redis.call('HGET', KEYS[1], 'again')
if again then
  redis.call('HSET', KEYS[1], 'spec', again)
  redis.call('HDEL', KEYS[1], 'again', 'result', 'handled', 'token', 'intent', 'by')
  redis.call('PERSIST', KEYS[1])
end
"""


@attrs.frozen
class WaitRecord:
    """The record of one wait.

    Attributes:
        spec: What it is about, as JSON.
        token: The continuation token of its job, as of the last look.
        result: How it ended, as JSON.
        handled: Whether the user's handler was called.
        again: Whether it is to begin anew after that end.
    """

    spec: str | None
    token: str | None
    result: str | None
    handled: bool
    again: bool


@attrs.frozen
class Begun:
    """The state of a wait when its POST was about to be sent.

    Attributes:
        word: ``begin``, ``started``, ``ended`` or ``intent``.
        token: The continuation token of the job, if it was started.
        since: The age of somebody's intent, in seconds.
    """

    word: str
    token: str
    since: float


@attrs.frozen
class WaitRecords:
    """The records of one queue."""

    store: Store
    queue: str

    def key(self, name: str) -> str:
        """Return where the record of a wait is; the braces keep a queue on one node of a cluster."""
        return f"asana-jobs:{{{self.queue}}}:wait:{name}"

    @property
    def results(self) -> str:
        """The key of the results."""
        return f"asana-jobs:{{{self.queue}}}:results"

    async def read(self, name: str) -> WaitRecord:
        """Return what is remembered."""
        spec, token, result, handled, again = await self.store(
            "HMGET", self.key(name), "spec", "token", "result", "handled", "again"
        )
        return WaitRecord(spec, token, result, handled is not None, again is not None)

    async def describe(self, name: str, spec: str) -> str:
        """Write down what a wait is about, unless that was done before; return what it is about."""
        await self.store("HSETNX", self.key(name), "spec", spec)
        return str(await self.store("HGET", self.key(name), "spec") or spec)

    async def looked(self, name: str, token: str) -> None:
        """Write down where a wait goes on."""
        await self.store("HSET", self.key(name), "token", token)

    async def begin(self, name: str, worker: str) -> Begun:
        """Write down the intent to start a job, unless it was written before."""
        word, rest = await self.store.run(BEGIN_SCRIPT, [self.key(name)], worker)
        return Begun(word, rest, float(rest) if word == "intent" else 0.0)

    async def withdraw(self, name: str, worker: str) -> None:
        """Take the worker's own intent back: nothing was started, for certain."""
        await self._surely("EVAL", _WITHDRAW, 1, self.key(name), worker)

    async def started(self, name: str, token: str) -> None:
        """Write down the job that was started; try for as long as Redis is away."""
        await self._surely("HSET", self.key(name), "token", token)

    async def finish(self, name: str, result: str) -> bool:
        """Write down the end and hand it to the readers; whether it was not done before."""
        return bool(
            await self.store.run(FINISH_SCRIPT, [self.key(name), self.results], result, RESULT_LIFETIME)
        )

    async def handled(self, name: str) -> None:
        """Write down that the handler was called."""
        await self.store("HSET", self.key(name), "handled", 1)

    async def repeat(self, name: str, spec: str) -> bool:
        """Write down that a wait is to begin anew; whether it has ended."""
        return bool(await self.store("EVAL", _REPEAT, 1, self.key(name), spec))

    async def renew(self, name: str) -> None:
        """Have a wait begin anew that is to: what it came to is forgotten. Harmless when that was done before."""
        await self.store("EVAL", _RENEW, 1, self.key(name))

    async def _surely(self, command: str, *arguments: Any) -> None:
        while True:
            try:
                await self.store(command, *arguments)
            except AwayError:
                await asyncio.sleep(REWRITE_SECONDS)
            else:
                return


@attrs.frozen
class RunningPlaces:
    """The places of running jobs, which the whole fleet shares, and those who wait for one."""

    store: Store
    running: str
    waiting: str

    async def keep(self, name: str) -> None:
        """Keep the place of a job until it is given back."""
        await self.store("SREM", self.waiting, name)
        await self._until(name, 10**9)

    async def keep_for_a_while(self, name: str) -> None:
        """Keep the place of a job of which nobody knows whether it runs."""
        await self._until(name, UNKNOWN_PLACE_SECONDS)

    async def give_back(self, name: str) -> None:
        """Give the place of a job back."""
        await self.store("ZREM", self.running, name)

    async def wait(self, name: str) -> float:
        """Return the seconds after which a start is to ask again for a place."""
        await self.store("SADD", self.waiting, name)
        many = int(await self.store("SCARD", self.waiting))
        return min(LONGEST_RETRY, max(SHORTEST_RETRY, many * RETRY_SPACING)) * uniform(0.5, 1.5)  # noqa: S311  # no secret

    async def _until(self, name: str, seconds: int) -> None:
        await self.store("EVAL", _KEEP, 1, self.running, seconds, name)


Numbers = dict[str, float]


#: The field that holds the version of what the fleet has learned; workers of version 1, which have none, read past it.
VERSION_FIELD: Final = "version||"


@attrs.define(eq=False)
class FleetDurations:
    """Learned durations: adds those of this process to those of the fleet, and takes over the rest.

    They are named as in `Durations.to_dict`, whose version they have: an older one is taken over as it is, and
    what a newer one means nobody knows here, so that it is left alone.
    """

    store: Store
    key: str
    client: AsanaClient
    _ours: Numbers = attrs.field(factory=dict[str, float], init=False)
    _theirs: Numbers = attrs.field(factory=dict[str, float], init=False)

    async def exchange(self) -> None:
        """Tell what is new here, and learn what is new elsewhere."""
        durations = self.client.durations
        exported = durations.to_dict()
        version = int(await self.store("HGET", self.key, VERSION_FIELD) or 1)
        if version > exported["version"]:
            return
        if version < exported["version"]:
            await self.store("HSET", self.key, VERSION_FIELD, exported["version"])
        ours = _flatten(exported)
        for name, more in _difference(ours, self._ours).items():
            await self.store("HINCRBYFLOAT", self.key, name, more)
            self._theirs[name] = self._theirs.get(name, 0.0) + more
        self._ours = ours
        told = cast("dict[str, Any]", await self.store("HGETALL", self.key))
        theirs = {name: float(value) for name, value in told.items() if name != VERSION_FIELD}
        news = _difference(theirs, self._theirs)
        self._theirs = theirs
        if news:
            durations.merge(type(durations).from_dict(_unflatten(news, durations.to_dict())))
            self._ours = _flatten(durations.to_dict())


def _flatten(durations: Mapping[str, Any]) -> Numbers:
    """Return the counts under names such as ``duplicate_project|events|7``."""
    return {
        f"{kind}|{part}|{at}": value
        for kind, counts in durations["kinds"].items()
        for part, values in counts.items()
        for at, value in enumerate(values)
        if value
    }


def _difference(now: Numbers, before: Numbers) -> Numbers:
    # Counts that were halved, to forget the distant past, are less than before: nothing to tell.
    return {
        name: more for name, value in now.items() if (more := value - before.get(name, 0.0)) > LEAST_CHANGE
    }


def _unflatten(numbers: Numbers, like: Mapping[str, Any]) -> dict[str, Any]:
    kinds: dict[str, dict[str, list[float]]] = {}
    bins = 30
    for name, value in numbers.items():
        kind, part, at = name.rsplit("|", 2)
        counts = kinds.setdefault(kind, {"events": [0.0] * bins, "exposure": [0.0] * bins})
        if part in counts and at.isdigit() and int(at) < bins:
            counts[part][int(at)] = value
    return {"version": like["version"], "kinds": kinds}
