"""Many waits at once, begun in portions so that beginning them does not hold the loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from adapters import Peer
from payloads import gid_of
from server import Looks


_PORTION: Final = 100
_PAGE: Final = 4096


@asynccontextmanager
async def crowd(peer: Peer, looks: Looks, count: int) -> AsyncGenerator[None]:
    """Have *count* waits, each of which has looked once; cancel them at the end."""
    before = await looks.count()
    waits: set[asyncio.Future[object]] = set()
    try:
        for number in range(count):
            waits.add(asyncio.ensure_future(peer.wait(gid_of(number))))
            if not number % _PORTION:
                await asyncio.sleep(0)
        await looks.until(before + count)
        yield
        ended = next((wait for wait in waits if wait.done()), None)
        if ended is not None:
            raise RuntimeError(f"a wait has ended: {ended!r}")
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


def resident() -> int:
    """Return the bytes of memory that this process has."""
    return _PAGE * int(Path("/proc/self/statm").read_text("ascii").split()[1])
