"""The Tasks extension: a wait that the client's program goes on with by itself, instead of its assistant.

A client that offers ``io.modelcontextprotocol/tasks`` is answered with a task where `wait_for_job` would have waited, and asks
for it with ``tasks/get`` until it has ended. The job itself is the task: nothing of it is kept here, and its id, which is a
continuation token, is as good for the next server as for this one. It opens nothing: whoever may ask for it may ask for the
job as well.

Source: the extension's specification of 2026-07-28 (SEP-2663). Package mcp 2.3 has its negotiation, and nothing else of it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams, TextContent
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from asana_jobs import AsanaJobsError, Check
from asana_jobs.mcp._answers import Answer, about_job, explain, plain, where_it_stands
from asana_jobs.mcp._tools import Tools
from asana_jobs.subjects import read_subject


IDENTIFIER: Final = "io.modelcontextprotocol/tasks"
#: Seconds between two questions of a client, at least: each may cost a request.
SHORTEST_INTERVAL: Final = 1.0


class TaskParams(RequestParams):
    """What every request about a task names."""

    task_id: str = Field(alias="taskId")


class Tasks(Extension):
    """Waits as tasks."""

    identifier = IDENTIFIER

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    def methods(self) -> Sequence[MethodBinding]:
        """The requests about a task."""
        modern = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [
            MethodBinding("tasks/get", TaskParams, self._get, modern),
            MethodBinding("tasks/update", TaskParams, self._acknowledge, modern),
            MethodBinding("tasks/cancel", TaskParams, self._acknowledge, modern),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Answer a wait with a task, if its client takes one and there is something to wait for."""
        job = (params.arguments or {}).get("job")
        if params.name != "wait_for_job" or not isinstance(job, str) or not _offered(ctx):
            return await call_next(ctx)
        try:
            check = await self._tools.check(job)
        except (AsanaJobsError, ValueError, OSError):
            return await call_next(ctx)  # which says what is wrong
        return (
            await call_next(ctx)
            if check.done
            else {**_task(check.continuation_token, check), "resultType": "task"}
        )

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        require_client_extension(ctx, IDENTIFIER)
        token = _read_id(params.task_id)
        try:
            check = await self._tools.check(token)
        except AsanaJobsError as error:
            text = TextContent(type="text", text=explain(error) or "")
            return _ended(token, CallToolResult(content=[text], is_error=True))
        if not check.done or check.job is None:
            return _task(token, check)
        answer = about_job(check.job)
        text = TextContent(type="text", text=json.dumps(answer, indent=2))
        return _ended(token, CallToolResult(content=[text], structured_content=answer))

    async def _acknowledge(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        """Take note: nothing is asked of the client, and what runs at Asana nobody can stop."""
        require_client_extension(ctx, IDENTIFIER)
        _read_id(params.task_id)
        return {}


def _offered(ctx: ServerRequestContext[Any, Any]) -> bool:
    """Whether this request says that its client takes tasks."""
    capabilities = ctx.session.client_capabilities
    modern = ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
    return modern and capabilities is not None and IDENTIFIER in (capabilities.extensions or {})


def _task(token: str, check: Check[Any]) -> Answer:
    """Return the task of a job that has not finished."""
    where = where_it_stands(check.job)
    return {
        **_about(token),
        "status": "working",
        "statusMessage": where if check.error is None else f"{where}; {plain(str(check.error), 300)}",
        "pollIntervalMs": round(1000 * max(SHORTEST_INTERVAL, check.retry_in or 0.0)),
    }


def _ended(token: str, result: CallToolResult) -> Answer:
    said = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return {**_about(token), "status": "completed", "result": said}


def _about(token: str) -> Answer:
    now = datetime.now(UTC)
    return {
        "taskId": base64.urlsafe_b64encode(token.encode()).decode(),
        "createdAt": (read_subject(token).started_at or now).isoformat(timespec="milliseconds"),
        "lastUpdatedAt": now.isoformat(timespec="milliseconds"),
        "ttlMs": None,
    }


def _read_id(task_id: str) -> str:
    """Return the continuation token that an id is."""
    try:
        token = base64.urlsafe_b64decode(task_id.encode()).decode()
        read_subject(token)
    except (ValueError, binascii.Error):
        raise MCPError(
            INVALID_PARAMS, "there is no such task: call wait_for_job with the gid of the job"
        ) from None
    return token
