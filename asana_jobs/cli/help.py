"""The page that ``asana-jobs --help`` prints, and the layout of all help pages.

It needs neither the parser nor rich, so that it is there at once.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from itertools import groupby
from typing import Final, TypeAlias

from asana_jobs.cli.catalog import ABOUT, COMMANDS, NAME


#: What is explained, and its explanation.
Entry: TypeAlias = tuple[str, str]

_NARROW: Final = 60
#: Lines longer than this are hard to read, however wide the window is.
_WIDEST: Final = 100
#: A longer name stands on a line of its own.
_LONGEST_NAME: Final = 25


def page_width() -> int:
    """Return the columns a page may have."""
    return max(20, min(_WIDEST, shutil.get_terminal_size().columns - 1))


def heading(title: str) -> str:
    """Return *title* as a heading: bold, if the page goes to a terminal that can and may do that."""
    plain = not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") in {None, "dumb"}
    return f"{title}:" if plain else f"\x1b[1m{title}:\x1b[0m"


def paragraphs(text: str, width: int) -> list[str]:
    """Wrap each paragraph of *text*. Indented lines are commands to type: they stay as they are."""
    lines: list[str] = []
    for as_is, found in groupby(text.splitlines(), lambda line: not line or line.startswith(" ")):
        block = [*found]
        lines += block if as_is else textwrap.wrap(" ".join(block), width, break_on_hyphens=False)
    return lines


def section(title: str, entries: Sequence[Entry], width: int) -> list[str]:
    """Return a heading and its entries, each beside its name if there is room."""
    narrow = width < _NARROW
    column = 6 if narrow else min(_LONGEST_NAME, max(len(name) for name, _ in entries)) + 4
    lines, indent = [heading(title)], " " * column
    for name, words in entries:
        label = f"  {name}"
        if narrow or len(label) + 2 > column:
            lines.append(label)
            label = indent
        lines += textwrap.wrap(
            words,
            width,
            initial_indent=label.ljust(column),
            subsequent_indent=indent,
            break_on_hyphens=False,
        )
    return lines


_OPTIONS: Final = (
    ("--help, -h", "Print this page; after a command, the command's."),
    ("--version", "Print the version."),
)
_ENVIRONMENT: Final = (
    ("ASANA_ACCESS_TOKEN", "The token; or ASANA_PAT, or ASANA_TOKEN. It is never an option."),
    ("ASANA_ACCESS_TOKEN_FILE", "A file that holds the token, if none of these is set."),
    ("ASANA_BASE_URL", "Where the API is, if not at Asana: such as at asana-jobs simulate."),
    ("ASANA_JOBS_CACHE", "Set it to off to keep nothing of how long jobs take in the cache folder."),
    ("NO_COLOR", "Set it to do without colours."),
)
_STATUSES: Final = (
    ("0", "All jobs succeeded."),
    ("1", "A job failed."),
    ("2", "Wrong usage; nothing was sent."),
    ("3", "Waiting timed out; jobs are still running."),
    ("4", "The token is missing or wrong, or lacks a permission."),
    ("5", "Interrupted; the command that goes on was printed."),
    ("6", "The network or Asana failed, or Asana refused; or nobody knows what was started."),
    ("130", "Left with Ctrl-C."),
    ("141", "The program that reads the output has gone."),
)


def listing() -> str:
    """Return the page."""
    width = page_width()
    lines = [f"Usage: {NAME} COMMAND", "", *paragraphs(ABOUT, width), ""]
    for group, commands in groupby(COMMANDS, lambda command: command.group):
        lines += [*section(group, [(command.name, command.summary) for command in commands], width), ""]
    lines += [*section("Options", _OPTIONS, width), ""]
    lines += [*section("Environment", _ENVIRONMENT, width), ""]
    lines += [*section("Exit status", _STATUSES, width), ""]
    lines += [heading("Try"), f"  {NAME} demo", f"  {NAME} wait --help"]
    return "\n".join(lines) + "\n"
