"""Who holds a lease, and whether that process is certainly gone.

A lease ends by the wall clock. A process that was killed should not make its successor wait for that, so an
owner also says which process it is, and a process of the same machine can look whether it still exists.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
from pathlib import Path
from typing import Final

import attrs


#: Seconds a lease holds unless it is renewed.
LEASE: Final = 60.0


@attrs.frozen(kw_only=True)
class Owner:
    """One open ledger of one process.

    Attributes:
        id: Drawn anew for each opening. ``host``: for people.
        machine: What must be equal for process ids to be comparable: host, boot and process namespace.
        pid: The process id. ``born``: when that process began, as the system counts it, or ``""``.
    """

    id: str
    host: str
    machine: str
    pid: int
    born: str

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"


def this_process() -> Owner:
    """Return a new owner in this process."""
    host = socket.gethostname()
    pid = os.getpid()
    return Owner(
        id=secrets.token_hex(8),
        host=host,
        machine=f"{host} {_boot()} {_namespace()}",
        pid=pid,
        born=_born(pid),
    )


def is_gone(owner: Owner, observer: Owner) -> bool:
    """Whether the process of *owner* has certainly ended. ``False`` where the observer cannot know."""
    # os.kill(pid, 0) asks on POSIX; on Windows it would send Ctrl-C.
    if sys.platform == "win32" or owner.machine != observer.machine:
        return False
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    # The id may have gone to another process meanwhile; a killed process nobody has waited for has no birth.
    return _born(owner.pid) != owner.born


def _boot() -> str:
    return _read(Path("/proc/sys/kernel/random/boot_id")).strip()


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _born(pid: int) -> str:
    # proc(5): "pid (name) state ..."; the name may hold blanks and brackets, field 22 is the start time.
    _, _, fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")
    state, *others = fields.split() or [""]
    return others[18] if state not in {"Z", "X", ""} else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
