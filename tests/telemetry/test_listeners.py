"""Who listens to a client: found once, refused if they cannot be told, and free of charge if there is nobody."""

import subprocess
import sys
import typing
from types import TracebackType
from typing import Self

import attrs
import pytest

from asana_jobs import AsanaClient, DuplicateProject
from asana_jobs._client.telemetry.listeners import ObservedStart, Silence
from asana_jobs._client.telemetry.telemetry import Telemetry, WaitSpan
from asana_jobs.errors import OutcomeUnknownError, RequestTimeoutError, TransportError
from asana_jobs.events import Event, StartDoubted, StartFailed, WaitBegan
from asana_jobs.operations import Operation
from asana_jobs.testing import FakeClock, ScriptedTransport


COPY = DuplicateProject("77", name="Q3 launch")


@attrs.define(eq=False)
class Traces:
    """A keeper of spans that notes what happens to the only one, itself."""

    notes: list[str] = attrs.field(factory=list[str])

    def __call__(self, event: Event) -> None:
        """Note it."""
        self.notes.append(type(event).__name__)

    def start(self, operation: Operation) -> Self:
        """Begin the span."""
        self.notes.append(operation.kind)
        return self

    def wait(self, event: WaitBegan) -> WaitSpan:
        """Fail: nothing is waited for here."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.notes.append("entered")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.notes.append("left" if error is None else type(error).__name__)

    def discard(self) -> None:
        """Note it."""
        self.notes.append("discarded")


async def test_a_coroutine_function_is_refused(transport: ScriptedTransport) -> None:
    """A listener that would have to be awaited is refused at once, since nobody would await it."""

    async def listen(event: Event) -> None:
        """Never run."""

    class Listener:
        async def __call__(self, event: Event) -> None:
            """Never run either."""

    with pytest.raises(ValueError, match="on_event must be a plain function"):
        AsanaClient("t", transport=transport, on_event=listen)
    with pytest.raises(ValueError, match="on_event must be a plain function"):
        AsanaClient("t", transport=transport, on_event=Listener())
    with pytest.raises(ValueError, match="on_event must be a plain function"):
        AsanaClient("t", transport=transport, on_event=typing.cast("typing.Any", "print"))


def test_what_tells_is_not_loaded_for_nobody() -> None:
    """A client that nobody listens to does not load what tells, nor what is told."""
    script = "import sys, asana_jobs; asana_jobs.AsanaClient('t'); print(*sys.modules)"

    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    unwanted = {
        "asana_jobs.events",
        "asana_jobs._client.telemetry.telemetry",
    }
    assert unwanted & set(loaded.split()) == set()


async def test_nobody_listens(transport: ScriptedTransport, clock: FakeClock) -> None:
    """A client that nobody listens to keeps nothing to tell with."""
    async with AsanaClient("t", transport=transport, clock=clock) as client:
        assert isinstance(client._exchange.telemetry, Silence)  # pyright: ignore[reportPrivateUsage]


def test_a_start_is_traced(clock: FakeClock) -> None:
    """The span of a start is current while the block runs, and can be discarded in it."""
    traces = Traces()

    with ObservedStart(Telemetry(clock, None, traces), COPY) as start:
        start.discard()

    assert traces.notes == ["duplicate_project", "entered", "discarded", "left"]


def test_a_start_that_fails_is_told_before_its_span_ends(clock: FakeClock) -> None:
    """A listener hears of the failure within the span that it belongs to."""
    traces = Traces()

    with pytest.raises(TransportError), ObservedStart(Telemetry(clock, None, traces), COPY):
        raise RequestTimeoutError("no answer", method="POST", path="/projects/77/duplicate", gid="77")

    assert traces.notes == ["duplicate_project", "entered", "StartFailed", "RequestTimeoutError"]


@pytest.mark.parametrize(
    ("error", "told_as"),
    [
        (TransportError("no answer", method="POST", path="/p", gid="77"), StartFailed),
        (OutcomeUnknownError("lost", method="POST", path="/p", operation=COPY), StartDoubted),
    ],
    ids=["failed", "doubted"],
)
def test_an_error_of_ours_is_told(error: Exception, told_as: type[Event], clock: FakeClock) -> None:
    """A start that failed, or about which nobody knows, is told with its error."""
    told: list[Event] = []

    with pytest.raises(type(error)), ObservedStart(Telemetry(clock, told.append, None), COPY):
        raise error

    assert [(type(event), getattr(event, "error", None)) for event in told] == [(told_as, error)]


def test_an_error_of_somebody_else_is_not_told(clock: FakeClock) -> None:
    """What no operation can be blamed for, such as a cancellation, is no failed start."""
    told: list[Event] = []

    with pytest.raises(ZeroDivisionError), ObservedStart(Telemetry(clock, told.append, None), COPY):
        raise ZeroDivisionError

    assert told == []


def test_a_start_that_nobody_listens_to() -> None:
    """Where nobody listens the block runs, raises what it raises, and can be told to be for nothing."""
    with pytest.raises(TransportError), ObservedStart(Silence(), COPY) as start:
        start.discard()
        raise TransportError("no answer", method="POST", path="/p", gid="77")
