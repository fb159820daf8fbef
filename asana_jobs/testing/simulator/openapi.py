"""`/openapi.json`: the simulator describes itself, from the tables it answers by.

The schemas are in the words of the public OpenAPI document (June 2026; the rollups' answers October 2026). Those of the
request bodies also serve the checks of what clients send.
"""

from typing import Any

from asana_jobs.testing.simulator.operations import OPERATIONS, ORGANIZATION, StartsJob


_NAME = {"type": "string"}
_GID_SCHEMA = {"type": "string", "pattern": "^[0-9]+$"}
# The document says string; integrations send arrays of strings and the real API takes them.
_INCLUDE = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
_TASK_DATES = r"(^|,)task_dates(,|$)"
_GIDS_SCHEMA = {"type": "array", "items": _GID_SCHEMA}
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
            "team": _GID_SCHEMA,
            "workspace": _GID_SCHEMA,
            "public": {"type": "boolean"},
        },
    },
    "ProjectTemplateInstantiateProjectRequest": {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": _NAME,
            "team": _GID_SCHEMA,
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
    "GraphExportRequest": {"type": "object", "required": ["parent"], "properties": {"parent": _GID_SCHEMA}},
    "ResourceExportRequest": {
        "type": "object",
        "required": ["workspace", "export_request_parameters"],
        "properties": {
            "workspace": _GID_SCHEMA,
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
            "assigned_by.any": _GIDS_SCHEMA,
            "assignee.any": _GIDS_SCHEMA,
            "commented_on_by.any": _GIDS_SCHEMA,
            "created_at.after": _DATE_TIME,
            "created_at.before": _DATE_TIME,
            "created_by.any": _GIDS_SCHEMA,
            "followers.any": _GIDS_SCHEMA,
            "liked_by.any": _GIDS_SCHEMA,
            "modified_at.after": _DATE_TIME,
            "modified_at.before": _DATE_TIME,
        },
    },
    "OrganizationExportRequest": {
        "type": "object",
        "required": ["organization"],
        "properties": {"organization": _GID_SCHEMA},
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
    """Return the schema itself, or the named one it refers to."""
    reference = schema.get("$ref")
    return schema if reference is None else REQUEST_SCHEMAS[str(reference).rsplit("/", 1)[-1]]


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_STRING = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_MAYBE_DATE_TIME = {**_DATE_TIME, "nullable": True}
_LINK = {"type": "string", "format": "uri", "nullable": True}
_STATUS = {"type": "string", "enum": ["not_started", "in_progress", "succeeded", "failed"]}
_IDENTITY = {"gid": _STRING, "resource_type": _STRING}


def _export() -> dict[str, Any]:
    # completed_at is null while the export runs, says its text, though the document's type does not.
    return _object(**_IDENTITY, created_at=_DATE_TIME, download_url=_LINK, completed_at=_MAYBE_DATE_TIME)


def _subtype(*values: str) -> dict[str, Any]:
    return {"type": "string", "enum": list(values)}


_COLORS = (
    *(
        f"dark-{hue}"
        for hue in ("pink", "green", "blue", "red", "teal", "brown", "orange", "purple", "warm-gray")
    ),
    *(
        f"light-{hue}"
        for hue in ("pink", "green", "blue", "red", "teal", "brown", "orange", "purple", "warm-gray")
    ),
)
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
    "ProjectTemplateResponse": _object(
        **_IDENTITY,
        name=_STRING,
        description=_STRING,
        html_description=_STRING,
        public={"type": "boolean"},
        owner={"allOf": [_reference("UserCompact"), {"type": "object", "nullable": True}]},
        team=_reference("TeamCompact"),
        requested_dates={"type": "array", "items": _reference("DateVariableCompact")},
        requested_roles={"type": "array", "items": _reference("TemplateRole")},
        color={"type": "string", "nullable": True, "enum": [*_COLORS, None]},
    ),
    "DateVariableCompact": _object(gid=_STRING, name=_STRING, description=_STRING),
    "TemplateRole": _object(**_IDENTITY, name=_STRING),
    "TeamCompact": _object(**_IDENTITY, name=_STRING),
    "UserCompact": _object(**_IDENTITY, name=_STRING),
    "TaskTemplateResponse": _object(
        **_IDENTITY,
        name=_STRING,
        project={"nullable": True, "allOf": [_reference("ProjectCompact")]},
        template={"type": "object"},
        created_by=_reference("UserCompact"),
        created_at=_DATE_TIME,
    ),
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


_ERRORS = {
    400: "This usually occurs because of a missing or malformed parameter.",
    401: "A valid authentication token was not provided with the request.",
    402: "The request needs a paid plan.",
    403: "The authentication and request syntax was valid but the server is refusing to complete the request.",
    404: "Either the request method and path do not specify a known action, or the object does not exist.",
    422: "A date variable of the template was given no value.",
    429: "A rate limit was hit.",
    500: "There was a problem on the server's end.",
}
_ANSWERS = {
    "export_graph": "GraphExportResponse",
    "export_resource": "ResourceExportResponse",
    ORGANIZATION.kind: "OrganizationExportResponse",
}
_PRETTY = {
    "name": "opt_pretty",
    "in": "query",
    "required": False,
    "allowEmptyValue": True,
    "schema": {"type": "boolean"},
}
_FIELDS = {
    "name": "opt_fields",
    "in": "query",
    "required": False,
    "description": "A comma-separated list of fields; paths may start with `this.` and hold `(a|b)` groups.",
    # A list in the official document. On the wire it is one string, and any string is good.
    "schema": {"type": "string"},
}
_OPTIONS = [_PRETTY, _FIELDS]
# The same options beside `data`, as the pages on input and output options describe them.
_NAMES = {"oneOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}]}
_OUTPUT = {"type": "object", "properties": {"fields": _NAMES}}


def _json(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _enveloped(schema: dict[str, Any], description: str) -> dict[str, Any]:
    return _json({"type": "object", "properties": {"data": schema}}, description)


def _responses(status: int, schema: dict[str, Any], description: str, *further: int) -> dict[str, Any]:
    errors = sorted({400, 401, 403, 404, 429, 500, *further})
    return {
        str(status): _enveloped(schema, description),
        **{str(error): _json(_reference("ErrorResponse"), _ERRORS[error]) for error in errors},
    }


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": "^[0-9]+$"}}


def _body(schema_name: str, *, required: bool) -> dict[str, Any]:
    # The envelope holds data and options and nothing else. Where a field of data is required, data is,
    # whatever the official flag says.
    has_required = "required" in REQUEST_SCHEMAS[schema_name]
    envelope: dict[str, Any] = {
        "type": "object",
        "properties": {"data": _reference(schema_name), "options": _OUTPUT},
        "additionalProperties": False,
    }
    if has_required:
        envelope["required"] = ["data"]
    return {"required": required or has_required, "content": {"application/json": {"schema": envelope}}}


def _starting(operation: StartsJob) -> dict[str, Any]:
    further = [402] if operation.schema is None else []
    further += [422] if operation.kind == "instantiate_project" else []
    answer = _reference(_ANSWERS.get(operation.kind, "JobResponse"))
    description: dict[str, Any] = {
        "operationId": operation.operation_id,
        "parameters": list(_OPTIONS) if operation.output_options else [],
        "responses": _responses(201, answer, "Successfully started.", *further),
    }
    if operation.subject_parameter is not None:
        description["parameters"].insert(0, _path_parameter(operation.subject_parameter))
    if operation.schema is not None:
        description["requestBody"] = _body(operation.schema, required=operation.body_required)
    return description


def _reading(operation_id: str, answer: str, gid: str | None = None) -> dict[str, Any]:
    return {
        "operationId": operation_id,
        "parameters": [*([] if gid is None else [_path_parameter(gid)]), *_OPTIONS],
        "responses": _responses(200, _reference(answer), "Successfully read."),
    }


def openapi_document(base_url: str) -> dict[str, Any]:
    """Return an OpenAPI document of everything the simulator serves at `base_url`."""
    paths = {operation.path: {"post": _starting(operation)} for operation in (*OPERATIONS, ORGANIZATION)}
    paths["/jobs/{job_gid}"] = {"get": _reading("getJob", "JobResponse", "job_gid")}
    export_gid = "organization_export_gid"
    paths[f"/organization_exports/{{{export_gid}}}"] = {
        "get": _reading("getOrganizationExport", "OrganizationExportResponse", export_gid)
    }
    for kind, answer in (("project_template", "ProjectTemplate"), ("task_template", "TaskTemplate")):
        paths[f"/{kind}s/{{{kind}_gid}}"] = {
            "get": _reading(f"get{answer}", f"{answer}Response", f"{kind}_gid")
        }
    paths["/users/me"] = {"get": _reading("getMe", "UserResponse")}
    results = {"type": "array", "items": _reference("BatchResponse")}
    paths["/batch"] = {
        "post": {
            "operationId": "createBatchRequest",
            "parameters": list(_OPTIONS),
            "requestBody": _body("BatchRequest", required=True),
            "responses": _responses(200, results, "Every action was answered."),
        }
    }
    return {
        "openapi": "3.0.3",
        "info": {"title": "A local Asana: the part that creates and reads jobs", "version": "1.0"},
        "servers": [{"url": base_url}],
        "security": [{"personalAccessToken": []}],
        "paths": paths,
        "components": {
            "schemas": {**RESPONSE_SCHEMAS, **REQUEST_SCHEMAS},
            "securitySchemes": {"personalAccessToken": {"type": "http", "scheme": "bearer"}},
        },
    }
