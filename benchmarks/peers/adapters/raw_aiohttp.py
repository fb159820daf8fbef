"""The least that reads a job: aiohttp as it comes, orjson, no model, no look at the status."""

from __future__ import annotations

import asyncio
from typing import cast

import aiohttp
import orjson

from adapters import TOKEN


class RawAiohttp:
    """A session and a parser."""

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
            return cast("dict[str, object]", orjson.loads(await answer.read())["data"])

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
