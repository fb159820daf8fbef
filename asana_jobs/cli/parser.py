"""The parser: cyclopts, with every command's module loaded when it is used, and help pages in the listing's layout."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts import App
from rich.console import Console

from asana_jobs import __version__
from asana_jobs.cli.catalog import ABOUT, COMMANDS, NAME
from asana_jobs.cli.help import Entry, page_width, paragraphs, section
from asana_jobs.cli.terminal import emit


if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import ConsoleOptions


#: Columns in which no description is broken: it is wrapped here, not there.
_UNBROKEN = 10_000
_TITLES = {"Parameters": "Options"}


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


class HelpPage:
    """Printer of a command's help page, for cyclopts."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """Print the arguments, or the options."""
        del console, options
        title = str(panel.title)
        entries = [_entry(entry) for entry in panel.entries]
        if entries:
            _print(["", *section(_TITLES.get(title, title), entries, page_width())])

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """Print the usage line."""
        del console, options
        _print([_words(usage)])

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """Print what the command does."""
        del console, options
        _print(["", *paragraphs(_words(description), page_width())])


def _entry(entry: HelpEntry) -> Entry:
    words, example, shown = " ".join(_words(entry.description).split()).partition(" Example: ")
    if entry.choices:
        words += f" One of: {', '.join(entry.choices)}."
    if entry.required:
        words += " Required."
    elif entry.default is not None:
        words += f" Default: {entry.default}."
    return ", ".join(entry.display_labels_with_metavar), f"{words}{example}{shown}"


def _words(renderable: Any) -> str:
    console = Console(width=_UNBROKEN, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print("" if renderable is None else renderable)
    return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n")


def _print(lines: list[str]) -> None:
    emit("".join(f"{line}\n" for line in lines))
