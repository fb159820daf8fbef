"""The structured arguments: checked where they are written down, and exact on the wire."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asana_jobs import parameters
from asana_jobs.operations import (
    DuplicatePortfolio,
    DuplicateProject,
    DuplicateTask,
    ExportResource,
    InstantiateProject,
    InstantiateTask,
    SaveProjectAsTemplate,
    operation_from_dict,
)
from asana_jobs.parameters import (
    ExportFilters,
    ExportParameters,
    RequestedDate,
    RequestedRole,
    ScheduleDates,
    build,
    to_json,
)


#: Other processes share the machine: how long an example takes says nothing.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

#: ``ResourceExportFilters`` of the OpenAPI document, with the argument for each.
USER_FILTERS = {
    "assigned_by.any": "assigned_by_any",
    "assignee.any": "assignee_any",
    "commented_on_by.any": "commented_on_by_any",
    "created_by.any": "created_by_any",
    "followers.any": "followers_any",
    "liked_by.any": "liked_by_any",
}
MOMENT_FILTERS = {
    "created_at.after": "created_at_after",
    "created_at.before": "created_at_before",
    "modified_at.after": "modified_at_after",
    "modified_at.before": "modified_at_before",
}
NOT_GIDS = ["", "12x", "../1", "١٢", 12, None]


@pytest.mark.parametrize("end", ["start_on", "due_on"])
@pytest.mark.parametrize("day", [date(2026, 2, 3), "2026-02-03"])
def test_schedule_dates_take_dates_and_text(end: str, day: date | str) -> None:
    """Either end, as a date or as text, becomes YYYY-MM-DD; the other one is left out."""
    arguments: dict[str, Any] = {end: day}

    dates = ScheduleDates(should_skip_weekends=True, **arguments)

    assert to_json(dates) == {"should_skip_weekends": True, end: "2026-02-03"}


@pytest.mark.parametrize("given_ends", [{}, {"start_on": "2026-02-03", "due_on": "2026-02-04"}])
def test_schedule_dates_need_exactly_one_end(given_ends: dict[str, Any]) -> None:
    """Neither end, or both, is refused before any request."""
    with pytest.raises(ValueError, match=r"^schedule_dates needs exactly one of start_on and due_on$"):
        ScheduleDates(should_skip_weekends=False, **given_ends)


@pytest.mark.parametrize("flag", [None, 0, 1, "true"])
def test_should_skip_weekends_is_a_boolean(flag: Any) -> None:
    """Nothing that merely looks like a boolean is taken for one."""
    with pytest.raises(ValueError, match="should_skip_weekends must be True or False"):
        ScheduleDates(should_skip_weekends=flag, start_on="2026-02-03")


@pytest.mark.parametrize("end", ["start_on", "due_on"])
@pytest.mark.parametrize(
    "day", ["", "tomorrow", "2026-2-3", "2026-02-30", "2026-02-03T00:00:00Z", 5, b"2026-02-03"]
)
def test_what_is_no_date_is_named(end: str, day: Any) -> None:
    """A value that is not a date is refused with the argument's name and the value."""
    arguments: dict[str, Any] = {end: day}

    with pytest.raises(ValueError, match=f"{end} must be a date or 'YYYY-MM-DD', not ") as caught:
        ScheduleDates(should_skip_weekends=True, **arguments)

    assert repr(day) in str(caught.value)


def test_a_date_with_a_time_of_day_is_refused() -> None:
    """A datetime is not silently cut to its date."""
    with pytest.raises(ValueError, match="start_on must be a date without a time of day"):
        ScheduleDates(should_skip_weekends=True, start_on=datetime(2026, 2, 3, tzinfo=UTC))


@patient
@given(st.dates())
def test_any_date_is_written_as_iso(day: date) -> None:
    """Every date Python has is written the way Asana reads it."""
    assert RequestedDate("1", day).value == day.isoformat()


@patient
@given(st.text())
def test_any_text_is_a_date_or_a_value_error(text: str) -> None:
    """No text gets through as a date that is not one."""
    try:
        written = RequestedDate("1", text).value
    except ValueError:
        return
    assert written is not None
    assert date.fromisoformat(written).isoformat() == written


def test_a_requested_date_without_value_stays_null() -> None:
    """Null is a value that Asana knows for a date variable: it is sent, not left out."""
    assert to_json(RequestedDate("1")) == {"gid": "1", "value": None}


def a_role(gid: str) -> RequestedRole:
    """Make a role with a user."""
    return RequestedRole(gid, "me")


