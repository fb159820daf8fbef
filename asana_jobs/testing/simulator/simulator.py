"""`AsanaSimulator`: a local Asana that fights back.

Jobs a test describes: what `add_job` understands.

Numbers computed from what was recorded.

The status page at `/`: live numbers for a person with a browser.

The API's origin: which of its handlers answers which path.

The simulator's two origins, put together: the API's, and the one export files come from.
"""

import re
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, Any, Never, Self, cast

from aiohttp import web
from attrs import define

from asana_jobs.testing.simulator.api import API_ROOT, Api
from asana_jobs.testing.simulator.bodies import no_route
from asana_jobs.testing.simulator.domain import Accounts, Domain
from asana_jobs.testing.simulator.downloads import Downloads, Links
from asana_jobs.testing.simulator.durations import DurationLike, as_duration, by_kind
from asana_jobs.testing.simulator.faults import Fault, FaultPlan, FaultRule, RetryAfterLike, Status
from asana_jobs.testing.simulator.jobs import ResultShown, SimulatedJob
from asana_jobs.testing.simulator.limits import Gates, SimulatorLimits
from asana_jobs.testing.simulator.oauth import REVOKE_PATH, TOKEN_PATH, OAuth
from asana_jobs.testing.simulator.openapi import openapi_document
from asana_jobs.testing.simulator.operations import BY_KIND, KINDS, OPERATIONS, SLOT_TYPES, StartsJob
from asana_jobs.testing.simulator.requests import RequestLog, RequestRecord
from asana_jobs.testing.simulator.server import Server
from asana_jobs.testing.simulator.time import SimulatorTime
from asana_jobs.testing.simulator.wire import Sender, Wire


_GID = re.compile(r"[0-9]+", re.ASCII)


def checked_gid(gid: str) -> str:
    """The gid, if it is one: a string of digits."""
    given: object = gid
    if not isinstance(given, str) or not _GID.fullmatch(given):
        raise ValueError(f"A gid is a string of digits, not {gid!r}")
    return gid


def described_job(
    domain: Domain,
    gid: str,
    states: DurationLike | None,
    *,
    kind: str | None,
    token: str | None,
    result_shown: ResultShown | None,
    lines: int | None,
    fields: Mapping[str, Any],
) -> SimulatedJob:
    """A job made from the arguments of `add_job`."""
    slots = [name for name in fields if name in SLOT_TYPES and isinstance(fields[name], Mapping)]
    slot = slots[0] if slots else None
    operation = _operation(kind, slot)
    schedule = (
        domain.draw(operation.kind, gid)
        if states is None
        else as_duration(states).draw(Random(f"{domain.seed}/{gid}"), domain.speed)  # noqa: S311 - no secrets
    )
    # A slot given as None is shown as null, and leaves the job without a result.
    filled = slot or (None if operation.slot in fields else operation.slot)
    given = cast("Mapping[str, Any]", fields[slot] if slot else {})
    return SimulatedJob(
        gid=checked_gid(gid),
        kind=operation.kind,
        subtype=operation.subtype,
        schedule=schedule,
        time=domain.time,
        creator=None if token is None else domain.accounts.owner(token),
        created=domain.time.elapsed(),
        slot=filled,
        result=domain.new_result(filled, given) if filled else {},
        result_shown=result_shown or domain.result_shown,
        extra={name: value for name, value in fields.items() if name != slot},
        lines=domain.export_lines if lines is None else lines,
        link=domain.link_to,
    )


def _operation(kind: str | None, slot: str | None) -> StartsJob:
    if kind is not None:
        if kind not in BY_KIND:
            raise ValueError(f"Unknown kind of job {kind!r}; kinds are {', '.join(BY_KIND)}")
        return BY_KIND[kind]
    if slot is None:
        return BY_KIND["duplicate_project"]
    return next((known for known in OPERATIONS if known.slot == slot), BY_KIND["instantiate_task"])


_WINDOW = 60.0


def busiest_minute(records: Iterable[RequestRecord]) -> int:
    """Most requests of one token in any 60 seconds, rejected ones included."""
    windows: dict[str, deque[tuple[float, int]]] = defaultdict(deque)
    sums: dict[str, int] = defaultdict(int)
    busiest = 0
    for record in records:
        if record.token is None:
            continue
        window = windows[record.token]
        window.append((record.time, record.cost))
        sums[record.token] += record.cost
        while window[0][0] <= record.time - _WINDOW:
            sums[record.token] -= window.popleft()[1]
        busiest = max(busiest, sums[record.token])
    return busiest


