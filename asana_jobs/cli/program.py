"""The program: it finds the command, runs it, and turns whatever happens into an exit status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group

from asana_jobs import __version__
from asana_jobs.cli.catalog import COMMANDS
from asana_jobs.cli.complaint import UsageError, complain, complain_of, say
from asana_jobs.cli.exit_status import ExitStatus, status_of
from asana_jobs.cli.stdout import abandon


NAME = "asana-jobs"
_ABOUT = "Start Asana jobs, watch them finish, and never start one twice."
_EPILOGUE = (
    "The token is read from ASANA_ACCESS_TOKEN, ASANA_PAT, ASANA_TOKEN or the file that ASANA_ACCESS_TOKEN_FILE "
    "names; ASANA_BASE_URL points somewhere else than Asana, such as at asana-jobs simulate.\n\n"
    "Exit status: 0 all succeeded, 1 a job failed, 2 wrong usage, 3 timed out while jobs run on, 4 token or "
    "permission, 5 interrupted (the command that goes on is printed), 6 network or Asana, 130 stopped by Ctrl-C."
)
#: Set it to see where an unexpected error comes from.
_TRACEBACK_VARIABLE = "ASANA_JOBS_TRACEBACK"


def make_app(*, listing: bool) -> App:
    """Return the program's parser.

    Args:
        listing: Take the commands' summaries from the catalog, so that listing them imports none of them.
    """
    app = App(
        name=NAME,
        help=_ABOUT,
        version=__version__,
        help_format="plaintext",
        help_epilogue=_EPILOGUE if listing else None,
        result_action="return_value",
    )
    groups = {
        name: Group(name, sort_key=place)
        for place, name in enumerate(dict.fromkeys(command.group for command in COMMANDS))
    }
    for place, command in enumerate(COMMANDS):
        app.command(
            f"asana_jobs.cli.{command.home}",
            name=command.name,
            help=command.summary if listing else None,
            usage=f"Usage: {NAME} {command.name} {command.usage}".rstrip() + " [OPTIONS]",
            group=groups[command.group],
            sort_key=place,
        )
    app["--help"].group = app["--version"].group = Group("Options", sort_key=len(groups))
    return app


def run(arguments: Sequence[str]) -> int:
    """Run the program with *arguments* and return its exit status."""
    _accept_any_text()
    try:
        status = _dispatch(list(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt:
        say("\n")
        return ExitStatus.LEFT
    except BrokenPipeError:
        abandon()
        return ExitStatus.PIPE_CLOSED
    except Exception as error:  # noqa: BLE001  # a person gets a line, not a traceback
        return _explain(error, arguments)
    return status


def _dispatch(arguments: list[str]) -> int:
    listing = not any(command.name in arguments[:1] for command in COMMANDS)
    status: object = make_app(listing=listing)(arguments, exit_on_error=False, print_error=False)
    return status if isinstance(status, int) else ExitStatus.SUCCEEDED


def _explain(error: Exception, arguments: Sequence[str]) -> ExitStatus:
    from asana_jobs import AsanaJobsError  # noqa: PLC0415  # not needed to print a help page

    if os.environ.get(_TRACEBACK_VARIABLE):
        traceback.print_exception(error)
    if isinstance(error, UsageError | CycloptsError):
        known = [command.name for command in COMMANDS if command.name in arguments[:1]]
        complain(error, " ".join(["see", NAME, *known, "--help"]))
        return ExitStatus.USAGE
    if isinstance(error, AsanaJobsError):
        complain_of(error)
        return status_of(error)
    if isinstance(error, OSError):
        complain(error, "check the file or the disk that the output goes to")
        return ExitStatus.API
    complain(
        f"this is a bug: {type(error).__name__}: {error}",
        f"run it again with {_TRACEBACK_VARIABLE}=1 and report what it prints",
    )
    return ExitStatus.BUG


def _accept_any_text() -> None:
    """Write what a stream's encoding lacks as a replacement, instead of failing over a project's name."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")