@pytest.mark.parametrize("make", [RequestedDate, a_role])
@pytest.mark.parametrize("gid", [gid for gid in NOT_GIDS if gid is not None])
def test_gids_of_dates_and_roles_are_checked(make: Callable[[Any], object], gid: Any) -> None:
    """A variable's gid is digits, as text."""
    with pytest.raises(ValueError, match="the gid of a date or role must be a string of digits"):
        make(gid)


@pytest.mark.parametrize("make", [RequestedDate, a_role])
def test_dates_and_roles_have_a_gid_or_a_name(make: Callable[[Any], object]) -> None:
    """Without either, nobody knows which."""
    with pytest.raises(ValueError, match="a date or role of a template needs 'gid' or 'name'"):
        make(None)


@pytest.mark.parametrize("value", ["me", "ada@example.com", "1203"])
def test_a_role_takes_me_an_address_or_a_gid(value: str) -> None:
    """The three ways to name a user are sent as they are."""
    assert to_json(RequestedRole("1", value)) == {"gid": "1", "value": value}


@pytest.mark.parametrize("value", ["", "  ", None, 5])
def test_a_role_needs_a_user(value: Any) -> None:
    """A role without a user is refused."""
    with pytest.raises(ValueError, match="value must be a non-empty string"):
        RequestedRole("1", value)


def test_filters_are_those_asana_knows() -> None:
    """There is an argument for every filter of the schema, and none besides."""
    assert {field.name for field in attrs.fields(ExportFilters)} == {
        *USER_FILTERS.values(),
        *MOMENT_FILTERS.values(),
    }


@pytest.mark.parametrize(("wire", "argument"), USER_FILTERS.items())
def test_user_filters_get_their_dots(wire: str, argument: str) -> None:
    """On the wire a filter of users has the key Asana gives it, and a list of gids."""
    arguments: dict[str, Any] = {argument: ["1", "2"]}

    assert to_json(ExportFilters(**arguments)) == {wire: ["1", "2"]}


@pytest.mark.parametrize(("wire", "argument"), MOMENT_FILTERS.items())
@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        datetime(2026, 2, 3, 5, 5, 6, tzinfo=timezone(timedelta(hours=1))),
        "2026-02-03T04:05:06Z",
        "2026-02-03T05:05:06+01:00",
    ],
)
def test_moment_filters_are_sent_in_utc(wire: str, argument: str, moment: datetime | str) -> None:
    """Whatever zone a moment is given in, it is written in UTC under Asana's key."""
    arguments: dict[str, Any] = {argument: moment}

    assert to_json(ExportFilters(**arguments)) == {wire: "2026-02-03T04:05:06Z"}


@pytest.mark.parametrize("argument", MOMENT_FILTERS.values())
@pytest.mark.parametrize(
    ("moment", "complaint"),
    [
        ("2026-02-03", "must say its time zone"),
        (datetime(2026, 2, 3), "must say its time zone"),  # noqa: DTZ001  # that is the mistake
        ("yesterday", "must be a datetime or ISO 8601 text"),
        (5, "must be a datetime or ISO 8601 text"),
        ("0001-01-01T00:00:00+10:00", "must lie in the years"),
    ],
)
def test_a_moment_that_is_not_one_is_refused(argument: str, moment: Any, complaint: str) -> None:
    """A moment without a zone, or none at all, is a ValueError that says so."""
    arguments: dict[str, Any] = {argument: moment}

    with pytest.raises(ValueError, match=complaint):
        ExportFilters(**arguments)


@pytest.mark.parametrize("argument", USER_FILTERS.values())
@pytest.mark.parametrize("users", ["12", 5, ["x"], [12], b"12", [None]])
def test_filters_of_users_take_gids(argument: str, users: Any) -> None:
    """One string, or anything that is no gid, is refused."""
    arguments: dict[str, Any] = {argument: users}

    with pytest.raises(ValueError, match="a filter's user"):
        ExportFilters(**arguments)


@pytest.mark.parametrize("key", ["created_at.after", "created_at_after"])
def test_filters_can_be_a_mapping_with_either_spelling(key: str) -> None:
    """Asana's dotted keys and our names mean the same."""
    made = ExportParameters("task", filters={key: "2026-02-03T04:05:06Z"})

    assert made.filters == ExportFilters(created_at_after="2026-02-03T04:05:06Z")


def test_an_unknown_filter_is_named() -> None:
    """A filter nobody knows is refused, and the known ones are listed."""
    with pytest.raises(ValueError, match=r"filters has no 'due_on_after'; it has assigned_by_any, .*"):
        ExportParameters("task", filters={"due_on.after": "2026-02-03T04:05:06Z"})