def peak_running(jobs: Iterable[SimulatedJob]) -> int:
    """Most jobs of one user that ran at one time."""
    events: dict[str | None, list[tuple[float, int]]] = defaultdict(list)
    for job in jobs:
        # At one moment ends come before starts: a place given back may be taken at once.
        events[job.creator] += [(job.created, 1), (job.ended, -1)]
    peak = 0
    for changes in events.values():
        running = 0
        for _, change in sorted(changes):
            running += change
            peak = max(peak, running)
    return peak


class AsanaSimulator:
    """A local Asana in the running event loop, for tests, demos and offline work.

    Use it as an async context manager and point a client at `base_url`. By default any gid of digits
    exists, any bearer token is good, and jobs started by a POST take a second or two. Every clock is
    the loop's, so under a loop with virtual time nothing waits. When it is closed nothing of it is
    left, whatever its clients were doing; until then a request that arrived takes effect in its
    moment, although its client may have hung up.

    A job of milliseconds is done after milliseconds; when a client notices is the client's affair.
    By default an `AsanaClient` looks half a second after the start, and sends 150 requests a minute
    to begin with. The fixture `asana_client` is told better; elsewhere say
    ``poll=PollPolicy(initial=0.005, lag_price=5e-5)`` and
    ``limits=RateLimits(requests_per_minute=1e6)``.

    Args:
        strict: know only the jobs and objects that were added, everything else is a 404; and refuse
            words of `include` that Asana does not document with a 400.
        host: address to listen on.
        port: port to listen on; 0 takes a free one.
        seed: of everything random; the same seed and the same requests give the same answers.
        durations: how long started jobs take: seconds, a list of states (one per look), a list of
            (seconds, state) pairs, or a value such as `Lognormal(8)`; one for all kinds or a mapping
            from kind (`duplicate_project`, ..., "default").
        limits: what one token may do. Default: no minute quota, 50 reads and 15 writes in flight,
            five running jobs.
        tokens: the good tokens, or a mapping from token to the user it belongs to; None takes any,
            each as a user of its own.
        creator_only: whether a job can only be read by the user who started it; default: if strict.
        speed: how much faster than their durations jobs run.
        latency: seconds every request takes, or a pair (least, most).
        result_shown: the state from which on reads show a job's result: "at_once", "in_progress"
            or "succeeded".
        export_lines: lines in an export file.
        link_seconds: seconds a download link is good for. Asana documents an hour and signs for 300.
        clock_skew: seconds by which the server's calendar is wrong.
        calendar_start: the server's calendar at the start; default: now.
        headers: further headers of every answer, such as `Asana-Change`.
    """

    def __init__(
        self,
        strict: bool = False,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int = 0,
        durations: Mapping[str, DurationLike] | DurationLike | None = None,
        limits: SimulatorLimits | None = None,
        tokens: Collection[str] | Mapping[str, str] | None = None,
        creator_only: bool | None = None,
        speed: float = 1.0,
        latency: float | tuple[float, float] = 0.0,
        result_shown: ResultShown = "at_once",
        export_lines: int = 100,
        link_seconds: float = 300.0,
        clock_skew: float = 0.0,
        calendar_start: datetime | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        if not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed!r}: it says how much faster jobs run")
        self.time = SimulatorTime(calendar_start or datetime.now(UTC), skew=clock_skew)
        self.accounts = Accounts(tokens, self.time)
        self.domain = Domain(
            self.time,
            self.accounts,
            seed=seed,
            strict=strict,
            creator_only=strict if creator_only is None else creator_only,
            durations=by_kind(durations, KINDS),
            speed=speed,
            result_shown=result_shown,
            export_lines=export_lines,
        )
        self.gates = Gates(limits or SimulatorLimits(), self.time)
        self.faults = FaultPlan()
        self.link_seconds = link_seconds
        self.latency = latency if isinstance(latency, tuple) else (latency, latency)
        self.headers = dict(headers or {})
        self._host = host
        self._port = port
        self.requests = RequestLog()
        self.downloads = RequestLog()
        self.token_requests = RequestLog()
        self._random = Random(f"{seed}/answers")  # noqa: S311 - no secrets
        self._site: Site | None = None

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not

        @property
        def __enter__(self) -> Never:
            raise AttributeError(
                "a simulator is opened with `async with AsanaSimulator() as simulator`, inside of `async def`"
            )

    async def __aenter__(self) -> Self:
        # The web server is imported when somebody wants one, not with the package.

        self.time.start()
        self._site = Site.of(self, self._random, self._host, self._port)
        try:
            await self._site.start()
        except BaseException:
            await self._site.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._site is not None:
            await self._site.stop()

    def _running_site(self) -> "Site":
        if self._site is None:
            raise RuntimeError("The simulator has not been started: use `async with AsanaSimulator() as ...`")
        return self._site

    @property
    def origin(self) -> str:
        """Where it listens, such as `http://127.0.0.1:40123`; `/` there is a status page."""
        return self._running_site().api_server.origin

    @property
    def base_url(self) -> str:
        """What a client is pointed at, such as `http://127.0.0.1:40123/api/1.0`."""
        return self.origin + API_ROOT

    @property
    def oauth_token_url(self) -> str:
        """Where refresh tokens are exchanged for access tokens that last an hour."""
        return f"{self.origin}/-/oauth_token"

    @property
    def jobs(self) -> dict[str, SimulatedJob]:
        """All jobs by gid."""
        return self.domain.jobs

    @property
    def started(self) -> Sequence[SimulatedJob]:
        """The jobs started by a POST, in order."""
        return self.domain.started

    @property
    def limits(self) -> SimulatorLimits:
        """What one token may do."""
        return self.gates.limits

    @property
    def rejected(self) -> int:
        """Requests refused with a 429 because of a limit (a 429 from `fail_next` is not counted)."""
        return self.gates.rejected

    @property
    def peak_reads_in_flight(self) -> int:
        """Most GET requests of one token that were being answered at one time."""
        return self.gates.peak_reads

    @property
    def peak_writes_in_flight(self) -> int:
        """Most writing requests of one token that were being answered at one time."""
        return self.gates.peak_writes

    @property
    def peak_jobs_running(self) -> int:
        """Most started jobs of one user that ran at one time."""
        return peak_running(self.started)

    @property
    def busiest_minute(self) -> int:
        """Most requests of one token in any 60 seconds, rejected ones included."""
        return busiest_minute(self.requests)

    def add_job(
        self,
        gid: str,
        states: DurationLike | None = None,
        *,
        kind: str | None = None,
        token: str | None = None,
        result_shown: ResultShown | None = None,
        lines: int | None = None,
        **fields: Any,
    ) -> SimulatedJob:
        """Make a job exist.

        Args:
            gid: its gid, a string of digits.
            states: a list of states, one per look, the last one stays; or a list of (seconds since
                the job exists, state) pairs; or any duration. Default: as jobs of its kind take.
            kind: the operation it belongs to, such as `export_graph`; default: what its result says,
                else `duplicate_project`.
            token: the token whose user alone may read it, where only creators may; None: everybody.
            result_shown: the state from which on reads show the result.
            lines: lines in its file, for an export.
            **fields: the result under its slot's name (`new_project={"gid": "9", "name": "Q3"}`; what is
                left out is made up), and any further field of the job, shown as it is.
        """
        job = described_job(
            self.domain,
            gid,
            states,
            kind=kind,
            token=token,
            result_shown=result_shown,
            lines=lines,
            fields=fields,
        )
        return self.domain.add_job(job)

    def add_organization_export(
        self, gid: str, states: DurationLike | None = None, *, organization: str = "1199000000000001"
    ) -> SimulatedJob:
        """Make an organization export exist; `states` as for `add_job`, in the words of jobs.

        A read shows `not_started` as ``pending``, ``in_progress`` as `started`, `succeeded` as `finished`
        and `failed` as `error`.
        """
        export = self.domain.new_organization_export(organization, None, checked_gid(gid))
        if states is not None:
            export.schedule = as_duration(states).draw(self._random, self.domain.speed)
        return export

    def add_object(self, resource_type: str, gid: str, **fields: Any) -> dict[str, Any]:
        """Make an object exist, for a strict simulator: `add_object("project", "1203", name="Q3")`.

        Args:
            resource_type: task, project, portfolio, project_template, task_template, goal, team or
                workspace.
            gid: its gid, a string of digits.
            **fields: its name, and: `dates`, gids of the date variables of a project template;
                `tasks`, the number of tasks a roll-up of it visits.
        """
        return self.domain.add_object(resource_type, checked_gid(gid), fields)

    def fail_next(
        self,
        fault: Fault | int,
        *,
        retry_after: RetryAfterLike = None,
        times: int | None = 1,
        path: str | None = None,
        method: str | None = None,
        when: Callable[[RequestRecord], bool] | None = None,
        probability: float = 1.0,
    ) -> FaultRule:
        """Make the next requests go wrong. Rules made earlier come first; a request meets one fault.

        Args:
            fault: a status code, or a value such as `Reset(effect=True)` or `Latency(5)`.
            retry_after: the `Retry-After` header of a status: seconds, an aware datetime, or any text.
            times: how many requests; None for all from now on.
            path: only paths like this pattern, below the API's root: `/jobs/1203`, `/jobs/*`.
            method: only requests with this method.
            when: only requests this function says yes to.
            probability: share of those requests, between 0 and 1, drawn with the simulator's seed.
        """
        chosen = Status(fault, retry_after=retry_after) if isinstance(fault, int) else fault
        stream = Random(f"{self.domain.seed}/fault/{len(self.faults.rules)}")  # noqa: S311 - no secrets
        rule = FaultRule(chosen, times, method, path, when, probability, random=stream)
        self.faults.rules.append(rule)
        return rule

    def heal(self) -> None:
        """Forget every fault that is still to come."""
        self.faults.rules.clear()

    def expire_token(self, token: str) -> None:
        """Make a token bad from now on: 401."""
        self.accounts.expire(token)

    def expire_links(self) -> None:
        """Make every download link given so far bad: 403 until the job is read again."""
        self._running_site().links.generation += 1

    async def refuse_connections(self, seconds: float) -> None:
        """Drop every connection and refuse new ones for so many seconds."""
        await self._running_site().refuse(seconds)

    def __repr__(self) -> str:
        where = "not started" if self._site is None or not self._site.api_server.listening else self.origin
        return f"<AsanaSimulator {where}: {len(self.jobs)} jobs, {len(self.requests)} requests>"


