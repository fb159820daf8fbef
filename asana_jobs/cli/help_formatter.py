"""The help page of one command, in the layout of the listing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console

from asana_jobs.cli.help_layout import Entry, page_width, paragraphs, section
from asana_jobs.cli.stdout import emit


if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import ConsoleOptions


#: Columns in which no description is broken: it is wrapped here, not there.
_UNBROKEN = 10_000
_TITLES = {"Parameters": "Options"}


class HelpPage:
    """What cyclopts asks to print a page."""

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
    words, example, shown = _words(entry.description).partition(" Example: ")
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
