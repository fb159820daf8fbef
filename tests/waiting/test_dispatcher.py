"""Whose turn it is to look: one queue, one task, one timer, and no turn is ever lost."""

import asyncio
import random
from collections.abc import AsyncIterator

import attrs
import pytest

from asana_jobs import PollPolicy, RateLimits
from asana_jobs._client.assembly import make_session
from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.limits.gate import Gate, GateSnapshot, Lease, Priority, Traffic
from asana_jobs._client.waiting.dispatcher import Dispatcher, Plan
from asana_jobs._client.waiting.durations import Durations
from asana_jobs._client.waiting.schedule import next_look
from asana_jobs.errors import ClientClosedError
from asana_jobs.testing import FakeClock, ScriptedTransport


#: A look is due whatever it is worth: only the budget and the order count.
EAGER = PollPolicy(lag_price=0, initial=0)
#: One look every second, one at a time.
ONE_A_SECOND = RateLimits(requests_per_minute=62, poll_share=1.0, reads_in_flight=1)


@attrs.define
class Office:
    """A dispatcher, those who wait at it, and in which order they were served."""

    clock: FakeClock
    exchange: ApiSession
    durations: Durations = attrs.field(factory=Durations)
    served: list[str] = attrs.field(factory=list[str])
    times: list[float] = attrs.field(factory=list[float])
    leases: list[Lease] = attrs.field(factory=list[Lease])
    tasks: list[asyncio.Task[Lease | None]] = attrs.field(factory=list["asyncio.Task[Lease | None]"])
    dispatcher: Dispatcher = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dispatcher = Dispatcher(self.exchange, self.durations)

    def plan(
        self,
        *,
        kind: str | None = None,
        age: float = 10.0,
        ago: float = 0.0,
        due: float | None = None,
        policy: PollPolicy = EAGER,
    ) -> Plan:
        """Plan a look at a job that is *age* seconds old and was looked at some seconds *ago*."""
        now = self.clock.monotonic()
        return Plan(policy=policy, kind=kind, source=None, started=now - age, last_look=now - ago, due=due)

    def park(self, key: str, plan: Plan, *, keep: bool = False) -> asyncio.Task[Lease | None]:
        """Have somebody wait for a look at *key*, who returns the lease at once unless it is to *keep* it."""

        async def wait() -> Lease | None:
            with self.dispatcher.turn(key, plan) as granted:
                lease = await granted
            self.served.append(key)
            self.times.append(self.clock.monotonic())
            if lease is not None:
                self.leases.append(lease)
                if not keep:
                    lease.release()
            return lease

        task = asyncio.create_task(wait())
        self.tasks.append(task)
        return task

    @property
    def alone(self) -> bool:
        """Whether the dispatcher has no task."""
        ours = {asyncio.current_task(), *self.tasks}
        return asyncio.all_tasks() <= ours

    @property
    def timers(self) -> int:
        """How many timers are set."""
        waiting = self.clock._scheduled  # pyright: ignore[reportPrivateUsage]
        return sum(not timer.cancelled for _, _, timer in waiting)

    @property
    def in_flight(self) -> int:
        """How many leases are out."""
        return self.exchange.gate.snapshot().reads_in_flight


def exchange_of(clock: FakeClock, limits: RateLimits, gate: Gate | None = None) -> ApiSession:
    """Put together what a dispatcher asks for its budget."""
    return make_session(
        "token",
        base_url="http://127.0.0.1",
        transport=ScriptedTransport("in_progress"),
        clock=clock,
        limits=limits,
        gate=gate,
    )


@pytest.fixture
def still() -> FakeClock:
    """A clock that moves only when it is told to."""
    return FakeClock(autojump=False)


@pytest.fixture
async def office(still: FakeClock) -> AsyncIterator[Office]:
    """A dispatcher with plenty of budget."""
    office = Office(still, exchange_of(still, RateLimits(requests_per_minute=6000, poll_share=1.0)))
    yield office
    await settle(office)


