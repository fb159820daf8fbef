"""A few facts for people, one to a line."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rich.text import Text

from asana_jobs.cli.plain import plain
from asana_jobs.cli.stdout import emit
from asana_jobs.cli.terminal import make_console
from asana_jobs.cli.view import STYLES


def print_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print each name and value; a long value goes on below itself."""
    console = make_console(sys.stdout)
    width = max(len(name) for name, _ in facts)
    with console.capture() as captured:
        for name, value in facts:
            words = plain(value)
            value_text = Text(words, STYLES.get(words, ""))
            indent = width + 2
            lines = value_text.wrap(console, max(10, console.width - indent))
            for number, line in enumerate(lines):
                label = name.ljust(indent) if number == 0 else " " * indent
                console.print(Text.assemble((label, "dim"), line), overflow="fold")
    emit(captured.get())
