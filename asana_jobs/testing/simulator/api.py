"""The API's calls: from a method, a path and a document to an answer. Knows nothing of sockets.

`POST /batch` has up to ten actions in one request. Each counts as one request in the minute quota and in flight, the
batch itself is free, and all of it is refused when one action would be. Source: developers.asana.com, "Batch requests".
"""

from collections.abc import Callable, Mapping
from typing import Any, cast

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
_READS = {"GET", "HEAD"}
_GRAPH_PARENTS = ("project", "portfolio", "goal", "team")
_NO_BODY = Body()


@frozen
class Call:
    """One authenticated request, as a document.

    Attributes:
        method: in upper case.
        path: below the API's root.
        user: who sent it.
        query: the query parameters, the last of each name.
        document: the parsed body.
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
        if call.method == "GET":
            return self._get(call)
        if call.method != "POST":
            raise no_route()
        operation, gid = _starts_job(call.path)
        if operation is not None:
            return self._start(call, operation, gid)
        if call.path == BATCH_PATH:
            return self._batch(call)
        if call.path == "/organization_exports":
            return self._start_organization_export(call)
        raise no_route()

    def _get(self, call: Call) -> ApiAnswer:
        match call.path.split("/")[1:]:
            case ["jobs", gid]:
                wanted = _wanted(call)
                job = self.domain.find_job(_checked("job_gid", gid), call.user)
                return data(select(job.look(), wanted))
            case ["organization_exports", gid]:
                wanted = _wanted(call)
                checked = _checked("organization_export_gid", gid)
                export = self.domain.find_organization_export(checked, call.user)
                return data(select(as_organization_export(export.look()), wanted))
            case ["project_templates", gid]:
                return self._template(call, PROJECT_TEMPLATE, gid)
            case ["task_templates", gid]:
                return self._template(call, TASK_TEMPLATE, gid)
            case ["users", "me"]:
                return data(select(self.domain.accounts.profile(call.user), _wanted(call)))
            case _:
                raise no_route()

    def _template(self, call: Call, resource_type: str, gid: str) -> ApiAnswer:
        wanted = _wanted(call)
        parameter = f"{resource_type}_gid"
        known = self.domain.find_object([resource_type], _checked(parameter, gid), parameter)
        profile = self.domain.accounts.profile(call.user)
        if resource_type == PROJECT_TEMPLATE:
            return data(select(show_project_template(known, profile), wanted))
        created = api_date_time(self.domain.time.calendar(0.0))
        return data(select(show_task_template(known, profile, created), wanted))

    def _start(self, call: Call, operation: StartsJob, gid: str) -> ApiAnswer:
        if operation.subject is not None:
            _checked(f"{operation.subject}_gid", gid)
        if operation.body_required and call.document is None:
            raise missing_input("data")
        body = open_envelope(call.document)
        wanted = _wanted(call, body)
        if operation.subject is None:
            job, is_new = self._export(operation, body.data, call.user)
        else:
            job, is_new = self._start_from(operation, operation.subject, gid, body.data, call.user), True
        location = {"Location": f"{API_ROOT}/jobs/{job.gid}"}
        started = (job.gid,) if is_new else ()
        return ApiAnswer(201, {"data": select(job.look(), wanted)}, location, started)

    def _start_from(
        self, operation: StartsJob, resource_type: str, gid: str, fields: Mapping[str, Any], user: str
    ) -> SimulatedJob:
        """Start a job that makes something of the object in the path."""
        domain = self.domain
        # That object is looked for before the body is looked at.
        subject = domain.find_object([resource_type], gid, f"{resource_type}_gid")
        if operation.schema is not None:
            check(operation.schema, fields)
        if domain.strict and operation.include:
            check_included(fields, operation.include)
        if operation.kind == "duplicate_project":
            check_schedule_dates(fields)
        if operation.kind == "instantiate_project":
            check_requested(subject, fields, strict=domain.strict)
        if operation.slot is None:
            result = {"tasks": subject["tasks"]} if "tasks" in subject else {}
        else:
            # A task is the one result whose name may be left out; it is named like what it was made from.
            known: dict[str, Any] = {"name": fields.get("name") or subject["name"]}
            if operation.slot == "new_task":
                known["created_by"] = {"gid": domain.accounts.profile(user)["gid"], "resource_type": "user"}
            result = domain.new_result(operation.slot, known)
        return self._start_job(operation, gid, result, user)

    def _start_job(
        self, operation: StartsJob, subject: str, result: dict[str, Any], user: str
    ) -> SimulatedJob:
        self.limiter.admit_jobs(self.domain.running(user))
        return self.domain.start_job(operation, user, subject, result)

    def _export(
        self, operation: StartsJob, fields: Mapping[str, Any], user: str
    ) -> tuple[SimulatedJob, bool]:
        """Return an export, and whether it is a new one.

        While a graph export of one user and parent runs, it is the same job again. A resource export is refused while
        one runs in the same workspace, whoever started that.
        """
        domain, kind = self.domain, operation.kind
        check(str(operation.schema), fields)
        is_graph = kind == "export_graph"
        name, types = ("parent", _GRAPH_PARENTS) if is_graph else ("workspace", ("workspace",))
        subject = str(fields[name])
        domain.find_object(types, subject, name, status=400)
        for job in domain.running(user) if is_graph else domain.started:
            if job.kind == kind and job.subject == subject and not job.done:
                if is_graph:
                    return job, False
                raise ApiError(403, "workspace: An export is already in progress for this workspace.")
        return self._start_job(operation, subject, domain.new_result(str(operation.slot), {}), user), True

    def _start_organization_export(self, call: Call) -> ApiAnswer:
        """Start the export of an organization. It is no job: the cap on running jobs does not know it."""
        body = open_envelope(call.document)
        wanted = _wanted(call, body)
        check("OrganizationExportRequest", body.data)
        organization = str(body.data["organization"])
        self.domain.find_object(["workspace"], organization, "organization", status=400)
        export = self.domain.new_organization_export(organization, call.user)
        location = {"Location": f"{API_ROOT}{call.path}/{export.gid}"}
        return ApiAnswer(201, {"data": select(as_organization_export(export.look()), wanted)}, location)

    def _batch(self, call: Call) -> ApiAnswer:
        """Answer each action on its own; the batch is a 200 whatever they are."""
        body = open_envelope(call.document)
        check("BatchRequest", body.data)
        actions = [_action(call, record_of(listed)) for listed in body.data["actions"]]
        _wanted(call, body)
        # A batch in which one action would exceed a limit is refused as a whole.
        starts = sum(one.method == "POST" and _starts_job(one.path)[0] is not None for one in actions)
        self.limiter.admit_jobs(self.domain.running(call.user), starts)
        answers = [self._answer_action(action) for action in actions]
        names = call.query.get("opt_fields", "").split(",")
        wanted = [name for name in _RESULT_FIELDS if name in names] or _RESULT_FIELDS
        results = [
            {
                "status_code": answer.status,
                "headers": {name.lower(): value for name, value in answer.headers.items()},
                "body": answer.document,
            }
            for answer in answers
        ]
        return ApiAnswer(
            200,
            {"data": [{name: result[name] for name in wanted} for result in results]},
            started=tuple(gid for answer in answers for gid in answer.started),
        )

    def _answer_action(self, action: Call) -> ApiAnswer:
        try:
            _check_allowed(action.path)
            return self.answer(action)
        except ApiError as refusal:
            return self.error(refusal)


def _wanted(call: Call, body: Body = _NO_BODY) -> FieldTree | None:
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


def _starts_job(path: str) -> tuple[StartsJob | None, str]:
    """Return the operation a path stands for and the gid in it ("" when it holds none)."""
    for operation in OPERATIONS:
        gid = operation.gid_in(path)
        if gid is not None:
            return operation, gid
    return None, ""


def _checked(parameter: str, gid: str) -> str:
    if not GID.fullmatch(gid):
        raise not_recognized(parameter, gid)
    return gid


def cost(method: str, path: str, document: Any) -> tuple[int, int]:
    """Return the reads and the writes that a request counts as."""
    methods = [method]
    if method == "POST" and path == BATCH_PATH:
        actions = record_of(record_of(document).get("data")).get("actions")
        listed = cast("list[object]", actions)[:_MOST_ACTIONS] if isinstance(actions, list) else []
        # A batch that cannot be understood is still one request.
        methods = [str(record_of(action).get("method")).upper() for action in listed] or methods
    reads = sum(name in _READS for name in methods)
    return reads, len(methods) - reads


def _action(call: Call, listed: Mapping[str, Any]) -> Call:
    """Return the request that an action of a batch stands for."""
    path = str(listed["relative_path"])
    method = str(listed["method"]).upper()
    fields = record_of(listed.get("data"))
    names = record_of(listed.get("options")).get("fields")
    query = {"opt_fields": ",".join(names)} if names else {}
    path = path if path.startswith("/") else f"/{path}"
    if method not in _READS:
        return evolve(call, method=method, path=path, query=query, document={"data": fields})
    asked = {name: str(value) for name, value in fields.items()}
    return evolve(call, method=method, path=path, query={**asked, **query}, document=None)


def _check_allowed(path: str) -> None:
    if "?" in path:
        raise ApiError(400, "relative_path: Query parameters are not allowed here, use data")
    if path.lower().startswith(_NOT_IN_A_BATCH) or path.endswith("/attachments"):
        raise ApiError(400, f"relative_path: Not allowed in a batch request: {path}")
