"""Spans of time, as people type and read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from cyclopts import Token

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d))+", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)


def read_span(text: str) -> float:
    """Return the seconds of ``90``, ``1.5s``, ``5m``, ``1h30m`` or ``2d``."""
    squeezed = text.replace(" ", "").lower()
    if _NUMBER.fullmatch(squeezed):
        return float(squeezed)
    if _SPAN.fullmatch(squeezed):
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(squeezed))
    raise ValueError(f"expected a time such as 90, 30s, 5m or 1h30m, not {text!r}")


def span_option(_: Any, tokens: Sequence[Token]) -> float:
    """Read an option's value, for cyclopts."""
    return read_span(tokens[0].value)


def show_span(seconds: float) -> str:
    """Return *seconds* as ``2.3 s``, ``1:05`` or ``1:02:05``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
