"""Progress for people who look: of waits, monitors, runs and downloads, in a terminal or in a notebook.

```python
import asyncio

from asana_jobs import AsanaClient, DuplicateProject, ExportGraph
from asana_jobs.progress import track, track_download


async def main() -> None:
    async with AsanaClient() as asana:
        operations = [DuplicateProject("1203", name=f"Copy {n}") for n in range(3)]
        async for outcome in track(asana.run_all(operations), total=len(operations)):
            print(outcome.job or outcome.error)

        async with asana.monitor_jobs(["1205", "1206"]) as monitor:
            async for job in track(monitor):
                print(job.gid, job.status)

        export = await asana.run(ExportGraph("1203"))
        with track_download("export.json.gz") as progress:
            print(await asana.download_export(export, "export.json.gz", progress=progress))


asyncio.run(main())
```

Shown is how many jobs are over, how long the rest will probably take, by what was learned of such jobs, and which have
taken longest. In a terminal that is a block on standard error, below what the loop prints; in a notebook a part of the
cell's output; elsewhere, as in a log, a line a minute. Any number of them may be there at once. The event loop draws
them, a few times a second; there is no thread and no task.

Needs the extra `cli` (`pip install 'asana-jobs[cli]'`); in a notebook `await main()` stands instead of the last line.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from math import inf
from pathlib import Path
from threading import RLock, get_ident
from typing import Any, Final, Self, TypeVar, final

from asana_jobs import Job, JobMonitor, JobWaiter, Outcome, Run
from asana_jobs.errors import JobTimeoutError
from asana_jobs.events import JobChanged, WaitEnded
from asana_jobs.gates import Clock, SystemClock, Timer


try:
    from rich import get_console
    from rich.console import Console, ConsoleOptions, Group, RenderResult
    from rich.live import Live
    from rich.text import Text

    from asana_jobs.cli.events import TIMED_OUT, UNKNOWN, job_event, outcome_event
    from asana_jobs.cli.live_view import (
        BETWEEN_LINES,
        BETWEEN_REDRAWS,
        DownloadView,
        ProgressView,
        View,
        sentence,
    )
    from asana_jobs.cli.progress import Progress, running_of
    from asana_jobs.cli.terminal import is_terminal, make_console, sanitize
except ImportError as _error:
    if (_error.name or "").startswith("asana_jobs"):
        raise  # ours, which no installation brings
    raise ImportError(
        f"asana_jobs.progress needs more packages ({_error}): pip install 'asana-jobs[cli]'", name=_error.name
    ) from _error


__all__ = ["Tracked", "TrackedDownload", "track", "track_download"]

T = TypeVar("T", bound="Job[Any] | Outcome[Any] | JobChanged | WaitEnded")
#: Of the time, the part that drawing may take: what is asked of a monitor grows with its jobs.
_DRAWING: Final = 0.05


def track(
    stream: AsyncIterable[T],
    *,
    total: int | None = None,
    description: str | None = None,
    console: Console | None = None,
    clock: Clock | None = None,
) -> Tracked[T]:
    """Iterate *stream* as it is, and show how far it is.

    It begins to be shown at the first step of the loop, and ends with the loop, however that ends: with the stream, by
    ``break``, an exception or a cancellation. The stream itself ends as it would without this. Who gives the return
    value a name writes ``async with track(...) as jobs``, as it is shown until it is dropped.

    Args:
        stream: What `AsanaClient.wait_for_job`, `AsanaClient.monitor_jobs`, its `JobMonitor.events` or
            `AsanaClient.run_all` return, or an async generator of your own that yields what these do.
        total: How many jobs there will be, if you know that and the stream does not: a run takes its operations as
            they come, and without this nobody can tell how much is left.
        description: What is going on, in a line of its own.
        console: Where to show it, instead of on standard error.
        clock: The one that the client was given, in tests with a `asana_jobs.testing.FakeClock`.

    Returns:
        What yields what *stream* yields.

    Raises:
        ValueError: *stream* is nothing to iterate with ``async for``, or it yields something else than these.
    """
    if not hasattr(type(stream), "__aiter__"):
        raise ValueError(
            "track takes what is iterated with `async for`, such as asana.monitor_jobs([...]), asana.run_all([...]) "
            f"or asana.wait_for_job(gid), not a {type(stream).__name__}"
        )
    return Tracked(stream, _check_total(total), _Shown(description, console, clock))


def _check_total(total: object) -> int:
    if total is None:
        return 0
    if isinstance(total, bool) or not isinstance(total, int) or total < 0:
        raise ValueError(f"total must be the number of jobs, such as len(operations), not {total!r}")
    return total


@final
class Tracked(AsyncIterator[T]):
    """A stream, and the display of how far it is. You get one from `track`."""

    def __init__(self, stream: AsyncIterable[T], total: int, shown: _Shown) -> None:
        self._stream, self._total, self._shown = stream, total, shown
        self._iterator: AsyncIterator[T] | None = None
        self._progress: Progress | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        if self._iterator is None:
            self._iterator = aiter(self._stream)
        if self._progress is None:
            self._progress = _progress_of(self._stream, self._total, self._shown)
            self._shown.begin(ProgressView(self._progress))
        try:
            item = await anext(self._iterator)
            _take(self._progress, item, self._shown.now())
        except BaseException:
            self._shown.end()
            raise
        return item

    async def aclose(self) -> None:
        """Show it no longer, and close the stream if that can be closed."""
        self._shown.end()
        close = getattr(type(self._stream), "aclose", None)
        if close is not None:
            await close(self._stream)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._shown.end()


def track_download(
    destination: str | os.PathLike[str],
    *,
    description: str | None = None,
    console: Console | None = None,
    clock: Clock | None = None,
) -> TrackedDownload:
    """Return what shows the progress of a download: the *progress* of `AsanaClient.download_export`.

    It is shown from its first call on until all has come, or until the block of ``with`` ends. It serves
    `asana_jobs.sync.export` as well.

    Args:
        destination: The file, whose name is shown.
        description: As for `track`.
        console: As for `track`.
        clock: As for `track`.
    """
    return TrackedDownload(Path(destination).name, _Shown(description, console, clock))


@final
class TrackedDownload:
    """The display of how much of a file has come. You get one from `track_download`."""

    def __init__(self, name: str, shown: _Shown) -> None:
        self._name, self._shown = name, shown
        self._view: DownloadView | None = None

    def __call__(self, done: int, total: int | None) -> None:
        """Show that so many bytes have come, of so many."""
        if self._view is None:
            self._view = DownloadView(self._name, self._shown.now())
            self._view.progress(done, total)
            self._shown.begin(self._view)
        self._view.progress(done, total)
        if done == total:
            self._shown.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._shown.end()

    def __del__(self) -> None:
        self._shown.end()


def _progress_of(stream: object, total: int, shown: _Shown) -> Progress:
    """Return the progress of a stream that begins now, of which it is asked what can be asked."""
    progress = Progress(shown.now(), expected=total, wall=shown.clock.now)
    match stream:
        case JobWaiter():
            progress.expected, progress.eta = 1, stream.eta
        case JobMonitor():
            progress.eta, progress.ask = stream.eta, partial(_ask, stream)
        case Run():
            progress.running = lambda: running_of(stream.unfinished)
        case _:
            pass
    return progress


def _ask(monitor: JobMonitor, progress: Progress, now: float) -> None:
    progress.expect(monitor.running, now)
    for gid, error in monitor.errors.items():
        _lose(progress, gid, error, now)


def _take(progress: Progress, item: object, now: float) -> None:
    """Count what a stream has yielded."""
    match item:
        case Job():
            seconds = now - progress.began
            progress.take(job_event(item, kind=item.resource_subtype, seconds=seconds), now)
        case Outcome():
            progress.take(outcome_event(item), now)
        case JobChanged():
            _take(progress, item.job, now)
        case WaitEnded():
            _lose(progress, item.gid, item.error, now)
        case _:
            raise ValueError(f"track shows jobs and outcomes, and this yields a {type(item).__name__}")


def _lose(progress: Progress, gid: str, error: Exception | None, now: float) -> None:
    if error is not None:
        progress.lose(gid, now, TIMED_OUT if isinstance(error, JobTimeoutError) else UNKNOWN)


class _Shown:
    """One thing that is shown, from its begin to its end."""

    def __init__(self, description: str | None, console: Console | None, clock: Clock | None) -> None:
        self.name: str | None = None if description is None else sanitize(description)
        self.clock: Clock = clock or SystemClock()
        self.view: View
        self._console = console
        self._screen: _Log | _Notebook | _Terminal | None = None
        self._loop: asyncio.AbstractEventLoop
        self._thread = 0
        self._timer: Timer | None = None
        self._latest = 0.0

    def now(self) -> float:
        """Return the time; once the event loop has ended, the last one."""
        with suppress(RuntimeError):
            self._latest = self.clock.monotonic()
        return self._latest

    def begin(self, view: View) -> None:
        """Show *view*, and again and again from now on."""
        self.view, self._loop, self._thread = view, asyncio.get_running_loop(), get_ident()
        screen = _screen_of(self._console)
        with suppress(OSError):  # nobody is looking any more
            screen.begin(self)
            self._screen = screen
            self._wait()

    def end(self) -> None:
        """Show it no longer. May be called by the garbage collector, and by the thread that uses `asana_jobs.sync`."""
        if self._screen is None:
            return
        if self._thread != get_ident() and self._loop.is_running():
            self._loop.call_soon_threadsafe(self._end)
        else:
            self._end()

    def _end(self) -> None:
        screen, self._screen = self._screen, None
        if screen is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        with suppress(OSError):
            screen.leave(self)
        del self.view  # which holds the stream

    def _wait(self, took: float = 0.0) -> None:
        assert self._screen is not None  # noqa: S101  # it has begun
        self._timer = self.clock.call_later(max(self._screen.pause, took / _DRAWING), self._again)

    def _again(self) -> None:
        if self._screen is not None:
            began = self.now()
            with suppress(OSError):
                self._screen.show(self)
            self._wait(self.now() - began)

    def lines(self, width: int) -> list[Text]:
        """Return the lines to draw on *width* columns."""
        lines = self.view.lines(self.now(), width, None)
        if self.name is not None:
            lines.insert(0, Text(self.name, "bold"))
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return lines

    def sentence(self) -> str:
        """Return the line to write where nothing can be drawn."""
        return f"{self.name or 'asana_jobs'}: {sentence(self.view, self.now())}"


def _screen_of(console: Console | None) -> _Log | _Notebook | _Terminal:
    """Return where something is shown: each has the seconds of its *pause* from one time to the next."""
    if console is None and get_console().is_jupyter:
        console = get_console()  # its width is that of a cell's output
    with _lock:
        if console in _terminals:
            return _terminals[console]
        screen = console or make_console(sys.stderr)
        if screen.is_jupyter:
            return _Notebook(screen)
        if screen.is_interactive:
            return _Terminal(console, screen)
        return _Log(screen)


class _Log:
    """A stream that is no terminal: a line a minute, since CI systems end what is silent."""

    pause = BETWEEN_LINES

    def __init__(self, console: Console) -> None:
        self._console = console

    def begin(self, shown: _Shown) -> None:
        """Write nothing of what may be over soon."""

    def show(self, shown: _Shown) -> None:
        """Write a line."""
        self._console.file.write(f"{shown.sentence()}\n")
        self._console.file.flush()

    def leave(self, shown: _Shown) -> None:
        """Write nothing: the program tells how it ended."""


class _Notebook:
    """The output of a notebook's cell, of which a part is written anew."""

    pause = 2 * BETWEEN_REDRAWS  # each time is a message to a browser

    def __init__(self, console: Console) -> None:
        self._console = console
        self._handle: Any = None

    def begin(self, shown: _Shown) -> None:
        """Add the part."""
        self._handle = import_module("IPython.display").display(self._text(shown), display_id=True)

    def show(self, shown: _Shown) -> None:
        """Write the part anew."""
        self._handle.update(self._text(shown))

    leave = show

    def _text(self, shown: _Shown) -> Text:
        return Text("\n", no_wrap=True, overflow="ellipsis").join(shown.lines(self._console.width))


