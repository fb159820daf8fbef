"""The naive loop with tenacity in the place of the sleep."""

from __future__ import annotations

from tenacity import AsyncRetrying, retry_if_result, wait_fixed

from adapters.naive_loop import NaiveLoop


class NaiveTenacity(NaiveLoop):
    """A session and an engine for each wait."""

    async def wait(self, gid: str) -> dict[str, object]:
        """Look again and again."""
        engine = AsyncRetrying(retry=retry_if_result(_unfinished), wait=wait_fixed(self._gap))
        return await engine(self.get_job, gid)


def _unfinished(job: dict[str, object]) -> bool:
    return job["status"] not in {"succeeded", "failed"}
