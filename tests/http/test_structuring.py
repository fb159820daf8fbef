"""The short way from JSON to a model makes the same values as calling the class, or makes none."""

import sys
import weakref
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from asana_jobs._client.http import decode as _decode
from asana_jobs._client.http.decode import Structure, write_structure
from asana_jobs.models import Job, TaskCompact


@attrs.frozen(kw_only=True, weakref_slot=False)
class Point:
    """Every sort of field that a model may have."""

    gid: str
    name: str | None = None
    size: int
    weight: None | int = None  # noqa: RUF036  # as some write it
    raw: dict[str, object] = attrs.field(factory=dict[str, object], eq=False)


@attrs.frozen
class Remembered:
    """A model with a slot of its own for weak references."""

    gid: str


def whole_number(value: object, _: object) -> int:
    """Structure a number as models do: by raising for anything else."""
    if not isinstance(value, int):
        raise TypeError("expected a number")
    return value


def text(value: object, _: object) -> str:
    """Structure text that is no plain `str`."""
    if not isinstance(value, str):
        raise TypeError("expected text")
    return str(value).upper()


def structure_of(kind: object) -> Structure:
    """Return what structures a field of *kind*."""
    return whole_number if kind is int else text


def structure_point(value: object) -> Any:
    """Write the function that structures points, and call it."""
    return write_structure(Point, structure_of)(value, Point)


def test_what_is_structured_equals_what_the_class_makes() -> None:
    """The value is of the class itself: equal to one that is constructed, shown like it, with the same hash."""
    document: dict[str, object] = {"gid": "1", "name": "a", "size": 2, "weight": 3}
    made = structure_point(document)
    constructed = Point(gid="1", name="a", size=2, weight=3, raw=document)
    assert type(made) is Point
    assert (made, repr(made), hash(made)) == (constructed, repr(constructed), hash(constructed))


def test_what_is_structured_is_frozen() -> None:
    """The value that was filled slot by slot lets nobody fill another one."""
    made = structure_point({"gid": "1", "size": 2})
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.name = "b"


@pytest.mark.parametrize("name", [{}, {"name": None}])
def test_what_is_missing_or_null_is_none(name: dict[str, None]) -> None:
    """A field with the default None is None when the document leaves it out, and when it says null."""
    assert structure_point({"gid": "1", "size": 2, **name}) == Point(gid="1", size=2)


def test_the_whole_document_is_kept_under_its_name() -> None:
    """The field that is the whole document is that very document, whatever the document says of such a field."""
    document = {"gid": "1", "size": 2, "raw": 7, "new": True}
    assert structure_point(document).raw is document


def test_plain_text_is_taken_as_it_is_and_other_text_is_structured() -> None:
    """Only text of another class than `str` is handed to what structures text."""

    class Loud(str):
        """Text of another class."""

        __slots__ = ()

    made = structure_point({"gid": Loud("a"), "name": "b", "size": 1})
    assert (made.gid, made.name) == ("A", "b")


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "1",
        1,
        {},
        {"gid": None, "size": 1},
        {"gid": "1"},
        {"gid": "1", "size": "2"},
        {"gid": 1, "size": 1},
    ],
)
def test_what_is_wrong_is_a_type_error(document: object) -> None:
    """No document, a missing field and a wrong type raise `TypeError`, so that somebody may look in detail."""
    with pytest.raises(TypeError):
        structure_point(document)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="any model can be filled since Python 3.12")
def test_a_model_that_cannot_be_filled_is_refused_at_once() -> None:
    """A class whose slots are laid out differently raises when the function is written, not at each answer."""
    with pytest.raises(TypeError, match="layout differs"):
        write_structure(Remembered, structure_of)


def test_weak_references_may_point_to_what_was_read() -> None:
    """A cache may hold jobs and what they make weakly, whether an answer was read or the class was called."""
    read = Job.from_dict({"gid": "1", "new_task": {"gid": "2"}})
    for value in (read, read.new_task, Job("1"), TaskCompact(gid="2")):
        assert weakref.ref(value)() is value


def test_answers_that_are_right_never_take_the_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """A job with every sort of field is read without looking at its fields one by one."""

    def refuse() -> Any:
        raise AssertionError("the short way did not do")

    monkeypatch.setattr(_decode, "_structure_what_is_right", refuse)
    moment = "2012-02-22T02:06:58.147Z"
    job = Job.from_dict(
        {
            "gid": "1",
            "status": "paused",
            "new_task": {"gid": "2", "created_by": {"gid": "3"}},
            "new_graph_export": {"gid": "4", "created_at": moment, "completed_at": None},
            "dates_rollup_progress": {"total_tasks": 5},
        }
    )
    assert isinstance(job, Job)
    assert job.new_graph_export is not None
    assert job.new_graph_export.created_at == datetime(2012, 2, 22, 2, 6, 58, 147000, UTC)
