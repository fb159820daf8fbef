"""What must hold of the gate whatever its callers do, in whatever order."""

import asyncio
from collections import Counter

import attrs
import looptime
from counting import CountingClock
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asana_jobs._client.limits.gate import LocalGate, LocalLease, Priority, Traffic
from asana_jobs.policies import RateLimits


WINDOW = 60.0
traffics = st.sampled_from(Traffic)
priorities = st.sampled_from(Priority)
limits = st.builds(
    RateLimits,
    requests_per_minute=st.sampled_from([None, 20.0, 150.0, 1500.0]),
    reads_in_flight=st.integers(1, 6),
    writes_in_flight=st.integers(1, 3),
    poll_share=st.sampled_from([0.1, 0.5, 1.0]),
    share=st.sampled_from([0.25, 1.0]),
)


@attrs.define(eq=False)
class Caller:
    """Somebody who asked for a lease."""

    number: int
    traffic: Traffic
    priority: Priority
    task: asyncio.Task[None] | None = None
    lease: LocalLease | None = None


class GateMachine(RuleBasedStateMachine):
    """Callers come, are served, give back, are refused and give up, in any order, in virtual time."""

    @initialize(limits=limits)
    def begin(self, limits: RateLimits) -> None:
        """Start with a fresh gate."""
        self.loop = looptime.new_event_loop(noop_cycles=1)
        self.limits = limits
        self.clock = CountingClock(seed=3)
        self.gate = LocalGate(limits, self.clock)
        self.callers: list[Caller] = []
        self.waiting: list[Caller] = []
        self.holding: list[Caller] = []
        self.sent: list[tuple[float, Priority]] = []
        self.shut_until = 0.0
        self.came = 0

    @rule(traffic=traffics, priority=priorities, count=st.sampled_from([1, 1, 3, 10]))
    def come(self, traffic: Traffic, priority: Priority, count: int) -> None:
        """Some callers ask for a lease."""

        async def ask(caller: Caller) -> None:
            caller.lease = await self.gate.acquire(caller.traffic, caller.priority)
            self.waiting.remove(caller)
            ahead = [c for c in self.waiting if (c.priority, c.traffic) == (caller.priority, caller.traffic)]
            assert all(caller.number < other.number for other in ahead), "somebody jumped the queue"
            self.holding.append(caller)
            self.sent.append((self.loop.time(), caller.priority))
            assert self.loop.time() >= self.shut_until - 1e-6, "somebody went during the pause"

        async def everybody_asks() -> None:
            for _ in range(count):
                self.came += 1
                caller = Caller(self.came, traffic, priority)
                self.waiting.append(caller)
                self.callers.append(caller)
                caller.task = asyncio.create_task(ask(caller))
            await asyncio.sleep(0)

        self.loop.run_until_complete(everybody_asks())

    @precondition(lambda self: self.holding)
    @rule(data=st.data(), answered=st.booleans(), hurry=st.booleans(), twice=st.booleans())
    def give_back(self, data: st.DataObject, answered: bool, hurry: bool, twice: bool) -> None:
        """Somebody gives a lease back; maybe somebody else is cancelled in the same turn."""
        caller = data.draw(st.sampled_from(self.holding))
        victim = data.draw(st.sampled_from(self.waiting)) if hurry and self.waiting else None

        async def act() -> None:
            assert caller.lease is not None
            caller.lease.release(answered=answered)
            if twice:
                caller.lease.release(answered=answered)
            self.holding.remove(caller)
            if victim is not None:
                self._cancel(victim)
            await asyncio.sleep(0)

        self.loop.run_until_complete(act())

    @precondition(lambda self: self.holding)
    @rule(data=st.data(), seconds=st.sampled_from([None, 0.0, 0.3, 5.0, 40.0]))
    def refuse(self, data: st.DataObject, seconds: float | None) -> None:
        """Somebody is answered 429."""
        caller = data.draw(st.sampled_from(self.holding))

        async def act() -> None:
            assert caller.lease is not None
            caller.lease.penalise(seconds)
            self.shut_until = max(self.shut_until, self.loop.time() + (seconds or 0.0))
            caller.lease.release()
            self.holding.remove(caller)
            await asyncio.sleep(0)

        self.loop.run_until_complete(act())

    @precondition(lambda self: self.waiting)
    @rule(data=st.data(), delay=st.sampled_from([0.0, 0.1]))
    def give_up(self, data: st.DataObject, delay: float) -> None:
        """Somebody who waits is cancelled."""
        caller = data.draw(st.sampled_from(self.waiting))

        async def act() -> None:
            if delay:
                asyncio.get_running_loop().call_later(delay, self._cancel, caller)
            else:
                self._cancel(caller)
            await asyncio.sleep(delay)

        self.loop.run_until_complete(act())

    @rule(seconds=st.sampled_from([0.01, 0.4, 3.0, 30.0, 70.0]))
    def time_passes(self, seconds: float) -> None:
        """Nothing happens for a while."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @invariant()
    def caps_hold(self) -> None:
        """There are never more requests in flight than allowed."""
        if not hasattr(self, "gate"):
            return
        flying = Counter(caller.traffic for caller in self.holding)
        assert flying[Traffic.READ] <= max(1, int(self.limits.reads_in_flight * self.limits.share))
        assert flying[Traffic.WRITE] <= max(1, int(self.limits.writes_in_flight * self.limits.share))

    @invariant()
    def pace_holds(self) -> None:
        """No minute ever sees more requests than the quota, nor more looks than their share."""
        if not hasattr(self, "gate"):
            return
        quota = (self.limits.requests_per_minute or 1500.0) * self.limits.share
        routine = quota * self.limits.poll_share
        for kind, most in ((list(Priority), quota), ([Priority.ROUTINE], max(1.0, routine))):
            times = [at for at, priority in self.sent if priority in kind]
            start = 0
            for end, at in enumerate(times):
                while times[start] < at - WINDOW:
                    start += 1
                assert end - start + 1 <= most, f"{end - start + 1} in a minute, {most} allowed"

    def teardown(self) -> None:
        """Nobody is forgotten: everybody who still waits is served once others give back, and nothing remains."""
        if not hasattr(self, "gate"):
            return
        self.loop.run_until_complete(self._finish())
        self.loop.close()

    async def _finish(self) -> None:
        deadline = self.loop.time() + 3600 * (2 + len(self.waiting))
        while self.waiting or self.holding:
            assert self.loop.time() < deadline, f"{len(self.waiting)} callers were forgotten by {self.gate}"
            for caller in self.holding:
                assert caller.lease is not None
                caller.lease.release()
            self.holding.clear()
            await asyncio.sleep(5)
        await asyncio.gather(*(c.task for c in self.callers if c.task is not None), return_exceptions=True)
        for caller in self.callers:
            assert caller.task is not None
            assert caller.task.cancelled() or caller.task.exception() is None
        snapshot = self.gate.snapshot()
        assert (snapshot.reads_in_flight, snapshot.writes_in_flight) == (0, 0)
        assert not any(snapshot.waiting.values())
        assert self.clock.pending == 0

    def _cancel(self, caller: Caller) -> None:
        if caller in self.waiting and caller.task is not None:
            caller.task.cancel()
            self.waiting.remove(caller)


TestGateMachine = GateMachine.TestCase
TestGateMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