@pytest.fixture
async def narrow(still: FakeClock) -> AsyncIterator[Office]:
    """A dispatcher with a budget of one look at a time."""
    office = Office(still, exchange_of(still, ONE_A_SECOND))
    yield office
    await settle(office)


async def settle(office: Office) -> None:
    """Send everybody home."""
    for task in office.tasks:
        task.cancel()
    await asyncio.gather(*office.tasks, return_exceptions=True)


# One task, one timer, and none without need.


async def test_a_thousand_waits_are_one_task_and_one_timer(office: Office) -> None:
    """However many wait, the dispatcher has one task and one timer."""
    for number in range(1000):
        office.park(str(number), office.plan(due=100.0 + number))
    await office.clock.advance(1)

    others = asyncio.all_tasks() - {asyncio.current_task(), *office.tasks}

    assert (len(office.dispatcher), len(others), office.timers) == (1000, 1, 1)


async def test_no_task_before_the_first_wait(office: Office) -> None:
    """A dispatcher that nobody asked has no task."""
    assert office.alone


async def test_no_task_after_the_last_grant(office: Office) -> None:
    """When the last one was served, the task ends."""
    office.park("1", office.plan())
    await office.clock.advance(1)

    assert office.served == ["1"]
    assert (office.alone, office.timers, len(office.dispatcher)) == (True, 0, 0)


async def test_no_task_after_the_last_one_gave_up(office: Office) -> None:
    """When the last one stops waiting, long before its look is due, the task ends and the timer is off."""
    waiting = office.park("1", office.plan(due=1000.0))
    await office.clock.advance(1)
    waiting.cancel()
    await office.clock.advance(0)

    assert (office.alone, office.timers, len(office.dispatcher)) == (True, 0, 0)


async def test_no_task_after_the_last_one_gave_up_waiting_for_budget(narrow: Office) -> None:
    """When the last one stops waiting while the budget is used up, the task ends and its place is free."""
    narrow.park("1", narrow.plan(), keep=True)
    await narrow.clock.advance(0)
    waiting = narrow.park("2", narrow.plan())
    await narrow.clock.advance(5)
    waiting.cancel()
    await narrow.clock.advance(0)

    assert (narrow.alone, narrow.timers) == (True, 0)
    assert narrow.exchange.gate.snapshot().waiting[Priority.ROUTINE] == 0


async def test_it_starts_again_after_it_ended(office: Office) -> None:
    """Whoever comes after the task has ended is served like the first."""
    office.park("1", office.plan(due=1000.0)).cancel()
    await office.clock.advance(1)
    office.park("2", office.plan(due=5.0))
    await office.clock.advance(10)

    assert (office.served, office.times) == (["2"], [5.0])


async def test_it_starts_again_in_the_turn_in_which_it_ends(office: Office) -> None:
    """Somebody who comes in the very turn in which the last one leaves is served."""
    first = office.park("1", office.plan(due=1000.0))
    await office.clock.advance(1)
    first.cancel()
    office.park("2", office.plan(due=5.0))
    await office.clock.advance(10)

    assert office.served == ["2"]


# Who is next.


async def test_the_longest_unseen_of_equal_jobs_goes_first(narrow: Office) -> None:
    """Of jobs alike, the one that was looked at longest ago goes first, whatever the order of arrival."""
    for key, ago in (("b", 2.0), ("d", 0.5), ("a", 3.0), ("c", 1.0)):
        narrow.park(key, narrow.plan(ago=ago))
    await narrow.clock.advance(10)

    assert narrow.served == ["a", "b", "c", "d"]


