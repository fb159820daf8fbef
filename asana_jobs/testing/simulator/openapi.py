"""`/openapi.json`: the simulator describes itself, from the tables it answers by.

The schemas are in the words of the public OpenAPI document (June 2026; the rollups' answers October 2026). Those of the
request bodies also serve the checks of what clients send.
"""

from typing import Any

from asana_jobs.testing.simulator.operations import OPERATIONS, ORGANIZATION, StartsJob


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    return {**schema, "required": [*required]} if required else schema


def _list(items: dict[str, Any], **bounds: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **bounds}


def _one_of(*words: str) -> dict[str, Any]:
    return {"type": "string", "enum": [*words]}


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_STRING = {"type": "string"}
_BOOLEAN = {"type": "boolean"}
_COUNT = {"type": "integer", "minimum": 0}
_GID = {"type": "string", "pattern": "^[0-9]+$"}
_GIDS = _list(_GID)
_DATE = {"type": "string", "format": "date"}
_DATE_TIME = {"type": "string", "format": "date-time"}
# The document says string; integrations send arrays of strings and the real API takes them.
_INCLUDE = {"oneOf": [_STRING, _list(_STRING)]}
_TASK_DATES = {"type": "string", "pattern": r"(^|,)task_dates(,|$)"}

REQUEST_SCHEMAS: dict[str, dict[str, Any]] = {
    "TaskDuplicateRequest": _object(name=_STRING, include=_INCLUDE),
    "ProjectDuplicateRequest": {
        **_object(
            "name",
            name=_STRING,
            include=_INCLUDE,
            schedule_dates={
                **_object(
                    "should_skip_weekends", should_skip_weekends=_BOOLEAN, due_on=_DATE, start_on=_DATE
                ),
                "oneOf": [{"required": ["start_on"]}, {"required": ["due_on"]}],
            },
        ),
        # Dates can only be shifted when they are copied.
        "anyOf": [
            {"not": {"required": ["schedule_dates"]}},
            {"required": ["include"], "properties": {"include": _TASK_DATES}},
        ],
    },
    "PortfolioDuplicateRequest": _object("name", name=_STRING, include=_INCLUDE),
    "ProjectSaveAsTemplateRequest": _object(
        "name", "public", name=_STRING, team=_GID, workspace=_GID, public=_BOOLEAN
    ),
    "ProjectTemplateInstantiateProjectRequest": _object(
        "name",
        name=_STRING,
        team=_GID,
        public={**_BOOLEAN, "deprecated": True},
        privacy_setting=_one_of("public_to_workspace", "private_to_team", "private"),
        is_strict=_BOOLEAN,
        requested_dates=_list(_reference("DateVariableRequest")),
        requested_roles=_list(_reference("RequestedRoleRequest")),
    ),
    "DateVariableRequest": _object(gid=_STRING, value={**_STRING, "nullable": True}),
    "RequestedRoleRequest": _object(gid=_STRING, value=_STRING),
    "TaskTemplateInstantiateTaskRequest": _object(name=_STRING),
    "GraphExportRequest": _object("parent", parent=_GID),
    "ResourceExportRequest": _object(
        "workspace",
        "export_request_parameters",
        workspace=_GID,
        export_request_parameters=_list(_reference("ResourceExportRequestParameter"), minItems=1),
    ),
    "ResourceExportRequestParameter": _object(
        "resource_type",
        resource_type=_one_of("task", "team", "message"),
        filters=_reference("ResourceExportFilters"),
        fields=_list(_STRING),
    ),
    "ResourceExportFilters": _object(
        **{f"{who}.any": _GIDS for who in ("assigned_by", "assignee", "commented_on_by")},
        **{f"created_at.{when}": _DATE_TIME for when in ("after", "before")},
        **{f"{who}.any": _GIDS for who in ("created_by", "followers", "liked_by")},
        **{f"modified_at.{when}": _DATE_TIME for when in ("after", "before")},
    ),
    "OrganizationExportRequest": _object("organization", organization=_GID),
    "BatchRequest": _object(
        "actions", actions=_list(_reference("BatchRequestAction"), minItems=1, maxItems=10)
    ),
    "BatchRequestAction": _object(
        "relative_path",
        "method",
        relative_path=_STRING,
        method=_one_of("get", "post", "put", "delete", "patch", "head"),
        data={"type": "object"},
        options=_object(limit={"type": "integer"}, offset=_STRING, fields=_list(_STRING)),
    ),
}


