"""The calls that start a job, and the one that is waited for like a job: method, path and body as Asana documents them, and every rule it states."""

import copy
import json
import pickle
import re
from collections.abc import Iterable
from datetime import UTC, date
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs import parameters as _operation_arguments
from asana_jobs.models import DateVariableCompact, ProjectTemplate, TemplateRole
from asana_jobs.operations import (
    OPERATIONS,
    DuplicatePortfolio,
    DuplicateProject,
    DuplicateTask,
    ExportFilters,
    ExportGraph,
    ExportOrganization,
    ExportParameters,
    ExportResource,
    InstantiateProject,
    InstantiateTask,
    Operation,
    RequestedDate,
    RequestedRole,
    RollupProject,
    RollupTask,
    SaveProjectAsTemplate,
    ScheduleDates,
    operation_from_dict,
)
from asana_jobs.parameters import INCLUDE_WORDS, PortfolioWord, ProjectWord, TaskWord
from asana_jobs.testing.simulator.operations import BY_KIND


#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parent / "data" / "asana_job_schema.json").read_text("utf-8")
)
CALLS: dict[str, dict[str, Any]] = {call["operationId"]: call for call in SCHEMA["jobOperations"]}
KIND_OF_CALL: dict[str, type[Operation]] = {
    "duplicateTask": DuplicateTask,
    "duplicateProject": DuplicateProject,
    "duplicatePortfolio": DuplicatePortfolio,
    "projectSaveAsTemplate": SaveProjectAsTemplate,
    "instantiateProject": InstantiateProject,
    "instantiateTask": InstantiateTask,
    "rollupTask": RollupTask,
    "rollupProject": RollupProject,
    "createGraphExport": ExportGraph,
    "createResourceExport": ExportResource,
    "createOrganizationExport": ExportOrganization,
}
SCHEDULE = ScheduleDates(should_skip_weekends=True, start_on="2026-02-03")

#: Every operation with all that it takes: its JSON, its path, its body.
FULL: list[tuple[Operation, str, dict[str, Any] | None]] = [
    (
        DuplicateTask("12", name="Copy", include=["notes", "tags"]),
        "/tasks/12/duplicate",
        {"name": "Copy", "include": "notes,tags"},
    ),
    (
        DuplicateProject("12", name="Q3", include="members,task_dates", schedule_dates=SCHEDULE, team="9"),
        "/projects/12/duplicate",
        {
            "name": "Q3",
            "include": "members,task_dates",
            "schedule_dates": {"should_skip_weekends": True, "start_on": "2026-02-03"},
            "team": "9",
        },
    ),
    (
        DuplicatePortfolio("12", name="P", include=["rules"]),
        "/portfolios/12/duplicate",
        {"name": "P", "include": "rules"},
    ),
    (
        SaveProjectAsTemplate("12", name="T", public=False, team="9"),
        "/projects/12/saveAsTemplate",
        {"name": "T", "public": False, "team": "9"},
    ),
    (
        SaveProjectAsTemplate("12", name="T", public=True, workspace="9"),
        "/projects/12/saveAsTemplate",
        {"name": "T", "public": True, "workspace": "9"},
    ),
    (
        InstantiateProject(
            "12",
            name="N",
            team="9",
            public=False,
            privacy_setting="private",
            is_strict=False,
            requested_dates={"1": date(2026, 2, 3), "2": None},
            requested_roles={"5": "me"},
        ),
        "/project_templates/12/instantiateProject",
        {
            "name": "N",
            "team": "9",
            "public": False,
            "privacy_setting": "private",
            "is_strict": False,
            "requested_dates": [{"gid": "1", "value": "2026-02-03"}, {"gid": "2", "value": None}],
            "requested_roles": [{"gid": "5", "value": "me"}],
        },
    ),
    (InstantiateTask("12", name="N"), "/task_templates/12/instantiateTask", {"name": "N"}),
    (RollupTask("12"), "/tasks/12/rollup", None),
    (RollupProject("12"), "/projects/12/rollup", None),
    (ExportGraph("12"), "/exports/graph", {"parent": "12"}),
    (ExportOrganization("12"), "/organization_exports", {"organization": "12"}),
    (
        ExportResource(
            "12", parameters=[ExportParameters("task", filters={"assignee.any": ["3"]}, fields=["name"])]
        ),
        "/exports/resource",
        {
            "workspace": "12",
            "export_request_parameters": [
                {"resource_type": "task", "filters": {"assignee.any": ["3"]}, "fields": ["name"]}
            ],
        },
    ),
]
#: Every operation with nothing but what it needs.
BARE: list[tuple[Operation, dict[str, Any] | None]] = [
    (DuplicateTask("12"), {}),
    (DuplicateProject("12", name="Q3"), {"name": "Q3"}),
    (DuplicatePortfolio("12", name="P"), {"name": "P"}),
    (SaveProjectAsTemplate("12", name="T", public=False), {"name": "T", "public": False}),
    (InstantiateProject("12", name="N"), {"name": "N"}),
    (InstantiateTask("12"), {}),
    (RollupTask("12"), None),
    (RollupProject("12"), None),
    (ExportGraph("12"), {"parent": "12"}),
    (ExportOrganization("12"), {"organization": "12"}),
    (ExportResource("12"), {"workspace": "12", "export_request_parameters": []}),
]
#: What each kind needs besides its gid.
NEEDED: dict[type[Operation], dict[str, Any]] = {
    DuplicateProject: {"name": "x"},
    DuplicatePortfolio: {"name": "x"},
    SaveProjectAsTemplate: {"name": "x", "public": False},
    InstantiateProject: {"name": "x"},
}
KINDS = [pytest.param(kind, id=kind.kind) for kind in KIND_OF_CALL.values()]

