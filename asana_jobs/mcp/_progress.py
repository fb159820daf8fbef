"""How far a call has come, told to the client while it waits: some give up on a call that says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from mcp.server.mcpserver import Context


#: Seconds between two messages.
BEAT: Final = 5.0


@asynccontextmanager
async def telling(
    context: Context[Any, Any], words: Callable[[], str], *, limit: float
) -> AsyncGenerator[None, None]:
    """Tell the client what *words* says, every few seconds, while what is inside runs.

    Args:
        context: The call.
        words: Says where it stands.
        limit: Seconds that the call may last: its whole, of which the seconds that have passed are the progress.
    """
    telling = asyncio.create_task(_tell(context, words, limit), name="asana-jobs-mcp-progress")
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])
        if not telling.cancelled():
            telling.exception()  # the client has gone: whoever reads from it ends this call


async def _tell(context: Context[Any, Any], words: Callable[[], str], limit: float) -> None:
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        await asyncio.sleep(min(BEAT, limit / 5))
        passed = clock() - began
        await context.report_progress(round(min(passed, limit), 3), limit, f"{words()}, {passed:.0f} s")
