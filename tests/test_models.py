"""What a job is once it has been read: its questions, its JSON, and what it does not show."""

import copy
import json
import pickle
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args, get_origin, get_type_hints

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs import Check, DuplicateProject, JobWaiter, Outcome, models
from asana_jobs._client.bulk.run import Run
from asana_jobs.errors import DecodeError, JobFailedError, NoResultError
from asana_jobs.models import (
    RESULT_SLOTS,
    DatesRollupProgress,
    GraphExportCompact,
    Job,
    JobResult,
    JobStatus,
    OrganizationExport,
    PortfolioCompact,
    ProjectCompact,
    ProjectTemplateCompact,
    ResourceExportCompact,
    TaskCompact,
    TaskTemplateCompact,
    UserCompact,
    WorkspaceCompact,
)
from asana_jobs.operations import Operation


SECRET_URL = "https://asana-export.s3.amazonaws.com/x.json.gz?X-Amz-Signature=hush"

#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

gids = st.text("0123456789", min_size=1, max_size=64)
texts = st.none() | st.text()
#: Zones are whole minutes on the wire, and years far from the calendar's ends.
moments = st.none() | st.datetimes(
    min_value=datetime(2, 1, 1),  # noqa: DTZ001  # Hypothesis adds the zone
    max_value=datetime(9998, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
unknown_fields = st.dictionaries(
    st.text(max_size=6).map("x_".__add__),
    st.none() | st.integers() | st.lists(st.text(max_size=3)),
    max_size=3,
)
exports = {"created_at": moments, "completed_at": moments, "download_url": texts}
named = {"gid": gids, "resource_type": texts, "name": texts}
users = st.builds(UserCompact, **named)
jobs: st.SearchStrategy[Job] = st.builds(
    Job,
    gids,
    status=st.none() | st.sampled_from(JobStatus) | st.text(),
    resource_type=texts,
    resource_subtype=texts,
    new_task=st.none()
    | st.builds(TaskCompact, **named, resource_subtype=texts, created_by=st.none() | users),
    new_project=st.none() | st.builds(ProjectCompact, **named, resource_subtype=texts),
    new_portfolio=st.none() | st.builds(PortfolioCompact, **named, resource_subtype=texts),
    new_project_template=st.none() | st.builds(ProjectTemplateCompact, **named),
    new_task_template=st.none() | st.builds(TaskTemplateCompact, **named),
    new_graph_export=st.none() | st.builds(GraphExportCompact, gid=gids, resource_type=texts, **exports),
    new_resource_export=st.none()
    | st.builds(ResourceExportCompact, gid=gids, resource_type=texts, **exports),
    dates_rollup_progress=st.none()
    | st.builds(
        DatesRollupProgress, total_tasks=st.none() | st.integers(), updated_tasks=st.none() | st.integers()
    ),
    organization_export=st.none()
    | st.builds(
        OrganizationExport,
        gid=gids,
        resource_type=texts,
        state=texts,
        created_at=moments,
        download_url=texts,
        organization=st.none() | st.builds(WorkspaceCompact, **named),
    ),
    raw=unknown_fields,
)


@pytest.mark.parametrize(
    ("status", "done", "succeeded", "failed"),
    [
        (None, False, False, False),
        ("not_started", False, False, False),
        ("in_progress", False, False, False),
        ("succeeded", True, True, False),
        ("failed", True, False, True),
        ("paused", False, False, False),
    ],
)
def test_only_succeeded_and_failed_are_finished(
    status: str | None, done: bool, succeeded: bool, failed: bool
) -> None:
    """A job is done in exactly two states; one that is missing or unknown is not among them."""
    job = Job("1", status=status)

    assert (job.done, job.succeeded, job.failed) == (done, succeeded, failed)


@pytest.mark.parametrize("slot", RESULT_SLOTS)
def test_result_is_the_slot_that_is_filled(slot: str) -> None:
    """Whichever slot Asana fills, ``result`` is what is in it."""
    job = Job.from_dict({"gid": "1", slot: {"gid": "2"}})

    assert job.result is getattr(job, slot)
    assert job.result is not None


def test_result_is_none_while_no_slot_is_filled() -> None:
    """A job that names nothing yet has no result."""
    assert Job("1").result is None


def test_every_slot_of_a_job_counts_as_a_result() -> None:
    """No ``new_*`` field of a job is forgotten by ``result``, nor is an organization export."""
    slots = {field.name for field in attrs.fields(Job) if field.name.startswith("new_")}

    assert set(RESULT_SLOTS) == {*slots, "organization_export"}


@pytest.mark.parametrize("status", [None, "not_started", "in_progress", "succeeded", "paused"])
def test_raise_for_status_returns_a_job_that_did_not_fail(status: str | None) -> None:
    """Calls chain: the same job comes back."""
    job = Job("1", status=status)

    assert job.raise_for_status() is job


def test_raise_for_status_raises_for_a_failed_job() -> None:
    """A failed job becomes a JobFailedError that carries it."""
    job = Job("1", status=JobStatus.FAILED)

    with pytest.raises(JobFailedError, match="job 1 failed") as caught:
        job.raise_for_status()

    assert caught.value.job is job


@pytest.mark.parametrize("slot", RESULT_SLOTS)
def test_expect_result_of_a_job_that_succeeded(slot: str) -> None:
    """Whatever a job has made, it is returned and no ``None`` is to be dealt with."""
    job = Job.from_dict({"gid": "1", "status": "succeeded", slot: {"gid": "2"}})

    assert job.expect_result() is job.result
    assert isinstance(job.expect_result(), JobResult)


def test_expect_result_of_a_failed_job() -> None:
    """A failed job has made nothing whole, even if it names something: the error is that of its failure."""
    job = Job("1", status=JobStatus.FAILED, new_project=ProjectCompact(gid="2"))

    with pytest.raises(JobFailedError, match="2 may be half made") as caught:
        job.expect_result()

    assert caught.value.job is job


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (
            Job("1", status="in_progress", resource_subtype="duplicate_project"),
            "job 1 (duplicate_project) is in_progress: there is no result before it has succeeded.",
        ),
        (
            Job("1", status="paused", new_project=ProjectCompact(gid="2")),
            "job 1 is paused: there is no result before it has succeeded (2 is provisional).",
        ),
        (
            Job("1"),
            "job 1 has no status in its answer: there is no result before it has succeeded.",
        ),
        (
            Job("1", status="succeeded", resource_subtype="rollup_task"),
            (
                "job 1 (rollup_task) has succeeded, but its answer names nothing that it made: a roll-up makes "
                "nothing, and opt_fields leave out what they do not name."
            ),
        ),
    ],
)
def test_expect_result_where_there_is_none(job: Job, message: str) -> None:
    """What is provisional, unknown or not there is not returned; the error says which, and carries the job."""
    with pytest.raises(NoResultError) as caught:
        job.expect_result()

    assert str(caught.value) == message
    assert caught.value.job is job


