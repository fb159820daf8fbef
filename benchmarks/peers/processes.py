"""What all processes that are compared have alike: the core they run on, and how they get their memory."""

from __future__ import annotations

import os
import signal
from typing import Final


_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
CLIENT_CORE: Final = _CORES[0] if _CORES else None
SERVER_CORE: Final = _CORES[-1] if _CORES else None


KEPT: Final = "memory that is kept"
#: The ways in which the C library may get and return memory, by what it reads when a process starts.
MEMORY: Final[dict[str, dict[str, str]]] = {
    "memory as it comes": {},
    KEPT: dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(2**26)),
}


def use_memory(name: str) -> None:
    """Have the processes that are started from now on get their memory in this way of `MEMORY`.

    asyncio reads into 256 KiB at a time. Whether such a block is fetched from the kernel and returned at each read,
    which costs some 20 % of all processor time, hangs on how the heap happens to lie: so it is where people run us.
    Where memory is kept it never is.
    """
    for variable in MEMORY[KEPT]:
        os.environ.pop(variable, None)
    os.environ.update(MEMORY[name])


def settle(core: int | None) -> None:
    """Keep this process on *core* where the system can, and leave Ctrl-C to the parent, which ends its children."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if core is not None:
        os.sched_setaffinity(0, {core})