async def test_a_kind_about_to_finish_goes_first(narrow: Office) -> None:
    """Of jobs unseen equally long, the one whose kind usually finishes at its age goes first."""
    for _ in range(50):
        narrow.durations.observe("soon", 8.0, 10.0, finished=True)
        narrow.durations.observe("late", 0.0, 100.0, finished=False)
        narrow.durations.observe("late", 100.0, 110.0, finished=True)
    narrow.park("late", narrow.plan(kind="late", ago=2.0))
    narrow.park("soon", narrow.plan(kind="soon", ago=2.0))
    await narrow.clock.advance(5)

    assert narrow.served == ["soon", "late"]


async def test_who_is_looked_at_is_decided_when_there_is_room(narrow: Office) -> None:
    """A better look that comes up while the budget is used up goes before those that waited for it."""
    narrow.park("0", narrow.plan(), keep=True)
    await narrow.clock.advance(0)
    narrow.park("early", narrow.plan(ago=1.0))
    await narrow.clock.advance(3)
    narrow.park("better", narrow.plan(ago=9.0))
    await narrow.clock.advance(0)
    narrow.leases[0].release()
    await narrow.clock.advance(5)

    assert narrow.served == ["0", "better", "early"]


async def test_looks_keep_the_pace(narrow: Office) -> None:
    """Any number of jobs due at once are looked at no faster than the budget lets them."""
    for number in range(12):
        narrow.park(str(number), narrow.plan(ago=1.0))
    await narrow.clock.advance(3)

    assert len(narrow.served) == pytest.approx(1 + 3, abs=1)  # the burst is kept for calls


async def test_no_more_than_may_be_in_flight(narrow: Office) -> None:
    """While the one look that may be under way is not answered, nobody else is granted one."""
    narrow.park("1", narrow.plan(ago=2.0), keep=True)
    narrow.park("2", narrow.plan(ago=1.0))
    await narrow.clock.advance(60)

    assert narrow.served == ["1"]


# When.


async def test_a_look_waits_until_it_is_worth_its_price(office: Office) -> None:
    """A job alone on an idle budget is looked at when the schedule says, not sooner."""
    policy = PollPolicy(lag_price=0.1)
    office.park("1", office.plan(policy=policy))
    await office.clock.advance(60)

    expected = next_look(policy, office.durations, None, 10.0)
    assert office.times == [pytest.approx(expected, abs=1e-3)]


async def test_a_moment_is_kept_whatever_a_look_is_worth(office: Office) -> None:
    """A wait strategy's moment is when the look comes, early or late."""
    office.park("late", office.plan(due=50.0))
    office.park("early", office.plan(due=0.01, policy=PollPolicy(lag_price=100.0)))
    await office.clock.advance(60)

    assert (office.served, office.times) == (["early", "late"], [0.01, 50.0])


async def test_who_comes_later_and_wants_it_earlier_is_served_earlier(office: Office) -> None:
    """A sleeping dispatcher is woken by somebody whose look is due before those it sleeps for."""
    office.park("1", office.plan(due=50.0))
    await office.clock.advance(10)
    office.park("2", office.plan(due=20.0))
    await office.clock.advance(15)

    assert (office.served, office.times) == (["2"], [20.0])


# Several waiters on one job.


async def test_one_look_for_all_who_wait_for_a_job(office: Office) -> None:
    """Of several waiters on one job one gets the right to look, and the others go on with its answer."""
    tasks = [office.park("1", office.plan(due=5.0)) for _ in range(3)]
    await office.clock.advance(10)
    assert office.served == ["1"]
    office.dispatcher.wake("1")
    await office.clock.advance(0)

    leases = [task.result() for task in tasks]
    assert [lease is not None for lease in leases].count(True) == 1


async def test_others_are_served_while_an_answer_is_awaited(office: Office) -> None:
    """While waiters on one job wait for the answer to a look at it, newcomers on other jobs are served."""
    for _ in range(2):
        office.park("1", office.plan(due=5.0))
    await office.clock.advance(10)
    office.park("2", office.plan())
    await office.clock.advance(1)

    assert office.served == ["1", "2"]