NOT_GIDS: list[Any] = [
    "",
    " 12",
    "12 ",
    "12\n",
    "12\r\nX-Evil: 1",
    "12\x00",
    "../12",
    "12/../13",
    "%2f",
    "12%2f13",
    "12?x",
    "12#x",
    "-12",
    "+12",
    "1_2",
    "1.2",
    "0x12",
    "١٢",
    "²",
    "1" * 10_240,
    12,
    12.0,
    True,
    None,
    b"12",
    ["12"],
    {"gid": "12"},
]


def ids(operations: Iterable[tuple[Any, ...]]) -> list[str]:
    """Name table rows by their operation."""
    return [row[0].kind for row in operations]


def make(kind: type[Operation], gid: Any, **more: Any) -> Operation:
    """Make an operation with what it needs."""
    arguments: dict[str, Any] = {**NEEDED.get(kind, {}), **more}
    return kind(gid, **arguments)


@pytest.mark.parametrize(("operation", "path", "body"), FULL, ids=ids(FULL))
def test_a_full_operation_is_the_documented_call(
    operation: Operation, path: str, body: dict[str, Any] | None
) -> None:
    """Method, path and body of each call, with every field it takes, are as Asana documents them."""
    assert (operation.method, operation.path, operation.body) == ("POST", path, body)


@pytest.mark.parametrize(("operation", "body"), BARE, ids=ids(BARE))
def test_a_bare_operation_sends_nothing_it_was_not_given(
    operation: Operation, body: dict[str, Any] | None
) -> None:
    """What was not given is left out of the body instead of being sent as null or empty."""
    assert operation.body == body


@pytest.mark.parametrize(("call", "kind"), KIND_OF_CALL.items())
def test_paths_are_those_of_the_openapi_document(call: str, kind: type[Operation]) -> None:
    """Each operation's path is the document's, with the subject's gid in the place of the parameter."""
    head, brace, tail = CALLS[call]["path"].partition("{")

    assert make(kind, "12").path == (f"{head}12{tail.partition('}')[2]}" if brace else head)


