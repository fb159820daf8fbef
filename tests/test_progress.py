"""`track`: what people see of waits, monitors, runs and downloads; and that the loop sees nothing of it."""

import asyncio
import errno
import gc
import io
import re
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from asana_jobs import AsanaClient, DuplicateProject, ExportGraph, Job, Request, sync
from asana_jobs.progress import track, track_download
from asana_jobs.testing import AsanaSimulator, FakeClock, ScriptedTransport


GIDS = [str(gid) for gid in range(1, 5)]
NASTY = "[red]Q3[/red] <b>[link=https://example.com]x[/link]\x1b[2J\nsecond"


class Terminal(Console):
    """A terminal, and what stands on its screen."""

    def __init__(self, width: int = 79, file: io.StringIO | None = None) -> None:
        super().__init__(
            file=file or io.StringIO(),
            width=width,
            height=40,
            force_terminal=True,
            force_interactive=True,
            color_system=None,
            legacy_windows=False,
        )

    @property
    def written(self) -> str:
        """Everything that was written to it."""
        assert isinstance(self.file, io.StringIO)
        return self.file.getvalue()

    @property
    def seen(self) -> list[str]:
        """The lines that are to be seen, by what a terminal does with what was written."""
        lines, row, column = [""], 0, 0
        for piece in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", self.written):
            if piece == "\n":
                row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
            elif piece == "\r":
                column = 0
            elif piece.endswith("A"):
                row -= int(piece[2:-1])
            elif piece == "\x1b[2K":
                lines[row] = ""
            elif not piece.startswith("\x1b"):
                lines[row] = lines[row][:column].ljust(column) + piece + lines[row][column + len(piece) :]
                column += len(piece)
        while lines and not lines[-1].strip():
            lines.pop()
        return [line.rstrip() for line in lines]

    @property
    def given_back(self) -> bool:
        """Whether its cursor is to be seen, and nobody draws on it."""
        shown, hidden = self.written.rfind("\x1b[?25h"), self.written.rfind("\x1b[?25l")
        return shown >= hidden and not self._live_stack and not self._render_hooks


@pytest.fixture
def terminal() -> Terminal:
    """A terminal of 79 columns."""
    return Terminal()


@pytest.fixture(autouse=True)
def _streams_are_as_they_were() -> Iterator[None]:
    before = sys.stdout, sys.stderr
    yield
    assert (sys.stdout, sys.stderr) == before


def running_for(seconds: float, clock: FakeClock, *, ends: str = "succeeded") -> Callable[[Request], str]:
    """An Asana whose jobs run so many seconds, and one second longer for each unit of their gid."""

    def answer(request: Request) -> str:
        gid = request.gid or "0"
        return ends if clock.monotonic() >= seconds + int(gid) % 1000 else "in_progress"

    return answer


async def jobs_of(stream: AsyncIterator[Job]) -> list[tuple[str, str | None]]:
    """What a loop sees of jobs."""
    return [(job.gid, job.status) async for job in stream]


# What the loop gets


async def test_a_wait_yields_what_it_yields_without_it(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, terminal: Terminal
) -> None:
    """Every change, the finished job last."""
    transport.play("not_started", "in_progress", "succeeded")
    plain = await jobs_of(client.wait_for_job("1"))
    transport.play("not_started", "in_progress", "succeeded")

    assert await jobs_of(track(client.wait_for_job("2"), console=terminal, clock=clock)) == [
        ("2", status) for _, status in plain
    ]
    assert len(plain) == 3


async def test_a_monitor_and_its_events_yield_what_they_yield_without_it(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, terminal: Terminal
) -> None:
    """The same jobs, the same events, in their order."""
    transport.play(running_for(5, clock))
    async with client.monitor_jobs(GIDS) as monitor:
        jobs = await jobs_of(track(monitor, console=terminal, clock=clock))
    gids = [str(1000 + int(gid)) for gid in GIDS]
    transport.play(running_for(clock.monotonic() + 5, clock))
    async with client.monitor_jobs(gids) as monitor:
        events = [
            type(event).__name__ async for event in track(monitor.events(), console=terminal, clock=clock)
        ]

    assert sorted(jobs) == sorted((gid, status) for gid in GIDS for status in ("in_progress", "succeeded"))
    assert sorted(events) == ["JobChanged"] * 8 + ["WaitEnded"] * 4


