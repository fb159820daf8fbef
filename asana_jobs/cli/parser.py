"""From the words on the command line to a command's function: cyclopts, with every command loaded when it is used."""

from __future__ import annotations

from cyclopts import App

from asana_jobs import __version__
from asana_jobs.cli.catalog import ABOUT, COMMANDS, NAME
from asana_jobs.cli.help import HelpPage


def make_app() -> App:
    """Return the parser of the program."""
    app = App(
        name=NAME,
        help=ABOUT,
        version=__version__,
        help_format="plaintext",
        help_formatter=HelpPage(),
        result_action="return_value",
    )
    for place, command in enumerate(COMMANDS):
        app.command(
            f"asana_jobs.cli.commands.{command.home}",
            name=command.name,
            usage=f"Usage: {NAME} {command.name} {command.usage}".rstrip() + " [OPTIONS]",
            sort_key=place,
        )
    return app
