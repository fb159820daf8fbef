"""The shared memory of a queue in Redis: the record of each wait, the places of running jobs, and learned durations.

A record holds what its wait is about, the intent, the answer and the end, written in that order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from random import uniform
from typing import Any, Final, cast

import attrs

from asana_jobs import AsanaClient
from asana_jobs.worker._budget_protocol import keys_of
from asana_jobs.worker._redis import Script, Store, surely


#: Seconds for which the result of a wait can be asked for, its name is remembered, and readers find it.
RESULT_LIFETIME: Final = 7 * 86400
#: Seconds after which a handler whose worker was killed is called by another one.
CLAIM_SECONDS: Final = 15
#: What a record holds, and how. A worker leaves records of later versions to later workers.
RECORD_VERSION: Final = 1
#: Seconds for which a worker remembers what it started. Redis loses a second or two, a replica what it is behind.
MEMORY_SECONDS: Final = 300
#: Seconds in which nothing is started when Redis has become another one: workers look about once a second.
RESTORE_SECONDS: Final = 5.0

BEGIN_SCRIPT: Final = Script("server", "begin", numbers={"RESTORE_SECONDS": RESTORE_SECONDS})
DESCRIBE_SCRIPT: Final = Script("describe")
FINISH_SCRIPT: Final = Script("as_read", "finish")
NOTE_SCRIPT: Final = Script("as_read", "note")

#: Seconds between two attempts of one waiting start, for each start that waits: so often do they ask in all.
RETRY_SPACING: Final = 0.05
SHORTEST_RETRY: Final = 0.3
LONGEST_RETRY: Final = 10.0
#: Seconds for which a job counts as running that may have been started, or not.
UNKNOWN_PLACE_SECONDS: Final = 120
#: Seconds for which a job counts as running that nobody has looked at since: so long at most is a place lost whose
#: wait was lost. Jobs are looked at far more often.
PLACE_LEASE_SECONDS: Final = 900
#: The budget's time is that of Redis, but for its leaps: see ``settle.lua``.
_KEEP: Final = """
local time, shift = redis.call('TIME')[1], redis.call('HGET', KEYS[2], 'shift') or 0
return redis.call('ZADD', KEYS[1], time + shift + ARGV[1], ARGV[2])
"""
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
local again, late = unpack(redis.call('HMGET', KEYS[1], 'again', 'late'))
if again then
  redis.call('HSET', KEYS[1], 'spec', again)
  redis.call('HDEL', KEYS[1], 'again', 'result', 'handled', 'token', 'late')
  if late then
    redis.call('HSET', KEYS[1], 'token', late) -- it was started after all: that is the job to go on with
  else
    redis.call('HDEL', KEYS[1], 'intent', 'by', 'budget')
  end
  redis.call('PERSIST', KEYS[1])
  redis.call('ZADD', KEYS[2], redis.call('TIME')[1], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
end
"""
_FAIL: Final = """
if redis.call('HEXISTS', KEYS[1], 'spec') == 0 then return 0 end
redis.call('HSET', KEYS[1], 'failure', ARGV[1])
return redis.call('HINCRBY', KEYS[1], 'failures', 1)
"""
_READ_MANY: Final = """
local found = {}
for place, key in ipairs(KEYS) do found[place] = redis.call('HMGET', key, unpack(ARGV)) end
return found
"""
#: Only of this result: the wait may have been forgotten meanwhile, or have ended again after it was begun anew.
_HANDLED: Final = """
if redis.call('HGET', KEYS[1], 'result') == ARGV[1] then redis.call('HSET', KEYS[1], 'handled', 1) end
return 1
"""
_DROP: Final = """
if redis.call('HEXISTS', KEYS[1], 'spec') == 1 or redis.call('HEXISTS', KEYS[1], 'result') == 1 then return 1 end
redis.call('DEL', KEYS[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
return redis.call('EXISTS', KEYS[4])
"""
_FORGET: Final = """
if redis.call('EXISTS', KEYS[1]) == 1 and redis.call('HEXISTS', KEYS[1], 'result') == 0 then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
local time = redis.call('TIME')
redis.call('SET', KEYS[3], string.format('%.6f', time[1] + time[2] / 1e6), 'EX', ARGV[2])
return redis.call('DEL', KEYS[1]) + 1
"""


def _number(text: str | None) -> int:
    return int(text or 0)


