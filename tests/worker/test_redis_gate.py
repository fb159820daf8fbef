"""A budget in Redis, as one process sees it: real time, a real server, quotas large enough to be quick."""

import asyncio
from itertools import pairwise

import pytest
from redis_process import RedisProcess

from asana_jobs import AsanaClient, RateLimits
from asana_jobs.errors import TokenError
from asana_jobs.gates import Priority, Traffic
from asana_jobs.testing import AsanaSimulator
from asana_jobs.worker import BudgetUnavailableError, RedisGate
from asana_jobs.worker._leases import RedisLease
from asana_jobs.worker._redis import Store
from asana_jobs.worker._redis_gate import ask_over


pytestmark = pytest.mark.looptime(False)  # noqa: FBT003  # its way

#: 50 requests a second: a burst of 50, then one every 20 ms or a little more.
FAST = RateLimits(requests_per_minute=3000)
#: A burst of 5, then one every 0.21 s: however slow this machine is, what comes next has to wait.
SCARCE = RateLimits(requests_per_minute=300)


async def grants(gate: RedisGate, count: int, priority: Priority = Priority.FOREGROUND) -> list[float]:
    """Return when each of *count* requests might go, sorted, by the clock of Redis, which this process cannot delay."""

    async def one() -> float:
        lease = await gate.acquire(Traffic.READ, priority)
        assert isinstance(lease, RedisLease)
        lease.release()
        return lease.at

    return sorted(await asyncio.gather(*(one() for _ in range(count))))


async def test_a_burst_goes_at_once(redis_url: str, budget: str) -> None:
    """After a quiet time, about a second's worth of requests goes at once."""
    async with RedisGate(redis_url, budget=budget, limits=FAST) as gate:
        times = await grants(gate, 50)

    assert times[-1] - times[0] < 0.5


async def test_after_the_burst_requests_are_spaced(redis_url: str, budget: str) -> None:
    """What comes after the burst goes at the pace of the quota, not faster."""
    async with RedisGate(redis_url, budget=budget, limits=FAST) as gate:
        times = await grants(gate, 90)

    assert 0.85 < times[-1] - times[0] < 1.6  # 40 more at (3000 - 50) / 63 a second


async def test_two_processes_share_one_pace(redis_url: str, budget: str) -> None:
    """Two gates of one budget let through together what one of them would let through alone."""
    async with (
        RedisGate(redis_url, budget=budget, limits=FAST) as one,
        RedisGate(redis_url, budget=budget, limits=FAST) as two,
    ):
        found = await asyncio.gather(grants(one, 45), grants(two, 45))

    times = sorted(found[0] + found[1])
    assert 0.85 < times[-1] - times[0] < 1.6


async def test_two_processes_are_both_served(redis_url: str, budget: str) -> None:
    """Neither of two processes that always want more is kept waiting until the other is done."""
    async with (
        RedisGate(redis_url, budget=budget, limits=FAST) as one,
        RedisGate(redis_url, budget=budget, limits=FAST) as two,
    ):
        await grants(one, 50)  # the burst
        found = await asyncio.gather(grants(one, 40), grants(two, 40))

    assert abs(found[0][-1] - found[1][-1]) < 0.7


async def test_budgets_of_other_tokens_are_apart(redis_url: str) -> None:
    """A token's budget is its own: another token's requests do not count."""
    async with (
        RedisGate(redis_url, token="token-one", limits=FAST) as one,
        RedisGate(redis_url, token="token-two", limits=FAST) as two,
    ):
        await grants(one, 50)
        times = await grants(two, 50)

    assert times[-1] - times[0] < 0.5


async def test_looks_use_what_nobody_else_does(redis_url: str, budget: str) -> None:
    """While nobody else wants any of it, looks go at all of the pace, after a burst that leaves five requests."""
    async with RedisGate(redis_url, budget=budget, limits=FAST) as gate:
        times = await grants(gate, 85, Priority.ROUTINE)

    assert 0.8 < times[-1] - times[0] < 1.6  # 45 at once, 40 more at (3000 - 50) / 63 a second


