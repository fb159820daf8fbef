"""`/openapi.json`: the simulator describes itself, from the tables it answers by."""

from typing import Any

from asana_jobs.testing._operations import OPERATIONS, ORGANIZATION, StartsJob
from asana_jobs.testing._response_schemas import RESPONSE_SCHEMAS
from asana_jobs.testing._schemas import REQUEST_SCHEMAS


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


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


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
    """An OpenAPI document of everything the simulator serves at `base_url`."""
    paths = {operation.path: {"post": _starting(operation)} for operation in (*OPERATIONS, ORGANIZATION)}
    paths["/jobs/{job_gid}"] = {"get": _reading("getJob", "JobResponse", "job_gid")}
    export_gid = "organization_export_gid"
    paths[f"/organization_exports/{{{export_gid}}}"] = {
        "get": _reading("getOrganizationExport", "OrganizationExportResponse", export_gid)
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
