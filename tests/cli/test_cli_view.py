"""The live view: what it says, and that it stays in its place."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from rich.text import Text

from asana_jobs import Eta, Job
from asana_jobs.cli.events import event
from asana_jobs.cli.live_view import Screen, view_lines
from asana_jobs.cli.progress import Progress
from asana_jobs.cli.report import job_lines


def expected(seconds: float) -> Eta:
    """A wait that has probably ended in so many seconds."""
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    return Eta(likely=end, latest=end)


def progress_of(*statuses: str, now: float = 10.0) -> Progress:
    """Progress of as many jobs, begun ten seconds ago."""
    progress = Progress(0.0)
    progress.expect([str(number) for number in range(len(statuses))], 0.0)
    for number, status in enumerate(statuses):
        progress.take(state(str(number), status), now)
    return progress


def state(gid: str, status: str, kind: str = "duplicate_project", result: object = None) -> dict[str, object]:
    """The event of a job's state."""
    done = status in {"succeeded", "failed"}
    return event("job", gid=gid, kind=kind, status=status, done=done, result=result, seconds=10.0)


def text_of(progress: Progress, width: int = 79, now: float = 10.0) -> str:
    """What is drawn."""
    return "\n".join(line.plain for line in view_lines(progress, now, width))


def test_totals_by_state() -> None:
    """The view counts jobs by state."""
    assert "succeeded 2   failed 1   in_progress 1" in text_of(
        progress_of("succeeded", "succeeded", "failed", "in_progress")
    )


def test_a_job_that_cannot_be_watched_counts_as_over() -> None:
    """A refused job is neither waited for nor called succeeded."""
    progress = progress_of("in_progress")
    progress.lose("0", 5.0)

    assert "1 of 1 job finished" in text_of(progress)
    assert "unknown 1" in text_of(progress)


def test_kinds_are_counted_when_there_are_several() -> None:
    """Of each kind the view says how many are over, once there is more than one kind."""
    progress = progress_of("succeeded", "in_progress")
    progress.take(state("9", "in_progress", "rollup_task"), 1.0)

    assert "duplicate_project 1/2   rollup_task 0/1" in text_of(progress)


def test_never_a_row_per_job() -> None:
    """Five hundred jobs take no more lines than a handful."""
    assert len(view_lines(progress_of(*["in_progress"] * 500), 10.0, 79)) <= 10


def test_no_estimate_from_a_few_finishes() -> None:
    """Four of fifty jobs say nothing about when the rest will be over."""
    assert "left" not in text_of(progress_of(*["succeeded"] * 4, *["in_progress"] * 46))


def test_the_estimate_follows_the_finishes() -> None:
    """When half of the jobs took ten seconds, the other half is said to take ten more."""
    assert "about 10.0 s left" in text_of(progress_of(*["succeeded"] * 20, *["in_progress"] * 20))


def test_the_estimate_is_by_what_was_learned_of_such_jobs_where_something_was() -> None:
    """With an expected end nobody has to wait for finishes to be told the time left."""
    progress = progress_of("in_progress")
    progress.eta = lambda: expected(90.5)

    assert "about 1:30 left" in text_of(progress)


def test_the_bar_of_one_job_is_as_full_as_its_time_is_over() -> None:
    """With an expected end a single wait is not empty until it is over; several jobs are counted."""
    one, two = progress_of("in_progress"), progress_of("in_progress", "in_progress")
    one.eta = two.eta = lambda: expected(30)

    bars = [text_of(progress).splitlines()[0] for progress in (one, two)]
    assert bars[0].count("\u2501") / (bars[0].count("\u2501") + bars[0].count("\u2500")) == pytest.approx(
        0.25, abs=0.05
    )
    assert bars[1].count("\u2501") == 0


def test_where_nobody_knows_how_many_there_will_be_they_are_counted() -> None:
    """Without a number of jobs there is neither a bar nor a time that is left."""
    progress = bulk_progress(0, 37)

    assert text_of(progress).splitlines()[0] == "37 jobs finished  10.0 s, 222 a minute"
    assert text_of(progress).splitlines()[1] == "succeeded 37   in_progress 1"


def test_a_job_that_is_overdue_is_marked() -> None:
    """The row of a job that runs for longer than nearly all of its kind says so, and no other."""
    progress = progress_of("in_progress", "in_progress")
    progress.overdue.add("1")

    assert [line.endswith("overdue") for line in text_of(progress).splitlines()[-2:]] == [False, True]