@pytest.mark.parametrize(("call", "kind"), KIND_OF_CALL.items())
def test_every_body_field_of_the_openapi_document_can_be_sent(call: str, kind: type[Operation]) -> None:
    """No field of a request schema is missing from its operation; ``team`` of old is the only one beyond them."""
    sent = {name for operation, _, body in FULL if type(operation) is kind for name in body or {}}

    assert sent - ({"team"} if kind is DuplicateProject else set()) == set(CALLS[call]["fields"] or [])


@pytest.mark.parametrize(("call", "kind"), KIND_OF_CALL.items())
def test_what_the_openapi_document_requires_is_required(call: str, kind: type[Operation]) -> None:
    """An argument may be left out exactly if the schema says so."""
    required = {field.name for field in attrs.fields(kind) if field.default is attrs.NOTHING}

    assert required == {"gid", *CALLS[call]["required"]}


def test_operations_are_all_the_calls_that_answer_with_a_job() -> None:
    """No call of the OpenAPI document that starts something to wait for is left out."""
    assert set(KIND_OF_CALL) == set(CALLS)
    assert set(OPERATIONS.values()) == set(KIND_OF_CALL.values())
    assert all(kind.kind == name for name, kind in OPERATIONS.items())


def test_only_a_graph_export_gives_the_same_job_back() -> None:
    """A second POST is harmless for one operation alone; everything else starts a second job."""
    assert [kind for kind in KIND_OF_CALL.values() if kind.same_job_while_running] == [ExportGraph]


EVERY = [*((operation, path) for operation, path, _ in FULL), *BARE]


@pytest.mark.parametrize("operation", [row[0] for row in EVERY], ids=ids(EVERY))
def test_round_trip_through_json(operation: Operation) -> None:
    """Every operation is equal to itself after to_dict, JSON and operation_from_dict, and makes the same call."""
    again = operation_from_dict(json.loads(json.dumps(operation.to_dict())))

    assert again == operation
    assert (type(again), again.path, again.body) == (type(operation), operation.path, operation.body)


@pytest.mark.parametrize("operation", [row[0] for row in EVERY], ids=ids(EVERY))
def test_operations_are_values(operation: Operation) -> None:
    """An operation can be hashed, copied and pickled, and cannot be changed."""
    assert hash(operation) == hash(copy.deepcopy(operation))
    assert pickle.loads(pickle.dumps(operation)) == operation  # noqa: S301  # our own
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        operation.gid = "13"  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


gids = st.text("0123456789", min_size=1, max_size=64)
names = st.text(min_size=1).filter(str.strip)
flags = st.booleans()
days = st.dates()
moments = st.datetimes(timezones=st.just(UTC))
words = st.lists(
    st.text(min_size=1, max_size=8).filter(lambda word: word.strip() and "," not in word), max_size=4
)
export_filters = st.builds(
    ExportFilters,
    assignee_any=st.none() | st.lists(gids, max_size=3),
    created_at_after=st.none() | moments,
    modified_at_before=st.none() | moments,
)
operations = st.one_of(
    st.builds(DuplicateTask, gids, name=st.none() | names, include=words),
    st.builds(
        DuplicateProject,
        gids,
        name=names,
        include=words.map(lambda chosen: [*chosen, "task_dates"]),
        schedule_dates=st.none()
        | st.builds(ScheduleDates, should_skip_weekends=flags, start_on=days)
        | st.builds(ScheduleDates, should_skip_weekends=flags, due_on=days),
        team=st.none() | gids,
    ),
    st.builds(DuplicatePortfolio, gids, name=names, include=words),
    st.builds(SaveProjectAsTemplate, gids, name=names, public=flags, team=st.none() | gids),
    st.builds(SaveProjectAsTemplate, gids, name=names, public=flags, workspace=st.none() | gids),
    st.builds(
        InstantiateProject,
        gids,
        name=names,
        team=st.none() | gids,
        public=st.none() | flags,
        privacy_setting=st.none() | names,
        is_strict=st.none() | flags,
        requested_dates=st.dictionaries(gids, st.none() | days, max_size=3),
        requested_roles=st.dictionaries(gids, names, max_size=3),
    ),
    st.builds(InstantiateTask, gids, name=st.none() | names),
    st.builds(RollupTask, gids),
    st.builds(RollupProject, gids),
    st.builds(ExportGraph, gids),
    st.builds(ExportOrganization, gids),
    st.builds(
        ExportResource,
        gids,
        parameters=st.lists(
            st.builds(
                ExportParameters,
                names,
                filters=st.none() | export_filters,
                fields=st.none() | st.lists(names, max_size=3),
            ),
            max_size=2,
        ),
    ),
)


