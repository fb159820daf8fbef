import asyncio
import gzip
import json
import tracemalloc
from typing import Any
from xml.etree import ElementTree as ET

import aiohttp
import pytest
import pytest_asyncio
from simulator_session import bare_session
from yarl import URL

from asana_jobs.testing import AsanaSimulator, Fixed, Reset, SlowDrip, Status, Truncated
from asana_jobs.testing.simulator.downloads import ExportFile


# pytest finds fixtures among a module's names.
session = bare_session


@pytest_asyncio.fixture
async def stranger() -> Any:
    """A client that sends no token."""
    async with aiohttp.ClientSession(auto_decompress=False) as client:
        yield client


async def read(session: aiohttp.ClientSession, simulator: AsanaSimulator, gid: str) -> Any:
    """Read a job."""
    async with session.get(f"{simulator.base_url}/jobs/{gid}") as response:
        return (await response.json())["data"]


async def link_of(session: aiohttp.ClientSession, simulator: AsanaSimulator, lines: int = 1234) -> URL:
    """A fresh download link of a finished export."""
    simulator.add_job("1203", ["succeeded"], kind="export_resource", lines=lines)
    job = await read(session, simulator, "1203")
    return URL(job["new_resource_export"]["download_url"], encoded=True)


async def download(client: aiohttp.ClientSession, link: URL, **headers: str) -> tuple[int, bytes, Any]:
    """The status, body and headers of a download."""
    async with client.get(link, headers=headers) as response:
        return response.status, await response.read(), response.headers


def code_of(body: bytes) -> str | None:
    """The error code in an S3 error."""
    return ET.fromstring(body).findtext("Code")  # noqa: S314 - our own simulator's XML


async def test_link_comes_with_success(session: aiohttp.ClientSession) -> None:
    """An export's slot is there at once, its link and completed_at only after success."""
    async with AsanaSimulator(durations=Fixed(5)) as simulator:
        body = {"data": {"parent": "5"}}
        async with session.post(f"{simulator.base_url}/exports/graph", json=body) as response:
            job = (await response.json())["data"]
        assert job["resource_subtype"] == "graph_export_request"
        assert job["new_graph_export"]["download_url"] is None
        assert job["new_graph_export"]["completed_at"] is None
        await asyncio.sleep(6)
        export = (await read(session, simulator, job["gid"]))["new_graph_export"]
        assert export["completed_at"] > export["created_at"]
        assert URL(export["download_url"]).origin() != URL(simulator.base_url).origin()
        assert simulator.started[0].subject == "5"