async def test_routine_looks_leave_room(redis_url: str, budget: str) -> None:
    """While looks use all of the pace, five requests of the caller's own go at once."""
    async with RedisGate(redis_url, budget=budget, limits=SCARCE) as gate:
        looks = asyncio.create_task(grants(gate, 6, Priority.ROUTINE))
        await grants(gate, 1, Priority.ROUTINE)
        times = await grants(gate, 4)
        await looks

    assert times[-1] - times[0] < 0.2


async def test_looks_are_not_passed_over_for_ever(redis_url: str, budget: str) -> None:
    """While the calls of one process want all of the pace, the looks of another get about a tenth of it."""
    async with (
        RedisGate(redis_url, budget=budget, limits=FAST) as one,
        RedisGate(redis_url, budget=budget, limits=FAST) as two,
    ):
        await grants(one, 50)  # the burst
        calls, looks = await asyncio.gather(grants(one, 160), grants(two, 10, Priority.ROUTINE))

    before = sum(at < looks[-1] for at in calls)
    assert 60 <= before < 160


async def test_starts_overtake_looks(redis_url: str, budget: str) -> None:
    """When requests are scarce, starting a job goes before looks that came earlier."""
    order: list[Priority] = []

    async def go(gate: RedisGate, traffic: Traffic, priority: Priority) -> None:
        (await gate.acquire(traffic, priority)).release()
        order.append(priority)

    async with RedisGate(redis_url, budget=budget, limits=SCARCE) as gate:
        await grants(gate, 5)
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(go(gate, Traffic.READ, Priority.ROUTINE))
            await asyncio.sleep(0)
            tasks.create_task(go(gate, Traffic.WRITE, Priority.START))

    assert Priority.START in order[:2]


async def test_requests_in_flight_are_counted_together(redis_url: str, budget: str) -> None:
    """A request that would be one too many in flight waits until another process gives one back."""
    limits = RateLimits(requests_per_minute=3000, reads_in_flight=2)
    async with (
        RedisGate(redis_url, budget=budget, limits=limits) as one,
        RedisGate(redis_url, budget=budget, limits=limits) as two,
    ):
        held = await one.acquire(Traffic.READ, Priority.FOREGROUND)
        await one.acquire(Traffic.READ, Priority.FOREGROUND)
        waiting = asyncio.create_task(two.acquire(Traffic.READ, Priority.FOREGROUND))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        held.release()
        await asyncio.wait_for(waiting, 5)  # sooner than its lease is over


async def test_writes_do_not_wait_for_reads(redis_url: str, budget: str) -> None:
    """Reads and writes in flight are capped apart."""
    limits = RateLimits(requests_per_minute=3000, reads_in_flight=1)
    async with RedisGate(redis_url, budget=budget, limits=limits) as gate:
        await gate.acquire(Traffic.READ, Priority.FOREGROUND)
        await asyncio.wait_for(gate.acquire(Traffic.WRITE, Priority.FOREGROUND), 5)


async def test_a_429_pauses_everybody(redis_url: str, budget: str) -> None:
    """After a 429 in one process, another process sends nothing until Retry-After is over."""
    loop = asyncio.get_running_loop()
    async with (
        RedisGate(redis_url, budget=budget, limits=FAST) as one,
        RedisGate(redis_url, budget=budget, limits=FAST) as two,
    ):
        with await one.acquire(Traffic.READ, Priority.FOREGROUND) as lease:
            lease.penalise(0.6)
            began = loop.time()
        await asyncio.sleep(0.1)
        await grants(two, 1)

    assert 0.55 < loop.time() - began < 1.5


async def test_one_probe_reopens(redis_url: str, budget: str) -> None:
    """When a pause ends one request goes ahead, and the others wait for its answer."""
    async with (
        RedisGate(redis_url, budget=budget, limits=FAST) as one,
        RedisGate(redis_url, budget=budget, limits=FAST) as two,
    ):
        with await one.acquire(Traffic.READ, Priority.FOREGROUND) as lease:
            lease.penalise(0.2)
        await asyncio.sleep(0.1)
        probe = await one.acquire(Traffic.READ, Priority.FOREGROUND)
        other = asyncio.create_task(two.acquire(Traffic.READ, Priority.FOREGROUND))
        await asyncio.sleep(0.3)
        assert not other.done()
        probe.release()
        (await asyncio.wait_for(other, 1)).release()


