# ruff: noqa: ASYNC240  # nobody else is on these loops
"""Export files that mean harm: bombs, absurd lines, lying headers."""

import gzip
import json
import resource
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest
from file_server import FileServer, archive, exports
from raw_server import Behaviour, answering, endless, says, serving

from asana_jobs import AsanaClient
from asana_jobs._client.exports.records import MAX_RECORD_LENGTH
from asana_jobs.errors import AsanaJobsError, DownloadError
from asana_jobs.testing._scripted_transport import ScriptedTransport


def packed(pieces: Iterator[bytes]) -> bytes:
    """Content in gzip, a thousandth of its size if it says little."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(piece) for piece in pieces), packer.flush()])


def repeated(piece: bytes, megabytes: int) -> Iterator[bytes]:
    """So many MiB of *piece*."""
    whole = piece * (2**20 // len(piece))
    return (whole for _ in range(megabytes))


#: What 100 MiB of something unpack to, packed when it is sent, and what is said of it.
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "blanks": (lambda: packed(repeated(b" ", 100)), ""),
    "line breaks": (lambda: packed(repeated(b"\n", 100)), ""),
    "one number": (lambda: packed(repeated(b"0", 100)), "neither JSON lines"),
    "one string": (lambda: packed(repeated(b'"', 1)) + packed(repeated(b"a", 100)), "neither JSON lines"),
    "a record without end": (lambda: packed(iter([b'{"a":"', *repeated(b"a", 40)])), "longer than"),
    "a list in a list": (lambda: packed(repeated(b"[", 100)), "unexpected '\\['"),
    "commas": (lambda: packed(iter([b"[", *repeated(b",", 4)])), "never closed"),
    "a deep record": (lambda: packed(iter([b'{"a":', *repeated(b"[", 20)])), "nested too deep"),
    "a long integer": (lambda: packed(iter([b'{"a":', *repeated(b"9", 1), b"}"])), "neither JSON lines"),
    "empty members": (lambda: gzip.compress(b"", mtime=0) * 50_000, ""),
    "zeros after it": (lambda: archive(10) + bytes(2**22), ""),
    "not UTF-8": (lambda: gzip.compress(b'{"a": "\xff"}\n'), "neither JSON lines"),
    "a bomb in a bomb": (lambda: gzip.compress(packed(repeated(b"\0", 100))), "neither JSON lines"),
}


@pytest.mark.parametrize(("packing", "reason"), BOMBS.values(), ids=BOMBS)
async def test_a_bomb_costs_bounded_memory(
    packing: Callable[[], bytes], reason: str, client: AsanaClient, transport: ScriptedTransport
) -> None:
    """However much a file unpacks to, reading its records takes some times the longest record, and ends."""
    exports(transport)
    client._downloads = FileServer(packing())  # pyright: ignore[reportPrivateUsage]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    with pytest.raises(DownloadError, match=reason) if reason else nullcontext():
        assert len([record async for record in client.iter_export("1203")]) in {0, 10}

    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < 6 * MAX_RECORD_LENGTH
    assert time.process_time() - began < 20


@pytest.mark.parametrize("reading", ["download_export", "iter_export"])
@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Range": f"bytes 0-1/{'9' * 5000}"},
        {"Content-Range": "bytes \u0663-4/5"},
        {"Content-Range": "bytes -1--1/-1"},
        {"ETag": '"\udcff\udcfe"'},
        {"ETag": '"a" \udcff'},
        {"ETag": "x" * 7000},
        {"Content-Encoding": "gzip"},
        {"Content-Disposition": 'attachment; filename="../../evil"'},
        {"Location": "http://evil.example"},
    ],
    ids=lambda headers: f"{next(iter(headers.items()))!r:.40}",
)
@pytest.mark.parametrize("status", [200, 206, 416])
async def test_lying_headers_are_no_crash(
    reading: str, headers: dict[str, str], status: int, tmp_path: Path
) -> None:
    """Headers of the files' server are taken for what they are or not at all, and name no file of ours."""
    job = {"gid": "1203", "status": "succeeded", "new_graph_export": {"gid": "9"}}
    async with (
        serving(answering(says(archive(10), status=status, headers=headers))) as served,
    ):
        job["new_graph_export"] = {"gid": "9", "download_url": f"{served.origin}/x"}
        async with AsanaClient("token", base_url=served.base_url, transport=ScriptedTransport(job)) as client:
            try:
                if reading == "download_export":
                    for _ in range(2):
                        await client.download_export("1203", tmp_path / "export.gz")
                else:
                    assert len([record async for record in client.iter_export("1203")]) == 10
            except AsanaJobsError:
                assert status != 200

    assert {path.name for path in tmp_path.iterdir()} <= {
        "export.gz", ".export.gz.1203.part", ".export.gz.1203.part.json",
    }  # fmt: skip


FLOODS: dict[str, Behaviour] = {
    "headers": endless(b"HTTP/1.1 200 OK\r\n", b"X: aaaaaaaaaaaaaaaaaaaaaa\r\n" * 1000),
    "one header": endless(b"HTTP/1.1 200 OK\r\nX: ", b"a" * 2**16),
    "status": answering(b"HTTP/1.1 999999 OK\r\n\r\n"),
    "nonsense": answering(b"\x16\x03\x01"),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_files_server_that_talks_nonsense_is_given_up(flood: Behaviour, tmp_path: Path) -> None:
    """After so many failures in a row the download says where it stands and what to do."""
    async with serving(flood) as served:
        export = {"gid": "9", "download_url": f"{served.origin}/x"}
        transport = ScriptedTransport({"gid": "1203", "status": "succeeded", "new_graph_export": export})
        async with AsanaClient("token", base_url=served.base_url, transport=transport, timeout=2) as client:
            with pytest.raises(DownloadError, match="given up at byte 0") as caught:
                await client.download_export("1203", tmp_path / "export.gz")

    assert len(str(caught.value)) < 1000
    assert json.dumps([path.name for path in tmp_path.glob("export*")]) == "[]"