class _Terminal:
    """The block at the end of a terminal, with all that is shown there: it can have one live display of rich's."""

    pause = BETWEEN_REDRAWS

    def __init__(self, key: Console | None, console: Console) -> None:
        self._key, self._console = key, console
        self._lines: dict[_Shown, list[Text]] = {}
        self._drawn = -inf
        # What the program prints comes above the block, but only if it comes to this terminal, and not into a file.
        self._live = Live(
            self,
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=is_terminal(sys.stdout),
            redirect_stderr=is_terminal(sys.stderr),
        )

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        return (line for lines in list(self._lines.values()) for line in lines)

    def begin(self, shown: _Shown) -> None:
        """Add it to the block."""
        with _lock:
            if not self._lines:
                self._start()
            self._drawn = -inf
            self.show(shown)

    def _start(self) -> None:
        try:
            self._live.start()
        except OSError:
            self._console.clear_live()  # it has not begun, and cannot be stopped
            raise
        _terminals[self._key] = self
        atexit.register(self._live.stop)  # whatever happens, the cursor comes back

    def show(self, shown: _Shown) -> None:
        """Draw the block, unless it was for another one just now."""
        with _lock:
            self._lines[shown] = shown.lines(self._console.width)
            now = shown.now()
            if not 0 <= now - self._drawn < self.pause / 2:
                self._drawn = now
                self._live.refresh()

    def leave(self, shown: _Shown) -> None:
        """Write it for good, above what is left of the block."""
        with _lock:
            del self._lines[shown]
            try:
                self._console.print(Group(*shown.lines(self._console.width)))
            finally:
                if not self._lines:
                    del _terminals[self._key]
                    atexit.unregister(self._live.stop)
                    self._live.stop()


#: The terminals on which something is shown, by the console that was handed in.
_terminals: Final = dict[Console | None, _Terminal]()
#: Of the screens: event loops of several threads may share one.
_lock: Final = RLock()