async def test_a_refused_probe_pauses_again(redis_url: str, budget: str) -> None:
    """A probe that is answered 429 does not open the gate."""
    async with RedisGate(redis_url, budget=budget, limits=FAST) as gate:
        with await gate.acquire(Traffic.READ, Priority.FOREGROUND) as lease:
            lease.penalise(0.1)
        with await gate.acquire(Traffic.READ, Priority.FOREGROUND) as probe:
            probe.penalise(30.0)
        await asyncio.sleep(0.2)

        assert gate.snapshot().paused_for > 25


async def test_one_volley_of_429s_counts_once(redis_url: str, budget: str) -> None:
    """Requests that were under way when the first 429 came do not lower the quota again."""
    async with RedisGate(redis_url, budget=budget, limits=FAST) as gate:
        leases = [await gate.acquire(Traffic.READ, Priority.FOREGROUND) for _ in range(5)]
        for lease in leases:
            lease.penalise(0.1)
            lease.release()
        await asyncio.sleep(0.2)

        assert gate.snapshot().quota == pytest.approx(2000)
        assert gate.snapshot().rejected == 5


async def test_an_unknown_quota_is_found_out(redis_url: str, budget: str) -> None:
    """A token whose quota was not told starts at 150 and doubles while callers have to wait."""
    async with RedisGate(redis_url, budget=budget) as gate:
        await grants(gate, 12)
        assert gate.snapshot().quota_known is False
        await asyncio.sleep(0.1)

        assert gate.snapshot().quota >= 300


async def test_what_was_found_out_is_told(redis_url: str, budget: str) -> None:
    """A fleet that is told what an earlier client has found out begins there, and tells it to the next one."""
    limits = RateLimits(expected=600, share=0.5)
    async with RedisGate(redis_url, budget=budget, limits=limits) as gate:
        await grants(gate, 1)
        assert (gate.snapshot().quota, gate.snapshot().expected) == (300, 600)
    async with RedisGate(redis_url, budget=budget) as gate:
        await grants(gate, 1)
        assert gate.snapshot().quota == 300  # what Redis knows is newer than what anybody was told


async def test_all_that_there_is_was_found_out(redis_url: str, budget: str) -> None:
    """Once a quota has grown as far as there is any, it is told; before, and where it was configured, nothing is."""
    async with RedisGate(redis_url, budget=budget) as gate:
        await grants(gate, 1)
        assert gate.snapshot().expected is None
    async with RedisGate(redis_url, budget=f"{budget}-2", limits=RateLimits(expected=1e6)) as gate:
        await grants(gate, 1)
        assert gate.snapshot().expected == 1500
    async with RedisGate(redis_url, budget=f"{budget}-3", limits=RateLimits.paid()) as gate:
        await grants(gate, 1)
        assert gate.snapshot().expected is None


async def test_cancelled_callers_give_their_place_back(redis_url: str, budget: str) -> None:
    """Callers that are cancelled while they wait use nothing up."""
    async with RedisGate(redis_url, budget=budget, limits=FAST) as gate:
        await grants(gate, 50)
        waiting = [asyncio.create_task(gate.acquire(Traffic.READ, Priority.FOREGROUND)) for _ in range(40)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)
        times = await grants(gate, 2)

    assert times[-1] - times[0] < 0.2


async def test_a_grant_that_nobody_takes_is_returned(redis_url: str, budget: str) -> None:
    """A caller cancelled in the turn of the loop in which its turn came leaves nothing in flight."""
    async with RedisGate(redis_url, budget=budget, limits=FAST) as gate:
        for number in range(40):
            waiting = asyncio.create_task(gate.acquire(Traffic.READ, Priority.FOREGROUND))
            for _ in range(number):
                await asyncio.sleep(0)
            waiting.cancel()
            await asyncio.wait([waiting])
            if not waiting.cancelled():
                waiting.result().release()
        await asyncio.sleep(0.2)
        await grants(gate, 1)

        assert gate.snapshot().reads_in_flight <= 1


async def test_a_worker_asks_its_budget_along_with_its_other_questions(
    own_redis: RedisProcess, budget: str
) -> None:
    """It needs no connection of its own."""
    store = Store(own_redis.url)
    gate = RedisGate(own_redis.url, budget=budget, limits=FAST)
    ask_over(store, gate)
    await store("PING")
    await grants(gate, 1)
    clients = own_redis.command("CLIENT", "LIST", "TYPE", "normal").count(" laddr=")
    await gate.close()
    await store.close()

    assert clients == 2  # one of them asks for the list