@patient
@given(operations)
def test_any_operation_round_trips_through_json(operation: Operation) -> None:
    """Whatever an operation holds, JSON keeps it."""
    again = operation_from_dict(json.loads(json.dumps(operation.to_dict())))

    assert (again, again.body) == (operation, operation.body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)
arguments = st.sampled_from(
    sorted({field.name for kind in OPERATIONS.values() for field in attrs.fields(kind)})
)


@patient
@given(
    st.sampled_from(sorted(OPERATIONS)),
    gids,
    st.dictionaries(arguments, json_values, max_size=4),
)
def test_any_json_is_an_operation_or_a_value_error(kind: str, gid: str, data: dict[str, object]) -> None:
    """A file of operations written by anybody makes operations or ValueErrors, nothing else."""
    try:
        operation = operation_from_dict({"gid": gid, **data, "kind": kind})
    except ValueError:
        return
    assert operation.kind == kind


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("gid", NOT_GIDS, ids=lambda gid: repr(gid)[:24])
def test_a_gid_is_digits_and_nothing_else(kind: type[Operation], gid: Any) -> None:
    """Whatever could reach another route, or is no text, is refused by every operation before any request."""
    with pytest.raises(
        ValueError, match=r"^gid must (be a string of digits, such as '1203', not|have at most)"
    ) as caught:
        make(kind, gid)

    assert len(str(caught.value)) < 200


@patient
@given(st.text())
def test_no_text_but_digits_gets_into_a_path(text: str) -> None:
    """A path holds ASCII digits where the gid goes, or there is no operation."""
    try:
        path = RollupTask(text).path
    except ValueError:
        return
    assert set(path.removeprefix("/tasks/").removesuffix("/rollup")) <= set("0123456789")


@pytest.mark.parametrize(
    ("kind", "argument"),
    [
        (DuplicateProject, "team"),
        (SaveProjectAsTemplate, "team"),
        (SaveProjectAsTemplate, "workspace"),
        (InstantiateProject, "team"),
    ],
)
@pytest.mark.parametrize("gid", ["", "../12", "١٢", 12])
def test_other_gids_are_checked_and_named(kind: type[Operation], argument: str, gid: Any) -> None:
    """A team or workspace that is no gid is refused under its own name."""
    with pytest.raises(ValueError, match=f"^{argument} must be a string of digits"):
        make(kind, "12", **{argument: gid})


@pytest.mark.parametrize(
    "kind", [DuplicateTask, DuplicateProject, DuplicatePortfolio, SaveProjectAsTemplate, InstantiateProject, InstantiateTask]
)  # fmt: skip
@pytest.mark.parametrize("name", ["", "   ", 5, b"x", ["x"]])
def test_a_name_has_something_in_it(kind: type[Operation], name: Any) -> None:
    """A name that is empty or no text is refused."""
    with pytest.raises(ValueError, match=r"^name must be a non-empty string, not "):
        make(kind, "12", name=name)


@pytest.mark.parametrize(
    ("kind", "argument"),
    [(SaveProjectAsTemplate, "public"), (InstantiateProject, "public"), (InstantiateProject, "is_strict")],
)
@pytest.mark.parametrize("flag", [0, 1, "true", "false"])
def test_flags_are_booleans(kind: type[Operation], argument: str, flag: Any) -> None:
    """Nothing that merely looks like a boolean is taken for one: the text "false" would be true."""
    with pytest.raises(ValueError, match=f"^{argument} must be True or False, not "):
        make(kind, "12", **{argument: flag})


