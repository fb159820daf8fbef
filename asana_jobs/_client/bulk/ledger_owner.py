"""The owners of rows: which process holds one, whether it still lives, and how old its claim is.

On one machine the living process decides: what it holds is its own, however late it is, and free as soon as it has
ended. A stopped process (Ctrl-Z, SIGSTOP) lives. Where processes cannot be compared, on another machine, in another
container or without /proc, a lease decides, which ends by the wall clock unless it is renewed.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import time
from enum import Enum
from pathlib import Path
from typing import Final

import attrs


#: Seconds a lease holds unless it is renewed.
LEASE: Final = 60.0
#: Seconds after which nothing is sent on a claim before the ledger was asked whether it still holds. The other half
#: of the lease is for clocks of two machines that differ, and for a stop between this check and the request.
CLAIM_HOLDS: Final = LEASE / 2

#: Clocks that count the sleep of the machine: Linux has one, and on macOS the monotonic one does.
_STEADY_CLOCKS: Final[list[int]] = [
    getattr(time, name) for name in ("CLOCK_BOOTTIME", "CLOCK_MONOTONIC") if hasattr(time, name)
]


@attrs.frozen(kw_only=True)
class Owner:
    """One open ledger of one process.

    Attributes:
        id: A random name, another one for each opening.
        host: The machine's name, for people.
        machine: Host, boot and process namespace: where they are equal, process ids can be compared.
        pid: The process id.
        born: The start time of the process as the system counts it, or ``""``.
    """

    id: str
    host: str
    machine: str
    pid: int
    born: str

    def __str__(self) -> str:
        return f"{self.host}, process {self.pid}"


class Life(Enum):
    """The state of an owner's process, as far as another process can see it."""

    LIVES = "lives"
    #: It lives, and does nothing until somebody continues it.
    STOPPED = "stopped"
    GONE = "gone"
    #: Its lease decides.
    UNSEEN = "unseen"


def this_process() -> Owner:
    """Return a new owner in this process."""
    host = socket.gethostname()
    pid = os.getpid()
    return Owner(
        id=secrets.token_hex(8),
        host=host,
        machine=f"{host} {_read(Path('/proc/sys/kernel/random/boot_id')).strip()} {_namespace()}",
        pid=pid,
        born=_born(pid)[0],
    )


def see_life(owner: Owner, observer: Owner) -> Life:
    """Return the state of the process of *owner*, as far as *observer* can see it."""
    # os.kill(pid, 0) asks on POSIX; on Windows it would send Ctrl-C.
    if sys.platform == "win32" or owner.machine != observer.machine:
        return Life.UNSEEN
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return Life.GONE
    except PermissionError:
        pass  # another user's: it exists
    # The id may have gone to another process meanwhile; a killed process nobody has waited for has no birth.
    born, state = _born(owner.pid)
    if not owner.born or not state:
        return Life.UNSEEN
    if born != owner.born:
        return Life.GONE
    return Life.STOPPED if state in {"T", "t"} else Life.LIVES


def _namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _born(pid: int) -> tuple[str, str]:
    """Return the start time of a process and the letter of its state, each ``""`` if there is none or it has ended."""
    # proc(5): "pid (name) state ..."; the name may hold blanks and brackets, field 22 is the start time.
    _, _, fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")
    state, *others = fields.split() or [""]
    return ("" if state in {"Z", "X", ""} else others[18]), state


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


@attrs.frozen
class Instant:
    """One moment by every clock of this machine: some of them stand still in sleep, some can be set.

    Attributes:
        readings: The seconds that each clock showed.
    """

    readings: tuple[float, ...]

    @classmethod
    def now(cls) -> Instant:
        """Return this moment."""
        return cls((time.time(), time.monotonic(), *map(time.clock_gettime, _STEADY_CLOCKS)))

    def age(self) -> float:
        """Return the seconds since then, by the clock that counted most of them."""
        return max(now - then for now, then in zip(Instant.now().readings, self.readings, strict=True))
