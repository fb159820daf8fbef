"""Whose turn it is to be looked at: one line, one task while something is due, one timer, and no lease is ever lost."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import attrs
import pytest
from tenacity import wait_fixed
from watched import gap_at
from watched_gate import WatchedGate

from asana_jobs import AsanaClient, Job, PollPolicy, RateLimits
from asana_jobs._client.http.protocol import Request
from asana_jobs._client.limits.gate import Gate, LocalGate, LocalLease, Priority, Traffic
from asana_jobs._client.waiting.job_reference import JobReference
from asana_jobs.errors import ClientClosedError
from asana_jobs.testing import FakeClock, ScriptedTransport


#: A look is due whatever it is worth: only the budget and the order count.
EAGER = PollPolicy(lag_price=0, initial=0)
#: One look every second, one at a time.
ONE_A_SECOND = RateLimits(requests_per_minute=62, poll_share=1.0, reads_in_flight=1)
WIDE = RateLimits(requests_per_minute=6000, poll_share=1.0)


@attrs.define
class Office:
    """A client, those who wait, and in which order and when their jobs were looked at; a look shows the end."""

    clock: FakeClock
    limits: RateLimits
    gate: Gate | None = None
    served: list[str] = attrs.field(factory=list[str])
    times: list[float] = attrs.field(factory=list[float])
    tasks: list[asyncio.Task[Job]] = attrs.field(factory=list["asyncio.Task[Job]"])
    open: asyncio.Event = attrs.field(factory=asyncio.Event)
    client: AsanaClient = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.open.set()
        self.client = AsanaClient(
            "test-token",
            transport=ScriptedTransport(self.answer),
            clock=self.clock,
            limits=self.limits,
            gate=self.gate,
        )

    async def answer(self, request: Request) -> str:
        """Note the look, and answer it once the office is open."""
        self.served.append(request.gid or "")
        self.times.append(self.clock.monotonic())
        await self.open.wait()
        return "succeeded"

    def park(
        self,
        gid: str,
        *,
        kind: str | None = None,
        age: float = 10.0,
        ago: float = 0.0,
        due: float | None = None,
        poll: PollPolicy = EAGER,
    ) -> asyncio.Task[Job]:
        """Have somebody wait for a job that is *age* seconds old and was looked at some seconds *ago*.

        *due*: by a strategy of his, which wants a look at that moment.
        """
        now, wall = self.clock.monotonic(), self.clock.now()
        token = JobReference(
            gid=gid,
            kind=kind,
            started_at=wall - timedelta(seconds=age),
            looked_at=wall - timedelta(seconds=ago),
            looks=1,
            last_status="in_progress",
        ).to_token()
        strategy = poll if due is None else wait_fixed(due - now + ago)
        task = asyncio.create_task(self.client.wait_for_job(token, poll=strategy))
        self.tasks.append(task)
        return task

    @property
    def alone(self) -> bool:
        """Whether the client has no task."""
        return asyncio.all_tasks() <= {asyncio.current_task(), *self.tasks}

    @property
    def timers(self) -> int:
        """How many timers are set."""
        waiting = self.clock._scheduled  # pyright: ignore[reportPrivateUsage]
        return sum(not timer.cancelled for _, _, timer in waiting)

    @property
    def watched(self) -> int:
        """How many jobs somebody is interested in."""
        return len(self.client._poller.watched)  # pyright: ignore[reportPrivateUsage]

    @property
    def in_flight(self) -> int:
        """How many leases are out."""
        return self.client.budget.reads_in_flight

    @property
    def left(self) -> tuple[bool, int, int, int]:
        """Whether there is no task, and how many timers, watched jobs and leases there are."""
        return self.alone, self.timers, self.watched, self.in_flight


NOTHING = (True, 0, 0, 0)


@pytest.fixture
def still() -> FakeClock:
    """A clock that moves only when it is told to."""
    return FakeClock(autojump=False)


async def opened(office: Office) -> AsyncIterator[Office]:
    """Open a client, and send everybody home at the end."""
    async with office.client:
        yield office
        for task in office.tasks:
            task.cancel()
        await asyncio.gather(*office.tasks, return_exceptions=True)


@pytest.fixture
async def office(still: FakeClock) -> AsyncIterator[Office]:
    """A client with plenty of budget."""
    async for office in opened(Office(still, WIDE)):
        yield office


@pytest.fixture
async def narrow(still: FakeClock) -> AsyncIterator[Office]:
    """A client with a budget of one look at a time."""
    async for office in opened(Office(still, ONE_A_SECOND)):
        yield office


# One timer, no task while nothing is due, and none without need.


async def test_a_thousand_waits_are_no_task_and_one_timer(office: Office) -> None:
    """However many wait for looks that are not due yet, there is no task but theirs, and one timer."""
    for number in range(1000):
        office.park(str(number), due=100.0 + number)
    await office.clock.advance(1)

    assert office.left == (True, 1, 1000, 0)


async def test_nothing_is_left_after_the_last_look(office: Office) -> None:
    """When the last one was told, there is no task and no timer."""
    office.park("1")
    await office.clock.advance(1)

    assert office.served == ["1"]
    assert office.left == NOTHING


async def test_nothing_is_left_after_the_last_one_gave_up(office: Office) -> None:
    """When the last one stops waiting, long before its look is due, the timer is off."""
    waiting = office.park("1", due=1000.0)
    await office.clock.advance(1)
    waiting.cancel()
    await office.clock.advance(0)

    assert office.left == NOTHING


async def test_nothing_is_left_after_the_last_one_gave_up_waiting_for_budget(narrow: Office) -> None:
    """When the last one stops waiting while the budget is used up, the task ends and its place is free."""
    narrow.open.clear()
    first = narrow.park("1")
    await narrow.clock.advance(0)
    waiting = narrow.park("2")
    await narrow.clock.advance(5)
    assert narrow.served == ["1"]
    first.cancel()
    waiting.cancel()
    await narrow.clock.advance(0)

    assert narrow.left == NOTHING
    assert narrow.client.budget.waiting[Priority.ROUTINE] == 0


async def test_it_starts_again_after_everything_was_over(office: Office) -> None:
    """Whoever comes after all others have left is served like the first, in the same turn of the loop too."""
    first = office.park("1", due=1000.0)
    await office.clock.advance(1)
    first.cancel()
    office.park("2", due=5.0)
    await office.clock.advance(10)

    assert (office.served, office.times) == (["2"], [5.0])


# Who is next.


async def test_the_longest_unseen_of_equal_jobs_goes_first(narrow: Office) -> None:
    """Of jobs alike, the one that was looked at longest ago goes first, whatever the order of arrival."""
    narrow.open.clear()
    narrow.park("0")
    await narrow.clock.advance(0)
    for key, ago in (("2", 2.0), ("4", 0.5), ("1", 3.0), ("3", 1.0)):
        narrow.park(key, ago=ago)
    await narrow.clock.advance(3)
    narrow.open.set()
    await narrow.clock.advance(10)

    assert narrow.served == ["0", "1", "2", "3", "4"]


async def test_a_kind_about_to_finish_goes_first(narrow: Office) -> None:
    """Of jobs unseen equally long, the one whose kind usually finishes at its age goes first."""
    durations = narrow.client.durations
    for _ in range(50):
        durations.observe("soon", 8.0, 10.0, finished=True)
        durations.observe("late", 0.0, 100.0, finished=False)
        durations.observe("late", 100.0, 110.0, finished=True)
    narrow.park("1", kind="late", ago=2.0)
    narrow.park("2", kind="soon", ago=2.0)
    await narrow.clock.advance(5)

    assert narrow.served == ["2", "1"]


async def test_who_is_looked_at_is_decided_when_there_is_room(narrow: Office) -> None:
    """A better look that comes up while the budget is used up goes before those that waited for it."""
    narrow.open.clear()
    narrow.park("1")
    await narrow.clock.advance(0)
    narrow.park("2", ago=1.0)
    await narrow.clock.advance(3)
    narrow.park("3", ago=9.0)
    await narrow.clock.advance(0)
    narrow.open.set()
    await narrow.clock.advance(5)

    assert narrow.served == ["1", "3", "2"]


async def test_looks_keep_the_pace(narrow: Office) -> None:
    """Any number of jobs due at once are looked at no faster than the budget lets them."""
    for number in range(12):
        narrow.park(str(number), ago=1.0)
    await narrow.clock.advance(3)

    assert len(narrow.served) == pytest.approx(3, abs=2)


async def test_no_more_than_may_be_in_flight(narrow: Office) -> None:
    """While the one look that may be under way is not answered, no other begins."""
    narrow.open.clear()
    narrow.park("1", ago=2.0)
    narrow.park("2", ago=1.0)
    await narrow.clock.advance(20)

    assert narrow.served == ["1"]


# When.


async def test_a_look_waits_until_it_is_worth_its_price(office: Office) -> None:
    """A job alone on an idle budget is looked at when the schedule says, not sooner."""
    policy = PollPolicy(lag_price=0.1)
    expected = gap_at(10.0, policy, office.client.durations)
    office.park("1", poll=policy)
    await office.clock.advance(60)

    assert office.times == [pytest.approx(expected, abs=1e-3)]


async def test_a_moment_is_kept_whatever_a_look_is_worth(office: Office) -> None:
    """A wait strategy's moment is when the look comes, early or late."""
    office.park("1", due=50.0)
    office.park("2", due=0.01)
    await office.clock.advance(60)

    assert (office.served, office.times) == (["2", "1"], [0.01, 50.0])


