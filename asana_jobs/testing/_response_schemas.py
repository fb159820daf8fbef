"""Schemas of the answers, in the words of the public OpenAPI document (June and October 2026)."""

from typing import Any


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_STRING = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_DATE_TIME = {"type": "string", "format": "date-time"}
_MAYBE_DATE_TIME = {**_DATE_TIME, "nullable": True}
_LINK = {"type": "string", "format": "uri", "nullable": True}
_STATUS = {"type": "string", "enum": ["not_started", "in_progress", "succeeded", "failed"]}
_IDENTITY = {"gid": _STRING, "resource_type": _STRING}


def _export() -> dict[str, Any]:
    # completed_at is null while the export runs, says its text, though the document's type does not.
    return _object(**_IDENTITY, created_at=_DATE_TIME, download_url=_LINK, completed_at=_MAYBE_DATE_TIME)


def _subtype(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


RESPONSE_SCHEMAS: dict[str, dict[str, Any]] = {
    "JobResponse": _object(
        **_IDENTITY,
        resource_subtype=_STRING,
        status=_STATUS,
        new_portfolio=_reference("PortfolioCompact"),
        new_project=_reference("ProjectCompact"),
        new_task={"allOf": [_reference("TaskCompact"), {"type": "object", "nullable": True}]},
        new_project_template=_reference("ProjectTemplateCompact"),
        new_graph_export=_reference("GraphExportCompact"),
        new_resource_export=_reference("ResourceExportCompact"),
        dates_rollup_progress=_object(total_tasks=_COUNT, updated_tasks=_COUNT),
    ),
    "GraphExportResponse": _object(
        **_IDENTITY,
        resource_subtype=_STRING,
        status=_STATUS,
        new_graph_export=_reference("GraphExportCompact"),
    ),
    "ResourceExportResponse": _object(
        **_IDENTITY,
        resource_subtype=_STRING,
        status=_STATUS,
        new_resource_export=_reference("ResourceExportCompact"),
    ),
    "ProjectCompact": _object(
        **_IDENTITY, name=_STRING, resource_subtype=_subtype("default_project", "custom")
    ),
    "PortfolioCompact": _object(
        **_IDENTITY, name=_STRING, resource_subtype=_subtype("default_portfolio", "custom")
    ),
    "TaskCompact": _object(
        **_IDENTITY,
        name=_STRING,
        resource_subtype=_subtype("default_task", "milestone", "approval", "custom"),
        created_by=_object(**_IDENTITY),
    ),
    "ProjectTemplateCompact": _object(**_IDENTITY, name=_STRING),
    "GraphExportCompact": _export(),
    "ResourceExportCompact": _export(),
    "OrganizationExportResponse": _object(
        **_IDENTITY,
        created_at=_DATE_TIME,
        download_url=_LINK,
        state=_subtype("pending", "started", "finished", "error"),
        organization=_reference("WorkspaceCompact"),
    ),
    "WorkspaceCompact": _object(**_IDENTITY, name=_STRING),
    "UserResponse": _object(
        **_IDENTITY,
        name=_STRING,
        email=_STRING,
        workspaces={"type": "array", "items": _reference("WorkspaceCompact")},
    ),
    "BatchResponse": _object(
        status_code={"type": "integer"}, headers={"type": "object"}, body={"type": "object"}
    ),
    "ErrorResponse": _object(errors={"type": "array", "items": _reference("Error")}),
    "Error": _object(message=_STRING, help=_STRING, phrase=_STRING),
}
