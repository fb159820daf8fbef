import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from asana_jobs import AsanaClient, ExportGraph, ExportOrganization, Job, Ledger
from asana_jobs.errors import DownloadError, JobFailedError, JobTimeoutError, NotFoundError
from asana_jobs.testing import AsanaSimulator


PATH = "/organization_exports/*"


async def finished(client: AsanaClient) -> Job:
    """An organization export that has finished."""
    return await client.wait_for_job(await client.export_organization("1199"))


async def test_it_is_waited_for_like_a_job(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """Its states come as a job's, in a job's words, and its own path is looked at."""
    started = await wired.export_organization("1199")
    seen = [job.status async for job in wired.wait_for_job(started)]

    assert seen == [started.status, "succeeded"] == ["in_progress", "succeeded"]
    assert len(simulator.requests.where(method="GET", path=PATH)) >= 1
    assert len(simulator.requests.where(path="/jobs/*")) == 0


async def test_it_is_its_own_result(wired: AsanaClient) -> None:
    """A finished one names its organization and a link, as its result."""
    job = await finished(wired)

    assert job.succeeded
    assert job.result is job.organization_export
    assert job.organization_export is not None
    assert job.organization_export.download_url is not None
    assert job.organization_export.organization is not None
    assert job.organization_export.organization.gid == "1199"


async def test_it_can_be_run(wired: AsanaClient) -> None:
    """`run` starts it and waits for it."""
    assert (await wired.run(ExportOrganization("1199"))).succeeded


async def test_many_can_be_run(wired: AsanaClient) -> None:
    """`run_all` takes it beside other operations."""
    operations = [ExportOrganization("1199"), ExportGraph("1203"), ExportOrganization("1198")]
    outcomes = [outcome async for outcome in wired.run_all(operations)]

    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert {outcome.operation for outcome in outcomes} == set(operations)


@pytest.mark.parametrize("newer", [False, True])
async def test_a_run_that_was_interrupted_goes_on_with_it(
    simulator: AsanaSimulator, wired: AsanaClient, tmp_path: Path, newer: bool
) -> None:
    """A ledger knows that it is no job: even where the token that it holds is of a newer version."""
    operation, path = ExportOrganization("1199"), tmp_path / "exports.ledger"
    with Ledger.open(path) as ledger:
        [stopped] = [outcome async for outcome in wired.run_all([operation], ledger=ledger, timeout=0)]
    if newer:
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE operations SET continuation_token = '{\"v\": 99}'")
    with Ledger.open(path) as ledger:
        [ended] = [outcome async for outcome in wired.run_all([operation], ledger=ledger)]

    assert isinstance(stopped.error, JobTimeoutError)
    assert ended.succeeded
    assert len(simulator.requests.where(method="POST")) == 1
    assert len(simulator.requests.where(path="/jobs/*")) == 0


async def test_one_that_fails_is_a_result(
    simulator: AsanaSimulator, wired: AsanaClient, tmp_path: Path
) -> None:
    """`error` is a job's `failed`: a result of waiting, an error of raise_for_status and of downloading."""
    started = await wired.export_organization("1199")
    simulator.domain.organization_exports[started.gid].finish("failed")
    job = await wired.wait_for_job(started)

    assert job.failed
    with pytest.raises(JobFailedError):
        job.raise_for_status()
    with pytest.raises(DownloadError, match=r"failed, there is no file\. Start the export again"):
        await wired.download_export(job, tmp_path / "nowhere")


async def test_a_wait_can_be_resumed(simulator: AsanaSimulator, wired: AsanaClient) -> None:
    """The continuation token of a wait that gave up knows that it is no job."""
    started = await wired.export_organization("1199")
    with pytest.raises(JobTimeoutError) as raised:
        await wired.wait_for_job(started, timeout=0)
    token = raised.value.continuation_token
    async with AsanaClient("other-token", base_url=simulator.base_url) as other:
        job = await other.wait_for_job(token)

    assert job.succeeded
    assert job.gid == started.gid
    assert len(simulator.requests.where(path="/jobs/*")) == 0


async def test_a_token_is_enough_to_download_it(
    simulator: AsanaSimulator, wired: AsanaClient, tmp_path: Path
) -> None:
    """A continuation token leads to the file, too."""
    waiter = wired.wait_for_job(await wired.export_organization("1199"))
    await waiter
    path = await wired.download_export(waiter.continuation_token(), tmp_path / "export.json.gz")

    assert path.stat().st_size > 0


async def test_a_gid_alone_is_taken_for_a_job(wired: AsanaClient, tmp_path: Path) -> None:
    """The gid alone does not say that it is an organization export: it is looked for among the jobs."""
    job = await finished(wired)

    with pytest.raises((NotFoundError, DownloadError)):
        await wired.download_export(job.gid, tmp_path / "nowhere")


async def test_its_file_is_one_document(wired: AsanaClient, tmp_path: Path) -> None:
    """The file on disk is what Asana serves: a gzipped JSON list."""
    path = await wired.download_export(await finished(wired), tmp_path / "export.json.gz")

    assert len(json.loads(gzip.decompress(path.read_bytes()))) == 100


@pytest.mark.parametrize("lines", [0, 1, 2000])
async def test_its_records_can_be_iterated(simulator: AsanaSimulator, wired: AsanaClient, lines: int) -> None:
    """The elements of the document come as records, as those of any export."""
    job = await finished(wired)
    simulator.domain.organization_exports[job.gid].lines = lines
    gids = [record["gid"] async for record in wired.iter_export(job)]

    assert gids == [f"13{number:014d}" for number in range(lines)]


async def test_its_dead_links_are_renewed(
    simulator: AsanaSimulator, wired: AsanaClient, tmp_path: Path
) -> None:
    """A fresh link is asked for at its own path."""
    job = await finished(wired)
    looks = len(simulator.requests.where(path=PATH))
    simulator.fail_next(403, path="*/download/*")
    await wired.download_export(job, tmp_path / "export.json.gz")

    assert len(simulator.requests.where(path=PATH)) == looks + 2
    assert len(simulator.downloads.where(status=200)) == 1
