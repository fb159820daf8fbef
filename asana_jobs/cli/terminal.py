"""What the two output streams are connected to, and how wide it is."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING, TextIO


if TYPE_CHECKING:
    from rich.console import Console

#: Columns for tables that no terminal cuts: a pipe's reader wants whole names.
_UNCUT = 500


def is_terminal(stream: TextIO) -> bool:
    """Whether *stream* is a terminal that can move its cursor."""
    return _is_interactive(stream) and os.environ.get("TERM") not in {"dumb", "unknown"}


def can_redraw(output: str) -> bool:
    """Whether a live view on standard error disturbs nothing.

    It must not share a terminal with lines that come and go on standard output: ours, or those of the next program
    in a pipe, which usually end on the same screen.
    """
    if not is_terminal(sys.stderr):
        return False
    if _is_interactive(sys.stdout):
        return output in {"auto", "table"}
    return _is_file(sys.stdout)


def make_console(stream: TextIO) -> Console:
    """Return a rich console for *stream*; colours follow ``NO_COLOR``, ``TERM`` and whether it is a terminal."""
    from rich.console import Console  # noqa: PLC0415  # not needed for JSON

    width = None if _is_interactive(stream) else _UNCUT
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def _is_interactive(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False
