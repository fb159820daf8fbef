"""How Asana answers: data, errors of every shape, and ``Retry-After`` in both forms."""

import json
import pickle
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs import errors
from asana_jobs._client.http.protocol import (
    LONGEST_MESSAGE,
    Request,
    Response,
    read_data,
    read_error,
    read_job,
    retry_after,
    start_job,
    without,
)
from asana_jobs._client.http.secret import Authorization
from asana_jobs.errors import (
    APIError,
    AuthenticationError,
    BadRequestError,
    DecodeError,
    ExportBusyError,
    LegalBlockError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
    TransportError,
    UnprocessableError,
)
from asana_jobs.operations import DuplicateProject, ExportGraph, ExportResource, Operation


#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LOOK = read_job("1203")
HELP = (
    "For more information on API status codes and how to handle them, read the docs on errors: "
    "https://developers.asana.com/docs/errors"
)
PHRASE = "6 sad squid snuggle softly"
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"

#: What Asana answers: status, class, title, message.
CATALOGUE: list[tuple[int, type[APIError], str, str]] = [
    (400, BadRequestError, "Bad Request", "workspace: Not a recognized ID: 12"),
    (401, AuthenticationError, "Unauthorized", "Not Authorized"),
    (402, PaymentRequiredError, "Payment Required", "Search is only available to premium users."),
    (403, PermissionDeniedError, "Forbidden", "You do not have access to this project."),
    (404, NotFoundError, "Not Found", "job: Unknown object: 1203"),
    (422, UnprocessableError, HTTPStatus(422).phrase, "requested_dates: Missing input"),
    (
        429,
        RateLimitError,
        "Too Many Requests",
        "You've made too many requests and hit a rate limit. Please retry after the given amount of time.",
    ),
    (451, LegalBlockError, "Unavailable For Legal Reasons", "Not available from this address."),
    (500, ServerError, "Internal Server Error", "Server Error"),
    (502, ServerError, "Bad Gateway", "Server Error"),
    (503, ServerError, "Service Unavailable", "Server Error"),
    (504, ServerError, "Gateway Timeout", "Server Error"),
    (412, APIError, "Precondition Failed", "Sync token invalid or too old."),
    (434, APIError, "(not a standard status)", "Deprecated input"),
    (598, ServerError, "(not a standard status)", "Network read timeout"),
    (302, APIError, "Found", "elsewhere"),
]
CASES = [pytest.param(*row, id=str(row[0])) for row in CATALOGUE]
UNREADABLE = [b"", HTML, b'{"errors": [{"mess', b"\xff\xfe\x00", b"[" * 100_000]
#: JSON, but not the documented shape.
ODD: list[Any] = [
    None,
    5,
    "no",
    [],
    {},
    {"errors": None},
    {"errors": {}},
    {"errors": []},
    {"errors": [None, 5, "x", []]},
    {"errors": [{}]},
    {"errors": [{"message": None, "help": 5, "phrase": []}]},
    {"errors": [{"message": ""}]},
    {"error": "invalid_grant"},
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(["errors", "message", "help", "phrase", "x"]), below, max_size=4)
    ),
    max_leaves=8,
)


def answer(status: int, body: object, **headers: str) -> Response:
    """Make an answer with a JSON body."""
    content = {"content-type": "application/json; charset=UTF-8"}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=content | names, body=json.dumps(body).encode())


def refusal(status: int, message: str, **more: str) -> Response:
    """Make an error answer as Asana writes it."""
    return answer(status, {"errors": [{"message": message, "help": HELP, **more}]})


# Errors.


@pytest.mark.parametrize(("status", "kind", "title", "message"), CASES)
def test_each_status_has_its_error(status: int, kind: type[APIError], title: str, message: str) -> None:
    """Class, status, message, help and gid are those of the answer, whatever its status."""
    error = read_error(LOOK, refusal(status, message), NOW)

    assert type(error) is kind
    assert (error.status, error.messages, error.help) == (status, (message,), HELP)
    assert (error.method, error.path, error.gid, error.readable) == ("GET", "/jobs/1203", "1203", True)
    assert (error.phrase, error.retry_after) == (None, None)


def test_a_long_message_is_cut_and_one_as_long_as_may_be_is_kept() -> None:
    """So that no page of a gateway's fills a log."""
    whole, cut = "x" * LONGEST_MESSAGE, f"{'x' * LONGEST_MESSAGE}..."

    assert read_error(LOOK, refusal(400, whole), NOW).messages == (whole,)
    assert read_error(LOOK, refusal(400, f"{whole}y"), NOW).messages == (cut,)


