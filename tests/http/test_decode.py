"""What an answer is read as: everything Asana documents becomes typed, everything else is named precisely."""

import json
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs._client.http import decode as _decode
from asana_jobs._client.http.decode import decode, loads, parse
from asana_jobs.errors import DecodeError
from asana_jobs.models import RESULT_SLOTS, Job, JobStatus, ProjectTemplate, TaskCompact


SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "data" / "asana_job_schema.json").read_text("utf-8")
)
SCHEMAS: dict[str, Any] = SCHEMA["schemas"]
STATES: list[str] = SCHEMAS["JobCompact"]["properties"]["status"]["enum"]
#: The three schemas that are read back with GET /jobs/{job_gid}.
JOB_SCHEMAS = ("JobCompact", "GraphExportResponse", "ResourceExportResponse")
#: What Asana's reference page of jobs knows beyond its OpenAPI document.
TASK_TEMPLATE = {"gid": "7", "resource_type": "task_template", "name": "Weekly"}

#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=4),
    max_leaves=12,
)


@pytest.fixture(autouse=True)
def _nothing_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is the first to meet a field."""
    monkeypatch.setattr(_decode, "_warned_of", set[str]())


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference to another schema."""
    return SCHEMAS[node["$ref"]] if "$ref" in node else node


def example(node: dict[str, Any]) -> Any:
    """Return a value that fits a schema, every field filled."""
    shape = resolve(node)
    if shape["type"] == "object":
        return {name: example(below) for name, below in shape["properties"].items()}
    return shape["example"]


