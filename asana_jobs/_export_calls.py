"""The calls about export files."""

from __future__ import annotations

from functools import partial
from os import PathLike
from pathlib import Path

from asana_jobs._download import Progress, download, link_of
from asana_jobs._exchange import Exchange
from asana_jobs._export_file import PartialFile
from asana_jobs._export_records import ExportRecords
from asana_jobs._export_stream import ExportStream
from asana_jobs._gate import FOREGROUND
from asana_jobs._poller import Poller
from asana_jobs._sansio import read_job
from asana_jobs._subjects import JobLike, Subject, read_subject
from asana_jobs._transport import Downloads


class ExportCalls:
    """What a client does with export files."""

    _exchange: Exchange
    _poller: Poller
    _downloads: Downloads

    async def download_export(
        self, job: JobLike, destination: str | PathLike[str], *, progress: Progress | None = None
    ) -> Path:
        """Write the file of a finished export to disk.

        It is written beside the destination, checked (length, gzip) and renamed: the destination is absent or
        whole, whatever happens. Broken connections and links that die are dealt with, at the same byte. Called
        again after a failure, or after the process was killed, it goes on where it stopped.

        What has been downloaded is kept for the next call, in ``.NAME.GID.part`` beside ``NAME``; it is removed if
        it is damaged, if the file has changed, or if Asana does not have it any more. Of two downloads of one
        export to one destination, the second is refused while the first is under way; downloads of different
        exports do not meet, and the one that ends last stays. Only you may read the file (mode 600), unless it
        replaces one: then it has the permissions of that.

        Args:
            job: The export's `Job`, its gid, or a continuation token. It must have succeeded. (The gid alone is
                not enough for an organization export.)
            destination: The file to write; one that is there is replaced when the new one is whole.
            progress: Called on the event loop with the bytes done and the bytes in all (``None`` while unknown);
                what it raises ends the download.

        Returns:
            The absolute path written. The file is what Asana serves: gzip, of JSON lines (one JSON document for
            an organization export).

        Raises:
            DownloadError: there is no file, it cannot be had, it is damaged, or it cannot be written; the message
                says what to do.
            ClientClosedError: the client was closed meanwhile.
            AsanaJobsError: reading the job failed.
        """
        subject = read_subject(job)
        partial_file = PartialFile(destination, subject.gid)
        with self._exchange.lifetime.guard():
            return await download(partial(self._stream, subject), partial_file, progress)

    def iter_export(self, job: JobLike) -> ExportRecords:
        """Iterate the records of a finished export, straight from the stream; see `ExportRecords`.

        Args:
            job: As for `download_export`.
        """
        subject = read_subject(job)
        return ExportRecords(partial(self._stream, subject), subject.gid)

    def _stream(self, subject: Subject, position: int = 0, etag: str | None = None) -> ExportStream:
        # The job is read anew even if it is at hand: reading it mints a link that lives.
        async def find_link() -> str | None:
            request = read_job(subject.gid, collection=subject.collection, timeout=self._exchange.timeout)
            job = await self._exchange.call(request, FOREGROUND, self._poller.read)
            return link_of(job)

        what = f"the export of job {subject.gid}"
        return ExportStream(
            self._exchange, self._downloads, find_link, what=what, position=position, etag=etag
        )
