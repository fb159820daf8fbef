"""Templates: what they ask for is read once, whatever shape the answer has."""

import json
import logging
from datetime import UTC, datetime
from typing import Any

import attrs
import pytest

from asana_jobs import AsanaClient, NotFoundError
from asana_jobs._client.http import decode as _decode
from asana_jobs.errors import DecodeError, TransportError
from asana_jobs.models import (
    DateVariableCompact,
    ProjectCompact,
    ProjectTemplate,
    TaskTemplate,
    TeamCompact,
    TemplateRole,
    UserCompact,
)
from asana_jobs.testing import AsanaSimulator
from asana_jobs.testing._scripted_transport import ScriptedTransport


Fields = dict[str, Any]
#: Every documented field, in the shape of the document's examples.
PROJECT_TEMPLATE: dict[str, Any] = {
    "gid": "1204",
    "resource_type": "project_template",
    "name": "Packing list",
    "description": "These are things we need to pack for a trip.",
    "html_description": "<body>These are things we need to pack for a trip.</body>",
    "public": False,
    "owner": {"gid": "7", "resource_type": "user", "name": "Greg Sanchez"},
    "team": {"gid": "8", "resource_type": "team", "name": "Marketing"},
    "requested_dates": [
        {"gid": "1", "name": "Start Date", "description": "Choose a start date for your project."}
    ],
    "requested_roles": [{"gid": "5", "resource_type": "template_role", "name": "Designer"}],
    "color": "light-green",
}
TASK_TEMPLATE: dict[str, Any] = {
    "gid": "1204",
    "resource_type": "task_template",
    "name": "Bug Report Template",
    "project": {"gid": "9", "resource_type": "project", "name": "Stuff to buy"},
    "template": {"name": "Bug Report", "relative_due_on": 2},
    "created_by": {"gid": "7", "resource_type": "user", "name": "Greg Sanchez"},
    "created_at": "2019-01-01T00:00:00.000Z",
}


@pytest.fixture(autouse=True)
def _nothing_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test is the first to meet a field."""
    monkeypatch.setattr(_decode, "_warned_of", set[str]())


async def test_a_project_template_says_what_it_asks_for(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """Each documented field is typed, and what is not is in raw."""
    transport.play(PROJECT_TEMPLATE)

    template = await client.project_template("1204")

    assert template == ProjectTemplate(
        "1204",
        resource_type="project_template",
        name="Packing list",
        description="These are things we need to pack for a trip.",
        public=False,
        color="light-green",
        owner=UserCompact(gid="7", resource_type="user", name="Greg Sanchez"),
        team=TeamCompact(gid="8", resource_type="team", name="Marketing"),
        requested_dates=(
            DateVariableCompact(
                gid="1", name="Start Date", description="Choose a start date for your project."
            ),
        ),
        requested_roles=(TemplateRole(gid="5", resource_type="template_role", name="Designer"),),
    )
    assert template.raw == PROJECT_TEMPLATE
    assert [(sent.method, sent.target) for sent in transport.requests] == [("GET", "/project_templates/1204")]


async def test_a_task_template_says_where_it_belongs(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """It asks for nothing, and so has no requested dates or roles at all."""
    transport.play(TASK_TEMPLATE)

    template = await client.task_template("1204")

    assert template == TaskTemplate(
        "1204",
        resource_type="task_template",
        name="Bug Report Template",
        project=ProjectCompact(gid="9", resource_type="project", name="Stuff to buy"),
        created_by=UserCompact(gid="7", resource_type="user", name="Greg Sanchez"),
        created_at=datetime(2019, 1, 1, tzinfo=UTC),
    )
    assert not hasattr(template, "requested_dates")
    assert [sent.target for sent in transport.requests] == ["/task_templates/1204"]


async def test_fields_are_asked_for(client: AsanaClient, transport: ScriptedTransport) -> None:
    """Only what was asked for comes; what was left out is empty."""
    transport.play({"gid": "1204", "name": "Packing list"})

    template = await client.project_template("1204", opt_fields=["name", "requested_dates.name"])

    assert transport.requests[0].query == "opt_fields=name,requested_dates.name"
    assert (template.requested_dates, template.requested_roles, template.team) == ((), (), None)


ODD: list[tuple[Fields, Fields]] = [
    ({"requested_dates": None}, {"requested_dates": ()}),
    ({"requested_dates": {}}, {"requested_dates": ()}),
    ({"requested_dates": "Launch"}, {"requested_dates": ()}),
    (
        {"requested_dates": [{"gid": 1}, "Launch", None, {"gid": "2", "name": 5}]},
        {"requested_dates": (DateVariableCompact(gid="2"),)},
    ),
    ({"requested_roles": [[], {"gid": "5"}]}, {"requested_roles": (TemplateRole(gid="5"),)}),
    ({"public": "yes"}, {"public": None}),
    ({"public": 1}, {"public": None}),
    ({"owner": "7"}, {"owner": None}),
    ({"owner": {"name": "Greg"}}, {"owner": None}),
    ({"team": {"gid": "8", "name": []}}, {"team": TeamCompact(gid="8")}),
    ({"name": 12}, {"name": None}),
    ({"color": None}, {"color": None}),
]


@pytest.mark.parametrize(("fields", "left"), ODD, ids=str)
async def test_only_the_gid_must_be_readable(
    client: AsanaClient,
    transport: ScriptedTransport,
    caplog: pytest.LogCaptureFixture,
    fields: dict[str, Any],
    left: dict[str, Any],
) -> None:
    """A field of another shape is missing, stays in raw, and is warned of; null is no other shape."""
    transport.play({"gid": "1204", **fields})

    with caplog.at_level(logging.WARNING):
        template = await client.project_template("1204")

    assert template == attrs.evolve(ProjectTemplate("1204"), **left)
    assert template.raw == {"gid": "1204", **fields}
    warned = [record.getMessage() for record in caplog.records]
    assert bool(warned) is (None not in fields.values())
    assert all("of project template '1204' is not as Asana documents it" in line for line in warned)


async def test_an_odd_field_is_warned_of_once(
    client: AsanaClient, transport: ScriptedTransport, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand templates with the same oddity are one line of the log."""
    transport.play({"gid": "1204", "requested_dates": [{"name": "Launch"}] * 9})

    with caplog.at_level(logging.WARNING):
        await client.project_template("1204")
        await client.project_template("1204")

    (record,) = caplog.records
    assert record.getMessage() == (
        "requested_dates[] of project template '1204' is not as Asana documents it: its gid is missing; it is taken as "
        "missing, and stays in raw"
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            {"gid": 1204},
            "project template 1204 is not as Asana documents it: expected a string, not a number",
        ),
        ({"gid": None}, "expected a string, not null"),
        ({"name": "Launch"}, "required field missing"),
        ({"gid": "x"}, "not a project template: gid must be a string of digits"),
    ],
)
async def test_a_gid_that_cannot_be_read_is_a_decode_error(
    client: AsanaClient, transport: ScriptedTransport, answer: dict[str, Any], said: str
) -> None:
    """Without a gid there is no template."""
    transport.play(answer)

    with pytest.raises(DecodeError, match=said):
        await client.project_template("1204")


