"""Templates: what a project template asks for, what is made up of one that nobody added, and what is refused.

A task template asks for nothing. Source: ``ProjectTemplateResponse``, ``DateVariableCompact``, ``TemplateRole`` and
``TaskTemplateResponse`` in the public OpenAPI document (June 2026).
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, cast

from asana_jobs.testing.simulator.bodies import ApiError, unknown_object


PROJECT_TEMPLATE = "project_template"
TASK_TEMPLATE = "task_template"
# The words of the document's own examples. 1 is every project's start, and 2 its end.
_DATES = (
    {"gid": "1", "name": "Start Date", "description": "Choose a start date for your project."},
    {"gid": "2", "name": "Due Date", "description": "Choose a due date for your project."},
)
_ROLES = ({"gid": "1197000000000001", "resource_type": "template_role", "name": "Designer"},)
_TEAM = {"gid": "1196000000000001", "resource_type": "team", "name": "Simulated Team"}
_PROJECT = {"gid": "1195000000000001", "resource_type": "project", "name": "Simulated Project"}
# What the simulator keeps of an object for itself.
_PRIVATE = ("dates", "tasks")

Asked: TypeAlias = Mapping[str, str] | Iterable[Mapping[str, Any]]


def asked(given: Asked, **more: str) -> list[dict[str, Any]]:
    """Return dates or roles of a template, given as a mapping of name to gid or as Asana shows them."""
    if isinstance(given, Mapping):
        pairs = cast("Mapping[str, str]", given)
        return [{"gid": gid, **more, "name": name} for name, gid in pairs.items()]
    return [{**more, **one} for one in given]


def show_project_template(known: Mapping[str, Any], profile: Mapping[str, Any]) -> dict[str, Any]:
    """Return a project template as a read shows it; what nobody said of it is made up."""
    return {
        "description": "What is needed for a launch.",
        "html_description": "<body>What is needed for a launch.</body>",
        "public": True,
        "color": "light-green",
        "owner": _user(profile),
        "team": dict(_TEAM),
        "requested_dates": [dict(date) for date in _DATES],
        "requested_roles": [dict(role) for role in _ROLES],
        **_shown(known),
    }


def show_task_template(
    known: Mapping[str, Any], profile: Mapping[str, Any], created_at: str
) -> dict[str, Any]:
    """Return a task template as a read shows it."""
    return {
        "project": dict(_PROJECT),
        "template": {"name": known["name"], "task_resource_subtype": "default_task", "relative_due_on": 1},
        "created_by": _user(profile),
        "created_at": created_at,
        **_shown(known),
    }


def _shown(known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in known.items() if name not in _PRIVATE}


def _user(profile: Mapping[str, Any]) -> dict[str, Any]:
    return {name: profile[name] for name in ("gid", "resource_type", "name")}


def check_requested(template: Mapping[str, Any], fields: Mapping[str, Any], *, strict: bool) -> None:
    """Refuse dates and roles that a template does not have, and with ``is_strict`` a date that was left out.

    Only a template that was added is known well enough for that, and a strict simulator alone refuses what it does
    not know.
    """
    for name in ("requested_dates", "requested_roles"):
        known = [one["gid"] for one in template.get(name, [])]
        for index, item in enumerate(fields.get(name) or []):
            if strict and item.get("gid") not in known:
                raise unknown_object(f"{name}[{index}].gid", str(item.get("gid")), 400)
    if not fields.get("is_strict"):
        return
    given = {
        str(item.get("gid")) for item in fields.get("requested_dates", []) if item.get("value") is not None
    }
    missing = [date["gid"] for date in template.get("requested_dates", []) if date["gid"] not in given]
    if missing:
        raise ApiError(422, f"requested_dates: Missing date for date variable {', '.join(missing)}")
