"""What is known about Asana's HTTP: requests as they go out, and what may be sent again."""

import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qs

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs._client.http.protocol import (
    REPEAT_TABLE,
    Failure,
    Request,
    Response,
    Safety,
    Verdict,
    check_fields,
    failure,
    fields_of_start,
    may_repeat,
    raw_request,
    read_job,
    start_job,
    transient,
    verdict,
)
from asana_jobs._client.http.secret import Secret
from asana_jobs.errors import (
    APIError,
    AsanaJobsError,
    ClientClosedError,
    ConnectError,
    DecodeError,
    DownloadError,
    JobError,
    LedgerError,
    OutcomeUnknownError,
    RequestTimeoutError,
    TokenError,
    TransportError,
)
from asana_jobs.operations import (
    OPERATIONS,
    DuplicateTask,
    ExportGraph,
    ExportOrganization,
    Operation,
    RollupTask,
    operation_from_dict,
)


#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

WHERE: dict[str, Any] = {"method": "POST", "path": "/x"}
NOT_GIDS: list[Any] = ["", "x", "../1", "1/2", "%2f", "1?x", "1\r\n", "١٢", "1" * 65, 1, None]
#: What an operation may need besides its gid.
NEEDED: dict[str, object] = {"name": "x", "public": False}


def one_of(kind: str) -> Operation:
    """Make an operation with what it needs."""
    fields: Any = attrs.fields(OPERATIONS[kind])
    needed = {
        field.name: NEEDED[field.name]
        for field in fields
        if field.name in NEEDED and field.default is attrs.NOTHING
    }
    return operation_from_dict({"kind": kind, "gid": "12", **needed})


ONE_OF_EACH = [one_of(kind) for kind in OPERATIONS]


def api_error(status: int, *, readable: bool = True, messages: tuple[str, ...] = ("said",)) -> APIError:
    """Make the error of a status, by default with what Asana says of it."""
    return APIError("said", status=status, readable=readable, messages=messages, **WHERE)


# Requests.


def test_reading_a_job() -> None:
    """``GET /jobs/{job_gid}``, about that gid, safe to repeat, without a body."""
    request = read_job("1203", timeout=7.0)

    assert (request.method, request.target, request.body) == ("GET", "/jobs/1203", None)
    assert (request.safety, request.gid, request.timeout) == (Safety.IDEMPOTENT, "1203", 7.0)


@pytest.mark.parametrize(
    ("fields", "pretty", "target"),
    [
        (None, False, "/jobs/1"),
        (None, True, "/jobs/1?opt_pretty=true"),
        ("status,new_task.name", False, "/jobs/1?opt_fields=status,new_task.name"),
        ("status", True, "/jobs/1?opt_fields=status&opt_pretty=true"),
    ],
)
def test_options_of_reading_a_job(fields: str | None, pretty: bool, target: str) -> None:
    """opt_fields is one comma-separated parameter (style form, explode false), opt_pretty a boolean."""
    assert read_job("1", fields, opt_pretty=pretty).target == target


@pytest.mark.parametrize("gid", NOT_GIDS)
def test_reading_something_that_is_no_job_gid(gid: Any) -> None:
    """A gid that could reach another route is refused before there is a request."""
    with pytest.raises(ValueError, match=r"^job gid must "):
        read_job(gid)


@pytest.mark.parametrize("operation", ONE_OF_EACH, ids=lambda operation: operation.kind)
def test_starting_a_job(operation: Operation) -> None:
    """The POST of an operation has its path, its body in a data envelope, its gid, and is not for repeating."""
    request = start_job(operation, 9.0)

    assert (request.method, request.path, request.query, request.gid) == ("POST", operation.path, "", "12")
    assert request.timeout == 9.0
    assert request.content_type == "application/json"
    if operation.body is None:
        assert request.body is None
    else:
        assert json.loads(request.body or b"") == {"data": operation.body}


@pytest.mark.parametrize("operation", ONE_OF_EACH, ids=lambda operation: operation.kind)
def test_only_a_graph_export_may_be_started_again(operation: Operation) -> None:
    """Every job-starting POST is sent once, except the one that gives the same job back."""
    expected = Safety.SAME_JOB if isinstance(operation, ExportGraph) else Safety.ONCE

    assert start_job(operation).safety is expected


