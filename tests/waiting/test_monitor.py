"""Many waits, one stream: changes as they come, errors at the end, and nothing left behind."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC

import attrs
import pytest
from tenacity import RetryCallState, wait_fixed

from asana_jobs import AsanaClient, DuplicateProject, Job, JobMonitor, PollPolicy, RateLimits, RetryPolicy
from asana_jobs._client.http.protocol import Request
from asana_jobs._client.waiting.monitor import BUFFERED_CHANGES
from asana_jobs.errors import (
    ClientClosedError,
    DecodeError,
    JobTimeoutError,
    NotFoundError,
    PermissionDeniedError,
)
from asana_jobs.events import JobChanged, WaitEnded, WaitOutcome
from asana_jobs.testing import AsanaSimulator, FakeClock, Lognormal, ScriptedTransport, SimulatorLimits
from asana_jobs.testing._scripted_transport import ScriptedAnswer


SLOWLY = ["not_started", "in_progress", "in_progress", "in_progress", "succeeded"]
EVERY_SECOND = wait_fixed(1)


@attrs.define
class Fleet:
    """Jobs that play a script each, over and over from its last line, and a client that watches them."""

    clock: FakeClock
    scripts: dict[str, list[ScriptedAnswer]] = attrs.field(factory=dict[str, list[ScriptedAnswer]])
    looks: list[str] = attrs.field(factory=list[str])
    client: AsanaClient = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.client = AsanaClient(
            "test-token",
            transport=ScriptedTransport(self.answer, clock=self.clock, latency=0.1),
            clock=self.clock,
            limits=RateLimits(requests_per_minute=100_000, poll_share=1.0),
            retry=RetryPolicy(jitter=0),
        )

    def answer(self, request: Request) -> ScriptedAnswer:
        """Read out the next line of the job's script."""
        gid = request.gid or ""
        self.looks.append(gid)
        script = self.scripts.get(gid, ["in_progress"])
        return script.pop(0) if len(script) > 1 else script[0]

    def play(self, *answers: ScriptedAnswer, gids: list[str]) -> None:
        """Give these jobs this script."""
        for gid in gids:
            self.scripts[gid] = list(answers)

    @property
    def idle(self) -> bool:
        """Whether the client has nothing under way and nobody in a queue."""
        budget = self.client.budget
        parked = len(self.client._poller.watched)  # pyright: ignore[reportPrivateUsage]
        return parked == budget.reads_in_flight == sum(budget.waiting.values()) == 0


@pytest.fixture
async def fleet(clock: FakeClock) -> AsyncIterator[Fleet]:
    """Jobs, and a client that watches them."""
    fleet = Fleet(clock)
    async with fleet.client:
        yield fleet


def told(changes: list[Job], gid: str) -> list[str | None]:
    """The states that were told of one job."""
    return [job.status for job in changes if job.gid == gid]


def numbers(first: int, last: int) -> list[str]:
    """Gids."""
    return [str(number) for number in range(first, last + 1)]


# The stream.


async def test_changes_of_all_jobs_come(fleet: Fleet) -> None:
    """Every change of every job is yielded, each job's in order, and then the loop ends."""
    fleet.play(*SLOWLY, gids=["1", "2"])
    fleet.play("in_progress", "failed", gids=["3"])
    async with fleet.client.monitor_jobs(["1", "2", "3"]) as monitor:
        changes = [job async for job in monitor]

    assert told(changes, "1") == told(changes, "2") == ["not_started", "in_progress", "succeeded"]
    assert told(changes, "3") == ["in_progress", "failed"]
    assert len(changes) == 8


async def test_changes_come_as_they_happen(fleet: Fleet) -> None:
    """A job that changes earlier is yielded earlier, wherever it stands in the list."""
    fleet.play("in_progress", *["in_progress"] * 9, "succeeded", gids=["1"])
    fleet.play("in_progress", "succeeded", gids=["2"])
    async with fleet.client.monitor_jobs(["1", "2"], poll=EVERY_SECOND) as monitor:
        finished = [job.gid async for job in monitor if job.done]

    assert finished == ["2", "1"]


async def test_a_change_comes_when_it_is_seen(fleet: Fleet) -> None:
    """The reader has a change in the very moment its answer came, not at the next one."""
    fleet.play("in_progress", "in_progress", "succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1"], poll=EVERY_SECOND) as monitor:
        times = [fleet.clock.monotonic() async for _ in monitor]

    assert times == pytest.approx([0.1, 0.1 + 2 * 1.1])