INCLUDES = [
    pytest.param(["b", "a"], ("b", "a"), id="list"),
    pytest.param(("b", "a"), ("b", "a"), id="tuple"),
    pytest.param("b,a", ("b", "a"), id="text"),
    pytest.param(" b , a ", ("b", "a"), id="text with blanks"),
    pytest.param("b", ("b",), id="one word"),
    pytest.param(["b", "a", "b", " a"], ("b", "a"), id="twice"),
    pytest.param({"b", "a"}, ("a", "b"), id="set"),
    pytest.param(frozenset({"b", " b", "a"}), ("a", "b"), id="set with blanks"),
    pytest.param([], (), id="empty list"),
    pytest.param("", (), id="empty text"),
    pytest.param(None, (), id="none"),
    pytest.param(["brand_new_word"], ("brand_new_word",), id="unknown word"),
]


@pytest.mark.parametrize("kind", [DuplicateTask, DuplicateProject, DuplicatePortfolio])
@pytest.mark.parametrize(("include", "held"), INCLUDES)
def test_include_takes_words_in_any_form(kind: type[Operation], include: Any, held: tuple[str, ...]) -> None:
    """Iterables, one comma-separated string, sets: the same words, each once; unknown ones are passed on."""
    operation = make(kind, "12", include=include)

    assert getattr(operation, "include", None) == held
    assert (operation.body or {}).get("include") == (",".join(held) or None)


def test_include_takes_a_generator() -> None:
    """Words may come from anything that can be iterated."""
    assert DuplicateTask("12", include=(word for word in ("a", "b"))).include == ("a", "b")


@pytest.mark.parametrize("include", ["a,,b", ",", " ", ["a,b"], [""], [5], [None], 5, True, b"a", {"a": 1}])
def test_what_is_no_include_is_refused(include: Any) -> None:
    """Empty words, words with commas and things that are no words are a ValueError."""
    with pytest.raises(ValueError, match=r"^include must (be|hold) words"):
        DuplicateTask("12", include=include)


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which words were told of."""
    monkeypatch.setattr(_operation_arguments, "_warned", set[tuple[str, str]]())


@pytest.mark.usefixtures("untold")
def test_a_word_that_asana_does_not_know_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """A mistyped word is sent all the same, and one line of the log says which one may be meant."""
    operations = [DuplicateProject("12", name="x", include=["memberz", "task_notes"]) for _ in range(500)]

    assert all((operation.body or {})["include"] == "memberz,task_notes" for operation in operations)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("asana_jobs", "WARNING")
    assert record.getMessage() == (
        "include='memberz' is no word that Asana documents for duplicate_project, and may be ignored: "
        "is 'members' meant?"
    )


@pytest.mark.usefixtures("untold")
def test_a_word_of_another_operation_is_told_of_with_the_words_there_are(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What nothing is near to is told of with all that there is, for each kind of operation once."""
    DuplicateTask("12", include="child_projects")
    DuplicatePortfolio("12", name="x", include="child_projects,xyzzy")

    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "is 'projects' meant?",
        f"its words are {', '.join(INCLUDE_WORDS['duplicate_portfolio'])}",
    ]


@pytest.mark.usefixtures("untold")
def test_made_up_words_fill_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """A program that passes on what strangers type writes a hundred lines at most, each of them short."""
    for number in range(1000):
        DuplicateTask("12", include=[f"{number}-" + "x" * 5000, "\r\nforged"])

    assert len(caplog.records) <= 100
    assert all(
        len(record.getMessage()) < 300 and record.getMessage().isprintable() for record in caplog.records
    )


@pytest.mark.usefixtures("untold")
def test_documented_words_are_not_told_of(caplog: pytest.LogCaptureFixture) -> None:
    """Every word of the document goes through in silence."""
    for kind, words in INCLUDE_WORDS.items():
        make(OPERATIONS[kind], "12", include=words)

    assert caplog.records == []