async def test_who_comes_later_and_wants_it_earlier_is_served_earlier(office: Office) -> None:
    """A timer that is set already is set anew for somebody whose look is due before those it is for."""
    office.park("1", due=50.0)
    await office.clock.advance(10)
    office.park("2", due=20.0)
    await office.clock.advance(15)

    assert (office.served, office.times) == (["2"], [20.0])


# Several waiters on one job.


async def test_others_are_served_while_an_answer_is_awaited(office: Office) -> None:
    """While waiters on one job wait for the answer to a look at it, newcomers on other jobs are served."""
    office.open.clear()
    for _ in range(2):
        office.park("1", due=5.0)
    await office.clock.advance(10)
    office.park("2")
    await office.clock.advance(1)

    assert office.served == ["1", "2"]


async def test_the_earliest_of_several_waiters_decides(office: Office) -> None:
    """A job is looked at when the first of its waiters wants it, whichever of them came first."""
    tasks = [office.park("1", due=due) for due in (40.0, 5.0, 20.0)]
    await office.clock.advance(10)

    assert office.times == [5.0]
    assert all(task.result().succeeded for task in tasks)


async def test_the_rest_decide_when_the_earliest_has_left(office: Office) -> None:
    """A look is not made for somebody who has left, if the others want it later."""
    office.park("1", due=40.0)
    hasty = office.park("1", due=5.0)
    await office.clock.advance(1)
    hasty.cancel()
    await office.clock.advance(60)

    assert office.times == [40.0]


