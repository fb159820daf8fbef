"""The least that reads a job: aiohttp as it comes, orjson, no model, no look at the status."""

from __future__ import annotations

from typing import cast

import orjson

from adapters.naive_loop import NaiveLoop


class RawAiohttp(NaiveLoop):
    """A session and a parser."""

    async def get_job(self, gid: str) -> dict[str, object]:
        """Read a job as a dictionary."""
        async with self._session.get(f"{self._base_url}/jobs/{gid}") as answer:
            return cast("dict[str, object]", orjson.loads(await answer.read())["data"])