async def test_a_run_yields_its_outcomes(wired: AsanaClient, terminal: Terminal) -> None:
    """Every operation once, and at the end the display has counted them."""
    operations = [DuplicateProject("1203", name=str(number)) for number in range(8)]
    keys = [outcome.key async for outcome in track(wired.run_all(operations), total=8, console=terminal)]

    assert sorted(keys) == sorted(map(str, range(8)))
    assert terminal.seen[0].startswith("8 of 8 jobs finished")
    assert terminal.seen[1] == "succeeded 8"


async def test_what_ends_a_stream_is_raised(
    client: AsanaClient, terminal: Terminal, clock: FakeClock
) -> None:
    """The error is the stream's own, the terminal is as it was, and the loop can go on as without it."""

    async def stream() -> AsyncIterator[Job]:
        yield Job("1", status="in_progress")
        raise ZeroDivisionError

    tracked = track(stream(), console=terminal, clock=clock)
    assert (await anext(tracked)).gid == "1"
    with pytest.raises(ZeroDivisionError):
        await anext(tracked)
    assert terminal.given_back
    with pytest.raises(StopAsyncIteration):
        await anext(tracked)


# What people see


async def test_a_monitor_shows_how_many_are_over_and_which_run(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, terminal: Terminal
) -> None:
    """Totals, states and the jobs that have taken longest, below what the loop has printed; at the end the totals stay."""
    transport.play(running_for(5, clock))
    frames: list[list[str]] = []
    async with client.monitor_jobs(GIDS) as monitor:
        async for job in track(monitor, console=terminal, clock=clock):
            if job.done and not frames:
                terminal.print(f"first {job.gid}")
                await clock.sleep(0.6)
                frames.append(terminal.seen)

    said, headline, states, heading, *rows = frames[0]
    assert said == "first 1"
    assert re.fullmatch(r"1 of 4 jobs finished  ━+─+  \d\.\d s", headline)
    assert states == "succeeded 1   in_progress 3"
    assert heading == "waiting for:"
    assert [row.split()[:2] for row in rows] == [[gid, "in_progress"] for gid in GIDS[1:]]
    assert terminal.seen[:1] == ["first 1"]
    assert terminal.seen[1].startswith("4 of 4 jobs finished")
    assert terminal.seen[2:] == ["succeeded 4"]
    assert terminal.given_back


async def test_the_expected_end_is_shown_and_fills_the_bar_of_a_wait(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, terminal: Terminal
) -> None:
    """Once jobs of a kind are known to take some time, the bar of one is as full as that time is over."""
    for _ in range(40):
        client.durations.observe("duplicate_project", 49.5, 50.5, finished=True)
    start = clock.monotonic()
    transport.play(lambda _: "succeeded" if clock.monotonic() >= start + 50 else "in_progress")
    job = await client.duplicate_project("1203", name="Q3")
    frames: dict[int, str] = {}

    async def look() -> None:
        for moment in (12, 37):
            await clock.sleep(moment - clock.monotonic() + 0.5)
            frames[moment] = terminal.seen[0]

    looking = asyncio.create_task(look())
    async for _ in track(client.wait_for_job(job), console=terminal, clock=clock):
        pass
    await looking

    for moment, line in frames.items():
        said = re.search(r"  (━*)─*  (\S+) s, about (\S+) s left", line)
        bar = re.search("[━─]+", line)
        assert said is not None, line
        assert bar is not None, line
        passed, left = float(said[2]), float(said[3])
        assert passed == pytest.approx(moment, abs=1)
        assert left < 50 - moment + 5
        assert len(said[1]) / len(bar[0]) == pytest.approx(passed / (passed + left), abs=0.05)


async def test_without_a_total_a_run_counts(wired: AsanaClient, terminal: Terminal) -> None:
    """Nobody says how much is left who cannot know it."""
    operations = (DuplicateProject("1203", name=str(number)) for number in range(7))
    async for _ in track(wired.run_all(operations), console=terminal):
        pass

    assert terminal.seen[0].startswith("7 jobs finished")
    assert " of " not in terminal.seen[0]
    assert "left" not in terminal.written


