"""The picture ``benchmarks/lag.svg``: how late a finished job is seen, against the requests that were spent on it.

Each point is the mean of 250 jobs, each watched on its own in virtual time, whose lengths follow one of two laws. The
ringed points are the defaults. Nobody can be below the lowest line who knows the law, but not when one job will end.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from math import log10
from pathlib import Path
from typing import Final

import attrs
from in_process import ROUND_TRIP
from limit import alone
from single import LAWS, Watch, laws, looks_by, measure, ours
from tenacity import wait_exponential, wait_fixed

from asana_jobs import PollPolicy


PANEL, HEIGHT = 430, 424
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 48, 108
MOST_REQUESTS: Final = 16
LAGS: Final = (0.3, 1.0, 3.0, 10.0)
MOST_LAG: Final = 20.0
NAMES: Final = {
    "a look every so many seconds": "#b0533c",
    "doubling gaps, at most 30 s": "#c2912e",
    "asana_jobs, nothing learned": "#6fa3d8",
    "asana_jobs, after such jobs": "#1f4e79",
}
LIMIT: Final = "the least there can be"
DEFAULT: Final = "ringed: the default, a request for 0.1 s of lag"
GREY: Final = "#888888"


def picture() -> None:
    """Draw the picture anew, and print its numbers."""
    measured = {law: [*lines(seconds), least(law)] for law, seconds in laws().items()}
    for law, drawn in measured.items():
        print(law)
        for each in drawn:
            found = "  ".join(f"{requests:.1f}: {lag:.2f} s" for requests, lag in each.points)
            print(f"  {each.name:<30} {found}")
    Path(__file__).parent.with_name("lag.svg").write_text(draw(measured), "utf-8")


@attrs.frozen
class Line:
    """One way to watch, from many requests to few: points of (requests for each job, mean lag in seconds)."""

    name: str
    points: list[tuple[float, float]]
    default: tuple[float, float] | None = None


def lines(seconds: list[float]) -> list[Line]:
    """Measure every way to watch jobs of these lengths."""
    prices = (0.02, 0.05, PollPolicy().lag_price, 0.2, 0.5, 1, 2, 5, 10, 20)
    watches: list[list[Watch]] = [
        [looks_by(wait_fixed(gap)) for gap in (1, 1.5, 2, 3, 5, 10, 20, 30)],
        [looks_by(wait_exponential(multiplier=first, max=30)) for first in (0.1, 0.2, 0.5, 1, 2, 5, 10)],
        [ours(price, 0) for price in prices],
        [ours(price, 1) for price in prices],
    ]
    drawn: list[Line] = []
    for name, ways in zip(NAMES, watches, strict=True):
        points = [(requests, lag) for requests, lag, _ in (measure(seconds, watch) for watch in ways)]
        drawn.append(Line(name, points, points[prices.index(0.1)] if "asana" in name else None))
    return drawn


def least(law: str) -> Line:
    """Return the limit, with half a round trip, of which nobody can be rid."""
    requests = [1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12, 14, 16]
    lags = alone(LAWS[law], requests)
    return Line(LIMIT, [(each, lag + ROUND_TRIP / 2) for each, lag in zip(requests, lags, strict=True)])


def draw(panels: dict[str, list[Line]]) -> str:
    """Return the picture as SVG, a panel for each law."""
    width = PANEL * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{HEIGHT}" fill="#ffffff"/>',
        _text(
            LEFT,
            18,
            "Seconds after its end in which a job is seen to have finished, on average",
            weight="bold",
        ),
    ]
    for number, (law, drawn) in enumerate(panels.items()):
        parts += [f'<g transform="translate({PANEL * number} 0)">', *_panel(law, drawn), "</g>"]
    for number, (name, colour) in enumerate(NAMES.items()):
        left, down = LEFT + 202 * number, HEIGHT - 48
        parts.append(f'<rect x="{left}" y="{down}" width="14" height="10" fill="{colour}"/>')
        parts.append(_text(left + 20, down + 10, name))
    parts.append(f'<rect x="{LEFT}" y="{HEIGHT - 22}" width="14" height="4" fill="{GREY}"/>')
    parts.append(_text(LEFT + 20, HEIGHT - 14, LIMIT))
    parts.append(_text(LEFT + 404, HEIGHT - 14, DEFAULT))
    return "\n".join([*parts, "</svg>", ""])


def _panel(law: str, drawn: list[Line]) -> Iterator[str]:
    yield _text(LEFT, TOP - 10, f"lengths {law}")
    yield _text(
        (LEFT + PANEL - RIGHT) / 2, HEIGHT - BOTTOM + 38, "requests spent on each job", anchor="middle"
    )
    for requests in range(0, MOST_REQUESTS + 1, 4):
        yield _grid(_across(requests), TOP, _across(requests), HEIGHT - BOTTOM)
        yield _text(_across(requests), HEIGHT - BOTTOM + 18, str(requests), anchor="middle")
    for lag in LAGS:
        yield _grid(LEFT, _down(lag), PANEL - RIGHT, _down(lag))
        yield _text(LEFT - 8, _down(lag) + 4, f"{lag:g} s", anchor="end")
    for line in drawn:
        shown = [
            (requests, lag) for requests, lag in line.points if requests <= MOST_REQUESTS and lag <= MOST_LAG
        ]
        places = sorted((_across(requests), _down(lag)) for requests, lag in shown)
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        colour = NAMES.get(line.name, GREY)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
        if line.name != LIMIT:
            yield from (f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places)
        if line.default is not None:
            x, y = _across(line.default[0]), _down(line.default[1])
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="none" stroke="{colour}" stroke-width="2"/>'


def _across(requests: float) -> float:
    return LEFT + (PANEL - LEFT - RIGHT) * requests / MOST_REQUESTS


def _down(lag: float) -> float:
    low, high = log10(LAGS[0]), log10(MOST_LAG)
    return TOP + (HEIGHT - TOP - BOTTOM) * (high - log10(lag)) / (high - low)


def _grid(left: float, top: float, right: float, bottom: float) -> str:
    return f'<line x1="{left:.1f}" y1="{top:.1f}" x2="{right:.1f}" y2="{bottom:.1f}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    style = f'text-anchor="{anchor}" font-weight="{weight}" fill="#222222"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'
