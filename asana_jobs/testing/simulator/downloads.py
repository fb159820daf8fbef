"""The second origin: export files behind signed links, answering and failing as Amazon S3 does.

Source: S3's documented behaviour for pre-signed GET requests, and the sample links in the public OpenAPI document
(`X-Amz-Expires=300`). Asana documents only that the links are S3's, are short-lived, and that files are kept for 30 days.

A link is signed anew on every read of a job. Its signature covers path and query byte for byte: a client that re-encodes
a link breaks it.

Files are gzip members made when they are wanted, so size costs no memory. Lines are numbered and of fixed width and
members are stored without compression, so every member but the last has the same length and any range of bytes is found
by division.
"""

import hashlib
import hmac
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from urllib.parse import parse_qsl
from xml.sax.saxutils import escape

from aiohttp import web
from attrs import define, field, frozen

from asana_jobs.testing.simulator.faults import Fault, FaultPlan, HtmlPage, Latency, Reset, Status
from asana_jobs.testing.simulator.http_adapter import note, pause, reset, send
from asana_jobs.testing.simulator.jobs import SimulatedJob
from asana_jobs.testing.simulator.operations import ORGANIZATION_EXPORT
from asana_jobs.testing.simulator.requests import RequestLog
from asana_jobs.testing.simulator.time import SimulatorTime, http_date


_SIGNING_DATE = "%Y%m%dT%H%M%SZ"
_SIGNATURE = "&X-Amz-Signature="
_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_FILE_LIFETIME = timedelta(days=30).total_seconds()
_LINES_PER_MEMBER = 500
_NO_COMPRESSION = 0
_GZIP_WINDOW = 31
_NOTES = "Exported by the simulator of asana-jobs, one object a line, in no particular order."
_FOLDERS = {
    "export_graph": "domain_export",
    ORGANIZATION_EXPORT: "domain_export",
    "export_resource": "object_export",
}


@define
class S3Error(Exception):
    """Ends the handling of a request with an error of S3's: its code and message, and further elements and headers."""

    status: int
    code: str
    message: str
    details: Mapping[str, str] = field(factory=dict[str, str])
    headers: Mapping[str, str] = field(factory=dict[str, str])