def resolve(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema itself, or the named one it refers to."""
    reference = schema.get("$ref")
    return schema if reference is None else REQUEST_SCHEMAS[str(reference).rsplit("/", 1)[-1]]


def _resource(**properties: Any) -> dict[str, Any]:
    return _object(gid=_STRING, resource_type=_STRING, **properties)


def _started(*slots: str, **properties: Any) -> dict[str, Any]:
    results = {f"new_{slot}": _reference(f"{slot.title().replace('_', '')}Compact") for slot in slots}
    status = _one_of("not_started", "in_progress", "succeeded", "failed")
    return _resource(resource_subtype=_STRING, status=status, **results, **properties)


_NAMED = _resource(name=_STRING)
_LINK = {"type": "string", "format": "uri", "nullable": True}
# completed_at is null while the export runs, says its text, though the document's type does not.
_EXPORT = _resource(created_at=_DATE_TIME, download_url=_LINK, completed_at={**_DATE_TIME, "nullable": True})
_HUES = ("pink", "green", "blue", "red", "teal", "brown", "orange", "purple", "warm-gray")
_OR_NULL = {"type": "object", "nullable": True}

RESPONSE_SCHEMAS: dict[str, dict[str, Any]] = {
    "JobResponse": _started(
        "portfolio",
        "project",
        "project_template",
        "graph_export",
        "resource_export",
        new_task={"allOf": [_reference("TaskCompact"), _OR_NULL]},
        dates_rollup_progress=_object(total_tasks=_COUNT, updated_tasks=_COUNT),
    ),
    "GraphExportResponse": _started("graph_export"),
    "ResourceExportResponse": _started("resource_export"),
    "ProjectCompact": _resource(name=_STRING, resource_subtype=_one_of("default_project", "custom")),
    "PortfolioCompact": _resource(name=_STRING, resource_subtype=_one_of("default_portfolio", "custom")),
    "TaskCompact": _resource(
        name=_STRING,
        resource_subtype=_one_of("default_task", "milestone", "approval", "custom"),
        created_by=_resource(),
    ),
    "ProjectTemplateCompact": _NAMED,
    "ProjectTemplateResponse": _resource(
        name=_STRING,
        description=_STRING,
        html_description=_STRING,
        public=_BOOLEAN,
        owner={"allOf": [_reference("UserCompact"), _OR_NULL]},
        team=_reference("TeamCompact"),
        requested_dates=_list(_reference("DateVariableCompact")),
        requested_roles=_list(_reference("TemplateRole")),
        color={
            "type": "string",
            "nullable": True,
            "enum": [*(f"{shade}-{hue}" for shade in ("dark", "light") for hue in _HUES), None],
        },
    ),
    "DateVariableCompact": _object(gid=_STRING, name=_STRING, description=_STRING),
    "TemplateRole": _NAMED,
    "TeamCompact": _NAMED,
    "UserCompact": _NAMED,
    "TaskTemplateResponse": _resource(
        name=_STRING,
        project={"nullable": True, "allOf": [_reference("ProjectCompact")]},
        template={"type": "object"},
        created_by=_reference("UserCompact"),
        created_at=_DATE_TIME,
    ),
    "GraphExportCompact": _EXPORT,
    "ResourceExportCompact": _EXPORT,
    "OrganizationExportResponse": _resource(
        created_at=_DATE_TIME,
        download_url=_LINK,
        state=_one_of("pending", "started", "finished", "error"),
        organization=_reference("WorkspaceCompact"),
    ),
    "WorkspaceCompact": _NAMED,
    "UserResponse": _resource(name=_STRING, email=_STRING, workspaces=_list(_reference("WorkspaceCompact"))),
    "BatchResponse": _object(
        status_code={"type": "integer"}, headers={"type": "object"}, body={"type": "object"}
    ),
    "ErrorResponse": _object(errors=_list(_reference("Error"))),
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
_ANYWHERE = (400, 401, 403, 404, 429, 500)
_ANSWERS = {
    "export_graph": "GraphExportResponse",
    "export_resource": "ResourceExportResponse",
    ORGANIZATION.kind: "OrganizationExportResponse",
}
_OPTIONS = [
    {"name": "opt_pretty", "in": "query", "required": False, "allowEmptyValue": True, "schema": _BOOLEAN},
    {
        "name": "opt_fields",
        "in": "query",
        "required": False,
        "description": "A comma-separated list of fields; paths may start with `this.` and hold `(a|b)` groups.",
        # A list in the official document. On the wire it is one string, and any string is good.
        "schema": _STRING,
    },
]
# The same options beside `data`, as the pages on input and output options describe them.
_OUTPUT = _object(fields={"oneOf": [_list(_STRING), _STRING]})


def _json(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _call(
    operation_id: str,
    answer: dict[str, Any],
    gid: str | None = None,
    *,
    status: int = 200,
    description: str = "Successfully read.",
    errors: tuple[int, ...] = (),
    options: bool = True,
) -> dict[str, Any]:
    path = [] if gid is None else [{"name": gid, "in": "path", "required": True, "schema": _GID}]
    return {
        "operationId": operation_id,
        "parameters": [*path, *(_OPTIONS if options else ())],
        "responses": {
            str(status): _json(description, _object(data=answer)),
            **{
                str(error): _json(_ERRORS[error], _reference("ErrorResponse"))
                for error in sorted((*_ANYWHERE, *errors))
            },
        },
    }


def _body(schema_name: str, *, required: bool) -> dict[str, Any]:
    # The envelope holds data and options and nothing else. Where a field of data is required, data is,
    # whatever the official flag says.
    needed = ["data"] if "required" in REQUEST_SCHEMAS[schema_name] else []
    envelope = _object(*needed, data=_reference(schema_name), options=_OUTPUT)
    content = {"application/json": {"schema": {**envelope, "additionalProperties": False}}}
    return {"required": required or bool(needed), "content": content}


def _starting(operation: StartsJob) -> dict[str, Any]:
    call = _call(
        operation.operation_id,
        _reference(_ANSWERS.get(operation.kind, "JobResponse")),
        operation.subject_parameter,
        status=201,
        description="Successfully started.",
        errors={"instantiate_project": (422,), "rollup_task": (402,), "rollup_project": (402,)}.get(
            operation.kind, ()
        ),
        options=operation.output_options,
    )
    if operation.schema is not None:
        call["requestBody"] = _body(operation.schema, required=operation.body_required)
    return call


def openapi_document(base_url: str) -> dict[str, Any]:
    """Return an OpenAPI document of everything the simulator serves at `base_url`."""
    paths = {operation.path: {"post": _starting(operation)} for operation in (*OPERATIONS, ORGANIZATION)}
    for kind, name in (
        ("job", "Job"),
        ("organization_export", "OrganizationExport"),
        ("project_template", "ProjectTemplate"),
        ("task_template", "TaskTemplate"),
    ):
        call = _call(f"get{name}", _reference(f"{name}Response"), f"{kind}_gid")
        paths[f"/{kind}s/{{{kind}_gid}}"] = {"get": call}
    paths["/users/me"] = {"get": _call("getMe", _reference("UserResponse"))}
    batch = _call(
        "createBatchRequest", _list(_reference("BatchResponse")), description="Every action was answered."
    )
    paths["/batch"] = {"post": {**batch, "requestBody": _body("BatchRequest", required=True)}}
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
