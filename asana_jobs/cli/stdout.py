"""Standard output: results, and nothing else."""

from __future__ import annotations

import os
import sys


def emit(text: str) -> None:
    """Write *text* at once, so that the next program in the pipe sees it when it happens."""
    sys.stdout.write(text)
    sys.stdout.flush()


def abandon() -> None:
    """Forget what could not be written, so that the interpreter does not complain about it when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