def test_to_dict_of_an_answer_is_that_answer() -> None:
    """Reading and writing changes nothing: nulls, absent fields and unknown ones at every level included."""
    answer = {
        "gid": "1",
        "resource_type": "job",
        "status": "in_progress",
        "eta": {"seconds": [1, 2]},
        "new_project": None,
        "new_task": {"gid": "2", "name": None, "workspace": {"gid": "3"}, "created_by": {"gid": "4", "x": 1}},
        "new_graph_export": {"gid": "5", "created_at": "2012-02-22T02:06:58.147Z", "download_url": None},
        "dates_rollup_progress": {},
    }

    assert Job.from_dict(answer).to_dict() == answer


@patient
@given(jobs)
def test_round_trip_through_json(job: Job) -> None:
    """Any job is equal to itself after to_dict, JSON and from_dict, unknown fields included."""
    written = json.loads(json.dumps(job.to_dict()))
    again = Job.from_dict(written)

    assert again == job
    assert dict(job.raw).items() <= again.raw.items()
    assert again.to_dict() == written


@patient
@given(jobs, jobs)
def test_round_trip_of_an_evolved_job(job: Job, other: Job) -> None:
    """A job whose fields were replaced is written with the new values, not with those it was read with."""
    read = Job.from_dict(job.to_dict())
    values = {field.name: getattr(other, field.name) for field in attrs.fields(Job) if field.name != "raw"}
    evolved = attrs.evolve(read, **values)

    assert Job.from_dict(evolved.to_dict()) == evolved


def test_to_dict_does_not_change_what_it_writes() -> None:
    """The dictionary is the caller's: changing it leaves the job as it was."""
    job = Job.from_dict({"gid": "1", "new_task": {"gid": "2"}})

    job.to_dict().clear()

    assert job.to_dict() == {"gid": "1", "new_task": {"gid": "2"}}


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2012, 2, 22, 2, 6, 58, 147000, tzinfo=UTC),
        datetime(2012, 2, 22, 2, 6, 58, 147001, tzinfo=UTC),
        datetime(2012, 2, 22, 2, 6, 58, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        datetime(2012, 2, 22, 2, 6, 58, tzinfo=timezone(timedelta(seconds=30))),
    ],
)
def test_a_moment_keeps_its_value(moment: datetime) -> None:
    """Microseconds and zones survive the round trip."""
    job = Job("1", new_graph_export=GraphExportCompact(gid="2", created_at=moment))

    again = Job.from_dict(job.to_dict()).new_graph_export

    assert again is not None
    assert again.created_at == moment


