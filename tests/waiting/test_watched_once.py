"""A job is watched once, whoever waits: what was decided about those who share a watched job, row by row."""

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from tenacity import RetryCallState, wait_fixed

from asana_jobs import AsanaClient, Job, PollPolicy, RateLimits, Response
from asana_jobs._client.http.protocol import Request
from asana_jobs._client.limits.gate import LocalGate, LocalLease, Priority, Traffic
from asana_jobs._client.waiting.job_reference import JobReference
from asana_jobs._client.waiting.monitor import BUFFERED_CHANGES
from asana_jobs._client.waiting.poller import Poller
from asana_jobs.errors import (
    JobTimeoutError,
    NotFoundError,
    PermissionDeniedError,
    ServerError,
    TransportError,
)
from asana_jobs.testing import FakeClock, ScriptedTransport
from asana_jobs.testing._scripted_transport import ScriptedAnswer


def watched(client: AsanaClient) -> int:
    """How many jobs somebody is interested in."""
    return len(client._poller.watched)  # pyright: ignore[reportPrivateUsage]


async def wait(waiter: Awaitable[Job]) -> Job:
    """Await a waiter, as a task of its own."""
    return await waiter


class Looks:
    """The moments of looks, and a server that answers by a function of the moment."""

    def __init__(self, clock: FakeClock, answer: Callable[[float], ScriptedAnswer]) -> None:
        self._clock = clock
        self._answer = answer
        self.at: list[float] = []

    def __call__(self, _: Request) -> ScriptedAnswer:
        """Answer."""
        self.at.append(self._clock.monotonic())
        return self._answer(self.at[-1])


# Interest.


