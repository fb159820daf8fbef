"""`AsanaClient`: all that a user holds. It puts together the parts that start, watch and export."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never, Self, cast

import attrs

from asana_jobs._client.assembly import check_instance, find_way, make_downloads, make_session
from asana_jobs._client.clock import Clock
from asana_jobs._client.exports.download import PartialFile, Progress, download, link_of
from asana_jobs._client.exports.records import ExportRecords
from asana_jobs._client.exports.stream import ExportStream
from asana_jobs._client.http.destinations import Destinations
from asana_jobs._client.http.network import Proxy
from asana_jobs._client.http.protocol import (
    Fields,
    Params,
    Response,
    check_fields,
    fields_of_start,
    raw_request,
    read_job,
)
from asana_jobs._client.http.retrying import WaitStrategy
from asana_jobs._client.http.secret import Secret
from asana_jobs._client.http.templates import find_template, with_gids
from asana_jobs._client.http.tokens import TokenProvider
from asana_jobs._client.http.transport import Downloads, Transport
from asana_jobs._client.limits.gate import FOREGROUND, Gate, GateSnapshot
from asana_jobs._client.limits.running_jobs import RunningJobPermits
from asana_jobs._client.limits.token_budget import TokenBudget, TokenBudgets
from asana_jobs._client.misuse import Instead
from asana_jobs._client.telemetry.listeners import ObservedStart
from asana_jobs._client.waiting.durations import Durations
from asana_jobs._client.waiting.job_reference import JOBS, JobLike, JobReference, read_subject
from asana_jobs._client.waiting.poller import Poller
from asana_jobs._client.waiting.waiter import (
    Check,
    JobWaiter,
    check,
    coroutine_function,
    make_wait,
    read_strategy,
)
from asana_jobs.models import (
    GraphExportCompact,
    Job,
    OrganizationExport,
    PortfolioCompact,
    ProjectCompact,
    ProjectTemplate,
    ProjectTemplateCompact,
    R,
    ResourceExportCompact,
    TaskCompact,
    TaskTemplate,
)
from asana_jobs.operations import (
    DuplicatePortfolio,
    DuplicateProject,
    DuplicateTask,
    ExportGraph,
    ExportOrganization,
    ExportParameters,
    ExportResource,
    InstantiateProject,
    InstantiateTask,
    Operation,
    PortfolioInclude,
    ProjectInclude,
    RequestedDates,
    RequestedRoles,
    RollupProject,
    RollupTask,
    SaveProjectAsTemplate,
    ScheduleDates,
    TaskInclude,
    check_operation,
)
from asana_jobs.policies import Duration, PollPolicy, RateLimits, RetryPolicy, check_policy, seconds


if TYPE_CHECKING:
    from types import TracebackType

    import aiohttp

    from asana_jobs._client.bulk.ledger import Ledger
    from asana_jobs._client.bulk.run import Operations, Run
    from asana_jobs._client.bulk.runner import Runner
    from asana_jobs._client.telemetry.telemetry import OnEvent
    from asana_jobs._client.waiting.monitor import JobMonitor


class AsanaClient:
    """A client that starts Asana jobs and watches them, inside the rate limits of one token.

    ::

        async with AsanaClient() as asana:
            job = await asana.duplicate_project("1203", name="Q3 launch")
            job = await asana.wait_for_job(job, timeout=300)

    Args:
        token: An access token, or an async callable that returns one and is asked again when Asana refuses it
            (`OAuthRefresh` is such a callable). ``None`` reads ``ASANA_ACCESS_TOKEN``, ``ASANA_PAT``,
            ``ASANA_TOKEN``, or the file that ``ASANA_ACCESS_TOKEN_FILE`` names.
        base_url: Where the API is, with its path; ``None`` reads ``ASANA_BASE_URL`` or takes Asana's. The token is
            sent to that origin only, and plain http only to this machine.
        limits: What the token may do, see `RateLimits`.
        retry: How one request is repeated, see `RetryPolicy`.
        poll: When a wait looks, see `PollPolicy`.
        timeout: Seconds (or a `timedelta`) that one request may take.
        session: An aiohttp session to use; it is not closed. What it says of certificates, proxies and headers
            holds: one made with ``ssl=False`` sends the token to whoever answers. Starts share its connections, where
            ours never use one a second time: one that the other side has closed meanwhile leaves a start unknown.
        allow_middlewares: Take a *session* that has middlewares or its own way to send, although it may send one
            request several times. A POST that starts a job goes past middlewares all the same.
        transport: What carries requests instead of aiohttp; it is not closed either.
        clock: Time, sleep and randomness; see `asana_jobs.testing.FakeClock`.
        user_agent: Put before ours in the User-Agent header.
        gate: A budget kept elsewhere, such as one shared by several machines.
        durations: How long jobs took, as another client learned it.
        on_event: A plain function that is called with each event, see `asana_jobs.events`, as it happens: it must
            not block. What it raises is logged once, and breaks nothing.
        proxy: The address of an http proxy that https goes through, such as ``http://user:password@proxy.example:3128``.
            ``None`` reads ``HTTPS_PROXY`` and ``ALL_PROXY``, ``""`` takes none. Hosts that ``NO_PROXY`` names are reached
            without it; this machine is one only if it is named there.
        allow_plain_http: Send the token in clear to another host than this one, such as a simulator in a network of
            containers; ``ASANA_ALLOW_PLAIN_HTTP=1`` says the same. It is logged.
        enable: Names of changes of Asana's API to have before they are everybody's (``Asana-Enable``). An answer that names
            a change which affects this client is one warning, and one `ChangeAnnounced`, for each name.
        disable: Names of changes to put off, for as long as Asana does (``Asana-Disable``).

    Raises:
        TokenError: there is no token, or it cannot be one.
        ValueError: an argument is wrong; nothing was sent.

    Certificates are trusted as Python does, and as ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` say, which are read when a
    client is made. A *session* brings proxies and certificates of its own, for files of exports as well.

    One client serves one event loop, and any number of tasks on it.

    The eleven calls that start a job (``duplicate_task`` to ``export_organization``) each make an operation and hand
    it to `start`, which says what they return and raise, and what ``opt_fields`` is.
    """

    def __init__(
        self,
        token: str | TokenProvider | None = None,
        *,
        base_url: str | None = None,
        limits: RateLimits | None = None,
        retry: RetryPolicy | None = None,
        poll: PollPolicy | None = None,
        timeout: Duration = 30.0,
        session: aiohttp.ClientSession | None = None,
        allow_middlewares: bool = False,
        transport: Transport | None = None,
        clock: Clock | None = None,
        user_agent: str | None = None,
        gate: Gate | None = None,
        durations: Durations | None = None,
        on_event: OnEvent | None = None,
        proxy: str | None = None,
        allow_plain_http: bool = False,
        enable: Iterable[str] = (),
        disable: Iterable[str] = (),
    ) -> None:
        # Tracebacks may show the locals of a constructor.
        token = Secret(token) if isinstance(token, str) else token
        proxy = Secret(proxy) if isinstance(proxy, str) else proxy
        if poll is not None:
            check_policy(poll)
        check_instance("durations", durations, Durations)
        self._base_url, self._network = find_way(
            base_url, proxy=proxy, allow_plain_http=allow_plain_http, session=session, transport=transport
        )
        self._owns_transport = transport is None
        self._gate_given = gate is not None
        self._exchange = make_session(
            token,
            base_url=self._base_url,
            network=self._network,
            limits=limits,
            retry=retry,
            poll=poll,
            timeout=timeout,
            session=session,
            allow_middlewares=allow_middlewares,
            transport=transport,
            clock=clock,
            user_agent=user_agent,
            gate=gate,
            on_event=on_event,
            enable=enable,
            disable=disable,
        )
        self._limits = limits or RateLimits()
        self._poll = poll or PollPolicy()
        self._poller = Poller(self._exchange, durations or Durations())
        self._downloads: Downloads = make_downloads(user_agent, self._base_url, self._network, session)
        self._owns_downloads = True
        cap = max(1, int(self._limits.jobs_running * self._limits.share))
        ours = self._exchange
        self._share(
            TokenBudget(ours.tokens.owner, ours.gate, RunningJobPermits(cap, gate), ours.repetitions),
            TokenBudgets(),
        )

    def __repr__(self) -> str:
        if not hasattr(self, "_exchange"):
            return "<AsanaClient unfinished>"  # a traceback with locals, of a constructor that raised
        state = "closed" if self._exchange.lifetime.closed else "open"
        return f"<AsanaClient {self._base_url} {state}>"

    def _share(self, budget: TokenBudget, budgets: TokenBudgets) -> None:
        """Be one of those clients that have *budget*, in a family that has *budgets*."""
        self._budget, self._budgets = budget, budgets
        self._exchange.repetitions = budget.repetitions
        budgets.add(budget)

    @property
    def base_url(self) -> str:
        """The URL below which requests go."""
        return self._base_url

    @property
    def proxy(self) -> str | None:
        """The proxy that requests go through, without its password; ``None`` if there is none, or nobody knows of one."""
        proxy = getattr(self._exchange.transport, "proxy", None)
        return str(proxy.url) if isinstance(proxy, Proxy) else None

    @property
    def budget(self) -> GateSnapshot:
        """The budget of this client's token at this moment."""
        return self._exchange.gate.snapshot()

    @property
    def durations(self) -> Durations:
        """How long jobs took, as far as it was learned: ``to_dict()`` exports it, ``merge()`` adds to it."""
        return self._poller.durations

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not
        __enter__ = Instead(
            "a client is opened with `async with AsanaClient() as asana`, inside of `async def`"
        )

    async def __aenter__(self) -> Self:
        self._exchange.lifetime.check()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def duplicate_task(
        self,
        gid: str,
        *,
        name: str | None = None,
        include: TaskInclude | None = None,
        opt_fields: Fields | None = None,
    ) -> Job[TaskCompact]:
        """Copy a task. See `DuplicateTask` for the words of *include*."""
        return await self.start(DuplicateTask(gid, name=name, include=include), opt_fields=opt_fields)

    async def duplicate_project(
        self,
        gid: str,
        *,
        name: str,
        include: ProjectInclude | None = None,
        schedule_dates: ScheduleDates | Mapping[str, Any] | None = None,
        team: str | None = None,
        opt_fields: Fields | None = None,
    ) -> Job[ProjectCompact]:
        """Copy a project. See `DuplicateProject` for the words of *include* and for *schedule_dates*."""
        return await self.start(
            DuplicateProject(gid, name=name, include=include, schedule_dates=schedule_dates, team=team),
            opt_fields=opt_fields,
        )

    async def duplicate_portfolio(
        self,
        gid: str,
        *,
        name: str,
        include: PortfolioInclude | None = None,
        opt_fields: Fields | None = None,
    ) -> Job[PortfolioCompact]:
        """Copy a portfolio. See `DuplicatePortfolio` for the words of *include*."""
        return await self.start(DuplicatePortfolio(gid, name=name, include=include), opt_fields=opt_fields)

    async def save_project_as_template(
        self,
        gid: str,
        *,
        name: str,
        public: bool,
        team: str | None = None,
        workspace: str | None = None,
        opt_fields: Fields | None = None,
    ) -> Job[ProjectTemplateCompact]:
        """Make a template of a project, in a *team* (organizations) or a *workspace*. See `SaveProjectAsTemplate`."""
        return await self.start(
            SaveProjectAsTemplate(gid, name=name, public=public, team=team, workspace=workspace),
            opt_fields=opt_fields,
        )

    async def instantiate_project(
        self,
        gid: str,
        *,
        name: str,
        team: str | None = None,
        public: bool | None = None,
        privacy_setting: str | None = None,
        is_strict: bool | None = None,
        requested_dates: RequestedDates | None = None,
        requested_roles: RequestedRoles | None = None,
        opt_fields: Fields | None = None,
    ) -> Job[ProjectCompact]:
        """Make a project from a project template. See `InstantiateProject` for its dates and roles."""
        return await self.start(
            InstantiateProject(
                gid,
                name=name,
                team=team,
                public=public,
                privacy_setting=privacy_setting,
                is_strict=is_strict,
                requested_dates=requested_dates,
                requested_roles=requested_roles,
            ),
            opt_fields=opt_fields,
        )

    async def instantiate_task(
        self, gid: str, *, name: str | None = None, opt_fields: Fields | None = None
    ) -> Job[TaskCompact]:
        """Make a task from a task template. See `InstantiateTask`."""
        return await self.start(InstantiateTask(gid, name=name), opt_fields=opt_fields)

    async def rollup_task(self, gid: str, *, opt_fields: Fields | None = None) -> Job[Never]:
        """Bring a task's dates in line with its subtasks. See `RollupTask`."""
        return await self.start(RollupTask(gid), opt_fields=opt_fields)

    async def rollup_project(self, gid: str, *, opt_fields: Fields | None = None) -> Job[Never]:
        """Bring the dates of a project's tasks in line. See `RollupProject`: ``dates_rollup_progress``."""
        return await self.start(RollupProject(gid), opt_fields=opt_fields)

    async def export_graph(self, gid: str, *, opt_fields: Fields | None = None) -> Job[GraphExportCompact]:
        """Export what hangs below a goal, project, portfolio or team. The same job comes back while one runs.

        See `ExportGraph`.
        """
        return await self.start(ExportGraph(gid), opt_fields=opt_fields)

    async def export_resource(
        self,
        gid: str,
        *,
        parameters: Iterable[ExportParameters | Mapping[str, Any]],
        opt_fields: Fields | None = None,
    ) -> Job[ResourceExportCompact]:
        """Export tasks, teams or messages of a workspace. See `ExportResource` for its *parameters*.

        Raises:
            ExportBusyError: one is running in this workspace, whoever started it.
        """
        return await self.start(ExportResource(gid, parameters=parameters), opt_fields=opt_fields)

    async def export_organization(
        self, gid: str, *, opt_fields: Fields | None = None
    ) -> Job[OrganizationExport]:
        """Export a whole organization. Asana keeps it outside its jobs; wait for it and download it like one.

        See `ExportOrganization`.
        """
        return await self.start(ExportOrganization(gid), opt_fields=opt_fields)

    async def start(
        self,
        operation: Operation[R],
        *,
        ledger: Ledger | None = None,
        key: str | None = None,
        opt_fields: Fields | None = None,
    ) -> Job[R]:
        """Start the job of *operation* with one POST.

        With a *ledger* the intent is on disk before the POST, and the gid after it: whoever makes the same call again,
        in whatever process, is given the job that was started, as it was last seen. The row is nobody's then, so that
        ``run_all`` on this ledger waits for its end. What may pass (429, no connection) is waited out, for
        ``PollPolicy.give_up_after`` seconds at most.

        Args:
            operation: Such as ``DuplicateProject("1203", name="Q3 launch")``.
            ledger: What remembers it, see `Ledger`.
            key: Its name in the ledger; by default its content, so that the same operation is started once.
            opt_fields: The fields that Asana is asked for in its answer; gid, type and status always come.

        Returns:
            The `Job` as Asana answered it: usually ``in_progress``, with what it makes already named in
            ``job.result`` and provisional until the job has succeeded.

        Raises:
            ValueError: *operation* is none, or *key* is given without a ledger or cannot be one; nothing was sent. Or
                it names a date or role that its template does not have; nothing was started.
            OutcomeUnknownError: the answer was lost, now or earlier; the job may be running. It is never sent twice.
            LedgerError: the key stands for another operation, another process is about to start it
                (`LedgerBusyError`), or the file cannot be written; nothing was started by this call.
            APIError: Asana refused it; nothing was started.
            ConnectError: no connection could be made; nothing was started.
        """
        check_operation(operation, many="run_all takes them all")
        fields = fields_of_start(operation, opt_fields)
        if ledger is not None:
            from asana_jobs._client.bulk.run import start_one  # noqa: PLC0415  # loaded by the first run

            return await start_one(self._runner(ledger=ledger), operation, key, fields)
        if key is not None:
            raise ValueError("key names an operation in a ledger: give start both, or neither")
        by_gid = await with_gids(self._exchange, operation)
        asked_at = self._exchange.clock.monotonic()
        with ObservedStart(self._exchange.telemetry, operation):
            job = await self._exchange.start(by_gid, fields)
            self._poller.born(job, operation, asked_at, fields)
        return cast("Job[R]", job)

    async def run(self, operation: Operation[R], *, timeout: Duration | None = None) -> Job[R]:  # noqa: ASYNC109  # it looks once more
        """Start the job of *operation*, wait for it, and return it succeeded.

        Waits first until one more job of the token may run.

        Args:
            operation: Such as ``DuplicateProject("1203", name="Q3 launch")``.
            timeout: Seconds (or a `timedelta`) to wait for the job once it was started.

        Raises:
            JobFailedError: the job failed.
            JobTimeoutError: it had not finished in time.
            AsanaJobsError: what starting and waiting raise.
        """
        from asana_jobs._client.bulk.run import run_one  # noqa: PLC0415  # loaded by the first run

        return await run_one(self._runner(timeout=timeout), operation)

    def run_all(
        self,
        operations: Operations[R],
        *,
        ledger: Ledger | None = None,
        timeout: Duration | None = None,
        retry_unknown: bool = False,
        retry_failed: bool = False,
    ) -> Run[R]:
        """Start many jobs, a few at a time, and iterate their outcomes as they come.

        Args:
            operations: Operations, or pairs of your key and an operation; a list, a generator, or an async one.
                They are taken lazily: at most ``RateLimits.jobs_running`` are unfinished at Asana, and the
                next is started the moment one is seen to finish.
            ledger: Makes the run one that can be killed and started again, see `Ledger`.
            timeout: Seconds (or a `timedelta`) to wait for each job.
            retry_unknown: Start again what a ledger holds as unknown. It may make a second copy.
            retry_failed: Start again, once, what a ledger holds as failed from earlier runs. What a failed job has
                made is not removed.

        Returns:
            A `Run`: an async iterator of `Outcome`. One bad operation does not end it.
        """
        from asana_jobs._client.bulk.run import Run  # noqa: PLC0415  # loaded by the first run

        runner = self._runner(
            timeout=timeout, ledger=ledger, retry_unknown=retry_unknown, retry_failed=retry_failed
        )
        return Run(runner, operations)

    def _runner(self, **options: Any) -> Runner:
        from asana_jobs._client.bulk.run import make_runner  # noqa: PLC0415  # loaded by the first run

        return make_runner(self._poller, self._budget.running_jobs, self._poll, **options)

    async def get_job(
        self,
        gid: Job[R] | str | Mapping[str, Any],
        *,
        opt_fields: Fields | None = None,
        opt_pretty: bool = False,
    ) -> Job[R]:
        """Read a job once (``GET /jobs/{job_gid}``).

        Args:
            gid: The job's gid, or what else `wait_for_job` takes for a job.
            opt_fields: The fields to ask for; the gid always comes.
            opt_pretty: Ask for indented JSON.

        Raises:
            APIError: `NotFoundError`, `PermissionDeniedError`, ... after what may be repeated was repeated.
            TransportError: no usable answer.
            DecodeError: JSON that is not a job.
        """
        exchange = self._exchange
        collection = JOBS
        if not isinstance(gid, str) or gid.startswith("{"):
            subject = read_subject(gid)
            gid, collection = subject.gid, subject.collection
        request = read_job(
            gid,
            None if opt_fields is None else check_fields(opt_fields),
            collection=collection,
            opt_pretty=opt_pretty,
            timeout=exchange.timeout,
        )
        return cast("Job[R]", await exchange.call(request, FOREGROUND, self._poller.read))

    async def project_template(self, gid: str, *, opt_fields: Fields | None = None) -> ProjectTemplate:
        """Read a project template: the dates and roles that `InstantiateProject` may be told by their names or gids.

        Args:
            gid: The template's gid.
            opt_fields: The fields to ask for, instead of all; the gid always comes.

        Raises:
            NotFoundError: there is none with this gid, or the token does not see it.
            AsanaJobsError: what `get_job` raises.

        Source: ``GET /project_templates/{project_template_gid}``.
        """
        return await find_template(self._exchange, ProjectTemplate, gid, opt_fields)

    async def task_template(self, gid: str, *, opt_fields: Fields | None = None) -> TaskTemplate:
        """Read a task template. It asks for no dates and no roles, see `TaskTemplate`.

        Args:
            gid: The template's gid.
            opt_fields: The fields to ask for, instead of all; the gid always comes.

        Raises:
            NotFoundError: there is none with this gid, or the token does not see it.
            AsanaJobsError: what `get_job` raises.

        Source: ``GET /task_templates/{task_template_gid}``.
        """
        return await find_template(self._exchange, TaskTemplate, gid, opt_fields)

    @coroutine_function
    def wait_for_job(
        self,
        job: Job[R] | str | Mapping[str, Any],
        *,
        timeout: Duration | None = None,  # it cuts the last sleep and looks once more
        poll: PollPolicy | WaitStrategy | None = None,
        opt_fields: Fields | None = None,
        every_poll: bool = False,
    ) -> JobWaiter[R]:
        """Wait until a job has succeeded or failed; await the result, or iterate it to see the states between.

        Args:
            job: A `Job`, a gid, an answer of the official SDK (a mapping with ``gid``) or a continuation token.
                Type checkers know what a `Job` makes; what the job of a gid makes, an annotation may say.
            timeout: Seconds (or a `timedelta`) from the first use; the last look happens at the deadline.
                ``None`` waits for ever, ``0`` looks once.
            poll: A `PollPolicy`, or any tenacity wait strategy such as ``wait_exponential(max=30)``.
            opt_fields: Fields to ask for; the status always is.
            every_poll: Yield every look when iterated, not only changes.

        Raises:
            ValueError: at once, if an argument is wrong. For what waiting raises see `JobWaiter`.
        """
        wait = make_wait(self._poller, self._poll, job, timeout=timeout, poll=poll, opt_fields=opt_fields)
        return JobWaiter(wait, every_poll=every_poll)

    async def check_job(
        self,
        job: Job[R] | str | Mapping[str, Any],
        *,
        poll: PollPolicy | WaitStrategy | None = None,
        opt_fields: Fields | None = None,
    ) -> Check[R]:
        """Look once and say when to come back: one step of a wait, for queue workers and cron.

        Trouble that may pass is reported in ``Check.error``; hand ``Check.continuation_token`` to the next
        call, on any machine.

        Args:
            job: As for `wait_for_job`.
            poll: As for `wait_for_job`.
            opt_fields: As for `wait_for_job`.

        Raises:
            AsanaJobsError: watching is impossible, as for ``wait_for_job``.
        """
        wait = make_wait(self._poller, self._poll, job, poll=poll, opt_fields=opt_fields, observed=False)
        return cast("Check[R]", await check(wait))

    def monitor_jobs(
        self,
        jobs: Iterable[JobLike] = (),
        *,
        timeout: Duration | None = None,
        poll: PollPolicy | WaitStrategy | None = None,
    ) -> JobMonitor:
        """Watch many jobs at once; see `JobMonitor`.

        Args:
            jobs: Each a `Job`, a gid, an answer of the official SDK or a continuation token.
            timeout: Seconds (or a `timedelta`) to wait for each job, from when it is added.
            poll: As for `wait_for_job`.

        Raises:
            ValueError: at once, if an argument is wrong.
        """
        from asana_jobs._client.waiting.monitor import JobMonitor  # noqa: PLC0415  # with events, only for who is told

        read_strategy(poll)  # also if there is no job yet
        if timeout is not None:
            timeout = seconds(timeout, "timeout")
        waits = partial(make_wait, self._poller, self._poll, timeout=timeout, poll=poll)
        return JobMonitor(waits, self._poller, jobs)

    async def download_export(
        self, job: JobLike, destination: str | PathLike[str], *, progress: Progress | None = None
    ) -> Path:
        """Write the file of a finished export to disk.

        It is written beside the destination, checked (length, gzip) and renamed: the destination is absent or
        whole, whatever happens. Broken connections and links that die are dealt with, at the same byte. Called
        again after a failure, or after the process was killed, it goes on where it stopped.

        What has been downloaded is kept for the next call, in ``.NAME.GID.part`` beside ``NAME``; it is removed if
        it is damaged, if the file has changed, or if Asana does not have it any more. Of two downloads of one
        export to one destination, the second is refused while the first is under way; downloads of different
        exports do not meet, and the one that ends last stays. Only you may read the file (mode 600), unless it
        replaces one: then it has the permissions of that.

        Args:
            job: The export's `Job`, its gid, or a continuation token. It must have succeeded. (The gid alone is
                not enough for an organization export.)
            destination: The file to write; one that is there is replaced when the new one is whole.
            progress: Called on the event loop with the bytes done and the bytes in all (``None`` while unknown);
                what it raises ends the download.

        Returns:
            The absolute path written. The file is what Asana serves: gzip, of JSON lines (one JSON document for
            an organization export).

        Raises:
            DownloadError: there is no file, it cannot be had, it is damaged, another thing comes in its place (the
                page of a proxy), or it cannot be written; the message says what to do.
            ConnectError: the file's server could never be reached.
            ClientClosedError: the client was closed meanwhile.
            AsanaJobsError: reading the job failed.
        """
        subject = read_subject(job)
        partial_file = PartialFile(destination, subject.gid)
        with self._exchange.lifetime.guard():
            return await download(partial(self._stream, subject), partial_file, progress)

    def iter_export(self, job: JobLike) -> ExportRecords:
        """Iterate the records of a finished export, straight from the stream; see `ExportRecords`.

        Args:
            job: As for `download_export`.
        """
        subject = read_subject(job)
        return ExportRecords(partial(self._stream, subject), subject.gid)

    def _stream(self, subject: JobReference, position: int = 0, etag: str | None = None) -> ExportStream:
        # The job is read anew even if it is at hand: reading it mints a link that lives.
        async def find_link() -> str | None:
            request = read_job(subject.gid, collection=subject.collection, timeout=self._exchange.timeout)
            job = await self._exchange.call(request, FOREGROUND, self._poller.read)
            return link_of(job)

        return ExportStream(
            self._exchange,
            self._downloads,
            find_link,
            destinations=Destinations.of(self._base_url),
            what=f"the export of job {subject.gid}",
            position=position,
            etag=etag,
        )

    async def request(
        self, method: str, path: str, *, params: Params | None = None, json: object = None
    ) -> Response:
        """Send any request below the base URL, under the same token, budget and repetitions.

        Args:
            method: ``GET``, ``POST``, ...
            path: Such as ``/users/me``.
            params: The query.
            json: The whole body, its ``data`` envelope included.

        Returns:
            The `Response` as it came: status, headers and body.

        Raises:
            APIError: Asana answered an error status.
            OutcomeUnknownError: the answer to a POST or PATCH was lost; it is not repeated.
        """
        return await self._exchange.raw(
            raw_request(method, path, params, json, self._exchange.timeout), FOREGROUND
        )

    def with_token(self, token: str | TokenProvider, *, gate: Gate | None = None) -> AsanaClient:
        """Return a client for another user: a budget and a token of its own, the same connections.

        With a token that this client has, or another one of the same family, it shares that one's budget.
        Closing it ends its own waits; the connections stay with the client it came from, whose closing ends both.

        Args:
            token: The other user's, as for `AsanaClient`.
            gate: The other user's budget, if it is kept elsewhere. A client that was given a *gate* asks for one here
                too, since a budget belongs to one token.

        Raises:
            TokenError: *token* cannot be one.
            ValueError: an argument is wrong, or this client has a *gate* and none was given here.
        """
        token = Secret(token) if isinstance(token, str) else token
        ours = self._exchange
        given = self._gate_given or gate is not None
        shared = self._budgets.find(token) if gate is None else None
        if shared is not None:
            gate = shared.gate
        elif self._gate_given and gate is None:
            raise ValueError(
                "this client was given a gate, which is the budget of its own token: give the other token one of its own, "
                "as in with_token(token, gate=RedisGate(url, token=token))"
            )
        sibling = AsanaClient(
            token,
            base_url=self._base_url,
            # What was expected of our token says nothing about another one.
            limits=self._limits if shared else attrs.evolve(self._limits, expected=None),
            retry=ours.retry,
            poll=self._poll,
            timeout=ours.timeout,
            transport=ours.transport,
            allow_plain_http=self._network.plain_http,
            clock=ours.clock,
            gate=gate,
            durations=self.durations,
            on_event=ours.telemetry.on_event,
        )
        sibling._gate_given = given
        sibling._share(shared or sibling._budget, self._budgets)
        sibling._exchange.lifetime = ours.lifetime.child()  # one of us
        sibling._exchange.headers = ours.headers
        sibling._exchange.seen = ours.seen  # a stray answer may be another's
        sibling._exchange.contact, sibling._exchange.file_contact = ours.contact, ours.file_contact
        sibling._downloads, sibling._owns_downloads = self._downloads, False
        return sibling

    async def close(self) -> None:
        """End every wait and call at once with `ClientClosedError`, and let go of connections."""
        self._exchange.lifetime.close()
        await self._exchange.lifetime.settled()
        if self._owns_downloads:
            await self._downloads.close()
        if self._owns_transport:
            await self._exchange.transport.close()
