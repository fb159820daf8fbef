"""The API's calls: from a method, a path and a document to an answer. Knows nothing of sockets.

`POST /batch` has up to ten actions in one request. Each counts as one request in the minute quota and in flight, the
batch itself is free, and all of it is refused when one action would be. Source: developers.asana.com, "Batch requests".
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from attrs import define, evolve, field, frozen

from asana_jobs.testing.simulator.bodies import (
    ApiAnswer,
    ApiError,
    Body,
    check,
    check_included,
    check_schedule_dates,
    data,
    missing_input,
    no_route,
    not_recognized,
    open_envelope,
    record_of,
)
from asana_jobs.testing.simulator.domain import GID, Domain
from asana_jobs.testing.simulator.fields import FieldTree, boolean_option, parse_fields, select
from asana_jobs.testing.simulator.jobs import SimulatedJob, as_organization_export
from asana_jobs.testing.simulator.limits import RequestLimiter
from asana_jobs.testing.simulator.operations import OPERATIONS, StartsJob
from asana_jobs.testing.simulator.templates import (
    PROJECT_TEMPLATE,
    TASK_TEMPLATE,
    check_requested,
    show_project_template,
    show_task_template,
)
from asana_jobs.testing.simulator.time import api_date_time


API_ROOT = "/api/1.0"
BATCH_PATH = "/batch"
_MOST_ACTIONS = 10
# Attachments, organization exports, SCIM and nested batches are not allowed.
_NOT_IN_A_BATCH = ("/batch", "/organization_exports", "/scim")
_RESULT_FIELDS = ("status_code", "headers", "body")
_GRAPH_PARENTS = ("project", "portfolio", "goal", "team")


@frozen
class Call:
    """One authenticated request, as a document.

    Attributes:
        method: in upper case.
        path: below the API's root.
        query: the query parameters, the last of each name.
        document: the parsed body.
        user: who sent it.
    """

    method: str
    path: str
    user: str
    query: Mapping[str, str] = field(factory=dict[str, str])
    document: Any = None


@define
class Api:
    """The API's calls over a domain and its limits.

    Attributes:
        error: makes the answer that an error is.
    """

    domain: Domain
    limiter: RequestLimiter
    error: Callable[[ApiError], ApiAnswer]

    def answer(self, call: Call) -> ApiAnswer:
        """Answer one call, or raise an ApiError."""
        parts = call.path.split("/")[1:]
        if call.method == "POST":
            return self._post(call, parts)
        if call.method == "GET":
            return self._get(call, parts)
        raise no_route()

    def _get(self, call: Call, parts: list[str]) -> ApiAnswer:
        match parts:
            case ["jobs", gid]:
                wanted = _wanted(call, Body())
                job = self.domain.find_job(_checked("job_gid", gid), call.user)
                return data(select(job.look(), wanted))
            case ["organization_exports", gid]:
                wanted = _wanted(call, Body())
                checked = _checked("organization_export_gid", gid)
                export = self.domain.find_organization_export(checked, call.user)
                return data(select(as_organization_export(export.look()), wanted))
            case ["project_templates", gid]:
                return self._template(call, PROJECT_TEMPLATE, gid)
            case ["task_templates", gid]:
                return self._template(call, TASK_TEMPLATE, gid)
            case ["users", "me"]:
                return data(select(self.domain.accounts.profile(call.user), _wanted(call, Body())))
            case _:
                raise no_route()

    def _template(self, call: Call, resource_type: str, gid: str) -> ApiAnswer:
        wanted = _wanted(call, Body())
        parameter = f"{resource_type}_gid"
        known = self.domain.find_object([resource_type], _checked(parameter, gid), parameter)
        profile = self.domain.accounts.profile(call.user)
        if resource_type == PROJECT_TEMPLATE:
            return data(select(show_project_template(known, profile), wanted))
        created = api_date_time(self.domain.time.calendar(0.0))
        return data(select(show_task_template(known, profile, created), wanted))

    def _post(self, call: Call, parts: list[str]) -> ApiAnswer:
        operation, gid = _starts_job(parts)
        if operation is not None:
            return self._start(call, operation, gid)
        if call.path == BATCH_PATH:
            return self._batch(call)
        if parts == ["organization_exports"]:
            return self._start_organization_export(call)
        raise no_route()

    def _start(self, call: Call, operation: StartsJob, gid: str) -> ApiAnswer:
        if operation.subject_parameter is not None:
            _checked(operation.subject_parameter, gid)
        if operation.body_required and call.document is None:
            raise missing_input("data")
        body = open_envelope(call.document)
        wanted = _wanted(call, body)
        job, is_new = start(self.domain, self.limiter, Start(operation, gid, body, call.user))
        location = {"Location": f"{API_ROOT}/jobs/{job.gid}"}
        return ApiAnswer(
            201, {"data": select(job.look(), wanted)}, location, started=(job.gid,) if is_new else ()
        )

    def _start_organization_export(self, call: Call) -> ApiAnswer:
        body = open_envelope(call.document)
        wanted = _wanted(call, body)
        check("OrganizationExportRequest", body.data)
        export = start_organization_export(self.domain, str(body.data["organization"]), call.user)
        location = {"Location": f"{API_ROOT}{call.path}/{export.gid}"}
        return ApiAnswer(201, {"data": select(as_organization_export(export.look()), wanted)}, location)

    def _batch(self, call: Call) -> ApiAnswer:
        actions = batch_actions(call.document)
        _wanted(call, open_envelope(call.document))
        # A batch in which one action would exceed a limit is refused as a whole.
        starts = [action for action in actions if _starts_job(action.path.split("/")[1:])[0] is not None]
        self.limiter.admit_jobs(self.domain.running(call.user), sum(one.method == "POST" for one in starts))

        def answer_action(action: Action) -> ApiAnswer:
            return self.answer(
                evolve(
                    call,
                    method=action.method,
                    path=action.path,
                    query=action.query,
                    document=action.document,
                )
            )

        return answer_batch(actions, answer_action, self.error, call.query.get("opt_fields", ""))


def _wanted(call: Call, body: Body) -> FieldTree | None:
    """Return the fields asked for, in the query or beside `data`; a 400 for options that make no sense."""
    boolean_option(call.query, "opt_pretty")
    named = body.options.get("fields", [])
    if not isinstance(named, str | list):
        raise ApiError(400, f"options.fields: Value is not a list: {named!r}")
    names = [named] if isinstance(named, str) else cast("list[object]", named)
    texts = [name for name in names if isinstance(name, str)]
    if len(texts) < len(names):
        raise ApiError(400, "options.fields: Value is not a list of strings")
    return parse_fields([call.query.get("opt_fields", ""), *texts])


def _starts_job(parts: list[str]) -> tuple[StartsJob | None, str]:
    """Return the operation a path stands for and the gid in it ("" when it holds none)."""
    for operation in OPERATIONS:
        gid = operation.gid_in(parts)
        if gid is not None:
            return operation, gid
    return None, ""


def _checked(parameter: str, gid: str) -> str:
    if not GID.fullmatch(gid):
        raise not_recognized(parameter, gid)
    return gid


@frozen
class Start:
    """A request to start a job, already authenticated.

    Attributes:
        operation: the call that was made.
        subject: the gid in the path; empty for the exports.
        body: what was sent.
        user: who sent it.
    """

    operation: StartsJob
    subject: str
    body: Body
    user: str


def start(domain: Domain, limiter: RequestLimiter, request: Start) -> tuple[SimulatedJob, bool]:
    """Return the job a request asks for, and whether it is a new one."""
    operation = request.operation
    fields = request.body.data
    # The object in the path is looked for before the body is looked at.
    subject = _find_subject(domain, request)
    if operation.schema is not None:
        check(operation.schema, fields)
    if domain.strict and operation.include:
        check_included(fields, operation.include)
    if operation.kind == "duplicate_project":
        check_schedule_dates(fields)
    if operation.kind == "instantiate_project":
        check_requested(subject, fields, strict=domain.strict)
    if operation.kind == "export_graph":
        return _start_graph_export(domain, limiter, request)
    if operation.kind == "export_resource":
        return _start_resource_export(domain, limiter, request), True
    return _start_new(domain, limiter, request, request.subject, _result(domain, request, subject)), True


def _find_subject(domain: Domain, request: Start) -> dict[str, Any]:
    parameter = request.operation.subject_parameter
    if request.operation.subject is None or parameter is None:
        return {}
    return domain.find_object([request.operation.subject], request.subject, parameter)


def _result(domain: Domain, request: Start, subject: Mapping[str, Any]) -> dict[str, Any]:
    slot = request.operation.slot
    if slot is None:
        return {"tasks": subject["tasks"]} if "tasks" in subject else {}
    # A task is the one result whose name may be left out; it is named like what it was made from.
    fields = {"name": request.body.data.get("name") or subject["name"]}
    if slot == "new_task":
        creator = domain.user_gid(request.user)
        return domain.new_result(slot, {**fields, "created_by": {"gid": creator, "resource_type": "user"}})
    return domain.new_result(slot, fields)


def _start_new(
    domain: Domain, limiter: RequestLimiter, request: Start, subject: str, result: dict[str, Any]
) -> SimulatedJob:
    limiter.admit_jobs(domain.running(request.user))
    return domain.start_job(request.operation, request.user, subject, result)


def _start_graph_export(domain: Domain, limiter: RequestLimiter, request: Start) -> tuple[SimulatedJob, bool]:
    """Return a graph export; while one of this user and parent runs, the same job again."""
    parent = str(request.body.data["parent"])
    domain.find_object(_GRAPH_PARENTS, parent, "parent", status=400)
    for job in domain.running(request.user):
        if job.kind == request.operation.kind and job.subject == parent:
            return job, False
    return _start_new(domain, limiter, request, parent, domain.new_result("new_graph_export", {})), True


def _start_resource_export(domain: Domain, limiter: RequestLimiter, request: Start) -> SimulatedJob:
    """Return a resource export; refused while one runs in the same workspace, whoever started that."""
    workspace = str(request.body.data["workspace"])
    domain.find_object(["workspace"], workspace, "workspace", status=400)
    if any(job.subject == workspace and not job.done for job in domain.started_of(request.operation.kind)):
        raise ApiError(403, "workspace: An export is already in progress for this workspace.")
    return _start_new(domain, limiter, request, workspace, domain.new_result("new_resource_export", {}))


def start_organization_export(domain: Domain, organization: str, user: str) -> SimulatedJob:
    """Start the export of an organization. It is no job: the cap on running jobs does not know it."""
    domain.find_object(["workspace"], organization, "organization", status=400)
    return domain.new_organization_export(organization, user)


@frozen
class Action:
    """One action of a batch, as the request it stands for."""

    method: str
    path: str
    query: Mapping[str, str] = field(factory=dict[str, str])
    document: Any = None


AnswerAction: TypeAlias = Callable[[Action], ApiAnswer]


def cost(method: str, path: str, document: Any) -> tuple[int, int]:
    """Return the reads and the writes that a request counts as."""
    if method == "POST" and path == BATCH_PATH:
        methods = [str(action.get("method")).lower() for action in _listed(document)[:_MOST_ACTIONS]]
        reads = sum(name in {"get", "head"} for name in methods)
        # A batch that cannot be understood is still one request.
        return (reads, len(methods) - reads) if methods else (0, 1)
    return (1, 0) if method in {"GET", "HEAD"} else (0, 1)


def _listed(document: Any) -> list[dict[str, Any]]:
    actions = record_of(record_of(document).get("data")).get("actions")
    return (
        [record_of(action) for action in cast("list[object]", actions)] if isinstance(actions, list) else []
    )


def batch_actions(document: Any) -> list[Action]:
    """Return the actions of a batch that is well made; a 400 if it is not."""
    body = open_envelope(document)
    check("BatchRequest", body.data)
    return [_action(record_of(listed)) for listed in body.data["actions"]]


def _action(listed: Mapping[str, Any]) -> Action:
    path = str(listed["relative_path"])
    path = path if path.startswith("/") else f"/{path}"
    method = str(listed["method"]).upper()
    fields = record_of(listed.get("data"))
    names = record_of(listed.get("options")).get("fields")
    wanted = {"opt_fields": ",".join(names)} if names else {}
    if method in {"GET", "HEAD"}:
        return Action(method, path, {**{name: str(value) for name, value in fields.items()}, **wanted})
    return Action(method, path, wanted, {"data": fields})


def answer_batch(
    actions: Sequence[Action],
    answer_action: AnswerAction,
    error: Callable[[ApiError], ApiAnswer],
    fields: str,
) -> ApiAnswer:
    """Answer each action on its own; the batch is a 200 whatever they are."""
    results: list[dict[str, Any]] = []
    started: list[str] = []
    wanted = [name for name in _RESULT_FIELDS if name in fields.split(",")] or _RESULT_FIELDS
    for action in actions:
        try:
            _check_allowed(action.path)
            answer = answer_action(action)
        except ApiError as refusal:
            answer = error(refusal)
        result = {
            "status_code": answer.status,
            "headers": {name.lower(): value for name, value in answer.headers.items()},
            "body": answer.document,
        }
        started += answer.started
        results.append({name: result[name] for name in wanted})
    return ApiAnswer(200, {"data": results}, started=tuple(started))


def _check_allowed(path: str) -> None:
    if "?" in path:
        raise ApiError(400, "relative_path: Query parameters are not allowed here, use data")
    if path.lower().startswith(_NOT_IN_A_BATCH) or path.endswith("/attachments"):
        raise ApiError(400, f"relative_path: Not allowed in a batch request: {path}")