async def test_the_earliest_of_several_waiters_decides(office: Office) -> None:
    """A job is looked at when the first of its waiters wants it, whichever of them came first."""
    office.park("1", office.plan(due=40.0))
    office.park("1", office.plan(due=5.0))
    office.park("1", office.plan(due=20.0))
    await office.clock.advance(10)

    assert office.times == [5.0]


async def test_waking_takes_a_job_out_of_the_queue(office: Office) -> None:
    """After somebody else has looked, nobody is sent to look again."""
    waiting = office.park("1", office.plan(due=5.0))
    await office.clock.advance(1)
    office.dispatcher.wake("1")
    await office.clock.advance(60)

    assert (waiting.result(), office.times, len(office.dispatcher)) == (None, [1.0], 0)


async def test_waking_nobody_is_harmless(office: Office) -> None:
    """A job that nobody waits for can be woken."""
    office.dispatcher.wake("1")

    assert len(office.dispatcher) == 0


# Cancelled in the very moment.


async def granted_then_cancelled(office: Office, waiting: asyncio.Task[Lease | None]) -> None:
    """Cancel *waiting* between being granted its turn and running."""
    for _ in range(100):
        await asyncio.sleep(0)
        if office.in_flight:
            break
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()


async def test_a_turn_granted_to_somebody_cancelled_is_given_back(narrow: Office) -> None:
    """Cancelled in the very turn of its grant, a waiter leaves no lease behind."""
    await granted_then_cancelled(narrow, narrow.park("1", narrow.plan()))

    assert (narrow.in_flight, len(narrow.dispatcher), narrow.served) == (0, 0, [])


async def test_a_turn_granted_to_somebody_cancelled_goes_to_another_on_the_job(narrow: Office) -> None:
    """Cancelled in the very turn of its grant, a waiter hands the look on to another on the same job."""
    first = narrow.park("1", narrow.plan())
    second = narrow.park("1", narrow.plan())
    await granted_then_cancelled(narrow, first)
    await narrow.clock.advance(0)

    assert second.result() is not None
    assert narrow.in_flight == 0


async def test_a_turn_granted_to_somebody_cancelled_goes_to_the_next_job(narrow: Office) -> None:
    """Cancelled in the very turn of its grant, a waiter does not hold up the other jobs."""
    first = narrow.park("1", narrow.plan(ago=2.0))
    narrow.park("2", narrow.plan(ago=1.0))
    await granted_then_cancelled(narrow, first)
    await narrow.clock.advance(2)

    assert (narrow.served, narrow.in_flight) == (["2"], 0)


async def test_somebody_woken_and_cancelled_takes_nothing_along(office: Office) -> None:
    """Cancelled in the very turn in which it was woken, a waiter leaves nothing behind."""
    waiting = office.park("1", office.plan(due=50.0))
    await office.clock.advance(1)
    office.dispatcher.wake("1")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)

    assert (waiting.cancelled(), len(office.dispatcher), office.in_flight) == (True, 0, 0)


@pytest.mark.parametrize("seed", range(20))
async def test_no_turn_and_no_lease_is_lost(still: FakeClock, seed: int) -> None:
    """Whatever comes in whatever order, everybody who stays is served, and every lease comes back."""
    source = random.Random(seed)  # noqa: S311  # repeatable on purpose
    limits = RateLimits(requests_per_minute=600, poll_share=1.0, reads_in_flight=3)
    office = Office(still, exchange_of(still, limits))
    stay: list[asyncio.Task[Lease | None]] = []
    for _ in range(150):
        match source.choice(["park", "park", "park", "cancel", "wake", "answer", "time"]):
            case "park":
                due = source.choice([None, still.monotonic() + source.random() * 5])
                plan = office.plan(ago=source.random() * 5, due=due)
                stay.append(office.park(str(source.randrange(12)), plan, keep=True))
            case "cancel" if stay:
                stay.pop(source.randrange(len(stay))).cancel()
            case "wake":
                office.dispatcher.wake(str(source.randrange(12)))
            case "answer" if office.leases:
                office.leases.pop(source.randrange(len(office.leases))).release()
            case _:
                await still.advance(source.random())
        for _ in range(source.randrange(4)):
            await asyncio.sleep(0)
    for _ in range(100):
        await still.advance(1)
        for lease in office.leases:
            lease.release()
        for gid in range(12):
            office.dispatcher.wake(str(gid))

    assert all(task.done() for task in stay)
    assert (office.in_flight, len(office.dispatcher), office.alone, office.timers) == (0, 0, True, 0)