# Cancelled in the very moment.


async def cancelled_after(rounds: int, waiting: asyncio.Task[Job]) -> None:
    """Cancel *waiting* some rounds of the loop after it began: among them are those in which a look is granted."""
    for _ in range(rounds):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


ROUNDS = pytest.mark.parametrize("rounds", range(8))


@ROUNDS
async def test_a_lease_granted_for_somebody_cancelled_is_given_back(narrow: Office, rounds: int) -> None:
    """Cancelled in whichever turn, that of the grant too, a waiter leaves no lease behind."""
    narrow.open.clear()
    await cancelled_after(rounds, narrow.park("1"))
    await narrow.clock.advance(0)

    assert narrow.left == NOTHING
    assert len(narrow.served) == (rounds > 1)


@ROUNDS
async def test_a_look_that_was_to_begin_is_made_for_the_others(narrow: Office, rounds: int) -> None:
    """Cancelled in whichever turn, a waiter takes nothing from another on the same job."""
    first = narrow.park("1")
    second = narrow.park("1")
    await cancelled_after(rounds, first)
    await narrow.clock.advance(0)

    assert second.result().succeeded
    assert (narrow.served, narrow.in_flight) == (["1"], 0)


@ROUNDS
async def test_a_lease_granted_for_somebody_cancelled_goes_to_the_next_job(
    narrow: Office, rounds: int
) -> None:
    """Cancelled in whichever turn, a waiter does not hold up the other jobs."""
    first = narrow.park("1", ago=2.0)
    second = narrow.park("2", ago=1.0)
    await cancelled_after(rounds, first)
    await narrow.clock.advance(2)

    assert second.result().succeeded
    assert narrow.left == NOTHING


@ROUNDS
async def test_a_lease_that_nobody_uses_is_no_answer(still: FakeClock, rounds: int) -> None:
    """What was granted for somebody who is cancelled in that moment goes back as not answered: it proves nothing."""
    gate = WatchedGate(still, WIDE)
    async for office in opened(Office(still, WIDE, gate)):
        office.open.clear()
        await cancelled_after(rounds, office.park("1"))
        await office.clock.advance(0)

        assert not any(gate.given_back[:1])  # afterwards it is given back already
        assert office.left == NOTHING


