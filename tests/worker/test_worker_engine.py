"""The engine under the queue: names that are its own, time that is Redis', and nothing of it left behind."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import docket
import pytest
from docket import Docket, Worker
from docket.strikelist import StrikeList
from patience import until
from redis_process import RedisProcess

from asana_jobs.gates import SystemClock
from asana_jobs.worker import _engine
from asana_jobs.worker._engine import Again, Engine, FleetClock, Noting, fleet_clock
from asana_jobs.worker._redis import Store


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

#: Whatever docket keeps beside its tasks, and what people write.
ODD_KEYS = (
    *(
        "queue",
        "stream",
        "workers",
        "strikes",
        "runs:queue",
        "known:stream",
        "leases:redelivery-sweep",
        "results",
    ),
    *("wait ", "wait queue", "*", "{queue}", "a b", "naïve", "é\u202f"[:1], "\\", '"', "%s", "x" * 200),
)


@pytest.fixture
async def store(own_redis: RedisProcess) -> AsyncIterator[Store]:
    """The Redis of the test, for a worker."""
    store = Store(own_redis.url)
    yield store
    await store.close()


def record(key: str) -> str:
    """Return where the record of a wait is."""
    return f"record of {key}"


class Working:
    """An engine whose steps are the test's."""

    def __init__(self, engine: Engine, store: Store, clock: FleetClock) -> None:
        self.made: list[tuple[str, bool]] = []
        self.delays: dict[str, list[Again]] = {}
        self._task = asyncio.create_task(
            engine.run(self.step, name="worker", concurrency=4, store=store, clock=clock, record=record)
        )

    async def step(self, key: str, returning: bool) -> Again | None:
        """Note the step, and answer what the test says."""
        self.made.append((key, returning))
        delays = self.delays.get(key)
        return delays.pop(0) if delays else None

    async def end(self) -> None:
        """Stop it."""
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_an_engine_is_closed_although_a_cancellation_gets_lost(
    own_redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis' client sends with Python 3.11's `wait_for`, which can swallow one: docket would wait for ever."""
    lost: list[object] = []
    read = StrikeList._read_strikes  # pyright: ignore[reportPrivateUsage]

    async def read_and_lose(strikes: StrikeList, *about: Any) -> Any:
        while True:
            try:
                return await read(strikes, *about)
            except asyncio.CancelledError:
                if strikes in lost:
                    raise
                lost.append(strikes)

    monkeypatch.setattr(StrikeList, "_read_strikes", read_and_lose)
    engine = Engine(own_redis.url, "lossy")
    await engine.open()
    others = asyncio.create_task(asyncio.sleep(0.1), name="asana-jobs-lossy starts - strike monitor")
    await asyncio.wait_for(engine.close(), 30)
    await others

    assert len(lost) == 3
    assert [task.get_name() for task in asyncio.all_tasks() if "strike" in task.get_name()] == []


async def test_no_name_of_a_wait_gets_in_the_way_of_the_engine(own_redis: RedisProcess, store: Store) -> None:
    """The steps of waits that are named as docket names its own data are made, once each, and again when due."""
    engine = Engine(own_redis.url, "odd")
    await engine.open()
    for key in ODD_KEYS:
        await engine.schedule(key, start=False)
    working = Working(engine, store, await fleet_clock(store))
    working.delays = {key: [Again(0.2, returning=True)] for key in ODD_KEYS}
    await until(lambda: len(working.made) >= 2 * len(ODD_KEYS))
    await working.end()
    await engine.close()

    assert sorted(working.made) == sorted([(key, again) for key in ODD_KEYS for again in (False, True)])


async def test_a_step_of_an_older_version_is_made(own_redis: RedisProcess, store: Store) -> None:
    """What was scheduled before names had a prefix goes on under its own name."""
    async with Docket(name="asana-jobs-old", url=own_redis.url) as before:
        before.register(_engine.asana_jobs_step)
        await before.add(_engine.STEP_NAME, key="order-17")()
    engine = Engine(own_redis.url, "old")
    working = Working(engine, store, await fleet_clock(store))
    await until(lambda: working.made)
    await working.end()
    await engine.close()

    assert working.made == [("order-17", False)]


@pytest.mark.parametrize("wrong", [300.0, -300.0])
async def test_what_is_due_is_for_redis_to_say(
    own_redis: RedisProcess, store: Store, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """On a machine whose clock is five minutes off, a step is made again when it is due, neither before nor later."""

    class Wrong(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + timedelta(seconds=wrong)

    right = SystemClock.now

    def now(self: SystemClock) -> datetime:
        return right(self) + timedelta(seconds=wrong)

    monkeypatch.setattr(SystemClock, "now", now)
    for module in (docket.docket, docket.execution, docket.worker):
        monkeypatch.setattr(module, "datetime", Wrong)
    engine = Engine(own_redis.url, "clock")
    await engine.open()
    await engine.schedule("1204", start=False)
    loop = asyncio.get_running_loop()
    began = loop.time()
    working = Working(engine, store, await fleet_clock(store))
    working.delays = {"1204": [Again(1.0), Again(1.0)]}
    await until(lambda: len(working.made) == 3)
    took = loop.time() - began
    await working.end()
    await engine.close()

    assert 2.0 <= took < 6.0


async def test_a_clock_of_redis_that_is_put_back_delays_nothing(
    own_redis: RedisProcess, store: Store
) -> None:
    """What was due in a second on a clock that was five minutes ahead is not made five minutes late."""
    engine = Engine(own_redis.url, "back")
    await engine.open()

    class Ahead(FleetClock):
        def now(self) -> datetime:
            return super().now() + timedelta(seconds=300)

    ahead = Ahead()
    await ahead.ask(store)
    seen = f"{ahead.now().timestamp():.6f}"
    own_redis.command("SET", "asana-jobs-back:asana-jobs clock", seen)
    await engine.schedule("1204", start=False)
    working = Working(engine, store, ahead)
    working.delays = {"1204": [Again(1.0)]}
    await until(lambda: own_redis.command("ZCARD", "asana-jobs-back:queue") == ":1\r\n")
    own_redis.command("SET", "asana-jobs-back:asana-jobs clock", seen)
    await until(lambda: len(working.made) == 2)
    await working.end()
    await engine.close()


async def test_the_engine_leaves_docket_as_it_is(own_redis: RedisProcess, store: Store) -> None:
    """While a worker works, docket's own clock is what it was: others in the process may use docket."""
    engine = Engine(own_redis.url, "clean")
    working = Working(engine, store, await fleet_clock(store))
    await asyncio.sleep(0.2)
    found = [module.datetime for module in (docket.docket, docket.execution, docket.worker)]
    await working.end()
    await engine.close()

    assert found == [datetime] * 3


@pytest.mark.parametrize("method", ["_scheduler_loop", "_execute", "_cancellation_listener"])
def test_docket_has_the_methods_that_are_replaced(method: str) -> None:
    """Docket asks what is due, makes a step, and hears of cancelled ones in methods that the fleet's worker replaces."""
    assert method in vars(Worker)


@pytest.mark.parametrize("start", [False, True])
async def test_what_a_step_notes_is_written_down(
    own_redis: RedisProcess, store: Store, *, start: bool
) -> None:
    """What is to be written down before the next step is there when that is made, also where Redis forgot its scripts."""
    engine = Engine(own_redis.url, "notes")
    await engine.open()
    await engine.schedule("1204", start=start)
    await store("HSET", record("1204"), "by", "of this one")
    found: list[str | None] = []

    async def step(key: str, returning: bool) -> Again | None:
        found.append(await store("HGET", record(key), "note"))
        await store("SCRIPT", "FLUSH")
        return (
            None
            if len(found) > 2
            else Noting(0.1, not returning, ("note", f"after {len(found)}", "of this one"))
        )

    clock = await fleet_clock(store)
    task = asyncio.create_task(
        engine.run(step, name="worker", concurrency=4, store=store, clock=clock, record=record)
    )
    await until(lambda: len(found) == 3)
    task.cancel()
    await asyncio.wait([task])
    await engine.close()

    assert found == [None, "after 1", "after 2"]


async def test_a_step_that_raises_is_made_again(
    own_redis: RedisProcess, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step should raise; one that does is not lost, but made again after a while."""
    monkeypatch.setattr(_engine, "RAISED_SECONDS", 0.1)
    engine = Engine(own_redis.url, "raising")
    await engine.open()
    await engine.schedule("1204", start=True)
    made: list[str] = []

    async def step(key: str, returning: bool) -> Again | None:
        del returning
        made.append(key)
        if len(made) == 1:
            raise RuntimeError
        return None

    clock = await fleet_clock(store)
    task = asyncio.create_task(
        engine.run(step, name="worker", concurrency=4, store=store, clock=clock, record=record)
    )
    await until(lambda: len(made) == 2)
    task.cancel()
    await asyncio.wait([task])
    await engine.close()

    assert made == ["1204", "1204"]


async def test_a_step_begun_anew_while_it_is_made_goes_on_as_the_new_one(
    own_redis: RedisProcess, store: Store
) -> None:
    """What is scheduled for a wait while a step of it is under way is made, and that step's own next one is not."""
    engine = Engine(own_redis.url, "anew")
    await engine.open()
    await engine.schedule("1204", start=True)
    made: list[float] = []
    anew = asyncio.Event()

    async def step(key: str, returning: bool) -> Again | None:
        del returning
        made.append(asyncio.get_running_loop().time())
        if len(made) == 1:
            await engine.schedule(key, start=True, anew=True)
            anew.set()
            return Again(0.5)
        return None

    clock = await fleet_clock(store)
    task = asyncio.create_task(
        engine.run(step, name="worker", concurrency=1, store=store, clock=clock, record=record)
    )
    await asyncio.wait_for(anew.wait(), 300)
    await until(lambda: len(made) == 2)
    await asyncio.sleep(1.0)
    task.cancel()
    await asyncio.wait([task])
    await engine.close()

    assert len(made) == 2
    line = "asana-jobs-anew starts"
    assert (
        own_redis.command("XLEN", f"{line}:stream") == own_redis.command("ZCARD", f"{line}:queue") == ":0\r\n"
    )
    assert own_redis.command("EXISTS", f"{line}:runs:wait 1204") == ":0\r\n"


@pytest.mark.parametrize("start", [True, False])
async def test_what_was_put_in_anew_while_its_last_step_ended_has_a_step(
    own_redis: RedisProcess, store: Store, *, start: bool
) -> None:
    """Forgotten and put in under its name again, before docket had forgotten its step: it is not lost."""
    engine = Engine(own_redis.url, "late")
    await engine.open()
    await engine.schedule("1204", start=start)
    made: list[str] = []

    async def step(key: str, returning: bool) -> Again | None:
        del returning
        made.append(key)
        if len(made) == 1:
            await store("HSET", record(key), "spec", "of the new one")
            await engine.schedule(key, start=start)  # docket says that it knows this step
        else:
            await store("HSET", record(key), "result", "of the new one")
        return None

    clock = await fleet_clock(store)
    task = asyncio.create_task(
        engine.run(step, name="worker", concurrency=4, store=store, clock=clock, record=record)
    )
    await until(lambda: len(made) == 2)
    await asyncio.sleep(0.5)
    task.cancel()
    await asyncio.wait([task])
    line = f"asana-jobs-late {'starts' if start else 'first-looks'}"

    assert made == ["1204", "1204"]
    assert own_redis.command("XLEN", f"{line}:stream") == ":0\r\n"
    assert own_redis.command("EXISTS", f"{line}:runs:wait 1204") == ":0\r\n"
    await engine.close()


async def test_a_worker_leaves_no_name_in_the_stream(own_redis: RedisProcess, store: Store) -> None:
    """When a worker has ended, docket's streams list it no more as one of their readers."""
    engine = Engine(own_redis.url, "names")
    await engine.open()
    await engine.schedule("1204", start=False)
    working = Working(engine, store, await fleet_clock(store))
    await until(lambda: working.made)
    await working.end()
    await engine.forget_worker("worker", store)
    await engine.close()

    for line in ("asana-jobs-names", "asana-jobs-names starts"):
        told = own_redis.command("XINFO", "CONSUMERS", f"{line}:stream", "docket-workers")
        assert told in {"*0\r\n", "-ERR no such key\r\n"}  # a line that has not begun yet has no stream


async def test_hundreds_are_scheduled_at_once(own_redis: RedisProcess, store: Store) -> None:
    """Three hundred steps that are scheduled at the same moment are all scheduled, and once, whichever way they come."""
    engine = Engine(own_redis.url, "many")
    await engine.open()
    await asyncio.gather(*(engine.schedule(f"order-{number}", start=True) for number in range(300)))
    many = [f"more-{number}" for number in range(300)]
    await engine.schedule_many([*many, "order-7"], start=True, store=store)
    await engine.schedule_many(many, start=True, store=store)
    await engine.schedule("more-7", start=True)
    await engine.close()

    assert own_redis.command("XLEN", "asana-jobs-many starts:stream") == ":600\r\n"