def bulk_progress(expected: int, over: int, *, earlier: int = 0) -> Progress:
    """A bulk run that began ten seconds ago; one job runs."""
    running = Job("1205", status="in_progress")
    progress = Progress(0.0, expected=expected, running=lambda: [("rollup_task", running)])
    for place in range(over):
        operation, known = {"kind": "rollup_task"}, place < earlier
        progress.take(event("outcome", state="succeeded", operation=operation, from_ledger=known), 10.0)
    progress.refresh(10.0)
    return progress


def test_a_bulk_run_counts_what_waits() -> None:
    """What is neither over nor running is waiting, and what runs is counted once, however often it is drawn."""
    progress = bulk_progress(50, 20)
    progress.refresh(11.0)

    assert "succeeded 20   in_progress 1   waiting 29" in text_of(progress, now=11.0)
    assert "1205  rollup_task  in_progress  1.0 s" in text_of(progress, now=11.0)


def test_jobs_that_have_just_begun_are_not_called_slow() -> None:
    """A job has a row once it was watched for a second; rows of 0.0 s say nothing."""
    assert "1205" not in text_of(bulk_progress(50, 20), now=10.9)


def test_the_bar_keeps_its_width() -> None:
    """However many are over, and whatever is said of the time, the bar begins and ends in the same columns."""
    lines = [
        text_of(bulk_progress(120, over), now=now).splitlines()[0]
        for over, now in [(0, 0.2), (9, 10.5), (99, 10.9), (110, 3999.0)]
    ]

    bars = {
        tuple(place for place, character in enumerate(line) if character in "\u2501\u2500") for line in lines
    }
    assert [len(bar) for bar in bars] == [10]


def test_an_earlier_run_says_nothing_about_the_pace() -> None:
    """What the ledger knew already is done, but not at the pace of today."""
    assert "60 a minute, about 20.0 s left" in text_of(bulk_progress(50, 30, earlier=20))


@pytest.mark.parametrize("width", [20, 39, 79, 200])
def test_lines_fit_the_window(width: int) -> None:
    """After cutting, no line is wider than the window, in one of any width."""
    drawn = draw([progress_of("succeeded", "in_progress", "not_started")], width + 1)

    assert max(len(line) for line in drawn.replace("\x1b[K", "").replace("\x1b[J", "").splitlines()) <= width


def test_a_second_drawing_covers_the_first() -> None:
    """The cursor goes back to the first line of what is shown, so that nothing is left of it."""
    progress = progress_of("succeeded", "in_progress")
    lines = len(view_lines(progress, 10.0, 79))

    assert f"\r\x1b[{lines - 1}A" in draw([progress, progress], 80)


def test_a_narrowed_window_is_taken_into_account() -> None:
    """After the window was narrowed, the rows that the terminal broke the old lines into are counted."""
    out = io.StringIO()
    console = Console(file=out, width=80, height=24, force_terminal=True, color_system=None)
    screen = Screen(console)
    screen.draw([Text("x" * 70), Text("y" * 10)])
    console.width = 30

    screen.draw([Text("z")])

    assert "\r\x1b[3A" in out.getvalue()  # three rows of x and one of y: three up


def test_the_view_is_never_higher_than_the_window() -> None:
    """In a window of five lines at most four are drawn."""
    out = io.StringIO()
    screen = Screen(Console(file=out, width=80, height=5, force_terminal=True, color_system=None))

    screen.draw([Text(str(number)) for number in range(20)])

    assert out.getvalue().count("\n") == 3


def test_names_from_elsewhere_are_harmless() -> None:
    """A state that Asana makes up cannot drive the terminal."""
    assert "\x1b" not in text_of(progress_of("odd\x1b[2J"))


def draw(stages: list[Progress], width: int) -> str:
    """What a screen of *width* columns writes for *stages* in turn."""
    out = io.StringIO()
    screen = Screen(Console(file=out, width=width, height=24, force_terminal=True, color_system=None))
    for progress in stages:
        screen.draw(view_lines(progress, 10.0, screen.width))
    return out.getvalue()


@pytest.mark.parametrize(
    ("width", "first"),
    [
        (120, "JOB               STATUS     TIME    KIND               RESULT"),
        (80, "JOB               STATUS     TIME    RESULT"),
        (50, "1203000000000001  succeeded  10.0 s"),
    ],
)
def test_the_table_gives_up_the_kind_before_the_name(width: int, first: str) -> None:
    """Where it gets tight, the table drops the kinds, and then puts the columns below each other."""
    made = {"gid": "1206000000000001", "resource_type": "project", "name": "Q3 launch"}
    progress = Progress(0.0)
    progress.expect(["1203000000000001"], 0.0)
    progress.take(state("1203000000000001", "succeeded", result=made), 10.0)

    lines = job_lines([*progress.tracks.values()], 10.0, width)

    assert lines[0].plain == first
    assert lines[-1].plain.endswith("project 1206000000000001 Q3 launch")
