"""The two origins of a simulator: the API's, with a status page for a browser at `/`, and the one that export files come from."""

from collections import Counter
from collections.abc import Sequence
from contextvars import ContextVar
from html import escape
from random import Random
from typing import TYPE_CHECKING

from aiohttp import web

from asana_jobs.testing.simulator.api import API_ROOT, Api
from asana_jobs.testing.simulator.bodies import no_route
from asana_jobs.testing.simulator.downloads import FileDownloads, Links
from asana_jobs.testing.simulator.http_adapter import HttpAdapter, ResponseWriter
from asana_jobs.testing.simulator.jobs import SimulatedJob
from asana_jobs.testing.simulator.oauth import REVOKE_PATH, TOKEN_PATH, OAuth
from asana_jobs.testing.simulator.openapi import openapi_document
from asana_jobs.testing.simulator.requests import RequestRecord
from asana_jobs.testing.simulator.server import SocketServer


if TYPE_CHECKING:
    from asana_jobs.testing.simulator.simulator import AsanaSimulator


#: The name or address by which the client of the request at hand has found this machine.
_CLIENT_HOST: ContextVar[str | None] = ContextVar("asana_simulator_client_host")

_JOBS_SHOWN = 20
_REQUESTS_SHOWN = 200
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h2{font-size:1rem;margin:1.5rem 0 .3rem}div{overflow:auto}#requests{max-height:30rem}"
    "table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2rem .8rem .2rem 0;"
    "border-bottom:1px solid #ddd;white-space:nowrap}code{background:#f3f3f3;padding:.1rem .3rem;overflow-wrap:anywhere}"
)
#: What has changed is put in its place: the page does not flicker, what is scrolled or selected elsewhere stays so.
_SCRIPT = (
    "setInterval(async()=>{const now=new DOMParser().parseFromString(await(await fetch('/')).text(),'text/html');"
    "for(const part of now.querySelectorAll('table')){const here=document.getElementById(part.id);"
    "if(here.innerHTML!==part.innerHTML)here.innerHTML=part.innerHTML}},1000)"
)


def status_page(simulator: "AsanaSimulator") -> str:
    """Return the page as HTML; it keeps itself up to date."""
    numbers = [
        ("Requests", len(simulator.requests)),
        ("Rejected by a limit", simulator.rejected),
        ("Most reads in flight", simulator.peak_reads_in_flight),
        ("Most writes in flight", simulator.peak_writes_in_flight),
        ("Jobs started", len(simulator.started)),
        ("Most jobs running", simulator.peak_jobs_running),
        ("Busiest minute of a token", simulator.busiest_minute),
        *sorted(Counter(f"Jobs {job.status}" for job in simulator.jobs.values()).items()),
    ]
    jobs = [
        (job.gid, job.kind, job.status, f"{job.age:.1f} s", job.looks)
        for job in list(simulator.jobs.values())[: -_JOBS_SHOWN - 1 : -1]
    ]
    requests = [_log_row(simulator, record) for record in simulator.requests[: -_REQUESTS_SHOWN - 1 : -1]]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Asana simulator</title><style>{_STYLE}</style></head><body><h1>Asana simulator</h1>"
        f"<p>API: <code>{escape(simulator.base_url)}</code>, described at "
        '<a href="/openapi.json">/openapi.json</a>.</p>'
        + _table("Numbers", (), numbers)
        + _table("Newest jobs", ("gid", "kind", "status", "age", "looks"), jobs)
        + _table("Requests", ("time", "method", "path", "status", "took", "started", "fault"), requests)
        + f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _log_row(simulator: "AsanaSimulator", record: RequestRecord) -> tuple[object, ...]:
    time = simulator.time
    arrived = time.calendar(time.elapsed() - (time.loop_time() - record.time)).astimezone()
    took = "" if record.answered is None else f"{(record.answered - record.time) * 1000:.0f} ms"
    fault = "" if record.fault is None else record.fault
    started = ", ".join(record.all_started)
    return (f"{arrived:%H:%M:%S}", record.method, record.path, record.status or "-", took, started, fault)


def _table(caption: str, names: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    place = caption.rpartition(" ")[2].lower()
    return (
        f'<h2>{escape(caption)}</h2><div id="{place}"><table id="{place}-table"><tbody><tr>{head}</tr>{body}</tbody>'
        "</table></div>"
    )


class Origins:
    """Both origins of one simulator, not listening before they are started.

    Attributes:
        api_server: the API's.
        file_server: where export files come from.
        links: the links to them.
    """

    def __init__(self, simulator: "AsanaSimulator", random: Random, host: str, port: int) -> None:
        time, faults = simulator.time, simulator.faults
        least, most = simulator.latency
        self._simulator = simulator
        self._writer = ResponseWriter(time, random, simulator.headers)
        self._api = HttpAdapter(
            Api(simulator.domain, simulator.limiter, self._writer.error),
            simulator.accounts,
            faults,
            simulator.requests,
            self._writer,
            latency=lambda: random.uniform(least, most) if most > least else least,
        )
        self._oauth = OAuth(simulator.accounts, faults, simulator.token_requests, self._writer)
        self.links: Links = Links(time, simulator.link_seconds, f"{simulator.domain.seed}/links")
        downloads = FileDownloads(self.links, time, simulator.downloads, faults, simulator.domain.find_export)
        self.api_server: SocketServer = SocketServer(self._answer, host, port)
        self.file_server: SocketServer = SocketServer(downloads.answer, host, 0)
        simulator.domain.link = self._link

    def _link(self, job: SimulatedJob) -> str:
        """Return a new download link to the file of an export."""
        host = _CLIENT_HOST.get(None)
        origin = self.file_server.origin_for(host) if host else self.file_server.origin
        return self.links.link(origin, job.kind, job.subject or "0", str(job.result["gid"]))

    async def start(self) -> None:
        """Listen on both origins."""
        await self.api_server.start()
        await self.file_server.start()

    async def stop(self) -> None:
        """Close everything; the addresses stay known."""
        await self.api_server.stop()
        await self.file_server.stop()

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Hand a request to the handler of its path."""
        _CLIENT_HOST.set(request.url.host)
        path = request.path
        if path == API_ROOT or path.startswith(f"{API_ROOT}/"):
            return await self._api.answer(request, path.removeprefix(API_ROOT) or "/")
        if path in {TOKEN_PATH, REVOKE_PATH}:
            return await self._oauth.answer(request)
        if request.method == "GET" and path == "/":
            return web.Response(text=status_page(self._simulator), content_type="text/html")
        if request.method == "GET" and path == "/openapi.json":
            return web.json_response(openapi_document(self._simulator.base_url))
        return await self._writer.write(request, None, self._writer.error(no_route()), None)
