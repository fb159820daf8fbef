"""Spans of time as people type and read them, and text made plain."""

from __future__ import annotations

import pytest

from asana_jobs.cli.options import parse_duration
from asana_jobs.cli.terminal import format_duration, sanitize, shorten


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("0", 0),
        ("1.5", 1.5),
        ("200ms", 0.2),
        ("30s", 30),
        ("5m", 300),
        ("1h30m", 5400),
        ("2 D", 172800),
    ],
)
def test_a_span_is_read(text: str, seconds: float) -> None:
    """A number is seconds, and units add up."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "-5", "soon", "5 minutes", "1e3", "nan", "m5", "5m!", "5m3", "1h30"])
def test_what_is_no_span_is_refused(text: str) -> None:
    """Anything else is refused with an example."""
    with pytest.raises(ValueError, match="such as 90, 30s, 5m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.34, "2.3 s"), (59.94, "59.9 s"), (59.99, "1:00"), (65, "1:05"), (3725, "1:02:05")],
)
def test_a_span_is_shown(seconds: float, text: str) -> None:
    """Short spans have a fraction, long ones are clocks."""
    assert format_duration(seconds) == text


def test_plain_text_is_one_line_without_control_characters() -> None:
    """Line breaks become blanks, and what could drive a terminal becomes a replacement."""
    assert sanitize("a\n b\x1b[31m") == "a b\N{REPLACEMENT CHARACTER}[31m"


def test_long_text_is_cut() -> None:
    """Text that is too long ends in an ellipsis, and is as long as allowed."""
    assert shorten("a" * 30, 10) == "a" * 9 + "\N{HORIZONTAL ELLIPSIS}"