def test_from_dict_of_something_else_is_a_decode_error() -> None:
    """from_dict is as strict as reading an answer."""
    with pytest.raises(DecodeError, match=r"\$\.gid"):
        Job.from_dict({"gid": 1, "status": "succeeded"})


def test_a_job_shows_what_is_known_of_it() -> None:
    """The repr of a job has the fields that an answer had, and none of those that it left out."""
    job = Job("1203", status=JobStatus.IN_PROGRESS, new_project=ProjectCompact(gid="88"), raw={"x": 1})

    assert repr(job) == f"Job(gid='1203', status={JobStatus.IN_PROGRESS!r}, new_project={job.new_project!r})"
    assert repr(Job("1203")) == "Job(gid='1203')"


@pytest.mark.parametrize("slot", ["new_graph_export", "new_resource_export", "organization_export"])
def test_a_download_link_is_not_shown(slot: str) -> None:
    """The signed link is in no repr of a job, though it can be read."""
    job = Job.from_dict({"gid": "1", slot: {"gid": "2", "download_url": SECRET_URL}})

    assert "hush" not in f"{job!r} {job} {job.result!r}"
    assert getattr(job.result, "download_url", None) == SECRET_URL


def test_raw_is_not_compared() -> None:
    """Two answers that say the same about a job are equal, whatever else they say."""
    assert Job.from_dict({"gid": "1", "eta": 5}) == Job.from_dict({"gid": "1"})


def test_a_job_can_be_put_into_a_set() -> None:
    """Equal jobs hash alike."""
    assert len({Job.from_dict({"gid": "1", "eta": 5}), Job.from_dict({"gid": "1"})}) == 1


def pickled(job: Job) -> Job:
    """Send a job to another process and back."""
    again: Job = pickle.loads(pickle.dumps(job))  # noqa: S301  # our own
    assert type(again) is Job
    return again


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, pickled])
def test_a_job_can_be_copied_and_pickled(twin: Callable[[Job], Job]) -> None:
    """A job crosses process borders whole."""
    job = Job.from_dict({"gid": "1", "status": "paused", "new_task": {"gid": "2", "x": 1}})

    assert twin(job) == job
    assert twin(job).raw == job.raw


@pytest.mark.parametrize("kind", [Job, Operation, Outcome, Check, JobWaiter, Run])
def test_brackets_mean_nothing_when_a_program_runs(kind: Any) -> None:
    """Annotations that are evaluated, as frameworks do, may say what a job makes."""
    said = kind[ProjectCompact]

    assert (get_origin(said), get_args(said)) == (kind, (ProjectCompact,))
    assert str(said | None).startswith(f"{kind.__module__}.{kind.__qualname__}[")


def test_a_job_made_with_brackets_is_a_plain_one() -> None:
    """Brackets leave no trace in a job: it has no dictionary, equals others and is one of its class."""
    job = Job[ProjectCompact]("1", status="succeeded", new_project=ProjectCompact(gid="2"))

    assert type(job) is Job
    assert job == Job.from_dict({"gid": "1", "status": "succeeded", "new_project": {"gid": "2"}})
    assert pickled(job) == attrs.evolve(job, new_project=job.result)
    assert weakref.ref(job)() is job
    assert not hasattr(job, "__dict__")


@pytest.mark.parametrize("kind", [Job, DuplicateProject, Outcome, Check])
def test_annotations_can_be_read(kind: type[attrs.AttrsInstance]) -> None:
    """Whoever reads the types of fields and methods, as cattrs does, finds all names that they use."""
    assert attrs.resolve_types(kind) is kind
    for name, member in vars(kind).items():
        if not name.startswith("__"):
            get_type_hints(
                getattr(member, "fget", member) if callable(member) or isinstance(member, property) else kind
            )


def test_a_job_is_frozen() -> None:
    """Nobody changes a job under somebody else's hands."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Job("1").status = "failed"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("state", JobStatus)
def test_a_state_is_the_text_asana_sends(state: JobStatus) -> None:
    """A JobStatus compares, prints and writes as its text."""
    assert (state, str(state), json.dumps(state)) == (state.value, state.value, f'"{state.value}"')


@pytest.mark.parametrize("name", models.__all__)
def test_every_public_name_of_the_models_exists(name: str) -> None:
    """``asana_jobs.models`` has what it promises, documented."""
    assert getattr(models, name).__doc__
