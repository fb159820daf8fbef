"""What a wait is about: whatever a user hands in, and continuation tokens that anybody may have touched."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs import AsanaClient, Check, DuplicateTask, Outcome, Response
from asana_jobs._client.waiting.job_reference import TOKEN_VERSION, JobReference, read_subject
from asana_jobs.errors import JobFailedError
from asana_jobs.models import (
    GraphExportCompact,
    Job,
    JobStatus,
    OrganizationExport,
    ProjectCompact,
    TaskCompact,
)
from asana_jobs.testing import FakeClock, ScriptedTransport


#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

MOMENT = datetime(2026, 1, 1, 12, 30, 15, 250_000, tzinfo=UTC)
WHOLE = JobReference(
    gid="1203",
    kind="duplicate_project",
    source="12",
    started_at=MOMENT,
    last_status="in_progress",
    looks=7,
    looked_at=MOMENT + timedelta(seconds=30),
    trouble_since=MOMENT + timedelta(seconds=20),
)
TOKEN = WHOLE.to_token()
FIELDS: dict[str, Any] = json.loads(TOKEN)

gids = st.text("0123456789", min_size=1, max_size=64)
texts = st.none() | st.text(max_size=20)
counts = st.integers(0, 10**9 - 1)
#: Tokens hold milliseconds, from 1970 on.
moments = st.none() | st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001  # Hypothesis adds the zone
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
).map(lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000))
subjects = st.builds(
    JobReference,
    gid=gids,
    kind=texts,
    source=texts,
    started_at=moments,
    first_seen=st.booleans(),
    last_status=texts,
    looks=counts,
    looked_at=moments,
    trouble_since=moments,
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.text(max_size=5), below, max_size=2),
    max_leaves=4,
)


def token(**changes: object) -> str:
    """Return a good token with some of its fields replaced."""
    return json.dumps(FIELDS | changes)


def outcome(text: str) -> JobReference | None:
    """Read a token: ``None`` if it is refused with a ValueError; anything else it raises is raised."""
    try:
        return read_subject(text)
    except ValueError:
        return None


# What users hand in.


def test_a_gid_is_a_subject() -> None:
    """Nothing is known about a bare gid."""
    assert read_subject("1203") == JobReference(gid="1203")


@pytest.mark.parametrize("status", [*JobStatus, "paused"])
def test_a_job_is_its_own_first_look(status: str) -> None:
    """What the POST answered counts as look number zero."""
    job = Job("1203", status=status, resource_subtype="duplicate_task")

    subject = read_subject(job)

    assert (subject.gid, subject.kind, subject.job, subject.last_status) == (
        "1203",
        "duplicate_task",
        job,
        status,
    )
    assert subject.looks == 0


def test_a_job_without_a_status_is_no_look() -> None:
    """A job whose status was left out says nothing about the job's state."""
    assert read_subject(Job("1203")).job is None


def test_an_answer_of_the_official_sdk_is_a_job() -> None:
    """A mapping with a gid is read as the job it describes."""
    answer = {"gid": "1203", "resource_type": "job", "status": "in_progress", "new_task": {"gid": "5"}}

    assert read_subject(answer) == read_subject(Job.from_dict(answer))


