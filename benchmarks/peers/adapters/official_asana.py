"""The official ``asana`` package, which blocks, in as many threads as there are requests in flight."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any

from adapters import IN_FLIGHT, TOKEN


class OfficialAsana:
    """Its client, with a connection for each thread."""

    _jobs: Any
    _threads: ThreadPoolExecutor
    _gap: float

    async def setup(self, base_url: str, gap: float) -> None:
        """Make its client and the threads."""
        asana: Any = import_module("asana")  # it has no types
        configuration = asana.Configuration()
        configuration.access_token = TOKEN
        configuration.host = base_url
        configuration.connection_pool_maxsize = IN_FLIGHT
        self._jobs = asana.JobsApi(asana.ApiClient(configuration))
        self._threads = ThreadPoolExecutor(IN_FLIGHT)
        self._gap = gap

    async def get_job(self, gid: str) -> dict[str, object]:
        """Read a job as a dictionary."""
        loop = asyncio.get_running_loop()
        options: dict[str, object] = {}
        job: dict[str, object] = await loop.run_in_executor(self._threads, self._jobs.get_job, gid, options)
        return job

    async def wait(self, gid: str) -> dict[str, object]:
        """Look again and again."""
        while True:
            job = await self.get_job(gid)
            if job["status"] in {"succeeded", "failed"}:
                return job
            await asyncio.sleep(self._gap)

    async def close(self) -> None:
        """End the threads."""
        self._threads.shutdown()
