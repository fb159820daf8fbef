"""The second origin: export files behind signed links, answering and failing as Amazon S3 does.

Source: S3's documented behaviour for pre-signed GET requests; Asana documents only that the links are
S3's, are short-lived, and that files are kept for 30 days.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from xml.sax.saxutils import escape

from aiohttp import web
from attrs import define, frozen

from asana_jobs.testing._export_file import ExportFile
from asana_jobs.testing._fault_plan import FaultPlan
from asana_jobs.testing._faults import Fault, HtmlPage, Latency, Reset, SlowDrip, Status, Truncated
from asana_jobs.testing._jobs import SimulatedJob
from asana_jobs.testing._links import Links, Refusal
from asana_jobs.testing._operations import ORGANIZATION_EXPORT
from asana_jobs.testing._requests import RequestLog, RequestRecord
from asana_jobs.testing._sending import reset
from asana_jobs.testing._time import SimulatorTime, http_date
from asana_jobs.testing._wire import bearer_token, masked, token_of


_KEPT = timedelta(days=30).total_seconds()
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_TWO_MECHANISMS = Refusal(
    400,
    "InvalidArgument",
    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
    "parameter or the Authorization header should be specified",
)
_NO_FILE = Refusal(404, "NoSuchKey", "The specified key does not exist.")


@frozen
class Part:
    """The bytes to send: from `start` up to `stop`, and whether that is a part of the file only."""

    start: int
    stop: int
    partial: bool


@define
class Downloads:
    """Answers requests for export files.

    Attributes:
        find: gives the export with this gid, None when there is none.
    """

    links: Links
    time: SimulatorTime
    log: RequestLog
    faults: FaultPlan
    find: Callable[[str], SimulatedJob | None]

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        record = RequestRecord(
            number=len(self.log),
            time=self.time.loop_time(),
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=masked(request.headers),
            token=token_of(bearer_token(request.headers.get("Authorization", ""))),
        )
        self.log.append(record)
        fault = record.fault = self.faults.choose(record, by_path=True)
        if isinstance(fault, Latency):
            await asyncio.sleep(fault.seconds)
        if isinstance(fault, Reset):
            return reset(request)
        response, pieces = self._respond(request, fault)
        record.status, record.answered = response.status, self.time.loop_time()
        if pieces is None:
            return response
        return await self._stream(request, response, *pieces, fault)

    def _respond(
        self, request: web.BaseRequest, fault: Fault | None
    ) -> tuple[web.StreamResponse, tuple[ExportFile, Part] | None]:
        """The response, and the bytes that belong to it if it is a file."""
        if isinstance(fault, Status):
            name = "SlowDown" if fault.status == 503 else "InternalError"
            message = fault.message or "Please reduce your request rate."
            return self._refuse(request, Refusal(fault.status, name, message)), None
        if isinstance(fault, HtmlPage):
            return web.Response(status=fault.status, text="<html></html>", content_type="text/html"), None
        refusal = self._refusal(request)
        if refusal is not None:
            return self._refuse(request, refusal), None
        job = self._job(request.path)
        if job is None:
            return self._refuse(request, _NO_FILE), None
        file = ExportFile(str(job.result["gid"]), job.lines, job.kind == ORGANIZATION_EXPORT)
        return self._serve(request, job, file)

    def _refusal(self, request: web.BaseRequest) -> Refusal | None:
        # A bearer token beside the link's own signature: refused, and it would have leaked.
        if "Authorization" in request.headers:
            return _TWO_MECHANISMS
        return self.links.check(request.method, request.raw_path)

    def _job(self, path: str) -> SimulatedJob | None:
        parts = path.split("/")
        job = self.find(parts[3]) if len(parts) == 6 else None
        gone = job is None or self.time.elapsed() > job.ended + _KEPT
        return None if gone else job

    def _serve(
        self, request: web.BaseRequest, job: SimulatedJob, file: ExportFile
    ) -> tuple[web.StreamResponse, tuple[ExportFile, Part] | None]:
        modified = http_date(self.time.calendar(min(job.ended, self.time.elapsed())))
        headers = {
            **self._headers(),
            "ETag": file.etag,
            "Last-Modified": modified,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/x-gzip",
        }
        if request.headers.get("If-Match", file.etag) not in {file.etag, "*"}:
            text = "At least one of the pre-conditions you specified did not hold"
            return self._refuse(request, Refusal(412, "PreconditionFailed", text)), None
        if request.headers.get("If-None-Match") in {file.etag, "*"}:
            return web.Response(status=304, headers=headers), None
        same = request.headers.get("If-Range", file.etag) in {file.etag, modified}
        part = _part(request.headers.get("Range", "") if same else "", file.size)
        if part is None:
            text = "The requested range is not satisfiable"
            refused = self._refuse(request, Refusal(416, "InvalidRange", text))
            refused.headers["Content-Range"] = f"bytes */{file.size}"
            return refused, None
        if part.partial:
            headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{file.size}"
        response = web.StreamResponse(status=206 if part.partial else 200, headers=headers)
        response.content_length = part.stop - part.start
        return response, (file, part)

    def _headers(self) -> Mapping[str, str]:
        return {
            "Date": http_date(self.time.calendar()),
            "Server": "AmazonS3",
            "x-amz-request-id": "SIMULATED",
        }

    def _refuse(self, request: web.BaseRequest, refusal: Refusal) -> web.Response:
        elements = (
            ("Code", refusal.code),
            ("Message", refusal.message),
            *refusal.details,
            ("Resource", request.path),
            ("RequestId", "SIMULATED"),
        )
        inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements)
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inside}</Error>'
        headers = {**self._headers(), "Content-Type": "application/xml"}
        return web.Response(status=refusal.status, body=body.encode(), headers=headers)

    @staticmethod
    async def _stream(
        request: web.BaseRequest,
        response: web.StreamResponse,
        file: ExportFile,
        part: Part,
        fault: Fault | None,
    ) -> web.StreamResponse:
        stop = part.stop
        if isinstance(fault, Truncated):
            stop = part.start + int((part.stop - part.start) * fault.share)
        await response.prepare(request)
        for piece in file.read(part.start, stop):
            if isinstance(fault, SlowDrip):
                for begin in range(0, len(piece), fault.piece):
                    await asyncio.sleep(fault.seconds)
                    await response.write(piece[begin : begin + fault.piece])
            else:
                await response.write(piece)
        if stop < part.stop and request.transport is not None:
            request.transport.close()
        return response


def _part(header: str, size: int) -> Part | None:
    """The part a ``Range`` header asks for; all of it when there is none that S3 would heed."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or match.groups() == ("", ""):
        return Part(0, size, partial=False)
    first, last = match.groups()
    if not first:
        return Part(max(0, size - int(last)), size, partial=True) if int(last) else None
    stop = size if not last else min(int(last) + 1, size)
    if int(first) >= size:
        return None
    if int(first) >= stop:
        return Part(0, size, partial=False)
    return Part(int(first), stop, partial=True)
