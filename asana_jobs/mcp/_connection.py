"""What the tools work with: a client and a ledger, opened when they are first needed."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from asana_jobs import AsanaClient, Ledger


@attrs.define(eq=False)
class Connection:
    """A client and a ledger. A server without a token starts all the same, and each of its tools says what to set.

    Attributes:
        make_client: Makes the client that is opened.
        ledger_path: The ledger, or ``None`` for the one of the client's Asana in the user's data folder.
    """

    make_client: Callable[[], AbstractAsyncContextManager[AsanaClient]]
    ledger_path: Path | None
    _client: AsanaClient | None = attrs.field(default=None, init=False)
    _ledger: Ledger | None = attrs.field(default=None, init=False)
    _opening: asyncio.Lock = attrs.field(factory=asyncio.Lock, init=False)
    _exits: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)

    async def open(self) -> tuple[AsanaClient, Ledger]:
        """Return the client and the ledger.

        Raises:
            AsanaJobsError: there is no token, or the ledger cannot be used; the next call tries again.
            ValueError: the environment is wrong.
            OSError: the folder of the ledger cannot be made.
        """
        async with self._opening:
            if self._client is None:
                self._client = await self._exits.enter_async_context(self.make_client())
            if self._ledger is None:
                path = self.ledger_path or usual_ledger(self._client.base_url)
                self._ledger = await self._exits.enter_async_context(Ledger.open(path))
        return self._client, self._ledger

    async def close(self) -> None:
        """Close what was opened."""
        await self._exits.aclose()


def usual_ledger(base_url: str) -> Path:
    """Return the ledger of the Asana at *base_url*, in a folder of the user's that is made if need be.

    A simulator has one of its own: what was started there was not started at Asana.
    """
    url = urlsplit(base_url)
    home = Path(os.environ.get("XDG_DATA_HOME", "").strip())
    if not home.is_absolute():  # the XDG base directory specification has any other value ignored
        home = Path.home() / ".local" / "share"
    folder = home / "asana-jobs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = f"{url.hostname}-{url.port}" if url.port else f"{url.hostname}"
    return folder / f"mcp-{place.replace(':', '-')}.ledger"