@pytest.mark.parametrize("filters", [5, "x", ["x"]])
def test_filters_are_filters(filters: Any) -> None:
    """Anything but filters or a mapping is refused."""
    with pytest.raises(ValueError, match="filters must be ExportFilters or a mapping"):
        ExportParameters("task", filters=filters)


@pytest.mark.parametrize("fields", ["name", 5, [1], [None], b"ab", [""]])
def test_export_fields_are_paths(fields: Any) -> None:
    """One string, bytes and items that are no text are refused instead of being sent as something else."""
    with pytest.raises(ValueError, match=r"fields must (be|hold)"):
        ExportParameters("task", fields=fields)


@pytest.mark.parametrize("kind", ["", " ", None, 5])
def test_export_parameters_need_a_resource_type(kind: Any) -> None:
    """What is exported must be said."""
    with pytest.raises(ValueError, match="resource_type must be a non-empty string"):
        ExportParameters(kind)


def test_export_parameters_on_the_wire() -> None:
    """All of it, nested, as the schema has it."""
    made = ExportParameters("task", filters={"assignee.any": ["1"]}, fields=["name", "assignee.name"])

    assert to_json(made) == {
        "resource_type": "task",
        "filters": {"assignee.any": ["1"]},
        "fields": ["name", "assignee.name"],
    }


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (
            {"start": "2026-02-03"},
            r"^schedule_dates has no 'start'; it has should_skip_weekends, start_on, due_on$",
        ),
        ({1: 2, "b": 3}, r"^schedule_dates has no '1', 'b'; it has "),
        ({}, r"^schedule_dates needs 'should_skip_weekends'$"),
    ],
)
def test_build_names_what_is_unknown_or_missing(data: dict[str, object], complaint: str) -> None:
    """A mapping with a wrong key, or without a needed one, is a ValueError that names the key."""
    with pytest.raises(ValueError, match=complaint):
        build(ScheduleDates, data, "schedule_dates")


@pytest.mark.parametrize(
    "name", [name for name in parameters.__all__ if isinstance(getattr(parameters, name), type)]
)
def test_parameters_are_frozen_and_documented(name: str) -> None:
    """Every public parameter is a frozen value with a docstring."""
    kind = getattr(parameters, name)

    assert kind.__doc__
    assert kind.__setattr__ is not object.__setattr__


HALVES = {
    "the first half": "Launch \ud83d",
    "the second half": "\ude80 Launch",
    "turned round": "\ude80\ud83d",
    "half between": "a\ud83db",
    "a byte of a command line": "caf\udce9",
    "after a whole one": "\U0001f680\ud83d",
}
TAKES_TEXT: dict[str, tuple[Callable[[str], object], str]] = {
    "a name": (lambda text: DuplicateProject("1", name=text), "name"),
    "a task's name": (lambda text: DuplicateTask("1", name=text), "name"),
    "a portfolio's name": (lambda text: DuplicatePortfolio("1", name=text), "name"),
    "a template's name": (lambda text: SaveProjectAsTemplate("1", name=text, public=True), "name"),
    "a project's name": (lambda text: InstantiateProject("1", name=text), "name"),
    "a new task's name": (lambda text: InstantiateTask("1", name=text), "name"),
    "a setting": (lambda text: InstantiateProject("1", name="x", privacy_setting=text), "privacy_setting"),
    "a role": (lambda text: InstantiateProject("1", name="x", requested_roles={"5": text}), "value"),
    "a word": (lambda text: DuplicateTask("1", include=[text]), "include"),
    "words": (lambda text: DuplicateTask("1", include=f"notes,{text}"), "include"),
    "a resource type": (
        lambda text: ExportResource("1", parameters=[{"resource_type": text}]),
        "resource_type",
    ),
    "a field": (
        lambda text: ExportResource("1", parameters=[{"resource_type": "task", "fields": [text]}]),
        "fields",
    ),
    "JSON": (
        lambda text: operation_from_dict({"kind": "duplicate_project", "gid": "1", "name": text}),
        "name",
    ),
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
@pytest.mark.parametrize(("make", "field"), TAKES_TEXT.values(), ids=TAKES_TEXT)
def test_half_an_emoji_is_refused(make: Callable[[str], object], field: str, half: str) -> None:
    """No text that is sent holds half a character: the error names the field, and can be written anywhere."""
    with pytest.raises(ValueError, match=rf"^{field} must be whole characters, .* at place \d+") as caught:
        make(half)

    assert str(caught.value).isprintable()
    make("Launch \U0001f680")
