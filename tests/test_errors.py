"""The exception tree: as drawn, below one root, and able to cross process borders."""

import copy
import inspect
import pickle
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

import asana_jobs
from asana_jobs import errors
from asana_jobs.errors import (
    APIError,
    AsanaJobsError,
    DecodeError,
    JobError,
    JobFailedError,
    JobTimeoutError,
    NoResultError,
    NotFoundError,
    OutcomeUnknownError,
    RateLimitError,
    RequestError,
    RequestTimeoutError,
)
from asana_jobs.models import Job, JobStatus, ProjectCompact
from asana_jobs.operations import DuplicateProject


JOB = Job(
    "1203",
    status=JobStatus.FAILED,
    resource_subtype="duplicate_project",
    new_project=ProjectCompact(gid="88"),
)
TOKEN = '{"v":1,"gid":"1203"}'
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
CLASSES = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, BaseException) and kind.__module__ == errors.__name__
}


def drawn_tree() -> dict[str, str | None]:
    """Read the tree in the module's docstring: each class with its parent."""
    tree: dict[str, str | None] = {}
    stack: list[str] = []
    drawing = (errors.__doc__ or "").partition("```text\n")[2].partition("```")[0]
    for line in drawing.splitlines():
        if found := re.match(r"^([│ ├└─]*)(\w+(?:Error))\b", line):
            depth = len(found[1]) // 4
            del stack[depth:]
            tree[found[2]] = stack[-1] if stack else None
            stack.append(found[2])
    return tree


#: What each branch of the tree takes besides its message, every attribute filled.
ARGUMENTS: dict[type[AsanaJobsError], dict[str, Any]] = {
    OutcomeUnknownError: {
        "operation": DuplicateProject("12", name="Q3", include=["members"]),
        "sent_at": MOMENT,
        "check": "look for 'Q3'",
    },
    APIError: {
        "status": 500,
        "messages": ("a", "b"),
        "help": "h",
        "phrase": "p",
        "retry_after": 3.0,
        "readable": False,
    },
    RequestError: {"method": "POST", "path": "/projects/12/duplicate", "gid": "12"},
    DecodeError: {"problems": ("x @ $.gid",), "gid": "12"},
    JobError: {"job": JOB},
}


def sample(kind: type[AsanaJobsError]) -> AsanaJobsError:
    """Make an error of a kind, with every attribute filled."""
    if kind is JobFailedError:
        return JobFailedError(job=JOB)
    if kind is NoResultError:
        return NoResultError(job=JOB)
    if kind is JobTimeoutError:
        return JobTimeoutError(gid="1203", job=JOB, waited=300, continuation_token=TOKEN)
    make: Callable[..., AsanaJobsError] = kind
    more = [given for branch, given in ARGUMENTS.items() if issubclass(kind, branch)]
    return make("it happened", **{name: value for given in more for name, value in given.items()})


def dumped(error: AsanaJobsError) -> AsanaJobsError:
    """Send an error to another process and back."""
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    assert isinstance(again, AsanaJobsError)
    return again


def test_the_tree_is_as_drawn() -> None:
    """The drawing at the top of the module and the classes below it agree, parent by parent."""
    actual = {
        name: next((base.__name__ for base in kind.__bases__ if base.__name__ in CLASSES), None)
        for name, kind in CLASSES.items()
    }

    assert drawn_tree() == actual


def test_the_tree_is_drawn_whole() -> None:
    """No class of the tree is left out of what the module exports, and nothing else is in it."""
    assert set(errors.__all__) == set(CLASSES) == set(drawn_tree())


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_below_the_root(name: str) -> None:
    """``except AsanaJobsError`` catches whatever is raised on purpose."""
    assert issubclass(CLASSES[name], AsanaJobsError)


@pytest.mark.parametrize("name", sorted(asana_jobs.__all__))
def test_no_exported_exception_is_outside_the_tree(name: str) -> None:
    """Whatever exception the package exports is below the one root."""
    value = getattr(asana_jobs, name)

    assert not (inspect.isclass(value) and issubclass(value, BaseException)) or issubclass(
        value, AsanaJobsError
    )


@pytest.mark.parametrize("kind", [RequestTimeoutError, JobTimeoutError])
def test_timeouts_are_timeout_errors(kind: type[AsanaJobsError]) -> None:
    """``except TimeoutError`` catches both kinds of running out of time."""
    assert isinstance(sample(kind), TimeoutError)


def test_only_timeouts_are_os_errors() -> None:
    """No other error is caught by an ``except OSError`` that is meant for files."""
    assert {kind.__name__ for kind in CLASSES.values() if issubclass(kind, OSError)} == {
        "RequestTimeoutError",
        "JobTimeoutError",
    }


@pytest.mark.parametrize("kind", CLASSES.values())
@pytest.mark.parametrize("again", [dumped, copy.copy, copy.deepcopy])
def test_every_error_survives_copying_and_pickling(
    kind: type[AsanaJobsError], again: Callable[[AsanaJobsError], AsanaJobsError]
) -> None:
    """Class, message, arguments and every attribute are the same in the copy."""
    error = sample(kind)

    twin = again(error)

    assert twin is not error
    assert (type(twin), str(twin), twin.args, repr(twin)) == (kind, str(error), error.args, repr(error))
    assert twin.__dict__ == error.__dict__


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_pickle_protocol_does(protocol: int) -> None:
    """An error crosses to a Python that speaks an older pickle."""
    error = sample(OutcomeUnknownError)

    again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301  # our own

    assert again.__dict__ == error.__dict__


