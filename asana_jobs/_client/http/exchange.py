"""One request from intent to answer: the budget, the token, the network, and repeating what may be repeated."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import attrs

from asana_jobs._client.clock import Clock
from asana_jobs._client.http.decode import decode_answer
from asana_jobs._client.http.lifetime import CancelScope, Lifetime
from asana_jobs._client.http.protocol import (
    LONGEST_PAUSE,
    Request,
    Response,
    Safety,
    SeenGids,
    Verdict,
    is_of_another_kind,
    read_data,
    read_error,
    retry_after,
    start_job,
    verdict,
    without,
)
from asana_jobs._client.http.retrying import from_first_failure, retrying
from asana_jobs._client.http.secret import Secret
from asana_jobs._client.http.tokens import TokenSource
from asana_jobs._client.http.transport import Transport
from asana_jobs._client.limits.gate import Gate, Lease, Priority, traffic_of
from asana_jobs._client.telemetry.log_fields import Addressed, about_request
from asana_jobs.errors import (
    LOOK_IN_ASANA,
    APIError,
    AsanaJobsError,
    ClientClosedError,
    ConnectError,
    DecodeError,
    OutcomeUnknownError,
    RequestError,
    TransportError,
)
from asana_jobs.models import Job
from asana_jobs.operations import Operation
from asana_jobs.policies import RetryPolicy


if TYPE_CHECKING:
    from asana_jobs._client.telemetry.telemetry import Telemetry


T = TypeVar("T")
_log = logging.getLogger("asana_jobs")


@attrs.define(kw_only=True)
class ApiSession:
    """What a client sends its requests through."""

    transport: Transport
    gate: Gate
    tokens: TokenSource
    retry: RetryPolicy
    clock: Clock
    lifetime: Lifetime
    timeout: float
    telemetry: Telemetry | None = None
    seen: SeenGids = attrs.field(factory=SeenGids)

    async def once(
        self,
        request: Request,
        priority: Priority,
        *,
        lease: Lease | None = None,
        sending: Callable[[], object] | None = None,
        sent: _Sent | None = None,
    ) -> Response:
        """Send *request* one time, or twice if a refused token could be renewed; return whatever is answered.

        Args:
            lease: The right to send it, if it was acquired before.
            sending: Called when something of it may leave (see `Request.before_write`): what it raises is raised, and
                nothing was sent. From then on it is answered even if the client is closed meanwhile.
            sent: Where to note when it went out.
        """
        if request.gid is not None and request.safety is Safety.IDEMPOTENT:
            self.seen.note(request.gid)
        refused: Secret | None = None
        while True:
            out = _Out()
            try:
                with (
                    self.lifetime.guard() as guard,
                    lease or await self.gate.acquire(traffic_of(request.method), priority) as held,
                ):
                    lease = None
                    authorization = self.tokens.in_force(refused) or await self._renew(request, refused)
                    if request.authorization is not authorization:
                        request = request.authorized(authorization)
                    if request.safety is Safety.IDEMPOTENT:
                        response = await self.transport.send(request)
                    else:
                        response = await self._send_once(
                            request, partial(self._leave, out, guard, sending, sent)
                        )
                    if response.status == 429:
                        # Noted while the lease is held: a probe that is refused must not count as answered.
                        self._note_refusal(request, response, held)
            except ClientClosedError as error:
                # A borrowed session that is closed sends nothing; our own client may have sent it.
                if out.may_be and sending is None and self.lifetime.closed:
                    raise _unanswered(request) from error
                raise
            if _log.isEnabledFor(logging.DEBUG):
                extra = about_request(request, status_code=response.status)
                _log.debug(
                    "%s %s was answered %s", request.method, request.path, response.status, extra=extra
                )
            if response.status != 401 or refused is not None or not self.tokens.renewable:
                return response if response.status < 400 else without(authorization, response)
            refused = authorization

    async def _send_once(self, request: Request, leave: Callable[[], object]) -> Response:
        if getattr(self.transport, "calls_before_write", False):
            return await self.transport.send(attrs.evolve(request, before_write=leave))
        leave()  # somebody else's transport does not say when it writes
        return await self.transport.send(request)

    def _leave(
        self, out: _Out, guard: CancelScope, sending: Callable[[], object] | None, sent: _Sent | None
    ) -> None:
        """Something of a request that may not be sent twice may leave from here on."""
        self.lifetime.check()  # closed in this very round of the loop: nothing goes out any more
        if sending is not None:
            sending()
            guard.shield()
        if sent is not None:
            sent.at, sent.seen = self.clock.now(), self.seen.count
        out.may_be = True

    async def _renew(self, request: Request, refused: Secret | None) -> Secret:
        try:
            return await self.tokens.authorization(refused)
        except TransportError as error:
            raise ConnectError(
                f"{request.method} {request.path} was not sent, for want of a token: {error}",
                method=request.method,
                path=request.path,
                gid=request.gid,
            ) from error

    def _note_refusal(self, request: Request, response: Response, lease: Lease) -> None:
        asked = retry_after(response.headers.get("retry-after"), self.clock.now())
        asked = None if asked is None else min(asked, LONGEST_PAUSE)
        extra = about_request(request, status_code=429, retry_after=asked)
        _log.info("429 for %s %s, Retry-After %s", request.method, request.path, asked, extra=extra)
        lease.penalise(asked)
        if self.telemetry is not None:
            self.telemetry.rejected(request, asked, self.gate.snapshot().paused_for)

    async def call(
        self,
        request: Request,
        priority: Priority,
        read: Callable[[Request, Response], T],
        sent: _Sent | None = None,
    ) -> T:
        """Send *request*, repeat what may be repeated, and return what *read* makes of the answer."""
        try:
            return read(request, await self.once(request, priority, sent=sent))
        except AsanaJobsError as error:
            if not self._repeats(error, request):
                raise
            first = error
        return await self._call_again(first, request, priority, read, sent)

    async def _call_again(
        self,
        first: AsanaJobsError,
        request: Request,
        priority: Priority,
        read: Callable[[Request, Response], T],
        sent: _Sent | None,
    ) -> T:
        # Only now: the first try, which mostly is the last, does without the engine.
        async def once() -> T:
            return read(request, await self.once(request, priority, sent=sent))

        def again(error: BaseException) -> bool:
            return isinstance(error, AsanaJobsError) and self._repeats(error, request)

        def tell(error: BaseException) -> None:
            self.note_repetition(request, error)

        engine = retrying(self.retry, again=again, tell=tell, sleep=self.sleep, random=self.clock.random)
        return await from_first_failure(engine, first, once)

    def _repeats(self, error: AsanaJobsError, request: Request) -> bool:
        if self.lifetime.closed or verdict(error, request.safety) is not Verdict.REPEAT:
            return False
        return not (isinstance(error, APIError) and (error.retry_after or 0) > self.retry.max_retry_after)

    def note_repetition(self, request: Addressed, error: BaseException) -> None:
        """*request* failed with *error*, and is sent again."""
        extra = about_request(request, error=error)
        _log.info("%s %s will be repeated: %s", request.method, request.path, error, extra=extra)
        if self.telemetry is not None and isinstance(error, AsanaJobsError):
            self.telemetry.repeated(request, error)

    async def sleep(self, delay: float) -> None:
        """Sleep; `ClientClosedError` if the client is closed meanwhile."""
        with self.lifetime.guard():
            await self.clock.sleep(delay)

    async def raw(self, request: Request, priority: Priority) -> Response:
        """Send *request* and return the answer as it came; error statuses are raised."""

        def read(request: Request, response: Response) -> Response:
            if not 200 <= response.status < 300:
                raise read_error(request, response, self.clock.now())
            headers = {name.lower(): value for name, value in response.headers.items()}
            return attrs.evolve(response, headers=headers)

        sent = _Sent()
        try:
            return await self.call(request, priority, read, sent)
        except RequestError as error:
            self._doubt(error, request, None, sent.at)
            raise

    async def start(self, operation: Operation) -> Job:
        """Send the POST of *operation*, never twice if the first may have started its job."""
        request, sent = start_job(operation, self.timeout), _Sent()
        try:
            return await self.call(request, Priority.START, partial(self._read_start, operation, sent), sent)
        except RequestError as error:
            self._doubt(error, request, operation, sent.at)
            raise

    async def start_once(self, operation: Operation, sending: Callable[[], object]) -> Job:
        """Send the POST of *operation* one time; *sending* is called when it goes out. See `judge` for errors."""
        request, sent = start_job(operation, self.timeout), _Sent()
        response = await self.once(request, Priority.START, sending=sending, sent=sent)
        return self._read_start(operation, sent, request, response)

    def judge(self, error: AsanaJobsError, operation: Operation) -> AsanaJobsError:
        """Return what *error* means for the job of *operation*: itself, or `OutcomeUnknownError`."""
        if not isinstance(error, RequestError):
            return error
        try:
            self._doubt(error, start_job(operation), operation)
        except OutcomeUnknownError as doubt:
            return doubt
        return error

    def _read_start(self, operation: Operation, sent: _Sent, request: Request, response: Response) -> Job:
        try:
            job = decode_answer(read_data(request, response, self.clock.now))
        except DecodeError as error:
            raise TransportError(
                f"{request.method} {request.path} was answered {response.status}, but the job's gid cannot be "
                f"read: {error}",
                method=request.method,
                path=request.path,
                gid=request.gid,
            ) from error
        stray = None
        if self.seen.before(job.gid, sent.seen, operation):
            stray = f"job {job.gid}, which was there before it was sent"
        elif is_of_another_kind(job.resource_subtype, operation):
            stray = f"job {job.gid}, a {job.resource_subtype}"
        if stray is not None:
            raise self.mixed_up(request, stray)
        self.seen.note(job.gid, operation)
        return job

    def read_job(self, request: Request, response: Response, read: Callable[[Request, Response], Job]) -> Job:
        """Return what *read* makes of the answer to a look, if it is about the job that was asked for."""
        job = read(request, response)
        if job.gid != request.gid:
            self.seen.note(job.gid)
            raise self.mixed_up(request, f"job {job.gid}")
        return job

    def mixed_up(self, request: Request, answer: str) -> TransportError:
        """Trust no connection any more, and return the error that says that *answer* belongs to another request."""
        distrust = getattr(self.transport, "distrust", None)
        if distrust is not None:
            distrust()
        return TransportError(
            f"{request.what} was answered with {answer}: the answer belongs to another request. Is there a proxy that "
            f"mixes answers up?",
            method=request.method,
            path=request.path,
            gid=request.gid,
        )

    def _doubt(
        self,
        error: RequestError,
        request: Request,
        operation: Operation | None,
        sent_at: datetime | None = None,
    ) -> None:
        """Raise `OutcomeUnknownError` if *request* may have had its effect although it ended in *error*."""
        lost = verdict(error, Safety.ONCE) is Verdict.UNKNOWN
        if not lost or request.safety is Safety.IDEMPOTENT:
            return
        what = operation.kind if operation else f"{request.method} {request.path}"
        subject = f" of {operation.gid}" if operation else ""
        name = getattr(operation, "name", None)
        check = (
            f"look in Asana for {name!r}, made by this token's user at about this time"
            if name
            else LOOK_IN_ASANA
        )
        raise OutcomeUnknownError(
            f"{what}{subject} may or may not have been started: {error} It was not repeated; {check}.",
            method=request.method,
            path=request.path,
            gid=request.gid,
            operation=operation,
            sent_at=sent_at or self.clock.now(),
            check=check,
        ) from error


def _unanswered(request: Request) -> TransportError:
    return TransportError(
        f"{request.method} {request.path}: the client was closed before the answer came",
        method=request.method,
        path=request.path,
        gid=request.gid,
    )


@attrs.define
class _Out:
    """Whether something of a request may have left."""

    may_be: bool = False


@attrs.define
class _Sent:
    """When a request went out, the last time it did.

    ``seen``: how many gids were seen until then, see `SeenGids`.
    """

    at: datetime | None = None
    seen: int = 0