async def test_nobody_looks_for_a_waiter_between_two_uses(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """While the body of a loop works, or nobody goes on, no look is made; what was due is looked at on return."""
    transport.play("not_started", "in_progress", "succeeded")
    waiter = client.wait_for_job("1203", poll=wait_fixed(10))
    await anext(waiter)
    assert watched(client) == 0
    await clock.sleep(1000)
    assert len(transport.requests) == 1

    await anext(waiter)

    assert (len(transport.requests), clock.monotonic()) == (2, 1000)


async def test_a_monitor_is_interested_from_its_beginning_to_its_end(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Jobs are looked at while the block lasts, read or not, and not a moment longer."""
    transport.play("in_progress")
    async with client.monitor_jobs(["1203"], poll=wait_fixed(10)):
        await clock.sleep(35)
        assert (watched(client), len(transport.requests)) == (1, 4)
    await clock.sleep(100)

    assert (watched(client), len(transport.requests)) == (0, 4)


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another thread"])
async def test_a_wait_that_is_dropped_is_forgotten(
    elsewhere: bool, client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A suspended wait that nobody holds any more polls no further, whichever thread frees it."""
    transport.play("in_progress")
    held = [client.wait_for_job("1203", poll=wait_fixed(10))]
    held[0].send(None)
    await clock.sleep(25)
    assert (watched(client), len(transport.requests)) == (1, 3)

    if elsewhere:
        thread = threading.Thread(target=held.clear)
        thread.start()
        thread.join()
    else:
        held.clear()
    gc.collect()
    await clock.sleep(100)

    assert (watched(client), len(transport.requests)) == (0, 3)


def test_a_waiter_of_another_threads_loop_registers_nothing(clock: FakeClock) -> None:
    """Who waits on a second loop is told so at the first use, and the first loop does not notice."""
    transport = ScriptedTransport("in_progress")
    client = AsanaClient("test-token", transport=transport, clock=clock)
    refused: list[BaseException] = []

    async def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="another event loop") as caught:
            await client.wait_for_job("1204")
        refused.append(caught.value)

    async def main() -> None:
        await anext(client.wait_for_job("1203"))
        await asyncio.to_thread(asyncio.run, elsewhere())
        known = client._poller._others  # pyright: ignore[reportPrivateUsage]
        assert "1204" not in known
        await client.close()

    asyncio.run(main())

    assert len(refused) == 1
    assert [request.gid for request in transport.requests] == ["1203"]


async def test_other_fields_leave_nothing_behind(client: AsanaClient, transport: ScriptedTransport) -> None:
    """That a job was asked for with other fields is forgotten with the last who did."""
    transport.play("succeeded")
    for gid in range(1, 20):
        fields = (None, ["status"], ["status", "new_task"])
        await asyncio.gather(*(client.wait_for_job(str(gid), opt_fields=some) for some in fields))

    assert not client._poller._fields  # pyright: ignore[reportPrivateUsage]


# Cancelled.


async def test_the_last_one_to_leave_ends_the_look(clock: FakeClock) -> None:
    """The look goes on while anybody is interested; with the last it is cancelled, and its place comes back."""
    ended: list[str] = []

    async def hang(_: Request) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return "in_progress"

    transport = ScriptedTransport(hang)
    async with AsanaClient(
        "test-token", transport=transport, clock=clock, limits=RateLimits.paid()
    ) as client:
        waits = [asyncio.create_task(wait(client.wait_for_job("1203"))) for _ in range(20_000)]
        await clock.sleep(1)
        for task in waits[1:]:
            task.cancel()
        await asyncio.wait(waits[1:])
        assert (ended, len(transport.requests), client.budget.reads_in_flight) == ([], 1, 1)
        used = client.budget.used

        waits[0].cancel()
        await asyncio.wait(waits)

        assert (ended, client.budget.reads_in_flight, watched(client)) == (["cancelled"], 0, 0)
        assert client.budget.used == used  # what was sent was sent


async def calls_of_each(client: AsanaClient, clock: FakeClock, waits: int) -> float:
    """How many functions are called for each of so many who wait for one job that is not due, and give up in turn."""
    calls = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal calls
        calls += event == "call"

    job = Job("1203", status="in_progress")
    tasks = [asyncio.create_task(wait(client.wait_for_job(job))) for _ in range(waits)]
    sys.setprofile(note)
    try:
        await clock.sleep(1)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    finally:
        sys.setprofile(None)
    return calls / waits


async def test_who_comes_and_goes_costs_the_same_however_many_wait(
    clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Between two looks, thousands who wait for the same are not compared with each other."""
    poll = PollPolicy(initial=100)
    async with AsanaClient("test-token", transport=transport, clock=clock, poll=poll) as client:
        few, many = [await calls_of_each(client, clock, waits) for waits in (30, 1500)]

    assert many < 2 * few
    assert transport.requests == []


async def test_when_the_wait_that_renews_a_token_is_cancelled_the_next_one_renews(clock: FakeClock) -> None:
    """Ten looks with a token that has expired ask for one new one; if who asks is cancelled, the next in line does."""
    asked: list[asyncio.Future[str]] = []

    async def provide() -> str:
        asked.append(asyncio.get_running_loop().create_future())
        return await asked[-1]

    transport = ScriptedTransport(
        lambda request: 401 if request.authorization == "Bearer old" else "succeeded"
    )
    async with AsanaClient(provide, transport=transport, clock=clock, limits=RateLimits.paid()) as client:
        waits = [asyncio.create_task(wait(client.wait_for_job(str(gid)))) for gid in range(10)]
        for renewals, word in enumerate(("old", "lost", "new"), 1):
            while len(asked) < renewals:  # noqa: ASYNC110  # the provider has no event for it
                await asyncio.sleep(0)
            await clock.sleep(0)
            if word == "lost":
                assert len(transport.requests) == 10  # all of them were refused
                waits[0].cancel()
                await asyncio.wait(waits[:1])
            else:
                asked[-1].set_result(word)

        jobs = await asyncio.gather(*waits[1:])

    assert [job.status for job in jobs] == ["succeeded"] * 9
    assert (len(asked), len(transport.requests)) == (3, 19)


async def test_a_look_that_a_stranger_cancels_is_made_again(clock: FakeClock) -> None:
    """Whoever cancels the task of a look delays nothing: the job is due at once, and its waiters do not notice."""
    entered = 0

    async def hang(_: Request) -> str:
        nonlocal entered
        entered += 1
        if entered < 4:
            await asyncio.Event().wait()
        return "succeeded"

    transport = ScriptedTransport(hang)
    async with AsanaClient("test-token", transport=transport, clock=clock) as client:
        waiting = asyncio.create_task(wait(client.wait_for_job("1203")))
        for expected in (1, 2, 3):
            await clock.sleep(1)
            assert entered == expected
            for task in asyncio.all_tasks() - {asyncio.current_task(), waiting}:
                task.cancel()

        assert (await waiting).succeeded
        assert (entered, clock.monotonic()) == (4, 3)
        assert client.budget.reads_in_flight == 0


async def test_a_mistake_of_ours_ends_the_waits_and_is_not_made_again(
    client: AsanaClient, transport: ScriptedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the library itself breaks amid a look, everybody is told, and nobody looks on for ever."""
    transport.play("in_progress")

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Poller, "_answered", broken)

    errors = await asyncio.gather(*(client.wait_for_job("1203") for _ in range(2)), return_exceptions=True)

    assert [type(error) for error in errors] == [ZeroDivisionError] * 2
    assert (len(transport.requests), watched(client), client.budget.reads_in_flight) == (1, 0, 0)


# Strategies.


async def test_each_wait_asks_its_strategy_about_every_look(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A strategy is asked once after each look that its wait was told of, those that another one caused too."""
    transport.play("not_started", *["in_progress"] * 4, "succeeded")
    asked: dict[str, list[tuple[int, str | None]]] = {"hasty": [], "calm": []}

    def strategy(name: str, gap: float) -> Callable[[RetryCallState], float]:
        def answer(state: RetryCallState) -> float:
            assert state.outcome is not None
            asked[name].append((state.attempt_number, state.outcome.result().status))
            return gap

        return answer

    await asyncio.gather(
        client.wait_for_job("1203", poll=strategy("hasty", 2)),
        client.wait_for_job("1203", poll=strategy("calm", 3)),
    )

    assert asked["hasty"] == asked["calm"]
    assert asked["hasty"] == [(1, "not_started"), *((number, "in_progress") for number in (2, 3, 4, 5))]
    assert clock.monotonic() == 10  # the earliest wins, and both are asked anew from that answer


async def test_what_a_strategy_raises_ends_its_own_wait(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Others on the same job go on."""
    transport.play("in_progress", "in_progress", "succeeded")

    def broken(_: RetryCallState) -> float:
        raise LookupError("no idea")

    outcomes = await asyncio.gather(
        client.wait_for_job("1203", poll=broken),
        client.wait_for_job("1203", poll=wait_fixed(5)),
        client.wait_for_job("1203"),
        return_exceptions=True,
    )

    assert isinstance(outcomes[0], LookupError)
    assert [isinstance(outcome, Job) and outcome.succeeded for outcome in outcomes[1:]] == [True, True]


async def test_what_others_saw_meanwhile_is_yielded_without_another_look(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Who reads every look, and was away, is told of the last one that was made for others, though nothing is new."""
    transport.play("in_progress")
    reader = client.wait_for_job("1203", every_poll=True)
    await anext(reader)
    other = asyncio.ensure_future(wait(client.wait_for_job("1203")))
    await clock.sleep(30)
    asked = len(transport.requests)

    assert (await anext(reader)).status == "in_progress"
    assert 1 < asked == len(transport.requests)
    other.cancel()


async def test_what_others_saw_in_other_words_is_no_change(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Who reads changes, and was away while others saw the same state written differently, waits for the next one."""
    answers = [
        '{"data":{"gid":"1203","status":"in_progress"}}',
        '{"data": {"status": "in_progress", "gid": "1203"}}',
    ]
    first, later = (
        Response(status=200, headers={"content-type": "application/json"}, body=text.encode())
        for text in answers
    )
    transport.play(first, later)
    reader = client.wait_for_job("1203")
    assert (await anext(reader)).status == "in_progress"
    other = asyncio.ensure_future(wait(client.wait_for_job("1203")))
    await clock.sleep(30)
    transport.play("succeeded")

    assert (await anext(reader)).status == "succeeded"
    assert (await other).succeeded


async def test_the_policy_that_wants_a_look_first_has_it(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Of several policies on one job the one to which a look is worth its price first decides."""
    looks = Looks(clock, lambda _: "in_progress")
    transport.play(looks)
    cheap, dear = PollPolicy(lag_price=0.01), PollPolicy(lag_price=5.0)
    tasks = [
        asyncio.create_task(wait(client.wait_for_job("1203", poll=poll))) for poll in (dear, cheap, dear)
    ]
    await clock.sleep(20)
    shared = len(looks.at)
    tasks[1].cancel()
    await clock.sleep(20)

    assert shared > 40
    assert len(looks.at) - shared < 12
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


# Trouble.


async def test_patience_begins_with_the_wait_or_the_trouble_whichever_is_later(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """Whoever comes amid a streak of failures has his whole patience, and does not take the others along."""
    transport.play(lambda _: "succeeded" if clock.monotonic() >= 300 else 503)
    first = asyncio.create_task(wait(client.wait_for_job("1203", poll=PollPolicy(give_up_after=1000))))
    await clock.sleep(100)
    began = clock.monotonic()

    with pytest.raises(ServerError):
        await client.wait_for_job("1203", poll=PollPolicy(give_up_after=50))

    assert 50 <= clock.monotonic() - began < 50 + 31
    assert (await first).succeeded


async def test_404s_are_counted_from_the_first_use(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """404s that others met before do not end a wait that meets its first, and those of its token count."""
    met = 0

    def answer(_: Request) -> ScriptedAnswer:
        nonlocal met
        met += 1
        return 404

    transport.play(answer)
    past = clock.now()
    seen = JobReference(gid="1203", started_at=past, looked_at=past, looks=1, last_status="in_progress")
    await clock.sleep(60)
    first = asyncio.create_task(wait(client.wait_for_job(seen.to_token(), poll=wait_fixed(5))))
    while met < 2:
        await clock.sleep(1)
    second = asyncio.create_task(wait(client.wait_for_job(seen.to_token(), poll=wait_fixed(5))))
    with pytest.raises(NotFoundError):
        await first
    assert met == 3
    with pytest.raises(NotFoundError):
        await second

    assert met == 5


async def test_a_retry_after_holds_for_everybody_on_the_job(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A 503 that asks for a pause moves the next look of all who wait for the job, and of nobody else."""
    looks = Looks(
        clock, lambda at: "succeeded" if at else Response(status=503, headers={"retry-after": "40"})
    )
    transport.play(looks)

    await asyncio.gather(
        client.wait_for_job("1203", poll=wait_fixed(1)), client.wait_for_job("1203", poll=wait_fixed(90))
    )

    assert looks.at == [0, 40]


async def test_the_last_look_is_made_while_asana_answers_nobody(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """At a deadline a look goes out although all others are held back."""
    lost = TransportError("lost", method="GET", path="/jobs/1", gid="1")
    transport.play(lambda request: "succeeded" if request.gid == "99" and clock.monotonic() > 100 else lost)
    others = [asyncio.create_task(wait(client.wait_for_job(str(gid)))) for gid in range(1, 11)]
    await clock.sleep(99.7)

    job = await client.wait_for_job("99", timeout=1)

    assert job.succeeded
    for task in others:
        task.cancel()
    await asyncio.wait(others)


async def test_every_subscriber_raises_a_copy_of_its_own(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Errors of one look share a cause and nothing else, so that no traceback grows another's frames."""
    refused = TransportError("lost", method="GET", path="/jobs/1203", gid="1203")
    refused.__cause__ = OSError("broken pipe")
    transport.play(refused)
    poll = PollPolicy(give_up_after=0)

    errors = await asyncio.gather(
        *(client.wait_for_job("1203", poll=poll) for _ in range(3)), return_exceptions=True
    )

    assert len({id(error) for error in [*errors, refused]}) == 4
    for error in errors:
        assert isinstance(error, TransportError)
        assert (str(error), error.__cause__, error.__context__) == (str(refused), refused.__cause__, None)
    assert len({id(error.__traceback__) for error in errors if isinstance(error, BaseException)}) == 3


# Fields.


async def test_who_asks_for_other_fields_is_told_of_the_end_at_once(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """When one of several sets of fields shows the end, the others are looked at, whatever their schedule says."""
    transport.play(lambda _: "succeeded" if clock.monotonic() >= 10 else "in_progress")

    await asyncio.gather(
        client.wait_for_job("1203", poll=wait_fixed(10)),
        client.wait_for_job("1203", poll=wait_fixed(5000), opt_fields="new_project"),
        client.wait_for_job("1203", poll=wait_fixed(7000), opt_fields="new_task"),
    )

    assert clock.monotonic() == 10
    assert len(transport.requests) == 6


# Order, and contexts.


async def test_waits_are_told_in_the_order_in_which_they_came(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Those who wait for one job go on in the order of their coming, in the round of the answer."""
    transport.play("in_progress", "succeeded")
    told: list[int] = []

    async def one(number: int) -> None:
        await client.wait_for_job("1203")
        told.append(number)

    await asyncio.gather(*(one(number) for number in range(10)))

    assert told == list(range(10))


async def test_a_look_runs_in_the_context_of_who_wants_it(clock: FakeClock) -> None:
    """What a transport or a token provider finds in context variables is that of the wait whose moment it is."""
    name = contextvars.ContextVar[str]("name", default="nobody")
    seen: list[tuple[float, str]] = []

    def answer(_: Request) -> str:
        seen.append((clock.monotonic(), name.get()))
        name.set("changed by a look")
        return "in_progress"

    async def one(who: str, gap: float) -> None:
        name.set(who)
        await client.wait_for_job("1203", poll=wait_fixed(gap))

    async with AsanaClient("test-token", transport=ScriptedTransport(answer), clock=clock) as client:
        hasty, calm = asyncio.create_task(one("hasty", 4)), asyncio.create_task(one("calm", 6))
        await clock.sleep(9)
        hasty.cancel()
        await clock.sleep(7)
        calm.cancel()
        await asyncio.wait([hasty, calm])

    assert seen == [(0, "hasty"), (4, "hasty"), (8, "hasty"), (14, "calm")]


async def test_who_comes_later_looks_at_once(clock: FakeClock) -> None:
    """The look that others wait for is not soon enough for who knows nothing of the job yet."""
    looks = Looks(clock, lambda _: "in_progress")
    poll = PollPolicy(lag_price=1e9, maximum=100)
    async with AsanaClient(
        "test-token", transport=ScriptedTransport(looks), clock=clock, poll=poll
    ) as client:
        first = asyncio.create_task(wait(client.wait_for_job("1203")))
        await clock.sleep(50)
        second = asyncio.create_task(wait(client.wait_for_job("1203")))
        await clock.sleep(110)
        for task in (first, second):
            task.cancel()
        await asyncio.wait([first, second])

    assert looks.at == [0, 50, 150]


async def test_who_wants_looks_more_often_has_them_while_he_waits(clock: FakeClock) -> None:
    """Of two policies the more eager one decides, from when its wait begins until it ends."""
    looks = Looks(clock, lambda _: "in_progress")
    job = Job("1203", status="in_progress")
    calm, eager = (PollPolicy(lag_price=1e9, maximum=seconds) for seconds in (100, 10))
    async with AsanaClient("test-token", transport=ScriptedTransport(looks), clock=clock) as client:
        tasks = [
            asyncio.create_task(wait(client.wait_for_job(job, poll=poll))) for poll in (calm, eager, eager)
        ]
        await clock.sleep(25)
        for task in tasks[1:]:
            task.cancel()
        await clock.sleep(100)
        tasks[0].cancel()
        await asyncio.wait(tasks)

    assert looks.at == [10, 20, 120]


async def test_a_look_is_not_made_in_the_context_of_who_has_left(clock: FakeClock) -> None:
    """The next of those who want it at the same moment takes it over."""
    name, seen = contextvars.ContextVar[str]("name"), list[str]()

    def answer(_: Request) -> str:
        seen.append(name.get())
        return "succeeded"

    async def one(who: str) -> None:
        name.set(who)
        await client.wait_for_job(Job("1203", status="in_progress"))

    async with AsanaClient("test-token", transport=ScriptedTransport(answer), clock=clock) as client:
        leaver, stayer, last = [asyncio.create_task(one(who)) for who in ("leaver", "stayer", "last")]
        await clock.sleep(0.1)
        leaver.cancel()
        await asyncio.wait([leaver, stayer, last])

    assert seen == ["stayer"]


# A slow reader.


async def test_nobody_looks_for_a_slow_reader_when_who_wanted_it_has_left(clock: FakeClock) -> None:
    """A wait for a job that a monitor has no room for is looked for, and ends with nothing left of it."""
    transport = ScriptedTransport("in_progress", clock=clock)
    limits, poll = RateLimits(requests_per_minute=100_000), PollPolicy(lag_price=1e9, maximum=10)
    gids = [str(gid) for gid in range(1000, 1000 + BUFFERED_CHANGES + 1)]
    async with (
        AsanaClient("test-token", transport=transport, clock=clock, limits=limits, poll=poll) as client,
        client.monitor_jobs(gids),
    ):
        await clock.sleep(30)
        transport.requests.clear()
        waiting = asyncio.create_task(wait(client.wait_for_job(gids[-1])))
        await clock.sleep(15)
        waiting.cancel()
        await clock.sleep(100)

        assert len([request for request in transport.requests if request.gid == gids[-1]]) == 2


async def test_of_what_a_slow_reader_has_no_room_for_the_newest_is_kept(clock: FakeClock) -> None:
    """Looks of others update what a monitor's reader was not told yet; the job is not looked at for it alone."""
    states: dict[str, str] = {}
    transport = ScriptedTransport(lambda request: states.get(request.gid or "", "not_started"), clock=clock)
    limits = RateLimits(requests_per_minute=100_000)
    gids = [str(gid) for gid in range(1000, 1000 + BUFFERED_CHANGES + 10)]
    async with AsanaClient("test-token", transport=transport, clock=clock, limits=limits) as client:
        async with client.monitor_jobs(gids, poll=wait_fixed(1)) as monitor:
            await clock.sleep(50)
            looks = len(transport.requests)
            await clock.sleep(50)
            paused = gids[-1]
            assert paused not in [request.gid for request in transport.requests[looks:]]
            states[paused] = "in_progress"
            await anext(client.wait_for_job(paused))
            told: list[Job] = []
            async for job in monitor:
                told.append(job)
                if job.gid == paused:
                    break

        assert [job.status for job in told if job.gid == paused] == ["in_progress"]


async def test_deadlines_run_on_while_a_reader_is_slow(clock: FakeClock) -> None:
    """A job whose news nobody reads times out all the same, with what was seen last."""
    transport = ScriptedTransport("in_progress", clock=clock)
    limits = RateLimits(requests_per_minute=100_000)
    gids = [str(gid) for gid in range(1000, 1000 + BUFFERED_CHANGES + 10)]
    async with AsanaClient("test-token", transport=transport, clock=clock, limits=limits) as client:
        monitor = client.monitor_jobs(gids, poll=wait_fixed(1), timeout=30)
        with pytest.raises(ExceptionGroup) as caught:
            async with monitor:
                await clock.sleep(60)
                assert monitor.running == []

    assert len(caught.value.exceptions) == len(gids)
    assert all(
        isinstance(error, JobTimeoutError) and error.job is not None for error in caught.value.exceptions
    )


# One look for queue workers.


async def test_a_check_joins_a_look_under_way(clock: FakeClock) -> None:
    """A check does not send a second request beside a wait's, and leaves that alone when it is cancelled."""
    transport = ScriptedTransport("succeeded", clock=clock, latency=5)
    async with AsanaClient("test-token", transport=transport, clock=clock) as client:
        waiting = asyncio.create_task(wait(client.wait_for_job("1203")))
        await clock.sleep(1)
        checking = asyncio.create_task(client.check_job("1203"))
        hasty = asyncio.create_task(client.check_job("1203"))
        await clock.sleep(1)
        hasty.cancel()

        assert (await checking).done
        assert (await waiting).succeeded
    assert len(transport.requests) == 1


async def test_a_check_is_never_in_the_line(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """After its look a check is interested in nothing, and before it waits for no turn."""
    transport.play("in_progress")
    await client.check_job("1203")
    assert (watched(client), clock.sleeps) == (0, [])
    await clock.sleep(1000)

    assert len(transport.requests) == 1


async def test_a_check_that_is_cancelled_ends_its_look(clock: FakeClock) -> None:
    """The request of a check that nobody else wants is cancelled with it."""
    transport = ScriptedTransport("in_progress", clock=clock, latency=50)
    async with AsanaClient("test-token", transport=transport, clock=clock) as client:
        checking = asyncio.create_task(client.check_job("1203"))
        await clock.sleep(1)
        checking.cancel()
        await asyncio.wait([checking])

        assert (client.budget.reads_in_flight, watched(client)) == (0, 0)


# Deadlines, whatever hangs.


class Hanging(LocalGate):
    """A budget that lets nobody through from some moment on."""

    hangs = False

    async def acquire(self, traffic: Traffic, priority: Priority) -> LocalLease:
        """Pass on, or hang."""
        if self.hangs:
            await asyncio.Event().wait()
        return await super().acquire(traffic, priority)


async def hanging(request: Request) -> ScriptedAnswer:
    """Hang in the request."""
    await asyncio.Event().wait()
    return str(request.gid)


async def no_token() -> str:
    """Hang in the token provider."""
    await asyncio.Event().wait()
    return "token"


@pytest.fixture(params=["request", "token", "budget"])
async def stuck(request: pytest.FixtureRequest, clock: FakeClock) -> AsyncIterator[AsanaClient]:
    """A client in which something hangs for ever."""
    gate = Hanging(RateLimits.paid(), clock)
    gate.hangs = request.param == "budget"
    transport = ScriptedTransport(hanging) if request.param == "request" else ScriptedTransport("in_progress")
    token: Any = no_token if request.param == "token" else "test-token"
    async with AsanaClient(token, transport=transport, clock=clock, gate=gate) as client:
        yield client


@pytest.mark.parametrize(("given", "longest"), [(0, 5), (0.1, 1), (0.5, 1), (2, 2), (4, 4), (60, 5)])
async def test_a_deadline_is_kept_whatever_hangs(
    stuck: AsanaClient, clock: FakeClock, given: float, longest: float
) -> None:
    """A wait returns at most five seconds after its deadline, and at most as long after it as it lasted, or a second."""
    with pytest.raises(JobTimeoutError) as caught:
        await stuck.wait_for_job("1203", timeout=given)

    assert given <= clock.monotonic() <= given + longest + 1e-6
    assert caught.value.job is None
    assert stuck.budget.reads_in_flight <= 1


async def test_a_last_look_that_gets_no_turn_ends_with_what_was_seen(clock: FakeClock) -> None:
    """Where the budget hangs when the deadline comes, the error carries the job as it was last seen."""
    gate = Hanging(RateLimits.paid(), clock)
    transport = ScriptedTransport("in_progress", clock=clock)
    async with AsanaClient("test-token", transport=transport, clock=clock, gate=gate) as client:
        waiting = asyncio.create_task(wait(client.wait_for_job("1203", poll=wait_fixed(60), timeout=10)))
        await clock.sleep(5)
        gate.hangs = True
        with pytest.raises(JobTimeoutError) as caught:
            await waiting

    assert clock.monotonic() == 15
    assert caught.value.job is not None
    assert caught.value.job.status == "in_progress"


async def test_a_deadline_after_another_error_is_kept_again(
    client: AsanaClient, clock: FakeClock, transport: ScriptedTransport
) -> None:
    """A wait that was refused at its last look, and is used again, looks once more and no more."""
    transport.play("in_progress", 403, "in_progress")
    waiter = client.wait_for_job("1203", poll=wait_fixed(60), timeout=10)
    with pytest.raises(PermissionDeniedError):
        await waiter

    with pytest.raises(JobTimeoutError):
        await waiter

    assert (len(transport.requests), clock.monotonic()) == (3, 10)


# What it costs.


async def test_a_parked_wait_is_a_dozen_objects_and_a_monitored_job_a_few(clock: FakeClock) -> None:
    """What the garbage collector has to go through for each job that is waited for, and for each in a monitor."""
    transport = ScriptedTransport("in_progress", clock=clock)
    limits = RateLimits(requests_per_minute=1_000_000)
    poll = PollPolicy(lag_price=1e9, maximum=1e6)
    async with AsanaClient("test-token", transport=transport, clock=clock, limits=limits) as client:
        await client.get_job("1203")
        counts = [len(gc.get_objects())]
        waits = [
            asyncio.ensure_future(client.wait_for_job(str(gid), poll=poll)) for gid in range(10_000, 11_000)
        ]
        await clock.sleep(1)
        transport.requests.clear()
        gc.collect()
        counts.append(len(gc.get_objects()))
        async with client.monitor_jobs([str(gid) for gid in range(20_000, 21_000)], poll=poll) as monitor:

            async def read() -> None:
                async for _ in monitor:
                    pass

            reading = asyncio.create_task(read())
            await clock.sleep(1)
            transport.requests.clear()
            gc.collect()
            counts.append(len(gc.get_objects()))
            reading.cancel()
        for task in waits:
            task.cancel()
        await asyncio.wait(waits)

    wait_takes, entry_takes = ((after - before) / 1000 for before, after in pairwise(counts))
    assert wait_takes < 13.5  # one of them is the gid's among those that were seen
    assert entry_takes < 4.5
