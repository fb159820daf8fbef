"""What is logged: which records, at which level, with which fields beside their text."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest

from asana_jobs import AsanaClient, DuplicateProject, Response, events
from asana_jobs._client.telemetry.log_fields import about_job, about_request, about_row
from asana_jobs.errors import ServerError
from asana_jobs.testing import ScriptedTransport


COPY = DuplicateProject("77", name="Q3 launch")


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything the library logs."""
    with caplog.at_level(logging.DEBUG, "asana_jobs"):
        yield caplog


def told(log: pytest.LogCaptureFixture, level: int) -> list[tuple[str, dict[str, Any]]]:
    """The text and the fields of each record of a level."""
    return [
        (
            record.getMessage(),
            {name: value for name, value in vars(record).items() if name.startswith("asana_")},
        )
        for record in log.records
        if record.levelno == level
    ]


async def test_debug_tells_of_requests_and_jobs(
    client: AsanaClient, transport: ScriptedTransport, log: pytest.LogCaptureFixture
) -> None:
    """At DEBUG there is a record for each request, each job started and each change of a job."""
    transport.play({"gid": "1203", "status": "not_started"}, "in_progress", "in_progress", "succeeded")

    await client.wait_for_job(await client.start(COPY))

    path = "/projects/77/duplicate"
    sent = {"asana_method": "POST", "asana_path": path, "asana_gid": "77", "asana_status_code": 201}
    look = {"asana_method": "GET", "asana_path": "/jobs/1203", "asana_gid": "1203", "asana_status_code": 200}
    started = {"asana_gid": "1203", "asana_status": "not_started", "asana_kind": "duplicate_project"}
    assert told(log, logging.DEBUG) == [
        (f"POST {path} was answered 201", sent),
        ("duplicate_project of 77 started job 1203", started),
        ("GET /jobs/1203 was answered 200", look),
        ("job 1203: in_progress", {"asana_gid": "1203", "asana_status": "in_progress"}),
        ("GET /jobs/1203 was answered 200", look),
        ("GET /jobs/1203 was answered 200", look),
        ("job 1203: succeeded", {"asana_gid": "1203", "asana_status": "succeeded"}),
    ]
    assert told(log, logging.INFO) == []


async def test_info_tells_of_rejections_and_repetitions(
    client: AsanaClient, transport: ScriptedTransport, log: pytest.LogCaptureFixture
) -> None:
    """At INFO there is a record for each 429 and each repetition."""
    transport.play(Response(429, {"retry-after": "20"}), "succeeded")

    await client.get_job("1203")

    request = {"asana_method": "GET", "asana_path": "/jobs/1203", "asana_gid": "1203"}
    (rejected, rejected_fields), (repeated, repeated_fields) = told(log, logging.INFO)
    assert rejected == "429 for GET /jobs/1203, Retry-After 20.0"
    assert rejected_fields == {**request, "asana_status_code": 429, "asana_retry_after": 20.0}
    assert repeated.startswith("GET /jobs/1203 will be repeated: ")
    assert repeated_fields == {**request, "asana_error": "RateLimitError"}


async def test_repetitions_are_logged_when_they_are_made(
    client: AsanaClient, transport: ScriptedTransport, log: pytest.LogCaptureFixture
) -> None:
    """The last failure of a call is not logged as one that will be repeated."""
    transport.play(503)

    with pytest.raises(ServerError):
        await client.get_job("1203")

    assert len(told(log, logging.INFO)) == len(transport.requests) - 1


async def test_starts_of_a_run_that_are_repeated_are_logged(
    client: AsanaClient, transport: ScriptedTransport, log: pytest.LogCaptureFixture
) -> None:
    """A bulk run logs the repetition of a start as a single call does."""
    transport.play(429, "succeeded")

    await client.run(COPY)

    assert [fields.get("asana_error") for _, fields in told(log, logging.INFO)] == [None, "RateLimitError"]


async def test_trouble_is_logged_once_a_streak(
    client: AsanaClient, transport: ScriptedTransport, log: pytest.LogCaptureFixture
) -> None:
    """A wait that looks past trouble says so when it begins, with the kind of the error."""
    transport.play(503, 503, "in_progress", 503, "succeeded")

    await client.wait_for_job("1203")

    fields = [fields for _, fields in told(log, logging.INFO)]
    assert fields == [{"asana_gid": "1203", "asana_error": "ServerError"}] * 2


async def test_an_unknown_status_is_a_warning(
    client: AsanaClient, transport: ScriptedTransport, log: pytest.LogCaptureFixture
) -> None:
    """A status that this version does not know is logged once."""
    transport.play("paused", "paused", "succeeded")

    await client.wait_for_job("1203")

    ((_, fields),) = told(log, logging.WARNING)
    assert fields == {"asana_gid": "1203", "asana_status": "paused"}


async def test_what_is_off_is_not_written(
    client: AsanaClient, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """Where DEBUG is off there is no record of a wait without trouble."""
    caplog.set_level(logging.INFO, "asana_jobs")
    transport.play("in_progress", "succeeded")

    await client.wait_for_job("1203")

    assert caplog.records == []


def fields() -> set[str]:
    """Every field there is."""
    error = ServerError("", method="GET", path="/jobs/1", gid="1", status=500, messages=(), help=None)
    return {
        *about_request(error, status_code=500, retry_after=1.0, error=error),
        *about_job("1", "in_progress", kind="duplicate_task", error=error),
        *about_row("key", error),
    }


def test_fields_do_not_collide() -> None:
    """No field has the name of anything that a record has anyway, which logging would refuse."""
    record = logging.makeLogRecord({"message": "", "asctime": ""})

    assert fields() & vars(record).keys() == set()
    assert all(name.startswith("asana_") for name in fields())


def test_the_page_has_every_field() -> None:
    """The fields on the page about events are those there are."""
    _, _, section = (events.__doc__ or "").partition("\n## Logging\n")
    section, _, _ = section.partition("\n## ")

    assert set(re.findall(r"`(asana_(?!jobs)[a-z_]+)`", section)) == fields() | {"asana_event"}
