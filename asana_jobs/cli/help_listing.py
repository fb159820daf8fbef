"""The page that ``asana-jobs --help`` prints. It needs no parser, so that it is there at once."""

from __future__ import annotations

from itertools import groupby
from typing import Final

from asana_jobs.cli.catalog import ABOUT, COMMANDS, NAME
from asana_jobs.cli.help_layout import heading, page_width, paragraphs, section


_OPTIONS: Final = (
    ("--help, -h", "Print this page; after a command, the command's."),
    ("--version", "Print the version."),
)
_ENVIRONMENT: Final = (
    ("ASANA_ACCESS_TOKEN", "The token; or ASANA_PAT, or ASANA_TOKEN. It is never an option."),
    ("ASANA_ACCESS_TOKEN_FILE", "A file that holds the token, if none of these is set."),
    ("ASANA_BASE_URL", "Where the API is, if not at Asana: such as at asana-jobs simulate."),
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
