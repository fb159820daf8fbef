"""`AsanaSimulator`: a local Asana that fights back."""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import TYPE_CHECKING, Any, Never, Self

from asana_jobs.testing.simulator.api import API_ROOT
from asana_jobs.testing.simulator.domain import Accounts, Domain, checked_gid
from asana_jobs.testing.simulator.durations import DurationLike, as_duration, by_kind
from asana_jobs.testing.simulator.faults import Fault, FaultPlan, FaultRule, RetryAfterLike, Status
from asana_jobs.testing.simulator.jobs import ResultShown, SimulatedJob, peak_running
from asana_jobs.testing.simulator.limits import RequestLimiter, SimulatorLimits
from asana_jobs.testing.simulator.oauth import TOKEN_PATH
from asana_jobs.testing.simulator.operations import BY_KIND, KINDS, OPERATIONS, SLOT_TYPES, StartsJob
from asana_jobs.testing.simulator.origins import Origins
from asana_jobs.testing.simulator.requests import RequestLog, RequestRecord, busiest_minute
from asana_jobs.testing.simulator.templates import PROJECT_TEMPLATE, Asked, asked
from asana_jobs.testing.simulator.time import SimulatorTime


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
        durations: how long started jobs take: seconds or a `timedelta`, a list of states (one per look), a list of
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
        if type(speed) not in (int, float) or not speed > 0:
            raise ValueError(f"speed must be above 0, not {speed!r}: it says how much faster jobs run")
        self.time: SimulatorTime = SimulatorTime(calendar_start or datetime.now(UTC), skew=clock_skew)
        self.accounts: Accounts = Accounts(tokens, self.time)
        self.domain: Domain = Domain(
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
        self.limiter: RequestLimiter = RequestLimiter(limits or SimulatorLimits(), self.time)
        self.faults: FaultPlan = FaultPlan()
        self.link_seconds = link_seconds
        self.latency: tuple[float, float] = latency if isinstance(latency, tuple) else (latency, latency)
        self.headers: dict[str, str] = dict(headers or {})
        self._host = host
        self._port = port
        self.requests: RequestLog = RequestLog()
        self.downloads: RequestLog = RequestLog()
        self.token_requests: RequestLog = RequestLog()
        self._random = Random(f"{seed}/answers")  # noqa: S311 - no secrets
        self._origins: Origins | None = None

    if not TYPE_CHECKING:  # a type checker must not take it for what it says it is not

        @property
        def __enter__(self) -> Never:
            raise AttributeError(
                "a simulator is opened with `async with AsanaSimulator() as simulator`, inside of `async def`"
            )

    async def __aenter__(self) -> Self:
        self.time.start()
        self._origins = Origins(self, self._random, self._host, self._port)
        try:
            await self._origins.start()
        except BaseException:
            await self._origins.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._origins is not None:
            await self._origins.stop()

    def _running_origins(self) -> Origins:
        if self._origins is None:
            raise RuntimeError("The simulator has not been started: use `async with AsanaSimulator() as ...`")
        return self._origins

    @property
    def origin(self) -> str:
        """The URL it listens at, such as `http://127.0.0.1:40123`; `/` there is a status page."""
        return self._running_origins().api_server.origin

    @property
    def base_url(self) -> str:
        """The `base_url` of a client, such as `http://127.0.0.1:40123/api/1.0`."""
        return self.origin + API_ROOT

    @property
    def oauth_token_url(self) -> str:
        """The URL at which refresh tokens are exchanged for access tokens that last an hour."""
        return self.origin + TOKEN_PATH

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
        """The limits of one token."""
        return self.limiter.limits

    @property
    def rejected(self) -> int:
        """Requests refused with a 429 because of a limit (a 429 from `fail_next` is not counted)."""
        return self.limiter.rejected

    @property
    def peak_reads_in_flight(self) -> int:
        """Most GET requests of one token that were being answered at one time."""
        return self.limiter.peak_reads

    @property
    def peak_writes_in_flight(self) -> int:
        """Most writing requests of one token that were being answered at one time."""
        return self.limiter.peak_writes

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
        slot = next(
            (name for name in fields if name in SLOT_TYPES and isinstance(fields[name], Mapping)), None
        )
        operation = _described_operation(kind, slot)
        # A slot given as None is shown as null, and leaves the job without a result.
        filled = slot or (None if operation.slot in fields else operation.slot)
        result = self.domain.new_result(filled, fields[slot] if slot else {}) if filled else {}
        creator = None if token is None else self.accounts.owner(token)
        job = self.domain.new_job(operation, checked_gid(gid), creator, None, result)
        job.slot = filled
        job.extra = {name: value for name, value in fields.items() if name != slot}
        if states is not None:
            job.schedule = as_duration(states).draw(Random(f"{self.domain.seed}/{gid}"), self.domain.speed)  # noqa: S311 - no secrets
        if result_shown is not None:
            job.result_shown = result_shown
        if lines is not None:
            job.lines = lines
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
            **fields: its name, and: `dates`, gids of the date variables of a project template (see
                `add_project_template`, too); `tasks`, the number of tasks a roll-up of it visits.
        """
        return self.domain.add_object(resource_type, checked_gid(gid), fields)

    def add_project_template(
        self,
        gid: str,
        *,
        requested_dates: Asked = (),
        requested_roles: Asked = (),
        **fields: Any,
    ) -> dict[str, Any]:
        """Make a project template exist that asks for dates and roles.

        `add_project_template("1204", name="Launch", requested_dates={"Start Date": "1", "Launch": "5"})`

        With `is_strict` a project is only made of it if every date is given, and a strict simulator takes no dates
        and roles but these. Any other template that is read asks for a start, an end and a designer.

        Args:
            gid: its gid, a string of digits.
            requested_dates: a mapping of name to gid, or a list of objects as Asana shows them: `gid`, `name`,
                `description`.
            requested_roles: likewise: `gid`, `name`.
            **fields: its `name` and any further field, such as `team`, shown as it is.
        """
        known = {
            "requested_dates": asked(requested_dates),
            "requested_roles": asked(requested_roles, resource_type="template_role"),
        }
        return self.domain.add_object(PROJECT_TEMPLATE, checked_gid(gid), {**known, **fields})

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
        self._running_origins().links.generation += 1

    async def refuse_connections(self, seconds: float) -> None:
        """Drop every connection and refuse new ones for so many seconds."""
        await self._running_origins().api_server.refuse(seconds)

    def __repr__(self) -> str:
        where = (
            "not started" if self._origins is None or not self._origins.api_server.listening else self.origin
        )
        return f"<AsanaSimulator {where}: {len(self.jobs)} jobs, {len(self.requests)} requests>"


def _described_operation(kind: str | None, slot: str | None) -> StartsJob:
    if kind is not None:
        if kind not in BY_KIND:
            raise ValueError(f"Unknown kind of job {kind!r}; kinds are {', '.join(BY_KIND)}")
        return BY_KIND[kind]
    if slot is None:
        return BY_KIND["duplicate_project"]
    return next((known for known in OPERATIONS if known.slot == slot), BY_KIND["instantiate_task"])
