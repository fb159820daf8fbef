"""What Redis remembers of each wait: what it is about, intent, answer and end, written in that order."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import attrs

from asana_jobs.worker._store import AwayError, Script, Store


#: Seconds for which the result of a wait can be asked for.
KEPT: Final = 7 * 86400
#: Seconds between two attempts to write down what must not be lost.
AGAIN: Final = 0.5

BEGIN: Final = Script("begin")
FINISH: Final = Script("finish")

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
class Record:
    """What is remembered of one wait.

    Attributes:
        spec: What it is about, as JSON. ``token``: the continuation token of its job, as of the last look.
        result: How it ended, as JSON. ``handled``: whether the user's handler was called.
        again: Whether it is to begin anew after that end.
    """

    spec: str | None
    token: str | None
    result: str | None
    handled: bool
    again: bool


@attrs.frozen
class Begun:
    """What was found when a POST was about to be sent: ``begin``, ``started``, ``ended`` or ``intent``.

    Attributes:
        word: Which of them. ``token``: of the job, if it was started. ``since``: the age of somebody's intent.
    """

    word: str
    token: str
    since: float


@attrs.frozen
class Records:
    """The records of one queue."""

    store: Store
    queue: str

    def key(self, name: str) -> str:
        """Return where the record of a wait is; the braces keep a queue on one node of a cluster."""
        return f"asana-jobs:{{{self.queue}}}:wait:{name}"

    @property
    def results(self) -> str:
        """Where the results are."""
        return f"asana-jobs:{{{self.queue}}}:results"

    async def read(self, name: str) -> Record:
        """Return what is remembered."""
        spec, token, result, handled, again = await self.store(
            "HMGET", self.key(name), "spec", "token", "result", "handled", "again"
        )
        return Record(spec, token, result, handled is not None, again is not None)

    async def describe(self, name: str, spec: str) -> str:
        """Write down what a wait is about, unless that was done before; return what it is about."""
        await self.store("HSETNX", self.key(name), "spec", spec)
        return str(await self.store("HGET", self.key(name), "spec") or spec)

    async def looked(self, name: str, token: str) -> None:
        """Write down where a wait goes on."""
        await self.store("HSET", self.key(name), "token", token)

    async def begin(self, name: str, worker: str) -> Begun:
        """Write down the intent to start a job, unless it was written before."""
        word, rest = await self.store.run(BEGIN, [self.key(name)], worker)
        return Begun(word, rest, float(rest) if word == "intent" else 0.0)

    async def withdraw(self, name: str, worker: str) -> None:
        """Take the worker's own intent back: nothing was started, for certain."""
        await self._surely("EVAL", _WITHDRAW, 1, self.key(name), worker)

    async def started(self, name: str, token: str) -> None:
        """Write down the job that was started; try for as long as Redis is away."""
        await self._surely("HSET", self.key(name), "token", token)

    async def finish(self, name: str, result: str) -> bool:
        """Write down the end and hand it to the readers; whether it was not done before."""
        return bool(await self.store.run(FINISH, [self.key(name), self.results], result, KEPT))

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
                await asyncio.sleep(AGAIN)
            else:
                return
