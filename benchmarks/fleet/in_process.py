"""The far end of the fleet benchmark: jobs, a limiter and a round trip, on virtual time and without a socket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar

import looptime
from workload import Start

from asana_jobs import Response
from asana_jobs._client.clock import SystemClock
from asana_jobs._client.http.protocol import Request
from asana_jobs.testing import SimulatorLimits
from asana_jobs.testing.simulator.limits import Bucket, SlidingLog, minute_quota


#: Seconds from sending a request to having its answer.
ROUND_TRIP: Final = 0.15
_EPOCH: Final = datetime(2026, 1, 1, tzinfo=UTC)
_HEADERS: Final = {"content-type": "application/json; charset=UTF-8"}

T = TypeVar("T")


class LoopClock(SystemClock):
    """The loop's time, and a wall clock that moves with it."""

    def now(self) -> datetime:
        """Return the virtual wall-clock time."""
        return wall(self.monotonic())


def wall(seconds: float) -> datetime:
    """Return the virtual wall-clock time at *seconds* of the loop's."""
    return _EPOCH + timedelta(seconds=seconds)


def virtually(work: Callable[[], Awaitable[T]], *, sockets: bool = False) -> T:
    """Run *work* on a loop whose time jumps from one timer to the next."""

    async def main() -> T:
        return await work()

    # Only sockets need turns of the loop in which time stands still.
    turns = 42 if sockets else 0
    with asyncio.Runner(loop_factory=lambda: looptime.new_event_loop(start=0, noop_cycles=turns)) as runner:
        return runner.run(main())


class FleetServer:
    """Answers ``GET /jobs/{gid}`` as Asana would: a `Transport` for our client, `ask` for everybody else.

    The limiters are the simulator's own, without its HTTP server.

    Args:
        starts: The jobs there are.
        per_minute: The quota of the token; 0 is none.
        models: Which limiters watch over it, such as ``"A"``. With ``"ABC"`` a request has to pass all three:
            whoever is never refused by them would have had the very same run under each of them alone.

    Attributes:
        requests: How many came.
        rejected: How many were answered 429.
    """

    def __init__(self, starts: list[Start], per_minute: int, models: str) -> None:
        self.requests = 0
        self.rejected = 0
        self._jobs = {start.gid: start for start in starts}
        self._quotas = [quota for model in models if (quota := _quota(per_minute, model))]
        self._bodies = {
            (kind, done): _body(kind, done=done)
            for kind in {start.kind for start in starts}
            for done in (False, True)
        }

    async def ask(self, gid: str) -> tuple[bool, float]:
        """Return whether a job is done, and how long to wait if that was refused: 0 if it was not."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[tuple[bool, float]] = loop.create_future()

        def arrive() -> None:
            self.requests += 1
            now = loop.time()
            wait = max((quota.take(1, now) for quota in self._quotas), default=0.0)
            if wait > 0:
                self.rejected += 1
                wait = float(max(1, -int(-wait // 1)))  # a header has whole seconds
            done = gid in self._jobs and self._jobs[gid].end <= now
            loop.call_later(ROUND_TRIP / 2, deliver, (done, wait))

        def deliver(result: tuple[bool, float]) -> None:
            if not answer.done():
                answer.set_result(result)

        loop.call_later(ROUND_TRIP / 2, arrive)
        return await answer

    async def send(self, request: Request) -> Response:
        """Answer one request of our client; what is not about a job is a call of the user's own."""
        gid = request.gid or ""
        done, wait = await self.ask(gid)
        if wait:
            return Response(status=429, headers={**_HEADERS, "retry-after": str(int(wait))}, body=b"{}")
        if gid not in self._jobs:
            return Response(status=200, headers=_HEADERS, body=b'{"data":{}}')
        kind = self._jobs[gid].kind
        return Response(
            status=200, headers=_HEADERS, body=self._bodies[kind, done].replace(b"GID", gid.encode())
        )

    async def close(self) -> None:
        """There is nothing to close."""


def _quota(per_minute: int, model: str) -> SlidingLog | Bucket | None:
    limits = {"requests_per_minute": per_minute or None, "model": model}
    return minute_quota(SimulatorLimits(**limits))  # type: ignore[arg-type]


def _body(kind: str, *, done: bool) -> bytes:
    status = "succeeded" if done else "in_progress"
    return (
        f'{{"data":{{"gid":"GID","resource_type":"job","resource_subtype":"{kind}","status":"{status}"}}}}'
    ).encode()