@pytest.mark.parametrize("kind", ["duplicate_task", "duplicate_project", "duplicate_portfolio"])
def test_the_words_are_those_of_the_document(kind: str) -> None:
    """The constants, the types, the docstring and the simulator name the same words."""
    words = INCLUDE_WORDS[kind]

    assert sorted(words) == sorted(BY_KIND[kind].include)
    assert set(words) <= set(re.findall(r"\w+", OPERATIONS[kind].__doc__ or ""))
    assert words == get_args(
        {"task": TaskWord, "project": ProjectWord, "portfolio": PortfolioWord}[kind[10:]]
    )


@pytest.mark.parametrize("include", [None, [], "members", ["task_date"]])
def test_schedule_dates_need_task_dates(include: Any) -> None:
    """Shifting dates that are not copied is refused, as Asana would."""
    with pytest.raises(ValueError, match=r"^schedule_dates needs 'task_dates' in include"):
        DuplicateProject("12", name="x", include=include, schedule_dates=SCHEDULE)


def test_schedule_dates_can_be_a_mapping() -> None:
    """A mapping with the documented names does as well."""
    operation = DuplicateProject(
        "12",
        name="x",
        include="task_dates",
        schedule_dates={"should_skip_weekends": True, "start_on": date(2026, 2, 3)},
    )

    assert operation.schedule_dates == SCHEDULE


@pytest.mark.parametrize("schedule", [5, "2026-02-03", ["2026-02-03"]])
def test_what_is_no_schedule_is_refused(schedule: Any) -> None:
    """Anything but ScheduleDates or a mapping is a ValueError."""
    with pytest.raises(
        ValueError,
        match=r'^schedule_dates must be ScheduleDates or a mapping, not .*: write .*{"start_on": "2027',
    ):
        DuplicateProject("12", name="x", include="task_dates", schedule_dates=schedule)


def test_a_template_lives_in_a_team_or_a_workspace() -> None:
    """Both at once are refused."""
    with pytest.raises(ValueError, match=r"^give team .* or workspace .*, not both$"):
        SaveProjectAsTemplate("12", name="x", public=False, team="1", workspace="2")


@pytest.mark.parametrize(
    "requested",
    [
        {"1": "2026-02-03"},
        [RequestedDate("1", "2026-02-03")],
        [{"gid": "1", "value": date(2026, 2, 3)}],
        (RequestedDate("1", date(2026, 2, 3)) for _ in range(1)),
    ],
)
def test_requested_dates_in_any_form(requested: Any) -> None:
    """A mapping of gids, values, or mappings of JSON say the same."""
    operation = InstantiateProject("12", name="x", requested_dates=requested)

    assert operation.requested_dates == (RequestedDate("1", "2026-02-03"),)


@pytest.mark.parametrize(
    "requested", [{"1": "me"}, [RequestedRole("1", "me")], [{"gid": "1", "value": "me"}]]
)
def test_requested_roles_in_any_form(requested: Any) -> None:
    """A mapping of gids, values, or mappings of JSON say the same."""
    assert InstantiateProject("12", name="x", requested_roles=requested).requested_roles == (
        RequestedRole("1", "me"),
    )


@pytest.mark.parametrize("argument", ["requested_dates", "requested_roles"])
@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("1", 'must map gids or names to values, .*: write requested_(dates={"Launch"|roles={"Designer")'),
        (5, 'must map gids or names to values, .*: write requested_(dates={"Launch"|roles={"Designer")'),
        (
            ["1"],
            'must be Requested(Date|Role) or a mapping, .*: write requested_(dates={"Launch"|roles={"Des)',
        ),
        ([("1", "2026-02-03")], "must be Requested(Date|Role) or a mapping"),
        ([{"gid": "1", "valeu": "x"}], "has no 'valeu'; it has gid, value"),
        ([{"value": "2026-02-03"}], "needs 'gid' or 'name'"),
        ([{"gid": "1", "name": "x", "value": "2026-02-03"}], "a gid or a name, not both: 1 and 'x'"),
        ([{"gid": "x", "value": "2026-02-03"}], "must be a string of digits, .*: a name is given as name="),
        ([{"name": " ", "value": "2026-02-03"}], "the name .* must be a non-empty string"),
        ([{"name": 5, "value": "2026-02-03"}], "the name .* must be a non-empty string, not 5"),
        ({1: "2026-02-03"}, "must be a string of digits, such as '1203', not 1"),
        ({"": "2026-02-03"}, "the name .* must be a non-empty string"),
        ({"gid": "1", "value": "2026-02-03"}, r"not be one of them: write requested_\w+=\["),
        ({"name": "x", "value": "2026-02-03"}, r"not be one of them: write requested_\w+=\["),
    ],
)
def test_what_are_no_dates_or_roles_is_refused(argument: str, value: Any, complaint: str) -> None:
    """A value of another shape is a ValueError that says what is wrong with it."""
    with pytest.raises(ValueError, match=complaint):
        make(InstantiateProject, "12", **{argument: value})