@pytest.mark.parametrize(
    ("thing", "complaint"),
    [
        ("", "job gid must be a string of digits"),
        ("../1", "job gid must be a string of digits"),
        ("[]", "job gid must be a string of digits"),
        (" 1203", "job gid must be a string of digits"),
        ("1" * 10_000, "job gid must have at most 64 digits"),
        (
            1203,
            "a job is a Job, a gid, a mapping with a gid or a continuation token, not 1203: a gid is text, '1203'",
        ),
        (True, "a job is a Job, .* not True$"),
        (-1203, "a job is a Job, .* not -1203$"),
        (None, "a job is a Job, .* not None"),
        (b"1203", "a job is a Job, .* not b'1203': a gid is text, '1203'$"),
        (Job, "a job is a Job, .* not the class Job itself$"),
        (["1203"], r"a job is a Job, .* not \['1203'\], which is several: monitor_jobs takes them all$"),
        ({}, "not a job's answer: .*required field missing"),
        ({"gid": 1203}, "not a job's answer: .*expected a string, not a number"),
        ({"data": {"gid": 1203}}, "not a job's answer: .*expected a string, not a number"),
        ({"data": {}}, "not a job's answer: .*required field missing"),
        ({"data": [{"gid": "1203"}]}, "not a job's answer: its data are a list; hand in one of them$"),
        (
            {"errors": [{"message": "Not Authorized"}]},
            "not a job's answer: it says what went wrong, .*Not Authorized",
        ),
        (
            {"kind": "rollup_task", "gid": "12"},
            "not a job's answer: it is an operation, 'rollup_task': start it first",
        ),
        (
            {"gid": "7", "resource_type": "project", "name": "Q3"},
            r"^this is a project \(gid '7'\), not a job: hand in the job that the starting call returned, which has a gid",
        ),
        (
            {"data": {"gid": "7", "resource_type": "graph_export"}},
            r"^this is a graph_export \(gid '7'\), not a job",
        ),
        (Job("../1"), "job gid must be a string of digits"),
    ],
    ids=lambda thing: f"{thing!r:.30}",
)
def test_what_is_no_job_is_a_value_error(thing: Any, complaint: str) -> None:
    """Anything a wait cannot be about is refused with what it is, shortly."""
    with pytest.raises(ValueError, match=complaint) as caught:
        read_subject(thing)

    assert type(caught.value) is ValueError
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "whole",
    [
        {"data": {"gid": "1203", "resource_type": "job", "status": "in_progress", "new_task": {"gid": "5"}}},
        MappingProxyType(
            {"data": MappingProxyType({"gid": "1203", "status": "in_progress", "new_task": {"gid": "5"}})}
        ),
    ],
)
def test_a_whole_answer_is_unwrapped(whole: Mapping[str, Any]) -> None:
    """The body as it came is read as what is inside its ``data``."""
    subject = read_subject(whole)

    assert (subject.gid, subject.last_status) == ("1203", "in_progress")
    assert subject.job is not None
    assert subject.job.result == TaskCompact(gid="5")


@pytest.mark.parametrize("kind", ["job", "organization_export", None])
def test_what_may_be_waited_for_is_recognised_by_its_type(kind: str | None) -> None:
    """Jobs, exports of organizations, and what does not say what it is."""
    answer = {"gid": "1203", "resource_type": kind}

    assert read_subject({"data": answer}).gid == read_subject(answer).gid == "1203"


class _Pending:
    """What ``async_req=True`` of the official SDK returns, as far as it matters."""

    def ready(self) -> bool:
        return True

    def get(self) -> object:
        return {"gid": "1203"}


class _Model:
    """What generated clients return."""

    gid = "1203"

    def to_dict(self) -> object:
        return {"gid": "1203"}


CHECK = Check(job=None, done=False, retry_in=1.0, continuation_token=TOKEN)


@pytest.mark.parametrize(
    ("thing", "advice"),
    [
        (DuplicateTask("12"), "a DuplicateTask: start it first, and hand in the job that start(operation) returns"),
        (ProjectCompact(gid="7"), "a ProjectCompact: that is what a job makes; hand in the job, which has a gid of its own"),
        (OrganizationExport(gid="7"), "an OrganizationExport: that is what a job makes; hand in the job, "),
        (Response(200, {}, b"{}"), "a Response: hand in its json()"),
        (CHECK, "a Check: hand in its continuation_token"),
        (Outcome(DuplicateTask("12"), Job("1203"), None, "k"), "an Outcome: hand in its job"),
        (Outcome(DuplicateTask("12"), None, None, "k", continuation_token=TOKEN), "an Outcome: hand in its continuation_token"),
        (JobFailedError(job=Job("1203", status="failed")), "a JobFailedError: hand in its job"),
        (_Pending(), "a _Pending: call its get() first"),
        (_Model(), "a _Model: hand in its to_dict()"),
    ],
    ids=lambda thing: f"{type(thing).__name__}",
)  # fmt: skip
def test_what_is_beside_a_job_is_told_apart(thing: Any, advice: str) -> None:
    """Values that have to do with a job are refused with what to hand in instead."""
    with pytest.raises(ValueError, match=f"a continuation token, not {re.escape(advice)}"):
        read_subject(thing)