async def test_a_lease_that_comes_when_nothing_is_due_any_more_is_no_answer(still: FakeClock) -> None:
    """Who wanted it has left meanwhile, and the others want theirs later: it goes back, and proves nothing."""
    gate = WatchedGate(still, ONE_A_SECOND)
    async for office in opened(Office(still, ONE_A_SECOND, gate)):
        office.open.clear()
        office.park("1")
        await still.advance(0)
        waiting = office.park("2")
        office.park("3", due=1000.0)
        await still.advance(5)
        waiting.cancel()
        await still.advance(0)
        office.open.set()
        await still.advance(5)

        assert (office.served, office.in_flight) == (["1"], 0)
        assert gate.given_back[0]
        assert gate.given_back[-1] is False


@pytest.mark.parametrize("seed", range(20))
async def test_no_look_and_no_lease_is_lost(still: FakeClock, seed: int) -> None:  # noqa: C901  # a storm
    """Whatever comes in whatever order, everybody who stays is told, and every lease comes back."""
    source = random.Random(seed)  # noqa: S311  # repeatable on purpose
    limits = RateLimits(requests_per_minute=600, poll_share=1.0, reads_in_flight=3)
    async for office in opened(Office(still, limits)):
        stay: list[asyncio.Task[Job]] = []
        for _ in range(150):
            match source.choice(["park", "park", "park", "cancel", "strange", "close", "open", "time"]):
                case "park":
                    due = source.choice([None, still.monotonic() + source.random() * 5])
                    stay.append(office.park(str(source.randrange(12)), ago=source.random() * 5, due=due))
                case "cancel" if stay:
                    stay.pop(source.randrange(len(stay))).cancel()
                case "strange":
                    for task in asyncio.all_tasks() - {asyncio.current_task(), *office.tasks}:
                        task.cancel()
                case "close":
                    office.open.clear()
                case "open":
                    office.open.set()
                case _:
                    await still.advance(source.random())
            for _ in range(source.randrange(4)):
                await asyncio.sleep(0)
        office.open.set()
        for _ in range(100):
            await still.advance(1)

        assert all(task.result().succeeded for task in stay)
        assert office.left == NOTHING


# When it ends badly.


async def test_closing_ends_every_wait_with_an_error_of_its_own(office: Office) -> None:
    """When the client is closed, everybody gets a ClientClosedError, and no two the same one."""
    tasks = [office.park(str(number), due=1000.0) for number in range(3)]
    await office.clock.advance(1)
    await office.client.close()
    errors = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(error) for error in errors] == [ClientClosedError] * 3
    assert len({id(error) for error in errors}) == 3
    assert office.left == NOTHING


async def test_closing_waits_for_the_looks_it_cancels(office: Office) -> None:
    """A look that is under way lets go of its connection before the client is closed."""
    let_go: list[str] = []

    async def hang(request: Request) -> str:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            let_go.append(request.gid or "")
        return "in_progress"

    office.client._exchange.transport.play(hang)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportPrivateUsage]
    tasks = [office.park(str(number)) for number in range(3)]
    await office.clock.advance(1)
    await office.client.close()

    assert sorted(let_go) == ["0", "1", "2"]
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_closed_client_looks_at_nothing(office: Office) -> None:
    """Nobody can begin to wait once the client is closed."""
    await office.client.close()

    with pytest.raises(ClientClosedError):
        await office.park("1")

    assert office.watched == 0


class BrokenGate(LocalGate):
    """A budget that cannot be asked, until it is mended."""

    broken = True

    async def acquire(self, traffic: Traffic, priority: Priority) -> LocalLease:
        """Fail, or pass on."""
        if self.broken:
            raise OSError("the budget is out of reach")
        return await super().acquire(traffic, priority)


async def test_a_budget_out_of_reach_is_told_to_everybody(still: FakeClock) -> None:
    """When the budget cannot be asked, everybody who waits gets its error, a copy each."""
    async for office in opened(Office(still, WIDE, BrokenGate(WIDE, still))):
        tasks = [office.park(str(number), due=float(number)) for number in range(3)]
        await office.clock.advance(1)
        errors = [task.exception() for task in tasks]

        assert [type(error) for error in errors] == [OSError] * 3
        assert len({id(error) for error in errors}) == 3
        assert office.left == NOTHING


async def test_a_budget_back_in_reach_is_used_again(still: FakeClock) -> None:
    """After an error of the budget the next wait asks it anew."""
    gate = BrokenGate(WIDE, still)
    async for office in opened(Office(still, WIDE, gate)):
        failed = office.park("1")
        await office.clock.advance(1)
        assert failed.exception() is not None
        gate.broken = False
        office.park("1")
        await office.clock.advance(1)

        assert office.served == ["1"]
