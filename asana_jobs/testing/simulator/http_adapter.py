"""The HTTP side of the API: from a request to a call, and from an answer to bytes, whole or broken as a fault wants it."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Any

from aiohttp import web
from attrs import define, evolve

from asana_jobs.testing.simulator.api import Api, Call, cost
from asana_jobs.testing.simulator.bodies import (
    MESSAGES,
    ApiAnswer,
    ApiError,
    error_document,
    parse,
    record_of,
)
from asana_jobs.testing.simulator.domain import Accounts
from asana_jobs.testing.simulator.faults import (
    Fault,
    FaultPlan,
    HiddenJob,
    HtmlPage,
    Latency,
    NewStatus,
    NotJson,
    Reset,
    SlowDrip,
    Status,
    Truncated,
    UnknownFields,
    WrongContentType,
    takes_effect,
)
from asana_jobs.testing.simulator.fields import wants_pretty
from asana_jobs.testing.simulator.requests import RequestLog, RequestRecord, token_label
from asana_jobs.testing.simulator.time import SimulatorTime, http_date


JSON_TYPE = "application/json; charset=UTF-8"
_ERROR_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>\n"
# SO_LINGER on with zero seconds: closing sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@define
class HttpAdapter:
    """Answers the API's HTTP requests.

    Attributes:
        api: the API's calls.
        accounts: whose tokens are good.
        faults: which request meets which fault.
        log: the requests so far.
        writer: writes the answers.
        latency: gives the seconds one request takes; half pass before it takes effect, half after.
    """

    api: Api
    accounts: Accounts
    faults: FaultPlan
    log: RequestLog
    writer: "ResponseWriter"
    latency: Callable[[], float]

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer one request to `path`, which is below the API's root."""
        raw = await request.read()
        # An option may be given several times: the values belong together.
        query = {name: ",".join(request.query.getall(name)) for name in request.query}
        record = note(self.log, self.writer.time, request, path=path, query=query)
        token = bearer_token(request)
        try:
            # A body that is not JSON is still logged, as the text it is.
            record.body = raw.decode(errors="replace") or None
            record.body = parse(raw, request.content_type)
            user = self.accounts.user_of(token)
            reads, writes = cost(record.method, path, record.body)
            record.cost = reads + writes
            use = self.api.limiter.enter(token or "", reads=reads, writes=writes)
        except ApiError as error:
            return await self.writer.write(request, record, self.api.error(error), None)
        try:
            call = Call(record.method, path, user, record.query, record.body)
            fault = record.fault = self.faults.choose(record)
            answer = await self._take_effect(call, fault)
            record.all_started = answer.started
            return await self.writer.write(request, record, answer, fault)
        finally:
            self.api.limiter.leave(use, reads=reads, writes=writes)

    async def _take_effect(self, call: Call, fault: Fault | None) -> ApiAnswer:
        """Let a request do what it does, with the delays before and after."""
        half = self.latency() / 2
        before, after = (fault.seconds, fault.after) if isinstance(fault, Latency) else (0.0, 0.0)
        await pause(half + before)
        answer = ApiAnswer(500, None)
        if takes_effect(fault):
            try:
                answer = self.api.answer(call)
            except ApiError as error:
                answer = self.api.error(error)
        if isinstance(fault, HiddenJob):
            for gid in answer.started:
                self.api.domain.jobs[gid].hidden_until = self.writer.time.elapsed() + fault.seconds
        await pause(after + half)
        return answer