def test_a_sentence_of_asanas_ends_once() -> None:
    """Its full stop is not doubled by ours."""
    text = str(read_error(LOOK, refusal(404, "...no such job."), NOW))

    assert ": ...no such job (" in text
    assert ".." not in text.replace("...", "")


@pytest.mark.parametrize(("status", "kind", "title", "message"), CASES)
def test_each_message_says_what_happened_and_what_to_do(
    status: int, kind: type[APIError], title: str, message: str
) -> None:
    """The text names the request with its gid, the status in words, Asana's message and the next step."""
    error = read_error(LOOK, refusal(status, message), NOW)

    said = message.removesuffix(".")
    said = f"GET /jobs/1203 was answered {status} {title}: {said}"
    if status == 404:
        assert str(error).startswith(f"{said} (what a job makes is no job; ")
        assert str(error).endswith(f"). {kind.advice}")
    else:
        assert str(error) == f"{said}. {kind.advice}"


def test_a_server_error_carries_its_phrase() -> None:
    """The phrase that Asana's support asks for is an attribute and in the message."""
    error = read_error(LOOK, refusal(500, "Server Error", phrase=PHRASE), NOW)

    assert error.phrase == PHRASE
    assert f"(phrase for Asana's support: {PHRASE})" in str(error)


def test_every_message_of_an_answer_is_kept() -> None:
    """An answer with two errors names both; help and phrase may come with either."""
    body = {"errors": [{"message": "name: Missing input"}, {"message": "team: Missing input", "help": "h", "phrase": "p"}]}  # fmt: skip

    error = read_error(LOOK, answer(400, body), NOW)

    assert (error.messages, error.help, error.phrase) == (
        ("name: Missing input", "team: Missing input"),
        "h",
        "p",
    )
    assert "name: Missing input; team: Missing input" in str(error)


def test_an_error_of_a_call_without_gid_in_its_path_names_the_gid() -> None:
    """The subject of an export is in its body only, and still in the message."""
    error = read_error(
        start_job(ExportGraph("77")), refusal(403, "You do not have access to this team."), NOW
    )

    assert error.gid == "77"
    assert "POST /exports/graph for 77 was answered 403 Forbidden" in str(error)


def test_an_error_of_starting_a_job_names_its_subject() -> None:
    """The gid of a refused duplication is that of the project."""
    error = read_error(start_job(DuplicateProject("12", name="x")), refusal(400, "name: Invalid"), NOW)

    assert (error.method, error.path, error.gid) == ("POST", "/projects/12/duplicate", "12")


@pytest.mark.parametrize(("status", "kind", "title", "message"), CASES)
@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: f"{body!r:.16}")
def test_a_body_that_is_no_json_keeps_the_status(
    status: int, kind: type[APIError], title: str, message: str, body: bytes
) -> None:
    """A gateway's page or a truncated body is the status's error, marked unreadable, its content not shown."""
    error = read_error(LOOK, Response(status=status, headers={"content-type": "text/html"}, body=body), NOW)

    assert type(error) is kind
    assert (error.readable, error.messages, error.help, error.phrase) == (False, (), None, None)
    assert f"no message (text/html, {len(body)} bytes)" in str(error)
    assert "<" not in str(error)


@pytest.mark.parametrize("body", ODD, ids=repr)
def test_json_of_another_shape_is_readable_and_says_nothing(body: object) -> None:
    """JSON without the documented entries gives the status's error without messages."""
    error = read_error(LOOK, answer(503, body), NOW)

    assert type(error) is ServerError
    assert (error.readable, error.messages, error.help, error.phrase) == (True, (), None, None)
    assert "no message (application/json" in str(error)


def test_an_answer_without_content_type_says_so() -> None:
    """What little is known of a body is in the message."""
    assert "no message (no content type, 3 bytes)" in str(
        read_error(LOOK, Response(status=502, body=b"bad"), NOW)
    )


def test_retry_after_is_carried_in_seconds() -> None:
    """A 429 with the header says how long to wait."""
    assert read_error(LOOK, answer(429, {}, retry_after="30"), NOW).retry_after == 30.0


def test_retry_after_may_be_a_date() -> None:
    """A 429 with a date is worth the seconds until then, counted from when the answer is read."""
    refused = answer(429, {}, retry_after="Thu, 01 Jan 2026 00:00:30 GMT")

    with pytest.raises(RateLimitError) as caught:
        read_data(LOOK, refused, lambda: NOW + timedelta(seconds=10))

    assert caught.value.retry_after == 20.0


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_may_be_missing(status: int) -> None:
    """Without the header there is nothing to go by."""
    assert read_error(LOOK, answer(status, {}), NOW).retry_after is None


