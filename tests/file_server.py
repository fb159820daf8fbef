"""The second origin without a socket, for what the simulator's never does: changing files, no ranges, redirects."""

import gzip
import re
from collections.abc import Callable, Mapping

import attrs

from asana_jobs import AsanaClient
from asana_jobs._client.http.transport import AiohttpDownloads
from asana_jobs.errors import TransportError
from asana_jobs.testing._scripted_transport import ScriptedTransport


LINK = "https://files.example/a.json.gz?X-Amz-Security-Token=a%2Fb&X-Amz-Signature=5"

Headers = Mapping[str, str]
NONE: Headers = {}
#: What a request is answered with instead of the file: a status, or a status with headers and a body.
Answer = int | tuple[int, Headers, bytes]


def archive(records: int = 1000) -> bytes:
    """JSON lines in gzip, in two members."""
    lines = [b'{"gid":"%d"}\n' % number for number in range(records)]
    half = records // 2
    return gzip.compress(b"".join(lines[:half]), mtime=0) + gzip.compress(b"".join(lines[half:]), mtime=0)


def exports(transport: ScriptedTransport, link: str | None = LINK) -> None:
    """Make the API answer every look with a finished graph export."""
    export = {"gid": "9", "resource_type": "graph_export", "download_url": link}
    transport.play({"gid": "1203", "resource_type": "job", "status": "succeeded", "new_graph_export": export})


def connections(client: AsanaClient) -> int:
    """How many connections to the real second origin a client reads from."""
    downloads = client._downloads  # pyright: ignore[reportPrivateUsage]
    assert isinstance(downloads, AiohttpDownloads)
    session = downloads._session  # pyright: ignore[reportPrivateUsage]
    if session is None or session.connector is None:
        return 0
    return len(session.connector._acquired)  # pyright: ignore[reportPrivateUsage]


class FileStream:
    """One answer."""

    def __init__(self, status: int, headers: Headers, body: bytes, piece: int) -> None:
        self.status = status
        self.headers: Headers = {name.lower(): value for name, value in headers.items()}
        self.closed = False
        self._body = body
        self._piece = piece
        self.cut: int | None = None

    async def read(self) -> bytes:
        """Return the next piece."""
        if self.closed:
            raise AssertionError("read after close")
        if self.cut is not None and self.cut <= 0:
            raise TransportError("the connection broke", method="GET", path="/")
        piece, self._body = self._body[: self._piece], self._body[self._piece :]
        if self.cut is not None:
            piece = piece[: self.cut]
            self.cut -= len(piece)
        return piece

    def close(self) -> None:
        """Drop it."""
        self.closed = True


@attrs.define(eq=False)
class FileServer:
    """Serves one file as S3 does, and fails as it is told to: it is a client's `Downloads`.

    Attributes:
        cuts: For each of the next answers, the bytes after which it breaks.
        script: What the next requests are answered with instead.
        before: Called before each answer, with its number.
        asked: The URL and headers of every request.
    """

    content: bytes = attrs.field(factory=archive)
    etag: str | None = '"v1"'
    ranges: bool = True
    piece: int = 1000
    cuts: list[int] = attrs.field(factory=list[int])
    script: list[Answer | TransportError] = attrs.field(factory=list[Answer | TransportError])
    before: Callable[[int], object] = lambda _: None
    asked: list[tuple[str, Headers]] = attrs.field(factory=list[tuple[str, Headers]])
    streams: list[FileStream] = attrs.field(factory=list[FileStream])

    async def open(self, url: str, headers: Headers, idle_timeout: float) -> FileStream:
        """Answer a request."""
        self.before(len(self.asked))
        self.asked.append((url, headers))
        if self.script:
            answer = self.script.pop(0)
            if isinstance(answer, TransportError):
                raise answer
            status, fields, body = answer if isinstance(answer, tuple) else (answer, NONE, b"")
        else:
            status, fields, body = self._serve(headers)
        stream = FileStream(status, fields, body, self.piece)
        stream.cut = self.cuts.pop(0) if self.cuts and status < 300 else None
        self.streams.append(stream)
        return stream

    def _serve(self, headers: Headers) -> tuple[int, Headers, bytes]:
        fields = {} if self.etag is None else {"ETag": self.etag}
        size = len(self.content)
        if headers.get("If-Match", self.etag) != self.etag:
            return 412, {}, b""
        found = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        if found is None or not self.ranges:
            return 200, {**fields, "Content-Length": str(size)}, self.content
        start = int(found[1])
        if start >= size:
            return 416, {"Content-Range": f"bytes */{size}"}, b"<Error><Code>InvalidRange</Code></Error>"
        return 206, {**fields, "Content-Range": f"bytes {start}-{size - 1}/{size}"}, self.content[start:]

    async def close(self) -> None:
        """Nothing is open."""

    @property
    def starts(self) -> list[int]:
        """The byte each request began with."""
        return [int(headers.get("Range", "bytes=0-")[6:-1]) for _, headers in self.asked]

    @property
    def left_open(self) -> list[FileStream]:
        """Answers nobody closed."""
        return [stream for stream in self.streams if not stream.closed]
