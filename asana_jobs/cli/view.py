"""What the live view shows: totals, the time left, the slowest few. Never a row per job."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from asana_jobs.cli.plain import plain, shortened
from asana_jobs.cli.spans import show_span
from asana_jobs.cli.tally import UNKNOWN, UNSEEN, Tally, Track


STYLES = {
    "succeeded": "green",
    "failed": "bold red",
    "refused": "bold red",
    UNKNOWN: "bold red",
    "timed out": "yellow",
    "left": "yellow",
    "in_progress": "cyan",
}
_ORDER = (
    "succeeded",
    "failed",
    "refused",
    UNKNOWN,
    "timed out",
    "left",
    "accepted",
    "in_progress",
    "not_started",
)
_LAST = (UNSEEN, "waiting")
_SLOWEST = 5
_NARROW = 60


def view_lines(
    tally: Tally, now: float, width: int, *, budget: str | None = None, notice: str | None = None
) -> list[Text]:
    """Return the lines to draw for a terminal of *width* columns."""
    lines = [*_headline(tally, now, width)]
    lines += flow([Text(f"{state} {count}", STYLES.get(state, "")) for state, count in _states(tally)], width)
    if len(tally.kinds) > 1:
        lines += flow([Text(kind, "dim") for kind in _kinds(tally)], width)
    slowest = tally.slowest(_SLOWEST)
    if slowest:
        lines.append(Text("slowest:" if tally.expected - tally.over > _SLOWEST else "waiting for:", "dim"))
        lines += [_row(track, now, width) for track in slowest]
    if budget:
        lines.append(Text(budget, "dim"))
    if notice:
        lines.append(Text(plain(notice), "yellow"))
    return lines


def _headline(tally: Tally, now: float, width: int) -> list[Text]:
    count = Text(
        f"{tally.over} of {tally.expected} {'job' if tally.expected == 1 else 'jobs'} finished", "bold"
    )
    time = Text(show_span(now - tally.began))
    pace = tally.pace(now)
    if pace is not None:
        time.append(f", {pace * 60:.0f} a minute")
    left = tally.seconds_left(now)
    if left is not None:
        time.append(f", about {show_span(left)} left")
    if width < _NARROW:
        return flow([count, time], width)
    room = width - count.cell_len - time.cell_len - 4
    return [Text("  ").join([count, bar(tally.over, tally.expected, min(30, room)), time])]


def bar(done: int, total: int, width: int) -> Text:
    """Return a bar of *width* cells."""
    filled = width if total == 0 else width * done // total
    return Text.assemble(("━" * filled, "green"), ("─" * (width - filled), "dim"))


def _states(tally: Tally) -> list[tuple[str, int]]:
    known = [state for state in _ORDER if tally.states[state]]
    others = sorted(state for state in tally.states if state not in {*_ORDER, *_LAST})
    return [(plain(state), tally.states[state]) for state in [*known, *others, *_LAST] if tally.states[state]]


def _kinds(tally: Tally) -> list[str]:
    return [f"{plain(kind)} {tally.kinds_over[kind]}/{count}" for kind, count in sorted(tally.kinds.items())]


def _row(track: Track, now: float, width: int) -> Text:
    row = Text(f"  {track.gid}  ")
    if width >= _NARROW and track.kind is not None:
        row.append(f"{shortened(track.kind, 25)}  ", "dim")
    row.append(plain(track.state), STYLES.get(track.state, ""))
    row.append(f"  {show_span(track.seconds(now))}")
    return row


def flow(fields: Sequence[Text], width: int, gap: str = "   ") -> list[Text]:
    """Lay *fields* side by side, on as many lines as they need."""
    lines: list[Text] = []
    for field in fields:
        if lines and lines[-1].cell_len + len(gap) + field.cell_len <= width:
            lines[-1] = Text.assemble(lines[-1], gap, field)
        else:
            lines.append(field.copy())
    return lines