@attrs.frozen
class WaitRecord:
    """The record of one wait.

    Attributes:
        spec: What it is about, as JSON.
        token: The continuation token of its job, as of the last look.
        result: How it ended, as JSON.
        handled: Whether the user's handler was called.
        again: Whether it is to begin anew after that end.
        version: What the record holds, and how.
        budget: The name of the budget of the token that has started its job.
        only: The name of the budget whose token alone may look at its job.
        failures: How often in a row a step has failed in an unexpected way.
        failure: How the last of them failed.
        by: The name of the attempt to start its job.
    """

    spec: str | None
    token: str | None
    result: str | None
    handled: bool = attrs.field(converter=bool)
    again: bool = attrs.field(converter=bool)
    version: int = attrs.field(converter=_number)
    budget: str | None
    only: str | None
    failures: int = attrs.field(converter=_number)
    failure: str | None
    by: str | None

    @property
    def mark(self) -> str:
        """What another wait under its name, or the same one begun anew, would have otherwise: see ``as_read.lua``."""
        return self.token or self.by or self.spec or ""


_FIELDS: Final = tuple(field.name for field in attrs.fields(WaitRecord))


@attrs.frozen
class Described:
    """What is known under the name of a wait that was to be put in.

    Attributes:
        word: ``new``, ``known`` or ``ended``.
        spec: What it is about, as JSON.
    """

    word: str
    spec: str


