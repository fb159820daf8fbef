"""One request from intent to answer: the budget, the token, the network, and repeating what may be repeated.

`ApiSession.once` is the way of one request; `ApiSession.call` repeats it where that is safe; `ApiSession.start` and
`ApiSession.start_once` are for what must not happen twice. An answer is believed only for what was asked: see `SeenGids`.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

from asana_jobs._client.clock import Clock
from asana_jobs._client.http.api_changes import ASANA_CHANGE, MOST_CHANGES, read_changes
from asana_jobs._client.http.decode import decode
from asana_jobs._client.http.first_contact import FirstContact
from asana_jobs._client.http.lifetime import CancelScope, Lifetime
from asana_jobs._client.http.protocol import (
    LONGEST_PAUSE,
    Request,
    Response,
    Safety,
    Verdict,
    error_about,
    is_of_another_kind,
    read_data,
    read_error,
    retry_after,
    start_job,
    verdict,
    without,
)
from asana_jobs._client.http.retrying import AsyncRetrying, pause_before, retrying
from asana_jobs._client.http.secret import Authorization, masked_text
from asana_jobs._client.http.tokens import TokenSource
from asana_jobs._client.http.transport import Transport
from asana_jobs._client.limits.gate import READ, UNANSWERED, WRITE, Gate, LastWord, Lease, Priority
from asana_jobs._client.limits.token_budget import FULL, RepetitionBucket
from asana_jobs._client.telemetry.listeners import Silence
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
    without_advice,
)
from asana_jobs.models import Job
from asana_jobs.operations import Operation
from asana_jobs.policies import RetryPolicy


if TYPE_CHECKING:
    from asana_jobs._client.telemetry.telemetry import Telemetry


#: Gids that are remembered, the oldest forgotten first: some two hours of a paid quota.
MOST_SEEN_GIDS: Final = 2**15
#: The methods that Asana counts as reads; any other one is a write.
_TRAFFIC: Final = {"GET": READ, "HEAD": READ}

T = TypeVar("T")
_log = logging.getLogger("asana_jobs")


class SeenGids:
    """The gids that one family of clients, which share their connections, has asked for or been answered."""

    def __init__(self) -> None:
        self.count: int = 0
        # How many gids were seen before it, the operation that started its job, if that was one of ours, and what the
        # operation was about: plain tuples, which the garbage collector does not go through. The first of a plain
        # dictionary would be looked for past all that have left it.
        self.sightings: OrderedDict[str, tuple[int, str | None, str | None]] = OrderedDict()

    def note(self, gid: str, operation: Operation | None = None) -> None:
        """Remember a gid, and the *operation* that started its job."""
        if gid in self.sightings:
            return
        kind, subject = (None, None) if operation is None else (operation.kind, operation.gid)
        self.sightings[gid] = (self.count, kind, subject)
        self.count += 1
        if len(self.sightings) > MOST_SEEN_GIDS:
            self.sightings.popitem(last=False)

    def before(self, gid: str, count: int, operation: Operation) -> bool:
        """Return whether *gid* was among the first *count*: then a POST of *operation* sent later did not start it."""
        number, kind, subject = self.sightings.get(gid, (count, None, None))
        if number >= count:
            return False
        # The same job comes back while it runs, whoever has started it, and for the same subject only.
        same = kind is None or (kind, subject) == (operation.kind, operation.gid)
        return not (operation.same_job_while_running and same)


@attrs.define
class _Departure:
    """The moment from which something of a request that may not be sent twice may have left.

    Attributes:
        at: When it was sent, the last time; ``None`` while nothing of it can have left.
        seen: How many gids were seen until then, see `SeenGids`.
    """

    at: datetime | None = None
    seen: int = 0


@attrs.define(kw_only=True)
class ApiSession:
    """The way of a client's requests to Asana.

    Attributes:
        transport: The network.
        gate: The budget of the token.
        tokens: The token.
        retry: When a request is repeated, and how often.
        clock: Time.
        lifetime: Whether the client is open, and what to end when it is closed.
        timeout: Seconds that one request may take.
        telemetry: Who is told of what happens, if anybody is.
        repetitions: How many calls of the token may be repeated.
        first_contact: Seconds of trouble in making a connection that calls outlive before the first answer.
        seen: The gids that were seen so far; siblings share them.
        contact: Whether anything was ever answered; siblings share it, and the next one.
        file_contact: The same of the servers of export files, which are not Asana's.
        headers: What requests have in their header besides the token.
        changes: The names of the changes of Asana's API that were told of.
    """

    transport: Transport
    gate: Gate
    tokens: TokenSource
    retry: RetryPolicy
    clock: Clock
    lifetime: Lifetime
    timeout: float
    telemetry: Telemetry | Silence = attrs.field(factory=Silence)
    repetitions: RepetitionBucket = attrs.field(factory=RepetitionBucket)
    first_contact: float = 4.0
    seen: SeenGids = attrs.field(factory=SeenGids)
    contact: FirstContact = attrs.field(factory=FirstContact)
    file_contact: FirstContact = attrs.field(factory=FirstContact)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    changes: set[str] = attrs.field(factory=set[str])

    async def call(
        self,
        request: Request,
        priority: Priority,
        read: Callable[[Request, Response], T],
        departure: _Departure | None = None,
    ) -> T:
        """Send *request*, repeat what may be repeated, and return what *read* makes of the answer."""
        # A loop of our own: tenacity's engine takes as long as a third of a request, even if nothing is repeated.
        departure = departure or _Departure()
        attempt, drawn = 1, False
        began = 0.0 if self.contact.made else self.clock.monotonic()
        while True:
            try:
                answer = read(request, await self.once(request, priority, departure=departure))
            except AsanaJobsError as error:
                if attempt >= self.retry.attempts or not self._may_repeat(error, request):
                    raise
                left = inf if self.contact.made else self._patience_left(error, began)
                if left <= 0:
                    raise
                # A start waits for as long as its policy says, and a 429 for the pause of the gate.
                if priority is not Priority.START and not _is_429(error):
                    drawn = self.repetitions.draw()
                    if not drawn:
                        self._note_end(request, error)
                        raise
                self._note_repetition(request, error)
                pause = min(left, pause_before(attempt, error, self.retry, self.clock.random))
            else:
                if drawn:
                    self.repetitions.worked()
                return answer
            attempt += 1
            departure.at = None
            await self.sleep(pause)

    def _may_repeat(self, error: AsanaJobsError, request: Request) -> bool:
        if self.lifetime.closed or verdict(error, request.safety) is not Verdict.REPEAT:
            return False
        return not (isinstance(error, APIError) and (error.retry_after or 0) > self.retry.max_retry_after)

    def _patience_left(self, error: AsanaJobsError, since: float) -> float:
        return since + self.contact.patience(error, self.first_contact) - self.clock.monotonic()

    def outlasting(
        self,
        again: Callable[[BaseException], bool],
        sleep: Callable[[float], Awaitable[None]] | None = None,
    ) -> AsyncRetrying:
        """Return an engine that calls for as long as *again* says so: a run outlives an outage, and limits its time."""

        def tell(error: BaseException) -> None:
            if isinstance(error, RequestError):
                self._note_repetition(error, error)

        return retrying(
            self.retry,
            attempts=sys.maxsize,
            again=again,
            tell=tell,
            sleep=sleep or self.sleep,
            random=self.clock.random,
        )

    def _note_repetition(self, request: Addressed, error: AsanaJobsError) -> None:
        extra = about_request(request, error=error)
        _log.info("%s %s will be repeated: %s", request.method, request.path, error, extra=extra)
        self.telemetry.repeated(request, error)

    def _note_end(self, request: Addressed, error: BaseException) -> None:
        extra = about_request(request, error=error)
        _log.info(
            "%s %s is not repeated, since too many repetitions of other calls have failed: %s",
            request.method,
            request.path,
            error,
            extra=extra,
        )

    async def sleep(self, delay: float) -> None:
        """Sleep *delay* seconds; `ClientClosedError` if the client is closed meanwhile."""
        with self.lifetime.guard():
            await self.clock.sleep(delay)

    async def once(
        self,
        request: Request,
        priority: Priority,
        *,
        sending: Callable[[], object] | None = None,
        departure: _Departure | None = None,
        refused: Authorization | None = None,
    ) -> Response:
        """Send *request* one time, or twice if a refused token could be renewed; return whatever is answered.

        Args:
            request: What to send. The token is put on it.
            priority: Its rank among those who wait for the budget.
            sending: Called when something of it may leave (see `Request.before_write`): what it raises is raised, and
                nothing was sent. From then on it is answered even if the client is closed meanwhile.
            departure: Where to note when it left, if it may not be sent twice.
            refused: The header that Asana has just refused.

        Raises:
            ClientClosedError: the client was closed meanwhile.
            TransportError: there is no answer; nothing was sent if it is a `ConnectError`.
            TokenError: there is no token.
        """
        departure = departure or _Departure()
        departure.at = None
        reads = request.safety is Safety.IDEMPOTENT
        if reads and request.gid is not None and request.gid not in self.seen.sightings:
            self.seen.note(request.gid)
        with self.lifetime.guard() as guard:
            lease = await self.gate.acquire(_TRAFFIC.get(request.method, WRITE), priority)
            send = self.transport.send
            if not reads:
                send = partial(self._send_once, leave=partial(self._leave, departure, guard, sending, lease))
            return await self.look(
                request,
                lease,
                send=send,
                priority=priority,
                sending=sending,
                departure=departure,
                refused=refused,
            )

    async def look(
        self,
        request: Request,
        lease: Lease,
        *,
        send: Callable[[Request], Awaitable[Response]] | None = None,
        priority: Priority = Priority.FOREGROUND,
        sending: Callable[[], object] | None = None,
        departure: _Departure | None = None,
        refused: Authorization | None = None,
    ) -> Response:
        """Send *request* one time, as `once` does; whoever closes the client cancels it, for want of a guard of its own.

        Args:
            request: What to send; a look at a job, but for what `once` does.
            lease: The right to send it, which is given back.
            send: What sends it, in the place of the transport.
            priority: As for `once`, if it is sent again with another token.
            sending: As for `once`, then.
            departure: As for `once`, then.
            refused: As for `once`.
        """
        if send is None and request.gid is not None and request.gid not in self.seen.sightings:
            self.seen.note(request.gid)
        try:
            authorization = self.tokens.header
            if authorization is None or authorization is refused:
                authorization = await self._renew(request, refused)
            if request.authorization is None:
                request.authorization = authorization
            elif request.authorization is not authorization:
                request = attrs.evolve(request, authorization=authorization)
            request.headers = self.headers
            response = await (send or self.transport.send)(request)
            self.contact.made = True
            # Noted while the lease is held: a probe that is refused must not count as answered.
            if response.status == 429 or self.repetitions.level < FULL or ASANA_CHANGE in response.headers:
                self._note_answer(request, response, lease, authorization)
        except UNANSWERED:
            lease.release(answered=False)
            raise
        finally:
            lease.release()
        if _log.isEnabledFor(logging.DEBUG):
            self._log_answer(request, response)
        if response.status == 401 and refused is None and self.tokens.renewable:
            return await self.once(
                request, priority, sending=sending, departure=departure, refused=authorization
            )
        # Most answers are seen to be without the token in less time than a call takes; `find` takes half of what `in` does.
        if response.status < 400 and response.body[:1] == b"{" and response.body.find(authorization.word) < 0:
            return response
        return without(authorization, response)

    @staticmethod
    def _log_answer(request: Request, response: Response) -> None:
        extra = about_request(request, status_code=response.status)
        _log.debug("%s %s was answered %s", request.method, request.path, response.status, extra=extra)

    async def _send_once(self, request: Request, leave: Callable[[], object]) -> Response:
        if getattr(self.transport, "calls_before_write", False):
            return await self.transport.send(attrs.evolve(request, before_write=leave))
        leave()  # somebody else's transport does not say when it writes
        return await self.transport.send(request)

    def _leave(
        self, departure: _Departure, guard: CancelScope, sending: Callable[[], object] | None, lease: Lease
    ) -> None:
        """Note that something of a request that may not be sent twice may leave from here on."""
        self.lifetime.check()  # closed in this very round of the loop: nothing goes out any more
        if isinstance(lease, LastWord):
            lease.before_write()
        if sending is not None:
            sending()
            guard.shield()
        departure.at, departure.seen = self.clock.now(), self.seen.count

    async def _renew(self, request: Request, refused: Authorization | None) -> Authorization:
        try:
            return await self.tokens.authorization(refused)
        except TransportError as error:
            raise error_about(
                ConnectError,
                request,
                f"{request.method} {request.path} was not sent, for want of a token: {error}",
                permanent=isinstance(error, ConnectError) and error.permanent,
            ) from error

    def _note_answer(
        self, request: Request, response: Response, lease: Lease, authorization: Authorization
    ) -> None:
        if ASANA_CHANGE in response.headers:
            self._note_changes(request, response, authorization)
        if response.status == 429:
            self._note_refusal(request, response, lease)
        elif response.status < 500:
            self.repetitions.answered()

    def _note_changes(self, request: Request, response: Response, authorization: Authorization) -> None:
        """Tell of each change of the API that affects this client, the first time that an answer names it."""
        for change in read_changes(response.headers):
            if not change.affected or change.name in self.changes or len(self.changes) >= MOST_CHANGES:
                continue
            self.changes.add(change.name)
            name, info = masked_text(change.name, authorization), masked_text(change.info, authorization)
            _log.warning(
                "Asana changes its API, and what this client does is affected by %s (%s): "
                "AsanaClient(enable=[%r]) tries the new behaviour, disable keeps the old one for as long as Asana does",
                name,
                info or "it does not say where that is described",
                name,
                extra=about_request(request),
            )
            self.telemetry.change_announced(request.gid, name, info)

    def _note_refusal(self, request: Request, response: Response, lease: Lease) -> None:
        asked = retry_after(response.headers, self.clock.now())
        asked = None if asked is None else min(asked, LONGEST_PAUSE)
        extra = about_request(request, status_code=429, retry_after=asked)
        _log.info("429 for %s %s, Retry-After %s", request.method, request.path, asked, extra=extra)
        lease.penalise(asked)
        if self.telemetry.listening:
            self.telemetry.rejected(request, asked, self.gate.snapshot().paused_for)

    async def raw(self, request: Request, priority: Priority) -> Response:
        """Send *request* and return the answer as it came; error statuses are raised."""

        def read(request: Request, response: Response) -> Response:
            if not 200 <= response.status < 300:
                raise read_error(request, response, self.clock.now())
            headers = {name.lower(): value for name, value in response.headers.items()}
            return attrs.evolve(response, headers=headers)

        return await self._call_or_doubt(request, priority, read, _Departure(), None)

    async def start(self, operation: Operation, opt_fields: str | None = None) -> Job:
        """Send the POST of *operation*, never twice if the first may have started its job."""
        request, departure = start_job(operation, self.timeout, opt_fields), _Departure()
        read = partial(self._read_start, operation, departure)
        return await self._call_or_doubt(request, Priority.START, read, departure, operation)

    async def _call_or_doubt(
        self,
        request: Request,
        priority: Priority,
        read: Callable[[Request, Response], T],
        departure: _Departure,
        operation: Operation | None,
    ) -> T:
        try:
            return await self.call(request, priority, read, departure)
        except RequestError as error:
            self._doubt(error, request, operation, departure.at)
            raise
        except ClientClosedError as error:
            # A borrowed session that is closed sends nothing; our own client may have sent it.
            if departure.at is None or not self.lifetime.closed:
                raise
            what = f"{request.method} {request.path}: the client was closed before the answer came"
            lost = error_about(TransportError, request, what)
            lost.__cause__ = error
            self._doubt(lost, request, operation, departure.at)
            raise lost from error

    async def start_once(
        self, operation: Operation, sending: Callable[[], object], opt_fields: str | None = None
    ) -> Job:
        """Send the POST of *operation* one time; *sending* is called when it goes out. See `judge` for errors."""
        request, departure = start_job(operation, self.timeout, opt_fields), _Departure()
        response = await self.once(request, Priority.START, sending=sending, departure=departure)
        return self._read_start(operation, departure, request, response)

    def judge(self, error: AsanaJobsError, operation: Operation) -> AsanaJobsError:
        """Return what *error* means for the job of *operation*: itself, or `OutcomeUnknownError`."""
        if not isinstance(error, RequestError):
            return error
        try:
            self._doubt(error, start_job(operation), operation)
        except OutcomeUnknownError as doubt:
            return doubt
        return error

    def _read_start(
        self, operation: Operation, departure: _Departure, request: Request, response: Response
    ) -> Job:
        try:
            job: Job = decode(Job, read_data(request, response, self.clock.now))
        except DecodeError as error:
            raise error_about(
                TransportError,
                request,
                f"{request.method} {request.path} was answered {response.status}, but the job's gid cannot be "
                f"read: {error}",
            ) from error
        if self.seen.before(job.gid, departure.seen, operation):
            raise self._distrust(request, f"job {job.gid}, which was there before it was sent")
        if is_of_another_kind(job.resource_subtype, operation):
            raise self._distrust(request, f"job {job.gid}, a {job.resource_subtype}")
        self.seen.note(job.gid, operation)
        return job

    def refuse_stray(self, request: Request, gid: str, kind: str = "job") -> TransportError:
        """Return the error that says that the answer to *request* is about another thing of its *kind*, *gid*."""
        self.seen.note(gid)
        return self._distrust(request, f"{kind} {gid}")

    def _distrust(self, request: Request, answer: str) -> TransportError:
        """Trust no connection any more, and return the error that says that *answer* belongs to another request."""
        distrust = getattr(self.transport, "distrust", None)
        if distrust is not None:
            distrust()
        return error_about(
            TransportError,
            request,
            f"{request.what} was answered with {answer}: the answer belongs to another request. Is there a proxy that "
            f"mixes answers up?",
        )

    def _doubt(
        self,
        error: RequestError,
        request: Request,
        operation: Operation | None,
        sent_at: datetime | None = None,
    ) -> None:
        """Raise `OutcomeUnknownError` if *request* may have had its effect although it ended in *error*."""
        if verdict(error, Safety.ONCE) is not Verdict.UNKNOWN or request.safety is Safety.IDEMPOTENT:
            return
        if isinstance(error, OutcomeUnknownError):
            return  # it says so itself
        what = f"{operation.kind} of {operation.gid}" if operation else f"{request.method} {request.path}"
        check = LOOK_IN_ASANA
        if name := getattr(operation, "name", None):
            check = f"look in Asana for {name!r}, made by this token's user at about this time"
        raise error_about(
            OutcomeUnknownError,
            request,
            f"{what} may or may not have been started: {without_advice(error)}. It was not repeated; {check}.",
            operation=operation,
            sent_at=sent_at or self.clock.now(),
            check=check,
        ) from error


def _is_429(error: AsanaJobsError) -> bool:
    return isinstance(error, APIError) and error.status == 429