_SHOWN = 20
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0;width:100%}td,th{text-align:left;padding:.2rem .8rem .2rem 0;"
    "border-bottom:1px solid #ddd}code{background:#f3f3f3;padding:.1rem .3rem}caption{text-align:left;"
    "font-weight:600;padding-bottom:.3rem}"
)


def status_page(simulator: "AsanaSimulator") -> str:
    """The page as HTML; it reloads itself every second."""
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
        for job in list(simulator.jobs.values())[: -_SHOWN - 1 : -1]
    ]
    requests = [
        (f"{record.time:.3f}", record.method, record.path, record.status or "-", record.started or "")
        for record in simulator.requests[: -_SHOWN - 1 : -1]
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="refresh" content="1">'
        f"<title>Asana simulator</title><style>{_STYLE}</style></head><body><h1>Asana simulator</h1>"
        f"<p>API: <code>{escape(simulator.base_url)}</code>, described at "
        '<a href="/openapi.json">/openapi.json</a>.</p>'
        + _table("Numbers", (), numbers)
        + _table("Newest jobs", ("gid", "kind", "status", "age", "looks"), jobs)
        + _table("Newest requests", ("loop time", "method", "path", "status", "started"), requests)
        + "</body></html>\n"
    )


def _table(caption: str, names: tuple[str, ...], rows: Sequence[tuple[object, ...]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><caption>{escape(caption)}</caption><tr>{head}</tr>{body}</table>"


@define
class Front:
    """Answers every request to the API's origin."""

    simulator: "AsanaSimulator"
    wire: Wire
    oauth: OAuth
    sender: Sender

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path = request.path
        if path == API_ROOT or path.startswith(f"{API_ROOT}/"):
            return await self.wire.answer(request, path.removeprefix(API_ROOT) or "/")
        if path in {TOKEN_PATH, REVOKE_PATH}:
            return await self.oauth.answer(request)
        if request.method == "GET" and path == "/":
            return web.Response(text=status_page(self.simulator), content_type="text/html")
        if request.method == "GET" and path == "/openapi.json":
            return web.json_response(openapi_document(self.simulator.base_url))
        return await self.sender.send(request, self.sender.error(no_route()), None)


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