@patient
@given(st.integers(100, 999), st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_answer_becomes_an_error(status: int, body: bytes) -> None:
    """No status and no body make reading an error raise, and the class is the status's."""
    error = read_error(LOOK, Response(status=status, body=body), NOW)

    assert error.status == status
    assert isinstance(error, ServerError) == (status >= 500)


@pytest.mark.parametrize(
    ("operation", "message", "kind"),
    [
        (ExportResource("12"), "An export is already in progress for this workspace.", ExportBusyError),
        (ExportResource("12"), "An export was requested already.", ExportBusyError),
        (ExportResource("12"), "Another export is running.", ExportBusyError),
        (ExportResource("12"), "You do not have access to this workspace.", PermissionDeniedError),
        (ExportGraph("12"), "An export is already in progress for this workspace.", PermissionDeniedError),
        (DuplicateProject("12", name="x"), "already running", PermissionDeniedError),
    ],
)
def test_a_second_resource_export_is_busy_not_forbidden(
    operation: Operation, message: str, kind: type[APIError]
) -> None:
    """403 to a resource export while one runs says so, with the advice to wait; any other 403 is a refusal."""
    error = read_error(start_job(operation), refusal(403, message), NOW)

    assert type(error) is kind
    assert ("wait for it to end" in str(error)) == (kind is ExportBusyError)


def test_one_of_several_messages_tells_that_an_export_runs() -> None:
    """An answer that says so among other things is busy too."""
    body = {"errors": [{"message": "Forbidden"}, {"message": "An export is already in progress."}]}

    assert type(read_error(start_job(ExportResource("12")), answer(403, body), NOW)) is ExportBusyError


def test_every_api_error_stands_for_a_status() -> None:
    """No class below APIError is out of reach."""
    below = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, APIError)}

    assert below == {ExportBusyError, *(kind for _, kind, _, _ in CATALOGUE)}


# Data.


@pytest.mark.parametrize("status", [200, 201, 202])
@pytest.mark.parametrize("data", [None, {}, [], {"gid": "1"}, 5])
def test_data_is_what_is_in_the_envelope(status: int, data: object) -> None:
    """A 2xx answer is opened, whatever is in it."""
    assert read_data(LOOK, answer(status, {"data": data, "x": 1}), lambda: NOW) == data


@pytest.mark.parametrize("status", [199, 300, 302, 400, 500])
def test_data_of_any_other_status_is_an_error(status: int) -> None:
    """An envelope in an error answer, or in a redirect, is not believed."""
    with pytest.raises(APIError) as caught:
        read_data(LOOK, answer(status, {"data": {"gid": "1"}}), lambda: NOW)

    assert caught.value.status == status


@pytest.mark.parametrize("body", [*UNREADABLE, b'{"data": {"gid": "1"'], ids=lambda body: f"{body!r:.16}")
def test_a_success_that_is_no_json_is_lost(body: bytes) -> None:
    """A 2xx with a truncated body or some gateway's page is a TransportError: the answer did not arrive."""
    with pytest.raises(
        TransportError, match=r"^GET /jobs/1203 was answered 200 with a body that is not JSON"
    ) as caught:
        read_data(LOOK, Response(status=200, headers={"content-type": "text/html"}, body=body), lambda: NOW)

    assert caught.value.gid == "1203"
    assert not isinstance(caught.value, APIError)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("body", [None, 5, "data", [], ["data"], {}, {"gid": "1"}, {"errors": []}])
def test_json_without_envelope_is_a_decode_error(body: object) -> None:
    """JSON of another shape is a DecodeError at once, with the gid and the field that is missing."""
    with pytest.raises(DecodeError, match="without a 'data' envelope: is base_url Asana's API") as caught:
        read_data(LOOK, answer(200, body), lambda: NOW)

    assert (caught.value.gid, caught.value.problems) == ("1203", ("required field missing @ $.data",))


@patient
@given(st.integers(200, 299), st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_success_is_data_or_one_of_two_errors(status: int, body: bytes) -> None:
    """No body of a 2xx answer makes reading it raise anything else."""
    try:
        read_data(LOOK, Response(status=status, body=body), lambda: NOW)
    except (TransportError, DecodeError) as error:
        caught = error
    else:
        return
    assert caught.gid == "1203"


# Retry-After.


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("30", 30.0),
        ("007", 7.0),
        ("2.5", 2.5),
        ("  30  ", 30.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Thu, 01 Jan 2026 01:00:30 +0100", 30.0),
        ("Thu, 01 Jan 2026 00:00:30 -0000", 30.0),
        ("Thu, 01 Jan 2026 00:00:30", 30.0),
        ("Thursday, 01-Jan-26 00:00:30 GMT", 30.0),
        ("Wed, 31 Dec 2025 23:59:30 GMT", 0.0),
    ],
)
def test_retry_after_in_both_forms(value: str, seconds: float) -> None:
    """Seconds are read as they are, dates as the seconds until then; the past means now."""
    assert retry_after({"retry-after": value}, NOW) == seconds