def test_names_that_are_not_ascii_are_sent_as_json() -> None:
    """Whatever a name holds arrives as the same text."""
    request = start_job(DuplicateTask("1", name='Ä "☃"\n\U0001f680'))

    assert json.loads(request.body or b"")["data"]["name"] == 'Ä "☃"\n\U0001f680'


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        (DuplicateTask("12"), "POST /tasks/12/duplicate"),
        (RollupTask("12"), "POST /tasks/12/rollup"),
        (ExportGraph("12"), "POST /exports/graph for 12"),
    ],
)
def test_a_request_names_its_gid(operation: Operation, what: str) -> None:
    """In messages a request is told apart by its gid, also where the path does not hold it."""
    assert start_job(operation).what == what


def test_a_request_shows_neither_token_nor_body() -> None:
    """The repr of a request is fit for a log: a token request's body holds secrets."""
    request = Request(
        method="POST", path="/x", body=b"client_secret=hush", authorization=Secret("Bearer hush")
    )

    assert "hush" not in f"{request!r} {request}"


def test_a_response_does_not_show_its_body() -> None:
    """The repr of an answer is fit for a log: a token answer's body is a token."""
    assert "hush" not in repr(Response(status=200, body=b'{"access_token": "hush"}'))


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        (None, None),
        ([], None),
        ("status", "status"),
        ("status,new_task.name", "status,new_task.name"),
        (" status , new_task.name ", "status,new_task.name"),
        (["status", "new_task.name", "status"], "status,new_task.name"),
        (("status",), "status"),
        ((name for name in ("a", "b")), "a,b"),
        ({"a": 1}.keys(), "a"),
        ("this.status,new_project.(name|gid)", "this.status,new_project.(name|gid)"),
        ("a_field_of_tomorrow", "a_field_of_tomorrow"),
    ],
)
def test_opt_fields_in_every_form(fields: Any, sent: str | None) -> None:
    """Text, iterables, groups and unknown paths become one comma-separated list, each path once."""
    assert check_fields(fields) == sent


@pytest.mark.parametrize(
    "fields", ["", " ", ",", "a,,b", ["a,b"], [""], "a b", "a&b=c", "a\r\nb", "é", "a%2c", 5, [5], [None], b"ab", [b"a"]]
)  # fmt: skip
def test_what_are_no_opt_fields_is_refused(fields: Any) -> None:
    """What is no field path is a ValueError that shows the documented form."""
    with pytest.raises(
        ValueError, match=r"^opt_fields must (be field paths|hold field paths such as 'new_project.name')"
    ):
        check_fields(fields)


@pytest.mark.parametrize(
    ("operation", "fields", "sent"),
    [
        (DuplicateTask("1"), None, None),
        (DuplicateTask("1"), [], None),
        (DuplicateTask("1"), "name", "name,resource_type,resource_subtype,status"),
        (
            DuplicateTask("1"),
            ["status", "name", "resource_type"],
            "status,name,resource_type,resource_subtype",
        ),
        (ExportOrganization("1"), "state,name", "state,name,resource_type"),
    ],
)
def test_a_start_asks_for_what_it_cannot_do_without(
    operation: Operation, fields: Any, sent: str | None
) -> None:
    """Besides what its caller wants, and once; who wants no fields of his own gets all of them."""
    assert fields_of_start(operation, fields) == sent


@patient
@given(st.text() | st.lists(st.text(max_size=5), max_size=3))
def test_opt_fields_cannot_add_parameters(fields: str | Iterable[str]) -> None:
    """Whatever text is given, the query holds opt_fields alone, or nothing is sent."""
    try:
        query = read_job("1", check_fields(fields)).query
    except ValueError:
        return
    assert set(parse_qs(query, strict_parsing=bool(query))) <= {"opt_fields"}
    assert query.isascii()


# Raw requests.


@pytest.mark.parametrize(
    ("method", "sent", "safety"),
    [
        ("GET", "GET", Safety.IDEMPOTENT),
        ("get", "GET", Safety.IDEMPOTENT),
        ("HEAD", "HEAD", Safety.IDEMPOTENT),
        ("PUT", "PUT", Safety.IDEMPOTENT),
        ("DELETE", "DELETE", Safety.IDEMPOTENT),
        ("POST", "POST", Safety.ONCE),
        ("PATCH", "PATCH", Safety.ONCE),
    ],
)
def test_methods_of_raw_requests(method: str, sent: str, safety: Safety) -> None:
    """What may be repeated follows from the method alone: a POST we know nothing about is sent once."""
    request = raw_request(method, "/users/me", None, None, 5.0)

    assert (request.method, request.safety, request.timeout, request.body) == (sent, safety, 5.0, None)