def leaves(
    node: dict[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Walk a schema: every field with its path, objects included."""
    for name, below in resolve(node)["properties"].items():
        yield (*path, name), resolve(below)
        if resolve(below)["type"] == "object":
            yield from leaves(below, (*path, name))


def reach(job: object, path: tuple[str, ...]) -> object:
    """Read a path of attributes."""
    value = job
    for name in path:
        value = getattr(value, name)
    return value


def put(path: tuple[str, ...], value: object) -> dict[str, object]:
    """Return the smallest answer that has *value* at *path*."""
    document: dict[str, object] = {"gid": "1"}
    here = document
    for name in path[:-1]:
        below: dict[str, object] = {} if name == "dates_rollup_progress" else {"gid": "2"}
        here[name] = below
        here = below
    here[path[-1]] = value
    return document


SCHEMA_FIELDS = [
    pytest.param(name, path, node, id=f"{name}:{'.'.join(path)}")
    for name in JOB_SCHEMAS
    for path, node in leaves(SCHEMAS[name])
]
EXPORT_FIELDS = [
    pytest.param(path, node, id=".".join(path)) for path, node in leaves(SCHEMAS["OrganizationExportCompact"])
]
#: Every result a job may have, filled.
RESULTS: dict[str, Any] = {
    **{
        name: example(node)
        for name, node in SCHEMAS["JobCompact"]["properties"].items()
        if name.startswith("new_")
    },
    "new_task_template": TASK_TEMPLATE,
    "organization_export": example(SCHEMAS["OrganizationExportCompact"]),
}
#: Every field with its JSON type, the one that only the reference page has included.
TYPED_FIELDS = [(path, str(node["type"])) for path, node in leaves(SCHEMAS["JobCompact"])] + [
    (("new_task_template",), "object"),
    *((("new_task_template", name), "string") for name in TASK_TEMPLATE),
    (("organization_export",), "object"),
    *(
        (("organization_export", *path), str(node["type"]))
        for path, node in leaves(SCHEMAS["OrganizationExportCompact"])
    ),
]


def check_typed(value: object, node: dict[str, Any]) -> None:
    """Check that a value is what its schema makes of the example."""
    if node["type"] == "object":
        assert attrs.has(type(value))
    elif node.get("format") == "date-time":
        assert isinstance(value, datetime)
        assert value.utcoffset() == timedelta(0)
    else:
        assert value == node["example"]
        assert isinstance(value, {"string": str, "integer": int}[node["type"]])


@pytest.mark.parametrize(("name", "path", "node"), SCHEMA_FIELDS)
def test_every_field_of_the_schemas_becomes_a_typed_attribute(
    name: str, path: tuple[str, ...], node: dict[str, Any]
) -> None:
    """No field of a schema that a job is read from is missing, or left as the JSON it was."""
    check_typed(reach(Job.from_dict(example(SCHEMAS[name])), path), node)


@pytest.mark.parametrize(("path", "node"), EXPORT_FIELDS)
def test_every_field_of_an_organization_export_becomes_a_typed_attribute(
    path: tuple[str, ...], node: dict[str, Any]
) -> None:
    """The export that Asana keeps outside its jobs is the result of a job, with all its fields."""
    job = Job.from_dict(example(SCHEMAS["OrganizationExportCompact"]))

    check_typed(reach(job.result, path), node)


@pytest.mark.parametrize("path", SCHEMA["getOrganizationExport"]["opt_fields"])
def test_every_allowed_opt_fields_path_of_an_organization_export_leads_to_an_attribute(path: str) -> None:
    """Whatever can be asked for can be read from the export by the same path."""
    job = Job.from_dict(example(SCHEMAS["OrganizationExportCompact"]))

    assert reach(job.result, tuple(path.split("."))) is not None


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("pending", JobStatus.NOT_STARTED),
        ("started", JobStatus.IN_PROGRESS),
        ("finished", JobStatus.SUCCEEDED),
        ("error", JobStatus.FAILED),
        ("paused", "paused"),
        (None, None),
    ],
)
def test_an_organization_export_is_a_job_in_other_words(state: str | None, status: str | None) -> None:
    """Its four states are the four states of a job; one that is not known survives."""
    job = Job.from_dict({"gid": "1", "resource_type": "organization_export", "state": state})

    assert (job.gid, job.status) == ("1", status)
    assert job.organization_export is job.result


def test_an_organization_export_survives_the_round_trip() -> None:
    """Read, written and read again it is the same job."""
    job = Job.from_dict(example(SCHEMAS["OrganizationExportCompact"]))

    assert Job.from_dict(job.to_dict()) == job


@pytest.mark.parametrize("path", SCHEMA["getJob"]["opt_fields"])
def test_every_allowed_opt_fields_path_leads_to_an_attribute(path: str) -> None:
    """Whatever can be asked for with opt_fields can be read from the job by the same path."""
    job = Job.from_dict(example(SCHEMAS["JobCompact"]))

    assert reach(job, tuple(path.split("."))) is not None


def test_the_slot_that_no_schema_has_any_more_is_read_when_it_shows_up() -> None:
    """``new_task_template`` with all its fields becomes a typed attribute."""
    job = Job.from_dict({"gid": "1", "new_task_template": TASK_TEMPLATE})

    assert job.new_task_template is not None
    assert attrs.asdict(job.new_task_template) == TASK_TEMPLATE


@pytest.mark.parametrize(("state", "slot"), [*product(STATES, RESULT_SLOTS)])
def test_the_four_documents_decode_with_every_slot_in_turn(state: str, slot: str) -> None:
    """A job in each of its four states, with each result in turn, keeps the state and finds the result."""
    filled = RESULTS[slot]
    document = {
        "gid": "1",
        "resource_type": "job",
        "status": state,
        **dict.fromkeys(RESULT_SLOTS),
        slot: filled,
    }

    job = Job.from_dict(document)

    assert (job.status, type(job.status)) == (JobStatus(state), JobStatus)
    assert job.result is getattr(job, slot)
    assert job.result is not None
    assert job.result.gid == filled["gid"]


def test_a_job_with_nothing_but_its_gid_decodes() -> None:
    """``{"gid": "1"}`` is a job; everything else about it is not known."""
    assert Job.from_dict({"gid": "1"}) == Job("1")


@pytest.mark.parametrize("path", [path for path, _ in TYPED_FIELDS if path[-1] != "gid"], ids=".".join)
def test_every_field_but_a_gid_may_be_null(path: tuple[str, ...]) -> None:
    """A null reads like a field that was left out."""
    assert reach(Job.from_dict(put(path, None)), path) is None


def test_an_unknown_status_survives_as_the_text_it_is() -> None:
    """A state that Asana adds later is kept and counts as not finished."""
    job = Job.from_dict({"gid": "1", "status": "paused"})

    assert (job.status, job.done) == ("paused", False)


def test_unknown_fields_survive_in_raw() -> None:
    """What this version does not know is still there, at every level."""
    document = {"gid": "1", "eta": [1], "new_task": {"gid": "2", "workspace": {"gid": "3"}}}

    assert Job.from_dict(document).raw == document


def test_a_mapping_will_do_at_every_level() -> None:
    """What is read need not be dictionaries: any mapping is an object, and a wrong field in one is left out."""
    task = MappingProxyType({"gid": "7", "name": "Copy"})
    document = MappingProxyType({"gid": "1203", "new_task": task, "later": 1})

    job = Job.from_dict(document)

    assert job.new_task == TaskCompact(gid="7", name="Copy")
    assert job.raw == document
    wrong = Job.from_dict({**document, "new_task": MappingProxyType({"gid": "7", "name": 5})})
    assert wrong.new_task == TaskCompact(gid="7")


def test_raw_is_not_the_callers_dictionary() -> None:
    """Changing the answer afterwards does not change the job."""
    document: dict[str, object] = {"gid": "1"}
    job = Job.from_dict(document)

    document["status"] = "failed"

    assert job.raw == {"gid": "1"}


KINDS: list[tuple[object, str, str]] = [
    (5, "integer", "a number"),
    (1.5, "number", "a decimal number"),
    (True, "boolean", "a boolean"),
    ("text", "string", "a string"),
    ([], "array", "an array"),
    (["gid"], "array", "an array"),
    ({}, "object", "an object"),
]
WRONG = [
    pytest.param(path, value, said, id=f"{'.'.join(path)}={value!r}")
    for (path, wanted), (value, kind, said) in product(TYPED_FIELDS, KINDS)
    if kind != wanted
]


@pytest.mark.parametrize(("path", "value", "said"), WRONG)
def test_a_field_of_another_type_is_missing_and_warned_of_once(
    path: tuple[str, ...], value: object, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Any field with a value of another JSON type is ``None``, still in raw, and named in one warning."""
    if path == ("gid",):
        return
    document = put(path, value)

    job, again = Job.from_dict(document), Job.from_dict(document)

    # What has no gid that can be read is nothing.
    place = path[:-1] if path[-1] == "gid" else path
    assert reach(job, place) is None
    assert job == again
    assert job.raw == document
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage().startswith(f"{'.'.join(place)} of job '1' is not as Asana documents it: ")
    assert f"not {said}; it is taken as missing" in record.getMessage()


@pytest.mark.parametrize(
    "path", [path for path, _ in TYPED_FIELDS if path[-1] == "gid" and len(path) > 1], ids=".".join
)
@pytest.mark.parametrize("value", [None, 7, "left out"])
def test_what_has_no_gid_is_missing(
    path: tuple[str, ...], value: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A result, or whoever made it, without a gid that can be read is ``None``; the job around it is read."""
    document = put(path, value)
    if value == "left out":
        here: Any = document
        for name in path[:-1]:
            here = here[name]
        del here["gid"]

    job = Job.from_dict(document)

    assert (job.gid, reach(job, path[:-1])) == ("1", None)
    assert job.raw == document
    [record] = caplog.records
    assert record.getMessage().startswith(
        f"{'.'.join(path[:-1])} of job '1' is not as Asana documents it: its gid"
    )


@pytest.mark.parametrize("value", [value for value, kind, _ in KINDS if kind != "string"])
def test_a_gid_of_another_type_is_a_decode_error(value: object) -> None:
    """The job's own gid must be readable: what came instead is named."""
    with pytest.raises(DecodeError, match=r"expected a string, not .* @ \$\.gid"):
        Job.from_dict({"gid": value})


@pytest.mark.parametrize("document", [{}, {"gid": None}, {"status": "succeeded"}])
def test_a_missing_gid_is_named(document: dict[str, object]) -> None:
    """A job without a gid is a DecodeError that says where it should have been."""
    with pytest.raises(DecodeError) as caught:
        Job.from_dict(document)

    [problem] = caught.value.problems
    assert problem in {"required field missing @ $.gid", "expected a string, not null @ $.gid"}


@pytest.mark.parametrize(
    ("value", "said"), [(value, said) for value, kind, said in KINDS if kind != "string"]
)
def test_whoever_waits_must_be_able_to_read_the_status(value: object, said: str) -> None:
    """A status of another type is ``None`` to whoever reads a job, and a DecodeError to whoever waits for it."""
    document = {"gid": "1", "status": value, "new_task": {"gid": 7}}

    assert decode(Job, document).status is None
    with pytest.raises(DecodeError) as caught:
        decode(Job, document, needed=("gid", "status"))
    assert caught.value.problems == (f"expected a string, not {said} @ $.status",)
    assert decode(Job, {"gid": "1", "new_task": {"gid": 7}}, needed=("gid", "status")) == Job("1")


def test_each_wrong_field_is_warned_of_once_for_all_jobs(caplog: pytest.LogCaptureFixture) -> None:
    """A thousand answers with the same two wrong fields are two warnings."""
    for number in range(1000):
        Job.from_dict({"gid": str(number), "resource_type": 5, "new_task": {"gid": "2", "name": []}})

    assert [record.getMessage().split()[0] for record in caplog.records] == ["resource_type", "new_task.name"]


@pytest.mark.parametrize("gid", ["", "../1", "12x", "١٢", "1" * 65, "1\n"])
def test_a_gid_that_is_no_gid_is_a_decode_error(gid: str) -> None:
    """A string that is not digits in the place of the job's gid is refused, and named."""
    with pytest.raises(DecodeError, match=r"gid must (be|have)") as caught:
        Job.from_dict({"gid": gid})

    assert caught.value.problems[0].endswith("@ $.gid")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("yesterday", "expected a date-time such as 2012-02-22T02:06:58.147Z, not 'yesterday'"),
        ("", "expected a date-time such as 2012-02-22T02:06:58.147Z, not ''"),
        ("2012-02-22T02:06:58", "expected a date-time with a time zone, not '2012-02-22T02:06:58'"),
    ],
)
@pytest.mark.parametrize("slot", ["new_graph_export", "new_resource_export"])
@pytest.mark.parametrize("field", ["created_at", "completed_at"])
def test_text_that_is_no_date_time_is_missing(
    slot: str, field: str, text: str, complaint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A moment that cannot be read, or says no time zone, is ``None``, and the warning quotes it."""
    job = Job.from_dict({"gid": "1", slot: {"gid": "2", field: text}})

    assert job.result is not None
    assert (job.result.gid, reach(job, (slot, field))) == ("2", None)
    assert complaint in caplog.text


def test_every_problem_has_its_line() -> None:
    """Whoever waits is told of the gid and of the status, and of nothing else."""
    with pytest.raises(DecodeError) as caught:
        decode(
            Job,
            {"gid": 1, "status": 7, "resource_type": [], "new_task": {"gid": 3}},
            needed=("gid", "status"),
        )

    assert [problem.rsplit(" @ ")[-1] for problem in caught.value.problems] == ["$.gid", "$.status"]


def test_the_error_knows_the_job() -> None:
    """A DecodeError carries the gid of the job whose answer was wrong, and names it."""
    with pytest.raises(DecodeError, match="job '1203'") as caught:
        decode(Job, {"gid": "1203", "status": 7}, needed=("gid", "status"))

    assert caught.value.gid == "1203"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (None, "null"),
        ([], "an array"),
        ("x", "a string"),
        (5, "a number"),
        (True, "a boolean"),
        ((), "tuple"),
    ],
)
def test_what_is_no_object_is_no_job(document: object, said: str) -> None:
    """Data that is not an object at all is a DecodeError that says what it is."""
    with pytest.raises(DecodeError) as caught:
        decode(Job, document)

    assert caught.value.problems == (f"expected an object @ $, not {said}",)


SENTENCES: list[tuple[type, object, str, str | None]] = [
    (Job, [], "expected a job, not an array", None),
    (ProjectTemplate, None, "expected a project template, not null", None),
    (Job, {"gid": "1203", "status": 7}, "job '1203' is not as Asana documents it: {}", "1203"),
    (Job, {"gid": 1, "status": 1.5}, "job 1 is not as Asana documents it: {}", None),
    (Job, {}, "job None is not as Asana documents it: {}", None),
    (Job, {"gid": "x"}, "not a job: gid must be a string of digits, such as '1203', not 'x'", None),
    (
        ProjectTemplate,
        {"gid": ""},
        "not a project template: gid must be a string of digits, such as '1203', not ''",
        None,
    ),
]
PROBLEMS: list[tuple[str, ...]] = [
    ("expected an object @ $, not an array",),
    ("expected an object @ $, not null",),
    ("expected a string, not a number @ $.status",),
    ("expected a string, not a number @ $.gid", "expected a string, not a decimal number @ $.status"),
    ("required field missing @ $.gid",),
    ("gid must be a string of digits, such as '1203', not 'x' @ $.gid",),
    ("gid must be a string of digits, such as '1203', not '' @ $.gid",),
]


@pytest.mark.parametrize(
    ("model", "document", "sentence", "gid", "problems"),
    [(*one, problems) for one, problems in zip(SENTENCES, PROBLEMS, strict=True)],
)
def test_what_cannot_be_read_is_said_in_a_sentence_and_in_lines(
    model: type, document: object, sentence: str, gid: str | None, problems: tuple[str, ...]
) -> None:
    """What it should have been, whose it is and what came instead; each problem has its place."""
    with pytest.raises(DecodeError) as caught:
        decode(model, document, needed=("gid", "status"))

    assert str(caught.value).startswith(sentence.format("; ".join(problems)))
    assert (caught.value.problems, caught.value.gid) == (problems, gid)


WARNINGS: list[tuple[dict[str, object], str, str]] = [
    ({"status": []}, "status", "expected a string, not an array"),
    ({"new_task": 5}, "new_task", "expected an object, not a number"),
    ({"new_task": {}}, "new_task", "its gid is missing"),
    ({"new_task": {"gid": True}}, "new_task", "its gid: expected a string, not a boolean"),
    ({"new_task": {"gid": "7", "name": {}}}, "new_task.name", "expected a string, not an object"),
]


@pytest.mark.parametrize(("fields", "place", "why"), WARNINGS)
def test_what_is_taken_as_missing_is_told_in_a_sentence(
    fields: dict[str, object], place: str, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Which field of which job, why, and where it is still to be found."""
    Job.from_dict({"gid": "1203", **fields})

    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        (
            "WARNING",
            f"{place} of job '1203' is not as Asana documents it: {why}; it is taken as missing, and stays in raw",
        )
    ]


def test_an_item_of_an_array_that_cannot_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """The others are kept, in their order; a field that is no array has none."""
    asked: list[object] = [{"gid": "1", "name": 7}, 5, {"gid": "3", "name": "End"}, {"name": "no gid"}]

    template = decode(ProjectTemplate, {"gid": "9", "requested_dates": asked, "requested_roles": "all"})

    assert [(date.gid, date.name) for date in template.requested_dates] == [("1", None), ("3", "End")]
    assert template.requested_roles == ()
    rest = "is not as Asana documents it: {}; it is taken as missing, and stays in raw"
    assert [record.getMessage() for record in caplog.records] == [
        f"requested_dates[].name of project template '9' {rest.format('expected a string, not a number')}",
        f"requested_dates[] of project template '9' {rest.format('expected an object, not a number')}",
        f"requested_roles of project template '9' {rest.format('expected an array, not a string')}",
    ]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" * 100_000, "the JSON is nested too deeply"),
        (b"NaN", "NaN is no JSON"),
        (b"[-Infinity]", "-Infinity is no JSON"),
        (b"1e999", "a number is too large"),
    ],
)
def test_what_is_no_json_to_the_standard_library_says_why(
    body: bytes, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words that an error about the answer quotes."""
    monkeypatch.setattr("asana_jobs._client.http.decode._parse", parse)

    with pytest.raises(ValueError, match=f"^{why}$"):
        loads(body)


@pytest.mark.parametrize("state", [None, 5, ["started"], {"is": "started"}])
def test_the_state_of_an_export_that_is_no_text_is_read_as_a_status_that_is_none(state: object) -> None:
    """It goes the way of any status: unknown to most, an error to whoever waits for it."""
    document = {"gid": "12", "resource_type": "organization_export", "state": state}

    assert decode(Job, document).status is None
    if state is not None:
        with pytest.raises(DecodeError) as caught:
            decode(Job, document, needed=("gid", "status"))
        assert caught.value.problems[0].endswith("@ $.status")


@pytest.mark.parametrize(
    "document",
    [
        {"gid": ["x" * 50] * 10_000},
        {"gid": "x" * 100_000},
        {"gid": "1" * 100_000},
    ],
)
def test_messages_stay_short_whatever_came(document: dict[str, object]) -> None:
    """A value of 100 kB does not become a message of 100 kB."""
    with pytest.raises(DecodeError) as caught:
        Job.from_dict(document)

    assert len(str(caught.value)) < 500


def test_warnings_stay_short_whatever_came(caplog: pytest.LogCaptureFixture) -> None:
    """Nor does it become such a line in a log."""
    Job.from_dict({"gid": "1", "new_graph_export": {"gid": "2", "created_at": "x" * 100_000}})

    assert len(caplog.records[0].getMessage()) < 500


#: What is valid JSON and no text, and what is read.
HALVES = [
    (rb"Launch \ud83d", "Launch \ufffd"),
    (rb"\uDE80 away", "\ufffd away"),
    (rb"\ud83d\ud83d\ude80", "\ufffd\N{ROCKET}"),
    (rb"\ud83d\ude80\ude80", "\N{ROCKET}\ufffd"),
    (rb"\ud83dA", "\ufffdA"),
    (rb"\\ud83d", "\\ud83d"),
    (rb"\\\ud83d", "\\\ufffd"),
    (rb"\\\\ud83d \udbff", "\\\\ud83d \ufffd"),
    (rb"\ud83d\n\ude80", "\ufffd\n\ufffd"),
    (rb"\ud83d\u0041", "\ufffdA"),
    (rb"\uD83D\uDE80", "\N{ROCKET}"),
]


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.parametrize(("written", "read"), HALVES)
def test_half_an_emoji_is_read_as_a_sign_that_it_is_none(
    written: bytes, read: str, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unpaired surrogate, in a name or a value, is U+FFFD with either parser; whole ones and backslashes stay."""
    if not faster:
        monkeypatch.setattr("asana_jobs._client.http.decode._parse", parse)

    assert loads(b'{"' + written + b'": "' + written + b'"}') == {read: read}


def outcome(document: object) -> Job | tuple[str, ...]:
    """Return the job or the problems that decoding found; anything else it raises is raised."""
    try:
        return decode(Job, document)
    except DecodeError as error:
        return error.problems


@patient
@given(json_values)
def test_arbitrary_json_is_a_job_or_a_decode_error(document: object) -> None:
    """No JSON value makes decoding raise anything but DecodeError, and that has at least one line."""
    assert outcome(document)


@patient
@given(st.sampled_from(sorted({path[0] for path, _ in TYPED_FIELDS} - {"gid"})), json_values)
def test_arbitrary_fields_are_a_job_or_a_decode_error(field: str, value: object) -> None:
    """No JSON value in any field of a job makes decoding raise anything but DecodeError."""
    assert outcome({"gid": "1", field: value})
