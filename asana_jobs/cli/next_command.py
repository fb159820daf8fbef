"""The command that goes on where this one stopped."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path


#: More jobs than this are saved in a file: a command that fills the screen is no help.
_FIT_ON_A_LINE = 20


def resume_wait(jobs: Sequence[str]) -> str | None:
    """Return the command that waits for *jobs* again, arguments of ``wait``, or ``None`` if there are none."""
    if not jobs:
        return None
    if len(jobs) > _FIT_ON_A_LINE and (path := _save(jobs)) is not None:
        return f"asana-jobs wait - < {shlex.quote(str(path))}"
    return f"asana-jobs wait {shlex.join(jobs)}"


def resume_run(ledger: Path) -> str:
    """Return the command that goes on with the run of *ledger*."""
    return f"asana-jobs resume {_shown(ledger)}"


def resume_export(what: str, gid: str, destination: Path, job: str) -> str:
    """Return the command that goes on with an export."""
    return f"asana-jobs export {what} {gid} -o {_shown(destination)} --job {job}"


def _shown(path: Path) -> str:
    # Short where it is typed next, and right from everywhere if the file is elsewhere.
    absolute, here = path.absolute(), Path.cwd()
    return shlex.quote(str(absolute.relative_to(here) if absolute.is_relative_to(here) else absolute))


def _save(jobs: Sequence[str]) -> Path | None:
    """Write *jobs* to a file in the user's state directory (XDG base directory specification)."""
    home = Path(os.environ.get("XDG_STATE_HOME", "").strip())
    if not home.is_absolute():  # the specification has any other value ignored
        home = Path.home() / ".local" / "state"
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    path = home / "asana-jobs" / f"wait-{stamp}-{os.getpid()}.txt"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text("".join(f"{job}\n" for job in jobs), encoding="ascii")
    except OSError:
        return None  # a long command is better than none
    return path