async def test_only_changes_come(fleet: Fleet) -> None:
    """A look that shows what the last one showed yields nothing."""
    fleet.play(*["in_progress"] * 50, "succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        changes = [job async for job in monitor]

    assert told(changes, "1") == ["in_progress", "succeeded"]
    assert len(fleet.looks) == 51


async def test_progress_is_a_change(fleet: Fleet) -> None:
    """A roll-up that got further is yielded, although its state is the same."""
    progress = [
        {
            "gid": "1",
            "status": "in_progress",
            "dates_rollup_progress": {"total_tasks": 9, "updated_tasks": done},
        }
        for done in (1, 1, 5, 5)
    ]
    fleet.play(*progress, "succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        changes = [job async for job in monitor]

    seen = [job.dates_rollup_progress.updated_tasks for job in changes if job.dates_rollup_progress]
    assert seen == [1, 5]


async def test_a_failed_job_is_a_change(fleet: Fleet) -> None:
    """A job that failed is yielded, and raises nothing."""
    fleet.play("failed", gids=["1"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        changes = [job async for job in monitor]

    assert [job.failed for job in changes] == [True]
    assert monitor.errors == {}


async def test_a_finished_post_is_told_without_a_look(fleet: Fleet) -> None:
    """A job whose POST answered that it has succeeded is yielded from what is known."""
    fleet.play("succeeded", gids=["77"])
    job = await fleet.client.start(DuplicateProject("77", name="Q3"))
    async with fleet.client.monitor_jobs([job]) as monitor:
        changes = [job async for job in monitor]

    assert changes == [job]
    assert fleet.looks == ["77"]


async def test_nothing_is_asked_before_the_block(fleet: Fleet) -> None:
    """Making a monitor sends nothing."""
    fleet.client.monitor_jobs(["1", "2"])
    await fleet.clock.sleep(60)

    assert fleet.looks == []


async def test_no_jobs_are_no_changes(fleet: Fleet) -> None:
    """The loop over no jobs ends at once."""
    async with fleet.client.monitor_jobs() as monitor:
        assert [job async for job in monitor] == []


async def test_all_is_watched_while_the_reader_is_away(fleet: Fleet) -> None:
    """Jobs are looked at from the beginning of the block on, whether or not anybody iterates."""
    fleet.play("in_progress", "succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        await fleet.clock.sleep(60)
        assert len(fleet.looks) == 2
        changes = [job async for job in monitor]

    assert told(changes, "1") == ["in_progress", "succeeded"]


async def test_a_reader_of_thousands_of_changes_lets_others_run(fleet: Fleet) -> None:
    """What is new of a whole fleet can be read at once, but the loop does not stand still for it."""
    rounds = 0

    async def tick() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    jobs = [{"gid": gid, "status": "in_progress"} for gid in numbers(1, 2000)]
    async with fleet.client.monitor_jobs(jobs) as monitor:
        await fleet.clock.sleep(0)
        ticking = asyncio.create_task(tick())
        for _ in jobs:
            await anext(monitor)
        ticking.cancel()

    assert rounds >= 2000 / 100 - 1


async def test_two_readers_share_the_stream(fleet: Fleet) -> None:
    """Two tasks may read one monitor: each change goes to one of them, and both loops end."""
    fleet.play("in_progress", "succeeded", gids=numbers(1, 20))
    async with fleet.client.monitor_jobs(numbers(1, 20)) as monitor:

        async def read() -> list[Job]:
            return [job async for job in monitor]

        ours, theirs = await asyncio.gather(read(), read())

    assert len(ours) + len(theirs) == 40


# Adding.


async def test_a_job_added_meanwhile_is_watched(fleet: Fleet) -> None:
    """The loop goes on for a job that is added while it runs."""
    fleet.play("in_progress", "succeeded", gids=["1", "2"])
    changes: list[Job] = []
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        async for job in monitor:
            changes.append(job)
            if job.gid == "1" and job.done:
                assert monitor.add("2")

    assert told(changes, "2") == ["in_progress", "succeeded"]


async def test_a_job_added_by_another_task_is_watched(fleet: Fleet) -> None:
    """A reader that waits for changes gets those of a job that another task adds."""
    fleet.play(*["in_progress"] * 30, "succeeded", gids=["1"])
    fleet.play("succeeded", gids=["2"])
    async with fleet.client.monitor_jobs(["1"], poll=EVERY_SECOND) as monitor:

        async def add() -> None:
            await fleet.clock.sleep(5)
            monitor.add("2")

        adding = asyncio.create_task(add())
        changes = [job async for job in monitor]
        await adding

    assert [job.gid for job in changes] == ["1", "2", "1"]


async def test_a_job_added_after_the_loop_has_ended_is_watched(fleet: Fleet) -> None:
    """A monitor whose jobs have all finished can be given another one, and iterated again."""
    fleet.play("succeeded", gids=["1", "2"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        assert [job.gid async for job in monitor] == ["1"]
        monitor.add("2")
        assert [job.gid async for job in monitor] == ["2"]


async def test_a_job_added_before_the_block_is_watched(fleet: Fleet) -> None:
    """Jobs may be added before the block is entered."""
    fleet.play("succeeded", gids=["1"])
    monitor = fleet.client.monitor_jobs()
    assert monitor.add("1")
    async with monitor:
        assert [job.gid async for job in monitor] == ["1"]


async def test_a_gid_given_twice_is_watched_once(fleet: Fleet) -> None:
    """A job that is given again, in whatever form, is told that it is watched already and yielded once."""
    fleet.play("in_progress", "succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1", Job("1", status="in_progress"), {"gid": "1"}]) as monitor:
        assert not monitor.add("1")
        changes = [job async for job in monitor]
        assert not monitor.add("1")

    assert told(changes, "1") == ["in_progress", "succeeded"]
    assert fleet.looks == ["1", "1"]


async def test_what_is_no_job_is_refused_at_once(fleet: Fleet) -> None:
    """A wrong argument is a ValueError of add itself, and the others are watched on."""
    fleet.play("succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        with pytest.raises(ValueError, match="gid"):
            monitor.add("no gid")
        assert [job.gid async for job in monitor] == ["1"]


async def test_nothing_is_added_after_the_block(fleet: Fleet) -> None:
    """A monitor whose block has ended takes no more jobs, and says so."""
    async with fleet.client.monitor_jobs() as monitor:
        pass

    with pytest.raises(RuntimeError, match="has ended"):
        monitor.add("1")


@pytest.mark.parametrize("entered", [False, True])
async def test_it_is_iterated_inside_its_block_only(fleet: Fleet, *, entered: bool) -> None:
    """Before and after its block a monitor cannot be iterated, and says what to write."""
    monitor = fleet.client.monitor_jobs()
    if entered:
        async with monitor:
            pass

    with pytest.raises(RuntimeError, match="async with"):
        await anext(monitor)


async def test_it_is_entered_once(fleet: Fleet) -> None:
    """A second block with the same monitor is refused."""
    monitor = fleet.client.monitor_jobs()
    async with monitor:
        pass

    with pytest.raises(RuntimeError, match="once"):
        async with monitor:
            pass


# Errors.


async def test_an_error_does_not_disturb_the_others(fleet: Fleet) -> None:
    """A job that cannot be watched ends alone; the others are watched to their ends."""
    fleet.play(403, gids=["1"])
    fleet.play("in_progress", "succeeded", gids=["2"])
    changes: list[Job] = []
    monitor = fleet.client.monitor_jobs(["1", "2"])
    with pytest.raises(ExceptionGroup):
        async with monitor:
            changes = [job async for job in monitor]

    assert told(changes, "2") == ["in_progress", "succeeded"]
    assert isinstance(monitor.errors["1"], PermissionDeniedError)
    assert list(monitor.errors) == ["1"]


async def test_errors_are_raised_together_at_the_end(fleet: Fleet) -> None:
    """When the block ends normally, everything that went wrong is raised at once."""
    fleet.play(403, gids=["1"])
    fleet.play(404, gids=["2"])
    fleet.play({"gid": 7}, gids=["3"])
    fleet.play("succeeded", gids=["4"])
    with pytest.raises(ExceptionGroup, match="3 of 4 jobs could not be watched") as caught:
        async with fleet.client.monitor_jobs(["1", "2", "3", "4"]) as monitor:
            async for _ in monitor:
                pass

    assert {type(error) for error in caught.value.exceptions} == {
        PermissionDeniedError,
        NotFoundError,
        DecodeError,
    }


async def test_the_errors_of_the_block_come_first(fleet: Fleet) -> None:
    """An exception of the block itself passes as it is; what went wrong with jobs stays in errors."""
    fleet.play(403, gids=["1"])
    monitor = fleet.client.monitor_jobs(["1"])
    with pytest.raises(KeyError, match="mine"):
        async with monitor:
            async for _ in monitor:
                pass
            raise KeyError("mine")

    assert list(monitor.errors) == ["1"]


async def test_errors_come_after_a_break_too(fleet: Fleet) -> None:
    """Leaving the loop early does not hide what went wrong before."""
    fleet.play(403, gids=["1"])
    fleet.play(*["in_progress"] * 9, "succeeded", gids=["2"])
    with pytest.raises(ExceptionGroup):
        async with fleet.client.monitor_jobs(["1", "2"]) as monitor:
            await fleet.clock.sleep(1)
            async for _ in monitor:
                break


async def test_each_job_has_its_timeout(fleet: Fleet) -> None:
    """A job that takes too long is an error of its own, with a token to go on from; the others are not late."""
    fleet.play("in_progress", "in_progress", "succeeded", gids=["2"])
    changes: list[Job] = []
    with pytest.raises(ExceptionGroup) as caught:
        async with fleet.client.monitor_jobs(["1", "2"], timeout=30) as monitor:
            changes = [job async for job in monitor]

    (error,) = caught.value.exceptions
    assert isinstance(error, JobTimeoutError)
    assert error.waited == pytest.approx(30, abs=0.5)
    assert '"gid":"1"' in error.continuation_token
    assert told(changes, "2") == ["in_progress", "succeeded"]


async def test_a_timeout_counts_from_when_a_job_is_added(fleet: Fleet) -> None:
    """A job that is added late has as much time as the others."""
    with pytest.raises(ExceptionGroup) as caught:
        async with fleet.client.monitor_jobs(["1"], timeout=30) as monitor:
            await fleet.clock.sleep(20)
            monitor.add("2")
            async for _ in monitor:
                pass

    assert fleet.clock.monotonic() == pytest.approx(50, abs=0.5)
    assert len(caught.value.exceptions) == 2


async def test_trouble_that_passes_is_no_error(fleet: Fleet) -> None:
    """A 503 and a 429 on the way are looked past."""
    fleet.play("in_progress", 503, 429, "succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        changes = [job async for job in monitor]

    assert told(changes, "1") == ["in_progress", "succeeded"]


async def test_a_broken_strategy_is_an_error_of_its_job(fleet: Fleet) -> None:
    """An exception of the user's wait strategy is raised at the end like any other, and never lost."""

    def strategy(state: RetryCallState) -> float:
        raise ZeroDivisionError(f"attempt {state.attempt_number}")

    with pytest.raises(ExceptionGroup) as caught:
        async with fleet.client.monitor_jobs(["1"], poll=strategy) as monitor:
            changes = [job async for job in monitor]
            assert told(changes, "1") == ["in_progress"]

    assert [type(error) for error in caught.value.exceptions] == [ZeroDivisionError]


# Events.


async def test_events_tell_changes_and_ends(fleet: Fleet) -> None:
    """Each change comes with the status before it, and each job ends with how its wait ended."""
    fleet.play("not_started", "in_progress", "in_progress", "succeeded", gids=["1"])
    fleet.play("failed", gids=["2"])
    async with fleet.client.monitor_jobs(["1", "2"], poll=EVERY_SECOND) as monitor:
        events = [event async for event in monitor.events()]

    changes = [event for event in events if isinstance(event, JobChanged)]
    assert [(event.before, event.job.status) for event in changes if event.gid == "1"] == [
        (None, "not_started"),
        ("not_started", "in_progress"),
        ("in_progress", "succeeded"),
    ]
    assert [(event.before, event.job.status) for event in changes if event.gid == "2"] == [(None, "failed")]
    ends = {event.gid: event for event in events if isinstance(event, WaitEnded)}
    assert (ends["1"].outcome, ends["2"].outcome) == (WaitOutcome.SUCCEEDED, WaitOutcome.FAILED)
    assert (ends["1"].error, ends["1"].status, ends["1"].looks) == (None, "succeeded", 4)
    assert ends["1"].waited == pytest.approx(0.1 + 3 * 1.1)
    assert ends["1"].lag_bound == pytest.approx(1.2)
    assert events[-1] is ends["1"]
    assert {event.at.tzinfo for event in events} == {UTC}


async def test_events_tell_what_ended_a_wait_as_it_happens(fleet: Fleet) -> None:
    """Errors are told when they happen, while others are watched on, and are not raised again at the end."""
    fleet.play(403, gids=["1"])
    fleet.play(*["in_progress"] * 9, "succeeded", gids=["2"])
    told_at: dict[str, float] = {}
    ends: dict[str, Exception | None] = {}
    async with fleet.client.monitor_jobs(["1", "2", "3"], poll=EVERY_SECOND, timeout=30) as monitor:
        async for event in monitor.events():
            if isinstance(event, WaitEnded):
                told_at[event.gid], ends[event.gid] = fleet.clock.monotonic(), event.error

    assert told_at == pytest.approx({"1": 0.1, "2": 0.1 + 9 * 1.1, "3": 30}, abs=0.5)
    assert isinstance(ends["1"], PermissionDeniedError)
    assert ends["2"] is None
    assert isinstance(ends["3"], JobTimeoutError)
    assert monitor.errors == {"1": ends["1"], "3": ends["3"]}


async def test_an_end_that_nobody_was_told_is_raised(fleet: Fleet) -> None:
    """A reader of events that leaves early is raised what it has not read of, and only that."""
    fleet.play(403, gids=["1"])
    fleet.play(*["in_progress"] * 3, 404, gids=["2"])
    with pytest.raises(ExceptionGroup) as caught:
        async with fleet.client.monitor_jobs(["1", "2"], poll=EVERY_SECOND) as monitor:
            async for event in monitor.events():
                if isinstance(event, WaitEnded):
                    break
            await fleet.clock.sleep(600)

    assert [type(error) for error in caught.value.exceptions] == [NotFoundError]


async def test_two_readers_of_events_split_them(fleet: Fleet) -> None:
    """Each event goes to one of two readers, and both loops end."""
    fleet.play("in_progress", "succeeded", gids=numbers(1, 20))
    async with fleet.client.monitor_jobs(numbers(1, 20)) as monitor:

        async def read() -> list[JobChanged | WaitEnded]:
            return [event async for event in monitor.events()]

        ours, theirs = await asyncio.gather(read(), read())

    assert len(ours) + len(theirs) == 20 * 3


@pytest.mark.parametrize("first", ["jobs", "events"])
async def test_a_monitor_has_one_kind_of_reader(fleet: Fleet, first: str) -> None:
    """Who reads the other way meanwhile, or afterwards, is told to watch with a monitor of their own."""
    fleet.play("in_progress", "succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        await anext(monitor if first == "jobs" else monitor.events())
        with pytest.raises(RuntimeError, match="another monitor_jobs"):
            await anext(monitor.events() if first == "jobs" else monitor)
        async for _ in monitor if first == "jobs" else monitor.events():
            pass
        with pytest.raises(RuntimeError, match="another monitor_jobs"):
            await anext(monitor.events() if first == "jobs" else monitor)


async def test_events_come_inside_the_block_only(fleet: Fleet) -> None:
    """Outside of its block a monitor has no events, and says what to write."""
    monitor = fleet.client.monitor_jobs(["1"])
    with pytest.raises(RuntimeError, match="async with"):
        await anext(monitor.events())
    async with monitor:
        events = monitor.events()
    with pytest.raises(RuntimeError, match="async with"):
        await anext(events)
    assert fleet.idle


async def test_closing_the_client_ends_events(fleet: Fleet) -> None:
    """When the client is closed, the loop over events raises ClientClosedError, and tells no ends that were none."""
    told: list[JobChanged | WaitEnded] = []
    monitor = fleet.client.monitor_jobs(numbers(1, 5))

    async def read() -> None:
        async with monitor:
            events = monitor.events()
            while True:
                told.append(await anext(events))

    task = asyncio.create_task(read())
    await fleet.clock.sleep(3)
    await fleet.client.close()
    with pytest.raises(ClientClosedError):
        await task

    assert {type(event) for event in told} == {JobChanged}


async def test_a_slow_reader_of_events_misses_nothing(fleet: Fleet) -> None:
    """However slowly events are read, each job's come in order, its end last."""
    gids = numbers(1, 100)
    for gid in gids:
        fleet.play("not_started", "in_progress", 404 if int(gid) % 2 else "succeeded", gids=[gid])
    told: dict[str, list[str]] = {gid: [] for gid in gids}
    async with fleet.client.monitor_jobs(gids, poll=EVERY_SECOND) as monitor:
        async for event in monitor.events():
            told[event.gid].append(
                str(event.job.status if isinstance(event, JobChanged) else event.outcome.value)
            )
            await fleet.clock.sleep(0.5)

    started = ["not_started", "in_progress"]
    assert told == {
        gid: [*started, "error"] if int(gid) % 2 else [*started, "succeeded", "succeeded"] for gid in gids
    }


async def test_a_job_that_could_not_be_watched_is_added_again(fleet: Fleet) -> None:
    """A job whose wait ended in an error is watched anew when it is added, and its error is forgotten."""
    fleet.play(403, "in_progress", "succeeded", gids=["1"])
    told: list[str] = []
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        async for event in monitor.events():
            if isinstance(event, WaitEnded):
                told.append(event.outcome)
                if event.error is not None:
                    assert monitor.add(event.gid)
                    assert monitor.errors == {}
        assert not monitor.add("1")

    assert told == ["error", "succeeded"]


async def test_a_job_added_again_in_time_raises_nothing(fleet: Fleet) -> None:
    """An error that was mended by adding the job again is not raised at the end of the block."""
    fleet.play(403, "succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        assert [job async for job in monitor] == []
        assert monitor.add("1")
        assert [job.status async for job in monitor] == ["succeeded"]


# A slow reader.


async def test_a_slow_reader_slows_the_polling(fleet: Fleet) -> None:
    """While changes are not read, looking stops once enough of them are kept."""
    gids = numbers(1, 200)
    for gid in gids:
        fleet.play(*["not_started", "in_progress"] * 50, "succeeded", gids=[gid])
    async with fleet.client.monitor_jobs(gids, poll=EVERY_SECOND) as monitor:
        await fleet.clock.sleep(60)
        looks = len(fleet.looks)
        await fleet.clock.sleep(6000)

        assert looks == len(fleet.looks) <= len(gids) + BUFFERED_CHANGES
        assert (await anext(monitor)).gid in gids
        await fleet.clock.sleep(60)
        assert looks < len(fleet.looks) <= looks + 2


async def test_a_slow_reader_misses_nothing(fleet: Fleet) -> None:
    """However slowly changes are read, every one comes, each job's in order."""
    gids = numbers(1, 100)
    for gid in gids:
        fleet.play("not_started", "in_progress", "succeeded", gids=[gid])
    changes: list[Job] = []
    async with fleet.client.monitor_jobs(gids, poll=EVERY_SECOND) as monitor:
        async for job in monitor:
            changes.append(job)
            await fleet.clock.sleep(0.5)

    assert {tuple(told(changes, gid)) for gid in gids} == {("not_started", "in_progress", "succeeded")}


# Nothing is left behind.


async def leave(fleet: Fleet, monitor: JobMonitor) -> int:
    """Check that nothing goes on after the block, and return how many looks there were."""
    looks = len(fleet.looks)
    assert fleet.idle
    assert monitor.running == []
    await fleet.clock.sleep(6000)
    assert len(fleet.looks) == looks
    return looks


async def test_break_leaves_nothing_behind(fleet: Fleet) -> None:
    """After break and the end of the block nobody looks any more."""
    async with fleet.client.monitor_jobs(numbers(1, 50)) as monitor:
        async for _ in monitor:
            break

    await leave(fleet, monitor)


async def test_the_end_of_the_block_leaves_nothing_behind(fleet: Fleet) -> None:
    """A block that ends while looks are in flight takes them back."""
    async with fleet.client.monitor_jobs(numbers(1, 50)) as monitor:
        await fleet.clock.sleep(0.05)
        assert fleet.client.budget.reads_in_flight > 0

    await leave(fleet, monitor)


async def test_an_exception_leaves_nothing_behind(fleet: Fleet) -> None:
    """After an exception in the block nobody looks any more."""
    monitor = fleet.client.monitor_jobs(numbers(1, 50))
    with pytest.raises(KeyError):
        async with monitor:
            async for job in monitor:
                raise KeyError(job.gid)

    await leave(fleet, monitor)


@pytest.mark.parametrize("after", [0.0, 0.05, 3.0])
async def test_cancellation_leaves_nothing_behind(fleet: Fleet, after: float) -> None:
    """A task that is cancelled while it reads, at whatever moment, leaves nobody looking."""
    monitor = fleet.client.monitor_jobs(numbers(1, 50))

    async def read() -> None:
        async with monitor:
            async for _ in monitor:
                pass

    task = asyncio.create_task(read())
    await fleet.clock.sleep(after)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    await leave(fleet, monitor)


async def test_closing_the_client_ends_the_loop(fleet: Fleet) -> None:
    """When the client is closed, the loop raises ClientClosedError at once, and nobody looks any more."""
    monitor = fleet.client.monitor_jobs(numbers(1, 50))

    async def read() -> None:
        async with monitor:
            async for _ in monitor:
                pass

    task = asyncio.create_task(read())
    await fleet.clock.sleep(3)
    await fleet.client.close()
    with pytest.raises(ClientClosedError):
        await task

    assert fleet.clock.monotonic() == pytest.approx(3)
    await leave(fleet, monitor)


async def test_closing_the_client_does_not_wait_for_a_slow_reader(fleet: Fleet) -> None:
    """Changes that nobody reads do not keep the client from closing."""
    async with fleet.client.monitor_jobs(numbers(1, 200)) as monitor:
        await fleet.clock.sleep(3)
        async with fleet.clock.timeout(10):
            await fleet.client.close()
        assert monitor.running == []


async def test_a_closed_client_is_told_at_the_door(fleet: Fleet) -> None:
    """The block of a closed client's monitor is not entered, and an open one takes no more jobs."""
    async with fleet.client.monitor_jobs() as entered:
        await fleet.client.close()
        with pytest.raises(ClientClosedError):
            entered.add("1")

    with pytest.raises(ClientClosedError):
        async with fleet.client.monitor_jobs():
            pass


async def test_finished_jobs_are_let_go(fleet: Fleet) -> None:
    """A monitor that runs for days keeps of finished jobs no more than their gids."""
    fleet.play("in_progress", "succeeded", gids=["1"])
    async with fleet.client.monitor_jobs(["1"]) as monitor:
        first = weakref.ref(await anext(monitor))
        async for _ in monitor:
            pass
        gc.collect()

        assert first() is None
        assert not monitor.add("1")


# What is known on the way.


async def test_it_says_who_is_running(fleet: Fleet) -> None:
    """The gids still watched, and a summary in its repr."""
    fleet.play("succeeded", gids=["1"])
    fleet.play(403, gids=["2"])
    with pytest.raises(ExceptionGroup):
        async with fleet.client.monitor_jobs(["1", "2", "3"]) as monitor:
            await fleet.clock.sleep(5)

            assert monitor.running == ["3"]
            assert repr(monitor) == "<JobMonitor 1 of 3 jobs running, 1 errors>"


async def test_the_unfinished_can_be_watched_elsewhere(fleet: Fleet) -> None:
    """There is a token for every job not known to have finished, and another monitor goes on from it."""
    fleet.play("succeeded", gids=["1"])
    fleet.play(*SLOWLY, gids=["2"])
    async with fleet.client.monitor_jobs(["1", "2"]) as monitor:
        async for job in monitor:
            if job.done:
                break
        tokens = monitor.continuation_tokens()

    assert list(tokens) == ["2"]
    async with fleet.client.monitor_jobs(tokens.values()) as another:
        finished = [job.gid async for job in another if job.done]
    assert finished == ["2"]


# One budget.


@pytest.fixture
async def metered() -> AsyncIterator[AsanaSimulator]:
    """A local Asana over real HTTP that lets 150 requests a minute through, and charges for more."""
    limits = SimulatorLimits(requests_per_minute=150, model="C")
    async with AsanaSimulator(limits=limits, durations=Lognormal(20, 0.5), latency=0.1) as simulator:
        yield simulator


async def watch_all(client: AsanaClient, gids: list[str]) -> None:
    """Watch jobs in a monitor."""
    async with client.monitor_jobs(gids) as monitor:
        async for _ in monitor:
            pass


async def test_everything_shares_one_budget(metered: AsanaSimulator) -> None:
    """gather, TaskGroup and a monitor at the same time stay inside one quota: no request is refused."""
    gids = numbers(1, 90)
    for gid in gids:
        metered.add_job(gid)
    limits = RateLimits(requests_per_minute=150, poll_share=1.0)
    async with (
        AsanaClient("token", base_url=metered.base_url, limits=limits) as client,
        asyncio.TaskGroup() as group,
    ):
        for gid in gids[:30]:
            group.create_task(client.wait_for_job(gid))
        group.create_task(watch_all(client, gids[30:60]))
        finished = await asyncio.gather(*(client.wait_for_job(gid) for gid in gids[60:]))

    assert all(job.succeeded for job in finished)
    assert metered.rejected == 0
    assert metered.busiest_minute > 100


async def call(client: AsanaClient) -> Job:
    """Ask for a job, as one's own code does."""
    return await client.get_job("1203")


async def look_first(client: AsanaClient) -> Job:
    """Make the first look of a wait."""
    return await anext(client.wait_for_job("1203"))


@pytest.mark.parametrize("ask", [call, look_first])
async def test_first_looks_of_a_fleet_do_not_keep_others_waiting(
    clock: FakeClock, ask: Callable[[AsanaClient], Awaitable[Job]]
) -> None:
    """A call, or a wait, that begins right after a fleet was handed over goes before most of the fleet's first looks."""
    transport = ScriptedTransport("in_progress", clock=clock, latency=0.1)
    limits = RateLimits.free()
    async with (
        AsanaClient("token", transport=transport, clock=clock, limits=limits) as client,
        client.monitor_jobs(numbers(1, 300)),
    ):
        await clock.sleep(5)
        began = clock.monotonic()
        await ask(client)

        assert clock.monotonic() - began < 1
        assert len(client._poller._line) > 200  # pyright: ignore[reportPrivateUsage]


async def first_looks(
    fleet: Fleet, gids: list[str], *, apart: float = 5.0, poll: PollPolicy | None = None
) -> list[float]:
    """Hand gids to a monitor one after the other; return how long each waited for its first look."""
    waited: list[float] = []
    async with fleet.client.monitor_jobs(poll=poll) as monitor:
        for gid in gids:
            fleet.looks.clear()
            began = fleet.clock.monotonic()
            monitor.add(gid)
            while gid not in fleet.looks:
                await fleet.clock.sleep(0.05)
            waited.append(fleet.clock.monotonic() - began)
            await fleet.clock.sleep(apart)
    return waited


async def test_first_looks_that_only_find_jobs_running_wait_until_they_are_worth_it(fleet: Fleet) -> None:
    """Where gids are handed over as their jobs start, a look at once is for nothing: it comes within two seconds."""
    waited = await first_looks(fleet, numbers(1, 40))

    assert max(waited[:20]) <= 0.2
    assert 1.5 < min(waited[20:]) <= max(waited[20:]) <= 2.3


async def test_first_looks_that_find_jobs_finished_come_soon(fleet: Fleet) -> None:
    """Where every other job had finished before it was handed over, there is little to wait for."""
    fleet.play("succeeded", gids=numbers(1, 40)[::2])
    waited = await first_looks(fleet, numbers(1, 40))

    assert max(waited) <= 0.4


async def test_the_first_look_of_a_wait_comes_at_once(fleet: Fleet) -> None:
    """Who awaits one job, or the next state of it, is told at once, whatever monitors have found."""
    await first_looks(fleet, numbers(1, 30))
    began = fleet.clock.monotonic()
    job = await anext(fleet.client.wait_for_job("1203"))

    assert not job.done
    assert fleet.clock.monotonic() - began <= 0.1


async def test_first_looks_come_at_once_where_looks_cost_nothing(fleet: Fleet) -> None:
    """Without a price of a request, a first look is worth it from the first moment on."""
    waited = await first_looks(fleet, numbers(1, 40), poll=PollPolicy(lag_price=0, maximum=3), apart=1.0)

    assert max(waited) <= 0.2


async def test_gather_is_served_as_a_monitor_is(fleet: Fleet) -> None:
    """Waits in a gather are looked at in the same moments as in a monitor of another client."""
    gids = numbers(1, 40)
    script: list[ScriptedAnswer] = [*["in_progress"] * 6, "succeeded"]
    fleet.play(*script, gids=gids)
    began = fleet.clock.monotonic()
    await asyncio.gather(*(fleet.client.wait_for_job(gid) for gid in gids))
    alone = fleet.clock.monotonic() - began
    other = Fleet(fleet.clock)
    other.play(*script, gids=gids)
    began = fleet.clock.monotonic()
    async with other.client:
        await watch_all(other.client, gids)

    assert fleet.clock.monotonic() - began == pytest.approx(alone, rel=0.01)
    assert len(other.looks) == len(fleet.looks)


async def test_siblings_have_budgets_of_their_own(fleet: Fleet) -> None:
    """A sibling's looks go over the same connections and teach both, but use up only its own budget."""
    fleet.play(*["in_progress"] * 5, "succeeded", gids=numbers(1, 30))
    async with fleet.client.with_token("another-token") as sibling:
        await watch_all(sibling, numbers(1, 30))

        assert len(fleet.looks) == 180
        assert sibling.budget.used > 0
        assert fleet.client.budget.used == 0
        assert sibling.durations is fleet.client.durations


async def test_a_monitor_takes_a_policy(fleet: Fleet) -> None:
    """A PollPolicy handed to the monitor replaces the client's."""
    fleet.play(*["in_progress"] * 99, "succeeded", gids=["1"])
    policy = PollPolicy(lag_price=0, initial=0)
    async with fleet.client.monitor_jobs(["1"], poll=policy) as monitor:
        async for _ in monitor:
            pass

    assert fleet.clock.monotonic() == pytest.approx(100 * 0.1, rel=0.01)
