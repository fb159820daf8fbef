"""The HTTP side of the API: from a request to a call, and from an answer to bytes, whole or broken as a fault wants it."""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from aiohttp import web
from attrs import define, field

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
        time: the simulator's clocks.
        writer: writes the answers.
        latency: gives the seconds one request takes; half pass before it takes effect, half after.
    """

    api: Api
    accounts: Accounts
    faults: FaultPlan
    log: RequestLog
    time: SimulatorTime
    writer: "ResponseWriter"
    latency: Callable[[], float] = field(default=lambda: 0.0)

    async def answer(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer one request to `path`, which is below the API's root."""
        raw = await request.read()
        token = bearer_token(request.headers.get("Authorization", ""))
        record = RequestRecord(
            number=len(self.log),
            time=self.time.loop_time(),
            method=request.method,
            path=path,
            # An option may be given several times: the values belong together.
            query={name: ",".join(request.query.getall(name)) for name in request.query},
            headers=masked(request.headers),
            token=token_of(token),
        )
        self.log.append(record)
        try:
            # A body that is not JSON is still logged, as the text it is.
            record.body = raw.decode(errors="replace") or None
            record.body = parse(raw, request.content_type)
            user = self.accounts.user_of(token)
            reads, writes = cost(record.method, path, record.body)
            record.cost = reads + writes
            use = self.api.limiter.enter(token or "", reads=reads, writes=writes)
        except ApiError as error:
            return await self._send(request, record, self.api.error(error), None)
        try:
            call = Call(record.method, path, user, record.query, record.body)
            fault = record.fault = self.faults.choose(record)
            answer = await self._take_effect(call, fault)
            record.all_started = answer.started
            return await self._send(request, record, answer, fault)
        finally:
            self.api.limiter.leave(use, reads=reads, writes=writes)

    async def _take_effect(self, call: Call, fault: Fault | None) -> ApiAnswer:
        """Let a request do what it does, with the delays before and after."""
        half = self.latency() / 2
        before, after = (fault.seconds, fault.after) if isinstance(fault, Latency) else (0.0, 0.0)
        await pause(half + before)
        answer = ApiAnswer(500, None)
        if not isinstance(fault, Status | Reset | HtmlPage) or fault.effect:
            try:
                answer = self.api.answer(call)
            except ApiError as error:
                answer = self.api.error(error)
        if isinstance(fault, HiddenJob):
            for gid in answer.started:
                self.api.domain.jobs[gid].hidden_until = self.time.elapsed() + fault.seconds
        await pause(after + half)
        return answer

    async def _send(
        self, request: web.BaseRequest, record: RequestRecord, answer: ApiAnswer, fault: Fault | None
    ) -> web.StreamResponse:
        record.answered = self.time.loop_time()
        # What was sent is on record before the client can have it.
        record.status = self.writer.status(answer, fault)
        return await self.writer.write(request, answer, fault)


@define
class ResponseWriter:
    """Sends answers.

    Attributes:
        random: source of error phrases.
        headers: further headers of every answer.
    """

    time: SimulatorTime
    random: Random
    headers: Mapping[str, str] = field(factory=dict[str, str])

    def error(self, error: ApiError) -> ApiAnswer:
        """Return the answer an error is."""
        return ApiAnswer(
            error.status, error_document(error.status, error.message, self.random), error.headers
        )

    def status(self, answer: ApiAnswer, fault: Fault | None) -> int | None:
        """Return the status the client will see; None when it will see none."""
        match fault:
            case Reset():
                return None
            case Status(status=status) | HtmlPage(status=status):
                return status
            case NotJson(status=int() as status):
                return status
            case _:
                return answer.status

    async def write(
        self, request: web.BaseRequest, answer: ApiAnswer, fault: Fault | None
    ) -> web.StreamResponse:
        """Send an answer as the fault wants it."""
        answer = self._rewritten(answer, fault)
        body = _encode(answer.document, pretty=wants_pretty(request.query))
        content_type = JSON_TYPE
        match fault:
            case Reset():
                return reset(request)
            case Truncated(share=share):
                return await self._pieces(request, answer, body, [body[: int(len(body) * share)]], 0.0)
            case SlowDrip(seconds=seconds, piece=piece):
                pieces = [body[start : start + piece] for start in range(0, len(body), piece)]
                return await self._pieces(request, answer, body, pieces, seconds)
            case HtmlPage(status=status):
                body = _ERROR_PAGE.format(f"{status} {MESSAGES.get(status, 'Error')}").encode()
                content_type = "text/html"
            case NotJson(text=text):
                body = text.encode()
            case WrongContentType():
                content_type = fault.content_type
            case _:
                pass
        headers = self._headers(answer, content_type)
        return web.Response(status=self.status(answer, fault) or answer.status, body=body, headers=headers)

    def _rewritten(self, answer: ApiAnswer, fault: Fault | None) -> ApiAnswer:
        """Return the answer after faults that change what it says."""
        match fault:
            case Status(status=status):
                after = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                return ApiAnswer(status, error_document(status, fault.message, self.random), after)
            case NewStatus(status=word):
                return _with_fields(answer, {"status": word})
            case UnknownFields(fields=fields):
                return _with_fields(answer, fields)
            case _:
                return answer

    def _headers(self, answer: ApiAnswer, content_type: str) -> dict[str, str]:
        return {
            "Content-Type": content_type,
            "Date": http_date(self.time.calendar()),
            "Cache-Control": "no-store",
            "X-Asana-Api-Version": "1.1",
            **self.headers,
            **answer.headers,
        }

    async def _pieces(
        self, request: web.BaseRequest, answer: ApiAnswer, body: bytes, pieces: list[bytes], pause: float
    ) -> web.StreamResponse:
        """Announce the whole body, then send these pieces of it."""
        response = web.StreamResponse(status=answer.status, headers=self._headers(answer, JSON_TYPE))
        response.content_length = len(body)
        await response.prepare(request)
        for piece in pieces:
            if pause > 0:
                await asyncio.sleep(pause)
            await response.write(piece)
        if sum(map(len, pieces)) < len(body) and request.transport is not None:
            # The pieces are sent, then the connection ends in the middle of the body.
            request.transport.close()
        return response


def _encode(document: Any, *, pretty: bool) -> bytes:
    text = json.dumps(document, indent=2) if pretty else json.dumps(document, separators=(",", ":"))
    return text.encode()


def _with_fields(answer: ApiAnswer, fields: Mapping[str, Any]) -> ApiAnswer:
    """Return the answer with fields of its `data` set; errors and lists stay what they are."""
    document = record_of(answer.document)
    data = record_of(document.get("data"))
    if not data:
        return answer
    return ApiAnswer(answer.status, {**document, "data": {**data, **fields}}, answer.headers)


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


def bearer_token(authorization: str) -> str | None:
    """Return the token in an ``Authorization`` header; None when there is none or of another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def token_of(token: str | None) -> str | None:
    """Return the label under which a token is on record."""
    return None if token is None else token_label(token)


def masked(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers by lower-case name, with the token's place taken by `***`."""
    visible = {name.lower(): value for name, value in headers.items()}
    if "authorization" in visible:
        visible["authorization"] = f"{visible['authorization'].partition(' ')[0]} ***"
    return visible
