"""What keeps a wait's job from being started twice, whoever is slow, stopped or cut off, and whatever Redis forgets.

- An intent is one attempt's own: only this attempt goes on with the job that it starts. A job that turns up when its
  intent was given up is written down beside, and *retry_unknown* goes on with it instead of starting another one.
- A POST leaves within `INTENT_SECONDS` of its intent, by a clock that counts sleep, or not at all. That is asked when
  its connection stands, right before its first byte; a process that is stopped just there is not seen.
- Redis may lose its last writes: killed without ``appendfsync always``, or when a replica takes its place. So each
  worker remembers its intents of the last minutes. When the server is another one than before (its ``run_id``), or was
  emptied, nothing is started for some seconds, in which every worker writes them down again.

What cannot be had without ``appendfsync always``, or a replica that answers ``WAIT``: an intent that Redis has lost
together with the worker that wrote it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import attrs

from asana_jobs.worker._records import MEMORY_SECONDS, WaitRecords
from asana_jobs.worker._redis import Script


#: Seconds after which nothing is sent on an intent: others take its outcome for unknown after `DOUBT_SECONDS`.
INTENT_SECONDS: Final = 10.0

STARTED_SCRIPT: Final = Script("started")
WATCH_SCRIPT: Final = Script("server", "watch")
#: A clock that goes on while the machine sleeps: Linux has one, and on macOS the monotonic one does.
_CLOCK: Final[int | None] = getattr(time, "CLOCK_BOOTTIME", None)
_log = logging.getLogger("asana_jobs")


def steady_now() -> float:
    """Return the seconds of a clock that is never set and counts sleep."""
    return time.monotonic() if _CLOCK is None else time.clock_gettime(_CLOCK)


class StaleIntentError(Exception):
    """The intent is too old to send anything on it; nothing was sent."""


@attrs.define(eq=False)
class Attempt:
    """One attempt to start the job of a wait.

    Attributes:
        key: The name of the wait.
        name: A name of its own.
        budget: The budget of the token.
        spec: What the wait is about, as JSON.
        at: When its intent was written down, in seconds of Redis' clock.
        token: The continuation token of the job, once it is known.
    """

    key: str
    name: str
    budget: str
    spec: str
    at: str = ""
    token: str = ""
    _began: float = attrs.field(factory=steady_now, init=False)

    @property
    def age(self) -> float:
        """Seconds since just before its intent was written down."""
        return steady_now() - self._began

    def check(self) -> None:
        """Raise if nothing may be sent on this intent any more."""
        if self.age > INTENT_SECONDS:
            raise StaleIntentError(f"the intent to start {self.key!r} is {self.age:.0f} s old")


@attrs.define(eq=False)
class Fence:
    """The attempts of one worker: of late, and under way.

    Attributes:
        records: The records of the queue.
        worker: The name of the worker.
        reschedule: Has the steps of waits made, unless the engine knows of them, when Redis may have lost their starts.
    """

    records: WaitRecords
    worker: str
    reschedule: Callable[[Sequence[str]], Awaitable[object]] | None = None
    _recent: dict[str, Attempt] = attrs.field(factory=dict[str, Attempt], init=False)
    _seen: tuple[str, str] | None = attrs.field(default=None, init=False)
    _count: int = attrs.field(default=0, init=False)

    def attempt(self, key: str, budget: str, spec: str) -> Attempt:
        """Return a new attempt, which is remembered from now on."""
        self._count += 1
        attempt = Attempt(key, f"{self.worker} {self._count}", budget, spec)
        for name in [name for name, old in self._recent.items() if old.age > MEMORY_SECONDS]:
            del self._recent[name]
        self._recent[attempt.name] = attempt
        return attempt

    def forget(self, attempt: Attempt) -> None:
        """Forget an attempt that was withdrawn, or never begun: nothing was sent."""
        self._recent.pop(attempt.name, None)

    async def write(self, attempt: Attempt, *, again: bool = False) -> str:
        """Write down the job of an attempt; return how that went, see ``started.lua``."""
        key, records = attempt.key, self.records
        keys = [records.key(key), records.starting, records.watching, records.forgotten(key)]
        words = (key, attempt.name, attempt.token, attempt.budget, attempt.spec, attempt.at, int(again))
        found = str(await records.store.run_replicated(STARTED_SCRIPT, keys, *words))
        if found == "late":
            _log.error(
                "the job of %r turned up late, when its outcome had been taken for unknown: %s. `asana-jobs queue retry`,"
                " or JobQueue.retry_unknown, goes on with it; if that was done before, it was started twice. Where the wait"
                " was forgotten, JobQueue.watch takes the job",
                attempt.key,
                attempt.token,
            )
        return found

    async def watch(self) -> None:
        """Look whether Redis is the server it was, and write down again what it may have lost if it is not."""
        store = self.records.store
        await store.count_replicas()
        run, since = await store.run(WATCH_SCRIPT, [self.records.server], int(self._seen is not None))
        if self._seen is not None and self._seen != (run, since):
            recent = [attempt for attempt in self._recent.values() if attempt.at]
            found = [(attempt, await self.write(attempt, again=True)) for attempt in recent]
            going = [attempt.key for attempt, how in found if how not in {"ended", "late"}]
            # Their steps may be lost too, or were when this failed before.
            if going and self.reschedule is not None:
                await self.reschedule(going)
            self._tell(sum(how in {"written", "lost"} for _, how in found), empty=run == self._seen[0])
        self._seen = run, since

    def _tell(self, lost: int, *, empty: bool) -> None:
        if empty:
            _log.error(
                "Redis at %s was emptied: the waits of its queues are gone, and a key that is used again is started"
                " again, but for what this worker started in the last %d minutes (%d, written down again)",
                self.records.store.address,
                MEMORY_SECONDS // 60,
                lost,
            )
        else:
            _log.warning(
                "Redis at %s was restarted, or another server has taken its place: %d starts that it had lost were"
                " written down again",
                self.records.store.address,
                lost,
            )
