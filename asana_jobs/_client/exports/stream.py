"""An export file as one unbroken stream, over cuts, expired links and slow servers; only safe links are followed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Awaitable, Callable
from math import inf
from typing import Final
from urllib.parse import urljoin, urlsplit

from asana_jobs._client.exports.gzip_stream import begins_archive
from asana_jobs._client.http.api_session import ApiSession
from asana_jobs._client.http.destinations import Destinations, ForbiddenDestinationError
from asana_jobs._client.http.retrying import delay
from asana_jobs._client.http.transport import Downloads, Stream
from asana_jobs.errors import ConnectError, DownloadError, RequestTimeoutError, TransportError


#: A host as links have it, with its port: what is written in another way, libraries read in different ways.
_LABEL: Final = r"(?!xn--)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_AND_PORT: Final = rf"(?:{_LABEL}(?:\.{_LABEL}){{0,30}}|\[[0-9A-Fa-f:.]{{2,45}}\])(?::\d{{1,5}})?"

#: Failures in a row, without a byte in between, after which a download is given up. With the default
#: policy that is some four minutes.
MAX_FAILURES: Final = 12
#: Fresh links in a row that may be refused, or missing.
MAX_REFUSALS: Final = 4
MAX_REDIRECTS: Final = 5
_GO_ON: Final = "Call download_export again: it goes on where it stopped."

#: A length that may be taken for one: Python refuses to read numbers of thousands of digits.
_DIGITS: Final = r"\d{1,18}"
_REDIRECT_STATUSES: Final = {301, 302, 303, 307, 308}
#: What a dead link is answered with: 400 is ``ExpiredToken``, when the credentials that signed it have expired.
_REFUSAL_STATUSES: Final = {400, 401, 403}
_PASSING_STATUSES: Final = {408, 425, 429}


class ExportStream:
    """A reader of an export's file from a byte on, which comes back to that byte whenever something breaks.

    Args:
        exchange: The client's session, for its timeout, its retries and its clock.
        downloads: The connections to file servers.
        destinations: The places that the file may be fetched from.
        find_link: Gives a link to the file, ``None`` while there is none; asked again when a link has died.
        what: The name of the file in messages, such as ``the export of job 1203``.
        position: The byte to begin with.
        etag: The version of the file that the bytes before it are of.

    Attributes:
        position: The byte that is read next.
        etag: The version that is read.
        total: The file's length, once it is known.
        lost: Whether the file has changed or is gone, so that the bytes before `position` are of no use.
        changed: Whether it has changed: it can be read again from the start.
    """

    def __init__(
        self,
        exchange: ApiSession,
        downloads: Downloads,
        find_link: Callable[[], Awaitable[str | None]],
        *,
        destinations: Destinations,
        what: str,
        position: int = 0,
        etag: str | None = None,
    ) -> None:
        self.position = position
        self.etag = etag
        self.total: int | None = None
        self.lost = self.changed = False
        self._exchange = exchange
        self._downloads = downloads
        self._destinations = destinations
        self._find_link = find_link
        self._what = what
        self._link: str | None = None
        self._stream: Stream | None = None
        self._found = False
        self._complete = False
        self._skip = 0
        self._modified: str | None = None
        #: Whether it is an archive, which checks itself; of anything else that was read from the start, the hash.
        self._archive = False
        self._read_so_far = None if position else hashlib.blake2b()
        self._read_again = hashlib.blake2b()
        self._from_start = False
        self._failures = 0
        self._refusals = 0
        self._connecting_since: float | None = None

    async def start(self) -> None:
        """Find the file, if that was not done. `position` is 0 afterwards if it is of another version.

        Raises:
            DownloadError: it cannot be had: refused, gone, changed later on, or too many failures in a row.
            ConnectError: no connection could be made for `PollPolicy.first_contact` seconds, and none ever was.
        """
        while self._stream is None and not self._complete:
            try:
                with self._exchange.lifetime.guard():
                    await self._open()
            except (TransportError, _LinkRefusedError) as error:
                await self._retry_or_raise(error)

    async def read(self) -> bytes:
        """Return the next piece; empty at the file's end. Raises as `start` does."""
        while True:
            await self.start()
            if self._complete:
                return b""
            try:
                with self._exchange.lifetime.guard():
                    piece = await self._next()
            except TransportError as error:
                await self._retry_or_raise(error)
                continue
            if piece:
                return piece

    async def _next(self) -> bytes:
        """Read a piece; empty at the end, and while what comes has been read before."""
        assert self._stream is not None  # noqa: S101  # opened just before
        piece = await self._stream.read()
        if not piece:
            if self.total is not None and self.position < self.total:
                raise self._trouble("the file ended early")
            if self._skip:
                self._changed()
            self._complete = True
            self.close()
            return b""
        if self._skip:
            piece = self._pass_over(piece)
        if piece:
            self._failures = self._refusals = 0
            if not self.position and begins_archive(piece):
                self._archive, self._read_so_far = True, None
            if self._read_so_far is not None:
                self._read_so_far.update(piece)
            self.position += len(piece)
        return piece

    def _pass_over(self, piece: bytes) -> bytes:
        """Return what is new in *piece*, and make sure that the rest is what was read before."""
        known, fresh = piece[: self._skip], piece[self._skip :]
        self._skip -= len(known)
        if self._read_so_far is not None:
            self._read_again.update(known)
            if not self._skip and self._read_again.digest() != self._read_so_far.digest():
                self._changed()
        return fresh

    def close(self) -> None:
        """Drop the connection; reading goes on with a new one."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    async def _open(self) -> None:
        """Ask for the rest of the file."""
        if self._link is None:
            link = await self._find_link()
            if link is None:
                raise _LinkRefusedError("the job has succeeded but names no file yet")
            self._link = check_link(link, self._what, self._destinations)
        headers: dict[str, str] = {}
        if self.position and not self._from_start:
            headers["Range"] = f"bytes={self.position}-"
        if self.etag is not None and not self.etag.startswith("W/"):  # weak ones never match, by definition
            headers["If-Match"] = self.etag
        stream = await self._follow(self._link, headers)
        try:
            if await self._accept(stream):
                self._stream, self._found = stream, True
        finally:
            if self._stream is not stream:
                stream.close()

    async def _follow(self, link: str, headers: dict[str, str]) -> Stream:
        for _ in range(MAX_REDIRECTS):
            if self._connecting_since is None:
                self._connecting_since = self._exchange.clock.monotonic()
            try:
                stream = await self._downloads.open(link, headers, self._exchange.timeout)
            except ForbiddenDestinationError as error:
                raise _refused(self._what, error) from None
            self._exchange.file_contact.made = True
            if stream.status not in _REDIRECT_STATUSES:
                return stream
            stream.close()
            link = follow_link(link, stream.headers.get("location", ""), self._what, self._destinations)
        raise _stopped(f"{self._what}: more than {MAX_REDIRECTS} redirects")

    async def _accept(self, stream: Stream) -> bool:
        """Return whether the file follows; ``False`` if it has to be asked for again, or there is no more of it."""
        status, headers = stream.status, stream.headers
        etag, modified = _etag(headers.get("etag", "")), headers.get("last-modified")
        if status == 206:
            first, total = _content_range(headers.get("content-range", ""))
            if first != self.position:
                raise self._trouble(f"asked for byte {self.position}, got byte {first}")
            if self._differs(etag, modified, total):
                return self._changed()
            if not self._is_the_same(etag, modified):
                return self._start_over()
            self.total, self._skip = total, 0
        elif status == 200:
            length = headers.get("content-length", "")
            total = int(length) if re.fullmatch(_DIGITS, length, re.ASCII) else None
            comparable = self._read_so_far is not None or self._is_the_same(etag, modified)
            if self._differs(etag, modified, total) or not comparable:
                self._changed()
            # A server that does not do ranges sends the beginning again.
            self.total, self._skip, self._read_again = total, self.position, hashlib.blake2b()
        else:
            return await self._refuse(stream)
        self.etag, self._modified = etag or self.etag, modified or self._modified
        return True

    def _differs(self, etag: str | None, modified: str | None, total: int | None) -> bool:
        if None not in {self.total, total} and total != self.total:
            return True
        if None not in {self.etag, etag}:
            return etag != self.etag
        return None not in {self._modified, modified} and modified != self._modified

    def _is_the_same(self, etag: str | None, modified: str | None) -> bool:
        """Return whether an answer says that it is of the file that was read, or an archive that checks itself."""
        by_etag = etag is not None and etag == self.etag and not etag.startswith("W/")
        by_time = modified is not None and modified == self._modified
        return not self.position or by_etag or by_time or self._archive

    def _start_over(self) -> bool:
        """Ask for the whole file, as nothing tells whether a part of it belongs to what was read."""
        if self._read_so_far is None:
            return self._changed()
        self._from_start = True
        return False

    async def _refuse(self, stream: Stream) -> bool:
        status = stream.status
        whole = stream.headers.get("content-range") == f"bytes */{self.position}"
        if status == 416 and self.position and whole:
            self.total = self.position
            self._complete = True
            return False
        if status in {412, 416} and (self.position or self.etag is not None):
            return self._changed()
        if status >= 500 or status in _PASSING_STATUSES:
            raise self._trouble(f"the file's server answered {status}")
        if status in {404, 410}:
            self.lost = True
            raise DownloadError(
                f"{self._what}: the file is gone ({status}); Asana keeps it for 30 days. Start the export again."
            )
        code = await _error_code(stream)
        if status in _REFUSAL_STATUSES:
            self._link = None
            raise _LinkRefusedError(f"a fresh link is refused too ({status}{code})")
        raise _stopped(f"{self._what}: the file's server answered {status}{code}")

    def _changed(self) -> bool:
        """Begin anew if the bytes before `position` are of an earlier call; they are not ours to mix otherwise."""
        if self._found:
            self.lost = self.changed = True
            raise DownloadError(
                f"{self._what}: the file changed at byte {self.position}, while it was read. Read it again from "
                f"the start."
            )
        self.position, self.etag, self.total = 0, None, None
        self._read_so_far = hashlib.blake2b()
        return False

    def _trouble(self, what: str) -> TransportError:
        return TransportError(f"{self._what}: {what}", method="GET", path="")

    async def _retry_or_raise(self, error: TransportError | _LinkRefusedError) -> None:
        """Count a failure and wait a moment, or give up."""
        self.close()
        self._failures += 1
        self._refusals += isinstance(error, _LinkRefusedError)
        if self._failures >= MAX_FAILURES or self._refusals >= MAX_REFUSALS:
            raise _stopped(
                f"{self._what}: given up at byte {self.position} after {self._failures} failures in a row, the last: "
                f"{error}"
            ) from error
        left = self._patience_left(error)
        if left <= 0 and isinstance(error, ConnectError):
            message = f"{self._what}: {error}"
            raise ConnectError(message, method="GET", path=error.path, permanent=error.permanent) from error
        # The first failure costs no wait: links die and connections break as a matter of course.
        if self._failures > 1 or isinstance(error, RequestTimeoutError):
            policy, clock = self._exchange.retry, self._exchange.clock
            await self._exchange.sleep(min(left, delay(policy, self._failures - 1, clock.random())))

    def _patience_left(self, error: Exception) -> float:
        exchange, since = self._exchange, self._connecting_since
        if since is None:  # the link could not even be asked for, and that was repeated already
            return 0.0 if isinstance(error, ConnectError) and not exchange.contact.made else inf
        if self.position:
            return inf  # the server was reached once
        patience = exchange.file_contact.patience(error, exchange.first_contact)
        return since + patience - exchange.clock.monotonic()


class _LinkRefusedError(Exception):
    """The link has died, or there is none yet: the job has to be read again."""


def check_link(link: str, what: str, destinations: Destinations) -> str:
    """Return *link* if a file may be fetched from it: https to the public network, without a password.

    Where *destinations* say so, http or this machine will do. What a name leads to is seen when it is connected to.
    """
    try:
        parts = urlsplit(link)
        scheme, host, user = parts.scheme, parts.hostname or "", parts.username or parts.password
        place = parts.netloc
        _ = parts.port  # a ValueError if it is none
    except ValueError:
        scheme, host, user, place = "", "", None, ""
    if scheme not in {"", "https"} and not (scheme == "http" and destinations.allow_plain_http(host)):
        raise DownloadError(
            f"{what}: refused to fetch it from {scheme}://{host}: only https is safe. Nothing was fetched."
        )
    if not scheme or not host or not link.isprintable() or " " in link:
        raise _stopped(f"{what}: its link is no address. Nothing was fetched")
    if user is not None:
        # It would be sent as an Authorization header, beside the signature.
        raise DownloadError(f"{what}: refused to fetch it from {host}: its link holds a user name.")
    if re.fullmatch(_HOST_AND_PORT, place) is None:
        raise _stopped(f"{what}: its link names no host. Nothing was fetched")
    try:
        destinations.check_host(host)
    except ForbiddenDestinationError as error:
        raise _refused(what, error) from None
    return link


def _stopped(message: str) -> DownloadError:
    """Return the error of a download that can go on where it stopped."""
    error = DownloadError(f"{message}. {_GO_ON}")
    error.advice = _GO_ON
    return error


def _refused(what: str, error: ForbiddenDestinationError) -> DownloadError:
    return DownloadError(
        f"{what}: refused to fetch it from {error}. Nothing was fetched. Is there something between this machine and "
        f"Asana that changes answers or names?"
    )


def follow_link(link: str, location: str, what: str, destinations: Destinations) -> str:
    """Return where a redirect from *link* leads, if it may be followed: never to another scheme."""
    try:
        target = urljoin(link, location)
    except ValueError:
        target = ""
    scheme, other = urlsplit(link).scheme, urlsplit(check_link(target, what, destinations)).scheme
    if scheme != other:
        raise DownloadError(f"{what}: refused a redirect from {scheme} to {other}. Nothing was fetched.")
    return target


def _content_range(value: str) -> tuple[int, int | None]:
    found = re.fullmatch(rf"bytes ({_DIGITS})-\d+/({_DIGITS}|\*)", value.strip(), re.ASCII)
    if found is None:
        return -1, None
    return int(found[1]), None if found[2] == "*" else int(found[2])


def _etag(value: str) -> str | None:
    # It is sent back in a header: one with anything else in it is none (RFC 9110, section 8.8.3).
    return value if re.fullmatch(r'(W/)?"[\x21\x23-\x7e]{0,1024}"', value) else None


async def _error_code(stream: Stream) -> str:
    """Return the code in an error of S3, such as `` AccessDenied``."""
    try:
        found = re.search(rb"<Code>(\w{1,60})</Code>", await stream.read())
    except TransportError:
        found = None
    return f" {found[1].decode()}" if found else ""
