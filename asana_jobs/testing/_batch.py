"""`POST /batch`: up to ten actions in one request.

Source: developers.asana.com, "Batch requests". Each action counts as one request in the minute quota
and in flight, the batch itself is free, and the whole batch is refused when one action would be.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from attrs import field, frozen

from asana_jobs.testing._answers import Answer, ApiError, record_of
from asana_jobs.testing._bodies import check, open_envelope


BATCH_PATH = "/batch"
_MOST_ACTIONS = 10
# Source: the same page. Attachments, organization exports, SCIM and nested batches are not allowed.
_REFUSED = ("/batch", "/organization_exports", "/scim")
_RESULT_FIELDS = ("status_code", "headers", "body")


@frozen
class Action:
    """One action of a batch, as the request it stands for."""

    method: str
    path: str
    query: Mapping[str, str] = field(factory=dict[str, str])
    document: Any = None


AnswerAction: TypeAlias = Callable[[Action], Answer]


def cost(method: str, path: str, document: Any) -> tuple[int, int]:
    """Reads and writes a request counts as."""
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
    """The actions of a batch that is well made; a 400 if it is not."""
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
    actions: Sequence[Action], answer_action: AnswerAction, error: Callable[[ApiError], Answer], fields: str
) -> Answer:
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
    return Answer(200, {"data": results}, started=tuple(started))


def _check_allowed(path: str) -> None:
    if "?" in path:
        raise ApiError(400, "relative_path: Query parameters are not allowed here, use data")
    if path.lower().startswith(_REFUSED) or path.endswith("/attachments"):
        raise ApiError(400, f"relative_path: Not allowed in a batch request: {path}")