# When it ends badly.


async def test_closing_ends_every_wait_with_an_error_of_its_own(office: Office) -> None:
    """When the client is closed, everybody gets a ClientClosedError, and no two the same one."""
    tasks = [office.park(str(number), office.plan(due=1000.0)) for number in range(3)]
    await office.clock.advance(1)
    office.exchange.lifetime.close()
    await office.exchange.lifetime.settled()
    errors = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(error) for error in errors] == [ClientClosedError] * 3
    assert len({id(error) for error in errors}) == 3
    assert (office.alone, office.timers, len(office.dispatcher)) == (True, 0, 0)


async def test_a_closed_client_grants_no_turn(office: Office) -> None:
    """Nobody can line up once the client is closed."""
    office.exchange.lifetime.close()

    with pytest.raises(ClientClosedError):
        await office.park("1", office.plan())

    assert len(office.dispatcher) == 0


class BrokenGate:
    """A budget that cannot be asked, until it is mended."""

    def __init__(self, exchange: ApiSession) -> None:
        self.broken = True
        self._gate = exchange.gate

    async def acquire(self, traffic: Traffic, priority: Priority) -> Lease:
        """Fail, or pass on."""
        if self.broken:
            raise OSError("the budget is out of reach")
        return await self._gate.acquire(traffic, priority)

    def snapshot(self) -> GateSnapshot:
        """Pass on."""
        return self._gate.snapshot()


@pytest.fixture
async def broken(still: FakeClock) -> AsyncIterator[tuple[Office, BrokenGate]]:
    """A dispatcher whose budget cannot be asked."""
    gate = BrokenGate(exchange_of(still, RateLimits.paid()))
    office = Office(still, exchange_of(still, RateLimits.paid(), gate))
    yield office, gate
    await settle(office)


async def test_a_budget_out_of_reach_is_told_to_everybody(broken: tuple[Office, BrokenGate]) -> None:
    """When the budget cannot be asked, everybody who waits gets its error."""
    office, _ = broken
    tasks = [office.park(str(number), office.plan(due=float(number))) for number in range(3)]
    await office.clock.advance(1)

    assert [type(task.exception()) for task in tasks] == [OSError] * 3
    assert (office.alone, len(office.dispatcher)) == (True, 0)


async def test_a_budget_back_in_reach_is_used_again(broken: tuple[Office, BrokenGate]) -> None:
    """After an error of the budget the next wait asks it anew."""
    office, gate = broken
    failed = office.park("1", office.plan())
    await office.clock.advance(1)
    assert failed.exception() is not None
    gate.broken = False
    office.park("1", office.plan())
    await office.clock.advance(1)

    assert office.served == ["1"]


async def test_a_right_to_look_that_nobody_uses_is_no_answer(office: Office) -> None:
    """What was granted to somebody who is cancelled in that moment goes back as not answered: it proves nothing."""
    lease = await office.exchange.gate.acquire(Traffic.READ, Priority.ROUTINE)
    released: list[bool] = []

    class Spy(Lease):
        def release(self, *, answered: bool = True) -> None:
            released.append(answered)
            lease.release(answered=answered)

        def penalise(self, retry_after: float | None) -> None: ...

    with pytest.raises(asyncio.CancelledError), office.dispatcher.turn("1", office.plan(due=1e9)) as granted:
        granted.set_result(Spy())
        raise asyncio.CancelledError

    assert released == [False]
