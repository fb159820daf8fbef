"""What a run was asked to do, kept beside its ledger: so that the ledger is enough to go on with."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from asana_jobs.cli.complaint import UsageError
from asana_jobs.cli.operations_file import Entry, read_entries


_SUFFIX: Final = ".jsonl"


def plan_path(ledger: Path) -> Path:
    """Return where the plan of *ledger* is."""
    return ledger.with_name(ledger.name + _SUFFIX)


def save_plan(ledger: Path, entries: Sequence[Entry]) -> None:
    """Write the operations down, whole or not at all, and on the disk before this returns.

    Raises:
        UsageError: it cannot be written.
    """
    path = plan_path(ledger)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        try:
            draft.unlink(missing_ok=True)
            with draft.open("x", encoding="ascii") as file:  # not through a link that somebody laid there
                file.writelines(entry.to_line() for entry in entries)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return  # folders cannot be opened there, and renaming is as durable as it gets
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def load_plan(ledger: Path) -> list[Entry] | None:
    """Return what `save_plan` wrote for *ledger*, or ``None`` if there is nothing.

    Raises:
        UsageError: it cannot be read, or was changed into something else.
    """
    path = plan_path(ledger)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    return read_entries(content, str(path))
