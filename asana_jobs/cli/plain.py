"""Text from elsewhere, made safe and short for a terminal."""

from __future__ import annotations


def plain(text: object) -> str:
    """Return *text* in one line and without control characters: a project's name must not drive the terminal."""
    words = " ".join(str(text).split())
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in words
    )


def shortened(text: object, length: int) -> str:
    """Return *text* made plain, and cut to *length* characters."""
    line = plain(text)
    return line if len(line) <= length else f"{line[: length - 1]}\N{HORIZONTAL ELLIPSIS}"