@attrs.frozen
class Begun:
    """The state of a wait when its POST was about to be sent.

    Attributes:
        word: ``begin``, ``started``, ``ended``, ``intent``, or ``moved`` while nothing is started.
        token: The continuation token of the job, if it was started; the moment of the intent, if it begins.
        since: The age of somebody's intent, or for how long nothing is started, in seconds.
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

    def claim(self, name: str) -> str:
        """Return the key that says who calls the handler of a wait's result."""
        return f"asana-jobs:{{{self.queue}}}:handling:{name}"

    @property
    def results(self) -> str:
        """The key of the results."""
        return f"asana-jobs:{{{self.queue}}}:results"

    @property
    def starting(self) -> str:
        """The key of the waits whose job is to be started."""
        return f"asana-jobs:{{{self.queue}}}:starting"

    @property
    def watching(self) -> str:
        """The key of the waits whose job is watched."""
        return f"asana-jobs:{{{self.queue}}}:watching"

    @property
    def failed(self) -> str:
        """The key of the waits that ended without a succeeded job."""
        return f"asana-jobs:{{{self.queue}}}:failed"

    @property
    def counts(self) -> str:
        """The key of the numbers of waits that ended, by how they did."""
        return f"asana-jobs:{{{self.queue}}}:ended"  # `counts` is a budget's, which may have the same name

    async def read(self, name: str) -> WaitRecord:
        """Return what is remembered."""
        return WaitRecord(*await self.store("HMGET", self.key(name), *_FIELDS))

    async def read_many(self, names: Sequence[str]) -> list[WaitRecord]:
        """Return what is remembered of each."""
        if not names:
            return []
        keys = [self.key(name) for name in names]
        found = await self.store("EVAL", _READ_MANY, len(keys), *keys, *_FIELDS)
        return [WaitRecord(*values) for values in found]

    async def describe(self, specs: Mapping[str, str], *, start: bool) -> dict[str, Described]:
        """Write down what waits are about, unless that was done before; return what is known of each.

        Args:
            specs: What each is about, by name.
            start: Whether they start their jobs.
        """
        keys = [self.starting, self.watching, *map(self.key, specs)]
        named = [word for pair in specs.items() for word in pair]
        told = await self.store.run(DESCRIBE_SCRIPT, keys, RECORD_VERSION, int(start), *named)
        return {
            name: Described(*found) if found else Described("new", spec)
            for (name, spec), found in zip(specs.items(), told, strict=True)
        }

    @property
    def server(self) -> str:
        """The key that says on which server the queue was last seen."""
        return f"asana-jobs:{{{self.queue}}}:server"

    async def begin(self, name: str, attempt: str, budget: str, spec: str) -> Begun:
        """Write down the intent to start a job, unless it was written before, or the wait is gone: then it has ended.

        Args:
            name: The wait.
            attempt: The name of this attempt.
            budget: The budget of the token.
            spec: What the wait is about, as JSON.
        """
        keys = [self.key(name), self.server]
        word, rest = await self.store.run_replicated(BEGIN_SCRIPT, keys, attempt, budget, spec)
        return Begun(word, rest, float(rest) if word in {"intent", "moved"} else 0.0)

    async def withdraw(self, name: str, attempt: str) -> None:
        """Take an attempt's own intent back: nothing was started, for certain."""
        await surely(lambda: self.store("EVAL", _WITHDRAW, 1, self.key(name), attempt))

    def forgotten(self, name: str) -> str:
        """Return the key that says when a wait was forgotten, for as long as workers remember what they started."""
        return f"asana-jobs:{{{self.queue}}}:forgotten:{name}"

    async def retry_in(self) -> float:
        """Return the seconds after which a start that found no place is to ask again."""
        many = int(await self.store("ZCARD", self.starting))
        return min(LONGEST_RETRY, max(SHORTEST_RETRY, many * RETRY_SPACING)) * uniform(0.5, 1.5)  # noqa: S311  # no secret

    async def finish(
        self,
        name: str,
        result: str,
        outcome: str,
        *,
        mark: str = "",
        handled: bool = False,
        by: str = "",
    ) -> str:
        """Write down the end and hand it to the readers.

        Args:
            name: The wait.
            result: Its result, as JSON.
            outcome: How it ended, in a word.
            mark: That of its record as it was read. Without one it is cancelled: it is not to go on, whatever is there.
            handled: There is no handler to be called.
            by: The name of the worker that is to call it.

        Returns:
            ``done``, or ``claimed`` if this worker may call the handler at once; ``known`` if it was done before, or the
            wait is gone; ``busy`` if it was to be cancelled, but is being started at this moment.
        """
        keys = [self.key(name), self.results, self.starting, self.watching, self.failed, self.counts]
        how = (RESULT_LIFETIME, mark, int(handled), by, CLAIM_SECONDS)
        return str(
            await self.store.run(FINISH_SCRIPT, [*keys, self.claim(name)], name, result, outcome, *how)
        )

    async def claimed(self, name: str, by: str) -> bool:
        """Claim the right to call the handler of a wait's result, unless somebody has it; return whether that was done."""
        return bool(await self.store("SET", self.claim(name), by, "NX", "EX", CLAIM_SECONDS))

    async def keep_claim(self, name: str, by: str) -> None:
        """Renew that claim."""
        await self.store("SET", self.claim(name), by, "XX", "EX", CLAIM_SECONDS)

    async def is_over(self, name: str) -> bool:
        """Return whether a wait has ended, or is not known."""
        spec, result = await self.store("HMGET", self.key(name), "spec", "result")
        return spec is None or result is not None

    async def handled(self, name: str, result: str) -> None:
        """Write down that the handler of a *result* was called; try for as long as Redis is away."""
        await surely(lambda: self.store("EVAL", _HANDLED, 1, self.key(name), result))

    async def fail(self, name: str, failure: str) -> int:
        """Count an unexpected *failure* of a step; return how many there were in a row."""
        return int(await self.store("EVAL", _FAIL, 1, self.key(name), failure))

    async def recover(self, name: str) -> None:
        """Forget the failures of a wait whose last step went well."""
        await self.store("HDEL", self.key(name), "failures", "failure")

    async def note(self, name: str, field: str, value: str, mark: str) -> None:
        """Write down a *value*, unless the record has another mark by now."""
        await self.store.run(NOTE_SCRIPT, [self.key(name)], field, value, mark)

    async def repeat(self, name: str, spec: str) -> bool:
        """Write down that a wait is to begin anew; whether it has ended."""
        return bool(await self.store("EVAL", _REPEAT, 1, self.key(name), spec))

    async def renew(self, name: str, *, start: bool) -> None:
        """Have a wait begin anew that is to: what it came to is forgotten. Harmless when that was done before.

        Args:
            name: The wait.
            start: Whether it starts its job.
        """
        line = self.starting if start else self.watching
        await self.store("EVAL", _RENEW, 3, self.key(name), line, self.failed, name)

    async def drop(self, name: str) -> bool:
        """Drop what is left of a wait whose record is gone; return whether it was forgotten, or is there again."""
        keys = (self.key(name), self.starting, self.watching, self.forgotten(name))
        return bool(await self.store("EVAL", _DROP, len(keys), *keys, name))

    async def forget(self, name: str) -> bool | None:
        """Forget a wait that has ended; whether anything was known of it, ``None`` if it has not ended."""
        keys = (self.key(name), self.failed, self.forgotten(name))
        gone = int(await self.store("EVAL", _FORGET, len(keys), *keys, name, MEMORY_SECONDS))
        return None if gone == 0 else gone > 1


@attrs.frozen
class RunningPlaces:
    """The places of running jobs, which the whole fleet shares."""

    store: Store
    budget: str
    queue: str

    def name(self, wait: str) -> str:
        """Return the name of the place of a wait's job; other queues may have waits of the same name."""
        return f"wait {self.queue} {wait}"

    async def keep(self, wait: str, seconds: float = PLACE_LEASE_SECONDS) -> None:
        """Keep the place of a wait's job, until it is given back or for so many *seconds*; done again, for longer."""
        keys = keys_of(self.budget)
        await self.store("EVAL", _KEEP, 2, keys[3], keys[0], int(seconds), self.name(wait))

    async def give_back(self, wait: str) -> None:
        """Give the place of a wait's job back."""
        await self.store("ZREM", keys_of(self.budget)[3], self.name(wait))


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
        new = _difference(ours, self._ours)
        # Where one fails, all are told again: that is twice for some, which matters little.
        telling = [
            asyncio.create_task(self.store("HINCRBYFLOAT", self.key, name, more), name="asana_jobs durations")
            for name, more in new.items()
        ]
        await asyncio.gather(*telling)
        for name, more in new.items():
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
