"""The calls that start a job: checks, limits, and the new job."""

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from asana_jobs.testing._answers import ApiError
from asana_jobs.testing._bodies import Body, check, check_included, check_schedule_dates, check_template_dates
from asana_jobs.testing._domain import Domain
from asana_jobs.testing._gates import Gates
from asana_jobs.testing._jobs import SimulatedJob
from asana_jobs.testing._operations import StartsJob


_GRAPH_PARENTS = ("project", "portfolio", "goal", "team")


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


def start(domain: Domain, gates: Gates, request: Start) -> tuple[SimulatedJob, bool]:
    """The job a request asks for, and whether it is a new one."""
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
        # Only an added template has date variables: what is made up on the way has none.
        check_template_dates(fields, subject.get("dates", []))
    if operation.kind == "export_graph":
        return _start_graph_export(domain, gates, request)
    if operation.kind == "export_resource":
        return _start_resource_export(domain, gates, request), True
    return _start_new(domain, gates, request, request.subject, _result(domain, request, subject)), True


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
    domain: Domain, gates: Gates, request: Start, subject: str, result: dict[str, Any]
) -> SimulatedJob:
    gates.admit_jobs(domain.running(request.user))
    return domain.start_job(request.operation, request.user, subject, result)


def _start_graph_export(domain: Domain, gates: Gates, request: Start) -> tuple[SimulatedJob, bool]:
    """A graph export; while one of this user and parent runs, the same job again."""
    parent = str(request.body.data["parent"])
    domain.find_object(_GRAPH_PARENTS, parent, "parent", status=400)
    for job in domain.running(request.user):
        if job.kind == request.operation.kind and job.subject == parent:
            return job, False
    return _start_new(domain, gates, request, parent, domain.new_result("new_graph_export", {})), True


def _start_resource_export(domain: Domain, gates: Gates, request: Start) -> SimulatedJob:
    """A resource export; refused while one runs in the same workspace, whoever started that."""
    workspace = str(request.body.data["workspace"])
    domain.find_object(["workspace"], workspace, "workspace", status=400)
    if any(job.subject == workspace and not job.done for job in domain.started_of(request.operation.kind)):
        raise ApiError(403, "workspace: An export is already in progress for this workspace.")
    return _start_new(domain, gates, request, workspace, domain.new_result("new_resource_export", {}))


def start_organization_export(domain: Domain, organization: str, user: str) -> SimulatedJob:
    """Start the export of an organization. It is no job: the cap on running jobs does not know it."""
    domain.find_object(["workspace"], organization, "organization", status=400)
    return domain.new_organization_export(organization, user)
