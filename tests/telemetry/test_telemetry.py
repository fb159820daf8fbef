"""Telling: everybody who listens to a client hears of it, and what they raise breaks nothing."""

import logging
from datetime import UTC, datetime

import attrs
import pytest

from asana_jobs import AsanaClient, Job
from asana_jobs._client.telemetry.telemetry import StartSpan, Telemetry, WaitSpan
from asana_jobs.events import Event, JobChanged, JobFinished, JobLooked, WaitBegan, WaitEnded
from asana_jobs.operations import Operation
from asana_jobs.testing import FakeClock, ScriptedTransport


@attrs.frozen
class Before:
    """A job as it was known before a look."""

    job: Job | None = None
    known: Job | str | None = None
    kind: str | None = None
    started: float | None = None
    asked_at: float = 0.0


class Traces:
    """A keeper of spans that keeps events."""

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        """Keep it."""
        self.heard.append(event)

    def start(self, operation: Operation) -> StartSpan:
        """Fail: nothing is started here."""
        raise NotImplementedError

    def wait(self, event: WaitBegan) -> WaitSpan:
        """Fail: nothing is waited for here."""
        raise NotImplementedError


def began(clock: FakeClock) -> WaitBegan:
    """An event like any other."""
    return WaitBegan(at=clock.now(), gid="1203", kind=None, timeout=None)


async def test_a_listener_that_raises(
    clock: FakeClock, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """What a listener raises breaks no wait, and is logged once with its traceback."""
    heard: list[Event] = []

    def break_down(event: Event) -> None:
        heard.append(event)
        raise ZeroDivisionError("a listener's mistake")

    transport.play("in_progress", "succeeded")
    async with AsanaClient(
        "t",
        transport=transport,
        clock=clock,
        on_event=break_down,
    ) as client:
        job = await client.wait_for_job("1203")

    assert job.succeeded
    assert len(heard) == 7
    (record,) = (record for record in caplog.records if record.levelno >= logging.ERROR)
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError
    assert "break_down" in caplog.text


async def test_siblings_are_heard(transport: ScriptedTransport, clock: FakeClock) -> None:
    """A client made by with_token tells its events to the same listener."""
    transport.play("succeeded")

    told: list[Event] = []
    async with AsanaClient("t", transport=transport, clock=clock, on_event=told.append) as client:
        await client.with_token("another").wait_for_job("1203")

    assert isinstance(told[-1], WaitEnded)


def test_everybody_is_told(clock: FakeClock) -> None:
    """An event goes to the user's function and to the tracing."""
    told: list[Event] = []
    tracing = Traces()
    event = began(clock)

    Telemetry(clock, told.append, tracing).tell(event)

    assert told == tracing.heard == [event]


def test_each_listener_is_complained_of_once(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    """Two listeners that raise are named once each, however much they are told."""

    def fail(event: Event) -> None:
        raise ZeroDivisionError

    class Failing(Traces):
        def __call__(self, event: Event) -> None:
            """Fail."""
            raise ZeroDivisionError

    telemetry = Telemetry(clock, fail, Failing())
    for _ in range(3):
        telemetry.tell(began(clock))

    complaints = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert [complaint.partition(" raised")[0] for complaint in complaints] == ["on_event", "OpenTelemetry"]


def test_a_wait_without_tracing_can_be_entered_and_ended(clock: FakeClock) -> None:
    """Where no spans are kept, the span of a wait does nothing, any number of times."""
    told: list[Event] = []
    event = began(clock)
    span = Telemetry(clock, told.append, None).wait_began(event.gid, event.kind, event.timeout)

    for _ in range(2):
        with span:
            pass

    assert told == [began(clock)]


@pytest.mark.parametrize(
    ("before", "changed"),
    [
        (Before(), True),
        (Before(known="in_progress"), False),
        (Before(known="not_started"), True),
        (Before(job=Job("1203", status="in_progress"), known="not_started"), False),
        (Before(job=Job("1203", status="not_started"), known="in_progress"), True),
    ],
)
def test_a_change_is_told_against_what_was_known(before: Before, changed: bool, clock: FakeClock) -> None:
    """The look before counts; without one, what was known of the job or of its status."""
    told: list[Event] = []

    Telemetry(clock, told.append, None).saw(before, Job("1203", status="in_progress"), clock.monotonic())

    assert [type(event) for event in told] == [JobLooked, JobChanged][: 1 + changed]


async def test_age_and_lag_of_a_finished_job(clock: FakeClock) -> None:
    """The age counts from the start; the end can be as early as the look before, or the start if there was none."""
    told: list[Event] = []
    telemetry = Telemetry(clock, told.append, None)
    await clock.sleep(100)
    done, running = Job("1203", status="succeeded"), Job("1203", status="in_progress")

    for before in (Before(started=10), Before(job=running, started=10, asked_at=93), Before()):
        telemetry.saw(before, done, clock.monotonic())

    finished = [(event.age, event.lag_bound) for event in told if isinstance(event, JobFinished)]
    assert finished == [(90, 90), (90, 7), (None, None)]
    assert {event.at for event in told} == {datetime(2026, 1, 1, 0, 1, 40, tzinfo=UTC)}
