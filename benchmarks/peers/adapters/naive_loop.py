"""The loop people write first: aiohttp, its own JSON, and a sleep."""

from __future__ import annotations

import asyncio
from typing import cast

import aiohttp

from adapters import TOKEN


class NaiveLoop:
    """A session and a loop."""

    _session: aiohttp.ClientSession
    _base_url: str
    _gap: float

    async def setup(self, base_url: str, gap: float) -> None:
        """Open a session."""
        self._session = aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"})
        self._base_url, self._gap = base_url, gap

    async def get_job(self, gid: str) -> dict[str, object]:
        """Read a job as a dictionary."""
        async with self._session.get(f"{self._base_url}/jobs/{gid}") as answer:
            answer.raise_for_status()
            return cast("dict[str, object]", (await answer.json())["data"])

    async def wait(self, gid: str) -> dict[str, object]:
        """Look again and again."""
        while True:
            job = await self.get_job(gid)
            if job["status"] in {"succeeded", "failed"}:
                return job
            await asyncio.sleep(self._gap)

    async def close(self) -> None:
        """Close the session."""
        await self._session.close()
