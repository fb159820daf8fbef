"""A block of lines at the bottom of a terminal that is drawn again and again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text


class Screen:
    """Draws a block over the one before it.

    rich's own live display counts the lines it drew; after the window was made narrower, the terminal has broken
    them into more rows, and pieces of the old block stay. Here their widths are kept, so the rows can be counted.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._widths: list[int] = []

    @property
    def width(self) -> int:
        """Columns a line may have: one less than there are, because terminals differ about the last one."""
        return max(10, self._console.width - 1)

    def draw(self, lines: Sequence[Text]) -> None:
        """Show *lines* instead of what is shown."""
        fitting = list(lines)[: max(1, self._console.height - 1)]
        for line in fitting:
            line.no_wrap = True
            line.truncate(self.width, overflow="ellipsis")
        with self._console.capture() as captured:
            for number, line in enumerate(fitting):
                self._console.print(line, end="" if number == len(fitting) - 1 else "\n")
        # Each line erases what was longer before it; drawing in one write does not flicker.
        self._write(self._to_start() + captured.get().replace("\n", "\x1b[K\n") + "\x1b[K\x1b[J")
        self._widths = [line.cell_len for line in fitting]

    def clear(self) -> None:
        """Take the block away."""
        if self._widths:
            self._write(f"{self._to_start()}\x1b[J")
            self._widths = []

    def _to_start(self) -> str:
        if not self._widths:
            return ""
        columns = max(1, self._console.width)
        rows = sum(max(1, -(-width // columns)) for width in self._widths)
        return f"\r\x1b[{rows - 1}A" if rows > 1 else "\r"

    def _write(self, text: str) -> None:
        try:
            self._console.file.write(text)
            self._console.file.flush()
        except OSError:
            self._widths = []  # nobody is looking any more
