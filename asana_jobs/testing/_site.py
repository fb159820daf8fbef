"""The simulator's two origins, put together: the API's, and the one export files come from."""

from random import Random
from typing import TYPE_CHECKING, Self

from attrs import define

from asana_jobs.testing._downloads import Downloads
from asana_jobs.testing._front import Front
from asana_jobs.testing._jobs import SimulatedJob
from asana_jobs.testing._links import Links
from asana_jobs.testing._oauth import OAuth
from asana_jobs.testing._routes import Api
from asana_jobs.testing._sending import Sender
from asana_jobs.testing._server import Server
from asana_jobs.testing._wire import Wire


if TYPE_CHECKING:
    from asana_jobs.testing._simulator import AsanaSimulator


@define
class Site:
    """Both origins of one simulator."""

    api_server: Server
    file_server: Server
    links: Links

    @classmethod
    def of(cls, simulator: "AsanaSimulator", random: Random, host: str, port: int) -> Self:
        """The site of a simulator, not yet listening."""
        domain, time, faults = simulator.domain, simulator.time, simulator.faults
        least, most = simulator.latency
        sender = Sender(time, random, simulator.headers)
        wire = Wire(
            Api(domain, simulator.gates, sender.error),
            simulator.accounts,
            faults,
            simulator.requests,
            time,
            sender,
            latency=lambda: random.uniform(least, most) if most > least else least,
        )
        oauth = OAuth(simulator.accounts, faults, simulator.token_requests, time, sender)
        front = Front(simulator, wire, oauth, sender)
        links = Links(time, simulator.link_seconds, f"{domain.seed}/links")
        downloads = Downloads(links, time, simulator.downloads, faults, domain.find_export)
        site = cls(Server(front.answer, host, port), Server(downloads.answer, host, 0), links)
        domain.link = site.link
        return site

    def link(self, job: SimulatedJob) -> str:
        """A new download link to the file of an export."""
        gid = str(job.result["gid"])
        return self.links.link(self.file_server.origin, job.kind, job.subject or "0", gid)

    async def start(self) -> None:
        """Listen on both origins."""
        await self.api_server.start()
        await self.file_server.start()

    async def refuse(self, seconds: float) -> None:
        """Refuse connections to the API for a while."""
        await self.api_server.refuse(seconds)

    async def stop(self) -> None:
        """Close everything; the addresses stay known."""
        await self.api_server.stop()
        await self.file_server.stop()
