"""An export file as one unbroken stream: cuts, expired links and slow servers are dealt with here."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urljoin, urlsplit

from asana_jobs._backoff import delay
from asana_jobs._exchange import Exchange
from asana_jobs._transport import Downloads, Stream
from asana_jobs.errors import DownloadError, RequestTimeoutError, TransportError


#: Failures in a row, without a byte in between, after which a download is given up. With the default
#: policy that is some four minutes.
MOST_FAILURES: Final = 12
MOST_REDIRECTS: Final = 5

_LOOPBACK: Final = {"localhost", "127.0.0.1", "::1"}


class ExportStream:
    """Reads an export's file from a byte on, and comes back to that byte whenever something breaks.

    Args:
        what: What is read, for messages, such as ``the export of job 1203``.
        find_link: Gives a link to the file; asked again when a link has died.
        position: The byte to begin with. ``etag``: the version of the file that the bytes before it are of.

    Attributes:
        position: The byte that is read next. ``total``: the file's length, once it is known.
        restarted: Whether the file was found changed, so that reading began anew at byte 0; the reader looks at it
            after each `read` and forgets what it has.
    """

    def __init__(
        self,
        exchange: Exchange,
        downloads: Downloads,
        find_link: Callable[[], Awaitable[str]],
        *,
        what: str,
        position: int = 0,
        etag: str | None = None,
    ) -> None:
        self.position = position
        self.etag = etag
        self.total: int | None = None
        self.restarted = False
        self._exchange = exchange
        self._downloads = downloads
        self._find_link = find_link
        self._what = what
        self._link: str | None = None
        self._stream: Stream | None = None
        self._failures = 0

    async def read(self) -> bytes:
        """Return the next piece; empty at the file's end.

        Raises:
            DownloadError: it cannot be had: refused, gone, or too many failures in a row.
        """
        while True:
            try:
                async with self._exchange.lifetime.guard():
                    if self._stream is None and not await self._open():
                        continue
                    piece = await self._next()
            except TransportError as error:
                await self._outlive(error)
                continue
            if piece or self.total is None or self.position >= self.total:
                return piece
            await self._outlive(None)  # the server ended early

    async def _next(self) -> bytes:
        assert self._stream is not None  # noqa: S101  # opened just before
        piece = await self._stream.read()
        if piece:
            self.position += len(piece)
            self._failures = 0
        return piece

    def close(self) -> None:
        """Drop the connection; reading goes on with a new one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    async def _open(self) -> bool:
        """Ask for the rest of the file; ``False`` to ask again."""
        if self._link is None:
            self._link = check_link(await self._find_link(), self._what)
        headers: dict[str, str] = {}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
        if self.etag is not None:
            headers["If-Match"] = self.etag
        stream = await self._follow(self._link, headers)
        try:
            accepted = self._accept(stream)
        except BaseException:
            stream.close()
            raise
        if accepted:
            self._stream = stream
        else:
            stream.close()
            if stream.status in {401, 403}:
                await self._outlive(None, refused=stream.status)
        return accepted

    async def _follow(self, link: str, headers: dict[str, str]) -> Stream:
        for _ in range(MOST_REDIRECTS):
            stream = await self._downloads.open(link, headers, self._exchange.timeout)
            if stream.status not in {301, 302, 303, 307, 308}:
                return stream
            stream.close()
            link = check_link(urljoin(link, stream.headers.get("location", "")), self._what)
        raise DownloadError(f"{self._what}: more than {MOST_REDIRECTS} redirects. {DownloadError.advice}")

    def _accept(self, stream: Stream) -> bool:
        """Take note of an answer; ``False`` if it has to be asked for again."""
        status, headers = stream.status, stream.headers
        if status == 206:
            first, self.total = _content_range(headers.get("content-range", ""))
            if first != self.position:
                raise self._trouble(f"asked for byte {self.position}, got byte {first}")
        elif status == 200:
            if self.position:
                self._restart()  # the server does not do ranges
            length = headers.get("content-length", "")
            self.total = int(length) if length.isdigit() else None
        else:
            return self._accept_refusal(status, headers)
        self.etag = headers.get("etag") or self.etag
        return True

    def _accept_refusal(self, status: int, headers: Mapping[str, str]) -> bool:
        if status in {401, 403}:
            self._link = None  # it has died: the job is read again for a fresh one
            return False
        if status == 416 and headers.get("content-range", "").endswith(f"/{self.position}"):
            self.total = self.position
            return True
        if status in {412, 416}:
            self._restart()
            return False
        if status >= 500 or status == 429:
            raise self._trouble(f"the file's server answered {status}")
        if status in {404, 410}:
            raise DownloadError(
                f"{self._what}: the file is gone ({status}); Asana keeps it for 30 days. Start the export again."
            )
        raise DownloadError(f"{self._what}: the file's server answered {status}. {DownloadError.advice}")

    def _trouble(self, what: str) -> TransportError:
        return TransportError(f"{self._what}: {what}", method="GET", path="")

    def _restart(self) -> None:
        self.position, self.etag, self.restarted, self.total = 0, None, True, None

    async def _outlive(self, error: TransportError | None, refused: int | None = None) -> None:
        """Count a failure and wait a moment, or give up."""
        self.close()
        self._failures += 1
        if self._failures >= MOST_FAILURES or (refused is not None and self._failures >= 4):
            reason = (
                f"a fresh link is refused too ({refused})"
                if refused
                else error or "the file ends early each time"
            )
            raise DownloadError(
                f"{self._what}: given up at byte {self.position} after {self._failures} failures in a row: {reason}. "
                f"{DownloadError.advice}"
            ) from error
        # The first failure costs no wait: links die and connections break as a matter of course.
        if self._failures > 1 or isinstance(error, RequestTimeoutError):
            policy, clock = self._exchange.retry, self._exchange.clock
            await self._exchange.sleep(delay(policy, self._failures - 1, clock.random()))


def check_link(link: str, what: str) -> str:
    """Return *link* if a file may be fetched from it: https, or http on this machine."""
    parts = urlsplit(link)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK):
        return link
    raise DownloadError(
        f"{what}: refused to fetch it from {parts.scheme or 'an address without a scheme'}://{parts.hostname or ''}: "
        f"only https is safe. Nothing was fetched."
    )


def _content_range(value: str) -> tuple[int, int | None]:
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", value.strip())
    if found is None:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])
