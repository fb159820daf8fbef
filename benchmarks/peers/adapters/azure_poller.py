"""The poller of azure-core in its shape: an object that holds the last answer, and asks for a delay between two looks.

As `AsyncLROBasePolling` does: look at once; until the state is final, sleep as long as the last answer's Retry-After
says, else for the interval, and look again; an answer that is neither a success nor awaited ends it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final, cast

import aiohttp

from adapters.naive_loop import NaiveLoop


_FINISHED: Final = frozenset({"succeeded", "failed"})


class Polling:
    """One long-running operation."""

    def __init__(self, session: aiohttp.ClientSession, url: str, interval: float) -> None:
        self._session = session
        self._url = url
        self._interval = interval
        self._headers: Mapping[str, str] = {}
        self._resource: dict[str, object] = {}

    @property
    def status(self) -> object:
        """The last state seen."""
        return self._resource.get("status")

    @property
    def finished(self) -> bool:
        """Whether that is final."""
        return self.status in _FINISHED

    @property
    def resource(self) -> dict[str, object]:
        """What the last answer was about."""
        return self._resource

    async def run(self) -> None:
        """Look until it is finished."""
        if not self.finished:
            await self._update()
        while not self.finished:
            await asyncio.sleep(self._delay())
            await self._update()

    def _delay(self) -> float:
        asked = self._headers.get("Retry-After")
        return self._interval if asked is None else float(asked)

    async def _update(self) -> None:
        async with self._session.get(self._url) as answer:
            if answer.status not in {200, 201, 202, 204}:
                raise RuntimeError(f"bad status: {answer.status}")
            self._headers = answer.headers
            self._resource = cast("dict[str, object]", (await answer.json())["data"])


class AzurePoller(NaiveLoop):
    """A session, and a poller for each wait."""

    async def wait(self, gid: str) -> dict[str, object]:
        """Have a poller look until the job is finished."""
        polling = Polling(self._session, f"{self._base_url}/jobs/{gid}", self._gap)
        await polling.run()
        return polling.resource