async def test_every_call_about_one_job_takes_a_whole_answer(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Waiting, looking, monitoring and reading take the body of an answer, and refuse a project's."""
    transport.play("succeeded")
    whole = {"data": {"gid": "1203", "resource_type": "job"}}
    project = {"data": {"gid": "7", "resource_type": "project"}}

    assert (await client.get_job(whole)).gid == "1203"
    assert (await client.wait_for_job(whole)).gid == "1203"
    assert (await client.check_job(whole)).done
    async with client.monitor_jobs([whole]) as monitor:
        assert [job.gid async for job in monitor] == ["1203"]
    for call in (client.get_job, client.check_job, client.wait_for_job, client.monitor_jobs([]).add):
        with pytest.raises(ValueError, match="this is a project"):
            outcome: Any = call(project)
            await outcome


async def test_a_job_is_read_again_by_whatever_names_it(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """``get_job`` takes a job, a token and an export of an organization, which Asana keeps elsewhere."""
    transport.play("in_progress")

    await client.get_job(Job("1203"))
    await client.get_job(TOKEN)
    await client.get_job({"gid": "5", "resource_type": "organization_export", "state": "started"})

    assert [request.path for request in transport.requests] == [
        "/jobs/1203",
        "/jobs/1203",
        "/organization_exports/5",
    ]


def test_what_was_not_awaited_is_to_be() -> None:
    """The job of a starting call that was not awaited is refused with what is missing."""

    async def start() -> Job:
        return Job("1203")

    started = start()
    with pytest.raises(ValueError, match="not a coroutine: await it first"):
        read_subject(started)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    started.close()


# Continuation tokens.


def test_a_token_round_trips() -> None:
    """A wait resumed from its token knows what it knew."""
    assert read_subject(TOKEN) == WHOLE


@patient
@given(subjects)
def test_any_subject_round_trips(subject: JobReference) -> None:
    """Whatever is known of a job, its token keeps it; and the token of the token is the same."""
    again = read_subject(subject.to_token())

    assert again == subject
    assert again.to_token() == subject.to_token()


def test_a_token_is_versioned_json() -> None:
    """A token is one line of JSON that says its version first."""
    assert json.loads(TOKEN)["v"] == TOKEN_VERSION == 1
    assert TOKEN.startswith('{"v":1,')
    assert TOKEN.isascii()
    assert "\n" not in TOKEN


def test_a_token_of_version_one_is_read_for_ever() -> None:
    """The text that version 0.1 wrote is still understood."""
    written = (
        '{"v":1,"gid":"1203","kind":"duplicate_project","source":"12","started_at":"2026-01-01T12:30:15.250+00:00",'
        '"status":"in_progress","looks":7,"looked_at":"2026-01-01T12:30:45.250+00:00",'
        '"trouble_since":"2026-01-01T12:30:35.250+00:00"}'
    )

    assert read_subject(written) == WHOLE


def test_a_token_needs_only_a_version_and_a_gid() -> None:
    """Fields that are missing are not known."""
    assert read_subject('{"v":1,"gid":"1203"}') == JobReference(gid="1203")


def test_fields_of_a_later_minor_version_are_ignored() -> None:
    """A token with a field we do not know is read as far as we know it."""
    assert read_subject(token(mood="good")) == WHOLE


def test_blanks_around_a_token_do_not_matter() -> None:
    """A token that was pasted with a line end is a token."""
    assert read_subject(f"\n {TOKEN}\n") == WHOLE


def test_a_token_holds_nothing_but_what_it_lists() -> None:
    """No link, no raw answer and no name gets into a token: it may be stored anywhere."""
    export = GraphExportCompact(gid="5", download_url="https://s3.example/x?X-Amz-Signature=hush")
    job = Job("1203", status="succeeded", new_graph_export=export, raw={"gid": "1203", "name": "hush"})

    written = read_subject(job).to_token()

    assert "hush" not in written
    assert set(json.loads(written)) <= {
        *("v", "gid", "collection", "kind", "source", "started_at", "first_seen", "status", "looks"),
        *("looked_at", "trouble_since", "not_found"),
    }


@pytest.mark.parametrize("version", [2, 99, 10**6])
def test_a_token_of_a_newer_version_says_upgrade(version: int) -> None:
    """What a newer version wrote is refused with the way out."""
    with pytest.raises(ValueError, match=rf"\(version {version}\) was made by a newer asana_jobs: upgrade"):
        read_subject(token(v=version))


@pytest.mark.parametrize("version", [0, -1, None, "1", "2", 1.5, [], {}])
def test_a_token_of_no_known_version_is_refused(version: object) -> None:
    """JSON that is not a token is not taken for one."""
    with pytest.raises(ValueError, match="not a continuation token: it has no version this asana_jobs knows"):
        read_subject(token(v=version))


@pytest.mark.parametrize("length", range(1, len(TOKEN)))
def test_a_truncated_token_says_so(length: int) -> None:
    """A token cut short anywhere is refused as such, never half read."""
    with pytest.raises(ValueError, match="was it cut short"):
        read_subject(TOKEN[:length])


@pytest.mark.parametrize(
    "text", ["{", "{}", "{" * 100_000, '{"a":' * 100_000, '{"v":1}', '{"v":1,"gid":"../1"}']
)
def test_what_merely_looks_like_a_token_is_refused(text: str) -> None:
    """Other JSON, and what is none, is a ValueError with a short message."""
    with pytest.raises(ValueError, match="continuation token") as caught:
        read_subject(text)

    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("gid", 1203, "the continuation token's gid must be a string of digits"),
        ("gid", "../1", "the continuation token's gid must be a string of digits"),
        ("gid", None, "the continuation token's gid must be a string of digits"),
        ("kind", 5, "the continuation token's kind must be text"),
        ("source", ["12"], "the continuation token's source must be text"),
        ("status", {}, "the continuation token's status must be text"),
        ("looks", -1, "the continuation token's looks must be a count"),
        ("looks", 1.5, "the continuation token's looks must be a count"),
        ("looks", True, "the continuation token's looks must be a count"),
        ("looks", 10**30, "the continuation token's looks must be a count"),
        ("looks", None, "the continuation token's looks must be a count"),
        ("started_at", 5, "the continuation token's started_at must be a date-time"),
        ("started_at", "yesterday", "the continuation token's started_at must be a date-time"),
        (
            "started_at",
            "2026-01-01T00:00:00",
            "the continuation token's started_at must be a date-time with a zone",
        ),
        (
            "started_at",
            "0001-01-01T00:00:00+14:00",
            "the continuation token's started_at must be a date-time",
        ),
        ("looked_at", "x" * 10_000, "the continuation token's looked_at must be a date-time"),
        ("trouble_since", "", "the continuation token's trouble_since must be a date-time"),
    ],
)
def test_a_tampered_field_is_named(field: str, value: object, complaint: str) -> None:
    """A field that was changed into something senseless is refused by name, shortly."""
    with pytest.raises(ValueError, match=complaint) as caught:
        read_subject(token(**{field: value}))

    assert len(str(caught.value)) < 300


