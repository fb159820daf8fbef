"""Schemas of the request bodies, in the words of the public OpenAPI document (June 2026).

One table serves both the checks of what clients send and `/openapi.json`.
"""

from typing import Any


_NAME = {"type": "string"}
_GID = {"type": "string", "pattern": "^[0-9]+$"}
# The document says string; integrations send arrays of strings and the real API takes them.
_INCLUDE = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_TASK_DATES = r"(^|,)task_dates(,|$)"
_GIDS = {"type": "array", "items": _GID}
_DATE_TIME = {"type": "string", "format": "date-time"}

REQUEST_SCHEMAS: dict[str, dict[str, Any]] = {
    "TaskDuplicateRequest": {"type": "object", "properties": {"name": _NAME, "include": _INCLUDE}},
    "ProjectDuplicateRequest": {
        "type": "object",
        "required": ["name"],
        # Dates can only be shifted when they are copied.
        "anyOf": [
            {"not": {"required": ["schedule_dates"]}},
            {"required": ["include"], "properties": {"include": {"type": "string", "pattern": _TASK_DATES}}},
        ],
        "properties": {
            "name": _NAME,
            "include": _INCLUDE,
            "schedule_dates": {
                "type": "object",
                "required": ["should_skip_weekends"],
                "oneOf": [{"required": ["start_on"]}, {"required": ["due_on"]}],
                "properties": {
                    "should_skip_weekends": {"type": "boolean"},
                    "due_on": {"type": "string", "format": "date"},
                    "start_on": {"type": "string", "format": "date"},
                },
            },
        },
    },
    "PortfolioDuplicateRequest": {
        "type": "object",
        "required": ["name"],
        "properties": {"name": _NAME, "include": _INCLUDE},
    },
    "ProjectSaveAsTemplateRequest": {
        "type": "object",
        "required": ["name", "public"],
        "properties": {
            "name": _NAME,
            "team": _GID,
            "workspace": _GID,
            "public": {"type": "boolean"},
        },
    },
    "ProjectTemplateInstantiateProjectRequest": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": _NAME,
            "team": _GID,
            "public": {"type": "boolean", "deprecated": True},
            "privacy_setting": {
                "type": "string",
                "enum": ["public_to_workspace", "private_to_team", "private"],
            },
            "is_strict": {"type": "boolean"},
            "requested_dates": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/DateVariableRequest"},
            },
            "requested_roles": {
                "type": "array",
                "items": {"$ref": "#/components/schemas/RequestedRoleRequest"},
            },
        },
    },
    "DateVariableRequest": {
        "type": "object",
        "properties": {"gid": {"type": "string"}, "value": {"type": "string", "nullable": True}},
    },
    "RequestedRoleRequest": {
        "type": "object",
        "properties": {"gid": {"type": "string"}, "value": {"type": "string"}},
    },
    "TaskTemplateInstantiateTaskRequest": {"type": "object", "properties": {"name": _NAME}},
    "GraphExportRequest": {"type": "object", "required": ["parent"], "properties": {"parent": _GID}},
    "ResourceExportRequest": {
        "type": "object",
        "required": ["workspace", "export_request_parameters"],
        "properties": {
            "workspace": _GID,
            "export_request_parameters": {
                "type": "array",
                "minItems": 1,
                "items": {"$ref": "#/components/schemas/ResourceExportRequestParameter"},
            },
        },
    },
    "ResourceExportRequestParameter": {
        "type": "object",
        "required": ["resource_type"],
        "properties": {
            "resource_type": {"type": "string", "enum": ["task", "team", "message"]},
            "filters": {"$ref": "#/components/schemas/ResourceExportFilters"},
            "fields": {"type": "array", "items": {"type": "string"}},
        },
    },
    "ResourceExportFilters": {
        "type": "object",
        "properties": {
            "assigned_by.any": _GIDS,
            "assignee.any": _GIDS,
            "commented_on_by.any": _GIDS,
            "created_at.after": _DATE_TIME,
            "created_at.before": _DATE_TIME,
            "created_by.any": _GIDS,
            "followers.any": _GIDS,
            "liked_by.any": _GIDS,
            "modified_at.after": _DATE_TIME,
            "modified_at.before": _DATE_TIME,
        },
    },
    "OrganizationExportRequest": {
        "type": "object",
        "required": ["organization"],
        "properties": {"organization": _GID},
    },
    "BatchRequest": {
        "type": "object",
        "required": ["actions"],
        "properties": {
            "actions": {
                "type": "array",
                "minItems": 1,
                "maxItems": 10,
                "items": {"$ref": "#/components/schemas/BatchRequestAction"},
            },
        },
    },
    "BatchRequestAction": {
        "type": "object",
        "required": ["relative_path", "method"],
        "properties": {
            "relative_path": {"type": "string"},
            "method": {"type": "string", "enum": ["get", "post", "put", "delete", "patch", "head"]},
            "data": {"type": "object"},
            "options": {
                "type": "object",
                "properties": {
                    "limit": {"type": "integer"},
                    "offset": {"type": "string"},
                    "fields": {"type": "array", "items": {"type": "string"}},
                },
            },
        },
    },
}


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, or the named one it refers to."""
    reference = schema.get("$ref")
    return schema if reference is None else REQUEST_SCHEMAS[str(reference).rsplit("/", 1)[-1]]
