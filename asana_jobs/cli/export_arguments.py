"""Where an export may be written, asked before one is started that nobody could save."""

from __future__ import annotations

import os
from pathlib import Path

from asana_jobs.cli.complaint import UsageError


def check_destination(name: str) -> Path:
    """Return where the file goes.

    Raises:
        UsageError: it cannot be written there.
    """
    path = Path(name)
    if path.is_dir():
        raise UsageError(f"{name} is a folder: name a file in it, such as {path / 'export.jsonl.gz'}")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}: make it first")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"the folder {path.parent} cannot be written")
    return path