def test_an_unknown_outcome_keeps_its_operation() -> None:
    """What was being started can be read, and started, after the error has crossed a process border."""
    again = dumped(sample(OutcomeUnknownError))

    assert isinstance(again, OutcomeUnknownError)
    assert again.operation == DuplicateProject("12", name="Q3", include=["members"])
    assert (again.sent_at, again.check) == (MOMENT, "look for 'Q3'")


def test_a_job_in_an_error_keeps_its_unknown_fields() -> None:
    """The raw answer survives the border with the job."""
    error = JobFailedError(job=attrs.evolve(JOB, raw={"gid": "1203", "eta": 5}))

    again = dumped(error)

    assert isinstance(again, JobFailedError)
    assert again.job.raw == {"gid": "1203", "eta": 5}


def test_notes_survive_too() -> None:
    """What was added to an error with add_note is still there."""
    error = sample(RateLimitError)
    error.add_note("while copying 12")

    assert dumped(error).__notes__ == ["while copying 12"]


@pytest.mark.parametrize("kind", CLASSES.values())
def test_every_error_has_advice(kind: type[AsanaJobsError]) -> None:
    """One line on what to do next, a whole sentence."""
    assert re.fullmatch(r"[A-Z].*\.", kind.advice)
    assert "\n" not in kind.advice


def test_advice_is_not_inherited_by_leaves() -> None:
    """Every error that is raised as such says something of its own."""
    leaves = [kind for kind in CLASSES.values() if not kind.__subclasses__()]

    assert [kind.__name__ for kind in leaves if "advice" not in kind.__dict__] == []


@pytest.mark.parametrize("kind", CLASSES.values())
def test_every_error_is_documented(kind: type[AsanaJobsError]) -> None:
    """Each class says in its own words when it happens."""
    assert kind.__dict__.get("__doc__")


def test_a_request_error_names_its_request() -> None:
    """``error.request`` is the request in one line."""
    error = sample(RateLimitError)

    assert isinstance(error, RequestError)
    assert (error.request, error.gid) == ("POST /projects/12/duplicate", "12")


def test_a_failed_job_says_what_may_be_half_made() -> None:
    """The message names the job, its kind, what it may have left behind, and the next step."""
    assert str(JobFailedError(job=JOB)) == (
        "job 1203 (duplicate_project) failed: Asana gives no reason; 88 may be half made. "
        "Look at what is there before you start it again."
    )


def test_a_failed_job_that_made_nothing_says_less() -> None:
    """Without a kind or a result the message still names the job and the next step."""
    assert str(JobFailedError(job=Job("1203"))) == (
        "job 1203 failed: Asana gives no reason. Look at what is there before you start it again."
    )


@pytest.mark.parametrize(
    ("job", "seen"),
    [
        (None, "never seen"),
        (Job("1203", status="in_progress"), "last seen in_progress"),
        (JOB, "last seen failed"),
    ],
)
def test_a_timeout_says_what_was_seen_and_how_to_go_on(job: Job | None, seen: str) -> None:
    """The message names the job, the seconds, the last state and the ways to go on waiting."""
    error = JobTimeoutError(gid="1203", job=job, waited=12.5, continuation_token=TOKEN)

    assert str(error) == (
        f"job 1203 had not finished after 12.5 s ({seen}); it may still finish. "
        f"Wait again with a longer timeout, or resume with .continuation_token."
    )


@pytest.mark.parametrize(
    ("waited", "said"),
    [
        (0, "0"),
        (0.000569259, "0.001"),
        (0.0123456, "0.012"),
        (0.5, "0.5"),
        (1, "1"),
        (7.04, "7"),
        (59.96, "60"),
        (123.456, "123"),
    ],
)
def test_seconds_are_rounded_for_people(waited: float, said: str) -> None:
    """A message tells no more digits than matter, and never 0 for what took time."""
    error = JobTimeoutError(gid="1203", job=None, waited=waited, continuation_token=TOKEN)

    assert f"had not finished after {said} s (" in str(error)


def test_a_timeout_says_what_was_in_the_way() -> None:
    """The trouble that a wait ended in is named in its message, without what it advises."""
    trouble = NotFoundError(
        f"GET /jobs/1203 was answered 404 Not Found. {NotFoundError.advice}",
        status=404,
        method="GET",
        path="/",
    )
    error = JobTimeoutError(gid="1203", job=None, waited=3, continuation_token=TOKEN, trouble=trouble)

    assert "(never seen; last trouble: GET /jobs/1203 was answered 404 Not Found); it may" in str(error)


def test_a_timeout_carries_what_is_needed_to_go_on() -> None:
    """The job, the seconds and the continuation token are attributes."""
    error = JobTimeoutError(gid="1203", job=JOB, waited=12.5, continuation_token=TOKEN)

    assert (error.gid, error.job, error.waited, error.continuation_token) == ("1203", JOB, 12.5, TOKEN)