@patient
@given(st.sampled_from(sorted(FIELDS)), json_values)
def test_any_value_in_any_field_is_read_or_a_value_error(field: str, value: object) -> None:
    """Whatever is put into a field of a token, reading it gives a subject with a gid, or a ValueError."""
    subject = outcome(token(**{field: value}))

    assert subject is None or subject.gid.isdigit()


@patient
@given(st.integers(0, len(TOKEN)), st.integers(0, 20), st.text(max_size=20))
def test_any_edit_of_a_token_is_read_or_a_value_error(start: int, length: int, text: str) -> None:
    """Whatever is cut out of a token or written into it, reading it gives a subject with a gid, or a ValueError."""
    subject = outcome(TOKEN[:start] + text + TOKEN[start + length :])

    assert subject is None or subject.gid.isdigit()


@patient
@given(
    st.text() | st.text().map("{".__add__) | st.dictionaries(st.text(max_size=5), json_values).map(json.dumps)
)
def test_any_text_is_read_or_a_value_error(text: str) -> None:
    """No text makes reading a subject raise anything but ValueError."""
    subject = outcome(text)

    assert subject is None or subject.gid.isdigit()


@pytest.mark.parametrize(
    "changes",
    [
        {"started_at": "1971-01-01T00:00:00+14:00", "looked_at": "1971-01-01T00:00:00Z"},
        {"started_at": "9999-12-31T23:59:59-14:00", "looked_at": "9999-12-31T23:59:59-14:00"},
        {"looked_at": "9999-12-31T23:59:59Z", "trouble_since": "9999-12-31T23:59:59Z"},
        {"looked_at": None, "looks": 10**9 - 2},
        {"status": "succeeded"},
    ],
)
@pytest.mark.parametrize("answer", ["in_progress", "succeeded", 503])
async def test_a_token_that_is_read_can_be_used(changes: dict[str, object], answer: str | int) -> None:
    """Whatever moments a token holds, a look resumed from it works and writes a token again."""
    text = token(**{"trouble_since": None} | changes)
    async with AsanaClient("test-token", transport=ScriptedTransport(answer), clock=FakeClock()) as client:
        check = await client.check_job(text)

    assert read_subject(check.continuation_token).gid == "1203"
    assert check.done == (answer == "succeeded")


def test_a_subject_cannot_be_changed() -> None:
    """What a wait is about stays what it is."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        WHOLE.gid = "5"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