@define
class ResponseWriter:
    """Sends answers.

    Attributes:
        random: source of error phrases.
        headers: further headers of every answer.
    """

    time: SimulatorTime
    random: Random
    headers: Mapping[str, str]

    def error(self, error: ApiError) -> ApiAnswer:
        """Return the answer an error is."""
        return ApiAnswer(
            error.status, error_document(error.status, error.message, self.random), error.headers
        )

    async def write(
        self, request: web.BaseRequest, record: RequestRecord | None, answer: ApiAnswer, fault: Fault | None
    ) -> web.StreamResponse:
        """Send an answer as the fault wants it; what was sent is on record before the client can have it."""
        answer = self._rewritten(answer, fault)
        if record is not None:
            record.answered = self.time.loop_time()
            record.status = None if isinstance(fault, Reset) else answer.status
        indent, separators = (2, None) if wants_pretty(request.query) else (None, (",", ":"))
        body = json.dumps(answer.document, indent=indent, separators=separators).encode()
        headers = {
            "Content-Type": JSON_TYPE,
            "Date": http_date(self.time.calendar()),
            "Cache-Control": "no-store",
            "X-Asana-Api-Version": "1.1",
            **self.headers,
            **answer.headers,
        }
        match fault:
            case Reset():
                return reset(request)
            case Truncated() | SlowDrip():
                response = web.StreamResponse(status=answer.status, headers=headers)
                response.content_length = len(body)
                return await send(request, response, [body], fault)
            case HtmlPage(status=status):
                body = _ERROR_PAGE.format(f"{status} {MESSAGES.get(status, 'Error')}").encode()
                headers["Content-Type"] = "text/html"
            case NotJson(text=text):
                body = text.encode()
            case WrongContentType():
                headers["Content-Type"] = fault.content_type
            case _:
                pass
        return web.Response(status=answer.status, body=body, headers=headers)

    def _rewritten(self, answer: ApiAnswer, fault: Fault | None) -> ApiAnswer:
        """Return the answer after faults that change what it says."""
        match fault:
            case Status(status=status):
                after = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                return ApiAnswer(status, error_document(status, fault.message, self.random), after)
            case HtmlPage(status=status) | NotJson(status=int() as status):
                return evolve(answer, status=status)
            case NewStatus(status=word):
                return _with_fields(answer, {"status": word})
            case UnknownFields(fields=fields):
                return _with_fields(answer, fields)
            case _:
                return answer


def _with_fields(answer: ApiAnswer, fields: Mapping[str, Any]) -> ApiAnswer:
    """Return the answer with fields of its `data` set; errors and lists stay what they are."""
    document = record_of(answer.document)
    data = record_of(document.get("data"))
    return evolve(answer, document={**document, "data": {**data, **fields}}) if data else answer


async def send(
    request: web.BaseRequest, response: web.StreamResponse, pieces: Iterable[bytes], fault: Fault | None
) -> web.StreamResponse:
    """Announce the whole body, and send as much of it and as slowly as the fault wants."""
    left = length = response.content_length or 0
    if isinstance(fault, Truncated):
        left = int(length * fault.share)
    short = left < length
    await response.prepare(request)
    for piece in pieces:
        step = fault.piece if isinstance(fault, SlowDrip) else len(piece)
        for start in range(0, min(left, len(piece)), step):
            if isinstance(fault, SlowDrip):
                await pause(fault.seconds)
            await response.write(piece[start : min(start + step, left)])
        left -= len(piece)
        if left <= 0:
            break
    if short and request.transport is not None:
        # The pieces are sent, then the connection ends in the middle of the body.
        request.transport.close()
    return response


def reset(request: web.BaseRequest) -> web.Response:
    """Reset the connection of a request; the response it gives is never sent."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return web.Response()


async def pause(seconds: float) -> None:
    """Wait, if there is something to wait for."""
    if seconds > 0:
        await asyncio.sleep(seconds)


def bearer_token(request: web.BaseRequest) -> str | None:
    """Return the token in the ``Authorization`` header; None when there is none or of another scheme."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def note(
    log: RequestLog, time: SimulatorTime, request: web.BaseRequest, path: str = "", **known: Any
) -> RequestRecord:
    """Put a request that just arrived on record, with `***` in the place of its token."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    if "authorization" in headers:
        headers["authorization"] = f"{headers['authorization'].partition(' ')[0]} ***"
    token = bearer_token(request)
    record = RequestRecord(
        number=len(log),
        time=time.loop_time(),
        method=request.method,
        headers=headers,
        token=None if token is None else token_label(token),
        path=path or request.path,
        **known,
    )
    log.append(record)
    return record
