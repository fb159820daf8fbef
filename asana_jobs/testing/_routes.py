"""From a method and a path to an answer; knows nothing of sockets."""

import re
from collections.abc import Callable, Mapping
from typing import Any, cast

from attrs import define, evolve, field, frozen

from asana_jobs.testing._answers import Answer, ApiError, data, missing_input, no_route, not_recognized
from asana_jobs.testing._batch import BATCH_PATH, Action, answer_batch, batch_actions
from asana_jobs.testing._bodies import Body, check, open_envelope
from asana_jobs.testing._domain import Domain
from asana_jobs.testing._fields import FieldTree, boolean_option, parse_fields, select
from asana_jobs.testing._gates import Gates
from asana_jobs.testing._operations import OPERATIONS, StartsJob
from asana_jobs.testing._organization import as_organization_export
from asana_jobs.testing._starting import Start, start, start_organization_export


API_ROOT = "/api/1.0"
_GID = re.compile(r"[0-9]+", re.ASCII)


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
    gates: Gates
    error: Callable[[ApiError], Answer]

    def answer(self, call: Call) -> Answer:
        """Answer one call, or raise an ApiError."""
        parts = call.path.split("/")[1:]
        if call.method == "POST":
            return self._post(call, parts)
        if call.method == "GET":
            return self._get(call, parts)
        raise no_route()

    def _get(self, call: Call, parts: list[str]) -> Answer:
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
            case ["users", "me"]:
                return data(select(self.domain.accounts.profile(call.user), _wanted(call, Body())))
            case _:
                raise no_route()

    def _post(self, call: Call, parts: list[str]) -> Answer:
        operation, gid = _starts_job(parts)
        if operation is not None:
            return self._start(call, operation, gid)
        if call.path == BATCH_PATH:
            return self._batch(call)
        if parts == ["organization_exports"]:
            return self._start_organization_export(call)
        raise no_route()

    def _start(self, call: Call, operation: StartsJob, gid: str) -> Answer:
        if operation.subject_parameter is not None:
            _checked(operation.subject_parameter, gid)
        if operation.body_required and call.document is None:
            raise missing_input("data")
        body = open_envelope(call.document)
        wanted = _wanted(call, body)
        job, is_new = start(self.domain, self.gates, Start(operation, gid, body, call.user))
        location = {"Location": f"{API_ROOT}/jobs/{job.gid}"}
        return Answer(
            201, {"data": select(job.look(), wanted)}, location, started=(job.gid,) if is_new else ()
        )

    def _start_organization_export(self, call: Call) -> Answer:
        body = open_envelope(call.document)
        wanted = _wanted(call, body)
        check("OrganizationExportRequest", body.data)
        export = start_organization_export(self.domain, str(body.data["organization"]), call.user)
        location = {"Location": f"{API_ROOT}{call.path}/{export.gid}"}
        return Answer(201, {"data": select(as_organization_export(export.look()), wanted)}, location)

    def _batch(self, call: Call) -> Answer:
        actions = batch_actions(call.document)
        _wanted(call, open_envelope(call.document))
        # A batch in which one action would exceed a limit is refused as a whole.
        starts = [action for action in actions if _starts_job(action.path.split("/")[1:])[0] is not None]
        self.gates.admit_jobs(self.domain.running(call.user), sum(one.method == "POST" for one in starts))

        def answer_action(action: Action) -> Answer:
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
    """The fields asked for, in the query or beside `data`; a 400 for options that make no sense."""
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
    """The operation a path stands for and the gid in it ("" when it holds none)."""
    for operation in OPERATIONS:
        gid = operation.gid_in(parts)
        if gid is not None:
            return operation, gid
    return None, ""


def _checked(parameter: str, gid: str) -> str:
    if not _GID.fullmatch(gid):
        raise not_recognized(parameter, gid)
    return gid
