"""What counts as a gid: the one check that every room makes before anything is sent."""

from __future__ import annotations

from typing import Final


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


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