async def test_a_thousand_waiters_use_one_connection(own_redis: RedisProcess, budget: str) -> None:
    """However many tasks wait, a process has one connection to Redis."""
    async with RedisGate(own_redis.url, budget=budget, limits=FAST) as gate:
        waiting = [asyncio.create_task(gate.acquire(Traffic.READ, Priority.FOREGROUND)) for _ in range(1000)]
        await asyncio.sleep(0.3)
        clients = own_redis.command("CLIENT", "LIST", "TYPE", "normal").count(" laddr=")
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)

    assert clients == 2  # ours, and the one that counts


async def test_what_a_killed_process_held_expires(redis_url: str, budget: str) -> None:
    """A lease whose process is gone is free again after it expired."""
    from asana_jobs.worker import _budget_client, _budget_protocol

    limits = RateLimits(requests_per_minute=3000, reads_in_flight=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_budget_protocol, "LEASE_SECONDS", 0.5)
        patch.setattr(_budget_client, "LEASE_SECONDS", 0.5)
        killed = RedisGate(redis_url, budget=budget, limits=limits)
        await killed.acquire(Traffic.READ, Priority.FOREGROUND)
        [task] = [task for task in asyncio.all_tasks() if task.get_name() == "asana_jobs budget"]
        task.cancel()  # no renewal any more: as good as dead
        await asyncio.wait([task])
        async with RedisGate(redis_url, budget=budget, limits=limits) as gate:
            await asyncio.wait_for(gate.acquire(Traffic.READ, Priority.FOREGROUND), 2)
        await killed.close()


async def test_a_long_request_keeps_its_lease(redis_url: str, budget: str) -> None:
    """A lease lasts as long as its request, since its process renews it."""
    from asana_jobs.worker import _budget_client, _budget_protocol

    limits = RateLimits(requests_per_minute=3000, reads_in_flight=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_budget_protocol, "LEASE_SECONDS", 0.3)
        patch.setattr(_budget_client, "LEASE_SECONDS", 0.3)
        async with (
            RedisGate(redis_url, budget=budget, limits=limits) as one,
            RedisGate(redis_url, budget=budget, limits=limits) as two,
        ):
            await one.acquire(Traffic.READ, Priority.FOREGROUND)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(two.acquire(Traffic.READ, Priority.FOREGROUND), 1)


async def test_closing_gives_everything_back(redis_url: str, budget: str) -> None:
    """A gate that is closed holds nothing in Redis."""
    gate = RedisGate(redis_url, budget=budget, limits=FAST)
    for _ in range(3):
        await gate.acquire(Traffic.READ, Priority.FOREGROUND)
    await gate.close()
    async with RedisGate(redis_url, budget=budget, limits=FAST) as other:
        await grants(other, 1)

        assert other.snapshot().reads_in_flight <= 1


async def test_a_closed_gate_says_so(redis_url: str, budget: str) -> None:
    """Asking a gate that was closed raises instead of waiting."""
    gate = RedisGate(redis_url, budget=budget)
    await gate.close()

    with pytest.raises(BudgetUnavailableError, match="closed"):
        await gate.acquire(Traffic.READ, Priority.FOREGROUND)


