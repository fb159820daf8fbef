"""`AsanaClient`: what people hold. It only puts the rooms together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, cast

from asana_jobs._arguments import make_wait
from asana_jobs._assembly import assemble, user_agent_of
from asana_jobs._backoff import WaitStrategy
from asana_jobs._bulk_calls import BulkCalls
from asana_jobs._calls import JobStartingCalls
from asana_jobs._check import Check, check
from asana_jobs._clock import Clock
from asana_jobs._durations import Durations
from asana_jobs._export_calls import ExportCalls
from asana_jobs._gate import FOREGROUND, Gate, GateSnapshot
from asana_jobs._lifetime import Instead
from asana_jobs._listeners import starting
from asana_jobs._origin import find_base_url
from asana_jobs._parts import check_parts
from asana_jobs._poller import Poller
from asana_jobs._sansio import Fields, Params, Response, check_fields, raw_request, read_job
from asana_jobs._secret import Secret
from asana_jobs._slots import Slots, places_of
from asana_jobs._subjects import JOBS, read_subject
from asana_jobs._tokens import TokenProvider
from asana_jobs._transport import AiohttpDownloads, Transport
from asana_jobs._waiter import JobWaiter, coroutine_function
from asana_jobs.models import Job, R
from asana_jobs.operations import Operation, check_operation
from asana_jobs.policies import Duration, PollPolicy, RateLimits, RetryPolicy


if TYPE_CHECKING:
    from types import TracebackType

    import aiohttp

    from asana_jobs._telemetry import OnEvent


class AsanaClient(JobStartingCalls, BulkCalls, ExportCalls):
    """Starts Asana jobs and watches them, inside the rate limits of one token.

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
        retry: How one request is repeated, see `RetryPolicy`. ``poll``: when a wait looks, see `PollPolicy`.
        timeout: Seconds (or a `timedelta`) that one request may take.
        session: An aiohttp session to use; it is not closed. What it says of certificates, proxies and headers
            holds: one made with ``ssl=False`` sends the token to whoever answers. Starts share its connections, where
            ours never use one a second time: one that the other side has closed meanwhile leaves a start unknown.
        transport: What carries requests instead of aiohttp; it is not closed either.
        allow_middlewares: Take a *session* that has middlewares or its own way to send, although it may send one
            request several times. A POST that starts a job goes past middlewares all the same.
        clock: Time, sleep and randomness; see `asana_jobs.testing.FakeClock`.
        user_agent: Put before ours in the User-Agent header.
        gate: A budget kept elsewhere, such as one shared by several machines.
        durations: How long jobs took, as another client learned it.
        on_event: A plain function that is called with each event, see `asana_jobs.events`, as it happens: it must
            not block. What it raises is logged once, and breaks nothing.

    Raises:
        TokenError: there is no token, or it cannot be one.
        ValueError: an argument is wrong; nothing was sent.

    One client serves one event loop, and any number of tasks on it.
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
    ) -> None:
        token = (
            Secret(token) if isinstance(token, str) else token
        )  # tracebacks show the locals of constructors
        check_parts(
            limits=limits,
            retry=retry,
            poll=poll,
            session=session,
            transport=transport,
            clock=clock,
            gate=gate,
            durations=durations,
        )
        self._base_url = find_base_url(base_url)
        self._limits = limits or RateLimits()
        self._poll = poll or PollPolicy()
        self._owns_transport = transport is None
        self._gate_given = gate is not None
        self._exchange = assemble(
            token,
            base_url=self._base_url,
            limits=self._limits,
            retry=retry,
            timeout=timeout,
            session=session,
            allow_middlewares=allow_middlewares,
            transport=transport,
            clock=clock,
            user_agent=user_agent,
            gate=gate,
            on_event=on_event,
        )
        self._poller = Poller(self._exchange, durations or Durations())
        self._downloads = AiohttpDownloads(user_agent=user_agent_of(user_agent))
        self._owns_downloads = True
        cap = max(1, int(self._limits.jobs_running * self._limits.share))
        self._slots = Slots(cap, places_of(gate))

    def __repr__(self) -> str:
        if not hasattr(self, "_exchange"):
            return "<AsanaClient unfinished>"  # a traceback with locals, of a constructor that raised
        state = "closed" if self._exchange.lifetime.closed else "open"
        return f"<AsanaClient {self._base_url} {state}>"

    @property
    def base_url(self) -> str:
        """Where requests go."""
        return self._base_url

    @property
    def budget(self) -> GateSnapshot:
        """The budget of this client's token at this moment."""
        return self._exchange.gate.snapshot()

    @property
    def durations(self) -> Durations:
        """What was learned of how long jobs take: ``to_dict()`` exports it, ``merge()`` adds to it."""
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

    async def close(self) -> None:
        """End every wait and call at once with `ClientClosedError`, and let go of connections."""
        self._exchange.lifetime.end()
        await self._exchange.lifetime.settled()
        if self._owns_downloads:
            await self._downloads.close()
        if self._owns_transport:
            await self._exchange.transport.close()

    def with_token(self, token: str | TokenProvider, *, gate: Gate | None = None) -> AsanaClient:
        """Return a client for another user: a budget and a token of its own, the same connections.

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
        if self._gate_given and gate is None:
            raise ValueError(
                "this client was given a gate, which is the budget of its own token: give the other token one of its own, "
                "as in with_token(token, gate=RedisGate(url, token=token))"
            )
        sibling = AsanaClient(
            token,
            base_url=self._base_url,
            limits=self._limits,
            retry=ours.retry,
            poll=self._poll,
            timeout=ours.timeout,
            transport=ours.transport,
            clock=ours.clock,
            gate=gate,
            durations=self.durations,
            on_event=None if ours.telemetry is None else ours.telemetry.on_event,
        )
        sibling._exchange.lifetime = ours.lifetime.child()  # one of us
        sibling._exchange.seen = ours.seen  # a stray answer may be another's
        sibling._downloads, sibling._owns_downloads = self._downloads, False
        return sibling

    async def start(self, operation: Operation[R]) -> Job[R]:
        """Start the job of *operation* and return it as the POST answered it; see `JobStartingCalls`."""
        check_operation(operation, many="run_all takes them all")
        asked_at = self._exchange.clock.monotonic()
        with starting(self._exchange.telemetry, operation):
            job = await self._exchange.start(operation)
            self._poller.born(job, operation, asked_at)
        return cast("Job[R]", job)

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
            TransportError: no usable answer. DecodeError: JSON that is not a job.
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
            authorization=exchange.tokens.in_force(None),
        )
        return cast("Job[R]", await exchange.call(request, FOREGROUND, self._poller.read))

    async def request(
        self, method: str, path: str, *, params: Params | None = None, json: object = None
    ) -> Response:
        """Send any request below the base URL, under the same token, budget and repetitions.

        Args:
            method: ``GET``, ``POST``, ... ; ``path``: such as ``/users/me``.
            params: The query. ``json``: the whole body, its ``data`` envelope included.

        Raises:
            APIError: Asana answered an error status.
            OutcomeUnknownError: the answer to a POST or PATCH was lost; it is not repeated.
        """
        return await self._exchange.raw(
            raw_request(method, path, params, json, self._exchange.timeout), FOREGROUND
        )

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

        Raises:
            AsanaJobsError: watching is impossible, as for ``wait_for_job``.
        """
        wait = make_wait(self._poller, self._poll, job, poll=poll, opt_fields=opt_fields, observed=False)
        return cast("Check[R]", await check(wait))
