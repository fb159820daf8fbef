"""The listeners of a client: mostly none, which is a `Silence`, and nothing of what tells and is told is even loaded."""

from __future__ import annotations

import inspect
import sys
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from asana_jobs._client.clock import Clock
from asana_jobs._client.limits.gate import Gate
from asana_jobs._client.telemetry.log_fields import Addressed
from asana_jobs.errors import AsanaJobsError
from asana_jobs.models import Job
from asana_jobs.operations import Operation


if TYPE_CHECKING:
    from asana_jobs._client.telemetry.telemetry import (
        KnownJob,
        OnEvent,
        StartSpan,
        Telemetry,
        Tracing,
        WaitSpan,
    )
    from asana_jobs.events import WaitEnded


class Silence:
    """The telemetry of a client that nobody listens to: a `Telemetry` that does nothing."""

    listening: Final = False
    on_event: Final = None
    tracing: Final = None

    def started(self, job: Job, operation: Operation, took: float) -> None:
        """Do nothing."""

    def not_started(self, operation: Operation, error: AsanaJobsError) -> None:
        """Do nothing."""

    def looked(self, gid: str, took: float, error: AsanaJobsError) -> None:
        """Do nothing."""

    def overdue(self, gid: str, kind: str | None, age: float, usual: float) -> None:
        """Do nothing."""

    def saw(self, before: KnownJob, job: Job, asked_at: float) -> None:
        """Do nothing."""

    def rejected(self, request: Addressed, retry_after: float | None, paused_for: float) -> None:
        """Do nothing."""

    def repeated(self, request: Addressed, error: AsanaJobsError) -> None:
        """Do nothing."""

    def change_announced(self, gid: str | None, name: str, info: str) -> None:
        """Do nothing."""

    def wait_began(self, gid: str, kind: str | None, timeout: float | None) -> WaitSpan | None:
        """Do nothing."""

    def wait_ended(self, span: WaitSpan, event: WaitEnded) -> None:
        """Do nothing."""


def make_telemetry(
    on_event: OnEvent | None, *, clock: Clock, gate: Gate, base_url: str
) -> Telemetry | Silence:
    """Return what tells *on_event* and, if the application has set it up, OpenTelemetry; else a `Silence`.

    Args:
        on_event: The user's function.
        clock: The client's clock.
        gate: The client's gate, whose use is measured.
        base_url: Where the client's requests go.

    Raises:
        ValueError: *on_event* is not a plain function.
    """
    _check(on_event)
    tracing = _find_tracing(clock, gate, base_url)
    if on_event is None and tracing is None:
        return Silence()
    from asana_jobs._client.telemetry.telemetry import Telemetry  # noqa: PLC0415  # only for those who listen

    return Telemetry(clock, on_event, tracing)


def _check(on_event: object) -> None:
    called = getattr(on_event, "__call__", None)  # noqa: B004  # an object's may be a coroutine function too
    wrong = called is None or inspect.iscoroutinefunction(on_event) or inspect.iscoroutinefunction(called)
    if on_event is not None and wrong:
        name = getattr(on_event, "__qualname__", type(on_event).__qualname__)
        found = (
            f"{on_event!r}" if called is None else f"the coroutine function {name}, which nobody would await"
        )
        raise ValueError(f"on_event must be a plain function of one event, not {found}")


def _find_tracing(clock: Clock, gate: Gate, base_url: str) -> Tracing | None:
    # Whoever has set OpenTelemetry up has imported it: where it is not loaded, it is not looked for.
    if "opentelemetry.trace" not in sys.modules and "opentelemetry.metrics" not in sys.modules:
        return None
    from asana_jobs._client.telemetry.opentelemetry import find_opentelemetry  # noqa: PLC0415  # an extra

    return find_opentelemetry(clock=clock, gate=gate, base_url=base_url)


class ObservedStart:
    """A block that starts the job of an operation: traced, and its failure told, if anybody listens.

    Args:
        telemetry: The client's.
        operation: The operation whose job is started.
    """

    __slots__ = ("_operation", "_span", "_telemetry")

    def __init__(self, telemetry: Telemetry | Silence, operation: Operation) -> None:
        self._telemetry = telemetry
        self._operation = operation
        self._span: StartSpan | None = None

    def __enter__(self) -> Self:
        if self._telemetry.tracing is not None:
            self._span = self._telemetry.tracing.start(self._operation)
            self._span.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, AsanaJobsError):
            self._telemetry.not_started(self._operation, error)
        if self._span is not None:
            self._span.__exit__(kind, error, traceback)

    def discard(self) -> None:
        """Keep no trace: there turned out to be nothing to start."""
        if self._span is not None:
            self._span.discard()