@pytest.mark.parametrize("method", ["", "TRACE", "CONNECT", "GET /x HTTP/1.1\r\n", "get ", 5, None])
def test_a_method_that_is_none_of_them_is_refused(method: Any) -> None:
    """An unknown method is a ValueError that lists the known ones."""
    with pytest.raises(ValueError, match=r"^method must be GET, HEAD, POST, PUT, PATCH or DELETE, not "):
        raw_request(method, "/users/me", None, None, 5.0)


@pytest.mark.parametrize("path", ["/users/me", "/a", "/a.b-c_d~e/1", "/...", "/" + "a" * 2047])
def test_paths_below_the_base_url(path: str) -> None:
    """A plain path is sent as it is."""
    assert raw_request("GET", path, None, None, 5.0).target == path


def test_params_are_sent_as_they_are_but_booleans_as_asana_writes_them() -> None:
    """Text keeps its case, and ``True`` is ``true``."""
    request = raw_request("GET", "/tasks", {"text": "Q3 Plan", "completed": True, "limit": 5}, None, 5.0)

    sent = parse_qs(request.target.partition("?")[2])
    assert sent == {"text": ["Q3 Plan"], "completed": ["true"], "limit": ["5"]}


ESCAPES: list[Any] = [
    "",
    "/",
    "users",
    "//evil.example",
    "/a//b",
    "/..",
    "/.",
    "/../-/oauth_token",
    "/a/../../b",
    "/a/..",
    "/a/./b",
    "/%2e%2e/x",
    "/a%2fb",
    "/a?b=c",
    "/a#b",
    "/a\\..\\b",
    "/a\r\nX-Evil: 1",
    "/a\n",
    "/a b",
    "/a\x00",
    "/é",
    "/a;b",
    "/@evil.example",
    ":80/a",
    ".evil.example/a",
    "@evil.example/a",
    "https://evil.example/a",
    "/a/",
    "/" + "a" * 2048,
    5,
    None,
    b"/a",
]


@pytest.mark.parametrize("path", ESCAPES, ids=lambda path: f"{path!r:.24}")
def test_paths_that_could_leave_the_base_url_are_refused(path: Any) -> None:
    """Anything but plain segments is a ValueError, and the message stays short."""
    with pytest.raises(ValueError, match=r"^path must be like '/users/me'") as caught:
        raw_request("GET", path, None, None, 5.0)

    assert len(str(caught.value)) < 200


@patient
@given(st.text())
def test_no_path_leaves_the_base_url(path: str) -> None:
    """Whatever text is given as a path, what is sent has no dot segments, no escapes and no second slash."""
    try:
        target = raw_request("GET", path, None, None, 5.0).target
    except ValueError:
        return
    head, *segments = target.split("/")
    assert head == ""
    assert all(segment not in {"", ".", ".."} for segment in segments)
    assert target.isascii()
    assert target.isprintable()


@pytest.mark.parametrize(
    ("params", "query"),
    [
        (None, ""),
        ({}, ""),
        ({"limit": 5}, "limit=5"),
        ({"text": "Q3 True", "share": 1.5}, "text=Q3+True&share=1.5"),
        ({"opt_pretty": True, "archived": False}, "opt_pretty=true&archived=false"),
        ({"q": "a&b=c d\r\n"}, "q=a%26b%3Dc+d%0D%0A"),
        ({"opt_fields": "name,this.(a|b)"}, "opt_fields=name,this.(a|b)"),
        ({"ü": "☃"}, "%C3%BC=%E2%98%83"),
    ],
)
def test_params_of_raw_requests(params: dict[str, Any] | None, query: str) -> None:
    """Parameters are encoded, booleans the way Asana writes them; field lists keep their commas."""
    assert raw_request("GET", "/a", params, None, 5.0).query == query


@pytest.mark.parametrize("value", [None, [1], {"a": 1}, b"x", object()])
def test_params_that_would_be_sent_as_their_repr_are_refused(value: Any) -> None:
    """A parameter such as None is a ValueError that names it, instead of ``offset=None`` on the wire."""
    with pytest.raises(ValueError, match=r"^params must hold text, numbers or booleans: offset is "):
        raw_request("GET", "/a", {"offset": value}, None, 5.0)


