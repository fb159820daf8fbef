"""`AsanaClient`, with limits under which the pace never keeps a request waiting."""

from __future__ import annotations

from adapters import IN_FLIGHT, TOKEN
from asana_jobs import AsanaClient, Job, PollPolicy, RateLimits


#: Some 16 million requests a second: the gate does all of its work and never says no.
UNLIMITED = RateLimits(requests_per_minute=1e9, reads_in_flight=IN_FLIGHT, poll_share=1.0)


class Ours:
    """Our own client."""

    _client: AsanaClient
    _poll: PollPolicy

    async def setup(self, base_url: str, gap: float) -> None:
        """Open a client whose waits find every look too dear until *gap* seconds have passed; with 0, none."""
        self._client = self._open(base_url)
        self._poll = PollPolicy(lag_price=1e9, maximum=gap) if gap else PollPolicy(lag_price=0)

    def _open(self, base_url: str) -> AsanaClient:
        return AsanaClient(TOKEN, base_url=base_url, limits=UNLIMITED)

    async def get_job(self, gid: str) -> Job:
        """Read a job."""
        return await self._client.get_job(gid)

    async def wait(self, gid: str) -> Job:
        """Wait for a job."""
        return await self._client.wait_for_job(gid, poll=self._poll)

    async def close(self) -> None:
        """Close the client."""
        await self._client.close()