@pytest.mark.parametrize(
    "requested",
    [
        {"Launch": date(2027, 1, 4)},
        [{"name": " Launch ", "value": "2027-01-04"}],
        [RequestedDate(name="Launch", value="2027-01-04")],
    ],
)
def test_dates_may_be_given_by_name(requested: Any) -> None:
    """A name is kept as it is, and survives JSON, until the template says its gid."""
    operation = InstantiateProject("1204", name="Q3", requested_dates=requested)

    assert operation.names == ("Launch",)
    assert operation.to_dict()["requested_dates"] == [{"name": "Launch", "value": "2027-01-04"}]
    assert operation_from_dict(operation.to_dict()) == operation
    with pytest.raises(
        ValueError,
        match=r"'Launch' must be known by gid .*operation.by_gid\(await asana.project_template\('1204'\)\)",
    ):
        _ = operation.body


def test_a_name_of_digits_is_a_gid_unless_it_is_given_as_a_name() -> None:
    """A mapping cannot say which of them is meant: gids were there first."""
    by_gid = InstantiateProject("1204", name="Q3", requested_dates={"2027": "2027-01-04"})
    by_name = InstantiateProject(
        "1204", name="Q3", requested_dates=[RequestedDate(name="2027", value="2027-01-04")]
    )

    assert (by_gid.names, by_name.names) == ((), ("2027",))
    assert by_name.by_gid(ASKING) == InstantiateProject(
        "1204", name="Q3", requested_dates={"8": "2027-01-04"}
    )


#: A template with a name of digits, one that two dates have, and letters that are written in two ways.
ASKING = ProjectTemplate(
    "1204",
    requested_dates=(
        DateVariableCompact(gid="1", name="Start Date"),
        DateVariableCompact(gid="5", name="Launch"),
        DateVariableCompact(gid="6", name="Review"),
        DateVariableCompact(gid="7", name="Review"),
        DateVariableCompact(gid="8", name="2027"),
        DateVariableCompact(gid="9"),
    ),
    requested_roles=(TemplateRole(gid="5", name="Designer\N{LATIN SMALL LETTER E WITH ACUTE} "),),
)


def test_names_become_gids() -> None:
    """Dates and roles have names of their own, and are compared as people see them."""
    operation = InstantiateProject(
        "1204",
        name="Q3",
        team="3",
        requested_dates={"Launch": "2027-01-04", "6": "2027-02-01"},
        requested_roles={"Designere\N{COMBINING ACUTE ACCENT}": "me"},
    )

    assert operation.by_gid(ASKING) == InstantiateProject(
        "1204",
        name="Q3",
        team="3",
        requested_dates={"5": "2027-01-04", "6": "2027-02-01"},
        requested_roles={"5": "me"},
    )