async def test_file_is_gzipped_json_lines(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """The file holds as many objects as it was told to, each with its own gid."""
    link = await link_of(session, simulator)
    status, body, headers = await download(stranger, link)
    objects = [json.loads(line) for line in gzip.decompress(body).splitlines()]

    assert status == 200
    assert len(objects) == len({item["gid"] for item in objects}) == 1234
    assert int(headers["Content-Length"]) == len(body)
    assert headers["Accept-Ranges"] == "bytes"
    assert link.path.endswith(".jsonl.gz")


async def test_token_beside_the_signature(simulator: AsanaSimulator, session: aiohttp.ClientSession) -> None:
    """A request with an Authorization header is refused as S3 does, in XML."""
    link = await link_of(session, simulator)
    status, body, headers = await download(session, link)

    assert (status, code_of(body)) == (400, "InvalidArgument")
    assert headers["Content-Type"] == "application/xml"
    assert simulator.downloads[0].authorized


async def test_link_expires(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """A link is good for five minutes; reading the job again gives a new one."""
    link = await link_of(session, simulator)
    await asyncio.sleep(290)
    assert (await download(stranger, link))[0] == 200
    await asyncio.sleep(20)
    status, body, _ = await download(stranger, link)
    assert (status, code_of(body)) == (403, "AccessDenied")
    assert b"Request has expired" in body
    assert (await download(stranger, await link_of(session, simulator)))[0] == 200


async def test_link_expired_by_hand(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """A test can make all links bad at once."""
    link = await link_of(session, simulator)
    simulator.expire_links()
    assert (await download(stranger, link))[0] == 403
    assert (await download(stranger, await link_of(session, simulator)))[0] == 200


async def test_file_is_kept_for_thirty_days(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """After thirty days the file is gone, however new the link."""
    await link_of(session, simulator)
    await asyncio.sleep(31 * 86400)
    job = await read(session, simulator, "1203")
    status, body, _ = await download(stranger, URL(job["new_resource_export"]["download_url"], encoded=True))

    assert (status, code_of(body)) == (404, "NoSuchKey")


async def test_signature_covers_every_byte(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """A link that was re-encoded, changed or used with another method is refused."""
    link = await link_of(session, simulator)
    reencoded = URL(str(link).replace("%2F", "/"), encoded=True)
    for bad in (reencoded, URL(str(link)[:-1], encoded=True), link.with_query(None)):
        status, body, _ = await download(stranger, bad)
        assert status == 403
        assert code_of(body) in {"SignatureDoesNotMatch", "AccessDenied"}
    async with stranger.head(link) as response:
        assert response.status == 403


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=100000-", 100_000, None),
        ("bytes=-50", -50, None),
        ("bytes=90000-190000", 90_000, 190_001),
        ("bytes=5-99999999", 5, None),
    ],
)
async def test_range(
    simulator: AsanaSimulator,
    session: aiohttp.ClientSession,
    stranger: aiohttp.ClientSession,
    *,
    header: str,
    start: int,
    stop: int | None,
) -> None:
    """A range gives exactly these bytes of the file."""
    link = await link_of(session, simulator)
    _, whole, _ = await download(stranger, link)
    status, body, headers = await download(stranger, link, Range=header)

    assert status == 206
    assert body == whole[start:stop]
    first = start % len(whole)
    assert headers["Content-Range"] == f"bytes {first}-{first + len(body) - 1}/{len(whole)}"


async def test_ranges_that_are_not_served(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """A range behind the end is a 416; what is no single range is not heeded."""
    link = await link_of(session, simulator, lines=3)
    status, body, headers = await download(stranger, link, Range="bytes=99999-")
    assert (status, code_of(body)) == (416, "InvalidRange")
    assert headers["Content-Range"].startswith("bytes */")
    for header in ("bytes=1-2,5-6", "lines=1-2", "bytes=-", "bytes=9-3"):
        assert (await download(stranger, link, Range=header))[0] == 200


async def test_conditions(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """If-Match, If-None-Match and If-Range compare with the ETag."""
    link = await link_of(session, simulator)
    _, _, headers = await download(stranger, link)
    etag = headers["ETag"]

    assert (await download(stranger, link, **{"If-Match": etag}))[0] == 200
    assert (await download(stranger, link, **{"If-Match": '"other"'}))[0] == 412
    assert (await download(stranger, link, **{"If-None-Match": etag}))[0] == 304
    assert (await download(stranger, link, **{"If-Range": etag, "Range": "bytes=0-9"}))[0] == 206
    assert (await download(stranger, link, **{"If-Range": '"other"', "Range": "bytes=0-9"}))[0] == 200


async def test_faults_of_downloads(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """Downloads fail where a fault names their path, and only there."""
    link = await link_of(session, simulator)
    simulator.fail_next(500)
    assert (await download(stranger, link))[0] == 200
    simulator.heal()
    simulator.fail_next(Status(503), path="*/download/*")
    status, body, _ = await download(stranger, link)
    assert (status, code_of(body)) == (503, "SlowDown")
    # aiohttp's client repeats a GET by itself when a connection it had kept is reset.
    simulator.fail_next(Reset(), path="*/download/*", times=2)
    with pytest.raises(aiohttp.ClientOSError):
        await download(stranger, link)
    simulator.fail_next(Truncated(0.25), path="*/download/*")
    with pytest.raises(aiohttp.ClientPayloadError):
        await download(stranger, link)


async def test_slow_download(
    simulator: AsanaSimulator, session: aiohttp.ClientSession, stranger: aiohttp.ClientSession
) -> None:
    """A download may drip."""
    link = await link_of(session, simulator, lines=3)
    simulator.fail_next(SlowDrip(1.0, piece=100), path="*/download/*")
    loop = asyncio.get_running_loop()
    began = loop.time()
    _, body, _ = await download(stranger, link)

    assert loop.time() - began == pytest.approx(-(-len(body) // 100), abs=0.5)


def test_huge_file_costs_no_memory() -> None:
    """A file of a gibibyte is known by its size, and any part of it is made on demand."""
    tracemalloc.start()
    try:
        file = ExportFile("9", 6_000_000)
        tail = b"".join(file.read(file.size - 400_000, file.size))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert file.size > 2**30
    assert len(tail) == 400_000
    assert peak < 5_000_000


@pytest.mark.parametrize("lines", [0, 1, 499, 500, 501, 1000, 1001])
def test_sizes_of_files(lines: int) -> None:
    """The announced size is the size, whatever the number of lines."""
    file = ExportFile("9", lines)
    content = b"".join(file.read(0, file.size))

    assert len(content) == file.size
    assert len(gzip.decompress(content).splitlines()) == lines


async def test_organization_export(session: aiohttp.ClientSession, stranger: aiohttp.ClientSession) -> None:
    """An organization export has a state of its own words, and one JSON document as its file."""
    async with AsanaSimulator(durations=Fixed(10, waiting=2)) as simulator:
        url = f"{simulator.base_url}/organization_exports"
        async with session.post(url, json={"data": {"organization": "1331"}}) as response:
            assert response.status == 201
            export = (await response.json())["data"]
        seen = [export["state"]]
        for _ in range(2):
            await asyncio.sleep(6)
            async with session.get(f"{url}/{export['gid']}") as response:
                export = (await response.json())["data"]
            seen.append(export["state"])
        _, body, _ = await download(stranger, URL(export["download_url"], encoded=True))

    assert seen == ["pending", "started", "finished"]
    assert export["organization"] == {
        "gid": "1331", "resource_type": "workspace", "name": "Organization 1331",
    }  # fmt: skip
    assert len(json.loads(gzip.decompress(body))) == 100
    assert not simulator.started