async def test_the_answer_to_another_request_is_not_believed(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """A template with another gid belongs to somebody else: after some repetitions that is the error."""
    transport.play({"gid": "9", "requested_dates": []})

    with pytest.raises(TransportError, match="was answered with template 9: the answer belongs to another"):
        await client.project_template("1204")


@pytest.mark.parametrize("gid", ["", "x", "../jobs/1", 1204, None])
async def test_a_gid_that_is_none_is_refused_before_anything_is_sent(
    client: AsanaClient, transport: ScriptedTransport, gid: Any
) -> None:
    """A path is only made of digits."""
    with pytest.raises(ValueError, match="template gid must be a string of digits"):
        await client.project_template(gid)
    with pytest.raises(ValueError, match="template gid must be a string of digits"):
        await client.task_template(gid)
    assert not transport.requests


async def test_templates_over_the_wire(wired: AsanaClient, simulator: AsanaSimulator) -> None:
    """The simulator's templates are read by the client as any other answer."""
    simulator.add_project_template(
        "1204", name="Launch", requested_dates={"Launch": "5"}, requested_roles={"Designer": "6"}
    )

    template = await wired.project_template("1204")
    task = await wired.task_template("1205")

    assert (template.name, template.requested_dates) == (
        "Launch",
        (DateVariableCompact(gid="5", name="Launch"),),
    )
    assert [role.name for role in template.requested_roles] == ["Designer"]
    assert task.created_at is not None


async def test_a_template_that_does_not_exist() -> None:
    """It is what any other unknown gid is."""
    async with (
        AsanaSimulator(strict=True) as simulator,
        AsanaClient("test-token", base_url=simulator.base_url) as client,
    ):
        with pytest.raises(NotFoundError, match="project_template_gid: Unknown object: 1204"):
            await client.project_template("1204")


@pytest.mark.parametrize("document", [PROJECT_TEMPLATE, TASK_TEMPLATE], ids=["project", "task"])
async def test_a_template_as_json_is_what_came(
    client: AsanaClient, transport: ScriptedTransport, document: dict[str, Any]
) -> None:
    """Fields that this version does not know are in it, at every level."""
    document = json.loads(json.dumps(document)) | {"icon": "rocket"}
    for asked in document.get("requested_dates", ()):
        asked["required"] = True
    transport.play(document)
    read = client.project_template if "public" in document else client.task_template

    template = await read("1204")

    assert template.to_dict() == document


async def test_a_template_that_was_changed_is_json_of_the_change(
    client: AsanaClient, transport: ScriptedTransport
) -> None:
    """What is typed lies over what came."""
    transport.play(PROJECT_TEMPLATE)
    template = await client.project_template("1204")

    changed = attrs.evolve(template, requested_dates=(), team=None).to_dict()

    assert changed == {**PROJECT_TEMPLATE, "requested_dates": [], "team": None}
