"""The output streams: whether they are terminals, how wide they are, and text made safe and short for them."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO


if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


#: Columns for tables that no terminal cuts: a pipe's reader wants whole names.
_PIPE_COLUMNS = 500
_SIZES = ("bytes", "kB", "MB", "GB", "TB")
#: Columns that words beside a heading have at least.
_NARROWEST = 20
#: The styles of states, for rich.
STYLES = {
    "succeeded": "green",
    "failed": "bold red",
    "refused": "bold red",
    "unknown": "bold red",
    "timed out": "yellow",
    "left": "yellow",
    "in_progress": "cyan",
}


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

    width = None if _is_interactive(stream) else _PIPE_COLUMNS
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def for_people(output: str) -> bool:
    """Whether ``--output`` asks for something to read, and not for JSON."""
    return output == "table" or (output == "auto" and sys.stdout.isatty())


def print_lines(lines: Callable[[int], Iterable[Text]], *, cut: bool = False) -> None:
    """Print on standard output the lines that are made for its width; cut those that are longer, or break them."""
    console = make_console(sys.stdout)
    with console.capture() as captured:
        for line in lines(console.width):
            console.print(line, no_wrap=cut, overflow="ellipsis" if cut else "fold")
    emit(captured.get())


def print_beside(head: Text, beside: Sequence[Text]) -> None:
    """Print *head*, and beside it each text on lines of its own, broken where it must be."""
    from rich.text import Text  # noqa: PLC0415  # not needed for JSON

    def lines(width: int) -> Iterable[Text]:
        console = make_console(sys.stdout)
        room = max(_NARROWEST, width - head.cell_len)
        for number, line in enumerate(line for text in beside for line in text.wrap(console, room)):
            yield Text.assemble(" " * head.cell_len if number else head, line)

    print_lines(lines)


def print_facts(facts: Sequence[tuple[str, str]], styles: Mapping[str, str] | None = None) -> None:
    """Print each name with its value beside it, those values that have one in their style of *styles*."""
    from rich.text import Text  # noqa: PLC0415  # not needed for JSON

    width = max(len(name) for name, _ in facts) + 2
    for name, value in facts:
        words = sanitize(value)
        print_beside(Text(name.ljust(width), "dim"), [Text(words, (styles or {}).get(words, ""))])


def _is_interactive(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _is_file(stream: TextIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def sanitize(text: object) -> str:
    """Return *text* in one line and without control characters: a project's name must not drive the terminal."""
    words = " ".join(str(text).split())
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in words
    )


def shorten(text: object, length: int) -> str:
    """Return *text* made plain, and cut to *length* characters."""
    line = sanitize(text)
    return line if len(line) <= length else f"{line[: length - 1]}\N{HORIZONTAL ELLIPSIS}"


def format_size(size: float) -> str:
    """Return a number of bytes as ``812 bytes`` or ``1.2 MB``."""
    for unit in _SIZES:
        if size < 1000 or unit == _SIZES[-1]:
            return f"{size:.0f} {unit}" if unit == _SIZES[0] else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def format_duration(seconds: float) -> str:
    """Return *seconds* as ``2.3 s``, ``1:05`` or ``1:02:05``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def emit(text: str) -> None:
    """Write *text* at once, so that the next program in the pipe sees it when it happens."""
    sys.stdout.write(text)
    sys.stdout.flush()


def discard_output() -> None:
    """Forget what could not be written, so that the interpreter does not complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError):  # in a test it has no number
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