@define
class Links:
    """Makes and checks links.

    Attributes:
        seconds: how long a link is good for.
        secret: the signing key.
        generation: links of earlier generations have expired.
    """

    time: SimulatorTime
    seconds: float
    secret: str
    generation: int = 1

    def link(self, origin: str, kind: str, subject: str, gid: str) -> str:
        """Return a new link to the file of an export."""
        now = self.time.calendar().astimezone(UTC)
        folder = _FOLDERS.get(kind, "domain_export")
        ending = "jsonl.gz" if kind == "export_resource" else "json.gz"
        path = f"/{subject}/{folder}/{gid}/download/{folder}_{subject}_{gid}.{ending}"
        query = "&".join(
            [
                "X-Amz-Algorithm=AWS4-HMAC-SHA256",
                f"X-Amz-Credential=ASIASIMULATOR%2F{now:%Y%m%d}%2Fus-east-1%2Fs3%2Faws4_request",
                f"X-Amz-Date={now:{_SIGNING_DATE}}",
                f"X-Amz-Expires={max(1, round(self.seconds))}",
                f"X-Amz-Security-Token=generation%2F{self.generation}",
                "X-Amz-SignedHeaders=host",
                "x-id=GetObject",
            ]
        )
        return f"{origin}{path}?{query}{_SIGNATURE}{self._sign(f'GET {path}?{query}')}"

    def _sign(self, text: str) -> str:
        return hmac.new(self.secret.encode(), text.encode(), hashlib.sha256).hexdigest()

    def check(self, method: str, raw_path: str) -> None:
        """Refuse a request for a link that is not good."""
        signed, _, signature = raw_path.partition(_SIGNATURE)
        if not signature:
            raise S3Error(403, "AccessDenied", "Access Denied")
        expected = self._sign(f"{method} {signed}")
        if not hmac.compare_digest(expected.encode(), signature.encode(errors="replace")):
            raise S3Error(
                403,
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. "
                "Check your key and signing method.",
            )
        query = dict(parse_qsl(signed.partition("?")[2]))
        made = datetime.strptime(query["X-Amz-Date"], _SIGNING_DATE).replace(tzinfo=UTC)
        expiry = made + timedelta(seconds=int(query["X-Amz-Expires"]))
        now = self.time.calendar()
        if query["X-Amz-Security-Token"] != f"generation/{self.generation}" or now >= expiry:
            details = {
                "X-Amz-Expires": query["X-Amz-Expires"],
                "Expires": f"{expiry:%Y-%m-%dT%H:%M:%SZ}",
                "ServerTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            }
            raise S3Error(403, "AccessDenied", "Request has expired", details)


@frozen(slots=False)
class ExportFile:
    """A gzipped export with a number of objects.

    Args:
        gid: the export's gid; files of different exports differ.
        lines: how many objects it holds.
        one_document: whether it is one JSON list, as organization exports are, instead of JSON Lines.
    """

    gid: str
    lines: int
    one_document: bool = field(default=False)

    def _line(self, number: int) -> bytes:
        # The type depends on the place within the member: places have a width, members are alike.
        resource_type = {0: "project", 1: "section"}.get(number % _LINES_PER_MEMBER, "task")
        first, end = ("[" if number == 0 else " ", "]" if number == self.lines - 1 else ",")
        before, after = (first, end) if self.one_document else ("", "")
        text = (
            f'{before}{{"gid":"13{number:014d}","resource_type":"{resource_type}",'
            f'"name":"{resource_type.capitalize()} {number:010d}","export":"{self.gid}","notes":"{_NOTES}"}}{after}\n'
        )
        return text.encode()

    def _member(self, index: int) -> bytes:
        start = index * _LINES_PER_MEMBER
        stop = min(start + _LINES_PER_MEMBER, self.lines)
        empty = b"[]\n" if self.one_document else b""
        content = b"".join(self._line(number) for number in range(start, stop)) or empty
        stream = zlib.compressobj(_NO_COMPRESSION, zlib.DEFLATED, _GZIP_WINDOW)
        return stream.compress(content) + stream.flush()

    @cached_property
    def _last_index(self) -> int:
        return max(0, (self.lines - 1) // _LINES_PER_MEMBER)

    @cached_property
    def _member_size(self) -> int:
        return len(self._member(0))

    @cached_property
    def size(self) -> int:
        """Its length in bytes."""
        return self._last_index * self._member_size + len(self._member(self._last_index))

    @property
    def etag(self) -> str:
        """Its ETag, quoted."""
        name = f"{self.gid}/{self.lines}/{self.one_document}"
        return f'"{hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()}"'

    def read(self, start: int, stop: int) -> Iterator[bytes]:
        """Return the bytes from `start` up to `stop`, in pieces."""
        position = start
        while position < stop:
            index = min(position // self._member_size, self._last_index)
            base = index * self._member_size
            piece = self._member(index)[position - base : stop - base]
            yield piece
            position += len(piece)


@define
class FileDownloads:
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
        record = note(self.log, self.time, request, query=dict(request.query))
        fault = record.fault = self.faults.choose(record, by_path=True)
        if isinstance(fault, Latency):
            await pause(fault.seconds)
        if isinstance(fault, Reset):
            return reset(request)
        pieces: Iterable[bytes] | None = None
        try:
            response, pieces = self._respond(request, fault)
        except S3Error as refusal:
            response = self._refuse(request, refusal)
        record.status, record.answered = response.status, self.time.loop_time()
        return response if pieces is None else await send(request, response, pieces, fault)

    def _respond(
        self, request: web.BaseRequest, fault: Fault | None
    ) -> tuple[web.StreamResponse, Iterable[bytes] | None]:
        """Return the response, and the bytes that belong to it if it is a file."""
        if isinstance(fault, Status):
            name = "SlowDown" if fault.status == 503 else "InternalError"
            raise S3Error(fault.status, name, fault.message or "Please reduce your request rate.")
        if isinstance(fault, HtmlPage):
            return web.Response(status=fault.status, text="<html></html>", content_type="text/html"), None
        # A bearer token beside the link's own signature: refused, and it would have leaked.
        if "Authorization" in request.headers:
            raise S3Error(
                400,
                "InvalidArgument",
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
                "parameter or the Authorization header should be specified",
            )
        self.links.check(request.method, request.raw_path)
        parts = request.path.split("/")
        job = self.find(parts[3]) if len(parts) == 6 else None
        if job is None or self.time.elapsed() > job.ended + _FILE_LIFETIME:
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
        return self._serve(request, job)

    def _serve(
        self, request: web.BaseRequest, job: SimulatedJob
    ) -> tuple[web.StreamResponse, Iterable[bytes] | None]:
        file = ExportFile(str(job.result["gid"]), job.lines, job.kind == ORGANIZATION_EXPORT)
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
            raise S3Error(412, "PreconditionFailed", text)
        if request.headers.get("If-None-Match") in {file.etag, "*"}:
            return web.Response(status=304, headers=headers), None
        same = request.headers.get("If-Range", file.etag) in {file.etag, modified}
        part = _part(request.headers.get("Range", "") if same else "", file.size)
        start, stop = part or (0, file.size)
        if part is not None:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{file.size}"
        response = web.StreamResponse(status=200 if part is None else 206, headers=headers)
        response.content_length = stop - start
        return response, file.read(start, stop)

    def _headers(self) -> Mapping[str, str]:
        return {
            "Date": http_date(self.time.calendar()),
            "Server": "AmazonS3",
            "x-amz-request-id": "SIMULATED",
        }

    def _refuse(self, request: web.BaseRequest, refusal: S3Error) -> web.Response:
        elements = {
            "Code": refusal.code,
            "Message": refusal.message,
            **refusal.details,
            "Resource": request.path,
            "RequestId": "SIMULATED",
        }
        inside = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in elements.items())
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inside}</Error>'
        headers = {**self._headers(), "Content-Type": "application/xml", **refusal.headers}
        return web.Response(status=refusal.status, body=body.encode(), headers=headers)


def _part(header: str, size: int) -> tuple[int, int] | None:
    """Return the start and the stop that a ``Range`` header asks for; None for all, where S3 would not heed it."""
    match = _RANGE.fullmatch(header.strip())
    first, last = match.groups() if match is not None else ("", "")
    if not first and not last:
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(int(last) + 1, size) if first and last else size
    if start >= size:
        text = "The requested range is not satisfiable"
        raise S3Error(416, "InvalidRange", text, headers={"Content-Range": f"bytes */{size}"})
    return (start, stop) if start < stop else None