def test_the_body_of_a_raw_request_is_sent_as_it_is() -> None:
    """The caller writes the data envelope."""
    assert (
        raw_request("POST", "/a", None, {"data": {"x": [1, None]}}, 5.0).body == b'{"data": {"x": [1, null]}}'
    )


@pytest.mark.parametrize("data", [{1, 2}, float("nan"), object(), {"a": float("inf")}, b"x"])
def test_a_body_that_is_no_json_is_refused(data: object) -> None:
    """What JSON cannot hold is a ValueError before anything is sent."""
    with pytest.raises(ValueError, match=r"^json must be what JSON can hold: "):
        raw_request("POST", "/a", None, data, 5.0)


# Bodies.


@pytest.mark.parametrize("body", [b"", b"{", b"<html>", b"\xff\xfe\xfa", b"[" * 100_000, b'{"a": 1', b"nul"])
def test_a_body_that_is_no_json_is_a_value_error(body: bytes) -> None:
    """Whatever a body holds instead of JSON, nesting without end included, is a ValueError."""
    with pytest.raises(ValueError, match=r".*"):
        Response(status=200, body=body).json()


def test_nesting_without_end_is_a_value_error_without_the_faster_parser(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The standard library's parser gives up on deep nesting in its own way, and that is a ValueError too."""
    monkeypatch.setattr("asana_jobs._client.http.decode._parse", json.loads)

    with pytest.raises(ValueError, match=r"^the JSON is nested too deeply$"):
        Response(status=200, body=b"[" * 100_000).json()


@patient
@given(st.binary())
def test_any_body_is_json_or_a_value_error(body: bytes) -> None:
    """No bytes make reading a body raise anything but ValueError."""
    try:
        value = Response(status=200, body=body).json()
    except ValueError:
        return
    assert value is None or isinstance(value, bool | int | float | str | list | dict)


# What may be repeated.

#: status -> how it failed. One line for every status that Asana documents, and some that it does not.
STATUSES = {
    301: Failure.UNCLEAR,
    303: Failure.UNCLEAR,
    400: Failure.REFUSED,
    401: Failure.UNAUTHORIZED,
    402: Failure.REFUSED,
    403: Failure.REFUSED,
    404: Failure.REFUSED,
    408: Failure.UNCLEAR,
    409: Failure.UNCLEAR,
    412: Failure.REFUSED,
    422: Failure.REFUSED,
    425: Failure.UNCLEAR,
    429: Failure.LIMITED,
    434: Failure.REFUSED,
    451: Failure.REFUSED,
    460: Failure.UNCLEAR,
    499: Failure.UNCLEAR,
    500: Failure.SERVER,
    502: Failure.SERVER,
    503: Failure.SERVER,
    504: Failure.SERVER,
    598: Failure.SERVER,
}
NO_ANSWER: list[tuple[AsanaJobsError, Failure]] = [
    (ConnectError("refused", **WHERE), Failure.NOT_SENT),
    (TransportError("reset", **WHERE), Failure.LOST),
    (RequestTimeoutError("slow", **WHERE), Failure.LOST),
]
#: What to do, by failure: for a GET, for a graph export, for every other job-starting POST.
VERDICTS = {
    Failure.NOT_SENT: (Verdict.REPEAT, Verdict.REPEAT, Verdict.REPEAT),
    Failure.LIMITED: (Verdict.REPEAT, Verdict.REPEAT, Verdict.REPEAT),
    Failure.UNAUTHORIZED: (Verdict.REFRESH, Verdict.REFRESH, Verdict.REFRESH),
    Failure.LOST: (Verdict.REPEAT, Verdict.REPEAT, Verdict.UNKNOWN),
    Failure.SERVER: (Verdict.REPEAT, Verdict.REPEAT, Verdict.UNKNOWN),
    Failure.REFUSED: (Verdict.RAISE, Verdict.RAISE, Verdict.RAISE),
    Failure.UNCLEAR: (Verdict.RAISE, Verdict.REPEAT, Verdict.UNKNOWN),
}
SAFETIES = (Safety.IDEMPOTENT, Safety.SAME_JOB, Safety.ONCE)
FAILURES = [
    *(pytest.param(api_error(status), how, id=str(status)) for status, how in STATUSES.items()),
    *(pytest.param(error, how, id=type(error).__name__) for error, how in NO_ANSWER),
]


@pytest.mark.parametrize(("error", "how"), FAILURES)
@pytest.mark.parametrize(("column", "safety"), [*enumerate(SAFETIES)])
def test_what_may_be_sent_again(error: AsanaJobsError, how: Failure, column: int, safety: Safety) -> None:
    """Status by status and safety by safety, the verdict is the table's: no job is ever started twice."""
    assert failure(error) is how
    assert verdict(error, safety) is VERDICTS[how][column]


@pytest.mark.parametrize("status", STATUSES)
def test_only_asanas_own_words_are_a_refusal(status: int) -> None:
    """Without Asana's messages a status other than 401 and 429 says nothing of what became of the request."""
    error = api_error(status, messages=())

    assert (failure(error) is Failure.REFUSED) is False
    assert failure(error) is (Failure.UNCLEAR if STATUSES[status] is Failure.REFUSED else STATUSES[status])


@pytest.mark.parametrize("operation", ONE_OF_EACH, ids=lambda operation: operation.kind)
@pytest.mark.parametrize(
    ("error", "anyway"),
    [
        (ConnectError("refused", **WHERE), True),
        (api_error(429), True),
        (TransportError("reset", **WHERE), False),
        (RequestTimeoutError("slow", **WHERE), False),
        (api_error(503), False),
    ],
)
def test_an_operation_is_repeated_only_if_nothing_started(
    operation: Operation, error: AsanaJobsError, anyway: bool
) -> None:
    """A job-starting POST is sent again if its job cannot be running, or would be the same one."""
    assert may_repeat(error, operation) is (anyway or isinstance(operation, ExportGraph))


def test_the_table_has_every_row() -> None:
    """There is no failure and no kind of request without a verdict."""
    assert set(REPEAT_TABLE) == set(Failure)
    assert {len(verdicts) for verdicts in REPEAT_TABLE.values()} == {len(Safety)}


@pytest.mark.parametrize(
    "error",
    [
        TokenError("x"),
        DecodeError("x"),
        JobError("x", job=None),
        ClientClosedError("x"),
        DownloadError("x"),
        LedgerError("x"),
    ],
)
@pytest.mark.parametrize("safety", Safety)
def test_errors_that_are_about_no_request_are_raised(error: AsanaJobsError, safety: Safety) -> None:
    """Nothing is sent again because of an error that no request had."""
    assert failure(error) is None
    assert verdict(error, safety) is Verdict.RAISE


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        *((api_error(status), status in {429, 500, 502, 503, 504, 598}) for status in STATUSES),
        *((api_error(status, readable=False), True) for status in STATUSES),
        *((error, True) for error, _ in NO_ANSWER),
        (OutcomeUnknownError("lost", **WHERE), False),
        (DecodeError("x"), False),
        (TokenError("x"), False),
        (ClientClosedError("x"), False),
        (JobError("x", job=None), False),
        (ValueError("x"), False),
        (TimeoutError("x"), False),
        (KeyboardInterrupt(), False),
    ],
)
def test_what_a_wait_outlives(error: BaseException, passes: bool) -> None:
    """A wait goes on after 429, 5xx, lost answers and bodies that are not JSON whatever their status, only."""
    assert transient(error) is passes


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ("\ud83d", "json"),
        ({"data": {"name": "Launch \ud83d"}}, "json['data']['name']"),
        ({"data": [["\ude80"]]}, "json['data'][0][0]"),
        ({"\ud83d": 1}, "a key of json"),
        ({"data": ("\U0001f680", "\ude80\ud83d")}, "json['data'][1]"),
    ],
)
def test_half_an_emoji_is_not_sent(data: object, place: str) -> None:
    """A body that holds one is refused, and it is said where it is."""
    with pytest.raises(ValueError, match=re.escape(f"{place} must be whole characters")):
        raw_request("POST", "/tasks", None, data, 30.0)
    assert (
        raw_request("POST", "/tasks", None, {"name": "\U0001f680"}, 30.0).body
        == b'{"name": "\\ud83d\\ude80"}'
    )


def test_half_an_emoji_is_no_parameter() -> None:
    """Nor does an address hold one."""
    with pytest.raises(ValueError, match=r"params\['q'\] must be whole characters"):
        raw_request("GET", "/tasks", {"q": "\ud83d"}, None, 30.0)