async def test_an_idle_gate_has_no_task(redis_url: str, budget: str) -> None:
    """When nothing is in flight and nobody waits, no task runs in the background."""
    async with RedisGate(redis_url, budget=budget) as gate:
        await grants(gate, 1)
        await asyncio.sleep(0.3)

        assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_clock_of_a_process_does_not_count(
    redis_url: str, budget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose wall clock is five minutes off is paced like the others."""
    import time

    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 300)
    async with RedisGate(redis_url, budget=budget, limits=FAST) as wrong:
        await grants(wrong, 50)
    monkeypatch.undo()
    async with RedisGate(redis_url, budget=budget, limits=FAST) as right:
        times = await grants(right, 30)

    assert all(later - earlier < 0.3 for earlier, later in pairwise(times))
    assert times[-1] - times[0] > 0.1


async def test_the_token_never_gets_to_redis(own_redis: RedisProcess) -> None:
    """No key and no value holds the token, nor does the file Redis appends to."""
    token = "1/1201234567890123:0123456789abcdef0123456789abcdef"
    async with RedisGate(own_redis.url, token=token, limits=FAST) as gate:
        await grants(gate, 3)
        keys = own_redis.command("KEYS", "*")

    assert "asana-jobs:{" in keys
    written = b"".join(path.read_bytes() for path in own_redis.folder.rglob("*") if path.is_file())
    assert token.encode() not in written
    assert b"0123456789abcdef0123456789abcdef" not in written


@pytest.mark.parametrize("arguments", [{"token": "t", "budget": "b"}, {"budget": "a b"}, {"budget": "{x}"}])
def test_what_names_a_budget_is_checked(arguments: dict[str, str]) -> None:
    """A budget has a token or a name, not both, and a name must do for a key."""
    with pytest.raises(ValueError):
        RedisGate("redis://localhost", **arguments)  # type: ignore[arg-type]


def test_a_token_is_found_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a token, the budget is that of the environment's token, and without that one there is none."""
    monkeypatch.setenv("ASANA_PAT", "test-token")
    found = RedisGate("redis://localhost").name
    monkeypatch.delenv("ASANA_PAT")

    assert found == RedisGate("redis://localhost", token="test-token").name
    with pytest.raises(TokenError):
        RedisGate("redis://localhost")


def test_an_empty_token_is_refused() -> None:
    """An empty token is said to be no token."""
    with pytest.raises(TokenError):
        RedisGate("redis://localhost", token="")


def test_a_wrong_url_is_refused() -> None:
    """A URL that is not Redis' is a ValueError at construction."""
    with pytest.raises(ValueError, match="Redis URL"):
        RedisGate("http://localhost", budget="b")


def test_the_repr_hides_the_password() -> None:
    """What is shown of a gate holds neither the password nor the token."""
    shown = repr(RedisGate("redis://:hunter2@localhost:6379/0", token="secret-token"))

    assert "hunter2" not in shown
    assert "secret-token" not in shown


async def test_a_client_uses_it(redis_url: str, simulator: AsanaSimulator) -> None:
    """A client starts and watches jobs on a shared budget as it does on one of its own."""
    async with (
        RedisGate(redis_url, token="test-token", limits=FAST) as gate,
        AsanaClient("test-token", base_url=simulator.base_url, gate=gate) as asana,
    ):
        job = await asana.duplicate_project("1203", name="Q3 launch")
        assert (await asana.wait_for_job(job, timeout=20)).succeeded
        assert asana.budget.reads_in_flight >= 0


def budget_tasks() -> list[asyncio.Task[object]]:
    """Return the tasks that talk to budgets."""
    return [task for task in asyncio.all_tasks() if task.get_name() == "asana_jobs budget"]


async def test_a_task_cancelled_by_a_stranger_is_begun_again(redis_url: str, budget: str) -> None:
    """Whoever cancels all tasks of the program, those who wait for their turn get it."""
    async with RedisGate(redis_url, budget=budget, limits=SCARCE) as gate:
        await grants(gate, 5)
        waiting = asyncio.create_task(gate.acquire(Traffic.READ, Priority.FOREGROUND))
        await asyncio.sleep(0.05)
        for task in budget_tasks():
            task.cancel()

        (await asyncio.wait_for(waiting, 5)).release()


async def test_a_failing_task_leaves_nobody_in_line(
    redis_url: str, budget: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody expected in the task that talks to Redis is told to all who wait, and does not harm the next ones."""
    from asana_jobs.worker import _budget_client

    def fail(text: str) -> None:
        raise ZeroDivisionError(len(text))

    async with RedisGate(redis_url, budget=budget, limits=FAST) as gate:
        with monkeypatch.context() as patch:
            patch.setattr(_budget_client, "read_reply", fail)
            waiting = [asyncio.create_task(gate.acquire(Traffic.READ, Priority.FOREGROUND)) for _ in range(3)]
            for task in waiting:
                with pytest.raises(BudgetUnavailableError, match="ZeroDivisionError"):
                    await asyncio.wait_for(task, 2)
        assert len(await grants(gate, 3)) == 3

    assert "the budget's task ended in an error" in caplog.text