NO_RETRY_AFTER = [
    *(None, "", "soon", ",", "-5", "+5", "1e3", "inf", "nan", "0x10", "1_000", "1,5", "30, 60", "30;q=1"),
    *("٣٠", "²", "9" * 5000, "Thu, 32 Jan 2026 00:00:30 GMT", "Thu, 01 Jan 2026 25:00:00 GMT"),
]


@pytest.mark.parametrize("value", NO_RETRY_AFTER, ids=lambda value: f"{value!r:.30}")
def test_a_retry_after_that_makes_no_sense_is_none(value: str | None) -> None:
    """What is neither seconds nor a date counts as missing."""
    assert retry_after({} if value is None else {"retry-after": value}, NOW) is None


SERVERS = "Thu, 01 Jan 2026 02:00:00 GMT"


@pytest.mark.parametrize(
    ("until", "date", "seconds"),
    [
        ("Thu, 01 Jan 2026 02:00:02 GMT", SERVERS, 2.0),
        ("Thu, 01 Jan 2026 03:00:02 +0100", SERVERS, 2.0),
        ("Thu, 01 Jan 2026 01:59:00 GMT", SERVERS, 0.0),
        ("Thu, 01 Jan 2026 00:00:05 GMT", "Thu, 01 Jan 1970 00:00:00 GMT", 1767225605.0),
        ("30", SERVERS, 30.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", "now", 30.0),
        ("Thu, 01 Jan 2026 00:00:30 GMT", "", 30.0),
        ("soon", SERVERS, None),
    ],
)
def test_a_date_is_read_by_the_clock_of_who_wrote_it(until: str, date: str, seconds: float | None) -> None:
    """The answer's own ``Date`` says what time it was there; our clock only counts where there is none."""
    assert retry_after({"retry-after": until, "date": date}, NOW) == seconds


@patient
@given(st.integers(-(10**6), 10**6))
def test_any_http_date_is_the_seconds_until_then(offset: int) -> None:
    """A date is worth what is left until it, and never less than nothing."""
    value = format_datetime(NOW + timedelta(seconds=offset), usegmt=True)

    assert retry_after({"retry-after": value}, NOW) == max(0, offset)


@patient
@given(
    st.text()
    | st.text("0123456789.-+eE ,:;GMTJanThu", max_size=40)
    | st.from_regex(r"\A\w{3}, \d{1,3} \w{3} \d{1,5} \d{1,3}:\d\d:\d\d ([+-]\d{1,5}|GMT|\w*)\Z")
)
def test_no_retry_after_raises_or_is_negative(value: str) -> None:
    """Whatever a server writes there, it is None or a wait."""
    seconds = retry_after({"retry-after": value}, NOW)

    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("token", "said"), [("n", "Unknown token"), ("1234567", "Unknown token"), ("token-1234", "Unknown ***")]
)
def test_what_is_too_short_for_a_secret_is_not_masked(token: str, said: str) -> None:
    """An echoed token is masked in an answer; one that is found in any word is none."""
    body = said.replace("***", token).encode()
    answer = without(Authorization(token), Response(status=400, headers={}, body=body))

    assert answer.body.decode() == said


def test_a_request_about_nothing_has_errors_about_nothing() -> None:
    """A raw request has no gid, and neither has its error."""
    request = Request(method="GET", path="/users/me")

    assert read_error(request, refusal(404, "user: Unknown object: 5"), NOW).gid is None


def test_a_path_that_is_none_is_not_taken_for_a_wrong_gid() -> None:
    """Asana tells an unknown path from an unknown object, and so does the advice: base_url may lack its path."""
    request = Request(method="GET", path="/jobs/1203", gid="1203")

    error = read_error(request, refusal(404, "No matching route for request"), NOW)

    assert isinstance(error, NotFoundError)
    assert error.advice == "Check the path, and that base_url (ASANA_BASE_URL) ends with /api/1.0."
    assert str(error).endswith(f"No matching route for request. {error.advice}")
    assert pickle.loads(pickle.dumps(error)).advice == error.advice  # noqa: S301
    assert read_error(request, refusal(404, "job: Unknown object: 1203"), NOW).advice == NotFoundError.advice