@pytest.mark.parametrize(
    ("dates", "said"),
    [
        (
            {"launch": "2027-01-04"},
            r"^template 1204 asks for no date 'launch': it asks for 'Start Date' \(1\), 'Launch' \(5\), ",
        ),
        (
            {"Review": "2027-01-04"},
            "^'Review' is the name of 2 dates of template 1204, 6, 7: give the gid instead$",
        ),
        (
            {"Launch": "2027-01-04", "5": "2027-01-05"},
            "^'Launch' and '5' are the same date of template 1204: give it once$",
        ),
    ],
)
def test_names_that_say_nothing_certain_are_refused(dates: Any, said: str) -> None:
    """Unknown ones with those that there are, ambiguous ones with their gids."""
    operation = InstantiateProject("1204", name="Q3", requested_dates=dates)

    with pytest.raises(ValueError, match=said):
        operation.by_gid(ASKING)


def test_a_template_that_asks_for_nothing_says_so() -> None:
    """And one with very many names shows some of them, each on one line."""
    operation = InstantiateProject("1204", name="Q3", requested_roles={"Designer": "me"})
    many = tuple(TemplateRole(gid=str(number), name=f"\u202e\n{'x' * 500}") for number in range(1000))

    with pytest.raises(ValueError, match="asks for no role 'Designer': it asks for no roles by name"):
        operation.by_gid(ProjectTemplate("1204"))
    with pytest.raises(ValueError, match="asks for no role 'Designer'") as caught:
        operation.by_gid(ProjectTemplate("1204", requested_roles=many))
    assert len(str(caught.value)) < 2000
    assert str(caught.value).isprintable()


def test_another_template_is_refused() -> None:
    """Its names would be other things."""
    operation = InstantiateProject("1205", name="Q3", requested_dates={"Launch": "2027-01-04"})

    with pytest.raises(ValueError, match="the operation is about template 1205, not 1204"):
        operation.by_gid(ASKING)


def test_export_parameters_can_be_mappings() -> None:
    """Mappings with Asana's own keys make the same export."""
    assert ExportResource(
        "12", parameters=[{"resource_type": "task", "filters": {"assignee.any": ["3"]}}]
    ) == ExportResource(
        "12", parameters=[ExportParameters("task", filters=ExportFilters(assignee_any=["3"]))]
    )


@pytest.mark.parametrize("parameters", ["task", 5, {"resource_type": "task"}, ["task"], [None]])
def test_what_are_no_export_parameters_is_refused(parameters: Any) -> None:
    """One mapping instead of several, or text, is a ValueError."""
    with pytest.raises(ValueError, match="parameters must be"):
        ExportResource("12", parameters=parameters)


@pytest.mark.parametrize("kind", [None, "", "duplicate", "DuplicateTask", 5, ["duplicate_task"]])
def test_an_unknown_kind_lists_the_known_ones(kind: Any) -> None:
    """A kind nobody knows is refused, with those that there are."""
    with pytest.raises(
        ValueError, match=r"^kind must be one of duplicate_task, .*export_resource.*, not "
    ) as caught:
        operation_from_dict({"kind": kind, "gid": "12"})

    assert repr(kind) in str(caught.value)


@pytest.mark.parametrize("data", [None, 5, "duplicate_task", [], ["kind"]])
def test_what_is_no_object_is_no_operation(data: Any) -> None:
    """A line of a file that holds something else is a ValueError."""
    with pytest.raises(ValueError, match=r"^an operation is an object with a kind and a gid, not "):
        operation_from_dict(data)


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_argument_is_named(kind: type[Operation]) -> None:
    """A misspelt argument is refused by name, with those that there are."""
    with pytest.raises(ValueError, match=f"^{kind.kind} has no 'nmae'; it has gid"):
        operation_from_dict({"kind": kind.kind, "gid": "12", "nmae": "x"})


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_argument_is_named(kind: type[Operation]) -> None:
    """An operation without its subject is refused, and what it lacks is listed."""
    with pytest.raises(ValueError, match=f"^{kind.kind} needs 'gid'"):
        operation_from_dict({"kind": kind.kind})


@pytest.mark.parametrize("kind", KINDS)
def test_the_subject_is_positional_and_the_rest_is_not(kind: type[Operation]) -> None:
    """Nobody can mistake a name for an include list: only the gid may stand without its name."""
    positional = [field.name for field in attrs.fields(kind) if not field.kw_only]

    assert positional == ["gid"]