async def test_names_are_text(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, terminal: Terminal
) -> None:
    """Neither markup nor control characters in a name, nor in a status, do anything."""
    transport.play("[blink]odd\x1b[2J", "succeeded")
    async for _ in track(client.wait_for_job("1"), description=NASTY, console=terminal, clock=clock):
        await clock.sleep(1)

    plain = NASTY.replace("\x1b", "\N{REPLACEMENT CHARACTER}").replace("\n", " ")
    assert terminal.seen[0] == plain
    assert "[blink]odd\N{REPLACEMENT CHARACTER}[2J" in terminal.written
    assert "\x1b[2J" not in terminal.written


async def test_jobs_that_cannot_be_watched_count_as_over(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, terminal: Terminal
) -> None:
    """A monitor that loses a job, or whose time is over, does not seem to wait for it."""
    transport.play(lambda request: 403 if request.gid == "2" else "in_progress")
    with pytest.raises(ExceptionGroup):
        async with client.monitor_jobs(["1", "2"], timeout=5) as monitor:
            async for _ in track(monitor, console=terminal, clock=clock):
                pass

    assert terminal.seen[0].startswith("2 of 2 jobs finished")
    assert terminal.seen[1] == "unknown 1   timed out 1"


async def test_lines_are_cut_where_the_terminal_ends(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock
) -> None:
    """A narrow terminal breaks no line, which would leave pieces of it behind."""
    terminal = Terminal(width=30)
    transport.play(running_for(5, clock))
    async with client.monitor_jobs(GIDS) as monitor:
        async for _ in track(monitor, description="x" * 100, console=terminal, clock=clock):
            await clock.sleep(1)

    assert (
        max(len(line) for line in re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", terminal.written).splitlines()) <= 30
    )
    assert terminal.seen == ["x" * 29 + "…", terminal.seen[1], "succeeded 4"]


# How it ends


async def states(count: int = 100) -> AsyncIterator[Job]:
    """A stream of one's own."""
    for _ in range(count):
        yield Job("1", status="in_progress")
        await asyncio.sleep(0.1)


async def test_break_ends_the_display_before_the_next_line_runs(terminal: Terminal) -> None:
    """What is printed after the loop comes after the display, and no timer draws any more."""
    async for _ in track(states(), console=terminal):
        break

    assert terminal.given_back
    before = terminal.written
    await asyncio.sleep(5)
    assert terminal.written == before


async def test_an_exception_in_the_loop_ends_the_display(terminal: Terminal) -> None:
    """As soon as it has left the loop."""
    with pytest.raises(ZeroDivisionError):
        async for _ in track(states(), console=terminal):
            raise ZeroDivisionError

    assert terminal.given_back


@pytest.mark.parametrize("seconds", [0.05, 0.15], ids=["in the stream", "in the body"])
async def test_a_cancellation_ends_the_display(terminal: Terminal, seconds: float) -> None:
    """Of the task that waits for the stream, or for something else in the loop."""

    async def look() -> None:
        async for _ in track(states(), console=terminal):
            await asyncio.sleep(0 if seconds < 0.1 else 1)

    task = asyncio.create_task(look())
    await asyncio.sleep(seconds)
    assert not terminal.given_back
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert terminal.given_back


async def test_one_that_has_a_name_ends_with_its_block(terminal: Terminal) -> None:
    """A name keeps it alive after the loop: its block ends the display, and closes a generator."""
    closed: list[str] = []

    async def stream() -> AsyncIterator[Job]:
        try:
            async for job in states():
                yield job
        finally:
            closed.append("stream")

    async with track(stream(), console=terminal) as jobs:
        async for _ in jobs:
            break
        assert not terminal.given_back
    assert terminal.given_back
    assert closed == ["stream"]


@pytest.mark.parametrize("tracked", [False, True])
async def test_a_generator_is_closed_as_soon_as_without_it(terminal: Terminal, tracked: bool) -> None:
    """By ``break`` alone the loop closes it in its next turns, tracked or not."""
    closed: list[bool] = []

    async def stream() -> AsyncIterator[Job]:
        try:
            while True:
                yield Job("1")
        finally:
            closed.append(True)

    async for _ in track(stream(), console=terminal) if tracked else stream():
        break
    turns = 0
    while not closed:
        await asyncio.sleep(0)
        turns += 1

    assert turns <= 3


@pytest.mark.parametrize("tracked", [False, True])
async def test_a_run_that_is_left_starts_nothing_more(
    simulator: AsanaSimulator, wired: AsanaClient, terminal: Terminal, tracked: bool
) -> None:
    """``break`` ends it at once, tracked or not: what was not started is not started any more."""
    run = (DuplicateProject("1203", name=str(number)) for number in range(50))
    async for _ in track(wired.run_all(run), total=50, console=terminal) if tracked else wired.run_all(run):
        break
    await asyncio.sleep(0.5)
    started = len(simulator.jobs)
    await asyncio.sleep(60)

    assert len(simulator.jobs) == started < 20


async def test_what_is_never_iterated_shows_nothing(terminal: Terminal) -> None:
    """Neither before, nor when it is dropped."""
    track(states(), console=terminal)
    gc.collect()

    assert terminal.written == ""


# Beside others


async def test_two_in_one_terminal_have_a_block_each(terminal: Terminal) -> None:
    """They stand below each other; the one that ends first is left above the other."""
    screens: list[list[str]] = []

    async def look(name: str, count: int) -> None:
        async for _ in track(states(count), total=1, description=name, console=terminal):
            pass
        screens.append([line for line in terminal.seen if line in {"short", "long"}])

    await asyncio.gather(look("long", 60), look("short", 20))

    assert screens == [["short", "long"], ["short", "long"]]
    assert terminal.given_back
    assert terminal.written.count("\x1b[?25l") == 1


async def test_many_at_once_do_not_draw_all_of_them_for_each(terminal: Terminal) -> None:
    """A dozen blocks cost no dozen times a dozen."""

    async def look() -> None:
        async for _ in track(states(50), console=terminal):
            pass

    await asyncio.gather(*(look() for _ in range(12)))
    drawn = terminal.written.count("\x1b[2K\x1b[1A")  # a line that is drawn again
    redraws = 5 / 0.25 * 2 + 24  # twice a quarter of a second, and at each begin and end

    assert drawn <= redraws * 12 * 3


async def test_it_stands_inside_of_a_display_of_the_programs_own(terminal: Terminal) -> None:
    """Rich has one live display for a console; ours joins it."""
    with Live("mine", console=terminal, auto_refresh=False) as live:
        async for _ in track(states(5), description="ours", console=terminal):
            pass
        live.refresh()
        assert {"mine", "ours"} <= set(terminal.seen)

    assert terminal.given_back


async def test_it_keeps_no_thread_and_no_task(terminal: Terminal) -> None:
    """The event loop draws."""
    threads, tasks = threading.active_count(), len(asyncio.all_tasks())
    async for _ in track(states(20), console=terminal):
        assert threading.active_count() == threads
        assert len(asyncio.all_tasks()) == tasks


async def test_drawing_that_is_slow_is_done_less_often() -> None:
    """However long one drawing takes, the loop has nineteen of twenty parts of the time for itself."""

    class Late(FakeClock):
        late = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.late

    class Slow(io.StringIO):
        def write(self, text: str) -> int:
            clock.late += 0.01
            return super().write(text)

    clock = Late()
    terminal = Terminal(file=Slow())

    async def stream() -> AsyncIterator[Job]:
        yield Job("1", status="in_progress")
        await clock.sleep(60)

    async for _ in track(stream(), console=terminal, clock=clock):
        pass

    assert 0 < clock.late < 0.06 * 60


async def test_a_terminal_that_has_gone_disturbs_nobody() -> None:
    """The loop goes on where nothing can be written."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.EIO, "Input/output error")

    assert len([job async for job in track(states(20), console=Terminal(file=Gone()))]) == 20


# Where there is no terminal


async def test_elsewhere_it_is_a_line_a_minute(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """On standard error: what runs and for how long; and nothing of what is over within a minute."""
    transport.play(running_for(150, clock))
    async for _ in track(client.wait_for_job("1"), clock=clock):
        pass
    said = capsys.readouterr()
    transport.play(running_for(clock.monotonic() + 50, clock))
    async for _ in track(client.wait_for_job("2"), clock=clock):
        pass

    assert said.out == ""
    assert said.err.splitlines() == [
        "asana_jobs: 0 of 1 job finished after 1:00: 1 in_progress",
        "asana_jobs: 0 of 1 job finished after 2:00: 1 in_progress",
    ]
    assert capsys.readouterr().err == ""


async def test_such_a_line_has_the_name_and_the_expected_end(
    client: AsanaClient, transport: ScriptedTransport, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the command line says it."""
    for _ in range(40):
        client.durations.observe("duplicate_project", 99.0, 101.0, finished=True)
    transport.play(running_for(90, clock))
    job = await client.duplicate_project("10", name="Q3")
    async for _ in track(client.wait_for_job(job), description="Q3 launch", clock=clock):
        pass

    line = r"Q3 launch: 0 of 1 job finished after 1:00: 1 in_progress; probably over at \d\d:\d\d\n"
    assert re.fullmatch(line, capsys.readouterr().err)


async def test_what_the_loop_prints_into_a_file_stays_there(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what would come to the terminal anyway is drawn around."""
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    async for job in track(states(3), console=terminal):
        print(job.gid)  # noqa: T201  # what a program does

    assert written.getvalue() == "1\n1\n1\n"
    assert "1\n1\n1" not in terminal.written
    monkeypatch.undo()


# Downloads


async def test_a_download_shows_its_bytes(wired: AsanaClient, terminal: Terminal, tmp_path: Path) -> None:
    """The name, the bar and the sizes, until all has come."""
    job = await wired.run(ExportGraph("1203"))
    path = await wired.download_export(
        job,
        tmp_path / "export.json.gz",
        progress=track_download(tmp_path / "export.json.gz", console=terminal),
    )
    kilobytes = f"{path.stat().st_size / 1000:.1f} kB"

    assert terminal.given_back
    assert len(terminal.seen) == 1
    assert re.match(rf"export\.json\.gz   ━+   {kilobytes} of {kilobytes}", terminal.seen[0])


@pytest.mark.parametrize("block", [True, False])
async def test_a_download_that_fails_ends_its_display(terminal: Terminal, block: bool) -> None:
    """With its block, or without one when it is dropped."""

    async def download(progress: Callable[[int, int | None], object]) -> None:
        progress(0, 1000)
        await asyncio.sleep(1)
        progress(500, 1000)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        if block:
            with track_download("a/b.json", console=terminal) as progress:
                await download(progress)
        else:
            await download(track_download("a/b.json", console=terminal))
    gc.collect()

    assert terminal.given_back
    assert terminal.seen[0].startswith("b.json")
    assert "500 bytes of 1.0 kB" in terminal.seen[0]


def test_a_download_without_asyncio_is_shown_too(terminal: Terminal, tmp_path: Path) -> None:
    """The shared loop of `asana_jobs.sync` draws in its own thread, and the block ends it from this one."""
    started, stop, addresses = threading.Event(), threading.Event(), list[str]()

    async def serve() -> None:
        async with AsanaSimulator(durations=0.01) as simulator:
            addresses.append(simulator.base_url)
            started.set()
            await asyncio.to_thread(stop.wait)

    server = threading.Thread(target=asyncio.run, args=(serve(),))
    server.start()
    started.wait()
    try:
        with track_download("export.json.gz", console=terminal) as progress:
            path = sync.export(
                ExportGraph("1203"),
                tmp_path / "export.json.gz",
                progress=progress,
                token="t",
                base_url=addresses[0],
            )
    finally:
        sync.close()
        stop.set()
        server.join()

    assert path.exists()
    assert terminal.given_back
    assert terminal.seen[0].startswith("export.json.gz   ━")


# Used as what it is not


@pytest.mark.parametrize("stream", [["1205"], "1205", 1205, None])
def test_what_cannot_be_iterated_is_refused(stream: object) -> None:
    """With what to write instead."""
    with pytest.raises(ValueError, match=r"async for`, such as asana.monitor_jobs\(\[...\]\).*not a "):
        track(stream)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("total", [-1, True, "12", 1.5])
def test_a_total_is_a_number_of_jobs(total: object) -> None:
    """Anything else is refused."""
    with pytest.raises(ValueError, match=r"such as len\(operations\), not "):
        track(states(), total=total)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_stream_of_something_else_is_refused(terminal: Terminal) -> None:
    """Records of an export are no jobs."""

    async def records() -> AsyncIterator[dict[str, str]]:
        yield {"gid": "1"}

    with pytest.raises(ValueError, match="shows jobs and outcomes, and this yields a dict"):
        async for _ in track(records(), console=terminal):  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]
            pass
    assert terminal.given_back
