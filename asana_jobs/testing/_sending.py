"""From an answer to bytes on the socket, whole or broken as a fault wants it."""

import asyncio
import json
import socket
import struct
from collections.abc import Mapping
from random import Random
from typing import Any

from aiohttp import web
from attrs import define, field

from asana_jobs.testing._answers import MESSAGES, Answer, ApiError, error_document, record_of
from asana_jobs.testing._faults import (
    Fault,
    HtmlPage,
    NewStatus,
    NotJson,
    Reset,
    SlowDrip,
    Status,
    Truncated,
    UnknownFields,
    WrongContentType,
)
from asana_jobs.testing._fields import wants_pretty
from asana_jobs.testing._time import SimulatorTime, http_date


JSON_TYPE = "application/json; charset=UTF-8"
_PAGE = "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center></body></html>\n"
# SO_LINGER on with zero seconds: closing sends RST instead of FIN.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@define
class Sender:
    """Sends answers.

    Attributes:
        random: source of error phrases.
        headers: further headers of every answer.
    """

    time: SimulatorTime
    random: Random
    headers: Mapping[str, str] = field(factory=dict[str, str])

    def error(self, error: ApiError) -> Answer:
        """The answer an error is."""
        return Answer(error.status, error_document(error.status, error.message, self.random), error.headers)

    def status(self, answer: Answer, fault: Fault | None) -> int | None:
        """The status the client will see; None when it will see none."""
        match fault:
            case Reset():
                return None
            case Status(status=status) | HtmlPage(status=status):
                return status
            case NotJson(status=int() as status):
                return status
            case _:
                return answer.status

    async def send(self, request: web.BaseRequest, answer: Answer, fault: Fault | None) -> web.StreamResponse:
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
                body = _PAGE.format(f"{status} {MESSAGES.get(status, 'Error')}").encode()
                content_type = "text/html"
            case NotJson(text=text):
                body = text.encode()
            case WrongContentType():
                content_type = fault.content_type
            case _:
                pass
        headers = self._headers(answer, content_type)
        return web.Response(status=self.status(answer, fault) or answer.status, body=body, headers=headers)

    def _rewritten(self, answer: Answer, fault: Fault | None) -> Answer:
        """The answer after faults that change what it says."""
        match fault:
            case Status(status=status):
                after = {} if fault.retry_after is None else {"Retry-After": fault.retry_after}
                return Answer(status, error_document(status, fault.message, self.random), after)
            case NewStatus(status=word):
                return _with_fields(answer, {"status": word})
            case UnknownFields(fields=fields):
                return _with_fields(answer, fields)
            case _:
                return answer

    def _headers(self, answer: Answer, content_type: str) -> dict[str, str]:
        return {
            "Content-Type": content_type,
            "Date": http_date(self.time.calendar()),
            "Cache-Control": "no-store",
            "X-Asana-Api-Version": "1.1",
            **self.headers,
            **answer.headers,
        }

    async def _pieces(
        self, request: web.BaseRequest, answer: Answer, body: bytes, pieces: list[bytes], pause: float
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


def _with_fields(answer: Answer, fields: Mapping[str, Any]) -> Answer:
    """The answer with fields of its `data` set; errors and lists stay what they are."""
    document = record_of(answer.document)
    data = record_of(document.get("data"))
    if not data:
        return answer
    return Answer(answer.status, {**document, "data": {**data, **fields}}, answer.headers)


def reset(request: web.BaseRequest) -> web.Response:
    """Reset the connection of a request; the response it gives is never sent."""
    transport = request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        transport.abort()
    return web.Response()
