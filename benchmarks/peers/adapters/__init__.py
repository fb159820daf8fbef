"""The peers: one small file each, all held the same way."""

from __future__ import annotations

from importlib import import_module
from typing import Final, Protocol, cast


class Peer(Protocol):
    """A way to read jobs and to wait for them."""

    async def setup(self, base_url: str, gap: float) -> None:
        """Open what is needed to talk to *base_url*; waits look every *gap* seconds, with 0 as often as they can."""
        ...

    async def get_job(self, gid: str) -> object:
        """Read a job once, as the type that this way gives."""
        ...

    async def wait(self, gid: str) -> object:
        """Wait until a job is finished."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


#: As long as real ones, since answers are searched for it; the local server takes any.
TOKEN: Final = "2/1203/4567:0123456789abcdef0123456789abcdef"  # noqa: S105
IN_FLIGHT: Final = 50

OURS: Final = "asana_jobs"
RAW: Final = "raw aiohttp + orjson"
HTTPX2: Final = "httpx2 + pydantic"
OFFICIAL: Final = "official asana, threads"
LOOP: Final = "naive loop"
TENACITY: Final = "naive tenacity"
AZURE: Final = "azure-core's poller"

LOGGED: Final = "asana_jobs, log at DEBUG"
TOLD: Final = "asana_jobs, on_event"
TRACED: Final = "asana_jobs, OpenTelemetry"

#: Imported only by the process that needs it.
_HOMES: Final = {
    OURS: ("adapters.ours", "Ours"),
    RAW: ("adapters.raw_aiohttp", "RawAiohttp"),
    HTTPX2: ("adapters.httpx2_pydantic", "Httpx2Pydantic"),
    OFFICIAL: ("adapters.official_asana", "OfficialAsana"),
    LOOP: ("adapters.naive_loop", "NaiveLoop"),
    TENACITY: ("adapters.naive_tenacity", "NaiveTenacity"),
    AZURE: ("adapters.azure_poller", "AzurePoller"),
    LOGGED: ("adapters.ours_observed", "Logged"),
    TOLD: ("adapters.ours_observed", "Told"),
    TRACED: ("adapters.ours_observed", "Traced"),
}


def make_peer(name: str) -> Peer:
    """Make a peer that is not set up yet."""
    module, kind = _HOMES[name]
    return cast("Peer", getattr(import_module(module), kind)())
