"""What counts as a gid, and what as many of something: checks that every room makes before anything is sent."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from typing import Final, cast


LONGEST_GID: Final = 64


def check_gid(value: object, what: str = "gid") -> str:
    """Return *value* if it is a gid: a non-empty string of ASCII digits, or raise `ValueError`.

    Asana's gids are opaque strings of digits (``JobCompact.gid``); anything else in a path could reach
    another route, so it is refused before a request is built.
    """
    if not isinstance(value, str):
        raise ValueError(
            f"{what} must be a string of digits, such as '1203', not {_shorten(value)} ({type(value).__name__})"
        )
    if not (value.isascii() and value.isdigit()):
        raise ValueError(f"{what} must be a string of digits, such as '1203', not {_shorten(value)}")
    if len(value) > LONGEST_GID:
        raise ValueError(
            f"{what} must have at most {LONGEST_GID} digits, not {len(value)}: {_shorten(value)}"
        )
    return value


def check_many(value: object, what: str, *, write: str, name: str) -> Iterable[object]:
    """Return *value* if it is an iterable of many things, or raise a `ValueError` that shows the list to write.

    One text, bytes and a mapping can be iterated too, for letters, numbers and keys that nobody meant.

    Args:
        value: What was handed in where many are meant.
        what: What takes many of what, such as ``monitor_jobs takes a list of jobs``.
        write: What to write instead, with ``{}`` where the items belong, such as ``monitor_jobs([{}])``.
        name: How one item is called where it cannot be shown, such as ``job``.
    """
    if not _is_many(value):
        raise ValueError(f"{what}, not {_shorten(value)}: write {write.format(_as_items(value, name))}")
    return cast("Iterable[object]", value)


def _is_many(value: object) -> bool:
    return isinstance(value, Iterable) and not isinstance(
        value, str | bytes | bytearray | memoryview | Mapping
    )


def _as_items(value: object, name: str) -> str:
    if isinstance(value, AsyncIterable):
        return f"{name} async for {name} in ..."
    if value is None or isinstance(value, bool | float):
        return "..."
    text = repr(as_text(value))
    return text if isinstance(value, str | bytes | int) and len(text) <= 60 else name


def as_text(value: object) -> object:
    """Return the text that a number or bytes in the place of a gid stand for; anything else as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**LONGEST_GID:
        return str(value)
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    return value


def _shorten(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # a whole number with more digits than Python writes
        return "a number beyond all bounds"
    return text if len(text) <= 60 else f"{text[:57]}..."
