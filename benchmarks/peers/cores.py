"""The client on one core and the server on another, where the machine has two."""

from __future__ import annotations

import os
from typing import Final


_CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
CLIENT_CORE: Final = _CORES[0] if _CORES else None
SERVER_CORE: Final = _CORES[-1] if _CORES else None
#: asyncio reads into 256 KiB at a time. Whether such a block is fetched from the kernel and returned at each read,
#: which costs some 20 % of all processor time, hangs on how the heap happens to lie. With these it never is.
ALLOCATOR: Final = {"MALLOC_TRIM_THRESHOLD_": str(2**26), "MALLOC_MMAP_THRESHOLD_": str(2**26)}


def pin(core: int | None) -> None:
    """Keep this process on *core*; on a system without such a thing, leave it where it is."""
    if core is not None:
        os.sched_setaffinity(0, {core})
